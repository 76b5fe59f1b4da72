"""Which listeners one Envoy was sent and could not open, and whether it took clusters, from its own administration.

The one rule: a proxy that never opened a listener, or took no clusters, is not ready. One that serves stays ready
when it refuses one, for its last good ones go on, and a release that no replica can take must not end the service.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump_shared.proto
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.proxy.administration import Administration

_REFUSED = "listener_manager.lds.update_rejected"
_TAKEN = "listener_manager.lds.update_success"
_REFUSED_CLUSTERS = "cluster_manager.cds.update_rejected"
_TAKEN_CLUSTERS = "cluster_manager.cds.update_success"
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
    """What became of the listeners of one Envoy, from its start to its end; for use from several threads."""

    def __init__(self) -> None:
        self.refused: Mapping[str, str] = {}
        """Those that are not open, by name, with Envoy's words."""
        self.refused_clusters = False
        """Whether it refused clusters and has taken no update of them; Envoy counts these, and names none."""
        self._lock = threading.Lock()
        self._taken = 0
        self._was_ready = False
        self._early: frozenset[str] = frozenset()
        """Those that were refused before it was ready for the first time, and did not open since."""

    def look(self, administration: Administration, *, live: bool) -> bool:
        """Whether an Envoy that is `live` took what it has to serve with; keeps `refused` and `refused_clusters`.

        Envoy remembers what it refused until its next update, which in the delta protocol need not be about the same
        listener. So it is remembered here, until the listener opens or an update is taken without it.

        Raises:
            OSError: it does not answer.
        """
        with self._lock:
            counts = administration.counts(_REFUSED, _TAKEN, _REFUSED_CLUSTERS, _TAKEN_CLUSTERS)
            self.refused_clusters = counts.get(_REFUSED_CLUSTERS, 0) > 0 and not counts.get(_TAKEN_CLUSTERS, 0)
            taken = counts.get(_TAKEN, 0)
            found = self._listeners(administration) if counts.get(_REFUSED, 0) else ()
            opened = {one.name for one in found if one.active_state is not None}
            known = self.refused if taken == self._taken else {}
            now = {one.name: one.error_state.details for one in found if one.name and one.error_state is not None}
            self.refused = {name: words for name, words in {**known, **now}.items() if name not in opened}
            self._taken = taken
            self._early -= opened
            if not self._was_ready:
                self._early |= self.refused.keys()
                self._was_ready = live and not self.refused and not self.refused_clusters
            return self._early.isdisjoint(self.refused) and (self._was_ready or not self.refused_clusters)

    def _listeners(self, administration: Administration) -> tuple[_Listener, ...]:
        status, body = administration.ask(f"/config_dump?resource=dynamic_listeners&mask={quote(_SHOWN)}")
        try:
            return msgspec.json.decode(body, type=_Dump).configs if status == 200 else ()
        except msgspec.DecodeError as error:
            raise OSError(f"the administration of Envoy answered nonsense about its listeners: {error}") from error
