"""Machines in network namespaces of the lab's, for tests that run programs in them that know of no lab.

Every process ends with the network; of the namespaces nothing is left.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshwright.lab import namespaces
from meshwright.lab.namespaces import PROXY, rules
from meshwright.proxy.run import guarded
from processes import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.lab.namespaces import Namespace

_PROGRAM = str(Path(__file__).with_name("netns_program.py"))

# The user and group of production; the capability lets a work tree and certificates in root's own folders be read,
# and nothing else.
_AS_PROXY = (
    "setpriv", "--reuid", f"{PROXY}", "--regid", f"{PROXY}", "--clear-groups",
    "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search", "--",
)  # fmt: skip


class Machine:
    """One namespace, its address on the network, and the processes in it."""

    def __init__(self, network: Network, name: str, namespace: Namespace, names: Path) -> None:
        self.name = name
        self._network = network
        self._enter = namespace.with_names(names)

    def run(self, *command: str) -> str:
        """Run a command inside; what it printed. Fails with its words when it does."""
        done = subprocess.run((*self._enter, *command), capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *command: str, log: Path, proxy: bool = False) -> None:
        """Start a process inside that stays; `proxy` runs it as App Mesh's proxy user."""
        self._network.start((*self._enter, *_AS_PROXY) if proxy else self._enter, command, log)

    def serve(self, **what: Any) -> None:
        """Run one of the programs of `netns_program` until the end; it is ready afterwards."""
        process = self._network.start(self._enter, (sys.executable, _PROGRAM, json.dumps(what)))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"{self.name}: {what}"

    def ask(self, *tasks: dict[str, Any]) -> list[Any]:
        """What clients inside get, one answer a task, by a program that knows of no proxy."""
        return list(json.loads(self.run(sys.executable, _PROGRAM, json.dumps({"ask": tasks}))))

    def proxied(self) -> bool:
        """Whether the proxy has its first configuration and serves."""
        return self.ask({"http": "http://127.0.0.1:9901/ready"}) == [[200, "LIVE\n"]]


class Network(namespaces.Network):
    """Machines on one network; a context manager that ends every process of them."""

    def __init__(self, resolver: str) -> None:
        """`resolver` is the address of the name server in every machine's `/etc/resolv.conf`."""
        self._resolver = resolver

    def machine(self, name: str, address: str, folder: Path, ports: Sequence[int] = ()) -> Machine:
        """Another machine; what comes for `ports` goes to its proxy, and if any, what leaves does too."""
        (made,) = self.join([(address, rules(ports) if ports else "")])
        names = folder / "resolv.conf"
        names.write_text(f"nameserver {self._resolver}\n")
        return Machine(self, name, made, names)

    def start(self, enter: Sequence[str], command: Sequence[str], log: Path | None = None) -> subprocess.Popen[str]:
        """Start a process that ends with this network; without a log its output is for the caller to read."""
        path = shutil.which(command[0])
        assert path is not None
        with contextlib.ExitStack() as opened:
            output = opened.enter_context(log.open("ab")) if log is not None else subprocess.PIPE
            process = subprocess.Popen(
                (*enter, *guarded((path, *command[1:]))),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output if log is not None else None,
                text=True, start_new_session=True,
            )  # fmt: skip
        self._exits.callback(_end, process)
        return process


def _end(process: subprocess.Popen[str]) -> None:
    """Ask a process to end, and make it; one that waits for its own child gets the time to."""
    with process:
        process.terminate()
        try:
            process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
