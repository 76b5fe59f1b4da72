"""Which trials may go on while the faults of another one befall everybody: those whose calls stay away from them.

Pure. The one rule: where it is not sure that a call stays away, its trial does not go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.routing import declared_ways
from meshwright.simulate import route
from meshwright.trials.pools import overfilled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.trials.trial import Trial


def disturbs(graph: Graph, alone: Trial, other: Trial, instance: int) -> bool:
    """Whether the faults of `alone` may be felt by a call of `other` that is under way.

    `instance` of its caller has made it. A control plane that is gone disturbs no call: proxies hold what they held.
    Of a fault for calls with some header nobody else knows, neither while it holds nor when it ends.
    """
    if other.onward:
        return True
    verdict = route(graph, other.caller, other.call)
    on_way = {hop.at for hop in verdict.hops[1:]} | {one.node for one in verdict.targets}
    on_way |= {one.copied_to for hop in verdict.hops for one in hop.effects if one.copied_to is not None}
    felt = [one for one in alone.given if not one.headers or _carries(other, one.headers)]
    places = [place for given in felt for place in _befallen(graph, given.at, given.instances)]
    for pool in overfilled(graph, alone):
        places += _befallen(graph, pool.proxy.name, None)
    if alone.expect.pool is not None:
        places.append((alone.expect.pool.at, None))
    return any(
        place in on_way or (place == other.caller and (count is None or instance <= count)) for place, count in places
    )


def _carries(trial: Trial, headers: Mapping[str, str]) -> bool:
    carried = {(name.lower(), value) for name, value in trial.call.headers}
    return headers.items() <= carried


def shared(trials: Iterable[Trial]) -> frozenset[str]:
    """The names of trials whose faults are for calls with headers that the calls of others carry, too."""
    every = tuple(trials)
    carrying: dict[tuple[str, str], set[str]] = {}
    for one in every:
        for name, value in one.call.headers:
            carrying.setdefault((name.lower(), value), set()).add(one.name)
    return frozenset(
        one.name
        for one in every
        for given in one.given
        if given.headers
        and set[str].intersection(*(carrying.get(pair, set()) for pair in given.headers.items())) - {one.name}
    )


def _befallen(graph: Graph, name: str, count: int | None) -> Iterator[tuple[Key, int | None]]:
    """Nodes and gateways whose proxies or applications are not as they were, and how many instances; None for all."""
    for kind in (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY):
        for one in graph.state.of(kind):
            if one.key.name == name:
                yield one.key, count
    # Callers who would not believe for long that an instance is well again are started anew when the fault ends.
    for caller, node in declared_ways(graph, graph.state.meshes[0]):
        if node.name == name and _remembered(graph, node):
            yield caller, None


def _remembered(graph: Graph, node: Key) -> bool:
    """Whether callers remember of the instances of a node that they were not well."""
    spec = graph.state[node].spec
    listeners = (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) else ()
    return any(one.health_check is not None or one.outlier_detection is not None for one in listeners)
