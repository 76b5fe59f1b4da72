"""What a proxy reports by OpenTelemetry: spans of requests, and a log record for each request and connection.

The one rule: who is told is a matter of listeners, how often and with which attributes one of routes. A change of
listeners makes an Envoy drain connections, a change of routes does not, so sampling is changed under load.
Sources: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/trace/v3/opentelemetry.proto
and https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/access_loggers/open_telemetry/v3/logs_service.proto
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from meshwright import routing
from meshwright.model.identity import Key, Kind
from meshwright.snapshot import clusters, names
from meshwright.snapshot.extensions.additions import Additions
from meshwright.snapshot.values import Wire, extension

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshwright.model.extensions import TelemetrySpec
    from meshwright.model.extensions.proxies import AccessLogExport, TelemetryAttribute, TracingExport
    from meshwright.routing import Place
    from meshwright.snapshot.assembly import Assembly

RELEASE_VARIABLE = "MESHWRIGHT_RELEASE"
"""The variable in which a proxy's environment may say which release it was deployed with."""
_TRACER = "envoy.config.trace.v3.OpenTelemetryConfig"
_LOGGER = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
_FIRST = (1, 25)
"""Envoys that are older may not know the tracer, and would refuse every listener."""
_ALL_COMMANDS = (1, 31)
"""Envoys that are older may not know a command of `_CONNECTED`, and would refuse every listener too."""
_WHOLE = 10_000
"""Envoy samples by a number of the request's id below this, so two decimals of a percentage count."""
_REQUEST = "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %RESPONSE_CODE% %DURATION%"
_CONNECTION = "%UPSTREAM_CLUSTER% %DURATION%"
"""The body of a log record; of times, milliseconds."""
_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "client.address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "duration_ms": "%DURATION%",
        "received_bytes": "%BYTES_RECEIVED%",
        "response_flags": "%RESPONSE_FLAGS%",
        "sent_bytes": "%BYTES_SENT%",
        "upstream.address": "%UPSTREAM_HOST%",
        "upstream.cluster": "%UPSTREAM_CLUSTER%",
    }
)
_HTTP_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "http.request.method": "%REQ(:METHOD)%",
        "http.response.status_code": "%RESPONSE_CODE%",
        "meshwright.route": "%ROUTE_NAME%",
        "network.protocol.name": "%PROTOCOL%",
        "request.id": "%REQ(X-REQUEST-ID)%",
        "server.address": "%REQ(:AUTHORITY)%",
        "url.path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    }
)
"""Attributes of log records, after OpenTelemetry's conventions where there is one, and what Envoy writes there."""
_CONNECTED: Mapping[str, str] = MappingProxyType(
    {
        "client.port": "%DOWNSTREAM_REMOTE_PORT%",
        "client.tls.names": "%DOWNSTREAM_PEER_URI_SAN%,%DOWNSTREAM_PEER_DNS_SAN%",
        "client.tls.version": "%DOWNSTREAM_TLS_VERSION%",
        "upstream.failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "upstream.local_port": "%UPSTREAM_LOCAL_PORT%",
        "upstream.tls.names": "%UPSTREAM_PEER_URI_SAN%,%UPSTREAM_PEER_DNS_SAN%",
        "upstream.tls.version": "%UPSTREAM_TLS_VERSION%",
    }
)
"""Of the connections at both ends: how they are encrypted, by whom, and why there is none."""
_ROUTES: Mapping[Kind, str] = MappingProxyType({Kind.ROUTE: "route", Kind.GATEWAY_ROUTE: "gateway_route"})


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the listeners of one proxy tell, and to whom."""

    http: tuple[Wire, ...]
    """Access logs of requests."""
    connections: tuple[Wire, ...]
    """Access logs of connections that carry no HTTP."""
    tracing: Wire
    """The `tracing` of an HTTP connection manager."""
    origins: tuple[Key, ...]
    """The extension that says so; none without one."""


def told(assembly: Assembly, logs: Sequence[Wire]) -> Told:
    """What the proxy's listeners tell, `logs` that the definitions ask for included."""
    found = _holding(assembly)
    if found is None:
        return Told(http=tuple(logs), connections=tuple(logs), tracing={}, origins=())
    origin, spec = found
    name = (spec.tracing.service_name if spec.tracing else None) or assembly.proxy.name
    export, once = spec.access_log, assembly.graph.memo.once  # for all of the proxy's listeners and ports
    more = assembly.traits.since(*_ALL_COMMANDS)
    http, connections = (
        () if export is None else (once(_log, assembly.proxy, name, export, http=http, connected=more),)
        for http in (True, False)
    )
    return Told(
        http=(*logs, *http),
        connections=(*logs, *connections),
        tracing={} if spec.tracing is None else once(_tracing, assembly.proxy, name, spec.tracing),
        origins=(origin,),
    )


