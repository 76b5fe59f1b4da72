"""Names become edges: what one object refers to, in which field, and whether the name leads anywhere.

The one rule: total. A name that leads nowhere is an edge with `found=False`, never an exception.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, cast

import msgspec

from meshwright.model.extensions import FaultSpec, MirrorSpec
from meshwright.model.gateway_routes import GatewayRouteSpec, GatewayRouteTarget
from meshwright.model.identity import Key, Kind, parse_key, split_mesh
from meshwright.model.routes import RouteAction, RouteSpec
from meshwright.model.specs import (
    MeshSpec,
    VirtualGatewaySpec,
    VirtualNodeSpec,
    VirtualRouterSpec,
    VirtualServiceProvider,
    VirtualServiceSpec,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.model.state import Extension, Resource, Spec, State


class Relation(enum.StrEnum):
    """What an edge means; it points from the object that holds the name to the object named."""

    BACKEND = "backend"
    """A virtual node may call a virtual service."""
    PROVIDER = "provider"
    """A virtual service is answered by a virtual router or a virtual node."""
    TARGET = "target"
    """A route leads to a virtual node, a gateway route to a virtual service."""
    EXTENDS = "extends"
    """An extension is about what it targets: a service, a route, a node, a gateway, or the mesh."""
    CALLER = "caller"
    """An extension is about the requests of a node or gateway only."""
    COPIES = "copies"
    """A mirror sends copies to a virtual node."""
    OWNER = "owner"
    """A route lies in its virtual router, a gateway route in its gateway, everything in its mesh."""


class Edge(msgspec.Struct, frozen=True, order=True):
    """One reference: `source` names `target` in its field `path`."""

    source: Key
    target: Key
    relation: Relation
    path: str
    found: bool


def felt(differing: Iterable[Key], before: State, after: State) -> frozenset[Key]:
    """The objects that differ, and those by which is felt what is not led to, or not yet.

    These are the routers and gateways that they lie in, and what extensions are about, or were.
    """
    found = frozenset(differing)
    extensions = [
        one for key in found if not key.kind.portable for state in (before, after) if (one := state.get(key))
    ]
    targets = {extended(one.key.mesh, cast("Extension", one.spec))[0] for one in extensions}
    owners = {key.owner for key in found | targets if key.kind.parent is not None}
    return found.union(targets, (owner for owner in owners if owner is not None))


def service_key(mesh: str, name: str) -> Key:
    """The virtual service that an object in `mesh` names, by its name or, across accounts, by its ARN.

    An ARN names a service of the same mesh, whose owner it writes NAME@OWNER or, where the service is the owner's
    too, as its account. A bare `mesh` does not say whose it is; an ARN of a mesh of that name is taken for it.
    """
    if name.startswith("arn:"):
        try:
            key = parse_key(name)
        except ValueError:
            return Key(mesh, Kind.VIRTUAL_SERVICE, name)
        (bare, named), ours = split_mesh(key.mesh), split_mesh(mesh)[1]
        return key.within(f"{bare}@{named or name.split(':', 5)[4]}" if ours else bare)
    return Key(mesh, Kind.VIRTUAL_SERVICE, name)


def route_action(spec: RouteSpec) -> tuple[str, RouteAction]:
    """The wire name of a route's protocol member (`httpRoute`) and its action."""
    for name, route in (
        ("grpcRoute", spec.grpc_route),
        ("http2Route", spec.http2_route),
        ("httpRoute", spec.http_route),
        ("tcpRoute", spec.tcp_route),
    ):
        if route is not None:
            return name, route.action
    raise AssertionError("the model lets no route without a protocol through")


def gateway_route_target(spec: GatewayRouteSpec) -> tuple[str, GatewayRouteTarget]:
    """The wire name of a gateway route's protocol member (`httpRoute`) and its target."""
    for name, route in (
        ("grpcRoute", spec.grpc_route),
        ("http2Route", spec.http2_route),
        ("httpRoute", spec.http_route),
    ):
        if route is not None:
            return name, route.action.target
    raise AssertionError("the model lets no gateway route without a protocol through")


def extended(mesh: str, spec: Extension) -> tuple[Key, str]:
    """What an extension in `mesh` is about, and the field that names it; the mesh itself where none does."""
    target = spec.target
    if target is None:
        return Key.of_mesh(mesh), "spec.target"

    def name(member: str) -> str:
        return getattr(target, member, None) or ""

    for member, kind, parent in _TARGETS:
        if name(member):
            wire = f"spec.target.{kind.name_field}"
            if kind is Kind.VIRTUAL_SERVICE:
                return service_key(mesh, name(member)), wire
            return Key(mesh, kind, name(member), name(parent)), wire
    raise AssertionError("the model lets no empty target through")


_TARGETS = (
    ("virtual_service_name", Kind.VIRTUAL_SERVICE, ""),
    ("route_name", Kind.ROUTE, "virtual_router_name"),
    ("gateway_route_name", Kind.GATEWAY_ROUTE, "virtual_gateway_name"),
    ("virtual_node_name", Kind.VIRTUAL_NODE, ""),
    ("virtual_gateway_name", Kind.VIRTUAL_GATEWAY, ""),
)
"""The member that names a target, its kind, and the member that names what it lies in."""


