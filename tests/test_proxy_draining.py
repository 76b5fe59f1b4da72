"""A node's instance leaves under load, and nobody notices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from envoys import until
from meshwright.lab.addresses import Block
from meshwright.lab.exchange import Request
from meshwright.lab.lab import Lab
from meshwright.lab.machines import on_loopback
from meshwright.lab.workload import Workload, call
from meshwright.model.identity import Key, Kind
from meshwright.model.state import Resource, State
from meshwright.plan import decoded
from proxying import proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.lab.exchange import Reply

pytestmark = pytest.mark.envoy

CALLERS = 4


def objects() -> Iterator[Resource]:
    """`web` calls `cart`, whose instances are found one by one; no route retries anything."""

    def one(kind: Kind, name: str, spec: dict[str, Any], parent: str = "") -> Resource:
        return decoded(Key("shop", kind, name, parent), spec, {})

    def listens(name: str) -> dict[str, Any]:
        found = {"dns": {"hostname": f"{name}.local", "responseType": "ENDPOINTS"}}
        return {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}], "serviceDiscovery": found}

    service = {"virtualService": {"virtualServiceName": "cart.local"}}
    to_cart = {"weightedTargets": [{"virtualNode": "cart", "weight": 1}]}
    yield one(Kind.MESH, "shop", {})
    yield one(Kind.VIRTUAL_NODE, "web", {**listens("web"), "backends": [service]})
    yield one(Kind.VIRTUAL_NODE, "cart", listens("cart"))
    yield one(Kind.VIRTUAL_ROUTER, "cart", {"listeners": listens("cart")["listeners"]})
    yield one(Kind.ROUTE, "all", {"httpRoute": {"match": {"prefix": "/"}, "action": to_cart}}, "cart")
    yield one(Kind.VIRTUAL_SERVICE, "cart.local", {"provider": {"virtualRouter": {"virtualRouterName": "cart"}}})


async def test_no_request_is_lost_when_an_instance_drains_under_load(tmp_path: Path) -> None:
    """It serves until those who ask DNS have heard; then it is gone, and the other one has all of it."""
    async with Lab(State(objects())) as lab:
        fleet = lab.fleet
        role = next(one for one in fleet.roles if one.key.name == "cart")
        stays, web = (next(one for one in fleet.instances if one.role.key.name == name) for name in ("cart", "web"))
        with Block() as block:
            place = block.place()
            workload = Workload(role, 2, on_loopback(place))
            await workload.start()
            arguments = ("--xds", str(lab.control.xds), "--resolver", str(fleet.resolver), "--drain-seconds", "8")
            placed = ("--application", place.application, "--ingress", place.ingress, "--egress", place.egress)
            key = {"AWS_SHARED_CREDENTIALS_FILE": str(lab.control.credentials)}
            async with proxy(tmp_path, role.key.path, *arguments, *placed, variables=key) as leaving:

                async def ready() -> bool:
                    return (await leaving.status())[0] == 200

                await until(ready, "the second instance serves")
                fleet.names.publish({"cart.local": [stays.machine.address, place.ingress]})
                over = asyncio.Event()
                callers = [asyncio.create_task(calling(web.machine.egress, over)) for _ in range(CALLERS)]
                await until(lambda: workload.received >= 100, "both instances share the load")
                leaving.process.terminate()

                async def draining() -> bool:
                    return (await leaving.status())[1].get("state") == "DRAINING"

                await until(draining, "draining")
                # What an orchestrator does with an instance that is not ready any more.
                fleet.names.publish({"cart.local": [stays.machine.address]})
                assert (await leaving.ended(60))[0] == 0
                survivor = stays.workload
                assert survivor is not None
                served = survivor.received
                await until(lambda: survivor.received > served + 100, "the rest is served")
                over.set()
                replies = [reply for one in await asyncio.gather(*callers) for reply in one]
            await workload.stop()
    assert [reply for reply in replies if not reply.ok] == []
    assert {reply.instance for reply in replies} == {"cart-1", "cart-2"}


async def calling(egress: str, over: asyncio.Event) -> list[Reply]:
    """Request after request through one proxy's egress, until it is over."""
    found = []
    while not over.is_set():
        found.append(await call("http", egress, 8080, Request(authority="cart.local", path="/")))
    return found
