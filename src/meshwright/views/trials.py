"""The report of a test run, as a value whose JSON is documented (`docs/json.md`) and stable.

The one rule: text, JUnit and the page are rendered from this value and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshwright.diagnostics import Source
from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import policy_path
from meshwright.simulate import Call, Share, Verdict, route
from meshwright.trials.judging import Mismatch, expected
from meshwright.trials.seen import CallSeen, CounterSeen
from meshwright.trials.trial import Given
from meshwright.views.trials_edges import Edge, edges
from meshwright.views.trials_map import Map, mapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.trials import coverage
    from meshwright.trials.coverage import Coverage
    from meshwright.trials.judging import Result
    from meshwright.trials.trial import Trial

Finder: TypeAlias = Callable[[str, str], Source | None]
"""Where a field of an object (`Key.path`, wire path) is written; None where that is not known."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The object that decided where a test's call goes, as the definitions have it."""

    object: str
    path: str
    """The field that kept the call from it or let it in; "" for the whole object."""
    by: str
    """By whose rules: the gateway's, those of the virtual service, or the object that lets calls out."""
    source: Source | None
    told: str
    """In words: what it decided, and what the candidates before it missed."""


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """One test and its result."""

    name: str
    outcome: str
    """`passed`, `failed`, `broken` (it could not be run) or `skipped`."""
    derived: bool
    """Whether nobody wrote it."""
    about: tuple[str, ...]
    """Objects, as paths."""
    source: Source | None
    """Where it is written; of a derived one, the field that it is about."""
    caller: str
    call: Call
    given: tuple[Given, ...]
    expected: Mapping[str, str]
    """In words, by the member of test files that says it."""
    calls: int
    began: float
    """Seconds after every proxy was ready when its first call was made."""
    seconds: float
    again: bool
    """Whether this is what came of a second run, after a first that failed."""
    mismatches: tuple[Mismatch, ...]
    fault: str
    decided_by: tuple[Decision, ...]
    seen: tuple[CallSeen, ...]
    """A few of the calls, those that were not as expected first."""
    counters: tuple[CounterSeen, ...]
    """Of a test that failed: Envoy's own counters that moved as one more of its calls was made."""
    ways: tuple[tuple[str, str], ...]
    """Who called whom, callers and called nodes as paths."""
    reproduce: str
    """The command that runs just this test."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Something of a route that tests can show, a policy or a backend, and whether they did."""

    route: str
    """The route, or the object that the policy is of, or the node whose backend it is."""
    path: str
    covered: bool
    why: str
    source: Source | None


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """What a run took its time for, in turn, in seconds; all are 0 where nothing ran."""

    starting: float = 0.0
    """Until every proxy was ready."""
    testing: float = 0.0
    """Until the last test had its result."""
    telling: float = 0.0
    """Until proxies had told what they had to say of the calls in the report."""
    ending: float = 0.0
    """Until nothing was left."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run tried and found."""

    version: int = 1
    """Raised when a member changes its meaning or goes; new members may come at any time."""
    mesh: str
    definitions: str = ""
    """SHA-256 of the definitions as they are written, by the files' names and bytes."""
    mode: str
    """`envoy` on real proxies, `simulate` without any."""
    isolation: str
    """`loopback`, `netns`, or "" where nothing ran."""
    at: int
    """When it began, in milliseconds since the epoch."""
    seconds: float
    starting: float
    """Seconds of them until every proxy was ready."""
    timings: Timings
    passed: int
    failed: int
    broken: int
    skipped: int
    tests: tuple[Test, ...]
    coverage: float
    """Percentage of the points."""
    points: tuple[Point, ...]
    policies: tuple[Point, ...]
    """Limits, retries, health checks and the like, as the definitions write them."""
    backends: tuple[Point, ...] = ()
    """What nodes declare that they call; one that no test can call says why."""
    graph: Map
    followed: int | None
    """Calls each of whose hops must have left its span, and was looked at; null where spans were not."""
    edges: tuple[Edge, ...]


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How a run was made."""

    mode: str
    isolation: str
    at: int
    seconds: float
    timings: Timings
    definitions: str = ""
    again: str
    """The command that repeats it, without the choice of a test."""


def run_report(graph: Graph, results: Iterable[Result], covered: Coverage, find: Finder, manner: Manner) -> RunReport:
    """The report on a run."""
    results = tuple(results)
    tests = tuple(reported(graph, one, find, f"{manner.again} --only {quoted(one.trial.name)}") for one in results)
    outcomes = [one.outcome for one in tests]
    return RunReport(
        mesh=graph.state.meshes[0],
        definitions=manner.definitions,
        mode=manner.mode,
        isolation=manner.isolation,
        at=manner.at,
        seconds=round(manner.seconds, 3),
        starting=manner.timings.starting,
        timings=manner.timings,
        passed=outcomes.count("passed"),
        failed=outcomes.count("failed"),
        broken=outcomes.count("broken"),
        skipped=outcomes.count("skipped"),
        tests=tests,
        coverage=round(covered.percent, 1),
        points=_points(covered.points, find),
        policies=_points(covered.policies, find),
        backends=_points(covered.backends, find),
        graph=mapped(graph, results),
        followed=_followed(results),
        edges=tuple(edges(graph, results)),
    )


def _followed(results: Iterable[Result]) -> int | None:
    known = [one.seen.followed for one in results if one.seen.followed is not None]
    return sum(known) if known else None


def _points(points: Iterable[coverage.Point], find: Finder) -> tuple[Point, ...]:
    return tuple(
        Point(
            route=one.route.path,
            path=one.path,
            covered=one.covered,
            why=one.why,
            source=find(one.route.path, one.path),
        )
        for one in points
    )


def reported(graph: Graph, result: Result, find: Finder, reproduce: str) -> Test:
    """The report on one test, which the command `reproduce` runs alone."""
    trial = result.trial
    made = sum(bool(one.id) for one in result.seen.calls)  # simulated ones have none
    there = trial.caller in graph.state  # who calls may be gone from the definitions, which fails the test
    return Test(
        name=trial.name,
        outcome=result.outcome,
        derived=trial.source is None,
        about=tuple(key.path for key in trial.about),
        source=written_at(trial, find),
        caller=trial.caller.path,
        call=trial.call,
        given=trial.given,
        expected=expected(trial.expect, made or trial.of),
        calls=len(result.seen.calls),
        began=round(result.began, 3),
        seconds=round(result.duration, 3),
        again=result.again,
        mismatches=result.mismatches,
        fault=result.seen.fault or result.skipped,
        decided_by=decisions(graph, route(graph, trial.caller, trial.call), find) if there else (),
        seen=tuple(result.seen.calls[index] for index in result.telling),
        counters=result.seen.counters,
        ways=tuple((caller.path, callee.path) for caller, callee in result.seen.ways),
        reproduce=reproduce,
    )


def written_at(trial: Trial, find: Finder) -> Source | None:
    """Where a test is written; of one that nobody wrote, the field that it is about."""
    return trial.source or (find(trial.about[0].path, trial.path) if trial.about else None)


def decisions(graph: Graph, verdict: Verdict, find: Finder) -> tuple[Decision, ...]:
    """Who decides about a call on its way, in the order of the decisions."""
    found = []
    for hop in verdict.hops:
        key = hop.chosen or hop.decided_by
        missed = [
            f"{one.origin.name} wants {miss.path.rpartition('match.')[2] or miss.path} {miss.wanted}, had {miss.had}"
            for one in hop.candidates
            for miss in one.misses[:1]
            if hop.chosen is None or one.origin != hop.chosen
        ]
        told = f"{key.kind.type_name} {key.name!r}"
        told += f" ({'; '.join(missed)})" if missed else ""
        path = "" if key in graph.state else "spec"
        found.append(
            Decision(object=key.path, path=path, by=hop.decided_by.path, source=find(key.path, path), told=told)
        )
    if verdict.refused:
        found += _disagreement(graph, verdict, verdict.refused[0], find)
    elif verdict.outcome != "routed":
        last = _last(verdict).path
        found.append(Decision(object=last, path="", by=last, source=None, told=verdict.ending.reason))
    return tuple(found)


def _disagreement(graph: Graph, verdict: Verdict, share: Share, find: Finder) -> Iterator[Decision]:
    """Why a listener takes no connection of a caller's: what it says itself, and what the caller says."""
    node, service = share.node, verdict.hops[-1].decided_by
    spec = graph.state[node].spec
    listeners = (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) else ()
    at = next((place for place, one in enumerate(listeners) if one.port_mapping.port == share.port), None)
    path = "" if at is None else f"spec.listeners[{at}]" + (".tls" if listeners[at].tls else "")
    source = find(node.path, path)
    yield Decision(object=node.path, path=path, by=node.path, source=source, told=share.refused)
    if share.tls is not None:
        caller, path = verdict.caller, policy_path(graph, verdict.caller, service)
        says = "calls it by this client policy" if path else "has no client policy for it"
        told = f"{caller.kind.type_name} {caller.name!r} {says}"
        yield Decision(object=caller.path, path=path, by=caller.path, source=find(caller.path, path), told=told)


def _last(verdict: Verdict) -> Key:
    return verdict.hops[-1].decided_by if verdict.hops else verdict.caller


def quoted(text: str) -> str:
    """`text` as one word of a POSIX shell."""
    return "'" + text.replace("'", "'\"'\"'") + "'"
