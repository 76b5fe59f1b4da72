"""How often one source may do what costs the server something: have a token refused, begin a session.

The one rule: what was done is forgotten as time goes by, so that nobody is kept out for long: neither builds behind
one address with an attacker (a NAT, a proxy), of whom only refusals count, nor many proxies that start at once.
"""

from __future__ import annotations

from meshwright.errors import TooManyRequestsException


class Allowance:
    """What was done of late, by source: an address, or whoever proved to be somebody."""

    def __init__(self, most: int, regained: float, told: str, sources: int = 4096) -> None:
        """`most` at once and `regained` more each second, for the `sources` that did something last.

        `told` is the whole answer to those who have none left.
        """
        self._most = most
        self._told = told
        self._regained = regained
        self._sources = sources
        self._spent: dict[str, tuple[float, int]] = {}

    def admit(self, source: str, now: int) -> None:
        """Return where `source` has some left, at `now` in milliseconds.

        Raises:
            TooManyRequestsException: it has not.
        """
        if self._spent_of(source, now) > self._most - 1:
            raise TooManyRequestsException(self._told)

    def note(self, source: str, now: int) -> None:
        """`source` did it once."""
        spent = self._spent_of(source, now) + 1
        self._spent.pop(source, None)
        self._spent[source] = (spent, now)
        if len(self._spent) > self._sources:
            del self._spent[next(iter(self._spent))]

    def _spent_of(self, source: str, now: int) -> float:
        spent, at = self._spent.get(source, (0.0, now))
        return max(spent - max(now - at, 0) * self._regained / 1000, 0.0)
