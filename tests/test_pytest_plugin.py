"""The fixtures `mesh`, `send` and `fault`, in runs of a real pytest on real Envoys."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshwright.testing.words import Expected, Faulty
from meshwright.trials import written
from processes import alive, descendants, is_envoy, until
from settings import PROVE

if TYPE_CHECKING:
    from collections.abc import Callable

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio")
pytestmark = pytest.mark.timeout(300)
SHOP = Path(__file__).parents[1] / "examples" / "shop"
MESH = """
meshName: small
spec: {egressFilter: {type: DROP_ALL}}
---
virtualNodeName: web
spec: {backends: [{virtualService: {virtualServiceName: pay.local}}]}
---
virtualNodeName: pay
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: pay.nodes, responseType: ENDPOINTS}}
---
virtualServiceName: pay.local
spec: {provider: {virtualRouter: {virtualRouterName: pay}}}
---
virtualRouterName: pay
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}]}
---
virtualRouterName: pay
routeName: quotes
spec:
  priority: 1
  httpRoute:
    match: {prefix: /quote}
    action: {weightedTargets: [{virtualNode: pay, weight: 1}]}
---
virtualRouterName: pay
routeName: all
spec:
  httpRoute:
    match: {prefix: /}
    action: {weightedTargets: [{virtualNode: pay, weight: 1}]}
"""
HEAD = """
import pytest
URL = "http://pay.local:8080"
"""
FAILING = f"""{HEAD}
def test_plain(send):
    assert send("web", f"{{URL}}/quote").status == 418

def test_words(send, fault):
    with fault(latency="10ms", at="pay"):
        send("web", f"{{URL}}/quote", of=3).expect(status=418, served_by="pay")

def test_error(send, fault):
    with fault(abort=500, at="pay", when={{"x-user": "gold"}}):
        send("web", URL, headers={{"x-user": "gold"}}).expect(attempts=1)

def test_unknown_word(fault):
    with fault(latncy="1s", at="pay"):
        pass

def test_unknown_node(send):
    send("wbe", URL)

@pytest.mark.mesh(instances={{"pay": 2}})
def test_too_few(fault):
    with fault(crash=True, at="pay", instances="1 of 3"):
        pass
"""
PASSING = f"""{HEAD}
def test_one_instance_goes_and_comes_back(mesh, send, fault):
    assert mesh.nodes == ("pay", "web")
    assert mesh.instances("pay") == ("pay-1", "pay-2")
    with send.steadily("web", f"{{URL}}/quote") as answers, fault(lost=True, at="pay", instances="1 of 2"):
        assert {{one.instance for one in send("web", f"{{URL}}/quote", of=8)}} == {{"pay-2"}}
    answers.expect(status=200, errors=0)
    assert len(send("web", f"{{URL}}/quote", of=8, at_once=8)) == 8
    assert {{one.instance for one in send("web", f"{{URL}}/quote", of=8)}} == {{"pay-1", "pay-2"}}

@pytest.mark.mesh(instances={{"pay": 2}})
def test_faults_stand_in_each_other_and_end(send, fault):
    with fault(abort=503, at="pay", when={{"x-user": "gold"}}):
        with fault(latency="300ms", at="pay", when={{"x-user": "silver"}}):
            assert send("web", URL, headers={{"x-user": "silver"}}).milliseconds >= 300
        assert send("web", URL, headers={{"x-user": "gold"}}).status == 503
        assert send("web", URL).status == 200
    answer = send("web", URL, headers={{"x-user": "gold"}})
    assert (answer.status, answer.served_by, answer.path) == (200, "pay", ["web", "pay"])
    assert (answer.attempts, answer.given_up, answer.tls) == (1, [None], "none")
    assert answer.arrived["x-user"] == "gold" and any("GET" in line for line in answer.log)
