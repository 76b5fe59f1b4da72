"""A call as people write it: a method, a URL and headers.

The one rule: commands and files of tests read the same words alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from meshwright.errors import UsageError
from meshwright.simulate.calls import Call, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PROTOCOLS: dict[str, tuple[Protocol, Literal["http", "https"]]] = {
    "http": ("http", "http"),
    "https": ("http", "https"),
    "http2": ("http2", "http"),
    "grpc": ("grpc", "http"),
    "grpcs": ("grpc", "https"),
    "tcp": ("tcp", "http"),
    "tls": ("tcp", "https"),
}
"""What each scheme of a URL speaks, and whether the caller itself encrypts."""


def call_of(url: str, method: str = "GET", headers: Iterable[tuple[str, str]] = (), *, http2: bool = False) -> Call:
    """The call that `url` means, such as `http://payment.shop.local:8080/quote`; `http2` is for `https`, too.

    Raises:
        UsageError: the URL cannot mean anything.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in _PROTOCOLS or not parts.netloc:
        raise UsageError(f"{url!r} is no URL such as http://payment.shop.local:8080/quote ({', '.join(_PROTOCOLS)})")
    host, port = _endpoint(url, parts.netloc.rpartition("@")[2], _DEFAULT_PORTS.get(parts.scheme))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    protocol, scheme = _PROTOCOLS[parts.scheme]
    if protocol == "grpc" and path.count("/") != 2:
        raise UsageError(f"{url!r} names no gRPC method: grpc://HOST:PORT/SERVICE/METHOD")
    return Call(
        protocol="http2" if http2 and protocol == "http" else protocol,
        host=host,
        port=port,
        method=method,
        scheme=scheme,
        path=path,
        headers=tuple(headers),
    )


def _endpoint(url: str, where: str, default: int | None) -> tuple[str, int]:
    """Host and port, the host as it is written: its case may matter."""
    host, colon, port = where.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = where, ""
    if not host or (port and not port.isdecimal()) or (not port and default is None):
        raise UsageError(f"{url!r} must say a host and a port, such as tcp://ledger.shop.local:9000")
    number = int(port) if port else default or 0
    if not 1 <= number <= 65_535:
        raise UsageError(f"{url!r}: port {number} is not one of 1 to 65535")
    return host.removeprefix("[").removesuffix("]"), number
