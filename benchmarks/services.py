"""A mesh of ten services behind a gateway, with every policy that App Mesh has, for runs of its derived tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.model.scalars import PortProtocol

_DOMAIN = "services.internal"
_CHECK: dict[str, Any] = {
    "healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 5_000, "timeoutMillis": 2_000,
}  # fmt: skip
_SECRETS = "/etc/certificates"


def write_services(folder: Path) -> Path:
    """A project of ten services, their nodes, routes and gateway, in the form of `aws appmesh`; its folder."""
    documents = [*_mesh(), *_plain(), *_over_http2(), *_payment(), *_others(), *_entrance()]
    (folder / "mesh.yaml").write_text("\n---\n".join(map(json.dumps, documents)), encoding="utf-8")
    (folder / "meshwright.yaml").write_text("stack: services\ndefinitions: [mesh.yaml]\nmesh: services\n")
    return folder


def _seconds(value: float) -> dict[str, Any]:
    return {"unit": "ms", "value": int(value * 1_000)}


def _node(name: str, port: int, protocol: PortProtocol, calls: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """A node with one listener, which has `more`."""
    backends = [{"virtualService": {"virtualServiceName": f"{one}.{_DOMAIN}"}} for one in calls]
    listener = {"portMapping": {"port": port, "protocol": protocol}, **more}
    dns = {"hostname": f"{name}.{_DOMAIN}", "responseType": "ENDPOINTS"}
    spec = {"listeners": [listener], "serviceDiscovery": {"dns": dns}, "backends": backends}
    return {"virtualNodeName": name, "spec": spec}


def _trusting(node: dict[str, Any]) -> dict[str, Any]:
    """The node, which insists on TLS where it calls mail."""
    trust = {"file": {"certificateChain": f"{_SECRETS}/authority.pem"}}
    tls = {"enforce": True, "ports": [8443], "validation": {"trust": trust}}
    for one in node["spec"]["backends"]:
        if one["virtualService"]["virtualServiceName"] == f"mail.{_DOMAIN}":
            one["virtualService"]["clientPolicy"] = {"tls": tls}
    return node


def _provided(service: str, node: str = "") -> dict[str, Any]:
    """A service that a node answers for, or else a router of the same name."""
    provider = (
        {"virtualNode": {"virtualNodeName": node}} if node else {"virtualRouter": {"virtualRouterName": service}}
    )
    return {"virtualServiceName": f"{service}.{_DOMAIN}", "spec": {"provider": provider}}


def _router(name: str, port: int, protocol: PortProtocol) -> dict[str, Any]:
    listeners = [{"portMapping": {"port": port, "protocol": protocol}}]
    return {"virtualRouterName": name, "spec": {"listeners": listeners}}


def _route(router: str, name: str, protocol: PortProtocol, nodes: dict[str, int], **more: Any) -> dict[str, Any]:
    """A route of any request, unless `more` says what it matches, to nodes by their weights."""
    targets = [{"virtualNode": node, "weight": weight} for node, weight in nodes.items()]
    priority = {"priority": more.pop("priority")} if "priority" in more else {}
    match = {"match": {"prefix": "/"} if protocol.startswith("http") else {}} if protocol != "tcp" else {}
    route = {**match, "action": {"weightedTargets": targets}, **more}
    return {"virtualRouterName": router, "routeName": name, "spec": {f"{protocol}Route": route, **priority}}


def _again(tries: int, limit: float, *events: str, **more: Any) -> dict[str, Any]:
    return {"maxRetries": tries, "perRetryTimeout": _seconds(limit), "httpRetryEvents": list(events), **more}


def _outlier(errors: int, base: float) -> dict[str, Any]:
    times = {"baseEjectionDuration": _seconds(base), "interval": _seconds(1)}
    return {**times, "maxEjectionPercent": 50, "maxServerErrors": errors}


def _mesh() -> list[dict[str, Any]]:
    return [{"meshName": "services", "spec": {"egressFilter": {"type": "DROP_ALL"}}}]


def _plain() -> list[dict[str, Any]]:
    """HTTP/1.1: the window, a cart that keeps App Mesh's own limits, orders, and prices behind a small pool."""
    queue = {"http": {"maxConnections": 4, "maxPendingRequests": 4}}
    return [
        _node(
            "web",
            8080,
            "http",
            ("catalog", "search", "cart", "orders"),
            timeout={"http": {"perRequest": _seconds(10)}},
        ),
        _provided("web", "web"),
        _node("cart", 8080, "http", ("prices",)),
        _provided("cart", "cart"),
        _trusting(
            _node(
                "orders",
                8080,
                "http",
                ("payment", "inventory", "mail"),
                healthCheck={"protocol": "http", "path": "/ping", **_CHECK},
            )
        ),
        _provided("orders"),
        _router("orders", 8080, "http"),
        _route("orders", "all", "http", {"orders": 1}, timeout={"perRequest": _seconds(8)}),
        _node("prices", 8080, "http", connectionPool=queue, timeout={"http": {"perRequest": _seconds(9)}}),
        _provided("prices"),
        _router("prices", 8080, "http"),
        _route(
            "prices",
            "all",
            "http",
            {"prices": 1},
            timeout={"perRequest": _seconds(2.5)},
        ),
    ]


