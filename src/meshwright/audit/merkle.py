"""The Merkle tree over the entries: roots, and proofs that need no more than a few hashes of others.

The one rule: nothing here knows what an entry says; it is bytes, and then a hash.
Source: https://www.rfc-editor.org/rfc/rfc9162#section-2.1
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Frontier(msgspec.Struct, frozen=True):
    """All that appending needs: the roots of the full subtrees, largest first, at most one a bit of `size`."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry; the prefix keeps a leaf from passing for a node."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append(frontier: Frontier, leaf: bytes) -> Frontier:
    """The frontier after one more leaf hash."""
    hashes, size = list(frontier.hashes), frontier.size
    while size & 1:
        leaf = node_hash(hashes.pop(), leaf)
        size >>= 1
    return Frontier(frontier.size + 1, (*hashes, leaf))


def root(frontier: Frontier) -> bytes:
    """The root of the tree; of an empty one the hash of nothing."""
    if not frontier.hashes:
        return hashlib.sha256().digest()
    top = frontier.hashes[-1]
    for left in reversed(frontier.hashes[:-1]):
        top = node_hash(left, top)
    return top


def frontier_of(leaves: Sequence[bytes]) -> Frontier:
    """The frontier of a tree over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = append(frontier, leaf)
    return frontier


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The hashes that lead from leaf `index` to the root over all of `leaves`, lowest first.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of a log of {len(leaves)}")
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*inclusion_proof(leaves[:split], index), _subroot(leaves[split:]))
    return (*inclusion_proof(leaves[split:], index - split), _subroot(leaves[:split]))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Whether `proof` shows that `leaf` is number `index` of the `size` leaves under the root `expected`."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    return last == 0 and found == expected


def consistency_proof(leaves: Sequence[bytes], old: int) -> tuple[bytes, ...]:
    """The hashes that show the log of the first `old` leaves to be the beginning of the log of all of `leaves`.

    Raises:
        IndexError: `old` is not from 1 to the number of leaves.
    """
    if not 1 <= old <= len(leaves):
        raise IndexError(f"no log of {old} leaves lies in one of {len(leaves)}")
    return _subproof(leaves, old, whole=True)


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether `proof` shows that the `new` leaves under `new_root` begin with the `old` ones under `old_root`."""
    if not 1 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    steps = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not steps:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, step)
        at, last = at >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def _subproof(leaves: Sequence[bytes], old: int, *, whole: bool) -> tuple[bytes, ...]:
    if old == len(leaves):
        return () if whole else (_subroot(leaves),)
    split = _split(len(leaves))
    if old <= split:
        return (*_subproof(leaves[:split], old, whole=whole), _subroot(leaves[split:]))
    return (*_subproof(leaves[split:], old - split, whole=False), _subroot(leaves[:split]))


def _subroot(leaves: Sequence[bytes]) -> bytes:
    return root(frontier_of(leaves))


def _split(size: int) -> int:
    """The largest power of two below `size`, which is at least 2."""
    return 1 << (size - 1).bit_length() - 1
