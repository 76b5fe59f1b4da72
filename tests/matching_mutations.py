"""A mesh with conditions of every kind, and single mutations of these: a little wider or narrower than they were.

The one rule: each changes one condition, and some call that somebody may make is taken otherwise by it.
"""

from __future__ import annotations

from typing import Any

from meshwright.model import Key, Kind, State
from mutations import KEPT_HOST, Edit, Mutation, at, seconds
from shop_load import edited
from strategies import MESH, resource

HTTP = "httpRoute.match"
HEADERS = ("begins", "ends", "user", "agent", "plan", "level", "word", "build", "loose", "city", "present")
_LISTENER = {"portMapping": {"port": 8080, "protocol": "http"}}
_OF_CALLS = {"portMapping": {"port": 9000, "protocol": "grpc"}}
_MATCHES: dict[str, dict[str, Any]] = {
    "begins": {"prefix": "beta-"},
    "ends": {"suffix": "-test"},
    "user": {"range": {"start": 10, "end": 20}},
    "agent": {"regex": "v[0-9]+(-rc)?"},
    "plan": {"exact": "ab"},
    "level": {"regex": "v(1|2|3)"},
    "word": {"regex": r"\w{3,}"},
    "build": {"regex": r"[a-z]+\d*"},
    "loose": {"regex": "(?i)beta"},
    "city": {"prefix": "Köl"},
}
_OTHERS: dict[str, dict[str, Any]] = {
    "quotes": {"prefix": "/quotes"},
    "status": {"path": {"exact": "/status"}},
    "items": {"path": {"regex": "/items/[a-z]{2,4}/(old|new)"}},
    "edit": {"path": {"regex": "/edit/[^/]+/now"}},
    "number": {"path": {"regex": r"/number/\d+"}},
    "colour": {"prefix": "/", "queryParameters": [{"name": "colour", "match": {"exact": "red"}}]},
    "debug": {"prefix": "/", "queryParameters": [{"name": "debug"}]},
    "writing": {"prefix": "/", "method": "PUT"},
}
_CALLS: dict[str, dict[str, Any]] = {
    "get": {"serviceName": "shop.Cart", "methodName": "Get"},
    "stock": {"serviceName": "shop.Stock"},
    "tenant": {"metadata": [{"name": "x-tenant", "match": {"suffix": "-eu"}}]},
    "traced": {"metadata": [{"name": "x-traced"}]},
}
_HOSTS: dict[str, dict[str, Any]] = {"one": {"exact": "shop.example"}, "several": {"suffix": ".shop.example"}}


