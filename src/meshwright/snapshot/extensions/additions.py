"""What extensions add to one route of a proxy, as a value.

The one rule: additions are complete before the route is written, and are written down with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key
from meshwright.routing import Target
from meshwright.snapshot.resources import Clue
from meshwright.snapshot.values import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable


class Additions(msgspec.Struct, frozen=True, kw_only=True):
    """What is added at one place."""

    origins: tuple[Key, ...] = ()
    """The extensions that hold there."""
    clues: tuple[Clue, ...] = ()
    filters: Wire = {}
    """Settings of HTTP filters for the route, by the filter's name."""
    shared: Wire = {}
    """The same for all routes of the virtual host together; what a route has of its own counts before it."""
    connections: tuple[Wire, ...] = ()
    """Network filters that connections go through first."""
    members: Wire = {}
    """Members of the route, each a list."""
    settings: Wire = {}
    """Members of the route that are no lists."""
    action: Wire = {}
    """Members of what it does with a request that is sent on."""
    targets: tuple[Target, ...] = ()
    """Nodes that get requests besides those that the route leads to."""
    preflight: bool = False
    """Whether the route answers the questions that browsers ask before a request."""
    own_server: bool = False
    """Whether the `server` of a response is not Envoy's to say."""

    def route(self, written: Wire) -> Wire:
        """`written`, a route, with what is added to it."""
        found = (
            written | self.settings | {name: [*written.get(name, ()), *more] for name, more in self.members.items()}
        )
        if self.filters:
            found["typed_per_filter_config"] = self.filters
        if self.action and "route" in written:
            found["route"] = written["route"] | self.action
        return found

    @property
    def alone(self) -> Additions:
        """The same for a route whose virtual host is not its service's alone: what is shared is its own."""
        return msgspec.structs.replace(self, filters=self.shared | self.filters, shared={})


def shared(several: Iterable[Additions]) -> Wire:
    """Settings of HTTP filters for the virtual host of all routes of `several`."""
    return {name: value for one in several for name, value in one.shared.items()}


NOTHING = Additions()
"""Where no extension holds."""


def merged(several: Iterable[Additions]) -> Additions:
    """All of `several`, which concern different members."""
    found = tuple(several)
    members: Wire = {}
    for one in found:
        for name, more in one.members.items():
            members[name] = [*members.get(name, ()), *more]
    return Additions(
        origins=tuple(key for one in found for key in one.origins),
        clues=tuple(clue for one in found for clue in one.clues),
        filters={name: value for one in found for name, value in one.filters.items()},
        shared=shared(found),
        connections=tuple(one for several in found for one in several.connections),
        members=members,
        settings={name: value for one in found for name, value in one.settings.items()},
        action={name: value for one in found for name, value in one.action.items()},
        targets=tuple(target for one in found for target in one.targets),
        preflight=any(one.preflight for one in found),
        own_server=any(one.own_server for one in found),
    )
