"""How many refused tokens of one address are looked at: a bound for those who try.

The one rule: only refusals count, and they are forgotten fast, so that builds behind one address with an attacker (a
NAT, a proxy) still get their sessions when they repeat.
"""

from __future__ import annotations

from meshwright.errors import TooManyRequestsException


class Refusals:
    """What came in vain of late, by address."""

    def __init__(self, most: int, regained: float, sources: int = 4096) -> None:
        """`most` at once and `regained` more each second, for the `sources` that were refused last."""
        self._most = most
        self._regained = regained
        self._sources = sources
        self._spent: dict[str, tuple[float, int]] = {}

    def admit(self, source: str, now: int) -> None:
        """Return where a token of `source` may be looked at, at `now` in milliseconds.

        Raises:
            TooManyRequestsException: too many were refused.
        """
        if self._spent_of(source, now) > self._most - 1:
            raise TooManyRequestsException(
                "Too many tokens from your address were refused. Repeat the request later."
            )

    def note(self, source: str, now: int) -> None:
        """A token of `source` was refused."""
        spent = self._spent_of(source, now) + 1
        self._spent.pop(source, None)
        self._spent[source] = (spent, now)
        if len(self._spent) > self._sources:
            del self._spent[next(iter(self._spent))]

    def _spent_of(self, source: str, now: int) -> float:
        spent, at = self._spent.get(source, (0.0, now))
        return max(spent - max(now - at, 0) * self._regained / 1000, 0.0)