def owned(extension: Resource, *states: State) -> tuple[Key, ...]:
    """What an extension reaches as the owner of it: its stack's own, or nobody's, by the first state that has it.

    None for an extension of no stack: that is nobody's right to lose.
    """
    if not extension.stack:
        return ()
    mesh, spec = extension.key.mesh, cast("Extension", extension.spec)
    whose = (spec.callers or ()) if isinstance(spec, FaultSpec) else ()
    reached = (extended(mesh, spec)[0], *(key for name in whose for key in callers(mesh, name, states[-1])))
    found = ((key, next((state[key] for state in states if key in state), None)) for key in reached)
    return tuple(key for key, there in found if there is not None and there.stack in {"", extension.stack})


def disowned(extension: Resource, key: Key, state: State) -> bool:
    """Whether `key`, which an extension reached as its owner, is another stack's by now: it has no effect there."""
    there = state.get(key)
    return key in extension.owned and there is not None and there.stack not in {"", extension.stack}


def scope_of(extension: Resource) -> tuple[Key, int | None, frozenset[str]]:
    """What an extension is about, at which port (None for all), and for whose requests (none for everyone's)."""
    spec = cast("Extension", extension.spec)
    about, _ = extended(extension.key.mesh, spec)
    whose = spec.callers if isinstance(spec, FaultSpec) else None
    return about, getattr(spec.target, "port", None), frozenset(whose or ())


def contradict(one: Resource, other: Resource) -> bool:
    """Whether two extensions are of one kind and for the same, so that nobody could say which of them holds."""
    if one.key.kind is not other.key.kind or one.key == other.key:
        return False
    (about, port, whose), (there, at, theirs) = scope_of(one), scope_of(other)
    return (about, port) == (there, at) and (whose == theirs or not whose.isdisjoint(theirs))


def callers(mesh: str, name: str, state: State) -> tuple[Key, ...]:
    """The node and the gateway of that name; the node where there is neither."""
    node, gateway = Key(mesh, Kind.VIRTUAL_NODE, name), Key(mesh, Kind.VIRTUAL_GATEWAY, name)
    return tuple(key for key in (node, gateway) if key in state) or (node,)


def edges(resource: Resource, state: State, *, strict: bool = False) -> Iterator[Edge]:
    """The references that `resource` makes, in the order of its fields, found where `state` has what they name.

    What another stack took from under an extension is not what that was about, and is not found by it. `strict` ones
    alone are all but a node's backends, which may name what is not there.
    """
    key = resource.key
    owner = key.owner
    if owner is not None:
        yield Edge(key, owner, Relation.OWNER, "", owner in state)
    if strict and isinstance(resource.spec, VirtualNodeSpec):
        return
    for target, relation, path in _named(key, resource.spec):
        yield Edge(key, target, relation, path, target in state and not disowned(resource, target, state))
    if isinstance(resource.spec, FaultSpec):
        for index, name in enumerate(resource.spec.callers or ()):
            for caller in callers(key.mesh, name, state):
                there = caller in state and not disowned(resource, caller, state)
                yield Edge(key, caller, Relation.CALLER, f"spec.from[{index}]", there)


def _named(key: Key, spec: Spec) -> Iterator[tuple[Key, Relation, str]]:
    match spec:
        case VirtualNodeSpec():
            for index, backend in enumerate(spec.backends or ()):
                if backend.virtual_service is not None:
                    path = f"spec.backends[{index}].virtualService.virtualServiceName"
                    yield service_key(key.mesh, backend.virtual_service.virtual_service_name), Relation.BACKEND, path
        case VirtualServiceSpec(provider=provider) if provider is not None:
            yield _provider(key.mesh, provider)
        case RouteSpec():
            member, action = route_action(spec)
            for index, weighted in enumerate(action.weighted_targets):
                path = f"spec.{member}.action.weightedTargets[{index}].virtualNode"
                yield Key(key.mesh, Kind.VIRTUAL_NODE, weighted.virtual_node), Relation.TARGET, path
        case GatewayRouteSpec():
            member, target = gateway_route_target(spec)
            path = f"spec.{member}.action.target.virtualService.virtualServiceName"
            yield service_key(key.mesh, target.virtual_service.virtual_service_name), Relation.TARGET, path
        case MeshSpec() | VirtualServiceSpec() | VirtualRouterSpec() | VirtualGatewaySpec():
            return
        case _:
            about, path = extended(key.mesh, spec)
            yield about, Relation.EXTENDS, path
            if isinstance(spec, MirrorSpec):
                yield Key(key.mesh, Kind.VIRTUAL_NODE, spec.to.virtual_node_name), Relation.COPIES, _COPIES


_COPIES = "spec.to.virtualNodeName"


def _provider(mesh: str, provider: VirtualServiceProvider) -> tuple[Key, Relation, str]:
    if provider.virtual_router is not None:
        key = Key(mesh, Kind.VIRTUAL_ROUTER, provider.virtual_router.virtual_router_name)
        return key, Relation.PROVIDER, "spec.provider.virtualRouter.virtualRouterName"
    if provider.virtual_node is not None:
        key = Key(mesh, Kind.VIRTUAL_NODE, provider.virtual_node.virtual_node_name)
        return key, Relation.PROVIDER, "spec.provider.virtualNode.virtualNodeName"
    raise AssertionError("the model lets no empty provider through")
