"""Virtual nodes depend on each other in a circle.

## What it finds

Circles in the dependency graph: a virtual node whose backends lead, through virtual services and routers, back to
itself. The whole circle is printed. Each is reported once, at the node whose name comes first; where circles share
calls, as many are printed as are needed to show every call that is part of one.

## Why it matters

A circle cannot be deployed in an order in which everything that is called is there first. Worse, one slow service
makes all of them slow: each waits for the next, retries multiply around the circle, and none can recover alone.

## Example

```yaml
- virtualNodeName: cart
  spec: {backends: [{virtualService: {virtualServiceName: price.local}}]}
- virtualNodeName: price
  spec: {backends: [{virtualService: {virtualServiceName: cart.local}}]}
```

## Use instead

Move what both need into a third service, or hand the answer on with the call instead of asking back. A backend that
is not called any more can simply be left out.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.graph import Relation
from meshwright.model.identity import Kind
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.constraints import World
    from meshwright.graph import Graph
    from meshwright.model.identity import Key

    Calls = Mapping[Key, tuple[Key, ...]]


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a circle."""
    del world
    for circle in circles({node.key: graph.called_nodes(node.key) for node in graph.state.of(Kind.VIRTUAL_NODE)}):
        first = circle[0]
        names = " → ".join(key.name for key in (*circle, first))
        service, path = _way(graph, first, circle[1 % len(circle)])
        itself = len(circle) == 1
        yield Diagnostic(
            rule=RULE.code,
            severity=RULE.severity,
            summary=f"Virtual node {first.name} depends on itself" if itself else f"Circular dependency: {names}",
            detail=f"{names}; it begins with the backend {service}. When one is slow or down, all of them are.",
            subject=first.path,
            path=path,
        )


def circles(calls: Calls) -> tuple[tuple[Key, ...], ...]:
    """Circles that together hold every call that lies on one; each once, its least key first, in order."""
    found: dict[tuple[Key, ...], None] = {}
    covered: set[tuple[Key, Key]] = set()
    for group in components(calls):
        for caller in sorted(group):
            for called in calls[caller]:
                if called in group and (caller, called) not in covered:
                    circle = (caller, *_shortest(calls, group, called, caller))[:-1]
                    covered.update(zip(circle, (*circle[1:], circle[0]), strict=True))
                    start = circle.index(min(circle))
                    found[circle[start:] + circle[:start]] = None
    return tuple(sorted(found))


def components(calls: Calls) -> Iterator[frozenset[Key]]:
    """The strongly connected components of `calls` (Tarjan's, without recursion: meshes may be deep)."""
    index: dict[Key, int] = {}
    low: dict[Key, int] = {}
    stack: list[Key] = []
    on_stack: set[Key] = set()
    for root in calls:
        work = [] if root in index else [(root, iter(calls[root]))]
        while work:
            node, rest = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            for called in rest:
                if called not in index:
                    work.append((called, iter(calls.get(called, ()))))
                    break
                if called in on_stack:
                    low[node] = min(low[node], index[called])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    at = len(stack) - 1 - stack[::-1].index(node)
                    group, stack = frozenset(stack[at:]), stack[:at]
                    on_stack -= group
                    yield group


def _shortest(calls: Calls, group: frozenset[Key], start: Key, end: Key) -> tuple[Key, ...]:
    """The shortest way from `start` to `end` inside a component, both included."""
    ways: dict[Key, Key] = {}
    queue = deque([start])
    while queue and start != end:
        here = queue.popleft()
        for called in calls[here]:
            if called in group and called != start and called not in ways:
                ways[called] = here
                queue.append(called)
        if end in ways:
            break
    way = [end]
    while way[-1] != start:
        way.append(ways[way[-1]])
    return tuple(reversed(way))


def _way(graph: Graph, caller: Key, called: Key) -> tuple[str, str]:
    """The backend by which `caller` calls `called`, and the field that names it."""
    for edge in graph.outgoing(caller, Relation.BACKEND):
        if called in graph.service_nodes(edge.target):
            return edge.target.name, edge.path
    raise AssertionError("a call comes from a backend")


RULE = Rule(code="MW301", name="circular-dependency", severity=Severity.WARNING, page=__doc__.strip(), search=search)
