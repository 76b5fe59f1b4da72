"""Route coverage: which routes a run followed, and which of their conditions it missed by a little.

The one rule: only a trial that passed counts, and what counts is where `simulate` says that its call goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import Relation, gateway_route_target, route_action
from meshwright.model.gateway_routes import GatewayRouteSpec, HttpGatewayRouteMatch
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch, RouteSpec
from meshwright.routing import gateway_route_match, http_path, route_match
from meshwright.simulate import route
from meshwright.trials.promises import promises

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from meshwright.graph import Graph
    from meshwright.model.gateway_routes import GrpcGatewayRouteMatch
    from meshwright.model.state import Resource
    from meshwright.simulate import Verdict
    from meshwright.trials.deriving.entries import Gap
    from meshwright.trials.judging import Result


_NOWHERE = frozenset(("refused", "no-route", "no-host", "no-target"))
"""Ends of calls that follow a route and get to nobody by it."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a run can show: that a route is followed, what a condition keeps out, a target, a policy."""

    route: Key
    path: str
    """The field: "" for the route itself, else a condition, a weighted target or a policy."""
    covered: bool
    why: str = ""
    """Why it is not covered, where that is known."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """All points of a mesh."""

    points: tuple[Point, ...]
    """Of routes."""
    policies: tuple[Point, ...] = ()
    """What `trials.promises` lists."""
    backends: tuple[Point, ...] = ()
    """Of each backend that a node declares, whether it reached it."""

    @property
    def covered(self) -> int:
        """How many are covered."""
        return sum(one.covered for one in self.points)

    @property
    def percent(self) -> float:
        """0 to 100; 100 where there is nothing to cover."""
        return 100 * self.covered / len(self.points) if self.points else 100.0


def coverage(graph: Graph, results: Collection[Result], gaps: Iterable[Gap] = ()) -> Coverage:
    """What `results` show of the routes and policies of `graph`; `gaps` say why nothing could be derived for some."""
    shown: set[tuple[Key, str]] = set()
    called: set[tuple[Key, Key]] = set()
    for one in results:
        if one.passed:
            shown.update(one.trial.shows)
            verdict = route(graph, one.trial.caller, one.trial.call)
            served = {seen.node for seen in one.seen.calls}
            shown.update(_shown(graph, verdict, served))
            called.update((verdict.caller, hop.decided_by) for hop in verdict.hops if verdict.outcome == "routed")
    told = tuple(gaps)
    reasons = {(one.route, one.path): one.reason for one in told}
    lost = {one.route: one for one in told if one.whole and (one.route, "") not in shown}
    # Calls that miss a condition say nothing of it where none is known that meets it.
    shown -= {(key, path) for key, path in shown if key in lost}
    for key, gap in lost.items():
        reasons.setdefault((key, ""), f"{gap.path}: {gap.reason}" if gap.path else gap.reason)
    why = reasons | {place: "the tests that show it did not pass" for one in results for place in one.trial.shows}
    return Coverage(
        points=tuple(
            Point(
                route=key,
                path=path,
                covered=(key, path) in shown,
                why="" if (key, path) in shown else reasons.get((key, path), reasons.get((key, ""), "")),
            )
            for key, path in _points(graph)
        ),
        policies=tuple(
            Point(
                route=one.key,
                path=one.path,
                covered=one.place in shown,
                why="" if one.place in shown else one.unseen or why.get(one.place, "no test of this run is about it"),
            )
            for one in promises(graph)
        ),
        backends=tuple(_backends(graph, called, reasons)),
    )


def _backends(graph: Graph, called: set[tuple[Key, Key]], reasons: Mapping[tuple[Key, str], str]) -> Iterable[Point]:
    """Every backend; `called` are the nodes and services of calls that got there."""
    for one in graph.edges:
        if one.relation is Relation.BACKEND:
            covered = (one.source, one.target) in called
            why = "" if covered else reasons.get((one.source, one.path), "")
            yield Point(route=one.source, path=one.path, covered=covered, why=why)


def _points(graph: Graph) -> Iterable[tuple[Key, str]]:
    """Every route, each of its conditions that something can miss, and its targets with a weight."""
    for kind in (Kind.GATEWAY_ROUTE, Kind.ROUTE):
        for resource in graph.state.of(kind):
            yield resource.key, ""
            for path in conditions(resource):
                yield resource.key, path
            for path, _ in _targets(resource):
                yield resource.key, path


def _shown(graph: Graph, verdict: Verdict, served: set[str]) -> Iterable[tuple[Key, str]]:
    for hop in verdict.hops:
        for candidate in hop.candidates:
            if candidate.origin == hop.chosen:
                if verdict.outcome not in _NOWHERE:  # else nothing gets through it
                    yield candidate.origin, ""
                for path, node in _targets(graph.state[candidate.origin]):
                    if node in served:
                        yield candidate.origin, path
                # Routes behind the one that is followed were not asked.
                break
            if len(candidate.misses) == 1:
                yield candidate.origin, candidate.misses[0].path


def conditions(resource: Resource) -> Iterable[str]:
    """The fields of a route's conditions, apart from a prefix `/` and a port, which nothing near misses."""
    spec = resource.spec
    if isinstance(spec, RouteSpec):
        match = route_match(spec)
        where = f"spec.{route_action(spec)[0]}.match"
        if isinstance(match, HttpRouteMatch):
            yield from _http(match, where)
        elif isinstance(match, GrpcRouteMatch):
            yield from _grpc(match, where)
    elif isinstance(spec, GatewayRouteSpec):
        entry = gateway_route_match(spec)
        where = f"spec.{gateway_route_target(spec)[0]}.match"
        yield from _http(entry, where) if isinstance(entry, HttpGatewayRouteMatch) else _grpc(entry, where)
        if entry.hostname is not None:
            yield f"{where}.hostname"


def _http(match: HttpRouteMatch | HttpGatewayRouteMatch, where: str) -> Iterable[str]:
    kind, text = http_path(match)
    if kind != "prefix":
        yield f"{where}.path.{kind}"
    elif text != "/":
        yield f"{where}.prefix"
    if match.method is not None:
        yield f"{where}.method"
    if isinstance(match, HttpRouteMatch) and match.scheme is not None:
        yield f"{where}.scheme"
    yield from (f"{where}.headers[{index}]" for index in range(len(match.headers or ())))
    yield from (f"{where}.queryParameters[{index}]" for index in range(len(match.query_parameters or ())))


def _grpc(match: GrpcRouteMatch | GrpcGatewayRouteMatch, where: str) -> Iterable[str]:
    if match.service_name is not None:
        yield f"{where}.serviceName"
    if isinstance(match, GrpcRouteMatch) and match.method_name is not None:
        yield f"{where}.methodName"
    yield from (f"{where}.metadata[{index}]" for index in range(len(match.metadata or ())))


def _targets(resource: Resource) -> Iterable[tuple[str, str]]:
    """The weighted targets of a route, each with its virtual node."""
    if isinstance(resource.spec, RouteSpec):
        member, action = route_action(resource.spec)
        for index, target in enumerate(action.weighted_targets):
            if target.weight:
                yield f"spec.{member}.action.weightedTargets[{index}]", target.virtual_node
