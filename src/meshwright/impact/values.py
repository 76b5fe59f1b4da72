"""What is found out about a plan, as values whose JSON is documented and stable.

The one rule: everything names an object and, where there is one, a field, so that a reviewer can look there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from meshwright.diagnostics import Source
from meshwright.model.identity import Key


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a plan does and that has hurt others: to look at, not yet a fault."""

    code: str
    """What kind, as `RISKS` lists them: `weight-moved`."""
    summary: str
    """One sentence: the thing, what becomes of it, who is concerned."""
    key: Key
    """The object that the plan changes."""
    path: str = ""
    """The field, in wire names; "" for the whole object."""
    old: Any = None
    new: Any = None
    """JSON values; None where there is nothing."""
    source: Source | None = None
    """Where the field is written, of what the definitions still hold."""


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """What one plan means."""

    risks: tuple[Risk, ...] = ()
    """In the order of the plan's changes."""
