"""The command line as an OIDC client: a build's token is all that it needs, and it goes to STS only."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
from click.testing import CliRunner

from exchanging import ADMIN, Plane, arn, planes
from meshwright.cli import cli
from meshwright.errors import RefusedError, UnreachableError, UnreadableError, UsageError
from meshwright.remote import Client, Credentials, WebIdentity, find_signer
from pki import Issuer as PrivateAuthority
from serving import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.certificates import TlsFiles

HERE = "http://127.0.0.1:9080"
REST = b"<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """A control plane whose issuer signs tokens for builds."""
    with planes(tmp_path / "plane") as running:
        yield running


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    (tmp_path / "plane").mkdir()


def token_file(folder: Path, text: str) -> Path:
    """A file with a token, as a CI service leaves it."""
    path = folder / "token"
    path.write_text(text + "\n")
    return path


def environment(plane: Plane, file: Path, role: str = "cart-deployer") -> dict[str, str]:
    """What a build is given."""
    return {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ROLE_ARN": arn(role),
        "AWS_ROLE_SESSION_NAME": "build 7/main",
        "MESHWRIGHT_ENDPOINT": plane.server.url,
        "HOME": str(file.parent),
        "PATH": os.environ["PATH"],
    }


def run(plane: Plane, *words: str, key: Any = ADMIN) -> Any:
    """A command against the control plane, signed by `key`."""
    environ = {
        "MESHWRIGHT_ENDPOINT": plane.server.url,
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "AWS_SESSION_TOKEN": "",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "",
    }
    return CliRunner().invoke(cli, words, env=environ)


def test_a_build_needs_its_token_and_nothing_else(plane: Plane, tmp_path: Path) -> None:
    """A process with no key anywhere: the role may read sessions or not as its permissions say."""
    file = token_file(tmp_path, plane.issuer.token())
    command = [sys.executable, "-m", "meshwright.cli", "trust", "session", "list"]
    environ = environment(plane, file)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert (
        "assumed-role/cart-deployer/build-7-main is not authorized to perform: meshwright:ListSessions" in done.stderr
    )
    (one,) = plane.server.store.sessions()
    assert one.principal.session == "build-7-main"


DEFINITIONS = """
meshName: shop
spec: {}
---
virtualNodeName: cart
spec: {listeners: [{portMapping: {port: 80, protocol: http}}], serviceDiscovery: {dns: {hostname: cart.internal}}}
"""


def test_apply_in_a_build_needs_no_key(plane: Plane, tmp_path: Path) -> None:
    """The release is of the session, whose claims say which build it was; another branch's build gets none."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "mesh.yaml").write_text(DEFINITIONS)
    (project / "meshwright.yaml").write_text("stack: cart\nmesh: shop\ndefinitions: [mesh.yaml]\n")
    file = token_file(tmp_path, plane.issuer.token())
    command = [sys.executable, "-m", "meshwright.cli", "apply"]
    environ = environment(plane, file, "releaser")
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (release,) = plane.server.store.releases("shop", "cart")
    assert release.principal.endswith(":assumed-role/releaser/build-7-main")
    file.write_text(plane.issuer.token(sub="repo:evil/cart:ref:refs/heads/main"))
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "AccessDenied" in done.stderr


def test_a_line_break_behind_a_token_is_none_of_it(plane: Plane) -> None:
    """Stock SDKs send the file as it is."""
    assert plane.by_token(plane.issuer.token() + "\n")["Credentials"]["AccessKeyId"].startswith("ASIA")


