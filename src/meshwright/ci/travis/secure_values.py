"""Encrypts values for a `.travis.yml`: with the repository's public key, quoted as bash will read them.

The one rule: what Travis decrypts and bash evaluates is the very value, byte by byte, or it is refused here.

Travis decrypts an encrypted variable to the whole `NAME=value`, and lets bash assign it; elsewhere, as in
`vault.token`, the bare value stands for itself. RSA with the padding of PKCS#1 v1.5, which is what Travis takes.

Source: https://docs.travis-ci.com/user/encryption-keys
"""

from __future__ import annotations

import base64
import contextlib
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from meshwright.errors import UsageError

PADDING = 11
"""Bytes of the key's size that the padding takes at least."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(rb"[A-Za-z0-9_./:@%+=,-]+")
_IN_DOUBLE_QUOTES = frozenset(b'"$`\\!')


def assignment(name: str, value: bytes) -> bytes:
    """`NAME=value` with the quotes by which bash assigns exactly `value`.

    Raises:
        UsageError: the name is none of a variable, or no variable can hold the value.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a variable; it has letters, digits and _, and no digit first.")
    if b"\0" in value:
        raise UsageError(
            f"The value of {name} holds a zero byte, which no variable of bash can. Encrypt its Base64, and decode "
            "it in the job: base64 --decode."
        )
    return name.encode() + b"=" + _quoted(value)


def _quoted(value: bytes) -> bytes:
    """A word of bash: in one kind of quotes where that is possible, which simpler readers understand as well."""
    if _PLAIN.fullmatch(value):
        return value
    if b"'" not in value:
        return b"'" + value + b"'"
    if not _IN_DOUBLE_QUOTES & frozenset(value):
        return b'"' + value + b'"'
    return b"'" + value.replace(b"'", b"'\\''") + b"'"


def read_key(pem: str, source: str) -> RSAPublicKey:
    """A repository's public key, from the PEM that Travis gives; `source` says where it came from.

    Raises:
        UsageError: it is no public key for RSA.
    """
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        key = load_pem_public_key(pem.encode())
        if isinstance(key, RSAPublicKey):
            return key
    hint = " It is a private key: keep it to yourself, and take the public one." if "PRIVATE" in pem else ""
    raise UsageError(f"{source} holds no public key for RSA in PEM.{hint}")


def encrypted(plain: bytes, key: RSAPublicKey, what: str) -> str:
    """`plain` as the text of a `secure:` value; `what` names it in messages.

    Raises:
        UsageError: it is longer than the key takes.
    """
    most = key.key_size // 8 - PADDING
    if len(plain) > most:
        raise UsageError(
            f"{what} takes {len(plain)} bytes with its name and quotes, and the repository's key of {key.key_size} "
            f"bits takes {most}. Put it into the repository's settings (Settings, Environment Variables), or encrypt "
            "a file with a key that is short (openssl enc -aes-256-cbc) and that key with this command."
        )
    return base64.b64encode(key.encrypt(plain, PKCS1v15())).decode()
