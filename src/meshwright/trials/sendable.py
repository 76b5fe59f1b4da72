"""What of a call that a test writes down cannot be sent, and what to write instead.

The one rule: whatever passes here goes out as it is written; what a client library would drop, change or refuse is
told while tests are read, so that no run stumbles over it.
Sources: https://www.rfc-editor.org/rfc/rfc9110#section-5, https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2 and
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import base64
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from meshwright.model.gateway_routes import GatewayRouteSpec, GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.identity import Kind
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch, RouteSpec
from meshwright.routing import gateway_route_match, route_match

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from meshwright.graph import Graph
    from meshwright.model.matching import HttpRouteHeader
    from meshwright.routing.matching import GatewayMatch, Match
    from meshwright.simulate import Call

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEY = re.compile(r"[0-9A-Za-z_.-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
"""Other than ASCII is sent as UTF-8, which proxies compare byte by byte."""
_ASCII = re.compile(r"[\x20-\x7e]*")
_VISIBLE = re.compile(r"[\x21-\x7e]*")
_HOST = ("host", ":authority")
_OF_CONNECTIONS = frozenset(("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"))
_BY_LIBRARY: Mapping[str, str] = MappingProxyType({"content-type": "application/grpc", "te": "trailers"})
"""What gRPC's library says itself, whatever it is told."""
_OWN = frozenset(
    (
        *("content-length", "grpc-accept-encoding", "grpc-encoding", "grpc-internal-encoding-request"),
        *("grpc-status", "grpc-timeout"),
    )
)
"""What it drops, changes or stumbles over, seen in grpcio 1.85."""
_BESIDES: Mapping[str, str] = MappingProxyType(
    {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-request-id": "0af76519-16cd-43dd-8448-eb211c80319c",
    }
)
"""What whoever calls in a run says besides, as an example: by these its calls are told apart."""
_BESIDES_IN_GRPC: Mapping[str, str] = MappingProxyType(
    {
        "user-agent": "grpc-python-asyncio/1.85.1 grpc-c/58.0.0 (linux; chttp2)",
        "grpc-accept-encoding": "identity, deflate, gzip",
    }
)
BINARY = "-bin"
"""How the names of metadata end that gRPC carries as bytes; on the wire, and in conditions, that is base64."""


def unsendable(call: Call) -> Iterator[tuple[str, str]]:
    """What cannot be sent, `url`, `method` or `headers.NAME` as tests write it, and why; TCP carries anything."""
    if call.protocol == "tcp":
        return
    if not _VISIBLE.fullmatch(call.path):
        told = "holds what no URL can; write blanks and what is not ASCII percent-encoded, as %20"
        yield "url", f"the path {call.path!r} {told}"
    if not _VISIBLE.fullmatch(call.host):
        yield "url", f"the host {call.host!r} is not ASCII; write it as DNS has it, with xn--"
    if call.protocol == "http2" and call.method == "CONNECT":
        yield "method", "CONNECT asks for a tunnel and has no path, so no route is for it; write another method"
    hosts = [name for name, _ in call.headers if name.lower() in _HOST]
    for name, value in call.headers:
        if hosts[1:] and name == hosts[-1]:
            yield f"headers.{name}", f"says the Host once more, after {hosts[0]!r}; leave one of them out"
        elif told := _name(call, name) or _value(call, name.lower(), value):
            yield f"headers.{name}", told


def _name(call: Call, name: str) -> str:
    """Why there can be no header of that name; "" when there can."""
    said, grpc = name.lower(), call.protocol == "grpc"
    if said in _HOST:
        return ""
    if said.startswith(":"):
        return f"{name!r} is no header to write: it is made of the method and the URL; write it there"
    if not (_KEY if grpc else _NAME).fullmatch(name):
        signs = "letters, digits, '-', '_' and '.'" if grpc else "letters, digits and !#$%&'*+-.^_`|~"
        return f"{name!r} is no name of a header, which is made of {signs}"
    if call.protocol != "http" and said in _OF_CONNECTIONS:
        return f"{name!r} is of HTTP/1.1 alone; leave it out, or call with http://"
    if grpc and said in _OWN:
        return f"gRPC's own library decides about {name!r}, whatever is written here; leave it out"
    if grpc and said == "user-agent":
        return "gRPC's own library says who it is, whatever is written here; leave it out"
    return ""


