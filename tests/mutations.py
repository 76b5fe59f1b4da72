"""Single mutations of the shop's definitions: what a slip of the hand, or a careless change, may do to them.

The one rule: each changes one thing; one that no caller can feel says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from meshwright.model import Key, Kind, State
from shop_load import added, edited

Edit: TypeAlias = Callable[[dict[str, Any]], None]

MESH = Key.of_mesh("shop")


class Mutation(msgspec.Struct, frozen=True):
    """One."""

    name: str
    key: Key
    """The object that it changes, takes away or adds."""
    change: Callable[[State], State]
    unfelt: str = ""
    """Why nobody who calls can tell; "" for one that must be found."""


def key(kind: Kind, name: str, parent: str = "") -> Key:
    """An object of the shop."""
    return Key("shop", kind, name, parent)


def node(name: str) -> Key:
    """A virtual node of the shop."""
    return key(Kind.VIRTUAL_NODE, name)


def service(name: str) -> Key:
    """A virtual service of the shop."""
    return key(Kind.VIRTUAL_SERVICE, f"{name}.shop.internal")


EVERYBODY, TESTERS = (key(Kind.ROUTE, name, "payment") for name in ("everybody", "testers"))
CATALOG, INVENTORY, LEDGER, ORDERS = (
    key(Kind.ROUTE, "all", router) for router in ("catalog", "inventory", "ledger", "orders")
)
TO_ORDERS, TO_ALL = (key(Kind.GATEWAY_ROUTE, name, "entrance") for name in ("orders", "everything"))


def at(path: str, value: Any) -> Edit:
    """Another value at a path of members and indexes by dots; None takes the member away."""

    def edit(spec: dict[str, Any]) -> None:
        *way, last = path.split(".")
        found: Any = spec
        for step in way:
            found = found[int(step)] if isinstance(found, list) else found.setdefault(step, {})
        if isinstance(found, list):
            found[int(last)] = value
        elif value is None:
            del found[last]
        else:
            found[last] = value

    return edit


def edit(name: str, where: Key, path: str, value: Any, unfelt: str = "") -> Mutation:
    """Another value at a path of an object's spec."""
    return Mutation(f"{where.name}: {name}", where, lambda state: edited(state, where, at(path, value)), unfelt)


def gone(where: Key) -> Mutation:
    """An object is taken away."""
    return Mutation(f"{where.name}: gone", where, lambda state: state.drop(where))


def seconds(value: float) -> dict[str, Any]:
    """A duration."""
    return {"unit": "ms", "value": int(value * 1_000)}


def shares(first: int, second: int) -> list[dict[str, Any]]:
    """The weights of the payment versions."""
    return [{"virtualNode": "payment-v1", "weight": first}, {"virtualNode": "payment-v2", "weight": second}]


def backends(*names: str) -> list[dict[str, Any]]:
    """A node's backends."""
    return [{"virtualService": {"virtualServiceName": f"{name}.shop.internal"}} for name in names]


def _before_all(state: State) -> State:
    """A new route of the payment router that takes a part of what others had."""
    action = {"weightedTargets": [{"virtualNode": "payment-v2", "weight": 1}]}
    spec = {"priority": 0, "httpRoute": {"match": {"prefix": "/", "method": "POST"}, "action": action}}
    return added(state, key(Kind.ROUTE, "posts", "payment"), spec)


KEPT_HOST = {"hostname": {"defaultTargetHostname": "DISABLED"}}
HTTP, RETRY = "httpRoute", "httpRoute.retryPolicy"
TARGETS = "action.weightedTargets"
HEADER = f"{HTTP}.match.headers.0"
TLS = {
    "mode": "STRICT",
    "certificate": {"file": {"certificateChain": "/certificates/cart.pem", "privateKey": "/certificates/cart.key"}},
}
TRUSTING = {
    "clientPolicy": {"tls": {"validation": {"trust": {"file": {"certificateChain": "/certificates/ca.pem"}}}}}
}

POOLED = edit("10 requests at once", node("catalog"), "listeners.0.connectionPool", {"http2": {"maxRequests": 10}})
"""What the shop has beside its definitions, so that there is a pool."""
WALL = {
    "mode": "STRICT",
    "certificate": {"file": {"certificateChain": "/certificates/book.pem", "privateKey": "/certificates/book.key"}},
    "validation": {"trust": {"file": {"certificateChain": "/certificates/clients.pem"}}},
}


