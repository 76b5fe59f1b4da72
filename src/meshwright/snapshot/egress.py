"""What a proxy may call: the clusters of its backends, their virtual hosts, their TCP targets.

The one rule: only what its backends lead to; what two backends cannot share is served to one and reported for the
other, never silently mixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from meshwright import routing
from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import ClientTls, Rule, ServicePort, Target, Zones, at_rule, client_tls, rules
from meshwright.snapshot import clusters, endpoints, names, routes, tls
from meshwright.snapshot.extensions import Additions, additions, servable
from meshwright.snapshot.extensions.additions import NOTHING
from meshwright.snapshot.resources import Clue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshwright.model.identity import Key
    from meshwright.model.specs import ServiceDiscovery
    from meshwright.snapshot.assembly import Assembly


class Backend(msgspec.Struct, frozen=True):
    """One port of a virtual service and what happens to requests on it."""

    port: ServicePort
    rules: tuple[Rule, ...]
    additions: tuple[Additions, ...]
    """What extensions add to each rule."""

    @property
    def service(self) -> Key:
        """The virtual service."""
        return self.port.service

    @property
    def origins(self) -> tuple[Key, ...]:
        """What shaped it, most specific first."""
        return (*self.steps, self.port.provider, self.service)

    @property
    def steps(self) -> tuple[Key, ...]:
        """What shaped its rules, each rule followed by the extensions that add to it."""
        return tuple(key for rule, added in self.routes for key in (*_shaping(rule), *added.origins))

    @property
    def routes(self) -> list[tuple[Rule, Additions]]:
        """Its rules, each with what is added to it."""
        return list(zip(self.rules, self.additions, strict=True))

    @property
    def own_server(self) -> bool:
        """Whether the `server` of some of its responses is not Envoy's to say."""
        return any(one.own_server for one in self.additions)


def resolved(assembly: Assembly, ports: Iterable[ServicePort]) -> tuple[Backend, ...]:
    """The backends behind `ports`; targets that lead nowhere are reported."""
    found = tuple(_backend(assembly, port) for port in ports)
    for backend in found:
        for rule in backend.rules:
            for lost in rule.lost:
                assembly.refuse(rule.origin, lost.path, lost.reason)
            if not sum(target.weight for target in rule.targets):
                answer = "connections are closed" if rule.protocol == "tcp" else "requests get 503"
                assembly.refuse(rule.origin, "", f"no target with a weight is left: {answer}")
    return found


def _shaping(rule: Rule) -> tuple[Key, ...]:
    return (rule.origin,) if rule.retried_by is None else (rule.origin, rule.retried_by.key)


def _backend(assembly: Assembly, port: ServicePort) -> Backend:
    found = tuple(servable(assembly, rule) for rule in assembly.graph.recall(rules, port))
    places = (at_rule(port, rule.origin, rule.protocol, assembly.proxy) for rule in found)
    return Backend(port, found, tuple(additions(assembly, place) for place in places))


def add_clusters(assembly: Assembly, backends: Iterable[Backend]) -> None:
    """Add the cluster of every target of `backends`, those of copies included.

    With it the endpoints, where the node is not found by DNS.
    """
    calls: dict[str, list[tuple[Target, Key]]] = {}
    for backend in backends:
        for rule, added in backend.routes:
            for target in (*rule.targets, *added.targets):
                name = names.backend(target.node, target.protocol, target.port)
                calls.setdefault(name, []).append((target, backend.service))
    for uses in calls.values():
        target = uses[0][0]
        _add_cluster(assembly, target, tuple(dict.fromkeys(service for _, service in uses)))


def http_hosts(
    assembly: Assembly, backends: Iterable[Backend], named: Iterable[tuple[str, Sequence[str]]]
) -> list[Any]:
    """A virtual host for each backend, under the name and domains given beside it, sorted by name."""
    taken: set[str] = set()
    found = []
    for backend, (name, domains) in zip(backends, named, strict=True):
        free = [one for one in domains if "*" not in one and one.lower() not in taken]
        if free:
            taken.update(one.lower() for one in free)
            found.append(_host(assembly, backend, name, free))
        else:
            assembly.refuse(backend.service, "", f"the host name {name!r} cannot be told from another backend's")
    return sorted(found, key=lambda host: str(host.name))


def _host(assembly: Assembly, backend: Backend, name: str, domains: Sequence[str]) -> Any:
    """The virtual host of `backend`, made once for all callers of a service to which nothing is added."""
    if any(one != NOTHING for one in backend.additions):
        return routes.service_host(name, domains, backend.routes, backend.service)
    return assembly.graph.memo.once(routes.plain_host, name, tuple(domains), backend.rules, backend.service)


