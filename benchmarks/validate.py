"""`meshwright validate` beside cfn-lint, on the same templates, in one run."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.meshes import write_templates
from benchmarks.peers import cfn_lint
from benchmarks.report import Table, command, ratio, spread, timed

SIZES = (400, 4000)


def run() -> Table:
    """Seconds for 400 and 4,000 resources; cfn-lint's notice that App Mesh has closed is switched off."""
    peer = cfn_lint()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            inside = Path(folder) / str(size)
            inside.mkdir()
            paths = [str(path) for path in write_templates(inside, size)]
            ours = timed(command(sys.executable, "-m", "meshwright.cli", "validate", *paths), 3)
            theirs = timed(command(str(peer), "--ignore-checks", "W3696", "--", *paths), 1)
            rows.append(
                (f"{size:,}", spread(ours), spread(theirs), ratio(statistics.median(ours), statistics.median(theirs)))
            )
    note = "The same CloudFormation templates of 400 resources each; process start included."
    return Table("Validation", note, ("resources", "meshwright validate", "cfn-lint", "ratio"), tuple(rows))
