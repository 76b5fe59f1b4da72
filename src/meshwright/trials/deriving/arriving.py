"""Calls that arrive at a given route: the plainest one, or one that no route before it takes.

The one rule: a call is taken only when `simulate` says that it follows the route that it is made for.
"""

from __future__ import annotations

import itertools
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.gateway_routes import HttpGatewayRouteMatch
from meshwright.model.identity import Key, Kind
from meshwright.routing import gateway_target, rules
from meshwright.simulate import Verdict, route
from meshwright.trials.deriving.asking import behind, of_rule, outer_paths, ways_in
from meshwright.trials.deriving.avoiding import Search
from meshwright.trials.deriving.choices import choices
from meshwright.trials.deriving.entries import (
    Arrival,
    Entrance,
    Gap,
    bare_call,
    callers,
    listeners,
)
from meshwright.trials.deriving.examples import UNMET, NoExampleError, UnsendableError, example
from meshwright.trials.deriving.expectations import leads_nowhere
from meshwright.trials.deriving.parts import PATH
from meshwright.trials.deriving.texts import usable_target
from meshwright.trials.deriving.untried import calls_itself
from meshwright.trials.sendable import unsendable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from meshwright.graph import Graph
    from meshwright.routing import Rule, ServicePort
    from meshwright.simulate import Call
    from meshwright.simulate.calls import Protocol
    from meshwright.trials.deriving.asking import Entering
    from meshwright.trials.deriving.avoiding import Asked
    from meshwright.trials.deriving.texts import Texts

_MOST = 8
"""Calls of one search that `simulate` is asked about."""
_OTHERS: Mapping[Protocol, tuple[Protocol, ...]] = MappingProxyType(
    {"http": ("http2", "grpc"), "http2": ("http", "grpc"), "grpc": ("http2",)}
)


class Inside:
    """Calls of a service, as applications make them, that one of its rules takes and none before it."""

    def __init__(self, graph: Graph, port: ServicePort, rule: Rule, texts: Texts) -> None:
        """Nothing is looked for before somebody asks."""
        self.port, self.rule, self.texts = port, rule, texts
        self._graph = graph
        self._known: list[Call] = []
        self._coming = self._found()
        self.unsendable = False
        """Whether others may know one and no run does, once somebody asked for one."""
        self.gap = Gap(route=rule.origin, path="", reason=UNMET)
        """Why there are none, once there are none."""

    def __iter__(self) -> Iterator[Call]:
        yield from self._known
        for call in self._coming:
            self._known.append(call)
            yield call

    @property
    def asked(self) -> tuple[Asked, ...]:
        """What the rules ask that are tried before this one, and last what this one asks."""
        return of_rule(self._graph, self.port, self.rule.origin)

    def _found(self) -> Iterator[Call]:
        *others, own = self.asked
        base = bare_call(self.port)
        try:
            call = example(own.match, own.where, base, self.texts)
        except NoExampleError as error:
            self.unsendable = isinstance(error, UnsendableError)
            self.gap = msgspec.structs.replace(self.gap, path=error.path, reason=error.reason)
        else:
            if not own.missing(call) and all(one.missing(call) for one in others):
                yield call
        for way in _ways(base):
            search = Search(way, [own], others, self.texts)
            yield from _sent(search)
            self.gap = _told(self.gap, search)


def at_route(graph: Graph, inside: Inside, from_: Iterable[Key] | None = None) -> Arrival | Gap:
    """A call of the service that follows the rule, from whoever may make it; if it can be, from who gets through.

    A node that it may lead to itself is no such caller.

    `from_` are those who can call, where not everybody can.
    """
    port, origin = inside.port, inside.rule.origin
    turned_away: Arrival | None = None
    able = callers(graph, port.service)
    nobody = "nobody may" if from_ is None or not able else "none of those may"
    missed = Gap(route=origin, path="", reason=f"{nobody} call virtual service {port.service.name!r}")
    for caller in able if from_ is None else [one for one in able if one in set(from_)]:
        missed = inside.gap
        for call in inside if caller.kind is Kind.VIRTUAL_NODE else _through(graph, caller, inside):
            verdict = route(graph, caller, call)
            if verdict.hops and verdict.hops[-1].chosen == origin:
                found = Arrival(caller=caller, call=call, verdict=verdict)
                if not verdict.refused and not calls_itself(verdict):
                    return found
                turned_away = turned_away or found
                break
            missed = Gap(route=origin, path="", reason=by_name_alone(graph, verdict, port.service) or _taken(verdict))
        else:
            # Why a call goes elsewhere says less than that there can be none, where that is known.
            missed = inside.gap if inside.gap.path or inside.gap.reason != UNMET else missed
    return turned_away or missed


def reaching(port: ServicePort, within: Iterable[Inside]) -> Call:
    """A call of a service on one of its ports that some rule with a target takes; the plainest of all if one does.

    Where no rule has a target, or none is found to take a call, it is the plainest, too. `within` are calls of rules.
    """
    own = [one for one in within if one.port == port]
    bare = bare_call(port)
    for one in own:
        *others, asked = one.asked
        if not asked.missing(bare) and all(before.missing(bare) for before in others):
            if leading(one.rule):
                return bare
            break
    found = (call for one in own if leading(one.rule) for call in itertools.islice(one, 1))
    return next(found, bare)


def unsent(within: Sequence[Inside]) -> str:
    """Why a run has no call that any of a service's rules takes which may get one, although others may know one.

    "" where it has one, or nobody is known to.
    """
    able = [one for one in within if leading(one.rule)]
    if any(True for one in able for _ in one):
        return ""
    return next((one.gap.reason for one in able if one.unsendable), "")


