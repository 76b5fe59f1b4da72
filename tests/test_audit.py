"""The Merkle log: equal to the naive recursive definition, and every proof proves what it says and nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.audit import (
    Leaf,
    append,
    canonical,
    consistency_proof,
    frontier_of,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from settings import examples

KNOWN_ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
KNOWN_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The roots of the first 0 to 8 entries, as Certificate Transparency's reference implementations agree on them."""


def _naive(entries: list[bytes]) -> bytes:
    """The definition of RFC 9162 §2.1.1, word by word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return hashlib.sha256(b"\x01" + _naive(entries[:split]) + _naive(entries[split:])).digest()


def test_the_roots_are_those_of_certificate_transparency() -> None:
    """A log that others' verifiers can check."""
    for size, expected in enumerate(KNOWN_ROOTS):
        assert root(frontier_of([leaf_hash(entry) for entry in KNOWN_ENTRIES[:size]])).hex() == expected


@settings(max_examples=examples(30))
@given(st.lists(st.binary(max_size=8), max_size=70))
def test_appending_gives_the_root_of_the_definition(entries: list[bytes]) -> None:
    """And the frontier never holds more hashes than the size has bits set."""
    frontier = frontier_of([])
    for size, entry in enumerate(entries, 1):
        frontier = append(frontier, leaf_hash(entry))
        assert len(frontier.hashes) == size.bit_count()
        assert frontier.size == size
    assert root(frontier) == _naive(entries)


@settings(max_examples=examples(30))
@given(st.integers(1, 70), st.data())
def test_an_inclusion_proof_proves_its_leaf_and_place_only(size: int, data: st.DataObject) -> None:
    """Another leaf, place, root, size or proof is not believed."""
    leaves = [leaf_hash(str(number).encode()) for number in range(size)]
    top = root(frontier_of(leaves))
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(leaves, index)
    assert verify_inclusion(leaves[index], index, size, proof, top)
    assert len(proof) <= (size - 1).bit_length()
    other = data.draw(st.integers(0, size - 1).filter(lambda one: one != index)) if size > 1 else -1
    assert not verify_inclusion(leaves[index], other, size, proof, top)
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, top)
    assert not verify_inclusion(leaves[index], index, size, proof, leaf_hash(b"root"))
    assert not verify_inclusion(leaves[index], index, size, (*proof, leaf_hash(b"more")), top)
    if proof:
        assert not verify_inclusion(leaves[index], index, size, proof[:-1], top)
        assert not verify_inclusion(leaves[index], index, size, (leaf_hash(b"step"), *proof[1:]), top)


@settings(max_examples=examples(30))
@given(st.integers(1, 70), st.data())
def test_a_consistency_proof_proves_that_nothing_was_rewritten(size: int, data: st.DataObject) -> None:
    """Every older log is the beginning of the newer one; one with another history is not."""
    leaves = [leaf_hash(str(number).encode()) for number in range(size)]
    old = data.draw(st.integers(1, size))
    before, after = root(frontier_of(leaves[:old])), root(frontier_of(leaves))
    proof = consistency_proof(leaves, old)
    assert verify_consistency(old, size, proof, before, after)
    changed = list(leaves)
    changed[data.draw(st.integers(0, old - 1))] = leaf_hash(b"rewritten")
    assert not verify_consistency(old, size, consistency_proof(changed, old), before, root(frontier_of(changed)))
    assert not verify_consistency(old, size, proof, before, root(frontier_of(changed)))
    assert not verify_consistency(old, size, (*proof, leaf_hash(b"more")), before, after)
    assert not verify_consistency(0, size, proof, before, after)
    assert not verify_consistency(size + 1, size, proof, before, after)
    if proof:
        assert not verify_consistency(old, size, proof[:-1], before, after)
        assert not verify_consistency(old, size, (), before, after)


def test_a_proof_of_what_is_not_there_cannot_be_made() -> None:
    """Places and sizes outside the log are errors, not empty proofs."""
    leaves = [leaf_hash(b"only")]
    for index in (-1, 1):
        with pytest.raises(IndexError):
            inclusion_proof(leaves, index)
    for old in (0, 2):
        with pytest.raises(IndexError):
            consistency_proof(leaves, old)
    assert not verify_inclusion(leaves[0], 0, 0, (), leaves[0])


def test_a_leaf_cannot_pass_for_a_node() -> None:
    """Two leaves and one leaf that spells them hash differently."""
    pair = [leaf_hash(b"a"), leaf_hash(b"b")]
    assert root(frontier_of(pair)) != leaf_hash(pair[0] + pair[1])


def test_an_entry_has_one_spelling() -> None:
    """Members sorted, nothing that was not said, no blanks; text as it is."""
    leaf = Leaf(kind="revision", at=5, principal="jürgen", cause='a "b"\n', digest="00", revision=1)
    expected = '{"at":5,"cause":"a \\"b\\"\\n","digest":"00","kind":"revision","principal":"jürgen","revision":1}'
    assert canonical(leaf) == expected.encode()
    assert canonical({"b": [1, None], "a": True}) == b'{"a":true,"b":[1,null]}'
