"""A virtual node's Envoy: in front of the application, and between it and its backends.

The one rule: inbound is what the node's listeners define, outbound is what its backends define.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import Graph
from meshwright.model.identity import Key, Kind
from meshwright.routing import AWS_PORT, at_ingress, listener_timeouts, tunnels, unservable
from meshwright.snapshot import clusters, egress, listeners, names, older, outside, routes, tls
from meshwright.snapshot.extensions import additions, told, traced
from meshwright.snapshot.listeners import Bind
from meshwright.snapshot.outside import Outside
from meshwright.snapshot.resources import Clue, Loopback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.model.listeners import Listener
    from meshwright.model.specs import VirtualNodeSpec
    from meshwright.snapshot.assembly import Assembly
    from meshwright.snapshot.egress import Backend
    from meshwright.snapshot.values import Wire


def add_node(assembly: Assembly, spec: VirtualNodeSpec) -> None:
    """Add everything that the Envoy of the virtual node `assembly.proxy` holds."""
    assembly.again("ingress", (), _add_ingress, spec)
    _add_egress(assembly, spec)


def _add_ingress(assembly: Assembly, spec: VirtualNodeSpec) -> None:
    inbound: dict[int, list[Wire]] = {}
    clues = listeners.log_clues(spec.logging, assembly.proxy)
    encrypted = []
    for index, listener in enumerate(spec.listeners or ()):
        port = listener.port_mapping.port
        if chains := _inbound_chains(assembly, spec, index, listener):
            inbound[port] = chains
        if listener.tls is not None and listener.tls.mode != "DISABLED":
            encrypted.append(port)
            clues += [Clue(path, assembly.proxy) for path in tls.files(listener.tls)]
    limits = (one.key for one in assembly.graph.extensions(Kind.RATE_LIMIT, assembly.proxy))
    origins = (assembly.proxy, *limits, *told(assembly, ()).origins, assembly.mesh)
    if isinstance(assembly.placement, Loopback):
        bind = Bind(assembly.placement.ingress)
        for port, chains in inbound.items():
            assembly.add(listeners.direct("ingress", port, bind, chains), origins, clues)
    elif inbound:
        bind = _bind(assembly, spec)
        listener_ = listeners.redirected("ingress", names.INGRESS_PORT, bind, inbound, inspected=encrypted)
        assembly.add(listener_, origins, clues)


def _inbound_chains(assembly: Assembly, spec: VirtualNodeSpec, index: int, listener: Listener) -> list[Wire]:
    """The chains of one listener of the node, with the cluster and the routes that they lead to."""
    port, protocol = listener.port_mapping.port, listener.port_mapping.protocol
    refused = unservable(listener.tls) if listener.tls else ""
    if refused:
        assembly.refuse(assembly.proxy, f"spec.listeners[{index}].tls.certificate.acm", refused)
        if listener.tls and listener.tls.mode == "STRICT":
            return []
    origins = (assembly.proxy, assembly.mesh)
    cluster = assembly.add(clusters.application(assembly.proxy, listener, application_host(assembly, spec)), origins)
    prefix = "ingress" if len(spec.listeners or ()) == 1 else f"ingress.{protocol}.{port}"
    limits, tells = listener_timeouts(listener), told(assembly, listeners.access_logs(spec.logging))
    added = additions(assembly, at_ingress(assembly.proxy, protocol, port))
    if protocol == "tcp":
        inner = listeners.tcp_filter(prefix, [(cluster, 1)], limits.idle, tells.connections)
    else:
        host = routes.to_application(assembly.proxy, cluster, limits, added)
        name = names.route_configuration("ingress", protocol, port)
        assembly.add(routes.configuration(name, [host]), (*added.origins, assembly.proxy), added.clues)
        inner = listeners.http_filter(
            prefix, name, tells, own_server=added.own_server, separate=assembly.traits.separate
        )
    filters = [*added.connections, inner]
    if refused:
        return [listeners.plain(filters)]
    return listeners.chains(filters, listener.tls, protocol, typed=older.typed_names(assembly.traits))


class _Routes(msgspec.Struct, frozen=True):
    """One route configuration of the egress, but for the rules of its backends."""

    name: str
    port: int
    backends: tuple[int, ...]
    """Which of the node's they are."""
    places: tuple[egress.Place, ...]
    """In these the virtual hosts of its backends."""
    behind: tuple[Key, ...]


