"""Options and fixtures that every test may use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from serving import Serving, serving
from settings import PROVE, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # chttp2 prints every GOAWAY otherwise

# The machine is shared and slow at times: a deadline would report the neighbours, not the code.
settings.register_profile("meshwright", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("meshwright")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-goldens`."""
    parser.addoption("--update-goldens", action="store_true", help="rewrite the expected files of tests/cases")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the long forms time: what takes seconds otherwise may take minutes, on a busy machine above all."""
    for item in items if PROVE else ():
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(3600))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many were tried where a test says so, by `record_property("tried", …)`: the figure is wanted."""
    for report in terminalreporter.getreports("passed"):
        for name, said in report.user_properties:
            if name == "tried":
                terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}: {said}")


@pytest.fixture
def update_goldens(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are to be rewritten."""
    return bool(request.config.getoption("--update-goldens"))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real definitions, or a skip where it is not beside the project."""
    folder = SHARED / "corpus"
    if not folder.is_dir():
        pytest.skip("the corpus of real definitions is not beside the project")
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    """The HTTP API over a real socket on an empty SQLite store; `serving.KEY` signs for the administrator."""
    with serving(tmp_path) as running:
        yield running
