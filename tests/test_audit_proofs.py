"""Proofs are checked without the log: of an entry, of a release, and that nothing before was rewritten."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from proofbundle import merkle

from meshwright.audit import (
    Checkpoint,
    Entry,
    NoteError,
    Proof,
    ProofError,
    SigningKey,
    check,
    frontier_of,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    read_checkpoint,
    read_proof,
    root,
)
from meshwright.cli import cli
from meshwright.errors import MeshwrightError, RefusedError, UnreadableError, UsageError
from meshwright.store.keys import ensure_signing_key
from meshwright.store.sqlite import connect
from meshwright.views.wire import to_wire
from settings import examples
from stored import commit_one, node, release

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY = SigningKey("mesh.example.com/audit", bytes(range(32)))
OTHER = SigningKey("mesh.example.com/audit", bytes(32))


def run(*arguments: str | Path, ok: bool = True) -> Result:
    """Run a command; its own errors are in the result."""
    done = CliRunner().invoke(cli, ["audit", *map(str, arguments)])
    assert (done.exit_code == 0) is ok, done.output
    return done


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a log of ten leaves; the fifth is release 1."""
    data = tmp_path / "data"
    ensure_signing_key(data, "000000000000")
    with closing(connect(data / "meshwright.db")) as store:
        for number in range(10):
            made = release(1, 5) if number == 4 else None
            commit_one(
                store,
                number,
                puts=(node("a", number + 1),),
                deletes=(),
                principal="one",
                cause=f"Update{number}",
                at=number,
                release=made,
            )
    return data


def kept(tmp_path: Path, data: Path) -> tuple[str, str]:
    """What somebody keeps elsewhere: the public key, and the newest checkpoint in a file."""
    key = run("key", "--data-dir", data).stdout.strip()
    (tmp_path / "noted").write_text(run("checkpoint", "--data-dir", data).stdout)
    return key, str(tmp_path / "noted")


def test_a_release_is_proven_to_whoever_has_a_checkpoint(tmp_path: Path, data: Path) -> None:
    """With a note and the key, with the key alone, or with a size and a root from a piece of paper."""
    key, noted = kept(tmp_path, data)
    proof = tmp_path / "proof.json"
    proof.write_text(run("prove", "--data-dir", data, "--release", "shop/cart#1").stdout)
    document = json.loads(proof.read_text())
    assert (document["position"], document["size"]) == (4, 10)
    paper = f"{document['size']}:{document['root']}"
    for more in (("--checkpoint", noted, "--key", key), ("--key", key), ("--checkpoint", paper)):
        assert "shop/cart#1" in run("check-proof", proof, *more).stdout
    told = json.loads(run("check-proof", proof, "--key", key, "--format", "json").stdout)
    assert told["leaf"]["release"] == "shop/cart#1"
    assert (told["proven"], told["position"]) == ("inclusion", 4)


def test_a_proof_for_an_older_checkpoint_outlives_the_log_s_growth(tmp_path: Path, data: Path) -> None:
    """The checkpoint that was published then is the one that somebody has."""
    key, noted = kept(tmp_path, data)
    with closing(connect(data / "meshwright.db")) as store:
        commit_one(store, 10, puts=(node("b"),), deletes=(), principal="one", cause="More", at=1)
    proof = tmp_path / "proof.json"
    proof.write_text(run("prove", "--data-dir", data, "--leaf", "0").stdout)
    done = run("check-proof", proof, "--checkpoint", noted, "--key", key)
    proof.write_text(run("prove", "--data-dir", data, "--leaf", "0", "--size", "10").stdout)
    assert run("check-proof", proof, "--checkpoint", noted, "--key", key).stdout != done.stdout
    grown = tmp_path / "grown.json"
    grown.write_text(run("prove", "--data-dir", data, "--from", "10").stdout)
    assert (
        "The log of 11 leaves begins with that of 10"
        in run("check-proof", grown, "--checkpoint", noted, "--key", key).stdout
    )


def test_a_rewritten_log_cannot_be_proven_to_be_the_old_one(tmp_path: Path, data: Path) -> None:
    """Whoever has the database and the key can sign what they like, and nobody with a checkpoint believes it."""
    key, noted = kept(tmp_path, data)
    (data / "meshwright.db").unlink()
    for left in data.glob("meshwright.db-*"):
        left.unlink()
    with closing(connect(data / "meshwright.db")) as store:
        for number in range(12):
            commit_one(store, number, puts=(node("evil", number + 1),), deletes=(), principal="x", cause="U", at=1)
    proof = tmp_path / "proof.json"
    proof.write_text(run("prove", "--data-dir", data, "--from", "10").stdout)
    assert "there are two logs" in str(
        run("check-proof", proof, "--checkpoint", noted, "--key", key, ok=False).exception
    )
    proof.write_text(run("prove", "--data-dir", data, "--leaf", "3", "--size", "10").stdout)
    assert "there are two logs" in str(
        run("check-proof", proof, "--checkpoint", noted, "--key", key, ok=False).exception
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--leaf", "10"), RefusedError, "has 10 leaves"),
        (("--from", "11"), RefusedError, "has 10 leaves"),
        (("--leaf", "3", "--size", "3"), RefusedError, "has 3 leaves"),
        (("--leaf", "3", "--size", "99"), RefusedError, "and 99 are needed"),
        (("--release", "shop/cart#2"), RefusedError, "no release 'shop/cart#2'"),
    ],
)
def test_what_is_not_there_is_not_proven(
    data: Path, arguments: tuple[str, ...], error: type[MeshwrightError], message: str
) -> None:
    """With what is there instead."""
    done = run("prove", "--data-dir", data, *arguments, ok=False)
    assert isinstance(done.exception, error)
    assert message in str(done.exception)


