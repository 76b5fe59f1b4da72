"""The bootstrap of one Envoy, as a JSON document: who it is, where its control plane is, how it resolves names.

Pure: the same settings always give the same document, and everything about traffic comes over xDS, never from here.
It names the files in which secrets lie, and holds none.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/bootstrap
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.ads.identities import AUTHORITY
from meshwright.errors import UsageError
from meshwright.model.identity import DEFAULT_REGION, Key, Kind, parse_key
from meshwright.routing.expressions import PROGRAM_SIZE
from meshwright.snapshot.resources import Loopback, Placement, Redirect
from meshwright.trust.sigv4 import SIGNING_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

Document: TypeAlias = "dict[str, Any]"

XDS_CLUSTER = AUTHORITY
"""The one static cluster: the control plane. Envoy signs its name as the host that it speaks to."""

_TYPE = "type.googleapis.com/"
_CLIENT = "xds_client"
_CONNECTIONS = 50_000
"""Envoy's own advice for a proxy that faces others: without a limit, a flood of connections ends in no memory.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge
"""


class Address(msgspec.Struct, frozen=True):
    """A host and port, or a Unix socket when `port` is 0 and `host` is an absolute path."""

    host: str
    port: int = 0

    def __str__(self) -> str:
        if not self.port:
            return f"unix://{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class KeyFile(msgspec.Struct, frozen=True):
    """An access key in the AWS shared credentials format, which is read again when its folder changes."""

    path: str
    """Absolute."""
    profile: str = "default"


class Environment(msgspec.Struct, frozen=True):
    """An access key in Envoy's own `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How to know the control plane, and how to be known to it."""

    authorities: str
    """The file of certificates in PEM that issue the control plane's."""
    certificate: str = ""
    """The file of this proxy's own certificate chain; "" for none."""
    key: str = ""
    secret: str = ""
    """The file that `secret` made for Envoy to follow certificate and key by; "" has it read them once."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one Envoy's bootstrap is made from."""

    proxy: Key
    """A virtual node or a virtual gateway."""
    instance: str
    """Tells the proxies of one node apart: a host or task name."""
    xds: Address
    admin: Address
    """Where the administration interface listens: a loopback address or Unix socket, as it asks for no password."""
    placement: Placement = Redirect()
    resolver: Address | None = None
    """The DNS server of every cluster; None for the machine's own resolver."""
    credentials: KeyFile | Environment | None = None
    """What the stream is signed with; None where a certificate or the socket says who this is."""
    region: str = DEFAULT_REGION
    """The region that the control plane expects signatures for."""
    tls: Tls | None = None
    """None for plain HTTP/2, as through a Unix socket."""


def address(text: str) -> Address:
    """The address that `HOST:PORT`, `[IPV6]:PORT` or `unix:///PATH` means.

    Raises:
        UsageError: `text` is none of them.
    """
    if text.startswith("unix:///"):
        return Address(text.removeprefix("unix://"))
    host, separator, port = text.rpartition(":")
    if separator and host and port.isdecimal() and 0 < int(port) < 65_536:
        return Address(host.removeprefix("[").removesuffix("]"), int(port))
    raise UsageError(f"{text!r} is no address; write HOST:PORT, such as 127.0.0.1:18000, or unix:///PATH")


def proxy_key(text: str) -> Key:
    """The virtual node or gateway that an ARN or path names; an ARN's mesh is written NAME@OWNER.

    Raises:
        UsageError: it names something else, or nothing.
    """
    try:
        # Whose account the control plane's is, only it knows: the owner is said, and left out by it where it may be.
        key = parse_key(text, "unknown")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if key.kind not in {Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY}:
        raise UsageError(f"{text!r} is a {key.kind}; only a virtualNode or a virtualGateway has a proxy")
    return key


def bootstrap(settings: Settings) -> Document:
    """The bootstrap as Envoy's `-c FILE.json` takes it."""
    document: Document = {
        "node": {
            "id": settings.proxy.path,
            "cluster": settings.proxy.path,
            "metadata": _metadata(settings),
        },
        "admin": {"address": _socket(settings.admin)},
        "dynamic_resources": {
            "ads_config": _ads(),
            "lds_config": _over_ads(),
            "cds_config": _over_ads(),
        },
        "static_resources": {"clusters": [_control_plane(settings)]},
        "layered_runtime": _runtime(),
        "overload_manager": _limits(),
    }
    if settings.resolver is not None:
        document["typed_dns_resolver_config"] = _resolver(settings.resolver)
    return document


def _metadata(settings: Settings) -> Document:
    """What the control plane reads of a proxy: its instance, and its addresses where they are not the usual ones."""
    told: Document = {"instance": settings.instance}
    if isinstance(settings.placement, Loopback):
        told["placement"] = {
            "application": settings.placement.application,
            "ingress": settings.placement.ingress,
            "egress": settings.placement.egress,
        }
    return {"meshwright": told}


