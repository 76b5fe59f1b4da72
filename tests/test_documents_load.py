"""Files and folders: what is read, what is passed over, what is refused, and that nothing breaks loading."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from meshwright.diagnostics import Diagnostic, Severity, Source
from meshwright.documents import CODES, Loaded, LoadSettings, load
from meshwright.documents.files import MOST_BYTES
from meshwright.errors import MeshwrightError, UnreadableError
from meshwright.model import Key, Kind
from settings import examples

NODE = "meshName: shop\nvirtualNodeName: {}\nspec: {{}}\n"


def write(path: Path, text: str | bytes) -> Path:
    """`path` with `text` in it, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def names(loaded: Loaded) -> list[str]:
    """The names of the loaded objects."""
    return [one.key.name for one in loaded.state]


def summaries(loaded: Loaded) -> list[str]:
    """What was found, without the rest."""
    return [f"{one.source}: {one.rule} {one.summary}" for one in loaded.diagnostics]


def test_a_folder_is_read_recursively_without_hidden_files_and_strange_endings(tmp_path: Path) -> None:
    """Every known ending, sorted; nothing hidden, nothing else."""
    for name in (
        "b.yaml",
        "a.yml",
        "deep/er/c.json",
        "d.template",
        ".hidden.yaml",
        ".git/e.yaml",
        "f.txt",
        "g.yaml.bak",
    ):
        text = '{"meshName": "shop", "virtualNodeName": "%s", "spec": {}}' if name.endswith("json") else NODE
        stem = Path(name).stem
        write(tmp_path / name, text % stem if name.endswith("json") else text.format(stem))
    loaded = load([tmp_path], LoadSettings())
    assert names(loaded) == ["a", "b", "c", "d"]
    assert loaded.diagnostics == ()


def test_loops_of_symbolic_links_end(tmp_path: Path) -> None:
    """A folder behind a link is not entered, a file behind a link is read once."""
    write(tmp_path / "a" / "node.yaml", NODE.format("web"))
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "again.yaml").symlink_to(tmp_path / "a" / "node.yaml")
    loaded = load([tmp_path, tmp_path / "a" / "node.yaml"], LoadSettings())
    assert names(loaded) == ["web"]
    assert loaded.diagnostics == ()


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """One message that names it."""
    with pytest.raises(UnreadableError, match=r"nowhere\.yaml does not exist"):
        load([tmp_path / "nowhere.yaml"], LoadSettings())


def test_a_path_that_is_no_file_is_an_error(tmp_path: Path) -> None:
    """A pipe would be waited for without end."""
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UnreadableError, match="neither a file nor a folder"):
        load([tmp_path / "pipe.yaml"], LoadSettings())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_an_error(tmp_path: Path) -> None:
    """Nobody knows what it holds."""
    write(tmp_path / "node.yaml", NODE.format("web")).chmod(0)
    with pytest.raises(UnreadableError, match="permission denied"):
        load([tmp_path], LoadSettings())


def test_a_folder_named_like_a_file_is_an_error_unless_it_holds_definitions(tmp_path: Path) -> None:
    """A file was meant; a folder with definitions is read all the same."""
    folder = tmp_path / "mesh.yaml"
    folder.mkdir()
    with pytest.raises(UnreadableError, match="is a folder, though it is named like a file"):
        load([folder], LoadSettings())
    write(folder / "node.yaml", NODE.format("web"))
    assert names(load([folder], LoadSettings())) == ["web"]


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    """Nobody knows what it held; to pass over it would let a release delete that."""
    write(tmp_path / "node.yaml", NODE.format("web"))
    for target in ("gone.yaml", "link.yaml"):
        link = tmp_path / "link.yaml"
        link.symlink_to(target)
        with pytest.raises(UnreadableError, match=r"link\.yaml is a link that leads to no file"):
            load([tmp_path], LoadSettings())
        link.unlink()
    (tmp_path / "other.yaml").symlink_to("node.yaml")
    assert names(load([tmp_path], LoadSettings())) == ["web"]


