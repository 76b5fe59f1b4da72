"""Extensions in files, from validate to rollback: real files, the real server, exit codes and output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshwright.documents import LoadSettings, load
from meshwright.model import Key, Kind
from test_cli_releases import run
from test_documents_load import summaries, write
from test_extensions_http import put

if TYPE_CHECKING:
    from collections.abc import Callable

    from command_line import Done
    from serving import Serving

__all__ = ["run"]

SERVICE = """
virtualServiceName: s
spec: {provider: {virtualRouter: {virtualRouterName: r}}}
---
"""
FAULT = """
kind: meshwright/Fault
name: slow
tags: [{key: team, value: shop}]
spec:
  target: {virtualServiceName: s}
  from: [a]
  delay: {duration: {value: 2, unit: s}, percentage: 10}
  expiresAt: 2100-01-01T00:00:00Z
"""
LIMIT = """
kind: meshwright/RateLimit
name: limit
spec:
  target: {virtualNodeName: a}
  maxTokens: 10
  fillInterval: {value: 1, unit: s}
"""


def test_extensions_are_released_changed_and_rolled_back_with_the_rest(
    run: Callable[..., Done], server: Serving
) -> None:
    """One release each; planned again there is nothing to do; history, drift and a rollback know them."""
    Path("more.yaml").write_text(f"{SERVICE}{FAULT}---{LIMIT}")
    arguments = ("mesh.yaml", "more.yaml")
    assert run("validate", *arguments).code == 0
    done = run("apply", *arguments)
    assert done.out.startswith("Released shop#1 (revision 1): 8 created, 0 updated, 0 deleted.\n"), done.err
    assert run("plan", *arguments).out == "No changes for stack shop in mesh m.\n"
    Path("more.yaml").write_text(f"{SERVICE}{FAULT.replace('percentage: 10', 'percentage: 12.5')}")
    planned = run("plan", *arguments)
    assert "spec.delay.percentage: 10.0 → 12.5" in planned.out
    assert "  - mesh/m/meshwright/rateLimit/limit\n" in planned.out
    assert run("plan", *arguments, "--out", "plan.json").code == 0
    assert run("apply", "--plan", "plan.json").code == 0
    assert put(server, "fault", "slow").status == 200
    drift = run("drift")
    assert drift.code == 1
    assert "mesh/m/meshwright/fault/slow is changed" in drift.out
    back = run("rollback", "--to", "1")
    assert back.out.startswith("Released shop#3 (revision 4), restoring shop#1: 1 created, 1 updated, 0 deleted.\n")
    assert run("drift").code == 0
    assert [line.split()[0] for line in run("history").out.splitlines()] == ["RELEASE", "shop#3", "shop#2", "shop#1"]


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        (
            "meshwright/Fault",
            "meshwright/Falt",
            "more.yaml:6: error MW014 'meshwright/Falt' is no kind of extension",
        ),
        ("meshwright/Fault", "meshwright/fault", "Did you mean 'meshwright/Fault'?"),
        ("name: slow\n", "", "more.yaml:4: error MW012 this Fault has no name"),
        ("name: slow", "name: no slashes/please", "MW002 name 'no slashes/please' is not a valid name"),
        ("  expiresAt: 2100-01-01T00:00:00Z\n", "", "more.yaml:9: error MW001 spec.expiresAt: is required"),
        (
            "percentage: 10",
            "percentage: 101",
            "more.yaml:12: error MW002 spec.delay.percentage: 101 is not a number",
        ),
        ("  target: {v", "  target: {virtualNodeName: a, v", "more.yaml:10: error MW003 spec.target: Exactly one"),
        ("Name: s}", "Name: t}", "MW101 VirtualService with name t is missing"),
        ("  from:", "  form:", "Did you mean 'from'?"),
        ("name: slow", "apiVersion: v1\nname: slow", "MW001 apiVersion: unknown field 'apiVersion'"),
        ("name: slow", "clientToken: x\nname: slow", "MW001 clientToken: unknown field 'clientToken'"),
    ],
)
def test_each_mistake_gets_one_clear_message_with_its_place(
    run: Callable[..., Done], wrong: str, right: str, told: str
) -> None:
    """And nothing is sent."""
    text = f"{SERVICE}{FAULT}"
    assert wrong in text
    Path("more.yaml").write_text(text.replace(wrong, right, 1))
    done = run("validate", "mesh.yaml", "more.yaml")
    assert done.code == 1
    assert told in done.out
    refused = run("apply", "mesh.yaml", "more.yaml")
    assert refused.code == 1
    assert "nothing was changed" in refused.err


def test_an_expired_or_broad_fault_is_a_warning_and_every_extension_a_remark(run: Callable[..., Done]) -> None:
    """None keeps a release from going out. One that is over concerns nobody's requests, however broad it was."""
    broad = FAULT.replace("  from: [a]\n", "").replace("percentage: 10", "percentage: 100")
    over = broad.replace("2100", "2001").replace("name: slow", "name: over").replace("{vi", "{virtualNodeName: a} #")
    Path("more.yaml").write_text(f"{SERVICE}{broad}---{over}")
    found = run("validate", "mesh.yaml", "more.yaml")
    assert found.code == 0
    assert "warning MW701 The fault expired at 2001-01-01T00:00:00Z and has no effect" in found.out
    assert found.out.count("warning MW702 The delay concerns every request") == 1
    assert "info MW004 meshwright/Fault is an extension" in found.out
    assert run("validate", "mesh.yaml", "more.yaml", "--fail-on", "warning").code == 1
    done = run("apply", "mesh.yaml", "more.yaml")
    assert done.code == 0
    assert "2 warnings" in done.err


