"""Speaks to the independent evaluator of IAM policies: one node process, one question a line.

The library is under the AGPL and never shipped: `make oracle` installs it beside its program, where git ignores it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from policy_cases import Case

FOLDER = ROOT / "tests" / "oracle"
INSTALLED = FOLDER / "node_modules" / "@cloud-copilot" / "iam-simulate"
SECONDS = 1200


def why_not() -> str:
    """Why the evaluator cannot be asked here, "" where it can."""
    if shutil.which("node") is None:
        return "node is not installed, so that the independent policy evaluator cannot run"
    if not INSTALLED.is_dir():
        return "the independent policy evaluator is not installed; `make oracle` installs it where npm is there"
    return ""


def answers(cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """What the evaluator says to each case, in their order, from one process."""
    lines = "".join(f"{json.dumps(case.question())}\n" for case in cases)
    with subprocess.Popen(
        ["node", "policies.mjs"],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        guard = threading.Timer(SECONDS, process.kill)
        guard.start()
        try:
            told, _ = process.communicate(lines)
        finally:
            guard.cancel()
            process.kill()
    yield from map(json.loads, told.splitlines())
