"""What the HTTP API works with, handed in by `meshwright.server`; nothing here is a singleton.

The one rule: an endpoint reads `store.head()` and writes through `commit` only, holding `turn` meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Protocol

from meshwright.operations import UNLIMITED, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.control import Control
    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.operations import Quotas, Sharing
    from meshwright.release import Release
    from meshwright.store.contract import Revision, Store


class Commit(Protocol):
    """`Store.commit` without blocking the event loop; it also publishes the new head to the control loop."""

    async def __call__(
        self,
        expected: int,
        *,
        puts: tuple[Resource, ...],
        deletes: tuple[Key, ...],
        principal: str,
        cause: str,
        at: int,
        release: Release | None = None,
    ) -> Revision:
        """Append revision `expected + 1`; durable when it returns.

        Raises:
            RevisionConflictError: the newest revision is not `expected`.
            StorageError: the database refused; nothing was changed.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that endpoints need from the outside."""

    store: Store
    commit: Commit
    control: Control
    now: Callable[[], int]
    """Milliseconds since the epoch, UTC."""
    uid: Callable[[], str]
    """A new random UUID, for objects and for requests."""
    account: str = "000000000000"
    region: str = "us-east-1"
    partition: str = "aws"
    quotas: Quotas | None = UNLIMITED
    """None for App Mesh's documented defaults. No limit otherwise, as long as no operator could raise one."""
    sharing: Callable[[], Sharing] = frozenset
    """Which meshes are shared with which accounts, as the newest `trust.yaml` says."""
    turn: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    """Held from reading the head to committing, so that writers of one process queue instead of colliding."""

    def stamp(self, account: str = "") -> Stamp:
        """The time, a fresh id and who asks, for one operation; no `account` is the server's own."""
        return Stamp(
            at=self.now(),
            uid=self.uid(),
            account=account or self.account,
            home=self.account,
            shared=self.sharing(),
            region=self.region,
            partition=self.partition,
        )
