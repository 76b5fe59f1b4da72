"""The example that everything is shown on: it loads clean, and it has what the story needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshwright import constraints, rules
from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.graph import resolve
from meshwright.lab.topology import roles
from meshwright.model.identity import Kind

if TYPE_CHECKING:
    from meshwright.model.state import State

SHOP = Path(__file__).parent.parent / "examples" / "shop"


def shop(environment: str | None = None) -> State:
    """The shop in one of its environments; its files must load without a finding."""
    project = load_project(SHOP / "meshwright.yaml", environment)
    loaded = load(project.definitions, project.load_settings())
    assert not loaded.diagnostics
    return loaded.state


@pytest.mark.parametrize("environment", [None, "local", "production"])
def test_the_shop_is_without_a_finding_in_every_environment(environment: str | None) -> None:
    """No diagnostics from the files, from App Mesh's own rules, or from ours."""
    graph = resolve(shop(environment))
    assert constraints.check(graph) == ()
    assert rules.audit(graph) == ()


def test_the_shop_s_extensions_fit_it() -> None:
    """In a stack and a folder of their own; all that is said of them is that they are extensions."""
    project = load_project(SHOP.parent / "extensions" / "meshwright.yaml", None)
    loaded = load(project.definitions, project.load_settings())
    assert not loaded.diagnostics
    graph = resolve(shop().put(*loaded.state))
    assert constraints.check(graph) == ()
    found = rules.audit(graph, now=0)
    assert {(one.rule, one.subject) for one in found} == {("MW004", one.key.path) for one in loaded.state}
    assert len(loaded.state) == len(found) == 8


def test_an_environment_names_the_mesh_of_every_object() -> None:
    """In all three dialects; otherwise the shop is the same."""
    here, there = shop("local"), shop("production")
    assert here.meshes == ("shop",)
    assert there.meshes == ("shop-production",)
    assert [one.key.name for one in here if one.key.kind is not Kind.MESH] == [
        one.key.name for one in there if one.key.kind is not Kind.MESH
    ]


def test_the_shop_has_what_the_story_needs() -> None:
    """Six services or more, a gateway, a router with two versions, and every protocol on the way."""
    state = shop()
    graph = resolve(state)
    assert len(state.of(Kind.VIRTUAL_SERVICE)) >= 6
    assert len(state.of(Kind.VIRTUAL_GATEWAY)) == 1
    payment = next(one.key for one in state.of(Kind.VIRTUAL_SERVICE) if one.key.name == "payment.shop.internal")
    assert [node.name for node in graph.service_nodes(payment)] == ["payment-v1", "payment-v2"]
    protocols = {port.protocol for role in roles(graph, {}) for port in role.ports}
    assert protocols == {"http", "http2", "grpc", "tcp"}