def traced(assembly: Assembly, **about: str) -> Additions:
    """What tracing adds to a route that is `about` a virtual service and a route, by their names."""
    found = _holding(assembly)
    export = found[1].tracing if found else None
    if found is None or export is None:
        return Additions()
    percentage = 100.0 if export.sampling_percentage is None else export.sampling_percentage
    share = max(round(percentage * _WHOLE / 100), 1 if percentage else 0)
    known = _who(assembly.proxy) | {f"meshwright.{name}": value for name, value in about.items()}
    literals = {name: value for name, value in (known | _texts(export.attributes)).items() if value}
    tags: list[Wire] = [{"tag": name, "literal": {"value": value}} for name, value in sorted(literals.items())]
    release = {"tag": "meshwright.release", "environment": {"name": RELEASE_VARIABLE}}
    sampling: Wire = {
        "random_sampling": {"numerator": share, "denominator": "TEN_THOUSAND"},
        "client_sampling": {"numerator": 0},
        "custom_tags": [*tags, release],
    }
    return Additions(origins=(found[0],), settings={"tracing": sampling})


def traced_at(assembly: Assembly, place: Place) -> Additions:
    """What tracing adds at `place`."""
    about = {"virtual_service": place.called.service.name} if place.called else {}
    first = place.targets[0]
    if first.kind in _ROUTES:
        about[_ROUTES[first.kind]] = first.name
    return traced(assembly, **about)


def add_collectors(assembly: Assembly) -> None:
    """Add the clusters of the collectors that the proxy reports to."""
    found = _holding(assembly)
    exports = (found[1].tracing, found[1].access_log) if found else ()
    for endpoint in sorted({one.open_telemetry.endpoint for one in exports if one is not None}):
        name = names.collector(assembly.proxy, endpoint)
        assembly.add(clusters.collector(name, endpoint, assembly.preference()), (found[0],) if found else ())


def _holding(assembly: Assembly) -> tuple[Key, TelemetrySpec] | None:
    """The telemetry of the proxy and the extension that says so; none where the proxy is too old for it."""
    found = routing.telemetry(assembly.graph, assembly.proxy)
    if found is not None and not assembly.traits.since(*_FIRST):
        first = ".".join(map(str, _FIRST))
        assembly.refuse(found[0], "", f"this Envoy may not know OpenTelemetry, which takes {first} or newer")
        return None
    return found


def _tracing(proxy: Key, name: str, export: TracingExport) -> Wire:
    """Only routes sample, so the listener stays as the share changes.

    What matches none makes no span, unless a proxy before sampled it, as its request id tells.
    """
    service = _service(proxy, export.open_telemetry.endpoint)
    provider = extension("envoy.tracers.opentelemetry", _TRACER, grpc_service=service, service_name=name)
    return {"provider": provider, "random_sampling": {"value": 0}, "client_sampling": {"value": 0}}


def _log(proxy: Key, name: str, export: AccessLogExport, *, http: bool, connected: bool) -> Wire:
    own = {key: value.replace("%", "%%") for key, value in _texts(export.attributes).items()}
    # `common_config` is deprecated since Envoy 1.38 and taken by all; older ones ignore what came in its place.
    common = {
        "log_name": proxy.name,
        "grpc_service": _service(proxy, export.open_telemetry.endpoint),
        "transport_api_version": "V3",
    }
    return extension(
        "envoy.access_loggers.open_telemetry",
        _LOGGER,
        common_config=common,
        disable_builtin_labels=True,
        resource_attributes=_attributes({"service.name": name, **_who(proxy)}),
        body={"string_value": _REQUEST if http else _CONNECTION},
        attributes=_attributes(
            {**_ATTRIBUTES, **(_HTTP_ATTRIBUTES if http else {}), **(_CONNECTED if connected else {}), **own}
        ),
    )


def _who(proxy: Key) -> dict[str, str]:
    kind = "virtual_node" if proxy.kind is Kind.VIRTUAL_NODE else "virtual_gateway"
    return {"meshwright.mesh": proxy.mesh_name, f"meshwright.{kind}": proxy.name}


def _service(proxy: Key, endpoint: str) -> Wire:
    return {"envoy_grpc": {"cluster_name": names.collector(proxy, endpoint)}}


def _texts(given: Iterable[TelemetryAttribute] | None) -> dict[str, str]:
    return {one.key: one.value for one in given or ()}


def _attributes(told: Mapping[str, str]) -> Wire:
    return {"values": [{"key": key, "value": {"string_value": value}} for key, value in sorted(told.items())]}
