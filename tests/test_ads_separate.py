"""Services of one type alone: what is theirs beside ADS, how a proxy's streams count together, and real Envoys.

The rows of the conformance harness are in `test_ads_conformance.py`, for these services too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import csds_client
from envoys import until
from everything import everything
from handmade import NODE, plain
from meshwright.graph import resolve
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State
from meshwright.release import ApplyRequest, Item
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    RUNTIME,
    SECRET,
    Loopback,
    Redirect,
    Separate,
    Traits,
)
from meshwright.snapshot.static import as_dict
from processes import DEADLINE
from registering import PAY, PORT, SERVICE, Application, client, serving, shop, somewhere
from stage import Stage, quiet, staged, told
from strategies import resource

if TYPE_CHECKING:
    from pathlib import Path

    from ads_client import AdsClient
    from meshwright.snapshot.resources import Snapshot

BOTH = pytest.mark.parametrize("delta", [True, False])
OWN = [CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, RUNTIME]
ONE = f"{NODE.path}@one"
SEPARATE = {"cluster": "xds"}
TELEMETRY = resource(Kind.TELEMETRY, "all", {"accessLog": {"openTelemetry": {"endpoint": "10.0.0.1:4317"}}})


def names(client: AdsClient, *wanted: str) -> dict[str, list[str]]:
    """A subscription of the client's protocol."""
    return {"resource_names_subscribe" if client.delta else "resource_names": list(wanted)}


async def take(stream: AdsClient, type_url: str, *wanted: str) -> dict[str, str]:
    """Ask for a type, or names of it; what came, acknowledged."""
    await stream.say(type_url, **names(stream, *wanted))
    return await taken(stream, *wanted)


async def taken(stream: AdsClient, *wanted: str) -> dict[str, str]:
    """What comes next, acknowledged."""
    response = await stream.hear()
    await stream.ack(response, **({} if stream.delta else names(stream, *wanted)))
    return told(response)


@BOTH
@pytest.mark.parametrize("own", OWN)
async def test_each_type_has_its_service_and_a_request_need_not_name_it(own: str, delta: bool) -> None:
    """The type of what comes is the service's; nothing of another type comes."""
    offered = [plain(one, "a") for one in OWN]
    async with staged(*offered) as stage, quiet(stage, delta=delta, only=own) as stream:
        await stream.say(own, **names(stream, "a"))
        response = await stream.hear()
        assert (response.type_url, told(response)) == (own, {"a": "1"})
        await stream.ack(response, **({} if delta else names(stream, "a")))


@BOTH
@pytest.mark.parametrize("late", [True, False])
async def test_another_type_is_refused(delta: bool, late: bool) -> None:
    """In the first request and in a later one, with words that tell where to ask."""
    async with (
        staged(plain(CLUSTER, "a"), plain(ROUTE, "a")) as stage,
        stage.client(delta=delta, only=CLUSTER) as one,
    ):
        if late:
            await take(one, CLUSTER)
        await one.say(ROUTE, **names(one, "a"))
        assert await one.call.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert f"a service of {CLUSTER} was asked for {ROUTE!r}; ask at the service" in await one.call.details()
    await until(lambda: stage.control.statuses() == ())


@BOTH
async def test_streams_of_one_proxy_are_one_proxy_and_end_each_other_only_by_kind(delta: bool) -> None:
    """A newer stream of clusters takes the older one's place; endpoints have as many as Envoy opens."""
    offered = (plain(CLUSTER, "a"), plain(ENDPOINT, "a"), plain(ENDPOINT, "b"))
    async with staged(*offered, most=1) as stage, contextlib.AsyncExitStack() as opened:

        async def opening(own: str) -> AdsClient:
            return await opened.enter_async_context(stage.client(delta=delta, only=own))

        clusters, first, second = [await opening(own) for own in (CLUSTER, ENDPOINT, ENDPOINT)]
        assert await take(clusters, CLUSTER) == {"a": "1"}
        assert await take(first, ENDPOINT, "a") == {"a": "1"}
        assert await take(second, ENDPOINT, "b") == {"b": "1"}
        assert (await stage.control.wait(1, DEADLINE)).acked == (ONE,)
        assert (stage.server.streams, stage.control.connected, len(stage.control.statuses())) == (3, 1, 1)
        found = await csds_client.fetched(f"127.0.0.1:{stage.port}")
        assert csds_client.states(found) == dict.fromkeys(
            ("Cluster a", "ClusterLoadAssignment a", "ClusterLoadAssignment b"), "SYNCED"
        )
        newer = await opening(CLUSTER)
        assert await take(newer, CLUSTER) == {"a": "1"}
        assert await clusters.call.code() == grpc.StatusCode.OK
        stage.publish(plain(CLUSTER, "a", "2"), plain(ENDPOINT, "a", "2"), plain(ENDPOINT, "b", "2"))
        assert await taken(newer) == {"a": "2"}
        assert await taken(first, "a") == {"a": "2"}
        assert await taken(second, "b") == {"b": "2"}
        async with stage.client(delta=delta, instance="two", only=CLUSTER) as another:
            await another.say(CLUSTER)
            assert await another.call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: stage.server.streams == 0)
    assert stage.control.statuses() == ()


