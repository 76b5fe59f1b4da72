"""Zone policies in real Envoys: a caller's own zone first, the others when too little of it is healthy."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from data_plane import DataPlane, data_plane
from envoys import fetch, until, upstream
from meshwright.graph import resolve
from meshwright.model import Kind, Resource, State
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Endpoint, Redirect, Traits
from strategies import Wire, resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from envoys import Envoy

pytestmark = pytest.mark.envoy

PORT = 8080
WEB, API = (resource(Kind.VIRTUAL_NODE, name, {}).key for name in ("web", "api"))
NEAR, FAR = "us-east-1a", "us-east-1b"
WHERE = {"a1": NEAR, "a2": NEAR, "b1": FAR, "b2": FAR}
"""The zones of the instances of `api`."""


def shop(*more: Resource) -> list[Resource]:
    """A node `web` that calls the service of node `api`, whose instances Cloud Map knows."""
    listeners = [{"portMapping": {"port": PORT, "protocol": "http"}}]
    found = {"awsCloudMap": {"namespaceName": "m", "serviceName": "api"}}
    backends = [{"virtualService": {"virtualServiceName": "api.local"}}]
    return [
        resource(Kind.MESH, "m", {}),
        resource(Kind.VIRTUAL_NODE, "web", {"backends": backends}),
        resource(Kind.VIRTUAL_NODE, "api", {"listeners": listeners, "serviceDiscovery": found}),
        resource(Kind.VIRTUAL_SERVICE, "api.local", {"provider": {"virtualNode": {"virtualNodeName": "api"}}}),
        *more,
    ]


def policy(name: str = "near", **members: Wire | bool | int) -> Resource:
    """A zone policy, for the whole mesh unless it has a target."""
    return resource(Kind.ZONE_POLICY, name, {"preferSameZone": True, **members})


def instances(plane: DataPlane, *sick: str) -> tuple[Endpoint, ...]:
    """All four instances, each an application of its own; Cloud Map calls the `sick` unhealthy."""
    return tuple(
        Endpoint(address=plane.place(name).application, zone=zone, healthy=name not in sick)
        for name, zone in WHERE.items()
    )


@contextlib.asynccontextmanager
async def applications(plane: DataPlane, *names: str) -> AsyncIterator[None]:
    """Run the applications of these instances, each of which answers with its name."""
    async with contextlib.AsyncExitStack() as running:
        for name in names:
            await running.enter_async_context(upstream(name, plane.place(name).application, PORT))
        yield


async def asked(plane: DataPlane, times: int) -> Counter[str]:
    """Which instance answered how often when `web` called the service; by status where none did."""
    answers = [await fetch(plane.place("web").egress, PORT, "/", "api.local") for _ in range(times)]
    return Counter(body if status == 200 else str(status) for status, body in answers)


async def moved(plane: DataPlane, web: Envoy, endpoints: tuple[Endpoint, ...]) -> None:
    """The instances are these from now on, and `web` knows."""
    updates = f"cluster.cds_egress_m_api_http_{PORT}.update_success"
    before = (await web.stats(updates))[updates]
    plane.endpoints[API] = endpoints
    plane.control.refresh([API])

    async def known() -> bool:
        return (await web.stats(updates))[updates] > before

    await until(known, "new endpoints are taken")


async def test_all_requests_stay_in_the_zone_and_move_without_an_error_when_it_dies(tmp_path: Path) -> None:
    """Constant load while the zone's applications end, without health checks: a retry looks elsewhere at once."""
    async with data_plane(tmp_path) as plane:
        plane.endpoints[API] = instances(plane)
        await plane.publish(*shop(policy(target={"virtualServiceName": "api.local"})))
        await plane.proxy(WEB, zone=NEAR)
        seen: Counter[str] = Counter()

        async def load() -> None:
            while True:
                seen.update(await asked(plane, 1))

        async with applications(plane, "b1", "b2"), asyncio.TaskGroup() as clients:
            async with applications(plane, "a1", "a2"):
                assert await asked(plane, 40) == {"a1": 20, "a2": 20}
                running = [clients.create_task(load()) for _ in range(4)]
                await until(lambda: sum(seen.values()) >= 200, "requests under load")
                assert set(seen) == {"a1", "a2"}
            await until(lambda: seen["b1"] + seen["b2"] >= 200, "requests go to the other zone")
            async with applications(plane, "a1", "a2"):
                back = seen["a1"] + seen["a2"] + 100
                await until(lambda: seen["a1"] + seen["a2"] >= back, "requests come back")
                for one in running:
                    one.cancel()
        assert set(seen) == set(WHERE)


async def test_requests_spill_over_when_too_few_of_the_zone_are_healthy(tmp_path: Path) -> None:
    """Half of the zone is sick: nothing leaves it where half is enough, some does where more is wanted."""
    async with data_plane(tmp_path) as plane:
        plane.endpoints[API] = instances(plane, "a1")
        await plane.publish(*shop(policy(minHealthyPercentage=50)))
        web = await plane.proxy(WEB, zone=NEAR)
        async with applications(plane, *WHERE):
            assert await asked(plane, 60) == {"a2": 60}
            await plane.publish(*shop(policy(minHealthyPercentage=100)))
            shares = await asked(plane, 300)
            assert set(shares) == {"a2", "b1", "b2"}
            assert 90 < shares["a2"] < 210  # half of 300, seven standard deviations around it
            await moved(plane, web, instances(plane, "a1", "a2"))
            assert await asked(plane, 60) == {"b1": 30, "b2": 30}


async def test_the_policy_of_a_node_overrules_that_of_the_mesh(tmp_path: Path) -> None:
    """The most specific holds; a caller elsewhere prefers its own zone, one that has none of it takes all."""
    async with data_plane(tmp_path) as plane:
        plane.endpoints[API] = instances(plane)
        await plane.publish(*shop(policy()))
        web = await plane.proxy(WEB, zone=FAR)
        everywhere = dict.fromkeys(WHERE, 15)
        async with applications(plane, *WHERE):
            assert await asked(plane, 60) == {"b1": 30, "b2": 30}
            own = policy("all", target={"virtualNodeName": "api"}, preferSameZone=False)
            await plane.publish(*shop(policy(), own))
            assert await asked(plane, 60) == everywhere
            await plane.publish(*shop(policy()))
            await moved(plane, web, instances(plane)[:2])
            assert await asked(plane, 60) == {"a1": 30, "a2": 30}


def test_who_has_no_zone_is_told() -> None:
    """A proxy that does not say where it is, and instances that DNS finds, are reported, and served as before."""
    state = State(shop(policy()))
    (silent,) = build(resolve(state), WEB, {API: ()}, Redirect()).unserved
    assert silent.subject.path == "mesh/m/meshwright/zonePolicy/near"
    assert "this proxy does not say in which zone it is" in silent.reason
    by_dns = {
        "listeners": [{"portMapping": {"port": PORT, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": "api.nodes"}},
    }
    state = state.put(resource(Kind.VIRTUAL_NODE, "api", by_dns))
    (lost,) = build(resolve(state), WEB, {}, Redirect(), Traits(zone=NEAR)).unserved
    assert lost.reason == "virtual node 'api' is found by DNS, where instances have no zone"
