"""`trust` and `audit` on the command line, and the administrator's key of a first start."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.credentials import SharedCredentialProvider
from click.testing import CliRunner, Result

from meshwright.audit import append, canonical, frontier_of, leaf_hash, root
from meshwright.cli import cli
from meshwright.errors import RefusedError, StorageError, UnreadableError, UsageError
from meshwright.store.keys import (
    create_key,
    database_path,
    ensure_administrator,
    prepare_directory,
    write_credentials,
)
from meshwright.store.sqlite import connect
from meshwright.trust.credentials import Credentials, parse, render
from stored import commit_one, node

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str) -> Result:
    """Run a command as `main` does, its errors as exceptions."""
    return CliRunner().invoke(cli, arguments)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The data directory of a control plane that was started once and made two changes."""
    folder = tmp_path / ".meshwright"
    with closing(connect(prepare_directory(folder))) as store:
        ensure_administrator(store, folder, 1)
        for number in (1, 2):
            commit_one(
                store,
                number - 1,
                puts=(node("n", number),),
                deletes=(),
                principal="second",
                cause="UpdateVirtualNode",
                at=number,
            )
    return folder


def test_a_new_key_is_printed_as_a_profile_that_aws_tools_read(data_dir: Path, tmp_path: Path) -> None:
    """In their format and of their form; the store knows it, and it is in the log."""
    done = run("trust", "key", "create", "build", "--data-dir", str(data_dir))
    assert done.exit_code == 0, done.output
    path = tmp_path / "credentials"
    path.write_text(done.stdout)
    read = SharedCredentialProvider(str(path), profile_name="build").load()
    assert read is not None
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", read.access_key)
    assert re.fullmatch(r"[A-Za-z0-9+/]{40}", read.secret_key)
    with closing(connect(database_path(data_dir))) as store:
        key = store.key(read.access_key)
        assert key is not None
        assert (key.secret, key.principal) == (read.secret_key, "build")
        assert store.leaves()[-1].text.count(key.id) == 1
        assert store.verify().faults == ()


def test_a_new_key_is_printed_as_json_alone(data_dir: Path) -> None:
    """For programs."""
    done = run("trust", "key", "create", "ci@example.org", "--data-dir", str(data_dir), "--format", "json")
    shown = json.loads(done.stdout)
    assert shown.keys() == {"principal", "access_key_id", "secret_access_key"}
    assert shown["principal"] == "ci@example.org"


def test_a_key_that_may_do_nothing_is_told_as_one(data_dir: Path, tmp_path: Path) -> None:
    """Until the trust file declares its user; of the administrator, and of one who is declared, nothing is said."""
    words = ("trust", "key", "create", "build", "--data-dir", str(data_dir))
    assert "may do nothing until the server's trust.yaml declares the user 'build'" in run(*words).stderr
    file = tmp_path / "elsewhere.yaml"
    file.write_text("version: 1\nusers: {other: {}}\n")
    assert f"{file} does not" in run(*words, "--trust", str(file)).stderr
    (data_dir / "trust.yaml").write_text("version: 1\nusers: {build: {}}\n")
    done = run(*words)
    assert (done.exit_code, done.stderr) == (0, "")
    assert run("trust", "key", "create", "administrator", "--data-dir", str(data_dir)).stderr == ""
    (data_dir / "trust.yaml").write_text("version: 2\n")
    done = run(*words, "--format", "json")
    assert json.loads(done.stdout)["principal"] == "build"
    assert "may do nothing" in done.stderr


def test_two_keys_are_never_the_same(data_dir: Path) -> None:
    """Nor alike: ids and secrets come from the system's randomness."""
    with closing(connect(database_path(data_dir))) as store:
        made = [create_key(store, "p", 1) for _ in range(20)]
    assert len({key.id for key in made}) == len({key.secret for key in made}) == 20


