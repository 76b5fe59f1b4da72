"""Endpoints that proxies register themselves: real Envoys, a real control plane, no AWS."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from envoys import Envoy, until
from live import Disk, Live, live
from meshwright.control.easing import LONGEST_SECONDS
from meshwright.discovery import Memory, Registrations, Registree
from meshwright.model.identity import Key, Kind
from meshwright.proxy.farewell import say_farewell
from meshwright.release import ApplyRequest, Item
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshwright.store import sqlite
from processes import DEADLINE, free_port
from registering import (
    CHECK,
    CLUSTER_NAME,
    PAY,
    PORT,
    Application,
    Place,
    addresses,
    calling,
    client,
    heard,
    listening,
    proxy,
    resolving,
    rows,
    serving,
    shop,
    somewhere,
    states,
    taken,
)
from settings import PROVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from ads_client import AdsClient


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Addresses that no other test has."""
    with somewhere(tmp_path) as found:
        yield found


def answered(place: Place, word: str, status: int = 200) -> Callable[[], Awaitable[bool]]:
    """Whether the caller is answered by `word`."""

    async def asked() -> bool:
        return await place.ask() == (status, word)

    return asked


async def hosts(caller: Envoy) -> set[str]:
    """The addresses that the caller's Envoy knows of the service."""
    lines = (await caller.ask("/clusters")).splitlines()
    return {line.split("::")[1].rpartition(":")[0] for line in lines if line.startswith(f"{CLUSTER_NAME}::127.")}


@pytest.mark.envoy
async def test_a_node_is_found_by_what_its_proxies_register(tmp_path: Path, place: Place) -> None:
    """Without AWS: instances come, say farewell and are gone at once; with nobody there, callers get 503."""
    first, second = Application("first"), Application("second")
    with serving(tmp_path / "data", healthCheck=CHECK) as server:
        async with (
            first.running(place.of(1).application),
            second.running(place.of(2).application),
            place.caller(server) as caller,
        ):
            await until(lambda: caller.ask("/clusters"))
            async with place.instance(server, 1) as one, place.instance(server, 2):
                await until(answered(place, "first"))
                await until(answered(place, "second"))
                await until(states(server, "healthy", "healthy"))
                assert {source for _, source, _ in rows(server)} == {"registration"}
                assert await asyncio.to_thread(say_farewell, one.bootstrap)
                assert [address for address, _, _ in rows(server)] == [place.of(2).ingress]
                await until(lambda: _only(caller, place.of(2).ingress))
                assert {await place.ask() for _ in range(20)} == {(200, "second")}


@pytest.mark.envoy
async def test_an_application_that_is_not_well_gets_nothing_while_others_are(tmp_path: Path, place: Place) -> None:
    """Its own Envoy checks it by the listener's policy, and the control plane is told."""
    well, ill = Application("well"), Application("ill")
    ill.well = False
    with serving(tmp_path / "data", healthCheck=CHECK) as server:
        async with (
            well.running(place.of(1).application),
            ill.running(place.of(2).application),
            place.caller(server) as caller,
            place.instance(server, 1),
            place.instance(server, 2),
        ):
            await until(states(server, "healthy", "unhealthy"))
            await until(lambda: _only(caller, place.of(1).ingress))
            assert {await place.ask() for _ in range(20)} == {(200, "well")}
            assert ill.served == 0
            ill.well = True
            await until(states(server, "healthy", "healthy"))
            await until(answered(place, "ill"))


async def _only(caller: Envoy, *addresses: str) -> bool:
    return await hosts(caller) == set(addresses)


def instance(server: Live, name: str, address: str = "10.0.0.1") -> AdsClient:
    """A stream of an instance that registers an address."""
    return proxy(server, PAY, name, endpoint={"address": address})


async def test_endpoints_that_come_and_go_cost_nothing_but_endpoints(tmp_path: Path) -> None:
    """No clusters, listeners or routes are sent again, and no more bytes than the endpoints': counted by type."""
    with serving(tmp_path / "data", "--registration-grace", "0") as server:
        async with calling(server) as caller:
            await taken(caller, LISTENER)
            await taken(caller, ROUTE, f"rds_egress_http_{PORT}")
            cost: dict[str, int] = {}
            for number in range(10):
                async with instance(server, f"i{number}", f"10.0.0.{number}") as one:
                    await listening(one)
                    response = await caller.hear()
                    cost[response.type_url] = cost.get(response.type_url, 0) + response.ByteSize()
                    assert addresses(response) == {f"10.0.0.{number}"}
                    await caller.ack(response)
                assert addresses(await heard(caller, ENDPOINT)) == set()
            assert await caller.silence()
            assert set(cost) == {ENDPOINT}
            assert cost[ENDPOINT] < 10 * 400


