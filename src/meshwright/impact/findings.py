"""What the rules, and App Mesh's own constraints, find after a plan and did not find before.

The one rule: what was so before the plan is not told, wherever it stands now.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from meshwright import constraints, rules
from meshwright.impact.values import Findings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.diagnostics import Diagnostic
    from meshwright.graph import Graph
    from meshwright.impact.scene import Scene


def findings(scene: Scene) -> Findings:
    """The new ones and the mended ones, in reading order."""
    before, after = (_found(graph, scene.now) for graph in (scene.before, scene.after))
    return Findings(new=_without(after, before), mended=_without(before, after))


def _found(graph: Graph, now: int) -> tuple[Diagnostic, ...]:
    return (*constraints.check(graph, whole=True), *rules.audit(graph, whole=True, now=now or None))


def _without(some: Iterable[Diagnostic], others: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Those of `some` that are not among `others`; the place of an item in a list does not tell them apart."""
    left = Counter(map(_identity, others))
    found = []
    for one in some:
        if left[_identity(one)]:
            left[_identity(one)] -= 1
        else:
            found.append(one)
    return tuple(found)


def _identity(one: Diagnostic) -> tuple[str, str, str]:
    return one.rule, one.subject, one.summary
