"""AWS Cloud Map, looked at again and again: one watch a service, shared by all nodes that use it.

The one rule: what was found last counts until something else is found. AWS that cannot be reached, and a service that
is gone, change no endpoint; they are told as faults.
"""

from __future__ import annotations

import asyncio
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from meshwright.discovery.aws import CALLS, CloudMapError
from meshwright.discovery.found import Fault, Row
from meshwright.discovery.instances import Instance, Query, wishes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshwright.discovery.instances import Service, Wish
    from meshwright.discovery.memory import Memory
    from meshwright.model.identity import Key
    from meshwright.model.state import State
    from meshwright.snapshot.resources import Endpoint

    A = TypeVar("A")
    B = TypeVar("B")

SOURCE = "cloud-map"
_LOOK = 0.25
"""Seconds between two looks whether other services are asked for."""
_LONGEST = 60.0
"""Seconds that a service which fails is left alone at most."""
_CHECKED_EVERY, _UNCHECKED_EVERY = 3, 12
"""After so many looks instances are fetched although none came or went: revisions know nothing of health."""

_log = logging.getLogger(__name__)


class Asked(Protocol):
    """What is asked, in threads; `aws.Api` is the one that there is."""

    def revision(self, service: Service) -> int | None:
        """As `aws.Api.revision`."""
        ...

    def instances(self, query: Query) -> tuple[Instance, ...]:
        """As `aws.Api.instances`."""
        ...


class Counted(Protocol):
    """What is counted of calls."""

    def cloud_map_asked(self, operation: str, result: str) -> None:
        """A call was answered, `ok`, or not, for one of a handful of reasons."""
        ...


class _Watch:
    """One service under watch."""

    def __init__(self, queries: frozenset[Query], now: int) -> None:
        self.queries = queries
        self.revision: int | None = None
        self.looks = 0
        """Since instances were fetched last."""
        self.failures = 0
        """In a row."""
        self.fault: tuple[str, int] | None = None
        """Why it cannot be looked up, and since when."""
        self.looked_at = now
        """When that worked last."""
        self.task: asyncio.Task[None] | None = None


