"""A shop whose cart has two versions, on real Envoys, with calls all the time: what canaries are tried on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import boto3
import msgspec

from command_line import Done
from envoys import until
from meshwright.lab.exchange import Fault, Request
from meshwright.lab.lab import Lab
from meshwright.lab.workload import CALLS_HEADER, call
from meshwright.model.decoding import encode
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State
from meshwright.plan import decoded
from meshwright.trust.credentials import parse
from processes import DEADLINE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from meshwright.model.state import Resource

QUICK = (
    *("--canary", "20,50", "--canary-interval", "0.2", "--canary-min-requests", "5"),
    *("--canary-max-duration", "0", "--canary-threshold", "1", "--canary-progress-deadline", "120"),
)
"""Two steps, as quick as reports come, judged by errors alone."""
MARK = {"x-marked": "yes"}
"""The header of calls that are marked."""
_NAMES = {
    Kind.MESH: "meshName",
    Kind.VIRTUAL_NODE: "virtualNodeName",
    Kind.VIRTUAL_SERVICE: "virtualServiceName",
    Kind.VIRTUAL_ROUTER: "virtualRouterName",
    Kind.ROUTE: "routeName",
}


def node(name: str, protocol: str, *backends: str, patience: int = 0) -> Resource:
    """A node that calls `backends`, and gives its application so many milliseconds for a call; 0 for the usual."""
    limit = {"timeout": {protocol: {"perRequest": {"unit": "ms", "value": patience}}}} if patience else {}
    spec = {
        "listeners": [{"portMapping": {"port": 8080, "protocol": protocol}, **limit}],
        "serviceDiscovery": {"dns": {"hostname": f"{name}.local", "responseType": "ENDPOINTS"}},
        "backends": [{"virtualService": {"virtualServiceName": one}} for one in backends],
    }
    return decoded(Key("shop", Kind.VIRTUAL_NODE, name), spec, {})


def route(weights: Mapping[str, int], protocol: str, patience: int) -> Resource:
    """The route to the cart, on which a call may last so many milliseconds; 0 for as long as ever."""
    targets = [{"virtualNode": name, "weight": weight} for name, weight in weights.items()]
    match = {} if protocol == "grpc" else {"prefix": "/"}
    limit = {"timeout": {"perRequest": {"unit": "ms", "value": patience}}} if patience else {}
    spec = {f"{protocol}Route": {"match": match, "action": {"weightedTargets": targets}, **limit}}
    return decoded(Key("shop", Kind.ROUTE, "all", "cart"), spec, {})


def objects(weights: Mapping[str, int], protocol: str = "http", patience: int = 0) -> Iterator[Resource]:
    """`web` calls `cart.local`, which two nodes may answer."""
    yield decoded(Key.of_mesh("shop"), {}, {})
    yield node("web", protocol, "cart.local")
    yield node("cart-v1", protocol, patience=patience)
    yield node("cart-v2", protocol, patience=patience)
    listener = {"listeners": [{"portMapping": {"port": 8080, "protocol": protocol}}]}
    yield decoded(Key("shop", Kind.VIRTUAL_ROUTER, "cart"), listener, {})
    yield route(weights, protocol, patience)
    provider = {"provider": {"virtualRouter": {"virtualRouterName": "cart"}}}
    yield decoded(Key("shop", Kind.VIRTUAL_SERVICE, "cart.local"), provider, {})


OLD, NEW = State(objects({"cart-v1": 1})), State(objects({"cart-v2": 1}))


class Shop:
    """The running shop, the calls to it, and a pipeline that applies definitions to it."""

    def __init__(self, lab: Lab, folder: Path, protocol: str) -> None:
        self.lab = lab
        self.protocol = protocol
        self.folder = folder
        self.answers: dict[str, int] = {}
        """By the node that answered, or what went wrong."""

    def write(self, state: State) -> Path:
        """`state` as definitions."""
        file = self.folder / "mesh.yaml"
        file.write_text("".join(f"---\n{json.dumps(_document(one))}\n" for one in state))
        return file

    async def started(self, *arguments: str) -> asyncio.subprocess.Process:
        """A command that runs."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshwright.cli", "--endpoint", self.lab.control.url, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(self.lab.control.credentials)},
        )

    async def run(self, *arguments: str) -> Done:
        """A command that has ended."""
        return await ended(await self.started(*arguments))

    async def apply(self, state: State, *more: str) -> Done:
        """`apply` of `state`."""
        return await self.run("apply", str(self.write(state)), "--stack", "lab", *more)

    async def applying(self, state: State, *more: str) -> asyncio.subprocess.Process:
        """The same, running."""
        return await self.started("apply", str(self.write(state)), "--stack", "lab", *more)

    def boto3(self) -> Any:
        """A stock client of App Mesh, as the administrator."""
        key = parse(self.lab.control.credentials.read_text())["default"]
        session = boto3.session.Session(key.key_id, key.secret, region_name="us-east-1")
        return session.client("appmesh", endpoint_url=self.lab.control.url)

    async def newest(self) -> dict[str, Any]:
        """The stack's newest release."""
        found = await asyncio.to_thread(self.lab.client().releases, "shop", "lab", 1)
        return dict(found["releases"][0])

    async def at_step(self, step: int) -> None:
        """Wait until that step of a canary is the newest release."""

        async def so() -> bool:
            canary = (await self.newest())["canary"]
            return canary is not None and canary["state"] == "step" and canary["step"] >= step

        await until(so, f"a canary is at step {step}")

    async def told(self) -> list[tuple[int, str, str]]:
        """Number, kind and status of each release, newest first."""
        found = await asyncio.to_thread(self.lab.client().releases, "shop", "lab", 100)
        return [(one["number"], one["kind"], one["status"]) for one in found["releases"]]

    async def state(self) -> State:
        """What runs, without metadata."""
        found = await asyncio.to_thread(self.lab.client().read, "shop")
        return State(msgspec.structs.replace(one, metadata=None, stack="") for one in found.state)

    async def _call(self) -> None:
        path = "/lab.Workload/Who" if self.protocol == "grpc" else "/"
        request = Request(authority="cart.local", path=path, headers={CALLS_HEADER: "none"})
        web = next(one for one in self.lab.fleet.instances if one.role.key.name == "web")
        reply = await call(self.protocol, web.machine.egress, 8080, request)
        who = reply.node if reply.status == 200 else f"{reply.status} {reply.fault}".strip()
        self.answers[who] = self.answers.get(who, 0) + 1

    @contextlib.asynccontextmanager
    async def called(self) -> AsyncIterator[None]:
        """Calls of `web` to the cart, four at a time, until the block ends; each has ended then."""
        over = asyncio.Event()

        async def calling() -> None:
            while not over.is_set():
                await self._call()
                await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(calling()) for _ in range(4)]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*tasks)

    @contextlib.asynccontextmanager
    async def marking(self, every: int, other: str = "web", **fault: Any) -> AsyncIterator[None]:
        """Calls all the time, whatever becomes of those before; each so many is marked, and meets the fault.

        The fault is the new version's. Those that are marked are calls of the `other` node.
        """
        self.lab.workloads("cart-v2")[0].fault = Fault(headers=MARK, **fault)
        web, marked = (
            next(one for one in self.lab.fleet.instances if one.role.key.name == name) for name in ("web", other)
        )

        async def send(number: int) -> None:
            from_, mark = (marked, MARK) if number % every == 0 else (web, {})
            headers = {CALLS_HEADER: "none", **mark}
            request = Request(authority="cart.local", path="/", headers=headers)
            await call(self.protocol, from_.machine.egress, 8080, request, patience=DEADLINE)

        async def sending() -> None:
            async with asyncio.TaskGroup() as sent:
                for number in range(10_000):
                    sent.create_task(send(number))
                    await asyncio.sleep(0.02)

        task = asyncio.create_task(sending())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def errors(self) -> dict[str, int]:
        """What went wrong, and how often."""
        return {who: count for who, count in self.answers.items() if not who.startswith("cart-")}


def _document(one: Resource) -> dict[str, Any]:
    parent = {"virtualRouterName": one.key.parent} if one.key.kind is Kind.ROUTE else {}
    return {"meshName": "shop", **parent, _NAMES[one.key.kind]: one.key.name, "spec": encode(one.spec)}


@contextlib.asynccontextmanager
async def shop(folder: Path, protocol: str = "http", patience: int = 0) -> AsyncIterator[Shop]:
    """The shop with all calls going to the first version."""
    async with Lab(State(objects({"cart-v1": 1}, protocol, patience))) as lab:
        yield Shop(lab, folder, protocol)


async def ended(process: asyncio.subprocess.Process, number: int | None = None) -> Done:
    """Exit code and output of a command, to which a signal is sent first."""
    if number is not None:
        process.send_signal(signal.Signals(number))
    out, errors = await asyncio.wait_for(process.communicate(), DEADLINE)
    return Done(int(process.returncode or 0), out.decode(), errors.decode())
