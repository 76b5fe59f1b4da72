"""Every route that some call reaches has a derived test that reaches it; what nobody can reach is told, and fails."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import rstr
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright import rules
from meshwright.graph import resolve
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Kind, State
from meshwright.simulate import route
from meshwright.trials.deriving import derive
from meshwright.trials.deriving.expectations import UNSURE
from meshwright.trials.sendable import unsendable
from random_meshes import HTTP_NODES, TCP_NODES, Drawn, calls
from settings import examples
from strategies import resource
from test_trials import derived, ran, routed

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.model import Key
    from meshwright.trials.deriving import Derived

CALLS = 150
"""Calls by chance, of each mesh."""


def reached(found: Derived) -> set[Key]:
    """The routes that derived tests are to reach."""
    return {key for one in found.trials if one.name.endswith(" is reached") for key in one.about}


def released(state: State) -> State:
    """What of a mesh no release is refused for; without extensions, which answer some calls themselves."""
    state = State(one for one in state if one.key.kind.portable)
    while wrong := {one.subject for one in rules.audit(resolve(state)) if one.severity == "error"}:
        state = State(one for one in state if one.key.path not in wrong)
    return state


@settings(max_examples=examples(30), deadline=None)
@given(st.integers(0, 2**32))
def test_every_route_that_some_call_reaches_has_a_test(seed: int) -> None:
    """Of meshes whose matches hide one another in part: routes of routers and of gateways, of any protocol.

    Or it is told that nobody can say what answers: gRPC comes to who listens for HTTP/1.1.

    A call counts that clients can send: over gRPC the library says itself who the user's agent is.
    """
    drawn = Drawn(random.Random(seed), {name: f"{name}.nodes" for name in (*HTTP_NODES, *TCP_NODES)}, 5_000)  # noqa: S311
    state = released(drawn.state)
    graph = resolve(state)
    found = derive(graph, rstr.Rstr(random.Random(1)))  # noqa: S311 - nothing here is secret
    sent = [(caller, call) for caller, call in calls(drawn, state, CALLS) if not any(unsendable(call))]
    verdicts = [route(graph, caller, call) for caller, call in sent]
    followed = {key: one for one in verdicts for key in one.chosen if key.kind in {Kind.ROUTE, Kind.GATEWAY_ROUTE}}
    told = {one.route: one.reason for one in found.gaps}
    lacking = {
        key.path: (one.caller.name, one.call, told.get(key))
        for key, one in followed.items()
        if key not in reached(found) and told.get(key) != UNSURE
    }
    assert not lacking
    for one in found.trials:
        if one.name.endswith(" is reached"):
            assert one.about[0] in route(graph, one.caller, one.call).chosen or one.about[0].kind is Kind.VIRTUAL_NODE


def behind(*earlier: dict[str, Any], match: dict[str, Any], member: str = "httpRoute") -> State:
    """A mesh whose route `last`, with `match`, stands behind others."""
    action = {"weightedTargets": [{"virtualNode": "target", "weight": 1}]}
    state = routed({"prefix": "/"})
    state = State(one for one in state if one.key.kind is not Kind.ROUTE)
    if member == "grpcRoute":
        port = {"listeners": [{"portMapping": {"port": 8080, "protocol": "grpc"}}]}
        found = {"serviceDiscovery": {"dns": {"hostname": "target.nodes"}}}
        state = state.put(
            resource(Kind.VIRTUAL_NODE, "target", {**port, **found}), resource(Kind.VIRTUAL_ROUTER, "target", port)
        )
    routes = [
        resource(Kind.ROUTE, name, {member: {"match": asked, "action": action}, "priority": place}, parent="target")
        for place, (name, asked) in enumerate([*((f"r{n}", one) for n, one in enumerate(earlier)), ("last", match)])
    ]
    return state.put(*routes)


def header(name: str = "x-a", *, invert: bool = False, **match: Any) -> dict[str, Any]:
    """A condition on a header, or metadata."""
    return {"name": name, **({"match": match} if match else {}), **({"invert": True} if invert else {})}


@pytest.mark.parametrize(
    ("earlier", "match"),
    [
        ([{"prefix": "/", "method": "GET"}], {"prefix": "/"}),
        ([{"prefix": "/", "method": one} for one in ("GET", "POST", "PUT")], {"prefix": "/"}),
        ([{"path": {"exact": "/"}}], {"prefix": "/"}),
        ([{"path": {"regex": "/([a-m].*)?"}}], {"path": {"regex": "/.*"}}),
        ([{"prefix": "/a"}], {"path": {"regex": "/[ab]c?"}}),
        ([{"prefix": "/", "scheme": "http"}], {"prefix": "/"}),
        ([{"prefix": "/", "headers": [header(invert=True)]}], {"prefix": "/"}),
        ([{"prefix": "/", "headers": [header(invert=True)]}, {"prefix": "/", "headers": [header(exact="1")]}],
         {"prefix": "/"}),
        ([{"prefix": "/", "headers": [header(range={"start": 0, "end": 5})]}],
         {"prefix": "/", "headers": [header(range={"start": 0, "end": 6})]}),
        ([{"prefix": "/", "headers": [header(exact="a")]}], {"prefix": "/", "headers": [header(prefix="a")]}),
        ([{"prefix": "/", "headers": [header(regex="[a-y]+")]}],
         {"prefix": "/", "headers": [header(regex="[a-z]+")]}),
        ([{"prefix": "/", "headers": [header(suffix="-test")]}],
         {"prefix": "/", "headers": [header(prefix="user-"), header(suffix="t")]}),
        ([{"prefix": "/", "queryParameters": [{"name": "q", "match": {"exact": "1"}}]}],
         {"prefix": "/", "queryParameters": [{"name": "q"}]}),
        ([{"prefix": "/", "method": "GET"}, {"prefix": "/", "headers": [header(exact="x", invert=True)]},
          {"path": {"exact": "/"}}], {"prefix": "/", "headers": [header()]}),
        ([{"prefix": "/", "headers": [header(":path", exact="/a")]}], {"path": {"exact": "/a"}}),
        ([{"prefix": "/", "headers": [header(":path", suffix="a")]}], {"path": {"exact": "/a"}}),
        ([{"prefix": "/", "headers": [header(":path", suffix="z", invert=True)]}], {"path": {"exact": "/b"}}),
        ([{"prefix": "/", "headers": [header(regex=".+")]}], {"prefix": "/", "headers": [header()]}),
        ([{"path": {"regex": "/[a-z]{1,50}"}}], {"path": {"regex": "/[a-z]{1,51}"}}),
    ],
)  # fmt: skip
def test_a_route_behind_others_is_reached_by_what_they_do_not_take(
    earlier: list[dict[str, Any]], match: dict[str, Any]
) -> None:
    """By another method, path, scheme, header, parameter or query, or several of them."""
    state = behind(*earlier, match=match)
    found = derived(state)
    (trial,) = [one for one in found.trials if one.name == "route last of target.local:8080 is reached"]
    verdict = route(resolve(state), trial.caller, trial.call)
    assert [one.name for one in verdict.chosen] == ["last"]
    assert not [one for one in found.gaps if one.route.name == "last" and not one.path]


@pytest.mark.parametrize(
    ("earlier", "match"),
    [
        ({"serviceName": "lab.Workload"}, {}),
        ({"serviceName": "lab.Cart", "methodName": "Who"}, {"serviceName": "lab.Cart"}),
        ({"serviceName": "lab.Cart", "metadata": [header(invert=True)]}, {"serviceName": "lab.Cart"}),
    ],
)
def test_a_grpc_route_behind_others_is_reached_too(earlier: dict[str, Any], match: dict[str, Any]) -> None:
    """By another service, method or metadata."""
    state = behind(earlier, match=match, member="grpcRoute")
    (trial,) = [one for one in derived(state).trials if one.name == "route last of target.local:8080 is reached"]
    assert [one.name for one in route(resolve(state), trial.caller, trial.call).chosen] == ["last"]


@pytest.mark.parametrize(
    ("earlier", "match", "sides"),
    [
        ({"path": {"exact": "/quotesx"}, "method": "GET"}, {"prefix": "/quotes"},
         {"path /quotesx is taken, too", "path /quotex goes elsewhere", "path /quote goes elsewhere"}),
        ({"prefix": "/", "method": "GET", "headers": [header(range={"start": 1, "end": 10})]},
         {"prefix": "/", "headers": [header(range={"start": 1, "end": 10})]},
         {"header x-a: 9 is taken, too", "header x-a: 0 goes elsewhere", "header x-a: 10 goes elsewhere"}),
        ({"prefix": "/", "headers": [header("x-b", invert=True)]},
         {"prefix": "/", "headers": [header(prefix="ab")]},
         {"header x-a: abx is taken, too", "header x-a: a goes elsewhere", "header x-a: AB goes elsewhere"}),
        ({"prefix": "/", "headers": [header(":path", exact="/a")]}, {"path": {"exact": "/a"}},
         {"path /aa goes elsewhere", "path /A goes elsewhere", "path /a/ goes elsewhere"}),
    ],
)  # fmt: skip
def test_both_sides_of_a_condition_are_tried_with_calls_that_no_route_before_takes(
    earlier: dict[str, Any], match: dict[str, Any], sides: set[str]
) -> None:
    """Also where the plainest such call is one for a route before; what goes elsewhere is taken by none."""
    state = behind(earlier, match=match)
    trials = [one for one in derived(state).trials if ": " in one.name and one.about[0].name == "last"]
    assert sides <= {one.name.removeprefix("route last of target.local:8080: ") for one in trials}
    for one in trials:
        if not one.given:
            chosen = [key.name for key in route(resolve(state), one.caller, one.call).chosen]
            assert chosen == (["last"] if one.name.endswith(" is taken, too") else [])


def asking(protocol: str) -> State:
    """A mesh of that protocol whose gateway and service have a route for one value of a header, or of metadata."""
    listening = {"listeners": [{"portMapping": {"port": 8080, "protocol": protocol}}]}
    member, conditions = f"{protocol}Route", "metadata" if protocol == "grpc" else "headers"
    match = {conditions: [header(prefix="Gr\u00fc")], **({} if protocol == "grpc" else {"prefix": "/"})}
    action = {"weightedTargets": [{"virtualNode": "target", "weight": 1}]}
    enters = {"match": {"serviceName": "a.B"} if protocol == "grpc" else {"prefix": "/"}}
    into = {"action": {"target": {"virtualService": {"virtualServiceName": "target.local"}}}}
    found = {"serviceDiscovery": {"dns": {"hostname": "target.nodes"}}}
    return State(one for one in routed({"prefix": "/"}) if one.key.kind is not Kind.ROUTE).put(
        resource(Kind.VIRTUAL_NODE, "target", {**listening, **found}),
        resource(Kind.VIRTUAL_ROUTER, "target", listening),
        resource(Kind.ROUTE, "only", {member: {"match": match, "action": action}}, parent="target"),
        resource(Kind.VIRTUAL_GATEWAY, "gate", listening),
        resource(Kind.GATEWAY_ROUTE, "in", {member: {**enters, **into}}, parent="gate"),
    )


@pytest.mark.envoy
@pytest.mark.parametrize("protocol", ["http", "http2"])
async def test_values_other_than_ascii_are_sent_where_envoys_take_them(protocol: str) -> None:
    """On both sides of a condition, also through a gateway."""
    state = asking(protocol)
    found = derived(state)
    trials = [one for one in found.trials if not one.given]
    names = {one.name for one in trials}
    assert {
        "route only of target.local:8080: header x-a: Gr\u00fcx is taken, too",
        "route only of target.local:8080: header x-a: gR\u00dc goes elsewhere",
        "gateway route in of gate:8080 is reached",
    } <= names
    async with Rig(state) as rig:
        assert [one.trial.name for one in await run(rig, trials, lambda _: None) if not one.passed] == []


def test_what_of_a_service_only_a_value_reaches_that_cannot_be_sent_is_no_failure() -> None:
    """Neither of who declares it nor of a gateway route that leads there: it is told with the reason."""
    found = derived(asking("grpc"))
    reason = "'Gr\u00fc' cannot be sent: metadata of gRPC is printable ASCII"
    told = {(one.route.name, one.path): one.reason for one in found.gaps}
    backend = "spec.backends[0].virtualService.virtualServiceName"
    places = {("only", "spec.grpcRoute.match.metadata[0]"), ("caller", backend), ("in", "")}
    assert {place: told.get(place) for place in places} == dict.fromkeys(places, reason)
    assert not {"caller reaches target.local", "gateway route in of gate:8080 is reached"} & {
        one.name for one in found.trials
    }


def test_routes_that_leave_nothing_are_named_with_what_was_tried() -> None:
    """Also where it takes several together."""
    either = ({"prefix": "/", "headers": [header()]}, {"prefix": "/", "headers": [header(invert=True)]})
    (gap,) = [one for one in derived(behind(*either, match={"prefix": "/"})).gaps if one.route.name == "last"]
    assert "Route 'r0' and Route 'r1' together take before it whatever it would match" in gap.reason
    assert "2 kinds of the header x-a" in gap.reason
    hidden = behind({"prefix": "/"}, match={"prefix": "/a"})
    (gap,) = [one for one in derived(hidden).gaps if one.route.name == "last"]
    assert gap.reason.startswith("Route 'r0' takes before it whatever it would match")


MESH = """\
virtualGatewayName: gate
spec: {listeners: [{portMapping: {port: 8000, protocol: http}}]}
---
virtualGatewayName: gate
gatewayRouteName: asked
spec:
  priority: 1
  httpRoute:
    match: {prefix: /, method: GET}
    action: {target: {virtualService: {virtualServiceName: deep.local}}}
