"""`travis init` writes a pipeline that lets nobody deploy who should not, or extends one and keeps every line."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from meshwright.ci.travis.between_lines import Conflicts
from meshwright.ci.travis.conditions import parse
from meshwright.ci.travis.extending import extended
from meshwright.ci.travis.outcomes import holds
from meshwright.ci.travis.pipeline import pipeline
from meshwright.ci.travis.review import review
from meshwright.ci.travis.scaffold import Plan, jobs, scalar, whole
from meshwright.cli import cli
from meshwright.diagnostics import Severity
from meshwright.documents.yaml_positions import read_yaml
from settings import SHARED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PLAN = Plan(branch="main", environments=("staging", "production"), requirement="meshwright==1")
REAL_FILES = SHARED / "travis" / "fixtures_yml"

PUSH = {"type": "push", "branch": "main", "fork": False, "repo": "acme/shop"}
PROPOSAL = {**PUSH, "type": "pull_request", "head_repo": "acme/shop", "head_branch": "new"}
EVERYBODY = ["Validate the mesh", "Test the mesh"]
RELEASE = [*EVERYBODY, "Release to staging", "Verify staging", "Promote to production"]


def loaded(text: str) -> dict[str, Any]:
    """A file as Travis sees it: `on` is a key, and no truth value."""

    def mended(value: Any) -> Any:
        if isinstance(value, dict):
            return {"on" if key is True else key: mended(one) for key, one in value.items()}
        return [mended(one) for one in value] if isinstance(value, list) else value

    found: dict[str, Any] = mended(yaml.safe_load(text))
    return found


@pytest.mark.parametrize(
    ("build", "variables", "names"),
    [
        (PUSH, {}, RELEASE),
        ({**PUSH, "type": "api"}, {}, RELEASE),
        ({**PUSH, "branch": "next"}, {}, EVERYBODY),
        ({**PUSH, "branch": "v1", "tag": "v1"}, {}, EVERYBODY),
        ({**PUSH, "tag": "main"}, {}, EVERYBODY),
        ({**PUSH, "fork": True}, {}, EVERYBODY),
        (PROPOSAL, {}, [*EVERYBODY, "Plan the change"]),
        ({**PROPOSAL, "head_repo": "stranger/shop"}, {}, EVERYBODY),
        ({**PROPOSAL, "branch": "next"}, {}, EVERYBODY),
        ({**PUSH, "type": "api"}, {"MESHWRIGHT_ACTION": "rollback"}, ["Roll back"]),
        ({**PUSH, "type": "api", "branch": "next"}, {"MESHWRIGHT_ACTION": "rollback"}, []),
        (PROPOSAL, {"MESHWRIGHT_ACTION": "rollback"}, ["Plan the change"]),
        ({**PUSH, "type": "cron"}, {}, ["Repair drift in staging", "Repair drift in production"]),
        ({**PUSH, "type": "cron", "branch": "next"}, {}, []),
    ],
)
def test_each_kind_of_build_has_these_jobs(
    build: Mapping[str, str | bool], variables: Mapping[str, str], names: list[str]
) -> None:
    """Pull requests and forks never get to a job that changes something."""
    made = loaded(whole(PLAN))["jobs"]["include"]
    run = [job["name"] for job in made if holds(parse(job["if"]).expression, build, variables)]
    assert run == names


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        Plan(branch="main"),
        Plan(branch="release/2026.1", environments=("production",)),
        Plan(branch="master", environments=("qa", "staging", "production"), config="infra/mesh.yaml"),
        Plan(branch="a#b", environments=("x",), requirement="meshwright @ git+https://git.example/m.git"),
        Plan(branch="environment", environments=("x",)),
    ],
    ids=str,
)
def test_what_is_written_is_faultless(plan: Plan) -> None:
    """By our own check without any finding, and by Travis's schema where that is there."""
    text = whole(plan)
    assert review(text, ".travis.yml") == ()
    made = loaded(text)
    assert made["jobs"]["include"] == jobs(plan, {"python": "3.12"})
    assert extended(text, ".travis.yml", plan) == text
    schema = SHARED / "travis" / "travis-yml-schema.json"
    if schema.is_file():
        jsonschema.Draft4Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(made)


