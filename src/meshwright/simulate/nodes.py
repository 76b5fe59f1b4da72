"""The step of a node's own proxy: for whom a call is by its port, its server name and its Host.

The one rule: the port comes first, then who encrypts by the name in the greeting, then HTTP by the Host; what is left
goes outside or nowhere, as the egress filter says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.routing import (
    AWS_HOSTS,
    AWS_PORT,
    Egress,
    ServicePort,
    Tunnel,
    domains,
    egress,
    named_hosts,
    outside_domains,
    rules,
    service_ports,
    tunnels,
    untaken,
)
from meshwright.simulate.services import Caller, malformed, served
from meshwright.simulate.statuses import ending
from meshwright.simulate.verdicts import Ending, Hop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.simulate.calls import Call


class _Way(msgspec.Struct, frozen=True, kw_only=True):
    """The port of a node's proxy that is called."""

    caller: Caller
    port: int
    http: tuple[ServicePort, ...]
    tunnels: tuple[Tunnel, ...]
    egress: Egress


def out_of_node(graph: Graph, node: Key, call: Call, now: int) -> tuple[tuple[Hop, ...], Ending]:
    """What becomes of `call` that the application of `node` makes."""
    ports = tuple(port for service in graph.entry_services(node) for port in service_ports(graph, service))
    here = [one for one in ports if one.port == call.port]
    http, tcp = (tuple(one for one in here if (one.protocol == "tcp") is carried) for carried in (False, True))
    way = _Way(
        caller=Caller(graph=graph, key=node, ports=ports, now=now),
        port=call.port,
        http=http,
        tunnels=tuple(one for one in tunnels(http, tcp) if one.served and _leads(graph, one.port)),
        egress=egress(graph, node),
    )
    if call.encrypted and (found := _by_server_name(way, call)):
        return found
    if http or (call.port in named_hosts(way.egress, "http") and not tcp):
        return _by_host(way, call)
    for tunnel in way.tunnels:
        if not tunnel.name:
            return _through(way, tunnel, call)
    return _beyond(way, call)


def _leads(graph: Graph, port: ServicePort) -> bool:
    """Whether connections to a TCP backend are taken at all: its first rule has a target with a weight."""
    rule = next(iter(graph.recall_about(port.service, rules, port)), None)
    return rule is not None and any(one.weight for one in rule.targets)


def _by_server_name(way: _Way, call: Call) -> tuple[tuple[Hop, ...], Ending] | None:
    """An encrypted connection whose greeting names somebody that is known; None for every other."""
    name = call.host.lower()
    for tunnel in way.tunnels:
        if tunnel.name == name:
            return _through(way, tunnel, call)
    outside = named_hosts(way.egress, "tls").get(way.port, ())
    known = {*outside, *((AWS_HOSTS,) if way.port == AWS_PORT else ())}
    found = _longest(known, name)
    if found is None:
        return None
    aws = found not in outside
    why = f"{name!r} is one of AWS's own endpoints" if aws else f"{_named(way)} lets TLS to {found!r} out"
    return _outside(way, call, "", why)


def _by_host(way: _Way, call: Call) -> tuple[tuple[Hop, ...], Ending]:
    if call.encrypted or call.protocol == "tcp":
        what = "encrypted" if call.encrypted else "TCP"
        reason = f"on port {way.port} the proxy takes plain HTTP, and this is {what}"
        owner = way.http[0].provider if way.http else way.egress.origin
        return (), Ending(outcome="refused", reason=reason, decided_by=owner)
    if refused := malformed(call):
        return (), refused
    seen = call.arrived(call.protocol)
    host = call.authority.lower()
    taken: set[str] = set()
    for port, free in zip(way.http, untaken(domains(one) for one in way.http), strict=True):
        if host in {one.lower() for one in free}:
            hop, end = served(way.caller, port, seen, port.service.name)
            return (hop,), end
        taken.update(one.lower() for one in free)
    named = named_hosts(way.egress, "http").get(way.port, ())
    beyond = {one for known in named for one in outside_domains(known, way.port)} - taken
    if (found := _longest(beyond, host)) is not None:
        return _outside(
            way, seen, f"egress_policy/{way.egress.origin.name}", f"{_named(way)} lets HTTP to {found!r} out"
        )
    if way.egress.anything:
        return _outside(way, seen, "allow_all", f"{_named(way)} lets everything out")
    known = ", ".join(repr(one.service.name) for one in way.http) or "nobody"
    reason = f"Host {call.authority!r} is no backend's; on port {way.port} {way.caller.key.name!r} may call {known}"
    return (), ending(call, "no-host", 404, f"{reason}, and {_named(way)} drops the rest", way.egress.origin)


def _through(way: _Way, tunnel: Tunnel, call: Call) -> tuple[tuple[Hop, ...], Ending]:
    hop, end = served(way.caller, tunnel.port, call, "")
    return (hop,), end


def _beyond(way: _Way, call: Call) -> tuple[tuple[Hop, ...], Ending]:
    """A connection for nobody that is known."""
    if way.egress.anything:
        return _outside(way, call, "", f"{_named(way)} lets everything out")
    node = way.caller.key.name
    ports = ", ".join(str(one) for one in sorted({one.port for one in way.caller.ports})) or "no port"
    reason = (
        f"{node!r} calls nobody on port {way.port}: its backends are on {ports}, and {_named(way)} drops the rest"
    )
    return (), Ending(outcome="no-host", reason=reason, decided_by=way.egress.origin)


def _outside(way: _Way, call: Call, virtual_host: str, reason: str) -> tuple[tuple[Hop, ...], Ending]:
    hop = Hop(
        at=way.caller.key,
        decided_by=way.egress.origin,
        virtual_host=virtual_host,
        call=call,
        call_after=call,
    )
    return (hop,), Ending(outcome="outside", reason=reason, decided_by=way.egress.origin)


def _named(way: _Way) -> str:
    origin = way.egress.origin
    return f"{origin.kind.type_name} {origin.wire_name!r}"


def _longest(known: Iterable[str], name: str) -> str | None:
    """The entry that stands for `name`: itself, else the longest `*.` and domain that it lies in."""
    found = [one for one in known if one == name or (one.startswith("*.") and name.endswith(one[1:]))]
    return max(found, key=lambda one: (one == name, len(one)), default=None)
