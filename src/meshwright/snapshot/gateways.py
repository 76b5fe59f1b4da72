"""A virtual gateway's Envoy: its routes in front, and its own egress behind.

The one rule: a request goes through two steps, as in App Mesh: the gateway route rewrites it and sends it to the
gateway's own egress, where the virtual service's rules, limits and retries apply as for any other client.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import gateway_route_target
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key
from meshwright.routing import (
    MARK,
    ServicePort,
    at_gateway_route,
    domains,
    gateway_marks,
    gateway_route_match,
    gateway_target,
    ordered_gateway_routes,
    roomiest,
    unservable,
)
from meshwright.snapshot import clusters, egress, listeners, names, older, routes, tls
from meshwright.snapshot.egress import Backend
from meshwright.snapshot.extensions import Additions, additions, shared, told
from meshwright.snapshot.listeners import Bind
from meshwright.snapshot.resources import Clue, Loopback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.model.listeners import VirtualGatewayListener
    from meshwright.model.specs import VirtualGatewaySpec
    from meshwright.snapshot.assembly import Assembly
    from meshwright.snapshot.values import Wire


class _Step(msgspec.Struct, frozen=True):
    """A gateway route and the backend that it leads to, None where it leads to no HTTP."""

    key: Key
    spec: GatewayRouteSpec
    backend: Backend | None
    added: Additions


class _Plan(msgspec.Struct, frozen=True):
    """What the gateway's two halves must agree on."""

    steps: dict[int, tuple[_Step, ...]]
    """The gateway routes in match order, by the gateway listener's port."""
    marks: dict[ServicePort, str]
    """What stands for a backend in the header by which the egress selects; empty where it selects by the Host."""


def add_gateway(assembly: Assembly, spec: VirtualGatewaySpec) -> None:
    """Add everything that the Envoy of the virtual gateway `assembly.proxy` holds."""
    plan = _plan(assembly, spec)
    backends = {step.backend.port: step.backend for steps in plan.steps.values() for step in steps if step.backend}
    egress.add_clusters(assembly, tuple(backends.values()))
    _add_egress(assembly, spec, tuple(backends.values()), plan)
    for index, listener in enumerate(spec.listeners):
        _add_ingress(assembly, spec, index, listener, plan)


def _plan(assembly: Assembly, spec: VirtualGatewaySpec) -> _Plan:
    known: dict[ServicePort, Backend] = {}
    steps = {}
    for listener in spec.listeners:
        port = listener.port_mapping.port
        steps[port] = tuple(
            _step(assembly, route.key, route.spec, listener, known)
            for route in ordered_gateway_routes(assembly.graph, assembly.proxy, port)
            if isinstance(route.spec, GatewayRouteSpec)
        )
    specs = (step.spec for several in steps.values() for step in several)
    return _Plan(steps, gateway_marks(specs, tuple(known)))


def _step(
    assembly: Assembly,
    key: Key,
    spec: GatewayRouteSpec,
    listener: VirtualGatewayListener,
    known: dict[ServicePort, Backend],
) -> _Step:
    mapping = listener.port_mapping
    older.report_conditions(assembly, [(key, gateway_route_match(spec))])
    place = at_gateway_route(key, assembly.proxy, mapping.protocol, mapping.port)
    return _Step(key, spec, _backend(assembly, key, spec, known), additions(assembly, place))


def _backend(
    assembly: Assembly, key: Key, spec: GatewayRouteSpec, known: dict[ServicePort, Backend]
) -> Backend | None:
    target = gateway_target(assembly.graph, key, spec)
    if target.lost:
        assembly.refuse(key, f"spec.{gateway_route_target(spec)[0]}.action.target.port", target.lost)
    if target.port is None:
        return None
    if target.port not in known:
        known[target.port] = egress.resolved(assembly, (target.port,))[0]
    return known[target.port]


def _add_egress(assembly: Assembly, spec: VirtualGatewaySpec, backends: Sequence[Backend], plan: _Plan) -> None:
    tells = told(assembly, listeners.access_logs(spec.logging))
    by_port: defaultdict[int, list[Backend]] = defaultdict(list)
    for backend in backends:
        by_port[_egress_port(assembly, backend)].append(backend)
    for port, several in sorted(by_port.items()):
        if plan.marks:
            marked = [
                route
                for one in several
                for route in routes.service_routes(one.routes, one.service, plan.marks[one.port])
            ]
            hosts: Sequence[routes.Host | Wire] = [routes.marked_host(marked)]
        else:
            named = [(one.service.name, domains(one.port)) for one in several]
            hosts = egress.http_hosts(assembly, several, egress.places(assembly, several, named))
        protocol = several[0].port.protocol if isinstance(assembly.placement, Loopback) else "http"
        name = names.route_configuration("egress", protocol, port)
        egress.add_route_configuration(assembly, name, hosts, several, egress.behind(assembly, several))
        own = any(one.own_server for one in several)
        inner = listeners.http_filter("egress", name, tells, own_server=own, separate=assembly.traits.separate)
        chain = {"filters": [inner]}
        listener = listeners.direct("egress", port, _bind(assembly, "egress"), [chain])
        clues = listeners.log_clues(spec.logging, assembly.proxy)
        assembly.add(listener, (assembly.proxy, *tells.origins, assembly.mesh), clues)


