"""`meshwright graph` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from settings import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `graph` in the shop's folder, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "meshwright.cli", "graph", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT / "examples" / "shop",
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
