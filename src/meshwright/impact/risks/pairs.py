"""What was, beside what is: the listeners of two versions of an object.

The one rule: a port names a listener; a listener whose port alone changed is still that listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec, VirtualRouterSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.model.listeners import Listener, VirtualGatewayListener, VirtualRouterListener
    from meshwright.model.state import Resource


class Pair(NamedTuple):
    """One listener, before and after, and where it stands after."""

    old: Listener | VirtualGatewayListener
    new: Listener | VirtualGatewayListener
    path: str
    """`spec.listeners[0]`."""

    @property
    def port(self) -> int:
        """Its port afterwards."""
        return self.new.port_mapping.port


def listeners_of(resource: Resource) -> Sequence[Listener | VirtualGatewayListener | VirtualRouterListener]:
    """The listeners of a node, router or gateway; none of anything else."""
    spec = resource.spec
    if isinstance(spec, VirtualNodeSpec | VirtualGatewaySpec | VirtualRouterSpec):
        return spec.listeners or ()
    return ()


def paired(old: Resource, new: Resource) -> Iterator[Pair]:
    """The listeners that a node or gateway had and has: by port, and the only one left over beside the other."""
    was = {one.port_mapping.port: one for one in _served(old)}
    now = {one.port_mapping.port: (index, one) for index, one in enumerate(_served(new))}
    moved = [port for port in was if port not in now], [port for port in now if port not in was]
    partners = {port: port for port in now if port in was}
    if len(moved[0]) == len(moved[1]) == 1:
        partners[moved[1][0]] = moved[0][0]
    for port, before in partners.items():
        index, listener = now[port]
        yield Pair(was[before], listener, f"spec.listeners[{index}]")


def _served(resource: Resource) -> Sequence[Listener | VirtualGatewayListener]:
    spec = resource.spec
    return (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec | VirtualGatewaySpec) else ()