def by_name_alone(graph: Graph, verdict: Verdict, service: Key) -> str:
    """Why a TCP connection of the verdict's goes past a service that it would get to by the name in a TLS greeting.

    "" where it gets there, and where that would not help.
    """
    call = verdict.call
    if call.protocol != "tcp" or call.encrypted or _comes_to(verdict, service):
        return ""
    if not _comes_to(route(graph, verdict.caller, msgspec.structs.replace(call, scheme="https")), service):
        return ""
    other = f"on port {call.port} another backend takes what does not name {service.name!r} in a TLS greeting"
    return f"{other}, and workloads in a run speak no TLS of their own"


def _comes_to(verdict: Verdict, service: Key) -> bool:
    return any(hop.decided_by == service for hop in verdict.hops)


def leading(rule: Rule) -> bool:
    """Whether calls that follow a rule are sent to anybody."""
    return any(one.weight for one in rule.targets)


def entrances(graph: Graph, texts: Texts) -> Iterator[Entrance]:
    """Every route of every gateway, at each of its listeners that it is for."""
    for gateway, listener in listeners(graph):
        for one in ways_in(graph, gateway, listener):
            port = gateway_target(graph, one.key, one.spec).port
            within = [Inside(graph, port, rule, texts) for rule in rules(graph, port)] if port is not None else []
            found = _at_gateway(graph, one, texts, within)
            nowhere = isinstance(found, Arrival) and found.verdict.outcome == "no-route"
            yield Entrance(key=one.key, spec=one.spec, found=found, unsent=unsent(within) if nowhere else "")


def _at_gateway(graph: Graph, entering: Entering, texts: Texts, within: Sequence[Inside]) -> Arrival | Gap:
    """A call from outside that follows a gateway route; if there is one, one that gets to a virtual node by it.

    `within` are calls of the rules behind it.
    """
    *others, own = entering.asked
    key, lost = entering.key, Gap(route=entering.key, path="", reason=UNMET)
    nowhere: Arrival | None = None

    def tried() -> Iterator[Call]:
        nonlocal lost
        try:
            yield example(own.match, own.where, entering.base, texts)
        except NoExampleError as error:
            lost = msgspec.structs.replace(lost, path=error.path, reason=error.reason)
        for one in within:
            yield from _joint(entering, one) if leading(one.rule) else ()
        for way in _ways(entering.base):
            search = Search(way, [own], others, texts)
            yield from _sent(search)
            lost = _told(lost, search)

    for call in tried():
        verdict = route(graph, entering.gateway, call)
        if verdict.hops and verdict.hops[0].chosen == key:
            found = Arrival(caller=entering.gateway, call=call, verdict=verdict)
            if not leads_nowhere(verdict):
                return found
            nowhere = nowhere or found
    return nowhere or lost


def _through(graph: Graph, gateway: Key, inside: Inside) -> Iterator[Call]:
    """Calls from outside that come to a rule, as far as a gateway's routes let them."""
    for owner, listener in listeners(graph):
        for one in ways_in(graph, gateway, listener) if owner == gateway else ():
            if gateway_target(graph, one.key, one.spec).port == inside.port:
                yield from _plainly(one, inside)
                yield from _joint(one, inside)


def _plainly(entering: Entering, inside: Inside) -> Iterator[Call]:
    """The plainest call that a gateway route takes, made to look like the plainest that the rule does."""
    own, within = entering.asked[-1], next(iter(inside), None)
    try:
        call = example(own.match, own.where, entering.base, inside.texts)
    except NoExampleError:
        return
    if within is None:
        return
    names = {name.lower() for name, _ in call.headers}
    added = tuple(pair for pair in within.headers if pair[0].lower() not in names)
    wanted = isinstance(own.match, HttpGatewayRouteMatch) and own.match.method
    method = call.method if wanted else within.method
    for path in outer_paths(entering.spec, call.path, within.path):
        yield msgspec.structs.replace(call, path=path, method=method, headers=(*call.headers, *added))


def _joint(entering: Entering, inside: Inside) -> Iterator[Call]:
    """Calls that a gateway route takes and none before it, and then the rule and none before it."""
    *before, own = entering.asked
    *others, asked = behind(entering, inside.port, inside.asked)
    for way in _ways(entering.base):
        matches = [one.match for one in (*others, asked)]
        found = choices(PATH, bare_call(inside.port), matches, inside.texts)
        paths = [path for (one,) in found for path in outer_paths(entering.spec, one, one) if usable_target(path)]
        search = Search(way, [own, asked], [*before, *others], inside.texts, tuple(dict.fromkeys(paths)))
        yield from _sent(search)


def _sent(search: Search) -> Iterator[Call]:
    """Some of the calls that were found, of those that clients can send."""
    yield from (call for call in itertools.islice(search.calls(), _MOST) if not any(unsendable(call)))


def _ways(base: Call) -> Iterator[Call]:
    """`base` over the protocol of the port, then over others that proxies take there as well."""
    yield base
    for protocol in _OTHERS.get(base.protocol, ()):
        path = "/lab.Workload/Who" if protocol == "grpc" else "/"
        yield msgspec.structs.replace(base, protocol=protocol, path=path)


def _told(gap: Gap, search: Search) -> Gap:
    """Why there is no call, after one more search that found none."""
    if search.found:
        return gap
    if search.lacking:
        return gap if gap.path or gap.reason != UNMET else msgspec.structs.replace(gap, path=search.lacking)
    return msgspec.structs.replace(gap, path="", reason=search.reason)


def _taken(verdict: Verdict) -> str:
    """Why a call that a match takes does not follow its route."""
    if verdict.hops and (chosen := verdict.hops[-1].chosen) is not None:
        return f"{chosen.kind.type_name} {chosen.name!r} takes before it whatever it would match"
    return verdict.ending.reason
