"""Values from AWS Systems Manager Parameter Store: moto's server, asked by the command line through boto3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cloud_map import Moto, moto
from parameter_store import Answer, Door, door
from test_values import PROJECT, PULL, hosts, node, run, told, validated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(300)]  # the first of them installs moto

SECRET = "correct-horse-battery"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A Parameter Store for all tests here: it takes seconds to start."""
    with moto(tmp_path_factory.mktemp("moto")) as found:
        yield found


@pytest.fixture
def store(running: Moto) -> Iterator[Door]:
    """An empty one."""
    running.reset()
    with door(running) as found:
        yield found


def names(store: Door) -> list[tuple[str, int, bool]]:
    """Of each call, what was asked, for how many, and whether to decrypt."""
    return [(what, len(one.get("Names", "x")), one["WithDecryption"]) for what, one in store.calls]


def test_each_parameter_is_asked_once_and_ten_at_a_time(tmp_path: Path, store: Door) -> None:
    """Those of `meshwright.yaml` together, then those that definitions name themselves, over all files."""
    for number in range(25):
        store.put(f"/shop/host/{number}", f"h{number}.local")
    store.put("/shop/port", "8081")
    many = "---\n".join(
        node(f"n{one}", host=f"${{ssm:/shop/host/{one % 25}}}", port='"${PORT}"') for one in range(50)
    )
    files = {
        "meshwright.yaml": "stack: a\ndefinitions: [a.yaml, b.yaml]\nparameters: {PORT: '${ssm:/shop/port}'}\n",
        "a.yaml": many,
        "b.yaml": node("last", host="${ssm:/shop/host/3}.${ssm:/shop/host/4}", port='"${PORT}"'),
    }
    report = validated(tmp_path, files, **store.environment)
    assert (len(report["objects"]), report["diagnostics"]) == (51, [])
    assert names(store) == [("GetParameters", number, False) for number in (1, 10, 10, 5)]


def test_versions_and_labels_are_named_as_aws_names_them(tmp_path: Path, store: Door) -> None:
    """And the newest without one."""
    store.put("/shop/host", "old.local")
    store.put("/shop/host", "new.local")
    store.put("/shop/more", "more.local")
    named = {"a": "${ssm:/shop/host:1}", "b": "${ssm:/shop/host}", "c": "${ssm:/shop/host:9:-spare.local}"}
    definitions = "---\n".join(node(name, host=host) for name, host in named.items())
    report = validated(tmp_path, {"meshwright.yaml": PROJECT, "defs.yaml": definitions}, **store.environment)
    assert report["diagnostics"] == []
    both = {"defs.yaml": node(host="${ssm:/shop/host:1}.${ssm:/shop/host}.${ssm:/shop/more}")}
    assert hosts(tmp_path, both, **store.environment) == "old.local.new.local.more.local"
    report = validated(tmp_path, {"defs.yaml": definitions.replace(":-spare.local", "")}, **store.environment)
    assert told(report) == [
        (
            "Parameter Store has no parameter /shop/host:9 in eu-west-1 | Create it, correct the name, or give a "
            "default: ${ssm:NAME:-text}."
        )
    ]


