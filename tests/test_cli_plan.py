"""What a plan means, as `meshwright plan` shows it: a live control plane, real files, all three formats."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from command_line import commands
from meshwright.model.identity import Key, Kind
from meshwright.observe.traffic import Load, Traffic
from meshwright.store.contract import AccessKey
from serving import serving
from trusting import WIDE, authority

if TYPE_CHECKING:
    from collections.abc import Callable

    from command_line import Done
    from serving import Serving

DEFINITIONS = """
meshName: m
spec: {egressFilter: {type: DROP_ALL}}
---
virtualNodeName: web
spec:
  listeners: [{portMapping: {port: 80, protocol: http}}]
  serviceDiscovery: {dns: {hostname: web}}
  backends: [{virtualService: {virtualServiceName: cart.local}}]
---
virtualNodeName: a
spec:
  listeners:
    - portMapping: {port: 80, protocol: http}
      outlierDetection:
        maxServerErrors: 5
        maxEjectionPercent: 50
        interval: {unit: s, value: 5}
        baseEjectionDuration: {unit: s, value: 5}
  serviceDiscovery: {dns: {hostname: a}}
---
virtualNodeName: b
tags: [{key: "meshwright:protected", value: "true"}]
spec: {listeners: [{portMapping: {port: 80, protocol: http}}], serviceDiscovery: {dns: {hostname: b}}}
---
virtualServiceName: cart.local
spec: {provider: {virtualRouter: {virtualRouterName: r}}}
---
virtualRouterName: r
spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}
---
virtualRouterName: r
routeName: x
spec:
  httpRoute:
    match: {prefix: /}
    action:
      weightedTargets:
        - {virtualNode: a, weight: 90}
        - {virtualNode: b, weight: 10}
"""

FILES = {"mesh.yaml": DEFINITIONS, "meshwright.yaml": "stack: shop\nmesh: m\ndefinitions: [mesh.yaml]\n"}


@pytest.fixture
def run(
    server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The command line in a project whose mesh runs as it is defined."""
    found = commands(tmp_path / "project", server, monkeypatch, capsys, FILES)
    assert found("apply").code == 0
    return found


def edit(old: str, new: str) -> None:
    """Change the definitions."""
    file = Path("mesh.yaml")
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_risks_are_shown_with_object_field_file_and_line(run: Callable[..., Done]) -> None:
    """On a terminal, as JSON, and in a pull request's comment; they are no failure."""
    edit("DROP_ALL", "ALLOW_ALL")
    edit("virtualNode: b, weight: 10", "virtualNode: b, weight: 90")
    done = run("plan")
    assert done.code == 0
    lines = done.out.splitlines()
    at = lines.index("  3 risks:")
    assert lines[at + 1].startswith("  ! egress-opened mesh/m: every application without an egress policy")
    assert lines[at + 2] == '      spec.egressFilter.type, "DROP_ALL" → "ALLOW_ALL", mesh.yaml:3'
    where = "of what route x of virtual service cart.local takes"
    assert f"  ! weight-moved mesh/m/virtualRouter/r/route/x: b gets 50 % instead of 10 % {where}" in lines
    found = run("plan", "--format", "json").json["impact"]["risks"]
    assert [(one["code"], one["object"]) for one in found] == [
        ("egress-opened", "mesh/m"),
        ("weight-moved", "mesh/m/virtualRouter/r/route/x"),
        ("weight-moved", "mesh/m/virtualRouter/r/route/x"),
    ]
    assert found[2]["path"] == "spec.httpRoute.action.weightedTargets[1].weight"
    assert (found[2]["old"], found[2]["new"]) == (10, 50)
    line = 1 + Path("mesh.yaml").read_text().splitlines().index("        - {virtualNode: b, weight: 90}")
    assert (found[2]["source"]["file"], found[2]["source"]["line"]) == ("mesh.yaml", line)
    comment = run("plan", "--format", "markdown").out
    assert "#### 3 risks" in comment
    assert "| `egress-opened` | `mesh/m` | `every application without" in comment
    assert "`mesh.yaml:3` |" in comment


