"""`meshwright.yaml`: read strictly, with every fault at once, and one environment chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from meshwright.documents import Environment, LoadSettings, Project, find_project, load_project
from meshwright.documents.settings import Command
from meshwright.errors import UnreadableError, UsageError

GOOD = """\
stack: shop
definitions: [mesh, extra.yaml]
mesh: shop
region: eu-west-1
parameters: {Port: 8080, Debug: true, Zone: internal, Account: 012345678901}
environments:
  staging:
    endpoint: http://127.0.0.1:9080
    mesh: shop-staging
    account: "123456789012"
    region: eu-central-1
    parameters: {Zone: staging}
  empty:
workloads:
  orders: {command: ./run --fast, folder: orders, environment: {LEVEL: 3}}
  cart: {command: make serve}
"""


def write(folder: Path, text: str) -> Path:
    """A project file."""
    path = folder / "meshwright.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_project_is_read_whole(tmp_path: Path) -> None:
    """Definitions are relative to the file; numbers and truth values become the text that parameters are."""
    path = write(tmp_path, GOOD)
    project = load_project(path)
    assert project == Project(
        file=str(path),
        stack="shop",
        definitions=(tmp_path / "mesh", tmp_path / "extra.yaml"),
        mesh="shop",
        region="eu-west-1",
        parameters={"Port": "8080", "Debug": "true", "Zone": "internal", "Account": "012345678901"},
        environments={
            "staging": Environment(
                endpoint="http://127.0.0.1:9080",
                mesh="shop-staging",
                account="123456789012",
                region="eu-central-1",
                parameters={"Zone": "staging"},
            ),
            "empty": Environment(),
        },
        workloads={
            "orders": Command(command="./run --fast", folder=tmp_path / "orders", environment={"LEVEL": "3"}),
            "cart": Command(command="make serve", folder=tmp_path),
        },
    )


def test_an_environments_values_beat_the_files_and_the_callers_beat_both(tmp_path: Path) -> None:
    """Flags beat the environment beats the file."""
    project = load_project(write(tmp_path, GOOD), "staging")
    assert (project.environment, project.endpoint, project.mesh) == (
        "staging",
        "http://127.0.0.1:9080",
        "shop-staging",
    )
    assert replace(project.load_settings({"Port": "1"}), values=None) == LoadSettings(
        mesh="shop-staging",
        parameters={"Port": "1", "Debug": "true", "Zone": "staging", "Account": "012345678901"},
        account="123456789012",
        region="eu-central-1",
    )
    assert load_project(write(tmp_path, GOOD), "empty").mesh == "shop"


def test_every_fault_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    """With "did you mean"."""
    path = write(
        tmp_path,
        "stak: shop\nmesh: 7\ndefinitions: [a, 1]\nparameters: [1]\naccount: 12\nenvironments:\n"
        "  a: {endpont: x, parameters: {P: [1], Q: $R}}\n  b: 1\nstak: x\n",
    )
    with pytest.raises(UsageError) as caught:
        load_project(path)
    assert [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()] == [
        "9: the key 'stak' is given twice, first on line 1. Only one of them can hold; remove the other.",
        "1: unknown key 'stak'; did you mean 'stack'?",
        "2: mesh takes text, found 7.",
        "3: definitions takes text, found 1.",
        "4: parameters takes a mapping of names to values, found a list.",
        "5: account takes an account id of 12 digits, found 12.",
        "7: unknown key 'environments.a.endpont'; did you mean 'endpoint'?",
        "7: environments.a.parameters.P takes text or a number, found a list; quote it.",
        "7: environments.a.parameters.Q takes text or a number, found '$R'; quote it.",
        "8: environments.b takes a mapping, found 1.",
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("- a\n", "a project file is a mapping"),
        ("stack: [\n", "this is not YAML"),
        ("stack: a\n---\nstack: b\n", "holds one document"),
        ("stack: a\x00\n", "control character U\\+0000"),
    ],
)
def test_a_file_that_is_no_project_is_refused(tmp_path: Path, text: str, wanted: str) -> None:
    """One clear message."""
    with pytest.raises(UsageError, match=wanted):
        load_project(write(tmp_path, text))


def test_an_unknown_environment_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """Or the list of those that there are."""
    path = write(tmp_path, GOOD)
    with pytest.raises(UsageError, match=r"no environment 'stagin'\. Did you mean 'staging'\?"):
        load_project(path, "stagin")
    with pytest.raises(UsageError, match=r"It defines: staging, empty\."):
        load_project(path, "production")


def test_without_a_file_the_project_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But an environment must be defined somewhere, and a file that was named must be there."""
    monkeypatch.chdir(tmp_path)
    assert load_project() == Project()
    with pytest.raises(UsageError, match=r"no meshwright\.yaml here"):
        load_project(None, "staging")
    with pytest.raises(UnreadableError, match="cannot be read: no such file"):
        load_project(tmp_path / "other.yaml")
    with pytest.raises(UnreadableError, match="cannot be read: is a directory"):
        load_project(tmp_path)


