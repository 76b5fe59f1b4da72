"""The whole system when the control plane is killed in the middle of writes: no request fails, no release is lost."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.errors import UnreachableError
from meshwright.lab.exchange import Request
from meshwright.lab.lab import Lab
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.store import sqlite
from settings import PROVE

if TYPE_CHECKING:
    from meshwright.model.state import State

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(900)]

SHOP = Path(__file__).parent.parent / "examples" / "shop"
ROUTE = Key("shop", Kind.ROUTE, "everybody", "payment")
APPLIES = 200 if PROVE else 40
KILLS = 12 if PROVE else 3


def weighted(state: State, number: int) -> State:
    """The shop with weights that tell which apply it was: `number` of 10,000 combinations."""
    resource = state[ROUTE]
    assert isinstance(resource.spec, RouteSpec)
    assert resource.spec.http_route is not None
    route = resource.spec.http_route
    weights = (number // 100 + 1, number % 100 + 1)
    targets = tuple(
        msgspec.structs.replace(one, weight=weight)
        for one, weight in zip(route.action.weighted_targets, weights, strict=True)
    )
    changed = msgspec.structs.replace(route, action=msgspec.structs.replace(route.action, weighted_targets=targets))
    return state.put(
        msgspec.structs.replace(resource, spec=msgspec.structs.replace(resource.spec, http_route=changed))
    )


async def customers(lab: Lab, stop: asyncio.Event) -> tuple[int, list[object]]:
    """Send requests without a pause until `stop`: how many, and those that did not come home."""
    sent = 0
    failed: list[object] = []
    while not stop.is_set():
        reply = await lab.request(Request(authority="shop.example", path="/home"))
        sent += 1
        if not reply.ok:
            failed.append([(one.node, one.status) for one in reply.walk() if one.status != 200])
    return sent, failed


async def apply_and_kill(lab: Lab, state: State, chance: random.Random) -> tuple[dict[int, int], int]:
    """Apply `APPLIES` releases while the server is killed `KILLS` times.

    What was acknowledged, number by release; and how many kills came before their apply was answered. Where too few
    did, because the machine was busy when the usual time of an apply was taken, more are tried.
    """
    acknowledged: dict[int, int] = {}
    interrupted, usual = 0, 0.02
    deadly = set(chance.sample(range(5, APPLIES), KILLS))
    for number in range(2 * APPLIES):
        if number >= APPLIES:
            if interrupted >= KILLS // 3:
                break
            deadly.add(number)
        began = time.monotonic()
        applying = asyncio.create_task(lab.apply(weighted(state, number)))
        if number in deadly:
            await asyncio.sleep(usual * chance.uniform(0.1, 0.9))
            interrupted += not applying.done()
            await lab.control.kill()
            await lab.control.start()
        try:
            # A client whose request was taken asks what came of it until the server is back.
            acknowledged[await applying] = number
        except UnreachableError:
            assert number in deadly, "the server answers unless it was killed"
        if number not in deadly:
            usual = time.monotonic() - began
    return acknowledged, interrupted


async def test_a_server_killed_in_the_middle_of_applies_loses_nothing_acknowledged() -> None:
    """Every acknowledged release is there and whole, the audit log holds, and the Envoys served every request."""
    project = load_project(SHOP / "meshwright.yaml")
    state = load(project.definitions, project.load_settings()).state
    async with Lab(state, stack="shop", instances={"payment-v1": 2}) as lab:
        stop = asyncio.Event()
        traffic = asyncio.create_task(customers(lab, stop))
        acknowledged, interrupted = await apply_and_kill(lab, state, random.Random(20190125))  # noqa: S311 - a repeatable schedule
        newest = max(acknowledged)
        await lab.propagated(newest)
        stop.set()
        sent, failed = await traffic
        await lab.control.stop()
        store = sqlite.connect(lab.control.folder / "meshwright.db", create=False)
        numbers = [one.number for one in store.releases("shop", "shop", limit=10_000)]
        releases = {number: one for number in numbers if (one := store.release("shop", "shop", number)) is not None}
        verified = store.verify()
        head = store.head().state
        store.close()
    assert failed == []
    assert interrupted >= KILLS // 3, "the kills came in the middle of applies"
    assert sent > APPLIES // 4
    assert verified.faults == ()
    assert sorted(releases) == list(range(1, len(releases) + 1)), "numbers without a gap"
    for release, number in acknowledged.items():
        content = {item.key: item.spec for item in releases[release].content}
        assert content == {
            one.key: msgspec.json.decode(msgspec.json.encode(one.spec)) for one in weighted(state, number)
        }
    last = releases[max(releases)]
    assert {item.key: item.spec for item in last.content} == {
        one.key: msgspec.json.decode(msgspec.json.encode(one.spec)) for one in head
    }
