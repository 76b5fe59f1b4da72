"""The stock AWS CLI, in an environment of its own, drives every operation of `meshwright serve` with signed requests.

What a client gets wrong is refused with AWS's own error code, as the CLI prints it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from botocore import xform_name

from live import Live, live
from meshwright.operations import OPERATIONS
from meshwright.store import sqlite
from meshwright.store.contract import Session
from meshwright.trust.principals import Principal
from settings import PROVE, ROOT
from test_api_appmesh import ARN, LIFE
from wire_client import REGION, Answer, Connection, now, signed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.store.contract import AccessKey

pytestmark = pytest.mark.timeout(600)

VERSION = "1.45.11"
"""The newest that Python 3.11 had when this was written; its service model has all of App Mesh."""
PLACE = ROOT / "tests" / ".peers" / f"awscli-{VERSION}"
INSTALL_SECONDS = 300 if PROVE else 60
REVERSED = ("GatewayRoute", "VirtualGateway", "VirtualService", "Route", "VirtualRouter", "VirtualNode", "Mesh")
"""A provider is let go before what it provides with, a route before its targets."""


@pytest.fixture(scope="session")
def aws() -> Path:
    """The interpreter of an environment with the AWS CLI, installed once and kept; a skip where that cannot be."""
    python = PLACE / "bin" / "python"
    PLACE.parent.mkdir(exist_ok=True)
    with PLACE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (PLACE / "installed").exists():
            try:
                subprocess.run(
                    [sys.executable, "-m", "venv", str(PLACE)], check=True, capture_output=True, timeout=60
                )
                install = [str(python), "-m", "pip", "install", "--quiet", f"awscli=={VERSION}"]
                subprocess.run(install, check=True, capture_output=True, timeout=INSTALL_SECONDS)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                pytest.skip(f"the AWS CLI {VERSION} cannot be installed here: {error}")
            (PLACE / "installed").touch()
    return python


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server for meshes of several names."""
    with live(tmp_path_factory.mktemp("cli") / "data") as running:
        yield running


class Said(NamedTuple):
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its output."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """AWS's code for the error."""
        found = re.search(r"An error occurred \((\w+)\)", self.err)
        return found[1] if found else self.err