BYTES = """
virtualNodeName: redis
spec: {listeners: [{portMapping: {port: 6379, protocol: tcp}}], serviceDiscovery: {dns: {hostname: redis}}}
---
virtualServiceName: redis.local
spec: {provider: {virtualNode: {virtualNodeName: redis}}}
"""
ABORT = """
kind: meshwright/Fault
name: no-cache
spec:
  target: {virtualServiceName: redis.local}
  abort: {httpStatus: 503, percentage: 1}
  expiresAt: 2100-01-01T00:00:00Z
"""


def test_an_extension_that_can_never_act_is_a_warning_before_it_is_released(run: Callable[..., Done]) -> None:
    """`apply` counts it among the warnings; and says it where it takes another stack's objects to see it."""
    said = "warning MW703 Fault no-cache can never act: 'redis.local' speaks TCP: it has an effect on HTTP only"
    Path("bytes.yaml").write_text(BYTES)
    Path("more.yaml").write_text(ABORT)
    together = run("validate", "mesh.yaml", "bytes.yaml", "more.yaml")
    assert together.code == 0
    assert f"more.yaml:5: {said}\n    at mesh/m/meshwright/fault/no-cache spec.target\n" in together.out
    assert "MW702" not in together.out, "nobody's requests are concerned"
    assert run("validate", "mesh.yaml", "bytes.yaml", "more.yaml", "--fail-on", "warning").code == 1
    assert "1 warning; `meshwright validate` shows" in run("plan", "mesh.yaml", "bytes.yaml", "more.yaml").err

    assert run("apply", "mesh.yaml", "bytes.yaml", "--stack", "base").code == 0
    assert "MW703" not in run("validate", "more.yaml").out
    done = run("apply", "more.yaml")
    assert done.code == 0
    assert f"more.yaml:5: {said}. Let it be about what speaks HTTP." in done.err


def test_extensions_are_read_from_lists_json_and_beside_other_documents(tmp_path: Path) -> None:
    """With parameters, and the mesh from the settings; in folders like everything else."""
    fault = {
        "kind": "meshwright/Fault",
        "name": "json",
        "spec": {
            "target": {"virtualNodeName": "n"},
            "abort": {"grpcStatus": 14, "percentage": 0.5},
            "expiresAt": "${Expires}",
        },
    }
    zone = {"kind": "meshwright/ZonePolicy", "meshName": "other", "name": "z", "spec": {"preferSameZone": True}}
    write(tmp_path / "list.json", json.dumps([fault, zone, {"virtualNodeName": "n", "spec": {}}]))
    write(tmp_path / "more.yaml", f"virtualRouterName: r\nspec: {{}}\n---{LIMIT}")
    loaded = load([tmp_path], LoadSettings(mesh="m", parameters={"Expires": "2100-01-01T00:00:00Z", "name": "no"}))
    assert summaries(loaded) == []
    assert {one.key for one in loaded.state} == {
        Key("m", Kind.FAULT, "json"),
        Key("other", Kind.ZONE_POLICY, "z"),
        Key("m", Kind.VIRTUAL_NODE, "n"),
        Key("m", Kind.VIRTUAL_ROUTER, "r"),
        Key("m", Kind.RATE_LIMIT, "limit"),
    }
    found = loaded.sources.find("mesh/m/meshwright/rateLimit/limit", "spec.target.virtualNodeName")
    assert found is not None
    assert (Path(found.file).name, found.line) == ("more.yaml", 7)


def test_an_extension_defined_twice_or_without_its_mesh_is_told(tmp_path: Path) -> None:
    """As for App Mesh's own kinds; a broken file with nothing but extensions is noticed."""
    write(tmp_path / "a.yaml", f"{LIMIT}---{LIMIT}")
    assert [one.rule for one in load([tmp_path], LoadSettings(mesh="m")).diagnostics] == ["MW013"]
    assert {one.rule for one in load([tmp_path], LoadSettings()).diagnostics} == {"MW012"}
    write(tmp_path / "folder" / "b.yaml", "kind: meshwright/Cors\nname: [\n")
    assert [one.rule for one in load([tmp_path / "folder"], LoadSettings(mesh="m")).diagnostics] == ["MW010"]