@pytest.mark.parametrize(
    "text", ["a", "yes", "a: b", "a #b", "a:", "a ", "3.12", "it's", "- a", "", "{a", "$A", "a:b"]
)
def test_a_text_is_written_so_that_it_is_read_as_the_same(text: str) -> None:
    """Quoted where it would be something else."""
    assert yaml.safe_load(f"k: {scalar(text)}") == {"k": text}


ENDINGS = [
    "language: go\nscript: make",
    "language: go\r\nscript: make\r\n",
    "# only a comment\n",
    "",
    "go: ['1.22']\njobs:\n  fast_finish: true\nscript: make # here\n",
    "jobs:\n  include:\n  - name: a\n    script: b\n    # and why\n  # not this\nenv:\n  global: [A=1]\n",
    "jobs:\n  - script: |\n      one\n\n      two\n\n",
    "matrix:\n    include:\n        - &one\n          script: a\n        - <<: *one\n    fast_finish: true",
    "stages:\n- build\n- {name: test, if: branch = main}\n\njobs:\n  include:\n    - {stage: build, script: a}\n",
    "deploy:\n  provider: script\n  script: ./x\n  on: main\ngit: {depth: 1}\narch: arm64\nafter_script: clean\n",
    "_shared: &shared\n  script: a\njobs:\n  include:\n    - <<: *shared\n",
]


@pytest.mark.parametrize("before", ENDINGS)
def test_a_file_is_extended_between_its_lines(before: str) -> None:
    """Each line stays, in order; nothing is lost by what is added; a second time adds nothing."""
    after = extended(before, "f", PLAN)
    rest = iter(after.splitlines())
    assert all(line in rest for line in before.splitlines())
    assert extended(after, "f", PLAN) == after
    old, new = loaded(before) or {}, loaded(after)
    top = next((name for name in ("matrix", "jobs") if name in new), "")
    assert {key: value for key, value in old.items() if key not in {top, "stages"}}.items() <= new.items() or not old
    listed = new[top]["include"] if isinstance(new[top], dict) else new[top]
    assert [job["name"] for job in listed[-9:]] == [job["name"] for job in jobs(PLAN, {})]
    assert deployed_at(before) == deployed_at(after)
    if before.endswith("\r\n"):
        assert "\n" not in after.replace("\r\n", "")


def test_a_job_that_the_top_makes_by_itself_is_kept() -> None:
    """Travis makes none of the file's top where jobs are listed, unless the top has a list of versions."""
    assert loaded(extended("script: make\n", "f", PLAN))["jobs"]["include"][0] == {"stage": "test"}
    first = loaded(extended("script: make\ngo: ['1.22', '1.23']\n", "f", PLAN))["jobs"]["include"][0]
    assert first["name"] == "Validate the mesh"


def deployed_at(text: str) -> int:
    """How many jobs deploy what the file's top says."""
    root = read_yaml(text).documents
    found = pipeline(root[0].value).jobs if root and root[0].value else ()
    return sum(deploy.path.startswith("deploy") for job in found for deploy in job.deploys)


def real_files() -> list[Any]:
    """Every real file by name, or one that skips."""
    names = sorted(path.name for path in REAL_FILES.glob("*.yml")) if REAL_FILES.is_dir() else []
    skip = pytest.mark.skip(reason="the real files are not on this machine")
    return [pytest.param(name, id=name) for name in names] or [pytest.param("", marks=skip)]


