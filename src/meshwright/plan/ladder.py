"""The order of operations: each one legal when its turn comes.

Containers (meshes, nodes, routers, services, gateways) are created before anything refers to them and deleted
after. Routes and gateway routes bind listeners together, so they move around the containers' updates:

| timing    | when                                                                                   |
|-----------|----------------------------------------------------------------------------------------|
| LATE      | the old route lives with the new listeners: containers first                           |
| EARLY     | only the new route lives with both: a second listener wants ports in routes |
| RECREATED | neither does, or a listener in use goes away: deleted first, created after             |

Our extensions are deleted before anything else moves, and updated and created when all that they may be about is
there. One that moves to where another one of its kind was is deleted and created again, so that they never meet.

The one rule: nothing outside the given states is looked at. Sources: `UpdateVirtualRouter` in
https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_UpdateVirtualRouter.html and
https://github.com/aws/aws-app-mesh-controller-for-k8s/pull/768
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from meshwright.graph import contradict, gateway_route_target, route_action, service_key
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import EXTENSION_KINDS, Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec, VirtualRouterSpec, VirtualServiceSpec
from meshwright.plan.differences import differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.model.state import Resource, State

RANK: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.MESH: 0,
        Kind.VIRTUAL_NODE: 1,
        Kind.VIRTUAL_ROUTER: 2,
        Kind.VIRTUAL_SERVICE: 3,
        Kind.ROUTE: 4,
        Kind.VIRTUAL_GATEWAY: 5,
        Kind.GATEWAY_ROUTE: 6,
        **dict.fromkeys(EXTENSION_KINDS, 7),
    }
)
"""The order of creation; deletions go the other way."""

_LEAVES = frozenset({Kind.ROUTE, Kind.GATEWAY_ROUTE})


class Timing(enum.Enum):
    """When a route that stays moves, relative to the listeners around it."""

    LATE = "after its containers"
    EARLY = "before its containers"
    RECREATED = "deleted before its containers, created after"


class Rung(NamedTuple):
    """One operation on one object, and why it is there when the change alone does not say."""

    action: Literal["create", "update", "delete"]
    key: Key
    reason: str = ""


class _Use(NamedTuple):
    """A listener that a route needs on another object; None leaves the port or the protocol open."""

    container: Key | None
    port: int | None
    protocol: str | None


class Ladder:
    """The rungs from `before` to `after`, where `gone` are the objects to delete and `own` those that may change.

    `after` holds everything that stays, `before` also whatever else lies in other meshes. `recreated` names the own
    routes that must be deleted on the way and why, `held` those of others that stand in the way.
    """

    def __init__(self, before: State, after: State, *, gone: frozenset[Key], own: frozenset[Key]) -> None:
        self.before = before
        self.after = after
        self.gone = gone
        self.own = own
        self._changed = [one for one in after if one.key in before and differences(before[one.key], one)]
        self._created = [one for one in after if one.key not in before]
        self._worlds = self._passed_through()
        self._timing: dict[Key, Timing] = {}
        self.recreated: dict[Key, str] = {}
        self.held: dict[Key, str] = {}
        for one in after:
            if one.key.kind in _LEAVES and one.key in before:
                self._judge(before[one.key], one)
        self._part()

    def rungs(self) -> Iterator[Rung]:
        """Every operation in order."""
        going = [key for key in (*self.gone, *self.recreated) if not key.kind.portable]
        yield from (Rung("delete", key, self.recreated.get(key, "")) for key in _falling(going))
        yield from self._portable()
        for key in _rising(one.key for one in self._changed if not one.key.kind.portable):
            if key not in self.recreated:
                yield Rung("update", key)
        fresh = [one.key for one in self._created if not one.key.kind.portable]
        for key in _rising([*fresh, *(key for key in self.recreated if not key.kind.portable)]):
            yield Rung("create", key, self.recreated.get(key, ""))
        for key in _falling(key for key in self.gone if key.kind.portable and key.kind not in _LEAVES):
            yield Rung("delete", key)

    def _portable(self) -> Iterator[Rung]:
        """App Mesh's own objects, but for the containers that go."""
        early = [one.key for one in self._changed if self._timing.get(one.key) is Timing.EARLY]
        late = [one.key for one in self._changed if self._timing.get(one.key) is Timing.LATE]
        changed = [one.key for one in self._changed if one.key.kind.portable and one.key.kind not in _LEAVES]
        fresh = {one.key for one in self._created if one.key.kind.portable}
        recreated = [key for key in self.recreated if key.kind.portable]
        for key in _falling([*(key for key in self.gone if key.kind in _LEAVES), *recreated]):
            yield Rung("delete", key, self.recreated.get(key, ""))
        for key in _rising(key for key in fresh if key.kind not in _LEAVES):
            yield Rung("create", key)
        for key in _rising(early):
            yield Rung("update", key, "the listeners around it change next, and need it changed first")
        for key in _rising(changed):
            yield Rung("update", key)
        for key in _rising([*late, *recreated, *(key for key in fresh if key.kind in _LEAVES)]):
            yield Rung("update" if key in late else "create", key, self.recreated.get(key, ""))

    def _part(self) -> None:
        """Let no extension meet another one of its kind on the way."""
        for one in self._changed:
            if not one.key.kind.portable:
                others = (other for other in self.before.of(one.key.kind, one.key.mesh) if contradict(one, other))
                there = next(others, None)
                if there is not None:
                    self.recreated[one.key] = f"{there.key} has been where it moves to"

    def _passed_through(self) -> tuple[State, State, State]:
        """The containers before any update, when nodes and routers are updated, and when all are."""
        start = self.before.put(*(one for one in self._created if one.key.kind not in _LEAVES))
        half = {Kind.MESH, Kind.VIRTUAL_NODE, Kind.VIRTUAL_ROUTER}
        middle = start.put(*(one for one in self._changed if one.key.kind in half))
        end = middle.put(*(one for one in self._changed if one.key.kind not in half | _LEAVES))
        return start, middle, end

    def _judge(self, old: Resource, new: Resource) -> None:
        start, middle, end = self._worlds
        if _around(old, start) == _around(old, middle) == _around(old, end):
            self._timing[new.key] = Timing.LATE
            return
        lost = _lost(old, start, end)
        if new.key not in self.own:
            if lost is not None and lost.kind is Kind.VIRTUAL_ROUTER:
                self.held[new.key] = f"{lost} gives up or changes a listener that {new.key} uses"
            return
        if not lost and _fits(old, middle) and _fits(old, end):
            self._timing[new.key] = Timing.LATE
        elif old != new and not _lost(new, start, end) and _fits(new, start) and _fits(new, middle):
            self._timing[new.key] = Timing.EARLY
        else:
            self._timing[new.key] = Timing.RECREATED
            self.recreated[new.key] = (
                f"{lost} gives up or changes a listener that {new.key} uses"
                if lost
                else f"{new.key} fits only the old or only the new listeners around it"
            )


