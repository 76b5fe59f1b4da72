"""Definitions that the real service accepted are accepted here, echoed as they were sent, and updated as they say.

The cases are acceptance tests of a provider that runs against AWS; they lie beside the project.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from serving import serving
from settings import SHARED

if TYPE_CHECKING:
    from pathlib import Path

    from serving import Serving

Wire = dict[str, Any]
FILE = SHARED / "corpus" / "accepted_cases.json"
CASES: list[Wire] = json.loads(FILE.read_text()) if FILE.is_file() else []
PARENT = {"Route": "VirtualRouter", "GatewayRoute": "VirtualGateway"}
GROUPS = {
    "virtualNodes": "VirtualNode",
    "virtualRouters": "VirtualRouter",
    "virtualServices": "VirtualService",
    "virtualGateways": "VirtualGateway",
}

pytestmark = pytest.mark.skipif(not CASES, reason="the corpus of real definitions is not beside the project")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server for all cases; each has a mesh of its own."""
    folder: Path = tmp_path_factory.mktemp("accepted")
    with serving(folder) as running:
        yield running


def field(kind: str) -> str:
    """The member that holds the name."""
    return f"{kind[0].lower()}{kind[1:]}Name"


def named(client: Any, verb: str, kind: str) -> Any:
    """The client's method of an operation."""
    snake = "".join(f"_{one.lower()}" if one.isupper() else one for one in kind)
    return getattr(client, f"{verb}{snake}")


def filled(spec: Wire) -> Wire:
    """What the service answers to `spec`: the port of each health check is the listener's where it was left out."""
    spec = copy.deepcopy(spec)
    for listener in spec.get("listeners", ()):
        if "healthCheck" in listener:
            listener["healthCheck"].setdefault("port", listener["portMapping"]["port"])
    return spec


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_what_the_service_accepted_is_accepted_and_echoed(api: Serving, case: Wire) -> None:
    """At create, at describe and at each update."""
    client, kind, mesh = api.client(), case["kind"], str(case["name"])
    members = {"meshName": mesh}
    if kind != "Mesh":
        client.create_mesh(meshName=mesh)
        for group, objects in sorted(case["base"].items()):
            for name, spec in objects.items():
                named(client, "create", GROUPS[group])(meshName=mesh, **{field(GROUPS[group]): name}, spec=spec)
        members[field(kind)] = "subject"
    if kind in PARENT:
        (parent,) = case["base"][f"{field(PARENT[kind])[:-4]}s"]
        members[field(PARENT[kind])] = parent
    output = field(kind)[:-4]
    created = named(client, "create", kind)(**members, spec=case["create"])[output]
    assert created["spec"] == filled(case["create"])
    for version, spec in enumerate(case["then_update"], start=2):
        updated = named(client, "update", kind)(**members, spec=spec)[output]
        assert updated["spec"] == filled(spec)
        assert updated["metadata"]["version"] == version
        assert named(client, "describe", kind)(**members)[output] == updated


def test_the_cases_are_all_there() -> None:
    """An empty file would pass everything above."""
    assert len(CASES) == 27
    assert {case["kind"] for case in CASES} >= {"Mesh", "VirtualNode", "Route", "GatewayRoute", "VirtualGateway"}
