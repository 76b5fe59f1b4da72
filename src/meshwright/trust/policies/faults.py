"""What is wrong with a policy document: every fault, each with its path.

The one rule: a document that could mean something else than its author thinks is refused, and told what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SHOWN = 20
_NEAR_LENGTH = 80


class Fault(msgspec.Struct, frozen=True):
    """One fault of a document."""

    path: tuple[str | int, ...]
    """Member names and list positions from the document's root: `("Statement", 0, "Action", 1)`."""
    message: str
    """What is there, why it cannot be, what to write instead."""

    @property
    def where(self) -> str:
        """The path as text, `Statement[0].Action[1]`; "" for the document itself."""
        text = ""
        for step in self.path:
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        return text

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.path else self.message


class PolicyError(UsageError):
    """A policy document, or a block of conditions, that cannot be used; `faults` holds every reason."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.source = source
        self.faults = tuple(faults)
        lines = [f"The policy {source!r} cannot be used:", *(f"  {fault}" for fault in self.faults[:_SHOWN])]
        if len(self.faults) > _SHOWN:
            lines.append(f"  and {len(self.faults) - _SHOWN} more faults")
        super().__init__("\n".join(lines))


def quoted(value: object) -> str:
    """`value` as an error shows it: escaped, and cut where it is long."""
    text = type(value).__name__ if isinstance(value, (dict, list, tuple)) else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def near(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` Did you mean 'X'?` for a name that resembles a known one, case aside; "" otherwise."""
    if len(name) > _NEAR_LENGTH:
        return ""
    # Comparing is slow, and a hostile document has many names to compare: leave out what is far longer or shorter.
    by_lower = {one.lower(): one for one in known if abs(len(one) - len(name)) <= max(3, len(name) // 5)}
    found = nearest(name.lower(), by_lower, cutoff)
    return f" Did you mean {by_lower[found]!r}?" if found else ""
