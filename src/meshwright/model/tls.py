"""TLS of listeners and of clients, the same for virtual nodes and virtual gateways."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from meshwright.model.scalars import FilePath, ListenerTlsMode, PortNumber, Shape, SubjectAlternativeName

CertificateAuthorityArns = Annotated[tuple[str, ...], Meta(min_length=1, max_length=3)]


class ListenerTlsAcmCertificate(Shape, frozen=True, kw_only=True):
    """A private certificate of AWS Certificate Manager."""

    certificate_arn: str


class ListenerTlsFileCertificate(Shape, frozen=True, kw_only=True):
    """A certificate chain and its key, as paths on the proxy's own disk (PEM)."""

    certificate_chain: FilePath
    private_key: FilePath


class ListenerTlsSdsCertificate(Shape, frozen=True, kw_only=True):
    """A certificate fetched by name from the proxy's local SDS server."""

    secret_name: str


class ListenerTlsCertificate(Shape, frozen=True, kw_only=True):
    """Where a listener's certificate comes from: exactly one source."""

    one_of: ClassVar[tuple[str, ...]] = ("acm", "file", "sds")

    acm: ListenerTlsAcmCertificate | None = None
    file: ListenerTlsFileCertificate | None = None
    sds: ListenerTlsSdsCertificate | None = None


class ClientTlsCertificate(Shape, frozen=True, kw_only=True):
    """Where a client's certificate comes from: exactly one source."""

    one_of: ClassVar[tuple[str, ...]] = ("file", "sds")

    file: ListenerTlsFileCertificate | None = None
    sds: ListenerTlsSdsCertificate | None = None


class TlsValidationContextAcmTrust(Shape, frozen=True, kw_only=True):
    """Certificate authorities of AWS Private CA, by ARN."""

    certificate_authority_arns: CertificateAuthorityArns


class TlsValidationContextFileTrust(Shape, frozen=True, kw_only=True):
    """A bundle of certificate authorities, as a path on the proxy's own disk (PEM)."""

    certificate_chain: FilePath


class TlsValidationContextSdsTrust(Shape, frozen=True, kw_only=True):
    """A validation context fetched by name from the proxy's local SDS server."""

    secret_name: str


class TlsValidationContextTrust(Shape, frozen=True, kw_only=True):
    """Whom a client trusts: exactly one source."""

    one_of: ClassVar[tuple[str, ...]] = ("acm", "file", "sds")
    one_of_message: ClassVar[str] = "One type of TLS Validation Context Trust must be set."

    acm: TlsValidationContextAcmTrust | None = None
    file: TlsValidationContextFileTrust | None = None
    sds: TlsValidationContextSdsTrust | None = None


class ListenerTlsValidationContextTrust(Shape, frozen=True, kw_only=True):
    """Whom a listener trusts when it asks for client certificates: exactly one source."""

    one_of: ClassVar[tuple[str, ...]] = ("file", "sds")
    one_of_message: ClassVar[str] = "One type of TLS Validation Context Trust must be set."

    file: TlsValidationContextFileTrust | None = None
    sds: TlsValidationContextSdsTrust | None = None


class SubjectAlternativeNameMatchers(Shape, frozen=True, kw_only=True):
    """Names of which the peer's certificate must carry one."""

    exact: tuple[SubjectAlternativeName, ...]


class SubjectAlternativeNames(Shape, frozen=True, kw_only=True):
    """The check of the peer's subject alternative names."""

    match: SubjectAlternativeNameMatchers


class TlsValidationContext(Shape, frozen=True, kw_only=True):
    """How a client judges the server's certificate."""

    subject_alternative_names: SubjectAlternativeNames | None = None
    trust: TlsValidationContextTrust


class ListenerTlsValidationContext(Shape, frozen=True, kw_only=True):
    """How a listener judges the client's certificate; its presence asks for mutual TLS."""

    subject_alternative_names: SubjectAlternativeNames | None = None
    trust: ListenerTlsValidationContextTrust


class ListenerTls(Shape, frozen=True, kw_only=True):
    """A listener's TLS: STRICT takes TLS only, PERMISSIVE plaintext too, DISABLED plaintext only."""

    certificate: ListenerTlsCertificate
    mode: ListenerTlsMode
    validation: ListenerTlsValidationContext | None = None


class ClientPolicyTls(Shape, frozen=True, kw_only=True):
    """A client's TLS; `enforce` defaults to true and empty `ports` mean every port."""

    certificate: ClientTlsCertificate | None = None
    enforce: bool | None = None
    ports: tuple[PortNumber, ...] | None = None
    validation: TlsValidationContext


class ClientPolicy(Shape, frozen=True, kw_only=True):
    """How a client connects to its backends."""

    tls: ClientPolicyTls | None = None
