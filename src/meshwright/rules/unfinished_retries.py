"""The retries that a route promises do not fit into the request's timeout.

## What it finds

Routes whose `perRetryTimeout` times the number of tries (`maxRetries` + 1: the first is one too) is more than the
route's request timeout: `timeout.perRequest`, or 15 s where none is set. A timeout of 0 is no limit, and a
`perRetryTimeout` of 0 none of its own.

## Why it matters

The request's timeout covers all tries together. When each try takes as long as it may, the caller gets a timeout
while retries are still to come, so that the policy gives less than it says. If already the first try may use up the
whole time, a slow instance is never retried at all, which is what retries are usually there for.

## Example

```yaml
retryPolicy:
  maxRetries: 2                              # three tries of 2 s
  perRetryTimeout: {unit: s, value: 2}
  httpRetryEvents: [gateway-error]
timeout: {perRequest: {unit: s, value: 5}}   # are more than 5 s
```

## Use instead

Raise the request's timeout, or shorten the tries:

```yaml
  perRetryTimeout: {unit: ms, value: 1500}
timeout: {perRequest: {unit: s, value: 5}}
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.graph import route_action
from meshwright.model.identity import Kind
from meshwright.model.routes import RouteSpec
from meshwright.routing import retry, route_timeouts
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.constraints import World
    from meshwright.graph import Graph


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a route."""
    del world
    for route in graph.state.of(Kind.ROUTE):
        fault = shortfall(route.spec) if isinstance(route.spec, RouteSpec) else None
        if fault is not None and isinstance(route.spec, RouteSpec):
            summary, detail = fault
            yield Diagnostic(
                rule=RULE.code,
                severity=RULE.severity,
                summary=f"Route {route.key.name}: {summary}",
                detail=detail,
                subject=route.key.path,
                path=f"spec.{route_action(route.spec)[0]}.retryPolicy",
            )


def shortfall(spec: RouteSpec) -> tuple[str, str] | None:
    """Summary and detail of a policy that does not fit; None when it does or when nothing limits it."""
    policy, limit = retry(spec), route_timeouts(spec).request
    if policy is None or not policy.most or not policy.per_try or not limit:
        return None
    each, tries = policy.per_try, policy.most + 1
    if each * tries <= limit:
        return None
    summary = f"{tries} tries of {_time(each)} do not fit into the request's timeout of {_time(limit)}"
    why = (
        "The first try alone may use up all of it, so that a slow one is never retried."
        if each >= limit
        else "The caller gets a timeout while retries are still to come."
    )
    return summary, f"{why} Raise timeout.perRequest to {_time(each * tries)} or more, or shorten perRetryTimeout."


def _time(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds % 1000 else f"{milliseconds // 1000} s"


RULE = Rule(code="MW402", name="unfinished-retries", severity=Severity.WARNING, page=__doc__.strip(), search=search)