def test_a_plan_without_changes_has_no_risk(run: Callable[..., Done]) -> None:
    """Nor is anything said of any."""
    assert run("plan", "--format", "json").json["impact"]["risks"] == []
    assert run("plan").out == "No changes for stack shop in mesh m.\n"


def test_a_plan_file_with_risks_is_applied_as_it_was_shown(run: Callable[..., Done]) -> None:
    """What it means is no part of what is applied."""
    edit("weight: 90", "weight: 0")
    assert "weight-moved" in run("plan", "--out", "plan.json").out
    assert run("apply", "--plan", "plan.json").code == 0
    assert run("plan").out == "No changes for stack shop in mesh m.\n"


def test_protection_and_the_step_of_weights_are_options(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag protects without them."""
    edit("        - {virtualNode: b, weight: 10}\n", "")
    text = Path("mesh.yaml").read_text().split("---")
    Path("mesh.yaml").write_text(
        "---".join(one for one in text if "hostname: b" not in one and "hostname: web" not in one)
    )

    def protected(*options: str) -> list[str]:
        found = run("plan", "--format", "json", *options).json["impact"]["risks"]
        return [one["object"] for one in found if one["code"] == "protected-deleted"]

    assert protected() == ["mesh/m/virtualNode/b"]
    assert protected("--protect", "virtualNode/w*") == ["mesh/m/virtualNode/b", "mesh/m/virtualNode/web"]
    monkeypatch.setenv("MESHWRIGHT_PROTECT", "virtualRouter/* */web")
    assert protected() == ["mesh/m/virtualNode/b", "mesh/m/virtualNode/web"]
    moved = [run("plan", "--weight-step", step).out.count("weight-moved") for step in ("5", "10")]
    assert moved == [2, 0]


BEHIND = """---
virtualRouterName: r
routeName: behind
spec: {priority: 9, httpRoute: {match: {prefix: /b}, action: {weightedTargets: [{virtualNode: b, weight: 1}]}}}
"""


def test_only_findings_that_the_plan_brings_or_mends_are_shown(run: Callable[..., Done]) -> None:
    """With file and line; what was so before is no news."""
    edit("  httpRoute:\n", "  priority: 1\n  httpRoute:\n")
    assert run("apply").code == 0
    file, behind = Path("mesh.yaml"), "mesh/m/virtualRouter/r/route/behind"
    file.write_text(file.read_text() + BEHIND)

    def findings() -> tuple[list[str], list[str]]:
        found = run("plan", "--format", "json").json["impact"]["findings"]
        new, mended = ([one["subject"] for one in found[state]] for state in ("new", "mended"))
        return new, mended

    assert findings() == ([behind], [])
    lines = run("plan").out.splitlines()
    assert lines[lines.index("  1 new finding:") + 1].startswith("    mesh.yaml:")
    assert run("apply").code == 0
    edit("hostname: web", "hostname: web2")
    assert findings() == ([], [])
    edit("priority: 9", "priority: 0")
    assert findings() == ([], [behind])
    assert "  1 mended finding:\n" in run("plan").out
    assert "| mended | " in run("plan", "--format", "markdown").out


def test_what_envoys_are_sent_is_shown_on_demand(run: Callable[..., Done]) -> None:
    """In Envoy's words: in the text below each node, folded in a comment, in the JSON as `resources`."""
    edit("weight: 10", "weight: 20")
    field = "virtual_hosts[cart.local].routes[x].route.weighted_clusters.clusters[cds_egress_m_b_http_80].weight"
    assert f"{field}: 10 → 20" in run("plan", "--envoy-diff").out
    assert field not in run("plan").out
    assert "  ~ mesh/m/virtualNode/web: 1 changed\n" in run("plan").out
    (one,) = run("plan", "--envoy-diff", "--format", "json").json["impact"]["reach"]["nodes"]
    assert (one["object"], one["added"], one["changed"], one["removed"]) == ("mesh/m/virtualNode/web", 0, 1, 0)
    assert one["resources"] == [
        {
            "action": "change",
            "type": "RouteConfiguration",
            "name": "rds_egress_http_80",
            "fields": [{"path": field, "old": 10, "new": 20}],
            "more": 0,
        }
    ]
    comment = run("plan", "--envoy-diff", "--format", "markdown").out
    assert "<details><summary>What Envoys are sent</summary>\n\n```diff\n~ mesh/m/virtualNode/web\n" in comment


def test_who_may_not_ask_who_calls_whom_still_gets_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a word on what is missing from it."""
    narrow = authority(WIDE.replace('Action: "*"', 'NotAction: "meshwright:GetObserved"'))
    build = AccessKey(id="AKIATESTBUILD", secret="no-secret-either", principal="build", created_at=0)
    with serving(tmp_path, authority=lambda: narrow) as server:
        server.store.add_key(build)
        run = commands(tmp_path / "project", server, monkeypatch, capsys, FILES)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", build.id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", build.secret)
        assert run("apply").code == 0
        edit("weight: 90", "weight: 0")
        assert run("plan").err == ""
        edit("{provider: {virtualRouter: {virtualRouterName: r}}}", "{}")
        done = run("plan")
        assert (done.code, done.out.count("! called-service-removed ")) == (0, 1)
        assert done.err.startswith("Who calls whom is not known, so that risks count declared callers only: ")
        assert run("plan", "--format", "json").json["impact"]["reach"]["connected"] == 0
        allowed = '["meshwright:GetObserved", "meshwright:GetStatus"]'
        narrow = authority(WIDE.replace('Action: "*"', f"NotAction: {allowed}"))
        done = run("plan", "--format", "json")
        assert done.json["impact"]["reach"]["connected"] is None
        assert "Which proxies are connected is not known, so that nodes stand for them: " in done.err


def test_a_release_keeps_the_risks_that_the_server_saw(run: Callable[..., Done], server: Serving) -> None:
    """Not those of a client, which may say what it likes; a list of releases does without."""
    edit("weight: 90", "weight: 0")
    where = "of what route x of virtual service cart.local takes"
    assert f"  ! weight-moved mesh/m/virtualRouter/r/route/x: a gets 0 % instead of 90 % {where}" in run("apply").out

    def kept(path: str) -> Any:
        return json.loads(server.ask("GET", f"/meshwright/v1/meshes/m/stacks/shop/releases{path}").body)

    line = 1 + Path("mesh.yaml").read_text().splitlines().index("        - {virtualNode: a, weight: 0}")
    assert [(risk["code"], risk["old"], risk["new"], risk["source"]["line"]) for risk in kept("/2")["risks"]] == [
        ("weight-moved", 90, 0, line),
        ("weight-moved", 10, 100, line + 1),
    ]
    assert kept("/1")["risks"] == []
    assert ["risks" in release for release in kept("")["releases"]] == [False, False]
    assert "! weight-moved" in run("rollback", "--to", "1").out


def test_calls_that_proxies_reported_count_in_the_plan_and_in_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a caller that no longer declares them; those of hours ago do not."""
    web, a = (Key("m", Kind.VIRTUAL_NODE, name) for name in ("web", "a"))
    for hours, told in ((0, True), (2, False)):
        traffic = Traffic(0)
        load = Load(cluster="c", issued=7, successes=7, errors=0, active=0)
        traffic.count("web-1", (web, a, ""), load, time.time_ns() // 1_000_000 - hours * 3_600_000)
        folder = tmp_path / str(hours)
        folder.mkdir()
        with serving(folder, traffic=traffic) as server:
            run = commands(folder / "project", server, monkeypatch, capsys, FILES)
            assert run("apply").code == 0
            edit("  backends: [{virtualService: {virtualServiceName: cart.local}}]\n", "")
            edit("spec: {provider: {virtualRouter: {virtualRouterName: r}}}", "spec: {}")
            said = "still called by mesh/m/virtualNode/web (7 requests so far)"
            assert [said in run(command).out for command in ("plan", "apply")] == [told, told]
