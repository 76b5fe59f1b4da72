"""The audit log as a Merkle tree: what was recorded cannot be changed unseen; pure hashing, no storage.

The one rule: a leaf is hashed as the bytes that are kept, so that checking needs no model and no guess.
"""

from meshwright.audit.checkpoints import Checkpoint, Published, published, read_checkpoint, signed_checkpoint
from meshwright.audit.envelopes import IN_TOTO, enveloped
from meshwright.audit.leaves import KINDS, Entry, Leaf, LeafKind, Touched, Trail, canonical
from meshwright.audit.merkle import (
    Frontier,
    append,
    consistency_proof,
    frontier_of,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from meshwright.audit.notes import NoteError, SigningKey, VerifierKey, opened, signed
from meshwright.audit.proofs import Proof, ProofError, check, prove_consistency, prove_inclusion, read_proof
from meshwright.audit.searching import LogSearch, terms

__all__ = [
    "IN_TOTO",
    "KINDS",
    "Checkpoint",
    "Entry",
    "Frontier",
    "Leaf",
    "LeafKind",
    "LogSearch",
    "NoteError",
    "Proof",
    "ProofError",
    "Published",
    "SigningKey",
    "Touched",
    "Trail",
    "VerifierKey",
    "append",
    "canonical",
    "check",
    "consistency_proof",
    "enveloped",
    "frontier_of",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "opened",
    "prove_consistency",
    "prove_inclusion",
    "published",
    "read_checkpoint",
    "read_proof",
    "root",
    "signed",
    "signed_checkpoint",
    "terms",
    "verify_consistency",
    "verify_inclusion",
]
