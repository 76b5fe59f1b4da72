"""Checkpoints leave the database: whoever rewrites it is found out by what was published before."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest

from live import Disk, Live, command, live
from meshwright.audit import VerifierKey, published, read_checkpoint
from meshwright.errors import RefusedError, StorageError
from meshwright.server.publishing import Publisher
from meshwright.store.keys import ensure_signing_key
from meshwright.store.sqlite import connect
from processes import DEADLINE, until
from stored import commit_one, node

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.audit import Checkpoint
    from meshwright.store.contract import Store


def meshwright(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "meshwright.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, **(environ or {})},
    )


def in_file(path: Path, key: str) -> list[Checkpoint]:
    """The published checkpoints, verified."""
    with path.open() as file:
        return [read_checkpoint(one.note, [VerifierKey.read(key)]) for one in published(file)]


def wait_for(path: Path, key: str, size: int) -> None:
    """Return once a checkpoint of `size` leaves is the newest."""
    until(lambda: in_file(path, key)[-1].size == size)


def put(store: Store, *names: str) -> None:
    """A revision for each name."""
    for name in names:
        commit_one(
            store, store.head().revision, puts=(node(name),), deletes=(), principal="one", cause="Create", at=1
        )


def create(server: Live, name: str) -> None:
    """A write over the API."""
    server_client(server).create_mesh(meshName=name)


def server_client(server: Live) -> Any:
    """A stock client of the server."""
    key = server.key
    return boto3.session.Session().client(
        "appmesh",
        endpoint_url=server.api,
        region_name="us-east-1",
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
    )


def test_what_was_published_outlives_the_server_and_holds_the_log(tmp_path: Path) -> None:
    """Every write is under a checkpoint when the server has stopped; a restart goes on where the file ends."""
    data, file = tmp_path / "data", tmp_path / "elsewhere"
    for names in (("first", "second"), ("third",)):
        with live(data, "--checkpoints", str(file)) as server:
            for name in names:
                create(server, name)
            wait_for(file, key_of(data), size := Disk(server.database).rows("leaves"))
            assert f"meshwright_checkpoint_size {size:.1f}" in httpx.get(f"{server.api}/metrics").text
            assert server.end() == 0
    found = in_file(file, key_of(data))
    assert [one.size for one in found] == sorted({one.size for one in found})
    assert found[-1].size == 4
    (tmp_path / "key").write_text(key_of(data))
    done = verify(data, file, "--key", str(tmp_path / "key"))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"4 leaves, as {len(found)} earlier checkpoints had it" in done.stdout


def key_of(data: Path) -> str:
    """What `audit key` prints."""
    return meshwright("audit", "key", "--data-dir", str(data)).stdout.strip()


def verify(data: Path, file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run `audit verify` with a file of checkpoints."""
    return meshwright("audit", "verify", "--data-dir", str(data), "--checkpoint", str(file), *more)


def test_a_server_gives_its_newest_checkpoint_to_whoever_may_ask(tmp_path: Path) -> None:
    """The same over the API and from its folder, with the key that verifies it."""
    with live(tmp_path / "data") as server:
        create(server, "shop")
        environ = {"AWS_SHARED_CREDENTIALS_FILE": str(server.credentials), "MESHWRIGHT_ENDPOINT": server.api}
        asked = meshwright("audit", "checkpoint", environ=environ)
        read = meshwright("audit", "checkpoint", "--data-dir", str(server.folder))
        assert asked.stdout == read.stdout
        assert meshwright("audit", "key", environ=environ).stdout.strip() == key_of(server.folder)
    assert asked.returncode == 0, asked.stderr
    found = read_checkpoint(asked.stdout, [VerifierKey.read(key_of(tmp_path / "data"))])
    assert found.size == 2
    assert (tmp_path / "data" / "audit.key").stat().st_mode & 0o777 == 0o600


def test_a_log_that_was_rewritten_whole_is_neither_sound_nor_served(tmp_path: Path) -> None:
    """With the database in hand every root can be made to follow; not those that were published."""
    data, file = tmp_path / "data", tmp_path / "elsewhere"
    key = ensure_signing_key(data, "000000000000")
    with closing(connect(data / "meshwright.db")) as store:
        publisher = Publisher(store, key, file)
        for number in range(6):
            put(store, f"n{number}")
            assert publisher.publish()
        assert not publisher.publish()
    forge(data, kept=4)
    assert meshwright("audit", "verify", "--data-dir", str(data)).returncode == 0
    done = verify(data, file, "--key", key.verifier.text)
    assert done.returncode == 1
    told = "the first 5 leaves are not those of the earlier checkpoint; the first 4 are, so that one of leaves 4 to 4"
    assert told in done.stdout
    with closing(connect(data / "meshwright.db")) as store, pytest.raises(RefusedError, match="has other leaves"):
        Publisher(store, key, file).begin()
    started = meshwright(*command(data, "--checkpoints", str(file)))
    assert started.returncode == 1
    assert "the database was rewritten, or restored" in started.stderr


def forge(data: Path, kept: int) -> None:
    """Make the log another one after its first `kept` revisions, as whoever holds the database can."""
    shutil.move(data / "meshwright.db", data / "old.db")
    with closing(connect(data / "meshwright.db")) as store:
        put(store, *(f"n{number}" for number in range(kept)))
        put(store, "evil", "worse")


def test_a_log_that_was_cut_off_is_not_served_either(tmp_path: Path) -> None:
    """An older backup looks like that, too; the remedy is named."""
    data, file = tmp_path / "data", tmp_path / "elsewhere"
    key = ensure_signing_key(data, "000000000000")
    with closing(connect(data / "meshwright.db")) as store:
        put(store, "a")
        with closing(sqlite3.connect(data / "meshwright.db")) as source:
            source.execute("VACUUM INTO ?", (str(data / "backup.db"),))
        put(store, "b")
        Publisher(store, key, file).publish()
    with closing(connect(data / "backup.db")) as store, pytest.raises(RefusedError, match="has only 1 leaves"):
        Publisher(store, key, file).begin()


