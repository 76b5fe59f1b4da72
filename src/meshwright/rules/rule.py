"""What a rule is: a code, a name that states the fault, a page, and a pure search.

A rule lives in a file of its own; that file's docstring is its documentation page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from meshwright.constraints import World
from meshwright.diagnostics import Diagnostic, Severity
from meshwright.graph import Graph

Search: TypeAlias = Callable[[Graph, World], Iterator[Diagnostic]]
"""Finds a rule's violations in a graph, given how much is known beside it."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be wrong with a mesh."""

    code: str
    """Such as `MW203`; never reused."""
    name: str
    """The fault in words: `shadowed-route`."""
    severity: Severity
    """The gravest that it reports."""
    page: str
    """The documentation page, in Markdown."""
    search: Search | None = None
    """None for what is found elsewhere.

    That is: by reading (MW0xx), by `constraints` (MW005, MW1xx), in trust files (MW6xx), in `.travis.yml` (MW85x).
    """

    @property
    def title(self) -> str:
        """Code and name."""
        return f"{self.code} {self.name}"

    @property
    def summary(self) -> str:
        """The page's first line, without the title."""
        return self.page.splitlines()[0]