@pytest.mark.parametrize("name", real_files())
def test_real_files_are_extended_between_their_lines(name: str) -> None:
    """What they deploy is deployed by none of the added jobs, and no error is new."""
    before = (REAL_FILES / name).read_text(encoding="utf-8")
    plan = Plan(branch="master", environments=("staging", "production"))
    after = extended(before, name, plan)
    rest = iter(after.split("\n"))
    assert all(line in rest for line in before.rstrip("\n").split("\n"))
    assert extended(after, name, plan) == after
    assert deployed_at(before) == deployed_at(after)
    codes = [[one.rule for one in review(text, name) if one.severity is Severity.ERROR] for text in (before, after)]
    assert codes[0] == codes[1]


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("jobs: {include: [{script: a}]}\n", 1, "written in one line"),
        ("{script: a}\n", 1, "block style"),
        ("script: a\nstages: [a]\n", 2, "stages is written in one line"),
        ("jobs: 3\n", 1, "holds no list of jobs"),
        ("script: a\nbranches:\n  only: [next]\n", 2, "leaves out 'main'"),
        ("if: type = pull_request\nscript: a\n", 0, "can never run"),
        ("language: python\njobs:\n  allow_failures:\n    - language: python\n", 0, "may fail"),
        (
            "jobs:\n  include:\n    - {script: a}\n    - stage: plan\n      name: Plan the change\n",
            4,
            "not as init would",
        ),
        ("script: [\n", 2, "not YAML"),
        ("a: 1\n---\nb: 2\n", 1, "no single mapping"),
        ("- a\n", 1, "no single mapping"),
        ("script: a\nscript: b\n", 2, "given twice"),
    ],
)
def test_what_stands_in_the_way_is_told_with_its_line(text: str, line: int, told: str) -> None:
    """And nothing comes of it."""
    with pytest.raises(Conflicts, match=told) as caught:
        extended(text, "f", PLAN)
    assert not line or any(one.startswith(f"f:{line}: ") for one in caught.value.told)