def _add_ingress(
    assembly: Assembly, spec: VirtualGatewaySpec, index: int, listener: VirtualGatewayListener, plan: _Plan
) -> None:
    port, protocol = listener.port_mapping.port, listener.port_mapping.protocol
    refused = unservable(listener.tls) if listener.tls else ""
    if refused:
        assembly.refuse(assembly.proxy, f"spec.listeners[{index}].tls.certificate.acm", refused)
        if listener.tls and listener.tls.mode == "STRICT":
            return
    several = len(spec.listeners) > 1
    name = _add_gateway_routes(assembly, listener, plan, several=several)
    prefix = f"ingress.{protocol}.{port}" if several else "ingress"
    own = any(step.added.own_server for step in plan.steps[port])
    tells = told(assembly, listeners.access_logs(spec.logging))
    inner = listeners.http_filter(prefix, name, tells, own_server=own, separate=assembly.traits.separate)
    typed = older.typed_names(assembly.traits)
    chains = [listeners.plain([inner])] if refused else listeners.chains([inner], listener.tls, protocol, typed=typed)
    files = tls.files(listener.tls) if listener.tls else ()
    assembly.add(
        listeners.direct("ingress", port, _bind(assembly, "ingress"), chains),
        (assembly.proxy, *tells.origins, assembly.mesh),
        [*listeners.log_clues(spec.logging, assembly.proxy), *(Clue(path, assembly.proxy) for path in files)],
    )


def _add_gateway_routes(assembly: Assembly, listener: VirtualGatewayListener, plan: _Plan, *, several: bool) -> str:
    """Add the route configuration of a gateway's listener, and the clusters to its own egress; its name."""
    port, protocol = listener.port_mapping.port, listener.port_mapping.protocol
    written: list[Wire] = []
    for step in plan.steps[port]:
        if step.backend is None:
            written += routes.lost_gateway_routes(step.key.name, step.spec, step.added)
            continue
        target = _egress_port(assembly, step.backend)
        cluster = names.self_redirect(assembly.proxy, protocol, target, port if several else None)
        host = assembly.placement.egress if isinstance(assembly.placement, Loopback) else "127.0.0.1"
        redirect = clusters.self_redirect(cluster, protocol, listener.connection_pool, host, target)
        assembly.add(redirect, (assembly.proxy,))
        marked, limits = plan.marks.get(step.backend.port), roomiest(step.backend.rules)
        mark = None if marked is None else older.header(MARK, marked, assembly.traits, replacing=True)
        named = step.backend.service.name
        written += routes.gateway_routes(step.key.name, step.spec, cluster, named, limits, step.added, mark)
    steps = plan.steps[port]
    origins = [
        *(key for step in steps for key in (step.key, *step.added.origins)),
        assembly.proxy,
        *(key for step in steps if step.backend for key in step.backend.origins),
    ]
    clues = [
        clue
        for step in steps
        for clue in (*routes.clues(step.key, gateway_route_match(step.spec)), *step.added.clues)
    ]
    hosts = [routes.virtual_host("self_redirect", ["*"], written, shared(step.added for step in steps))]
    name = names.route_configuration("ingress", protocol, port)
    return assembly.add(routes.configuration(name, hosts), origins, clues)


def _egress_port(assembly: Assembly, backend: Backend) -> int:
    return backend.port.port if isinstance(assembly.placement, Loopback) else names.EGRESS_PORT


def _bind(assembly: Assembly, direction: str) -> Bind:
    if isinstance(assembly.placement, Loopback):
        return Bind(assembly.placement.ingress if direction == "ingress" else assembly.placement.egress)
    outside = Bind("::", dual=True) if assembly.preference() else Bind("0.0.0.0")  # noqa: S104 - a gateway is reached from outside
    # Its egress is for itself alone: from outside it would be a way past the gateway's routes and TLS.
    return outside if direction == "ingress" else Bind("127.0.0.1", alias=outside.host)
