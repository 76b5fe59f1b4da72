"""What was made from values before and need not be made again: for the next proxy, and after the next change.

The one rule: only results of functions that depend on nothing but their arguments, which are compared by value. So
what is remembered is what would be made, and nothing has ever to be declared outdated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

P = ParamSpec("P")
T = TypeVar("T")

_UNKNOWN: Any = object()
_MOST = 20_000
"""Results that are kept: a cluster and a virtual host for each of 10,000 services, some 2 kB each."""
_TURNS = 64
"""Changes after which a result that none of them asked for begins to be forgotten."""


class Memo:
    """Remembers the results that were used last, by the last proxies and the last changes.

    What one change after the other makes is of no use for long: each asks for a weight that was never there before.
    """

    def __init__(self, most: int = _MOST, turns: int = _TURNS) -> None:
        """`most` results are kept: what was used since `turns` changes; nothing that was not since twice as many."""
        self._most = most
        self._turns = turns
        self._turn = 0
        self._young: dict[tuple[object, ...], object] = {}
        """What was used lately."""
        self._old: dict[tuple[object, ...], object] = {}
        """What was used before that, and not since."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def once(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What `function` answers, which nobody may change. It is hashable values that it is given.

        Raises:
            TypeError: an argument is not hashable.
        """
        key = (function, arguments, tuple(named.items()))
        made: T | Any = self._young.get(key, _UNKNOWN)  # which takes the hash of all values once
        if made is _UNKNOWN:
            made = self._old.pop(key, _UNKNOWN)
            if made is _UNKNOWN:
                made = function(*arguments, **named)
            self._young[key] = made
            if 2 * len(self._young) > self._most:
                self._age()
        return made

    def pass_turn(self) -> None:
        """Things have changed once more."""
        self._turn += 1
        if self._turn % self._turns == 0:
            self._age()

    def _age(self) -> None:
        self._young, self._old = {}, self._young


class Recent:
    """The parts of a whole that is made again and again, by name, as they were made last and what they were made of.

    That is told apart by identity first, so that a whole of which little changed costs little.
    """

    def __init__(self) -> None:
        self.parts: dict[Hashable, tuple[tuple[object, ...], object]] = {}
