"""Transport sockets: listeners' and clients' TLS from files and from the local SDS server.

The one rule: this renders decisions of `routing.security`; what cannot be served never reaches it.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/tls.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.snapshot.names import SDS_CLUSTER
from meshwright.snapshot.values import Wire, extension, is_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.model.tls import (
        ClientTlsCertificate,
        ListenerTls,
        ListenerTlsCertificate,
        ListenerTlsValidationContextTrust,
        TlsValidationContextTrust,
    )
    from meshwright.routing import ClientTls

_TLS = "envoy.extensions.transport_sockets.tls.v3"
_LONGEST_NAME = 255
"""Bytes of a server's name that Envoy takes; names of Cloud Map may be longer."""


def downstream(tls: ListenerTls, protocol: str, *, typed: bool) -> Wire:
    """The transport socket of a listener; a validation asks for the client's certificate.

    The Envoy knows `typed` names in certificates, or only such of any type.
    """
    common = _certificate(tls.certificate) | _alpn(protocol)
    members: Wire = {"common_tls_context": common}
    if tls.validation is not None:
        names = tls.validation.subject_alternative_names
        common |= _validation(tls.validation.trust, names.match.exact if names else (), typed=typed)
        members["require_client_certificate"] = {"value": True}
    return extension("envoy.transport_sockets.tls", f"{_TLS}.DownstreamTlsContext", **members)


def upstream(tls: ClientTls, protocol: str, server: str, *, typed: bool) -> Wire:
    """The transport socket of a client; it asks for `server` (SNI) where that can be a server's name.

    `typed` as for a listener.
    """
    asked = "" if is_address(server) or len(server.encode()) > _LONGEST_NAME else server
    common = (_certificate(tls.certificate) if tls.certificate else {}) | _alpn(protocol)
    if tls.trust is not None:
        common |= _validation(tls.trust, tls.names, typed=typed)
    return extension(
        "envoy.transport_sockets.tls", f"{_TLS}.UpstreamTlsContext", common_tls_context=common, sni=asked
    )


def files(tls: ListenerTls | ClientTls) -> tuple[str, ...]:
    """The paths that a TLS configuration names, for tracing a rejection."""
    trust = tls.trust if not hasattr(tls, "validation") else (tls.validation.trust if tls.validation else None)
    chain = tls.certificate.file if tls.certificate else None
    found = (chain.certificate_chain, chain.private_key) if chain else ()
    return (*found, trust.file.certificate_chain) if trust and trust.file else found


def _certificate(certificate: ListenerTlsCertificate | ClientTlsCertificate) -> Wire:
    if certificate.file is not None:
        chain, key = certificate.file.certificate_chain, certificate.file.private_key
        return {"tls_certificates": [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}]}
    if certificate.sds is not None:
        return {"tls_certificate_sds_secret_configs": [_secret(certificate.sds.secret_name)]}
    raise AssertionError("a certificate that cannot be served must have been refused before")


def _validation(
    trust: ListenerTlsValidationContextTrust | TlsValidationContextTrust, names: Iterable[str], *, typed: bool
) -> Wire:
    matchers = [{"san_type": _san_type(name), "matcher": {"exact": name}} for name in names]
    # An empty list must stay absent: with SDS, Envoy once refused it.
    checks: Wire = {"match_typed_subject_alt_names": matchers} if matchers else {}
    if matchers and not typed:
        checks = {"match_subject_alt_names": [one["matcher"] for one in matchers]}
    if trust.file is not None:
        return {"validation_context": checks | {"trusted_ca": {"filename": trust.file.certificate_chain}}}
    if trust.sds is not None:
        secret = _secret(trust.sds.secret_name)
        return {
            "combined_validation_context": {
                "default_validation_context": checks,
                "validation_context_sds_secret_config": secret,
            }
        }
    raise AssertionError("a trust that cannot be served must have been refused before")


def _san_type(name: str) -> str:
    if "://" in name:
        return "URI"
    return "IP_ADDRESS" if is_address(name) else "DNS"


def _secret(name: str) -> Wire:
    source = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": SDS_CLUSTER}}],
    }
    return {"name": name, "sds_config": {"api_config_source": source, "resource_api_version": "V3"}}


def _alpn(protocol: str) -> Wire:
    match protocol:
        case "http":
            return {"alpn_protocols": ["http/1.1"]}
        case "http2" | "grpc":
            return {"alpn_protocols": ["h2"]}
    return {}
