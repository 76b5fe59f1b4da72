"""A mesh that grows under a running Envoy: what is defined later reaches it then, without another change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from data_plane import PORT, data_plane, provided, routed, to
from envoys import fetch, until
from meshwright.model import Key, Kind
from one_envoy import answering
from strategies import MESH, resource

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.envoy

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")


async def answers(egress: str, status: int) -> bool:
    """Whether calls of `cart.local` are answered so."""
    return (await fetch(egress, PORT, "/", "cart.local"))[0] == status


async def test_a_route_that_is_added_to_an_empty_router_reaches_envoys_that_run(tmp_path: Path) -> None:
    """A service without a provider, then without routes, gets 404; with one, answers; without it again, 404."""
    async with data_plane(tmp_path) as plane:
        objects = [plane.node("web", "cart.local", "other.local"), plane.node("cart"), plane.node("other")]
        other = provided("other.local", "other")
        service, router, route = routed("cart.local", {"match": {"prefix": "/"}, "action": to(cart=1)})
        unprovided = resource(Kind.VIRTUAL_SERVICE, "cart.local", {})
        cart, web = plane.place("cart").ingress, plane.place("web").egress
        await plane.publish(*objects, other, unprovided)
        await plane.proxy(WEB)
        async with answering(cart, PORT, "cart"), answering(plane.place("other").ingress, PORT, "other"):
            for written, status in (
                ((unprovided,), 404),
                ((service, router), 404),
                ((service, router, route), 200),
                ((service, router), 404),
                ((service, router, route), 200),
            ):
                # Returns when the Envoy has taken it; its worker follows at once, but not before.
                await plane.publish(*objects, other, *written)
                await until(lambda status=status: answers(web, status))
                assert await fetch(web, PORT, "/", "other.local") == (200, "other")


async def test_a_backend_that_comes_to_be_after_its_caller_is_called_from_then_on(tmp_path: Path) -> None:
    """A node may name a service that is not there yet; with it come its clusters and a listener for its port."""
    async with data_plane(tmp_path) as plane:
        web, cart = plane.node("web", "cart.local"), plane.node("cart")
        await plane.publish(web)
        await plane.proxy(WEB)
        async with answering(plane.place("cart").ingress, PORT, "cart"):
            assert await fetch(plane.place("web").egress, PORT, "/", "cart.local") == (0, "")
            await plane.publish(web, cart, provided("cart.local", "cart"))
            await until(lambda: answers(plane.place("web").egress, 200))
