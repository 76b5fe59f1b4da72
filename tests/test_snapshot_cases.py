"""What Envoy is to hold for hand-written meshes, in both placements, beside them as YAML; each taken by Envoy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from envoy_check import ABLE, refusal
from meshwright import constraints, documents
from meshwright.graph import resolve
from meshwright.model import Key, Kind
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Endpoint, Loopback, Placement, Redirect
from meshwright.snapshot.static import as_dict
from settings import CASES
from strategies import proxies

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.model import State
    from meshwright.snapshot.resources import Snapshot

FOLDERS = sorted(folder for folder in (CASES / "snapshot").iterdir() if folder.is_dir())
PLACEMENTS: dict[str, Placement] = {
    "redirect": Redirect(),
    "loopback": Loopback(application="127.1.0.1", ingress="127.1.0.2", egress="127.1.0.3"),
}


def load(folder: Path) -> State:
    """The mesh of a case, legal in App Mesh."""
    loaded = documents.load([folder / "mesh.yaml"], documents.LoadSettings())
    assert [one.summary for one in loaded.diagnostics] == []
    faults = [one.summary for one in constraints.check(resolve(loaded.state)) if one.severity == "error"]
    assert faults == []
    return loaded.state


def instances(folder: Path, mesh: str) -> dict[Key, tuple[Endpoint, ...]]:
    """The instances in Cloud Map that a case gives."""
    file = folder / "endpoints.yaml"
    named = yaml.safe_load(file.read_text()) if file.exists() else {}
    return {
        Key(mesh, Kind.VIRTUAL_NODE, name): tuple(msgspec.convert(one, Endpoint) for one in several)
        for name, several in named.items()
    }


def rendered(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot for people: resources by type and name, their origins, what is not served."""
    # Through JSON: an `Any` is rendered as an ordered dictionary, which YAML would write as such.
    shown: dict[str, Any] = {
        url.rpartition(".")[2]: {
            name: {"origins": [key.path for key in one.origins], "value": json.loads(json.dumps(as_dict(one)))}
            for name, one in named.items()
        }
        for url, named in snapshot.resources.items()
    }
    if snapshot.unserved:
        shown["unserved"] = [f"{one.subject} {one.path}: {one.reason}" for one in snapshot.unserved]
    return shown


@pytest.mark.envoy
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_snapshots_are_as_written_down_and_envoy_takes_them(
    folder: Path, placement: str, *, update_goldens: bool
) -> None:
    """Each proxy of the case holds exactly what the file says."""
    state = load(folder)
    endpoints = instances(folder, state.meshes[0])
    graph = resolve(state)
    snapshots = [build(graph, key, endpoints, PLACEMENTS[placement], ABLE) for key in proxies(state)]
    shown = {one.proxy.path: rendered(one) for one in snapshots}
    file = folder / f"expected.{placement}.yaml"
    if update_goldens:
        file.write_text(yaml.safe_dump(shown, width=120, allow_unicode=True))
    assert shown == yaml.safe_load(file.read_text())
    assert refusal(snapshots) == ""
