"""Whose extensions hold where names change hands: what was put by the right of an owner ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshwright.graph import resolve
from meshwright.model import Kind
from meshwright.model.identity import Key
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import LISTENER, ROUTE, Redirect
from meshwright.store import sqlite
from meshwright.store.contract import AccessKey
from serving import KEY, serving
from test_extensions_http import error, extension, put
from test_releases import BUILD, INTRUDER, MESH, applied, client, item, node, running
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Serving

TRUST = """
version: 1
policies:
  all:
    Version: "2012-10-17"
    Statement: [{Effect: Allow, Action: ["appmesh:*", "meshwright:*"], Resource: "*"}]
users:
  build: &first
    stack: first
    owns: ["mesh/m/virtualNode/*", "mesh/m/virtualService/*", "mesh/m/meshwright/*/first-*"]
    may_extend: [mesh/m]
    permissions: [all]
  intruder:
    <<: *first
    stack: second
    owns: ["mesh/m/virtualNode/*", "mesh/m/virtualService/*", "mesh/m/meshwright/*/second-*"]
  platform:
    stack: platform
    owns: ["mesh/m/meshwright/*/platform-*"]
    may_change: ["mesh/m/**"]
    permissions: [all]
"""
PLATFORM = AccessKey(id="AKIATESTPLATFORM", secret="nor-is-that", principal="platform", created_at=0)
NODE = Key(MESH, Kind.VIRTUAL_NODE, "a")
EDIT = {"target": {"virtualNodeName": "a"}, "response": {"set": [{"name": "x-mark", "value": "there"}]}}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Serving]:
    """A mesh in which two teams may take the same names, and a platform team that may change everything."""
    judges = authority(TRUST)
    with serving(tmp_path, authority=lambda: judges) as server:
        for key in (BUILD, INTRUDER, PLATFORM):
            client(server, key)
        applied(client(server), item("", {}), stack="platform")
        yield server


def create(server: Serving, key: AccessKey, name: str = "a") -> None:
    """Create a node, apart from releases."""
    server.client(key).create_virtual_node(meshName=MESH, virtualNodeName=name, spec=node(name).spec)


def delete(server: Serving, key: AccessKey) -> None:
    """Delete node `a`."""
    server.client(key).delete_virtual_node(meshName=MESH, virtualNodeName="a")


def marked(server: Serving) -> bool:
    """Whether the node's Envoy would be told to mark its responses."""
    found = build(resolve(server.store.head().state), NODE, {}, Redirect())
    return any(b"x-mark" in one.body for url in (ROUTE, LISTENER) for one in found.of(url).values())


def told(server: Serving) -> list[str]:
    """What the node's `status` says is left without effect."""
    return [one.reason for one in build(resolve(server.store.head().state), NODE, {}, Redirect()).unserved]


def test_an_extension_of_what_was_one_s_own_has_no_effect_on_another_s_object_of_that_name(two: Serving) -> None:
    """Deleted by its owner, made anew by another team: their requests are none of the first team's business."""
    create(two, BUILD)
    assert put(two, "headerEdit", "first-mark", EDIT, key=BUILD).status == 201
    assert marked(two)
    delete(two, BUILD)
    create(two, INTRUDER)
    assert not marked(two)
    assert told(two) == ["VirtualNode 'a' belongs to stack 'second' by now: it has no effect"]
    denied = error(put(two, "headerEdit", "first-mark", EDIT, key=BUILD))
    assert denied[0] == 403, "the very same is judged anew"
    assert "of what it is about, mesh/m/virtualNode/a: it belongs to stack 'second'" in denied[1]
    assert put(two, "headerEdit", "second-mark", {**EDIT, "target": {"virtualNodeName": "a", "port": 80}},
               key=INTRUDER).status == 201  # fmt: skip
    assert marked(two)


def test_it_has_its_effect_again_once_the_object_is_its_owner_s_again(two: Serving, tmp_path: Path) -> None:
    """Also where the owner makes it anew at once; and after a restart as before."""
    create(two, BUILD)
    put(two, "headerEdit", "first-mark", EDIT, key=BUILD)
    for key, expected in ((BUILD, True), (INTRUDER, False), (BUILD, True)):
        owner = running(two)["virtualNode/a"].stack
        delete(two, INTRUDER if owner == "second" else BUILD)
        create(two, key)
        assert marked(two) is expected
    again = sqlite.connect(tmp_path / "meshwright.db")
    assert again.head().state == two.store.head().state
    assert again.head().state[Key(MESH, Kind.HEADER_EDIT, "first-mark")].owned == (NODE,)
    again.close()


def test_a_control_that_was_granted_is_not_shaken_off_by_making_the_object_anew(two: Serving) -> None:
    """A team may change what is another's by the name: the right, and the extension, outlive the object."""
    create(two, BUILD)
    assert put(two, "headerEdit", "platform-mark", EDIT, key=PLATFORM).status == 201
    delete(two, BUILD)
    create(two, BUILD)
    assert marked(two)
    delete(two, BUILD)
    create(two, INTRUDER)
    assert marked(two)


def test_what_is_nobody_s_and_then_a_team_s_is_that_team_s_alone(two: Serving) -> None:
    """An extension of what no stack has ends when another stack takes it; one that no stack has holds on."""
    create(two, KEY)
    put(two, "headerEdit", "first-mark", EDIT, key=BUILD)
    applied(client(two, INTRUDER), node("a"), stack="second")
    assert not marked(two)
    assert put(two, "headerEdit", "all", {**EDIT, "target": {"virtualNodeName": "a", "port": 80}}).status == 201
    assert marked(two)


def test_a_release_puts_by_right_of_what_was_its_own_before(two: Serving) -> None:
    """With the object in one release; whoever takes the name later is not concerned; a change is judged anew."""
    applied(client(two, BUILD), node("a"), extension("headerEdit", "first-mark", **EDIT), stack="first")
    assert marked(two)
    delete(two, BUILD)
    create(two, INTRUDER)
    assert not marked(two)
    applied(client(two, INTRUDER), node("b"), stack="second")  # it stops nobody
    changed = {**EDIT, "response": {"set": [{"name": "x-mark", "value": "again"}]}}
    with pytest.raises(Exception, match="belongs to stack 'second'") as caught:
        applied(client(two, BUILD), extension("headerEdit", "first-mark", **changed), stack="first")
    assert type(caught.value).__name__ == "AccessDeniedError"


def test_a_fault_for_one_s_own_callers_ends_where_they_are_another_s(two: Serving) -> None:
    """By right of the callers, for a service of another team."""
    create(two, INTRUDER, "b")
    service = item("virtualService/s", {"provider": {"virtualNode": {"virtualNodeName": "b"}}})
    two.client(INTRUDER).create_virtual_service(meshName=MESH, virtualServiceName="s", spec=service.spec)
    create(two, BUILD)
    assert put(two, "fault", "first-chaos", key=BUILD).status == 201
    state = two.store.head().state
    fault = Key(MESH, Kind.FAULT, "first-chaos")
    assert state[fault].owned == (NODE,)
    assert [edge.found for edge in resolve(state).outgoing(fault) if edge.target == NODE] == [True]
    graph = resolve(state)
    delete(two, BUILD)
    create(two, INTRUDER)
    taken = two.store.head().state
    renewed = graph.renewed(taken, taken.differing(state))
    assert renewed.edges == resolve(taken).edges
    assert [edge.found for edge in renewed.outgoing(fault) if edge.target == NODE] == [False]