---
virtualGatewayName: gate
gatewayRouteName: told
spec:
  priority: 2
  httpRoute: {match: {prefix: /}, action: {target: {virtualService: {virtualServiceName: shop.local}}}}
---
virtualNodeName: front
spec:
  backends:
    - virtualService: {virtualServiceName: shop.local}
    - virtualService: {virtualServiceName: deep.local}
    - virtualService: {virtualServiceName: ghost.local}
    - virtualService: {virtualServiceName: zero.local}
    - virtualService: {virtualServiceName: both.local}
---
virtualNodeName: other
spec:
  backends: [{virtualService: {virtualServiceName: deep.local}}, {virtualService: {virtualServiceName: zero.local}}]
---
virtualNodeName: a
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}], serviceDiscovery: {dns: {hostname: a.nodes}}}
---
virtualNodeName: b
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}], serviceDiscovery: {dns: {hostname: b.nodes}}}
---
virtualRouterName: shop
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}]}
---
virtualRouterName: shop
routeName: gets
spec:
  priority: 1
  httpRoute: {match: {prefix: /, method: GET}, action: {weightedTargets: [{virtualNode: a, weight: 1}]}}
---
virtualRouterName: shop
routeName: rest
spec:
  priority: 2
  httpRoute: {match: {prefix: /}, action: {weightedTargets: [{virtualNode: b, weight: 1}]}}
