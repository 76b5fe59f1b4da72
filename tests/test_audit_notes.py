"""Signed notes and checkpoints: the published formats, to the byte, and nothing that is not them."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from proofbundle.checkpoint import verify_checkpoint

from meshwright.audit import (
    Checkpoint,
    NoteError,
    SigningKey,
    VerifierKey,
    opened,
    published,
    read_checkpoint,
    signed,
    signed_checkpoint,
)
from settings import examples

KEY = SigningKey("mesh.example.com/audit", bytes(range(32)))
OTHER = SigningKey("mesh.example.com/audit", bytes(32))
ROOT = hashlib.sha256(b"root").hexdigest()

NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
NEUMANN_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
"""The example of the reference implementation, golang.org/x/mod/sumdb/note."""


def test_the_reference_implementation_s_example_comes_out_to_the_byte() -> None:
    """Both halves of the key, the signature, and the text within."""
    key = SigningKey.read(NEUMANN_PRIVATE)
    assert key.verifier.text == NEUMANN
    assert key.text == NEUMANN_PRIVATE
    text = NEUMANN_NOTE.partition("\n\n")[0] + "\n"
    assert signed(text, key) == NEUMANN_NOTE
    assert opened(NEUMANN_NOTE, [VerifierKey.read(NEUMANN)]) == text


def test_a_checkpoint_is_what_the_specification_says_word_by_word() -> None:
    """Put together here by hand, of a key that is a library's own."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    raw = private.public_key().public_bytes_raw()
    name = "mesh.example.com/audit"
    text = f"{name}\n7\n{base64.b64encode(bytes.fromhex(ROOT)).decode()}\n"
    identity = hashlib.sha256(f"{name}\n".encode() + b"\x01" + raw).digest()[:4]
    signature = base64.b64encode(identity + private.sign(text.encode())).decode()
    assert signed_checkpoint(Checkpoint(7, ROOT), KEY) == f"{text}\n— {name} {signature}\n"
    public = base64.b64encode(b"\x01" + raw).decode()
    assert KEY.verifier.text == f"{name}+{identity.hex()}+{public}"


@settings(max_examples=examples(30))
@given(st.integers(0, 2**50), st.binary(min_size=32, max_size=32))
def test_another_implementation_verifies_our_checkpoints(size: int, root: bytes) -> None:
    """One that was written from the same specification by others."""
    checkpoint = Checkpoint(size, root.hex())
    note = signed_checkpoint(checkpoint, KEY)
    assert read_checkpoint(note, [OTHER.verifier, KEY.verifier]) == checkpoint
    theirs = verify_checkpoint(note, KEY.verifier.text)
    assert (theirs["ok"], theirs["origin"], theirs["tree_size"], theirs["root"]) == (True, KEY.name, size, root)


@settings(max_examples=examples(100))
@given(st.data())
def test_no_byte_of_a_checkpoint_can_be_changed(data: st.DataObject) -> None:
    """Wherever it is, and whatever is put there."""
    raw = signed_checkpoint(Checkpoint(20852163, ROOT), KEY).encode()
    place = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != raw[place]))
    note = (raw[:place] + bytes([byte]) + raw[place + 1 :]).decode(errors="replace")
    with pytest.raises(NoteError):
        read_checkpoint(note, [KEY.verifier])


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("", "no signed note"),
        ("text\n", "no signed note"),
        (signed(f"{KEY.name}\n7\n", KEY), "no checkpoint"),
        (signed(f"{KEY.name}\n07\n{base64.b64encode(bytes(32)).decode()}\n", KEY), "no checkpoint"),
        (signed(f"{KEY.name}\n7\n{base64.b64encode(bytes(31)).decode()}\n", KEY), "no checkpoint"),
        (signed(f"another\n7\n{base64.b64encode(bytes(32)).decode()}\n", KEY), "of the log 'another'"),
        (signed_checkpoint(Checkpoint(7, ROOT), OTHER), "Nobody known"),
        (signed_checkpoint(Checkpoint(7, ROOT), KEY).removesuffix("\n"), "no signed note"),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_refused(note: str, message: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(NoteError, match=message):
        read_checkpoint(note, [KEY.verifier])


def test_a_witness_s_signature_beside_ours_is_passed_over() -> None:
    """Others may sign too; but a false one in the name of a known key spoils the note."""
    note = signed_checkpoint(Checkpoint(7, ROOT), KEY)
    witness = SigningKey("witness.example", bytes(32))
    text = note.partition("\n\n")[0] + "\n"
    other = signed(text, witness).rpartition("\n\n")[2]
    assert read_checkpoint(note + other, [KEY.verifier]) == Checkpoint(7, ROOT)
    assert read_checkpoint(other.join((text + "\n", note.rpartition("\n\n")[2])), [KEY.verifier]).size == 7
    false = signed(f"{text}more\n", KEY).rpartition("\n\n")[2]
    with pytest.raises(NoteError, match="changed, or forged"):
        read_checkpoint(note + false, [KEY.verifier])


@pytest.mark.parametrize("text", ["", "a+b", NEUMANN[:-1] + "X", NEUMANN.replace("c74f", "c74e"), NEUMANN_PRIVATE])
def test_what_is_no_key_is_refused(text: str) -> None:
    """A key is copied whole or not at all."""
    with pytest.raises(NoteError):
        VerifierKey.read(text)
    if text != NEUMANN_PRIVATE:
        with pytest.raises(NoteError):
            SigningKey.read(f"PRIVATE+KEY+{text}")


def test_a_signing_key_is_not_shown_by_chance() -> None:
    """Nor by the error that refuses one."""
    assert KEY.text.rpartition("+")[2] not in repr(KEY)
    seed = NEUMANN_PRIVATE.rpartition("+")[2]
    with pytest.raises(NoteError) as refused:
        SigningKey.read(NEUMANN_PRIVATE.replace("c74f", "c74e"))
    assert seed not in str(refused.value)


@pytest.mark.parametrize("text", ["no end", "a\r\n", "a\x00\n"])
def test_a_text_that_cannot_be_signed_is_a_bug_of_ours(text: str) -> None:
    """Nothing that a reader would refuse leaves us."""
    with pytest.raises(ValueError, match="line feed"):
        signed(text, KEY)


def test_a_file_of_checkpoints_is_read_note_by_note() -> None:
    """Whatever was cut off in between is told apart from what is whole."""
    notes = [signed_checkpoint(Checkpoint(size, ROOT), KEY) for size in (3, 20, 21)]
    torn = notes[2][:-20] + " (cut off)\n\n"
    file = f"\n\n{notes[0]}\n{torn}{notes[1]}{KEY.name}\n30 (cut off)\n\n{notes[2]}"
    found = list(published(file.splitlines(keepends=True)))
    assert [one.note for one in found if one.whole] == notes
    assert [one.whole for one in found] == [True, False, True, False, True]
    lines = file.splitlines(keepends=True)
    assert all("".join(lines[one.line - 1 :]).startswith(one.note) for one in found)
    assert list(published([])) == []
