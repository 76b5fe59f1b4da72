"""Waiting until every proxy that a release concerns has it; shared by `wait`, `apply` and `rollback`.

The one rule: late or rejected is exit code 1 and says which proxy and which object; nobody connected is no failure.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from meshwright.views import approvals
from meshwright.views import releases as view

_UNDONE = frozenset({"failed", "rolled back"})
"""What becomes of a release that a proxy rejected."""

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.cli.target import Target
    from meshwright.remote import Client

LOOK = 2.0
"""Seconds between two looks whether somebody has approved a release."""
_COMING_BACK = 15.0
"""Seconds that proxies have at least to find a control plane that was away."""
TURN = 10.0
"""Seconds between two lines of progress: CI services end a job that is silent for long."""


def finished(target: Target, client: Client, outcome: Mapping[str, Any], wait: float | None, form: str) -> int:
    """Print what came of an apply or a rollback, wait if told to, and answer with the exit code."""
    if outcome.get("pending") is not None:
        outcome = let_through(target, client, outcome, wait or 0, form)
        if outcome["pending"] is not None:
            return 1
    one = outcome["release"]
    if form == "text":
        click.echo(view.outcome_text(outcome), nl=False)
    if wait is None or one is None:
        if form == "json":
            click.echo(view.as_json(outcome), nl=False)
        return 0
    found = arrived(target, client, one, wait)
    if form == "json":
        click.echo(view.as_json({**outcome, "propagation": found}), nl=False)
    return exit_code(target, found, wait, form, left=left_behind(client, one, found))


def let_through(
    target: Target, client: Client, outcome: Mapping[str, Any], seconds: float, form: str
) -> dict[str, Any]:
    """What came of a release that waits for approval, after at most `seconds`; `pending` is None once it is there."""
    one, deadline = outcome["pending"], time.monotonic() + seconds
    client = client.outlasting(seconds, target.say)
    if form == "text":
        click.echo(approvals.waiting_text(one), nl=False)
    told = float("-inf")
    while one["state"] == "open" and (left := deadline - time.monotonic()) > 0:
        if time.monotonic() - told >= TURN:
            target.say(f"Waiting for the approval of {one['title']}, {left:.0f} s left")
            told = time.monotonic()
        time.sleep(min(LOOK, left))
        listed = client.pending(one["mesh"], one["stack"], 1, one["number"] + 1)["pending"]
        one = next((each for each in listed if each["number"] == one["number"]), one)
    if one["state"] == "approved":
        made = client.release(one["mesh"], one["stack"], one["decision"]["release"])
        return {**outcome, "changed": True, "release": made, "pending": None}
    waiting = {**outcome, "pending": one}
    if form == "json":
        click.echo(view.as_json(waiting), nl=False)
    elif one["state"] != "open":
        by = f" by {one['decision']['principal']}: {one['decision']['reason']}" if one["decision"] else ""
        target.say(f"{one['title']} is {one['state']}{by}")
    return waiting


def arrived(
    target: Target, client: Client, one: Mapping[str, Any], seconds: float, *, detail: bool = False
) -> dict[str, Any]:
    """The propagation of a release once it is decided, or after `seconds`; with `detail`, proxy by proxy."""
    deadline, lost, back = time.monotonic() + seconds, list[str](), 0.0

    def told(text: str) -> None:
        lost.append(text)
        target.say(text)

    client = client.outlasting(seconds, told)
    while True:
        left = deadline - time.monotonic()
        turn = max(0.0, min(TURN, left))
        found = client.propagation(one["mesh"], one["stack"], one["number"], turn, detail=detail)
        if lost and found["state"] == "no-proxies" and left > 0:
            # A control plane that was started anew knows of nobody until the proxies have found it.
            back = back or time.monotonic()
            if time.monotonic() - back < _COMING_BACK:
                time.sleep(min(LOOK, left))
                continue
        if found["state"] != "pending" or left <= turn:
            return found
        target.say(
            f"Waiting for {len(found['pending'])} of {len(found['concerned'])} proxies, "
            f"{max(0, deadline - time.monotonic()):.0f} s left: {', '.join(found['pending'][:3])}"
            f"{' …' if len(found['pending']) > 3 else ''}"
        )


def left_behind(client: Client, one: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether some proxy never took a release and went on to a newer one, so that nobody is behind it any more."""
    if found["state"] in {"pending", "rejected"} or found["status"] not in _UNDONE:
        return False
    seen = client.propagation(one["mesh"], one["stack"], one["number"], 0, detail=True)
    return any(account["state"] == "rejected" for account in seen["accounts"])


def exit_code(target: Target, found: Mapping[str, Any], seconds: float, form: str, *, left: bool) -> int:
    """0 where the release has arrived or nobody is connected, else 1; says so, and as text how far it has come.

    One that was `left` behind has not arrived, although proxies have what came after it.
    """
    if form == "text":
        click.echo(view.propagation_text(found, left=left), nl=False)
    if left:
        target.say("What the proxies have came after it: see meshwright history.")
        return 1
    match found["state"]:
        case "no-proxies":
            sys.stderr.write("Warning: no proxy is connected, so none has taken the release.\n")
            return 0
        case "pending":
            target.say(f"Gave up after {seconds:g} s; the release stays applied.")
            return 1
        case "rejected":
            target.say("A proxy rejected the configuration; it keeps what it had. Fix it, or roll back.")
            return 1
    return 0
