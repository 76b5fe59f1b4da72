"""What a match asks for, apart from how it is compared: paths, names of gRPC, hostnames, questions of browsers.

The one rule: what members mean that are absent or combined is said here, for whoever writes or evaluates a match.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

from meshwright.model.gateway_routes import HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch

if TYPE_CHECKING:
    from meshwright.model.gateway_routes import GrpcGatewayRouteMatch
    from meshwright.model.matching import GatewayRouteHostnameMatch
    from meshwright.model.routes import TcpRouteMatch

    Match: TypeAlias = HttpRouteMatch | GrpcRouteMatch | TcpRouteMatch | None
    GatewayMatch: TypeAlias = HttpGatewayRouteMatch | GrpcGatewayRouteMatch

PathKind: TypeAlias = Literal["exact", "prefix", "regex"]
MARK = "x-app-mesh-virtual-service"
"""The header by which a gateway marks the virtual service of a request whose Host it leaves alone."""
_UNASKED = frozenset({":method", ":scheme", ":authority", MARK})
"""What a browser's question has as the request would have it, besides its path."""


def http_path(match: HttpRouteMatch | HttpGatewayRouteMatch) -> tuple[PathKind, str]:
    """How the path is compared, and with what; without a condition every path begins with `/`."""
    if match.path is not None and match.path.exact is not None:
        return "exact", match.path.exact
    if match.path is not None and match.path.regex is not None:
        return "regex", match.path.regex
    return "prefix", "/" if match.prefix is None else match.prefix


def grpc_path(match: GrpcRouteMatch | GrpcGatewayRouteMatch) -> tuple[PathKind, str]:
    """The path that calls of a gRPC match have: exactly `/SERVICE/METHOD`, or beginning with `/SERVICE/` or `/`."""
    if match.service_name is None:
        return "prefix", "/"
    method = match.method_name if isinstance(match, GrpcRouteMatch) else None
    return ("exact", f"/{match.service_name}/{method}") if method else ("prefix", f"/{match.service_name}/")


def hostname_expression(hostname: GatewayRouteHostnameMatch) -> str:
    """The expression that a Host must match as a whole: in any case, with or without a port."""
    wanted = re.escape(hostname.exact if hostname.exact is not None else hostname.suffix or "")
    anything = "" if hostname.exact is not None else ".*"
    return f"(?i){anything}{wanted}(:[0-9]+)?"


def asked_about(match: Match | GatewayMatch) -> str | None:
    """The method that a browser asks for before a request of `match`; None where `match` takes the question too.

    The question has the method OPTIONS, and none of the headers that the request will have: where `match` asks for
    some, nothing tells for which route the question is, and the answer is None as well.
    """
    if not isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        return None
    names = {one.name.lower() for one in match.headers or ()}
    return match.method if names <= _UNASKED - {":method"} else None
