"""Overlays: what an environment has otherwise, laid over definitions of every dialect, with its own lines."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from meshwright.documents import load, load_project
from meshwright.model import Key, Kind
from meshwright.release import places
from test_values import told, validated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BASE = """\
meshName: shop
virtualNodeName: cart
spec:
  listeners:
    - portMapping: {port: 8080, protocol: http}
      timeout: {http: {idle: {unit: s, value: 5}, perRequest: {unit: s, value: 5}}}
    - portMapping: {port: 9090, protocol: grpc}
  backends: [{virtualService: {virtualServiceName: pay.local}}]
  serviceDiscovery: {dns: {hostname: cart.local}}
tags: [{key: team, value: shop}, {key: tier, value: base}]
---
meshName: shop
virtualNodeName: pay
spec: {listeners: [{portMapping: {port: 80, protocol: http}}], serviceDiscovery: {dns: {hostname: pay.local}}}
---
meshName: shop
virtualServiceName: pay.local
spec: {provider: {virtualNode: {virtualNodeName: pay}}}
---
meshName: shop
virtualRouterName: r
spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}
---
meshName: shop
virtualRouterName: r
routeName: x
spec:
  httpRoute:
    match: {prefix: /}
    action: {weightedTargets: [{virtualNode: cart, weight: 90, port: 8080}, {virtualNode: pay, weight: 10}]}
"""
PROJECT = """\
stack: cart
mesh: shop
definitions: [defs.yaml]
environments:
  live: {overlays: [live.yaml, more.yaml], protected: true}
  test: {protected: false}
"""


def live(folder: Path, overlay: str, more: str = "", *arguments: str, base: str = BASE) -> dict[str, Any]:
    """The report of `validate` with these overlays."""
    files = {"meshwright.yaml": PROJECT, "defs.yaml": base, "live.yaml": overlay, "more.yaml": more or "# nothing\n"}
    return validated(folder, files, *arguments, MESHWRIGHT_ENVIRONMENT="live")


def objects(folder: Path, environment: str = "live") -> Mapping[str, Any]:
    """What the definitions come to, by subject, as the API would answer it."""
    code = (
        "import json, sys; from meshwright.cli.definitions import loaded, project, sound;"
        "from meshwright.plan import contents;"
        "read = sound(loaded(project({'environment': sys.argv[1]}), ()));"
        "print(json.dumps({one.key.path: dict(zip(('spec', 'tags'), contents(one))) for one in read.state}))"
    )
    command = [sys.executable, "-c", code, environment]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


TERRAFORM = """\
resource "aws_appmesh_virtual_node" "a" {
  name      = "cart"
  mesh_name = "shop"
  spec {
    listener {
      port_mapping {
        port     = 80
        protocol = "http"
      }
    }
  }
}
"""
CLOUDFORMATION = """\
Resources:
  A:
    Type: AWS::AppMesh::VirtualNode
    Properties:
      MeshName: shop
      VirtualNodeName: cart
      Spec: {Listeners: [{PortMapping: {Port: 80, Protocol: http}}]}
"""
KUBERNETES = """\
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualNode
metadata: {name: cart, namespace: a}
spec: {awsName: cart, listeners: [{portMapping: {port: 80, protocol: http}}]}
"""
OVERLAY = """\
virtualNodeName: cart
spec:
  listeners[0]: {timeout: {http: {idle: {value: 60}, perRequest: null}}}
  listeners[1]: null
  backends: []
  serviceDiscovery: {dns: {hostname: "${HOST:-live.local}"}}
