"""Verification: a release is verified by what proxies took and where instances are, and the evidence is kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from live import live
from meshwright.errors import ApiError, RefusedError
from meshwright.model.identity import parse_key
from meshwright.release import ApplyRequest, Check, Item, RollbackRequest, VerifyRequest
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshwright.store import sqlite
from registering import CALLER, CLUSTER_NAME, PAY, PORT, client, listening, proxy, serving, shop, taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ads_client import AdsClient
    from live import Live
    from meshwright.model.identity import Key

NOW = ("--timeout", "0")


async def said(server: Live, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command about the stack `shop`, as the administrator."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshwright.cli", "--endpoint", server.api),
        *(arguments[0], "--mesh", "shop", "--stack", "shop", *arguments[1:]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(server.credentials), **environment},
        cwd=server.folder,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 120)
    return int(process.returncode or 0), out.decode(), errors.decode()


async def verified(server: Live, *arguments: str, waived: bool = True, number: int = 1) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a verification, of the first release unless told; nobody calls its routes here."""
    more = ("--allow-unprobed",) if waived else ()
    code, out, errors = await said(server, "verify", f"shop#{number}", "--format", "json", *more, *arguments)
    assert out, errors
    return code, json.loads(out)


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    """What came of each check but that of the routes."""
    return {one["name"]: one["outcome"] for one in found["checks"] if one["name"] != "routes"}


async def status(server: Live, number: int = 1) -> str:
    """What is noted of a release."""
    found = await asyncio.to_thread(client(server).release, "shop", "shop", number)
    return str(found["status"])


@contextlib.asynccontextmanager
async def caller(server: Live) -> AsyncIterator[AdsClient]:
    """A proxy of the caller that has taken all that it is offered."""
    async with proxy(server, CALLER) as stream:
        for kind, names in (
            (CLUSTER, ()),
            (ENDPOINT, (CLUSTER_NAME,)),
            (LISTENER, ()),
            (ROUTE, (f"rds_egress_http_{PORT}",)),
        ):
            await taken(stream, kind, *names)
        yield stream


async def serves(stream: AdsClient) -> None:
    """A proxy of the service takes all that it is offered."""
    await listening(stream)
    await taken(stream, ROUTE, f"rds_ingress_http_{PORT}")


@contextlib.asynccontextmanager
async def instance(server: Live, name: str = "one", address: str = "10.0.0.1") -> AsyncIterator[AdsClient]:
    """A proxy that registers an instance of the service, and listens."""
    async with proxy(server, PAY, name, endpoint={"address": address}) as stream:
        await serves(stream)
        yield stream


async def test_a_release_that_all_took_and_whose_instances_are_well_is_verified(tmp_path: Path) -> None:
    """The evidence says who and where, is shown again, and is in the audit log."""
    with serving(tmp_path / "data") as server:
        async with caller(server), instance(server):
            code, found = await verified(server, "--timeout", "30")
            assert (code, outcomes(found)) == (0, {"proxies": "passed", "endpoints": "passed"})
            assert (found["release"]["status"], found["inspection"]["judgement"]) == ("verified", "verified")
            proxies, endpoints, _ = found["checks"]
            assert {one["subject"] for one in proxies["sights"]} == {f"{CALLER.path}@one", f"{PAY.path}@one"}
            (sight,) = endpoints["sights"]
            assert (sight["subject"], sight["told"]) == (f"{PAY.path} 10.0.0.1", "healthy, by registration")
            code, out, _ = await said(server, "verify", "1", "--show")
            assert code == 0
            assert out.startswith("shop#1 is verified (by arn:aws:iam::000000000000:user/administrator at ")
            assert " verified " in (await said(server, "history"))[1]
    store = sqlite.connect(server.database)
    assert store.verify().faults == ()
    assert [one.judgement for one in store.inspections("shop", "shop", 1)] == ["verified"]
    store.close()


async def test_what_nobody_took_is_not_known_to_be_good(tmp_path: Path) -> None:
    """Whatever may be left out: without a proxy there is nothing to see."""
    with serving(tmp_path / "data") as server:
        async with instance(server):
            pass
        code, found = await verified(server, *NOW, "--allow-unprobed", "--endpoints", "pay=0")
        assert code == 1
        assert outcomes(found)["proxies"] == "inconclusive"
        assert (found["inspection"]["judgement"], await status(server)) == ("failed", "failed")