def test_paths_without_definitions_are_an_error_together_and_warned_about_beside_definitions(tmp_path: Path) -> None:
    """A check of nothing would always succeed."""
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / "empty", write(tmp_path / "other.yaml", "a: 1\n")]
    found = load(paths, LoadSettings()).diagnostics
    assert [(one.rule, one.severity) for one in found] == [("MW015", Severity.ERROR)] * 2
    found = load([*paths, write(tmp_path / "node.yaml", NODE.format("web"))], LoadSettings()).diagnostics
    assert [(one.rule, one.severity) for one in found] == [("MW015", Severity.WARNING)] * 2


def test_a_named_file_without_definitions_is_reported_and_one_in_a_folder_is_not(tmp_path: Path) -> None:
    """What was named was meant."""
    other = write(tmp_path / "other.yaml", "a: 1\n")
    write(tmp_path / "node.yaml", NODE.format("web"))
    assert summaries(load([other], LoadSettings())) == [f"{other}: MW015 {other} holds no App Mesh definitions"]
    assert load([tmp_path], LoadSettings()).diagnostics == ()


@pytest.mark.parametrize(
    ("name", "raw", "wanted"),
    [
        ("a.yaml", b"", "MW015"),
        ("a.json", b"", "MW015"),
        ("a.yaml", b"\xef\xbb\xbfmeshName: shop\n", ""),
        ("a.json", b'\xef\xbb\xbf{"meshName": "shop"}', ""),
        ("a.yaml", "meshName: shop\n".encode("utf-16"), "MW010"),
        ("a.yaml", b"meshName: \xff\n", "MW010"),
        ("a.yaml", b"meshName: a\x00b\n", "MW010"),
        ("a.json", bytes(range(256)), "MW010"),
        ("a.yaml", b"meshName: [\n", "MW010"),
        ("a.json", b'{"meshName": }', "MW010"),
        ("a.yaml", b"meshName: shop\r\nspec: {}\r\n", ""),
        ("a.yaml", b"#" * (MOST_BYTES + 1), "MW010"),
        ("a.template", b' {"meshName": "shop", "tags": [{"key": "a", "value": "\\u00e9"}]}', ""),
    ],
)
def test_strange_bytes_give_one_finding(tmp_path: Path, name: str, raw: bytes, wanted: str) -> None:
    """Encodings, binary files, empty files, huge files, broken text."""
    loaded = load([write(tmp_path / name, raw)], LoadSettings())
    assert [one.rule for one in loaded.diagnostics] == ([wanted] if wanted else [])
    assert len(loaded.state) == (0 if wanted else 1)


def test_a_broken_file_in_a_folder_is_reported_only_when_it_is_about_meshes(tmp_path: Path) -> None:
    """A folder may hold other tools' files in dialects of YAML that nobody else reads."""
    write(tmp_path / "helm.yaml", "{{- if .Values.x }}\na: 1\n")
    ours = write(tmp_path / "node.yaml", "virtualNodeName: [\n")
    assert [str(one.source) for one in load([tmp_path], LoadSettings()).diagnostics] == [f"{ours}:2", str(tmp_path)][
        :1
    ]


def test_what_is_good_is_loaded_beside_what_is_broken(tmp_path: Path) -> None:
    """And the broken objects are named, so that references to them are no news."""
    text = (
        NODE.format("web") + "---\n" + NODE.format("api").replace("{}", "{listeners: 1}") + "---\nvirtualNodeName: ["
    )
    loaded = load([write(tmp_path / "mesh.yaml", text)], LoadSettings())
    assert names(loaded) == ["web"]
    assert loaded.broken == (Key("shop", Kind.VIRTUAL_NODE, "api"),)
    assert [one.rule for one in loaded.diagnostics] == ["MW001", "MW010"]


def test_an_object_defined_twice_names_both_places(tmp_path: Path) -> None:
    """Across files and dialects; the first one holds."""
    first = write(tmp_path / "a.yaml", NODE.format("web"))
    second = write(
        tmp_path / "b.yaml",
        "Resources:\n  Web:\n    Type: AWS::AppMesh::VirtualNode\n"
        "    Properties: {MeshName: shop, VirtualNodeName: web, Spec: {}}\n",
    )
    found = load([second, first], LoadSettings()).diagnostics
    assert [(str(one.source), one.rule) for one in found] == [(f"{first}:1", "MW013")]
    assert f"{second}:2" in found[0].summary


