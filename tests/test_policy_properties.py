"""Whatever our constraints let through of egress policies, telemetry, zone policies and rate limits, Envoy takes."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from envoy_check import refusal
from meshwright import constraints
from meshwright.graph import resolve
from meshwright.model import Key, Kind, Resource, State
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Endpoint, Loopback, Redirect, Traits
from settings import examples
from strategies import Wire, proxies, resource

PORTS = (80, 443, 8080, 9000)
"""Of backends and of what is named outside, so that they meet."""
ZONES = ("", "us-east-1a", "us-east-1b")
TRAITS = Traits(version=(1, 40, 0), zone=ZONES[1], runtime=True)
PLACEMENTS = (Redirect(), Loopback(application="127.1.0.1", ingress="127.1.0.2", egress="127.1.0.3"))
words = st.text("aA0%$-_", min_size=1, max_size=6)
hosts = st.sampled_from(("api.local", "*.local", "db.local", "*.amazonaws.com", "API.x_y.z.", "*.1", "1.2.3.4", "a"))


def nothing_or(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Sometimes nothing."""
    return st.none() | strategy


def given_only(**members: st.SearchStrategy[object]) -> st.SearchStrategy[Wire]:
    """An object with the members that are something."""
    return st.fixed_dictionaries(members).map(lambda found: {k: v for k, v in found.items() if v is not None})


def seconds(least: int) -> st.SearchStrategy[Wire]:
    """A duration of at least so many milliseconds, and a very long one."""
    milliseconds = st.fixed_dictionaries({"value": st.integers(least, 10**6), "unit": st.just("ms")})
    return milliseconds | st.just({"value": 2**31 - 1, "unit": "s"})


attributes = nothing_or(
    st.lists(words, min_size=1, max_size=2, unique=True).map(
        lambda keys: [{"key": key, "value": key[1:]} for key in keys]
    )
)
endpoints = st.one_of(
    st.tuples(hosts.filter(lambda one: "*" not in one), st.integers(1, 65_535)).map("{0[0]}:{0[1]}".format),
    st.tuples(st.ip_addresses(v=6), st.integers(1, 65_535)).map("[{0[0]}]:{0[1]}".format),
)
collectors = st.fixed_dictionaries({"endpoint": endpoints})
targets: dict[Kind, tuple[Wire, ...]] = {
    Kind.RATE_LIMIT: (
        {"virtualNodeName": "api"},
        {"virtualNodeName": "api", "port": 9000},
        {"virtualServiceName": "api.local"},
        {"virtualRouterName": "api", "routeName": "http"},
        {"virtualRouterName": "api", "routeName": "tcp"},
        {"virtualGatewayName": "door"},
        {"virtualGatewayName": "door", "gatewayRouteName": "in"},
    ),
    Kind.EGRESS_POLICY: ({"virtualNodeName": "web"}, {"virtualNodeName": "api"}),
    Kind.TELEMETRY: ({}, {"virtualNodeName": "web"}, {"virtualGatewayName": "door"}),
    Kind.ZONE_POLICY: ({}, {"virtualNodeName": "api"}, {"virtualServiceName": "api.local"}),
}
specs: dict[Kind, st.SearchStrategy[Wire]] = {
    Kind.RATE_LIMIT: given_only(
        maxTokens=st.integers(1, 2**31 - 1),
        tokensPerFill=nothing_or(st.integers(1, 2**31 - 1)),
        fillInterval=seconds(1),
        statusCode=nothing_or(st.integers(400, 599)),
    ),
    Kind.EGRESS_POLICY: given_only(
        type=st.sampled_from((None, "DROP_ALL", "ALLOW_ALL")),
        allow=nothing_or(
            st.lists(
                st.fixed_dictionaries(
                    {
                        "host": hosts,
                        "ports": st.lists(st.sampled_from(PORTS), min_size=1, max_size=4),
                        "protocol": st.sampled_from(("tls", "http")),
                    }
                ),
                max_size=6,
            )
        ),
    ),
    Kind.TELEMETRY: given_only(
        tracing=given_only(
            openTelemetry=collectors,
            samplingPercentage=nothing_or(st.sampled_from((0, 0.0001, 33.3333, 100))),
            serviceName=nothing_or(words),
            attributes=attributes,
        ),
        accessLog=nothing_or(given_only(openTelemetry=collectors, attributes=attributes)),
    ),
    Kind.ZONE_POLICY: given_only(preferSameZone=st.booleans(), minHealthyPercentage=nothing_or(st.integers(0, 100))),
}


