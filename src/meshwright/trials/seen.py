"""What became of the calls of a trial, as the client, the workloads and the proxies saw it.

The one rule: facts only; what they mean is `trials.judging`'s to say. Times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from meshwright.model.identity import Key
from meshwright.trials.trial import Encryption


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One arrival of a call at an instance of a virtual node."""

    node: str
    instance: str
    at: float
    """After the call was made."""
    given_up: float | None = None
    """After this arrival: when the caller broke it off before the answer was out; None if it did not."""


class SpanSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One span that a proxy told of a call."""

    id: str
    parent: str
    """The span that it lies in; one that nobody told is the sender's."""
    proxy: str
    """The node or gateway that the proxy belongs to."""
    service: str
    """Under which name the proxy reports."""
    name: str
    kind: str
    """`server`, `client` or `internal`."""
    start: float
    """After the call was made."""
    duration: float
    attributes: Mapping[str, str] = MappingProxyType({})
    error: bool = False


class CallSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One call."""

    id: str
    """Its request id, by which workloads, logs and spans know it."""
    status: int
    """0 for no answer at all."""
    elapsed: float
    began: float = 0.0
    """After the first call of its trial."""
    moment: str = "during"
    """`before`, `during` or `after` the faults of its trial; `changing` while they begin or end."""
    grpc_status: int | None = None
    fault: str = ""
    """Why there is no proper answer, in the words of who told it."""
    node: str = ""
    """The virtual node that answered; "" where a proxy answered, or nobody did."""
    instance: str = ""
    path: tuple[str, ...] = ()
    """The nodes and gateways that it passed, its caller first."""
    headers: Mapping[str, str] = MappingProxyType({})
    arrived: Mapping[str, str] = MappingProxyType({})
    """The request's headers as they arrived, with `:path`, `:method` and `:authority`."""
    attempts: tuple[Attempt, ...] = ()
    """In the order of their arrival; those of calls that its receivers made in turn are not among them."""
    encryption: Encryption | None = None
    """None where nobody could tell."""
    peer: str = ""
    spans: tuple[SpanSeen, ...] = ()
    log: tuple[str, ...] = ()
    """Lines of the proxies' access logs about it."""


class CounterSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One of Envoy's own counters that moved."""

    instance: str
    """Whose proxy counted: the instance of a node or gateway."""
    name: str
    """As Envoy calls it."""
    moved: int
    """By how much."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """All calls of a trial, in the order in which they were made."""

    calls: tuple[CallSeen, ...]
    fault: str = ""
    """Why the trial could not be run; "" when it was."""
    unnoticed: str = ""
    """Why callers did not find out about its faults, where that is expected of them; "" when they did."""
    ways: tuple[tuple[Key, Key], ...] = ()
    """Who called whom, sorted: a node or gateway and a node that it got to."""
    counters: tuple[CounterSeen, ...] = ()
    """Counters that moved as one more call was made, under the same faults, after a trial that failed."""
    followed: int | None = None
    """Calls whose spans were held against what simulation says; None where spans were not looked at."""