def environment(server: Live, **more: str) -> dict[str, str]:
    """What the CLI is told; nothing of the developer's own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(server.folder),
        "AWS_CONFIG_FILE": str(server.folder / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(server.credentials),
        "AWS_ENDPOINT_URL_APP_MESH": server.api,
        "AWS_ENDPOINT_URL_STS": server.api,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_PAGER": "",
        **more,
    }


def told(python: Path, server: Live, commands: list[list[str]], **more: str) -> list[Said]:
    """What the CLI says to these commands, one after the other."""
    program = [str(python), str(Path(__file__).with_name("cli_program.py"))]
    done = subprocess.run(
        program,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        env=environment(server, **more),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Said(*one) for one in json.loads(done.stdout)]


def one_by_one(python: Path, server: Live, commands: list[list[str]]) -> list[Said]:
    """The same, each a process of its own as in a shell."""
    program = str(python.with_name("aws"))
    found = []
    for command in commands:
        done = subprocess.run(
            # By its interpreter: the path in its first line is where it was installed, and a checkout may be moved.
            [str(python), program, *command],
            capture_output=True,
            text=True,
            env=environment(server),
            check=False,
        )
        found.append(Said(done.returncode, done.stdout, done.stderr))
    return found


def named(verb: str, names: dict[str, str], **members: object) -> list[str]:
    """The command line of an operation."""
    found = ["appmesh", xform_name(verb, "-")]
    for name, value in {**names, **members}.items():
        found += [f"--{xform_name(name, '-')}", value if isinstance(value, str) else json.dumps(value)]
    return found


def story() -> list[list[str]]:
    """A command for every operation: each kind is made, looked at, changed, tagged, and taken away again."""
    commands = []
    for kind, own, spec in LIFE:
        names = {"meshName": "m", **own}
        member = f"{kind[0].lower()}{kind[1:]}Name"
        above = {name: value for name, value in names.items() if name != member}
        plural = "Meshes" if kind == "Mesh" else f"{kind}s"
        commands += [
            named(f"Create{kind}", names, spec=spec, tags=[{"key": "team", "value": "shop"}]),
            named(f"Describe{kind}", names),
            named(f"Update{kind}", names, spec=spec),
            named(f"List{plural}", above),
        ]
    arn = {"resourceArn": f"{ARN}m/virtualNode/n"}
    commands += [
        named("TagResource", arn, tags=[{"key": "tier", "value": "1"}]),
        named("ListTagsForResource", arn),
        named("UntagResource", arn, tagKeys="tier"),
    ]
    own_names = {kind: own for kind, own, _ in LIFE}
    return commands + [named(f"Delete{kind}", {"meshName": "m", **own_names[kind]}) for kind in REVERSED]


def test_the_stock_cli_drives_every_operation(aws: Path, server: Live) -> None:
    """38 commands and no option but the endpoint and the credentials file."""
    commands = story()
    assert {command[1] for command in commands} == {xform_name(name, "-") for name in OPERATIONS}
    said = one_by_one(aws, server, commands) if PROVE else told(aws, server, commands)
    for command, one in zip(commands, said, strict=True):
        assert one.code == 0, (command, one.err)
    by_command = {command[1]: one for command, one in zip(commands, said, strict=True)}
    assert by_command["describe-route"].document["route"]["metadata"]["version"] == 1
    assert by_command["update-route"].document["route"]["metadata"]["version"] == 2
    assert by_command["list-routes"].document["routes"][0]["routeName"] == "t"
    assert [tag["key"] for tag in by_command["list-tags-for-resource"].document["tags"]] == ["team", "tier"]
    assert by_command["delete-mesh"].document["mesh"]["status"] == {"status": "DELETED"}
    assert "level=error" not in server.log.read_text()


def test_the_cli_as_a_process_lists_the_pages(aws: Path, server: Live) -> None:
    """`aws` itself, its own paging on: five meshes, two a page."""
    names = [f"page-{index}" for index in range(5)]
    made = told(aws, server, [named("CreateMesh", {"meshName": name}) for name in names])
    assert {one.code for one in made} == {0}
    query = "meshes[?starts_with(meshName, 'page-')].meshName"
    (listed,) = one_by_one(aws, server, [["appmesh", "list-meshes", "--page-size", "2", "--query", query]])
    assert listed.document == names, listed.err


def test_the_cli_asks_sts_who_it_is(aws: Path, server: Live) -> None:
    """The same port speaks STS."""
    (said,) = told(aws, server, [["sts", "get-caller-identity"]])
    assert said.document["Arn"] == "arn:aws:iam::000000000000:user/administrator", said.err


def expired(server: Live) -> Session:
    """A session that ended a minute ago, as the server itself would have kept it."""
    principal = Principal(account="000000000000", kind="role", name="deployer", session="build", key_id="ASIAEXPIRED")
    found = Session(
        key_id="ASIAEXPIREDEXPIRED00",
        secret="a secret of the past",
        token="a token of the past",
        principal=principal,
        created_at=now() - 3_600_000,
        expires_at=now() - 60_000,
    )
    store = sqlite.connect(server.database)
    store.add_session(found)
    store.close()
    return found


def test_the_cli_is_told_in_aws_s_own_words_what_is_wrong(aws: Path, server: Live) -> None:
    """Wrong key, wrong secret, wrong region, a session that has ended, one that nobody opened."""
    key, session = server.key, expired(server)
    asked = ["appmesh", "create-mesh", "--mesh-name", "refused"]
    wrong: list[tuple[str, dict[str, str]]] = [
        ("UnrecognizedClientException", {"AWS_ACCESS_KEY_ID": "AKIAUNHEARDOF", "AWS_SECRET_ACCESS_KEY": key.secret}),
        ("InvalidSignatureException", {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": "wrong"}),
        ("InvalidSignatureException", {"AWS_DEFAULT_REGION": "eu-west-1"}),
        (
            "ExpiredTokenException",
            {
                "AWS_ACCESS_KEY_ID": session.key_id,
                "AWS_SECRET_ACCESS_KEY": session.secret,
                "AWS_SESSION_TOKEN": session.token,
            },
        ),
        (
            "UnrecognizedClientException",
            {
                "AWS_ACCESS_KEY_ID": "ASIAUNHEARDOF",
                "AWS_SECRET_ACCESS_KEY": key.secret,
                "AWS_SESSION_TOKEN": "nobody's",
            },
        ),
    ]
    for code, settings in wrong:
        (said,) = told(aws, server, [asked], **settings)
        assert (said.error, said.code) == (code, 255), (settings, said.err)
    (listed,) = told(aws, server, [["appmesh", "list-meshes"]])
    assert "refused" not in [mesh["meshName"] for mesh in listed.document["meshes"]]


def sent(server: Live, raw: bytes) -> Answer:
    """The answer to these bytes."""
    with Connection(server.port) as connection:
        return connection.exchange(raw)


def test_a_request_altered_on_its_way_is_refused(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Body, header, path, query, date, service: signed by hand, for no CLI would."""
    key, port = server.key, server.port
    body = b'{"meshName":"good"}'
    good = signed("PUT", "/v20190125/meshes", body, key, port, headers=(("x-team", "shop"),))
    altered = {
        "body": good.replace(b'"good"', b'"evil"'),
        "header": good.replace(b"x-team: shop", b"x-team: shoq"),
        "path": good.replace(b"/v20190125/meshes", b"/v20190125/meshes/m"),
        "query": good.replace(b"/v20190125/meshes", b"/v20190125/meshes?x=1"),
        "method": good.replace(b"PUT ", b"DELETE ", 1),
        "service": signed("PUT", "/v20190125/meshes", body, key, port, service="s3"),
        "old date": at(-301_000, key, port, body, monkeypatch),
        "future date": at(301_000, key, port, body, monkeypatch),
    }
    for what, raw in altered.items():
        answer = sent(server, raw)
        assert (answer.status, answer.code) == (403, "InvalidSignatureException"), (what, answer)
    assert sent(server, at(-290_000, key, port, body, monkeypatch)).status == 200, "the clock may be off by 5 minutes"
    assert sent(server, good).status == 409


def at(milliseconds: int, key: AccessKey, port: int, body: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A request that was signed so long after now."""
    moment = now() + milliseconds
    with monkeypatch.context() as patched:
        patched.setattr("wire_client.now", lambda: moment)
        return signed("PUT", "/v20190125/meshes", body, key, port)
