"""Certificates for tests: an authority of our own, and what it issues, good and bad."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshwright.certificates import TlsFiles

if TYPE_CHECKING:
    from pathlib import Path

    from strategies import Wire

DAY = dt.timedelta(days=1)


class Issued(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

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
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        built = _builder(self._name, self._name, self._key.public_key(), 30 * DAY, DAY)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        built = built.add_extension(usage, critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        built = built.add_extension(identifier, critical=False)
        self.certificate = built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def file(self, folder: Path) -> Path:
        """The authority's certificate as a file."""
        path = folder / "ca.pem"
        path.write_bytes(self.certificate)
        return path

    def issue(self, *names: str, ends: dt.timedelta = DAY, begins: dt.timedelta = -DAY, password: str = "") -> Issued:
        """A certificate for `names`: a URI where there is a colon, an address or a DNS name otherwise."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(_named("leaf"), self._name, key.public_key(), ends, -begins)
        built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        public = self._key.public_key()
        built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        if names:
            built = built.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
            )
        signed = built.sign(self._key, hashes.SHA256())
        return Issued(signed.public_bytes(serialization.Encoding.PEM), _pem(key, password))

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
    key, name = ec.generate_private_key(ec.SECP256R1()), _named("throwaway")
    built = _builder(name, name, key.public_key(), DAY, DAY)
    built = built.add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Issued(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key))


def _pem(key: ec.EllipticCurvePrivateKey, password: str = "") -> bytes:
    how = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    ends: dt.timedelta,
    before: dt.timedelta,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - before)
        .not_valid_after(now + ends)
    )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.UniformResourceIdentifier(name) if ":" in name else x509.DNSName(name)
