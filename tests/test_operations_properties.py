"""Whatever is asked of `operations.perform`, in whatever order, the state stays one that App Mesh could be in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.errors import ApiError
from meshwright.graph import Relation, resolve
from meshwright.model import state as model_state
from meshwright.model.identity import PORTABLE_KINDS, Key, Kind
from meshwright.model.state import State
from meshwright.operations import OPERATIONS, UNLIMITED, Stamp, changes, decode_request, operation, perform
from meshwright.operations.table import Verb
from said import said
from settings import examples
from shapes import JUNK, broken

Wire = dict[str, Any]
NAMES = st.sampled_from(("a", "b"))
PORTS = st.sampled_from((80, 81))
VERBS = st.sampled_from((Verb.CREATE, Verb.CREATE, Verb.CREATE, Verb.UPDATE, Verb.UPDATE, Verb.DELETE))


def listeners(protocols: tuple[str, ...] = ("http", "grpc")) -> st.SearchStrategy[list[Wire]]:
    """None, one or two."""
    one = st.fixed_dictionaries({"port": PORTS, "protocol": st.sampled_from(protocols)})
    mapped = one.map(lambda mapping: {"portMapping": mapping})
    return st.lists(mapped, max_size=2, unique_by=lambda listener: listener["portMapping"]["port"])


def node() -> st.SearchStrategy[Wire]:
    """A node with or without listeners, with or without backends."""
    backends = st.lists(NAMES.map(lambda name: {"virtualService": {"virtualServiceName": name}}), max_size=2)
    return st.builds(
        lambda ports, names: {
            "backends": names,
            **({"listeners": ports, "serviceDiscovery": {"dns": {"hostname": "x"}}} if ports else {}),
        },
        listeners(),
        backends,
    )


def service() -> st.SearchStrategy[Wire]:
    """A service of a node, of a router, of nobody."""
    return st.one_of(
        st.just({}),
        NAMES.map(lambda name: {"provider": {"virtualNode": {"virtualNodeName": name}}}),
        NAMES.map(lambda name: {"provider": {"virtualRouter": {"virtualRouterName": name}}}),
    )


def ported(member: Wire) -> st.SearchStrategy[Wire]:
    """`member` with a port or without."""
    return st.one_of(st.just(member), PORTS.map(lambda port: {**member, "port": port}))


def route() -> st.SearchStrategy[Wire]:
    """An HTTP route to one node."""
    targets = NAMES.flatmap(lambda name: ported({"virtualNode": name, "weight": 1})).map(lambda target: [target])
    return st.builds(
        lambda match, weighted: {"httpRoute": {"match": match, "action": {"weightedTargets": weighted}}},
        ported({"prefix": "/"}),
        targets,
    )


def gateway_route() -> st.SearchStrategy[Wire]:
    """An HTTP gateway route to one service."""
    targets = NAMES.flatmap(lambda name: ported({"virtualService": {"virtualServiceName": name}}))
    return st.builds(
        lambda match, target: {"httpRoute": {"match": match, "action": {"target": target}}},
        ported({"prefix": "/"}),
        targets,
    )


SPECS: dict[Kind, st.SearchStrategy[Wire]] = {
    Kind.MESH: st.just({}),
    Kind.VIRTUAL_NODE: node(),
    Kind.VIRTUAL_ROUTER: listeners().map(lambda ports: {"listeners": ports}),
    Kind.VIRTUAL_SERVICE: service(),
    Kind.ROUTE: route(),
    Kind.VIRTUAL_GATEWAY: listeners().map(lambda ports: {"listeners": ports}),
    Kind.GATEWAY_ROUTE: gateway_route(),
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, str], Wire]:
    """One write: operation, members of the path, body."""
    kind = draw(st.sampled_from(PORTABLE_KINDS))
    # The mesh itself comes and goes seldom, or nothing else would ever be built.
    verb = Verb.CREATE if kind is Kind.MESH and draw(st.integers(0, 9)) else draw(VERBS)
    path = {"meshName": "m"}
    if kind.parent:
        path[kind.parent.name_field] = draw(NAMES)
    name = "m" if kind is Kind.MESH else draw(NAMES)
    body: Wire = {} if verb is Verb.DELETE else {"spec": draw(SPECS[kind])}
    if verb is Verb.CREATE:
        body[kind.name_field] = name
    else:
        path[kind.name_field] = name
    return operation(verb, kind).name, path, body


def versions(state: State) -> dict[Key, tuple[str, int]]:
    """What tells one life of an object from another, and how often it changed."""
    return {one.key: (one.metadata.uid, one.metadata.version) for one in state if one.metadata is not None}


def at(port: int) -> Wire:
    """One listener."""
    return {"listeners": [{"portMapping": {"port": port, "protocol": "http"}}]}


def leading(to: Any, action: str) -> Wire:
    """An HTTP route of either kind."""
    return {"httpRoute": {"match": {"prefix": "/"}, "action": {action: to}}}


START: list[tuple[str, dict[str, str], Wire]] = [
    ("CreateMesh", {}, {"meshName": "m"}),
    ("CreateVirtualNode", {"meshName": "m"}, {"virtualNodeName": "a", "spec": {}}),
    ("CreateVirtualRouter", {"meshName": "m"}, {"virtualRouterName": "a", "spec": at(80)}),
    (
        "CreateRoute",
        {"meshName": "m", "virtualRouterName": "a"},
        {"routeName": "a", "spec": leading([{"virtualNode": "a", "weight": 1}], "weightedTargets")},
    ),
    (
        "CreateVirtualService",
        {"meshName": "m"},
        {"virtualServiceName": "a", "spec": {"provider": {"virtualRouter": {"virtualRouterName": "a"}}}},
    ),
    ("CreateVirtualGateway", {"meshName": "m"}, {"virtualGatewayName": "a", "spec": at(80)}),
    (
        "CreateGatewayRoute",
        {"meshName": "m", "virtualGatewayName": "a"},
        {"gatewayRouteName": "a", "spec": leading({"virtualService": {"virtualServiceName": "a"}}, "target")},
    ),
]
"""One of each kind, all in use, so that there is something to break from the first step on."""


@settings(max_examples=examples(50))
@given(st.lists(calls(), min_size=20, max_size=40))
def test_no_sequence_of_writes_leaves_a_strict_reference_dangling(
    steps: list[tuple[str, dict[str, str], Wire]],
) -> None:
    """A refused write changes nothing, an accepted one exactly one object, whose version counts."""
    state = State()
    for number, (name, path, body) in enumerate([*START, *steps]):
        stamp = Stamp(at=number, uid=f"uid-{number}")
        before = state
        refused: ApiError | None = None
        try:
            state, response = perform(state, decode_request(OPERATIONS[name], path, {}, body), stamp, UNLIMITED)
        except ApiError as error:
            refused = error
        if refused is not None:
            assert type(refused) in OPERATIONS[name].errors
            assert number >= len(START)
            continue
        puts, deletes = changes(before, state)
        assert [*(one.key for one in puts), *deletes] == [response.key]
        for key, (uid, version) in versions(state).items():
            was = versions(before).get(key)
            assert was is None or was == (uid, version) or (uid, version) == (was[0], was[1] + 1)
        dangling = [edge for edge in resolve(state).edges if not edge.found and edge.relation is not Relation.BACKEND]
        assert dangling == []


def started() -> State:
    """The state after `START`."""
    state = State()
    for number, (name, path, body) in enumerate(START):
        stamp = Stamp(at=number, uid=f"uid-{number}")
        state, _ = perform(state, decode_request(OPERATIONS[name], path, {}, body), stamp, UNLIMITED)
    return state


@pytest.mark.parametrize("kind", PORTABLE_KINDS)
def test_whatever_is_sent_is_done_or_refused_by_a_declared_error(kind: Kind) -> None:
    """Valid, broken and senseless bodies: nothing else ever comes out, and what was done can be described."""
    start = started()
    path = {"meshName": "m", "virtualRouterName": "a", "virtualGatewayName": "a"} | {kind.name_field: "a"}

    @settings(max_examples=examples(50))
    @given(broken(model_state.SPECS[kind]), JUNK, JUNK, st.sampled_from((Verb.CREATE, Verb.UPDATE)))
    def holds(spec: Any, name: Any, tags: Any, verb: Verb) -> None:
        row = operation(verb, kind)
        body = {"spec": spec} | ({kind.name_field: name, "tags": tags} if verb is Verb.CREATE else {})
        refused: ApiError | None = None
        after = start
        try:
            after, response = perform(start, decode_request(row, path, {}, body), Stamp(at=1, uid="u"), UNLIMITED)
        except ApiError as error:
            refused = error
        if refused is not None:
            assert type(refused) in row.errors
            return
        assert response.key is not None
        assert after[response.key] == response.resource
        assert said(response)["status"] == {"status": "ACTIVE"}

    holds()
