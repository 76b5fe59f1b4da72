"""`plan --adopt` and `apply --adopt`: what the stack's owner wrote by stock tools becomes part of a release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from serving import KEY
from test_cli_releases import DEFINITIONS, run
from test_releases import INTRUDER, update_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from command_line import Done
    from serving import Serving

__all__ = ("run",)


def node(name: str) -> str:
    """The definition of one more virtual node."""
    dns = f"{{dns: {{hostname: {name}}}}}"
    listeners = "[{portMapping: {port: 80, protocol: http}}]"
    return f"---\nvirtualNodeName: {name}\nspec: {{listeners: {listeners}, serviceDiscovery: {dns}}}\n"


def weights(server: Serving) -> list[int]:
    """Of the two targets of the only route."""
    found = server.client().describe_route(meshName="m", virtualRouterName="r", routeName="x")
    return [one["weight"] for one in found["route"]["spec"]["httpRoute"]["action"]["weightedTargets"]]


def test_what_the_owner_wrote_is_named_when_it_is_taken_back_and_kept_when_it_is_adopted(
    run: Callable[..., Done], server: Serving
) -> None:
    """The release is of what runs; from then on nothing drifts, and the definitions are told where to follow."""
    run("apply")
    update_weight(server, KEY, a=60, b=40)
    told = run("plan").err
    assert (
        "Written since the last release, and taken back by this: mesh/m/virtualRouter/r/route/x, UpdateRoute" in told
    )
    assert "`--adopt` takes what the owner wrote into the release instead." in told
    planned = run("plan", "--adopt")
    assert planned.out.startswith("No changes for stack shop in mesh m.\n")
    assert "weightedTargets[0].weight: 90 → 60" in planned.err
    assert "Write it in mesh.yaml:" in planned.err
    done = run("apply", "--adopt")
    assert (done.code, weights(server)) == (0, [60, 40])
    assert "Released shop#2" in done.out
    assert run("drift").out == "No drift: shop in mesh m runs as shop#2 left it.\n"
    assert run("history", "--format", "json").json["releases"][0]["definitions"] == ""
    again = run("apply", "--adopt")
    assert (again.code, again.out) == (0, "No changes: shop#2 (revision 3) is what runs.\n")
    assert "Adopted by shop#2 already: mesh/m/virtualRouter/r/route/x." in again.err
    write(DEFINITIONS + node("c"))
    assert (run("apply", "--adopt").code, weights(server)) == (0, [60, 40])
    assert (run("apply").code, weights(server)) == (0, [90, 10])
    assert "there is nothing to adopt" in run("apply", "--adopt").err
    assert weights(server) == [90, 10]


def test_definitions_that_say_something_new_of_what_was_adopted_are_released(
    run: Callable[..., Done], server: Serving
) -> None:
    """They follow, or they want it otherwise: both were written after it."""
    run("apply")
    update_weight(server, KEY, a=60, b=40)
    run("apply", "--adopt")
    write(DEFINITIONS.replace("weight: 90", "weight: 70"))
    assert (run("apply", "--adopt").code, weights(server)) == (0, [70, 10])


def test_the_rest_of_the_definitions_is_applied_beside_what_is_adopted(
    run: Callable[..., Done], server: Serving
) -> None:
    """A node is added by the definitions; another was deleted, and a route made, by the owner."""
    write(DEFINITIONS + node("c"))
    run("apply")
    client = server.client(KEY)
    client.delete_virtual_node(meshName="m", virtualNodeName="c")
    spec = client.describe_route(meshName="m", virtualRouterName="r", routeName="x")["route"]["spec"]
    client.create_route(meshName="m", virtualRouterName="r", routeName="y", spec={**spec, "priority": 7})
    update_weight(server, KEY, a=60, b=40)
    write(DEFINITIONS + node("c") + node("d"))
    done = run("apply", "--adopt")
    assert done.code == 0, done.err
    names = {one["virtualNodeName"] for one in client.list_virtual_nodes(meshName="m")["virtualNodes"]}
    assert (names, weights(server)) == ({"a", "b", "d"}, [60, 40])
    assert "virtualNode/c (deleted), DeleteVirtualNode by" in done.err
    assert "route/y (new), CreateRoute by" in done.err
    assert run("drift").code == 0
    # What only ran is the stack's now: a release of definitions without it deletes it.
    write(DEFINITIONS + node("d"))
    assert "1 deleted" in run("apply").out


def test_what_the_definitions_changed_as_well_is_refused(run: Callable[..., Done], server: Serving) -> None:
    """Neither is lost: somebody decides."""
    run("apply")
    update_weight(server, KEY, a=60, b=40)
    write(DEFINITIONS.replace("weight: 90", "weight: 80"))
    done = run("apply", "--adopt")
    assert (done.code, weights(server)) == (1, [60, 40])
    assert "Not only the owner changed mesh/m/virtualRouter/r/route/x since the last release" in done.err
    assert "mesh.yaml:" in done.err
    write(DEFINITIONS.replace("weight: 90", "weight: 60").replace("weight: 10", "weight: 40"))
    assert run("apply", "--adopt").code == 0


def test_what_others_wrote_is_not_adopted(run: Callable[..., Done], server: Serving) -> None:
    """Nor what the owner wrote over it: the object is as nobody who owns it wanted it."""
    run("apply")
    update_weight(server, INTRUDER, a=90, b=20)
    update_weight(server, KEY, a=50, b=20)
    done = run("apply", "--adopt")
    assert (done.code, weights(server)) == (0, [90, 10])
    assert "Not the owner's, and not adopted: mesh/m/virtualRouter/r/route/x." in done.err


def test_a_plan_that_adopts_is_applied_as_it_was_made_or_is_stale(
    run: Callable[..., Done], server: Serving, tmp_path: Path
) -> None:
    """The owner writes on between plan and apply."""
    run("apply")
    update_weight(server, KEY, a=60, b=40)
    write(DEFINITIONS.replace("hostname: a", "hostname: elsewhere"))
    out = str(tmp_path / "plan.json")
    assert run("plan", "--adopt", "--out", out).code == 0
    assert run("apply", "--adopt", "--plan", out).code == 2
    update_weight(server, KEY, a=30, b=70)
    assert run("apply", "--plan", out).code == 0
    assert weights(server) == [30, 70]
    assert (run("apply", "--adopt").code, weights(server)) == (0, [30, 70])


def write(text: str) -> None:
    """The definitions, in the working folder of `run`."""
    Path("mesh.yaml").write_text(text, encoding="utf-8")
