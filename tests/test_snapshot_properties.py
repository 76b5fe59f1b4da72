"""Every mesh that App Mesh accepts becomes snapshots: the same each time, whole, scoped, and taken by Envoy."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from envoy_check import ABLE, refusal
from extending import extended
from meshwright.graph import Graph, resolve
from meshwright.model import Key, Kind, State
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    Endpoint,
    Loopback,
    Placement,
    Redirect,
    Snapshot,
    Traits,
)
from meshwright.snapshot.static import as_dict
from settings import examples
from strategies import node_specs, proxies, resource, states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LOOPBACK = Loopback(application="127.1.0.1", ingress="127.1.0.2", egress="127.1.0.3")
placements = st.sampled_from((Redirect(), LOOPBACK))


def discovered(state: State) -> dict[Key, tuple[Endpoint, ...]]:
    """One instance in Cloud Map for each node."""
    return {key: (Endpoint(address="10.0.0.1", port=8080),) for key in proxies(state)}


def built(state: State, placement: Placement) -> dict[Key, Snapshot]:
    """The snapshot of every proxy; each node has one instance in Cloud Map."""
    graph, instances = resolve(state), discovered(state)
    return {key: build(graph, key, instances, placement, ABLE) for key in proxies(state)}


def members(value: Any, name: str) -> Iterator[Any]:
    """Every value of a member called `name`, at any depth."""
    if isinstance(value, list):
        for one in value:
            yield from members(one, name)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key == name:
                yield one
            yield from members(one, name)


def clusters_named(value: Any) -> set[str]:
    """The clusters that routes and TCP proxies refer to."""
    single = {one for one in members(value, "cluster") if isinstance(one, str)}
    weighted = {one["name"] for several in members(value, "weighted_clusters") for one in several["clusters"]}
    return single | weighted


@settings(max_examples=examples(30))
@given(extended(states()), placements)
def test_the_same_input_gives_the_same_bytes(state: State, placement: Placement) -> None:
    """Not even the order in which objects were put matters."""
    again = State(reversed(list(state)))
    assert built(state, placement) == built(again, placement)


@settings(max_examples=examples(30))
@given(extended(states()), placements)
def test_every_reference_leads_to_a_resource_and_nothing_else_is_sent(state: State, placement: Placement) -> None:
    """Clusters, route configurations and endpoints: all that is named, and only that."""
    for snapshot in built(state, placement).values():
        clusters = {name: as_dict(one) for name, one in snapshot.of(CLUSTER).items()}
        routes = [as_dict(one) for one in snapshot.of(ROUTE).values()]
        listeners = [as_dict(one) for one in snapshot.of(LISTENER).values()]
        assert clusters_named([routes, listeners]) <= set(clusters)
        assert set(members(listeners, "route_config_name")) == set(snapshot.of(ROUTE))
        by_eds = {name for name, one in clusters.items() if one.get("type") == "EDS"}
        assert by_eds == set(snapshot.of(ENDPOINT))


@settings(max_examples=examples(30))
@given(extended(states()), placements)
def test_every_resource_names_existing_origins(state: State, placement: Placement) -> None:
    """A rejection can always be traced to objects of the mesh."""
    for snapshot in built(state, placement).values():
        for named in snapshot.resources.values():
            for one in named.values():
                assert one.origins
                assert set(one.origins) <= {known.key for known in state}
                assert {clue.origin for clue in one.clues} <= set(one.origins)


@settings(max_examples=examples(20))
@given(states(), node_specs("stranger"), placements)
def test_an_unrelated_node_changes_no_other_proxy(state: State, spec: dict[str, Any], placement: Placement) -> None:
    """A node that nobody calls reaches nobody's Envoy."""
    before = built(state, placement)
    after = built(state.put(resource(Kind.VIRTUAL_NODE, "stranger", spec)), placement)
    assert {key: after[key] for key in before} == before


@settings(max_examples=examples(20))
@given(states(), states(), placements, st.data())
def test_a_changed_node_changes_only_itself_and_its_callers(
    state: State, other: State, placement: Placement, data: st.DataObject
) -> None:
    """Whoever does not call a node does not hear of it."""
    nodes = [one.key for one in state.of(Kind.VIRTUAL_NODE) if one.key in other]
    assume(nodes)
    changed = data.draw(st.sampled_from(nodes))
    after_state = state.put(other[changed])
    graph, later = resolve(state), resolve(after_state)
    before, after = built(state, placement), built(after_state, placement)
    for key in before:
        if key != changed and changed not in {*graph.called_nodes(key), *later.called_nodes(key)}:
            assert before[key].resources == after[key].resources


@pytest.mark.envoy
@settings(max_examples=examples(25))
@given(extended(states()), placements)
def test_the_real_envoy_takes_every_snapshot(state: State, placement: Placement) -> None:
    """Whatever App Mesh accepts, and of extensions Meshwright, Envoy does too."""
    assert refusal(list(built(state, placement).values())) == ""


def versions(snapshots: Mapping[Key, Snapshot]) -> dict[Key, dict[str, str]]:
    """Content versions by proxy and resource."""
    return {
        key: {
            f"{url} {name}": one.version for url, named in snapshot.resources.items() for name, one in named.items()
        }
        for key, snapshot in snapshots.items()
    }