"""


class Ran:
    """What a run of pytest said."""

    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.code = process.returncode
        self.text = process.stdout + process.stderr

    def says(self, *parts: str) -> None:
        """Fail unless it said all of `parts`, in that order."""
        at = 0
        for part in parts:
            found = self.text.find(part, at)
            assert found >= 0, f"{part!r} is not said after {self.text[max(at - 200, 0) : at]!r} in:\n{self.text}"
            at = found + len(part)


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Makes a project of the small mesh with a module of tests."""

    def made(tests: str, mesh: str = MESH) -> Path:
        (tmp_path / "mesh.yaml").write_text(mesh)
        (tmp_path / "meshwright.yaml").write_text("stack: small\ndefinitions: [mesh.yaml]\n")
        (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        (tmp_path / "test_mesh.py").write_text(tests)
        return tmp_path

    return made


def ran(folder: Path, *arguments: str) -> Ran:
    """A run of pytest in a process of its own, in `folder`."""
    command = (*PYTEST, *arguments)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return Ran(
        subprocess.run(command, cwd=folder, env=clean, text=True, capture_output=True, timeout=280, check=False)
    )


@pytest.mark.envoy
def test_the_shops_tests_in_python_pass(tmp_path: Path) -> None:
    """As they stand in the example, run from its folder: those that no limit of time can upset on a busy machine.

    The long form runs all of them, up to three times for what a busy machine may have upset.
    """
    shutil.copytree(SHOP, tmp_path / "shop")
    for _ in range(3 if PROVE else 1):
        found = ran(tmp_path / "shop", *(() if PROVE else ("-k", "tester or window or partners")))
        if found.code == 0:
            break
    assert found.code == 0, found.text
    found.says("7 passed" if PROVE else "3 passed")


@pytest.mark.envoy
def test_failures_say_what_happened_and_who_decided_it(project: Callable[..., Path]) -> None:
    """With file and line; what cannot be meant is refused with what was probably meant."""
    found = ran(project(FAILING), "--mesh-isolation", "loopback", "--mesh-fail-under", "50")
    assert found.code == 1
    line = 1 + MESH[: MESH.index("virtualRouterName: pay\nrouteName: quotes")].count("\n")
    found.says(
        "test_plain",
        "assert 200 == 418",
        "where 200 = <200 by pay to GET http://pay.local:8080/quote from web>.status",
        "Calls in the mesh",
        "GET http://pay.local:8080/quote from web",
        "answered  200 by pay",
        f"decided   Route 'quotes' at mesh.yaml:{line}",
        "test_words",
        "call      GET http://pay.local:8080/quote from web, latency 10 ms at pay",
        "expected  status: 418",
        "happened  status 200 (call 1; 3 of 3 calls)",
        f"decided   Route 'quotes' at mesh.yaml:{line}",
        "again     pytest 'test_mesh.py::test_words'",
        "test_error",
        "expected  status: no error",
        "happened  status 500",
        "test_unknown_word",
        "fault.latncy: unknown field 'latncy'; did you mean 'latency'?",
        "test_unknown_node",
        "no virtual node or gateway 'wbe' runs here; did you mean 'web'?",
        "test_too_few",
        "2 of 'pay' run, not 3; mark the test with @pytest.mark.mesh(instances={'pay': 3})",
        "not covered: mesh/small/virtualRouter/pay/route/quotes",
        "0.0% of the routes and their parts (0 of 5), under 50%",
        "6 failed",
    )


@pytest.mark.envoy
def test_workers_have_a_mesh_each_and_their_coverage_is_told_together(project: Callable[..., Path]) -> None:
    """Either of the two tests follows what the other does not."""
    arguments = ("--mesh-isolation", "loopback", "--mesh-coverage", "--mesh-fail-under", "100")
    found = ran(project(PASSING), "-n", "2", "--dist", "each" if PROVE else "load", *arguments)
    assert found.code == 0, found.text
    found.says("100.0% of the routes and their parts (5 of 5)")


def test_definitions_with_a_fault_are_not_run(project: Callable[..., Path]) -> None:
    """Tests of what is left of them would prove nothing."""
    found = ran(project(PASSING, MESH.replace("weightedTargets", "weightedTarget")))
    assert found.code == 1
    found.says("The mesh cannot be run", "mesh.yaml:25", "MW001", "Did you mean 'weightedTargets'?")


def test_who_uses_no_fixture_pays_for_nothing(tmp_path: Path) -> None:
    """Of ours, the plugin's own module is all that is imported."""
    said = "print(sorted(one for one in sys.modules if one.startswith('meshwright')))"
    (tmp_path / "conftest.py").write_text(f"import sys\ndef pytest_unconfigure(): {said}\n")
    (tmp_path / "test_any.py").write_text("def test_any(): pass\n")
    ran(tmp_path).says("1 passed", "['meshwright', 'meshwright.pytest_plugin']")


@pytest.mark.envoy
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_broken_off(project: Callable[..., Path], number: signal.Signals) -> None:
    """By Ctrl-C within a fault, or by `kill -9`: no process stays, and after Ctrl-C no file."""
    waiting = """
import pathlib, time
def test_waiting(send, fault):
    with fault(control_plane="gone"):
        assert send("web", "http://pay.local:8080/").status == 200
        pathlib.Path("reached").touch()
        time.sleep(100)
"""
    folder = project(waiting)
    temporary = folder / "t"
    temporary.mkdir()
    # What shells start in the background ignores SIGINT, and so would what it starts.
    command = ("env", "--default-signal=INT", *PYTEST, "--mesh-isolation", "loopback")
    with (folder / "said").open("wb") as said:
        running = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"TMPDIR": str(temporary)}, stdout=said, stderr=said
        )
    try:
        end = time.monotonic() + 200
        while not (folder / "reached").exists() and running.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert running.poll() is None, (folder / "said").read_text()
        started = descendants(running.pid)
        assert sum(map(is_envoy, started)) == 2
        running.send_signal(number)
        assert running.wait(60) == (2 if number is signal.SIGINT else -signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
    until(lambda: not any(map(alive, started)))
    if number is signal.SIGINT:
        assert [one.name for one in temporary.iterdir()] == []


def test_python_and_files_know_the_same_words() -> None:
    """But for what whoever calls decides: `of`, `at_once` and `steady`."""
    assert Faulty.__annotations__.keys() == set(written.Given.__struct_fields__)
    assert Expected.__annotations__.keys() == set(written.Expect.__struct_fields__) - {"of", "at_once", "steady"}
