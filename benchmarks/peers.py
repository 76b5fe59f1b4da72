"""Peers that are measured beside us, each in an environment of its own, hash-checked."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def cfn_lint() -> Path:
    """The cfn-lint command, installed on first use."""
    return _installed("cfn-lint", "cfn-lint")


def moto() -> Path:
    """The moto_server command, installed on first use."""
    return _installed("moto", "moto_server")


def _installed(peer: str, command: str) -> Path:
    """A command of the environment that `<peer>.txt` describes, made on first use."""
    where = _HERE / ".peers" / peer
    binary = where / "bin" / command
    if not binary.exists():
        venv.create(where, with_pip=True, clear=True)
        install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(_HERE / f"{peer}.txt")]
        subprocess.run([where / "bin" / "python", *install], check=True, stdout=sys.stderr)
    return binary
