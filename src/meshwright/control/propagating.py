"""How far one revision has come among the proxies, and whoever waits for it.

The one rule: what is not built for all of them yet is pending, whoever it may turn out to concern.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from meshwright.control.standing import Propagation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.control.delivery import Delivery


def propagation(
    revision: int,
    deliveries: Mapping[str, Delivery],
    absent: tuple[tuple[str, ...], tuple[str, ...]],
    *,
    decided: bool,
) -> Propagation:
    """How far `revision` has come among `deliveries`, by the ids of their proxies.

    `absent` are those that are away and may not have it: who is waited for, and who no longer. `decided` says that
    whom it concerns is known of all of them.
    """
    awaited, missed = absent
    away = tuple(sorted(awaited + missed))
    if not deliveries and not awaited:
        return Propagation(revision=revision, state="no-proxies", away=away)
    if not decided:
        return Propagation(revision=revision, state="pending", away=away)
    verdicts = {one: deliveries[one].verdict(revision) for one in sorted(deliveries)}
    verdicts.update((one, "pending") for one in awaited)
    pending = tuple(sorted(one for one, verdict in verdicts.items() if verdict == "pending"))
    rejected = tuple(deliveries[one].status() for one, verdict in verdicts.items() if verdict == "rejected")
    return Propagation(
        revision=revision,
        state="rejected" if rejected else "pending" if pending else "propagated",
        concerned=tuple(sorted(one for one, verdict in verdicts.items() if verdict != "unconcerned")),
        acked=tuple(one for one, verdict in verdicts.items() if verdict == "acked"),
        pending=pending,
        rejected=rejected,
        away=away,
    )


class Waiter:
    """One call of `Control.wait`: for whom it waits, as far as that is known."""

    def __init__(self, revision: int, pending: set[str]) -> None:
        self.revision = revision
        self.pending = pending
        self.woken = asyncio.Event()

    def wake(self) -> None:
        """Look again."""
        self.woken.set()
