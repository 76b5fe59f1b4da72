"""How one proxy proves who it is: which key, certificate or socket its bootstrap names.

The one rule: a secret stays in the file or environment that it was found in; no argument and no bootstrap holds one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meshwright.errors import UsageError
from meshwright.proxy.bootstrap import Address, Environment, KeyFile, Tls
from meshwright.remote import find_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping


def find(environ: Mapping[str, str], xds: Address, folder: Path) -> KeyFile | Environment | None:
    """What to sign the stream with, found as the other commands find it; None for a Unix socket, which needs nothing.

    `folder` is the data directory of a control plane on this machine, whose administrator's key serves here.

    Raises:
        UsageError: there is no key, or half of one.
        UnreadableError: a file that was named cannot be read.
    """
    if not xds.port:
        return None
    found = find_credentials(environ, f"http://{xds}", folder)
    return KeyFile(str(Path(found.file).absolute()), found.profile) if found.file else Environment()


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
