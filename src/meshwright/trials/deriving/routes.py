"""Trials of routes: each one reached, each of its conditions missed by a little, its weights counted.

The one rule: what a call must come to is what `simulate` says of it; a route that no call reaches is told as a gap.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import Relation, gateway_route_target
from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import discovery_name, gateway_route_match, service_ports
from meshwright.simulate import route
from meshwright.trials.coverage import conditions
from meshwright.trials.deriving import policies
from meshwright.trials.deriving.arriving import by_name_alone, reaching, unsent
from meshwright.trials.deriving.beside import Beside
from meshwright.trials.deriving.entries import Gap, callers, match_of
from meshwright.trials.deriving.examples import further
from meshwright.trials.deriving.expectations import (
    UNSURE,
    agreed,
    declared,
    encrypted,
    expectation,
    leads_nowhere,
    security,
    shares,
)
from meshwright.trials.deriving.nears import nears
from meshwright.trials.shares import CONFIDENCE
from meshwright.trials.trial import Expect, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.routing import Rule, ServicePort
    from meshwright.simulate import Call, Verdict
    from meshwright.trials.deriving.arriving import Inside
    from meshwright.trials.deriving.entries import Arrival, Entrance
    from meshwright.trials.deriving.parts import Matched
    from meshwright.trials.deriving.texts import Texts

COUNTED = 600
"""Calls that shares are counted over. Where 90 % were asked for and 80 % come, one run in some thousands passes; an
honest share fails once in a thousand and, as it is counted again then, once in a million."""

_BY_LUCK = (1 - CONFIDENCE) / 2
"""The chance that honest shares leave out all but those that another route would serve."""
_ROUTES = frozenset((Kind.ROUTE, Kind.GATEWAY_ROUTE))
_UNMISSED = "no call was found that misses it alone and that no route before takes"
_FEW, _SOME = 4, 60
"""Calls by which one target is told from shares, and shares from each of their targets."""


def of_services(
    graph: Graph, arrivals: Iterable[tuple[ServicePort, Rule, Arrival | Gap]], texts: Texts, patience: int
) -> Iterator[Trial | Gap]:
    """Every rule of every service, with the call that was found for it."""
    for port, rule, found in arrivals:
        if isinstance(found, Gap):
            yield msgspec.structs.replace(found, whole=True)
            continue
        match, where = match_of(graph, rule)
        title = _title(rule.origin, port)
        yield from _reached(graph, found, match, rule.origin, where, title)
        yield from _near(graph, found, rule.origin, title, texts)
        weights = shares(found.verdict)
        if len(weights) > 1:
            yield _counted(found, weights, rule.origin, title)
        way = policies.Way(found=found, key=rule.origin, path=where.removesuffix(".match"), title=title)
        yield from policies.of_way(graph, way, patience)


def of_gateways(graph: Graph, entrances: Iterable[Entrance], texts: Texts, patience: int) -> Iterator[Trial | Gap]:
    """Every route of every gateway, at each of its listeners that it is for."""
    for entrance in entrances:
        found, key, spec = entrance.found, entrance.key, entrance.spec
        if isinstance(found, Gap):
            yield msgspec.structs.replace(found, whole=True)
            continue
        where = f"spec.{gateway_route_target(spec)[0]}.match"
        title = f"gateway route {key.name} of {found.caller.name}:{found.call.port}"
        match = gateway_route_match(spec)
        if entrance.unsent:
            yield Gap(route=key, path="", reason=entrance.unsent)
        else:
            yield from _reached(graph, found, match, key, where, title)
        yield from _near(graph, found, key, title, texts)
        way = policies.Way(found=found, key=key, path=where.removesuffix(".match"), title=title)
        yield from policies.of_way(graph, way, patience)


def of_callers(graph: Graph, within: Sequence[Inside], arrivals: Sequence[Arrival]) -> Iterator[Trial | Gap]:
    """Every node calls every service: those that it declares, and those that it does not.

    `within` are calls of the services' rules; what `arrivals` show already is left out.
    """
    calls = {
        one.key: reaching(port, within)
        for one in graph.state.of(Kind.VIRTUAL_SERVICE)
        for port in service_ports(graph, one.key)[:1]
    }
    shown = {(one.caller, hop.decided_by) for one in arrivals for hop in one.verdict.hops}
    for node in graph.state.of(Kind.VIRTUAL_NODE):
        yield from _uncalled(graph, node.key, calls)
        for service, call in calls.items():
            if _own_name(node) == service.name:
                # It would find its own address there, to which no call leaves the machine: no proxy sees it.
                continue
            verdict = route(graph, node.key, call)
            if (node.key, service) in shown and (not verdict.refused or callers(graph, service) == (node.key,)):
                # The trials of its routes show what its first caller reaches, and what an only one does not.
                continue
            own = [one for one in within if one.port.service == service and one.port.port == call.port]
            told = by_name_alone(graph, verdict, service) or (unsent(own) if verdict.outcome == "no-route" else "")
            declared_at = [one.path for one in graph.outgoing(node.key, Relation.BACKEND) if one.target == service]
            if told and declared_at:
                yield Gap(route=node.key, path=declared_at[0], reason=told)
            else:
                yield from _calling(graph, verdict, service)


def _calling(graph: Graph, verdict: Verdict, service: Key) -> Iterator[Trial]:
    """One node calls one service."""
    node = verdict.caller
    named = service in graph.entry_services(node)
    expect = declared(graph, verdict) if named else expectation(agreed(verdict))
    if expect is None:
        return
    verb = "reaches" if named else "goes past the mesh to" if verdict.outcome == "outside" else "does not reach"
    yield Trial(
        name=f"{node.name} {verb} {service.name}",
        call=verdict.call,
        expect=expect,
        caller=node,
        about=(node, service),
        path="spec.backends",
    )


def _uncalled(graph: Graph, node: Key, calls: Mapping[Key, Call]) -> Iterator[Gap]:
    """The backends of a node that nobody can call, because there is no such service or nobody behind it."""
    for edge in graph.outgoing(node, Relation.BACKEND):
        if edge.target in calls:
            continue
        service = f"virtual service {edge.target.name!r}"
        behind = f"nobody who listens answers for {service}: it has no port to be called on"
        yield Gap(route=node, path=edge.path, reason=behind if edge.found else f"{service} does not exist")


def _own_name(node: Resource) -> str:
    """The name by which a node is found; "" without one."""
    spec = node.spec
    return discovery_name(spec.service_discovery) if isinstance(spec, VirtualNodeSpec) else ""


def _reached(graph: Graph, found: Arrival, match: Matched, key: Key, where: str, title: str) -> Iterator[Trial | Gap]:
    """By the plainest call that there is, and by one that has all that no condition is about.

    It is to be reached also where client and server cannot agree on TLS, or nobody is behind it: then the trial
    fails, and says so.
    """
    verdict = found.verdict
    nowhere = leads_nowhere(verdict)
    expect = declared(graph, verdict)
    if expect is not None:
        if verdict.refused:
            expect = msgspec.structs.replace(expect, arrived={})  # that it does not arrive says enough
        elif expect.served_by and not nowhere:
            expect = msgspec.structs.replace(expect, encryption=encrypted(graph, verdict))
        trial = _repeated(f"{title} is reached", agreed(verdict), expect, key, where)
        yield msgspec.structs.replace(trial, shows=_secured(graph, found, expect))
    else:
        yield Gap(route=key, path="", reason=UNSURE)
    if verdict.refused or nowhere:
        reason = verdict.ending.reason if nowhere else verdict.refused[0].refused
        yield from (Gap(route=one, path="", reason=reason) for one in verdict.chosen)
        return
    for place, call in enumerate(further(match, found.call)):
        verdict = route(graph, found.caller, call)
        expect = expectation(verdict)
        if expect is not None and not leads_nowhere(verdict) and call != found.call and key in verdict.chosen:
            told = f"by {call.verb} {call.path}" if not place else _differing(found.call, call)
            yield _repeated(f"{title} is reached {told}, too", verdict, expect, key, where)
            if not place:
                return


def _differing(plain: Call, call: Call) -> str:
    """In what `call` differs from a plainer one."""
    if (call.verb, call.path) != (plain.verb, plain.path):
        return f"by {call.verb} {call.path}"
    return "with a header more" if call.seen_scheme == plain.seen_scheme else f"as {call.seen_scheme}"


def _secured(graph: Graph, found: Arrival, expect: Expect) -> tuple[tuple[Key, str], ...]:
    """The TLS of listeners that a call shows which gets through, where proxies say how it was encrypted."""
    entered = found.caller.kind is Kind.VIRTUAL_GATEWAY and found.call.encrypted
    ends = [(one.node, one.port) for one in found.verdict.targets if one.fraction] if expect.encryption else []
    places = [(found.caller, found.call.port)] if entered else []
    return tuple(place for proxy, port in (*places, *ends) for place in security(graph, proxy, port))


def _near(graph: Graph, found: Arrival, key: Key, title: str, texts: Texts) -> Iterator[Trial | Gap]:
    """On both sides of each condition: what it takes gets through, what it does not goes elsewhere.

    Of calls that go elsewhere and to the same end, one for a condition is enough: the others would tell nothing.
    """
    beside, own = Beside(graph, found, key, texts), _end(found.verdict)
    match, where = beside.asked
    missed, same = set[str](), set[str]()
    for near in nears(match, where, found.call, texts):
        verdict = beside.verdict(near)
        expect = expectation(verdict) if verdict is not None else None
        if verdict is None or expect is None or verdict.call == found.call:
            continue
        if key in verdict.chosen:
            yield _repeated(f"{title}: {near.told} is taken, too", verdict, expect, key, near.path)
            continue
        missed.add(near.path)
        if _end(verdict) == own:
            if near.path in same:
                continue
            same.add(near.path)
        name = f"{title}: {near.told} goes elsewhere"
        trial = _trial(name, verdict.caller, verdict.call, expect, key, near.path)
        yield _told_apart(trial, verdict, found.verdict)
    for path in conditions(graph.state[key]) if key.kind in _ROUTES else ():
        if path not in missed:
            yield Gap(route=key, path=path, reason=_UNMISSED)


def _end(verdict: Verdict) -> tuple[object, ...]:
    """What a caller sees of where a call goes."""
    return (verdict.outcome, verdict.status, verdict.ending.grpc_status, shares(verdict))


def _told_apart(trial: Trial, verdict: Verdict, own: Verdict) -> Trial:
    """Enough calls to tell where they go from where `own` would take them, where both are shares."""
    weights, others = shares(verdict), shares(own)
    if not trial.expect.served_by or len(weights) < 2:
        return msgspec.structs.replace(trial, of=_FEW)
    # What share of the honest calls goes where all would, if these took the other way.
    like = sum(weights.get(name, 0.0) for name, part in others.items() if part)
    sure = _FEW if not like else math.ceil(math.log(_BY_LUCK) / math.log(like)) if like < 1 else _SOME
    of = min(max(sure, _FEW), _SOME)
    return msgspec.structs.replace(trial, of=of, expect=msgspec.structs.replace(trial.expect, shares=weights))


def _counted(found: Arrival, weights: dict[str, float], key: Key, title: str) -> Trial:
    told = ", ".join(f"{name} {share:.0%}" for name, share in weights.items())
    expect = Expect(statuses=() if found.call.protocol == "grpc" else (200,), shares=weights)
    trial = _trial(f"{title} shares out: {told}", found.caller, found.call, expect, key, "spec")
    return msgspec.structs.replace(trial, of=COUNTED)


def _repeated(name: str, verdict: Verdict, expect: Expect, key: Key, path: str) -> Trial:
    """A trial of enough calls that no other route with shares meets what is expected by luck."""
    weights = shares(verdict)
    trial = _trial(name, verdict.caller, verdict.call, expect, key, path)
    if not expect.served_by or len(weights) < 2:
        return msgspec.structs.replace(trial, of=_FEW)
    return msgspec.structs.replace(trial, of=_SOME, expect=msgspec.structs.replace(expect, shares=weights))


def _trial(name: str, caller: Key, call: Call, expect: Expect, key: Key, path: str) -> Trial:
    return Trial(name=name, call=call, expect=expect, caller=caller, about=(key,), path=path)


def _title(origin: Key, port: ServicePort) -> str:
    if origin.kind is Kind.ROUTE:
        return f"route {origin.name} of {port.service.name}:{port.port}"
    return f"virtual service {port.service.name}:{port.port}"
