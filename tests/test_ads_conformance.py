"""The scenarios of the xDS conformance harness against the server over real gRPC, in both protocols.

The tables are those of ii/xds-test-harness (Apache-2.0, https://github.com/ii/xds-test-harness: subscribing.feature,
unsubcribing.feature, delta.feature); the code is ours. `docs/conformance.md` says which scenario is which test. Each
row of one type is asked over the aggregated service and at the service of its type, and each ends with silence: no
more is said than is necessary.

What the harness leaves out is in `test_ads_protocol.py`: refusals, stale nonces, reconnects, order, warming.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

from handmade import cluster, plain
from meshwright.snapshot.messages import unpacked
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, EnvoyResource
from stage import again, names, quiet, read, staged, told

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = {"CDS": CLUSTER, "LDS": LISTENER, "RDS": ROUTE, "EDS": ENDPOINT}


Over: TypeAlias = "Callable[[str], str]"

TRANSPORTS = pytest.mark.parametrize("over", [lambda _: "", TYPES.__getitem__], ids=["aggregated", "own"])
"""The service that is asked: of all types, or of the one of the row."""


BOTH = pytest.mark.parametrize("delta", [True, False], ids=["incremental", "state"])
"""The protocol."""


def made(service: str, letters: str, version: str = "1", **newer: str) -> list[EnvoyResource]:
    """Resources named by each of `letters`, all of one version but those in `newer`."""
    return [plain(TYPES[service], name, newer.get(name, version)) for name in letters]


@BOTH
@TRANSPORTS
@pytest.mark.parametrize("service", ["CDS", "LDS"])
async def test_a_wildcard_gets_everything_in_one_response(service: str, over: Over, delta: bool) -> None:
    """Whatever the protocol."""
    async with staged(*made(service, "ABC")) as stage, quiet(stage, delta=delta, only=over(service)) as client:
        await client.say(TYPES[service])
        response = await client.hear()
        assert told(response) == {"A": "1", "B": "1", "C": "1"}
        await client.ack(response)


@BOTH
@TRANSPORTS
@pytest.mark.parametrize("service", ["CDS", "LDS"])
async def test_a_wildcard_gets_updates(service: str, over: Over, delta: bool) -> None:
    """State of the world: the whole set, with the change. Incremental: the change."""
    async with staged(*made(service, "ABC")) as stage, quiet(stage, delta=delta, only=over(service)) as client:
        await client.say(TYPES[service])
        await client.ack(await client.hear())
        stage.publish(*made(service, "ABC", A="2"))
        response = await client.hear()
        assert told(response) == ({"A": "2"} if delta else {"A": "2", "B": "1", "C": "1"})
        await client.ack(response)


@BOTH
@TRANSPORTS
@pytest.mark.parametrize("service", ["CDS", "LDS"])
async def test_a_wildcard_gets_what_is_added(service: str, over: Over, delta: bool) -> None:
    """State of the world: the whole set, with the addition. Incremental: the addition."""
    async with staged(*made(service, "ABC")) as stage, quiet(stage, delta=delta, only=over(service)) as client:
        await client.say(TYPES[service])
        await client.ack(await client.hear())
        stage.publish(*made(service, "ABCD"))
        response = await client.hear()
        assert told(response) == dict.fromkeys("D" if delta else "ABCD", "1")
        await client.ack(response)


@BOTH
@TRANSPORTS
@pytest.mark.parametrize(
    ("service", "offered", "wanted"),
    [("CDS", "ABCD", "BD"), ("LDS", "GBLD", "LG"), ("RDS", "AB", "AB"), ("EDS", "AB", "AB")],
)
async def test_a_named_subscription_gets_only_what_it_names(
    service: str, offered: str, wanted: str, over: Over, delta: bool
) -> None:
    """All at once, whatever the protocol."""
    async with staged(*made(service, offered)) as stage, quiet(stage, delta=delta, only=over(service)) as client:
        await client.say(TYPES[service], **names(delta, *wanted))
        response = await client.hear()
        assert told(response) == dict.fromkeys(wanted, "1")
        await client.ack(response, **again(delta, *wanted))


@TRANSPORTS
@pytest.mark.parametrize(
    ("service", "offered", "wanted", "changed", "expected"),
    [
        ("CDS", "ABCD", "BD", "B", {"B": "2", "D": "1"}),
        ("LDS", "GBLD", "LG", "G", {"G": "2", "L": "1"}),
        ("RDS", "ABCD", "BD", "B", {"B": "2"}),
        ("EDS", "ABCD", "BD", "B", {"B": "2"}),
    ],
)
async def test_an_update_is_the_set_for_clusters_and_listeners_and_the_change_for_others(
    service: str, offered: str, wanted: str, changed: str, expected: dict[str, str], over: Over
) -> None:
    """State of the world, rows 5 and 6."""
    async with staged(*made(service, offered)) as stage, quiet(stage, delta=False, only=over(service)) as client:
        await client.say(TYPES[service], resource_names=list(wanted))
        await client.ack(await client.hear(), resource_names=list(wanted))
        stage.publish(*made(service, offered, **{changed: "2"}))
        response = await client.hear()
        assert told(response) == expected
        await client.ack(response, resource_names=list(wanted))


@TRANSPORTS
@pytest.mark.parametrize(
    ("service", "offered", "wanted", "new", "expected"),
    [
        ("CDS", "ABCD", "AZ", "Z", {"A": "1", "Z": "2"}),
        ("LDS", "GBLD", "BDX", "X", {"B": "1", "D": "1", "X": "2"}),
        ("RDS", "ABCD", "AZ", "Z", {"Z": "2"}),
        ("EDS", "ABCD", "AZ", "Z", {"Z": "2"}),
    ],
)
async def test_what_does_not_exist_is_sent_when_it_does(
    service: str, offered: str, wanted: str, new: str, expected: dict[str, str], over: Over
) -> None:
    """State of the world, rows 7 and 8."""
    async with staged(*made(service, offered)) as stage, quiet(stage, delta=False, only=over(service)) as client:
        await client.say(TYPES[service], resource_names=list(wanted))
        response = await client.hear()
        assert set(told(response)) == set(wanted) & set(offered)
        await client.ack(response, resource_names=list(wanted))
        stage.publish(*made(service, offered), *made(service, new, "2"))
        response = await client.hear()
        assert told(response) == expected
        await client.ack(response, resource_names=list(wanted))


@pytest.mark.parametrize(("service", "other"), [("CDS", "LDS"), ("RDS", "EDS")])
@BOTH
async def test_several_types_share_one_stream(service: str, other: str, delta: bool) -> None:
    """Row 9, and the incremental counterpart."""
    field = "resource_names_subscribe" if delta else "resource_names"
    offered = [*made(service, "ABC"), *made(other, "ABC")]
    async with staged(*offered) as stage, quiet(stage, delta=delta) as client:
        for one in (service, other):
            await client.say(TYPES[one], **{field: ["B"]})
            response = await client.hear()
            assert (response.type_url, told(response)) == (TYPES[one], {"B": "1"})
            await client.ack(response, **({} if delta else {field: ["B"]}))
        stage.publish(*made(service, "ABC", B="2"), *made(other, "ABC"))
        response = await client.hear()
        assert (response.type_url, told(response)) == (TYPES[service], {"B": "2"})
        await client.ack(response, **({} if delta else {field: ["B"]}))


@TRANSPORTS
@pytest.mark.parametrize(
    ("service", "offered", "wanted", "kept", "changed"),
    [("CDS", "FABCD", "CAB", "AC", "AC"), ("LDS", "GBLD", "BD", "B", "B"), ("RDS", "GBLD", "BD", "B", "B"),
     ("EDS", "GBLD", "BD", "B", "B")],
)  # fmt: skip
async def test_unsubscribing_from_some_gets_only_the_rest(
    service: str, offered: str, wanted: str, kept: str, changed: str, over: Over
) -> None:
    """State of the world, unsubscribing, rows 1 and 2."""
    other = "RDS" if service != "RDS" else "EDS"
    async with (
        staged(*made(service, offered), *made(other, "X")) as stage,
        quiet(stage, delta=False, only=over(service)) as client,
    ):
        await client.say(TYPES[service], resource_names=list(wanted))
        response = await client.hear()
        await client.ack(response, resource_names=list(wanted))
        await client.ack(response, resource_names=list(kept))
        await read(stage, client, over(service), TYPES[other], kept)
        stage.publish(*made(other, "X"), *made(service, offered, **dict.fromkeys(changed, "2")))
        response = await client.hear()
        assert told(response) == dict.fromkeys(changed, "2")
        await client.ack(response, resource_names=list(kept))


@TRANSPORTS
@pytest.mark.parametrize("service", TYPES)
async def test_unsubscribing_from_all_is_no_wildcard(service: str, over: Over) -> None:
    """State of the world, unsubscribing, row 3."""
    other = "RDS" if service != "RDS" else "EDS"
    async with (
        staged(*made(service, "ABCD"), *made(other, "X")) as stage,
        quiet(stage, delta=False, only=over(service)) as client,
    ):
        await client.say(TYPES[service], resource_names=["A", "B"])
        response = await client.hear()
        await client.ack(response, resource_names=["A", "B"])
        await client.ack(response, resource_names=[])
        await read(stage, client, over(service), TYPES[other], "")
        stage.publish(*made(service, "ABCD", "2"), *made(other, "X"))


@TRANSPORTS
@pytest.mark.parametrize("service", TYPES)
async def test_subscribing_one_after_the_other(service: str, over: Over) -> None:
    """State of the world: the set with the newly named, of clusters and listeners; of others that alone."""
    async with staged(*made(service, "DEF")) as stage, quiet(stage, delta=False, only=over(service)) as client:
        await client.say(TYPES[service], resource_names=["D"])
        response = await client.hear()
        assert told(response) == {"D": "1"}
        await client.ack(response, resource_names=["D"])
        await client.ack(response, resource_names=["D", "E"])
        response = await client.hear()
        assert told(response) == dict.fromkeys("DE" if service in {"CDS", "LDS"} else "E", "1")
        await client.ack(response, resource_names=["D", "E"])


@TRANSPORTS
@pytest.mark.parametrize("service", TYPES)
async def test_what_was_removed_is_missing_from_the_set_and_comes_back(service: str, over: Over) -> None:
    """State of the world: of routes and endpoints a removal goes unsaid, for which the protocol has no words."""
    whole = service in {"CDS", "LDS"}
    async with staged(*made(service, "AB")) as stage, quiet(stage, delta=False, only=over(service)) as client:
        await client.say(TYPES[service], resource_names=["A", "B"])
        await client.ack(await client.hear(), resource_names=["A", "B"])
        stage.publish(*made(service, "A"))
        if whole:
            response = await client.hear()
            assert told(response) == {"A": "1"}
            await client.ack(response, resource_names=["A", "B"])
        stage.publish(*made(service, "AB", B="2"))
        response = await client.hear()
        assert told(response) == ({"A": "1", "B": "2"} if whole else {"B": "2"})
        await client.ack(response, resource_names=["A", "B"])


@TRANSPORTS
@pytest.mark.parametrize("service", TYPES)
async def test_delta_subscribing_one_after_the_other(service: str, over: Over) -> None:
    """Incremental, row 1."""
    async with staged(*made(service, "DEF")) as stage, quiet(stage, delta=True, only=over(service)) as client:
        for name in "DE":
            await client.say(TYPES[service], resource_names_subscribe=[name])
            response = await client.hear()
            assert told(response) == {name: "1"}
            await client.ack(response)


@TRANSPORTS
@pytest.mark.parametrize("service", TYPES)
async def test_delta_sends_only_what_changed(service: str, over: Over) -> None:
    """Incremental, row 2."""
    async with staged(*made(service, "ABC")) as stage, quiet(stage, delta=True, only=over(service)) as client:
        await client.say(TYPES[service], resource_names_subscribe=["A", "B", "C"])
        first = await client.hear()
        await client.ack(first)
        stage.publish(*made(service, "ABC", A="2"))
        second = await client.hear()
        assert told(second) == {"A": "2"}
        assert first.nonce != second.nonce
        await client.ack(second)


@TRANSPORTS
@pytest.mark.parametrize("service", TYPES)
async def test_delta_says_what_does_not_exist_and_sends_it_when_it_does(service: str, over: Over) -> None:
    """Incremental, row 3."""
    async with staged(*made(service, "A")) as stage, quiet(stage, delta=True, only=over(service)) as client:
        await client.say(TYPES[service], resource_names_subscribe=["A", "B"])
        response = await client.hear()
        assert (told(response), list(response.removed_resources)) == ({"A": "1"}, ["B"])
        await client.ack(response)
        stage.publish(*made(service, "AB"))
        response = await client.hear()
        assert told(response) == {"B": "1"}
        await client.ack(response)


@TRANSPORTS
@pytest.mark.parametrize("service", TYPES)
async def test_delta_says_what_was_removed(service: str, over: Over) -> None:
    """Incremental, row 4."""
    async with staged(*made(service, "AB")) as stage, quiet(stage, delta=True, only=over(service)) as client:
        await client.say(TYPES[service], resource_names_subscribe=["A", "B"])
        await client.ack(await client.hear())
        stage.publish(*made(service, "A"))
        response = await client.hear()
        assert (told(response), list(response.removed_resources)) == ({}, ["B"])
        await client.ack(response)
        stage.publish(*made(service, "AB", B="2"))
        response = await client.hear()
        assert told(response) == {"B": "2"}
        await client.ack(response)


@TRANSPORTS
@pytest.mark.parametrize("service", TYPES)
async def test_delta_unsubscribing_ends_the_updates(service: str, over: Over) -> None:
    """Incremental, row 5."""
    async with staged(*made(service, "AB")) as stage, quiet(stage, delta=True, only=over(service)) as client:
        await client.say(TYPES[service], resource_names_subscribe=["A", "B"])
        await client.ack(await client.hear())
        for number, name in enumerate("BA", 2):
            await client.say(TYPES[service], resource_names_unsubscribe=[name])
            # The answer to a later request proves that the server has seen the one before it.
            await client.say(TYPES[service], resource_names_subscribe=[f"absent {name}"])
            response = await client.hear()
            assert (told(response), list(response.removed_resources)) == ({}, [f"absent {name}"])
            await client.ack(response)
            stage.publish(*made(service, "AB", A="1" if name == "B" else "3", B=str(number)))


@BOTH
@TRANSPORTS
@pytest.mark.parametrize("service", TYPES)
async def test_the_node_is_only_needed_on_the_first_message(service: str, over: Over, delta: bool) -> None:
    """Envoy leaves it out afterwards (`set_node_on_first_message_only`): of acks, more names and more types."""
    other = "RDS" if service != "RDS" else "EDS"
    offered = (*made(service, "AB"), *made(other, "X"))
    async with staged(*offered) as stage, quiet(stage, delta=delta, only=over(service)) as client:
        await client.say(TYPES[service], **names(delta, "A"))
        response = await client.hear()
        await client.ack(response, **again(delta, "A"))
        await client.say(TYPES[service], **names(delta, *("B" if delta else "AB")), response_nonce=response.nonce)
        response = await client.hear()
        assert told(response)["B"] == "1"
        await client.ack(response, **again(delta, "A", "B"))
        if not over(service):
            await client.say(TYPES[other], **names(delta, "X"))
            response = await client.hear()
            assert told(response) == {"X": "1"}
            await client.ack(response, **again(delta, "X"))


async def test_two_servers_give_the_same_versions_so_a_client_may_change_over() -> None:
    """Versions come from content alone, in both protocols."""
    async with staged(*made("CDS", "AB")) as one, staged(*made("CDS", "AB")) as two:
        async with one.client(delta=False) as client:
            await client.say(CLUSTER)
            version = (await client.hear()).version_info
        async with quiet(two, delta=False) as client:
            await client.say(CLUSTER, version_info=version)
        async with quiet(two, delta=True) as client:
            await client.say(CLUSTER, initial_resource_versions={"A": "1", "B": "1"})


async def test_real_messages_survive_the_joining_of_bytes() -> None:
    """What is joined by hand is what protobuf reads."""
    async with staged(cluster("a")) as stage:
        for delta in (True, False):
            async with stage.client(delta=delta) as client:
                await client.say(CLUSTER)
                (found,) = (await client.hear()).resources
                assert unpacked(found.resource if delta else found).name == "a"