@pytest.mark.parametrize("left", [b"", b"\n", b"mesh", b"\n\xe2\x80\x94 x"])
def test_a_file_that_a_crash_has_cut_off_is_gone_on_with(tmp_path: Path, left: bytes) -> None:
    """What is whole in it counts, what is torn is passed over, and what is appended can be read."""
    data, file = tmp_path / "data", tmp_path / "elsewhere"
    key = ensure_signing_key(data, "000000000000")
    with closing(connect(data / "meshwright.db")) as store:
        put(store, "a")
        Publisher(store, key, file).publish()
        with file.open("ab") as end:
            end.write(left)
        put(store, "b")
        again = Publisher(store, key, file)
        again.begin()
        assert again.size == 1
        assert again.publish()
    with file.open() as lines:
        whole = [one.note for one in published(lines) if one.whole]
    assert [read_checkpoint(note, [key.verifier]).size for note in whole] == [1, 2]
    assert verify(data, file, "--key", key.verifier.text).returncode == 0


def test_a_folder_takes_the_file_and_what_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    """Nothing is lost by an outage: the next checkpoint is of all there is."""
    data, folder = tmp_path / "data", tmp_path / "mounted"
    key = ensure_signing_key(data, "000000000000")
    folder.mkdir()
    with closing(connect(data / "meshwright.db")) as store:
        publisher = Publisher(store, key, folder)
        folder.rmdir()
        put(store, "a")
        with pytest.raises(StorageError, match="Cannot write the checkpoints"):
            publisher.publish()
        folder.mkdir()
        assert publisher.publish()
    assert [one.size for one in in_file(folder / "checkpoints", key.verifier.text)] == [1]


def test_a_server_outlives_the_place_that_it_publishes_to(tmp_path: Path) -> None:
    """It serves on, counts what failed, and publishes all there is when the place is back."""
    data, folder = tmp_path / "data", tmp_path / "mounted"
    folder.mkdir()
    with live(data, "--checkpoints", str(folder / "file")) as server:
        shutil.rmtree(folder)
        create(server, "shop")
        until(lambda: "checkpoint_failures_total 0.0" not in httpx.get(f"{server.api}/metrics").text)
        create(server, "other")
        folder.mkdir()
        until((folder / "file").exists)
        wait_for(folder / "file", key_of(data), 3)
        assert server.end() == 0


def test_another_server_s_file_is_not_appended_to(tmp_path: Path) -> None:
    """Nor is one whose key was lost: whoever verifies has to be told of the new one."""
    file = tmp_path / "elsewhere"
    with closing(connect(tmp_path / "one" / "meshwright.db")) as store:
        put(store, "a")
        Publisher(store, ensure_signing_key(tmp_path / "one", "000000000000"), file).publish()
        other = ensure_signing_key(tmp_path / "two", "000000000000")
        with pytest.raises(RefusedError, match="no checkpoint of this server's"):
            Publisher(store, other, file).begin()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ((), 2, "whose signatures are to be believed"),
        (("--key", "nonsense"), 2, "--key 'nonsense'"),
        (("--key", "a+b+c"), 2, "no verifier key"),
    ],
)
def test_a_file_needs_a_key_to_be_believed(tmp_path: Path, more: tuple[str, ...], code: int, message: str) -> None:
    """The key beside the database is no proof against whoever holds both."""
    data, file = tmp_path / "data", tmp_path / "elsewhere"
    with closing(connect(data / "meshwright.db")) as store:
        put(store, "a")
        Publisher(store, ensure_signing_key(data, "000000000000"), file).publish()
    done = verify(data, file, *more)
    assert done.returncode == code
    assert message in done.stderr


def test_a_checkpoint_that_was_edited_is_named_with_its_line(tmp_path: Path) -> None:
    """A file of checkpoints is only worth its signatures."""
    data, file = tmp_path / "data", tmp_path / "elsewhere"
    key = ensure_signing_key(data, "000000000000")
    with closing(connect(data / "meshwright.db")) as store:
        publisher = Publisher(store, key, file)
        for name in "ab":
            put(store, name)
            publisher.publish()
    file.write_text(file.read_text().replace("\n2\n", "\n3\n"))
    done = verify(data, file, "--key", key.verifier.text)
    assert done.returncode == 1
    assert f"{file}:7: The signature of '{key.name}' is not one over this text" in done.stderr


@pytest.mark.parametrize("kept", [0, 20], ids=["nothing", "a part of the first"])
def test_a_file_that_holds_no_whole_checkpoint_is_nothing_to_be_sound_by(tmp_path: Path, kept: int) -> None:
    """A log that was cut off would pass."""
    data, file = tmp_path / "data", tmp_path / "elsewhere"
    key = ensure_signing_key(data, "000000000000")
    with closing(connect(data / "meshwright.db")) as store:
        put(store, "a")
        Publisher(store, key, file).publish()
    file.write_text(file.read_text()[:kept])
    done = verify(data, file, "--key", key.verifier.text)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the file holds no whole checkpoint to compare with" in done.stderr


def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """And its text is not quoted."""
    data = tmp_path / "data"
    ensure_signing_key(data, "000000000000")
    (data / "audit.key").write_text("PRIVATE+KEY+secret-thing")
    with pytest.raises(StorageError, match=r"audit\.key cannot be used") as refused:
        ensure_signing_key(data, "000000000000")
    assert "secret-thing" not in str(refused.value)
