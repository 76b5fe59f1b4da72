"""What one Envoy was sent and could not take: listeners, clusters, secrets; from its own administration.

The one rule: a proxy that never opened a listener, or lacks a cluster that it is led to, is not ready. One that
serves stays ready when it refuses one, for its last good ones go on, and a release that no replica can take must not
end the service.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump_shared.proto
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from meshwright.ads.stream import LONGEST_RETRY_SECONDS, RETRY_SECONDS
from meshwright.proxy.holding import awaited_secrets, missing_clusters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshwright.proxy.administration import Administration

_REFUSED = "listener_manager.lds.update_rejected"
_TAKEN = "listener_manager.lds.update_success"
_REFUSED_CLUSTERS = "cluster_manager.cds.update_rejected"
_TAKEN_CLUSTERS = "cluster_manager.cds.update_success"
_SLACK = 5.0
_SHOWN = "name,active_state.version_info,error_state.details"


class _Error(msgspec.Struct, frozen=True):
    details: str = ""


class _Listener(msgspec.Struct, frozen=True):
    """One that Envoy got from its control plane: it serves with the active version, and may have refused another."""

    name: str = ""
    """"" where it stands for a whole response."""
    active_state: dict[str, str] | None = None
    error_state: _Error | None = None


class _Dump(msgspec.Struct, frozen=True):
    configs: tuple[_Listener, ...] = ()


class Listening:
    """What became of what one Envoy was sent, from its start to its end; for use from several threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` answers with seconds of a clock that nobody sets."""
        self.refused: Mapping[str, str] = {}
        """The listeners that are known not to be open."""
        self.refused_clusters: tuple[str, ...] = ()
        """Once it refused one, those that it is led to and does not have, by name."""
        self.awaited_secrets: Mapping[str, tuple[str, ...]] = {}
        """Those that nobody has provided yet, by name, with the listeners and clusters that need them."""
        self._lock = threading.Lock()
        self._now = now
        self._was_ready = False
        self._refusals = 0
        self._refused_at = now()
        self._unnamed = False
        """Whether it refused a listener and had forgotten which one by the time it was asked."""
        self._early: frozenset[str] = frozenset()
        """Those that were refused before it was ready for the first time, and did not open since."""

    def look(self, administration: Administration, *, live: bool, connected: bool) -> bool:
        """Whether an Envoy that is `live` took what it has to serve with; keeps what it says of itself.

        Without its control plane, not `connected`, nothing is offered to it again and nothing taken back.

        Raises:
            OSError: it does not answer.
        """
        with self._lock:
            counts = administration.counts(_REFUSED, _TAKEN, _REFUSED_CLUSTERS, _TAKEN_CLUSTERS)
            self._look_at_listeners(administration, counts, connected=connected)
            refused = counts.get(_REFUSED_CLUSTERS, 0) > 0
            self.refused_clusters = missing_clusters(administration) if refused else ()
            self.awaited_secrets = awaited_secrets(administration)
            needing = (one for some in self.awaited_secrets.values() for one in some)
            lacking = (
                bool(self.refused_clusters)
                # Before it took any, no route has come yet that would lead to them.
                or (refused and not counts.get(_TAKEN_CLUSTERS))
                or self._unnamed
                or counts.get(_TAKEN, 1) == 0
                or any(one.startswith("listener ") for one in needing)
            )
            if not self._was_ready:
                self._early |= self.refused.keys()
                self._was_ready = live and not self.refused and not lacking
            return self._early.isdisjoint(self.refused) and (self._was_ready or not lacking)

    @property
    def refused_listeners(self) -> Mapping[str, str]:
        """The listeners that are not open, by name, with Envoy's words; `?` is one that it names no more."""
        unnamed = {"?": "refused before anybody asked which it was; meshwright status tells"} if self._unnamed else {}
        return {**self.refused, **unnamed}

    def _look_at_listeners(
        self, administration: Administration, counts: Mapping[str, int], *, connected: bool
    ) -> None:
        """Envoy remembers what it refused until its next update, which need not be about the same listener.

        So it is remembered here until it opens, or until it would have been refused again if it were still wanted.
        """
        found = self._listeners(administration) if counts.get(_REFUSED) else ()
        opened = {one.name for one in found if one.active_state is not None}
        now = {one.name: one.error_state.details for one in found if one.name and one.error_state is not None}
        if counts.get(_REFUSED, 0) != self._refusals:
            self._unnamed = not now
        if counts.get(_REFUSED, 0) != self._refusals or not connected:
            self._refusals, self._refused_at = counts.get(_REFUSED, 0), self._now()
        over = self._now() - self._refused_at > _offered_again(
            counts.get(_REFUSED, 0) + counts.get(_REFUSED_CLUSTERS, 0)
        )
        self._unnamed = self._unnamed and not over
        known = {} if over else self.refused
        self.refused = {name: words for name, words in {**known, **now}.items() if name not in opened}
        self._early -= opened

    def _listeners(self, administration: Administration) -> tuple[_Listener, ...]:
        status, body = administration.ask(f"/config_dump?resource=dynamic_listeners&mask={quote(_SHOWN)}")
        try:
            return msgspec.json.decode(body, type=_Dump).configs if status == 200 else ()
        except msgspec.DecodeError as error:
            raise OSError(f"the administration of Envoy answered nonsense about its listeners: {error}") from error


def _offered_again(refusals: int) -> float:
    """Seconds within which the control plane offers again what an Envoy refused, after so many refusals at most."""
    return 1.2 * min(RETRY_SECONDS * 2.0 ** min(max(0, refusals - 1), 10), LONGEST_RETRY_SECONDS) + _SLACK
