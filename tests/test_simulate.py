"""Where a call would go, and why: what one verdict says.

That verdicts are those of real Envoys is shown beside this, in `test_simulate_envoys.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.errors import UsageError
from meshwright.graph import resolve
from meshwright.model import Key, Kind, State
from meshwright.routing import Timeouts
from meshwright.simulate import Call, Verdict, route
from settings import examples
from strategies import MESH, Wire, proxies, resource, services, states

if TYPE_CHECKING:
    from random import Random

    from meshwright.model import Resource
    from meshwright.simulate.calls import Protocol

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
GATE = Key(MESH, Kind.VIRTUAL_GATEWAY, "gate")
NOW = 1_900_000_000_000
"""Some time in 2030."""


def node(name: str, port: int = 8080, protocol: str = "http", *backends: str, **listener: Any) -> Resource:
    """A node with one listener, which may call `backends`."""
    return resource(
        Kind.VIRTUAL_NODE,
        name,
        {
            "listeners": [{"portMapping": {"port": port, "protocol": protocol}, **listener}],
            "serviceDiscovery": {"dns": {"hostname": f"{name}.local"}},
            "backends": [{"virtualService": {"virtualServiceName": one}} for one in backends],
        },
    )


def service(name: str, port: int, protocol: str, **routes: Wire) -> list[Resource]:
    """A service, its router and the router's routes."""
    provider = {"provider": {"virtualRouter": {"virtualRouterName": name}}}
    listeners = [{"portMapping": {"port": port, "protocol": protocol}}]
    return [
        resource(Kind.VIRTUAL_SERVICE, name, provider),
        resource(Kind.VIRTUAL_ROUTER, name, {"listeners": listeners}),
        *(resource(Kind.ROUTE, one, spec, name) for one, spec in routes.items()),
    ]


def to(*targets: str, **rest: Any) -> Wire:
    """An HTTP route by prefix, to targets written `NODE` or `NODE=WEIGHT`."""
    weighted = [(one.partition("=")[0], int(one.partition("=")[2] or 1)) for one in targets]
    action = {"weightedTargets": [{"virtualNode": name, "weight": weight} for name, weight in weighted]}
    return {"httpRoute": {"match": {"prefix": "/"}, "action": action, **rest}}


