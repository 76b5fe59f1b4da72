"""What one Envoy should hold: a graph, a proxy, the discovered endpoints and a placement in, a snapshot out.

The one rule: the same input gives the same bytes, every resource that is referred to is there, and nothing is there
that the proxy's definition does not lead to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.errors import UnknownProxyError, did_you_mean
from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.snapshot.assembly import Assembly
from meshwright.snapshot.extensions import add_collectors, report_lost
from meshwright.snapshot.gateways import add_gateway
from meshwright.snapshot.nodes import add_node
from meshwright.snapshot.resources import Traits
from meshwright.snapshot.runtime import add_runtime

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import Endpoints, Placement, Snapshot


_UNKNOWN = Traits()


def build(
    graph: Graph,
    proxy: Key,
    endpoints: Endpoints,
    placement: Placement,
    traits: Traits = _UNKNOWN,
    now: int = 0,
) -> Snapshot:
    """The snapshot of the virtual node or virtual gateway `proxy`.

    `endpoints` holds the instances of nodes that are not found by DNS; a node without any gets an empty set, and one
    that was not looked up yet none, so that an Envoy keeps what it has. What is missing is normal: a backend that
    names no known service leads nowhere, a service without routes answers 404. What the Envoy's `traits` do not allow
    is left out, and so is what had expired `now`, in milliseconds since the epoch, UTC.

    Raises:
        UnknownProxyError: `proxy` is no virtual node or virtual gateway of the graph.
    """
    resource = graph.state.get(proxy)
    spec = resource.spec if resource else None
    assembly = Assembly(graph, proxy, endpoints, placement, traits, now)
    match spec:
        case VirtualNodeSpec():
            add_node(assembly, spec)
        case VirtualGatewaySpec():
            add_gateway(assembly, spec)
        case _:
            raise UnknownProxyError(_unknown(graph, proxy))
    report_lost(assembly)
    add_collectors(assembly)
    add_runtime(assembly)
    return assembly.snapshot()


def _unknown(graph: Graph, proxy: Key) -> str:
    if proxy.kind not in {Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY}:
        return f"{proxy.path!r} cannot have a proxy: only virtual nodes and virtual gateways do"
    names = [one.key.name for one in graph.state.of(proxy.kind, proxy.mesh)]
    hint = did_you_mean(proxy.name, names, "create it, or correct the proxy's node id")
    return f"{proxy.path!r} does not exist, so there is nothing for its proxy to do; {hint}"
