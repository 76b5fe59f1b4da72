"""What App Mesh refuses, and we of our extensions: judged once, printed by `validate`, raised by `operations`.

The one rule: nothing that the service is known to accept is refused (facts §1.3). A state is judged, never a
transition: what depends on the state before a write (a listener in use, a delete of something referred to) is
`operations`' own.

Open and closed world. A name that leads nowhere is a fault only where everything is known. A server knows its whole
state, and so does a plan made against one: pass `whole=True`. Files are usually one service's part of a mesh, the
rest of which lives in other repositories. So by default a mesh counts as wholly known when the mesh object itself is
among the resources; then what is missing is an error. Otherwise it is a warning that the name is not among these
files, and objects that lie in an undeclared mesh say nothing about that mesh at all.

`check` reports a few things that one API call may still do (a target port that no listener has): refusing them
would forbid moving a port step by step, while a definition that says so cannot work. They carry `refused=False`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.constraints.dependents import unfit_dependent
from meshwright.constraints.extensions import extension_faults
from meshwright.constraints.faults import Fault, name_fault
from meshwright.constraints.listeners import gateway_faults, node_faults, router_faults
from meshwright.constraints.references import agreement_faults, reference_faults
from meshwright.constraints.requests import gateway_route_faults, route_faults
from meshwright.constraints.world import World
from meshwright.diagnostics import Diagnostic, Severity, ordered
from meshwright.errors import BadRequestException, did_you_mean
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import (
    MeshSpec,
    VirtualGatewaySpec,
    VirtualNodeSpec,
    VirtualRouterSpec,
    VirtualServiceSpec,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.errors import ApiError
    from meshwright.graph import Graph
    from meshwright.model.state import Resource

__all__ = ["World", "check", "near_name", "refusal"]

_FEW = 12
"""How many names are compared in full with one that leads nowhere."""


def check(graph: Graph, *, whole: bool | None = None, unread: frozenset[Key] = frozenset()) -> tuple[Diagnostic, ...]:
    """Everything in `graph` that App Mesh would refuse, in reading order.

    `whole` and `unread` say how much is known beside it: see `World`.
    """
    world = World(whole=whole, unread=unread)
    return ordered(
        one
        for resource in graph.state
        for fault in _faults(graph, resource)
        for one in _told(graph, resource, fault, world)
    )


def refusal(graph: Graph, key: Key) -> ApiError | None:
    """The first reason for App Mesh to refuse `key` as it stands in `graph`, ready to be raised; None to accept it.

    `graph` is the whole state as it would be after the write. The object's own fields are judged first, then what it
    refers to, then whether its routes and callers still fit it.
    """
    resource = graph.state[key]
    for fault in _faults(graph, resource):
        if fault.refused:
            return fault.error(fault.text if key.kind.portable else f"{fault.path}: {fault.text}")
    unfit = unfit_dependent(graph, key)
    return BadRequestException(unfit) if unfit else None


def near_name(graph: Graph, key: Key) -> str:
    """`Did you mean 'x'?` for a `key` that leads nowhere, when a sibling has nearly that name; else ""."""
    if key.owner is None:
        return ""
    wanted = key.name
    names = [one.key.name for one in graph.children(key.owner) if one.key.kind is key.kind]
    # A full comparison of every name with every other would take minutes where a whole mesh is misspelt.
    unlike = {name: (name[:4] != wanted[:4]) + (name[-4:] != wanted[-4:]) for name in names}
    likely = sorted(names, key=lambda name: (unlike[name], abs(len(name) - len(wanted))))[:_FEW]
    return did_you_mean(wanted, likely, cutoff=0.7, sentence=True)


def _faults(graph: Graph, resource: Resource) -> Iterator[Fault]:
    """The faults that `resource` itself must cure, in the order in which `refusal` names them."""
    named = name_fault(resource.key)
    if named is not None:
        yield named
    match resource.spec:
        case VirtualNodeSpec():
            yield from node_faults(resource.key.mesh, resource.spec)
        case VirtualRouterSpec():
            yield from router_faults(resource.spec)
        case VirtualGatewaySpec():
            yield from gateway_faults(resource.spec)
        case RouteSpec():
            yield from route_faults(resource.spec)
        case GatewayRouteSpec():
            yield from gateway_route_faults(resource.spec)
        case MeshSpec() | VirtualServiceSpec():
            pass
        case _:
            yield from extension_faults(graph, resource)
            return
    yield from reference_faults(graph, resource.key)
    yield from agreement_faults(graph, resource)


def _told(graph: Graph, resource: Resource, fault: Fault, world: World) -> Iterator[Diagnostic]:
    """`fault` as a diagnostic; one about what may stand in files that were not given is a warning or nothing."""
    severity, summary, detail = Severity.ERROR, fault.text, fault.detail
    if fault.missing is not None:
        if fault.missing in world.unread:
            return
        if world.has_all(graph, fault.missing.mesh):
            part = "" if world.whole else "With the mesh itself among them, the files are taken for the whole of it."
            detail = " ".join(filter(None, (near_name(graph, fault.missing), detail, part)))
        elif fault.missing.kind is Kind.MESH:
            return
        else:
            severity = Severity.WARNING
            summary = f"{fault.missing.kind.type_name} {fault.missing.name} is not in these files"
            refuses = "App Mesh" if resource.key.kind.portable else "the control plane"
            detail = (
                f"That is right if {fault.missing.path} is defined elsewhere; {refuses} refuses this until it exists."
            )
    yield Diagnostic(
        rule=fault.rule,
        severity=severity,
        summary=summary,
        detail=detail,
        subject=resource.key.path,
        path=fault.path,
    )
