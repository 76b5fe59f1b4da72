"""The step of a service: its rules, one of which takes the call to virtual nodes.

The one rule: it is the same step for every caller, node or gateway; they differ in what they bring along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import Graph, route_action
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import (
    Rule,
    ServicePort,
    Timeouts,
    at_ingress,
    at_rule,
    encryption,
    holding,
    listener_timeouts,
    ordered_routes,
    paths,
    route_match,
    rules,
    shortest,
)
from meshwright.simulate import methods
from meshwright.simulate.extending import answered, edited, effects
from meshwright.simulate.matching import asks_for, misses
from meshwright.simulate.statuses import ending
from meshwright.simulate.verdicts import Candidate, Ending, Hop, Miss, Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.routing import ClientTls, Target
    from meshwright.simulate.calls import Call


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy that calls services."""

    graph: Graph
    key: Key
    ports: tuple[ServicePort, ...]
    """What it may call."""
    now: int
    """Milliseconds since the epoch, UTC."""

    def services(self, target: Target) -> tuple[Key, ...]:
        """The services by which it reaches a listener, in order; as one connection serves all, so one TLS does."""
        found = (
            port.service
            for port in self.ports
            for rule in _rules(self.graph, port)
            for one in rule.targets
            if (one.node, one.port) == (target.node, target.port)
        )
        return tuple(dict.fromkeys(found))


def malformed(call: Call) -> Ending | None:
    """The end of a call whose method, path or Host no proxy takes; None for every other."""
    if call.protocol == "http2" and not call.authority:
        told = "Host '': proxies break off an HTTP/2 connection that brings it"
        return Ending(outcome="refused", reason=told, decided_by=None)
    fault = paths.fault(call.path)
    told = _unread(call.protocol, call) or (f"path {call.path!r}: {fault}" if fault else "")
    return ending(call, "refused", 400, told, None) if told else None


def _unread(over: str, call: Call) -> str:
    """Why a proxy does not take a method that comes `over` a protocol; "" when it does."""
    fault = methods.fault(call.verb) if over == "http" else ""
    return f"method {call.verb!r}: {fault}" if fault else ""


def served(caller: Caller, port: ServicePort, call: Call, virtual_host: str) -> tuple[Hop, Ending]:
    """What becomes of `call` at the rules of a service on one of its ports."""
    graph = caller.graph
    carried = port.protocol == "tcp"
    several = _rules(graph, port)
    considered = _candidates(caller, port, call, several)
    chosen = next((one.origin for one in considered if one.matched), None)
    hop = Hop(
        at=caller.key,
        decided_by=port.service,
        virtual_host=virtual_host,
        call=call,
        candidates=considered,
        chosen=chosen,
        call_after=call,
    )
    if chosen is None:
        name = port.service.name
        if carried:
            why = f"no TCP route of {name!r} is for port {port.port}"
            return hop, Ending(outcome="no-route", reason=why, decided_by=port.provider)
        why = (
            "no route matches"
            if considered
            else f"{port.provider.kind.type_name} {port.provider.name!r} has no routes"
        )
        return hop, ending(call, "no-route", 404, f"{why} at virtual service {name!r}", port.provider)
    rule = next(one for one in several if one.origin == chosen)
    return _followed(caller, port, rule, hop)


