"""Network namespaces: machines on a network of their own, with App Mesh's own redirection to their proxies.

None has a name, or a process that holds it: each is a file that is open in this process, so that the kernel takes it
away with us, however we end. The one rule: nothing outside of them is touched, neither an address, nor a route, nor a
rule, nor a file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from meshwright.errors import MeshwrightError, UsageError
from meshwright.lab.machines import Machine
from meshwright.lab.sockets import Server, relay
from meshwright.proxy.settings import Address
from meshwright.snapshot.resources import Redirect

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from meshwright.lab.machines import Isolation
    from meshwright.lab.sockets import Inside, Outlet

PROXY = 1337
"""The group of App Mesh's proxies, whose own connections `iptables` leaves alone."""
SUBNET = "198.18"
"""What tests of networks have to themselves (RFC 2544); `198.18.0.*` are the lab's own, the others are machines."""
_NOBODY = "198.19.255.254"
_ROOM = 250 * 254
_AS_PROXY = ("setpriv", "--regid", f"{PROXY}", "--clear-groups", "--")
_TOOLS = ("nsenter", "setpriv", "unshare", "mount", "sh", "ip", "iptables-restore")
_RESTORE = ("iptables-restore", "--wait")
"""It replaces what was there."""
_NEWNET = 0x40000000
"""CLONE_NEWNET of sched.h."""
_HERE = "/proc/thread-self/ns/net"

# Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/getting-started-ec2.html
_RULES = """*nat
:APPMESH_INGRESS - [0:0]
:APPMESH_EGRESS - [0:0]
{ingress}-A PREROUTING -p tcp -m addrtype ! --src-type LOCAL -j APPMESH_INGRESS
-A APPMESH_EGRESS -m owner --uid-owner {proxy} -j RETURN
-A APPMESH_EGRESS -m owner --gid-owner {proxy} -j RETURN
-A APPMESH_EGRESS -p tcp -m multiport --dports 22 -j RETURN
-A APPMESH_EGRESS -p tcp -d 169.254.169.254,169.254.170.2 -j RETURN
-A APPMESH_EGRESS -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -p tcp -m addrtype ! --dst-type LOCAL -j APPMESH_EGRESS
COMMIT
"""
_INGRESS = "-A APPMESH_INGRESS -p tcp -m multiport --dports {ports} -j REDIRECT --to-ports 15000\n"
_MOST = 15
"""Ports that one rule may name."""


