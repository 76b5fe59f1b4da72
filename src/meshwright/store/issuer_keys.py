"""The keys of our own issuer, in a file that only its owner can read, turned as their time comes.

The one rule: a new key is on the disk before it is published, and a file is whole or is the one from before.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from typing import TYPE_CHECKING

from meshwright.errors import StorageError
from meshwright.store.keys import prepare_directory
from meshwright.trust.key_ring import KeyRing, new_key, read_ring, write_ring
from meshwright.trust.key_sets import KeySet, read_key_set

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

FILE = "issuer.keys"
"""In the data directory."""


class IssuerKeys:
    """The ring of a data directory; safe to use from several threads, of one process."""

    def __init__(self, data_dir: Path, now: Callable[[], int]) -> None:
        """Read it, or make it; `now` is milliseconds since the epoch, UTC.

        Raises:
            StorageError: it cannot be read or written, or is none.
        """
        self._path = data_dir / FILE
        self._now = now
        self._turning = threading.Lock()
        self._ring = self._read()
        self.turn()

    @property
    def published(self) -> bytes:
        """The JWK set document."""
        return self._published

    @property
    def key_set(self) -> KeySet:
        """The same as it is read."""
        return self._key_set

    def signed(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims."""
        return self._ring.signed(claims, self._now())

    def turn(self) -> None:
        """Make a new key where it is time, and forget old ones.

        Raises:
            StorageError: it cannot be written; what was there holds.
        """
        with self._turning:
            now = self._now()
            made = new_key() if self._ring.lacks(now) else None
            turned = self._ring.turned(now, made)
            if turned != self._ring:
                self._write(turned)
            self._ring, self._published = turned, turned.published
            self._key_set = read_key_set(self._published)

    def _read(self) -> KeyRing:
        try:
            return read_ring(self._path.read_bytes())
        except FileNotFoundError:
            return KeyRing()
        except OSError as error:
            raise StorageError(f"Cannot read {self._path}: {error.strerror}.") from error
        except ValueError as error:
            raise StorageError(
                f"{self._path} cannot be used: {error}. Restore it from a backup, or move it away "
                "for new keys: tokens that are signed by the old ones are worth nothing then."
            ) from error

    def _write(self, ring: KeyRing) -> None:
        prepare_directory(self._path.parent)
        draft = self._path.with_name(f".{FILE}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(write_ring(ring))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise StorageError(f"Cannot write {self._path}: {error.strerror}.") from error
