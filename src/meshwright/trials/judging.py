"""Whether what was seen is what was expected, and what is told of it when it is not.

The one rule: every expectation that was not met is told, each with what happened instead.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from meshwright.trials import befallen
from meshwright.trials.seen import Seen
from meshwright.trials.shares import interval
from meshwright.trials.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from meshwright.trials.seen import CallSeen, SpanSeen
    from meshwright.trials.spans import Unlike
    from meshwright.trials.trial import Bounds, Expect, Reported


_TOLD = 5
"""Calls of a trial that are told in full."""
_FIRST_ERROR = 400


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation that was not met."""

    what: str
    """The member of `Expect`, as test files write it."""
    expected: str
    happened: str
    calls: tuple[int, ...] = ()
    """The calls that did not meet it, by their place from 0; none where all of them together did not."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A trial, what was seen, and what of it was not as expected."""

    trial: Trial
    seen: Seen
    mismatches: tuple[Mismatch, ...]
    duration: float = 0.0
    """Seconds that it took."""
    began: float = 0.0
    """Seconds after the beginning of all trials when its first call was made."""
    again: bool = False
    """Whether it is of a second run, after a first that failed."""

    skipped: str = ""
    """Why it was not run; "" when it was."""

    @property
    def outcome(self) -> str:
        """`passed`, `failed`, `broken` (it could not be run) or `skipped`."""
        if self.skipped:
            return "skipped"
        return "broken" if self.seen.fault else "failed" if self.mismatches else "passed"

    @property
    def telling(self) -> tuple[int, ...]:
        """The calls, by their place from 0, that are told in full: a few, those that were not as expected first."""
        failing = sorted({index for one in self.mismatches for index in one.calls})
        rest = (index for index in range(len(self.seen.calls)) if index not in set(failing))
        return (*failing, *rest)[:_TOLD]

    @property
    def passed(self) -> bool:
        """Whether it ran and all was as expected."""
        return self.outcome == "passed"


def judge(trial: Trial, seen: Seen, duration: float = 0.0, spans: Sequence[Sequence[Unlike]] = ()) -> Result:
    """The result of `trial`, of whose calls `seen` is what became; `duration` in seconds is told and not judged.

    `spans` says of each call, where somebody looked, how its spans are not as they should be.
    """
    if seen.fault:
        return Result(trial=trial, seen=seen, mismatches=(), duration=duration)
    each = [dict(_of_one(trial.expect, one)) if _concerned(trial.expect, one) else {} for one in seen.calls]
    asked = dict(expected(trial.expect, len(each)))
    for unmet, several in zip(each, spans, strict=False):
        for what, (want, had) in _spans(several):
            asked.setdefault(what, want)
            unmet[what] = had
    allowed = trial.expect.errors
    found = list(_of_all(trial.expect, seen, asked))
    for what, judged in (
        ("avoided", befallen.avoided),
        ("ejected", befallen.ejected),
        ("pool", befallen.filled),
    ):
        found += [Mismatch(what=what, expected=want, happened=had, calls=at) for want, had, at in judged(trial, seen)]
    failing = [index for index, wrong in enumerate(each) if wrong]
    if allowed is None:
        found = [*_merged(each, asked), *found]
    elif len(failing) > allowed:
        first = "; ".join(f"{what}: expected {asked[what]}, {had}" for what, had in each[failing[0]].items())
        told = f"{len(failing)} of {len(each)} calls, the first: {first}"
        wrong = Mismatch(what="errors", expected=asked["errors"], happened=told, calls=tuple(failing))
        found.insert(0, wrong)
    return Result(trial=trial, seen=seen, mismatches=tuple(found), duration=duration)


