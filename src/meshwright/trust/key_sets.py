"""The public keys of an OIDC issuer: a JWK set read strictly, weak and unfit keys left out; pure.

The one rule: a key that is kept can verify signatures of exactly one algorithm and is known to no attacker's tool.
Source: https://www.rfc-editor.org/rfc/rfc7517 and https://www.rfc-editor.org/rfc/rfc7518#section-6
"""

from __future__ import annotations

import base64
import binascii
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from meshwright.errors import RefusedError
from meshwright.trust.strict_json import AmbiguousJsonError, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""A longer modulus would let whoever chooses the key choose how long a verification takes."""
MAX_KEYS = 64
"""Keys of one set that are looked at."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
_ALGORITHMS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"RSA": ("RS256", ""), "EC": ("ES256", "P-256"), "OKP": ("EdDSA", "Ed25519")}
)
"""For each key type the one algorithm that is used with it, and the only curve."""
_PUBLIC_MEMBERS = ("kty", "crv", "n", "e", "x", "y")
_ROCA_PRIMES = tuple(n for n in range(3, 168) if all(n % k for k in range(2, n)))


class KeySetError(RefusedError):
    """A JWK set that is not used at all; `str()` says why and quotes no key."""


class TokenKey(msgspec.Struct, frozen=True, kw_only=True):
    """One public key that may verify tokens."""

    kid: str | None
    algorithm: str
    """`RS256`, `ES256` or `EdDSA`: the only one that it is used with."""
    material: RSAKey | ECKey | OKPKey
    thumbprint: str
    """RFC 7638; equal keys have equal ones."""

    def __repr__(self) -> str:
        return f"TokenKey(kid={self.kid!r}, algorithm={self.algorithm!r})"


class KeySet(msgspec.Struct, frozen=True):
    """What was kept of a JWK set, and for each key that was not why."""

    keys: tuple[TokenKey, ...]
    left_out: tuple[str, ...] = ()


def read_key_set(text: bytes) -> KeySet:
    """The keys in a JWK set document that can verify tokens.

    Raises:
        KeySetError: it is no JWK set, or it holds a private or a symmetric key: whoever publishes one has lost it,
            and nothing beside it is trusted.
    """
    try:
        found = read_object(text)
    except AmbiguousJsonError as error:
        raise KeySetError(f"The JWK set is refused: {error}.") from None
    entries = found.get("keys")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise KeySetError("The JWK set is refused: it has no list of objects called 'keys'.")
    if len(entries) > MAX_KEYS:
        raise KeySetError(f"The JWK set is refused: it holds {len(entries)} keys, {MAX_KEYS} are the most.")
    keys: list[TokenKey] = []
    left_out: list[str] = []
    for number, entry in enumerate(entries):
        if entry.get("kty") == "oct" or _SECRET_MEMBERS & entry.keys():
            raise KeySetError(f"The JWK set is refused: its key {number} is private or symmetric and is public now.")
        try:
            keys.append(_key(entry))
        except _UnfitError as reason:
            left_out.append(f"key {number} ({str(entry.get('kid'))[:64]!r}): {reason}")
    return KeySet(tuple({(one.kid, one.thumbprint): one for one in keys}.values()), tuple(left_out))


def from_base64url(text: str) -> bytes:
    """What `text` encodes, unpadded and canonical.

    Raises:
        ValueError: there is padding, another alphabet, or bits that encode nothing.
    """
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("not base64url without padding")
    try:
        found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    if base64.urlsafe_b64encode(found).rstrip(b"=") != text.encode():
        raise ValueError("not canonical base64url: its last character has bits that mean nothing")
    return found


class _UnfitError(ValueError):
    """A key that is left out, and why."""


def _key(entry: Mapping[str, Any]) -> TokenKey:
    kind, kid = entry.get("kty"), entry.get("kid")
    if not isinstance(kind, str) or kind not in _ALGORITHMS:
        raise _UnfitError(f"its type is {str(kind)[:32]!r}; {', '.join(_ALGORITHMS)} are used")
    if kid is not None and not isinstance(kid, str):
        raise _UnfitError("its kid is not a text")
    algorithm, curve = _ALGORITHMS[kind]
    if curve and entry.get("crv") != curve:
        raise _UnfitError(f"its curve is {str(entry.get('crv'))[:32]!r}; {curve} is used")
    if entry.get("use", "sig") != "sig":
        raise _UnfitError(f"its use is {str(entry['use'])[:32]!r}, not 'sig'")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _UnfitError("its key_ops do not hold 'verify'")
    if entry.get("alg", algorithm) not in (("EdDSA", "Ed25519") if curve == "Ed25519" else (algorithm,)):
        raise _UnfitError(f"its algorithm is {str(entry['alg'])[:32]!r}; {algorithm} is used with {kind}")
    if kind == "RSA":
        _check_rsa(entry)
    material = _material(kind, {name: entry[name] for name in _PUBLIC_MEMBERS if name in entry})
    return TokenKey(kid=kid, algorithm=algorithm, material=material, thumbprint=material.thumbprint())


def _material(kind: str, public: dict[str, Any]) -> RSAKey | ECKey | OKPKey:
    """The key, once a point is on its curve and every number is one."""
    for name in set(public) - {"kty", "crv"}:
        _number(public, name)
    try:
        match kind:
            case "RSA":
                found: RSAKey | ECKey | OKPKey = RSAKey.import_key(public)
            case "EC":
                found = ECKey.import_key(public)
            case _:
                found = OKPKey.import_key(public)
        _ = found.public_key
    except (JoseError, ValueError, TypeError, KeyError):
        raise _UnfitError("its numbers make no key of its type") from None
    return found


def _check_rsa(entry: Mapping[str, Any]) -> None:
    modulus, exponent = _number(entry, "n"), _number(entry, "e")
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise _UnfitError(f"its modulus has {modulus.bit_length()} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are used")
    if not 65_537 <= exponent < 1 << 32 or exponent % 2 == 0:
        raise _UnfitError("its exponent is even, below 65537 or above 2^32")
    if modulus % 2 == 0 or _made_by_roca(modulus):
        raise _UnfitError("its modulus can be factored")


def _number(entry: Mapping[str, Any], name: str) -> int:
    text = entry.get(name)
    try:
        return int.from_bytes(from_base64url(text if isinstance(text, str) and len(text) < 4096 else "="))
    except ValueError:
        raise _UnfitError(f"its {name!r} is not base64url") from None


def _made_by_roca(modulus: int) -> bool:
    """Whether the modulus has the form of keys made by a faulty library of smart cards (CVE-2017-15361).

    Such a modulus is a power of 65537 modulo every small prime.
    """
    return all(modulus % prime in _powers(prime) for prime in _ROCA_PRIMES)


def _powers(prime: int) -> set[int]:
    found, power = set[int](), 1
    while power not in found:
        found.add(power)
        power = power * 65_537 % prime
    return found
