"""A mesh with conditions of every kind, and single mutations of these: a little wider or narrower than they were.

The one rule: each changes one condition, and some call that somebody may make is taken otherwise by it.
"""

from __future__ import annotations

from typing import Any

from meshwright.model import Key, Kind, State
from mutations import Mutation, at, seconds
from shop_load import edited
from strategies import MESH, resource

HTTP = "httpRoute.match"
HEADERS = ("begins", "ends", "user", "agent", "present")
_LISTENER = {"portMapping": {"port": 8080, "protocol": "http"}}
_MATCHES: dict[str, dict[str, Any]] = {
    "begins": {"prefix": "beta-"},
    "ends": {"suffix": "-test"},
    "user": {"range": {"start": 10, "end": 20}},
    "agent": {"regex": "v[0-9]+(-rc)?"},
}
_OTHERS: dict[str, dict[str, Any]] = {
    "quotes": {"prefix": "/quotes"},
    "status": {"path": {"exact": "/status"}},
    "items": {"path": {"regex": "/items/[a-z]{2,4}/(old|new)"}},
    "colour": {"prefix": "/", "queryParameters": [{"name": "colour", "match": {"exact": "red"}}]},
    "debug": {"prefix": "/", "queryParameters": [{"name": "debug"}]},
    "writing": {"prefix": "/", "method": "PUT"},
}
_HOSTS: dict[str, dict[str, Any]] = {"one": {"exact": "shop.example"}, "several": {"suffix": ".shop.example"}}


def matching() -> State:
    """Each condition has a route of its own, to `special`; what none takes goes to `rest`."""
    nodes = {name: {"serviceDiscovery": {"dns": {"hostname": f"{name}.nodes"}}} for name in ("special", "rest")}
    backends = [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in ("asked", "special")]
    state = State(
        [
            resource(Kind.VIRTUAL_NODE, "caller", {"backends": backends}),
            *(resource(Kind.VIRTUAL_NODE, name, {**one, "listeners": [_LISTENER]}) for name, one in nodes.items()),
            *(
                resource(Kind.VIRTUAL_SERVICE, f"{name}.local", {"provider": provider})
                for name, provider in {
                    "asked": {"virtualRouter": {"virtualRouterName": "asked"}},
                    "special": {"virtualNode": {"virtualNodeName": "special"}},
                }.items()
            ),
            resource(Kind.VIRTUAL_ROUTER, "asked", {"listeners": [_LISTENER]}),
            resource(
                Kind.VIRTUAL_GATEWAY, "gate", {"listeners": [{"portMapping": {"port": 8000, "protocol": "http"}}]}
            ),
        ]
    )
    asked = (
        {name: {"prefix": "/", "headers": [_header(name)]} for name in HEADERS} | _OTHERS | {"rest": {"prefix": "/"}}
    )
    for place, (name, match) in enumerate(asked.items()):
        targets = [{"virtualNode": "rest" if name == "rest" else "special", "weight": 1}]
        route = {"match": match, "action": {"weightedTargets": targets}, "timeout": {"perRequest": seconds(2)}}
        state = state.put(resource(Kind.ROUTE, name, {"httpRoute": route, "priority": place}, parent="asked"))
    for place, (name, host) in enumerate({**_HOSTS, "all": {}}.items()):
        target = {"virtualService": {"virtualServiceName": "asked.local" if name == "all" else "special.local"}}
        match = {"prefix": "/", **({"hostname": host} if host else {})}
        route = {"match": match, "action": {"target": target}}
        state = state.put(resource(Kind.GATEWAY_ROUTE, name, {"httpRoute": route, "priority": place}, parent="gate"))
    return state


def _header(name: str) -> dict[str, Any]:
    return {"name": f"x-{name}", **({"match": _MATCHES[name]} if name in _MATCHES else {})}


def _edit(name: str, path: str, value: Any) -> Mutation:
    """Another condition of a route or gateway route."""
    where = Key(MESH, Kind.GATEWAY_ROUTE, name, "gate") if name in _HOSTS else Key(MESH, Kind.ROUTE, name, "asked")
    told = f"{name}: {value if value is not None else 'there'}"
    return Mutation(told, where, lambda state: edited(state, where, at(f"{HTTP}.{path}", value)))


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
    _of_header("present", exact="1"),
    _edit("quotes", "prefix", "/quote"),
    _edit("quotes", "prefix", "/quotes/"),
    Mutation(
        "quotes: exact",
        Key(MESH, Kind.ROUTE, "quotes", "asked"),
        lambda state: edited(
            edited(state, Key(MESH, Kind.ROUTE, "quotes", "asked"), at(f"{HTTP}.path", {"exact": "/quotes"})),
            Key(MESH, Kind.ROUTE, "quotes", "asked"),
            at(f"{HTTP}.prefix", None),
        ),
    ),
    _edit("status", "path", {"regex": "/status.*"}),
    _edit("status", "path", {"regex": "(?i)/status"}),
    _edit("status", "path", {"regex": ".*/status"}),
    _edit("items", "path.regex", "/items/[a-z]{2,5}/(old|new)"),
    _edit("items", "path.regex", "/items/[a-z]{2,3}/(old|new)"),
    _edit("items", "path.regex", "/items/[a-z]{1,4}/(old|new)"),
    _edit("items", "path.regex", "/items/[a-y]{2,4}/(old|new)"),
    _edit("items", "path.regex", "/items/[a-z]{2,4}/(old)"),
    _edit("items", "path.regex", "/items/[a-z]{2,4}/(new)"),
    _edit("colour", "queryParameters.0.match", None),
    _edit("debug", "queryParameters.0.match", {"exact": "1"}),
    _edit("writing", "method", None),
    _edit("one", "hostname", {"suffix": "shop.example"}),
    _edit("several", "hostname", {"exact": "any.shop.example"}),
    _edit("several", "hostname", {"suffix": "shop.example"}),
    Mutation(
        "one: its Host",
        Key(MESH, Kind.GATEWAY_ROUTE, "one", "gate"),
        lambda state: edited(
            state,
            Key(MESH, Kind.GATEWAY_ROUTE, "one", "gate"),
            at("httpRoute.action.rewrite", {"hostname": {"defaultTargetHostname": "DISABLED"}}),
        ),
    ),
)  # fmt: skip
