"""Certificates for tests: an authority of our own, and what it issues, good and bad."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshwright.certificates import TlsFiles
from meshwright.lab import certificates

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from strategies import Wire

DAY = certificates.DAY


class Issued(certificates.Issued, frozen=True):
    """A certificate and its key, in PEM, which can be written to files."""

    def write(self, folder: Path, name: str) -> TlsFiles:
        """Both as files, replaced the way that tools do it: whole."""
        files = TlsFiles(certificate=folder / f"{name}.pem", key=folder / f"{name}-key.pem")
        for path, text in ((files.key, self.key), (files.certificate, self.certificate)):
            draft = path.with_suffix(".new")
            draft.touch(mode=0o600)
            draft.write_bytes(text)
            draft.rename(path)
        return files


class Issuer:
    """A certificate authority."""

    def __init__(self, name: str = "test authority") -> None:
        self._authority = certificates.Issuer(name)
        self.certificate = self._authority.certificate

    def file(self, folder: Path) -> Path:
        """The authority's certificate as a file."""
        path = folder / "ca.pem"
        path.write_bytes(self.certificate)
        return path

    def issue(self, *names: str, ends: dt.timedelta = DAY, begins: dt.timedelta = -DAY, password: str = "") -> Issued:
        """A certificate for `names`: a URI where there is a colon, an address or a DNS name otherwise."""
        made = self._authority.issue(*names, ends=ends, begins=begins, password=password)
        return Issued(made.certificate, made.key)

    def server(self, ends: dt.timedelta = DAY) -> Issued:
        """A certificate of this machine."""
        return self.issue("localhost", "127.0.0.1", ends=ends)


class Authority:
    """An authority and what it issued, as files: to `server.local`, and to clients whose names are let in or not."""

    def __init__(self, folder: Path) -> None:
        self.issuer = Issuer()
        self.trusted = self.issuer.file(folder)
        self.server = self.issuer.issue("server.local").write(folder, "server")
        self.friend = self.issuer.issue("friend.local").write(folder, "friend")
        self.stranger = Issuer("another authority").issue("friend.local").write(folder, "stranger")
        self.other = self.issuer.issue("other.local").write(folder, "other")

    def tls(self, mode: str, names: list[str] | None = None, *, mutual: bool = False) -> Wire:
        """A listener's TLS; None leaves the names out, an empty list is one."""
        file = {"certificateChain": str(self.server.certificate), "privateKey": str(self.server.key)}
        trust = {"file": {"certificateChain": str(self.trusted)}}
        checked = {} if names is None else {"subjectAlternativeNames": {"match": {"exact": names}}}
        validation = {"validation": {"trust": trust, **checked}} if mutual else {}
        return {"tls": {"mode": mode, "certificate": {"file": file}, **validation}}

    def context(self, shown: TlsFiles | None = None) -> ssl.SSLContext:
        """How a client of the server speaks TLS, with a certificate of its own or none."""
        found = ssl.create_default_context(cafile=str(self.trusted))
        if shown is not None:
            found.load_cert_chain(shown.certificate, shown.key)
        return found


def self_signed(*names: str) -> Issued:
    """A certificate for `names` that vouches for itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), certificates.named("throwaway")
    built = certificates.builder(name, name, key.public_key(), DAY, DAY)
    general = x509.SubjectAlternativeName([certificates.general_name(one) for one in names])
    built = built.add_extension(general, critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = built.sign(key, hashes.SHA256())
    return Issued(signed.public_bytes(serialization.Encoding.PEM), certificates.pem(key))