def _over_http2() -> list[dict[str, Any]]:
    """The catalog, with a pool and checks, and the search, whose errors are counted."""
    check = {"protocol": "http2", "path": "/ping", **_CHECK}
    return [
        _node(
            "catalog", 8081, "http2", ("prices",), healthCheck=check, connectionPool={"http2": {"maxRequests": 12}}
        ),
        _provided("catalog"),
        _router("catalog", 8081, "http2"),
        _route(
            "catalog",
            "all",
            "http2",
            {"catalog": 1},
            retryPolicy=_again(2, 1.2, "gateway-error"),
            timeout={"perRequest": _seconds(3)},
        ),
        _node("search", 8082, "http2", ("catalog",), outlierDetection=_outlier(3, 2)),
        _provided("search"),
        _router("search", 8082, "http2"),
        _route("search", "all", "http2", {"search": 1}, timeout={"perRequest": _seconds(5)}),
    ]


def _payment() -> list[dict[str, Any]]:
    """Two versions, shared out, and testers who choose."""
    chosen = {"prefix": "/", "headers": [{"name": "x-version", "match": {"exact": "v2"}}]}
    return [
        _node("payment-v1", 8080, "http", ("ledger",), outlierDetection=_outlier(5, 30)),
        _node("payment-v2", 8080, "http", ("ledger",)),
        _provided("payment"),
        _router("payment", 8080, "http"),
        _route(
            "payment",
            "testers",
            "http",
            {"payment-v2": 1},
            match=chosen,
            priority=1,
            timeout={"perRequest": _seconds(2)},
        ),
        _route(
            "payment",
            "everybody",
            "http",
            {"payment-v1": 90, "payment-v2": 10},
            priority=2,
            retryPolicy=_again(2, 0.5, "server-error", "gateway-error", tcpRetryEvents=["connection-error"]),
            timeout={"perRequest": _seconds(2)},
        ),
    ]


def _others() -> list[dict[str, Any]]:
    """The inventory over gRPC, the ledger over TCP, and mail over TLS, which its callers insist on."""
    certificate = {"file": {"certificateChain": f"{_SECRETS}/mail.pem", "privateKey": f"{_SECRETS}/mail.key"}}
    return [
        _node(
            "inventory",
            9000,
            "grpc",
            connectionPool={"grpc": {"maxRequests": 6}},
            healthCheck={"protocol": "grpc", **_CHECK},
        ),
        _provided("inventory"),
        _router("inventory", 9000, "grpc"),
        _route(
            "inventory",
            "all",
            "grpc",
            {"inventory": 1},
            retryPolicy=_again(2, 1, "gateway-error", grpcRetryEvents=["unavailable"]),
            timeout={"perRequest": _seconds(4)},
        ),
        _node("ledger", 7000, "tcp", connectionPool={"tcp": {"maxConnections": 3}}),
        _provided("ledger"),
        _router("ledger", 7000, "tcp"),
        _route("ledger", "all", "tcp", {"ledger": 1}, timeout={"idle": _seconds(60)}),
        _node("mail", 8443, "http", tls={"mode": "STRICT", "certificate": certificate}),
        _provided("mail", "mail"),
    ]


def _entrance() -> list[dict[str, Any]]:
    """A gateway with three ways in."""

    def way(name: str, priority: int, match: dict[str, Any], service: str) -> dict[str, Any]:
        action = {"target": {"virtualService": {"virtualServiceName": f"{service}.{_DOMAIN}"}}}
        route = {"match": match, "action": action}
        spec = {"priority": priority, "httpRoute": route}
        return {"virtualGatewayName": "entrance", "gatewayRouteName": name, "spec": spec}

    return [
        {
            "virtualGatewayName": "entrance",
            "spec": {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]},
        },
        way("partners", 1, {"prefix": "/orders/"}, "orders"),
        way("robots", 2, {"prefix": "/", "headers": [{"name": "x-robot", "match": {"prefix": "yes"}}]}, "cart"),
        way("everything", 3, {"prefix": "/"}, "web"),
    ]