@BOTH
async def test_a_change_is_taken_once_every_stream_that_asks_for_it_has(delta: bool) -> None:
    """Neither a stream that has not answered counts as done, nor what nobody asks for as outstanding."""
    before = (plain(CLUSTER, "a"), plain(ROUTE, "r"), plain(ROUTE, "other"), plain(LISTENER, "l"))
    async with (
        staged(*before) as stage,
        stage.client(delta=delta, only=CLUSTER) as clusters,
        stage.client(delta=delta, only=ROUTE) as routes,
    ):
        await take(clusters, CLUSTER)
        await take(routes, ROUTE, "r")
        assert (await stage.control.wait(1, DEADLINE)).acked == (ONE,)
        revision = stage.publish(plain(CLUSTER, "a", "2"), plain(ROUTE, "r", "2"), *before[2:])
        await taken(clusters)
        response = await routes.hear()
        assert stage.control.propagation(revision).pending == (ONE,)
        again = {} if delta else names(routes, "r")
        await routes.nack(response, "no", **again)
        found = await stage.control.wait(revision, DEADLINE)
        assert [one.resources for one in found.rejected[0].rejections] == [("r",)]
        (account,) = stage.control.accounts(revision)
        assert {(step.type_url, *step.resources, step.state) for step in account.steps} == {
            (CLUSTER, "a", "acked"),
            (ROUTE, "r", "rejected"),
        }
        revision = stage.publish(plain(CLUSTER, "a", "2"), plain(ROUTE, "r", "3"), *before[2:])
        await routes.ack(await routes.hear(), **again)
        assert (await stage.control.wait(revision, DEADLINE)).acked == (ONE,)
        aside = stage.publish(plain(CLUSTER, "a", "2"), plain(ROUTE, "r", "3"), before[2], plain(LISTENER, "l", "2"))
        assert stage.control.propagation(aside).concerned == ()


@BOTH
async def test_a_proxy_that_says_it_asks_for_all_types_is_held_to_it(delta: bool) -> None:
    """What comes by name is asked for only after what names it was taken: until then it is not done."""
    offered = (plain(LISTENER, "l"), plain(ROUTE, "r"))
    async with (
        staged(*offered) as stage,
        stage.client(delta=delta, only=LISTENER, separate=SEPARATE) as listeners,
        stage.client(delta=delta, only=ROUTE, separate=SEPARATE) as routes,
    ):
        await take(listeners, LISTENER)
        await until(lambda: _held(stage) == {"l": "synced", "r": "not sent"})
        assert stage.control.propagation(1).pending == (ONE,)
        await take(routes, ROUTE, "r")
        assert (await stage.control.wait(1, DEADLINE)).acked == (ONE,)


def _held(stage: Stage) -> dict[str, str]:
    found = stage.control.delivery(ONE)
    assert found is not None
    return {one.name: one.state for one in found.held()}


async def test_streams_of_one_type_and_of_all_go_together() -> None:
    """Of a type that has its own stream, that one tells how the proxy stands."""
    offered = (plain(CLUSTER, "a"), plain(ENDPOINT, "a"))
    async with (
        staged(*offered) as stage,
        stage.client(delta=True) as all_,
        stage.client(delta=True, only=ENDPOINT) as endpoints,
    ):
        await take(all_, CLUSTER)
        assert stage.control.propagation(1).pending == (ONE,)
        await take(endpoints, ENDPOINT, "a")
        assert (await stage.control.wait(1, DEADLINE)).acked == (ONE,)
        endpoints.call.cancel()
        await until(lambda: stage.server.streams == 1)
        assert stage.control.propagation(1).pending == (ONE,)


