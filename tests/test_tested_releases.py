"""Releases that carry what `meshwright test` said of their definitions, from its report to the provenance."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from building import Jobs, building
from command_line import commands
from meshwright.cli import cli
from meshwright.errors import BadRequestException
from meshwright.impact.tested import RunSummary
from meshwright.release import ApplyRequest, Status
from meshwright.store.keys import ensure_signing_key
from serving import now
from test_audit_provenance import statement_of
from test_guardrails import guarded, items
from test_guardrails_cli import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command_line import Done

DEFINITIONS = """
virtualNodeName: a
spec:
  listeners: [{portMapping: {port: 80, protocol: http}}]
  serviceDiscovery: {dns: {hostname: a}}
---
virtualNodeName: front
spec:
  listeners: [{portMapping: {port: 80, protocol: http}}]
  serviceDiscovery: {dns: {hostname: front}}
  backends: [{virtualService: {virtualServiceName: cart.m}}]
---
virtualRouterName: r
spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}
---
virtualRouterName: r
routeName: x
spec: {httpRoute: {match: {prefix: /}, action: {weightedTargets: [{virtualNode: a, weight: 1}]}}}
---
virtualServiceName: cart.m
spec: {provider: {virtualRouter: {virtualRouterName: r}}}
"""
PROJECT = """
stack: shop
definitions: [mesh.yaml]
tests: [tests.yaml]
environments: {dev: {mesh: m}, live: {mesh: m2}}
"""
TESTS = """
- name: the cart answers
  from: front
  request: {url: "http://cart.m/"}
  expect: {status: 200}
"""
DEV = ("--environment", "dev")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A control plane with alice and bob."""
    (tmp_path / "data").mkdir()
    ensure_signing_key(tmp_path / "data", "000000000000")
    with building(tmp_path / "data", guarded("deny", "untested: 50, actions: [create, update]")) as running:
        for name in ("administrator", "alice", "bob"):
            running.user(name)
        yield running


@pytest.fixture
def run(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run the command line in a project, as alice."""
    files = {"mesh.yaml": DEFINITIONS, "meshwright.yaml": PROJECT, "tests.yaml": TESTS}
    command = commands(tmp_path / "project", jobs.plane.server, monkeypatch, capsys, files)
    for variable, value in key_of("administrator").items():
        monkeypatch.setenv(variable, value)
    for mesh in ("m", "m2"):
        jobs.plane.server.client().create_mesh(meshName=mesh)
    return command


def reported(**more: Any) -> Path:
    """The report of a simulation, with some members otherwise."""
    done = CliRunner().invoke(cli, [*DEV, "test", "--simulate", "--report", "simulated.json"])
    assert done.exit_code == 0, done.output
    document = {**json.loads(Path("simulated.json").read_text()), **more}
    Path("report.json").write_text(json.dumps(document))
    return Path("report.json")


def test_the_report_goes_with_the_release_and_with_what_repeats_it(
    run: Callable[..., Done], jobs: Jobs, tmp_path: Path
) -> None:
    """By its digest and in a few facts: in the answer, the history, a plan's file, a promotion and the provenance."""
    report = reported(mode="envoy", coverage=62.5, passed=12)
    digest = hashlib.sha256(report.read_bytes()).hexdigest()
    assert run(*DEV, "plan", "--test-report", "report.json", "--out", "plan.json").code == 0
    assert json.loads(Path("plan.json").read_text())["tests"]["digest"] == digest
    done = run(*DEV, "apply", "--plan", "plan.json")
    assert done.code == 0, done.err
    assert "  tested: 12 passed, 62.5 % covered\n" in done.out
    server = jobs.plane.server
    (one,) = run(*DEV, "history", "--format", "json").json["releases"]
    assert one["tests"]["digest"] == digest
    assert one["tests"]["definitions"] == one["definitions"]
    assert "5 changed, tested: 12 passed, 62.5 % covered" in run(*DEV, "history").out
    for status in (Status.PROPAGATED, Status.VERIFIED):
        server.store.mark("m", "shop", 1, status, principal="p", at=now())
    done = run("promote", "--from", "dev", "--to", "live")
    assert done.code == 0, done.err
    promoted = server.store.release("m2", "shop", 1)
    assert promoted is not None
    assert promoted.tests is not None
    assert promoted.tests.digest == digest
    assert run(*DEV, "rollback", "--to", "1").code == 0
    said = statement_of(tmp_path / "data", "m2/shop#1")["predicate"]
    asked = said["buildDefinition"]["externalParameters"]
    assert asked["definitions"] == {"sha256": one["definitions"]}
    assert (asked["promotes"]["environment"], asked["promotes"]["number"]) == ("dev", 1)
    (leaf, tests) = said["runDetails"]["byproducts"]
    assert (leaf["name"], tests["name"], tests["digest"]) == ("audit leaf", "test report", {"sha256": digest})
    assert tests["annotations"]["claimed"] is True


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"failed": 2, "broken": 1}, "says that 2 failed and 1 broken, of 4 tests"),
        ({"passed": 0}, "says that no test passed"),
        ({"definitions": "0" * 64}, "is of other definitions than those that are to be released"),
        ({"definitions": ""}, "is of other definitions"),
    ],
)
def test_a_report_that_proves_nothing_is_refused(
    run: Callable[..., Done], jobs: Jobs, more: dict[str, Any], told: str
) -> None:
    """Before anything is asked for."""
    reported(**more)
    for command in (("apply",), ("plan",)):
        done = run(*DEV, *command, "--test-report", "report.json")
        assert done.code == 1
        assert told in done.err
    assert jobs.plane.server.store.releases("m", "shop") == ()


