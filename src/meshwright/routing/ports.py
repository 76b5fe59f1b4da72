"""The ports on which clients call a virtual service.

The one rule: they are the ports of its provider's listeners, which need not be those that the targets listen on.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/virtual_services.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key
from meshwright.model.scalars import PortProtocol
from meshwright.model.specs import VirtualNodeSpec, VirtualRouterSpec

if TYPE_CHECKING:
    from meshwright.graph import Graph


class ServicePort(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """A port on which clients call a virtual service."""

    service: Key
    provider: Key
    """The router or node that answers."""
    port: int
    protocol: PortProtocol


def service_ports(graph: Graph, service: Key) -> tuple[ServicePort, ...]:
    """The ports of a virtual service: its provider's listeners, in their order; none without a provider."""
    provider = graph.provider(service)
    resource = graph.state.get(provider) if provider else None
    if provider is None or resource is None or not isinstance(resource.spec, VirtualNodeSpec | VirtualRouterSpec):
        return ()
    mappings = [listener.port_mapping for listener in resource.spec.listeners or ()]
    return tuple(
        ServicePort(service=service, provider=provider, port=one.port, protocol=one.protocol) for one in mappings
    )
