"""Network namespaces for tests: machines on a network of their own, gone with the process that holds them.

None has a name: each is held by a process that the kernel kills with ours, so that nothing outlives a test, however
it ends. Nothing outside them is touched: neither an address, nor a route, nor a rule, nor a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from meshwright.proxy.run import guarded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

PROXY = 1337
"""The user and group of App Mesh's proxies, whose own connections `iptables` leaves alone."""
_TOOLS = ("unshare", "nsenter", "setpriv", "mount", "ip", "iptables-restore")
_PROGRAM = str(Path(__file__).with_name("netns_program.py"))

# As another user the kernel forgets whose death is ours, unless told again; the capability lets a work tree and
# certificates in root's own folders be read, and nothing else.
_AS_PROXY = (
    "setpriv", "--reuid", f"{PROXY}", "--regid", f"{PROXY}", "--clear-groups", "--pdeathsig", "KILL",
    "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
)  # fmt: skip

# Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/getting-started-ec2.html
_RULES = """*nat
:APPMESH_INGRESS - [0:0]
:APPMESH_EGRESS - [0:0]
-A APPMESH_INGRESS -p tcp -m multiport --dports {ports} -j REDIRECT --to-ports 15000
-A PREROUTING -p tcp -m addrtype ! --src-type LOCAL -j APPMESH_INGRESS
-A APPMESH_EGRESS -m owner --uid-owner {proxy} -j RETURN
-A APPMESH_EGRESS -m owner --gid-owner {proxy} -j RETURN
-A APPMESH_EGRESS -p tcp -m multiport --dports 22 -j RETURN
-A APPMESH_EGRESS -p tcp -d 169.254.169.254,169.254.170.2 -j RETURN
-A APPMESH_EGRESS -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -p tcp -m addrtype ! --dst-type LOCAL -j APPMESH_EGRESS
COMMIT
"""


def missing() -> str:
    """Why namespaces with redirection cannot be made here; "" when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    rules = _RULES.format(ports=80, proxy=PROXY)
    for command in (("unshare", "--net", "--mount", "iptables-restore"), (*_AS_PROXY, sys.executable, "-c", "")):
        tried = subprocess.run(command, input=rules, capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            return f"{command[0]} cannot do here what the test needs: {tried.stderr.strip()[:200]}"
    return ""


class Machine:
    """One namespace, its address on the network, and the processes in it."""

    def __init__(self, network: Network, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._network = network
        command = ("unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep infinity")
        self._holder = network.start(command)
        assert self._holder.stdout is not None
        self._holder.stdout.readline()

    @property
    def pid(self) -> int:
        """The process that holds the namespace."""
        return self._holder.pid

    def run(self, *command: str, told: str = "") -> str:
        """Run a command inside; what it printed. Fails with its words when it does."""
        done = subprocess.run(
            self._inside(command), input=told, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def redirect(self, *ports: int) -> None:
        """Send what comes for `ports` to the proxy's ingress, and what leaves to its egress, as App Mesh does."""
        self.run("iptables-restore", told=_RULES.format(ports=",".join(map(str, ports)), proxy=PROXY))

    def start(self, *command: str, log: Path, proxy: bool = False) -> None:
        """Start a process inside that stays; `proxy` runs it as App Mesh's proxy user."""
        self._network.start(self._inside((*_AS_PROXY, *command) if proxy else command), log)

    def serve(self, **what: Any) -> None:
        """Run one of the programs of `netns_program` until the end; it is ready afterwards."""
        process = self._network.start(self._inside((sys.executable, _PROGRAM, json.dumps(what))))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"{self.name}: {what}"

    def ask(self, *tasks: dict[str, Any]) -> list[Any]:
        """What clients inside get, one answer a task, by a program that knows of no proxy."""
        return list(json.loads(self.run(sys.executable, _PROGRAM, json.dumps({"ask": tasks}))))

    def proxied(self) -> bool:
        """Whether the proxy has its first configuration and serves."""
        return self.ask({"http": "http://127.0.0.1:9901/ready"}) == [[200, "LIVE\n"]]

    def _inside(self, command: Sequence[str]) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self.pid), "--net", "--mount", "--", *command)


class Network:
    """Machines on one bridge, which is in a namespace too; a context manager that ends every process of them."""

    def __init__(self, resolver: str) -> None:
        """`resolver` is the address of the name server in every machine's `/etc/resolv.conf`."""
        self._resolver = resolver
        self._exits = contextlib.ExitStack()
        self._ports = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as exits:
            self._exits = exits
            self._bridge = Machine(self, "bridge", "")
            self._bridge.run("ip", "link", "add", "bridge", "type", "bridge")
            self._bridge.run("ip", "link", "set", "bridge", "up")
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def machine(self, name: str, address: str, folder: Path) -> Machine:
        """Another machine, `address` its own of a /24; what it needs on disk goes into `folder`."""
        made = Machine(self, name, address)
        self._ports += 1
        port = f"port{self._ports}"
        self._bridge.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(made.pid))
        self._bridge.run("ip", "link", "set", port, "master", "bridge", "up")
        batch = f"address add {address}/24 dev eth0\nlink set eth0 up\nlink set lo up\n"
        made.run("ip", "-batch", "-", told=batch)
        names = folder / "resolv.conf"
        names.write_text(f"nameserver {self._resolver}\n")
        made.run("mount", "--bind", str(names), "/etc/resolv.conf")
        return made

    def start(self, command: Sequence[str], log: Path | None = None) -> subprocess.Popen[str]:
        """Start a process that ends with this network; without a log its output is for the caller to read."""
        path = shutil.which(command[0])
        assert path is not None
        with contextlib.ExitStack() as opened:
            output = opened.enter_context(log.open("ab")) if log is not None else subprocess.PIPE
            process = subprocess.Popen(
                guarded((path, *command[1:])),
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
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
