"""Patterns of ARNs: the six parts between colons are matched one by one.

The one rule: in `Resource`, a `*` that ends one of the first five parts may run on over colons, as IAM documents it;
in the ARN operators of conditions no wildcard of these parts does. After the fifth colon a colon is any character.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from meshwright.trust.policies.patterns import SEGMENTS, Automaton, Glob, Piece, Wild, automaton, glob
from meshwright.trust.policies.variables import Variable

if TYPE_CHECKING:
    from collections.abc import Sequence

_Part = TypeVar("_Part", Piece, Piece | Variable)


class ArnPattern(msgspec.Struct, frozen=True):
    """A compiled pattern of ARNs."""

    head: str
    """The literal parts that it begins with, the colon after them included."""
    tail: tuple[tuple[int, Glob], ...]
    """The other parts with their positions; parts that are `*` alone are left out."""
    whole: bool
    """Whether it has all six parts; where it has not, only `running` can match."""
    running: Automaton | None = None
    """The pattern with its stars running over colons, where it has such."""

    def matches(self, arn: str, parts: Sequence[str]) -> bool:
        """Whether `arn`, whose parts between colons are `parts` (`arn.split(":", 5)`), is matched."""
        if not arn.startswith(self.head):
            return False
        if self.whole and len(parts) == SEGMENTS and all(one.matches(parts[at]) for at, one in self.tail):
            return True
        # An ARN with no colon after the fifth leaves a star of a whole pattern no colon to run over.
        if self.running is None or (self.whole and (len(parts) < SEGMENTS or ":" not in parts[-1])):
            return False
        return self.running.matches(arn)


def segments(parts: Sequence[_Part]) -> list[tuple[_Part, ...]]:
    """`parts` split at the first five colons of their texts; wildcards and variables stay where they are."""
    found: list[list[_Part]] = [[]]
    for part in parts:
        if not isinstance(part, str):
            found[-1].append(part)
            continue
        first, *others = part.split(":", SEGMENTS - len(found))
        found[-1].append(first)
        found.extend([one] for one in others)
    return [tuple(part for part in one if part != "") for one in found]


def arn_pattern(split: Sequence[Sequence[Piece]], *, runs_on: bool) -> ArnPattern:
    """The pattern whose parts between colons are `split`; with `runs_on` as `Resource` means it."""
    literal = 0
    while literal < min(len(split), SEGMENTS - 1) and not any(isinstance(one, Wild) for one in split[literal]):
        literal += 1
    head = "".join("".join(map(str, one)) + ":" for one in split[:literal])
    tail = [(at, glob(one)) for at, one in enumerate(split) if at >= literal and list(one) != [Wild.RUN]]
    whole = len(split) == SEGMENTS
    running = None
    if runs_on and any(one and one[-1] is Wild.RUN for one in split[:5]):
        running = _running(split)
    # The last part tells most ARNs of one account apart: look at it first.
    return ArnPattern(head if len(split) > 1 else "", tuple(reversed(tail)), whole, running)


def _running(split: Sequence[Sequence[Piece]]) -> Automaton:
    """All parts in one machine: a star that ends one of the first five, and all of the sixth, match colons."""
    parts: list[Piece] = []
    crossing: list[bool] = []
    for at, one in enumerate(split):
        if at:
            parts.append(":")
            crossing.append(True)
        for index, part in enumerate(one):
            parts.append(part)
            crossing.append(at == SEGMENTS - 1 or (part is Wild.RUN and index == len(one) - 1))
    return automaton(parts, crossing)
