"""What the variables of App Mesh's Envoy image add to a bootstrap: statistics, traces, resources, an SDS server.

The one rule: what is added says how to watch this Envoy or what it has beside the mesh, and changes nothing that the
control plane decides.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/envoy-config.html
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from meshwright.errors import UnreadableError, UsageError
from meshwright.model.identity import Kind
from meshwright.proxy.connection import peer
from meshwright.proxy.image import choice, first, number, switched
from meshwright.proxy.settings import Address, Document, Extras
from meshwright.snapshot.names import SDS_CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.model.identity import Key

_TYPE = "type.googleapis.com/"
_HERE = "127.0.0.1"
_LISTS = {"clusters", "listeners", "secrets"}
_MEMBERS = {"static_resources", "stats_config", "stats_sinks", "stats_flush_interval", "tracing"}


def extras(environ: Mapping[str, str], proxy: Key) -> Extras:
    """What `environ` adds to the bootstrap of `proxy`.

    Raises:
        UsageError: a variable or a file holds what it cannot.
        UnreadableError: a file cannot be read.
    """
    files = [_fragment(environ[name], name) for name in _FILES if environ.get(name)]
    known = {member: one[member] for one in files for member in _MEMBERS - {"static_resources"} if member in one}
    sinks = known.pop("stats_sinks", None)
    traced, collectors = _tracing(environ, proxy)
    added = [one.get("static_resources") or {} for one in files]
    members: Document = {**known}
    if traced:
        members.setdefault("tracing", traced)
    if switched(environ, "ENABLE_ENVOY_STATS_TAGS"):
        members["stats_config"] = _tagged(members.get("stats_config") or {}, proxy)
    if interval := environ.get("ENVOY_STATS_FLUSH_INTERVAL"):
        members["stats_flush_interval"] = _seconds("ENVOY_STATS_FLUSH_INTERVAL", interval)
    most = number(environ, "MAX_REQUESTS_PER_IO_CYCLE", 1, 2**31)
    return Extras(
        admin_log=environ.get("ENVOY_ADMIN_ACCESS_LOG_FILE", ""),
        fetch_timeout=f"{number(environ, 'ENVOY_INITIAL_FETCH_TIMEOUT', 0, 86_400) or 0}s",
        runtime={"http.max_requests_per_io_cycle": most} if most else {},
        clusters=(*_sds(environ), *collectors, *(it for one in added for it in one.get("clusters") or ())),
        listeners=tuple(it for one in added for it in one.get("listeners") or ()),
        secrets=tuple(it for one in added for it in one.get("secrets") or ()),
        sinks=tuple(sinks) if sinks is not None else tuple(_statsd(environ)),
        members=members,
    )


_FILES = (
    "ENVOY_RESOURCES_CONFIG_FILE",
    "ENVOY_STATS_CONFIG_FILE",
    "ENVOY_STATS_SINKS_CFG_FILE",
    "ENVOY_TRACING_CFG_FILE",
)


def document(path: str, said_by: str) -> Document:
    """The object in a file of YAML or JSON, which `said_by` names.

    Raises:
        UnreadableError: there is none.
    """
    try:
        found = yaml.load(Path(path).read_bytes(), Loader=yaml.CSafeLoader)
    except (OSError, yaml.YAMLError) as error:
        raise UnreadableError(f"{said_by}={path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise UnreadableError(f"{said_by}={path} holds no object, but {type(found).__name__}.")
    return found


def _fragment(path: str, variable: str) -> Document:
    found = document(path, variable)
    static = found.get("static_resources") or {}
    wrong = sorted(set(found) - _MEMBERS) or sorted(set(static) - _LISTS if isinstance(static, dict) else ["it"])
    if wrong:
        raise UsageError(
            f"{variable}={path} has {wrong[0]!r}, which is not added to our bootstrap; it takes "
            f"{', '.join(sorted(_MEMBERS))}, with {', '.join(sorted(_LISTS))} in the first. For a bootstrap of your "
            "own use ENVOY_CONFIG_FILE."
        )
    return found


def _seconds(name: str, text: str) -> str:
    """A duration as Envoy's JSON takes it, from `5000ms` or `5s`."""
    match = re.fullmatch(r"([0-9]{1,9})(ms|s)", text)
    if match is None:
        raise UsageError(f"{name} is {text!r}; it takes a duration such as 5000ms or 5s.")
    return text if match[2] == "s" else f"{int(match[1]) / 1000:.3f}s"


def _tagged(config: Document, proxy: Key) -> Document:
    kind = "virtual_gateway" if proxy.kind is Kind.VIRTUAL_GATEWAY else "virtual_node"
    tags = [
        {"tag_name": "appmesh.mesh", "fixed_value": proxy.mesh_name},
        {"tag_name": f"appmesh.{kind}", "fixed_value": proxy.name},
    ]
    return {**config, "stats_tags": [*(config.get("stats_tags") or ()), *tags]}


