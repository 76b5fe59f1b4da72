"""Machines: where the instances of a mesh run, and how they reach each other there.

The one rule: whoever starts an instance asks its machine, and nobody else knows which placement it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec
from msgspec.structs import replace

from meshwright.lab.sockets import HERE, Inside
from meshwright.snapshot.resources import Loopback, Placement, Redirect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshwright.proxy.settings import Address

Isolation: TypeAlias = Literal["loopback", "netns"]
"""What keeps machines apart: loopback addresses, or network namespaces in which production's redirection is."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where one instance of a node or gateway runs."""

    placement: Placement
    """What its proxy is told of it."""
    address: str
    """Where the proxies of others reach it."""
    application: str
    """Where its application listens, on the ports that the definition names; `::` for every address."""
    egress: str = ""
    """Where its application sends what it sends to anybody; "" where it calls everybody by their own address."""
    inside: Inside = HERE
    """The network of its application."""
    as_proxy: tuple[str, ...] = ()
    """What runs a command there as its proxy."""
    as_program: tuple[str, ...] = ()
    """What runs a command there as its application."""

    def towards(self, name: str, lookup: Callable[[str], str]) -> str:
        """The address to which its application sends a call to `name`; `lookup` is its name server."""
        return self.egress or lookup(name)


class Ground(Protocol):
    """What machines stand on: one network, and the addresses in it that are the lab's own."""

    control_plane: str
    """Where what the control plane asks answers, in this process's own network."""
    collector: str
    name_server: str
    port: int
    """The port of the name server; 0 for any."""
    outside: str
    nobody: str
    """The address to which names of services lead that lead nowhere else; "" where nobody looks them up."""
    inside: Inside
    """The network of these addresses, from where gateways are called."""

    def intercept(self, machines: Sequence[tuple[Machine, Sequence[int]]]) -> None:
        """Let the instances on `machines` listen on other ports from now on.

        Raises:
            MeshwrightError: a tool fails.
        """
        ...

    async def passing_on(self, address: Address) -> Address:
        """Where machines reach what listens at an address of this process's network."""
        ...

    def machines(self, ports: Sequence[Sequence[int]]) -> list[Machine]:
        """A machine for each of the instances that listen on `ports`.

        Raises:
            MeshwrightError: there is no room for so many.
        """
        ...


def on_loopback(place: Loopback) -> Machine:
    """The machine that three loopback addresses are."""
    return Machine(placement=place, address=place.ingress, application=place.application, egress=place.egress)


def known_outside(machine: Machine, host: str) -> Machine:
    """A machine whose proxy knows where the world outside is, if it has to be told: where nothing is intercepted."""
    if isinstance(machine.placement, Redirect):
        return machine
    return replace(machine, placement=replace(machine.placement, outside=host))