def expected(expect: Expect, count: int) -> Mapping[str, str]:
    """Everything that is expected, in words, by the member of test files that says it; `count` calls are made."""
    found = {
        "status": _or(expect.statuses) or ("" if _says_how(expect) else "no error"),
        "grpc_status": _or(expect.grpc_statuses),
        "within": "" if expect.within is None else f"at most {expect.within} ms",
        "served_by": _or(expect.served_by),
        "not_served_by": f"not {_or(expect.not_served_by)}" if expect.not_served_by else "",
        "path": " → ".join(expect.path),
        "attempts": "" if expect.attempts is None else str(expect.attempts),
        "given_up": "" if expect.given_up is None else f"{expect.given_up} ms",
        "tls": "" if expect.encryption is None else str(expect.encryption),
        "peer": "no name" if expect.peer == "" else expect.peer or "",
        "spans": "; ".join(map(str, expect.spans)),
        "errors": "" if expect.errors is None else f"at most {expect.errors}",
        "avoided": "no call at who fails while the faults hold, some before and after" if expect.avoided else "",
        "ejected": "" if expect.ejected is None else f"who fails is {expect.ejected}",
        "pool": "" if expect.pool is None else f"an instance takes {expect.pool}",
        "arriving_at": f"this of calls that arrive at {_or(expect.arriving_at)}" if expect.arriving_at else "",
    }
    for what, wanted in (("headers", expect.headers), ("arrived", expect.arrived)):
        found |= {
            f"{what}.{name}": f"no {name}" if value is None else f"{name}: {value}" for name, value in wanted.items()
        }
    for node, share in expect.shares.items():
        low, high = interval(count, share, expect.confidence)
        found[f"shares.{node}"] = f"{share:.1%} of {count}: {low} to {high} at {expect.confidence:.1%} confidence"
    return {what: told for what, told in found.items() if told}


def with_late(result: Result, late: Mapping[int, Sequence[Unlike]]) -> Result:
    """`result` with what spans that came later say, by the place of their call."""
    known = {one.what for one in result.mismatches}
    more = tuple(
        Mismatch(what=what, expected=want, happened=had, calls=(index,))
        for index, several in late.items()
        for what, (want, had) in _spans(several)
        if what not in known
    )
    return msgspec.structs.replace(result, mismatches=(*result.mismatches, *more)) if more else result


def _spans(several: Iterable[Unlike]) -> Iterator[tuple[str, tuple[str, str]]]:
    found: dict[str, list[Unlike]] = {}
    for one in several:
        found.setdefault(f"spans.{one.proxy}.{one.kind}", []).append(one)
    for what, same in found.items():
        wanted, had = [one.expected for one in same], [one.happened for one in same]
        yield what, ("; ".join(dict.fromkeys(wanted)), "; ".join(dict.fromkeys(had)))


def _merged(each: list[dict[str, str]], asked: Mapping[str, str]) -> Iterator[Mismatch]:
    """One mismatch an expectation, with every call that did not meet it and what happened to the first of them."""
    calls: dict[str, list[int]] = {}
    for index, wrong in enumerate(each):
        for what in wrong:
            calls.setdefault(what, []).append(index)
    for what, indexes in calls.items():
        happened = each[indexes[0]][what]
        if len(each) > 1:
            happened = f"{happened} (call {indexes[0] + 1}; {len(indexes)} of {len(each)} calls)"
        yield Mismatch(what=what, expected=asked[what], happened=happened, calls=tuple(indexes))


def _concerned(expect: Expect, one: CallSeen) -> bool:
    """Whether anything is expected of a call."""
    return not expect.arriving_at or any(attempt.node in expect.arriving_at for attempt in one.attempts)


def _of_one(expect: Expect, one: CallSeen) -> Iterator[tuple[str, str]]:
    """What one call did not meet: the expectation's name, and what happened."""
    yield from _answer(expect, one)
    yield from _way(expect, one)
    yield from _headers("headers", expect.headers, one.headers)
    yield from _headers("arrived", expect.arrived, one.arrived)


def _answer(expect: Expect, one: CallSeen) -> Iterator[tuple[str, str]]:
    told = f" ({one.fault})" if one.fault else ""
    had = f"status {one.status}" if one.status else "no answer"
    if expect.statuses and one.status not in expect.statuses:
        yield "status", f"{had}{told}"
    if not _says_how(expect) and (not one.status or one.status >= _FIRST_ERROR or one.grpc_status):
        yield "status", f"gRPC status {one.grpc_status}{told}" if one.grpc_status else f"{had}{told}"
    if expect.grpc_statuses and one.grpc_status not in expect.grpc_statuses:
        yield "grpc_status", f"gRPC status {one.grpc_status}{told}"
    if expect.within is not None and one.elapsed > expect.within:
        yield "within", f"{one.elapsed:.0f} ms"
    if expect.served_by and one.node not in expect.served_by:
        yield "served_by", f"{one.node or 'nobody'} answered{told}"
    if one.node in expect.not_served_by:
        yield "not_served_by", f"{one.node} answered"


