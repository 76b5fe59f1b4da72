"""Snapshots of meshes that App Mesh would refuse or hardly sees: never an exception, never a rejection by Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envoy_check import refusal
from meshwright.graph import resolve
from meshwright.model import Key, Kind, State
from meshwright.model.specs import VirtualNodeSpec
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE, Loopback, Placement, Redirect, Snapshot
from meshwright.snapshot.static import as_dict
from settings import examples
from strategies import MESH, Wire, proxies, resource, states

if TYPE_CHECKING:
    from meshwright.model import Resource

LOOPBACK = Loopback(application="127.1.0.1", ingress="127.1.0.2", egress="127.1.0.3")
PLACEMENTS: tuple[Placement, ...] = (Redirect(), LOOPBACK)
WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
HTTP = {"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]}
FOUND = {"serviceDiscovery": {"dns": {"hostname": "n.local"}}}

pytestmark = pytest.mark.envoy


def calling(*names: str) -> Resource:
    """A node that calls services."""
    return resource(
        Kind.VIRTUAL_NODE, "web", {"backends": [{"virtualService": {"virtualServiceName": one}} for one in names]}
    )


def provided(name: str, node: str = "n") -> Resource:
    """A service that a node provides."""
    return resource(Kind.VIRTUAL_SERVICE, name, {"provider": {"virtualNode": {"virtualNodeName": node}}})


def built(*resources: Resource, placement: Placement | None = None) -> Snapshot:
    """The snapshot of the node `web`, taken by Envoy."""
    found = build(resolve(State(resources)), WEB, {}, placement or Redirect())
    assert refusal([found]) == ""
    return found


def routed(match: Wire, **rest: Any) -> tuple[Resource, ...]:
    """A mesh whose one route has `match` and whatever else."""
    action = {"weightedTargets": [{"virtualNode": "n", "weight": 1}]}
    return (
        calling("s.local"),
        resource(Kind.VIRTUAL_NODE, "n", {**HTTP, **FOUND}),
        resource(Kind.VIRTUAL_SERVICE, "s.local", {"provider": {"virtualRouter": {"virtualRouterName": "r"}}}),
        resource(Kind.VIRTUAL_ROUTER, "r", HTTP),
        resource(Kind.ROUTE, "t", {"httpRoute": {"match": match, "action": action, **rest}}, "r"),
    )


@settings(max_examples=examples(15))
@given(states(), st.sampled_from(PLACEMENTS), st.data())
def test_missing_objects_are_normal(state: State, placement: Placement, data: st.DataObject) -> None:
    """Whatever is taken away, what is left builds, refers to nothing that is not there, and Envoy takes it."""
    gone = data.draw(st.sets(st.sampled_from([one.key for one in state])))
    left = state.drop(*gone)
    graph = resolve(left)
    snapshots = [build(graph, key, {}, placement) for key in proxies(left)]
    assert refusal(snapshots) == ""


@settings(max_examples=examples(15))
@given(states(), st.sampled_from(PLACEMENTS))
def test_a_node_that_cannot_be_found_is_refused_traffic(state: State, placement: Placement) -> None:
    """Without service discovery its clients answer 503 and say why."""
    lost = [
        msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, service_discovery=None))
        for one in state
        if isinstance(one.spec, VirtualNodeSpec)
    ]
    graph = resolve(state.put(*lost))
    snapshots = [build(graph, key, {}, placement) for key in proxies(state)]
    assert refusal(snapshots) == ""
    for snapshot in snapshots:
        for name, one in snapshot.of(CLUSTER).items():
            if name.startswith("cds_egress_") and not name.endswith(("_amazonaws", "_mesh-allow-all")):
                assert "endpoints" not in as_dict(one)["load_assignment"]
                assert any("no service discovery" in said.reason for said in snapshot.unserved)


def test_names_that_envoy_cannot_tell_apart_are_served_once_and_reported() -> None:
    """Host names have no case; a star would be a pattern."""
    names = ("a.local", "A.local", "*.local")
    found = built(calling(*names), *map(provided, names), resource(Kind.VIRTUAL_NODE, "n", {**HTTP, **FOUND}))
    hosts = as_dict(found.of(ROUTE)["rds_egress_http_80"])["virtual_hosts"]
    assert [one["name"] for one in hosts] == ["a.local"]
    assert [one.subject.name for one in found.unserved] == ["*.local", "A.local"]


def test_a_service_that_is_named_as_another_with_its_port_is_reported() -> None:
    """Whichever comes first: calls to `a.local:80` are calls to `a.local` on port 80."""
    for names in (("a.local", "a.local:80"), ("a.local:80", "a.local")):
        found = built(calling(*names), *map(provided, names), resource(Kind.VIRTUAL_NODE, "n", {**HTTP, **FOUND}))
        (lost,) = found.unserved
        assert lost.subject.name == names[1]
        assert lost.reason == f"calls to the host 'a.local:80' go to '{names[0]}', which has it already"


def test_numbers_without_bounds_are_clamped_to_what_the_wire_carries() -> None:
    """Some members of the published model take any 64-bit number."""
    vast = 2**63 - 1
    match = {"prefix": "/", "headers": [{"name": "x", "match": {"range": {"start": -vast, "end": vast}}}]}
    policy = {
        "maxRetries": vast,
        "perRetryTimeout": {"unit": "s", "value": vast},
        "httpRetryEvents": ["server-error", "made-up"],
    }
    timeout = {"perRequest": {"unit": "s", "value": vast}, "idle": {"unit": "ms", "value": vast}}
    outlier = {
        "interval": {"unit": "s", "value": vast},
        "baseEjectionDuration": {"unit": "s", "value": 0},
        "maxEjectionPercent": 100,
        "maxServerErrors": vast,
    }
    listener = {
        **HTTP["listeners"][0],
        "outlierDetection": outlier,
        "connectionPool": {"http": {"maxConnections": 2**31 - 1}},
    }
    strained = resource(Kind.VIRTUAL_NODE, "n", {"listeners": [listener], **FOUND})
    resources = [one for one in routed(match, retryPolicy=policy, timeout=timeout) if one.key != strained.key]
    found = built(*resources, strained)
    route = as_dict(found.of(ROUTE)["rds_egress_http_80"])["virtual_hosts"][0]["routes"][0]["route"]
    assert route["retry_policy"]["num_retries"] == 2**32 - 1
    own = build(resolve(State([strained])), strained.key, {}, LOOPBACK)
    assert refusal([own]) == ""


def test_a_backend_named_by_arn_is_the_service_itself() -> None:
    """Across accounts a backend is written as an ARN."""
    arn = provided("s.local").key.arn(region="us-east-1", account="000000000000")
    found = built(calling(arn), provided("s.local"), resource(Kind.VIRTUAL_NODE, "n", {**HTTP, **FOUND}))
    hosts = as_dict(found.of(ROUTE)["rds_egress_http_80"])["virtual_hosts"]
    assert [one["domains"] for one in hosts] == [["s.local", "s.local:80"]]


def test_aws_stays_reachable_and_the_rest_only_when_all_is_allowed() -> None:
    """Behind iptables: DROP_ALL lets AWS through, ALLOW_ALL everything; on loopback neither exists."""
    for kind, otherwise in (("DROP_ALL", False), ("ALLOW_ALL", True)):
        mesh = resource(Kind.MESH, MESH, {"egressFilter": {"type": kind}})
        found = built(mesh, calling())
        listener = as_dict(found.of(LISTENER)["lds_egress_0.0.0.0_15001"])
        aws, *closed = listener["filter_chains"]
        assert closed == ([{"filter_chain_match": {"destination_port": 15001}}] if otherwise else [])
        assert aws["filter_chain_match"] == {"destination_port": 443, "server_names": ["*.amazonaws.com"]}
        assert ("default_filter_chain" in listener) is otherwise
        assert built(mesh, calling(), placement=LOOPBACK).resources == {}


def test_an_address_as_hostname_is_not_made_absolute() -> None:
    """Neither is a bare word; a name with dots is, so that no search domain is tried."""
    for hostname, asked in (("10.0.0.1", "10.0.0.1"), ("db", "db"), ("db.local", "db.local."), ("db.", "db.")):
        node = resource(Kind.VIRTUAL_NODE, "n", {**HTTP, "serviceDiscovery": {"dns": {"hostname": hostname}}})
        found = built(calling("s.local"), provided("s.local"), node)
        cluster = as_dict(found.of(CLUSTER)["cds_egress_m_n_http_80"])
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        assert endpoint["address"]["socket_address"] == {"address": asked, "port_value": 80}