@pytest.mark.parametrize(
    "place", ["http://u:S3CRETpw@127.0.0.1:1", "http://S3CRETpw@h:1", "u:S3CRETpw@h:1", "https://u:p/S3CRETpw@h:1"]
)
@pytest.mark.parametrize("named", ["--endpoint", "MESHWRIGHT_ENDPOINT", "AWS_ENDPOINT_URL_STS", "file", "proxy"])
def test_a_password_in_an_endpoint_is_refused_and_not_shown(tmp_path: Path, place: str, named: str) -> None:
    """Wherever it is named, with credentials and without."""
    file = "stack: a\nmesh: m\n" + (f"endpoint: '{place}'\n" if named == "file" else "")
    (tmp_path / "meshwright.yaml").write_text(file)
    environ = {"HOME": str(tmp_path), "AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_ACCESS_KEY_ID": ""}
    words = ["--config", str(tmp_path / "meshwright.yaml"), "status"]
    if named == "AWS_ENDPOINT_URL_STS":
        environ |= {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file(tmp_path, "a.b.c")), "AWS_ROLE_ARN": arn("x")}
    if named.isupper():
        environ[named] = place
    if named == "--endpoint":
        words = [named, place, *words]
    if named == "proxy":
        words = ["--endpoint", place, "proxy", "mesh/m/virtualNode/a"]
        environ["AWS_WEB_IDENTITY_TOKEN_FILE"] = "token"
    done = subprocess.run(
        [sys.executable, "-m", "meshwright.cli", *words],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "…@h" in done.stderr or "…@127.0.0.1" in done.stderr
    assert "holds a user or a password" in done.stderr
    assert "S3CRETpw" not in done.stdout + done.stderr


def test_a_session_is_kept_until_it_is_about_to_end(plane: Plane, tmp_path: Path) -> None:
    """Then the file is read again: CI services replace the token in it."""
    clock = [now() / 1000]
    file = token_file(tmp_path, plane.issuer.token())
    found = WebIdentity(file, arn("cart-deployer"), plane.server.url, clock=lambda: clock[0])
    first = found.credentials()
    assert found.credentials() is first
    clock[0] += 1800 - 121
    assert found.credentials() is first
    clock[0] += 2
    second = found.credentials()
    assert second.key_id != first.key_id
    file.unlink()
    clock[0] += 1800
    with pytest.raises(UnreadableError, match="cannot be read"):
        found.credentials()


def test_a_client_signs_with_whatever_session_there_is(plane: Plane, tmp_path: Path) -> None:
    """Each request asks its signer."""
    file = token_file(tmp_path, plane.issuer.token())
    signer = find_signer(environment(plane, file), plane.server.url)
    assert isinstance(signer, WebIdentity)
    with pytest.raises(RefusedError, match="is not authorized to perform: meshwright:GetMesh"):
        Client(plane.server.url, signer).read("shop")


def test_a_refusal_names_role_and_file_and_never_the_token(plane: Plane, tmp_path: Path) -> None:
    """In AWS's words."""
    token = plane.issuer.token(ref="refs/heads/evil")
    file = token_file(tmp_path, token)
    with pytest.raises(RefusedError, match="AccessDenied: Not authorized") as caught:
        WebIdentity(file, arn("cart-deployer"), plane.server.url).credentials()
    assert str(file) in str(caught.value)
    assert token.split(".")[2] not in str(caught.value)


def test_an_issuer_that_is_down_is_a_refusal_that_says_so(plane: Plane, tmp_path: Path) -> None:
    """Not an internal error."""
    plane.issuer.down = True
    file = token_file(tmp_path, plane.issuer.token())
    with pytest.raises(RefusedError, match="IDPCommunicationError"):
        WebIdentity(file, arn("cart-deployer"), plane.server.url).credentials()


class Elsewhere:
    """A server that is not STS, and notes what it is sent."""

    def __init__(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, tls: TlsFiles | None = None
    ) -> None:
        self.got: list[bytes] = []
        outer = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        if tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tls.certificate, tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_the_token_goes_where_sts_is_said_to_be(plane: Plane, tmp_path: Path) -> None:
    """And to no other host, though another one answers for the control plane, or redirects."""
    file = token_file(tmp_path, plane.issuer.token())
    with Elsewhere(500, b"{}") as endpoint:
        environ = environment(plane, file) | {"AWS_ENDPOINT_URL_STS": plane.server.url}
        signer = find_signer(environ, endpoint.url)
        assert isinstance(signer, WebIdentity)
        assert signer.credentials().key_id.startswith("ASIA")
        assert endpoint.got == []
        with Elsewhere(307, b"", {"location": endpoint.url}) as redirecting:
            with pytest.raises(UnreachableError, match="HTTP 307"):
                WebIdentity(file, arn("cart-deployer"), redirecting.url).credentials()
            assert len(redirecting.got) == 1
        assert endpoint.got == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"),
        (200, b"<AccessKeyId>A\nB</AccessKeyId>" + REST + b"<Expiration>2030-01-01T00:00:00Z</Expiration>"),
        (200, b"<AccessKeyId>A</AccessKeyId>" + REST + b"<Expiration>soon</Expiration>"),
        (404, b"not found"),
        (503, b"<Code>ServiceUnavailable</Code><Message>later</Message>"),
        (200, b"x" * 1_000_000),
    ],
)
def test_a_server_that_is_not_sts_is_told_from_it(tmp_path: Path, status: int, body: bytes) -> None:
    """Whatever it answers."""
    file = token_file(tmp_path, "a.b.c")
    with Elsewhere(status, body) as other, pytest.raises(UnreachableError):
        WebIdentity(file, arn("cart-deployer"), other.url).credentials()


