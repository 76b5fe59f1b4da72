"""Ten services with every policy, which `python -m benchmarks testing` runs: whole, and what is derived passes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from benchmarks.services import write_services

from meshwright.documents import load
from meshwright.documents.project_file import load_project
from meshwright.graph import resolve
from meshwright.model import Kind
from meshwright.trials.promises import promises
from test_trials import ran

if TYPE_CHECKING:
    from pathlib import Path

POLICIES = {
    "connectionPool", "egressFilter", "healthCheck", "maxServerErrors", "perRequest", "perRetryTimeout",
    "retryPolicy", "tls",
}  # fmt: skip


def test_they_are_ten_and_have_every_policy(tmp_path: Path) -> None:
    """Behind a gateway with several ways in, over every protocol."""
    project = load_project(write_services(tmp_path) / "meshwright.yaml")
    graph = resolve(load(project.definitions, project.load_settings()).state)
    counts = {kind: len(list(graph.state.of(kind))) for kind in (Kind.VIRTUAL_SERVICE, Kind.GATEWAY_ROUTE)}
    assert counts == {Kind.VIRTUAL_SERVICE: 10, Kind.GATEWAY_ROUTE: 3}
    assert {one.path.rpartition(".")[2] for one in promises(graph)} >= POLICIES


@pytest.mark.envoy
@pytest.mark.timeout(240)
def test_all_that_is_derived_from_ten_services_passes(tmp_path: Path) -> None:
    """On real Envoys, every route and condition covered."""
    done = ran(write_services(tmp_path), "--isolation", "loopback", "--format", "json", "--fail-under", "100")
    report = json.loads(done.stdout)
    assert [(one["name"], one["mismatches"]) for one in report["tests"] if one["outcome"] != "passed"] == []
    assert done.returncode == 0
