"""The keys of our own issuer turn, and no verifier is ever without the one that a valid token is signed by."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.errors import StorageError
from meshwright.store.issuer_keys import FILE, IssuerKeys
from meshwright.store.keys import ensure_secret
from meshwright.trust.key_ring import FRESH_SECONDS, KEPT, NEW_EVERY, SIGNS_AFTER, KeyRing
from meshwright.trust.tokens import read_token, verify_signature

if TYPE_CHECKING:
    from pathlib import Path

DAY = 24 * 3_600_000
TOKEN = 600_000
"""Milliseconds that a token lives."""


def signer(ring: KeyRing, now: int) -> str:
    """The key that signs at a moment."""
    return str(ring.signer(now).jwk["kid"])


def published(ring: KeyRing) -> list[str]:
    """The keys in the key set."""
    return [str(one.jwk["kid"]) for one in ring.keys]


def turned(ring: KeyRing, now: int) -> KeyRing:
    """As it is after somebody looked at it."""
    return ring.turned(now, {"kid": f"made-{now}"} if ring.lacks(now) else None)


def test_a_new_key_is_published_before_it_signs_and_the_old_one_after() -> None:
    """The first signs at once: nobody can have kept a key set without it."""
    ring = turned(KeyRing(), 0)
    assert (signer(ring, 0), published(ring)) == ("made-0", ["made-0"])
    ring = turned(ring, NEW_EVERY)
    assert (signer(ring, NEW_EVERY), published(ring)) == ("made-0", ["made-0", f"made-{NEW_EVERY}"])
    after = NEW_EVERY + SIGNS_AFTER
    ring = turned(ring, after)
    assert (signer(ring, after), published(ring)) == (f"made-{NEW_EVERY}", ["made-0", f"made-{NEW_EVERY}"])
    ring = turned(ring, after + KEPT)
    assert published(ring) == [f"made-{NEW_EVERY}"]


@given(st.lists(st.integers(60_000, 40 * DAY), min_size=2, max_size=10))
def test_whoever_keeps_the_key_set_for_as_long_as_we_say_verifies_every_token(pauses: list[int]) -> None:
    """However seldom a server looks whether it is time for a new key."""
    ring, now = turned(KeyRing(), 0), 0
    kept: list[tuple[int, list[str]]] = []
    for pause in pauses:
        now += pause
        # Whoever asked last asked at the earliest when what was kept before was stale.
        kept.append((max(now - FRESH_SECONDS * 1000, 0), published(ring)))
        ring = turned(ring, now)
        token = signer(ring, now)
        for asked, keys in kept:
            if asked >= now - FRESH_SECONDS * 1000:
                assert token in keys
        assert signer(ring, now + TOKEN) in published(turned(ring, now + TOKEN))
        assert token in published(turned(ring, now + TOKEN))


def test_keys_stay_over_a_restart_in_a_file_for_their_owner(tmp_path: Path) -> None:
    """What one process signed, the next one verifies; the file holds what is secret."""
    token = read_token(IssuerKeys(tmp_path, lambda: 1).signed({"sub": "x"}))
    again = IssuerKeys(tmp_path, lambda: 2)
    verify_signature(token, again.key_set.keys, ("RS256",))
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert b'"d"' not in again.published
    assert b'"kid"' in again.published
    assert [one.name for one in tmp_path.iterdir() if one.name not in {FILE, ".gitignore"}] == []


@pytest.mark.parametrize("text", ["", "{}x", '{"keys": [{"made": 1, "jwk": {"kty": "oct", "k": "c2VjcmV0"}}]}'])
def test_a_broken_file_is_told_and_left_alone(tmp_path: Path, text: str) -> None:
    """New keys in its place would be a silent loss."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StorageError, match="holds no keys of an issuer") as raised:
        IssuerKeys(tmp_path, lambda: 1)
    assert "c2VjcmV0" not in str(raised.value)
    assert (tmp_path / FILE).read_text() == text


def test_the_key_of_challenges_stays_and_is_its_owners(tmp_path: Path) -> None:
    """A server that was started again knows the challenges of before; a broken file is told."""
    file = tmp_path / "travis.key"
    assert ensure_secret(file) == ensure_secret(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("short\n")
    with pytest.raises(StorageError, match="holds no key of ours"):
        ensure_secret(file)