def test_the_only_mesh_of_the_files_is_meant_where_none_is_named(tmp_path: Path) -> None:
    """Settings beat it; two meshes leave it open."""
    write(tmp_path / "a.yaml", "virtualNodeName: web\nspec: {}\n---\nmeshName: shop\nspec: {}\n")
    assert load([tmp_path], LoadSettings()).state.meshes == ("shop",)
    assert load([tmp_path], LoadSettings(mesh="other")).state.meshes == ("other", "shop")
    write(tmp_path / "b.yaml", "meshName: bank\n")
    found = load([tmp_path], LoadSettings()).diagnostics
    assert [(one.rule, one.summary) for one in found] == [("MW012", "this VirtualNode 'web' has no meshName")]


NAMELESS = {
    "a.json": '{"spec": {"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]}}',
    "b.json": '{"spec": {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": '
    '[{"virtualNode": "web", "weight": 1}]}}}}',
    "c.json": '{"spec": {}}',
}


@pytest.mark.parametrize(
    ("name", "parameters", "wanted"),
    [
        ("a.json", {"virtualRouterName": "web"}, "mesh/shop/virtualRouter/web"),
        ("a.json", {"virtualGatewayName": "web"}, "mesh/shop/virtualGateway/web"),
        ("b.json", {"virtualRouterName": "web", "routeName": "all"}, "mesh/shop/virtualRouter/web/route/all"),
        ("c.json", {}, "mesh/shop"),
    ],
)
def test_names_may_come_from_parameters_as_the_cli_takes_them_from_options(
    tmp_path: Path, name: str, parameters: dict[str, str], wanted: str
) -> None:
    """`aws appmesh create-virtual-router --virtual-router-name web --cli-input-json file://a.json`."""
    path = write(tmp_path / name, NAMELESS[name])
    loaded = load([path], LoadSettings(mesh="shop", parameters=parameters))
    assert [one.key.path for one in loaded.state] == [wanted]
    assert loaded.diagnostics == ()


def test_sources_lead_from_wire_paths_to_the_dialects_own_lines(tmp_path: Path) -> None:
    """The field where there is one, else what is around it; unknown subjects nowhere."""
    path = write(
        tmp_path / "a.yaml",
        "Resources:\n"
        "  Web:\n"
        "    Type: AWS::AppMesh::VirtualNode\n"
        "    Properties:\n"
        "      MeshName: shop\n"
        "      Spec:\n"
        "        ServiceDiscovery:\n"
        "          DNS:\n"
        "            Hostname: web.internal\n",
    )
    sources = load([path], LoadSettings()).sources
    web = "mesh/shop/virtualNode/Web"

    def line(path: str) -> int:
        found = sources.find(web, path)
        assert found is not None
        return found.line

    assert line("") == 2
    assert line("spec.serviceDiscovery.dns.hostname") == 9
    assert line("spec.serviceDiscovery.dns.responseType") == 8
    assert line("spec.listeners[0].portMapping") == 6
    assert sources.find("mesh/shop/virtualNode/other") is None
    finding = Diagnostic(rule="MW999", severity=Severity.INFO, summary="x", subject=web, path="spec")
    elsewhere = Diagnostic(rule="MW999", severity=Severity.INFO, summary="x", subject="mesh/shop")
    attached = sources.attach([finding, elsewhere])
    assert attached[0].source == Source(file=str(path), line=6, column=7)
    assert attached[1] is elsewhere


def test_every_code_has_a_name_and_a_meaning() -> None:
    """They are listed beside the rules."""
    assert sorted(CODES) == [f"MW0{number}" for number in range(10, 18)]
    assert all(name and meaning.endswith(".") for name, meaning in CODES.values())


WORDS = """
Resources Type AWS::AppMesh::VirtualNode AWS::AppMesh::Route Properties MeshName Spec Ref Fn::Sub Fn::GetAtt Fn::Join
Fn::If Conditions Parameters Mappings A B A.Name ${A} ${A.VirtualNodeName} AWS::NoValue VirtualNodeName apiVersion
appmesh.k8s.aws/v1beta2 kind List items Mesh VirtualNode VirtualRouter GatewayRoute metadata name namespace spec
routes listeners backends backendGroups virtualServiceRef namespaceSelector matchLabels virtualNodeName
virtualRouterName
routeName meshName tags virtualService awsName
"""
PIECES = st.sampled_from(WORDS.split())
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | PIECES | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PIECES | st.text(max_size=3), inner, max_size=6),
    max_leaves=40,
)