def matching() -> State:
    """Each condition has a route of its own, to `special`; what none takes goes to `rest`, and gRPC alike."""
    nodes = {"special": _LISTENER, "rest": _LISTENER, "special-rpc": _OF_CALLS, "rest-rpc": _OF_CALLS}
    backends = [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in ("asked", "calls", "special")]
    state = State(
        [
            resource(Kind.VIRTUAL_NODE, "caller", {"backends": backends}),
            *(
                resource(
                    Kind.VIRTUAL_NODE,
                    name,
                    {"listeners": [one], "serviceDiscovery": {"dns": {"hostname": f"{name}.nodes"}}},
                )
                for name, one in nodes.items()
            ),
            *(
                resource(Kind.VIRTUAL_SERVICE, f"{name}.local", {"provider": provider})
                for name, provider in {
                    "asked": {"virtualRouter": {"virtualRouterName": "asked"}},
                    "calls": {"virtualRouter": {"virtualRouterName": "calls"}},
                    "special": {"virtualNode": {"virtualNodeName": "special"}},
                }.items()
            ),
            resource(Kind.VIRTUAL_ROUTER, "asked", {"listeners": [_LISTENER]}),
            resource(Kind.VIRTUAL_ROUTER, "calls", {"listeners": [_OF_CALLS]}),
            resource(
                Kind.VIRTUAL_GATEWAY, "gate", {"listeners": [{"portMapping": {"port": 8000, "protocol": "http"}}]}
            ),
        ]
    )
    asked = (
        {name: {"prefix": "/", "headers": [_header(name)]} for name in HEADERS} | _OTHERS | {"rest": {"prefix": "/"}}
    )
    for router, member, matches in (("asked", "httpRoute", asked), ("calls", "grpcRoute", {**_CALLS, "others": {}})):
        for place, (name, match) in enumerate(matches.items()):
            node = "rest" if name in {"rest", "others"} else "special"
            targets = [{"virtualNode": node if router == "asked" else f"{node}-rpc", "weight": 1}]
            action = {"weightedTargets": targets}
            route = {"match": match, "action": action, "timeout": {"perRequest": seconds(2)}}
            state = state.put(resource(Kind.ROUTE, name, {member: route, "priority": place}, parent=router))
    for place, (name, host) in enumerate({**_HOSTS, "all": {}}.items()):
        target = {"virtualService": {"virtualServiceName": "asked.local" if name == "all" else "special.local"}}
        match = {"prefix": "/", **({"hostname": host} if host else {})}
        route = {"match": match, "action": {"target": target}}
        state = state.put(resource(Kind.GATEWAY_ROUTE, name, {"httpRoute": route, "priority": place}, parent="gate"))
    return state


def _header(name: str) -> dict[str, Any]:
    return {"name": f"x-{name}", **({"match": _MATCHES[name]} if name in _MATCHES else {})}


def _edit(name: str, path: str, value: Any, unfelt: str = "") -> Mutation:
    """Another condition of a route or gateway route."""
    kind, parent = (Kind.GATEWAY_ROUTE, "gate") if name in _HOSTS else (Kind.ROUTE, "asked")
    return _at(kind, name, parent, f"{path} {value}", at(f"{HTTP}.{path}", value), unfelt)


def _of_call(name: str, path: str, value: Any) -> Mutation:
    """Another condition of a route of gRPC."""
    return _at(Kind.ROUTE, name, "calls", f"{path} {value}", at(f"grpcRoute.match.{path}", value))


def _at(kind: Kind, name: str, parent: str, told: str, change: Edit, unfelt: str = "") -> Mutation:
    where = Key(MESH, kind, name, parent)
    return Mutation(f"{name}: {told}", where, lambda state: edited(state, where, change), unfelt)


def _of_header(name: str, **match: Any) -> Mutation:
    return _edit(name, "headers.0.match", match)


