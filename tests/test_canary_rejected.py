"""A step that a proxy rejects is a step that failed, whoever looks: the canary goes back at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from live import live
from meshwright.model.identity import Key, Kind
from meshwright.release import ApplyRequest, CanaryRequest, CanarySettings, Item
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE
from registering import CALLER, CLOUD_MAP, PAY, PORT, SERVICE, client, proxy, taken
from test_verify import reject

if TYPE_CHECKING:
    from pathlib import Path

WAITS = CanarySettings(weights=(10, 20))
NEWER = Key("shop", Kind.VIRTUAL_NODE, "newer")


def shop(**weights: int) -> tuple[Item, ...]:
    """A caller, and a service that two nodes may answer."""
    listeners = [{"portMapping": {"port": PORT, "protocol": "http"}}]
    node = {"listeners": listeners, "serviceDiscovery": CLOUD_MAP}
    targets = [{"virtualNode": name, "weight": weight} for name, weight in weights.items()]
    way = {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}}
    found: tuple[tuple[Key, dict[str, Any]], ...] = (
        (Key.of_mesh("shop"), {}),
        (CALLER, {"backends": [{"virtualService": {"virtualServiceName": SERVICE.name}}]}),
        (PAY, node),
        (NEWER, node),
        (Key("shop", Kind.VIRTUAL_ROUTER, "pay"), {"listeners": listeners}),
        (Key("shop", Kind.ROUTE, "all", "pay"), way),
        (SERVICE, {"provider": {"virtualRouter": {"virtualRouterName": "pay"}}}),
    )
    return tuple(Item(key=key, spec=spec) for key, spec in found)


async def test_a_step_that_a_proxy_rejects_goes_back_at_once(tmp_path: Path) -> None:
    """Nothing is waited for, however long a step would be looked at."""
    with live(tmp_path / "data") as server:
        api = client(server)
        await asyncio.to_thread(api.apply, "shop", "shop", ApplyRequest(resources=shop(pay=1)))
        async with proxy(server, CALLER) as stream:
            for kind, names in ((CLUSTER, ()), (LISTENER, ()), (ROUTE, (f"rds_egress_http_{PORT}",))):
                await taken(stream, kind, *names)
            rejecting = asyncio.create_task(reject(stream))
            request = ApplyRequest(resources=shop(newer=1), canary=WAITS)
            first = (await asyncio.to_thread(api.apply, "shop", "shop", request))["release"]
            await asyncio.to_thread(api.propagation, "shop", "shop", first["number"], 30)
            found = await asyncio.to_thread(api.canary, "shop", "shop", first["number"], CanaryRequest())
            rejecting.cancel()
        assert (found["state"], found["release"]["restores"]) == ("returned", 1)
        told = f"the canary shop#2 failed at 10 %: {CALLER.path}@one rejected shop#2"
        assert found["release"]["reason"] == told
