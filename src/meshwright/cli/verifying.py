"""Verifying a release from the command line, shared by `verify` and `apply --verify`.

The one rule: each check has its time, and whoever waits is told what for.
"""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click
import msgspec

from meshwright.ci.build import claimed
from meshwright.cli.probing import probed, ways
from meshwright.cli.waiting import arrived, left_behind, let_through
from meshwright.cli.waiting import exit_code as exit_of
from meshwright.cli.witnessing import Sources, witnessed, witnesses
from meshwright.errors import RefusedError, UnreachableError, UsageError
from meshwright.graph import resolve
from meshwright.release import Check, RollbackRequest, VerifyRequest
from meshwright.views import releases as view
from meshwright.views.approvals import waiting_text
from meshwright.views.escaping import terminal
from meshwright.views.verification import progress, verified_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshwright.cli.target import Target
    from meshwright.remote import Client

_TURN = 5.0
"""Seconds between two lines of progress."""
_PATIENCE = 5.0
"""Seconds that the judgement itself waits for a proxy or an instance that came meanwhile."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be looked at, and for how long."""

    seconds: float
    """For each check."""
    expected: dict[str, int] = {}
    """As `VerifyRequest.expected`."""
    unprobed_allowed: bool = False
    probe_from: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    unsafe: bool = False
    sources: Sources = Sources()


def wanted(seconds: float, asked: Mapping[str, Any]) -> Wanted:
    """What the options of `options.verification` ask for.

    Raises:
        UsageError: one of them cannot mean anything.
    """
    return Wanted(
        seconds=seconds,
        expected=_counts(asked["endpoints"]),
        unprobed_allowed=asked["allow_unprobed"],
        probe_from=tuple(asked["probe_from"]),
        gateways=tuple(asked["gateway"]),
        unsafe=asked["unsafe_methods"],
        sources=Sources(
            otlp=asked["otlp"], otlp_file=asked["otlp_file"], xray=asked["xray"], cloudwatch=asked["cloudwatch"]
        ),
    )


def verified(target: Target, client: Client, one: Mapping[str, Any], asked: Wanted) -> dict[str, Any]:
    """What came of verifying a release: it, the checks and the inspection.

    Raises:
        RefusedError: it is not what runs.
    """
    # Each of what follows has its time.
    client = client.outlasting(3 * asked.seconds, target.say)
    checks: tuple[Check, ...] = ()
    if asked.probe_from or asked.gateways or asked.sources.any:
        checks = _brought(target, client, one, asked)
    # Calls that nobody makes are not waited for where it is all the same whether they are seen.
    _wait(target, client, one, asked, checks, without="routes" if asked.unprobed_allowed else "")
    request = _request(asked, checks, patience=min(_PATIENCE, asked.seconds))
    return client.verify(one["mesh"], one["stack"], one["number"], request)


def _brought(target: Target, client: Client, one: Mapping[str, Any], asked: Wanted) -> tuple[Check, ...]:
    """What only this machine can see: probes, and what witnesses tell of them and of other calls."""
    mesh = one["mesh"]
    since = client.release(mesh, one["stack"], one["number"])["at"]
    with witnesses(target, asked.sources, mesh, since) as known:
        graph = resolve(client.read(mesh).state)
        given = ways(graph, asked.probe_from, asked.gateways, target.ca_bundle)
        _wait(target, client, one, asked, without="routes")
        checks = []
        if given:
            checks.append(probed(target, client, one, graph, given, asked.seconds, unsafe=asked.unsafe))
        if known:
            checks.append(witnessed(target, client, one, graph, known, asked.seconds))
    return tuple(checks)


def verified_or_back(target: Target, client: Client, outcome: Mapping[str, Any], asked: Wanted, form: str) -> int:
    """Verify what came of an apply, restore the last good release where it fails, print it all; the exit code.

    Also a release that was there already: a job that was cut off before it had verified may be run again.
    """
    if outcome.get("pending") is not None:
        outcome = let_through(target, client, outcome, asked.seconds, form)
        if outcome["pending"] is not None:
            return 1
    one = outcome["release"]
    if form == "text":
        click.echo(view.outcome_text(outcome), nl=False)
    told = dict(outcome)
    code = 0
    if one is not None and (outcome["changed"] or one["status"] != "verified"):
        try:
            found = verified(target, client, one, asked)
        except UnreachableError as error:
            raise UnreachableError(
                f"{error} {one['title']} is what runs, neither verified nor rolled back: when the control plane is "
                f"back, run the job again, or `meshwright verify {one['title']}`."
            ) from error
        told |= {"release": found["release"], "verification": found["inspection"]}
        if form == "text":
            click.echo(verified_text(found), nl=False)
        code = restored(target, client, found, asked, told, form)
    if form == "json":
        click.echo(view.as_json(told), nl=False)
    return code


