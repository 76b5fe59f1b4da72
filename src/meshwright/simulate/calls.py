"""One request as its sender makes it, and what a proxy reads in it.

The one rule: a call says what the sender says; what proxies add to it and make of it is worked out here, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from meshwright.routing.paths import normalised
from meshwright.simulate.headers import cookies, read

if TYPE_CHECKING:
    from collections.abc import Iterable

Protocol: TypeAlias = Literal["http", "http2", "grpc", "tcp"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEMES = frozenset(_DEFAULT_PORTS)
_HOST = ("host", ":authority")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, or for TCP one connection."""

    protocol: Protocol = "http"
    """`http` is HTTP/1.1."""
    host: str
    """Who is called: in DNS, in the Host unless a header says another one, and in the TLS greeting."""
    port: int
    """The port that is connected to."""
    method: str = "GET"
    """gRPC's is POST, whatever this says."""
    scheme: Literal["http", "https"] = "http"
    """`https` where the sender encrypts, with TCP, too."""
    path: str = "/"
    """With the query; gRPC's is `/SERVICE/METHOD`."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names and values in their order; gRPC's are metadata."""
    straight: bool = False
    """Whether it comes from outside to the listener of the virtual node that it is asked about, past any proxy of its
    sender; calls to gateways always do."""
    anonymous: bool = False
    """Whether who calls from outside shows no certificate, even where one is asked for."""
    named: tuple[str, ...] | None = None
    """The names in the certificate that who calls from outside shows; None for those that are asked for."""
    foreign: bool = False
    """Whether that certificate is issued by somebody whom nobody in the mesh trusts."""
    over_http1: bool = False
    """Whether a proxy passed it on over HTTP/1.1, which has no place for the scheme."""

    @property
    def apart(self) -> bool:
        """Whether who calls from outside shows less than what is asked for."""
        return self.anonymous or self.foreign or self.named is not None

    @property
    def encrypted(self) -> bool:
        """Whether the sender itself encrypts."""
        return self.scheme == "https"

    @property
    def verb(self) -> str:
        """The method that a proxy reads."""
        return "POST" if self.protocol == "grpc" else self.method

    @property
    def authority(self) -> str:
        """The Host: as a header says it, else the host, with the port unless it is the scheme's own."""
        for name, value in self.headers:
            if name.lower() in _HOST:
                return value.strip(" \t")
        bracketed = f"[{self.host}]" if ":" in self.host else self.host
        return bracketed if self.port == _DEFAULT_PORTS[self.scheme] else f"{bracketed}:{self.port}"

    def values(self, name: str) -> tuple[str, ...]:
        """The values of a header as a proxy matches them, pseudo-headers included; () where there is none."""
        wanted = name.lower()
        if wanted in _HOST:
            return (self.authority,)
        if wanted.startswith(":"):
            pseudo = {":method": self.verb, ":path": self.path, ":scheme": self.seen_scheme}
            return (pseudo[wanted],) if wanted in pseudo else ()
        given = tuple(value for one, value in self.headers if one.lower() == wanted)
        return read(wanted, given) if given else self._added(wanted)

    @property
    def seen_scheme(self) -> str:
        """The scheme that a proxy reads: in HTTP/1.1 what `x-forwarded-proto` says, if anything."""
        if self.protocol == "http" or self.over_http1:
            said = self.values("x-forwarded-proto")[0]
            return said if said in _SCHEMES else self.scheme
        return self.scheme

    def _added(self, name: str) -> tuple[str, ...]:
        """What the sender's library or the proxy adds where the sender says nothing."""
        if name == "x-forwarded-proto":
            return (self.scheme,)
        if name == "x-request-id":
            return ("(made by the proxy)",)
        if self.protocol == "grpc":
            return {"content-type": ("application/grpc",), "te": ("trailers",)}.get(name, ())
        return ()

    def arrived(self, over: Protocol) -> Call:
        """As a proxy has it that took it from a connection of the protocol `over`."""
        seen = msgspec.structs.replace(self, path=normalised(self.path))
        given = tuple(value for name, value in self.headers if name.lower() == "cookie")
        read_as = cookies(given, apart=over == "http")
        return seen.with_headers(drop=["cookie"], add=[("cookie", one) for one in read_as]) if given else seen

    def passed_on(self, over: Protocol) -> Call:
        """As a proxy has it that was sent it by another one, `over` a protocol: in HTTP/2 they split cookies."""
        given = [value for name, value in self.headers if name.lower() == "cookie"]
        crumbs = given if over == "http" else [crumb for value in given for crumb in value.split("; ")]
        sent = self.with_headers(drop=["cookie"], add=[("cookie", one) for one in crumbs]) if given else self
        return msgspec.structs.replace(sent.arrived(over), over_http1=over == "http")

    def to(self, authority: str) -> Call:
        """The same with another Host."""
        kept = tuple(one for one in self.headers if one[0].lower() not in _HOST)
        return msgspec.structs.replace(self, headers=(("host", authority), *kept))

    def with_headers(
        self, *, drop: Iterable[str] = (), set_: Iterable[tuple[str, str]] = (), add: Iterable[tuple[str, str]] = ()
    ) -> Call:
        """The same with headers removed, then set, then added."""
        put = tuple(set_)
        gone = {name.lower() for name in drop}
        kept = [one for one in self.headers if one[0].lower() not in gone]
        for name, value in put:
            kept = [one for one in kept if one[0].lower() != name.lower()] + [(name, value)]
        return msgspec.structs.replace(self, headers=(*kept, *add))
