"""What the conformance harness leaves out, against the server over real gRPC: refusals, reconnects, order, warming.

The list is our own; sources are the protocol's text and the defects that other control planes had.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from handmade import plain
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, EnvoyResource
from processes import DEADLINE
from stage import again, names, quiet, read, staged, told

if TYPE_CHECKING:
    from ads_client import AdsClient

BOTH = pytest.mark.parametrize("delta", [True, False])
OVER = pytest.mark.parametrize("only", ["", CLUSTER], ids=["aggregated", "own"])
"""For what concerns clusters alone: over the aggregated service, and at theirs."""


async def settle(client: AdsClient, *types: str) -> dict[str, Any]:
    """Subscribe to `types` and take what comes; the last response of each."""
    taken = {}
    for one in types:
        await client.say(one)
        taken[one] = await client.hear()
        await client.ack(taken[one])
    return taken


@OVER
@BOTH
async def test_a_refused_version_is_kept_back_and_the_next_one_is_sent(delta: bool, only: str) -> None:
    """No resend at once; what changes meanwhile is not held up, and what is mended is sent."""
    async with (
        staged(plain(CLUSTER, "a"), plain(CLUSTER, "b")) as stage,
        quiet(stage, delta=delta, only=only) as client,
    ):
        first = (await settle(client, CLUSTER))[CLUSTER]
        stage.publish(plain(CLUSTER, "a", "2"), plain(CLUSTER, "b"))
        await client.nack(await client.hear(), "Error adding/updating cluster(s) a: no")
        stage.publish(plain(CLUSTER, "a", "2"), plain(CLUSTER, "b", "2"))
        second = await client.hear()
        # In state of the world the set has the last good version of what was refused.
        assert told(second) == ({"b": "2"} if delta else {"a": "1", "b": "2"})
        assert second.nonce != first.nonce
        await client.ack(second)
        stage.publish(plain(CLUSTER, "a", "3"), plain(CLUSTER, "b", "2"))
        third = await client.hear()
        assert told(third) == ({"a": "3"} if delta else {"a": "3", "b": "2"})
        await client.ack(third)


@BOTH
async def test_an_ack_of_an_older_response_means_nothing(delta: bool) -> None:
    """A stale nonce neither takes nor refuses what was sent since."""
    async with staged(plain(ROUTE, "r")) as stage, quiet(stage, delta=delta) as client:
        await client.say(ROUTE, **names(delta, "r"))
        first = await client.hear()
        await client.ack(first, **again(delta, "r"))
        revision = stage.publish(plain(ROUTE, "r", "2"))
        second = await client.hear()
        await client.nack(first, "late", **again(delta, "r"))
        await client.ack(first, **again(delta, "r"))
        # The answer to a later request proves that the server has read those before it.
        await client.say(ENDPOINT, **names(delta, "none"))
        if delta:
            await client.ack(await client.hear())
            assert stage.control.propagation(revision).state == "pending"
        await client.ack(second, **again(delta, "r"))
        assert (await stage.control.wait(revision, DEADLINE)).state == "propagated"


@OVER
async def test_reconnecting_says_what_one_has_and_gets_the_rest(only: str) -> None:
    """Delta: nothing again, what changed, and what is gone."""
    async with (
        staged(*(plain(CLUSTER, name) for name in "abc")) as stage,
        quiet(stage, delta=True, only=only) as client,
    ):
        await client.say(CLUSTER, initial_resource_versions={"a": "1", "b": "0", "c": "1", "gone": "1"})
        changed = await client.hear()
        assert (told(changed), list(changed.removed_resources)) == ({"b": "1"}, [])
        await client.ack(changed)
        removed = await client.hear()
        assert (told(removed), list(removed.removed_resources)) == ({}, ["gone"])
        await client.ack(removed)


@pytest.mark.parametrize("own", [False, True], ids=["aggregated", "own"])
async def test_reconnecting_in_state_of_the_world_with_the_newest_version_gets_nothing_again(own: bool) -> None:
    """For sets that are whole and for those that are not; over one stream, or one each."""
    offered = (plain(CLUSTER, "a"), plain(ROUTE, "r"))
    wanted: dict[str, dict[str, list[str]]] = {CLUSTER: {}, ROUTE: {"resource_names": ["r"]}}
    known: dict[str, str] = {}
    async with staged(*offered) as stage:
        for types in ([CLUSTER], [ROUTE]) if own else ([CLUSTER, ROUTE],):
            only = types[0] if own else ""
            async with stage.client(delta=False, only=only) as client:
                for one in types:
                    await client.say(one, **wanted[one])
                    known[one] = (response := await client.hear()).version_info
                    await client.ack(response, **wanted[one])
            async with quiet(stage, delta=False, only=only) as client:
                for one in types:
                    await client.say(one, version_info=known[one], **wanted[one])


@OVER
async def test_a_wildcard_and_names_go_together_and_apart(only: str) -> None:
    """Delta: leaving the wildcard keeps what is named, leaving a name under the wildcard says what becomes of it."""
    async with (
        staged(plain(CLUSTER, "a"), plain(CLUSTER, "b")) as stage,
        quiet(stage, delta=True, only=only) as client,
    ):
        await client.say(CLUSTER, resource_names_subscribe=["*", "a"])
        first = await client.hear()
        assert told(first) == {"a": "1", "b": "1"}
        await client.ack(first)
        await client.say(CLUSTER, resource_names_unsubscribe=["*"])
        # The answer to a later request proves that the server has read the one before it.
        await client.say(CLUSTER, resource_names_subscribe=["absent"])
        await client.ack(await client.hear())
        stage.publish(plain(CLUSTER, "a", "2"), plain(CLUSTER, "b", "2"))
        second = await client.hear()
        assert told(second) == {"a": "2"}
        await client.ack(second)
        await client.say(CLUSTER, resource_names_subscribe=["*"])
        third = await client.hear()
        assert told(third) == {"b": "2"}
        await client.ack(third)
        await client.say(CLUSTER, resource_names_unsubscribe=["a"])
        fourth = await client.hear()
        assert told(fourth) == {"a": "2"}
        await client.ack(fourth)


@OVER
async def test_in_state_of_the_world_a_wildcard_and_names_go_together_and_apart(only: str) -> None:
    """What is named stays when the wildcard is left, and an empty list is no wildcard once there were names."""
    others = (plain(ROUTE, "X"), plain(ENDPOINT, "X"))
    async with (
        staged(plain(CLUSTER, "a"), plain(CLUSTER, "b"), *others) as stage,
        quiet(stage, delta=False, only=only) as client,
    ):
        await client.say(CLUSTER, resource_names=["*", "a"])
        first = await client.hear()
        assert told(first) == {"a": "1", "b": "1"}
        await client.ack(first, resource_names=["*", "a"])
        await client.ack(first, resource_names=["a"])
        await read(stage, client, only, ROUTE, "a")
        stage.publish(plain(CLUSTER, "a", "2"), plain(CLUSTER, "b", "2"), *others)
        second = await client.hear()
        assert told(second) == {"a": "2"}
        await client.ack(second, resource_names=["a"])
        await client.ack(second, resource_names=["*"])
        third = await client.hear()
        assert told(third) == {"a": "2", "b": "2"}
        await client.ack(third, resource_names=["*"])
        await client.ack(third, resource_names=[])
        await read(stage, client, only, ENDPOINT, "")
        stage.publish(plain(CLUSTER, "a", "3"), plain(CLUSTER, "b", "3"), *others)


@OVER
@BOTH
async def test_an_empty_set_of_clusters_is_answered_once(delta: bool, only: str) -> None:
    """Envoy waits for the first answer before it asks for listeners."""
    async with staged() as stage, quiet(stage, delta=delta, only=only) as client:
        assert told((await settle(client, CLUSTER))[CLUSTER]) == {}


@BOTH
async def test_a_change_of_all_types_leaves_in_safe_order(delta: bool) -> None:
    """Clusters and endpoints; listeners and routes once the clusters are taken; removals last."""
    before = (plain(CLUSTER, "old"), plain(ENDPOINT, "old"), plain(LISTENER, "l"), plain(ROUTE, "r"))
    after = (plain(CLUSTER, "new"), plain(ENDPOINT, "new"), plain(LISTENER, "l", "2"), plain(ROUTE, "r", "2"))
    async with staged(*before) as stage, quiet(stage, delta=delta) as client:
        await settle(client, CLUSTER)
        await client.say(ENDPOINT, **names(delta, "old"))
        await client.ack(await client.hear(), **again(delta, "old"))
        await settle(client, LISTENER)
        await client.say(ROUTE, **names(delta, "r"))
        await client.ack(await client.hear(), **again(delta, "r"))
        stage.publish(*after)
        clusters = await client.hear()
        assert (clusters.type_url, set(told(clusters))) == (CLUSTER, {"new"} if delta else {"old", "new"})
        # Envoy asks for the endpoints of a new cluster before it takes it.
        wanted = ("new",) if delta else ("old", "new")
        await client.say(ENDPOINT, **names(delta, *wanted), **({} if delta else {"response_nonce": "2"}))
        endpoints = await client.hear()
        assert (endpoints.type_url, told(endpoints)) == (ENDPOINT, {"new": "1"})
        await client.ack(endpoints, **again(delta, *wanted))
        await client.ack(clusters)
        later = []
        for _ in range(2):
            later.append(await client.hear())
            extra = again(delta, "r") if later[-1].type_url == ROUTE else {}
            await client.ack(later[-1], **extra)
        assert [one.type_url for one in later] == [LISTENER, ROUTE]
        gone = await client.hear()
        assert gone.type_url == CLUSTER
        assert (list(gone.removed_resources) == ["old"]) if delta else (told(gone) == {"new": "1"})
        await client.ack(gone)
        if delta:
            await client.ack(last := await client.hear())
            assert (last.type_url, list(last.removed_resources)) == (ENDPOINT, ["old"])


@BOTH
async def test_a_changed_cluster_is_followed_by_its_endpoints_again(delta: bool) -> None:
    """Envoy warms a changed cluster only when its endpoints come after it, changed or not."""
    async with staged(plain(CLUSTER, "a"), plain(ENDPOINT, "a")) as stage, quiet(stage, delta=delta) as client:
        await settle(client, CLUSTER)
        await client.say(ENDPOINT, **names(delta, "a"))
        await client.ack(await client.hear(), **again(delta, "a"))
        stage.publish(plain(CLUSTER, "a", "2"), plain(ENDPOINT, "a"))
        clusters, endpoints = await client.hear(), await client.hear()
        assert (clusters.type_url, told(clusters)) == (CLUSTER, {"a": "2"})
        assert (endpoints.type_url, told(endpoints)) == (ENDPOINT, {"a": "1"})
        await client.ack(endpoints, **again(delta, "a"))
        await client.ack(clusters)


@BOTH
async def test_what_is_removed_while_referred_to_goes_when_the_referrer_has_let_go(delta: bool) -> None:
    """A cluster that a refused route still names stays until the route is mended."""
    async with staged(plain(CLUSTER, "a"), plain(ROUTE, "r")) as stage, quiet(stage, delta=delta) as client:
        await settle(client, CLUSTER)
        await client.say(ROUTE, **names(delta, "r"))
        await client.ack(await client.hear(), **again(delta, "r"))
        stage.publish(plain(ROUTE, "r", "2"))
        await client.nack(await client.hear(), "no", **again(delta, "r"))
        stage.publish(plain(ROUTE, "r", "3"))
        mended = await client.hear()
        assert (mended.type_url, told(mended)) == (ROUTE, {"r": "3"})
        await client.ack(mended, **again(delta, "r"))
        gone = await client.hear()
        assert (gone.type_url, told(gone)) == (CLUSTER, {})
        await client.ack(gone)


@OVER
@BOTH
async def test_two_control_planes_are_one_to_a_client(delta: bool, only: str) -> None:
    """It may change over to another one in the middle, and gets what differs there and no more."""
    one = (plain(CLUSTER, "a"), plain(CLUSTER, "b"))
    other = (plain(CLUSTER, "a"), plain(CLUSTER, "b", "2"))
    async with staged(*one) as first, staged(*other) as second:
        async with first.client(delta=delta, only=only) as client:
            taken = (await settle(client, CLUSTER))[CLUSTER]
        async with quiet(second, delta=delta, only=only) as client:
            known = {"initial_resource_versions": told(taken)} if delta else {"version_info": taken.version_info}
            await client.say(CLUSTER, **known)
            changed = await client.hear()
            assert told(changed) == ({"b": "2"} if delta else {"a": "1", "b": "2"})
            await client.ack(changed)


@BOTH
async def test_a_response_larger_than_four_megabytes_arrives(delta: bool) -> None:
    """GRPC's usual limit is on what a client accepts, not on us."""
    big = [
        EnvoyResource(type_url=CLUSTER, name=f"c{n}", version="1", body=b"x" * 1_000_000, origins=())
        for n in range(6)
    ]
    async with staged(*big) as stage, stage.client(delta=delta) as client:
        await client.say(CLUSTER)
        assert len((await client.hear()).resources) == 6