def _says_how(expect: Expect) -> bool:
    """Whether it says how a call ends; else it is to end well, and an error is what clients take for one.

    Who expects that every attempt is given up expects no answer of any.
    """
    return bool(expect.statuses or expect.grpc_statuses) or expect.given_up is not None or expect.any_answer


def _way(expect: Expect, one: CallSeen) -> Iterator[tuple[str, str]]:
    if expect.path and one.path != expect.path:
        yield "path", " → ".join(one.path) or "nowhere"
    if expect.attempts is not None and not expect.attempts.hold(len(one.attempts)):
        where = Counter(attempt.instance for attempt in one.attempts)
        at = ", ".join(f"{count} at {instance}" for instance, count in where.items())
        yield "attempts", f"{len(one.attempts)} arrived{f' ({at})' if at else ''}"
    if expect.given_up is not None:
        yield from _given_up(expect.given_up, one)
    if expect.encryption is not None and one.encryption is not expect.encryption:
        yield "tls", "nobody was reached" if one.encryption is None else str(one.encryption)
    if expect.peer is not None and one.peer != expect.peer:
        yield "peer", one.peer or "no name"
    unlike = [_reported(wanted, one.spans) for wanted in expect.spans]
    if any(unlike):
        yield "spans", "; ".join(dict.fromkeys(filter(None, unlike)))


def _reported(wanted: Reported, spans: Sequence[SpanSeen]) -> str:
    """How spans are not as `wanted`; "" when they are."""
    near = [one for one in spans if one.proxy == wanted.proxy and wanted.kind in {"", one.kind}]
    differing = [_differing(wanted.attributes, one) for one in near]
    count = differing.count("")
    if wanted.times.hold(count):
        return ""
    if not near:
        others = ", ".join(dict.fromkeys(one.proxy for one in spans))
        return f"spans from {others} alone" if others else "no span at all"
    return f"{wanted.proxy}: {'; '.join(filter(None, differing))}" if not count else f"{count} from {wanted.proxy}"


def _differing(wanted: Mapping[str, str | None], span: SpanSeen) -> str:
    """The attributes of a span that are not as wanted; "" for none."""
    said = {"service.name": span.service, **span.attributes}
    return ", ".join(
        f"{name} {said.get(name, 'missing')}" for name, value in wanted.items() if said.get(name) != value
    )


def _given_up(bounds: Bounds, one: CallSeen) -> Iterator[tuple[str, str]]:
    waits = [attempt.given_up for attempt in one.attempts]
    if not waits:
        yield "given_up", "nothing arrived"
    for wait in waits:
        if wait is None:
            yield "given_up", "the attempt was not given up"
            return
        if not bounds.hold(round(wait)):
            yield "given_up", f"given up after {wait:.0f} ms"
            return


def _headers(what: str, wanted: Mapping[str, str | None], had: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in wanted.items():
        seen = had.get(name)
        if seen != value:
            yield f"{what}.{name}", f"no {name}" if seen is None else f"{name}: {seen}"


def _of_all(expect: Expect, seen: Seen, asked: Mapping[str, str]) -> Iterator[Mismatch]:
    """What all calls together did not meet."""
    count = len(seen.calls)
    if not any(_concerned(expect, one) for one in seen.calls):
        yield Mismatch(what="arriving_at", expected=asked["arriving_at"], happened="none arrived")
    served = Counter(one.node for one in seen.calls)
    for node, share in expect.shares.items():
        low, high = interval(count, share, expect.confidence)
        if not low <= served[node] <= high:
            what = f"shares.{node}"
            yield Mismatch(what=what, expected=asked[what], happened=f"{served[node]} of {count}")


def _or(values: Iterable[object]) -> str:
    return " or ".join(str(one) for one in values)