def test_a_rollback_goes_to_the_build_that_was_asked_for_or_to_the_last_good_release() -> None:
    """As bash reads the line; the job ends with the command's own exit code."""
    made = {str(job["name"]): job for job in jobs(PLAN, {})}
    script = made["Roll back"]["script"]
    assert isinstance(script, list)
    functions = 'meshwright() { printf "<%s>" "$@"; return 2; }; travis_terminate() { exit "$1"; }; '

    def said(**variables: str) -> str:
        done = subprocess.run(
            ["bash", "-c", functions + script[0]], capture_output=True, text=True, check=False, env=variables
        )
        assert done.returncode == 2
        return done.stdout

    assert "<--environment><production><rollback><--last-good><--wait>" in said(TRAVIS_BUILD_NUMBER="7")
    chosen = said(TRAVIS_BUILD_NUMBER="7", MESHWRIGHT_TO_BUILD="5", MESHWRIGHT_ENVIRONMENT="staging")
    assert "<--environment><staging><rollback><--to-build><5><--wait>" in chosen
    assert chosen.endswith("<--reason><Travis build 7>")


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_ends_as_the_first_command_that_fails(code: int) -> None:
    """So that Travis's states are ours: 1 is failed, 2 errored; after a failure nothing more is run."""
    functions = f'meshwright() {{ echo called; return {code}; }}; travis_terminate() {{ exit "$1"; }}\n'
    for job in jobs(PLAN, {}):
        script = job["script"]
        assert isinstance(script, list)
        command = ["bash", "-c", functions + "\n".join(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.count("called")) == (code, 1 if code else len(script)), job["name"]


PROJECT = """
stack: shop
definitions: [mesh]
environments:
  local: {endpoint: "http://127.0.0.1:9080"}
  production: {endpoint: "https://mesh.example", protected: true}
  staging: {endpoint: "https://staging.mesh.example"}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose remote's HEAD is `trunk`."""
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (
        ["init", "--quiet", "-b", "feature"],
        ["commit", "--quiet", "--allow-empty", "-m", "first"],
        ["update-ref", "refs/remotes/origin/trunk", "HEAD"],
        ["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk"],
    ):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "meshwright.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def run(*arguments: str) -> Result:
    """The command as `main` runs it."""
    return CliRunner().invoke(cli, [*arguments], standalone_mode=False)


def test_the_command_writes_a_file_that_knows_branch_and_environments(repository: Path) -> None:
    """From git and meshwright.yaml: protected environments come last, and none on this machine."""
    done = run("travis", "init")
    assert (done.return_value, done.stderr) == (
        0,
        ".travis.yml was written: trunk is released to staging, then production.\n",
    )
    assert run("travis", "check", "--fail-on", "warning").return_value == 0
    text = (repository / ".travis.yml").read_text(encoding="utf-8")
    assert "branch = trunk" in text
    assert "master" not in text
    again = run("travis", "init")
    assert again.stderr == ".travis.yml has all of it; nothing was written.\n"
    assert (repository / ".travis.yml").read_text(encoding="utf-8") == text


def test_the_command_prints_what_it_would_write(repository: Path) -> None:
    """To standard output, alone; environments and the branch can be told."""
    done = run("travis", "init", "--print", "--branch", "main", "--into", "production", "--requirement", "meshwright")
    assert done.return_value == 0
    assert loaded(done.stdout)["install"] == "pip install meshwright"
    assert "staging" not in done.stdout
    assert not (repository / ".travis.yml").exists()


def test_jobs_log_in_where_environments_name_a_role(repository: Path) -> None:
    """Each as the one that it changes something in; the check sees through it."""
    text = PROJECT.replace('staging.mesh.example"', 'staging.mesh.example", role: "arn:aws:iam::000000000000:role/a"')
    (repository / "meshwright.yaml").write_text(text.replace("protected: true", "role: b"), encoding="utf-8")
    made = run("travis", "init", "--print", "--into", "staging", "--into", "production").stdout
    scripts = {job["name"]: job["script"][-1] for job in loaded(made)["jobs"]["include"]}
    staging = "meshwright --environment staging travis login --beside-aws -- meshwright --environment staging"
    assert scripts["Release to staging"].startswith(f"{staging} apply ")
    assert scripts["Plan the change"].startswith(f"{staging} plan ")
    assert scripts["Test the mesh"].startswith("meshwright --environment staging test ")
    promote = "meshwright --environment production travis login --beside-aws -- meshwright promote --from staging"
    assert scripts["Promote to production"].startswith(promote)
    chosen = '--environment "${MESHWRIGHT_ENVIRONMENT:-production}"'
    assert scripts["Roll back"].startswith(
        f"meshwright {chosen} travis login --beside-aws -- meshwright {chosen} rollback"
    )
    assert review(made, ".travis.yml") == ()
    assert [one.rule for one in review(f"script: {scripts['Release to staging']}", "f")] == ["MW855"]


def test_a_file_of_another_place_is_named_in_each_command(repository: Path) -> None:
    """So that jobs, which run at the repository's root, find it."""
    (repository / "infra").mkdir()
    (repository / "meshwright.yaml").rename(repository / "infra" / "mesh.yaml")
    done = run("--config", "infra/mesh.yaml", "travis", "init", "--print")
    assert "meshwright --config infra/mesh.yaml --environment staging apply" in done.stdout


def test_nothing_is_written_where_something_stands_in_the_way(repository: Path) -> None:
    """All of it is told at once; the exit code is that of a refusal."""
    path = repository / ".travis.yml"
    text = "script: a\nstages: [a]\nbranches: {only: [next]}\n"
    path.write_text(text, encoding="utf-8")
    done = run("travis", "init")
    assert getattr(done.exception, "exit_code", None) == 1
    assert str(done.exception).splitlines() == [
        ".travis.yml:3: branches leaves out 'trunk', which shall be released: add it there.",
        "Nothing was written.",
    ]
    assert path.read_text(encoding="utf-8") == text
    assert [one.name for one in repository.iterdir() if one.name.startswith(".meshwright")] == []


def test_errors_that_were_there_are_told(repository: Path) -> None:
    """They would fail the first job."""
    (repository / ".travis.yml").write_text("language: go\nscirpt: make\n", encoding="utf-8")
    assert "It had 1 error before" in run("travis", "init").stderr


@pytest.mark.parametrize(
    ("prepare", "arguments", "told"),
    [
        ("git symbolic-ref --delete refs/remotes/origin/HEAD", (), "name it with --branch"),
        ("rm meshwright.yaml", (), "there is no meshwright.yaml beside .travis.yml"),
        ("true", ("--into", "stagin"), "Did you mean 'staging'?"),
        ("sed -i /https/d meshwright.yaml", (), "every environment is on this machine"),
        ("true", ("--branch", "a'b\"c d"), "cannot be named in a condition"),
        ("mkdir .travis.yml", (), ".travis.yml cannot be read"),
    ],
)
def test_what_cannot_be_known_is_told(repository: Path, prepare: str, arguments: tuple[str, ...], told: str) -> None:
    """With exit code 2; no branch is taken for granted."""
    subprocess.run(["bash", "-c", prepare], check=True)
    done = run("travis", "init", *arguments)
    assert told in str(done.exception)
    assert getattr(done.exception, "exit_code", None) == 2