@settings(max_examples=examples(20))
@given(extended(states()), placements)
def test_equal_versions_mean_equal_bytes(state: State, placement: Placement) -> None:
    """A version stands for the content alone: tags and metadata do not reach it."""
    tagged = State(type(one)(key=one.key, spec=one.spec, stack="other") for one in state)
    assert versions(built(state, placement)) == versions(built(tagged, placement))


@settings(max_examples=examples(20))
@given(st.lists(extended(states()), min_size=2, max_size=3), placements)
def test_what_was_made_before_is_what_would_be_made_now(steps: list[State], placement: Placement) -> None:
    """A graph brings along what earlier ones were made into; after any change the snapshots are as without it."""
    graph = resolve(State())
    for state in steps:
        graph = graph.renewed(state, state.differing(graph.state))
        for key, fresh in built(state, placement).items():
            assert build(graph, key, discovered(state), placement, ABLE) == fresh


@settings(max_examples=examples(20))
@given(extended(states()), extended(states()), placements, st.data())
def test_one_change_at_a_time_leaves_nothing_outdated(
    state: State, other: State, placement: Placement, data: st.DataObject
) -> None:
    """What a change does not touch is kept from graph to graph; objects come, change and go one by one."""
    graph = resolve(state)
    built_with(graph, placement)
    for key in data.draw(st.permutations(sorted({one.key for one in (*state, *other)})))[:12]:
        state = state.put(other[key]) if key in other else state.drop(key)
        graph = graph.renewed(state, [key])
        assert built_with(graph, placement) == built(state, placement)


@settings(max_examples=examples(15))
@given(extended(states()), placements)
def test_instances_that_moved_are_sent_as_they_are_now(state: State, placement: Placement) -> None:
    """What a graph remembers of a proxy is not where instances were when it was made; nor is it another Envoy's."""
    graph, old = resolve(state), Traits(version=(1, 29, 12))
    built_with(graph, placement)
    moved = {
        key: (Endpoint(address="10.0.0.2", zone="eu-1a"), Endpoint(address="10.0.0.3")) for key in proxies(state)
    }
    for key in proxies(state):
        for traits in (ABLE, old):
            assert build(graph, key, moved, placement, traits) == build(resolve(state), key, moved, placement, traits)


@settings(max_examples=examples(20))
@given(extended(states()), placements)
def test_what_has_ended_is_in_nothing_that_is_taken_over(state: State, placement: Placement) -> None:
    """While faults hold, after one in 2001 has ended, after one in 2100 has: as if nothing had been built before.

    A snapshot of which it is not said that time changes it stays as it is.
    """
    graph, moments = resolve(state), (0, 1_500_000_000_000, 5_000_000_000_000)
    found = [built_with(resolve(state), placement, now) for now in moments]
    assert [built_with(graph, placement, now) for now in moments] == found
    for before, after in pairwise(found):
        assert all(after[key] == one for key, one in before.items() if one.changes_at is None)


def built_with(graph: Graph, placement: Placement, now: int = 0) -> dict[Key, Snapshot]:
    """The snapshot of every proxy, with what the graph remembers."""
    found = discovered(graph.state)
    return {key: build(graph, key, found, placement, ABLE, now) for key in proxies(graph.state)}


def test_what_leads_to_a_service_is_held_once_however_many_call_it() -> None:
    """Ten callers: a cluster, its endpoints and what listens are the same ten times, also after a change."""
    backend = {"virtualService": {"virtualServiceName": "api.local"}}
    listeners = [{"portMapping": {"port": 8080, "protocol": "http"}}]
    discovery = {"awsCloudMap": {"namespaceName": "local", "serviceName": "api"}}
    node = {"listeners": listeners, "serviceDiscovery": discovery}
    state = State(
        (
            resource(Kind.MESH, "m", {}),
            resource(Kind.VIRTUAL_NODE, "api", node),
            resource(Kind.VIRTUAL_SERVICE, "api.local", {"provider": {"virtualNode": {"virtualNodeName": "api"}}}),
            *(resource(Kind.VIRTUAL_NODE, f"c{number}", {"backends": [backend]}) for number in range(10)),
        )
    )
    graph, bodies = resolve(state), dict[tuple[str, str, str], bytes]()
    assert shared(built_with(graph, LOOPBACK).values(), bodies) >= 9 * 3
    changed = resource(Kind.VIRTUAL_NODE, "c9", {"backends": [backend], "logging": {}})
    graph = graph.renewed(state.put(changed), [changed.key])
    assert shared(built_with(graph, LOOPBACK).values(), bodies) >= 10 * 3


@settings(max_examples=examples(20))
@given(extended(states()), placements)
def test_the_proxies_of_a_mesh_hold_nothing_twice(state: State, placement: Placement) -> None:
    """Equal resources are the same bytes in every snapshot of one state; what a change makes anew may be a copy."""
    shared(built(state, placement).values(), {})


def shared(snapshots: Iterable[Snapshot], bodies: dict[tuple[str, str, str], bytes]) -> int:
    """How many resources are the very bytes of an equal one in `bodies`, which grows; none is a copy.

    Not so of route configurations: each is joined for its proxy, from virtual hosts that are serialised once.
    """
    found = 0
    for snapshot in snapshots:
        for url in snapshot.resources.keys() - {ROUTE}:
            for one in snapshot.of(url).values():
                known = bodies.get((url, one.name, one.version))
                assert known is None or known is one.body, f"{one.name} of {snapshot.proxy.path} is a copy"
                bodies[url, one.name, one.version] = one.body
                found += known is not None
    return found
