"""Where a server listens: addresses, their sockets, and what may be reached from other machines.

The one rule: nothing is offered to other machines in the clear, or to anybody, unless that was said in as many words.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from typing import TYPE_CHECKING, TypeAlias

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

Address: TypeAlias = tuple[str, int]
"""Host and port; port 0 is one of the kernel's choice."""


def join(host: str, port: int) -> str:
    """`HOST:PORT`, or `[IPV6]:PORT`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url(host: str, port: int, *, secure: bool) -> str:
    """`http://HOST:PORT`, or with `https`."""
    return f"{'https' if secure else 'http'}://{join(host, port)}"


def refuse_exposure(option: str, address: Address, *, secure: bool, authenticated: bool, remedy: str) -> None:
    """Raise when other machines reach `address` without TLS, or without having to say who they are.

    `remedy` names the options that give TLS.

    Raises:
        UsageError: naming what is missing and what to give.
    """
    if _is_loopback(address[0]) or (secure and authenticated):
        return
    lacks = [] if secure else ["speaks no TLS"]
    lacks += [] if authenticated else ["asks nobody who it is"]
    remedies = [] if secure else [f"give {remedy}"]
    remedies += [] if authenticated else ["leave --insecure-xds-without-authentication out"]
    raise UsageError(
        f"{option} {join(*address)} can be reached from other machines and {' and '.join(lacks)}. "
        f"{' and '.join(remedies).capitalize()}; or listen on an address of 127.0.0.0/8; or say "
        "--insecure-listen-beyond-loopback where the network itself is trusted."
    )


@contextlib.contextmanager
def listening(address: Address) -> Iterator[socket.socket]:
    """A socket that listens on `address` for the API.

    Raises:
        UsageError: the address cannot be listened on.
    """
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.create_server(address, family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UsageError(
            f"Cannot listen on {join(host, port)} for the API: {why}. Stop the other process, or choose another "
            "address with --listen."
        ) from error
    with found:
        # Accepted sockets inherit it. asyncio leaves Nagle's algorithm on for sockets made so, and each answer, sent
        # in two writes, would wait 40 ms for the client's delayed ack; uvloop turns it off by itself.
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield found


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
