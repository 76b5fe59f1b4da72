"""Calls that tell what a condition takes from what it does not: they meet all else, and no route before takes them.

The one rule: `simulate` says where a call goes; one that goes elsewhere for another reason than that is none.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.simulate import Call, Verdict, route
from meshwright.trials.deriving.asking import outer_paths, steps
from meshwright.trials.deriving.avoiding import Search
from meshwright.trials.deriving.expectations import leads_nowhere
from meshwright.trials.deriving.parts import PATH, with_part
from meshwright.trials.deriving.texts import usable_target
from meshwright.trials.sendable import unsendable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.trials.deriving.entries import Arrival
    from meshwright.trials.deriving.nears import Near
    from meshwright.trials.deriving.parts import Matched
    from meshwright.trials.deriving.texts import Texts

_BY_LIBRARY = ("header", "user-agent")
"""What gRPC's library says itself, whatever it is told."""
_MOST = 3
"""Calls of one search that `simulate` is asked about."""


class Beside:
    """Finds calls near to one that follows a route."""

    def __init__(self, graph: Graph, found: Arrival, key: Key, texts: Texts) -> None:
        """`found` follows the route `key`."""
        self._graph, self._found, self._texts = graph, found, texts
        self._steps = steps(graph, found)
        self._at = next((place for place, one in enumerate(self._steps) if one[-1].route == key), None)

    @property
    def asked(self) -> tuple[Matched, str]:
        """What the route asks of calls, and in which field that stands; nothing where it is none."""
        own = self._steps[self._at][-1] if self._at is not None else None
        return (None, "") if own is None else (own.match, own.where)

    def verdict(self, near: Near) -> Verdict | None:
        """What becomes of a call that is as `near` has it, and that the route takes or would but for the condition.

        None where there is no such call, or none was found.
        """
        if self._at is None:
            return None
        if self._found.call.protocol == "grpc" and near.part == _BY_LIBRARY:
            return None
        for call in self._calls(near, self._at):
            if any(unsendable(call)):
                continue
            verdict = route(self._graph, self._found.caller, call)
            if self._tells(near, verdict, self._at):
                return verdict
        return None

    def _calls(self, near: Near, at: int) -> Iterator[Call]:
        """Calls with that part: the one that was found, else others, so that no route before takes them."""
        placed = list(self._placed(near))
        yield from (with_part(self._found.call, near.part, one) for one in placed)
        for values in placed:
            # What is inside has to be for somebody behind the gateway, too; what is outside comes to nobody there.
            for last in dict.fromkeys((len(self._steps), at + 1)):
                taken = self._steps[:last]
                before = [one for step in taken for one in step[:-1]]
                if before:
                    wanted = [step[-1] for step in taken]
                    search = Search(self._found.call, wanted, before, self._texts, fixed=(near.part, values))
                    yield from itertools.islice(search.calls(), _MOST)

    def _placed(self, near: Near) -> Iterator[tuple[str, ...]]:
        """The part as it has to be sent: a gateway may make another path of it."""
        spec = self._graph.state[self._steps[0][-1].route].spec
        if near.part != PATH or self._at == 0 or not isinstance(spec, GatewayRouteSpec):
            yield near.values
            return
        (wanted,) = near.values
        own = self._steps[1][-1]
        for path in dict.fromkeys(outer_paths(spec, wanted, wanted)):
            if usable_target(path):
                seen = own.seen(with_part(self._found.call, PATH, (path,)))
                if seen.path.partition("?")[0] == wanted.partition("?")[0]:
                    yield (path,)

    def _tells(self, near: Near, verdict: Verdict, at: int) -> bool:
        chosen = self._found.verdict.chosen
        if verdict.chosen == chosen:
            return not leads_nowhere(verdict) and not verdict.refused
        hop = verdict.hops[at] if len(verdict.hops) > at else None
        if hop is None or verdict.chosen[:at] != chosen[:at]:
            return False
        origins = [one.origin for one in hop.candidates]
        own = self._steps[at][-1]
        if own.route not in origins or hop.chosen == own.route:
            return False
        after = hop.chosen is None or origins.index(hop.chosen) > origins.index(own.route)
        about = {path for path, part in own.parts.items() if part == near.part}
        return after and {one.path for one in hop.candidates[origins.index(own.route)].misses} <= about
