"""How much of the server one client, or all of them together, may take; and what is said to those who come too late.

The one rule: saying no costs less than what was asked for, and health and metrics always get through.
Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/CommonErrors.html (TooManyRequestsException)
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import TooManyRequestsException

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN_PATHS = frozenset(
    {"/healthz", "/readyz", "/metrics", "/.well-known/openid-configuration", "/.well-known/jwks.json"}
)
"""What anybody may ask, also when the server is busy."""
PROVING_PATHS = tuple(f"/meshwright/v1/travis/{one}" for one in ("challenges", "tokens", "renewals"))
"""What jobs ask that are not known yet."""
RETRY_AFTER = 1
"""After how many seconds a client that was turned away may come again."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a server takes on; the defaults are for a machine that others share."""

    connections: int = 1024
    """TCP connections at once. One more takes the place of the one that has idled longest, if there is one."""
    requests: int = 256
    """Requests that are being worked on at once, from the moment that all of them is there."""
    requests_each: int = 128
    """How many of them may be one user's or one role's."""
    unsigned: int = 32
    """Those of them that are proved by a token instead of a signature (AssumeRoleWithWebIdentity)."""
    unsigned_each: int = 16
    """How many of those may come from one address."""
    refused_tokens: int = 1000
    """Refused identity tokens of one address after which its next ones are not looked at."""
    refused_tokens_regained: float = 500.0
    """How many of them are forgotten in a second: so many are some percent of a processor, and no lock-out."""
    proofs: int = 120
    """Tokens that jobs at one address may ask for at once; each has Travis CI asked several questions."""
    proofs_regained: float = 2.0
    """How many more in a second."""
    proving: int = 64
    """Jobs at once whose logs are waited for."""
    proving_each: int = 4
    """How many of those questions may be about one job."""
    sessions: int = 2000
    """Sessions that a token's subject, a user or a role may begin at once; each is a row and an audit leaf."""
    sessions_regained: float = 5.0
    """How many more in a second."""
    body_bytes: int = 1 << 20
    """Bytes of a request to the App Mesh API; its largest legal spec takes some 200 kB."""
    our_body_bytes: int = 32 << 20
    """Bytes of a request to our own endpoints: a change set of thousands of objects."""
    token_body_bytes: int = 128 << 10
    """Bytes of a request to STS."""
    bodies_bytes: int = 256 << 20
    """Bytes of all the bodies that are held at once."""
    bodies_bytes_each: int = 96 << 20
    """How many of them may be of one key or, where nothing is signed, from one address."""
    head_bytes: int = 64 << 10
    """Bytes of a request line and headers; AWS's clients send some 2 kB."""
    head_count: int = 100
    """Headers of a request."""
    target_bytes: int = 16 << 10
    """Bytes of a path and query."""
    pipelined: int = 32
    """Requests that a client may send before the first of them is answered."""
    head_seconds: float = 10.0
    """How long a head may take, from the connection or from its first byte."""
    body_seconds: float = 60.0
    """How long a body may take at most."""
    body_grace: float = 5.0
    """How long a body may take that is small."""
    body_pace: int = 16 << 10
    """For how many bytes that have come it may take a second more."""
    unsigned_seconds: float = 2.0
    """How long a body may take that is not signed."""
    idle_seconds: float = 30.0
    """How long a connection may stay open between two requests."""
    write_seconds: float = 30.0
    """How long a client may leave an answer unread."""


class Rate:
    """So many events at once, and one more each so many milliseconds; how many were left out meanwhile."""

    def __init__(self, burst: int, every: int) -> None:
        self._burst = burst
        self._every = every
        self._left = burst
        self._since: int | None = None
        self.missed = 0

    def allow(self, now: int) -> bool:
        """Whether one more event fits in at `now`, in milliseconds."""
        since = now if self._since is None else self._since
        earned = max(now - since, 0) // self._every
        self._left = min(self._burst, self._left + earned)
        self._since = now if self._left == self._burst else since + earned * self._every
        if self._left == 0:
            self.missed += 1
            return False
        self._left -= 1
        return True

    def forget(self) -> int:
        """How many were left out since this was asked last."""
        missed, self.missed = self.missed, 0
        return missed


class Held:
    """An amount that is shared by all, requests at once or bytes, and of which nobody gets more than a part."""

    def __init__(self, most: int, each: int, what: str) -> None:
        self._most = most
        self._each = each
        self._what = what
        self._by: dict[str, int] = {}
        self.amount = 0

    @contextlib.contextmanager
    def one(self, holder: str) -> Iterator[None]:
        """Hold one for `holder` while the block lasts.

        Raises:
            TooManyRequestsException: there is none left.
        """
        self.take(holder, 1)
        try:
            yield
        finally:
            self.give(holder, 1)

    def take(self, holder: str, amount: int) -> None:
        """Hold so much more for `holder`, until it is given back.

        Raises:
            TooManyRequestsException: there is not so much left; nothing was taken.
        """
        held = self._by.get(holder, 0) + amount
        if held > self._each or self.amount + amount > self._most:
            whose = "your part of " if held > self._each else ""
            raise TooManyRequestsException(
                f"The server is busy: {whose}{self._what} are used up. Repeat the request after {RETRY_AFTER} s."
            )
        self._by[holder] = held
        self.amount += amount

    def give(self, holder: str, amount: int) -> None:
        """Give back what was taken; whoever holds nothing is forgotten."""
        self.amount -= amount
        held = self._by[holder] - amount
        if held:
            self._by[holder] = held
        else:
            del self._by[holder]
