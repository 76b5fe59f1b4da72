"""For which of a node's backends, or for whom outside, a call is by its port and by the name that it says.

The one rule: what two backends cannot share is the first one's; a call goes to nobody but whom it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from meshwright.routing.ports import ServicePort

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshwright.routing.policies import Egress

AWS_HOSTS = "*.amazonaws.com"
"""AWS's own endpoints, which no egress filter closes on `AWS_PORT`."""
AWS_PORT = 443
_HTTP_PORT = 80


class Tunnel(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP backend among those on one port, and by what its connections are told from the others'."""

    port: ServicePort
    beside: ServicePort | None = None
    """The backend that gets what nothing else tells apart; None where it is this one."""
    name: str = ""
    """In lower case, the server name in the client's TLS greeting; "" where nothing tells, or nothing needs to."""

    @property
    def served(self) -> bool:
        """Whether any connection is for it."""
        return self.beside is None or bool(self.name)

    @property
    def hindrance(self) -> str:
        """What keeps connections from it; "" where nothing does."""
        if self.beside is None:
            return ""
        other = self.beside.service.name
        if self.served:
            return (
                f"on port {self.port.port} only TLS connections that name it (SNI) are told from those to {other!r}"
            )
        return f"on port {self.port.port} its connections cannot be told from those to {other!r}, which is served"


def domains(port: ServicePort) -> tuple[str, str]:
    """The Hosts by which clients call a service on a port."""
    return port.service.name, f"{port.service.name}:{port.port}"


def untaken(wanted: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """For each in turn, which of its domains nobody before it has; case does not tell two apart."""
    return [one.hosts for one in heard(("", domains) for domains in wanted)]


class Heard(NamedTuple):
    """By which Hosts a backend is called, of those that clients may write for it."""

    hosts: tuple[str, ...]
    hindrance: str
    """Why calls to others of these are not for it; "" where there are none."""


def heard(named: Iterable[tuple[str, Sequence[str]]]) -> list[Heard]:
    """For each name with its domains in turn, which of these nobody before it has, and who has the others."""
    owners: dict[str, str] = {}
    found = []
    for name, several in named:
        free, hindrance = [], ""
        for one in several:
            folded = one.lower()
            if folded not in owners and "*" not in one:
                free.append(one)
                owners[folded] = name
            elif not hindrance:
                hindrance = _hindrance(one, owners.get(folded))
        found.append(Heard(tuple(free), hindrance))
    return found


def _hindrance(host: str, owner: str | None) -> str:
    if owner is None:
        return f"no client can ask for the host {host!r}: '*' stands for nothing in the name of a service"
    return f"calls to the host {host!r} go to {owner!r}, which has it already"


def tunnels(http: Sequence[ServicePort], tcp: Sequence[ServicePort]) -> tuple[Tunnel, ...]:
    """The TCP backends of a port, in their order, beside its HTTP ones.

    Those are told apart that the client names in its TLS greeting (SNI). All other connections are HTTP where there
    is an HTTP backend, else for the first TCP backend.
    """
    first = next(iter((*http, *tcp)), None)
    taken: set[str] = set()
    found = []
    for one in tcp:
        name = one.service.name.lower()
        if one is first:
            found.append(Tunnel(port=one))
        elif "*" in name or name in taken:
            found.append(Tunnel(port=one, beside=first))
        else:
            taken.add(name)
            found.append(Tunnel(port=one, beside=first, name=name))
    return tuple(found)


def named_hosts(found: Egress, protocol: str) -> dict[int, tuple[str, ...]]:
    """The hosts outside that may be called by a protocol, `tls` or `http`, by port; sorted, each once, in lower case.

    Where everything may be called nobody needs a name, nor do AWS's own endpoints.
    """
    by_port: dict[int, dict[str, None]] = {}
    for one in () if found.anything else found.allowed:
        for port in one.ports if one.protocol == protocol else ():
            host = one.host.lower().removesuffix(".")
            if (protocol, host, port) != ("tls", AWS_HOSTS, AWS_PORT):
                by_port.setdefault(port, {})[host] = None
    return {port: tuple(sorted(hosts)) for port, hosts in sorted(by_port.items())}


def outside_domains(host: str, port: int) -> tuple[str, ...]:
    """How a client writes `host` in a request to `port`: with the port unless it is the protocol's own.

    Otherwise a request could name another port than the one that it was let through on, and get there.
    """
    return (host, f"{host}:{port}") if port == _HTTP_PORT else (f"{host}:{port}",)