class CloudMap:
    """A source of endpoints; asks only for services that a node names."""

    def __init__(
        self,
        api: Asked,
        *,
        interval: float,
        state: Callable[[], State],
        changed: Callable[[Iterable[Key]], None],
        now: Callable[[], int],
        memory: Memory,
        counted: Counted,
    ) -> None:
        """`interval` is the time between two looks at a service, in seconds; `state` gives the newest.

        `changed` is told of the nodes whose endpoints are others than before.

        Raises:
            StorageError: what was kept cannot be read.
        """
        self._api = api
        self._interval = interval
        self._state = state
        self._changed = changed
        self._now = now
        self._memory = memory
        self._counted = counted
        self._followed: State | None = None
        self._wishes: dict[Key, Wish] = {}
        self._watches: dict[Service, _Watch] = {}
        kept = memory.recall().items()
        self._found = {
            msgspec.json.decode(name, type=Query): msgspec.json.decode(body, type=tuple[Instance, ...])
            for name, body in kept
        }

    def of(self, node: Key) -> tuple[Endpoint, ...] | None:
        """As `Source.of`."""
        self._follow()
        wish = self._wishes.get(node)
        if wish is None:
            return ()
        found = self._found.get(wish.query)
        return (
            None if found is None else tuple(sorted(end for one in found if (end := one.endpoint(wish.preference))))
        )

    def nodes(self) -> frozenset[Key]:
        """As `Source.nodes`."""
        self._follow()
        return frozenset(self._wishes)

    def rows(self, mesh: str = "") -> tuple[Row, ...]:
        """As `Source.rows`."""
        self._follow()
        return tuple(
            Row(node=node, endpoint=end, source=SOURCE, name=one.id, state="healthy" if end.healthy else "unhealthy")
            for node, wish in sorted(self._wishes.items(), key=lambda item: item[0])
            if mesh in {"", node.mesh}
            for one in self._found.get(wish.query, ())
            if (end := one.endpoint(wish.preference))
        )

    def faults(self, mesh: str = "") -> tuple[Fault, ...]:
        """As `Source.faults`."""
        return tuple(
            Fault(node=node, source=SOURCE, message=watch.fault[0], since=watch.fault[1])
            for node, wish in sorted(self._wishes.items(), key=lambda item: item[0])
            if mesh in {"", node.mesh} and (watch := self._watches.get(wish.query.service)) and watch.fault
        )

    def age(self) -> float:
        """Seconds since the service that was looked up longest ago was; 0 where none is asked for."""
        return (self._now() - min((one.looked_at for one in self._watches.values()), default=self._now())) / 1000

    async def run(self) -> None:
        """Look again and again, and keep what is found over a restart; until cancelled."""
        self._pool = ThreadPoolExecutor(CALLS, thread_name_prefix="cloud-map")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._memory.run())
                while True:
                    self._follow()
                    for service, watch in self._watches.items():
                        if watch.task is None:
                            watch.task = tasks.create_task(self._watching(service, watch))
                    await asyncio.sleep(_LOOK)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _follow(self) -> None:
        """Take in what the newest state asks for."""
        state = self._state()
        if state is self._followed:
            return
        self._followed, self._wishes = state, wishes(state)
        asked: dict[Service, set[Query]] = {}
        for wish in self._wishes.values():
            asked.setdefault(wish.query.service, set()).add(wish.query)
        for service in [one for one in self._watches if one not in asked]:
            gone = self._watches.pop(service)
            if gone.task is not None:
                gone.task.cancel()
        for service, queries in asked.items():
            watch = self._watches.setdefault(service, _Watch(frozenset(queries), self._now()))
            watch.queries = frozenset(queries)
        for query in [one for one in self._found if one not in asked.get(one.service, ())]:
            del self._found[query]
            self._memory.keep(_name(query), None)

    async def _watching(self, service: Service, watch: _Watch) -> None:
        while True:
            try:
                await self._look(service, watch)
            except CloudMapError as error:
                watch.failures += 1
                if watch.fault is None:
                    _log.warning("%s cannot be looked up, what was found last counts: %s", service, error)
                watch.fault = str(error), watch.fault[1] if watch.fault else self._now()
            else:
                if watch.fault is not None:
                    _log.info("%s is looked up again", service)
                watch.failures, watch.fault, watch.looked_at = 0, None, self._now()
            await self._pause(watch)

    async def _pause(self, watch: _Watch) -> None:
        """Until the next look: longer after each failure, and never together with everybody else's."""
        # A constant rhythm would have every service asked for at once, as all began with the server.
        seconds = min(self._interval * 2 ** min(watch.failures, 6), max(_LONGEST, self._interval))
        seconds *= random.uniform(0.5, 1) if watch.failures else random.uniform(0.9, 1.1)  # noqa: S311 - no secret
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            if not watch.failures and any(query not in self._found for query in watch.queries):
                return  # another node asks for other attributes
            await asyncio.sleep(min(left, _LOOK))

    async def _look(self, service: Service, watch: _Watch) -> None:
        """One look: fetch what was not fetched yet, or may have changed."""
        revision = await self._ask("revision", self._api.revision, service)
        checked = any(one.health != "UNKNOWN" for query in watch.queries for one in self._found.get(query, ()))
        watch.looks += 1
        due = watch.looks >= (_CHECKED_EVERY if checked else _UNCHECKED_EVERY)
        every = due or revision is None or revision != watch.revision
        for query in sorted(watch.queries):
            if every or query not in self._found:
                self._take(query, await self._ask("instances", self._api.instances, query))
        if every:
            watch.revision, watch.looks = revision, 0

    async def _ask(self, operation: str, call: Callable[[A], B], about: A) -> B:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._pool, call, about)
        except CloudMapError as error:
            self._counted.cloud_map_asked(operation, error.kind)
            raise
        self._counted.cloud_map_asked(operation, "ok")
        return found

    def _take(self, query: Query, found: tuple[Instance, ...]) -> None:
        if self._found.get(query) == found:
            return
        nodes = [node for node, wish in self._wishes.items() if wish.query == query]
        if not nodes:
            return  # nobody asks any more
        self._found[query] = found
        self._memory.keep(_name(query), msgspec.json.encode(found).decode())
        self._changed(nodes)


def _name(query: Query) -> str:
    return msgspec.json.encode(query).decode()
