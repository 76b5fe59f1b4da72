"""What an extension is about: exactly one form of naming a service, a route, a gateway's route, a node or a gateway.

The one rule: a target names App Mesh objects of the extension's own mesh, and nothing of App Mesh names an extension.
"""

from __future__ import annotations

from typing import ClassVar

from meshwright.model.scalars import PortNumber, ResourceName, Shape


class TrafficTarget(Shape, frozen=True, kw_only=True):
    """Traffic, wherever it passes: at the callers of a service or route, at a gateway's route, or at an ingress."""

    forms: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("virtual_service_name",),
        ("virtual_router_name", "route_name"),
        ("virtual_gateway_name", "gateway_route_name"),
        ("virtual_node_name",),
        ("virtual_node_name", "port"),
        ("virtual_gateway_name",),
        ("virtual_gateway_name", "port"),
    )

    virtual_service_name: ResourceName | None = None
    """Every route by which callers reach it."""
    virtual_router_name: ResourceName | None = None
    route_name: ResourceName | None = None
    virtual_gateway_name: ResourceName | None = None
    """With `gateway_route_name` that route; alone the gateway's ingress."""
    gateway_route_name: ResourceName | None = None
    virtual_node_name: ResourceName | None = None
    """The node's own ingress."""
    port: PortNumber | None = None
    """One listener of the ingress; without it all."""


class RouteTarget(Shape, frozen=True, kw_only=True):
    """What callers do: all the routes of a service, or one route."""

    forms: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("virtual_service_name",),
        ("virtual_router_name", "route_name"),
    )

    virtual_service_name: ResourceName | None = None
    virtual_router_name: ResourceName | None = None
    route_name: ResourceName | None = None


class ProxyTarget(Shape, frozen=True, kw_only=True):
    """The proxies of a node or a gateway."""

    one_of: ClassVar[tuple[str, ...]] = ("virtual_node_name", "virtual_gateway_name")

    virtual_node_name: ResourceName | None = None
    virtual_gateway_name: ResourceName | None = None


class DestinationTarget(Shape, frozen=True, kw_only=True):
    """Where requests go: a node, or the nodes of a service."""

    one_of: ClassVar[tuple[str, ...]] = ("virtual_node_name", "virtual_service_name")

    virtual_node_name: ResourceName | None = None
    virtual_service_name: ResourceName | None = None


class NodeTarget(Shape, frozen=True, kw_only=True):
    """One node."""

    virtual_node_name: ResourceName