def _socket(where: Address) -> Document:
    if not where.port:
        return {"pipe": {"path": where.host, "mode": 0o600}}
    return {"socket_address": {"address": where.host, "port_value": where.port}}


def _ads() -> Document:
    """Incremental xDS on one stream; a control plane that was away is found again within five seconds."""
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [
            {
                "envoy_grpc": {
                    "cluster_name": XDS_CLUSTER,
                    "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "5s"}},
                }
            }
        ],
    }


def _over_ads() -> Document:
    # 0s: wait for the control plane rather than open for business without any configuration.
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _control_plane(settings: Settings) -> Document:
    xds = settings.xds
    cluster: Document = {
        "name": XDS_CLUSTER,
        "type": "STATIC" if not xds.port or _is_ip(xds.host) else "STRICT_DNS",
        "dns_lookup_family": "ALL",  # a name may have addresses of both families, and answer on one
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket_of_peer(xds)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    # Without pings, a control plane that vanished would be believed alive while it stays silent.
                    "http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "20s"}}
                },
                **_signed(settings),
            }
        },
    }
    if settings.tls is not None:
        cluster["transport_socket"] = _secured(settings.tls, xds.host)
    return cluster


def _signed(settings: Settings) -> Document:
    """The filter that signs each stream as it opens, with the key that is valid then.

    Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/aws_request_signing_filter
    """
    match settings.credentials:
        case None:
            return {}
        case KeyFile(path, profile):
            source = {"filename": path, "watched_directory": {"path": path.rpartition("/")[0] or "/"}}
            provider: Document = {
                "credentials_file_provider": {"credentials_data_source": source, "profile": profile}
            }
        case Environment():
            provider = {"environment_credential_provider": {}}
    signing = {
        "@type": f"{_TYPE}envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning",
        "service_name": SIGNING_NAME,
        "region": settings.region,
        "use_unsigned_payload": True,  # the stream's body is not there yet when it opens
        # Envoy's own chain would ask the network for other keys.
        "credential_provider": {"custom_credential_provider_chain": True, **provider},
    }
    codec = {"@type": f"{_TYPE}envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"}
    return {
        "http_filters": [
            {"name": "envoy.filters.http.aws_request_signing", "typed_config": signing},
            {"name": "envoy.filters.http.upstream_codec", "typed_config": codec},
        ]
    }


def _secured(tls: Tls, host: str) -> Document:
    """TLS to the control plane, whose certificate must be for `host`."""
    kind = "IP_ADDRESS" if _is_ip(host) else "DNS"
    common: Document = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "validation_context": {
            "trusted_ca": {"filename": tls.authorities},
            "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": host}}],
        },
    }
    if tls.secret:
        source = {"path_config_source": {"path": tls.secret}, "resource_api_version": "V3"}
        common["tls_certificate_sds_secret_configs"] = [{"name": _CLIENT, "sds_config": source}]
    elif tls.certificate:
        common["tls_certificates"] = [_pair(tls)]
    context: Document = {
        "@type": f"{_TYPE}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
    }
    if kind == "DNS":
        context["sni"] = host
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def secret(tls: Tls) -> Document:
    """What Envoy follows a certificate and its key by: the file names them, and holds nothing of them.

    Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
    """
    folder = tls.certificate.rpartition("/")[0] or "/"
    kind = f"{_TYPE}envoy.extensions.transport_sockets.tls.v3.Secret"
    followed = {**_pair(tls), "watched_directory": {"path": folder}}
    return {"resources": [{"@type": kind, "name": _CLIENT, "tls_certificate": followed}]}


def _pair(tls: Tls) -> Document:
    return {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.key}}


def _socket_of_peer(where: Address) -> Document:
    return _socket(where) if where.port else {"pipe": {"path": where.host}}


def _runtime() -> Document:
    """App Mesh's proxies took regular expressions of up to 1,000 instructions, where Envoy alone stops at 100."""
    return {
        "layers": [
            {"name": "meshwright", "static_layer": {"re2.max_program_size.error_level": PROGRAM_SIZE}},
            {"name": "admin", "admin_layer": {}},
        ]
    }


def _limits() -> Document:
    name = "envoy.resource_monitors.global_downstream_max_connections"
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {"@type": _TYPE + kind, "max_active_downstream_connections": _CONNECTIONS}
    return {"resource_monitors": [{"name": name, "typed_config": config}]}


def _resolver(server: Address) -> Document:
    kind = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    config: Mapping[str, Any] = {
        "@type": _TYPE + kind,
        "resolvers": [_socket(server)],
        "dns_resolver_options": {"no_default_search_domain": True},
    }
    return {"name": "envoy.network.dns_resolver.cares", "typed_config": config}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
