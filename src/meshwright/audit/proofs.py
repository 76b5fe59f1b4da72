"""Proofs about the log for somebody who does not have it: that an entry is in it, that it still begins as it did.

The one rule: a proof is worth what the checkpoint is that it leads to. Whoever checks brings one from elsewhere, or
the public key that signed the one within.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.audit.checkpoints import Checkpoint, read_checkpoint, signed_checkpoint
from meshwright.audit.merkle import (
    consistency_proof,
    frontier_of,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from meshwright.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshwright.audit.leaves import Entry
    from meshwright.audit.notes import SigningKey, VerifierKey

_HASH_BYTES = 32


class ProofError(RefusedError):
    """A proof that proves nothing to whoever checks it."""


class Proof(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What leads from an entry, or from an older log, to the root of the log."""

    version: Literal[1]
    kind: Literal["inclusion", "consistency"]
    size: int
    """Leaves of the log that it leads to."""
    root: str
    """Its root, in hexadecimal."""
    hashes: tuple[str, ...]
    """The steps as in RFC 9162, in hexadecimal, lowest first."""
    checkpoint: str
    """The size and the root as a signed note."""
    position: int | None = None
    """Where the entry is, from 0."""
    entry: str | None = None
    """The entry as it is stored, canonical JSON: its bytes are what is hashed."""
    old_size: int | None = None
    """Leaves of the older log."""
    old_root: str | None = None


def prove_inclusion(leaves: Sequence[bytes], entry: Entry, key: SigningKey) -> Proof:
    """That `entry` is in the log whose leaf hashes are `leaves`.

    Raises:
        IndexError: it lies beyond them.
    """
    found = _newest(leaves)
    return Proof(
        version=1,
        kind="inclusion",
        size=found.size,
        root=found.root,
        hashes=tuple(one.hex() for one in inclusion_proof(leaves, entry.position)),
        checkpoint=signed_checkpoint(found, key),
        position=entry.position,
        entry=entry.text,
    )


def prove_consistency(leaves: Sequence[bytes], old: int, key: SigningKey) -> Proof:
    """That the log whose leaf hashes are `leaves` begins with the log of the first `old` of them.

    Raises:
        IndexError: there are not so many, or `old` is 0.
    """
    found = _newest(leaves)
    return Proof(
        version=1,
        kind="consistency",
        size=found.size,
        root=found.root,
        hashes=tuple(one.hex() for one in consistency_proof(leaves, old)),
        checkpoint=signed_checkpoint(found, key),
        old_size=old,
        old_root=root(frontier_of(leaves[:old])).hex(),
    )


def read_proof(text: str | bytes) -> Proof:
    """The proof in a JSON document.

    Raises:
        ProofError: there is none.
    """
    try:
        found = msgspec.json.decode(text, type=Proof)
        hashes = [
            bytes.fromhex(one) for one in (found.root, *found.hashes, *([found.old_root] if found.old_root else []))
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise ProofError(f"This is no proof of the audit log: {error}") from None
    if any(len(one) != _HASH_BYTES for one in hashes):
        raise ProofError("This is no proof of the audit log: one of its hashes has not 32 bytes.")
    return found


def check(proof: Proof, known: Iterable[Checkpoint], keys: Sequence[VerifierKey] = ()) -> None:
    """Return where `proof` proves what it says to somebody who has `known` from elsewhere, or believes `keys`.

    Raises:
        ProofError: it does not, or it is not known of which log.
        NoteError: its checkpoint is signed by none of `keys`, or changed.
    """
    believed = list(known)
    noted = read_checkpoint(proof.checkpoint, keys) if keys else None
    if noted is not None:
        if noted != Checkpoint(proof.size, proof.root):
            raise ProofError(
                f"The checkpoint in the proof is of {noted.size} leaves and does not have the proof's root."
            )
        believed.append(noted)
    _believe(believed, proof.size, proof.root, "the log that the proof leads to")
    if proof.kind == "inclusion":
        _check_inclusion(proof)
    else:
        _check_consistency(proof, believed)


def _check_inclusion(proof: Proof) -> None:
    if proof.entry is None or proof.position is None:
        raise ProofError("The proof names no entry.")
    steps = [bytes.fromhex(one) for one in proof.hashes]
    leaf = leaf_hash(proof.entry.encode())
    if not verify_inclusion(leaf, proof.position, proof.size, steps, bytes.fromhex(proof.root)):
        raise ProofError(f"The entry is not leaf {proof.position} of the log of {proof.size} leaves with that root.")


def _check_consistency(proof: Proof, believed: Sequence[Checkpoint]) -> None:
    if proof.old_size is None or proof.old_root is None:
        raise ProofError("The proof names no older log.")
    _believe(believed, proof.old_size, proof.old_root, "the older log")
    steps, roots = [bytes.fromhex(one) for one in proof.hashes], map(bytes.fromhex, (proof.old_root, proof.root))
    if not verify_consistency(proof.old_size, proof.size, steps, *roots):
        raise ProofError(
            f"The log of {proof.size} leaves does not begin with that of {proof.old_size} leaves: it was rewritten."
        )


def _believe(believed: Iterable[Checkpoint], size: int, root_text: str, what: str) -> None:
    """Raise unless the size and the root are those of a checkpoint that is believed, and of no other."""
    roots = {one.root for one in believed if one.size == size}
    if not roots:
        raise ProofError(f"Nothing that you gave is a checkpoint of {what}, which has {size} leaves.")
    if roots != {root_text}:
        raise ProofError(
            f"A checkpoint of {size} leaves that you gave has another root than {what}: there are two logs."
        )


def _newest(leaves: Sequence[bytes]) -> Checkpoint:
    return Checkpoint(len(leaves), root(frontier_of(leaves)).hex())