def test_one_thing_is_proven_at_a_time(data: Path) -> None:
    """Exit 2, as for every wrong call."""
    assert run("prove", "--data-dir", data, ok=False).exit_code == 2
    assert run("prove", "--data-dir", data, "--leaf", "1", "--from", "2", ok=False).exit_code == 2


@pytest.mark.parametrize(
    ("text", "error"),
    [("", ProofError), ("{}", ProofError), ("\xff", ProofError), ('{"version": 2}', ProofError)],
)
def test_what_is_no_proof_is_refused(tmp_path: Path, text: str, error: type[MeshwrightError]) -> None:
    """And a file that is not there is one that cannot be read."""
    path = tmp_path / "proof.json"
    path.write_text(text, encoding="latin-1")
    assert isinstance(run("check-proof", path, "--key", KEY.verifier.text, ok=False).exception, error)
    assert isinstance(run("check-proof", tmp_path / "none", ok=False).exception, UnreadableError)
    assert isinstance(run("check-proof", path, "--checkpoint", "x", ok=False).exception, UsageError)


def log(size: int) -> tuple[list[bytes], list[bytes], str]:
    """Entries, their leaf hashes, and the root."""
    entries = [f'{{"at":{number}}}'.encode() for number in range(size)]
    hashes = [leaf_hash(one) for one in entries]
    return entries, hashes, root(frontier_of(hashes)).hex()


@settings(max_examples=examples(30))
@given(st.integers(1, 40), st.data())
def test_another_implementation_believes_our_proofs(size: int, data: st.DataObject) -> None:
    """From the document alone, and the root that its note has."""
    entries, hashes, top = log(size)
    position, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    entry = Entry(position=position, text=entries[position].decode(), root=top)
    included = json.loads(json.dumps(to_wire(prove_inclusion(hashes, entry, KEY))))
    assert included["root"] == read_checkpoint(included["checkpoint"], [KEY.verifier]).root
    steps = [bytes.fromhex(one) for one in included["hashes"]]
    assert merkle.verify_inclusion(included["entry"].encode(), position, size, steps, bytes.fromhex(top))
    grown = json.loads(json.dumps(to_wire(prove_consistency(hashes, old, KEY))))
    steps = [bytes.fromhex(one) for one in grown["hashes"]]
    assert merkle.verify_consistency(old, size, steps, bytes.fromhex(grown["old_root"]), bytes.fromhex(top))


@settings(max_examples=examples(100))
@given(st.integers(1, 40), st.data())
def test_no_member_of_a_proof_can_be_changed(size: int, data: st.DataObject) -> None:
    """Another place, entry, size, root, step or older log is not believed, whatever it is put together from."""
    entries, hashes, top = log(size)
    position, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    entry = Entry(position=position, text=entries[position].decode(), root=top)
    older = Checkpoint(old, root(frontier_of(hashes[:old])).hex())
    for proof in (prove_inclusion(hashes, entry, KEY), prove_consistency(hashes, old, KEY)):
        document: dict[str, Any] = to_wire(proof)
        assert read_proof(json.dumps(document)) == proof
        check(proof, [older], [KEY.verifier])
        name = data.draw(st.sampled_from([one for one in document if one not in {"version", "kind"}]))
        document[name] = other(document[name], data)
        with pytest.raises((ProofError, NoteError)):
            check(read_proof(json.dumps(document)), [older], [KEY.verifier])
        with pytest.raises((ProofError, NoteError)):
            check(proof, [older], [OTHER.verifier])
        with pytest.raises(ProofError):
            check(proof, [])


def other(value: Any, data: st.DataObject) -> Any:
    """Something else of the same kind."""
    if isinstance(value, int):
        return value + data.draw(st.sampled_from([-1, 1, 2]))
    if isinstance(value, list):
        return [*value, "00" * 32] if not value or data.draw(st.booleans()) else value[1:]
    place = data.draw(st.integers(0, len(value) - 1))
    return value[:place] + ("0" if value[place] != "0" else "1") + value[place + 1 :]


def test_a_proof_says_what_it_is_of() -> None:
    """An entry without a place, or an older log without a size, proves nothing."""
    _, hashes, top = log(3)
    whole = prove_consistency(hashes, 2, KEY)
    known: Sequence[Checkpoint] = [Checkpoint(3, top), Checkpoint(2, whole.old_root or "")]
    check(whole, known)
    for kind in ("inclusion", "consistency"):
        bare = Proof(version=1, kind=kind, size=3, root=top, hashes=(), checkpoint="")
        with pytest.raises(ProofError, match="names no"):
            check(bare, known)