def _value(call: Call, name: str, value: str) -> str:
    """Why a header cannot have that value; "" when it can."""
    if name in _HOST:
        if not value and call.protocol == "http2":
            return "an empty Host breaks connections off in HTTP/2; leave it out, or call with http://"
        return "" if _VISIBLE.fullmatch(value) else f"{value!r} is no Host: blanks and other than ASCII have no place"
    if call.protocol == "grpc" and name.endswith(BINARY):
        return _binary(value)
    if call.protocol == "grpc" and not _ASCII.fullmatch(value):
        return (
            f"{value!r} cannot be sent: metadata of gRPC is printable ASCII; write it percent-encoded, or as base64"
        )
    if not _VALUE.fullmatch(value):
        return f"{value!r} cannot be sent: a header holds no line breaks and other control characters; leave them out"
    if name == "content-length" and value != "0":
        return f"{value!r} would promise a body, and the call has none; leave it out"
    if name == "transfer-encoding" and value.lower() != "chunked":
        return f"{value!r} cannot be sent; HTTP/1.1 knows 'chunked' for sure"
    only = {"te": "trailers"} if call.protocol == "http2" else _BY_LIBRARY if call.protocol == "grpc" else {}
    if name in only and value != only[name]:
        return f"{value!r} cannot be sent: over {call.protocol} it is always {only[name]!r}; leave it out"
    return ""


def as_sent(call: Call, among: Collection[str]) -> Call:
    """`call` with what goes out besides when it is made in a run, as an example; of that, headers `among` these."""
    if call.protocol == "tcp":
        return call
    said = {name.lower() for name, _ in call.headers}
    besides = {**_BESIDES, **(_BESIDES_IN_GRPC if call.protocol == "grpc" else {})}
    return call.with_headers(add=[one for one in besides.items() if one[0] in among and one[0] not in said])


def asked_besides(graph: Graph) -> frozenset[str]:
    """The headers of these that any route asks about."""
    matches = (
        route_match(one.spec) if isinstance(one.spec, RouteSpec) else gateway_route_match(one.spec)
        for kind in (Kind.ROUTE, Kind.GATEWAY_ROUTE)
        for one in graph.state.of(kind)
        if isinstance(one.spec, RouteSpec | GatewayRouteSpec)
    )
    named = {condition.name.lower() for one in matches for condition in _conditions(one)}
    return frozenset(named & (_BESIDES.keys() | _BESIDES_IN_GRPC.keys()))


def _conditions(match: Match | GatewayMatch) -> tuple[HttpRouteHeader, ...]:
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        return match.headers or ()
    return (match.metadata or ()) if isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch) else ()


def binary(value: str) -> bytes | None:
    """The bytes of binary metadata that is written as `value` on the wire; None where it is none."""
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except ValueError:
        return None


def _binary(value: str) -> str:
    """Why binary metadata cannot be written so; "" when it can."""
    found = binary(value)
    wanted = written(value.encode() if found is None else found)
    told = "gRPC writes binary metadata as base64 without padding"
    return "" if value == wanted else f"{value!r} cannot be sent: {told}; write {wanted!r}"


def written(value: bytes) -> str:
    """Binary metadata as gRPC writes it on the wire."""
    return base64.b64encode(value).decode().rstrip("=")


def hindrance(call: Call) -> tuple[str, str] | None:
    """What keeps a call that nobody wrote from being sent, named as `unsendable` does, and why; None for nothing."""
    for name, told in unsendable(call):
        # What to write instead, which stands last, is for people.
        return name, told.rpartition("; ")[0] or told
    return None
