"""The client: which credentials it finds, what it makes of a server that fails, and that secrets stay secret."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from meshwright.errors import UnreachableError, UnreadableError, UsageError
from meshwright.release import ApplyRequest, RollbackRequest
from meshwright.remote import Client, Credentials, find_credentials, is_loopback
from serving import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Serving

HERE = "http://127.0.0.1:9080"
SECRET = "very-secret-indeed"
CREDENTIALS = Credentials(key_id="AKIATEST", secret=SECRET, source="the test")


def profile(path: Path, name: str = "default", key_id: str = "AKIAFILE") -> Path:
    """A file in the AWS shared credentials format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[{name}]\naws_access_key_id = {key_id}\naws_secret_access_key = {SECRET}\n")
    return path


@contextlib.contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that answers every connection with `reply`, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_credentials_come_from_the_environment_first(tmp_path: Path) -> None:
    """With their session token, whatever files there are."""
    file = profile(tmp_path / "credentials")
    found = find_credentials(
        {
            "AWS_ACCESS_KEY_ID": "AKIAENV",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_SESSION_TOKEN": "t",
            "AWS_SHARED_CREDENTIALS_FILE": str(file),
        },
        HERE,
    )
    assert (found.key_id, found.session_token) == ("AKIAENV", "t")


def test_a_named_file_and_profile_come_next(tmp_path: Path) -> None:
    """Before what this machine's control plane wrote."""
    named = profile(tmp_path / "named", "ci", "AKIACI")
    profile(tmp_path / "data" / "credentials", key_id="AKIALOCAL")
    environ = {"AWS_SHARED_CREDENTIALS_FILE": str(named), "AWS_PROFILE": "ci", "HOME": str(tmp_path)}
    assert find_credentials(environ, HERE, tmp_path / "data").key_id == "AKIACI"


def test_the_administrators_key_signs_for_this_machine_only(tmp_path: Path) -> None:
    """A key of the local control plane is never offered to another host; the user's own profile is."""
    profile(tmp_path / "data" / "credentials", key_id="AKIALOCAL")
    profile(tmp_path / ".aws" / "credentials", key_id="AKIAHOME")
    environ = {"HOME": str(tmp_path)}
    assert find_credentials(environ, HERE, tmp_path / "data").key_id == "AKIALOCAL"
    assert find_credentials(environ, "https://mesh.example", tmp_path / "data").key_id == "AKIAHOME"


def test_what_is_this_machine() -> None:
    """By address or by its own name."""
    assert all(map(is_loopback, ("http://localhost:1", "http://127.9.9.9:1", "http://[::1]:1")))
    assert not any(map(is_loopback, ("http://localhost.example:1", "https://10.0.0.1", "http://128.0.0.1:1")))


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_a_key_is_refused(name: str, tmp_path: Path) -> None:
    """Rather than silently using another one."""
    with pytest.raises(UsageError, match="its other half"):
        find_credentials({name: "x", "HOME": str(tmp_path)}, HERE, tmp_path)


def test_without_any_key_the_message_says_where_one_can_be(tmp_path: Path) -> None:
    """The variables, and the file that `serve` writes."""
    with pytest.raises(UsageError, match=r"AWS_ACCESS_KEY_ID.*AWS_SHARED_CREDENTIALS_FILE"):
        find_credentials({"HOME": str(tmp_path)}, HERE, tmp_path)


