"""Every real definition of the corpus loads clean once its values are given, or is refused for a stated reason."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from meshwright.diagnostics import Severity
from meshwright.documents import Loaded, LoadSettings, load
from meshwright.documents.drafts import name_fields
from meshwright.model import Kind
from settings import SHARED

if TYPE_CHECKING:
    from pathlib import Path

CORPUS = SHARED / "corpus"

OFFERED = re.compile(r"--parameter (\S+?)=")
KNOWN = {
    "MeshOwner": "123456789012",
    "ContainerPort": "8080",
    "MESH_NAME": "shop",
    "AppMeshMeshName": "shop",
    "EnableClientValidation": "true",
}
"""Values of which not every text would do."""

LEGACY = 11
"""Kubernetes files of the corpus that are written in v1beta1."""


def files(dialect: str) -> list[Path]:
    """The files of a dialect, none where there is no corpus."""
    return sorted(path for path in (CORPUS / dialect).rglob("*") if path.is_file())


def values(loaded: Loaded) -> dict[str, str]:
    """A value for everything that the findings ask for, under the name that they say."""
    asking = [one for one in loaded.diagnostics if "names no object" not in one.summary]
    names = {name for one in asking for name in OFFERED.findall(one.detail)}
    return {name: KNOWN.get(name, f"value-{len(name)}") for name in names}


def nameless(path: Path, loaded: Loaded) -> dict[str, str]:
    """The names that the walkthrough's script gives on the command line; the file's name tells the kind."""
    if not any("names no object" in one.summary for one in loaded.diagnostics):
        return {}
    marks = {"-vg": Kind.VIRTUAL_GATEWAY, "gateway-route": Kind.GATEWAY_ROUTE, "-vr": Kind.VIRTUAL_ROUTER}
    kind = next((kind for mark, kind in marks.items() if mark in path.name), Kind.VIRTUAL_NODE)
    return dict.fromkeys(name_fields(kind), "value")


def completed(path: Path) -> Loaded:
    """A file with a value for everything that it turns out to need."""
    parameters: dict[str, str] = {}
    loaded = load([path], LoadSettings())
    for _ in range(4):
        more = values(loaded) | nameless(path, loaded)
        parameters = {**more, **parameters}
        loaded = load(
            [path], LoadSettings(mesh="shop", parameters=parameters, account="123456789012", region="eu-west-1")
        )
    return loaded


def errors(loaded: Loaded) -> list[str]:
    """The findings that keep something from being loaded."""
    return [f"{one.source}: {one.summary}" for one in loaded.diagnostics if one.severity is Severity.ERROR]


@pytest.mark.parametrize("dialect", ["cfn", "cli-json", "k8s"])
def test_every_file_loads_clean_once_its_values_are_given(corpus: Path, dialect: str) -> None:
    """But for v1beta1, which the controller itself has not read since its version 1.0."""
    found = {path.relative_to(corpus): completed(path) for path in files(dialect)}
    refused = {path: errors(loaded) for path, loaded in found.items() if errors(loaded)}
    legacy = {path for path, told in refused.items() if len(told) == 1 and "v1beta1" in told[0]}
    assert {path: told for path, told in refused.items() if path not in legacy} == {}
    assert len(legacy) == (LEGACY if dialect == "k8s" else 0)
    assert all(len(loaded.state) for path, loaded in found.items() if path not in legacy)


@pytest.mark.parametrize("dialect", ["cfn", "cli-json", "k8s"])
def test_without_values_every_file_is_loaded_or_says_what_it_needs(corpus: Path, dialect: str) -> None:
    """Nothing else is found, whatever is missing; and every finding has its line."""
    codes: Counter[str] = Counter()
    for path in files(dialect):
        loaded = load([path], LoadSettings())
        assert loaded.diagnostics or len(loaded.state)
        assert all(one.source is not None and one.source.line for one in loaded.diagnostics)
        codes.update(one.rule for one in loaded.diagnostics)
    assert set(codes) <= {"MW011", "MW012", "MW014", "MW016"}


def test_the_corpus_holds_as_many_objects_as_its_list_says(corpus: Path) -> None:
    """By kind, for the dialects in which a file says all of its objects; routers of Kubernetes hold their routes."""
    rows = [line.split("\t") for line in (corpus / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    for row in rows:
        path = corpus / row[0]
        if row[1] not in {"cfn", "k8s"} or "v1beta1" in row[4] or not path.is_file():
            continue
        wanted = {name: int(count) for name, count in (one.split("=") for one in row[2].split())}
        state = completed(path).state
        kinds = Counter(one.key.kind.type_name for one in state)
        if row[1] == "k8s":
            del kinds["Route"]
        assert kinds == wanted, row[0]


def test_a_folder_of_the_corpus_is_one_mesh(corpus: Path) -> None:
    """A walkthrough in several files: names and gateways are found across them."""
    folder = corpus / "k8s" / "walkthroughs" / "howto-k8s-http-ingress-v2"
    parameters = {"MESH_NAME": "m", "APP_NAMESPACE": "a", "AWS_ACCOUNT_ID": "1"}
    loaded = load([folder], LoadSettings(parameters=parameters))
    assert errors(loaded) == []
    assert {one.key.parent for one in loaded.state.of(Kind.GATEWAY_ROUTE)} == {"ingress-gw_a"}
    assert loaded.state.meshes == ("m",)