@pytest.mark.parametrize(
    "given", ["xds", {}, {"cluster": ""}, {"cluster": "xds", "delta": 1}, {"cluster": "x" * 256}]
)
async def test_a_source_that_cannot_be_used_is_refused(given: Any) -> None:
    """With the words for what it takes."""
    async with staged() as stage, stage.client(delta=True, only=CLUSTER, separate=given) as one:
        await one.say(CLUSTER)
        assert await one.call.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "node.metadata.meshwright.separate is " in await one.call.details()


def _sources(snapshot: Snapshot) -> set[str]:
    """How the clusters and listeners of a snapshot say where the rest comes from."""
    held = (as_dict(one) for url in (CLUSTER, LISTENER) for one in snapshot.of(url).values())
    return set(re.findall(r"'(?:eds_config|config_source)': \{'(\w+)'", str(list(held))))


@pytest.mark.parametrize("extended", [True, False])
def test_all_that_refers_to_another_type_says_whence_for_each_proxy(extended: bool) -> None:
    """Proxies of both ways share a graph and what is remembered of it, and are never told each other's."""
    kinds = (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY)
    resources = [*everything(), *([TELEMETRY] if extended else ())]
    graph = resolve(State(resources))
    for proxy in [one.key for one in resources if one.key.kind in kinds]:
        for placement in (Redirect(), Loopback(application="127.1.1.1", ingress="127.1.1.2", egress="127.1.1.3")):
            for apart in (None, Separate(cluster="xds"), None):
                made = build(graph, proxy, {}, placement, Traits(separate=apart))
                told = {"ads" if apart is None else "api_config_source"}
                assert _sources(made) == (set() if proxy.name == "tcp" else told)


@pytest.mark.envoy
@BOTH
async def test_a_real_envoy_without_ads_serves_and_takes_a_change(tmp_path: Path, delta: bool) -> None:
    """Clusters, endpoints, listeners, routes and runtime, each over its own stream; one proxy in the status."""

    async def status(wanted: int) -> bool:
        return (await place.ask())[0] == wanted

    with somewhere(tmp_path) as place, serving(tmp_path / "data") as server:
        mesh = client(server)
        async with (
            Application("first").running(place.of(1).application),
            place.instance(server, 1, delta=delta, separate=True),
            place.caller(server, delta=delta, separate=True) as caller,
        ):
            await until(functools.partial(status, 200), str(caller.log))
            assert (await place.ask())[1] == "first"
            applied = await asyncio.to_thread(mesh.apply, "shop", "shop", elsewhere())
            number = applied["release"]["number"]
            found = await asyncio.to_thread(mesh.propagation, "shop", "shop", number, 30)
            assert (found["state"], len(found["acked"])) == ("propagated", 1)
            assert await status(404)
            assert {one["state"] for one in (await asyncio.to_thread(mesh.status))["proxies"]} == {"synced"}
            stats = await caller.stats("cluster.meshwright_xds.upstream_rq_active")
            # Clusters, listeners, endpoints, routes and runtime; load reports besides.
            assert stats["cluster.meshwright_xds.upstream_rq_active"] >= 6


def elsewhere() -> ApplyRequest:
    """The shop, with a router that knows another path than the caller's."""
    router = Key("shop", Kind.VIRTUAL_ROUTER, "pay")
    target = {"weightedTargets": [{"virtualNode": PAY.name, "weight": 1}]}
    route = {"httpRoute": {"match": {"prefix": "/elsewhere"}, "action": target}}
    more = (
        (router, {"listeners": [{"portMapping": {"port": PORT, "protocol": "http"}}]}),
        (Key("shop", Kind.ROUTE, "elsewhere", router.name), route),
        (SERVICE, {"provider": {"virtualRouter": {"virtualRouterName": router.name}}}),
    )
    kept = [one for one in shop().resources or () if one.key != SERVICE]
    return ApplyRequest(resources=(*kept, *(Item(key=key, spec=spec) for key, spec in more)))