def test_a_path_gives_all_its_parameters_over_all_pages(tmp_path: Path, store: Door) -> None:
    """What is written out beats them, and an environment's path the file's."""
    for number in range(23):
        store.put(f"/shop/all/HOST_{number}", f"h{number}.local")
    store.put("/shop/all/PORT", "1")
    store.put("/shop/live/PORT", "8082")
    store.put("/shop/live/below/PORT", "2")
    project = (
        PROJECT + "parameters_from: ${ssm:/shop/all/}\nparameters: {HOST_3: written.local}\n"
        "environments: {live: {parameters_from: ['${ssm:/shop/live/}']}}\n"
    )
    definitions = "---\n".join(node(f"n{one}", host=f"${{HOST_{one}}}", port='"${PORT}"') for one in range(23))
    files = {"meshwright.yaml": project, "defs.yaml": definitions}
    done = validated(tmp_path, files, **store.environment)
    assert (len(done["objects"]), done["diagnostics"]) == (23, [])
    assert [what for what, _ in store.calls] == ["GetParametersByPath"] * 3
    store.calls.clear()
    found = run(tmp_path, "--environment", "live", "route", "--from", "n3", "http://x.local/", **store.environment)
    assert sorted(one["Path"] for _, one in store.calls) == [*["/shop/all/"] * 3, "/shop/live/"]
    assert "x.local" in found.stdout + found.stderr
    done = validated(tmp_path, {"defs.yaml": node(host="${NONE}", port='"${PORT}"')}, **store.environment)
    assert "the variable ${NONE} has no value" in told(done)[0]


def test_a_secure_string_is_refused_and_never_decrypted(tmp_path: Path, store: Door) -> None:
    """Whichever way it is asked for; unless the project says that it is no secret."""
    store.put("/shop/db", SECRET, "SecureString")
    store.put("/shop/hosts/DB", SECRET, "SecureString")
    store.put("/shop/hosts/PAY", "pay.local")
    project = PROJECT + "parameters_from: ${ssm:/shop/hosts/}\n"
    named = {"a": "${ssm:/shop/db}", "b": "${ssm:/shop/db:-no}", "c": "${DB}", "d": "${PAY}"}
    definitions = "---\n".join(node(name, host=host) for name, host in named.items())
    files = {"meshwright.yaml": project, "defs.yaml": definitions}
    report = validated(tmp_path, files, **store.environment)
    assert report["objects"] == ["mesh/shop/virtualNode/d"]
    found = [one["summary"] for one in report["diagnostics"]]
    assert found == [
        "/shop/db of Parameter Store is a SecureString, and so a secret",
        "/shop/hosts/DB of Parameter Store is a SecureString, and so a secret",
    ]
    assert "List ssm:/shop/db under public" not in told(report)[0]
    assert "or list ssm:/shop/db under public in meshwright.yaml, if it is none" in told(report)[0]
    assert not any(decrypted for _, _, decrypted in names(store))
    assert SECRET not in json.dumps(report)
    public = {"meshwright.yaml": project + "public: ['ssm:/shop/db', 'ssm:/shop/hosts/DB']\n"}
    report = validated(tmp_path, public, **store.environment)
    assert (len(report["objects"]), report["diagnostics"]) == (4, [])


def refused(code: str, message: str) -> Answer:
    """AWS's form of an error."""
    return 400, {"__type": code, "message": message}


def test_throttling_is_waited_out_and_has_an_end(tmp_path: Path, store: Door) -> None:
    """Five attempts; then it could not be done, and nothing else is asked."""
    store.put("/shop/host", "h.local")
    files = {"meshwright.yaml": PROJECT, "defs.yaml": node(host="${ssm:/shop/host}")}
    store.instead = lambda *_: refused("ThrottlingException", "Rate exceeded") if len(store.calls) < 3 else None
    report = validated(tmp_path, files, **store.environment)
    assert (len(report["objects"]), len(store.calls)) == (1, 3)
    store.calls.clear()
    store.instead = lambda *_: refused("ThrottlingException", "Rate exceeded")
    (tmp_path / "defs.yaml").write_text(files["defs.yaml"] + "---\n" + node("pay", host="${ssm:/shop/pay:2}"))
    done = run(tmp_path, "validate", "--part", **store.environment)
    assert done.returncode == 2
    assert done.stderr == "Error: Parameter Store refused 5 times, as too many: Rate exceeded. Run again later.\n"
    assert len(store.calls) == 5