def missing() -> str:
    """Why namespaces with redirection cannot be made here; "" when they can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    try:
        with Network() as network:
            one = network.join([(f"{SUBNET}.1.1", rules((80,)))])[0]
            _run([(*one.enter, *_AS_PROXY, "true"), (*one.with_names(Path(os.devnull)), "true")], ["", ""])
    except (OSError, MeshwrightError) as error:
        return str(error)
    return ""


def isolated(wanted: Literal["auto", "loopback", "netns"]) -> tuple[Isolation, str]:
    """What is to keep machines apart where `wanted` is asked for, and how to say so.

    Raises:
        UsageError: namespaces are wanted, and cannot be made here.
    """
    why = "" if wanted == "loopback" else missing()
    if wanted == "loopback":
        return "loopback", "on loopback addresses"
    if not why:
        return "netns", "each in a network namespace"
    if wanted == "netns":
        raise UsageError(f"--isolation netns cannot be had here: {why}. Choose loopback, or run it as root on Linux.")
    return "loopback", f"on loopback addresses ({why})"


def rules(ports: Sequence[int]) -> str:
    """What App Mesh tells `iptables-restore` where an application listens on `ports`."""
    groups = [ports[at : at + _MOST] for at in range(0, len(ports), _MOST)]
    ingress = "".join(_INGRESS.format(ports=",".join(map(str, group))) for group in groups)
    return _RULES.format(ingress=ingress, proxy=PROXY)


class Namespace:
    """One network, of one machine."""

    def __init__(self) -> None:
        """Make one.

        Raises:
            OSError: the kernel refuses.
        """
        with _returning():
            _kernel("unshare", _NEWNET)
            self._file = os.open(_HERE, os.O_RDONLY)
        self.path = f"/proc/{os.getpid()}/fd/{self._file}"
        """By which other programs know it while this process lives."""
        self.enter: tuple[str, ...] = ("nsenter", f"--net={self.path}", "--")
        """What runs a command in it."""

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Be in it: sockets that are made are its own. Other threads are not; nothing may be awaited meanwhile."""
        with _returning():
            _kernel("setns", self._file, _NEWNET)
            yield

    def with_names(self, file: Path) -> tuple[str, ...]:
        """What runs a command in it for which `file` is `/etc/resolv.conf`."""
        mounted = ("sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(file))
        return (*self.enter, "unshare", "--mount", "--propagation", "private", "--", *mounted)

    def close(self) -> None:
        """Let it go; it is gone when nobody is in it any more."""
        os.close(self._file)


class Network:
    """Namespaces on one bridge, which is in one of its own; a context manager."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as exits:
            self._exits = exits
            self._bridge = self._made()
            self._joined = 0
            batch = "link add bridge type bridge\nlink set bridge up\n"
            _run([(*self._bridge.enter, "ip", "-batch", "-")], [batch])
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def join(self, wanted: Sequence[tuple[str, str]], *, outside: str = "") -> list[Namespace]:
        """More namespaces, each with an address, and rules for `iptables-restore`, "" for none.

        What is for none of their addresses goes to the one with the address `outside`, which takes it for its own.

        Raises:
            MeshwrightError: a tool fails; with its words.
            OSError: the kernel refuses.
        """
        made = [self._made() for _ in wanted]
        plugs = []
        for one in made:
            self._joined += 1
            port = f"port{self._joined}"
            plugs.append(f"link add {port} type veth peer name eth0 netns {one.path}\n")
            plugs.append(f"link set {port} master bridge up\n")
        _run([(*self._bridge.enter, "ip", "-batch", "-")], ["".join(plugs)])
        # One shell each, all at once: what takes time is starting programs.
        commands, inputs = [], []
        for (address, rules_of), one in zip(wanted, made, strict=True):
            far = "local 0.0.0.0/0 dev lo table main" if address == outside else f"default via {outside}"
            lines = [f"address add {address}/15 dev eth0", "link set lo up", "link set eth0 up"]
            lines += [f"route add {far}"] if outside else []
            commands.append((*one.enter, "ip", "-batch", "-"))
            inputs.append("\n".join(lines))
            if rules_of:
                commands.append((*one.enter, *_RESTORE))
                inputs.append(rules_of)
        _run(commands, inputs)
        return made

    def _made(self) -> Namespace:
        one = Namespace()
        self._exits.callback(one.close)
        return one


class Namespaces:
    """The ground that gives each machine a namespace, and the lab's own addresses one; an async context manager."""

    def __init__(self, folder: Path, control_plane: str) -> None:
        """What machines need on disk goes into `folder`; `control_plane` is an address of this process's network."""
        self.control_plane = control_plane
        self.collector = self.name_server = self.outside = f"{SUBNET}.0.2"
        self.port = 53
        self.nobody = _NOBODY
        self.inside: Inside
        self._network = Network()
        self._names = folder / "resolv.conf"
        self._spaces: dict[str, Namespace] = {}
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Make the network, and the lab's own place in it.

        Raises:
            MeshwrightError: it cannot be made here; with why.
        """
        async with contextlib.AsyncExitStack() as exits:
            exits.enter_context(self._network)
            own = self._network.join([(self.outside, "")], outside=self.outside)[0]
            self.inside = own.inside
            self._names.write_text(f"nameserver {self.name_server}\noptions ndots:1 timeout:2\n")
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    def intercept(self, machines: Sequence[tuple[Machine, Sequence[int]]]) -> None:
        """Let the instances on `machines` listen on other ports from now on.

        Raises:
            MeshwrightError: a tool fails.
        """
        entered = [self._spaces[machine.address].enter for machine, _ in machines]
        _run([(*one, *_RESTORE) for one in entered], [rules(ports) for _, ports in machines])

    async def passing_on(self, address: Address) -> Address:
        """Where machines reach what listens at an address of this process's network: through here."""

        async def pass_on(reader: asyncio.StreamReader, outlet: Outlet) -> None:
            await relay(reader, outlet, address.host, address.port)

        server = Server(pass_on, OSError)
        self._exits.push_async_callback(server.stop)
        return Address(self.outside, await server.start(self.outside, address.port, None, self.inside))

    def machines(self, ports: Sequence[Sequence[int]]) -> list[Machine]:
        """A machine for each of the instances that listen on `ports`.

        Raises:
            MeshwrightError: there is no room for so many, or a tool fails.
        """
        given = len(self._spaces)
        if given + len(ports) > _ROOM:
            raise MeshwrightError(f"A lab has addresses for {_ROOM} machines, and they are used up")
        numbers = range(given, given + len(ports))
        addresses = [f"{SUBNET}.{1 + number // 254}.{1 + number % 254}" for number in numbers]
        wanted = [(address, rules(own)) for address, own in zip(addresses, ports, strict=True)]
        made = self._network.join(wanted, outside=self.outside)
        self._spaces.update(zip(addresses, made, strict=True))
        return [self._machine(address, one) for address, one in zip(addresses, made, strict=True)]

    def _machine(self, address: str, one: Namespace) -> Machine:
        return Machine(
            placement=Redirect(),
            address=address,
            # Where the proxy looks for its application is the mesh's to say: at 127.0.0.1 or at ::1.
            application="::" if Path("/proc/net/if_inet6").exists() else "0.0.0.0",  # noqa: S104 - of its namespace
            inside=one.inside,
            as_proxy=(*one.enter, *_AS_PROXY),
            as_program=one.with_names(self._names),
        )


@contextlib.contextmanager
def _returning() -> Iterator[None]:
    """Come back to the network that this thread is in."""
    home = os.open(_HERE, os.O_RDONLY)
    try:
        yield
    finally:
        _kernel("setns", home, _NEWNET)
        os.close(home)


def _kernel(name: str, *arguments: int) -> None:
    """Python has these calls since 3.12."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _run(commands: Sequence[Sequence[str]], inputs: Sequence[str]) -> None:
    """Run commands at the same time, each with its input.

    Raises:
        MeshwrightError: one fails; with its words.
    """
    piped = subprocess.PIPE
    running = [
        subprocess.Popen(one, stdin=piped, stdout=piped, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - our own
        for one in commands
    ]
    told = [process.communicate(text)[0] for process, text in zip(running, inputs, strict=True)]
    for command, process, words in zip(commands, running, told, strict=True):
        if process.returncode != 0:
            raise MeshwrightError(f"'{' '.join(command)}' failed: {' '.join(words.split())[:300]}")
