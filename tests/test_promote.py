"""promote: exactly what is verified in one environment is released in the next, with that one's values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command_line import commands
from meshwright.release import Status
from serving import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from command_line import Done
    from serving import Serving

PROJECT = """
stack: shop
definitions: [mesh.yaml]
parameters: {IDLE: "5"}
environments:
  staging: {mesh: staging}
  production: {mesh: production, parameters: {IDLE: "60"}}
  again: {mesh: staging}
"""
DEFINITIONS = """
virtualNodeName: a
spec:
  listeners: [{portMapping: {port: 80, protocol: http}, timeout: {http: {idle: {unit: s, value: "${IDLE}"}}}}]
  serviceDiscovery: {dns: {hostname: a}}
"""
PROMOTE = ("promote", "--from", "staging", "--to", "production")


@pytest.fixture
def run(
    server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run the command line in a project with two environments."""
    files = {"mesh.yaml": DEFINITIONS, "meshwright.yaml": PROJECT}
    command = commands(tmp_path / "project", server, monkeypatch, capsys, files)
    for mesh in ("staging", "production"):
        server.client().create_mesh(meshName=mesh)
    return command


def verify(server: Serving, number: int) -> None:
    """As if every check had passed."""
    for status in (Status.PROPAGATED, Status.VERIFIED):
        server.store.mark("staging", "shop", number, status, principal="p", at=now())


def test_what_is_verified_is_released_with_the_values_of_the_next_environment(
    run: Callable[..., Done], server: Serving
) -> None:
    """The release says what it repeats, and a rollback to it says of which definitions it was made."""
    assert run("--environment", "staging", "apply").code == 0
    refused = run(*PROMOTE)
    assert refused.code == 1
    assert "No release of stack 'shop' in staging (mesh 'staging') is verified" in refused.err
    verify(server, 1)
    done = run(*PROMOTE)
    assert (done.code, done.out.splitlines()[1]) == (0, "  as shop#1 of staging"), done.err
    made = server.store.release("production", "shop", 1)
    assert made is not None
    assert made.promotes is not None
    assert (made.promotes.environment, made.promotes.mesh, made.promotes.number) == ("staging", "staging", 1)
    (item,) = made.content
    assert item.spec["listeners"][0]["timeout"]["http"]["idle"]["value"] == 60
    before = server.store.release("staging", "shop", 1)
    assert before is not None
    assert before.definitions == made.definitions != ""
    assert before.digest != made.digest
    assert run(*PROMOTE).out == "No changes: shop#1 (revision 4) is what runs.\n"


def test_other_definitions_than_those_that_were_verified_are_refused(
    run: Callable[..., Done], server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little differs; the commit to check out is named, and a plan carries the digest along."""
    for name, value in (("TRAVIS", "true"), ("TRAVIS_COMMIT", "c0ffee"), ("TRAVIS_BUILD_NUMBER", "7")):
        monkeypatch.setenv(name, value)
    assert run("--environment", "staging", "plan", "--out", "plan.json").code == 0
    assert run("--environment", "staging", "apply", "--plan", "plan.json").code == 0
    verify(server, 1)
    file = Path("mesh.yaml")
    text = file.read_text()
    file.write_text(f"{text}# a comment\n")
    refused = run(*PROMOTE)
    assert refused.code == 1
    assert "not those of which shop#1 in staging was made (commit c0ffee, build 7)" in refused.err
    file.write_text(text)
    assert run(*PROMOTE, "--release", "shop#1").code == 0


def test_only_the_newest_verified_release_can_be_promoted(run: Callable[..., Done], server: Serving) -> None:
    """Not one that another followed, was rolled back, or never told of its definitions."""
    file = Path("mesh.yaml")
    for number in (1, 2):
        file.write_text(file.read_text() + "# more\n")
        Path("meshwright.yaml").write_text(PROJECT.replace('IDLE: "5"', f'IDLE: "{number}"'))
        assert run("--environment", "staging", "apply").code == 0
        verify(server, number)
    refused = run(*PROMOTE, "--release", "1")
    assert refused.code == 1
    assert "shop#1 is verified in staging, and shop#2 is the newest verified release there" in refused.err
    assert run("--environment", "staging", "rollback", "--to", "1").code == 0
    assert "not those of which shop#1 in staging was made" in run(*PROMOTE).err
    assert server.store.release("production", "shop", 1) is None


def test_two_names_of_one_place_are_no_two_environments(run: Callable[..., Done]) -> None:
    """A promotion that releases where it looks would prove nothing."""
    refused = run("promote", "--from", "staging", "--to", "again")
    assert refused.code == 2
    assert "staging and again are the same mesh, 'staging' at " in refused.err
