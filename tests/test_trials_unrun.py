"""`meshwright test` where there is nothing to run, or it does not start: told at once, and in every report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from test_trials import junit, ran

if TYPE_CHECKING:
    from pathlib import Path

PAY = """\
virtualNodeName: pay
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: pay.nodes}}
---
virtualNodeName: web
spec: {backends: [{virtualService: {virtualServiceName: pay.local}}]}
---
"""
ROUTER = """\
virtualRouterName: pay
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}]}
---
virtualServiceName: pay.local
spec: {provider: {virtualRouter: {virtualRouterName: pay}}}
"""
PROVIDED = """\
virtualServiceName: pay.local
spec: {provider: {virtualNode: {virtualNodeName: pay}}}
"""
FILES = ("--junit", "junit.xml", "--report", "report.json", "--html", "page.html")


def project(folder: Path, mesh: str, more: str = "") -> Path:
    """A project whose definitions are `mesh`, with `more` in its file."""
    (folder / "mesh.yaml").write_text(mesh)
    (folder / "meshwright.yaml").write_text(f"stack: small\ndefinitions: [mesh.yaml]\nmesh: m\n{more}")
    return folder


def told(folder: Path) -> list[tuple[str, str]]:
    """Outcome and reason of every test, as the report has them; the other files are there, too."""
    report = json.loads((folder / "report.json").read_text())
    assert junit(folder / "junit.xml").get("errors") == str(len(report["tests"]))
    assert "<html" in (folder / "page.html").read_text()
    return [(one["outcome"], one["fault"]) for one in report["tests"]]


def test_what_a_control_plane_would_refuse_is_told_with_its_line_before_anything_starts(tmp_path: Path) -> None:
    """And what to do; the reports say of every test that it was not run, and why."""
    done = ran(project(tmp_path, PAY + ROUTER), *FILES)
    assert done.returncode == 1
    assert "mesh.yaml:9: error MW201 Virtual router pay has no routes" in done.stderr
    assert "Add a route, such as one for prefix /." in done.stderr
    found = told(tmp_path)
    assert len(found) > 2
    assert all(outcome == "broken" and "mesh.yaml:9: error MW201" in why for outcome, why in found)


def test_a_mesh_without_a_proxy_is_told_with_its_line_before_anything_starts(tmp_path: Path) -> None:
    """There is nobody to run."""
    done = ran(project(tmp_path, "meshName: m\nspec: {}\n---\nvirtualServiceName: pay.local\nspec: {}\n"), *FILES)
    assert done.returncode == 2
    assert "mesh.yaml:1: mesh 'm' has neither a virtual node nor a virtual gateway" in done.stderr
    assert "add one" in done.stderr
    assert told(tmp_path) == []


@pytest.mark.envoy
def test_a_mesh_that_does_not_start_leaves_reports_that_say_why(tmp_path: Path) -> None:
    """Here a program of the user's ends at once."""
    folder = project(tmp_path, PAY + PROVIDED, "workloads: {pay: {command: exit 3}}\n")
    done = ran(folder, "--isolation", "loopback", *FILES)
    assert done.returncode == 2
    reason = done.stderr.partition("Error: ")[2].splitlines()[0]
    assert reason
    found = told(folder)
    assert found
    assert all(outcome == "broken" and f"it was not run: {reason}" in why for outcome, why in found)


WORKER = """\
---
virtualNodeName: worker
spec: {backends: [{virtualService: {virtualServiceName: pay.local}}]}
"""
NEW = PAY.replace("pay", "new", 1).replace("pay.nodes", "new.nodes") + PROVIDED.replace("Name: pay}", "Name: new}")


@pytest.mark.envoy
def test_what_a_baseline_promises_of_somebody_who_is_gone_fails_and_all_else_is_run(tmp_path: Path) -> None:
    """A node that called, and one whose answers were to come late, are not in the definitions that run."""
    (tmp_path / "before.yaml").write_text(PAY + PROVIDED + WORKER)
    done = ran(project(tmp_path, NEW), "--baseline", "before.yaml", *FILES)
    assert done.returncode == 1, done.stderr
    tests = {one["name"]: one for one in json.loads((tmp_path / "report.json").read_text())["tests"]}
    assert {one["outcome"] for one in tests.values()} == {"passed", "failed"}
    for name, what, expected in (
        ("worker reaches pay.local", "from", "VirtualNode 'worker' calls"),
        ("virtual service pay.local:8080, status 500: not tried again", "given", "'pay' is there, and fails"),
    ):
        (wrong,) = tests[name]["mismatches"]
        assert (wrong["what"], wrong["happened"]) == (what, "the definitions that run do not have it")
        assert wrong["expected"].startswith(expected)
    reached = tests["virtual service pay.local:8080 is reached"]["mismatches"]
    assert "new answered" in {one["what"]: one["happened"] for one in reached}["served_by"]