def add_route_configuration(
    assembly: Assembly, name: str, hosts: Sequence[Any], backends: Sequence[Backend], *more: Key
) -> str:
    """Add the route configuration of `backends`, which `more` objects shaped too; its name."""
    steps = [step for backend in backends for step in backend.routes]
    origins = [
        *(key for backend in backends for key in backend.steps),
        *(backend.port.provider for backend in backends),
        *(backend.service for backend in backends),
        assembly.proxy,
        *more,
    ]
    clues = [clue for rule, added in steps for clue in (*routes.clues(rule.origin, rule.match), *added.clues)]
    return assembly.add(routes.configuration(name, hosts), origins, clues)


def tcp_targets(rule: Rule) -> list[tuple[str, int]]:
    """The clusters of a TCP rule with their weights; Envoy refuses weights of zero, which mean no traffic anyway."""
    return [(names.backend(one.node, one.protocol, one.port), one.weight) for one in rule.targets if one.weight]


def _add_cluster(assembly: Assembly, target: Target, services: tuple[Key, ...]) -> None:
    discovery = _discovery(assembly, target.node)
    encryption = _encryption(assembly, target, services)
    origins = (target.node, assembly.proxy, assembly.mesh)
    refused = encryption.refused if encryption else ""
    if discovery is None:
        refused = "it has no service discovery"
    if refused or discovery is None:
        assembly.refuse(
            assembly.proxy,
            "",
            f"no connection is made to virtual node {target.node.name!r} on {target.port}: {refused}",
        )
        assembly.add(clusters.refusing(target), origins, leads_to=target.node)
        return
    preference = assembly.preference(discovery)
    clues = [Clue(path, assembly.proxy) for path in tls.files(encryption)] if encryption else []
    hostname = [Clue(discovery.dns.hostname, target.node)] if discovery.dns else []
    registered = routing.registration(assembly.graph, target.node)
    by_dns = discovery.dns is not None and registered is None
    cluster = assembly.made(clusters.backend, target, discovery, preference, encryption, resolved=by_dns)
    shaping = (registered,) if registered else ()
    assembly.add(cluster, (*origins, *shaping), [*clues, *hostname], leads_to=target.node)
    zones = routing.zones(assembly.graph, target.node, services)
    if not by_dns:
        found = assembly.endpoints.get(target.node, ())
        if found is not None:
            only = _listener_count(assembly, target.node) == 1
            near = _near(assembly, zones)
            assigned = endpoints.assignment(target, found, preference, only_listener=only, near=near)
            assembly.add(assigned, (target.node, *shaping, *((zones.origin,) if zones else ())))
    elif zones is not None:
        reason = f"virtual node {target.node.name!r} is found by DNS, where instances have no zone"
        assembly.refuse(zones.origin, "spec.target", reason)


def _near(assembly: Assembly, zones: Zones | None) -> endpoints.Near | None:
    """Which instances this proxy prefers; None where it prefers none."""
    if zones is None:
        return None
    if not assembly.traits.zone:
        assembly.refuse(zones.origin, "spec.preferSameZone", "this proxy does not say in which zone it is")
        return None
    return endpoints.Near(zone=assembly.traits.zone, healthy=zones.healthy)


def _encryption(assembly: Assembly, target: Target, services: tuple[Key, ...]) -> ClientTls | None:
    """How to connect to `target`: its cluster is one, so the strictest of the backends' policies holds for all."""
    found = [
        client_tls(assembly.graph, assembly.proxy, service, target.node, target.listener) for service in services
    ]
    strictest = max(found, key=_strictness)
    if any(one != strictest for one in found):
        called = ", ".join(repr(service.name) for service in services)
        reason = (
            f"the backends {called} reach {target.node.name!r} by different client policies; the strictest is used"
        )
        assembly.refuse(assembly.proxy, "spec.backends", reason)
    return strictest


def _strictness(encryption: ClientTls | None) -> int:
    if encryption is None:
        return 0
    return 3 if encryption.refused else 2 if encryption.trust else 1


def _discovery(assembly: Assembly, node: Key) -> ServiceDiscovery | None:
    spec = assembly.graph.state[node].spec
    return spec.service_discovery if isinstance(spec, VirtualNodeSpec) else None


def _listener_count(assembly: Assembly, node: Key) -> int:
    spec = assembly.graph.state[node].spec
    return len(spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) else 0
