"""Peers that are measured beside us, each in an environment of its own, hash-checked."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def cfn_lint() -> Path:
    """The cfn-lint command, installed on first use."""
    where = _HERE / ".peers" / "cfn-lint"
    binary = where / "bin" / "cfn-lint"
    if not binary.exists():
        venv.create(where, with_pip=True, clear=True)
        subprocess.run(
            [
                where / "bin" / "python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "-r",
                _HERE / "cfn-lint.txt",
            ],
            check=True,
            stdout=sys.stderr,
        )
    return binary
