"""Tests that nobody wrote: what a mesh's definitions promise, as trials.

The one rule: pure, and the same definitions give the same trials under the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.trials.deriving import borders, instances, pools, routes
from meshwright.trials.deriving.arriving import Inside, at_route, entrances
from meshwright.trials.deriving.entries import Gap, service_rules
from meshwright.trials.deriving.policies import PATIENCE
from meshwright.trials.deriving.texts import Texts
from meshwright.trials.deriving.untried import tried
from meshwright.trials.trial import Trial

if TYPE_CHECKING:
    from rstr import Rstr

    from meshwright.graph import Graph

__all__ = ["PATIENCE", "Derived", "Gap", "derive"]


class Derived(msgspec.Struct, frozen=True, kw_only=True):
    """What can be tried of a mesh; for which of its routes no call was found, and which policies are not tried."""

    trials: tuple[Trial, ...]
    gaps: tuple[Gap, ...]


def derive(graph: Graph, samples: Rstr, patience: int = PATIENCE) -> Derived:
    """The trials that the definitions of a mesh call for.

    `samples` chooses examples of regular expressions: the same seed gives the same trials. No trial waits for longer
    than `patience`, in milliseconds: longer limits are not tried.
    """
    texts = Texts(samples)
    within = [Inside(graph, port, rule, texts) for port, rule in service_rules(graph)]
    arrivals = [(one.port, one.rule, at_route(graph, one)) for one in within]
    entered = tuple(entrances(graph, texts))
    coming = [one for _, _, one in arrivals if not isinstance(one, Gap)]
    entering = [one.found for one in entered if not isinstance(one.found, Gap)]
    found = [
        *instances.of_nodes(graph, coming, patience),
        *pools.of_listeners(graph, coming, entering, patience),
        *routes.of_services(graph, arrivals, texts, patience),
        *routes.of_gateways(graph, entered, texts, patience),
        *routes.of_callers(graph, within, coming),
        *borders.of_nodes(graph),
        *borders.of_gateways(graph),
        *borders.of_listeners(graph),
    ]
    trials: dict[str, Trial] = {}
    sure = tuple(tried(graph, found))
    for one in sure:
        if isinstance(one, Trial):
            trials.setdefault(one.name, one)
    return Derived(trials=tuple(trials.values()), gaps=tuple(one for one in sure if isinstance(one, Gap)))
