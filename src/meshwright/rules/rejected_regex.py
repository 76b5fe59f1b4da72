r"""A regular expression that Envoy would reject.

## What it finds

Regular expressions in the paths, headers and gRPC metadata of routes and gateway routes that RE2, the engine of
Envoy, does not compile: unbalanced brackets, look-ahead, look-behind, back-references. Judged as Envoy judges: on
bytes (RE2's Latin-1 mode), and with a limit on the size of the compiled program. Envoy alone stops at 100
instructions; App Mesh's proxies and Meshwright's are started with a limit of 1,000. More than that is an error, more
than 100 a remark for those who start Envoys of their own.

## Why it matters

App Mesh does not look inside an expression, so the definition is accepted. Then every Envoy that is sent the route
configuration rejects the whole of it and keeps the old one: not only this route, every later change of its
neighbours is lost too.

## Example

```yaml
match:
  path: {regex: "/v(?!1)[0-9]+/.*"}   # look-ahead
```

## Use instead

Say what is wanted instead of what is not, or let an earlier route take the exception:

```yaml
match:
  path: {regex: "/v[2-9]/.*"}
```

The expression must match the whole path: `/v1` alone does not match `/v1/items`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.routes import RouteSpec
from meshwright.routing.expressions import PLAIN_PROGRAM_SIZE, PROGRAM_SIZE, program_size
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph
    from meshwright.model.matching import HttpPathMatch, HttpRouteHeader

_HARM = "Every Envoy that gets it would reject the whole route configuration."


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding an expression."""
    del world
    for resource in graph.state:
        if isinstance(resource.spec, RouteSpec | GatewayRouteSpec):
            for path, expression in expressions(resource.spec):
                verdict = judged(expression)
                if verdict is not None:
                    severity, fault, detail = verdict
                    yield Diagnostic(
                        rule=RULE.code,
                        severity=severity,
                        summary=f"Regular expression '{expression}' {fault}",
                        detail=detail,
                        subject=resource.key.path,
                        path=path,
                    )


def expressions(spec: RouteSpec | GatewayRouteSpec) -> Iterator[tuple[str, str]]:
    """Every regular expression of a route or gateway route with its wire path."""
    for member, http in (("httpRoute", spec.http_route), ("http2Route", spec.http2_route)):
        if http is not None:
            yield from _of_path(http.match.path, f"spec.{member}.match.path")
            yield from _of_headers(http.match.headers, f"spec.{member}.match.headers")
    if spec.grpc_route is not None:
        yield from _of_headers(spec.grpc_route.match.metadata, "spec.grpcRoute.match.metadata")


def judged(expression: str) -> tuple[Severity, str, str] | None:
    """Severity, fault and detail of an expression; None when Envoy takes it."""
    try:
        size = program_size(expression)
    except ValueError as error:
        return (
            Severity.ERROR,
            f"is not valid for Envoy: {error}",
            f"{_HARM} RE2 has no look-around and no back-references.",
        )
    if size > PROGRAM_SIZE:
        return (
            Severity.ERROR,
            f"is too large for Envoy: {size} instructions, at most {PROGRAM_SIZE} are taken",
            f"{_HARM} Shorten its repetitions.",
        )
    if size > PLAIN_PROGRAM_SIZE:
        return (
            Severity.INFO,
            f"is large: {size} instructions",
            f"Meshwright's proxies take {PROGRAM_SIZE}; others need re2.max_program_size.error_level above {size}.",
        )
    return None


def _of_path(path: HttpPathMatch | None, at: str) -> Iterator[tuple[str, str]]:
    if path is not None and path.regex is not None:
        yield f"{at}.regex", path.regex


def _of_headers(headers: tuple[HttpRouteHeader, ...] | None, at: str) -> Iterator[tuple[str, str]]:
    for index, header in enumerate(headers or ()):
        if header.match is not None and header.match.regex is not None:
            yield f"{at}[{index}].match.regex", header.match.regex


RULE = Rule(code="MW210", name="rejected-regex", severity=Severity.ERROR, page=__doc__.strip(), search=search)
