"""The graph of a mesh: its edges indexed both ways, and what is found out about them, once.

The one rule: a graph is never changed. The graph of the next state is made from it, and keeps what it does not touch.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar, cast

from meshwright.edges import (
    Edge,
    Relation,
    callers,
    contradict,
    disowned,
    edges,
    extended,
    felt,
    gateway_route_target,
    owned,
    route_action,
    scope_of,
    service_key,
)
from meshwright.model.identity import EXTENSION_KINDS, Key, Kind
from meshwright.model.memo import Memo, Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from meshwright.model.state import Resource, State

__all__ = [
    "Edge",
    "Graph",
    "Relation",
    "callers",
    "contradict",
    "disowned",
    "edges",
    "extended",
    "felt",
    "gateway_route_target",
    "owned",
    "resolve",
    "route_action",
    "scope_of",
    "service_key",
]

_Index: TypeAlias = "Mapping[Key, tuple[Edge, ...]]"
P = ParamSpec("P")
T = TypeVar("T")

_MOST_KNOWN = 10_000
"""Answers about one region that are kept: its callers may differ in what they present to it."""
_MOST_RECENT = 64
"""Wholes whose parts are kept of one region: proxies of a node, of which 50 may be connected, that are not alike."""
_LEADING = (Relation.PROVIDER, Relation.TARGET, Relation.COPIES)
"""Where requests go on."""
_HOLDING = (Kind.VIRTUAL_ROUTER, Kind.VIRTUAL_GATEWAY)
"""What holds routes, and decides by them."""
_UNKNOWN: Any = object()


class Region:
    """All that an object leads to, and what was found out by looking at nothing else.

    Proxies come and go while their region stays as it is, so both are bounded.
    """

    __slots__ = ("extended", "keys", "known", "recent")

    def __init__(self, keys: frozenset[Key], *, extended: bool) -> None:
        self.keys = keys
        self.extended = extended
        """Whether an extension is about any of it."""
        self.known: dict[Hashable, object] = {}
        self.recent: dict[tuple[object, ...], Recent] = {}


class Graph:
    """A state and its edges, indexed both ways."""

    def __init__(
        self, state: State, outgoing: _Index, incoming: _Index, memo: Memo, regions: Mapping[Key, Region]
    ) -> None:
        """Made by `resolve` and `renewed`: the edges by their sources and by their targets."""
        self.state = state
        self.memo = memo
        """What was made from values of this graph, and of those that it was renewed from."""
        self._outgoing = outgoing
        self._incoming = incoming
        self._recalled: dict[tuple[object, ...], object] = {}
        self._regions = dict(regions)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every reference, in the order of keys and then of fields."""
        return tuple(edge for resource in self.state for edge in self._outgoing.get(resource.key, ()))

    @cached_property
    def _extensions(self) -> Mapping[tuple[Kind, Key], tuple[Resource, ...]]:
        found: defaultdict[tuple[Kind, Key], list[Resource]] = defaultdict(list)
        for kind in EXTENSION_KINDS:
            for one in self.state.of(kind):
                for edge in self.outgoing(one.key, Relation.EXTENDS):
                    if edge.found or edge.target not in self.state:
                        found[kind, edge.target].append(one)
        return {place: tuple(some) for place, some in found.items()}

    def renewed(self, state: State, touched: Iterable[Key]) -> Graph:
        """The graph of `state`, which differs from this one's in `touched` at most: what `resolve` would answer.

        It costs what the change is, not what the mesh is: to resolve 400 objects takes 7 ms.
        """
        changed = set(touched)
        moved = {key for key in changed if _whose(key, state) != _whose(key, self.state)}
        sources = changed.union(edge.source for key in moved for edge in self.incoming(key))
        if moved:
            # What a name in an extension stands for depends on more than the object that it names now.
            sources.update(one.key for kind in EXTENSION_KINDS for one in state.of(kind))
        fresh = {key: tuple(edges(state[key], state)) if key in state else () for key in sorted(sources)}
        outgoing = {**self._outgoing, **fresh}
        arriving: defaultdict[Key, list[Edge]] = defaultdict(list)
        differing: set[Edge] = set()
        for key, made in fresh.items():
            differing.update(set(made).symmetric_difference(self._outgoing.get(key, ())))
            for edge in made:
                arriving[edge.target].append(edge)
            if not made:
                del outgoing[key]
        incoming = dict(self._incoming)
        for target in {edge.target for edge in differing}:
            some = [edge for edge in incoming.pop(target, ()) if edge.source not in sources]
            some += arriving[target]
            if some:
                incoming[target] = tuple(sorted(some, key=lambda edge: edge.source))
        moving = felt(changed, self.state, state)
        self.memo.pass_turn()
        regions = {start: one for start, one in self._regions.items() if one.keys.isdisjoint(moving)}
        return Graph(state, outgoing, incoming, self.memo, regions)

    def recall(self, function: Callable[Concatenate[Graph, P], T], *arguments: P.args, **named: P.kwargs) -> T:
        """What `function` answers about this graph: worked out once, for every proxy that leads there.

        The arguments are hashable, and the answer depends on nothing else and is never changed.
        """
        key = (function, arguments, tuple(named.items()))
        known: T | Any = self._recalled.get(key, _UNKNOWN)
        if known is _UNKNOWN:
            known = self._recalled[key] = function(self, *arguments, **named)
        return known

    def recall_about(
        self, start: Key, function: Callable[Concatenate[Graph, P], T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        """What `function` answers about the region of `start`: worked out once, for as long as that stays as it is.

        The answer depends on no other object of this graph.
        """
        known = (self._regions.get(start) or self._region(start)).known
        key = (function, arguments, tuple(named.items()))
        answer: T | Any = known.get(key, _UNKNOWN)
        if answer is _UNKNOWN:
            answer = function(self, *arguments, **named)
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[key] = answer
        return answer

    def recall_each(self, starts: Iterable[Key], function: Callable[[Graph, Key], T]) -> list[T]:
        """What `function` answers of each of `starts`, as if that were recalled about each; for hundreds at once."""
        regions, found = self._regions, []
        for start in starts:
            known = (regions.get(start) or self._region(start)).known
            if function not in known:
                known[function] = function(self, start)
            found.append(cast("T", known[function]))
        return found

    def recent(self, start: Key, *purpose: object) -> Recent:
        """The parts of what was made last of `start` for a purpose; none when the region of `start` changed since."""
        some = self._region(start).recent
        found = some[purpose] = some.pop(purpose) if purpose in some else Recent()
        if len(some) > _MOST_RECENT:
            del some[next(iter(some))]  # the one that was asked for longest ago
        return found

    def mark(self, start: Key) -> object:
        """Something that is the same object for as long as the region of `start` stays as it is."""
        return self._region(start)

    def is_extended(self, start: Key) -> bool:
        """Whether an extension is about `start` or anything that it leads to."""
        return self._region(start).extended

    def region(self, start: Key) -> frozenset[Key]:
        """`start` and all that it leads to, its mesh, and the extensions about any of it; missing objects included.

        A called node's own backends are none of its callers' business: nodes are where the way ends.
        """
        return self._region(start).keys

    def _region(self, start: Key) -> Region:
        known = self._regions.get(start)
        if known is None:
            todo = [start, Key.of_mesh(start.mesh)]
            found = set(todo)
            while todo:
                for key in self._next(todo.pop()):
                    if key not in found:
                        found.add(key)
                        todo.append(key)
            keys = self.memo.once(frozenset, frozenset(found))
            extended = self.has_extensions and any(not key.kind.portable for key in keys)
            known = self._regions[start] = Region(keys, extended=extended)
        return known

    def _next(self, key: Key) -> list[Key]:
        found = [edge.target for edge in self._outgoing.get(key, ()) if edge.relation in _LEADING]
        if key.kind in _HOLDING:
            found += [edge.source for edge in self._incoming.get(key, ()) if edge.relation is Relation.OWNER]
        if self.has_extensions:
            found += [one.key for kind in EXTENSION_KINDS for one in self.extensions(kind, key)]
        return found

    def outgoing(self, key: Key, *relations: Relation) -> tuple[Edge, ...]:
        """The references that `key` makes, all or of some relations, in document order."""
        found = self._outgoing.get(key, ())
        return tuple([edge for edge in found if edge.relation in relations]) if relations else found

    def incoming(self, key: Key, *relations: Relation) -> tuple[Edge, ...]:
        """The references to `key`, all or of some relations, in order of their sources."""
        found = self._incoming.get(key, ())
        return tuple([edge for edge in found if edge.relation in relations]) if relations else found

    def children(self, key: Key) -> tuple[Resource, ...]:
        """The routes of a router, the gateway routes of a gateway, what lies directly in a mesh; by key."""
        return tuple(self.state[edge.source] for edge in self.incoming(key, Relation.OWNER))

    def provider(self, service: Key) -> Key | None:
        """The router or node that answers for a virtual service; None without one or where it is missing."""
        return next((edge.target for edge in self.outgoing(service, Relation.PROVIDER) if edge.found), None)

    def service_nodes(self, service: Key) -> tuple[Key, ...]:
        """The existing virtual nodes that a virtual service may lead to, each once, by key."""
        provider = self.provider(service)
        if provider is None:
            return ()
        if provider.kind is Kind.VIRTUAL_NODE:
            return (provider,)
        targets = {
            edge.target
            for route in self.children(provider)
            for edge in self.outgoing(route.key, Relation.TARGET)
            if edge.found
        }
        return tuple(sorted(targets))

    def entry_services(self, key: Key) -> tuple[Key, ...]:
        """The virtual services that a node (its backends) or a gateway (its routes' targets) may call.

        Each once, in document order; one that does not exist is listed all the same.
        """
        if key.kind is Kind.VIRTUAL_GATEWAY:
            edges = [edge for route in self.children(key) for edge in self.outgoing(route.key, Relation.TARGET)]
        else:
            edges = list(self.outgoing(key, Relation.BACKEND))
        return tuple(dict.fromkeys(edge.target for edge in edges))

    def extensions(self, kind: Kind, key: Key) -> tuple[Resource, ...]:
        """The extensions of one kind that are about `key`, in order of their keys."""
        return self._extensions.get((kind, key), ()) if self.has_extensions else ()

    @cached_property
    def has_extensions(self) -> bool:
        """Whether there is any extension at all, with effect or without."""
        return any(self.state.count(kind) for kind in EXTENSION_KINDS)

    def called_nodes(self, key: Key) -> tuple[Key, ...]:
        """The existing virtual nodes that a node or gateway may send requests to, each once, by key."""
        return tuple(sorted({node for service in self.entry_services(key) for node in self.service_nodes(service)}))


def _whose(key: Key, state: State) -> str | None:
    """The stack of an object, "" for none; None where there is no such object."""
    found = state.get(key)
    return None if found is None else found.stack


def resolve(state: State) -> Graph:
    """The graph of `state`: every reference of every object, in the order of keys and then of fields."""
    outgoing = {resource.key: tuple(edges(resource, state)) for resource in state}
    incoming: defaultdict[Key, list[Edge]] = defaultdict(list)
    for made in outgoing.values():
        for edge in made:
            incoming[edge.target].append(edge)
    return Graph(state, outgoing, {target: tuple(some) for target, some in incoming.items()}, Memo(), {})
