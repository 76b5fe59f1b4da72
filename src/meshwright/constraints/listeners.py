"""Listeners of virtual nodes, routers and gateways: what App Mesh refuses in one object alone.

Facts: a rule stands here only when the service, its documentation or an official client refuses the input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.constraints.faults import Fault
from meshwright.graph import service_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.model.listeners import Duration, Listener, VirtualGatewayListener, VirtualRouterListener
    from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec, VirtualRouterSpec


def node_faults(mesh: str, spec: VirtualNodeSpec) -> Iterator[Fault]:
    """What is refused in a virtual node: discovery, listeners, backends."""
    yield from _discovery_faults(spec)
    yield from _port_faults(spec.listeners or ())
    for index, listener in enumerate(spec.listeners or ()):
        at = f"spec.listeners[{index}]"
        yield from _listener_faults(listener, at)
        yield from _listener_duration_faults(listener, at)
    seen: dict[object, int] = {}
    for index, backend in enumerate(spec.backends or ()):
        if backend.virtual_service is None:
            continue
        name = backend.virtual_service.virtual_service_name
        first = seen.setdefault(service_key(mesh, name), index)
        if first != index:
            yield Fault(
                rule="MW005",
                path=f"spec.backends[{index}].virtualService.virtualServiceName",
                text=f"Backends must be unique: virtual service {name} is listed more than once",
                detail=f"It is spec.backends[{first}] already; keep one of them.",
            )


def router_faults(spec: VirtualRouterSpec) -> Iterator[Fault]:
    """What is refused in a virtual router."""
    yield from _port_faults(spec.listeners or ())


def gateway_faults(spec: VirtualGatewaySpec) -> Iterator[Fault]:
    """What is refused in a virtual gateway."""
    yield from _port_faults(spec.listeners)
    for index, listener in enumerate(spec.listeners):
        yield from _listener_faults(listener, f"spec.listeners[{index}]")


def duration_fault(duration: Duration | None, path: str) -> Iterator[Fault]:
    """A duration that lacks its unit or its value means nothing.

    Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_Duration.html
    """
    if duration is None or (duration.unit is not None and duration.value is not None):
        return
    lacking = " and ".join(name for name in ("unit", "value") if getattr(duration, name) is None)
    yield Fault(
        rule="MW005",
        path=path,
        text=f"A duration needs both a unit and a value; {lacking} is not set",
        detail='Write both, such as {"unit": "s", "value": 15}; 0 stands for no limit.',
    )


def _discovery_faults(spec: VirtualNodeSpec) -> Iterator[Fault]:
    if spec.service_discovery is not None and not spec.listeners:
        yield Fault(
            rule="MW005",
            path="spec.serviceDiscovery",
            text="Service Discovery can't be set without a listener.",
            detail="Nobody could call the node. Add a listener; a node that only calls needs no serviceDiscovery.",
        )
    if spec.listeners and spec.service_discovery is None:
        yield Fault(
            rule="MW005",
            path="spec.listeners",
            text="A listener can't be set without Service Discovery.",
            detail="Callers find the node's instances by serviceDiscovery; add dns.hostname or awsCloudMap.",
        )


def _port_faults(
    listeners: Sequence[Listener] | Sequence[VirtualRouterListener] | Sequence[VirtualGatewayListener],
) -> Iterator[Fault]:
    seen: dict[int, int] = {}
    for index, port in enumerate([one.port_mapping.port for one in listeners]):
        first = seen.setdefault(port, index)
        if first != index:
            yield Fault(
                rule="MW005",
                path=f"spec.listeners[{index}].portMapping.port",
                text=f"Listener ports must be unique: port {port} is listed more than once",
                detail=f"It is the port of spec.listeners[{first}] already; one port can have one protocol.",
            )


def _listener_faults(listener: Listener | VirtualGatewayListener, at: str) -> Iterator[Fault]:
    mapping = listener.port_mapping
    check = listener.health_check
    if check is not None:
        if check.protocol == "grpc" and mapping.protocol not in {"grpc", "http2"}:
            yield Fault(
                rule="MW005",
                path=f"{at}.healthCheck.protocol",
                text="GRPC HealthCheck requires listener type of HTTP2 or GRPC.",
                detail=f"The listener's protocol is {mapping.protocol}.",
            )
        if check.port is not None and check.port != mapping.port:
            yield Fault(
                rule="MW005",
                path=f"{at}.healthCheck.port",
                text=f"HealthCheck port {check.port} must be the listener's port {mapping.port}",
                detail="Leave the port out: it is the listener's then.",
            )
    yield from _member_fault(listener.connection_pool, mapping.protocol, f"{at}.connectionPool")


def _listener_duration_faults(listener: Listener, at: str) -> Iterator[Fault]:
    yield from _member_fault(listener.timeout, listener.port_mapping.protocol, f"{at}.timeout")
    for protocol in ("grpc", "http", "http2", "tcp"):
        limits = getattr(listener.timeout, protocol, None)
        yield from duration_fault(getattr(limits, "idle", None), f"{at}.timeout.{protocol}.idle")
        yield from duration_fault(getattr(limits, "per_request", None), f"{at}.timeout.{protocol}.perRequest")
    outlier = listener.outlier_detection
    if outlier is not None:
        yield from duration_fault(outlier.base_ejection_duration, f"{at}.outlierDetection.baseEjectionDuration")
        yield from duration_fault(outlier.interval, f"{at}.outlierDetection.interval")


def _member_fault(union: Any, protocol: str, path: str) -> Iterator[Fault]:
    """A pool or timeout stands under its listener's protocol and no other."""
    if union is None or getattr(union, protocol, None) is not None:
        return
    found = next(name for name in union.one_of if getattr(union, name) is not None)
    what = path.rpartition(".")[2]
    yield Fault(
        rule="MW005",
        path=f"{path}.{found}",
        text=f"The {what} of a listener with protocol {protocol} must be set under {protocol}, not {found}",
        detail=f"Rename the member to {protocol}, or change the listener's protocol.",
    )
