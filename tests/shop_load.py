"""The shop under constant load: customers, edits of its definitions, and what its Envoys hold.

The shop runs without a single retry policy of its own, so that a change that breaks something for a moment shows: a
customer, or a workload that asks its backends for one, sees a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from envoys import until
from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.lab.exchange import Request
from meshwright.model import SPECS, Key, Kind, Resource, State, decode
from meshwright.model.decoding import encode
from processes import DEADLINE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from meshwright.lab.exchange import Reply
    from meshwright.lab.instance import Instance
    from meshwright.lab.lab import Lab

    Edit: TypeAlias = Callable[[dict[str, Any]], None]
    Versions: TypeAlias = dict[tuple[str, str], str]

SHOP = Path(__file__).parent.parent / "examples" / "shop"
CUSTOMERS = 4
PAUSE = 0.01
"""Seconds that a customer rests: the load is constant, and leaves the machine able to do something else."""
HOME = Request(authority="shop.example", path="/home")

EVERYBODY = Key("shop", Kind.ROUTE, "everybody", "payment")


def spec_of(state: State, key: Key) -> dict[str, Any]:
    """The spec of an object in wire form, to be changed at will."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(encode(state[key].spec)))
    return found


def edited(state: State, key: Key, edit: Edit) -> State:
    """`state` with the spec of `key` changed in wire form."""
    spec = spec_of(state, key)
    edit(spec)
    return state.put(msgspec.structs.replace(state[key], spec=decode(SPECS[key.kind], spec)))


def added(state: State, key: Key, spec: dict[str, Any]) -> State:
    """`state` with another object."""
    return state.put(Resource(key=key, spec=decode(SPECS[key.kind], spec)))


def shop() -> State:
    """The shop's definitions, in which nothing is tried twice, and every route has the same long patience."""

    def never(spec: dict[str, Any]) -> None:
        for member in spec.keys() - {"priority", "tcpRoute"}:
            retry = {"maxRetries": 0, "perRetryTimeout": {"unit": "s", "value": 300}}
            events = (
                {"grpcRetryEvents": ["cancelled"]} if member == "grpcRoute" else {"httpRetryEvents": ["client-error"]}
            )
            spec[member]["retryPolicy"] = {**retry, **events}
            # A machine that is kept busy by others may take its time: what is slow is not broken.
            spec[member]["timeout"] = {"perRequest": {"unit": "s", "value": 300}}

    project = load_project(SHOP / "meshwright.yaml")
    state = load(project.definitions, project.load_settings()).state
    for one in state.of(Kind.ROUTE):
        state = edited(state, one.key, never)
    return state


def weights(first: int, second: int, *more: tuple[str, int]) -> Edit:
    """The shares of the payment versions."""
    targets = [("payment-v1", first), ("payment-v2", second), *more]

    def edit(spec: dict[str, Any]) -> None:
        spec["httpRoute"]["action"]["weightedTargets"] = [
            {"virtualNode": node, "weight": weight} for node, weight in targets
        ]

    return edit


def listener(**members: Any) -> Edit:
    """Members of a node's only listener."""

    def edit(spec: dict[str, Any]) -> None:
        spec["listeners"][0].update(members)

    return edit


class Load:
    """Customers who come all the time: how many came, and what went wrong for whom."""

    def __init__(self) -> None:
        self.sent = 0
        self.failed: list[object] = []
        self.during = ""
        """What happens at the moment, told with every failure."""
        self._served = asyncio.Event()

    async def more(self, count: int) -> None:
        """Return once `count` more customers were served."""
        async with asyncio.timeout(60):
            wanted = self.sent + count
            while self.sent < wanted:
                self._served.clear()
                await self._served.wait()

    def note(self, reply: Reply) -> None:
        """One more was served."""
        self.sent += 1
        self._served.set()
        if not reply.ok:
            wrong = [(one.service, one.node, one.status, one.fault) for one in reply.walk() if one.status != 200]
            self.failed.append((self.during, wrong))

    @contextlib.asynccontextmanager
    async def on(self, lab: Lab) -> AsyncIterator[None]:
        """Keep customers of the home page coming while the block runs."""
        async with self.of(lambda: lab.request(HOME), CUSTOMERS):
            yield

    @contextlib.asynccontextmanager
    async def of(self, ask: Callable[[], Awaitable[Reply]], customers: int = 1) -> AsyncIterator[None]:
        """Keep so many customers asking this while the block runs."""
        stop = asyncio.Event()

        async def customer() -> None:
            while not stop.is_set():
                self.note(await ask())
                await asyncio.sleep(PAUSE)

        tasks = [asyncio.create_task(customer()) for _ in range(customers)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)