async def test_a_missing_instance_fails_it_and_one_that_is_back_mends_it(tmp_path: Path) -> None:
    """Nothing is judged before its time is over, and a failed verification may be made again."""
    with serving(tmp_path / "data") as server:
        async with caller(server):
            code, found = await verified(server, *NOW)
            assert (code, outcomes(found)) == (1, {"proxies": "passed", "endpoints": "failed"})
            told = "mesh/shop/virtualNode/pay: 0 of 1 expected instances are registered and healthy"
            assert found["checks"][1]["told"] == told
            assert await status(server) == "failed"
            waiting = asyncio.create_task(verified(server, "--timeout", "60"))
            async with instance(server):
                code, found = await waiting
                assert (code, await status(server)) == (0, "verified")


async def test_so_many_instances_as_are_expected_must_be_there(tmp_path: Path) -> None:
    """And only nodes of the release can be meant."""
    with serving(tmp_path / "data") as server:
        async with caller(server), instance(server):
            code, found = await verified(server, *NOW, "--endpoints", "pay=2")
            assert (code, outcomes(found)["endpoints"]) == (1, "failed")
            async with instance(server, "two", "10.0.0.2"):
                assert (await verified(server, "--endpoints", "pay=2"))[0] == 0
            for wrong in ("pay", "pay=x", "=1"):
                assert (await said(server, "verify", "1", "--endpoints", wrong))[0] == 2
            code, _, errors = await said(server, "verify", "1", "--endpoints", "ghost=1")
            assert (code, errors) == (
                1,
                "Error: shop#1 holds no virtual node 'ghost', of which instances are expected.\n",
            )


async def test_a_rejection_fails_it_with_the_proxy_s_words(tmp_path: Path) -> None:
    """At once, and the next release may be verified."""
    with serving(tmp_path / "data") as server:
        async with proxy(server, CALLER) as stream:
            await stream.say(CLUSTER)
            rejecting = asyncio.create_task(reject(stream))
            code, found = await verified(server, "--timeout", "60", "--endpoints", "pay=0")
            assert (code, outcomes(found)["proxies"]) == (1, "failed")
            assert found["checks"][0]["told"] == "mesh/shop/virtualNode/caller@one: rejected it: no such thing"
            rejecting.cancel()


async def reject(stream: AdsClient) -> None:
    """Reject whatever comes, as an Envoy would each time that it is sent again."""
    while True:
        await stream.nack(await stream.hear(), "no such thing")


async def test_only_what_runs_can_be_verified(tmp_path: Path) -> None:
    """Not a release that another one followed, and not one that somebody wrote over."""
    with serving(tmp_path / "data") as server:
        api = client(server)
        await asyncio.to_thread(
            api.apply, "shop", "shop", shop(timeout={"http": {"idle": {"unit": "s", "value": 9}}})
        )
        code, _, errors = await said(server, "verify", "1")
        assert code == 1
        assert "shop#1 cannot be verified: shop#2 came after it" in errors
        code, _, errors = await said(server, "verify", "99")
        assert code == 2
        assert "has no release 99" in errors
        boto3.client(
            "appmesh",
            endpoint_url=server.api,
            region_name="us-east-1",
            aws_access_key_id=server.key.id,
            aws_secret_access_key=server.key.secret,
        ).update_virtual_node(meshName="shop", virtualNodeName="caller", spec={})
        code, _, errors = await said(server, "verify", "2")
        assert code == 1
        assert "shop#2 cannot be verified: its stack does not run as the release left it" in errors
        assert await status(server, 2) == "applied"


async def test_a_client_can_say_nothing_of_what_the_control_plane_sees_itself(tmp_path: Path) -> None:
    """It brings what it probed, which alone makes nothing good."""
    with serving(tmp_path / "data") as server:
        api = client(server)
        for name, by in (("proxies", "client"), ("endpoints", "client"), ("routes", "control-plane")):
            claimed: Any = {"name": name, "by": by}
            check = Check(**claimed, outcome="passed", told="all is well", began_at=1, ended_at=2)
            with pytest.raises(ApiError, match="A client cannot say what came of"):
                await asyncio.to_thread(api.verify, "shop", "shop", 1, VerifyRequest(checks=(check,)))
        assert await status(server) == "applied"


async def test_of_nodes_that_only_dns_tells_of_the_proxies_count(tmp_path: Path) -> None:
    """Where none is connected nobody knows, unless that is to be taken for good."""
    dns = {"dns": {"hostname": "pay.shop.local"}}
    with serving(tmp_path / "data", discovery=dns) as server:
        async with proxy(server, CALLER) as stream:
            for kind, names in ((CLUSTER, ()), (LISTENER, ()), (ROUTE, (f"rds_egress_http_{PORT}",))):
                await taken(stream, kind, *names)
            code, found = await verified(server, *NOW, waived=False)
            assert (code, outcomes(found)) == (1, {"proxies": "passed", "endpoints": "inconclusive"})
            assert await status(server) == "propagated"
            code, out, _ = await said(server, "verify", "1", "--allow-unprobed")
            assert code == 0
            assert "endpoints: inconclusive, taken for good: mesh/shop/virtualNode/pay: only DNS tells" in out
            async with proxy(server, PAY) as one:
                await serves(one)
                code, found = await verified(server, "--timeout", "30")
                assert (code, outcomes(found)["endpoints"]) == (0, "passed")