tags[key=tier]: {value: live}
---
virtualRouterName: r
routeName: x
spec: {httpRoute: {action: {"weightedTargets[virtualNode=pay]": {weight: 50}}}}
"""


def test_an_overlay_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    """Mappings are merged, null removes, lists are replaced, items are chosen by number or by what is in them."""
    assert (
        live(tmp_path, OVERLAY, "virtualNodeName: cart\nspec: {serviceDiscovery: {dns: {hostname: last.local}}}\n")[
            "diagnostics"
        ]
        == []
    )
    with_overlays, without = objects(tmp_path), objects(tmp_path, "test")
    cart = with_overlays["mesh/shop/virtualNode/cart"]
    assert cart["spec"] == {
        "listeners": [
            {
                "portMapping": {"port": 8080, "protocol": "http"},
                "timeout": {"http": {"idle": {"unit": "s", "value": 60}}},
            }
        ],
        "backends": [],
        "serviceDiscovery": {"dns": {"hostname": "last.local"}},
    }
    assert cart["tags"] == {"team": "shop", "tier": "live"}
    route = with_overlays["mesh/shop/virtualRouter/r/route/x"]["spec"]
    assert route["httpRoute"]["action"]["weightedTargets"] == [
        {"virtualNode": "cart", "weight": 90, "port": 8080},
        {"virtualNode": "pay", "weight": 50},
    ]
    changed = {key for key in without if with_overlays[key] != without[key]}
    assert changed == {"mesh/shop/virtualNode/cart", "mesh/shop/virtualRouter/r/route/x"}
    assert without["mesh/shop/virtualNode/cart"]["spec"]["listeners"][1]["portMapping"]["port"] == 9090


def test_findings_tell_the_file_that_set_the_field(tmp_path: Path) -> None:
    """The overlay's where it did, the definition's elsewhere; of decoding and of rules alike."""
    overlay = "virtualNodeName: cart\nspec:\n  listeners[0]:\n    portMapping:\n      port: no\n"
    report = live(tmp_path, overlay)
    assert [(one["summary"][:35], one["source"]) for one in report["diagnostics"]] == [
        ("spec.listeners[0].portMapping.port:", {"file": "live.yaml", "line": 5, "column": 7})
    ]
    overlay = "virtualNodeName: cart\nspec:\n  listeners[0]:\n    portMapping:\n      port: 9090\n"
    report = live(tmp_path, overlay)
    assert {one["source"]["file"] for one in report["diagnostics"]} == {"defs.yaml"}
    overlay = (
        "virtualRouterName: r\nrouteName: x\nspec:\n  httpRoute:\n    action:\n"
        "      weightedTargets[virtualNode=pay]:\n        virtualNode: nobody\n"
    )
    report = live(tmp_path, overlay, "", "--whole")
    found = [one["source"] for one in report["diagnostics"] if "nobody" in one["summary"]]
    assert [(one["file"], one["line"]) for one in found] == [("live.yaml", 7)]


@pytest.mark.parametrize(
    ("overlay", "wanted"),
    [
        (
            "virtualNodeName: crat\nspec: {}\n",
            "live.yaml:1 this overlay is for VirtualNode crat, which no definition makes | Did you mean",
        ),
        (
            "meshName: other\nvirtualNodeName: cart\nspec: {}\n",
            "live.yaml:1 this overlay is for VirtualNode cart, which no",
        ),
        (
            "virtualNodeName: cart\nspec:\n  listeners[2]: {}\n",
            "live.yaml:3 listeners has no item 2 | It has 2 items, counted from 0.",
        ),
        (
            "virtualNodeName: cart\nspec: {'meshes[0]': {}}\n",
            "live.yaml:2 meshes[0] names an item of a list, but there is none | Give the whole list.",
        ),
        (
            "virtualNodeName: cart\nspec: {'serviceDiscovery[0]': {}}\n",
            "live.yaml:2 serviceDiscovery[0] names an item of a list, but it is a mapping",
        ),
        (
            "virtualNodeName: cart\n'tags[key=none]': {value: x}\n",
            "live.yaml:2 tags has no item with key=none | There are key=team, key=tier.",
        ),
        (
            "virtualNodeName: cart\nspce: {}\n",
            "live.yaml:2 this overlay has a field 'spce', which no VirtualNode has | Did you mean 'spec'?",
        ),
        ("apiVersion: v1\nkind: Service\n", "live.yaml:1 this is no overlay | "),
        (
            "virtualNodeName: cart\nspec: {serviceDiscovery: {dns: {hostname: '${env:DB_PASSWORD}'}}}\n",
            "live.yaml:2 the variable ${env:DB_PASSWORD} holds a secret | ",
        ),
        ("a: [\n", "live.yaml:2 this is not YAML"),
    ],
)
def test_an_overlay_that_cannot_be_laid_over_anything_is_told(tmp_path: Path, overlay: str, wanted: str) -> None:
    """With the nearest name, and what there is."""
    report = live(tmp_path, overlay)
    places = [f"{one['source']['file']}:{one['source']['line']}" for one in report["diagnostics"]]
    found = [f"{place} {text}" for place, text in zip(places, told(report), strict=True) if "live.yaml" in place]
    assert [one[: len(wanted)] for one in found] == [wanted]


def test_a_release_keeps_the_file_of_each_field(tmp_path: Path) -> None:
    """So that what an Envoy rejects is told at the overlay's line, from the release too."""
    live(tmp_path, "virtualNodeName: cart\nspec:\n  serviceDiscovery: {dns: {hostname: live.local}}\n")
    project = load_project(tmp_path / "meshwright.yaml", "live")
    read = load(project.definitions, project.load_settings())
    key = Key("shop", Kind.VIRTUAL_NODE, "cart")
    (written,) = places(read.sources.written([key.path]), [key]).values()
    folder = tmp_path.as_posix()
    assert str(written.at("spec.serviceDiscovery.dns.hostname")) == f"{folder}/live.yaml:3"
    assert str(written.at("spec.listeners[0].portMapping.port")) == f"{folder}/defs.yaml:5"
    assert str(written.at("spec.none")) == f"{folder}/defs.yaml:1"