MATCHING = (
    _of_header("begins", exact="beta-"),
    _of_header("begins", suffix="beta-"),
    _of_header("begins", prefix="beta"),
    _of_header("begins", prefix="BETA-"),
    _of_header("ends", exact="-test"),
    _of_header("ends", exact="x-test"),
    _of_header("ends", prefix="-test"),
    _of_header("ends", suffix="test"),
    _of_header("user", range={"start": 11, "end": 20}),
    _of_header("user", range={"start": 9, "end": 20}),
    _of_header("user", range={"start": 10, "end": 19}),
    _of_header("user", range={"start": 10, "end": 21}),
    _of_header("agent", regex="v[0-9]+"),
    _of_header("agent", regex="v[0-9]+-rc"),
    _of_header("agent", regex="v[0-9](-rc)?"),
    _of_header("agent", regex="v[1-9]+(-rc)?"),
    _of_header("agent", regex="v[0-8]+(-rc)?"),
    _of_header("agent", regex="v[0-9]+(-rc)?.*"),
    _of_header("agent", prefix="v"),
    _of_header("plan", regex="abb*"),
    _of_header("plan", regex="ab?"),
    _of_header("plan", prefix="ab"),
    _of_header("level", regex="v[1-4]"),
    _of_header("level", regex="v[0-3]"),
    _of_header("level", regex="v(1|3)"),
    _of_header("level", regex=r"v\d"),
    _of_header("word", regex="[a-zA-Z0-9]{3,}"),
    _of_header("word", regex="[a-z0-9_]{3,}"),
    _of_header("word", regex="[A-Za-z_]{3,}"),
    _of_header("word", regex=r"[\w-]{3,}"),
    _of_header("word", regex=r"\w{3,8}"),
    _of_header("build", regex=r"[a-z]+\d?"),
    _of_header("build", regex=r"[a-z]\d*"),
    _of_header("build", regex=r"[a-z]{1,8}\d*"),
    _of_header("build", regex=r"[a-z-]+\d*"),
    _of_header("build", regex=r"[a-z]*\d*"),
    _of_header("level", regex=r"v\w"),
    _of_header("loose", regex="beta"),
    _of_header("loose", regex="(?i)beta.*"),
    _of_header("city", prefix="Kö"),
    _of_header("city", exact="Köl"),
    _of_header("city", suffix="öl"),
    _of_header("present", exact="1"),
    _of_header("present", regex=".+"),
    _edit("quotes", "prefix", "/quote"),
    _edit("quotes", "prefix", "/quotes/"),
    _at(Kind.ROUTE, "quotes", "asked", "exact", at("httpRoute.match", {"path": {"exact": "/quotes"}})),
    _edit("status", "path", {"regex": "/status.*"}),
    _edit("status", "path", {"regex": "(?i)/status"}),
    _edit("status", "path", {"regex": ".*/status"}),
    _edit("items", "path.regex", "/items/[a-z]{2,5}/(old|new)"),
    _edit("items", "path.regex", "/items/[a-z]{2,3}/(old|new)"),
    _edit("items", "path.regex", "/items/[a-z]{1,4}/(old|new)"),
    _edit("items", "path.regex", "/items/[a-y]{2,4}/(old|new)"),
    _edit("items", "path.regex", "/items/[a-z]{2,4}/(old)"),
    _edit("items", "path.regex", "/items/[a-z]{2,4}/(new)"),
    _edit("edit", "path.regex", "/edit/.+/now"),
    _edit("edit", "path.regex", "/edit/[^/]*/now", "two slashes are one before paths are compared"),
    _edit("edit", "path.regex", r"/edit/\w+/now"),
    _edit("number", "path.regex", r"/number/\d{1,3}"),
    _edit("number", "path.regex", r"/number/\d{1,10}"),
    _edit("number", "path.regex", r"/number/\w+"),
    _edit("number", "path.regex", r"/number/\d"),
    _edit("number", "path.regex", r"/number/\d+/?"),
    _edit("number", "path.regex", r"/number/[1-9]\d*"),
    _edit("number", "path.regex", r"/number/[0-9a-f]+"),
    _edit("colour", "queryParameters.0.match", None),
    _edit("colour", "scheme", "http"),
    _edit("debug", "queryParameters.0.match", {"exact": "1"}),
    _edit("writing", "method", None),
    _edit("writing", "scheme", "http"),
    _edit("one", "hostname", {"suffix": "shop.example"}),
    _edit("several", "hostname", {"exact": "any.shop.example"}),
    _edit("several", "hostname", {"suffix": "shop.example"}),
    _at(Kind.GATEWAY_ROUTE, "one", "gate", "its Host", at("httpRoute.action.rewrite", KEPT_HOST)),
    _of_call("get", "methodName", "Gets"),
    _of_call("get", "methodName", None),
    _of_call("get", "serviceName", "shop.Carts"),
    _of_call("stock", "methodName", "Who"),
    _of_call("stock", "serviceName", "Stock"),
    _of_call("tenant", "metadata.0.match", {"exact": "-eu"}),
    _of_call("tenant", "metadata.0.match", {"suffix": "eu"}),
    _of_call("tenant", "metadata", None),
    _of_call("traced", "metadata.0.match", {"regex": ".+"}),
)  # fmt: skip
