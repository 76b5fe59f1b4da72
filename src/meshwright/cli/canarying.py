"""A release in steps: asking the control plane to go on until the canary is over, and telling how it goes.

The one rule: the control plane judges and acts. This client is its clock and its sign that somebody looks after the
canary; one that is interrupted has it returned first, and one that is killed is missed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

import click
import msgspec

from meshwright.ci.build import claimed
from meshwright.cli.waiting import TURN, arrived, exit_code, finished, left_behind, let_through
from meshwright.errors import (
    RefusedError,
    ServiceUnavailableException,
    TooManyRequestsException,
    UnreachableError,
    UsageError,
)
from meshwright.release import CanaryRequest, CanarySettings
from meshwright.release.canary import weights_of
from meshwright.views import releases as view
from meshwright.views.canaries import canary_markdown, canary_text, check_line, ending, step_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meshwright.cli.target import Target
    from meshwright.cli.verifying import Wanted
    from meshwright.plan import Plan
    from meshwright.release import ApplyRequest
    from meshwright.remote import Client

_LOOK = 2.0
"""Seconds between two questions at most: each says that somebody is there."""
_ARRIVAL = 60.0
"""Seconds that what ends a canary is waited for, unless it is said."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OPTIONS = (
    "interval",
    "iterations",
    "threshold",
    "progress_deadline",
    "min_success",
    "max_duration",
    "min_requests",
    "shared",
    "inconclusive",
    "lease",
)


class InterruptedJobError(Exception):
    """The job is told to end; `args` is the signal's number."""


def settings(asked: Mapping[str, Any], written: Mapping[str, Any]) -> CanarySettings | None:
    """What `options.canary` asks for, with what is `written` in the project; None where no canary is asked for.

    Raises:
        UsageError: that cannot mean anything.
    """
    given = {name: asked[f"canary_{name}"] for name in _OPTIONS if asked[f"canary_{name}"] is not None}
    if asked["canary"] is None:
        if given:
            name = next(iter(given)).replace("_", "-")
            raise UsageError(f"--canary-{name} says how a canary's steps are judged; give --canary STEPS as well.")
        return None
    found = {**written, **given}
    steps = asked["canary"] or found.get("steps")
    if steps is None:
        raise UsageError(
            "--canary without steps takes those of meshwright.yaml (canary: {steps: ...}), and it names none. "
            "Give them, such as --canary 5,20,50."
        )
    found.pop("steps", None)
    try:
        found["weights"] = weights_of(steps)
    except ValueError as error:
        raise UsageError(f"--canary {steps!r} {error}.") from None
    if found.get("max_duration") == 0:
        found["max_duration"] = None
    try:
        return msgspec.convert(found, CanarySettings)
    except msgspec.ValidationError as error:
        raise UsageError(f"The settings of the canary cannot be meant: {error}.") from None


def to_verify(asked: Mapping[str, Any], wait: float | None, *, verifies: bool) -> Wanted | None:
    """What the options of `options.verification` ask for; None where nothing is to be verified.

    Raises:
        UsageError: one of them cannot mean anything.
    """
    if not verifies:
        return None
    from meshwright.cli.verifying import wanted

    return wanted(60 if wait is None else wait, asked)


def applied(
    target: Target,
    client: Client,
    plan: Plan,
    request: ApplyRequest,
    steps: CanarySettings | None,
    verifying: Wanted | None,
    wait: float | None,
    form: str,
) -> int:
    """Release a plan by the `request`, in `steps` if any, verify it if that is wanted, print it; the exit code."""
    if form == "markdown" and steps is None:
        raise UsageError("--format markdown tells of a canary; give --canary as well, or another format.")
    with Interruptions() if steps is not None else contextlib.nullcontext() as signals:
        asks = request if steps is None else msgspec.structs.replace(request, canary=steps)
        told = client.apply(plan.mesh, plan.stack, asks)
        if signals is not None:
            code, told = shifted(target, client, told, wait, form, signals)
            if code or (told.get("canary") and verifying is None):
                if form == "json" and told.get("pending") is None:
                    click.echo(view.as_json(told), nl=False)
                return code
    if verifying is None:
        return finished(target, client, told, wait, form)
    from meshwright.cli.verifying import verified_or_back

    return verified_or_back(target, client, told, verifying, form)


def shifted(
    target: Target,
    client: Client,
    outcome: Mapping[str, Any],
    wait: float | None,
    form: str,
    signals: Interruptions,
) -> tuple[int, dict[str, Any]]:
    """Look after the canary that `outcome` began or found, until it is over; the exit code, and all that came of it.

    0 where it finished, and where there was nothing to change and so no `canary`; `release` is what runs then.
    """
    if outcome.get("pending") is not None:
        with signals.suspended():
            outcome = let_through(target, client, outcome, wait or 0, form)
        if outcome["pending"] is not None:
            return 1, dict(outcome)
    one = outcome["release"]
    canary = one["canary"] if one is not None else None
    if canary is None or canary["state"] != "step":
        return 0, dict(outcome)
    if not outcome["changed"]:
        target.say(
            f"{one['title']} is on the way there already: going on with it, with the settings that it began with."
        )
    for warning in outcome.get("warnings", ()):
        target.say(f"Warning: {view.sentence(warning)}")
    found = _looked_after(target, client, one, signals)
    code, arrival = _ended(target, client, found, _ARRIVAL if wait is None else wait, form)
    told = {**outcome, "changed": True, "release": found["release"], "canary": found} | (
        {"propagation": arrival} if arrival else {}
    )
    return code, told