def test_a_broken_credentials_file_is_named_and_never_quoted(tmp_path: Path) -> None:
    """The line that does not parse may be the secret."""
    file = tmp_path / "credentials"
    file.write_text(f"[default]\n{SECRET}\n")
    with pytest.raises(UnreadableError) as caught:
        find_credentials({"AWS_SHARED_CREDENTIALS_FILE": str(file)}, HERE)
    assert str(file) in str(caught.value)
    assert SECRET not in str(caught.value)
    with pytest.raises(UnreadableError, match="cannot be read"):
        find_credentials({"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}, HERE)
    with pytest.raises(UsageError, match="profile 'other'"):
        find_credentials({"AWS_SHARED_CREDENTIALS_FILE": str(profile(file)), "AWS_PROFILE": "other"}, HERE)


def test_a_secret_is_not_in_the_text_of_credentials() -> None:
    """Which may end up in a log."""
    assert SECRET not in repr(CREDENTIALS)
    assert SECRET not in str(CREDENTIALS)


@pytest.mark.parametrize(
    "endpoint",
    [
        "mesh.example",
        "ftp://mesh.example",
        "http://",
        "http://h:port",
        "http://h/path",
        "http://u:p@h",
        "http://h?x=1",
        "http://h#x",
        "http://a b",
        "http://@h",
    ],
)
def test_an_endpoint_that_is_no_address_is_refused(endpoint: str) -> None:
    """With the form that it takes."""
    with pytest.raises(UsageError, match="endpoint"):
        Client(endpoint, CREDENTIALS)


def test_an_unreachable_server_is_one_clear_line() -> None:
    """With what to do where it should be on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnreachableError, match=rf"127\.0\.0\.1:{port}.*refused.*meshwright serve") as caught:
        Client(f"http://127.0.0.1:{port}", CREDENTIALS).status()
    assert "\n" not in str(caught.value)


def test_a_server_that_says_nothing_is_unreachable_in_time() -> None:
    """It may accept and be silent."""
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(UnreachableError, match=r"within 0\.2 s"):
        Client(f"http://127.0.0.1:{listening.getsockname()[1]}", CREDENTIALS, timeout=0.2).status()


def json_answer(body: str, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", body]).encode()


@pytest.mark.parametrize("body", ["{}", '{"version": 1}', '{"state": 5, "releases": [{}], "differences": 7}'])
def test_json_that_is_not_ours_is_told_from_ours(body: str) -> None:
    """Here, and not where it is shown."""
    with answering(json_answer(body)) as endpoint:
        ours = Client(endpoint, CREDENTIALS)
        asks: list[Callable[[], object]] = [
            ours.status,
            lambda: ours.releases("m", "s"),
            lambda: ours.release("m", "s", 1),
            lambda: ours.drift("m", "s"),
            lambda: ours.propagation("m", "s", 1),
            lambda: ours.apply("m", "s", ApplyRequest(resources=())),
            lambda: ours.roll_back("m", "s", RollbackRequest(to=1)),
            lambda: ours.read("m"),
        ]
        for ask in asks:
            with pytest.raises(UnreachableError, match="same version"):
                ask()


def test_a_refusal_that_is_not_understood_is_told() -> None:
    """Its findings are no findings."""
    reply = json_answer(
        '{"message": "x", "diagnostics": 5}', "422 Unprocessable", "x-amzn-errortype: InvalidReleaseException"
    )
    with answering(reply) as endpoint, pytest.raises(UnreachableError, match="a refusal that this version"):
        Client(endpoint, CREDENTIALS).status()


def test_what_another_server_said_is_cut_short() -> None:
    """It may be a page."""
    with answering(b"x" * 5000) as endpoint, pytest.raises(UnreachableError) as caught:
        Client(endpoint, CREDENTIALS).status()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("part", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_a_key_stored_with_a_line_feed_is_refused_without_quoting_it(part: str) -> None:
    """A CI service's settings often have one; no header may."""
    environ = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SECRET}
    with pytest.raises(UsageError, match="holds a space, a line break") as caught:
        find_credentials({**environ, part: f"{environ[part]}\n"}, HERE)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"",
    ],
    ids=["other protocol", "no JSON", "another server", "cut off", "no object", "hangs up"],
)
def test_another_server_than_ours_is_told_from_ours(reply: bytes) -> None:
    """Whatever it answers."""
    with answering(reply) as endpoint, pytest.raises(UnreachableError):
        Client(endpoint, CREDENTIALS).status()


def test_a_newer_servers_mesh_that_is_not_understood_says_so() -> None:
    """Rather than fail with a traceback."""
    body = b'{"mesh": "m", "revision": 1, "stacks": [], "resources": [{"object": "mesh/m/newKind/x"}]}'
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with answering(head + body) as endpoint, pytest.raises(UnreachableError, match="same version"):
        Client(endpoint, CREDENTIALS).read("m")


def test_an_unknown_key_is_named_with_its_source(server: Serving) -> None:
    """And the exit code is that of a command that could not be carried out."""
    with pytest.raises(UsageError, match=r"'AKIATEST' \(from the test\)") as caught:
        Client(server.url, CREDENTIALS).status()
    assert caught.value.exit_code == 2
    assert SECRET not in str(caught.value)


def test_names_with_any_characters_reach_the_server_as_they_are(server: Serving) -> None:
    """They are percent-encoded and signed so."""
    ours = Client(server.url, Credentials(key_id=KEY.id, secret=KEY.secret))
    for mesh in ("a b", "ü", "50%", "a?b#c", "a+b"):
        assert len(ours.read(mesh).state) == 0
    outcome = ours.apply("m", "shop", ApplyRequest(resources=()))
    assert (outcome["changed"], outcome["release"]) == (False, None)
