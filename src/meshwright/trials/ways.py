"""Which arrows of the dependency graph a run went over.

The one rule: only a trial that passed counts, and an arrow counts where `simulate` says that its calls take it and
the far end was seen.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from meshwright.graph import Relation
from meshwright.model.identity import Key, Kind
from meshwright.simulate import route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.graph import Graph
    from meshwright.trials.judging import Result

Way: TypeAlias = tuple[Key, Key]
"""An arrow: from a gateway or a virtual node to a virtual service, or from one of these to a virtual node."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """How many trials that passed went where."""

    ways: Counter[Way]
    ends: Counter[Key]
    """By gateway, virtual service or virtual node: how many came by."""


def taken(graph: Graph, results: Iterable[Result]) -> Taken:
    """Where the trials among `results` that passed went."""
    ways: Counter[Way] = Counter()
    ends: Counter[Key] = Counter()
    for one in results:
        if one.passed:
            found = {*_called(graph, one), *_in_turn(graph, one)}
            ways.update(found)
            ends.update({end for way in found for end in way})
    return Taken(ways=ways, ends=ends)


def _called(graph: Graph, result: Result) -> Iterator[Way]:
    """The way of the calls themselves, and of the copies that mirrors make of them."""
    trial, reached = result.trial, _reached(result)
    verdict = route(graph, trial.caller, trial.call)
    at = trial.caller
    for hop in verdict.hops:
        if hop.chosen is None:
            return
        if hop.decided_by.kind is Kind.VIRTUAL_SERVICE:
            yield at, hop.decided_by
            at = hop.decided_by
        yield from ((at, one.copied_to) for one in hop.effects if one.copied_to and one.copied_to.name in reached)
    yield from ((at, one.node) for one in verdict.targets if one.node.name in reached)


def _in_turn(graph: Graph, result: Result) -> Iterator[Way]:
    """The ways of the calls that workloads made on behalf of those."""
    onward = frozenset(result.trial.onward)
    passed = {name for one in result.seen.calls for name in one.path}
    mesh = result.trial.caller.mesh
    for name in passed if onward else ():
        node = Key(mesh, Kind.VIRTUAL_NODE, name)
        for service in (edge.target for edge in graph.outgoing(node, Relation.BACKEND)):
            there = [one for one in graph.service_nodes(service) if one.name in passed]
            if service.name in onward and there:
                yield node, service
                yield from ((service, one) for one in there)


def _reached(result: Result) -> frozenset[str]:
    """The names of the virtual nodes that calls arrived at."""
    arrived = {attempt.node for one in result.seen.calls for attempt in one.attempts}
    return frozenset(arrived | {one.node for one in result.seen.calls})
