"""Wildcard patterns: `*` for any run of characters, `?` for one, matched in time linear in the text.

The one rule: no pattern backtracks. Pieces between stars are searched from left to right, and where a pattern needs
more than that, all its positions are followed at once as the bits of one number.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SEGMENTS = 6
"""An ARN is `arn:partition:service:region:account:resource`; what follows the fifth colon may hold colons."""


class Wild(enum.Enum):
    """A wildcard of a pattern."""

    RUN = "*"
    ONE = "?"


Piece: TypeAlias = str | Wild
"""Literal text, in which `*` and `?` mean themselves, or a wildcard."""


def pieces(text: str) -> tuple[Piece, ...]:
    """`text` taken apart at its wildcards."""
    return joined(Wild(char) if char in "*?" else char for char in text)


def joined(parts: Iterable[Piece]) -> tuple[Piece, ...]:
    """The same pattern in its shortest form: neighbouring texts and stars made one, empty texts left out."""
    found: list[Piece] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, str) and isinstance(last, str):
            found[-1] = last + part
        elif part and not (part is Wild.RUN and last is Wild.RUN):
            found.append(part)
    return tuple(found)


class Automaton(msgspec.Struct, frozen=True):
    """A pattern as a machine whose states are bits: bit i is set once the first i characters of it are matched."""

    steps: dict[str, int]
    """For a character, the states that it leads on from."""
    other: int
    """The states that any other character leads on from."""
    stay: int
    """The states that every character but a colon may leave as they are: a star stands there."""
    stay_at_colon: int
    """The states that a colon may leave as they are."""
    final: int

    def matches(self, text: str) -> bool:
        """Whether the whole of `text` is matched."""
        steps, other, states = self.steps, self.other, 1
        for char in text:
            kept = self.stay_at_colon if char == ":" else self.stay
            states = ((states & steps.get(char, other)) << 1) | (states & kept)
            if not states:
                return False
        return bool(states & self.final)


def automaton(parts: Sequence[Piece], crossing: Sequence[bool] = ()) -> Automaton:
    """The machine for `parts`; where `crossing` is given, only parts with True in it match colons."""
    steps: dict[str, int] = {}
    any_at = any_at_colon = stay = stay_at_colon = 0
    at = 1
    for part, crosses in zip(parts, crossing or [True] * len(parts), strict=True):
        if part is Wild.RUN:
            stay |= at
            stay_at_colon |= at if crosses else 0
        elif part is Wild.ONE:
            any_at |= at
            any_at_colon |= at if crosses else 0
            at <<= 1
        else:
            for char in part:
                steps[char] = steps.get(char, 0) | at
                at <<= 1
    full = {char: bits | (any_at_colon if char == ":" else any_at) for char, bits in {":": 0, **steps}.items()}
    return Automaton(full, any_at, stay, stay_at_colon, at)


class Glob(msgspec.Struct, frozen=True):
    """A compiled pattern over a whole string, colons being characters like any other."""

    runs: tuple[str, ...]
    """What stands between the stars: the first at the text's start, the last at its end. Empty with `machine`."""
    least: int
    """How many characters a matching text has at least."""
    machine: Automaton | None = None
    """For patterns with `?`."""

    def matches(self, text: str) -> bool:
        """Whether the whole of `text` is matched."""
        if self.machine is not None:
            return self.machine.matches(text)
        runs = self.runs
        if len(runs) == 1:
            return text == runs[0]
        if len(text) < self.least or not text.startswith(runs[0]) or not text.endswith(runs[-1]):
            return False
        if len(runs) == 2:
            return True
        at, end = len(runs[0]), len(text) - len(runs[-1])
        for run in runs[1:-1]:
            found = text.find(run, at, end)
            if found < 0:
                return False
            at = found + len(run)
        return True


def glob(parts: Sequence[Piece]) -> Glob:
    """`parts`, which are as `joined` leaves them, compiled."""
    if Wild.ONE in parts:
        return Glob((), 0, automaton(parts))
    runs = [""]
    for part in parts:
        if isinstance(part, str):
            runs[-1] += part
        else:
            runs.append("")
    return Glob(tuple(runs), sum(map(len, runs)))
