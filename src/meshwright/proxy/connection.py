"""The way from one Envoy to its control plane: the one static cluster, its signature, its TLS, its back-off.

The one rule: Envoy connects again for ever, and serves what it has meanwhile; nothing here gives up.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from meshwright.ads.identities import AUTHORITY, INSTANCE_HEADER, NODE_HEADER
from meshwright.proxy.settings import Environment, KeyFile
from meshwright.snapshot import names
from meshwright.trust.sigv4 import SIGNING_NAME

if TYPE_CHECKING:
    from meshwright.proxy.settings import Address, Document, Settings, Tls

XDS_CLUSTER = AUTHORITY
"""The one static cluster: the control plane. Envoy signs its name as the host that it speaks to."""

_TYPE = "type.googleapis.com/"
_CLIENT = "xds_client"


def reporting(settings: Settings) -> Document:
    """Envoy's health discovery on a stream of its own: it is told what to check of its application, and reports."""
    return {**ads(settings), "api_type": "GRPC"}


def load_reports(settings: Settings) -> Document:
    """Whom this proxy calls and with what success, counted by Envoy itself, on a stream of its own."""
    return {**ads(settings), "api_type": "GRPC"}


def latencies(settings: Settings) -> Document:
    """How long calls took: the one kind of statistic that leaves, every other one being dropped before.

    Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/stat_sinks/open_telemetry/v3/open_telemetry.proto
    """
    extensions = f"{_TYPE}envoy.extensions."
    drop = {"@type": f"{extensions}stat_sinks.open_telemetry.v3.SinkConfig.DropAction"}
    name = {"@type": f"{extensions}matching.common_inputs.stats.v3.StatFullNameMatchInput"}

    def named(**how: str) -> Document:
        return {"single_predicate": {"input": {"name": "name", "typed_config": name}, "value_match": how}}

    wanted = [named(prefix=f"cluster.{names.EGRESS_CLUSTERS}"), named(suffix=".upstream_rq_time")]
    # Envoy keeps the same times again for callers from outside, and for the release that a canary is.
    copies = [{"not_matcher": named(suffix=f".{one}.upstream_rq_time")} for one in ("external", "internal", "canary")]
    others = {"not_matcher": {"and_matcher": {"predicate": [*wanted, *copies]}}}
    told = {NODE_HEADER: settings.proxy.path}
    if settings.instance:  # else a filter adds it
        told[INSTANCE_HEADER] = settings.instance
    config: Document = {
        "@type": f"{extensions}stat_sinks.open_telemetry.v3.SinkConfig",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": XDS_CLUSTER},
            "initial_metadata": [{"key": name, "value": value} for name, value in told.items()],
        },
        "report_histograms_as_deltas": True,
        "emit_tags_as_attributes": False,
        "use_tag_extracted_name": False,
        "custom_metric_conversions": {
            "matcher_list": {
                "matchers": [{"predicate": others, "on_match": {"action": {"name": "drop", "typed_config": drop}}}]
            }
        },
    }
    return {"name": "envoy.stat_sinks.open_telemetry", "typed_config": config}


def ads(settings: Settings) -> Document:
    """Incremental xDS on one stream; a control plane that was away is found again within the longest back-off."""
    first, longest = settings.back_off
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [
            {
                "envoy_grpc": {
                    "cluster_name": XDS_CLUSTER,
                    "retry_policy": {"retry_back_off": {"base_interval": first, "max_interval": longest}},
                }
            }
        ],
    }


def over_ads(fetch_timeout: str) -> Document:
    """Where listeners and clusters come from."""
    # 0s: wait for the control plane rather than open for business without any configuration.
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": fetch_timeout}


def control_plane(settings: Settings) -> Document:
    """The static cluster of the control plane."""
    xds = settings.xds
    cluster: Document = {
        "name": XDS_CLUSTER,
        "type": "STATIC" if not xds.port or _is_ip(xds.host) else "STRICT_DNS",
        "dns_lookup_family": "ALL",  # a name may have addresses of both families, and answer on one
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": peer(xds)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    # Without pings, a control plane that vanished would be believed alive while it stays silent.
                    "http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "20s"}}
                },
                **_filtered(settings),
            }
        },
    }
    if settings.tls is not None:
        cluster["transport_socket"] = _secured(settings.tls, xds.host)
    return cluster


def _filtered(settings: Settings) -> Document:
    """What is done to each stream as it opens, in this order."""
    filters = [*([] if settings.instance else [_naming()]), *_signing(settings)]
    codec = {"@type": f"{_TYPE}envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"}
    last = {"name": "envoy.filters.http.upstream_codec", "typed_config": codec}
    return {"http_filters": [*filters, last]} if filters else {}


def _naming() -> Document:
    """The filter that tells the host's name as the instance: nowhere else does Envoy fill one in for its own streams.

    Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/header_mutation_filter
    """
    header = {"key": INSTANCE_HEADER, "value": "%HOSTNAME%"}
    config = {
        "@type": f"{_TYPE}envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"request_mutations": [{"append": {"header": header, "append_action": "ADD_IF_ABSENT"}}]},
    }
    return {"name": "envoy.filters.http.header_mutation", "typed_config": config}


def _signing(settings: Settings) -> list[Document]:
    """The filter that signs each stream, with the key that is valid then; none where nothing is signed.

    Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/aws_request_signing_filter
    """
    match settings.credentials:
        case None:
            return []
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
    return [{"name": "envoy.filters.http.aws_request_signing", "typed_config": signing}]


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


def peer(where: Address) -> Document:
    """The address of somebody to connect to, as Envoy takes it."""
    if not where.port:
        return {"pipe": {"path": where.host}}
    return {"socket_address": {"address": where.host, "port_value": where.port}}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
