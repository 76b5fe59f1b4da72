"""plan, apply, status, wait, history, drift, rollback: real files, the real server, exit codes and output."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command_line import commands
from meshwright.release import Status
from processes import until
from serving import KEY
from test_releases import BUILD, INTRUDER, update_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from command_line import Done
    from serving import Serving

DEFINITIONS = """
meshName: m
spec: {}
---
virtualNodeName: a
spec: {listeners: [{portMapping: {port: 80, protocol: http}}], serviceDiscovery: {dns: {hostname: a}}}
---
virtualNodeName: b
spec: {listeners: [{portMapping: {port: 80, protocol: http}}], serviceDiscovery: {dns: {hostname: b}}}
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

PROJECT = """
stack: shop
mesh: m
definitions: [mesh.yaml]
environments:
  elsewhere: {mesh: other}
"""


@pytest.fixture
def run(
    server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run the command line in a project of its own against a server of its own."""
    files = {"mesh.yaml": DEFINITIONS, "meshwright.yaml": PROJECT}
    return commands(tmp_path / "project", server, monkeypatch, capsys, files)


def shift(weight: int) -> None:
    """Write another weight into the project's route."""
    file = Path("mesh.yaml")
    file.write_text(file.read_text().replace("weight: 90", f"weight: {weight}"))


def test_a_plan_shows_what_apply_then_does(run: Callable[..., Done], server: Serving) -> None:
    """And changes nothing by itself."""
    planned = run("plan")
    assert planned.code == 0
    assert planned.out.startswith("Plan for stack shop in mesh m: 5 to create, 0 to update, 0 to delete.\n")
    assert "  + mesh/m/virtualRouter/r/route/x\n" in planned.out
    assert server.store.head().revision == 0
    done = run("apply")
    assert done.code == 0
    assert done.out.startswith("Released shop#1 (revision 1): 5 created, 0 updated, 0 deleted.\n")
    assert run("plan").out == "No changes for stack shop in mesh m.\n"


def test_a_plan_names_the_protected_environment(run: Callable[..., Done]) -> None:
    """For whoever reads it, and not where the environment is like any other; its overlay is planned."""
    environments = "  live: {protected: true, overlays: [live.yaml]}\n  test: {protected: false}\n"
    Path("meshwright.yaml").write_text(PROJECT + environments)
    Path("live.yaml").write_text("virtualNodeName: a\nspec: {serviceDiscovery: {dns: {hostname: live.local}}}\n")
    for form in ("text", "markdown"):
        planned = run("--environment", "live", "plan", "--format", form).out
        told = planned.replace("`", "")
        assert "Plan for stack shop in mesh m (protected environment live): 5 to create" in told
        assert "live.local" in planned
        planned = run("--environment", "test", "plan", "--format", form).out
        assert "protected" not in planned
        assert "live.local" not in planned


def test_a_plan_exits_1_for_changes_only_when_asked_to(run: Callable[..., Done]) -> None:
    """So that a pull request's job may fail or not."""
    assert (run("plan").code, run("plan", "--exit-code").code) == (0, 1)
    run("apply")
    assert run("plan", "--exit-code").code == 0


def test_a_plan_is_printed_as_json_and_markdown_alone_on_standard_output(run: Callable[..., Done]) -> None:
    """Field by field, with wire paths."""
    run("apply")
    shift(50)
    change = run("plan", "--format", "json").json["changes"][0]
    assert (change["action"], change["object"]) == ("update", "mesh/m/virtualRouter/r/route/x")
    assert change["fields"] == [
        {"path": "spec.httpRoute.action.weightedTargets[0].weight", "old": 90, "new": 50},
    ]
    row = (
        "| `~` | `mesh/m/virtualRouter/r/route/x` | `spec.httpRoute.action.weightedTargets[0].weight` | `90` | `50` |"
    )
    assert row in run("plan", "--format", "markdown").out.splitlines()
    assert "90 → 50" in run("plan").out


def test_a_plan_file_is_applied_and_refused_once_it_is_stale(run: Callable[..., Done], server: Serving) -> None:
    """A job that is started again finds it applied; once somebody else wrote, it is about another world."""
    run("apply")
    shift(50)
    assert run("plan", "--out", "plan.json").err == "The plan was written to plan.json.\n"
    assert run("apply", "--plan", "plan.json").code == 0
    again = run("apply", "--plan", "plan.json")
    assert (again.code, again.out) == (0, "No changes: shop#2 (revision 2) is what runs.\n")
    update_weight(server, INTRUDER, a=1, b=1)
    again = run("apply", "--plan", "plan.json")
    assert again.code == 1
    assert again.err.splitlines()[-1].startswith("Error: The plan is stale: mesh/m/virtualRouter/r/route/x changed")
    assert server.store.head().revision == 3


def test_a_plan_shows_every_field_of_what_is_created_and_of_what_is_deleted(
    run: Callable[..., Done], server: Serving
) -> None:
    """Of an object that nobody has seen yet a reviewer sees all, tags too; in a comment as well as in a terminal."""
    del server
    file = Path("mesh.yaml")
    file.write_text(
        file.read_text().replace("virtualNodeName: a\n", "virtualNodeName: a\ntags: [{key: team, value: pay}]\n")
    )
    told = run("plan").out
    assert "      spec.httpRoute.action.weightedTargets[1].weight: 10\n" in told
    assert '      spec.serviceDiscovery.dns.hostname: "b"\n' in told
    assert '      tags.team: "pay"\n' in told
    row = '| | | `spec.serviceDiscovery.dns.hostname` | | `"b"` |'
    assert row in run("plan", "--format", "markdown").out.splitlines()
    run("apply")
    file.write_text(re.sub(r"virtualRouterName: r\nrouteName.*", "", file.read_text(), flags=re.DOTALL))
    assert '      spec.httpRoute.match.prefix: "/"\n' in run("plan").out
    row = '| | | `spec.httpRoute.match.prefix` | `"/"` | |'
    assert row in run("plan", "--format", "markdown").out.splitlines()


def test_a_bad_definition_is_refused_with_file_and_line_before_the_server_is_asked(
    run: Callable[..., Done], server: Serving
) -> None:
    """A missing node, and an expression that Envoy would reject."""
    file = Path("mesh.yaml")
    file.write_text(
        DEFINITIONS.replace("virtualNode: b", "virtualNode: ghost").replace("prefix: /", "path: {regex: '('}")
    )
    done = run("--endpoint", "http://127.0.0.1:1", "apply")
    assert done.code == 1
    assert "mesh.yaml:18: error MW210" in done.err
    assert "mesh.yaml:22: error " in done.err
    assert "ghost" in done.err
    assert done.err.splitlines()[-1] == "Error: The definitions have errors; nothing was changed."
    assert done.out == ""
    assert server.store.head().revision == 0


def test_a_name_that_no_running_stack_defines_is_refused_with_file_and_line(run: Callable[..., Done]) -> None:
    """The files alone cannot tell; with what runs they can."""
    Path("mesh-only.yaml").write_text(DEFINITIONS.split("---", maxsplit=1)[0])
    assert run("apply", "mesh-only.yaml", "--stack", "base").code == 0
    Path("lone.yaml").write_text(DEFINITIONS.split("---")[4])
    done = run("plan", "lone.yaml")
    assert done.code == 1
    assert "lone.yaml:" in done.err
    assert "VirtualRouter with name r is missing" in done.err


def test_a_mesh_that_nobody_defines_is_one_message(run: Callable[..., Done]) -> None:
    """Not one for each object in it."""
    Path("node.yaml").write_text(DEFINITIONS.split("---")[1])
    done = run("plan", "node.yaml")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("Error: Mesh 'm' does not exist at http://127.0.0.1:")


def test_definitions_of_another_mesh_are_one_message(run: Callable[..., Done]) -> None:
    """A release is about one mesh."""
    for arguments in (("plan", "--mesh", "other"), ("--environment", "elsewhere", "plan")):
        done = run(*arguments)
        assert (done.code, done.err.count("\n")) == (2, 1), done
        assert "about mesh 'other', but mesh/m lies in mesh 'm'" in done.err


def test_what_is_another_stack_s_is_refused_by_the_server_which_keeps_the_attempt(
    run: Callable[..., Done], server: Serving
) -> None:
    """A refusal of the command's own would leave no trace of who tried."""
    assert run("apply").code == 0
    refused = run("apply", "--stack", "other")
    assert refused.code == 1
    assert "mesh/m belongs to stack 'shop'; an object has one stack." in refused.err
    assert refused.err.endswith("Nothing was changed.\n")
    kept = ("audit", "log", "--outcome", "refused", "--format", "json")
    until(lambda: [one["leaf"]["target"] for one in run(*kept).json["entries"]] == ["mesh/m/stack/other"])


def test_nothing_to_apply_is_said_and_makes_no_release(run: Callable[..., Done]) -> None:
    """Exit code 0: the build may run again."""
    run("apply")
    done = run("apply")
    assert (done.code, done.out) == (0, "No changes: shop#1 (revision 1) is what runs.\n")
    assert run("apply", "--format", "json").json["changed"] is False


@pytest.mark.parametrize("emptied", ["no file", "no definition", "no resource"])
def test_definitions_that_hold_nothing_delete_the_stack_only_on_purpose(
    run: Callable[..., Done], server: Serving, emptied: str
) -> None:
    """A wrong path or a condition that came out otherwise must not take everything down."""
    run("apply")
    shutil.move("mesh.yaml", "away.yaml")
    if emptied == "no file":
        Path("mesh.yaml").mkdir()
        shutil.move("mesh.yaml", "mesh")
        arguments = ["mesh"]
    else:
        node = {"Type": "AWS::AppMesh::Mesh", "Condition": "Never"}
        template = {"Conditions": {"Never": {"Fn::Equals": ["a", "b"]}}, "Resources": {"M": node}}
        Path("mesh.yaml").write_text("a: 1\n" if emptied == "no definition" else json.dumps(template))
        arguments = []
    for command in ("plan", "apply"):
        done = run(command, *arguments)
        assert done.code == 1, done
        assert done.err.splitlines()[-1].startswith("Error: The definitions h")
    assert len(server.store.head().state) == 5
    assert "0 created, 0 updated, 5 deleted" in run("apply", "--allow-empty", *arguments).out
    assert len(server.store.head().state) == 0


def test_apply_carries_the_builds_metadata(run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the job's environment claims it."""
    monkeypatch.setenv("TRAVIS", "true")
    monkeypatch.setenv("TRAVIS_BUILD_NUMBER", "42")
    monkeypatch.setenv("TRAVIS_PULL_REQUEST", "false")
    build = run("apply", "--format", "json").json["release"]["build"]
    assert build == {"ci": "travis", "build_number": "42"}
    assert "#42" in run("history").out


def test_waiting_without_a_proxy_is_a_warning(run: Callable[..., Done]) -> None:
    """Not a failure: there may be none yet."""
    done = run("apply", "--wait", "5")
    assert done.code == 0
    assert done.err.splitlines()[-1] == "Warning: no proxy is connected, so none has taken the release."
    assert run("wait", "1").code == 0
    assert run("wait", "shop#1", "--format", "json").json["state"] == "no-proxies"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("wait", "seven"), "'seven' is no release"),
        (("wait", "0"), "'0' is no release"),
        (("rollback", "--to", "0"), "'0' is no release"),
        (("wait", "other#7"), "a release of stack 'other'"),
        (("rollback",), "exactly one of --to RELEASE, --to-build N and --last-good"),
        (("rollback", "--to", "1", "--last-good"), "exactly one of"),
        (("apply", "mesh.yaml", "--plan", "x"), "not both"),
        (("apply", "--plan", "nothing.json"), "nothing.json cannot be read"),
        (("apply", "--plan", "mesh.yaml"), "is no plan"),
        (("--environment", "nowhere", "plan"), "no environment 'nowhere'"),
        (("--endpoint", "nonsense", "status"), "'nonsense' is not of the form"),
        (("--config", "none.yaml", "plan"), "none.yaml"),
        (("plan", "--parameter", "x"), "KEY=VALUE"),
        (("plan", "nothing-here"), "nothing-here"),
        (("plan", "--out", "no/such/folder/plan.json"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_exit_code_2(
    run: Callable[..., Done], arguments: tuple[str, ...], said: str
) -> None:
    """Naming the thing; no traceback."""
    done = run(*arguments)
    assert done.code == 2, done
    assert said in done.err
    assert "Traceback" not in done.err


def test_what_the_server_holds_against_a_release_is_printed(run: Callable[..., Done]) -> None:
    """With the object and the field, as `validate` would."""
    run("apply")
    shift(50)
    run("plan", "--out", "plan.json")
    plan = Path("plan.json")
    plan.write_text(plan.read_text().replace('"weight": 50', '"weight": 5000'))
    done = run("apply", "--plan", "plan.json")
    assert done.code == 1
    assert "error MW002 5000 is too large" in done.err
    assert "at mesh/m/virtualRouter/r/route/x spec.httpRoute.action.weightedTargets[0].weight" in done.err
    assert done.err.splitlines()[-1].startswith("Error: ")


def test_a_release_that_is_not_there_is_exit_code_2(run: Callable[..., Done]) -> None:
    """The server was reached, and refused."""
    for arguments in (("wait", "9"), ("rollback", "--to", "9"), ("drift",), ("rollback", "--last-good")):
        done = run(*arguments)
        assert (done.code, "has no release" in done.err) == (2, True), done


def test_an_unreachable_server_is_one_line_and_exit_code_2(run: Callable[..., Done]) -> None:
    """For every command that asks it."""
    for arguments in (
        ("status",),
        ("plan",),
        ("apply",),
        ("history",),
        ("drift",),
        ("wait", "1"),
        ("rollback", "--to", "1"),
    ):
        done = run("--quiet", "--endpoint", "http://127.0.0.1:1", *arguments)
        assert (done.code, done.out) == (2, ""), done
        assert done.err.startswith("Error: Cannot reach the control plane at http://127.0.0.1:1: ")
        assert done.err.count("\n") == 1


def test_drift_is_exit_code_1_and_rollback_repairs_it(run: Callable[..., Done], server: Serving) -> None:
    """The story of an intruder, as the command line tells it."""
    run("apply")
    shift(50)
    run("apply")
    for number in (1, 2):
        server.store.mark("m", "shop", number, Status.PROPAGATED, principal="test", at=1)
    assert (run("drift").code, run("drift").out) == (0, "No drift: shop in mesh m runs as shop#2 left it.\n")
    update_weight(server, INTRUDER, a=0, b=100)
    found = run("drift")
    assert found.code == 1
    intruder = "arn:aws:iam::000000000000:user/intruder"
    assert f"drift: mesh/m/virtualRouter/r/route/x is changed, by {intruder} with UpdateRoute at " in found.out
    assert "spec.httpRoute.action.weightedTargets[0].weight: 50 → 0" in found.out
    assert run("drift", "--format", "json").json["differences"][0]["author"]["principal"] == intruder
    done = run("rollback", "--last-good", "--wait", "1")
    assert done.code == 0
    assert done.out.startswith("Released shop#3 (revision 4), restoring shop#2: 0 created, 1 updated, 0 deleted.\n")
    assert run("drift").code == 0
    lines = run("history").out.splitlines()
    assert [line.split()[0] for line in lines] == ["RELEASE", "shop#3", "shop#2", "shop#1"]
    assert "rollback to #2" in lines[1]


def test_drift_says_of_each_field_who_changed_it_and_is_repaired_by_a_release_of_its_own(
    run: Callable[..., Done], server: Serving
) -> None:
    """Two people changed one object; what is nobody's is left alone, and told."""
    run("apply")
    update_weight(server, INTRUDER, a=90, b=20)
    update_weight(server, BUILD, a=50, b=20)
    server.client(BUILD).create_route(
        meshName="m",
        virtualRouterName="r",
        routeName="y",
        spec=server.client().describe_route(meshName="m", virtualRouterName="r", routeName="x")["route"]["spec"],
    )
    found = run("drift", "--format", "json").json["differences"]
    assert [(one["object"][-1], one["state"]) for one in found] == [("x", "changed"), ("y", "extra")]
    by = {field["path"][-9:]: field["author"]["principal"].rpartition("/")[2] for field in found[0]["fields"]}
    assert by == {"0].weight": "build", "1].weight": "intruder"}
    assert "[1].weight: 10 → 20, by arn:aws:iam::000000000000:user/intruder with UpdateRoute at " in run("drift").out
    done = run("drift", "--repair", "--wait", "0")
    assert done.code == 1
    assert "Released shop#2 (revision 5), restoring shop#1: 0 created, 1 updated, 0 deleted.\n" in done.out
    assert "  because 2 objects ran otherwise than shop#1 left them\n" in done.out
    assert "Nobody's, and therefore left alone: mesh/m/virtualRouter/r/route/y." in done.err
    server.client(BUILD).delete_route(meshName="m", virtualRouterName="r", routeName="y")
    assert run("drift", "--repair").code == 0
    assert "repair of #1" in run("history").out.splitlines()[1]
    assert run("drift", "--reason", "because").code == 2
    update_weight(server, INTRUDER, a=1, b=1)
    repaired = run("drift", "--repair", "--reason", "again", "--format", "json").json
    assert (repaired["repair"]["release"]["reason"], repaired["left"]) == ("again", [])
    assert [one["status"] for one in run("history", "--format", "json").json["releases"]] == ["applied"] * 3


def test_history_and_status_are_json_when_asked(run: Callable[..., Done]) -> None:
    """The same values as the endpoints'."""
    run("apply")
    assert [one["title"] for one in run("history", "--format", "json").json["releases"]] == ["shop#1"]
    status = run("status", "--format", "json").json
    assert (status["revision"], status["proxies"], status["stacks"][0]["release"]["title"]) == (1, [], "shop#1")
    assert "No proxy is connected." in run("status").out


def test_flags_beat_the_environment_which_beats_the_file(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For mesh, stack and endpoint."""
    assert "stack shop in mesh m" in run("plan").out
    monkeypatch.setenv("MESHWRIGHT_STACK", "from-environment")
    assert "stack from-environment in mesh m" in run("plan").out
    assert "stack from-flag in mesh m" in run("plan", "--stack", "from-flag").out
    monkeypatch.setenv("MESHWRIGHT_MESH", "m2")
    assert run("--environment", "elsewhere", "history", "--mesh", "m3", "--format", "json").json["mesh"] == "m3"
    assert run("--environment", "elsewhere", "history", "--format", "json").json["mesh"] == "m2"
    monkeypatch.delenv("MESHWRIGHT_MESH")
    assert run("--environment", "elsewhere", "history", "--format", "json").json["mesh"] == "other"


def test_without_a_mesh_the_message_offers_the_environments(run: Callable[..., Done]) -> None:
    """As the project file names them."""
    Path("meshwright.yaml").write_text(PROJECT.replace("mesh: m\n", ""))
    done = run("history")
    assert done.code == 2
    assert "--environment: elsewhere" in done.err
    assert run("plan", "mesh.yaml").code == 0


def test_a_hostile_name_reaches_the_terminal_escaped(run: Callable[..., Done]) -> None:
    """Also one that the server repeats."""
    done = run("history", "--mesh", "\x1b[31mred\u202e")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out


def test_quiet_leaves_only_results(run: Callable[..., Done]) -> None:
    """Progress is what goes."""
    assert run("--quiet", "apply").err == ""


def test_the_installed_command_exits_with_the_same_codes(server: Serving, tmp_path: Path) -> None:
    """Once as a process of its own, with credentials from a file."""
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = {KEY.id}\naws_secret_access_key = {KEY.secret}\n"
    )
    (tmp_path / "mesh.yaml").write_text(DEFINITIONS)
    command = [
        sys.executable,
        "-m",
        "meshwright.cli",
        "--endpoint",
        server.url,
        "plan",
        "--exit-code",
        "--stack",
        "s",
    ]
    done = subprocess.run(
        [*command, "mesh.yaml"],
        cwd=tmp_path,
        env={"AWS_SHARED_CREDENTIALS_FILE": "credentials", "HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("Plan for stack s in mesh m: 5 to create")
