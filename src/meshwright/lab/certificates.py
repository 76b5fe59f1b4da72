"""Certificates that a lab makes for the files and secrets that definitions name, by authorities of its own.

The one rule: they are made for one run, are valid for a day, and their keys lie in the lab's private folder alone.
"""

from __future__ import annotations

import datetime as dt
import ipaddress

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


class Issued(msgspec.Struct, frozen=True):
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


class Issuer:
    """A certificate authority."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = named(name)
        built = builder(self._name, self._name, self._key.public_key(), 30 * DAY, DAY)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        built = built.add_extension(usage, critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        built = built.add_extension(identifier, critical=False)
        self.certificate = built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        """The authority's own certificate, in PEM."""

    def issue(self, *names: str, ends: dt.timedelta = DAY, begins: dt.timedelta = -DAY, password: str = "") -> Issued:
        """A certificate for `names`: a URI where there is a colon, an address or a DNS name otherwise.

        It is valid from `begins` to `ends`, seen from now.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        built = builder(named("leaf"), self._name, key.public_key(), ends, -begins)
        built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        public = self._key.public_key()
        built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        if names:
            general = x509.SubjectAlternativeName([general_name(name) for name in names])
            built = built.add_extension(general, critical=False)
        signed = built.sign(self._key, hashes.SHA256())
        return Issued(signed.public_bytes(serialization.Encoding.PEM), pem(key, password))


def pem(key: ec.EllipticCurvePrivateKey, password: str = "") -> bytes:
    """A key in PEM, encrypted where there is a password."""
    how = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    ends: dt.timedelta,
    before: dt.timedelta,
) -> x509.CertificateBuilder:
    """What every certificate begins with; it was valid `before` now, and is until `ends` from now."""
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


def named(text: str) -> x509.Name:
    """A distinguished name of a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def general_name(name: str) -> x509.GeneralName:
    """A URI where there is a colon, an address or a DNS name otherwise."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.UniformResourceIdentifier(name) if ":" in name else x509.DNSName(name)