def _followed(caller: Caller, port: ServicePort, rule: Rule, hop: Hop) -> tuple[Hop, Ending]:
    graph, now, call = caller.graph, caller.now, hop.call
    place = at_rule(port, rule.origin, rule.protocol, caller.key)
    total = sum(one.weight for one in rule.targets)
    told = effects(graph, place, call, now, sent_on=total > 0)
    after = edited(graph, place, call, now)
    shares = tuple(_share(caller, rule, one, total, after) for one in rule.targets)
    limits = {"timeouts": rule.timeouts, "retry": rule.retry} if total else {}
    hop = msgspec.structs.replace(hop, effects=told, call_after=after, targets=shares, **limits)
    if own := answered(told, call):
        return hop, own
    named = f"{rule.origin.kind.type_name} {rule.origin.name!r}"
    if not total:
        why = f"{named} has no target with a weight"
        if rule.protocol == "tcp":
            why = f"{why}: the connection is closed"
            return hop, Ending(outcome="no-target", reason=why, decided_by=rule.origin)
        return hop, ending(call, "no-target", 503, why, rule.origin)
    used = [one for one in shares if one.weight]
    if all(one.refused for one in used):
        if rule.protocol == "tcp":
            return hop, Ending(outcome="refused", reason=used[0].refused, decided_by=used[0].node)
        status = 400 if used[0].refused == _unread(used[0].protocol, after) else 503
        return hop, ending(call, "refused", status, used[0].refused, used[0].node)
    taken = f"{named} of {port.service.name!r} takes it"
    return hop, Ending(outcome="routed", reason=taken, decided_by=rule.origin)


def _candidates(caller: Caller, port: ServicePort, call: Call, several: Sequence[Rule]) -> tuple[Candidate, ...]:
    """The routes of the provider in match order; those for another port or protocol among them."""
    if port.provider.kind is Kind.VIRTUAL_NODE:
        return tuple(Candidate(origin=one.origin) for one in several)
    return tuple(
        Candidate(origin=route.key, misses=_misses(caller, port, call, route.key, route.spec))
        for route in ordered_routes(caller.graph, port.provider)
        if isinstance(route.spec, RouteSpec)
    )


def _misses(caller: Caller, port: ServicePort, call: Call, key: Key, spec: RouteSpec) -> tuple[Miss, ...]:
    match, (member, _) = route_match(spec), route_action(spec)
    where = f"spec.{member}.match"
    found = []
    if match is not None and match.port not in {None, port.port}:
        found.append(Miss(f"{where}.port", str(match.port), str(port.port)))
    if (member == "tcpRoute") != (port.protocol == "tcp"):
        found.append(Miss(f"spec.{member}", "TCP" if member == "tcpRoute" else "HTTP", f"a port of {port.protocol}"))
    if found or port.protocol == "tcp":
        return tuple(found)
    missing = misses(match, call, where)
    if missing and asks_for(match, call, where):
        place = at_rule(port, key, "http", caller.key)
        if holding(caller.graph, Kind.CORS, place, caller.now):
            return ()
    return missing


def _share(caller: Caller, rule: Rule, target: Target, total: int, call: Call) -> Share:
    graph, listener = caller.graph, target.listener
    reached = encryption(graph, caller.key, caller.services(target), target.node, listener).tls
    own = listener_timeouts(listener)
    place = at_ingress(target.node, target.protocol, target.port)
    return Share(
        node=target.node,
        port=target.port,
        protocol=target.protocol,
        weight=target.weight,
        fraction=target.weight / total if total else 0.0,
        timeouts=Timeouts(shortest((rule.timeouts.request, own.request)), shortest((rule.timeouts.idle, own.idle))),
        tls=reached,
        refused=_refusal(graph, target, reached) or _unread(target.protocol, call),
        effects=effects(graph, place, call, caller.now),
    )


def _refusal(graph: Graph, target: Target, tls: ClientTls | None) -> str:
    """Why no connection to a listener comes about, as far as definitions tell: certificates they only name."""
    resource = graph.state[target.node]
    whom = f"virtual node {target.node.name!r} on port {target.port}"
    if isinstance(resource.spec, VirtualNodeSpec) and resource.spec.service_discovery is None:
        return f"{whom} has no service discovery"
    if tls is None:
        return ""
    if tls.refused:
        return f"{whom}: {tls.refused}"
    listening = target.listener.tls
    if listening is None or listening.mode == "DISABLED":
        return f"the client policy wants TLS, and {whom} speaks none"
    if listening.validation is not None and tls.certificate is None:
        return f"{whom} wants a client certificate, and the caller has none"
    return ""


def _rules(graph: Graph, port: ServicePort) -> tuple[Rule, ...]:
    return graph.recall_about(port.service, rules, port)
