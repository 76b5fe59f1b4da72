"""What a plan is judged by: the mesh before and after it, and what was seen of its traffic.

The one rule: the mesh after is what the plan makes of the mesh before, and nothing else.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from meshwright.graph import resolve
from meshwright.model.identity import Kind
from meshwright.model.state import State
from meshwright.plan import arrival

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.plan import Change, Plan

PROTECTED_TAG = "meshwright:protected"
"""An object that has this tag, with the value `true`, is not to be deleted unseen."""
LATELY = 3_600_000
"""Milliseconds after its last call that somebody still counts as a caller."""
WEIGHT_STEP = 20.0
"""Percentage points by which a target's share may move before it counts."""


class Seen(NamedTuple):
    """Calls that proxies reported, the last of them within `LATELY`."""

    caller: Key
    """The node or gateway that made them."""
    services: tuple[str, ...]
    """The names of the virtual services by which the caller's definition leads there."""
    requests: int
    """Since the control plane began to count."""


class Update(NamedTuple):
    """An object before and after the plan."""

    key: Key
    old: Resource
    new: Resource


def asks_for_calls(plan: Plan) -> bool:
    """Whether anything that a plan takes away may be called: nothing else has to do with what was seen."""
    return any(
        one.key.kind in _CALLED
        and (one.action == "delete" or one.key.kind is Kind.VIRTUAL_SERVICE or _matches_otherwise(one))
        for one in plan.changes
    )


def _matches_otherwise(change: Change) -> bool:
    return any(_MATCH.match(field.path) for field in change.fields)


_MATCH = re.compile(r"spec\.[A-Za-z0-9]+(\.match|$)")
_CALLED = (Kind.ROUTE, Kind.GATEWAY_ROUTE, Kind.VIRTUAL_SERVICE)


class Scene:
    """A plan, what it starts from and where it leads."""

    def __init__(
        self,
        plan: Plan,
        observed: State,
        *,
        seen: Sequence[Seen] = (),
        weight_step: float = WEIGHT_STEP,
        protected: Sequence[str] = (),
        now: int = 0,
    ) -> None:
        """`observed` is the mesh as it runs, of which the plan was made.

        `protected` are patterns of objects, such as `virtualNode/payment-*` or `virtualRouter/*/route/*`, in which
        `*` stays within a name; `now` is in milliseconds since the epoch, UTC.
        """
        self.plan = plan
        self.old = State(one for one in observed if one.key.mesh == plan.mesh)
        self.new = arrival(self.old, plan)
        self.seen = tuple(seen)
        self.weight_step = weight_step
        self.now = now
        self._protected = tuple(tuple(one.split("/")) for one in protected)

    @cached_property
    def before(self) -> Graph:
        """The graph that the plan starts from."""
        return resolve(self.old)

    @cached_property
    def after(self) -> Graph:
        """The graph that it leads to."""
        return resolve(self.new)

    def updates(self, *kinds: Kind) -> Iterator[Update]:
        """The objects of some kinds, or all, that were there and stay, in the order of the plan."""
        for one in self.plan.changes:
            old, new = self.old.get(one.key), self.new.get(one.key)
            if old is not None and new is not None and (not kinds or one.key.kind in kinds):
                yield Update(one.key, old, new)

    def deleted(self, *kinds: Kind) -> Iterator[Resource]:
        """The objects of some kinds, or all, that go away, in the order of the plan."""
        for one in self.plan.changes:
            if one.action == "delete" and one.key in self.old and (not kinds or one.key.kind in kinds):
                yield self.old[one.key]

    def put(self, *kinds: Kind) -> Iterator[tuple[Resource | None, Resource]]:
        """The objects of some kinds that come or change: what was there, and what is then."""
        for one in self.plan.changes:
            new = self.new.get(one.key)
            if one.action != "delete" and new is not None and one.key.kind in kinds:
                yield self.old.get(one.key), new

    def protects(self, resource: Resource) -> bool:
        """Whether `resource` is not to be deleted unseen: by its tag, or because its name was configured."""
        if any(tag.key == PROTECTED_TAG and tag.value.lower() == "true" for tag in resource.tags):
            return True
        names = resource.key.path.split("/")[2:] or ["mesh"]
        return any(
            len(names) == len(pattern) and all(map(fnmatchcase, names, pattern)) for pattern in self._protected
        )