def test_keys_are_listed_without_their_secrets(data_dir: Path) -> None:
    """Oldest first, as text and as JSON."""
    run("trust", "key", "create", "build", "--data-dir", str(data_dir))
    with closing(connect(database_path(data_dir))) as store:
        keys = store.keys()
    text = run("trust", "key", "list", "--data-dir", str(data_dir)).stdout
    shown = json.loads(run("trust", "key", "list", "--data-dir", str(data_dir), "--format", "json").stdout)
    assert [one["access_key_id"] for one in shown] == [key.id for key in keys]
    assert [one["principal"] for one in shown] == ["administrator", "build"]
    assert shown[0]["created_at"] == "1970-01-01T00:00:00+00:00"
    assert [line.split()[0] for line in text.splitlines()] == [key.id for key in keys]
    for key in keys:
        assert key.secret not in text


@pytest.mark.parametrize("name", ["", "a b", "a\n[default]", "x" * 65, "ä"])
def test_a_name_that_cannot_be_a_principal_is_refused(data_dir: Path, name: str) -> None:
    """It becomes a profile's name and a word of the log."""
    done = run("trust", "key", "create", name, "--data-dir", str(data_dir))
    assert isinstance(done.exception, UsageError)
    assert repr(name) in str(done.exception)


@pytest.mark.parametrize("words", [("trust", "key", "create", "x"), ("trust", "key", "list"), ("audit", "verify")])
def test_without_a_database_it_says_what_to_do_and_makes_none(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Exit code 2, the path, and the command that makes one."""
    done = subprocess.run(
        [sys.executable, "-m", "meshwright.cli", *words, "--data-dir", "absent"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "absent/meshwright.db" in done.stderr
    assert "meshwright serve --data-dir absent" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_first_start_writes_the_administrator_s_credentials(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every AWS tool, for their owner only, and kept out of git."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(data_dir / "credentials"))
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    read = boto3.Session().get_credentials()
    with closing(connect(database_path(data_dir))) as store:
        (key,) = store.keys()
    assert (read.access_key, read.secret_key, key.principal) == (key.id, key.secret, "administrator")
    assert (data_dir / "credentials").stat().st_mode & 0o777 == 0o600
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert (data_dir / ".gitignore").read_text() == "*\n"
    assert {one.name for one in data_dir.iterdir()} == {".gitignore", "credentials", "meshwright.db"}


def test_a_second_start_changes_nothing(data_dir: Path) -> None:
    """The key stays, and so does the file."""
    before = (data_dir / "credentials").read_text()
    with closing(connect(database_path(data_dir))) as store:
        assert ensure_administrator(store, data_dir, 2) is None
        assert len(store.keys()) == 1
    assert (data_dir / "credentials").read_text() == before


def test_a_first_start_that_was_cut_off_is_completed(data_dir: Path) -> None:
    """The key was stored and not written down: it is written down, and none is made."""
    before = (data_dir / "credentials").read_text()
    (data_dir / "credentials").unlink()
    with closing(connect(database_path(data_dir))) as store:
        assert ensure_administrator(store, data_dir, 2) == store.keys()[0]
    assert (data_dir / "credentials").read_text() == before


def test_credentials_of_another_database_are_not_overwritten(data_dir: Path) -> None:
    """Neither by a new database beside them nor by a second key."""
    before = (data_dir / "credentials").read_text()
    with closing(connect(database_path(data_dir))) as store:
        key = create_key(store, "other", 3)
        with pytest.raises(RefusedError, match="another key"):
            write_credentials(data_dir, key)
    database_path(data_dir).unlink()
    with closing(connect(database_path(data_dir))) as store:
        with pytest.raises(RefusedError, match="belongs to another database"):
            ensure_administrator(store, data_dir, 4)
        assert store.keys() == ()
    assert (data_dir / "credentials").read_text() == before
    assert {one.name for one in data_dir.iterdir()} == {".gitignore", "credentials", "meshwright.db"}


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file is where it should be."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        prepare_directory(tmp_path / "file")


def test_a_sound_log_is_told_with_its_checkpoint(data_dir: Path) -> None:
    """Exit 0; the checkpoint it prints is one that it takes."""
    done = run("audit", "verify", "--data-dir", str(data_dir))
    assert done.exit_code == 0, done.output
    seal = re.search(r"^Checkpoint (3:[0-9a-f]{64})$", done.stdout, re.MULTILINE)
    assert seal is not None
    run("trust", "key", "create", "more", "--data-dir", str(data_dir))
    assert run("audit", "verify", "--data-dir", str(data_dir), "--checkpoint", seal[1]).exit_code == 0
    forged = seal[1][:-1] + ("0" if seal[1][-1] != "0" else "1")
    done = run("audit", "verify", "--data-dir", str(data_dir), "--checkpoint", forged, "--format", "json")
    assert done.exit_code == 1
    shown = json.loads(done.stdout)
    assert (shown["sound"], shown["size"]) == (False, 4)
    assert shown["faults"] == [
        {"leaf": None, "message": "the first 3 leaves are not those of the earlier checkpoint"},
    ]
    assert isinstance(run("audit", "verify", "--data-dir", str(data_dir), "--checkpoint", "3").exception, UsageError)


def test_tampering_is_seen(data_dir: Path) -> None:
    """A row edited with the triggers dropped: exit 1, leaf and revision named, nothing for the terminal to obey."""
    with closing(sqlite3.connect(database_path(data_dir))) as connection, connection:
        connection.execute("DROP TRIGGER changes_keep_UPDATE")
        connection.execute("DROP TRIGGER revisions_keep_UPDATE")
        connection.execute("UPDATE changes SET body = replace(body, 'n-2.shop', 'evil.shop') WHERE revision = 2")
        connection.execute("UPDATE revisions SET principal = char(27) || '[2Jforger' WHERE number = 1")
    done = run("audit", "verify", "--data-dir", str(data_dir))
    assert done.exit_code == 1
    assert "leaf 1: revision 1: principal is '\\x1b[2Jforger', recorded was 'second'" in done.stdout
    assert "leaf 2: revision 2: its changes are not those that were committed" in done.stdout
    assert "not sound" in done.stdout
    assert "\x1b" not in done.stdout


def test_the_exported_log_is_all_that_a_verifier_needs(data_dir: Path) -> None:
    """One JSON object a line; the hashes and roots follow from the leaves."""
    done = run("audit", "export", "--data-dir", str(data_dir))
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["position"] for line in lines] == [0, 1, 2]
    assert [line["leaf"]["kind"] for line in lines] == ["key", "revision", "revision"]
    assert lines[1]["leaf"]["principal"] == "second"
    frontier = frontier_of([])
    for line in lines:
        leaf = leaf_hash(canonical(line["leaf"]))
        frontier = append(frontier, leaf)
        assert (leaf.hex(), root(frontier).hex()) == (line["hash"], line["root"])


def test_shared_credentials_are_read_as_they_are_written() -> None:
    """All profiles, with and without a session token."""
    profiles = {
        "default": Credentials(key_id="AKIA1", secret="a/b+c=%(x)s"),
        "build": Credentials(key_id="ASIA2", secret="d", session_token="e"),
    }
    assert parse(render(profiles)) == profiles
    assert parse("# nothing\n") == {}
    assert parse("[a]\nrole_arn = x\n[b]\nAWS_ACCESS_KEY_ID=k\naws_secret_access_key=s\n") == {
        "b": Credentials(key_id="k", secret="s")
    }


@pytest.mark.parametrize("text", ["aws_secret_access_key = s3cret\n", "[a]\ns3cret\n"])
def test_a_broken_credentials_file_is_refused_without_quoting_it(text: str) -> None:
    """The line that is wrong may be the secret."""
    with pytest.raises(UnreadableError, match=r"line \d of the credentials") as caught:
        parse(text)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "s3cret" not in repr(Credentials(key_id="k", secret="s3cret"))