async def _asked(instance: Instance, path: str) -> Any:
    text = await instance.look(path)
    assert text is not None, f"{instance.name} does not answer"
    return json.loads(text)


async def _stats(instance: Instance, expression: str) -> dict[str, int]:
    found = await _asked(instance, f"/stats?format=json&filter={expression}")
    return {one["name"]: one["value"] for one in found["stats"] if "name" in one}


async def updates(instance: Instance) -> dict[str, int]:
    """How many updates an Envoy has taken over xDS since it started; DNS counts its own under `cluster.`."""
    found = await _stats(instance, "update_success$")
    return {name: value for name, value in found.items() if not name.startswith("cluster.")}


async def no_retries(lab: Lab) -> None:
    """No Envoy has tried anything twice, so no default policy hides a failure.

    But for connections that took more than their second, its own or those of whom it called, which answered with 503
    then: that is a machine which others keep busy.
    """
    again: dict[str, int] = {}
    slow: dict[str, int] = {}
    for one in lab.fleet.instances:
        found = await _stats(one, r"^cluster\..*(upstream_rq_retry|upstream_cx_connect_timeout)$")
        told = {f"{one.name} {name}": value for name, value in found.items() if value}
        slow |= {name: value for name, value in told.items() if name.endswith("_timeout")}
        again |= {name: value for name, value in told.items() if name not in slow}
    assert sum(again.values()) <= sum(slow.values()), f"tried again: {again}; too slow: {slow}"


async def versions(instance: Instance) -> Versions:
    """What an Envoy holds, by type and name: the version that it took, warm or not yet."""
    found: Versions = {}
    for config in (await _asked(instance, "/config_dump"))["configs"]:
        for one in (*config.get("dynamic_active_clusters", ()), *config.get("dynamic_warming_clusters", ())):
            found["cluster", one["cluster"]["name"]] = one["version_info"]
        for one in config.get("dynamic_listeners", ()):
            for state in ("active_state", "warming_state"):
                if state in one:
                    found["listener", one["name"]] = one[state]["version_info"]
        for one in config.get("dynamic_route_configs", ()):
            found["route", one["route_config"]["name"]] = one["version_info"]
    return found


async def held(lab: Lab) -> dict[str, Versions]:
    """The same of every Envoy of the lab."""
    return {one.name: await versions(one) for one in lab.fleet.instances}


def changed(before: dict[str, Versions], after: dict[str, Versions]) -> Counter[str]:
    """How many resources Envoys hold that they did not hold in that version, by type, over all of them."""
    return Counter(
        kind
        for name, mine in after.items()
        for (kind, resource), version in mine.items()
        if before[name].get((kind, resource)) != version
    )


async def alone(lab: Lab) -> dict[str, Versions]:
    """What the Envoys hold once each has noticed that the control plane is gone: nothing is on its way any more."""
    for one in lab.fleet.instances:
        await until(lambda: _disconnected(one), f"{one.name} notices")  # noqa: B023 - awaited here
    return await held(lab)


async def _disconnected(instance: Instance) -> bool:
    return not any((await _stats(instance, "^control_plane.connected_state$")).values())


def sent(lab: Lab) -> Counter[str]:
    """How many resources the control plane has sent since it started, by type: its own word."""
    with urllib.request.urlopen(f"{lab.control.url}/metrics", timeout=DEADLINE) as response:  # noqa: S310 - our own server
        text = response.read().decode()
    found = re.findall(r'^meshwright_xds_resources_sent_total\{type="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return Counter({kind: int(float(number)) for kind, number in found if float(number)})
