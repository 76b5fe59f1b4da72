"""Three stacks of three teams in one mesh, three environments, on real Envoys: nobody touches what is another's."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from envoys import fetch, until
from meshwright.store import sqlite
from registering import PORT
from teams import MESHES, TEAMS, Shop, shop, titles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(900)]  # some fifty processes, on a busy machine


async def test_three_teams_release_verify_promote_repair_and_roll_back(tmp_path: Path) -> None:
    """Step by step; after each, all that is another stack's is as it was before."""
    async with shop(tmp_path) as one:
        await first_releases(one)
        async with one.running():
            await verified_and_promoted(one)
            await attempted(one)
            await drift_and_repair(one)
            await rolled_back(one)
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
