"""What one Envoy's bootstrap is made from, as values.

The one rule: they name the files in which secrets lie, and hold none.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Literal, TypeAlias

import msgspec

from meshwright.errors import UsageError
from meshwright.model.identity import DEFAULT_REGION, Key, Kind, parse_key
from meshwright.snapshot.resources import Placement, Redirect

Document: TypeAlias = dict[str, Any]


class Address(msgspec.Struct, frozen=True):
    """A host and port, or a Unix socket when `port` is 0 and `host` is an absolute path."""

    host: str
    port: int = 0

    def __str__(self) -> str:
        if not self.port:
            return f"unix://{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class KeyFile(msgspec.Struct, frozen=True):
    """An access key in the AWS shared credentials format, which is read again when its folder changes."""

    path: str
    """Absolute."""
    profile: str = "default"


class Environment(msgspec.Struct, frozen=True):
    """An access key in Envoy's own `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How to know the control plane, and how to be known to it."""

    authorities: str
    """The file of certificates in PEM that issue the control plane's."""
    certificate: str = ""
    """The file of this proxy's own certificate chain; "" for none."""
    key: str = ""
    secret: str = ""
    """The file that `secret` made for Envoy to follow certificate and key by; "" has it read them once."""


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator adds to a bootstrap: how to watch this Envoy, and what it has beside the mesh."""

    admin_log: str = ""
    """The file for the administration's access log."""
    fetch_timeout: str = "0s"
    """How long to wait for the first configuration before opening for business without; 0s for ever."""
    runtime: dict[str, int | bool] = {}
    clusters: tuple[Document, ...] = ()
    listeners: tuple[Document, ...] = ()
    secrets: tuple[Document, ...] = ()
    sinks: tuple[Document, ...] = ()
    """Where statistics are sent to."""
    members: Document = {}
    """Whole members of the bootstrap: `stats_config`, `stats_flush_interval`, `tracing`."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint by which this proxy is found."""

    address: str
    """An IP address at which the proxies of others reach it."""
    port: int = 0
    """0 for each listener's own."""
    farewell: str = ""
    """The Unix socket, made by Envoy, through which whoever stops it says farewell first; "" for none."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one Envoy's bootstrap is made from."""

    proxy: Key
    """A virtual node or a virtual gateway."""
    instance: str
    """Tells the proxies of one node apart: a host or task name. "" for the name of the host that Envoy runs on."""
    xds: Address
    admin: Address
    """Where the administration interface listens: a loopback address or Unix socket, as it asks for no password."""
    placement: Placement = Redirect()
    resolver: Address | None = None
    """The DNS server of every cluster; None for the machine's own resolver."""
    credentials: KeyFile | Environment | None = None
    """What the stream is signed with; None where a certificate or the socket says who this is."""
    region: str = DEFAULT_REGION
    """The region that the control plane expects signatures for."""
    tls: Tls | None = None
    """None for plain HTTP/2, as through a Unix socket."""
    zone: str = ""
    """The availability zone that it runs in; "" where that is not known."""
    cluster: str = ""
    """What Envoy calls itself in traces and statistics; "" for the node's path."""
    endpoint: Registered | None = None
    """What it registers for its virtual node; None to be found in other ways."""
    reports: Literal["all", "loads", "none"] = "all"
    """What it tells of its calls: counts and latencies, counts alone, or nothing. Latencies need Envoy 1.37."""
    back_off: tuple[str, str] = ("0.2s", "5s")
    """How soon it looks again for a control plane that is away: at first, and at most."""
    extras: Extras = Extras()
    """What the operator adds to it."""


def address(text: str) -> Address:
    """The address that `HOST:PORT`, `[IPV6]:PORT` or `unix:///PATH` means.

    Raises:
        UsageError: `text` is none of them.
    """
    if text.startswith("unix:///"):
        return Address(text.removeprefix("unix://"))
    host, separator, port = text.rpartition(":")
    if separator and _is_host(host) and port.isascii() and port.isdecimal() and 0 < int(port) < 65_536:
        return Address(host.removeprefix("[").removesuffix("]"), int(port))
    raise UsageError(f"{text!r} is no address; write HOST:PORT, such as 127.0.0.1:18000, or unix:///PATH")


def _is_host(text: str) -> bool:
    """Whether it is a name or an address, and nothing beside it: no scheme, no user."""
    if ":" not in text:
        return re.fullmatch(r"[A-Za-z0-9._-]+", text) is not None
    try:
        return bool(ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        return False


def proxy_key(text: str) -> Key:
    """The virtual node or gateway that an ARN or path names; an ARN's mesh is written NAME@OWNER.

    Raises:
        UsageError: it names something else, or nothing.
    """
    try:
        # Whose account the control plane's is, only it knows: the owner is said, and left out by it where it may be.
        key = parse_key(text, "unknown")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if key.kind not in {Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY}:
        raise UsageError(f"{text!r} is a {key.kind}; only a virtualNode or a virtualGateway has a proxy")
    return key
