"""The tests that a run would make, none of which has run: names for people, the rest of it for tools.

The one rule: words and places are those of the report of a run (`views.trials`), so that the two can be joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.diagnostics import Source
from meshwright.views.escaping import terminal
from meshwright.views.trials import quoted, written_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.graph import Graph
    from meshwright.trials.trial import Trial
    from meshwright.views.trials import Finder


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One test."""

    name: str
    kind: Literal["written", "derived"]
    """By people, or from the definitions."""
    source: Source | None
    """Where it is written; of a derived one, the field that it is about."""
    about: tuple[str, ...]
    """Objects, as paths."""
    caller: str
    reproduce: str
    """The command that runs just this test."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """All tests, in the order in which a report has them."""

    version: int = 1
    """Raised when a member changes its meaning or goes; new members may come at any time."""
    mesh: str
    tests: tuple[Listed, ...]


def listing(graph: Graph, trials: Iterable[Trial], find: Finder, again: str) -> Listing:
    """What there is to run; `again` is the command that runs all of it."""
    return Listing(
        mesh=graph.state.meshes[0],
        tests=tuple(
            Listed(
                name=one.name,
                kind="derived" if one.source is None else "written",
                source=written_at(one, find),
                about=tuple(key.path for key in one.about),
                caller=one.caller.path,
                reproduce=f"{again} --only {quoted(one.name)}",
            )
            for one in trials
        ),
    )


def render(found: Listing) -> str:
    """A name a line."""
    return "".join(f"{terminal(one.name)}\n" for one in found.tests)