def test_what_may_not_be_read_is_told_with_the_permission_that_is_missing(tmp_path: Path, store: Door) -> None:
    """The others of the same call are read all the same."""
    store.put("/shop/host", "h.local")
    store.put("/shop/other", "o.local")
    closed = "User: arn:aws:sts::1:assumed-role/ci/x is not authorized to perform: ssm:GetParameters"

    def instead(operation: str, arguments: dict[str, Any]) -> Answer | None:
        if operation == "GetParametersByPath":
            return refused("AccessDeniedException", closed.replace("Parameters", "ParametersByPath"))
        return refused("AccessDeniedException", closed) if "/shop/closed" in arguments["Names"] else None

    store.instead = instead
    definitions = "---\n".join(node(one, host=f"${{ssm:/shop/{one}}}") for one in ("host", "closed", "other"))
    files = {"meshwright.yaml": PROJECT, "defs.yaml": definitions}
    report = validated(tmp_path, files, **store.environment)
    assert len(report["objects"]) == 2
    assert told(report) == [
        (
            f"this job may not read /shop/closed of Parameter Store: {closed} | Its role needs ssm:GetParameters on "
            "parameter/shop/closed in eu-west-1."
        )
    ]
    files = {"meshwright.yaml": PROJECT + "parameters_from: ${ssm:/shop/}\n", "defs.yaml": node(host="${HOST}")}
    report = validated(tmp_path, files, **store.environment)
    assert "the variable ${HOST} has no value: this job may not read /shop/ of Parameter Store" in told(report)[0]
    assert "Its role needs ssm:GetParametersByPath on parameter/shop in eu-west-1." in told(report)[0]


@pytest.mark.parametrize(
    ("environ", "wanted", "remedy"),
    [
        (
            {"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:9"},
            "Parameter Store cannot be asked: Could not connect",
            "Let this job reach http://127.0.0.1:9, or say with AWS_ENDPOINT_URL_SSM",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true"},
            "Parameter Store cannot be asked: Unable to",
            "Give valid AWS credentials to this job",
        ),
        ({"AWS_PROFILE": "nobody"}, "AWS's settings for ssm cannot be used", "nobody"),
    ],
)
def test_without_aws_nothing_can_be_judged(
    tmp_path: Path, store: Door, environ: dict[str, str], wanted: str, remedy: str
) -> None:
    """Which is told once, with what helps there, however much needs it."""
    project = PROJECT + "parameters_from: ['${ssm:/shop/}', '${ssm:/all/}']\n"
    files = {"meshwright.yaml": project, "defs.yaml": node(host="${ssm:/a}") + "---\n" + node("b", host="${B}")}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = run(tmp_path, "validate", "--part", **{**store.environment, **environ})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {wanted}")
    assert remedy in line
    assert done.stdout == ""


def test_in_a_pull_request_nothing_is_asked(tmp_path: Path, store: Door) -> None:
    """Although it could be."""
    store.put("/shop/all/HOST", "h.local")
    project = PROJECT + "parameters_from: ${ssm:/shop/all/}\nparameters: {PORT: '${ssm:/shop/port:-8080}'}\n"
    files = {"meshwright.yaml": project, "defs.yaml": node(host="${HOST}", port='"${PORT}"')}
    report = validated(tmp_path, files, **PULL, **store.environment)
    (only,) = report["diagnostics"]
    assert only["severity"] == "warning"
    assert only["summary"] == (
        "the variable ${HOST} has no value: /shop/all/ of Parameter Store, which may have it, is not asked in "
        "pull request 12"
    )
    assert store.calls == []


@pytest.mark.parametrize("wrong", ["/shop/", "${ssm:/shop}", "${ssm:shop/}", "${env:A}", "7"])
def test_what_is_no_path_is_refused(tmp_path: Path, wrong: str) -> None:
    """With its place."""
    (tmp_path / "meshwright.yaml").write_text(f"definitions: [a]\nparameters_from: {wrong}\n")
    done = run(tmp_path, "validate")
    assert done.returncode == 2
    assert "meshwright.yaml:2: parameters_from takes " in done.stderr
