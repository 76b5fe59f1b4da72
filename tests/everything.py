"""A mesh in which every field of App Mesh's model occurs, and of the extensions', to go through them one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.model import Kind, State
from strategies import MESH, resource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model import Resource

Wire = dict[str, Any]

SECOND: Wire = {"unit": "s", "value": 1}
FILE = {"file": {"certificateChain": "/tls/chain.pem", "privateKey": "/tls/key.pem"}}
SDS = {"sds": {"secretName": "own"}}
FILE_TRUST = {"file": {"certificateChain": "/tls/ca.pem"}}
SDS_TRUST = {"sds": {"secretName": "trust"}}
NAMES = {"match": {"exact": ["a.local", "spiffe://mesh/a"]}}
MATCHERS: tuple[Wire, ...] = (
    {"exact": "1"}, {"prefix": "1"}, {"suffix": "1"}, {"regex": "[0-9]+"}, {"range": {"start": 1, "end": 5}},
)  # fmt: skip
HEADERS = [
    {"name": "x-present"},
    *({"name": f"x-{next(iter(one))}", "match": one, "invert": index % 2 == 0} for index, one in enumerate(MATCHERS)),
]
QUERY = [{"name": "q", "match": {"exact": "1"}}, {"name": "p"}]
POOLS: dict[str, Wire] = {
    "http": {"maxConnections": 10, "maxPendingRequests": 10},
    "http2": {"maxRequests": 10},
    "grpc": {"maxRequests": 10},
    "tcp": {"maxConnections": 10},
}
PORTS = {"http": 8080, "http2": 8081, "grpc": 8082, "tcp": 8083}
RETRY = {"maxRetries": 2, "perRetryTimeout": SECOND, "tcpRetryEvents": ["connection-error"]}
HTTP_EVENTS = ["server-error", "gateway-error", "client-error", "stream-error"]
GRPC_EVENTS = ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"]
LOGS: tuple[Wire, ...] = ({"text": "%PROTOCOL%\n"}, {"json": [{"key": "code", "value": "%RESPONSE_CODE%"}]})


def everything() -> State:
    """The mesh: a node, router and service a protocol, a caller of them all, a gateway."""
    return State([*_mesh(), *_gateway(), *(one for protocol in PORTS for one in _service(protocol))])


def _mesh() -> Iterator[Resource]:
    spec = {"egressFilter": {"type": "ALLOW_ALL"}, "serviceDiscovery": {"ipPreference": "IPv4_PREFERRED"}}
    yield resource(Kind.MESH, MESH, spec)
    backends = [
        {"virtualService": {"virtualServiceName": f"{one}.local", "clientPolicy": _policy(FILE, FILE_TRUST)}}
        for one in PORTS
    ]
    defaults = {"clientPolicy": _policy(SDS, SDS_TRUST)}
    caller = {"backends": backends, "backendDefaults": defaults, "logging": _logging(LOGS[1])}
    yield resource(Kind.VIRTUAL_NODE, "caller", caller)


def _policy(certificate: Wire, trust: Wire) -> Wire:
    validation = {"trust": trust, "subjectAlternativeNames": NAMES}
    return {"tls": {"certificate": certificate, "enforce": True, "ports": [8080, 8081], "validation": validation}}


def _logging(written: Wire) -> Wire:
    return {"accessLog": {"file": {"path": "/dev/stdout", "format": written}}}


def _check(protocol: str, port: int) -> Wire:
    times = {"intervalMillis": 5000, "timeoutMillis": 2000, "healthyThreshold": 2, "unhealthyThreshold": 2}
    path = {"path": "/ping"} if protocol in {"http", "http2"} else {}
    return {"protocol": protocol, "port": port, **path, **times}


def _tls(certificate: Wire, trust: Wire) -> Wire:
    validation = {"trust": trust, "subjectAlternativeNames": NAMES}
    return {"mode": "STRICT", "certificate": certificate, "validation": validation}


def _service(protocol: str) -> Iterator[Resource]:
    port, both = PORTS[protocol], {"idle": SECOND, "perRequest": SECOND}
    timeout = {"idle": SECOND} if protocol == "tcp" else both
    listener = {
        "portMapping": {"port": port, "protocol": protocol},
        "connectionPool": {protocol: POOLS[protocol]},
        "healthCheck": _check(protocol, port),
        "outlierDetection": {
            "baseEjectionDuration": SECOND,
            "interval": SECOND,
            "maxEjectionPercent": 50,
            "maxServerErrors": 5,
        },
        "timeout": {protocol: timeout},
        "tls": _tls(*((FILE, FILE_TRUST) if protocol in {"http", "tcp"} else (SDS, SDS_TRUST))),
    }
    dns = {"hostname": f"{protocol}.internal", "responseType": "ENDPOINTS", "ipPreference": "IPv4_ONLY"}
    attributes = [{"key": "stage", "value": "one"}]
    cloud = {"namespaceName": "n", "serviceName": "s", "attributes": attributes, "ipPreference": "IPv6_PREFERRED"}
    discovery = {"awsCloudMap": cloud} if protocol == "grpc" else {"dns": dns}
    node = {"listeners": [listener], "serviceDiscovery": discovery, "logging": _logging(LOGS[0])}
    yield resource(Kind.VIRTUAL_NODE, protocol, node)
    yield resource(Kind.VIRTUAL_ROUTER, protocol, {"listeners": [{"portMapping": listener["portMapping"]}]})
    provider = {"virtualRouter": {"virtualRouterName": protocol}}
    yield resource(Kind.VIRTUAL_SERVICE, f"{protocol}.local", {"provider": provider})
    yield resource(
        Kind.VIRTUAL_SERVICE, f"own-{protocol}.local", {"provider": {"virtualNode": {"virtualNodeName": protocol}}}
    )
    for index, match in enumerate(_matches(protocol, port)):
        action = {"weightedTargets": [{"virtualNode": protocol, "weight": 1, "port": port}]}
        events = {"httpRetryEvents": HTTP_EVENTS} | ({"grpcRetryEvents": GRPC_EVENTS} if protocol == "grpc" else {})
        retry = {} if protocol == "tcp" else {"retryPolicy": RETRY | events}
        route = {"match": match, "action": action, "timeout": timeout, **retry}
        yield resource(Kind.ROUTE, f"{protocol}-{index}", {f"{protocol}Route": route, "priority": index}, protocol)


def _matches(protocol: str, port: int) -> list[Wire]:
    if protocol == "tcp":
        return [{"port": port}]
    if protocol == "grpc":
        return [{"serviceName": "shop.Cart", "methodName": "Get", "metadata": HEADERS, "port": port}]
    rest: Wire = {"headers": HEADERS, "method": "GET", "queryParameters": QUERY, "scheme": "http", "port": port}
    return [{"prefix": "/a", **rest}, {"path": {"exact": "/b"}, **rest}, {"path": {"regex": "/c.*"}, **rest}]


def _gateway() -> Iterator[Resource]:
    listeners = []
    for protocol, port in PORTS.items():
        if protocol != "tcp":
            pair = (FILE, FILE_TRUST) if protocol == "http" else (SDS, SDS_TRUST)
            listener = {
                "portMapping": {"port": port, "protocol": protocol},
                "connectionPool": {protocol: POOLS[protocol]},
            }
            listeners.append(listener | {"healthCheck": _check(protocol, port), "tls": _tls(*pair)})
    defaults = {"clientPolicy": _policy(FILE, FILE_TRUST)}
    spec = {"listeners": listeners, "backendDefaults": defaults, "logging": _logging(LOGS[0])}
    yield resource(Kind.VIRTUAL_GATEWAY, "door", spec)
    hosts: tuple[Wire, ...] = ({"exact": "shop.example.com"}, {"suffix": ".example.com"})
    changes: tuple[tuple[Wire, Wire], ...] = (
        ({"prefix": "/a/"}, {"prefix": {"value": "/inner/"}}),
        ({"prefix": "/b/"}, {"prefix": {"defaultPrefix": "DISABLED"}}),
        ({"path": {"exact": "/c"}}, {"path": {"exact": "/inner"}}),
        ({"path": {"regex": "/d.*"}}, {"path": {"exact": "/inner"}}),
    )
    for protocol in ("http", "http2"):
        for index, (path, change) in enumerate(changes):
            match = path | {"headers": HEADERS, "method": "GET", "queryParameters": QUERY, "port": PORTS[protocol]}
            yield _gateway_route(protocol, index, match | {"hostname": hosts[index % 2]}, change)
    match = {"serviceName": "shop.Cart", "metadata": HEADERS, "hostname": hosts[0], "port": PORTS["grpc"]}
    yield _gateway_route("grpc", 0, match, {})


def _gateway_route(protocol: str, index: int, match: Wire, change: Wire) -> Resource:
    switch = {"hostname": {"defaultTargetHostname": "ENABLED" if index else "DISABLED"}}
    target = {"virtualService": {"virtualServiceName": f"{protocol}.local"}, "port": PORTS[protocol]}
    route = {"match": match, "action": {"target": target, "rewrite": switch | change}}
    spec = {f"{protocol}Route": route, "priority": index}
    return resource(Kind.GATEWAY_ROUTE, f"{protocol}-{index}", spec, "door")


def extended_everything() -> State:
    """The same mesh with extensions of every kind, about services, routes, gateway routes, nodes and gateways."""
    extensions = [
        resource(kind, f"e{index}", spec)
        for kind, specs in (*_about_traffic().items(), *_about_proxies().items())
        for index, spec in enumerate(specs)
    ]
    return State([*everything(), *extensions])


_SERVICE: Wire = {"virtualServiceName": "http.local"}
_ROUTE: Wire = {"virtualRouterName": "http2", "routeName": "http2-0"}
_DOOR_ROUTE: Wire = {"virtualGatewayName": "door", "gatewayRouteName": "http-0"}
_LISTENER: Wire = {"virtualNodeName": "http", "port": 8080}
_COLLECTOR: Wire = {"openTelemetry": {"endpoint": "otel.example.com:4317", "protocol": "grpc"}}
_ATTRIBUTES: Wire = {"attributes": [{"key": "team", "value": "x"}, {"key": "tier", "value": "y"}]}


def _about_traffic() -> dict[Kind, list[Wire]]:
    edit = {"name": "x-team", "value": "100% %REQ(x)%"}
    edits = {"set": [edit], "add": [edit], "remove": ["x-debug"]}
    fault = {
        "match": {"headers": HEADERS},
        "delay": {"duration": SECOND, "percentage": 0.25},
        "expiresAt": "2999-01-01T00:00:00Z",
    }
    origins = [{kind: "https://shop.example"} for kind in ("exact", "prefix", "suffix", "regex")]
    answer = {"allowMethods": ["GET"], "allowHeaders": ["content-type"], "exposeHeaders": ["x-total"]}
    limit = {"maxTokens": 100, "tokensPerFill": 10, "fillInterval": SECOND, "statusCode": 503}
    return {
        Kind.FAULT: [
            {"target": _SERVICE, "from": ["caller", "door"], "abort": {"httpStatus": 503, "percentage": 50}} | fault,
            {"target": _LISTENER, "abort": {"grpcStatus": 14, "percentage": 1}} | fault,
        ],
        Kind.MIRROR: [{"target": _ROUTE, "to": {"virtualNodeName": "http", "port": 8080}, "percentage": 5}],
        Kind.HEADER_EDIT: [{"target": one, "request": edits, "response": edits} for one in (_SERVICE, _DOOR_ROUTE)],
        Kind.CORS: [
            {"target": one, "allowOrigins": origins, "maxAge": SECOND, "allowCredentials": True} | answer
            for one in (_ROUTE, _DOOR_ROUTE)
        ],
        Kind.RATE_LIMIT: [{"target": one} | limit for one in (_SERVICE, _LISTENER, {"virtualGatewayName": "door"})],
        Kind.RETRY_POLICY: [
            {"target": _SERVICE, "httpRetryPolicy": RETRY | {"httpRetryEvents": HTTP_EVENTS}, "acrossVersions": True},
            {
                "target": {"virtualServiceName": "own-grpc.local"},
                "grpcRetryPolicy": RETRY | {"grpcRetryEvents": GRPC_EVENTS},
            },
        ],
    }


def _about_proxies() -> dict[Kind, list[Wire]]:
    allowed = [
        {"host": "*.example.com", "ports": [443, 8443], "protocol": "tls"},
        {"host": "api.example.com", "ports": [80], "protocol": "http"},
    ]
    tracing = {"samplingPercentage": 12.5, "serviceName": "shop"} | _COLLECTOR | _ATTRIBUTES
    return {
        Kind.EGRESS_POLICY: [{"target": {"virtualNodeName": "caller"}, "type": "DROP_ALL", "allow": allowed}],
        Kind.TELEMETRY: [{"tracing": tracing, "accessLog": _COLLECTOR | _ATTRIBUTES}],
        Kind.ZONE_POLICY: [
            {"target": {"virtualServiceName": "grpc.local"}, "preferSameZone": True, "minHealthyPercentage": 60}
        ],
        Kind.REGISTRATION: [{"target": {"virtualNodeName": "grpc"}}],
    }
