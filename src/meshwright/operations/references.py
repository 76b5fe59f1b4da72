"""Who stands near an object: what refers to it, and the part of the graph that decides about it.

The one rule: a write looks at its neighbourhood, never at the whole state's edges, so that a release of hundreds of
steps in a mesh of thousands stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.constraints.references import match_port
from meshwright.errors import BadRequestException, ResourceInUseException
from meshwright.graph import (
    Graph,
    contradict,
    edges,
    gateway_route_target,
    resolve,
    route_action,
    service_key,
)
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import EXTENSION_KINDS, Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualNodeSpec, VirtualRouterSpec, VirtualServiceSpec
from meshwright.model.state import State

if TYPE_CHECKING:
    from meshwright.model.state import Resource

_BEFORE_MESH = (
    Kind.VIRTUAL_NODE,
    Kind.VIRTUAL_ROUTER,
    Kind.VIRTUAL_SERVICE,
    Kind.VIRTUAL_GATEWAY,
    *EXTENSION_KINDS,
)
_CHILDREN = {Kind.VIRTUAL_ROUTER: Kind.ROUTE, Kind.VIRTUAL_GATEWAY: Kind.GATEWAY_ROUTE}


def neighbourhood(state: State, key: Key, *, created: bool = False) -> Graph:
    """The graph of `key`, of what it strictly refers to, and of the routes that depend on it with what they refer to.

    Of an extension also the others of its kind for the same. That is all that `constraints.refusal` looks at.
    A `created` object has no dependents: nothing refers strictly to what is not there. Nor does a node of one
    listener: whoever leads to it has no choice.
    """
    newest = [state[key], *(() if created else _bound_to_listeners(state, key)), *_siblings(state, key)]
    near = {one.key: one for one in newest}
    for _ in range(2):
        strict = (edge for one in newest for edge in edges(one, state, strict=True))
        targets = {edge.target for edge in strict if edge.found and edge.target not in near}
        if not targets:
            break
        newest = [state[target] for target in targets]
        near.update({one.key: one for one in newest})
    return resolve(State(near.values()))


def _siblings(state: State, key: Key) -> tuple[Resource, ...]:
    """The extensions of the same kind that are for the same."""
    if key.kind.portable:
        return ()
    return tuple(one for one in state.of(key.kind, key.mesh) if contradict(state[key], one))


def dependents(state: State, key: Key) -> tuple[Resource, ...]:
    """The routes that lie in a router or lead to a node, and the gateway routes of a gateway or to a service."""
    match key.kind:
        case Kind.VIRTUAL_ROUTER | Kind.VIRTUAL_GATEWAY as parent:
            return state.of(_CHILDREN[parent], key.mesh, key.name)
        case Kind.VIRTUAL_NODE:
            return tuple(one for one in state.of(Kind.ROUTE, key.mesh) if _leads_to_node(one, key))
        case Kind.VIRTUAL_SERVICE:
            return tuple(one for one in state.of(Kind.GATEWAY_ROUTE, key.mesh) if _leads_to_service(one, key))
    return ()


def _bound_to_listeners(state: State, key: Key) -> tuple[Resource, ...]:
    """The routes and gateway routes that a change of `key`, its listeners or its provider, may leave unfit."""
    spec = state[key].spec
    several = isinstance(spec, VirtualNodeSpec | VirtualRouterSpec) and len(spec.listeners or ()) > 1
    if key.kind is Kind.VIRTUAL_NODE and not several:
        return ()
    return (*dependents(state, key), *(_entries(state, key) if several else ()))


def _entries(state: State, key: Key) -> tuple[Resource, ...]:
    """The gateway routes to the services that `key` provides."""
    found = (one for one in state.of(Kind.GATEWAY_ROUTE, key.mesh))
    return tuple(one for one in found if _provides_for(state, key, _entered(one)))


def refuse_in_use(state: State, key: Key, account: str) -> None:
    """Raise why `key` cannot be deleted.

    The words are the service's own for a mesh with nodes, a node that is a target, a router that is a provider and a
    service behind a gateway route; the rest is in the same voice (facts §1.4).

    Raises:
        ResourceInUseException: something lies in it or refers to it.
    """
    text = _use(state, key, account)
    if text:
        raise ResourceInUseException(text)


def refuse_moved_listeners(before: Resource, after: Resource, routes: tuple[Resource, ...]) -> None:
    """Raise when a router's listener would change its port or protocol, or go, while routes depend on it.

    The service refuses that (its words are not known): the routes are deleted first, or moved by an update that names
    another port. A route without a port depends on a single listener.

    Raises:
        BadRequestException: naming the listener and up to five routes.
    """
    if not isinstance(before.spec, VirtualRouterSpec) or not isinstance(after.spec, VirtualRouterSpec):
        return
    kept = {listener.port_mapping for listener in after.spec.listeners or ()}
    for listener in before.spec.listeners or ():
        mapping = listener.port_mapping
        bound = [one.key.name for one in routes if match_port(one) in {None, mapping.port}]
        if mapping not in kept and bound:
            raise BadRequestException(
                f"The listener on port {mapping.port} with protocol {mapping.protocol} of VirtualRouter with name "
                f"{before.key.name} cannot be changed or removed because {len(bound)} Route(s) depend on it. "
                f"Listing up to 5 route names: [{', '.join(bound[:5])}]"
            )


def _use(state: State, key: Key, account: str) -> str:
    """Why `key` is in use, "" when it is not."""
    cannot = f"{key.kind.type_name} with name {key.name} cannot be deleted because"
    match key.kind:
        case Kind.MESH:
            inside = next((kind for kind in _BEFORE_MESH if state.of(kind, key.mesh)), None)
            what = f"Mesh {key.wire_name} for account {account}"
            return _children_text(what, inside, Kind.MESH) if inside else ""
        case Kind.VIRTUAL_ROUTER | Kind.VIRTUAL_GATEWAY as kind:
            if kind is Kind.VIRTUAL_ROUTER and _provides(state, key):
                return f"{cannot} it is a VirtualService provider"
            what = f"{kind.type_name} with name {key.name}"
            return _children_text(what, _CHILDREN[kind], kind) if dependents(state, key) else ""
        case Kind.VIRTUAL_NODE:
            if dependents(state, key):
                return f"{cannot} it is the target of one or more routes."
            if _provides(state, key):
                return f"{cannot} it is a VirtualService provider"
        case Kind.VIRTUAL_SERVICE:
            ids = [one.metadata.uid if one.metadata else one.key.name for one in dependents(state, key)]
            if ids:
                listed = ", ".join(ids)
                return f"VirtualService {key.name} is being referenced in the following: GATEWAY_ROUTE: [{listed}]"
    return ""


def _children_text(what: str, inside: Kind, kind: Kind) -> str:
    children = inside.plural
    return f"{what} has active {children}, please delete {children} before deleting the {kind.type_name}"


def _provides(state: State, key: Key) -> bool:
    """Whether a virtual service's provider is `key`."""
    return any(_provides_for(state, key, one.key) for one in state.of(Kind.VIRTUAL_SERVICE, key.mesh))


def _provides_for(state: State, key: Key, service: Key | None) -> bool:
    """Whether the provider of `service` is `key`."""
    found = state.get(service) if service is not None else None
    provider = found.spec.provider if found is not None and isinstance(found.spec, VirtualServiceSpec) else None
    if provider is None:
        return False
    if key.kind is Kind.VIRTUAL_NODE and provider.virtual_node is not None:
        return provider.virtual_node.virtual_node_name == key.name
    if key.kind is Kind.VIRTUAL_ROUTER and provider.virtual_router is not None:
        return provider.virtual_router.virtual_router_name == key.name
    return False


def _leads_to_node(route: Resource, node: Key) -> bool:
    if not isinstance(route.spec, RouteSpec):
        return False
    _, action = route_action(route.spec)
    return any(weighted.virtual_node == node.name for weighted in action.weighted_targets)


def _leads_to_service(route: Resource, service: Key) -> bool:
    return _entered(route) == service


def _entered(route: Resource) -> Key | None:
    """The service that a gateway route leads to."""
    if not isinstance(route.spec, GatewayRouteSpec):
        return None
    _, target = gateway_route_target(route.spec)
    return service_key(route.key.mesh, target.virtual_service.virtual_service_name)
