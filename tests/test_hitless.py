"""Fifty changes under constant load while the control plane is killed: no request fails, nothing is resent.

The shop of `shop_load`, in which no retry hides anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest

from live import Disk
from meshwright.errors import UnreachableError
from meshwright.lab.lab import Lab
from meshwright.model import Key, Kind, State
from settings import PROVE
from shop_load import (
    EVERYBODY,
    Load,
    added,
    alone,
    changed,
    edited,
    held,
    listener,
    no_retries,
    sent,
    shop,
    spec_of,
    updates,
    weights,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(1800)]

ROUNDS = 15 if PROVE else 5
"""Each makes ten changes."""
DEADLY = ({1, 3, 6, 8},) if PROVE else ({3}, {7}, {1}, {8}, {5})
"""The changes of each round in turn at which the control plane is killed."""

NEW_ROUTE = Key("shop", Kind.ROUTE, "quotes", "payment")
NEW_NODE = Key("shop", Kind.VIRTUAL_NODE, "payment-v3")
NEW_SERVICE = Key("shop", Kind.VIRTUAL_SERVICE, "quotes.shop.internal")
V1, V2, ORDERS, WEB = (Key("shop", Kind.VIRTUAL_NODE, name) for name in ("payment-v1", "payment-v2", "orders", "web"))


def backend(spec: dict[str, Any]) -> None:
    """One more backend."""
    spec["backends"].append({"virtualService": {"virtualServiceName": NEW_SERVICE.name}})


def changes(base: State, number: int) -> tuple[State, ...]:
    """Ten states, each one change from the one before; the last is `base` with other weights."""
    shifted = edited(base, EVERYBODY, weights(50 + number, 50 - number))
    match = {"prefix": "/quotes", "headers": [{"name": "x-quote", "match": {"prefix": "q"}}]}
    action = {"weightedTargets": [{"virtualNode": "payment-v1", "weight": 1}]}
    routed = added(shifted, NEW_ROUTE, {"priority": 0, "httpRoute": {"match": match, "action": action}})
    provider = {"virtualRouter": {"virtualRouterName": "payment"}}
    called = edited(added(routed, NEW_SERVICE, {"provider": provider}), WEB, backend)
    # The new version is found where the second one runs: nothing has to be started for it.
    v3 = added(called, NEW_NODE, spec_of(base, V2))
    versioned = edited(v3, EVERYBODY, weights(20, 20, (NEW_NODE.name, 60)))
    check = {"protocol": "http", "path": "/", "healthyThreshold": 2, "unhealthyThreshold": 2}
    checked = edited(versioned, V1, listener(healthCheck={**check, "intervalMillis": 5000, "timeoutMillis": 2000}))
    limited = edited(checked, ORDERS, listener(connectionPool={"http": {"maxConnections": 500 + number}}))
    timed = edited(limited, WEB, listener(timeout={"http": {"perRequest": {"unit": "s", "value": 11 + number % 5}}}))
    unversioned = edited(timed, EVERYBODY, weights(30, 70)).drop(NEW_NODE)
    uncalled = edited(unversioned, WEB, lambda spec: spec["backends"].pop()).drop(NEW_SERVICE, NEW_ROUTE)
    return (
        shifted, routed, called, versioned, checked, limited, timed, unversioned, uncalled,
        edited(base, EVERYBODY, weights(90 - number, 10 + number)),
    )  # fmt: skip


class Killer:
    """Ends the control plane by SIGKILL while a release comes in, and proves what the next one sends."""

    def __init__(self, lab: Lab, load: Load) -> None:
        self._lab = lab
        self._load = load
        self.unheard = 0
        """Resources that Envoys lacked of changes that were durable, or written, when it was killed."""

    async def between(self, _state: State) -> None:
        """It is gone for a while; those that come back with what they have are sent not one resource."""
        before = {one.name: await updates(one) for one in self._lab.fleet.instances}
        await self._lab.control.kill()
        await self._load.more(20)
        await self._lab.control.start()
        await self._lab.connected()
        assert not await asyncio.to_thread(sent, self._lab)
        assert {one.name: await updates(one) for one in self._lab.fleet.instances} == before

    async def once_durable(self, state: State) -> None:
        """At the moment that the change is on disk: it is neither lost nor sent twice."""
        await self._during(state, lambda disk, revision, _: disk.revision > revision)

    async def while_writing(self, state: State) -> None:
        """At the moment that the log on disk begins to grow: the change may have come through or not."""
        await self._during(state, lambda _, __, grown: grown())

    async def twice(self, state: State) -> None:
        """Just after it answered, and once more while Envoys still wait to connect again."""
        number = await self._lab.apply(state)
        await self._lab.control.kill()
        before = await alone(self._lab)
        await self._lab.control.start()
        await self._lab.control.kill()
        await self._revive(before, number)

    async def _during(self, state: State, come: Callable[[Disk, int, Callable[[], bool]], bool]) -> None:
        applying = asyncio.create_task(self._lab.apply(state))
        await asyncio.to_thread(self._watch, come, applying)
        await self._lab.control.kill()
        before = await alone(self._lab)
        await self._revive(before, None, state, applying)

    def _watch(self, come: Callable[[Disk, int, Callable[[], bool]], bool], applying: asyncio.Task[int]) -> None:
        path = self._lab.control.folder / "meshwright.db"
        log = path.with_name(f"{path.name}-wal")
        size = _size(log)
        disk = Disk(path)
        revision = disk.revision
        try:
            while not (come(disk, revision, lambda: _size(log) != size) or applying.done()):
                pass
        finally:
            disk.close()

    async def _revive(
        self, before: Any, number: int | None, state: State | None = None, asked: asyncio.Task[int] | None = None
    ) -> None:
        """Start it; what was not answered is asked for again; then every resource that is new was sent once."""
        await self._lab.control.start()
        if asked is not None:
            # Its client asks what came of it until the server is back.
            with contextlib.suppress(UnreachableError):
                await asked
        if state is not None:
            number = await self._lab.apply(state)
        assert number is not None
        await self._lab.propagated(number)
        lacked: Counter[str] = changed(before, await held(self._lab))
        assert await asyncio.to_thread(sent, self._lab) == lacked
        self.unheard += lacked.total()


def _size(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


async def test_fifty_changes_while_the_control_plane_is_killed_fail_no_request_and_resend_nothing() -> None:
    """Weights, routes, backends, nodes; killed while idle, while it writes, once it has written, twice in a row."""
    base, load, made = shop(), Load(), 0
    async with Lab(base, stack="shop", instances={"payment-v1": 2}) as lab:
        killer = Killer(lab, load)
        ways = itertools.cycle((killer.once_durable, killer.between, killer.while_writing, killer.twice))
        async with load.on(lab):
            for number in range(ROUNDS):
                for step, state in enumerate(changes(base, number % 40)):
                    load.during = f"change {step} of round {number}"
                    if step in DEADLY[number % len(DEADLY)]:
                        await next(ways)(state)
                    if step == 7:
                        await no_retries(lab)  # the counters of a version go with it
                    await lab.propagated(await lab.apply(state))
                    made += 1
        await no_retries(lab)
    assert made == ROUNDS * 10 >= 50
    assert load.failed == []
    assert load.sent > made
    assert killer.unheard > 0, "none was killed before everybody had heard"