def test_overlays_are_for_whole_projects(tmp_path: Path) -> None:
    """A command about some of the files does not miss the objects of the others."""
    live(tmp_path, "virtualNodeName: cart\nspec: {serviceDiscovery: {dns: {hostname: h}}}\n")
    (tmp_path / "one.yaml").write_text("meshName: shop\nvirtualNodeName: pay\nspec: {}\n")
    report = validated(tmp_path, {}, "one.yaml", MESHWRIGHT_ENVIRONMENT="live")
    assert (report["objects"], report["diagnostics"]) == (["mesh/shop/virtualNode/pay"], [])


@pytest.mark.parametrize(
    "base",
    [
        TERRAFORM,
        CLOUDFORMATION,
        KUBERNETES,
    ],
)
def test_definitions_of_every_dialect_take_overlays(tmp_path: Path, base: str) -> None:
    """Written as requests of the API: there the fields have one spelling."""
    name = "defs.tf" if base.startswith("resource") else "defs.yaml"
    overlay = "virtualNodeName: cart\nspec: {serviceDiscovery: {dns: {hostname: live.local}}}\n"
    project = PROJECT.replace("defs.yaml", name).replace(", more.yaml", "")
    files = {"meshwright.yaml": project, name: base, "live.yaml": overlay}
    report = validated(tmp_path, files, MESHWRIGHT_ENVIRONMENT="live")
    assert [one for one in report["diagnostics"] if one["severity"] == "error"] == []
    found = objects(tmp_path)["mesh/shop/virtualNode/cart"]
    assert found["spec"]["serviceDiscovery"] == {"dns": {"hostname": "live.local"}}


def test_the_fields_of_an_environment_are_read_strictly(tmp_path: Path) -> None:
    """An overlay that is not there is an error, a `protected` that is no truth value a fault."""
    (tmp_path / "meshwright.yaml").write_text(PROJECT.replace("protected: true", "protected: maybe"))
    code = [sys.executable, "-m", "meshwright.cli", "--environment", "live", "validate"]
    done = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "meshwright.yaml:5: environments.live.protected takes true or false, found 'maybe'." in done.stderr
    (tmp_path / "meshwright.yaml").write_text(PROJECT)
    (tmp_path / "defs.yaml").write_text(BASE)
    done = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "live.yaml" in done.stderr) == (2, True)