async def test_a_storm_of_registrations_is_told_in_few_responses(tmp_path: Path) -> None:
    """Hundreds come one after the other: how often their caller hears of it depends on how long that takes.

    Who came last is told soon after all the same.
    """
    count = 1000 if PROVE else 150
    expected = {f"10.0.{number // 250}.{number % 250 + 1}" for number in range(count)}
    loop = asyncio.get_running_loop()
    with serving(tmp_path / "data", "--xds-envoys-per-node", "2000") as server:
        async with calling(server) as caller, contextlib.AsyncExitStack() as connected:
            began, responses = loop.time(), 0

            async def come() -> None:
                for number, address in enumerate(sorted(expected)):
                    one = await connected.enter_async_context(instance(server, f"i{number}", address))
                    await listening(one)

            coming = asyncio.create_task(come())
            known: set[str] = set()
            while known != expected:
                known = addresses(await heard(caller, ENDPOINT, 60))
                responses += 1
            await coming
            assert responses <= 8 + (loop.time() - began) / LONGEST_SECONDS


async def test_a_stream_that_is_lost_keeps_its_endpoint_for_the_grace_period(tmp_path: Path) -> None:
    """It goes afterwards, unless its proxy is back; who comes back changes nothing for anybody."""
    with serving(tmp_path / "data", "--registration-grace", "2") as server:
        async with calling(server) as caller:
            async with instance(server, "a") as first:
                await listening(first)
                assert addresses(await heard(caller, ENDPOINT)) == {"10.0.0.1"}
            await until(states(server, "lost"))
            async with instance(server, "a") as again:
                await again.say(CLUSTER)
                await until(states(server, "healthy"))
            assert addresses(await heard(caller, ENDPOINT)) == set()  # nothing was said in between
            assert rows(server) == []


async def test_when_all_are_cut_off_at_once_the_first_one_back_is_told_of_all_the_others(tmp_path: Path) -> None:
    """It was the control plane that was away: the grace period begins when somebody is back, and then it ends."""
    with serving(tmp_path / "data", "--registration-grace", "1") as server:
        async with calling(server) as caller, instance(server, "a") as first:
            await listening(first)
            assert addresses(await heard(caller, ENDPOINT)) == {"10.0.0.1"}
            caller.call.cancel()
            await until(lambda: asyncio.to_thread(connected, server, 1))
        await until(lambda: asyncio.to_thread(connected, server, 0))
        await asyncio.sleep(1.5)  # nothing is to happen meanwhile
        async with calling(server, "10.0.0.1") as caller:
            assert addresses(await heard(caller, ENDPOINT)) == set()


def connected(server: Live, count: int) -> bool:
    """Whether so many proxies are connected."""
    return len(client(server).status()["proxies"]) == count


async def test_hundreds_that_are_lost_at_once_are_looked_at_together(tmp_path: Path) -> None:
    """What one loss costs does not grow with how many others are away."""
    store = sqlite.connect(tmp_path / "meshwright.db")
    looks = itertools.count()
    known = Registrations(
        grace=60,
        most=1000,
        now=lambda: 1_000,
        changed=lambda _: None,
        memory=Memory(store, "registration"),
        connected=lambda: next(looks) + 1,
    )
    running = asyncio.create_task(known.run())
    held = [known.join(Registree(id=f"p{one}", node=PAY, address=f"10.0.0.{one}")) for one in range(200)]
    for one in held:
        one.lose()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert next(looks) <= 3
    assert {row.state for row in known.rows()} == {"lost"}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    store.close()


