"""What was made from values before and need not be made again: for the next proxy, and after the next change.

The one rule: only results of functions that depend on nothing but their arguments, which are compared by value. So
what is remembered is what would be made, and nothing has ever to be declared outdated.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 20_000
"""Results that are kept: a cluster and a virtual host for each of 10,000 services, some 2 kB each."""


class Memo:
    """Remembers the results that were used last."""

    def __init__(self, most: int = _MOST) -> None:
        """`most` results are kept."""
        self._most = most
        self._kept: OrderedDict[tuple[object, ...], object] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def once(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What `function` answers, which nobody may change. It is hashable values that it is given.

        Raises:
            TypeError: an argument is not hashable.
        """
        key = (function, arguments, tuple(named.items()))
        if key in self._kept:
            self._kept.move_to_end(key)
            return cast("T", self._kept[key])
        made = self._kept[key] = function(*arguments, **named)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return made


class Recent:
    """The parts of a whole that is made again and again, by name, as they were made last and what they were made of.

    That is told apart by identity first, so that a whole of which little changed costs little.
    """

    def __init__(self) -> None:
        self.parts: dict[Hashable, tuple[tuple[object, ...], object]] = {}