async def test_the_last_good_release_is_the_newest_verified_one(tmp_path: Path) -> None:
    """Not one that only propagated."""
    with serving(tmp_path / "data") as server:
        api = client(server)
        async with caller(server) as stream, instance(server):
            assert (await verified(server))[0] == 0
            for seconds in (8, 9):
                limit = {"http": {"idle": {"unit": "s", "value": seconds}}}
                await asyncio.to_thread(api.apply, "shop", "shop", shop(timeout=limit))
            del stream
        found = await asyncio.to_thread(api.roll_back, "shop", "shop", RollbackRequest(last_good=True))
        assert found["release"]["restores"] == 1


DEFINITIONS = """
meshName: shop
spec: {}
---
virtualNodeName: caller
spec: {backends: [{virtualService: {virtualServiceName: pay.shop.local}}]}
---
virtualNodeName: pay
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}, timeout: {http: {idle: {unit: s, value: 5}}}}]
  serviceDiscovery: {awsCloudMap: {namespaceName: shop.local, serviceName: pay}}
---
virtualServiceName: pay.shop.local
spec: {provider: {virtualNode: {virtualNodeName: pay}}}
"""


async def test_a_release_that_fails_its_verification_is_rolled_back_by_the_same_job(tmp_path: Path) -> None:
    """To the newest verified one, if nothing came after it; and the job fails, saying both."""
    with serving(tmp_path / "data") as server:
        file = server.folder / "mesh.yaml"
        file.write_text(DEFINITIONS)
        apply = ("apply", str(file), "--verify", "--allow-unprobed")
        async with following(server, CALLER), following(server, PAY, endpoint={"address": "10.0.0.1"}):
            code, out, errors = await said(server, *apply, "--wait", "30")
            assert (code, "shop#2 is verified" in out) == (0, True), errors
            assert await said(server, *apply) == (0, "No changes: shop#2 (revision 2) is what runs.\n", "")
            file.write_text(DEFINITIONS.replace("value: 5", "value: 6"))
            more = ("--endpoints", "pay=2", "--format", "json", "--wait", "1")
            code, out, errors = await said(server, *apply, *more)
            found = json.loads(out)
            assert code == 1
            assert errors.splitlines()[-1] == "shop#3 failed its verification and was rolled back by shop#4."
            assert (found["release"]["title"], found["verification"]["judgement"]) == ("shop#3", "failed")
            back = found["rollback"]["release"]
            assert (back["restores"], back["kind"], found["propagation"]["state"]) == (2, "rollback", "propagated")
            assert back["reason"] == (
                "shop#3 failed its verification: endpoints: 1 of 2: "
                "mesh/shop/virtualNode/pay: 1 of 2 expected instances is registered and healthy"
            )
            assert [await status(server, number) for number in (2, 3, 4)] == ["verified", "rolled back", "propagated"]


async def test_where_the_last_good_release_cannot_come_back_the_one_before_it_does(tmp_path: Path) -> None:
    """What failed is not left running for want of another stack's node; the job says what it passed over."""
    dns = {"dns": {"hostname": "extra"}}
    spec = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}], "serviceDiscovery": dns}
    node = Item(key=parse_key("mesh/shop/virtualNode/extra"), spec=spec)
    provider = {"provider": {"virtualNode": {"virtualNodeName": "extra"}}}
    service = Item(key=parse_key("mesh/shop/virtualService/extra.local"), spec=provider)
    with serving(tmp_path / "data") as server:
        api = client(server)

        async def applied(stack: str, *content: Item) -> None:
            await asyncio.to_thread(api.apply, "shop", stack, ApplyRequest(resources=content))

        await applied("base", node)
        verify = ("verify", "--rollback", "--allow-unprobed", "--timeout")
        async with following(server, CALLER), following(server, PAY, endpoint={"address": "10.0.0.1"}):
            assert (await said(server, *verify, "30"))[0] == 0
            await applied("shop", *(shop().resources or ()), service)
            code, _, errors = await said(server, *verify, "30")
            assert code == 0, errors
            await applied("shop", *(shop(timeout={"http": {"idle": {"unit": "s", "value": 6}}}).resources or ()))
            await applied("base")
            code, out, errors = await said(server, *verify, "1", "--endpoints", "pay=2")
            assert code == 1
            assert errors.splitlines()[-1] == "shop#3 failed its verification and was rolled back by shop#4."
            assert ", restoring shop#1: " in out
            gone = f"shop#2 cannot be restored: {service.key} refers to {node.key}, which is gone\n"
            assert f" instances is registered and healthy; {gone}" in out