---
virtualRouterName: shop
routeName: heads
spec:
  priority: 0
  httpRoute: {match: {prefix: /, method: HEAD}, action: {weightedTargets: [{virtualNode: b, weight: 1}]}}
---
virtualRouterName: both
spec: {listeners: [{portMapping: {port: 8082, protocol: http2}}]}
---
virtualRouterName: both
routeName: rpc
spec:
  priority: 1
  grpcRoute: {match: {serviceName: lab.Cart}, action: {weightedTargets: [{virtualNode: c, weight: 1}]}}
---
virtualRouterName: both
routeName: bytes
spec:
  priority: 0
  grpcRoute:
    match: {metadata: [{name: x-key-bin, match: {exact: AAEC}}]}
    action: {weightedTargets: [{virtualNode: c, weight: 1}]}
---
virtualRouterName: both
routeName: tunnel
spec:
  priority: 3
  http2Route: {match: {prefix: /t, method: CONNECT}, action: {weightedTargets: [{virtualNode: c, weight: 1}]}}
---
virtualRouterName: shop
routeName: bearer
spec:
  priority: 0
  httpRoute:
    match: {prefix: /, headers: [{name: authorization, match: {prefix: "Bearer "}}]}
    action: {weightedTargets: [{virtualNode: b, weight: 1}]}