def test_what_is_no_report_could_not_be_done(run: Callable[..., Done]) -> None:
    """Exit code 2."""
    for text in ("", "{}", '{"mode": "other"}'):
        Path("report.json").write_text(text)
        done = run(*DEV, "apply", "--test-report", "report.json")
        assert done.code == 2
        assert "is no report as `meshwright test --report` writes it" in done.err
    assert "cannot be read" in run(*DEV, "apply", "--test-report", "none.json").err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (None, "no report of tests comes with it"),
        ({}, "its tests were simulated and not run on real Envoys"),
        ({"mode": "envoy", "coverage": 49.9}, "its tests cover 49.9 %, under 50 %"),
    ],
)
def test_a_guardrail_asks_for_evidence(
    run: Callable[..., Done], jobs: Jobs, more: dict[str, Any] | None, told: str
) -> None:
    """A plan says so beforehand, and with tests on real Envoys that cover enough it goes through."""
    given = () if more is None else ("--test-report", str(reported(**more)))
    planned = run(*DEV, "plan", *given)
    assert planned.code == 0
    assert f"it would be created, and {told}" in planned.out
    done = run(*DEV, "apply", *given)
    assert done.code == 1
    assert f"mind (create): mesh/m/virtualNode/a: it would be created, and {told}. Ask the platform team." in done.err
    reported(mode="envoy", coverage=50)
    planned = run(*DEV, "plan", "--test-report", "report.json")
    assert "guardrail" not in planned.out
    assert run(*DEV, "apply", "--test-report", "report.json").code == 0


def test_the_server_takes_no_tests_of_other_definitions(jobs: Jobs) -> None:
    """Whatever a client sends."""
    found = RunSummary(digest="a" * 64, definitions="b" * 64, mode="envoy", at=1, passed=1, coverage=100)
    with pytest.raises(BadRequestException, match="other definitions"):
        jobs.user("alice").apply("m", "shop", ApplyRequest(resources=items(), definitions="c" * 64, tests=found))
    told = jobs.user("alice").apply("m", "shop", ApplyRequest(resources=items(), definitions="b" * 64, tests=found))
    assert told["release"]["tests"]["mode"] == "envoy"


def test_who_approved_and_who_broke_the_glass_is_in_the_provenance(jobs: Jobs, tmp_path: Path) -> None:
    """A reader asks for that first."""
    found = RunSummary(digest="a" * 64, definitions="b" * 64, mode="envoy", at=1, passed=1, coverage=100)
    alice = jobs.user("alice")
    jobs.trust(guarded("approve", "actions: [create]"))
    pending = alice.apply("m", "shop", ApplyRequest(resources=items(), definitions="b" * 64, tests=found))["pending"]
    jobs.user("bob").approve("m", "shop", pending["number"], "I looked")
    said = statement_of(tmp_path / "data", "m/shop#1")["predicate"]["buildDefinition"]["internalParameters"]
    assert said["approval"]["principal"].endswith(":user/bob")
    assert said["approval"]["reason"] == "I looked"
    kept = jobs.plane.server.store.release("m", "shop", 1)
    assert kept is not None
    assert kept.tests == found