async def test_who_never_says_that_its_listeners_are_open_is_waited_for_and_then_tried(tmp_path: Path) -> None:
    """A proxy whose own checks do not come through is no lost one: it counts as ill, and is there if all are."""
    store, clock = sqlite.connect(tmp_path / "meshwright.db"), itertools.count(1_000_000, 4_000)
    known = Registrations(
        grace=60,
        most=10,
        now=lambda: next(clock),
        changed=lambda _: None,
        memory=Memory(store, "registration"),
        connected=lambda: 1,
    )
    for name, checked in (("silent", True), ("plain", False)):
        held = known.join(Registree(id=name, node=PAY, address=f"10.0.0.{len(name)}", checked=checked))
        assert all(one.starting for one in known.of(PAY) if one.address.endswith(str(len(name))))
        held.listen()
    seen = []
    while (due := known.expire()) is not None:
        assert due <= 10
        seen.append([row.state for row in known.rows()])
    assert seen[0] == ["healthy", "starting"]
    silent = next(one for one in known.of(PAY) if one.address == "10.0.0.6")
    assert (silent.starting, silent.healthy) == (False, False)
    known.report("silent", listening=True, healthy=True)
    assert [row.state for row in known.rows()] == ["healthy", "healthy"]
    store.close()


async def test_a_restarted_control_plane_knows_what_was_registered(tmp_path: Path) -> None:
    """Nobody has come back yet when the first caller asks, and it is told of every endpoint all the same."""
    with serving(tmp_path / "data") as server:
        async with instance(server, "a") as first, instance(server, "b", "fd00::2") as second:
            await listening(first)
            await listening(second)
            disk = Disk(server.database)
            ready = """body LIKE '%"listening":true%'"""
            await until(lambda: disk.rows("findings", ready) == 2)
            disk.close()
            await asyncio.to_thread(server.end, signal.SIGKILL)
    with live(tmp_path / "data", "--registration-grace", "3") as server:
        async with calling(server, "10.0.0.1", "fd00::2") as caller:
            assert [state for _, _, state in rows(server)] == ["lost", "lost"]
            async with instance(server, "a") as back:
                await back.say(CLUSTER)
                assert addresses(await heard(caller, ENDPOINT)) == {"10.0.0.1"}  # `b` stayed away


async def test_reconnecting_a_thousand_times_grows_and_flaps_nothing(tmp_path: Path) -> None:
    """One row, one endpoint, and not one response to those who call it."""
    with serving(tmp_path / "data") as server:
        async with instance(server, "a") as first:
            await listening(first)
        async with calling(server, "10.0.0.1") as caller:
            for _ in range(1000 if PROVE else 100):
                async with instance(server, "a") as again:
                    await taken(again, CLUSTER)
            assert await caller.silence()
        for number in range(20):
            async with instance(server, f"restarted-{number}") as another:
                await listening(another)
        disk = Disk(server.database)
        await until(lambda: disk.rows("findings") == 1)
        disk.close()
        await until(states(server, "lost"))


@pytest.mark.envoy
async def test_a_registration_object_finds_a_node_by_its_proxies_instead_of_its_name(
    tmp_path: Path, place: Place
) -> None:
    """A name that nobody resolves: put the object and requests arrive, take it away and they do not."""
    pay = Application("pay")
    named = {"dns": {"hostname": "pay.nowhere.local"}}
    with serving(tmp_path / "data", discovery=named) as server:
        async with (
            resolving({}) as (_, resolver),
            pay.running(place.of(1).application),
            place.caller(server, resolver=resolver),
            place.instance(server, 1),
        ):
            await until(states(server, "healthy"))
            await until(answered(place, "no healthy upstream", 503))
            found = Item(key=Key("shop", Kind.REGISTRATION, "pay"), spec={"target": {"virtualNodeName": "pay"}})
            content = shop(named)
            both = ApplyRequest(resources=(*(content.resources or ()), found))
            await asyncio.to_thread(client(server).apply, "shop", "shop", both)
            await until(answered(place, "pay"))
            await asyncio.to_thread(client(server).apply, "shop", "shop", content)
            await until(answered(place, "no healthy upstream", 503))


@pytest.mark.envoy
@pytest.mark.parametrize("well", [True, False])
async def test_instances_that_are_replaced_under_load_cost_no_request(
    tmp_path: Path, place: Place, well: bool
) -> None:
    """Each is started before the older one is stopped by SIGTERM; no request fails, and none is tried twice.

    Nor where none is known to be well, so that callers send to all they know of: those that listen.
    """
    last = 6 if PROVE else 2 + well
    with serving(tmp_path / "data", **({} if well else {"healthCheck": CHECK})) as server:
        async with contextlib.AsyncExitStack() as stack:
            for number in range(1, last + 1):
                one = Application(str(number))
                one.well = well
                await stack.enter_async_context(one.running(place.of(number).application))
            caller = await stack.enter_async_context(place.caller(server))
            former = await stack.enter_async_context(running(server, place, 1))
            await until(answered(place, "1"))
            load = Load(place)
            async with nothing_tried_again(caller), load.on():
                for number in range(2, last + 1):
                    newer = await stack.enter_async_context(running(server, place, number))
                    await until(lambda: load.seen.get(str(number)))  # noqa: B023 - awaited here
                    former.send_signal(signal.SIGTERM)
                    await asyncio.wait_for(former.wait(), DEADLINE)
                    former = newer
                await load.more(50)
            assert load.failed == []
            assert sum(load.seen.values()) > 100