@st.composite
def documents(draw: st.DrawFn) -> object:
    """Something that looks enough like a definition to be taken for one."""
    tree = st.dictionaries(PIECES, TREES, max_size=5)
    frame = draw(st.sampled_from(["cloudformation", "kubernetes", "api", "anything"]))
    if frame == "cloudformation":
        resources = {
            name: {
                "Type": f"AWS::AppMesh::{draw(st.sampled_from(['VirtualNode', 'Route', 'Mesh']))}",
                "Properties": draw(TREES),
            }
            for name in ("A", "B", "C")
        }
        return {**draw(tree), "Resources": resources}
    if frame == "kubernetes":
        kind = draw(st.sampled_from(["Mesh", "VirtualNode", "VirtualRouter", "GatewayRoute", "BackendGroup"]))
        return {"apiVersion": "appmesh.k8s.aws/v1beta2", "kind": kind, "metadata": draw(TREES), "spec": draw(TREES)}
    if frame == "api":
        return {draw(st.sampled_from(["virtualNodeName", "routeName", "meshName"])): draw(TREES), "spec": draw(TREES)}
    return draw(TREES)


@hypothesis_settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents(), st.dictionaries(PIECES, st.text(max_size=3), max_size=3), st.sampled_from(["yaml", "json"]))
def test_whatever_looks_like_a_definition_is_loaded_or_reported(
    tmp_path: Path, thing: object, parameters: dict[str, str], ending: str
) -> None:
    """No exception, and every finding has a file."""
    text = json.dumps(thing) if ending == "json" else yaml.dump(thing, Dumper=yaml.CSafeDumper, allow_unicode=True)
    loaded = load([write(tmp_path / f"a.{ending}", text)], LoadSettings(mesh="m", parameters=parameters))
    assert all(one.source is not None and one.source.file for one in loaded.diagnostics)
    assert loaded.diagnostics or len(loaded.state)


@hypothesis_settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["yaml", "json", "template"]))
def test_any_bytes_are_loaded_or_reported(tmp_path: Path, raw: bytes, ending: str) -> None:
    """Nothing but our own errors is ever raised."""
    path = write(tmp_path / f"a.{ending}", raw)
    try:
        loaded = load([path], LoadSettings())
    except MeshwrightError:
        return
    assert loaded.diagnostics or len(loaded.state)


@pytest.mark.parametrize("piece", ["{{", "${", "$${", "{{ a", "${a", "!"])
def test_a_text_full_of_half_variables_is_read_in_linear_time(tmp_path: Path, piece: str) -> None:
    """A megabyte of openings without an end."""
    text = json.dumps({"meshName": "shop", "virtualNodeName": piece * (1_000_000 // len(piece)), "spec": {}})
    loaded = load([write(tmp_path / "a.json", text)], LoadSettings())
    assert [(one.rule, one.path) for one in loaded.diagnostics] == [("MW002", "virtualNodeName")]


@pytest.mark.parametrize(
    "argument", [None, 7, True, {"a": "b", "c": "d"}, [], ["A"], ["A", "B", "C"], "", "A", [None, 1]]
)
@pytest.mark.parametrize(
    "function",
    ["Ref", "Fn::GetAtt", "Fn::Sub", "Fn::Join", "Fn::Select", "Fn::Split", "Fn::If", "Fn::FindInMap", "Fn::Base64",
     "Fn::ImportValue", "Fn::Equals", "Fn::And", "Fn::Not", "Fn::Cidr", "Fn::GetAZs", "Fn::ForEach::x"],
)  # fmt: skip
def test_a_function_with_nonsense_in_it_is_a_finding(tmp_path: Path, function: str, argument: object) -> None:
    """Whatever stands where a function's arguments should."""
    properties = {"MeshName": "m", "VirtualNodeName": "n", "Spec": {"Listeners": {function: argument}}}
    resources = {"A": {"Type": "AWS::AppMesh::VirtualNode", "Properties": properties}}
    path = tmp_path / "t.template"
    path.write_text(json.dumps({"Resources": resources}), encoding="utf-8")
    loaded = load([path], LoadSettings())
    assert loaded.diagnostics