def _named(name: str) -> dict[str, Any]:
    """The client policy of a node that shows a certificate."""
    shown = {"certificateChain": f"/certificates/{name}.pem", "privateKey": f"/certificates/{name}.key"}
    return {"clientPolicy": {"tls": {**TRUSTING["clientPolicy"]["tls"], "certificate": {"file": shown}}}}


def prepared(state: State) -> State:
    """The shop with what it has beside its definitions: a pool, and a ledger that asks for certificates."""
    state = edited(POOLED.change(state), node("ledger"), at("listeners.0.tls", WALL))
    for name in ("payment-v1", "payment-v2"):
        state = edited(state, node(name), at("backendDefaults", _named(name)))
    return state


ROUTING = (
    edit("90:10 is 80:20", EVERYBODY, f"{HTTP}.{TARGETS}", shares(80, 20)),
    edit("90:10 is 70:30", EVERYBODY, f"{HTTP}.{TARGETS}", shares(70, 30)),
    edit("90:10 is 10:90", EVERYBODY, f"{HTTP}.{TARGETS}", shares(10, 90)),
    edit("90:10 is 100:0", EVERYBODY, f"{HTTP}.{TARGETS}", shares(100, 0)),
    edit("90:10 is 9:1", EVERYBODY, f"{HTTP}.{TARGETS}", shares(9, 1), "the same shares"),
    edit("to version 1", TESTERS, f"{HTTP}.{TARGETS}.0.virtualNode", "payment-v1"),
    edit("another value", TESTERS, f"{HEADER}.match.exact", "v3"),
    edit("another header", TESTERS, f"{HEADER}.name", "x-version"),
    edit("a prefix of the value", TESTERS, f"{HEADER}.match", {"prefix": "v2"}),
    edit("a suffix of the value", TESTERS, f"{HEADER}.match", {"suffix": "v2"}),
    edit("the value in any case", TESTERS, f"{HEADER}.match", {"regex": "(?i)v2"}),
    edit("the reverse", TESTERS, f"{HEADER}.invert", True),
    edit("for everybody", TESTERS, f"{HTTP}.match.headers", None),
    edit("for GET only", TESTERS, f"{HTTP}.match.method", "GET"),
    edit("for POST only", TESTERS, f"{HTTP}.match.method", "POST"),
    edit("behind everybody", TESTERS, "priority", 3),
    edit("another priority, the same order", TESTERS, "priority", 0, "the same order"),
    edit("a longer prefix", EVERYBODY, f"{HTTP}.match.prefix", "/pay"),
    edit("the root only", EVERYBODY, f"{HTTP}.match", {"path": {"exact": "/"}}),
    gone(TESTERS),
    Mutation("payment: a route for POST before all", key(Kind.ROUTE, "posts", "payment"), _before_all),
    edit("a service of gRPC", INVENTORY, "grpcRoute.match.serviceName", "shop.Inventory"),
    edit("a longer prefix", ORDERS, f"{HTTP}.match.prefix", "/v1"),
)  # fmt: skip
LIMITS = (
    edit("one retry", EVERYBODY, f"{RETRY}.maxRetries", 1),
    edit("three retries", EVERYBODY, f"{RETRY}.maxRetries", 3),
    edit("tries of 1 s", EVERYBODY, f"{RETRY}.perRetryTimeout", seconds(1)),
    edit("tries of 0.2 s", EVERYBODY, f"{RETRY}.perRetryTimeout", seconds(0.2)),
    edit("no server-error", EVERYBODY, f"{RETRY}.httpRetryEvents", ["gateway-error"]),
    edit("no gateway-error", EVERYBODY, f"{RETRY}.httpRetryEvents", ["server-error"], "part of server-error"),
    edit("no connection-error", EVERYBODY, f"{RETRY}.tcpRetryEvents", None, "Envoy's `reset` has it in it"),
    edit("no policy", EVERYBODY, RETRY, None),
    edit("1 s for all tries", EVERYBODY, f"{HTTP}.timeout.perRequest", seconds(1)),
    edit("4 s for all tries", EVERYBODY, f"{HTTP}.timeout.perRequest", seconds(4), "three tries end before 2 s"),
    edit("4 s", TESTERS, f"{HTTP}.timeout.perRequest", seconds(4)),
    edit("1 s", TESTERS, f"{HTTP}.timeout.perRequest", seconds(1)),
    edit("no limit", TESTERS, f"{HTTP}.timeout", None),
    edit("two retries", CATALOG, "http2Route.retryPolicy.maxRetries", 2),
    edit("tries of 2 s", CATALOG, "http2Route.retryPolicy.perRetryTimeout", seconds(2)),
    edit("client-error", CATALOG, "http2Route.retryPolicy.httpRetryEvents", ["client-error"]),
    edit("no retries", INVENTORY, "grpcRoute.retryPolicy.maxRetries", 0),
    edit("internal", INVENTORY, "grpcRoute.retryPolicy.grpcRetryEvents", ["internal"]),
    edit("no gateway-error", INVENTORY, "grpcRoute.retryPolicy.httpRetryEvents", None),
    edit("2 s", INVENTORY, "grpcRoute.timeout.perRequest", seconds(2)),
    edit("5 s", ORDERS, f"{HTTP}.timeout.perRequest", seconds(5)),
    edit("15 s", ORDERS, f"{HTTP}.timeout.perRequest", seconds(15)),
    edit("idle for 4 s", ORDERS, f"{HTTP}.timeout.idle", seconds(4)),
    edit("idle for 5 s", LEDGER, "tcpRoute.timeout.idle", seconds(5)),
    edit("idle for 30 s", LEDGER, "tcpRoute.timeout.idle", seconds(30)),
    edit("5 s", node("web"), "listeners.0.timeout.http.perRequest", seconds(5)),
    edit("no limit of its own", node("web"), "listeners.0.timeout", None),
    edit("6 s", node("cart"), "listeners.0.timeout.http.perRequest", seconds(6)),
    edit("9 requests at once", node("catalog"), "listeners.0.connectionPool.http2.maxRequests", 9),
    edit("20 requests at once", node("catalog"), "listeners.0.connectionPool.http2.maxRequests", 20),
    edit("no pool", node("catalog"), "listeners.0.connectionPool", None),
)  # fmt: skip
BORDERS = (
    edit("without cart", node("web"), "backends", backends("catalog", "orders")),
    edit("with payment", node("web"), "backends", backends("catalog", "cart", "orders", "payment")),
    edit("without inventory", node("orders"), "backends", backends("payment")),
    edit("no backends", node("payment-v2"), "backends", None),
    edit("with cart", node("catalog"), "backends", backends("cart")),
    edit("everything out", MESH, "egressFilter.type", "ALLOW_ALL"),
    edit("by cart", service("web"), "provider.virtualNode.virtualNodeName", "cart"),
    edit("by version 2", service("payment"), "provider", {"virtualNode": {"virtualNodeName": "payment-v2"}}),
    edit("by nobody", service("cart"), "provider", None),
    edit("another prefix", TO_ORDERS, f"{HTTP}.match.prefix", "/order/"),
    edit("to the window", TO_ORDERS, f"{HTTP}.action.target.virtualService.virtualServiceName", "web.shop.internal"),
    edit("the path as it is", TO_ORDERS, f"{HTTP}.action.rewrite", {"prefix": {"defaultPrefix": "DISABLED"}}),
    edit("the Host as it is", TO_ORDERS, f"{HTTP}.action.rewrite", KEPT_HOST),
    edit("behind everything", TO_ORDERS, "priority", 200),
    edit("for one host", TO_ALL, f"{HTTP}.match.hostname", {"exact": "shop.example"}),
    edit("rewritten", TO_ALL, f"{HTTP}.action.rewrite", {"prefix": {"value": "/shop/"}}),
    gone(TO_ORDERS),
    edit("another port", key(Kind.VIRTUAL_GATEWAY, "entrance"), "listeners.0.portMapping.port", 8081),
    edit("another port", node("orders"), "listeners.0.portMapping.port", 8081),
    edit("another port", key(Kind.VIRTUAL_ROUTER, "catalog"), "listeners.0.portMapping.port", 9090),
    edit("HTTP/2", node("cart"), "listeners.0.portMapping.protocol", "http2"),
    edit("TLS only", node("cart"), "listeners.0.tls", TLS),
    edit("TLS, too", node("cart"), "listeners.0.tls", {**TLS, "mode": "PERMISSIVE"}),
    edit("TLS to everybody", node("web"), "backendDefaults", TRUSTING),
    edit("plaintext, too", node("ledger"), "listeners.0.tls.mode", "PERMISSIVE"),
    edit("no certificates of clients", node("ledger"), "listeners.0.tls.validation", None),
)  # fmt: skip
MUTATIONS = (*ROUTING, *LIMITS, *BORDERS)
