"""Who is connected and how far each is, as values.

The one rule: an ack is acceptance by the proxy and no more; what it serves is for `verify` to probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from meshwright.model.identity import Key
from meshwright.release import Rejection
from meshwright.snapshot.resources import EnvoyResource, Placement, Traits, Unserved


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """A connected Envoy: its own id, the virtual node or gateway it stands for, and where it listens."""

    id: str
    node: Key
    placement: Placement
    envoy_version: str = ""
    traits: Traits = Traits()
    shared_id: str = ""
    """The id by its own word, where others say so too, so that `id` tells them apart; "" as a rule."""


class Held(NamedTuple):
    """One resource and how far one proxy is with it."""

    type_url: str
    name: str
    resource: EnvoyResource | None
    """What it should hold; None for one that it is still to drop."""
    state: Literal["synced", "not sent", "stale", "error"]
    """`stale`: it was sent, and the proxy has not answered yet."""
    at: int
    """When that came about, in milliseconds since the epoch, UTC; the connection where the proxy had it before."""
    rejection: Rejection | None


class ProxyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far one proxy is."""

    id: str
    node: Key
    placement: Literal["redirect", "loopback"]
    envoy_version: str
    connected_at: int
    target_revision: int
    acked_revision: int
    """The newest revision up to which the proxy has acked everything that concerns it."""
    state: Literal["synced", "pending", "rejected"]
    rejections: tuple[Rejection, ...] = ()
    gone: bool = False
    """Its virtual node or gateway was deleted: it keeps the last configuration it had."""
    unserved: tuple[Unserved, ...] = ()
    """What its definitions ask for and it cannot be sent: left out or made to refuse, never guessed."""
    shared_id: str = ""
    """As `Proxy.shared_id`."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How all connected proxies stand, in numbers."""

    proxies: Mapping[str, int] = {}
    """How many there are in each state of `ProxyStatus`."""
    resources: Mapping[tuple[str, str], int] = {}
    """By type URL and `pending` or `rejected`, how many resources they should hold and do not."""


class Propagation(msgspec.Struct, frozen=True, kw_only=True):
    """How far one revision has come; proxies by id."""

    revision: int
    state: Literal["no-proxies", "pending", "rejected", "propagated"]
    concerned: tuple[str, ...] = ()
    """Those whose snapshot the revision changed, or that connected after it, and who is `away` and waited for."""
    acked: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    rejected: tuple[ProxyStatus, ...] = ()
    away: tuple[str, ...] = ()
    """Who was connected a short while ago, is not back, and may not have it: pending too while it is waited for."""
