"""What requests get before a plan and after it: by whole route tables, service by service and gateway by gateway.

The one rule: examples of what every route takes are followed through both meshes by the rules that proxies follow;
where a field is written tells nothing. A target with weight 0 gets nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from meshwright.graph import felt
from meshwright.impact import samples
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualGatewaySpec
from meshwright.routing import gateway_route_match, gateway_target, ordered_gateway_routes, rules, service_ports
from meshwright.simulate import rewritten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meshwright.graph import Graph
    from meshwright.impact.scene import Scene
    from meshwright.model.identity import Key
    from meshwright.model.listeners import VirtualGatewayListener
    from meshwright.model.state import Resource
    from meshwright.routing import Rule, ServicePort
    from meshwright.simulate import Call

_match = attrgetter("match")


class Way(NamedTuple):
    """How a request goes."""

    entry: Key | None = None
    """The gateway route that takes it; None where none does, and inside of the mesh."""
    rule: Rule | None = None
    """What takes it at the service; None where nothing does."""

    @property
    def origin(self) -> Key | None:
        """The route that decides, or the node that provides the service itself."""
        return self.entry or (self.rule.origin if self.rule is not None else None)

    @property
    def targets(self) -> Mapping[tuple[Key, int], float]:
        """By node and port, its percentage of such requests; none of those that get nothing."""
        targets = [one for one in (self.rule.targets if self.rule is not None else ()) if one.weight]
        total = sum(one.weight for one in targets)
        found: Counter[tuple[Key, int]] = Counter()
        for one in targets:
            found[one.node, one.port] += one.weight
        return {target: 100 * weight / total for target, weight in found.items()}

    @property
    def shares(self) -> Mapping[Key, float]:
        """By node, its percentage."""
        found: defaultdict[Key, float] = defaultdict(float)
        for (node, _), share in self.targets.items():
            found[node] += share
        return {node: round(share, 1) for node, share in found.items()}


class Flow(NamedTuple):
    """A request that goes another way after the plan than before."""

    at: tuple[Key, ...]
    """The services that are called, all of which have the same routes; or the gateway."""
    call: Call
    before: Way
    after: Way
    known: bool
    """Whether it is an example of what was taken before; else, of what a new match takes."""
    plain: bool
    """Whether it was chosen by path and method alone, and not by what a sender may say or leave out."""


class _Example(NamedTuple):
    call: Call
    known: bool
    plain: bool


def flows(scene: Scene) -> Iterator[Flow]:
    """One of each pair of ways between which requests move, in order of services and then of gateways."""
    changed = frozenset(one.key for one in scene.plan.changes)
    touched = felt(changed, scene.old, scene.new)
    yield from _to_services(scene, touched)
    for gateway in scene.new.of(Kind.VIRTUAL_GATEWAY, scene.plan.mesh):
        if gateway.key in scene.old and _concerned(scene, gateway.key, touched):
            yield from _differing((gateway.key,), _through_gateway(scene, gateway))


def _to_services(scene: Scene, touched: frozenset[Key]) -> Iterator[Flow]:
    """Services of one provider before and one after are followed together."""
    alike: dict[tuple[Key | None, Key | None], list[Key]] = {}
    for service in scene.new.of(Kind.VIRTUAL_SERVICE, scene.plan.mesh):
        if service.key in scene.old and _concerned(scene, service.key, touched):
            pair = scene.before.provider(service.key), scene.after.provider(service.key)
            alike.setdefault(pair, []).append(service.key)
    for services in alike.values():
        yield from _differing(tuple(services), _to_service(scene, services[0]))


def _concerned(scene: Scene, start: Key, touched: frozenset[Key]) -> bool:
    return not (scene.before.region(start).isdisjoint(touched) and scene.after.region(start).isdisjoint(touched))


def _differing(at: tuple[Key, ...], found: Iterator[tuple[_Example, Way, Way]]) -> Iterator[Flow]:
    told = set()
    for example, before, after in found:
        if not before.targets or (after.rule is not None and before.targets == after.targets):
            continue
        known = example.known or before.origin == after.origin
        ways = tuple((one.origin, tuple(one.targets.items())) for one in (before, after))
        if (ways, known, example.plain) not in told:
            told.add((ways, known, example.plain))
            yield Flow(at, example.call, before, after, known, example.plain)


def _to_service(scene: Scene, service: Key) -> Iterator[tuple[_Example, Way, Way]]:
    later = {one.port: one for one in service_ports(scene.after, service)}
    for port in service_ports(scene.before, service):
        if port.port not in later:
            continue  # which is a risk of its own
        was, now = _rules(scene.before, port), _rules(scene.after, later[port.port])
        if was == now:
            continue
        fresh = [one for one in now if one not in was]
        for example in _examples(port, was, fresh):
            yield example, Way(rule=_taking(was, example.call)), Way(rule=_taking(now, example.call))


def _rules(graph: Graph, port: ServicePort) -> tuple[Rule, ...]:
    return graph.recall_about(port.service, rules, port)


def _taking(several: Sequence[Rule], call: Call) -> Rule | None:
    return samples.first(several, _match, call)


def _examples(port: ServicePort, was: Sequence[Rule], fresh: Sequence[Rule]) -> Iterator[_Example]:
    """Of what each rule took, and of what new ones take; any path among the first."""
    name = port.service.name
    for matches, known in (((None, *map(_match, was)), True), (tuple(map(_match, fresh)), False)):
        for match in matches:
            for call in samples.calls(match, name, port.port, port.protocol):
                yield _Example(call, known, samples.plain(match))


def _through_gateway(scene: Scene, gateway: Resource) -> Iterator[tuple[_Example, Way, Way]]:
    old = scene.old[gateway.key]
    ports = {one.port_mapping.port for one in _listeners(gateway)}
    for listener in _listeners(old):
        port, protocol = listener.port_mapping.port, listener.port_mapping.protocol
        if port not in ports:
            continue
        was, now = (_entries(graph, gateway.key, port) for graph in (scene.before, scene.after))
        fresh = [one for one in now if scene.old.get(one.key) != one]
        for several, known in ((was, True), (fresh, False)):
            for one in several:
                match = _entry_match(one)
                for call in samples.calls(match, gateway.key.name, port, protocol):
                    example = _Example(call, known, samples.plain(match))
                    yield example, _entered(scene.before, was, call), _entered(scene.after, now, call)


def _listeners(gateway: Resource) -> tuple[VirtualGatewayListener, ...]:
    return gateway.spec.listeners if isinstance(gateway.spec, VirtualGatewaySpec) else ()


def _entries(graph: Graph, gateway: Key, port: int) -> tuple[Resource, ...]:
    return ordered_gateway_routes(graph, gateway, port)


def _entry_match(entry: Resource) -> samples.Asked:
    return gateway_route_match(entry.spec) if isinstance(entry.spec, GatewayRouteSpec) else None


def _entered(graph: Graph, entries: Sequence[Resource], call: Call) -> Way:
    """How a request from outside goes: by a gateway's own route, and then by the service's."""
    entry = samples.first(entries, _entry_match, call)
    if entry is None or not isinstance(entry.spec, GatewayRouteSpec):
        return Way()
    port = gateway_target(graph, entry.key, entry.spec).port
    if port is None:
        return Way(entry=entry.key)
    return Way(entry.key, _taking(_rules(graph, port), rewritten(entry.spec, call, port)))