def test_the_file_here_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions stay relative, so that messages are short; a project beside the paths does not beat it."""
    write(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    project = load_project(find_project([]))
    assert project.definitions == (Path("mesh"), Path("extra.yaml"))
    Path("mesh").mkdir()
    write(tmp_path / "mesh", GOOD)
    assert find_project([Path("mesh")]) == Path("meshwright.yaml")


def test_without_a_file_here_the_nearest_to_the_paths_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder that is named or holds the file, or above it, but not above the working directory."""
    shop, deep = tmp_path / "checkout" / "shop", tmp_path / "checkout" / "shop" / "mesh" / "deep"
    deep.mkdir(parents=True)
    write(tmp_path, GOOD)
    (deep / "a.yaml").touch()
    monkeypatch.chdir(tmp_path / "checkout")
    assert find_project([]) is None
    assert find_project([Path("shop")]) is None
    write(shop, GOOD)
    for path in ("shop", "shop/mesh", "shop/mesh/deep/a.yaml", "../checkout/shop/mesh", str(deep)):
        found = find_project([Path(path), Path("shop/mesh")])
        assert found is not None
        assert found.resolve() == shop / "meshwright.yaml", path
    monkeypatch.chdir(deep)
    assert find_project([Path()]) is None
    assert find_project([Path("../..")]) == Path("../../meshwright.yaml")
    assert find_project([Path("..")]) is None


def test_paths_of_two_projects_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could tell whose parameters hold."""
    monkeypatch.chdir(tmp_path)
    for name in ("shop", "bank", "other"):
        (tmp_path / name).mkdir()
    write(tmp_path / "shop", GOOD)
    with pytest.raises(UsageError, match=r"shop has shop/meshwright\.yaml; other has none.*--config FILE"):
        find_project([Path("shop"), Path("other")])
    write(tmp_path / "bank", GOOD)
    with pytest.raises(UsageError, match=r"shop has shop/meshwright\.yaml; bank has bank/meshwright\.yaml"):
        find_project([Path("shop"), Path("bank")])


def test_the_project_s_folder_stands_for_its_definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other paths stand for themselves, and so does the folder where the file lists none."""
    monkeypatch.chdir(tmp_path)
    shop = tmp_path / "shop"
    shop.mkdir()
    project = load_project(write(shop, GOOD).relative_to(tmp_path))
    listed = (Path("shop/mesh"), Path("shop/extra.yaml"))
    assert project.expand([]) == listed
    assert project.expand([Path("shop"), Path("a.yaml")]) == (*listed, Path("a.yaml"))
    assert project.expand([Path("shop/mesh")]) == (Path("shop/mesh"),)
    bare = load_project(write(shop, "stack: s\n").relative_to(tmp_path))
    assert bare.expand([Path("shop")]) == (Path("shop"),)


def test_a_workload_without_a_command_is_refused_with_its_place(tmp_path: Path) -> None:
    """As is one with members that nobody knows; all at once."""
    path = write(tmp_path, "workloads:\n  a: ./run\n  b: {folder: x}\n  c: {command: run, comand: y}\n")
    with pytest.raises(UsageError) as caught:
        load_project(path)
    told = str(caught.value).splitlines()
    assert [line.removeprefix(str(path)).split(": ")[0] for line in told] == [":2", ":3", ":4"]
    assert "workloads.a takes a mapping with a command" in told[0]
    assert "did you mean 'command'" in told[2]
