"""Texts that tell an expression from others that differ from it by a slip: as few as do, on both sides of it.

The one rule: what is handed out was compared by RE2; which of the slips a text tells is known, and not guessed.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

from meshwright.routing.expressions import matches
from meshwright.trials.deriving.slips import edges, slips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_INSIDE, _OUTSIDE = 4, 7
"""Texts at most that an expression takes, and that it does not."""
_EDITS, _ROUNDS = 600, 6
"""Changes of a text that are looked at for one by which it tells more, so many times."""

Sides: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""Texts that an expression takes, and those that it does not."""


def telling(expression: str, samples: Sequence[str], usable: Callable[[str], bool], *, empty: bool) -> Sides:
    """Texts that can be sent, as `usable` says, and tell an expression from others; near to `samples` of it.

    Where it can be sent, none at all may be one, but the last.
    """
    by_length = sorted(samples, key=len)
    if not by_length:
        return (), ()
    characters = edges(expression)
    one = _Telling(expression, characters, usable)
    # The longest first: it may tell several slips at once.
    near = (text for each in (by_length[-1], *by_length[:_INSIDE]) for text in _edits(each, characters))
    taken = {text: matches(expression, text) for text in (*by_length, *near) if usable(text)}
    taken |= {"": matches(expression, "")} if empty else {}
    told: dict[str, set[str]] = {}
    for slip in slips(expression):
        several = [text for text in told if matches(slip, text) is not taken[text]]
        if not several:
            several = list(itertools.islice((text for text in taken if matches(slip, text) is not taken[text]), 1))
        for text in several:
            told.setdefault(text, set()).add(slip)
    found = {}
    for inside in (True, False):
        some = {text: several for text, several in told.items() if taken[text] is inside}
        texts = sorted((text for text, side in taken.items() if side is inside), key=_plainness)
        found[inside] = tuple(itertools.islice(one.fewest(some, texts, inside=inside), (_OUTSIDE, _INSIDE)[inside]))
        found[inside] = tuple(sorted(found[inside], key="".__eq__)) or tuple(filter(None, texts))[:1]
    return found[True], found[False]


class _Telling:
    """Texts of one side of an expression, as few as tell it from slips."""

    def __init__(self, expression: str, characters: str, usable: Callable[[str], bool]) -> None:
        """`characters` are tried in texts, of which those can be sent that are `usable`."""
        self._expression, self._characters, self._usable = expression, characters, usable

    def fewest(self, told: dict[str, set[str]], texts: Sequence[str], *, inside: bool) -> Iterator[str]:
        """As few of one side as tell all that any of these tells, those first that tell the most.

        `texts` are those of that side, the plainest first: one of them is taken where it does as well.
        """
        left = set[str]().union(*told.values())
        while left:
            text, slips_ = max(
                ((text, several & left) for text, several in told.items()), key=lambda one: len(one[1])
            )
            if inside:
                text, slips_ = self._richer(text, slips_, left)
            yield next((one for one in _until(texts, text) if _tells(one, slips_, inside=inside)), text)
            left -= slips_

    def _richer(self, text: str, slips_: set[str], left: set[str]) -> tuple[str, set[str]]:
        """A text that tells more of what is left than `text`, which tells `slips_`, by a few more changes."""
        for _ in range(_ROUNDS):
            if len(slips_) == len(left):
                break
            for other in itertools.islice(_edits(text, self._characters), _EDITS):
                if self._usable(other) and matches(self._expression, other) and _tells(other, slips_, inside=True):
                    more = {one for one in left - slips_ if not matches(one, other)}
                    if more:
                        text, slips_ = other, slips_ | more
                        break
            else:
                break
        return text, slips_


def _plainness(text: str) -> tuple[int, int]:
    """The less, the plainer it is to read: percent signs, then characters."""
    return text.count("%"), len(text)


def _until(texts: Sequence[str], text: str) -> Iterator[str]:
    """Those that are plainer than `text`, of some that are in that order."""
    most = _plainness(text)
    return itertools.takewhile(lambda one: _plainness(one) < most, texts)


def _tells(text: str, several: Iterable[str], *, inside: bool) -> bool:
    """Whether a text of that side tells them all."""
    return all(matches(one, text) is not inside for one in several)


def _edits(text: str, characters: str) -> Iterator[str]:
    """Texts that differ from `text` in one character: it is gone, comes twice, or is another one of `characters`."""
    yield from _around(text)
    for place, one in enumerate(text):
        yield text[:place] + text[place + 1 :]
        yield text[:place] + one + text[place:]
        yield from (text[:place] + other + text[place + 1 :] for other in (*characters, one.swapcase()))
    yield from (text.swapcase(), f"x{text}", f"/x{text}")


def _around(text: str) -> Iterator[str]:
    """Texts that differ from `text` in a character: at its end, at its beginning, inside; then others altogether."""
    for more in ("x", "0", "-", "/", "/x", "~"):
        yield f"{text}{more}"
    for place in range(len(text), 0, -1):
        yield text[: place - 1] + text[place:]
        yield f"{text[: place - 1]}~{text[place:]}"
    yield from ("/not-matched", "not-matched", "0")
