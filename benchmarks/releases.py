"""Releases: 400 objects planned and applied, a rollback until 20 Envoys have it, a history of 10,000.

The peer of a plan and of an apply is what tools without releases do: stock boto3, one object after another. The floor
of a rollback is the write of a single route until the same Envoys have it; of a listing, to read the same rows.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.meshes import write_templates
from benchmarks.report import Table
from benchmarks.xds.envoys import envoys
from benchmarks.xds.figures import COLUMNS, Figure, combined
from benchmarks.xds.plane import MESH, ControlPlane
from meshwright.lab.addresses import Block
from meshwright.model.identity import Key, Kind
from meshwright.release import Build, Change, Item, Release
from meshwright.store import sqlite
from meshwright.store.contract import Draft
from meshwright.store.keys import database_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model.state import Resource

OBJECTS = 400
ENVOYS = 20
BACKENDS = 20
SERVICES = 100
ROUTES = ENVOYS + BACKENDS - 1
"""Of the services that the Envoys call among them."""
RELEASES = 10_000
BATCH = 200
"""Releases that are written in one transaction."""
PAGE = 1_000
RUNS = 3
_LONG_AGO = 1_700_000_000_000


def run() -> Table:
    """The medians of some runs; the history is made once a run."""
    runs = [[*_of_objects(), *_rolled_back(), *_searched()] for _ in range(RUNS)]
    figures = combined(runs)
    note = (
        f"Medians of {RUNS} runs. Plans, applies and rollbacks are whole commands, from their start to their end, "
        "the interpreter's start included; the history is asked over HTTP. The floor is what a row says."
    )
    return Table("Releases", note, COLUMNS, tuple(one.row for one in figures))


def _of_objects() -> Iterator[Figure]:
    """Plan and apply of a stack of 400 objects, first when nothing is there, then when all is."""
    with tempfile.TemporaryDirectory() as name, ControlPlane(Path(name)) as plane:
        folder = Path(name)
        (path,) = write_templates(folder, OBJECTS)
        plane.mesh.create_mesh(meshName=MESH)
        plan = _command(plane, folder, "plan", str(path), codes=(0,))
        took = _command(plane, folder, "apply", str(path))
        nothing = _command(plane, folder, "plan", str(path))
        read = _described(plane)
        again = _command(plane, folder, "apply", str(path))
        made = _created(plane)
    what = f"of {OBJECTS} new objects; floor: boto3 creates as many"
    yield Figure(what=f"plan {what}", value=plan, floor=made, target=1.5)
    yield Figure(what=f"apply {what}", value=took, floor=made, target=2)
    yield Figure(
        what=f"plan of {OBJECTS} objects that run already; floor: boto3 describes them", value=nothing, floor=read
    )
    yield Figure(what=f"apply of {OBJECTS} objects that run already; the same floor", value=again, floor=read)


def _command(plane: ControlPlane, folder: Path, *words: str, codes: tuple[int, ...] = (0,)) -> float:
    """Seconds of one command against this control plane.

    Raises:
        RuntimeError: it ended otherwise.
    """
    places = {"MESHWRIGHT_ENDPOINT": plane.api, "MESHWRIGHT_MESH": MESH, "MESHWRIGHT_STACK": "bench"}
    began = time.perf_counter()
    done = subprocess.run(
        (sys.executable, "-m", "meshwright.cli", *words),
        cwd=folder,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    took = time.perf_counter() - began
    if done.returncode not in codes:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-500:]}")
    return took


def _described(plane: ControlPlane) -> float:
    """Seconds in which stock boto3 reads what the templates hold, object by object."""
    mesh, began = plane.mesh, time.perf_counter()
    for index in range(OBJECTS // 4):
        name = f"service{index}"
        mesh.describe_virtual_node(meshName=MESH, virtualNodeName=name)
        mesh.describe_virtual_router(meshName=MESH, virtualRouterName=name)
        mesh.describe_route(meshName=MESH, virtualRouterName=name, routeName="all")
        mesh.describe_virtual_service(meshName=MESH, virtualServiceName=f"{name}.local")
    return time.perf_counter() - began


def _created(plane: ControlPlane) -> float:
    """Seconds in which stock boto3 creates objects of the same number and kinds, one by one."""
    mesh, began = plane.mesh, time.perf_counter()
    listener = {"portMapping": {"port": 8080, "protocol": "http"}}
    for index in range(OBJECTS // 4):
        name = f"other{index}"
        node = {"listeners": [listener], "serviceDiscovery": {"dns": {"hostname": name}}}
        target = [{"virtualNode": name, "weight": 100}]
        route = {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": target}}}
        provider = {"virtualRouter": {"virtualRouterName": name}}
        mesh.create_virtual_node(meshName=MESH, virtualNodeName=name, spec=node)
        mesh.create_virtual_router(meshName=MESH, virtualRouterName=name, spec={"listeners": [listener]})
        mesh.create_route(meshName=MESH, virtualRouterName=name, routeName="all", spec=route)
        mesh.create_virtual_service(meshName=MESH, virtualServiceName=f"{name}.local", spec={"provider": provider})
    return time.perf_counter() - began


def _rolled_back() -> Iterator[Figure]:
    """From the command to the acks of 20 Envoys, each of which calls all that changes."""
    with tempfile.TemporaryDirectory() as name, Block() as block, ControlPlane(Path(name)) as plane:
        folder = Path(name)
        plane.populate_services(SERVICES, BACKENDS, block)
        path = folder / "routes.json"
        with envoys(plane.xds, range(ENVOYS), plane.places):
            for prefix in ("/first", "/second"):
                path.write_text(json.dumps(_routes(prefix)))
                _command(plane, folder, "apply", str(path), "--wait", "60")
            back = _command(plane, folder, "rollback", "--to", "1", "--wait", "60")
            single = plane.until_propagated(ENVOYS, f"n{ENVOYS}")
    what = f"rollback of {ROUTES} routes to the last ack of {ENVOYS} Envoys; floor: a route's write by HTTP"
    yield Figure(what=what, value=back, floor=single, target=2)


def _routes(prefix: str) -> dict[str, Any]:
    """A template with one more route for each of the routers that the Envoys' nodes have in common."""
    return {
        "Resources": {
            f"Route{index}": {
                "Type": "AWS::AppMesh::Route",
                "Properties": {
                    "MeshName": MESH,
                    "RouteName": "bench",
                    "VirtualRouterName": f"n{index}",
                    "Spec": {
                        "HttpRoute": {
                            "Match": {"Prefix": prefix},
                            "Action": {"WeightedTargets": [{"VirtualNode": f"n{index}", "Weight": 1}]},
                        }
                    },
                },
            }
            for index in range(1, 1 + ROUTES)
        }
    }


