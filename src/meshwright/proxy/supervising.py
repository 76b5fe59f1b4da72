"""Keep one Envoy running until it is asked to stop: crashes, draining, and what orchestrators want to know.

The one rule: no Envoy outlives this process, and none is stopped while it still serves somebody who could have heard
that it is leaving.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.errors import MeshwrightError
from meshwright.proxy.administration import Administration
from meshwright.proxy.agent import serving
from meshwright.proxy.farewell import say_farewell
from meshwright.proxy.listening import Listening
from meshwright.proxy.run import command, guarded, write
from meshwright.proxy.settings import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GRACE = 10.0
"""Seconds that Envoy has to end after SIGTERM before it is killed."""
FIRST_BACK_OFF = 0.5
"""Seconds before Envoy is started again for the first time; twice as long each time after that."""
LONGEST_BACK_OFF = 30.0
STARTING_SECONDS = 60.0
"""How long Envoy may take until it answers for the first time: one that hangs before that has to be replaced."""

_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
"""Signals by which a program ends itself, not others it."""

_log = logging.getLogger(__name__)


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """How an Envoy is kept."""

    concurrency: int | None = None
    """Worker threads; None for one a processor."""
    log_level: str = "warning"
    agent: Address | None = None
    """Where orchestrators ask; None for nowhere."""
    drain_seconds: int = 20
    """Between leaving and the end."""
    restarts: int = 3
    """How often it is started again after it crashed or was killed."""
    look_seconds: float = 10.0
    """Between two looks whether it is connected to the control plane."""
    disconnected_seconds: float = 604_800.0
    """How long it may be without before it counts as ill."""


def run(document: Mapping[str, Any], conduct: Conduct) -> int:
    """Run Envoy on the bootstrap `document` until SIGTERM or SIGINT; 0 when it was asked to stop.

    SIGTERM drains it first, SIGINT and a second signal do not. Envoy's log goes to standard error.

    Raises:
        UsageError: there is no Envoy here, or the agent's address cannot be listened on.
        MeshwrightError: Envoy ended although nobody asked it to, and more often than it may.
    """
    with tempfile.TemporaryDirectory(prefix="meshwright-proxy-") as folder:
        arguments = command(
            write(document, Path(folder)),
            concurrency=conduct.concurrency,
            log_level=conduct.log_level,
            drain_seconds=conduct.drain_seconds,
        )
        supervised = _Supervised(Administration(_admin(document)), conduct, lambda: say_farewell(document))
        with serving(conduct.agent, supervised):
            return asyncio.run(supervised.run(guarded(arguments)))


class _Supervised:
    """One Envoy and its successors; asked by the agent from other threads."""

    def __init__(self, administration: Administration, conduct: Conduct, farewell: Callable[[], bool]) -> None:
        self.administration = administration
        self._farewell = farewell
        self._conduct = conduct
        self._draining = False
        self._restarts = 0
        self._lock = threading.Lock()
        self._last_connected = float("-inf")
        self._missed = time.monotonic()
        """When it was first seen without its control plane since it was last seen with one."""
        self._starting = time.monotonic() + STARTING_SECONDS
        """Until when an Envoy that has not answered yet counts as starting; negative once it has."""
        self._asked = 0
        self._gently = False
        self._listening = Listening()

    def standing(self) -> dict[str, object]:
        """State, connection and restarts; `ready` to serve, `alive` enough not to be replaced."""
        state = self._state()
        away = self._away()
        alive = bool(state) and away < self._conduct.disconnected_seconds
        listening = self._listening
        opened = self._opened(listening, state, connected=not away)
        return {
            "state": "DRAINING" if self._draining else state or "STOPPED",
            "ready": alive and state == "LIVE" and opened and not self._draining,
            "alive": alive,
            "connected": not away,
            "disconnected_seconds": round(away),
            "restarts": self._restarts,
            "refused_listeners": listening.refused_listeners,
            "refused_clusters": listening.refused_clusters,
            "awaited_secrets": listening.awaited_secrets,
        }

    def drain(self) -> bool:
        """Take no part in new work: the endpoint goes, then health and inbound listeners; whether Envoy does so."""
        if not self._draining and self.administration.state() == "LIVE":
            self._draining = True
            self._farewell()
            self.administration.drain()
        return self._draining

    async def run(self, arguments: tuple[str, ...]) -> int:
        """Start Envoy as often as it may be, until it is asked to stop."""
        self._stop, self._insist = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask, number)
        looking = asyncio.create_task(self._look())
        try:
            while True:
                status = await self._live(arguments)
                if self._stop.is_set():
                    return 0
                if status > 0 or self._restarts >= self._conduct.restarts:
                    raise MeshwrightError(_end(status, self._restarts))
                _log.warning("%s It is started again.", _end(status, self._restarts))
                with contextlib.suppress(TimeoutError):
                    self._starting = time.monotonic() + LONGEST_BACK_OFF + STARTING_SECONDS
                    pause = min(FIRST_BACK_OFF * 2**self._restarts, LONGEST_BACK_OFF)
                    await asyncio.wait_for(self._stop.wait(), pause)
                self._restarts += 1
                self._draining = False  # the next one serves and registers anew, and has to be drained itself
                if self._stop.is_set():
                    return 0
        finally:
            looking.cancel()

    async def _live(self, arguments: tuple[str, ...]) -> int:
        """One life of Envoy; its status."""
        self._listening = Listening()
        self._starting = time.monotonic() + STARTING_SECONDS
        # In a session of its own, so that Ctrl-C reaches Envoy through us and in order.
        envoy = await asyncio.create_subprocess_exec(
            *arguments, start_new_session=True, stdin=asyncio.subprocess.DEVNULL
        )
        ended = asyncio.create_task(envoy.wait())
        try:
            await _first(ended, self._stop.wait())
            if not ended.done():
                if self._gently and await asyncio.to_thread(self.drain):
                    _log.info("draining for %d s", self._conduct.drain_seconds)
                    await _first(ended, self._insist.wait(), seconds=self._conduct.drain_seconds)
                # Once more, should its stream have broken meanwhile; and at last where nothing was drained.
                if not self._insist.is_set():
                    await _first(ended, asyncio.to_thread(self._farewell))
                await self._end(envoy, ended)
            return await ended
        finally:
            if not ended.done():
                envoy.kill()
                await ended

    async def _end(self, envoy: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        if not ended.done() and not self._insist.is_set():
            envoy.terminate()
            await _first(ended, self._insist.wait(), seconds=GRACE)
        if not ended.done():
            envoy.kill()

    def _ask(self, number: signal.Signals) -> None:
        self._asked += 1
        self._gently = self._asked == 1 and number is signal.SIGTERM
        self._stop.set()
        if self._asked > 1:
            self._insist.set()

    async def _look(self) -> None:
        while True:
            away = await asyncio.to_thread(self._away)
            state = await asyncio.to_thread(self._state)
            await asyncio.to_thread(self._opened, self._listening, state, connected=not away)
            await asyncio.sleep(self._conduct.look_seconds)

    def _opened(self, listening: Listening, state: str, *, connected: bool) -> bool:
        """Whether Envoy took what it has to serve with; not where it does not answer."""
        try:
            answers = state not in {"", "STARTING"}
            return answers and listening.look(self.administration, live=state == "LIVE", connected=connected)
        except OSError:
            return False

    def _away(self) -> float:
        """Seconds since it was first seen without a control plane; 0 with one."""
        asked_at = time.monotonic()  # the answer may be late, and is not of then
        connected = self.administration.connected()
        with self._lock:
            if connected:
                self._last_connected = max(self._last_connected, asked_at)
                return 0.0
            if self._missed <= self._last_connected < asked_at:
                self._missed = asked_at
            return max(time.monotonic() - max(self._missed, self._last_connected), 0.001)

    def _state(self) -> str:
        """As its administration says; `STARTING` as long as an Envoy that was just started does not answer yet."""
        found = self.administration.state()
        if found:
            self._starting = -1.0
        return found or ("STARTING" if time.monotonic() < self._starting else "")


async def _first(ended: asyncio.Task[int], other: Any, *, seconds: float | None = None) -> None:
    """Wait for one of the two, or for `seconds`."""
    beside = asyncio.ensure_future(other)
    try:
        await asyncio.wait({ended, beside}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        beside.cancel()


def _end(status: int, restarts: int) -> str:
    """How Envoy ended, in a sentence or two."""
    again = f" It had been started again {restarts} times." if restarts else ""
    if -status in _CRASHES:
        return f"Envoy crashed with {signal.Signals(-status).name}; its last lines above say where.{again}"
    if status < 0:
        return f"Envoy was ended by {signal.Signals(-status).name} from outside; nobody asked us to stop.{again}"
    return f"Envoy ended by itself with status {status}; its last lines above say why.{again}"


def _admin(document: Mapping[str, Any]) -> Address:
    """Where the administration of the Envoy of a bootstrap listens."""
    found = document.get("admin", {}).get("address", {})
    if "pipe" in found:
        return Address(str(found["pipe"]["path"]))
    socket = found.get("socket_address", {})
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(socket.get("address"), socket.get("address", "127.0.0.1"))  # noqa: S104 - where everybody may ask, we ask on loopback
    return Address(str(host), int(socket.get("port_value", 0)) or 9901)