def newest(client: Client, mesh: str, stack: str) -> int:
    """The number of a stack's newest release.

    Raises:
        RefusedError: there is none.
    """
    known = client.releases(mesh, stack, 1)["releases"]
    if not known:
        raise RefusedError(f"Stack {stack!r} has no release in mesh {mesh!r}; there is nothing to verify.")
    return int(known[0]["number"])


def restored(
    target: Target, client: Client, found: Mapping[str, Any], asked: Wanted, told: dict[str, Any], form: str
) -> int:
    """Restore the last good release if the verified one failed; the exit code. `told` gets what came of it."""
    one = found["release"]
    if found["inspection"]["judgement"] != "failed":
        return exit_code(target, found)
    failed = next(check for check in found["checks"] if check["outcome"] == "failed")
    reason = f"{one['title']} failed its verification: {failed['name']}: {failed['told']}"
    request = RollbackRequest(
        last_good=True,
        instead_of=one["number"],
        reason=reason,
        build=claimed(os.environ),
        tool_version=version("meshwright"),
    )
    try:
        outcome = client.roll_back(one["mesh"], one["stack"], request)
    except RefusedError as error:
        told["refused"] = str(error)
        text = f"Error: {reason}. It is what runs, because it cannot be rolled back: {error}"
        click.echo("\n".join(map(terminal, text.split("\n"))), err=True)
        return 1
    told["rollback"] = outcome
    if outcome.get("pending") is not None:
        text = f"Error: {reason}. It is what runs, because its rollback waits for somebody's approval."
        click.echo(f"{terminal(text)}\n{waiting_text(outcome['pending'])}", err=True, nl=False)
        return 1
    if form == "text":
        click.echo(view.outcome_text(outcome), nl=False)
    arrival = arrived(target, client, outcome["release"], asked.seconds)
    told["propagation"] = arrival
    exit_of(target, arrival, asked.seconds, form, left=left_behind(client, outcome["release"], arrival))
    target.say(f"{one['title']} failed its verification and was rolled back by {outcome['release']['title']}.")
    return 1


def exit_code(target: Target, found: Mapping[str, Any]) -> int:
    """0 for verified, else 1; says what to do about it."""
    match found["inspection"]["judgement"]:
        case "verified":
            return 0
        case "inconclusive":
            target.say("The release stays what it was. --allow-unprobed takes what could not be looked at for good.")
        case _:
            target.say("Mend it with another release, roll back with --last-good, or verify once more.")
    return 1


def _wait(
    target: Target,
    client: Client,
    one: Mapping[str, Any],
    asked: Wanted,
    checks: tuple[Check, ...] = (),
    without: str = "",
) -> None:
    """Return once nothing of what the control plane sees is still to come, or its time is over.

    The check `without` is not waited for.
    """
    deadline = time.monotonic() + asked.seconds
    while True:
        turn = max(0.0, min(_TURN, deadline - time.monotonic()))
        # The control plane is told too, or it would hold each look for the calls that nobody waits for.
        request = msgspec.structs.replace(
            _request(asked, checks),
            look=True,
            patience=turn,
            unprobed_allowed=asked.unprobed_allowed or bool(without),
        )
        found = client.verify(one["mesh"], one["stack"], one["number"], request)
        waiting = progress([check for check in found["checks"] if check["name"] != without])
        left = deadline - time.monotonic()
        if not waiting or left <= 0:
            return
        target.say(f"Waiting, {left:.0f} s left: {waiting}")


def _request(asked: Wanted, checks: tuple[Check, ...], *, patience: float = 0) -> VerifyRequest:
    return VerifyRequest(
        checks=checks,
        expected=asked.expected,
        unprobed_allowed=asked.unprobed_allowed,
        patience=patience,
        build=claimed(os.environ),
        tool_version=version("meshwright"),
    )


def _counts(given: Iterable[str]) -> dict[str, int]:
    """`NODE=COUNT` as numbers by name."""
    found = {}
    for one in given:
        name, equals, count = one.rpartition("=")
        if not equals or not name or not (count.isascii() and count.isdecimal()) or len(count) > 6:
            raise UsageError(f"--endpoints {one!r} is not NODE=COUNT, such as cart=2.")
        found[name] = int(count)
    return found
