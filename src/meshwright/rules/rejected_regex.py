r"""A regular expression that Envoy would reject.

## What it finds

Regular expressions in the paths, headers and gRPC metadata of routes and gateway routes that RE2, the engine of
Envoy, does not compile: unbalanced brackets, look-ahead, look-behind, back-references. Judged as Envoy judges: on
bytes (RE2's Latin-1 mode), and with a limit on the size of the compiled program. Envoy alone stops at 100
instructions; App Mesh's proxies and Meshwright's are started with a limit of 1,000. More than that is an error, more
than 100 a remark for those who start Envoys of their own.

An expression that ignores case (`(?i)`) and has more than four Unicode classes (`\p`, `\P`) is refused without being
compiled, by the control plane too: for each of them RE2 takes 10 to 40 ms, on the server and in every Envoy.

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
from meshwright.routing.expressions import (
    PLAIN_PROGRAM_SIZE,
    PROGRAM_SIZE,
    costly,
    program_size,
    unfit,
    written_in,
)
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph

_HARM = "Every Envoy that gets it would reject the whole route configuration."


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding an expression; `constraints` has told of those that take too long."""
    del world
    for resource in graph.state:
        if isinstance(resource.spec, RouteSpec | GatewayRouteSpec):
            for path, expression in written_in(resource.spec):
                verdict = None if costly(expression) else judged(expression)
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


def judged(expression: str) -> tuple[Severity, str, str] | None:
    """Severity, fault and detail of an expression; None when Envoy takes it."""
    fault = unfit(expression)
    if fault is not None:
        return Severity.ERROR, fault[0], f"{_HARM} {fault[1]}"
    size = program_size(expression)
    if size > PLAIN_PROGRAM_SIZE:
        return (
            Severity.INFO,
            f"is large: {size} instructions",
            f"Meshwright's proxies take {PROGRAM_SIZE}; others need re2.max_program_size.error_level above {size}.",
        )
    return None


RULE = Rule(code="MW210", name="rejected-regex", severity=Severity.ERROR, page=__doc__.strip(), search=search)
