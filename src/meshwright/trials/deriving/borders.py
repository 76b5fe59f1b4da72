"""Trials of a mesh's borders: what its nodes may call outside of it, and what its listeners take from there.

The one rule: a call that nobody may make is tried like one that may be made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key, Kind
from meshwright.routing import egress, service_ports, unservable
from meshwright.simulate import Call, route
from meshwright.trials.deriving.entries import Gap, from_outside, listeners, node_listeners, straight
from meshwright.trials.deriving.expectations import expectation, security
from meshwright.trials.trial import OUTSIDE, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.tls import ListenerTls
    from meshwright.routing import Egress

_STRANGER = "stranger.example"
"""A host that no definition knows."""
_VALIDATION = ("validation.trust", "validation.subjectAlternativeNames")
_NAMES = 4
"""Names of clients, of which a listener wants one, that are tried at most."""
_UNUSED = range(8_880, 9_000)
"""One of these is a port that nobody in the mesh is called on."""


def of_nodes(graph: Graph) -> Iterator[Trial]:
    """Every node calls a host that nobody knows, on a port of its backends and on another, and those it may call."""
    used = {port.port for one in graph.state.of(Kind.VIRTUAL_SERVICE) for port in service_ports(graph, one.key)}
    unused = next(port for port in _UNUSED if port not in used)
    for node in graph.state.of(Kind.VIRTUAL_NODE):
        called = [port for service in graph.entry_services(node.key) for port in service_ports(graph, service)]
        ports = dict.fromkeys(one.port for one in called if one.protocol == "http")
        may = egress(graph, node.key)
        for port in (*ports, unused):
            yield from _called(graph, node.key, Call(host=_STRANGER, port=port), may.origin)
        for call in _allowed(may):
            yield from _called(graph, node.key, call, may.origin)


def of_gateways(graph: Graph) -> Iterator[Trial]:
    """Every listener of every gateway is called encrypted where it does not ask for that, and the reverse."""
    for gateway, listener in listeners(graph):
        call = from_outside(gateway, listener)
        other = msgspec.structs.replace(call, scheme="http" if call.encrypted else "https")
        verdict = route(graph, gateway, other)
        expect = expectation(verdict)
        if expect is None:
            continue
        how = "TLS" if other.encrypted else "plaintext"
        taken = "does not take" if verdict.outcome == "refused" and not verdict.hops else "takes"
        yield Trial(
            name=f"gateway {gateway.name}:{call.port} {taken} {how}",
            call=other,
            expect=expect,
            caller=gateway,
            about=(gateway,),
            path="spec.listeners",
            shows=security(graph, gateway, call.port),
        )


def of_listeners(graph: Graph) -> Iterator[Trial | Gap]:
    """Whoever has no proxy calls each listener with TLS: as a node asks for it, and with less than is asked for."""
    for node, listener in node_listeners(graph):
        # What cannot be served here is told as such.
        if listener.tls is not None and listener.tls.mode != "DISABLED" and not unservable(listener.tls):
            plain = straight(graph, node, listener)
            yield from _taken(graph, node, plain, "plaintext")
            yield from _taken(graph, node, msgspec.structs.replace(plain, scheme="https"), "TLS")
            yield from _shown(graph, node, plain, listener.tls)
    for gateway, entrance in listeners(graph):
        if entrance.tls is not None and entrance.tls.mode != "DISABLED" and not unservable(entrance.tls):
            call = msgspec.structs.replace(from_outside(gateway, entrance), host=gateway.name)
            yield from _shown(graph, gateway, call, entrance.tls)


def _shown(graph: Graph, proxy: Key, call: Call, tls: ListenerTls) -> Iterator[Trial]:
    """Where certificates of clients are asked for: without any, with one of another authority, for other names."""
    if tls.validation is None:
        return
    call = msgspec.structs.replace(call, scheme="https")
    nameless = msgspec.structs.replace(call, anonymous=True)
    yield from _taken(graph, proxy, nameless, "TLS without a certificate")
    foreign = msgspec.structs.replace(call, foreign=True)
    yield from _taken(graph, proxy, foreign, "TLS with a certificate that nobody here issued", _VALIDATION[0])
    names = tls.validation.subject_alternative_names
    wanted = names.match.exact[:_NAMES] if names is not None else ()
    for one in (*wanted, _STRANGER) if wanted else ():
        named = msgspec.structs.replace(call, named=(one,))
        how = f"TLS with a certificate for {one}"
        yield from _taken(graph, proxy, named, how, _VALIDATION[1])


def _taken(graph: Graph, proxy: Key, call: Call, how: str, member: str = "") -> Iterator[Trial]:
    verdict = route(graph, proxy, call)
    expect = expectation(verdict)
    if expect is None:
        return
    kind = "gateway" if proxy.kind is Kind.VIRTUAL_GATEWAY else "node"
    shows = security(graph, proxy, call.port)
    if member:
        shows = (*((where, f"{path}.{member}") for where, path in shows), *shows)
    yield Trial(
        name=f"{kind} {proxy.name}:{call.port} {'takes' if verdict.succeeds else 'does not take'} {how}",
        call=call,
        expect=expect,
        caller=proxy,
        about=(proxy,),
        path=shows[0][1],
        shows=shows,
    )


def _called(graph: Graph, node: Key, call: Call, origin: Key) -> Iterator[Trial]:
    verdict = route(graph, node, call)
    expect = expectation(verdict)
    if expect is None:
        return
    verb = "reaches" if OUTSIDE in expect.served_by else "does not reach"
    path = "spec.egressFilter" if origin.kind is Kind.MESH else "spec"
    yield Trial(
        name=f"{node.name} {verb} {call.scheme}://{call.host}:{call.port} outside",
        call=call,
        expect=expect,
        caller=node,
        about=(origin, node) if origin in graph.state else (node,),
        path=path if origin in graph.state else "",
        shows=((origin, path),) if origin.kind is Kind.MESH else (),
    )


def _allowed(may: Egress) -> Iterator[Call]:
    """A call to every host that a policy lets through by name."""
    for one in () if may.anything else may.allowed:
        host = f"any{one.host[1:]}" if one.host.startswith("*.") else one.host
        for port in one.ports:
            yield Call(host=host, port=port, scheme="https" if one.protocol == "tls" else "http")