async def test_a_route_that_is_probed_from_elsewhere_than_its_callers_names_them(tmp_path: Path) -> None:
    """A gateway that does not lead there is not everybody."""
    gateway = "---\nvirtualGatewayName: edge\nspec: {listeners: [{portMapping: {port: 8080, protocol: http}}]}\n"
    with serving(tmp_path / "data") as server:
        (server.folder / "mesh.yaml").write_text(DEFINITIONS + gateway)
        code, _, errors = await said(server, "apply", "mesh.yaml")
        assert code == 0, errors
        code, found = await verified(server, *NOW, "--gateway", "http://127.0.0.1:1", number=2)
        sights = {one["subject"]: one["told"] for check in found["checks"] for one in check["sights"]}
        assert sights["mesh/shop/virtualService/pay.shop.local"] == (
            "no call from where you said reaches it: none of those may call virtual service 'pay.shop.local'; "
            "a call of caller would: --probe-from caller"
        )


async def test_a_job_of_its_own_verifies_the_newest_release_and_rolls_it_back(tmp_path: Path) -> None:
    """It names no release; what is verified stays, and so does one of which nothing can be said."""
    with serving(tmp_path / "data") as server:
        file = server.folder / "mesh.yaml"
        file.write_text(DEFINITIONS)
        verify = ("verify", "--rollback", "--allow-unprobed", "--timeout")
        async with following(server, CALLER), following(server, PAY, endpoint={"address": "10.0.0.1"}):
            assert (await said(server, "apply", str(file), "--wait", "30"))[0] == 0
            assert (await said(server, *verify, "30"))[0] == 0
            file.write_text(DEFINITIONS.replace("value: 5", "value: 6"))
            assert (await said(server, "apply", str(file), "--wait", "30"))[0] == 0
            assert (await said(server, "verify", "--rollback", *NOW))[0] == 1
            assert await status(server, 3) == "propagated"
            code, out, errors = await said(server, *verify, "1", "--endpoints", "pay=2", "--format", "json")
            told = json.loads(out)
            assert (code, told["inspection"]["judgement"]) == (1, "failed"), errors
            assert (told["rollback"]["release"]["restores"], await status(server, 3)) == (2, "rolled back")


async def test_a_stack_without_releases_has_nothing_to_verify(tmp_path: Path) -> None:
    """Which is said, with exit code 1."""
    with serving(tmp_path / "data") as server:
        code, _, errors = await said(server, "verify", "--stack", "other")
        assert code == 1
        assert "has no release" in errors


async def test_a_release_that_cannot_be_rolled_back_stays_and_the_job_fails(tmp_path: Path) -> None:
    """Nothing before it is known to be good; and what came after it is left alone."""
    with live(tmp_path / "data") as server:
        file = server.folder / "mesh.yaml"
        file.write_text(DEFINITIONS)
        arguments = ("--verify", "--wait", "0", "--allow-unprobed", "--format", "json")
        code, out, errors = await said(server, "apply", str(file), *arguments)
        assert code == 1
        assert "because it cannot be rolled back: No release of stack 'shop' in mesh 'shop' is known" in errors
        assert json.loads(out)["refused"].startswith("No release of stack 'shop'")
        assert await status(server) == "failed"
        await asyncio.to_thread(client(server).apply, "shop", "shop", shop())
        back = RollbackRequest(to=1, instead_of=1)
        with pytest.raises(RefusedError, match="shop#1 is not rolled back: shop#2 came after it"):
            await asyncio.to_thread(client(server).roll_back, "shop", "shop", back)


@contextlib.asynccontextmanager
async def following(server: Live, node: Key, **ours: Any) -> AsyncIterator[None]:
    """A proxy that takes whatever it is offered, and goes on doing so."""
    way = "egress" if node == CALLER else "ingress"
    async with proxy(server, node, **ours) as stream:
        for kind in (CLUSTER, LISTENER):
            await taken(stream, kind)
        await taken(stream, ROUTE, f"rds_{way}_http_{PORT}")
        if node == CALLER:
            await taken(stream, ENDPOINT, CLUSTER_NAME)
        acking = asyncio.create_task(follow(stream))
        try:
            yield
        finally:
            acking.cancel()


async def follow(stream: AdsClient) -> None:
    """Ack whatever comes."""
    while True:
        await stream.ack(await stream.hear(300))