def test_a_token_is_not_sent_in_the_clear_beyond_this_machine(tmp_path: Path) -> None:
    """Unless somebody says that the network may be trusted."""
    file = token_file(tmp_path, "a.b.c")
    environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "AWS_ROLE_ARN": arn("x"), "HOME": str(tmp_path)}
    with pytest.raises(UsageError, match="unencrypted"):
        find_signer(environ, "http://mesh.example:9080")
    with pytest.raises(UsageError, match="unencrypted"):
        find_signer(environ | {"AWS_ENDPOINT_URL_STS": "http://sts.example"}, "https://mesh.example")
    assert isinstance(find_signer(environ, "https://mesh.example"), WebIdentity)
    assert isinstance(
        find_signer(environ | {"MESHWRIGHT_TOKEN_WITHOUT_TLS": "1"}, "http://mesh.example"), WebIdentity
    )


def test_a_key_in_the_environment_comes_before_a_token_and_a_token_before_a_file(tmp_path: Path) -> None:
    """As AWS's own tools order them."""
    file = token_file(tmp_path, "a.b.c")
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s\n")
    environ = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ROLE_ARN": arn("x"),
    }
    assert isinstance(find_signer(environ, HERE), WebIdentity)
    found = find_signer(environ | {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "s"}, HERE)
    assert isinstance(found, Credentials)
    assert found.key_id == "AKIAENV"
    with pytest.raises(UsageError, match="AWS_ROLE_ARN is not"):
        find_signer({"AWS_WEB_IDENTITY_TOKEN_FILE": str(file)}, HERE)


def test_a_token_goes_over_tls_to_whom_the_bundle_vouches_for(tmp_path: Path) -> None:
    """And to no server that it does not know: that one gets nothing."""
    pki = PrivateAuthority()
    file, ca_file = token_file(tmp_path, "a.b.c"), str(pki.file(tmp_path))
    ends = b"<Expiration>2030-01-01T00:00:00Z</Expiration>"
    body = b"<AccessKeyId>ASIAX</AccessKeyId>" + REST + ends
    with Elsewhere(200, body, tls=pki.server().write(tmp_path, "sts")) as other:
        environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "AWS_ROLE_ARN": arn("x")}
        signer = find_signer(environ, other.url, ca_bundle=ca_file)
        assert isinstance(signer, WebIdentity)
        assert signer.credentials().key_id == "ASIAX"
        assert len(other.got) == 1
        unknown = find_signer(environ, other.url)
        assert isinstance(unknown, WebIdentity)
        with pytest.raises(UnreachableError, match="--ca-bundle"):
            unknown.credentials()
        assert len(other.got) == 1


@pytest.mark.parametrize("content", [b"", b"\n", b"a b", b"a.b.c\nd.e.f", b"\xff\xfe", b"x" * 20_001])
def test_a_file_that_holds_no_token_is_not_sent(tmp_path: Path, content: bytes) -> None:
    """It may be another file altogether."""
    file = tmp_path / "token"
    file.write_bytes(content)
    with Elsewhere(200, b"") as other:
        with pytest.raises(UnreadableError):
            WebIdentity(file, arn("x"), other.url).credentials()
        assert other.got == []


