"""How a server finds endpoints that DNS does not tell, and what a proxy registers.

The one rule: an address is an IP address by the time that it is registered; names are looked up where they are given.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meshwright.model.identity import Key
    from meshwright.proxy.settings import Registered

Command = TypeVar("Command", bound="Callable[..., Any]")


_OPTIONS = (
    click.option(
        "--registration-grace",
        type=click.FloatRange(0, 3_600),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="How long the endpoint of a proxy that is away is kept.",
    ),
    click.option(
        "--cloud-map",
        is_flag=True,
        envvar="MESHWRIGHT_CLOUD_MAP",
        help="Ask AWS Cloud Map, by AWS's own settings, for nodes that name it.",
    ),
    click.option(
        "--cloud-map-interval",
        type=click.FloatRange(0.1, 3_600),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="How long between two looks at a service there.",
    ),
)


def discovery_options(command: Command) -> Command:
    """Add the options to `serve`."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


def found(given: Mapping[str, Any]) -> dict[str, Any]:
    """The members of `server.Settings` that the options' values mean."""
    return {
        "registration_grace": given["registration_grace"],
        "cloud_map_interval": given["cloud_map_interval"] if given["cloud_map"] else None,
    }


def registered(text: str | None, proxy: Key, *, own: bool = False) -> Registered | None:
    """What `--endpoint-address HOST[:PORT]` registers for `proxy`; a name is looked up once, here.

    `own` is whether its listeners are at loopback addresses.

    Raises:
        UsageError: it is no address that others reach, nobody knows the name, or nobody would look for it.
    """
    import ipaddress
    import socket

    from meshwright.model.identity import Kind
    from meshwright.proxy.settings import Registered

    if text is None:
        return None
    if proxy.kind is not Kind.VIRTUAL_NODE:
        raise UsageError(f"--endpoint-address is for virtual nodes: nobody looks for the endpoints of {proxy.path}")
    host, port = _parted(text)
    try:
        where = ipaddress.ip_address(host)
    except ValueError:
        try:
            where = ipaddress.ip_address(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
        except OSError as error:
            raise UsageError(
                f"--endpoint-address {text!r}: {host!r} is no host that is known here: {error}"
            ) from None
    if isinstance(where, ipaddress.IPv6Address):
        where = where.ipv4_mapped or where
    lonely = where.is_link_local or (where.is_loopback and not own)  # as many machines' own names are: 127.0.1.1
    if lonely or where.is_unspecified or where.is_multicast:
        raise UsageError(
            f"--endpoint-address {text!r} is {where}, where nobody else reaches this proxy; give the address at "
            "which others do"
        )
    return Registered(address=str(where), port=port)


@contextlib.contextmanager
def farewell(endpoint: Registered | None) -> Iterator[Registered | None]:
    """What is registered, with the socket for its farewell, which goes with the block."""
    import tempfile

    import msgspec

    if endpoint is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="meshwright-farewell-") as folder:
        yield msgspec.structs.replace(endpoint, farewell=f"{folder}/socket")


def _parted(text: str) -> tuple[str, int]:
    """Host and port; 0 for none."""
    if text.count(":") > 1 and not text.startswith("["):
        return text, 0  # IPv6 needs its brackets only beside a port
    found = re.fullmatch(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?", text)
    if found is None or not (found["port"] is None or 0 < int(found["port"]) < 65_536):
        raise UsageError(
            f"--endpoint-address {text!r} is no endpoint; write HOST, HOST:PORT or [IPV6]:PORT, such as 10.0.3.7:8080"
        )
    return found["six"] or found["host"], int(found["port"] or 0)
