"""What a proxy may call: the clusters of its backends, their virtual hosts, their TCP targets.

The one rule: only what its backends lead to; what two backends cannot share is served to one and reported for the
other, never silently mixed.
"""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from meshwright import routing
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import ClientTls, Rule, ServicePort, Target, Zones, at_rule, encryption, rules, service_ports
from meshwright.snapshot import clusters, endpoints, names, older, routes, tls
from meshwright.snapshot.assembly import Body, made, mesh_of, preference
from meshwright.snapshot.extensions import Additions, additions, servable
from meshwright.snapshot.extensions.additions import NOTHING
from meshwright.snapshot.resources import Clue
from meshwright.snapshot.routes import Host

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshwright.graph import Graph
    from meshwright.snapshot.assembly import Assembly
    from meshwright.snapshot.resources import Endpoint, Separate
    from meshwright.snapshot.values import Wire


class Backend(msgspec.Struct, frozen=True, eq=False, dict=True):
    """One port of a virtual service and what happens to requests on it.

    It is made anew when the service or what it leads to changes, so the same one says that nothing did.
    """

    port: ServicePort
    rules: tuple[Rule, ...]
    additions: tuple[Additions, ...]
    """What extensions add to each rule."""
    host: Host | None = None
    """Its virtual host by its own name, where it is the same for all callers and speaks HTTP."""
    reached: tuple[object, ...] = ()
    """What its clusters are made of besides their caller, told apart by value."""

    @property
    def service(self) -> Key:
        """The virtual service."""
        return self.port.service

    @cached_property
    def named(self) -> tuple[str, tuple[str, ...]]:
        """Its own name, and the hosts that a client may ask for."""
        return self.service.name, routing.domains(self.port)

    @cached_property
    def origins(self) -> tuple[Key, ...]:
        """What shaped it, most specific first."""
        return (*self.steps, self.port.provider, self.service)

    @cached_property
    def steps(self) -> tuple[Key, ...]:
        """What shaped its rules, each rule followed by the extensions that add to it."""
        return tuple(key for rule, added in self.routes for key in (*_shaping(rule), *added.origins))

    @cached_property
    def clues(self) -> tuple[Clue, ...]:
        """The texts in its rules, and in what is added to them, that Envoy judges."""
        found = ((*routes.clues(rule.origin, rule.match), *added.clues) for rule, added in self.routes)
        return tuple(clue for several in found for clue in several)

    @cached_property
    def routes(self) -> tuple[tuple[Rule, Additions], ...]:
        """Its rules, each with what is added to it."""
        return tuple(zip(self.rules, self.additions, strict=True))

    @cached_property
    def calls(self) -> tuple[tuple[str, Target], ...]:
        """The listeners that it sends requests or copies to, whatever their shares, and their clusters' names."""
        found = (target for rule, added in self.routes for target in (*rule.targets, *added.targets))
        alike = (msgspec.structs.replace(one, weight=0) for one in found)
        return tuple((names.backend(one.node, one.protocol, one.port), one) for one in alike)

    @cached_property
    def unserved(self) -> tuple[tuple[Key, str, str], ...]:
        """What of its rules leads nowhere: the object, its field, and why."""
        found = []
        for rule in self.rules:
            found += [(rule.origin, lost.path, lost.reason) for lost in rule.lost]
            if not sum(target.weight for target in rule.targets):
                answer = "connections are closed" if rule.protocol == "tcp" else "requests get 503"
                found.append((rule.origin, "", f"no target with a weight is left: {answer}"))
        return tuple(found)

    @cached_property
    def outline(self) -> object:
        """What listeners and the places of virtual hosts show of it, told apart by value: of HTTP no rules."""
        return self if self.port.protocol == "tcp" else (self.port, self.own_server)

    @cached_property
    def own_server(self) -> bool:
        """Whether the `server` of some of its responses is not Envoy's to say."""
        return any(one.own_server for one in self.additions)