def _searched() -> Iterator[Figure]:
    """A history of 10,000 releases of a stack of 40 objects, listed in pages and searched."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ControlPlane(folder) as plane:
            plane.populate_shared(20)
        path = database_path(folder / "data")
        _fill(path)
        with ControlPlane(folder) as plane:
            client = plane.client()
            client.releases(MESH, "bench", 1)
            before: dict[str, str] = {}
            began, listed = time.perf_counter(), 0
            while True:
                page = client.releases(MESH, "bench", PAGE, before)
                listed += len(page["releases"])
                if page["next"] is None:
                    break
                before = {"before": str(page["next"])}
            all_of_them = time.perf_counter() - began
            newest = _timed(plane, {})
            searches = {
                "build": _timed(plane, {"build": str(RELEASES // 2)}),
                "commit": _timed(plane, {"commit": f"{RELEASES // 3:07x}"}),
                "object": _timed(plane, {"object": f"mesh/{MESH}/virtualNode/n7"}),
                "status": _timed(plane, {"status": "failed"}),
            }
            least = _raw(path)
    if listed != RELEASES:
        raise RuntimeError(f"{listed} of {RELEASES} releases were listed")
    what = f"history of {RELEASES:,} releases"
    yield Figure(
        what=f"{what}, all listed in pages of {PAGE:,}; floor: SQLite reads them", value=all_of_them, floor=least
    )
    yield Figure(what=f"{what}, the newest 20", value=newest, target=1)
    for kind, took in searches.items():
        yield Figure(what=f"{what}, searched by {kind}", value=took, target=1)


def _timed(plane: ControlPlane, conditions: dict[str, str]) -> float:
    client, began = plane.client(), time.perf_counter()
    client.releases(MESH, "bench", 20, conditions)
    return time.perf_counter() - began


def _raw(path: Path) -> float:
    began = time.perf_counter()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT body FROM releases ORDER BY number DESC").fetchall()
    return time.perf_counter() - began


def _fill(path: Path) -> None:
    """Releases that change one node each in turn, as the store itself writes them."""
    store = sqlite.connect(path)
    try:
        state = store.head().state
        nodes: list[Resource] = [one for one in state if one.key.kind is Kind.VIRTUAL_NODE]
        content = tuple(
            Item(key=one.key, spec=msgspec.json.decode(msgspec.json.encode(one.spec))) for one in (*nodes, *nodes)
        )
        for first in range(1, RELEASES + 1, BATCH):
            revision = store.head().revision
            drafts = [
                _draft(number, revision + 1 + number - first, nodes[number % len(nodes)], content)
                for number in range(first, first + BATCH)
            ]
            store.commit_all(revision, tuple(drafts))
    finally:
        store.close()


def _draft(number: int, revision: int, node: Resource, content: tuple[Item, ...]) -> Draft:
    key: Key = node.key
    release = Release(
        mesh=MESH,
        stack="bench",
        number=number,
        revision=revision,
        parent=number - 1 or None,
        digest=f"{number:064x}",
        at=_LONG_AGO + number,
        principal="arn:aws:sts::000000000000:assumed-role/deploy/bench",
        build=Build(
            ci="travis", repository="acme/shop", branch="main", commit=f"{number:07x}abc", build_number=str(number)
        ),
        changes=(Change(action="update", key=key),),
        content=content,
    )
    return Draft(puts=(node,), principal=release.principal, cause=f"release {number}", at=release.at, release=release)