class _Egress(msgspec.Struct, frozen=True):
    """What the egress comes to, whatever the rules of its HTTP backends are."""

    beyond: Outside
    routes: tuple[_Routes, ...]


def _add_egress(assembly: Assembly, spec: VirtualNodeSpec) -> None:
    services = assembly.graph.recall_about(assembly.proxy, Graph.entry_services, assembly.proxy)
    backends = egress.of_services(assembly, services)
    egress.add_clusters(assembly, backends)
    outlines = tuple([one.outline for one in backends])
    found = assembly.again("egress", outlines, _add_outlines, spec, backends)
    for one in found.routes:
        _add_routes(assembly, one, backends, found.beyond)


def _add_outlines(assembly: Assembly, spec: VirtualNodeSpec, backends: Sequence[Backend]) -> _Egress:
    """Add the listeners of the egress with the clusters that lead outside, and say what routes are to be added."""
    beyond = _add_listeners(assembly, spec, backends)
    found = []
    for port, several in sorted(_by_port(backends, beyond).items()):
        some = [backends[index] for index in several]
        found.append(
            _Routes(
                name=_routes_name(port, some),
                port=port,
                backends=tuple(several),
                places=egress.places(assembly, some, [one.named for one in some]),
                behind=(*egress.behind(assembly, some), *beyond.origins),
            )
        )
    return _Egress(beyond, tuple(found))


def _by_port(backends: Sequence[Backend], beyond: Outside) -> dict[int, list[int]]:
    """Which backends are on each port on which HTTP is spoken to a backend or let through; those that speak it."""
    tcp = {one.port.port for one in backends if one.port.protocol == "tcp"}
    found: dict[int, list[int]] = {port: [] for port in beyond.http if port not in tcp}
    for index, one in enumerate(backends):
        if one.port.protocol != "tcp":
            found.setdefault(one.port.port, []).append(index)
    return found


def _add_listeners(assembly: Assembly, spec: VirtualNodeSpec, backends: Sequence[Backend]) -> Outside:
    """Add the listeners of the egress with the clusters that lead outside the mesh, and say what these are for."""
    by_port: defaultdict[int, list[Backend]] = defaultdict(list)
    for backend in backends:
        by_port[backend.port.port].append(backend)
    beyond = outside.add_outside(assembly, assembly.preference(spec.service_discovery))
    outbound = {}
    for port in sorted({*by_port, *beyond.ports}):
        if chains := _outbound_chains(assembly, spec, port, by_port.get(port, ()), beyond):
            outbound[port] = chains
    clues = listeners.log_clues(spec.logging, assembly.proxy)
    tcp = (key for one in backends if one.port.protocol == "tcp" for key in one.origins)
    origins = (assembly.proxy, *tcp, *beyond.origins, *told(assembly, ()).origins)
    if isinstance(assembly.placement, Loopback):
        bind = Bind(assembly.placement.egress)
        for port, chains in outbound.items():
            assembly.add(listeners.direct("egress", port, bind, chains), origins, clues)
        return beyond
    outbound[AWS_PORT] = [outside.aws_chain(assembly), *outbound.get(AWS_PORT, ())]
    inspected = [port for port, chains in outbound.items() if any("filter_chain_match" in one for one in chains)]
    otherwise = None
    if beyond.anything:
        older.report_open(assembly, beyond.origin)
        otherwise = {"filters": [listeners.tcp_filter("egress", [(beyond.anything, 1)], 0, ())]}
    listener = listeners.redirected(
        "egress", names.EGRESS_PORT, _bind(assembly, spec), outbound, inspected=inspected, otherwise=otherwise
    )
    assembly.add(listener, (*origins, assembly.mesh), clues)
    return beyond


