"""Certificates and keys of a server that speaks TLS: read, judged, and read again when their files change.

The one rule: what is in use was judged whole. A new pair that is broken, mismatched or readable by others is logged,
and the old one stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from cryptography import x509

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_Judged: TypeAlias = "tuple[Pair, bytes, tuple[x509.Certificate, ...]]"

LOOK_SECONDS = 2.0
"""Between two looks at the files."""
SOON = 14 * 24 * 3600
"""Seconds before its end at which a certificate is warned of, once a day."""
_DAY = 24 * 3600

_log = logging.getLogger(__name__)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate chain and its private key, in PEM; the leaf comes first."""

    chain: bytes
    key: bytes
    names: tuple[str, ...]
    """The DNS names and addresses of the leaf."""
    expires_at: int
    """When the first certificate of the chain ends, in seconds since the epoch."""

    def __repr__(self) -> str:
        return f"Pair(names={self.names!r}, expires_at={self.expires_at})"


def read_pair(certificate: Path, key: Path) -> Pair:
    """The pair in two files (or one, given twice).

    Raises:
        UsageError: a file cannot be read, others may read the key, or the two do not belong together.
    """
    _refuse_readable_by_others(key)
    chain, secret = _read(certificate), _read(key)
    if b"ENCRYPTED" in secret:
        raise UsageError(
            f"The private key {key} is encrypted, and nobody is there to type its passphrase. Decrypt it, as with "
            "'openssl pkey', and keep it with mode 0600."
        )
    try:
        found = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise UsageError(f"{certificate} holds no certificate in PEM: {error}.") from None
    load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain, secret, f"{certificate} and {key}")
    expires_at = min(int(one.not_valid_after_utc.timestamp()) for one in found)
    return Pair(chain=chain, key=secret, names=_names(found[0]), expires_at=expires_at)


def read_authorities(path: Path) -> tuple[bytes, tuple[x509.Certificate, ...]]:
    """The certificates in a file, in PEM and read.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    text = _read(path)
    try:
        return text, tuple(x509.load_pem_x509_certificates(text))
    except ValueError as error:
        raise UsageError(f"{path} holds no certificate in PEM: {error}.") from None


def server_context(watched: Watched) -> ssl.SSLContext:
    """TLS 1.2 or newer for HTTP/1.1, with the pair of `watched` and each that follows it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    watched.attach(context)
    return context


def load(context: ssl.SSLContext, chain: bytes, key: bytes, source: str) -> None:
    """Make `context` use a pair from now on; connections that are open keep theirs.

    Raises:
        UsageError: the two do not belong together.
    """
    with tempfile.TemporaryDirectory(prefix="meshwright-tls-") as folder:  # mode 0700; `ssl` reads files only
        both = Path(folder) / "pair.pem"
        both.write_bytes(key.rstrip(b"\n") + b"\n" + chain)
        try:
            context.load_cert_chain(both, password=_no_passphrase)
        except (ssl.SSLError, ValueError) as error:
            raise UsageError(
                f"{source} are no pair that TLS can use: {error}. The key must be the certificate's own."
            ) from None


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server's certificate lies."""

    certificate: Path
    """The chain, the server's own certificate first."""
    key: Path
    authorities: Path | None = None
    """What issues clients' certificates; None where nobody is asked for one."""


class Watched:
    """A pair, and the certificates that issue clients', which follow their files."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files.

        Raises:
            UsageError: they cannot be used.
        """
        self.files = files
        self.version = 1
        """Counts the changes."""
        self._bytes = self._raw()
        self.pair, self.bundle, self.authorities = self._judged()
        self._contexts: list[ssl.SSLContext] = []
        self._failed = ""
        self._warned = float("-inf")

    def attach(self, context: ssl.SSLContext) -> None:
        """Let `context` use the pair, and each that follows it."""
        load(context, self.pair.chain, self.pair.key, str(self.files.certificate))
        self._contexts.append(context)

    async def follow(self) -> None:
        """Look after the files until cancelled."""
        while True:
            self.warn(time.time())
            await asyncio.sleep(LOOK_SECONDS)
            await self.refresh()

    async def refresh(self) -> bool:
        """Look at the files now; whether something new is in use."""
        try:
            found = await asyncio.to_thread(self._newer)
        except UsageError as error:
            if str(error) != self._failed:
                _log.error("the old certificate stays in use: %s", error)
            self._failed = str(error)
            return False
        self._failed = ""
        if found is None:
            return False
        # Here and not in the thread: a context must not change while a handshake begins with it.
        for context in self._contexts:
            load(context, found[0].chain, found[0].key, str(self.files.certificate))
        self.pair, self.bundle, self.authorities = found
        self.version += 1
        self._warned = float("-inf")
        _log.info("a new certificate is in use: %s", self.files.certificate)
        return True

    def warn(self, now: float) -> None:
        """Log, once a day, when the pair ends soon or has ended; `now` in seconds since the epoch."""
        left = self.pair.expires_at - now
        if left < SOON and now - self._warned > _DAY:
            self._warned = now
            days = f"ends in {left / _DAY:.1f} days" if left > 0 else f"ended {-left / _DAY:.1f} days ago"
            _log.warning("the certificate %s %s; replace the file, it is read again", self.files.certificate, days)

    def _newer(self) -> _Judged | None:
        """What the files hold now, None when that is in use already.

        Raises:
            UsageError: it cannot be used.
        """
        raw = self._raw()
        if raw == self._bytes:
            return None
        found = self._judged()
        self._bytes = raw
        return found

    def _raw(self) -> tuple[bytes, ...]:
        files = (self.files.certificate, self.files.key, self.files.authorities)
        return tuple(_read(path) for path in files if path is not None)

    def _judged(self) -> _Judged:
        pair = read_pair(self.files.certificate, self.files.key)
        bundle, authorities = read_authorities(self.files.authorities) if self.files.authorities else (b"", ())
        return pair, bundle, authorities


@contextlib.asynccontextmanager
async def followed(tls: Watched | None) -> AsyncIterator[tuple[asyncio.Task[None], ...]]:
    """Follow the files of a certificate until the block ends; the tasks that do."""
    tasks = (asyncio.create_task(tls.follow(), name=f"following {tls.files.certificate}"),) if tls else ()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _refuse_readable_by_others(key: Path) -> None:
    """As ssh does; a group may be let in on purpose, as Kubernetes mounts secrets, and is warned of."""
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise UsageError(f"The private key {key} cannot be read: {error.strerror}.") from error
    if stat.S_ISREG(mode) and mode & 0o007:
        raise UsageError(
            f"The private key {key} can be read by everybody on this machine (mode {mode & 0o777:04o}). "
            f"Take that back: chmod 600 {key}"
        )
    if stat.S_ISREG(mode) and mode & 0o070:
        _log.warning("the private key %s can be read by its group (mode %04o)", key, mode & 0o777)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted")


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    with contextlib.suppress(x509.ExtensionNotFound):
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = (str(one) for one in found.get_values_for_type(x509.IPAddress))
        return (*found.get_values_for_type(x509.DNSName), *addresses)
    return ()