@st.composite
def extensions(draw: st.DrawFn) -> list[Resource]:
    """One of each target, or none, of all four kinds."""
    return [
        resource(kind, f"{kind}-{index}", {**draw(specs[kind]), **({"target": target} if target else {})})
        for kind, several in targets.items()
        for index, target in enumerate(several)
        if draw(st.booleans())
    ]


def shop(mesh: Wire, *, keeps_host: bool) -> list[Resource]:
    """A gateway and a node in front of a node that speaks HTTP and TCP; the first also calls a database over TCP."""

    def listening(**ports: int) -> list[Wire]:
        return [{"portMapping": {"port": port, "protocol": protocol}} for protocol, port in ports.items()]

    both = listening(http=8080, tcp=9000)
    to_api = {"target": {"virtualService": {"virtualServiceName": "api.local"}, "port": 8080}}
    rewrite = {"rewrite": {"hostname": {"defaultTargetHostname": "DISABLED"}}} if keeps_host else {}
    backends = [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in ("api", "db")]
    found = {"awsCloudMap": {"namespaceName": "m", "serviceName": "api"}}
    routes: dict[str, Wire] = {
        protocol: {
            f"{protocol}Route": {
                "match": {"port": port, **({"prefix": "/"} if protocol == "http" else {})},
                "action": {"weightedTargets": [{"virtualNode": "api", "weight": 1, "port": port}]},
            }
        }
        for protocol, port in (("http", 8080), ("tcp", 9000))
    }
    return [
        resource(Kind.MESH, "m", mesh),
        resource(Kind.VIRTUAL_GATEWAY, "door", {"listeners": both[:1]}),
        resource(
            Kind.GATEWAY_ROUTE,
            "in",
            {"httpRoute": {"match": {"prefix": "/"}, "action": {**to_api, **rewrite}}},
            parent="door",
        ),
        resource(Kind.VIRTUAL_NODE, "web", {"backends": backends}),
        resource(Kind.VIRTUAL_NODE, "api", {"listeners": both, "serviceDiscovery": found}),
        resource(
            Kind.VIRTUAL_NODE,
            "db",
            {"listeners": listening(tcp=443), "serviceDiscovery": {"dns": {"hostname": "db.nodes"}}},
        ),
        resource(Kind.VIRTUAL_SERVICE, "api.local", {"provider": {"virtualRouter": {"virtualRouterName": "api"}}}),
        resource(Kind.VIRTUAL_SERVICE, "db.local", {"provider": {"virtualNode": {"virtualNodeName": "db"}}}),
        resource(Kind.VIRTUAL_ROUTER, "api", {"listeners": both}),
        *(resource(Kind.ROUTE, name, spec, parent="api") for name, spec in routes.items()),
    ]


meshes = st.fixed_dictionaries(
    {
        "egressFilter": st.sampled_from(("ALLOW_ALL", "DROP_ALL")).map(lambda one: {"type": one}),
        "serviceDiscovery": st.sampled_from(("IPv4_ONLY", "IPv6_PREFERRED")).map(lambda one: {"ipPreference": one}),
    }
)
instances = st.lists(
    st.builds(
        lambda number, zone, healthy: Endpoint(
            address=str(ipaddress.ip_address(0x0A000000 + number)), port=8080, zone=zone, healthy=healthy
        ),
        st.integers(1, 9),
        st.sampled_from(ZONES),
        st.booleans(),
    ),
    max_size=4,
)


@pytest.mark.envoy
@given(extensions(), meshes, instances, st.sampled_from(PLACEMENTS), st.booleans())
@settings(max_examples=examples(5), deadline=None)
def test_envoy_takes_whatever_is_let_through(
    drawn: list[Resource],
    mesh: Wire,
    found: list[Endpoint],
    placement: Redirect | Loopback,
    keeps_host: bool,
) -> None:
    """At every place, in every combination, in both placements."""
    every = State([*shop(mesh, keeps_host=keeps_host), *drawn])
    refused = {one.subject for one in constraints.check(resolve(every)) if one.severity == "error"}
    state = State(one for one in every if str(one.key) not in refused)
    note(f"refused: {sorted(refused)}")
    api = Key("m", Kind.VIRTUAL_NODE, "api")
    graph = resolve(state)
    snapshots = [build(graph, key, {api: tuple(found)}, placement, TRAITS) for key in proxies(state)]
    assert refusal(snapshots) == ""