@pytest.mark.envoy
async def test_instances_are_replaced_amid_releases_and_kills_of_the_control_plane_without_a_failed_request(
    tmp_path: Path, place: Place
) -> None:
    """A release with every instance that comes, and SIGKILL right after it; no request fails, and none is retried."""
    xds, load = f"127.0.0.1:{free_port()}", Load(place)
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "data", "--xds", xds))
        last = 6 if PROVE else 2
        for number in range(1, last + 1):
            await stack.enter_async_context(Application(str(number)).running(place.of(number).application))
        caller = await stack.enter_async_context(place.caller(server))
        former = await stack.enter_async_context(running(server, place, 1))
        await until(answered(place, "1"))
        async with nothing_tried_again(caller), load.on():
            for number in range(2, last + 1):
                newer = await stack.enter_async_context(running(server, place, number))
                checked = shop(connectionPool={"http": {"maxConnections": 100 + number}})
                await asyncio.to_thread(client(server).apply, "shop", "shop", checked)
                await asyncio.to_thread(server.end, signal.SIGKILL)
                await load.more(20)
                server = stack.enter_context(live(tmp_path / "data", "--xds", xds))
                await until(lambda: load.seen.get(str(number)))  # noqa: B023 - awaited here
                await until(lambda: asyncio.to_thread(connected, server, 3))  # noqa: B023 - likewise
                former.send_signal(signal.SIGTERM)
                await asyncio.wait_for(former.wait(), DEADLINE)
                former = newer
            await load.more(50)
        assert load.failed == []
        newest = await asyncio.to_thread(client(server).propagation, "shop", "shop", last, 30.0)
        assert newest["state"] == "propagated", "what was committed just before the kill has arrived"


@contextlib.asynccontextmanager
async def nothing_tried_again(caller: Envoy) -> AsyncIterator[None]:
    """There is a policy by default, and nothing needs it while the block runs.

    But for connections that took more than their second: that is a machine which others keep busy.
    """
    names = [f"cluster.{CLUSTER_NAME}.{name}" for name in ("upstream_rq_retry", "upstream_cx_connect_timeout")]

    async def counted() -> list[int]:
        found = await caller.stats(f"({'|'.join(names)})$")
        return [found[name] for name in names]

    before = await counted()
    yield
    again, slow = (now - then for now, then in zip(await counted(), before, strict=True))
    assert again <= slow


class Load:
    """Customers who never pause."""

    def __init__(self, place: Place) -> None:
        self.seen: dict[str, int] = {}
        self.failed: list[object] = []
        self._place = place
        self._stop = False

    async def more(self, count: int) -> None:
        """Return once so many more were answered."""
        wanted = sum(self.seen.values()) + count
        await until(lambda: sum(self.seen.values()) >= wanted)

    @contextlib.asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        """Keep customers coming while the block runs."""
        customers = [asyncio.create_task(self._customer()) for _ in range(4)]
        try:
            yield
        finally:
            self._stop = True
            await asyncio.gather(*customers)

    async def _customer(self) -> None:
        while not self._stop:
            status, word = await self._place.ask()
            if status == 200:
                self.seen[word] = self.seen.get(word, 0) + 1
            else:
                self.failed.append((status, word))


@contextlib.asynccontextmanager
async def running(server: Live, place: Place, number: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`meshwright proxy` for an instance that registers itself; killed on leaving if it still runs."""
    at = place.of(number)
    arguments = [
        "-m", "meshwright.cli", "proxy", PAY.path, "--xds", f"127.0.0.1:{server.xds}", "--instance", str(number),
        "--admin-port", str(free_port()), "--endpoint-address", at.ingress, "--drain-seconds", "2",
        "--application", at.application, "--ingress", at.ingress, "--egress", at.egress, "--concurrency", "1",
    ]  # fmt: skip
    settings = {**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(server.credentials)}
    with (place.folder / f"proxy-{number}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=settings, stderr=log)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
