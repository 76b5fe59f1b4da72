"""Three stacks of three teams in one mesh, three environments, on real Envoys: nobody touches what is another's."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from envoys import fetch, until
from meshwright.store import sqlite
from registering import PORT, Application
from teams import MESHES, TEAMS, Shop, shop, titles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(900)]  # some fifty processes, on a busy machine


async def test_three_teams_release_verify_promote_repair_and_roll_back(tmp_path: Path) -> None:
    """Step by step; after each, all that is another stack's is as it was before."""
    async with shop(tmp_path, "--xds-report-seconds", "0.5") as one:
        await first_releases(one)
        async with one.running():
            await verified_and_promoted(one)
            await attempted(one)
            await drift_and_repair(one)
            await rolled_back(one)
            await shifted(one)
        one.server.end()
        judged(one)


async def first_releases(one: Shop) -> None:
    """Each team's in each environment, and what was not verified is not promoted."""
    for team in TEAMS:
        async with one.step(team, *MESHES):
            every = (one.run(team, "--environment", environment, "apply") for environment in MESHES)
            await asyncio.gather(*every)
    async with one.step(""):
        unverified = await one.run("pay", *promoting("dev", "staging"), code=1)
    assert "No release of stack 'pay' in dev (mesh 'shop-dev') is verified" in unverified.err
    stacks = {(key.mesh, resource.stack) for key, resource in one.objects().items()}
    assert stacks == {(mesh, team) for mesh in MESHES.values() for team in TEAMS}


async def verified_and_promoted(one: Shop) -> None:
    """A second release of each team: verified where it was made, and then in one environment after the other."""
    for team in TEAMS:
        one.edit(team, *(('"1"', '"2"') if team == "platform" else ("value: 11", "value: 12")))
        async with one.step(team, "dev"):
            await one.run(team, "--environment", "dev", "apply", "--wait", "60")
        async with one.step("", "dev"):
            await one.run(team, "--environment", "dev", "verify", "2", *probing(one, "dev"))
        for before, after in (("dev", "staging"), ("staging", "production")):
            async with one.step(team, after):
                await one.run(team, *promoting(before, after), "--verify", *probing(one, after))
    for environment, mesh in MESHES.items():
        for team in TEAMS[1:]:
            assert await asked(one, environment, team) == (200, f"{team} of {environment}")
        for team in TEAMS:
            newest = one.administrator.release(mesh, team, 2)
            assert (newest["status"], bool(newest["promotes"])) == ("verified", environment != "dev")


def promoting(before: str, after: str) -> tuple[str, ...]:
    """The command that promotes."""
    return ("promote", "--from", before, "--to", after)


def probing(one: Shop, environment: str) -> tuple[str, ...]:
    """Options that probe through the environment's gateway."""
    return ("--gateway", f"edge={one.gateway(environment)}")


async def asked(one: Shop, environment: str, team: str) -> tuple[int, str]:
    """What the environment's gateway answers for a team's service."""
    return await fetch(f"{one.address(environment, 'platform')}.2", PORT, f"/{team}/")


async def attempted(one: Shop) -> None:
    """What can be done to a release, tried on another's stack; another's object in one's own: refused, and kept."""
    here = ("--environment", "production")
    for who, whose, *arguments in (
        ("platform", "cart", *here, "apply", "--parameter", "IDLE=77"),
        ("cart", "pay", *here, "rollback", "--to", "1"),
        ("pay", "platform", *here, "verify", "2", "--timeout", "0", "--allow-unprobed"),
    ):
        told = await one.refused(who, whose, *arguments)
        assert (told["target"], told["error"]) == (f"mesh/shop/stack/{whose}", "AccessDeniedException")
        assert f"user/{who} acts for stack '{who}' and not for stack '{whose}'" in told["reason"]
    foreign = one.folder / "cart" / "foreign.yaml"
    foreign.write_text((one.folder / "pay" / "mesh.yaml").read_text())
    told = await one.refused("cart", "cart", *here, "apply", "mesh.yaml", "foreign.yaml")
    assert (told["target"], told["error"]) == ("mesh/shop/stack/cart", "AccessDeniedException")
    assert "on resource: arn:aws:appmesh:us-east-1:000000000000:mesh/shop/virtual" in told["reason"]


async def drift_and_repair(one: Shop) -> None:
    """The operator, who owns nothing, and the team itself write over a release; each is told, both are taken back."""
    mesh, route, node = MESHES["production"], "virtualRouter/cart/route/all", "virtualNode/cart"
    writing = {"operator": f"mesh/{mesh}/{route}", "cart": f"mesh/{mesh}/{node}"}
    async with one.step("cart", "production"):
        await asyncio.to_thread(written_over, one)
    found = (await one.run("cart", *drifting("cart"), code=1)).json
    assert {
        difference["object"]: (difference["kind"], difference["author"]["principal"].rpartition("/")[2])
        for difference in found["differences"]
    } == {writing["operator"]: ("drift", "operator"), writing["cart"]: ("unreleased", "cart")}
    others = await asyncio.gather(*(one.run(team, *drifting(team)) for team in ("platform", "pay")))
    assert [done.json["differences"] for done in others] == [[], []]
    told = await one.refused("pay", "cart", *drifting("cart"), "--repair")
    assert "meshwright:RollBack" in told["reason"]
    async with one.step("cart", "production"):
        more = ("--repair", "--wait", "60", "--reason", "as it was verified")
        repaired = (await one.run("cart", *drifting("cart"), *more)).json
    assert (repaired["left"], repaired["propagation"]["state"]) == ([], "propagated")
    async with one.step("", "production"):
        await one.run("cart", "--environment", "production", "verify", "3", *probing(one, "production"))
    assert (await one.run("cart", *drifting("cart"))).json["differences"] == []