def of_services(assembly: Assembly, services: Sequence[Key]) -> tuple[Backend, ...]:
    """The backends behind every port of `services`; targets that lead nowhere are reported."""
    graph, found = assembly.graph, list[Backend]()
    alike = [None] * len(services) if assembly.extended else graph.recall_each(services, _all_plain)
    for service, plain in zip(services, alike, strict=True):
        if plain is not None:
            found += plain
        else:
            found += [_backend(assembly, port) for port in graph.recall_about(service, service_ports, service)]
    return _reported(assembly, tuple(found))


def resolved(assembly: Assembly, ports: Iterable[ServicePort]) -> tuple[Backend, ...]:
    """The backends behind `ports`; targets that lead nowhere are reported."""
    return _reported(assembly, tuple(_backend(assembly, port) for port in ports))


def _reported(assembly: Assembly, backends: tuple[Backend, ...]) -> tuple[Backend, ...]:
    for backend in backends:
        for lost in backend.unserved:
            assembly.refuse(*lost)
    older.report_conditions(assembly, ((rule.origin, rule.match) for one in backends for rule in one.rules))
    return backends


def _shaping(rule: Rule) -> tuple[Key, ...]:
    return (rule.origin,) if rule.retried_by is None else (rule.origin, rule.retried_by.key)


def _backend(assembly: Assembly, port: ServicePort) -> Backend:
    if not (assembly.extended or assembly.graph.is_extended(port.service)):
        return assembly.graph.recall_about(port.service, _plain, port)
    return assembly.again(("backend", port), (assembly.graph.mark(port.service),), _extended, port)


def _extended(assembly: Assembly, port: ServicePort) -> Backend:
    """The backend of one caller, with what extensions about it or about the service add."""
    given = assembly.graph.recall_about(port.service, rules, port)
    places = [at_rule(port, rule.origin, rule.protocol, assembly.proxy) for rule in given]
    found = tuple(servable(assembly, rule, place) for rule, place in zip(given, places, strict=True))
    made = Backend(port, found, tuple(additions(assembly, place) for place in places))
    graph, targets = assembly.graph, [target for _, target in made.calls]
    keys = (port.service, assembly.mesh, *(one.node for one in targets))
    about = [graph.extensions(kind, key) for kind in (Kind.REGISTRATION, Kind.ZONE_POLICY) for key in keys]
    return msgspec.structs.replace(made, reached=(*_reached(graph, port, targets), *about))


def _plain(graph: Graph, port: ServicePort) -> Backend:
    """The backend of all callers alike."""
    found, name = graph.recall_about(port.service, rules, port), port.service.name
    host = None
    if port.protocol != "tcp":
        host = graph.memo.once(routes.plain_host, name, routing.domains(port), found, port.service)
    targets = [msgspec.structs.replace(one, weight=0) for rule in found for one in rule.targets]
    return Backend(port, found, (NOTHING,) * len(found), host, _reached(graph, port, targets))


def _reached(graph: Graph, port: ServicePort, targets: Iterable[Target]) -> tuple[object, ...]:
    return (port.service, *((one, graph.state[one.node].spec) for one in targets))


def _all_plain(graph: Graph, service: Key) -> tuple[Backend, ...] | None:
    """The backends behind every port; None where extensions are about any of it."""
    if graph.is_extended(service):
        return None
    ports = graph.recall_about(service, service_ports, service)
    return tuple(graph.recall_about(service, _plain, port) for port in ports)


def add_clusters(assembly: Assembly, backends: Sequence[Backend]) -> None:
    """Add the cluster of every target of `backends`, those of copies included.

    With it the endpoints, where the node is not found by DNS.
    """
    of = tuple([one.reached for one in backends])
    for told in assembly.again("clusters", of, _add_clusters, backends):
        found = assembly.endpoints.get(told.target.node, ())
        assembly.again(("endpoints", told.way.cluster.name), (told, found), _add_endpoints, told, found)


def _add_clusters(assembly: Assembly, backends: Sequence[Backend]) -> list[_Told]:
    calls: dict[str, tuple[Target, dict[Key, None]]] = {}
    for backend in backends:
        service = backend.port.service
        for name, target in backend.calls:
            if name in calls:
                calls[name][1][service] = None
            else:
                calls[name] = target, {service: None}
    policed = routing.has_policies(assembly.graph, assembly.proxy)
    typed = older.typed_names(assembly.traits)
    found = [_add_cluster(assembly, one, tuple(by), policed=policed, typed=typed) for one, by in calls.values()]
    return [told for told in found if told is not None]