def _outbound_chains(
    assembly: Assembly, spec: VirtualNodeSpec, port: int, backends: Sequence[Backend], beyond: Outside
) -> list[Wire]:
    """The chains for connections to `port`: HTTP backends share one by Host, TCP backends have one each."""
    http = [one for one in backends if one.port.protocol != "tcp"]
    tcp = [one for one in backends if one.port.protocol == "tcp"]
    tells = told(assembly, listeners.access_logs(spec.logging))
    found: list[Wire] = []
    for one, names_ in _named(assembly, http, tcp):
        rule = next(iter(one.rules), None)
        if rule is not None and (targets := egress.tcp_targets(rule)):
            inner = listeners.tcp_filter("egress", targets, rule.timeouts.idle, tells.connections)
            filters = [*one.additions[0].connections, inner]
            found.append(listeners.for_names(filters, names_) if names_ else {"filters": filters})
    taken = [name for one in found for name in one.get("filter_chain_match", {}).get("server_names", ())]
    found = [*beyond.tls_chains(port, tells.connections, taken), *found]
    if http or (port in beyond.http and not tcp):
        routes_ = _routes_name(port, http)
        own = any(one.own_server for one in http)
        inner = listeners.http_filter(
            "egress", routes_, tells, beyond.http_filters(port), own_server=own, separate=assembly.traits.separate
        )
        found.append({"filters": [inner]})
    elif port in beyond.http:
        reason = f"port {port} is that of the TCP backend {tcp[0].service.name!r}: no HTTP is let through on it"
        assembly.refuse(beyond.origin, "spec.allow", reason)
    return found


def _named(
    assembly: Assembly, http: Sequence[Backend], tcp: Sequence[Backend]
) -> list[tuple[Backend, tuple[str, ...]]]:
    """The TCP backends of a port with the server names that choose them; the one without gets all that is left."""
    found: list[tuple[Backend, tuple[str, ...]]] = []
    told_apart = tunnels([one.port for one in http], [one.port for one in tcp])
    for one, tunnel in zip(tcp, told_apart, strict=True):
        if tunnel.served:
            found.append((one, (tunnel.name,) if tunnel.name else ()))
        if tunnel.hindrance:
            assembly.refuse(one.service, "", tunnel.hindrance)
    return found


def _routes_name(port: int, backends: Sequence[Backend]) -> str:
    return names.route_configuration("egress", backends[0].port.protocol if backends else "http", port)


def _add_routes(assembly: Assembly, of: _Routes, backends: Sequence[Backend], beyond: Outside) -> None:
    some = [backends[index] for index in of.backends]
    found, added = egress.http_hosts(assembly, some, of.places), traced(assembly)
    hosts: list[routes.Host | Wire] = [
        *found,
        *beyond.http_hosts(of.port, (domain for host in found for domain in host.domains), added),
    ]
    if anywhere := outside.add_anywhere(assembly, beyond, of.port):
        hosts.append(routes.to_anywhere(anywhere, added))
    egress.add_route_configuration(assembly, of.name, hosts, some, of.behind)


def application_host(assembly: Assembly, spec: VirtualNodeSpec) -> str:
    """Where the application of the node listens, as its Envoy sees it."""
    if isinstance(assembly.placement, Loopback):
        return assembly.placement.application
    return "::1" if assembly.preference(spec.service_discovery) in {"IPv6_ONLY", "IPv6_PREFERRED"} else "127.0.0.1"


def _bind(assembly: Assembly, spec: VirtualNodeSpec) -> Bind:
    return Bind("::", dual=True) if assembly.preference(spec.service_discovery) else Bind("0.0.0.0")  # noqa: S104 - behind iptables