def written_over(one: Shop) -> None:
    """By stock clients, each with the running object as a template."""
    there = {"meshName": MESHES["production"]}
    operator, owner = one.boto3("operator"), one.boto3("cart")
    route = {**there, "virtualRouterName": "cart", "routeName": "all"}
    spec = operator.describe_route(**route)["route"]["spec"]
    spec["httpRoute"]["timeout"]["perRequest"]["value"] = 99
    operator.update_route(**route, spec=spec)
    node = {**there, "virtualNodeName": "cart"}
    spec = owner.describe_virtual_node(**node)["virtualNode"]["spec"]
    spec["listeners"][0]["timeout"]["http"]["idle"]["value"] = 98
    owner.update_virtual_node(**node, spec=spec)
    for stranger in ("operator", "pay", "platform"):
        with pytest.raises(ClientError, match="not authorized to perform: appmesh:UpdateVirtualNode"):
            one.boto3(stranger).update_virtual_node(**node, spec=spec)


def drifting(team: str) -> tuple[str, ...]:
    """The command that tells a stack's drift in production."""
    return ("--environment", "production", "drift", "--stack", team, "--format", "json")


async def rolled_back(one: Shop) -> None:
    """A release that takes the way in away: the one before it is restored, and with it the way."""
    here = ("--environment", "production")
    one.edit("pay", "prefix: /pay/", "prefix: /elsewhere/")
    async with one.step("pay", "production"):
        await one.run("pay", *here, "apply", "--wait", "60")
    await until(answers(one, 404), "the way is gone")
    async with one.step("pay", "production"):
        await one.run("pay", *here, "rollback", "--last-good", "--reason", "nobody gets in", "--wait", "60")
    await until(answers(one, 200), "the way is back")
    told = (await one.run("pay", *here, "history", "--format", "json")).out
    assert titles(told) == [
        (4, "rollback", "propagated"),
        (3, "apply", "rolled back"),
        (2, "apply", "verified"),
        (1, "apply", "propagated"),
    ]


CANARY = (
    *("--canary", "20,50", "--canary-interval", "0.2", "--canary-min-requests", "5", "--canary-max-duration", "0"),
    *("--canary-threshold", "1", "--canary-progress-deadline", "120", "--wait", "60", "--format", "json"),
)
"""Two steps in production, as quick as reports come, judged by errors alone."""
NODE = """
---
virtualNodeName: cart-v2
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {awsCloudMap: {namespaceName: shop.local, serviceName: cart-v2}}
"""


async def shifted(one: Shop) -> None:
    """A canary of a new version that returns, and one that succeeds once it is mended; others call all the while."""
    here = ("--environment", "production", "apply", *CANARY)
    newer = Application("the new cart")
    newer.broken = True
    one.edit("cart", "virtualNode: cart,", "virtualNode: cart-v2,")
    with (one.folder / "cart" / "mesh.yaml").open("a") as file:
        file.write(NODE)
    async with one.newer(newer, "production", "cart", "cart-v2"):
        async with one.step("cart", "production"), calls(one) as answered:
            done = (await one.run("cart", *here, code=1)).json
        assert done["canary"]["state"] == "returned"
        assert done["release"]["reason"].startswith(
            "the canary cart#4 failed at 20 %: 1 failed check; the last: cart-v2"
        )
        assert answered == {(200, "cart of production"), (500, "the new cart")}
        assert await asked(one, "production", "cart") == (200, "cart of production")
        newer.broken = False
        async with one.step("cart", "production"), calls(one) as answered:
            done = (await one.run("cart", *here)).json
        assert done["canary"]["state"] == "finished"
        assert [part["canary"]["weight"] for part in done["canary"]["releases"]] == [0, 20, 50, 100]
        assert answered == {(200, "cart of production"), (200, "the new cart")}
        assert await asked(one, "production", "cart") == (200, "the new cart")


@contextlib.asynccontextmanager
async def calls(one: Shop) -> AsyncIterator[set[tuple[int, str]]]:
    """Calls of the cart through production's gateway until the block ends: what was answered, each of it once."""
    answered: set[tuple[int, str]] = set()
    over = asyncio.Event()

    async def calling() -> None:
        while not over.is_set():
            answered.add(await asked(one, "production", "cart"))

    task = asyncio.create_task(calling())
    try:
        yield answered
    finally:
        over.set()
        await task


def answers(one: Shop, status: int) -> Callable[[], Awaitable[bool]]:
    """Whether the gateway of production answers so where `pay` is called."""

    async def so() -> bool:
        return (await asked(one, "production", "pay"))[0] == status

    return so


def judged(one: Shop) -> None:
    """The audit log is sound, and in all of it every release wrote objects of its own stack alone."""
    store = sqlite.connect(one.server.database)
    assert store.verify().faults == ()
    leaves = [json.loads(leaf.text) for leaf in store.leaves()]
    owners = {one.key.path: one.stack for one in store.head().state}
    store.close()
    written = {
        (change["object"], leaf["release"].partition("#")[0].rpartition("/")[2])
        for leaf in leaves
        if leaf["kind"] == "revision" and leaf.get("release")
        for change in leaf["changes"]
    }
    assert written == set(owners.items())
