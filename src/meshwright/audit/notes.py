"""Signed notes: a few lines of text with Ed25519 signatures, which anybody can check who has the key's public half.

The one rule: text counts only once a known key's signature over it has been verified.
Source: https://c2sp.org/signed-note@v1.0.0
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshwright.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_ED25519 = b"\x01"
"""The signature type's byte."""
_PRIVATE = "PRIVATE+KEY+"
_MOST = 16
"""Signature lines that are looked at; the format asks for no more."""
_NAME = re.compile(r"[^\s+]+")
_SIGNATURE = re.compile("— ([^ +]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteError(RefusedError):
    """A note or a key that is not one, or that nobody known has signed."""


class VerifierKey(msgspec.Struct, frozen=True):
    """The public half of a key and the name that it signs under."""

    name: str
    """What a checkpoint names as its origin."""
    raw: bytes
    """32 bytes, as RFC 8032 has them."""

    @property
    def id(self) -> bytes:
        """The four bytes that a signature begins with."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    @property
    def text(self) -> str:
        """`NAME+ID+KEY`, the form that other programs for signed notes read."""
        return f"{self.key_id}+{_base64(_ED25519 + self.raw)}"

    @property
    def key_id(self) -> str:
        """How an envelope names the key: `NAME+ID`."""
        return f"{self.name}+{self.id.hex()}"

    @property
    def pem(self) -> str:
        """The key alone, as OpenSSL and verifiers of envelopes read it."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @classmethod
    def read(cls, text: str) -> VerifierKey:
        """The key that `text` was made of.

        Raises:
            NoteError: there is none.
        """
        name, raw = _parts(text.strip(), "verifier key NAME+ID+KEY, as 'meshwright audit key' prints it")
        found = cls(name, raw)
        if text.strip() != found.text:
            raise NoteError(f"The verifier key of {name!r} has an id that is not its own; copy it again.")
        return found

    def verifies(self, signature: bytes, text: bytes) -> bool:
        """Whether `signature` is this key's over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


class SigningKey(msgspec.Struct, frozen=True):
    """A key that signs."""

    name: str
    seed: bytes
    """32 bytes that nobody else may have."""

    def __repr__(self) -> str:
        return f"SigningKey(name={self.name!r})"

    @property
    def verifier(self) -> VerifierKey:
        """Its public half."""
        return VerifierKey(self.name, self._private().public_key().public_bytes_raw())

    @property
    def text(self) -> str:
        """`PRIVATE+KEY+NAME+ID+SEED`, the form that other programs for signed notes read."""
        return f"{_PRIVATE}{self.name}+{self.verifier.id.hex()}+{_base64(_ED25519 + self.seed)}"

    @classmethod
    def read(cls, text: str) -> SigningKey:
        """The key that `text` was made of.

        Raises:
            NoteError: there is none; the text is not quoted.
        """
        what = "signing key PRIVATE+KEY+NAME+ID+SEED"
        if not text.startswith(_PRIVATE):
            raise NoteError(f"This is no {what}.")
        found = cls(*_parts(text.strip().removeprefix(_PRIVATE), what))
        if text.strip() != found.text:
            raise NoteError(f"The signing key of {found.name!r} has an id that is not its own.")
        return found

    def sign(self, text: bytes) -> bytes:
        """The 64 bytes of a signature over `text`."""
        return self._private().sign(text)

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def is_signature(line: str) -> bool:
    """Whether `line`, without its end, has the form of a signature."""
    return _SIGNATURE.fullmatch(line) is not None


def signed(text: str, key: SigningKey) -> str:
    """The note of `text`, which ends with a line feed, signed by `key`.

    Raises:
        ValueError: `text` cannot be a note's.
    """
    if not text.endswith("\n") or _CONTROL.search(text):
        raise ValueError("a note's text ends with a line feed and has no other control characters")
    signature = _base64(key.verifier.id + key.sign(text.encode()))
    return f"{text}\n— {key.name} {signature}\n"


def opened(note: str, keys: Iterable[VerifierKey]) -> str:
    """The text of `note`, which one of `keys` at least has signed; signatures of others are passed over.

    Raises:
        NoteError: it is no note, none of `keys` has signed it, or a signature by one of them is not its own.
    """
    text, gap, lines = note.rpartition("\n\n")
    found = [_SIGNATURE.fullmatch(line) for line in lines.removesuffix("\n").split("\n")]
    if not gap or not lines.endswith("\n") or None in found or len(found) > _MOST or _CONTROL.search(note):
        raise NoteError("This is no signed note: text, an empty line, and lines of signatures.")
    known = {(key.name, key.id): key for key in keys}
    good = 0
    for one in filter(None, found):
        signature = _bytes(one[2])
        key = known.get((one[1], signature[:4]))
        if key is not None:
            if not key.verifies(signature[4:], f"{text}\n".encode()):
                raise NoteError(
                    f"The signature of {key.name!r} is not one over this text: it was changed, or forged."
                )
            good += 1
    if not good:
        names = ", ".join(sorted({f"{one[1]!r}" for one in filter(None, found)}))
        raise NoteError(f"Nobody known has signed this; it bears the signature of {names}, by another key.")
    return f"{text}\n"


def _parts(text: str, what: str) -> tuple[str, bytes]:
    """The name and the 32 bytes in `NAME+ID+BASE64`, whose id is still to be looked at."""
    name, _, rest = text.partition("+")
    raw = _bytes(rest.partition("+")[2])
    if not _NAME.fullmatch(name) or len(raw) != 33 or raw[:1] != _ED25519:
        raise NoteError(f"This is no {what}, or none of Ed25519.")
    return name, raw[1:]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    """The bytes of strict base64; none for what is not."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if _base64(raw) == text else b""
