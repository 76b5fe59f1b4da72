"""Extensions that hold nowhere, because what they are about is gone, or is another stack's.

The one rule: an object of App Mesh may be deleted whatever is about it; the proxies that it concerned say what is
left without effect, and nothing is sent that Envoy would refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.graph import Relation, scope_of
from meshwright.model.identity import EXTENSION_KINDS
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec

if TYPE_CHECKING:
    from meshwright.graph import Edge, Graph
    from meshwright.model.identity import Key
    from meshwright.snapshot.assembly import Assembly


def report_lost(assembly: Assembly) -> None:
    """Report the extensions about what this proxy called, routed by or listened on, and no more does."""
    if not assembly.graph.has_extensions:
        return  # as in most meshes
    missing = assembly.graph.recall(_missing, assembly.proxy.mesh)
    if missing:
        concerned = _concerned(assembly)
        for edge in missing:
            if edge.target in concerned or edge.target.owner in concerned:
                there = assembly.graph.state.get(edge.target)
                fate = f"belongs to stack {there.stack!r} by now" if there is not None else "does not exist"
                reason = f"{edge.target.kind.type_name} {edge.target.name!r} {fate}: it has no effect"
                assembly.refuse(edge.source, edge.path, reason)
    ports = _ports(assembly)
    for kind in EXTENSION_KINDS:
        for extension in assembly.graph.extensions(kind, assembly.proxy):
            _, port, _ = scope_of(extension)
            if port is not None and port not in ports:
                reason = f"{assembly.proxy.name!r} does not listen on port {port}: it has no effect"
                assembly.refuse(extension.key, "spec.target.port", reason)


def _missing(graph: Graph, mesh: str) -> tuple[Edge, ...]:
    extensions = (one.key for kind in EXTENSION_KINDS for one in graph.state.of(kind, mesh))
    return tuple(edge for key in extensions for edge in graph.outgoing(key, Relation.EXTENDS) if not edge.found)


def _concerned(assembly: Assembly) -> set[Key]:
    """The proxy, the services that it may call, and the routers that answer for them."""
    services = assembly.graph.entry_services(assembly.proxy)
    providers = (assembly.graph.provider(service) for service in services)
    return {assembly.proxy, *services, *(one for one in providers if one is not None)}


def _ports(assembly: Assembly) -> set[int]:
    spec = assembly.graph.state[assembly.proxy].spec
    listeners = (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec | VirtualGatewaySpec) else ()
    return {one.port_mapping.port for one in listeners}
