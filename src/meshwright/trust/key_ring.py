"""The keys that our own issuer signs by: which signs now, which are published, when there is a new one; pure.

The one rule: a key is published for an hour before it signs and for a day after, so that nobody who keeps our key set
for as long as we say is ever without the key of a valid token.
Source: https://openid.net/specs/openid-connect-core-1_0.html#RotateSigKeys
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from meshwright.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHM = "RS256"
"""What every verifier knows, AWS's among them."""
BITS = 2048
FRESH_SECONDS = 900
"""For how many seconds verifiers may keep the key set."""
SIGNS_AFTER = 3_600_000
"""Milliseconds for which a key is published before it signs."""
NEW_EVERY = 30 * 24 * 3_600_000
"""Milliseconds after which there is a new key."""
KEPT = 24 * 3_600_000
"""Milliseconds for which a key is published after its successor signs; a token lives for minutes."""


class RingKey(msgspec.Struct, frozen=True):
    """One key."""

    made: int
    """When, in milliseconds since the epoch, UTC."""
    jwk: dict[str, Any]
    """With what is secret."""

    def __repr__(self) -> str:
        return f"RingKey(made={self.made!r}, kid={self.jwk.get('kid')!r})"


class KeyRing(msgspec.Struct, frozen=True):
    """All keys, oldest first."""

    keys: tuple[RingKey, ...] = ()

    @property
    def published(self) -> bytes:
        """The JWK set document."""
        return msgspec.json.encode({"keys": [_material(one).as_dict(private=False) for one in self.keys]})

    def lacks(self, now: int) -> bool:
        """Whether it is time for a new key."""
        return not self.keys or now - self.keys[-1].made >= NEW_EVERY

    def turned(self, now: int, made: Mapping[str, Any] | None) -> KeyRing:
        """With a new key, if one was made, and without those whose time is over."""
        keys = (*self.keys, RingKey(now, dict(made))) if made is not None else self.keys
        signing = [one.made + SIGNS_AFTER for one in keys]
        return KeyRing(
            tuple(
                one
                for place, one in enumerate(keys)
                if not any(begins + KEPT <= now for begins in signing[place + 1 :])
            )
        )

    def signer(self, now: int) -> RingKey:
        """The key that signs at `now`: the newest that has been published for long enough, or the first of all.

        Raises:
            StorageError: there is no key.
        """
        if not self.keys:
            raise StorageError("There is no key to sign identities by.")
        ready = [one for one in self.keys if one.made + SIGNS_AFTER <= now] or [self.keys[0]]
        return ready[-1]

    def signed(self, claims: Mapping[str, Any], now: int) -> str:
        """A token with these claims.

        Raises:
            StorageError: there is no key.
        """
        key = self.signer(now)
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": key.jwk["kid"]}
        return jwt.encode(header, dict(claims), _material(key), algorithms=[ALGORITHM])


def new_key() -> dict[str, Any]:
    """A key, with what is secret."""
    key = RSAKey.generate_key(BITS, {"use": "sig", "alg": ALGORITHM}, auto_kid=True)
    return dict(key.as_dict(private=True))


def write_ring(ring: KeyRing) -> bytes:
    """As it is kept."""
    return msgspec.json.format(msgspec.json.encode(ring), indent=1)


def read_ring(text: bytes) -> KeyRing:
    """What `write_ring` wrote.

    Raises:
        ValueError: it is something else; no part of it is quoted.
    """
    try:
        found = msgspec.json.decode(text, type=KeyRing)
        for one in found.keys:
            _ = _material(one).private_key, one.jwk["kid"]
    except (msgspec.DecodeError, UnicodeDecodeError, JoseError, ValueError, KeyError, TypeError):
        raise ValueError("it holds no keys of an issuer") from None
    return found


def _material(key: RingKey) -> RSAKey:
    return RSAKey.import_key(key.jwk)
