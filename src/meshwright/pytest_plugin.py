"""A mesh on real Envoys for tests in Python: pytest's fixtures `mesh`, `send` and `fault`.

Every run of pytest loads this module where Meshwright is installed. The one rule: until one of its fixtures is used,
it imports nothing of ours, and does nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from meshwright.testing import Fault, Mesh, Send
    from meshwright.testing.running import Running, Wanted

_RUNNING: pytest.StashKey[Running] = pytest.StashKey()
"""What runs for the session; not there until a fixture is used."""
_COVERED = pytest.StashKey[dict[tuple[str, str], bool]]()
"""Of every part of every route, by object and field, whether a passing test followed it: here, or in any worker."""
_WORKER = "meshwright"
"""Under which a worker of pytest-xdist tells what it covered."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the definitions are, and what is told of them."""
    group = parser.getgroup("meshwright", "a mesh on real Envoys (fixtures mesh, send and fault)")
    group.addoption("--mesh-definitions", action="append", metavar="PATH", type=Path,
                    help="definitions, in place of those that meshwright.yaml lists; may be repeated")  # fmt: skip
    group.addoption("--mesh-environment", metavar="NAME", default=os.environ.get("MESHWRIGHT_ENVIRONMENT"),
                    help="environment of meshwright.yaml to use")  # fmt: skip
    group.addoption("--mesh-parameter", action="append", metavar="KEY=VALUE", default=[],
                    help="a value for a template's parameter or ${KEY}; may be repeated")  # fmt: skip
    group.addoption("--mesh-isolation", choices=["auto", "loopback", "netns"],
                    help="what keeps machines apart, as `meshwright test` has it")  # fmt: skip
    group.addoption("--mesh-coverage", action="store_true",
                    help="tell which routes and parts of them no passing test followed")  # fmt: skip
    group.addoption("--mesh-fail-under", type=float, metavar="N",
                    help="fail where less than N percent of the routes and their parts is covered")  # fmt: skip
    parser.addini("meshwright_definitions", "files and folders of definitions, as --mesh-definitions", "paths", [])
    parser.addini("meshwright_isolation", "as --mesh-isolation", "string", "auto")


def pytest_configure(config: pytest.Config) -> None:
    """Tell of the marker."""
    config.addinivalue_line(
        "markers", "mesh(instances={NODE: COUNT}): so many instances of virtual nodes or gateways run in the session"
    )


@pytest.fixture(scope="session")
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """The project's mesh, running on real Envoys for the session."""
    from meshwright.errors import MeshwrightError  # noqa: PLC0415 - only who uses a fixture pays for it

    with contextlib.ExitStack() as exits:
        why = ""
        try:
            running = _wanted(request.session).running()
            started = exits.enter_context(running)
        except MeshwrightError as error:
            why = f"The mesh cannot be run: {error}"
        if why:
            pytest.fail(why, pytrace=False)
        request.config.stash[_RUNNING] = running
        yield started


def _wanted(session: pytest.Session) -> Wanted:
    """What settings, the command line and the tests' markers ask for."""
    from meshwright.testing.running import Wanted, most  # noqa: PLC0415 - as above

    config = session.config
    tests = [one for one in session.items if "mesh" in getattr(one, "fixturenames", ())]
    return Wanted(
        definitions=tuple(config.getoption("mesh_definitions") or config.getini("meshwright_definitions")),
        beside=(*dict.fromkeys(one.path for one in tests), config.rootpath),
        environment=config.getoption("mesh_environment"),
        parameters=tuple(config.getoption("mesh_parameter")),
        isolation=config.getoption("mesh_isolation") or config.getini("meshwright_isolation"),
        instances=most((one.args, one.kwargs) for test in tests for one in test.iter_markers("mesh")),
    )


@pytest.fixture(scope="session")
def send(mesh: Mesh) -> Send:
    """Makes a call from a virtual node, or from outside to a gateway, and gives what was seen of it."""
    return mesh.send


@pytest.fixture(scope="session")
def fault(mesh: Mesh) -> Fault:
    """Makes something go wrong for as long as a `with` block lasts."""
    return mesh.fault


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a test that failed, what became of its calls; of one that passed, what it covered."""
    report = yield
    running = item.config.stash.get(_RUNNING, None)
    if running is not None:
        if report.failed and (told := running.told()):
            report.sections.append(("Calls in the mesh", told))
        if report.passed and call.when == "call":
            running.passed()
        if call.when == "teardown":
            running.over()
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand on what was covered, or judge it."""
    config = session.config
    if (running := config.stash.get(_RUNNING, None)) is not None:
        covered = [[*at, followed] for at, followed in running.covered.items()]
        if hasattr(config, "workeroutput"):
            config.workeroutput[_WORKER] = covered
        _add(config, covered)
    least = config.getoption("mesh_fail_under")
    if least is not None and not hasattr(config, "workeroutput") and _percent(config) < least:
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker of pytest-xdist covered."""
    _add(node.config, getattr(node, "workeroutput", {}).get(_WORKER, ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what no passing test followed, and how much is covered."""
    config = terminalreporter.config
    covered, least = config.stash.get(_COVERED, {}), config.getoption("mesh_fail_under")
    if not config.getoption("mesh_coverage") and least is None:
        return
    terminalreporter.section("coverage of the mesh")
    for route, path in (at for at, followed in covered.items() if not followed):
        terminalreporter.write_line(f"not covered: {route} {path}".rstrip())
    percent = _percent(config)
    told = f"{percent:.1f}% of the routes and their parts ({sum(covered.values())} of {len(covered)})"
    short = least is not None and percent < least
    terminalreporter.write_line(f"{told}, under {least:g}%" if short else told, red=short)


def _add(config: pytest.Config, covered: Iterable[Sequence[Any]]) -> None:
    known = config.stash.setdefault(_COVERED, {})
    for route, path, followed in covered:
        known[route, path] = known.get((route, path), False) or followed


def _percent(config: pytest.Config) -> float:
    covered = config.stash.get(_COVERED, {})
    return 100 * sum(covered.values()) / len(covered) if covered else 0.0