---
virtualRouterName: both
routeName: far
spec:
  priority: 2
  http2Route: {match: {prefix: /, scheme: https}, action: {weightedTargets: [{virtualNode: c, weight: 1}]}}
---
virtualNodeName: c
spec: {listeners: [{portMapping: {port: 8082, protocol: http2}}], serviceDiscovery: {dns: {hostname: c.nodes}}}
---
virtualServiceName: both.local
spec: {provider: {virtualRouter: {virtualRouterName: both}}}
---
virtualServiceName: shop.local
spec: {provider: {virtualRouter: {virtualRouterName: shop}}}
---
virtualRouterName: deep
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}]}
---
virtualRouterName: deep
routeName: api
spec: {httpRoute: {match: {prefix: /api}, action: {weightedTargets: [{virtualNode: a, weight: 1}]}}}
---
virtualServiceName: deep.local
spec: {provider: {virtualRouter: {virtualRouterName: deep}}}
---
virtualRouterName: zero
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}]}
---
virtualRouterName: zero
routeName: none
spec:
  httpRoute:
    match: {prefix: /}
    action: {weightedTargets: [{virtualNode: a, weight: 0}]}
---
virtualServiceName: zero.local
spec: {provider: {virtualRouter: {virtualRouterName: zero}}}
"""


@pytest.mark.envoy
def test_what_is_declared_is_reached_or_the_run_says_that_it_is_not(tmp_path: Path) -> None:
    """Routes behind others, for other protocols, for HEAD, by bytes; a service without `/`, a route without weights.

    A route for CONNECT, which brings no path in HTTP/2, has no test, and that is the reason for all of it.
    """
    (tmp_path / "mesh.yaml").write_text(MESH)
    arguments = ("mesh.yaml", "--mesh", "m", "--isolation", "loopback", "--report", "report.json")
    done = ran(tmp_path, *arguments, "--only", "*is reached*", "--only", "* reaches *")
    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    tests = {one["name"]: one for one in report["tests"]}
    assert {name for name, one in tests.items() if one["outcome"] != "passed"} == {
        "route none of zero.local:8080 is reached",
        "other reaches zero.local",
    }
    assert "decided   Route 'none' has no target with a weight" in done.stdout
    served = {name: {call["node"] for call in one["seen"]} for name, one in tests.items()}
    assert served["route rest of shop.local:8080 is reached"] == {"b"}
    assert served["route heads of shop.local:8080 is reached"] == {"b"}
    assert served["route rpc of both.local:8082 is reached"] == {"c"}
    assert served["route bytes of both.local:8082 is reached"] == {"c"}
    assert served["route bearer of shop.local:8080 is reached"] == {"b"}
    assert served["route far of both.local:8082 is reached"] == {"c"}
    assert served["gateway route told of gate:8000 is reached"] == {"b"}
    assert served["gateway route asked of gate:8000 is reached"] == {"a"}
    assert served["other reaches deep.local"] == {"a"}
    lost = {(one["route"].rpartition("/")[2], one["why"]) for one in report["backends"] if one["why"]}
    assert lost == {("front", "virtual service 'ghost.local' does not exist")}
    covered = [one["covered"] for one in report["backends"] if one["route"].endswith("/other")]
    assert covered == [True, False]
    whole = [one for one in report["points"] if not one["path"]]
    assert {one["route"].rpartition("/")[2] for one in whole if not one["covered"]} == {"none", "tunnel"}
    tunnel = [one for one in report["points"] if one["route"].endswith("/tunnel")]
    assert [one["covered"] for one in tunnel] == [False] * 4
    assert all("CONNECT asks for a tunnel and has no path" in one["why"] for one in tunnel)
