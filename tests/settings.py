"""How hard the tests try, and where the shared corpus is. `MESHWRIGHT_PROVE=1` runs the long parts in full."""

from __future__ import annotations

import os
from pathlib import Path

PROVE = os.environ.get("MESHWRIGHT_PROVE") == "1"

ROOT = Path(__file__).resolve().parent.parent

SHARED = ROOT.parent / "shared"
"""Data beside the project, there in CI and on developers' machines; never needed to build, test or run."""

CASES = Path(__file__).resolve().parent / "cases"


def examples(count: int) -> int:
    """How many hypothesis examples to try: `count` in `make check`, twenty times that in `make prove`."""
    return count * 20 if PROVE else count