class Place(msgspec.Struct, frozen=True):
    """Where the virtual host of a backend stands in a route configuration."""

    index: int
    """Which of the backends it is."""
    name: str
    domains: tuple[str, ...]
    own: bool
    """Whether these are the backend's own."""


def places(
    assembly: Assembly, backends: Sequence[Backend], named: Sequence[tuple[str, tuple[str, ...]]]
) -> tuple[Place, ...]:
    """A place for each backend under the name and those domains given beside it that no earlier one has, by name.

    One that is left without any, or without some, is reported.
    """
    found = []
    for index, (backend, (name, _), (domains, hindrance)) in enumerate(
        zip(backends, named, routing.heard(named), strict=True)
    ):
        if hindrance:
            assembly.refuse(backend.service, "", hindrance)
        if domains:
            found.append(Place(index, name, domains, own=(name, domains) == backend.named))
    return tuple(sorted(found, key=lambda place: place.name))


def http_hosts(assembly: Assembly, backends: Sequence[Backend], arranged: Iterable[Place]) -> list[Host]:
    """The virtual hosts of `backends` in their places."""
    found = []
    for place in arranged:
        backend = backends[place.index]
        ready = backend.host if place.own else None
        found.append(ready or _host(assembly, backend, place.name, place.domains))
    return found


def _host(assembly: Assembly, backend: Backend, name: str, domains: tuple[str, ...]) -> Host:
    """The virtual host of `backend`, made once for all callers of a service to which nothing is added."""
    if any(one is not NOTHING and one != NOTHING for one in backend.additions):
        return assembly.again(("host", backend.port), (backend, name, domains), _own_host, backend, name, domains)
    given = assembly.graph.recall_about(backend.service, rules, backend.port)
    if any(one is not other for one, other in zip(backend.rules, given, strict=True)):
        # What this Envoy cannot do was taken out of them.
        return assembly.graph.memo.once(routes.plain_host, name, domains, backend.rules, backend.service)
    return assembly.graph.recall_about(backend.service, _plain_host, name, domains, backend.port)


def _own_host(_assembly: Assembly, backend: Backend, name: str, domains: tuple[str, ...]) -> Host:
    return routes.service_host(name, domains, backend.routes, backend.service)


def _plain_host(graph: Graph, name: str, domains: tuple[str, ...], port: ServicePort) -> Host:
    found = graph.recall_about(port.service, rules, port)
    return graph.memo.once(routes.plain_host, name, domains, found, port.service)


def add_route_configuration(
    assembly: Assembly, name: str, hosts: Sequence[Host | Wire], backends: Sequence[Backend], behind: Iterable[Key]
) -> str:
    """Add the route configuration of `backends`, which what is `behind` them shaped too; its name."""
    steps = chain.from_iterable([backend.steps for backend in backends])
    clues = chain.from_iterable([backend.clues for backend in backends])
    return assembly.add(routes.configuration(name, hosts), (*steps, *behind), clues)


def behind(assembly: Assembly, backends: Sequence[Backend]) -> tuple[Key, ...]:
    """What shapes the routes to `backends` besides their rules, most specific first."""
    ports = [backend.port for backend in backends]
    found = (*[one.provider for one in ports], *[one.service for one in ports], assembly.proxy)
    return tuple(dict.fromkeys(found))


def tcp_targets(rule: Rule) -> list[tuple[str, int]]:
    """The clusters of a TCP rule with their weights; Envoy refuses weights of zero, which mean no traffic anyway."""
    return [(names.backend(one.node, one.protocol, one.port), one.weight) for one in rule.targets if one.weight]


class _Way(msgspec.Struct, frozen=True):
    """How a node's listener is reached by all who encrypt alike."""

    cluster: Body
    refused: str
    """Why it is not, if it is not."""
    preference: str | None
    by_dns: bool
    only_listener: bool
    shaping: tuple[Key, ...] = ()
    clues: tuple[Clue, ...] = ()