def _statsd(environ: Mapping[str, str]) -> Iterator[Document]:
    if not switched(environ, "ENABLE_ENVOY_DOG_STATSD"):
        return
    path, host = environ.get("STATSD_SOCKET_PATH"), environ.get("STATSD_ADDRESS") or _HERE
    where = peer(Address(path or host, 0 if path else number(environ, "STATSD_PORT", 1, 65_535) or 8125))
    if not path:
        where["socket_address"]["protocol"] = "UDP"
    config = {"@type": f"{_TYPE}envoy.config.metrics.v3.DogStatsdSink", "address": where}
    yield {"name": "envoy.stat_sinks.dog_statsd", "typed_config": config}


def sds_cluster(socket: str) -> Document:
    """The cluster of a local SDS server that listens on the Unix socket `socket`."""
    return _cluster(SDS_CLUSTER, Address(socket), http2=True)


def _sds(environ: Mapping[str, str]) -> Iterator[Document]:
    path = environ.get("APPMESH_SDS_SOCKET_PATH")
    if path:
        yield sds_cluster(path)


def _tracing(environ: Mapping[str, str], proxy: Key) -> tuple[Document, list[Document]]:
    """The tracer that a variable turns on, and the cluster that it needs."""
    makers = {
        "ENABLE_ENVOY_XRAY_TRACING": _xray,
        "ENABLE_ENVOY_DATADOG_TRACING": _datadog,
        "ENABLE_ENVOY_JAEGER_TRACING": _jaeger,
    }
    asked = [name for name in makers if switched(environ, name)]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} are set; Envoy traces to one provider. Leave one of them.")
    for name in asked:
        tracer, kind, config, collectors = makers[name](environ, proxy)
        typed = {"@type": f"{_TYPE}envoy.config.trace.v3.{kind}", **config}
        return {"http": {"name": f"envoy.tracers.{tracer}", "typed_config": typed}}, collectors
    return {}, []


def _xray(environ: Mapping[str, str], proxy: Key) -> tuple[str, str, Document, list[Document]]:
    told = environ.get("AWS_XRAY_DAEMON_ADDRESS", "")
    found = re.fullmatch(r"(?:.*\budp:)?([^\s]+):([0-9]+)(?:\s.*)?", told) if told else None
    if told and found is None:
        raise UsageError(f"AWS_XRAY_DAEMON_ADDRESS is {told!r}; it takes HOST:PORT or tcp:HOST:PORT udp:HOST:PORT.")
    host, port = found.groups() if found else (_HERE, str(number(environ, "XRAY_DAEMON_PORT", 1, 65_535) or 2000))
    rules = environ.get("XRAY_SAMPLING_RULE_MANIFEST")
    manifest = {"filename": rules} if rules else {"inline_string": _sampling(environ)}
    return "xray", "XRayConfig", {
        "daemon_endpoint": {"protocol": "UDP", "address": host, "port_value": int(port)},
        "segment_name": environ.get("XRAY_SEGMENT_NAME") or f"{proxy.mesh_name}/{proxy.name}",
        "sampling_rule_manifest": manifest,
    }, []  # fmt: skip


def _sampling(environ: Mapping[str, str]) -> str:
    text = environ.get("XRAY_SAMPLING_RATE") or "0.05"
    if not re.fullmatch(r"[01](\.[0-9]{1,6})?|\.[0-9]{1,6}", text) or float(text) > 1:
        raise UsageError(f"XRAY_SAMPLING_RATE is {text!r}; it takes a number from 0 to 1.")
    return json.dumps({"version": 2, "default": {"fixed_target": 1, "rate": float(text)}})


def _datadog(environ: Mapping[str, str], proxy: Key) -> tuple[str, str, Document, list[Document]]:
    name = "datadog_agent"
    service = environ.get("DD_SERVICE") or f"envoy-{proxy.mesh_name}/{proxy.name}"
    where = _collector(environ, "DATADOG_TRACER", 8126)
    return "datadog", "DatadogConfig", {"collector_cluster": name, "service_name": service}, [_cluster(name, where)]


def _jaeger(environ: Mapping[str, str], proxy: Key) -> tuple[str, str, Document, list[Document]]:
    del proxy
    form = choice(environ, "JAEGER_TRACER_VERSION", ("proto", "json")) or "proto"
    return "zipkin", "ZipkinConfig", {
        "collector_cluster": "jaeger",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": f"HTTP_{form.upper()}",
        "shared_span_context": False,
    }, [_cluster("jaeger", _collector(environ, "JAEGER_TRACER", 9411))]  # fmt: skip


def _collector(environ: Mapping[str, str], prefix: str, port: int) -> Address:
    return Address(first(environ, f"{prefix}_ADDRESS") or _HERE, number(environ, f"{prefix}_PORT", 1, 65_535) or port)


def _cluster(name: str, where: Address, *, http2: bool = False) -> Document:
    options: dict[str, Any] = {}
    if http2:
        kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        explicit: Document = {"explicit_http_config": {"http2_protocol_options": {}}}
        options = {"typed_extension_protocol_options": {kind: {"@type": _TYPE + kind, **explicit}}}
    return {
        "name": name,
        "type": "STATIC" if not where.port else "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": peer(where)}}]}],
        },
        **options,
    }
