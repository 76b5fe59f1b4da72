"""What proxies made of a release: sent, acked or rejected, when, and by which object's fault.

The one rule: it is what was seen, kept as it was seen. A rejection stays in it although a later revision mends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from meshwright.diagnostics import Source
from meshwright.model.identity import Key
from meshwright.release.drifting import Author
from meshwright.release.records import Build

if TYPE_CHECKING:
    from collections.abc import Iterable

State: TypeAlias = Literal["acked", "pending", "rejected"]


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """An object that a proxy's rejection leads to, and who brought it."""

    key: Key
    path: str = ""
    """The field, in wire names; "" where nothing points at one."""
    source: Source | None = None
    """Where the field stands in the files of the build that changed the object last; None where it did not say."""
    release: str = ""
    """The title of the release that changed the object last; "" where that was no release."""
    build: Build | None = None
    """What that release's job claims of itself."""
    author: Author | None = None
    """Who wrote the object last."""


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy refused, in Envoy's words, and the mesh objects that it was made from."""

    type_url: str
    resources: tuple[str, ...]
    origins: tuple[Key, ...]
    """The objects at fault, or all that shaped the resources where nothing points at fewer."""
    message: str
    revision: int
    at: int
    """When, in milliseconds since the epoch, UTC."""
    causes: tuple[Cause, ...] = ()
    """The same objects, with the field and who brought it, as far as that is known."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Some resources of one type on their way to one proxy; times are milliseconds since the epoch, UTC."""

    type_url: str
    resources: dict[str, str]
    """The version of each by name; "" for one that was removed."""
    state: State
    sent_at: int | None = None
    """None where it was not sent: it still is to be, or the proxy said on connecting that it had it."""
    settled_at: int | None = None
    """When it was acked or rejected."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy and one revision."""

    id: str
    node: Key
    envoy_version: str
    state: State
    steps: tuple[Step, ...] = ()
    """What the revision changed for it; everything it holds where it connected afterwards."""
    rejections: tuple[Rejection, ...] = ()
    """Every one that there was, also where it took the revision in the end."""

    @property
    def sent_at(self) -> int | None:
        """When the first part of it was sent."""
        return min((one.sent_at for one in self.steps if one.sent_at is not None), default=None)

    @property
    def settled_at(self) -> int | None:
        """When it was decided; None as long as it is not."""
        if self.state == "pending":
            return None
        return max((one.settled_at for one in self.steps if one.settled_at is not None), default=None)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of a release in a few numbers."""

    acked: int = 0
    pending: int = 0
    rejected: int = 0
    """Proxies that rejected it, also those that took it in the end."""
    first_sent_at: int | None = None
    last_acked_at: int | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one release."""

    tally: Tally
    accounts: tuple[Account, ...] = ()
    """By id; those of old releases are dropped, and so are those beyond the most that are kept."""


def evidence_of(accounts: Iterable[Account]) -> Evidence:
    """The evidence that `accounts` are."""
    found = tuple(sorted(accounts, key=lambda one: one.id))
    sent = [one.sent_at for one in found if one.sent_at is not None]
    acked = [one.settled_at for one in found if one.state == "acked" and one.settled_at is not None]
    return Evidence(
        tally=Tally(
            acked=sum(one.state == "acked" for one in found),
            pending=sum(one.state == "pending" for one in found),
            rejected=sum(one.state == "rejected" or bool(one.rejections) for one in found),
            first_sent_at=min(sent, default=None),
            last_acked_at=max(acked, default=None),
        ),
        accounts=found,
    )
