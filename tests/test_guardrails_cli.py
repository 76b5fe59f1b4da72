"""plan, apply, pending, approve, withdraw and guardrails as people use them: output and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from building import TRUST, Jobs, building
from command_line import commands
from meshwright.release import Status
from processes import DEADLINE, until
from serving import now
from test_cli_releases import DEFINITIONS, PROJECT, shift
from test_guardrails import guarded
from test_store_contract import inspected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command_line import Done


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A control plane with alice and bob."""
    (tmp_path / "data").mkdir()
    with building(tmp_path / "data") as running:
        for name in ("administrator", "alice", "bob"):
            running.user(name)
        yield running


@pytest.fixture
def run(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run the command line in a project of its own, as whoever comes first."""
    files = {"mesh.yaml": DEFINITIONS, "meshwright.yaml": PROJECT}
    command = commands(tmp_path / "project", jobs.plane.server, monkeypatch, capsys, files)

    def as_user(name: str, *words: str) -> Done:
        for variable, value in key_of(name).items():
            monkeypatch.setenv(variable, value)
        return command(*words)

    return as_user


def key_of(name: str) -> dict[str, str]:
    """The environment of a user of `building`."""
    return {"AWS_ACCESS_KEY_ID": f"AKIA{name.upper()}", "AWS_SECRET_ACCESS_KEY": f"secret-of-{name}"}


def test_a_plan_shows_what_the_guardrails_would_say(run: Callable[..., Done], jobs: Jobs) -> None:
    """In text, JSON and Markdown; and says so where it may not ask."""
    assert run("alice", "apply").code == 0
    shift(10)
    jobs.trust(guarded("deny"))
    done = run("alice", "plan")
    assert done.code == 0
    assert "2 objections of guardrails, if it is applied now:" in done.out
    assert "! deny mind (weight-moved): mesh/m/virtualRouter/r/route/x spec" in done.out
    assert "Ask the platform team." in done.out
    found = run("alice", "plan", "--format", "json").json["impact"]["objections"]
    assert {(one["rule"], one["severity"], one["about"]) for one in found} == {("mind", "deny", "weight-moved")}
    assert "#### 2 objections of guardrails, if it is applied now" in run("alice", "plan", "--format", "markdown").out
    deny = '{Sid: Nope, Effect: Deny, Action: "meshwright:GetJudgement", Resource: "*"}'
    jobs.trust(
        guarded("deny").replace("Statement: {Effect", f"Statement: [{deny}, {{Effect").replace('"*"}}', '"*"}]}')
    )
    done = run("alice", "plan")
    assert done.code == 0
    assert "What the guardrails say is not known" in done.err


def test_a_refused_apply_tells_the_administrators_words(run: Callable[..., Done], jobs: Jobs) -> None:
    """With the rule, the risk, the object; and exit code 1."""
    run("alice", "apply")
    shift(10)
    jobs.trust(guarded("deny"))
    done = run("alice", "apply")
    assert done.code == 1
    assert "Error: The guardrails of the environment 'test' refuse the release; nothing was changed:" in done.err
    assert "  mind (weight-moved): mesh/m/virtualRouter/r/route/x spec.httpRoute" in done.err
    assert "Ask the platform team." in done.err


def test_a_release_waits_and_is_let_through_by_somebody_else(run: Callable[..., Done], jobs: Jobs) -> None:
    """The whole way, by names as they are printed."""
    run("alice", "apply")
    shift(10)
    jobs.trust(guarded("approve"))
    done = run("alice", "apply")
    assert done.code == 1
    assert done.out.startswith("shop#pending-1 waits for somebody's approval, until ")
    assert "To let it through: meshwright approve shop#pending-1" in done.out
    assert run("alice", "apply", "--format", "json").json["pending"]["title"] == "shop#pending-1"
    listed = run("bob", "pending").out
    assert "shop#pending-1" in listed.splitlines()[1]
    assert "approve mind (weight-moved)" in listed
    own = run("alice", "approve", "1")
    assert own.code == 1
    assert "is the author's own" in own.err
    for text in ("other#pending-1", "shop#x", "0"):
        assert run("bob", "approve", text).code == 2
    approved = run("bob", "approve", "shop#pending-1", "--reason", "looked", "--wait", "5")
    assert approved.code == 0, approved
    assert approved.out.startswith("Released shop#2 (revision 2)")
    assert "approved → shop#2" in run("bob", "pending").out
    assert run("bob", "history").out.splitlines()[1].endswith("1 changed, approved")
    again = run("bob", "approve", "1")
    assert (again.code, again.out.splitlines()[0]) == (0, approved.out.splitlines()[0])
    assert run("administrator", "approve", "1").code == 1


def test_what_waits_may_be_withdrawn(run: Callable[..., Done], jobs: Jobs) -> None:
    """By its author too."""
    run("alice", "apply")
    shift(10)
    jobs.trust(guarded("approve"))
    run("alice", "apply")
    assert (
        run("alice", "withdraw", "pending-1", "--reason", "later").out
        == "shop#pending-1 is withdrawn; nothing was changed.\n"
    )
    assert run("alice", "withdraw", "pending-1").code == 1
    assert "withdrawn" in run("alice", "pending").out
    run("alice", "apply")
    listed = run("alice", "pending", "--limit", "1").out.splitlines()
    assert (listed[1].split()[0], listed[-1]) == ("shop#pending-2", "Older ones: --before shop#pending-2")
    listed = run("alice", "pending", "--before", "shop#pending-2").out.splitlines()
    assert [one.split()[0] for one in listed] == ["PENDING", "shop#pending-1"]


@pytest.mark.parametrize("approved", [True, False])
def test_a_job_may_wait_for_the_approval(
    run: Callable[..., Done], jobs: Jobs, tmp_path: Path, approved: bool
) -> None:
    """As long as it waits for proxies; it ends when it is decided, and fails when that is no."""
    run("alice", "apply")
    shift(10)
    jobs.trust(guarded("approve"))
    words = [sys.executable, "-m", "meshwright.cli", "apply", "--wait", str(DEADLINE)]
    environ = {**os.environ, **key_of("alice"), "MESHWRIGHT_ENDPOINT": jobs.plane.server.url}
    with subprocess.Popen(
        words, cwd=tmp_path / "project", env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        bob = jobs.user("bob")
        until(lambda: bool(bob.pending("m", "shop")["pending"]))
        if approved:
            bob.approve("m", "shop", 1)
        else:
            bob.withdraw("m", "shop", 1, "not today")
        out, err = job.communicate(timeout=DEADLINE)
    assert job.returncode == (0 if approved else 1), err
    if approved:
        assert "Released shop#2" in out
    else:
        assert "shop#pending-1 is withdrawn by arn:aws:iam::000000000000:user/bob: not today" in err


def test_the_glass_is_broken_once_with_a_reason(run: Callable[..., Done], jobs: Jobs) -> None:
    """By whom the administrator named."""
    run("alice", "apply")
    shift(10)
    jobs.trust(guarded("deny"))
    words = ("guardrails", "break-glass", "--for", "user/alice", "--reason", "INC-7", "--minutes", "5")
    assert run("alice", *words).code == 1
    given = run("administrator", *words)
    assert given.code == 0
    assert "Grant 1: user/alice may pass the guardrails of stack shop in mesh m with one release until" in given.out
    assert run("alice", "apply", "--break-glass", "it burns").code == 0
    assert run("bob", "history").out.splitlines()[1].endswith("1 changed, glass broken")
    grants = run("bob", "guardrails", "grants").out
    assert "used" in grants.splitlines()[1]
    assert grants.splitlines()[1].rstrip().endswith("shop#2")


@pytest.mark.parametrize("blank", ["", "  "])
def test_the_glass_is_not_broken_without_a_reason(run: Callable[..., Done], jobs: Jobs, blank: str) -> None:
    """Nor is it applied as if nothing had been said."""
    for words in (
        ("apply", "--break-glass", blank),
        ("rollback", "--last-good", "--break-glass", blank),
        ("guardrails", "break-glass", "--for", "user/alice", "--reason", blank),
    ):
        done = run("alice", *words)
        assert done.code == 2
        assert "it is blank: say why" in done.err
    assert jobs.user("alice").releases("m", "shop")["releases"] == []


def test_a_message_keeps_its_own_full_stop(run: Callable[..., Done], jobs: Jobs) -> None:
    """And gets none besides."""
    run("alice", "apply")
    shift(10)
    jobs.trust(guarded("warn"))
    (line, *_) = [one for one in run("alice", "apply").out.splitlines() if one.startswith("Warning: mind")]
    assert line.endswith(" Ask the platform team.")


def test_why_a_release_that_failed_stays_is_told_on_lines_of_its_own(run: Callable[..., Done], jobs: Jobs) -> None:
    """As the guardrails tell it: here, what failed was verified once, and is not to be undone unseen."""
    store = jobs.plane.server.store
    run("alice", "apply")
    store.mark("m", "shop", 1, Status.PROPAGATED, principal="p", at=now())
    shift(10)
    run("alice", "apply")
    store.mark("m", "shop", 2, Status.PROPAGATED, principal="p", at=now())
    store.note_inspection("m", "shop", 2, inspected("verified", now()))
    jobs.trust(guarded("deny"))
    done = run("alice", "verify", "shop#2", "--rollback", "--allow-unprobed", "--timeout", "0", "--endpoints", "a=2")
    assert done.code == 1
    assert "cannot be rolled back: The guardrails of the environment 'test' refuse" in done.err
    assert "\n  mind (weight-moved): mesh/m/virtualRouter/r/route/x" in done.err
    assert "\\n" not in done.err


def test_a_promotion_breaks_the_glass_as_an_apply_does(run: Callable[..., Done], jobs: Jobs) -> None:
    """With a grant, which it uses up; the release keeps the reason and what it repeats."""
    server = jobs.plane.server
    for mesh in ("m", "s"):
        server.client().create_mesh(meshName=mesh)
    _, _, objects = DEFINITIONS.partition("---\n")
    Path("mesh.yaml").write_text(objects)
    environments = "environments: {staging: {mesh: s}, production: {mesh: m}}"
    Path("meshwright.yaml").write_text(f"stack: shop\ndefinitions: [mesh.yaml]\n{environments}\n")
    promote = ("promote", "--from", "staging", "--to", "production")
    for number, weight in ((1, 90), (2, 10)):
        shift(weight)
        assert run("alice", "--environment", "staging", "apply").code == 0
        for status in (Status.PROPAGATED, Status.VERIFIED):
            server.store.mark("s", "shop", number, status, principal="p", at=now())
        if number == 1:
            assert run("alice", *promote).code == 0
    jobs.trust(guarded("deny"))
    assert "Ask the platform team." in run("alice", *promote).err
    assert "No grant lets user/alice pass" in run("alice", *promote, "--break-glass", "INC-7").err
    given = ("guardrails", "break-glass", "--for", "user/alice", "--reason", "INC-7")
    assert run("administrator", "--environment", "production", *given).code == 0
    done = run("alice", *promote, "--break-glass", "it burns")
    assert done.code == 0, done.err
    made = server.store.release("m", "shop", 2)
    assert made is not None
    assert made.broken_glass is not None
    assert made.promotes is not None
    assert (made.broken_glass.reason, made.promotes.number) == ("it burns", 2)


def test_the_rules_that_hold_are_listed(run: Callable[..., Done], jobs: Jobs) -> None:
    """With what they mind and say; of the environment, what else it demands."""
    assert run("alice", "guardrails", "list").out == "No guardrail holds in environment test.\n"
    jobs.trust(TRUST.replace("{mesh: m}", "{mesh: m, pack: production, verified_builds: true}"))
    listed = run("alice", "guardrails", "list").out
    assert "releases alone change the mesh" in listed
    assert "only builds with a verified number may apply" in listed
    traffic = "weight-moved, match-narrowed, destination-changed, discovery-changed, port-changed, protocol-changed"
    assert f"{traffic}; over 50 points; apply only" in listed
    found: Any = run("alice", "guardrails", "list", "--format", "json").json
    assert found["guardrails"]["tls"]["severity"] == "deny"


def test_a_repair_waits_for_approval_as_well(run: Callable[..., Done], jobs: Jobs) -> None:
    """What is risky in it may be what somebody did in need; nothing is repaired until somebody says so."""
    run("alice", "apply")
    jobs.trust(guarded("approve", "risks: ['*'], kinds: [repair]"))
    key = jobs.plane.server.store.key("AKIAADMINISTRATOR")
    assert key is not None
    stock = jobs.plane.server.client(key)
    route = {"meshName": "m", "virtualRouterName": "r", "routeName": "x"}
    spec = stock.describe_route(**route)["route"]["spec"]
    targets = spec["httpRoute"]["action"]["weightedTargets"]
    targets[0]["weight"], targets[1]["weight"] = 10, 90
    stock.update_route(**route, spec=spec)
    done = run("alice", "drift", "--repair", "--format", "json")
    assert done.code == 1
    assert done.json["repair"]["pending"]["title"] == "shop#pending-1"
    assert run("bob", "approve", "1").code == 0
    assert run("alice", "drift").code == 0
    assert "repair of #1" in run("alice", "history").out.splitlines()[1]