def _way(
    graph: Graph, target: Target, encrypting: ClientTls | None, separate: Separate | None, *, typed: bool
) -> _Way:
    spec = graph.state[target.node].spec
    discovery = spec.service_discovery if isinstance(spec, VirtualNodeSpec) else None
    only = isinstance(spec, VirtualNodeSpec) and len(spec.listeners or ()) == 1
    refused = encrypting.refused if encrypting else ""
    if refused or discovery is None:
        reason = refused if discovery else "it has no service discovery"
        return _Way(made(graph.memo, clusters.refusing, target), reason, None, by_dns=False, only_listener=only)
    preferred = preference(mesh_of(graph, target.node), discovery)
    registered = routing.registration(graph, target.node)
    by_dns = routing.found_by_dns(graph, target.node)
    apart = None if by_dns else separate
    return _Way(
        cluster=made(
            graph.memo,
            clusters.backend,
            target,
            discovery,
            preferred,
            encrypting,
            apart,
            resolved=by_dns,
            typed=typed,
        ),
        refused="",
        preference=preferred,
        by_dns=by_dns,
        only_listener=only,
        shaping=(registered,) if registered else (),
        clues=(Clue(discovery.dns.hostname, target.node),) if discovery.dns else (),
    )


class _Told(msgspec.Struct, frozen=True):
    """A listener of which a proxy is told the endpoints."""

    target: Target
    way: _Way
    zones: Zones | None


def _add_cluster(
    assembly: Assembly, target: Target, services: tuple[Key, ...], *, policed: bool, typed: bool
) -> _Told | None:
    """Add the cluster of `target` for callers of `services`; what its endpoints are added by, if not by DNS."""
    tls_ = _encryption(assembly, target, services) if policed else routing.server_tls(target.listener)
    way = assembly.graph.recall_about(services[0], _way, target, tls_, assembly.traits.separate, typed=typed)
    origins = (target.node, assembly.proxy, assembly.mesh)
    if way.refused:
        reason = f"no connection is made to virtual node {target.node.name!r} on {target.port}: {way.refused}"
        assembly.refuse(assembly.proxy, "", reason)
        assembly.add(way.cluster, origins, leads_to=target.node)
        return None
    if target.listener.health_check is not None:
        older.report_checks(assembly, target.node, target.listener.health_check.protocol)
    files = [Clue(path, assembly.proxy) for path in tls.files(tls_)] if tls_ else ()
    assembly.add(way.cluster, (*origins, *way.shaping), (*files, *way.clues), leads_to=target.node)
    zones = routing.zones(assembly.graph, target.node, services)
    if not way.by_dns:
        return _Told(target, way, zones)
    if zones is not None and (hindered := routing.zoneless(assembly.graph, target.node)):
        assembly.refuse(zones.origin, hindered.path, hindered.reason)
    return None


def _add_endpoints(assembly: Assembly, told: _Told, found: tuple[Endpoint, ...] | None) -> None:
    if found is None:
        return
    target, way, zones = told.target, told.way, told.zones
    near = _near(assembly, zones)
    assigned = made(
        assembly.graph.memo,
        endpoints.assignment,
        target,
        found,
        way.preference,
        only_listener=way.only_listener,
        near=near,
    )
    assembly.add(assigned, (target.node, *way.shaping, *((zones.origin,) if zones else ())))


def _near(assembly: Assembly, zones: Zones | None) -> endpoints.Near | None:
    """Which instances this proxy prefers; None where it prefers none."""
    if zones is None:
        return None
    if not assembly.traits.zone:
        assembly.refuse(zones.origin, "spec.preferSameZone", "this proxy does not say in which zone it is")
        return None
    return endpoints.Near(zone=assembly.traits.zone, healthy=zones.healthy)


def _encryption(assembly: Assembly, target: Target, services: tuple[Key, ...]) -> ClientTls | None:
    """How to connect to `target`, for all of the backends `services` alike."""
    found = encryption(assembly.graph, assembly.proxy, services, target.node, target.listener)
    if found.contested:
        assembly.refuse(assembly.proxy, "spec.backends", routing.contest(services, target.node))
    return found.tls
