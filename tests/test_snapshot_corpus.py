"""Every real definition of the corpus becomes snapshots that Envoy takes, for every node and gateway it defines."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from envoy_check import refusal
from meshwright import documents
from meshwright.graph import resolve
from meshwright.model import SPECS, Key, Kind, Resource, State, decode
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Loopback, Placement, Redirect
from settings import SHARED
from strategies import MESH, proxies, resource

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.snapshot.resources import Snapshot

CORPUS = SHARED / "corpus"
PLACEMENTS: tuple[Placement, ...] = (
    Redirect(),
    Loopback(application="127.1.0.1", ingress="127.1.0.2", egress="127.1.0.3"),
)
MISSING = re.compile(
    r"(?:parameter|variable) \$?\{?(\w+)\}? has no value|^([\w.:]+)(?: \(.*\) is only known| has no value)"
)
pytestmark = [
    pytest.mark.envoy,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real definitions is not beside the project"),
]


def loaded(path: Path) -> State:
    """What `path` defines, with a made-up value for everything that only a deployment would know."""
    values: dict[str, str] = {}
    while True:
        found = documents.load(
            [path],
            documents.LoadSettings(mesh=MESH, parameters=values, account="000000000000", region="us-east-1"),
        )
        said = [MISSING.search(one.summary) for one in found.diagnostics]
        missing = {match[1] or match[2] for match in said if match} - set(values)
        if not missing:
            return found.state
        values |= dict.fromkeys(missing, "given.local")


def snapshots(state: State) -> list[Snapshot]:
    """The snapshots of every node and gateway in both placements."""
    graph = resolve(state)
    return [build(graph, key, {}, placement) for key in proxies(state) for placement in PLACEMENTS]


@pytest.mark.parametrize("dialect", ["cfn", "cli-json", "k8s"])
def test_every_file_builds_and_validates(dialect: str) -> None:
    """File by file, so that one file's objects do not stand in for another's."""
    refused, built = [], 0
    for path in sorted(one for one in (CORPUS / dialect).rglob("*") if one.is_file()):
        found = snapshots(loaded(path))
        built += len(found)
        if said := refusal(found):
            refused.append(f"{path.name}: {said}")
    assert refused == []
    assert built > 0


def test_every_input_without_a_name_builds_and_validates() -> None:
    """Command line inputs take the name from a flag; the spec alone says what they are."""
    states = []
    for path in sorted((CORPUS / "cli-json").rglob("*.json")):
        text = re.sub(r"\$\{?\w+\}?", "8080", path.read_text())
        for kind in (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY):
            try:
                spec = decode(SPECS[kind], json.loads(text)["spec"])
            except (ValueError, KeyError, TypeError):
                continue
            states.append(State([Resource(key=Key(MESH, kind, "it"), spec=spec)]))
    assert len(states) > 20
    assert refusal([one for state in states for one in snapshots(state)]) == ""


@pytest.mark.parametrize("kind", [Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY, Kind.ROUTE, Kind.GATEWAY_ROUTE])
def test_every_input_that_the_service_accepted_builds_and_validates(kind: Kind) -> None:
    """The acceptance tests of others, called by a node that has every service as its backend."""
    cases = [one for one in json.loads((CORPUS / "accepted_cases.json").read_text()) if one["kind"] == kind.type_name]
    assert cases
    for case in cases:
        for spec in (case["create"], *case["then_update"]):
            assert refusal(snapshots(surrounded(case, kind, spec))) == "", case["name"]


def surrounded(case: dict[str, Any], kind: Kind, spec: Any) -> State:
    """The object of a case among those that it needs, its router behind a service, all services called."""
    found = [resource(Kind(group.removesuffix("s")), name, one) for group, members in case["base"].items()
             for name, one in members.items()]  # fmt: skip
    owner = next((one.key.name for one in found if one.key.kind is kind.parent), "")
    found.append(resource(kind, "it", spec, parent=owner))
    if kind is Kind.ROUTE:
        provider = {"provider": {"virtualRouter": {"virtualRouterName": owner}}}
        found.append(resource(Kind.VIRTUAL_SERVICE, "routed.local", provider))
    backends = [
        {"virtualService": {"virtualServiceName": one.key.name}}
        for one in found
        if one.key.kind is Kind.VIRTUAL_SERVICE
    ]
    return State([*found, resource(Kind.VIRTUAL_NODE, "caller", {"backends": backends})])
