"""Tests that nobody wrote: what a mesh's definitions promise, as trials.

The one rule: pure, and the same definitions give the same trials under the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.trials.deriving import borders, routes
from meshwright.trials.deriving.entries import Gap
from meshwright.trials.deriving.texts import Texts
from meshwright.trials.trial import Trial

if TYPE_CHECKING:
    from rstr import Rstr

    from meshwright.graph import Graph

__all__ = ["Derived", "Gap", "derive"]


class Derived(msgspec.Struct, frozen=True, kw_only=True):
    """What can be tried of a mesh, and which of its routes no call was found for."""

    trials: tuple[Trial, ...]
    gaps: tuple[Gap, ...]


def derive(graph: Graph, samples: Rstr) -> Derived:
    """The trials that the definitions of a mesh call for.

    `samples` chooses examples of regular expressions: the same seed gives the same trials.
    """
    texts = Texts(samples)
    found = [
        *routes.of_services(graph, texts),
        *routes.of_gateways(graph, texts),
        *routes.of_callers(graph),
        *borders.of_nodes(graph),
        *borders.of_gateways(graph),
    ]
    trials: dict[str, Trial] = {}
    for one in found:
        if isinstance(one, Trial):
            trials.setdefault(one.name, one)
    return Derived(trials=tuple(trials.values()), gaps=tuple(one for one in found if isinstance(one, Gap)))
