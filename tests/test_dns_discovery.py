"""Discovery by DNS: real Envoys follow a real name server, in both response types and all IP preferences."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from envoys import until
from registering import CHECK, CLUSTER_NAME, Application, Place, client, resolving, serving, shop, somewhere

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.envoy]

NAME = "pay.shop.local"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Addresses that no other test has."""
    with somewhere(tmp_path) as found:
        yield found


async def _answers(place: Place, *words: str) -> bool:
    """Whether each of these answers, and nobody else."""
    return {await place.ask() for _ in range(8)} == {(200, word) for word in words}


async def test_instances_that_come_and_go_in_the_answer_are_followed(tmp_path: Path, place: Place) -> None:
    """With ENDPOINTS all of an answer are used at once, what left it not even while it passes its checks.

    With LOADBALANCER one address is used after the other.
    """
    one, two, three = (Application(name) for name in ("one", "two", "three"))
    hosts = {app.name: place.of(number).application for number, app in enumerate((one, two, three), 1)}
    every = {"dns": {"hostname": NAME, "responseType": "ENDPOINTS"}}
    with serving(tmp_path / "data", discovery=every, healthCheck=CHECK) as server:
        async with contextlib.AsyncExitStack() as stack:
            for app in (one, two, three):
                await stack.enter_async_context(app.running(hosts[app.name]))
            names, resolver = await stack.enter_async_context(resolving({NAME: [hosts["one"], hosts["two"]]}))
            caller = await stack.enter_async_context(place.caller(server, resolver=resolver))
            await until(lambda: _answers(place, "one", "two"))
            names.publish({NAME: [hosts["two"], hosts["three"]]})
            await until(lambda: _answers(place, "two", "three"))
            assert set(names.asked) == {NAME}  # its dot keeps search domains from being tried
            await asyncio.to_thread(client(server).apply, "shop", "shop", shop({"dns": {"hostname": NAME}}))
            names.publish({NAME: [hosts["one"]]})
            await until(lambda: _answers(place, "one"))
            types = await caller.ask("/config_dump?resource=dynamic_active_clusters&mask=cluster.type,cluster.name")
            assert f'"name": "{CLUSTER_NAME}"' in types
            assert '"LOGICAL_DNS"' in types


@pytest.mark.parametrize(
    ("preference", "word"),
    [
        (None, "six"),
        ("IPv6_PREFERRED", "six"),
        ("IPv4_PREFERRED", "four"),
        ("IPv4_ONLY", "four"),
        ("IPv6_ONLY", "six"),
    ],
)
async def test_a_name_with_addresses_of_both_families_is_reached_as_preferred(
    tmp_path: Path, place: Place, preference: str | None, word: str
) -> None:
    """As App Mesh's Envoys did: without a preference IPv6 comes first."""
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    four, six = Application("four"), Application("six")
    wanted = {"ipPreference": preference} if preference else {}
    with socket.socket(socket.AF_INET6) as free:
        free.bind(("::1", 0))
        place.port = free.getsockname()[1]
    mapping = {"port": place.port, "protocol": "http"}
    discovery = {"dns": {"hostname": NAME, **wanted}}
    with serving(tmp_path / "data", discovery=discovery, portMapping=mapping) as server:
        async with (
            resolving({NAME: [place.of(1).application, "::1"]}) as (_, resolver),
            four.running(place.of(1).application, place.port),
            six.running("::1", place.port),
            place.caller(server, resolver=resolver),
        ):
            await until(lambda: _answers(place, word))


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as found:
            found.bind(("::1", 0))
    except OSError:
        return False
    return True
