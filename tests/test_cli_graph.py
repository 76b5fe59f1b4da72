"""`meshwright graph` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from registering import serving
from settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `graph` in the shop's folder, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "meshwright.cli", "graph", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT / "examples" / "shop",
        env={**os.environ, **variables},
    )


@pytest.mark.parametrize("form", ["text", "json", "mermaid", "dot", "svg"])
def test_every_format_shows_the_shop(form: str) -> None:
    """Alone on standard output, exit code 0."""
    done = run("--format", form)
    assert (done.returncode, done.stderr) == (0, "")
    assert "payment-v2" in done.stdout
    if form == "json":
        assert {one["name"] for one in json.loads(done.stdout)["boxes"]} >= {"entrance", "payment.shop.internal"}
    if form == "svg":
        assert ET.fromstring(done.stdout).tag.endswith("svg")  # noqa: S314 - our own output


def test_definitions_with_errors_are_left_out_and_said() -> None:
    """What can be drawn is drawn; exit code 1."""
    done = run("definitions/inventory.template.yaml", "--parameter", "InventoryPort=x")
    assert done.returncode == 1
    assert "meshwright validate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("form", ["text", "mermaid", "dot", "svg"])
def test_of_callers_without_a_proxy_that_reports_no_picture_says_that_they_call_nobody(
    tmp_path: Path, form: str
) -> None:
    """As of those that AWS's image runs, which does not report."""
    with serving(tmp_path / "data") as server:
        done = run(
            *("--observed", "--mesh", "shop", "--format", form),
            MESHWRIGHT_ENDPOINT=server.api,
            AWS_SHARED_CREDENTIALS_FILE=str(server.credentials),
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "no proxy reports" in done.stdout
    assert "never called" not in done.stdout
