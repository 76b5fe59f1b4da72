"""The client status discovery service tells standard tools what each proxy was sent and what it said to it."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from ads_client import AdsClient
from csds_client import SERVICE, fetched, request, states, told
from envoys import envoy, until
from handmade import NODE, cluster, endpoints, listener, route
from meshwright.ads import csds
from meshwright.model.identity import Key, Kind
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE, SECRET, EnvoyResource
from processes import DEADLINE
from stage import Stage, again, names, staged
from test_xds_identity import ADMINISTRATOR, ARN, NOBODY, OTHER_ARN, WEB, guarded

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.trust.credentials import Credentials
    from test_xds_identity import Guarded

ACKED, NACKED = 3, 4
OTHER = Key("shop", Kind.VIRTUAL_NODE, "other")


def shop(route_: EnvoyResource, port: int = 0) -> tuple[EnvoyResource, ...]:
    """One cluster with one endpoint, and a listener with `route_`."""
    return cluster("a"), endpoints("a", 9), listener("web", "127.0.0.1", port, "r"), route_


@pytest.mark.envoy
@pytest.mark.parametrize("delta", [True, False])
async def test_a_real_envoy_is_told_before_and_after_a_rejection(tmp_path: Path, delta: bool) -> None:
    """Every resource with the version that Envoy itself says it runs; then the one that it refused, and why."""
    async with staged(*shop(route("r", "a"))) as stage, envoy(tmp_path, NODE, stage.port, delta=delta) as running:
        await until(stage.control.statuses, str(running.log))
        assert (await stage.control.wait(1, DEADLINE)).state == "propagated"
        where = f"127.0.0.1:{stage.port}"
        answer = await fetched(where)
        (client,) = answer.config
        assert (client.node.id, client.node.user_agent_name) == (NODE.path, "envoy")
        assert client.node.user_agent_build_version.version.major_number == 1
        held = told(answer)["one"]
        assert set(states(answer).values()) == {"SYNCED"}
        assert {"Cluster a", "ClusterLoadAssignment a", "Listener web", "RouteConfiguration r"} <= set(states(answer))
        assert {one.client_status for one in held.values()} == {ACKED}
        if delta:
            runs = json.loads(await running.ask("/config_dump"))["configs"]
            dynamic = [one for part in runs for one in part.get("dynamic_active_clusters", ())]
            assert [one["version_info"] for one in dynamic] == [held["Cluster", "a"].version_info]
        first = held["RouteConfiguration", "r"]
        assert first.xds_config.value == route("r", "a").body

        bad = route("r", "a", regex="[bad")
        refused = stage.publish(*shop(bad))
        assert (await stage.control.wait(refused, DEADLINE)).state == "rejected"
        answer = await fetched(where)
        assert {name: state for name, state in states(answer).items() if state != "SYNCED"} == {
            "RouteConfiguration r": "ERROR"
        }
        found = told(answer)["one"]["RouteConfiguration", "r"]
        assert (found.client_status, found.error_state.details) == (NACKED, "missing ]: [bad")
        assert found.error_state.version_info == found.version_info == bad.version
        assert found.error_state.failed_configuration.value == found.xds_config.value == bad.body
        assert found.error_state.last_update_attempt.ToMilliseconds() >= first.last_updated.ToMilliseconds()


@pytest.mark.parametrize("delta", [True, False])
async def test_what_is_unsent_unanswered_and_taken_is_told_apart(delta: bool) -> None:
    """A client that asks for clusters alone and does not answer."""
    async with staged(*shop(route("r", "a"))) as stage, stage.client(delta=delta) as stream:
        where = f"127.0.0.1:{stage.port}"
        await stream.say(CLUSTER, **names(delta, "*"))
        offered = await stream.hear()
        listed = ("Cluster a", "ClusterLoadAssignment a", "Listener web", "RouteConfiguration r")
        assert states(await fetched(where)) == dict(zip(listed, ("STALE", *["NOT_SENT"] * 3), strict=True))
        await stream.ack(offered, **again(delta, "*"))
        await stream.say(LISTENER, **names(delta, "*"))
        await stream.hear()
        expected = ("SYNCED", "NOT_SENT", "STALE", "NOT_SENT")
        assert states(await fetched(where)) == dict(zip(listed, expected, strict=True))


async def _connected(stage: Stage) -> list[Any]:
    """Three proxies: two of `NODE` and one of `OTHER`; what they keep open."""
    streams = []
    for node, instance in ((NODE, "one"), (NODE, "two"), (OTHER, "other")):
        stream = await stage.client(delta=True, node=node, instance=instance).__aenter__()
        await stream.say(ROUTE, resource_names_subscribe=["r"])
        await stream.hear()
        streams.append(stream)
    return streams


_INSTANCE = [{"key": "meshwright"}, {"key": "instance"}]


@pytest.mark.parametrize(
    ("matchers", "instances"),
    [
        ([], {"one", "two", "other"}),
        ([{"node_id": {"exact": NODE.path}}], {"one", "two"}),
        ([{"node_id": {"suffix": "/other"}}], {"other"}),
        ([{"node_id": {"prefix": "mesh/shop/"}}], {"one", "two", "other"}),
        ([{"node_id": {"contains": "SHOP", "ignore_case": True}}], {"one", "two", "other"}),
        ([{"node_id": {"safe_regex": {"regex": "mesh/.*/w.b"}}}], {"one", "two"}),
        ([{"node_id": {"exact": "nobody"}}], set()),
        ([{"node_metadatas": [{"path": _INSTANCE, "value": {"string_match": {"exact": "two"}}}]}], {"two"}),
        (
            [{"node_id": {"exact": OTHER.path}}, {"node_metadatas": [
                {"path": _INSTANCE, "value": {"string_match": {"prefix": "on"}}}]}],
            {"one", "other"},
        ),
        (
            [{"node_id": {"exact": OTHER.path}, "node_metadatas": [
                {"path": _INSTANCE, "value": {"string_match": {"prefix": "on"}}}]}],
            set(),
        ),
        ([{"node_metadatas": [{"path": [{"key": "no"}], "value": {"present_match": True}}]}], set()),
        ([{"node_metadatas": [{"path": [{"key": "no"}], "value": {"present_match": False}}]}], set()),
        ([{"node_metadatas": [{"path": [{"key": "meshwright"}], "value": {"present_match": True}}]}], set()),
        ([{"node_metadatas": [{"path": _INSTANCE, "value": {"present_match": True}}]}], {"one", "two", "other"}),
        ([{"node_metadatas": [{"path": [*_INSTANCE, {"key": "x"}], "value": {"present_match": True}}]}], set()),
        (
            [{"node_metadatas": [{"path": _INSTANCE, "value": {"or_match": {"value_matchers": [
                {"null_match": {}}, {"bool_match": True}, {"double_match": {"exact": 1}},
                {"list_match": {"one_of": {"present_match": True}}}, {"string_match": {"exact": "one"}}]}}}]}],
            {"one"},
        ),
    ],
)  # fmt: skip
async def test_node_matchers_choose_whom_it_is_about(matchers: list[dict[str, Any]], instances: set[str]) -> None:
    """Several widen the answer, the parts of one narrow it."""
    stage = Stage(NODE, OTHER)
    stage.publish(*shop(route("r", "a")))
    stage.port = await stage.server.start("127.0.0.1", 0)
    streams = await _connected(stage)
    try:
        assert set(told(await fetched(f"127.0.0.1:{stage.port}", node_matchers=matchers))) == instances
    finally:
        for stream in streams:
            await stream.__aexit__(None, None, None)
        await stage.server.stop()


_NAMED: dict[str, Any] = {"node_id": {"exact": NODE.path}}
_BROKEN: dict[str, Any] = {"safe_regex": {"regex": "(broken"}}


@pytest.mark.parametrize(
    ("matcher", "words"),
    [
        ({"node_id": _BROKEN}, "node_matchers[1].node_id.safe_regex.regex is '(broken', no regular expression"),
        ({"node_id": {"ignore_case": True}}, "node_matchers[1].node_id needs one of exact, prefix"),
        ({"node_id": {"prefix": ""}}, "node_matchers[1].node_id.prefix is empty"),
        ({"node_id": {"custom": {"name": "x"}}}, "safe_regex, and custom is none"),
        ({"node_metadatas": [{"value": {"present_match": True}}]}, ".node_metadatas[0].path has to name a member"),
        ({"node_metadatas": [{"path": [{}], "value": {"present_match": True}}]}, "no key may be empty"),
        ({"node_metadatas": [{"path": _INSTANCE}]}, "node_matchers[1].node_metadatas[0].value has no match_pattern"),
        ({"node_metadatas": [{"path": _INSTANCE, "value": {"double_match": {}}}]}, "needs exact or range"),
        (
            {"node_metadatas": [{"path": _INSTANCE, "value": {"or_match": {"value_matchers": [
                {"null_match": {}}, {"list_match": {"one_of": {"string_match": _BROKEN}}}]}}}]},
            ".value.or_match.value_matchers[1].list_match.one_of.string_match.safe_regex.regex is '(broken'",
        ),
        ({"node_metadatas": [{"path": _INSTANCE, "value": {"or_match": {}}}]}, "or_match.value_matchers is empty"),
    ],
)  # fmt: skip
async def test_a_node_matcher_that_cannot_be_understood_is_refused_by_its_field(
    matcher: dict[str, Any], words: str
) -> None:
    """Whoever is connected, and although another matcher is right; an empty list would say that there is nobody."""
    async with staged(*shop(route("r", "a"))) as stage:
        where = f"127.0.0.1:{stage.port}"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fetched(where, node_matchers=[_NAMED, matcher])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert words in str(caught.value.details())
        assert (await fetched(where, node_matchers=[_NAMED])).config == []


def _expressions(*found: str) -> list[dict[str, Any]]:
    return [{"node_id": {"safe_regex": {"regex": one}}} for one in found]


@pytest.mark.parametrize(
    ("matchers", "words"),
    [
        (
            [*_expressions("(broken"), *[_NAMED] * 100],
            "node_matchers holds more than 100 matchers, those within others included",
        ),
        (
            [{"node_metadatas": [{"path": _INSTANCE, "value": {"or_match": {"value_matchers": [
                {"list_match": {"one_of": {"null_match": {}}}}] * 50}}}]}],
            "node_matchers holds more than 100 matchers",
        ),
        (
            _expressions("(broken", "x" * 1001),
            "node_matchers[1].node_id.safe_regex.regex has 1001 bytes, and at most 1000 are taken",
        ),
        (
            _expressions("(broken", r"(?i)a\pL*"),
            r"node_matchers[1].node_id.safe_regex.regex is '(?i)a\\pL*', and Unicode classes (\p, \P) are not taken",
        ),
        (
            _expressions("(x|y){1,99}a", "(x|y){1,99}b", "(x|y){1,99}c"),
            "node_matchers[2].node_id.safe_regex.regex is '(x|y){1,99}c', and with it the expressions of",
        ),
        (_expressions("(" + "[ab]c|" * 80 + "d){1000}"), "no regular expression of RE2's that is taken: "),
        ([{"node_id": {"exact": "x" * 1024 * 1024}}], "of more than 1048576 bytes is not read"),
    ],
)  # fmt: skip
async def test_a_question_that_would_cost_much_is_refused_before_an_expression_is_compiled(
    matchers: list[dict[str, Any]], words: str
) -> None:
    """By its number of matchers and the size of each expression: a broken one beside them was not looked at."""
    async with staged(*shop(route("r", "a"))) as stage:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fetched(f"127.0.0.1:{stage.port}", node_matchers=matchers)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert words in str(caught.value.details())


async def test_what_a_proxy_says_of_itself_breaks_no_question_about_others() -> None:
    """Numbers that JSON does not have, values of every kind: each is matched as what it is."""
    odd = {
        "nan": math.nan,
        "far": math.inf,
        "number": 1.5,
        "nothing": None,
        "yes": True,
        "many": [1, "x"],
        "in": {"y": 1},
    }
    wanted: list[dict[str, Any]] = [
        {"path": [{"key": "far"}], "value": {"double_match": {"range": {"start": 1, "end": 2}}}},
        {"path": [{"key": "number"}], "value": {"double_match": {"range": {"start": 1, "end": 2}}}},
        {"path": [{"key": "number"}], "value": {"double_match": {"exact": 1.5}}},
        {"path": [{"key": "nan"}], "value": {"double_match": {"exact": math.nan}}},
        {"path": [{"key": "nan"}], "value": {"present_match": True}},
        {"path": [{"key": "nothing"}], "value": {"null_match": {}}},
        {"path": [{"key": "yes"}], "value": {"bool_match": True}},
        {"path": [{"key": "yes"}], "value": {"bool_match": False}},
        {"path": [{"key": "many"}], "value": {"list_match": {"one_of": {"string_match": {"exact": "x"}}}}},
        {"path": [{"key": "many"}, {"key": "x"}], "value": {"present_match": True}},
        {"path": [{"key": "in"}, {"key": "y"}], "value": {"double_match": {"exact": 1}}},
    ]
    async with staged(*shop(route("r", "a"))) as stage, stage.client(delta=True) as plain_one:
        node = {"id": NODE.path, "metadata": {"meshwright": {"instance": "odd"}, **odd}}
        async with AdsClient(f"127.0.0.1:{stage.port}", node, delta=True) as client:
            for one in (client, plain_one):
                await one.say(ROUTE, resource_names_subscribe=["r"])
                await one.hear()
            where, found = f"127.0.0.1:{stage.port}", []
            for member in wanted:
                answer = told(await fetched(where, node_matchers=[{"node_metadatas": [member]}]))
                assert set(answer) <= {"odd"}
                found.append(bool(answer))
            assert found == [False, True, True, False, True, True, True, False, True, False, True]
            matcher = {"path": _INSTANCE, "value": {"string_match": {"exact": "one"}}}
            assert set(told(await fetched(where, node_matchers=[{"node_metadatas": [matcher]}]))) == {"one"}


async def test_a_proxy_that_says_very_much_of_itself_is_refused() -> None:
    """Else one question about proxies would look through megabytes for each."""
    async with staged(*shop(route("r", "a"))) as stage, stage.client(delta=True, more="x" * 65_536) as client:
        await client.say(ROUTE, resource_names_subscribe=["r"])
        assert await client.call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "bytes; it may have 65536" in await client.call.details()


async def test_a_question_that_takes_too_long_ends_and_says_how_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here after no time at all; the next one has its turn."""
    slow = {"path": _INSTANCE, "value": {"string_match": {"safe_regex": {"regex": ".*"}}}}
    async with staged(*shop(route("r", "a"))) as stage, stage.client(delta=True) as client:
        await client.say(ROUTE, resource_names_subscribe=["r"])
        await client.hear()
        where = f"127.0.0.1:{stage.port}"
        monkeypatch.setattr(csds, "MOST_SECONDS", 0.0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fetched(where, node_matchers=[{"node_metadatas": [slow]}])
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "by node_id in each of node_matchers" in str(caught.value.details())
        monkeypatch.undo()
        assert set(told(await fetched(where, node_matchers=[{"node_metadatas": [slow]}]))) == {"one"}


async def test_of_many_questions_at_once_those_that_would_wait_behind_too_many_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here behind any at all; the next one is answered."""
    async with staged(*shop(route("r", "a"))) as stage:
        where = f"127.0.0.1:{stage.port}"
        monkeypatch.setattr(csds, "MOST_WAITING", 0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fetched(where)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "other questions wait for their turn" in str(caught.value.details())
        monkeypatch.undo()
        assert (await fetched(where)).config == []


async def test_a_question_as_large_as_it_may_be_is_answered() -> None:
    """A hundred matchers, with an expression that has an escaped backslash before its letters."""
    async with staged(*shop(route("r", "a"))) as stage, stage.client(delta=True) as stream:
        await stream.say(CLUSTER, resource_names_subscribe=["*"])
        await stream.hear()
        matchers = [*[{"node_id": {"exact": "nobody"}}] * 98, *_expressions(r"\\pL", "mesh/shop/.*/web" + "|" * 984)]
        assert set(told(await fetched(f"127.0.0.1:{stage.port}", node_matchers=matchers))) == {"one"}


async def test_contents_are_left_out_on_request_and_those_of_secrets_always() -> None:
    """A secret's name is told, nothing else."""
    secret = message("envoy.extensions.transport_sockets.tls.v3.Secret")(
        name="cert", tls_certificate={"private_key": {"inline_string": "-----BEGIN PRIVATE KEY-----"}}
    )
    held = EnvoyResource.of(SECRET, "cert", secret.SerializeToString(), (NODE,))
    async with staged(*shop(route("r", "a")), held) as stage, stage.client(delta=True) as stream:
        where = f"127.0.0.1:{stage.port}"
        await stream.say(SECRET, resource_names_subscribe=["cert"])
        heard = await stream.hear()
        await stream.nack(heard, "not a certificate")
        await until(lambda: stage.control.statuses()[0].rejections)
        answer = await fetched(where)
        assert b"PRIVATE KEY" not in answer.SerializeToString()
        config = told(answer)["one"]["Secret", "cert"]
        shown = message("envoy.extensions.transport_sockets.tls.v3.Secret").FromString(config.xds_config.value)
        assert (shown.name, shown.WhichOneof("type"), config.error_state.details) == (
            "cert",
            None,
            "not a certificate",
        )
        bare = await fetched(where, exclude_resource_contents=True)
        assert not any(one.HasField("xds_config") for one in bare.config[0].generic_xds_configs)
        assert states(bare) == states(answer)


async def test_a_stream_answers_each_question_anew() -> None:
    """With whoever is connected then."""
    async with staged(*shop(route("r", "a"))) as stage:
        method = SERVICE + "StreamClientStatus"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{stage.port}") as channel:
            opened: Any = channel.stream_stream(
                method,
                request_serializer=lambda value: value.SerializeToString(),
                response_deserializer=message("envoy.service.status.v3.ClientStatusResponse").FromString,
            )
            call = opened()
            await call.write(request())
            assert told(await asyncio.wait_for(call.read(), DEADLINE)) == {}
            async with stage.client(delta=True) as stream:
                await stream.say(CLUSTER, resource_names_subscribe=["*"])
                await stream.hear()
                await call.write(request())
                assert set(told(await asyncio.wait_for(call.read(), DEADLINE))) == {"one"}
            await call.done_writing()
            assert await asyncio.wait_for(call.code(), DEADLINE) == grpc.StatusCode.OK


async def _refused(plane: Guarded, key: Credentials | None, **members: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fetched(f"127.0.0.1:{plane.port}", key, **members)
    return caught.value.code().name, str(caught.value.details())


async def test_an_operator_sees_all_an_envoy_itself_and_nobody_else_anything(tmp_path: Path) -> None:
    """By `meshwright:GetStatus`, as for `GET /status`; a node's identity shows its own proxies."""
    async with guarded(tmp_path) as plane:
        clients = [plane.client(ADMINISTRATOR), plane.client(ADMINISTRATOR, OTHER_ARN)]
        for client in clients:
            await client.__aenter__()
            await client.say(CLUSTER)
            await client.hear()
        where = f"127.0.0.1:{plane.port}"
        assert {one.node.id for one in (await fetched(where, ADMINISTRATOR)).config} == {ARN, OTHER_ARN}
        own = await fetched(where, WEB, node={"id": ARN})
        assert {one.node.id for one in own.config} == {ARN}
        assert (await _refused(plane, WEB))[0] == "PERMISSION_DENIED"
        assert (await _refused(plane, WEB, node={"id": OTHER_ARN}))[0] == "PERMISSION_DENIED"
        code, words = await _refused(plane, NOBODY)
        assert (code, "meshwright:GetStatus" in words) == ("PERMISSION_DENIED", True)
        assert (await _refused(plane, None))[0] == "UNAUTHENTICATED"
        for client in clients:
            await client.__aexit__(None, None, None)
