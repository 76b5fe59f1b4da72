"""Keys: access keys made like AWS's, and the key that signs checkpoints, in files that only their owner can read.

The one rule: a secret is written to the database and to one file, and to nothing that others can see.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from typing import TYPE_CHECKING

from meshwright.audit import NoteError, SigningKey
from meshwright.errors import RefusedError, StorageError, UsageError
from meshwright.store.contract import AccessKey
from meshwright.trust.credentials import Credentials, render

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.store.contract import Store

ADMINISTRATOR = "administrator"
"""The principal of the key that the first start makes."""
SIGNING_KEY = "audit.key"
"""The file in the data directory that holds the key which checkpoints of the audit log are signed by."""
TRAVIS_KEY = "travis.key"
"""The file in the data directory that challenges to jobs of Travis CI are signed by, and second factors made from."""
PROFILE = "default"
"""The profile that AWS tools read when none is named."""

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PRINCIPAL = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")


def database_path(data_dir: Path) -> Path:
    """Where a control plane with this `--data-dir` keeps its database."""
    return data_dir / "meshwright.db"


def prepare_directory(data_dir: Path) -> Path:
    """Make `data_dir`, for its owner only and kept out of git, where it is not there; the database's path.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), (data_dir / ".gitignore").open("x") as ignored:
            ignored.write("*\n")
    except OSError as error:
        raise StorageError(f"Cannot make the data directory {data_dir}: {error.strerror}.") from error
    return database_path(data_dir)


def fresh_key_id(prefix: str) -> str:
    """A new access key id; IAM's prefixes are `AKIA` for keys that stay and `ASIA` for those of sessions.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    return prefix + "".join(secrets.choice(_BASE32) for _ in range(16))


def fresh_secret() -> str:
    """A new secret of an access key: 240 bits."""
    return "".join(secrets.choice(_BASE64) for _ in range(40))


def create_key(store: Store, principal: str, at: int) -> AccessKey:
    """A new access key for `principal`, stored; `at` in milliseconds since the epoch.

    Raises:
        UsageError: the principal's name is not one that IAM would take for a user.
    """
    if not _PRINCIPAL.fullmatch(principal):
        raise UsageError(
            f"{principal!r} cannot name a principal: it takes 1 to 64 letters, digits and _+=,.@- as IAM users do."
        )
    key = AccessKey(id=fresh_key_id("AKIA"), secret=fresh_secret(), principal=principal, created_at=at)
    store.add_key(key)
    return key


def profile_of(key: AccessKey, name: str) -> str:
    """The key as a profile of an AWS shared credentials file."""
    return render({name: Credentials(key_id=key.id, secret=key.secret)})


def write_credentials(data_dir: Path, key: AccessKey) -> Path:
    """Write `<data_dir>/credentials`, profile `default`: whole or not at all, mode 0600; its path.

    Raises:
        RefusedError: there is one already; it is left as it is.
        StorageError: it cannot be written.
    """
    path = data_dir / "credentials"
    if not _written_once(path, profile_of(key, PROFILE)):
        raise RefusedError(
            f"{path} exists, and belongs to another key than {key.id}. Move it away if the database is new, then "
            "start again."
        )
    return path


def ensure_signing_key(data_dir: Path, account: str) -> SigningKey:
    """The key in `<data_dir>/audit.key` that checkpoints of the audit log are signed by; made where there is none.

    Its name, which is the log's, is `meshwright/ACCOUNT/RANDOM`. Who wants another puts a key there before the first
    start.

    Raises:
        StorageError: it cannot be read or written, or is no key.
    """
    path = data_dir / SIGNING_KEY
    if not os.path.lexists(path):
        made = SigningKey(f"meshwright/{account}/{secrets.token_hex(4)}", secrets.token_bytes(32))
        _written_once(path, f"{made.text}\n")
    return read_signing_key(data_dir)


def read_signing_key(data_dir: Path) -> SigningKey:
    """The key in `<data_dir>/audit.key`.

    Raises:
        StorageError: there is none, or it cannot be read.
    """
    path = data_dir / SIGNING_KEY
    try:
        return SigningKey.read(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StorageError(
            f"There is no key {path} to sign checkpoints of the audit log by; 'meshwright serve' makes one."
        ) from error
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {error.strerror}.") from error
    except (NoteError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} cannot be used: {error} Restore it from a backup.") from error


def ensure_secret(path: Path) -> bytes:
    """The 32 random bytes in a file that only its owner can read; made where there is none.

    Raises:
        StorageError: it cannot be read or written, or holds something else.
    """
    if not os.path.lexists(path):
        _written_once(path, f"{secrets.token_hex(32)}\n")
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError:
        text = ""
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise StorageError(f"{path} cannot be used: it holds no key of ours. Restore it from a backup.")
    return bytes.fromhex(text)


def _written_once(path: Path, text: str) -> bool:
    """Write a file, whole or not at all, mode 0600; False where there is one already, which is left as it is.

    Raises:
        StorageError: it cannot be written.
    """
    prepare_directory(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link is made whole and never replaces what is there.
            os.link(draft, path)
        finally:
            draft.unlink()
    except FileExistsError:
        return False
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {error.strerror}.") from error
    return True


def ensure_administrator(store: Store, data_dir: Path, at: int) -> AccessKey | None:
    """On the first start, make the administrator's key and write it down; None when it was done before.

    A start that was cut off between the two is completed by the next.

    Raises:
        RefusedError: the database knows no key, and a credentials file is there.
        StorageError: it cannot be written.
    """
    known = store.keys()
    path = data_dir / "credentials"
    if known and (path.exists() or known[0].principal != ADMINISTRATOR):
        return None
    if not known and path.exists():
        raise RefusedError(
            f"{path} exists, but the database knows no access key: it belongs to another database. Move it away, "
            "then start again."
        )
    key = known[0] if known else create_key(store, ADMINISTRATOR, at)
    write_credentials(data_dir, key)
    return key
