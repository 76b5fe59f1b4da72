"""Retry policies in real Envoys: tries counted at the application, within one version or across versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ads_client import AdsClient
from data_plane import PORT, DataPlane, data_plane, provided, routed, to
from http_traffic import Caller, Message, application, plain
from meshwright.lab import grpcs, http2
from meshwright.lab.exchange import Reply, Request
from meshwright.model import Key, Kind, Resource
from meshwright.snapshot.messages import as_dict, unpacked
from meshwright.snapshot.resources import ROUTE
from shares import DRAWS, assert_share
from strategies import Wire, resource

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.envoy

WEB = Key("m", Kind.VIRTUAL_NODE, "web")
EAGER: Wire = {
    "maxRetries": 4,
    "perRetryTimeout": {"value": 5, "unit": "s"},
    "httpRetryEvents": ["server-error"],
}


def policy(name: str, spec: Wire) -> Resource:
    """A retry policy about the service `pay.local` unless `spec` names another target."""
    return resource(Kind.RETRY_POLICY, name, {"target": {"virtualServiceName": "pay.local"}, **spec})


def versions(plane: DataPlane, *more: Resource) -> list[Resource]:
    """A node `web` whose backend `pay.local` leads to `v1` and `v2` in equal shares."""
    route = {"match": {"prefix": "/"}, "action": to(v1=50, v2=50)}
    nodes = (plane.node("web", "pay.local"), plane.node("v1"), plane.node("v2"))
    return [resource(Kind.MESH, "m", {}), *nodes, *routed("pay.local", route), *more]


def failing(_asked: Message) -> Message:
    """What an application answers that is down."""
    return plain("down", 503)


async def test_a_retry_stays_in_its_version_unless_it_may_go_to_another(tmp_path: Path) -> None:
    """By default all tries of a request hit the version that the weights chose, as in App Mesh; else the next one."""
    async with (
        data_plane(tmp_path) as plane,
        application(plane.place("v1").ingress, PORT, failing) as first,
        application(plane.place("v2").ingress, PORT, "paid") as second,
    ):
        await plane.publish(*versions(plane))
        await plane.proxy(WEB)
        async with Caller(plane.place("web").egress, PORT, 20) as caller:

            async def failed() -> int:
                first.clear()
                answers = await caller.ask_often(DRAWS, "pay.local")
                lost = sum(one.status == 503 for one in answers)
                assert len(first) == 3 * lost  # two retries, in vain
                return lost

            await assert_share(0.5, failed)
            await plane.publish(*versions(plane, policy("moving", {"acrossVersions": True})))

            async def moved() -> int:
                first.clear()
                second.clear()
                answers = await caller.ask_often(DRAWS, "pay.local")
                assert {one.status for one in answers} == {200}
                assert len(second) == DRAWS
                return len(first)

            await assert_share(0.5, moved)


async def test_a_service_that_a_node_provides_is_retried_by_policy_as_routes_are(tmp_path: Path) -> None:
    """App Mesh had no way to say so; a policy about a route counts before that about its service."""
    answers = iter([500] * 4)
    route = {"match": {"prefix": "/"}, "action": to(v2=1)}
    narrow = {
        "target": {"virtualRouterName": "two.local", "routeName": "all"},
        "httpRetryPolicy": EAGER | {"maxRetries": 1},
    }

    def unsure(_asked: Message) -> Message:
        return plain("paid", next(answers, 200))

    async with (
        data_plane(tmp_path) as plane,
        application(plane.place("v1").ingress, PORT, unsure) as provider,
        application(plane.place("v2").ingress, PORT, failing) as routed_to,
    ):
        mesh = [
            resource(Kind.MESH, "m", {}),
            plane.node("web", "pay.local", "two.local"),
            plane.node("v1"),
            plane.node("v2"),
            provided("pay.local", "v1"),
            *routed("two.local", route),
        ]
        wide = {"target": {"virtualServiceName": "two.local"}, "httpRetryPolicy": EAGER}
        await plane.publish(*mesh)
        await plane.proxy(WEB)
        async with Caller(plane.place("web").egress, PORT) as caller:
            assert (await caller.ask("pay.local")).status == 500
            assert len(provider) == 1
            policies = [policy("a", {"httpRetryPolicy": EAGER}), policy("b", wide), policy("c", narrow)]
            await plane.publish(*mesh, *policies)
            assert (await caller.ask("pay.local")).status == 200
            assert len(provider) == 5  # the one before; of four tries now, three fail
            assert (await caller.ask("two.local")).status == 503
            assert len(routed_to) == 2


async def test_grpc_calls_are_retried_by_the_policy_for_grpc(tmp_path: Path) -> None:
    """On the statuses of gRPC that it names."""
    tried: list[Request] = []

    async def answer(asked: Request, _protocol: str) -> Reply:
        tried.append(asked)
        return Reply(node="pay", status=200 if len(tried) > 4 else 503)

    server = http2.server(answer)
    async with data_plane(tmp_path) as plane:
        await server.start(plane.place("pay").ingress, PORT)
        spec = {
            "grpcRetryPolicy": {
                "maxRetries": 4,
                "perRetryTimeout": {"value": 5, "unit": "s"},
                "grpcRetryEvents": ["unavailable"],
            }
        }
        await plane.publish(
            resource(Kind.MESH, "m", {}),
            plane.node("web", "pay.local", protocol="grpc"),
            plane.node("pay", protocol="grpc"),
            provided("pay.local", "pay"),
            policy("calls", spec),
        )
        await plane.proxy(WEB)
        reply = await grpcs.call(plane.place("web").egress, PORT, Request(authority="pay.local", path="/shop.Pay/Do"))
        assert (reply.status, len(tried)) == (200, 5)
        await server.stop()


async def test_an_older_envoy_is_not_sent_what_it_does_not_know_and_says_so(tmp_path: Path) -> None:
    """Beside a new one of the same node, which is; the rest of the policy reaches both."""
    async with data_plane(tmp_path) as plane:
        spec = {"acrossVersions": True, "httpRetryPolicy": EAGER}
        await plane.publish(*versions(plane, policy("moving", spec)))
        await plane.proxy(WEB)
        node = {
            "id": WEB.path,
            "metadata": {"meshwright": {"instance": "old", "runtime": True}},
            "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 34, "patch": 13}},
        }
        async with AdsClient(f"127.0.0.1:{plane.xds}", node, delta=True) as old:
            await old.say(ROUTE, resource_names_subscribe=["rds_egress_http_8080"])
            (sent,) = (await old.hear()).resources
            (host,) = as_dict(unpacked(sent.resource))["virtual_hosts"]
            retries = host["routes"][0]["route"]["retry_policy"]
            assert retries["num_retries"] == 4
            assert "refresh_cluster_on_retry" not in retries
            unserved = {one.id: one.unserved for one in plane.control.statuses()}
            (told,) = unserved[f"{WEB.path}@old"]
            assert (told.subject.name, told.path) == ("moving", "spec.acrossVersions")
            assert "this takes Envoy 1.39 or newer" in told.reason
            assert unserved[f"{WEB.path}@web"] == ()