def test_sessions_are_listed_and_revoked_on_the_command_line(plane: Plane) -> None:
    """By role, by session, by key; as text and as JSON, without secrets."""
    first, second = plane.by_token(), plane.by_key("operator")
    listed = run(plane, "trust", "session", "list")
    assert listed.exit_code == 0, listed.output
    assert f"{first['Credentials']['AccessKeyId']}  " in listed.stdout
    assert "ci: repo:acme/cart:ref:refs/heads/main" in listed.stdout
    assert "with AKIADEPLOYER0000" in listed.stdout
    for answer in (first, second):
        assert answer["Credentials"]["SecretAccessKey"] not in listed.stdout
        assert answer["Credentials"]["SessionToken"] not in listed.stdout
    done = run(plane, "trust", "session", "revoke", "--session", first["Credentials"]["AccessKeyId"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"Revoked session {first['Credentials']['AccessKeyId']}")
    active = json.loads(run(plane, "trust", "session", "list", "--format", "json").stdout)["sessions"]
    assert [(one["role"], one["state"]) for one in active] == [("operator", "active")]
    every = json.loads(run(plane, "trust", "session", "list", "--all", "--format", "json").stdout)["sessions"]
    assert {one["role"]: one["state"] for one in every} == {"operator": "active", "cart-deployer": "revoked"}
    assert run(plane, "trust", "session", "revoke", "--role", "operator").exit_code == 0
    assert run(plane, "trust", "session", "list").stdout == "No sessions.\n"
    assert run(plane, "trust", "session", "list", "--role", "nobody").stdout == "No sessions.\n"
    keyed = run(plane, "trust", "session", "revoke", "--key", "AKIADEPLOYER0000", "--format", "json")
    assert json.loads(keyed.stdout)["subject"] == "key:AKIADEPLOYER0000"
    leaf = plane.leaves()[-1]
    assert (leaf["kind"], leaf["subject"]) == ("revocation", "key:AKIADEPLOYER0000")
    assert leaf["principal"].endswith(":user/administrator")


def test_what_cannot_be_revoked_is_told(plane: Plane) -> None:
    """Nothing named, two named, unknown ones; and who may not, may not."""
    assert run(plane, "trust", "session", "revoke").exit_code == 2
    assert run(plane, "trust", "session", "revoke", "--role", "a", "--key", "b").exit_code == 2
    unknown = run(plane, "trust", "session", "revoke", "--session", "ASIANOBODY")
    assert isinstance(unknown.exception, RefusedError)
    strange = run(plane, "trust", "session", "revoke", "--session", "ASIA/../x")
    assert "cannot be revoked" in str(strange.exception)
    denied = run(plane, "trust", "session", "revoke", "--role", "operator", key=plane.deployer)
    assert "not authorized to perform: meshwright:RevokeSession" in str(denied.exception)


def test_many_sessions_are_listed_page_by_page(plane: Plane) -> None:
    """In the order of their key ids."""
    for _ in range(5):
        plane.by_key("operator")
    body = plane.server.ask("GET", "/meshwright/v1/sessions?limit=2", key=ADMIN).body
    page = json.loads(body)
    found = [one["access_key_id"] for one in page["sessions"]]
    assert (len(found), page["next"]) == (2, found[-1])
    client = Client(plane.server.url, Credentials(key_id=ADMIN.id, secret=ADMIN.secret))
    everything = [one["access_key_id"] for one in client.sessions()]
    assert everything == sorted(everything)
    assert len(everything) == 5
    for wrong in ("limit=0", "limit=x", "limit=1001", "all=yes"):
        assert plane.server.ask("GET", f"/meshwright/v1/sessions?{wrong}", key=ADMIN).status == 400
    unreadable = (b"", b"[" * 20_000, b'{"\xff": 1}')
    unfit = (b"{}", b'{"subject": 5}', b'{"subject": "role:x", "y": 1}', b'{"subject": "user:x"}')
    for wrong_body in (*unreadable, *unfit):
        assert plane.server.ask("POST", "/meshwright/v1/revocations", wrong_body, key=ADMIN).status == 400