PLAIN = (
    node("v1"),
    node("v2", timeout={"http": {"perRequest": {"unit": "s", "value": 2}}}),
    node("db", 5432, "tcp"),
    node("web", 80, "http", "pay.local", "db.local"),
    *service(
        "pay.local",
        8080,
        "http",
        gold=to(
            "v2", match={"prefix": "/", "method": "GET", "headers": [{"name": "x-user", "match": {"exact": "gold"}}]}
        ),
        rest=to("v1=3", "v2=1", timeout={"perRequest": {"unit": "s", "value": 5}}),
    ),
    *service(
        "db.local",
        5432,
        "tcp",
        all={"tcpRoute": {"action": {"weightedTargets": [{"virtualNode": "db", "weight": 1}]}}},
    ),
    resource(Kind.VIRTUAL_GATEWAY, "gate", {"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]}),
    resource(
        Kind.GATEWAY_ROUTE,
        "in",
        {
            "httpRoute": {
                "match": {"prefix": "/pay/"},
                "action": {"target": {"virtualService": {"virtualServiceName": "pay.local"}}},
            }
        },
        "gate",
    ),
)


def judged(caller: Key, *more: Resource, now: int = NOW, **call: Any) -> Verdict:
    """The verdict on a call, to the service `pay.local` on its port unless told otherwise."""
    members = {"host": "pay.local", "port": 8080, **call}
    return route(resolve(State({one.key: one for one in (*PLAIN, *more)}.values())), caller, Call(**members), now)


def test_a_verdict_says_which_route_takes_a_call_and_which_condition_kept_it_from_the_others() -> None:
    """Every condition that fails is told with its field, what was wanted and what there was."""
    found = judged(WEB, method="POST")
    hop = found.hops[0]
    assert (found.outcome, [one.name for one in found.chosen]) == ("routed", ["rest"])
    assert [(one.origin.name, one.matched) for one in hop.candidates] == [("gold", False), ("rest", True)]
    assert [(one.path, one.wanted, one.had) for one in hop.candidates[0].misses] == [
        ("spec.httpRoute.match.method", "GET", "POST"),
        ("spec.httpRoute.match.headers[0]", "x-user is 'gold'", "none"),
    ]
    assert [one.name for one in judged(WEB, headers=(("X-User", "gold"),)).chosen] == ["gold"]


def test_targets_have_their_shares_and_the_limits_that_bite_first() -> None:
    """Three quarters and one; the shorter of the route's limit and the listener's."""
    found = judged(WEB).targets
    assert [(one.node.name, one.fraction, one.timeouts) for one in found] == [
        ("v1", 0.75, Timeouts(5_000, 300_000)),
        ("v2", 0.25, Timeouts(2_000, 300_000)),
    ]


def test_a_gateway_rewrites_and_the_services_rules_then_decide() -> None:
    """Two hops at one proxy: the path loses its prefix, the Host becomes the service's."""
    found = judged(GATE, host="shop.example", port=80, path="/pay//quote?x=1", headers=(("x-user", "gold"),))
    first, second = found.hops
    assert (first.call.path, first.call_after.path) == ("/pay/quote?x=1", "/quote?x=1")
    assert (first.call.authority, second.call.authority) == ("shop.example", "pay.local")
    assert ([one.name for one in found.chosen], found.outcome) == (["in", "gold"], "routed")


@pytest.mark.parametrize(
    ("caller", "call", "outcome", "status", "reason"),
    [
        (GATE, {"port": 80, "path": "/other"}, "no-route", 404, "no gateway route matches"),
        (GATE, {"port": 81}, "refused", None, "does not listen on port 81; it listens on 80"),
        (GATE, {"port": 80, "scheme": "https"}, "refused", None, "speaks no TLS"),
        (GATE, {"port": 80, "protocol": "tcp"}, "refused", None, "speaks HTTP only"),
        (WEB, {"host": "other.local"}, "no-host", 404, "Host 'other.local:8080' is no backend's"),
        (WEB, {"headers": (("Host", "pay.local:80"),)}, "no-host", 404, "Host 'pay.local:80' is no backend's"),
        (WEB, {"host": "PAY.local"}, "routed", None, "Route 'rest' of 'pay.local' takes it"),
        (WEB, {"port": 8081}, "no-host", None, "calls nobody on port 8081: its backends are on 5432, 8080"),
        (WEB, {"scheme": "https"}, "refused", None, "the proxy takes plain HTTP, and this is encrypted"),
        (WEB, {"path": "/a#b"}, "refused", 400, "it has a fragment"),
        (WEB, {"host": "db.local", "port": 5432, "protocol": "tcp"}, "routed", None, "Route 'all' of 'db.local'"),
        (WEB, {"host": "s3.amazonaws.com", "port": 443, "scheme": "https"}, "outside", None, "AWS's own endpoints"),
        (
            WEB,
            {"host": "s3.example.com", "port": 443, "scheme": "https"},
            "no-host",
            None,
            "calls nobody on port 443",
        ),
    ],
)
def test_a_call_that_goes_nowhere_ends_with_what_a_proxy_answers_and_why(
    caller: Key, call: dict[str, Any], outcome: str, status: int | None, reason: str
) -> None:
    """The status is the proxy's own; a connection that is closed has none."""
    found = judged(caller, **call)
    assert (found.outcome, found.status) == (outcome, status)
    assert reason in found.ending.reason


def test_a_mesh_that_allows_all_lets_out_what_no_backend_is() -> None:
    """The Host on an HTTP port, and whatever is on another port."""
    allowing = resource(Kind.MESH, MESH, {"egressFilter": {"type": "ALLOW_ALL"}})
    for call in ({"host": "other.local"}, {"port": 8081}, {"port": 9, "protocol": "tcp"}):
        found = judged(WEB, allowing, **call)
        assert (found.outcome, found.hops[0].decided_by) == ("outside", Key.of_mesh(MESH))
    assert judged(WEB, allowing).outcome == "routed"


def test_grpc_clients_are_told_grpc_statuses() -> None:
    """What is 404 in HTTP is UNIMPLEMENTED, what is 503 is UNAVAILABLE."""
    lost = service("pay.local", 8080, "http", gold=to("v2=0"), rest=to("v1=0"))
    found = judged(WEB, *lost, protocol="grpc", path="/shop.Pay/Quote")
    assert (found.outcome, found.status, found.ending.grpc_status) == ("no-target", 503, 14)
    found = judged(WEB, protocol="grpc", host="other.local", path="/shop.Pay/Quote")
    assert (found.outcome, found.ending.grpc_status) == ("no-host", 12)


def test_tls_that_one_side_alone_speaks_is_refused() -> None:
    """A policy that is enforced against a node without TLS; a node that wants a client certificate."""
    policy = {"tls": {"validation": {"trust": {"file": {"certificateChain": "/ca.pem"}}}}}
    spec = {
        "listeners": [{"portMapping": {"port": 80, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": "web.local"}},
        "backends": [{"virtualService": {"virtualServiceName": "pay.local", "clientPolicy": policy}}],
    }
    found = judged(WEB, resource(Kind.VIRTUAL_NODE, "web", spec))
    assert (found.outcome, found.status) == ("refused", 503)
    assert found.ending.reason == "the client policy wants TLS, and virtual node 'v1' on port 8080 speaks none"
    files = {"file": {"certificateChain": "/c.pem", "privateKey": "/k.pem"}}
    tls = {"mode": "STRICT", "certificate": files, "validation": {"trust": {"file": {"certificateChain": "/ca.pem"}}}}
    certified = judged(WEB, node("v1", tls=tls))
    assert certified.outcome == "routed", "one of the two targets is still reached"
    assert "wants a client certificate" in certified.targets[0].refused


def test_extensions_are_told_and_those_that_answer_every_call_decide() -> None:
    """An abort of all requests answers; one that has ended does nothing; edits are seen by later matches."""
    abort = {"abort": {"percentage": 100, "httpStatus": 418}, "expiresAt": "2031-01-01T00:00:00Z"}
    fault = resource(Kind.FAULT, "f", {"target": {"virtualServiceName": "pay.local"}, **abort})
    found = judged(WEB, fault)
    assert (found.outcome, found.status) == ("answered", 418)
    assert judged(WEB, fault, now=2_000_000_000_000).outcome == "routed"
    edit = {
        "target": {"virtualGatewayName": "gate", "gatewayRouteName": "in"},
        "request": {"set": [{"name": "x-user", "value": "gold"}]},
    }
    edited = judged(GATE, resource(Kind.HEADER_EDIT, "e", edit), port=80, path="/pay/")
    assert [one.name for one in edited.chosen] == ["in", "gold"]
    half = {**abort, "abort": {"percentage": 50, "httpStatus": 418}}
    told = judged(WEB, resource(Kind.FAULT, "f", {"target": {"virtualServiceName": "pay.local"}, **half}))
    assert [(one.percentage, one.status) for one in told.hops[0].effects] == [(50, 418)]
    assert told.outcome == "routed"


def test_a_browsers_question_is_answered_by_the_proxy_of_the_route_that_it_is_about() -> None:
    """Although its method is not the route's."""
    cors = {
        "target": {"virtualRouterName": "pay.local", "routeName": "post"},
        "allowOrigins": [{"exact": "https://a"}],
    }
    more = (
        resource(
            Kind.ROUTE, "post", to("v1", match={"prefix": "/", "method": "POST"}) | {"priority": 0}, "pay.local"
        ),
        resource(Kind.CORS, "c", cors),
    )
    asking = (("Origin", "https://a"), ("Access-Control-Request-Method", "POST"))
    found = judged(WEB, *more, method="OPTIONS", headers=asking)
    assert ([one.name for one in found.chosen], found.outcome, found.status) == (["post"], "answered", 200)
    assert [one.name for one in judged(WEB, *more, method="OPTIONS").chosen] == ["rest"]


def test_only_nodes_and_gateways_call() -> None:
    """Anything else as a caller is the asker's mistake."""
    with pytest.raises(UsageError, match="'nobody' does not exist"):
        judged(Key(MESH, Kind.VIRTUAL_NODE, "nobody"))
    with pytest.raises(UsageError, match="only virtual nodes and virtual gateways do"):
        judged(Key(MESH, Kind.VIRTUAL_SERVICE, "pay.local"))


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("/a/./b", "/a/b"),
        ("/a/../b?x=//../y", "/b?x=//../y"),
        ("/../b", "/b"),
        ("/a//../b", "/a/b"),
        ("//a///b//", "/a/b/"),
        ("//", "//"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/...", "/a/..."),
        ("/a/..;x=1;y/b", "/b"),
        ("/a/.;/;x/.;b", "/a/;x/"),
        ("/a/.%2e;v/b", "/a/..;v/b"),
        ("/a\\..\\b", "/b"),
        ("/%41%7e%2f%5c", "/A~%2f%5c"),
        ('/"<>^`{|}', "/%22%3C%3E%5E%60%7B%7C%7D"),
        ("/a%zz%4", "/a%zz%4"),
        ("/a%%32Fb", "/a%252Fb"),
        ("/%%41", "/%A"),
        ("/%c3%a9", "/%c3%a9"),
    ],
)
def test_a_path_is_read_as_envoy_reads_it(sent: str, read: str) -> None:
    """Each was seen in Envoy 1.40."""
    assert judged(WEB, path=sent).hops[0].call.path == read


@pytest.mark.parametrize(
    ("match", "values", "fits"),
    [
        ({"exact": "1"}, ("0", "1"), True),
        ({"exact": "0,1"}, ("0", "1"), False),
        ({"range": {"start": -3, "end": 6}}, ("-3",), True),
        ({"range": {"start": -3, "end": 6}}, ("+5",), True),
        ({"range": {"start": -3, "end": 6}}, ("05",), True),
        ({"range": {"start": -3, "end": 6}}, ("6",), False),
        ({"range": {"start": -3, "end": 6}}, ("5.0",), False),
        ({"range": {"start": -3, "end": 6}}, ("",), False),
        ({"range": {"start": -3, "end": 6}}, ("9223372036854775808",), False),
        ({"exact": "a,b"}, ("  a,b  ",), True),
    ],
)
def test_a_header_is_compared_value_by_value(match: Wire, values: tuple[str, ...], fits: bool) -> None:
    """Any one may match; inverted, none may; one that is not there matches neither way."""
    for inverted in (False, True):
        header = {"name": "X-H", "match": match, "invert": inverted}
        asked = resource(
            Kind.ROUTE, "first", to("v1", match={"prefix": "/", "headers": [header]}) | {"priority": 0}, "pay.local"
        )
        found = judged(WEB, asked, headers=tuple(("x-h", one) for one in values))
        assert (found.chosen[0].name == "first") is (fits is not inverted)
        assert judged(WEB, asked).chosen[0].name == "rest"


@pytest.mark.parametrize(
    ("protocol", "values", "fits"),
    [
        ("http", ("a", "b"), False),
        ("http2", ("a", "b"), True),
        ("http2", ("", "a", "b"), True),
        ("http2", ("a; b",), True),
        ("http2", ("b",), False),
        ("http2", (" a", "b "), True),
        ("http", (" a; b ",), True),
        ("grpc", ("a", "b"), True),
    ],
)
def test_cookies_are_one_over_http2(protocol: Protocol, values: tuple[str, ...], fits: bool) -> None:
    """Clients may split them there, so a proxy puts them together before it compares them."""
    match = {"prefix": "/", "headers": [{"name": "cookie", "match": {"exact": "a; b"}}]}
    asked = resource(Kind.ROUTE, "first", to("v1", match=match) | {"priority": 0}, "pay.local")
    found = judged(WEB, asked, protocol=protocol, headers=tuple(("Cookie", one) for one in values))
    assert (found.chosen[0].name == "first") is fits


def test_a_fault_that_speaks_grpc_is_an_empty_success_to_others() -> None:
    """As Envoy has it; and a question of a browser about a route that leads nowhere is answered as any other call."""
    abort = {"abort": {"percentage": 100, "grpcStatus": 8}, "expiresAt": "2031-01-01T00:00:00Z"}
    fault = resource(Kind.FAULT, "f", {"target": {"virtualServiceName": "pay.local"}, **abort})
    assert judged(WEB, fault).status == 200
    assert judged(WEB, fault, protocol="grpc", path="/a/b").ending.grpc_status == 8
    cors = {"target": {"virtualServiceName": "pay.local"}, "allowOrigins": [{"exact": "https://a"}]}
    lost = service("pay.local", 8080, "http", gold=to("v1=0"), rest=to("v1=0"))
    asking = (("Origin", "https://a"), ("Access-Control-Request-Method", "POST"))
    found = judged(WEB, *lost, resource(Kind.CORS, "c", cors), method="OPTIONS", headers=asking)
    assert (found.outcome, found.status) == ("no-target", 503)


@given(states(), st.randoms(use_true_random=False))
@settings(max_examples=examples(40), deadline=None)
def test_every_call_in_every_mesh_has_a_verdict(state: State, chance: Random) -> None:
    """Whatever is lost, missing or contradictory; a call that is routed has somewhere to go."""
    graph = resolve(state)
    for caller in proxies(state):
        for host in (*(one.name for one in services(state)), "elsewhere"):
            members: dict[str, Any] = {
                "protocol": chance.choice(("http", "http2", "grpc", "tcp")),
                "port": chance.choice((8080, 8081, 9000, 443)),
                "scheme": chance.choice(("http", "http", "https")),
                "path": chance.choice(("/", "/a/b", "/s.S/M", "*", "")),
            }
            found = route(graph, caller, Call(host=host, **members), NOW)
            assert bool(found.targets) is (found.outcome == "routed")
            assert found.ending.reason
