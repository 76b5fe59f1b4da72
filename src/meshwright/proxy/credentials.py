"""How one proxy proves who it is: which key, certificate or socket its bootstrap names.

The one rule: a secret stays in the file or environment that it was found in, or goes to a file that only we can read;
no argument and no bootstrap holds one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from meshwright.aws import AWS_TOKEN_FILE, OWN_PROFILE, OWN_TOKEN_FILE
from meshwright.errors import MeshwrightError, UsageError
from meshwright.proxy.bootstrap import Address, Environment, KeyFile, Tls, secret
from meshwright.remote import WebIdentity, find_credentials, find_signer
from meshwright.trust.credentials import Credentials, render

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RENEW_SECONDS = 20.0
"""Between two looks whether the session is about to end."""

_log = logging.getLogger(__name__)


@runtime_checkable
class Source(Protocol):
    """Where short-lived credentials come from."""

    def credentials(self) -> Credentials:
        """Those of now; new ones where the last are about to end.

        Raises:
            MeshwrightError: there are none.
        """
        ...


def find(
    environ: Mapping[str, str], xds: Address, folder: Path, *, endpoint: str, ca_bundle: str = ""
) -> KeyFile | Environment | Source | None:
    """What to sign the stream with, found as the other commands find it; None for a Unix socket, which needs nothing.

    `folder` is the data directory of a control plane on this machine, whose administrator's key serves here;
    `endpoint` is where a build's or pod's identity token is exchanged for a session.

    Raises:
        UsageError: there is no key, or half of one.
        UnreadableError: a file that was named cannot be read.
    """
    if not xds.port:
        return None
    found: Credentials | WebIdentity
    if any(environ.get(one) for one in (OWN_TOKEN_FILE, OWN_PROFILE, AWS_TOKEN_FILE)):
        found = find_signer(environ, endpoint, folder, ca_bundle)
        if isinstance(found, WebIdentity):
            return found
    else:
        found = find_credentials(environ, f"http://{xds}", folder)
    return KeyFile(str(Path(found.file).absolute()), found.profile) if found.file else Environment()


@contextlib.contextmanager
def renewed(source: Source) -> Iterator[KeyFile]:
    """A file that only we can read, with the credentials of `source` then of the next, until the block ends.

    Raises:
        MeshwrightError: there are none to begin with.
    """
    with tempfile.TemporaryDirectory(prefix="meshwright-key-") as folder:  # mode 0700
        path = Path(folder) / "credentials"
        first = source.credentials()
        _write(path, first)
        over = threading.Event()
        threading.Thread(target=_keep, args=(source, first, path, over), daemon=True).start()
        try:
            yield KeyFile(str(path))
        finally:
            over.set()


@contextlib.contextmanager
def followed(tls: Tls | None) -> Iterator[Tls | None]:
    """`tls`, so that Envoy takes a new client certificate without a restart, until the block ends."""
    if tls is None or not tls.certificate:
        yield tls
        return
    with tempfile.TemporaryDirectory(prefix="meshwright-tls-") as folder:
        path = Path(folder) / "secret.json"
        path.write_text(json.dumps(secret(tls)))
        yield msgspec.structs.replace(tls, secret=str(path))


def _keep(source: Source, last: Credentials, path: Path, over: threading.Event) -> None:
    """Envoy keeps its configuration while there are no credentials, so every failure is tried again."""
    while not over.wait(RENEW_SECONDS):
        try:
            found = source.credentials()
            if found != last and not over.is_set():
                _write(path, found)
                last = found
        except (MeshwrightError, OSError) as error:
            if not over.is_set():
                _log.warning("the credentials of this proxy cannot be renewed now: %s", error)


def _write(path: Path, credentials: Credentials) -> None:
    """Whole, by a move into the folder that Envoy watches."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(render({"default": credentials}))
    draft.rename(path)


def secured(authorities: Path | None, certificate: Path | None, key: Path | None) -> Tls | None:
    """The TLS that three options ask for; None for none.

    Raises:
        UsageError: a certificate without its key or without the authorities, or a file that is not there.
    """
    given = {"--xds-tls-ca": authorities, "--xds-client-certificate": certificate, "--xds-client-key": key}
    for option, path in given.items():
        if path is not None and not path.is_file():
            raise UsageError(f"{option} {path} is not a file.")
    if (certificate is None) != (key is None):
        raise UsageError("--xds-client-certificate and --xds-client-key belong together: give both, or none of them.")
    if authorities is None:
        if certificate is not None:
            raise UsageError(
                "--xds-client-certificate needs TLS: give --xds-tls-ca, the certificates that issue the control "
                "plane's."
            )
        return None
    return Tls(
        authorities=str(authorities.absolute()),
        certificate=str(certificate.absolute()) if certificate is not None else "",
        key=str(key.absolute()) if key is not None else "",
    )