def _rising(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: (RANK[key.kind], key))


def _falling(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: (-RANK[key.kind], key))


def _uses(leaf: Resource, world: State) -> tuple[_Use, ...]:
    """The listeners that a route needs: its owner's, and those of what it leads to."""
    spec = leaf.spec
    if isinstance(spec, RouteSpec):
        member, action = route_action(spec)
        protocol = member.removesuffix("Route")
        route = spec.grpc_route or spec.http2_route or spec.http_route or spec.tcp_route
        match = route.match if route is not None else None
        port = match.port if match is not None else None
        targets = (
            _Use(Key(leaf.key.mesh, Kind.VIRTUAL_NODE, one.virtual_node), one.port, protocol)
            for one in action.weighted_targets
        )
        return (_Use(leaf.key.owner, port, protocol), *targets)
    if isinstance(spec, GatewayRouteSpec):
        member, target = gateway_route_target(spec)
        entry = spec.grpc_route or spec.http2_route or spec.http_route
        port = entry.match.port if entry is not None else None
        service = service_key(leaf.key.mesh, target.virtual_service.virtual_service_name)
        own = _Use(leaf.key.owner, port, member.removesuffix("Route"))
        return (own, _Use(_provider(service, world), target.port, None))
    return ()


def _provider(service: Key, world: State) -> Key | None:
    found = world.get(service)
    if found is None or not isinstance(found.spec, VirtualServiceSpec) or found.spec.provider is None:
        return None
    provider = found.spec.provider
    if provider.virtual_router is not None:
        return Key(service.mesh, Kind.VIRTUAL_ROUTER, provider.virtual_router.virtual_router_name)
    if provider.virtual_node is not None:
        return Key(service.mesh, Kind.VIRTUAL_NODE, provider.virtual_node.virtual_node_name)
    return None


def _listeners(container: Key | None, world: State) -> frozenset[tuple[int, str]]:
    found = world.get(container) if container is not None else None
    if found is None or not isinstance(found.spec, VirtualNodeSpec | VirtualRouterSpec | VirtualGatewaySpec):
        return frozenset()
    return frozenset((one.port_mapping.port, one.port_mapping.protocol) for one in found.spec.listeners or ())


def _around(leaf: Resource, world: State) -> tuple[tuple[_Use, frozenset[tuple[int, str]]], ...]:
    return tuple((use, _listeners(use.container, world)) for use in _uses(leaf, world))


def _fits(leaf: Resource, world: State) -> bool:
    """Whether the listeners of `world` serve `leaf`: by its port, or without one where there is no choice."""
    return all(
        (len(there) <= 1 if use.port is None else any(port == use.port for port, _ in there))
        and (not there or bool(_chosen(use, there)))
        for use, there in _around(leaf, world)
    )


def _chosen(use: _Use, there: frozenset[tuple[int, str]]) -> set[tuple[int, str]]:
    return {
        (port, protocol) for port, protocol in there if use.port in {None, port} and use.protocol in {None, protocol}
    }


def _lost(leaf: Resource, start: State, end: State) -> Key | None:
    """The first object that gives up, or changes the protocol of, a listener that `leaf` uses."""
    for use, there in _around(leaf, start):
        used = {one for one in there if use.port in {None, one[0]}}
        if use.container is not None and used - _listeners(use.container, end):
            return use.container
    return None