def _looked_after(target: Target, client: Client, one: Mapping[str, Any], signals: Interruptions) -> dict[str, Any]:
    """The canary once it is over, told step by step on the way."""
    first, told = one["canary"]["first"], Telling(target.say)
    wanted = one["canary"]["settings"]
    request = CanaryRequest(build=claimed(os.environ), tool_version=version("meshwright"))
    lost_at: float | None = None
    try:
        signals.ready()
        while True:
            try:
                found = client.canary(one["mesh"], one["stack"], first, request)
            except (UnreachableError, ServiceUnavailableException, TooManyRequestsException):
                # It is missed after the lease, and returned; until then it may be a restart.
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > wanted["lease"]:
                    raise
            else:
                lost_at = None
                told.news(found)
                if found["state"] != "step":
                    return found
            time.sleep(min(_LOOK, wanted["interval"]))
    except InterruptedJobError as interrupted:
        signals.heeded = True
        name = signal.Signals(interrupted.args[0]).name
        target.say(f"Interrupted: returning {one['stack']}#{first} …")
        leaving = msgspec.structs.replace(request, leave=f"the job that looked after it was interrupted ({name})")
        found = client.canary(one["mesh"], one["stack"], first, leaving)
        told.news(found)
        return found
    except RefusedError as error:
        raise RefusedError(f"The canary {one['stack']}#{first} stands where it is: {error}") from error


def _ended(
    target: Target, client: Client, found: Mapping[str, Any], wait: float, form: str
) -> tuple[int, dict[str, Any] | None]:
    """Tell how it ended, once that has arrived; the exit code, and the propagation of what ended it."""
    if form != "json":
        click.echo(canary_markdown(found) if form == "markdown" else canary_text(found), nl=False)
    if form != "text":
        target.say(ending(found))
    if found["state"] == "superseded":
        return 1, None
    arrival = arrived(target, client, found["release"], wait)
    behind = left_behind(client, found["release"], arrival)
    code = exit_code(target, arrival, wait, form, left=behind)
    return (code if found["state"] == "finished" else 1), arrival


class Telling:
    """Says what is new, and now and then what is waited for: CI services end a job that is silent for long."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._line = say
        self._clock = clock
        self._releases = 0
        self._checks = 0
        self._said_at = clock()

    def news(self, found: Mapping[str, Any]) -> None:
        """Say what `found` tells beyond what was told."""
        for one in found["releases"][self._releases :]:
            judged = one["canary"]["judged"]
            if judged is not None:
                self._say_checks(judged["weight"], judged["checks"])
                self._checks = 0
            self._say(step_line(one))
        self._releases = len(found["releases"])
        self._say_checks(found["weight"], found["checks"])
        if self._clock() - self._said_at >= TURN and found["state"] == "step":
            waiting = found["waiting"] or "watching the calls that proxies report"
            self._say(f"  {found['weight']} %: {waiting}")

    def _say_checks(self, weight: int, checks: list[Mapping[str, Any]]) -> None:
        for one in checks[self._checks :]:
            self._say(f"  {weight} %: {check_line(one)}")
        self._checks = len(checks)

    def _say(self, text: str) -> None:
        self._line(text)
        self._said_at = self._clock()


class Interruptions:
    """Signals to end, while this lasts: they are remembered until somebody is ready for them, and then raised.

    Between asking for a canary and knowing of it, a job that simply ended would leave it alone.
    """

    def __init__(self) -> None:
        self._came: int | None = None
        self._ready = False
        self.heeded = False
        """Whether what was to be done is done."""
        self._before: dict[signal.Signals, Any] = {}

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """While this lasts, signals do what they usually do."""
        self._restore()
        try:
            yield
        finally:
            self.__enter__()

    def ready(self) -> None:
        """From now on the first signal raises `InterruptedJobError`, or at once where it came already."""
        self._ready = True
        if self._came is not None:
            raise InterruptedJobError(self._came)

    def _stop(self, number: int, _frame: object) -> None:
        first, self._came = self._came is None, self._came or number
        # More of them change nothing: to return a canary is bounded, and must not be cut short.
        if first and self._ready:
            raise InterruptedJobError(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __enter__(self) -> Self:
        self._before = {one: signal.signal(one, self._stop) for one in _SIGNALS}
        return self

    def __exit__(self, *_error: object) -> None:
        self._restore()
        if self._came is not None and not self.heeded:
            signal.raise_signal(self._came)
