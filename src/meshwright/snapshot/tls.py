"""Transport sockets: listeners' and clients' TLS from files and from the local SDS server.

The one rule: this renders decisions of `routing.security`; what cannot be served never reaches it.

Envoy reads files once that a listener or cluster names, and follows those that a secret names. But a secret that
cannot be read does not keep a listener from taking effect. So files are named twice: by secrets, which are used, and
by a transport socket that nothing uses, for which Envoy reads them before it takes the rest, or keeps what it had.
Sources: https://docs.aws.amazon.com/app-mesh/latest/userguide/tls.html
and https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret#sds-configuration
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.snapshot import names as known_as
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import Clue
from meshwright.snapshot.values import Wire, extension, is_address, source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.model.identity import Key
    from meshwright.model.tls import (
        ClientTlsCertificate,
        ListenerTls,
        ListenerTlsCertificate,
        ListenerTlsValidationContextTrust,
        TlsValidationContextTrust,
    )
    from meshwright.routing import ClientTls
    from meshwright.snapshot.assembly import Assembly
    from meshwright.snapshot.resources import Separate

_TLS = "envoy.extensions.transport_sockets.tls.v3"
_LONGEST_NAME = 255
"""Bytes of a server's name that Envoy takes; names of Cloud Map may be longer."""


def downstream(tls: ListenerTls, protocol: str, separate: Separate | None, *, typed: bool) -> Wire:
    """The transport socket of a listener; a validation asks for the client's certificate.

    Secrets of files come as other types do: over the same stream, or `separate`. The Envoy knows `typed` names in
    certificates, or only such of any type.
    """
    common = _certificate(tls.certificate, separate) | _alpn(protocol)
    members: Wire = {"common_tls_context": common}
    if tls.validation is not None:
        names = tls.validation.subject_alternative_names
        exact = names.match.exact if names else ()
        common |= _validation(tls.validation.trust, exact, separate, typed=typed)
        members["require_client_certificate"] = {"value": True}
    return extension("envoy.transport_sockets.tls", f"{_TLS}.DownstreamTlsContext", **members)


def upstream(tls: ClientTls, protocol: str, server: str, separate: Separate | None, *, typed: bool) -> Wire:
    """The transport socket of a client; it asks for `server` (SNI) where that can be a server's name.

    `separate` and `typed` as for a listener.
    """
    asked = "" if is_address(server) or len(server.encode()) > _LONGEST_NAME else server
    common = (_certificate(tls.certificate, separate) if tls.certificate else {}) | _alpn(protocol)
    if tls.trust is not None:
        common |= _validation(tls.trust, tls.names, separate, typed=typed)
    return extension(
        "envoy.transport_sockets.tls", f"{_TLS}.UpstreamTlsContext", common_tls_context=common, sni=asked
    )


def reading(tls: ListenerTls | ClientTls, separate: Separate | None) -> Wire | None:
    """A transport socket that nothing uses, for which Envoy reads all files of `tls`; None where there are none."""
    own, trusted = _own(tls), _trusted(tls)
    if own is None and trusted is None:
        return None
    common: Wire = {"tls_certificates": [_pair(*own)]} if own else {}
    if own is None and tls.certificate is not None:
        common = _certificate(tls.certificate, separate)  # no server is without
    if trusted is not None:
        common |= {"validation_context": {"trusted_ca": {"filename": trusted}}}
    side = "Downstream" if hasattr(tls, "mode") else "Upstream"
    return extension("envoy.transport_sockets.tls", f"{_TLS}.{side}TlsContext", common_tls_context=common)


def add_secrets(assembly: Assembly, tls: ListenerTls | ClientTls | None) -> list[Clue]:
    """Add the secrets of the files that `tls`, of the proxy itself, names; the paths as `clues` gives them."""
    found = []
    for name, member, value, paths in _secrets(tls) if tls is not None else ():
        made = message(f"{_TLS}.Secret")(name=name, **{member: value})
        found.append([Clue(path, assembly.proxy) for path in paths])
        assembly.add(made, (assembly.proxy,), found[-1])
    return [clue for several in found for clue in several]


def clues(tls: ListenerTls | ClientTls | None, origin: Key) -> list[Clue]:
    """The paths that the TLS of `origin` names, for tracing a rejection."""
    return [Clue(path, origin) for _, _, _, paths in (_secrets(tls) if tls is not None else ()) for path in paths]


def _secrets(tls: ListenerTls | ClientTls) -> Iterator[tuple[str, str, Wire, tuple[str, ...]]]:
    """Name, member, value and paths of each secret."""
    if (own := _own(tls)) is not None:
        yield known_as.certificate(*own), "tls_certificate", _pair(*own), own
    if (trusted := _trusted(tls)) is not None:
        value: Wire = {"trusted_ca": {"filename": trusted}}
        yield known_as.authority(trusted), "validation_context", value, (trusted,)


def _own(tls: ListenerTls | ClientTls) -> tuple[str, str] | None:
    """The files of the chain and of its key that are shown."""
    file = tls.certificate.file if tls.certificate else None
    return (file.certificate_chain, file.private_key) if file else None


def _trusted(tls: ListenerTls | ClientTls) -> str | None:
    """The file of those who are trusted."""
    trust = tls.trust if not hasattr(tls, "validation") else (tls.validation.trust if tls.validation else None)
    return trust.file.certificate_chain if trust and trust.file else None


def _pair(chain: str, key: str) -> Wire:
    return {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}


def _certificate(certificate: ListenerTlsCertificate | ClientTlsCertificate, separate: Separate | None) -> Wire:
    if certificate.file is not None:
        name = known_as.certificate(certificate.file.certificate_chain, certificate.file.private_key)
        return {"tls_certificate_sds_secret_configs": [{"name": name, "sds_config": source(separate)}]}
    if certificate.sds is not None:
        return {"tls_certificate_sds_secret_configs": [_secret(certificate.sds.secret_name)]}
    raise AssertionError("a certificate that cannot be served must have been refused before")


def _validation(
    trust: ListenerTlsValidationContextTrust | TlsValidationContextTrust,
    names: Iterable[str],
    separate: Separate | None,
    *,
    typed: bool,
) -> Wire:
    matchers = [{"san_type": _san_type(name), "matcher": {"exact": name}} for name in names]
    # An empty list must stay absent: with SDS, Envoy once refused it.
    checks: Wire = {"match_typed_subject_alt_names": matchers} if matchers else {}
    if matchers and not typed:
        checks = {"match_subject_alt_names": [one["matcher"] for one in matchers]}
    if trust.file is not None:
        secret: Wire = {"name": known_as.authority(trust.file.certificate_chain), "sds_config": source(separate)}
    elif trust.sds is not None:
        secret = _secret(trust.sds.secret_name)
    else:
        raise AssertionError("a trust that cannot be served must have been refused before")
    return {
        "combined_validation_context": {
            "default_validation_context": checks,
            "validation_context_sds_secret_config": secret,
        }
    }


def _san_type(name: str) -> str:
    if "://" in name:
        return "URI"
    return "IP_ADDRESS" if is_address(name) else "DNS"


def _secret(name: str) -> Wire:
    source = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": known_as.SDS_CLUSTER}}],
    }
    return {"name": name, "sds_config": {"api_config_source": source, "resource_api_version": "V3"}}


def _alpn(protocol: str) -> Wire:
    match protocol:
        case "http":
            return {"alpn_protocols": ["http/1.1"]}
        case "http2" | "grpc":
            return {"alpn_protocols": ["h2"]}
    return {}
