"""The data plane of a lab: one real Envoy and one workload an instance, found through a real DNS server.

Every Envoy gets its configuration from the control plane over xDS; the lab decides addresses and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from meshwright.errors import MeshwrightError, UsageError
from meshwright.graph import resolve
from meshwright.lab import topology
from meshwright.lab.dns import NameServer
from meshwright.lab.folders import private_folder
from meshwright.lab.instance import Instance, Site
from meshwright.lab.machines import known_outside
from meshwright.lab.processes import stop_all
from meshwright.lab.workload import call
from meshwright.model.identity import Kind
from meshwright.proxy.connection import XDS_CLUSTER
from meshwright.proxy.settings import Address, Extras, Settings
from meshwright.snapshot.extensions.telemetry import RELEASE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from meshwright.lab.exchange import Reply, Request
    from meshwright.lab.machines import Ground
    from meshwright.lab.surroundings import Surroundings
    from meshwright.lab.topology import Role
    from meshwright.lab.workload import Workload
    from meshwright.model.state import State
    from meshwright.proxy.settings import KeyFile

START = 60.0
"""Seconds that all Envoys together have to become ready, unless told otherwise."""
_BACK_OFF = ("0.05s", "0.1s")
"""How soon Envoys look again for the control plane: they are started together with it, and few."""


class Fleet:
    """Every proxy and workload of a state, as an async context manager: running inside it, gone after it."""

    def __init__(
        self,
        state: State,
        *,
        xds: Address,
        ground: Ground,
        folder: Path,
        key: KeyFile | None = None,
        instances: Mapping[str, int] | None = None,
        within: float = START,
        around: Surroundings | None = None,
    ) -> None:
        """`key` is what the Envoys sign with, as a control plane asks for it.

        `instances` says how many of a node or gateway to run where it is more than one, by name.

        `within` so many seconds all Envoys together must be ready. With what stands `around` them, which is standing,
        no workload calls its backends unless a request says so.

        Raises:
            UsageError: `instances` names no node, or asks for less than one.
        """
        self._around = around
        self.roles = topology.roles(resolve(state), instances or {})
        self._services = _services(state)
        self.names = NameServer()
        self.hidden: set[str] = set()
        """Instances that DNS does not tell of, by name."""
        self.instances: tuple[Instance, ...] = ()
        self._xds = xds
        self._key = key
        self._ground = ground
        self._folder = folder
        self._within = within
        self._exits = contextlib.AsyncExitStack()

    resolver: Address
    """Where the DNS server for the discovery names answers."""

    async def __aenter__(self) -> Self:
        """Start everything at once, and wait until every Envoy is ready.

        Raises:
            MeshwrightError: an Envoy ended or did not become ready in time; with the end of its log.
        """
        async with contextlib.AsyncExitStack() as exits:
            ground = self._ground
            exits.push_async_callback(self.names.stop)
            self.resolver = await self.names.start(ground.name_server, ground.port, ground.inside)
            sockets = exits.enter_context(private_folder())
            self.instances = tuple(self._placed(sockets))
            self.names.publish(self.records())
            exits.push_async_callback(self._end)
            release = self._around.release if self._around else ""
            environment = {**os.environ, RELEASE_VARIABLE: release} if release else None
            for one in self.instances:
                await one.start(self._settings(one), environment)
            await self._all_ready()
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    def workloads(self, node: str) -> tuple[Workload, ...]:
        """The workloads of every instance of a virtual node.

        Raises:
            UsageError: there is no such node.
        """
        found = tuple(
            one.workload for one in self.instances if one.role.key.name == node and one.workload is not None
        )
        if not found:
            raise UsageError(f"no workload of a virtual node {node!r} runs here")
        return found

    def entrance(self, name: str | None = None) -> Instance:
        """The first instance of the virtual gateway or node `name`; of the only gateway when that is None.

        Raises:
            UsageError: there is none, or there are several to choose from.
        """
        gateways = {one.role.key.name for one in self.instances if one.role.key.kind is Kind.VIRTUAL_GATEWAY}
        if name is None and len(gateways) == 1:
            name = next(iter(gateways))
        for one in self.instances:
            if one.role.key.name == name and one.role.ports:
                return one
        known = ", ".join(sorted({one.role.key.name for one in self.instances if one.role.ports}))
        raise UsageError(f"no entrance {name!r} to the mesh; choose one of {known}")

    async def request(self, request: Request, at: str | None = None) -> Reply:
        """Send one request from outside the mesh to the first listener of `entrance(at)`."""
        entrance = self.entrance(at)
        port = entrance.role.ports[0]
        return await call(port.protocol, entrance.machine.address, port.number, request, None, self._ground.inside)

    async def follow(self, state: State) -> None:
        """Let workloads and DNS be as `state` wants them, in which the same nodes and gateways are defined otherwise.

        Raises:
            MeshwrightError: a port is taken.
        """
        roles = {role.key: role for role in topology.roles(resolve(state), {})}
        self._services = _services(state)
        self._ground.intercept([(one.machine, _intercepted(roles[one.role.key])) for one in self.instances])
        for one in self.instances:
            await one.become(replace(roles[one.role.key], instances=one.role.instances))
            if self._around is not None and one.role.key.kind is Kind.VIRTUAL_NODE:
                self._around.enlist(one.role.key, one.name, one.machine)
        self.names.publish(self.records())

    def _placed(self, sockets: Path) -> list[Instance]:
        numbered = [(role, number) for role in self.roles for number in range(1, role.instances + 1)]
        machines = self._ground.machines([_intercepted(role) for role, _ in numbered])
        placed: list[Instance] = []
        for (role, number), machine in zip(numbered, machines, strict=True):
            # Numbered, not named, because a node's name may be longer than a file's.
            folder = self._folder / f"proxy-{len(placed)}"
            folder.mkdir(mode=0o700)
            admin = sockets / f"{len(placed)}.sock"
            command = self._around.programs.get(role.key) if self._around else None
            there = known_outside(machine, self._around.outside.host) if self._around else machine
            site = Site(machine=there, folder=folder, admin=admin, lookup=self.address, command=command)
            placed.append(Instance(role, number, site, calls=self._around is None))
            if self._around is not None and role.key.kind is Kind.VIRTUAL_NODE:
                self._around.enlist(role.key, placed[-1].name, machine)
        return placed

    def address(self, name: str) -> str:
        """Where a call to `name` goes, for whoever asks the name server: what it does not know lies outside."""
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(name))
        return next(iter(self.names.addresses(name)), self._ground.outside)

    def _settings(self, one: Instance) -> Settings:
        around, key = self._around, one.role.key
        return Settings(
            proxy=key,
            instance=one.name,
            xds=self._xds,
            admin=Address(str(one.admin)),
            placement=one.machine.placement,
            resolver=self.resolver,
            credentials=self._key,
            endpoint=around.endpoint(key, one.machine) if around else None,
            back_off=_BACK_OFF,
            extras=around.extras() if around else Extras(),
        )

    def records(self) -> dict[str, list[str]]:
        """Every discovery name with the ingress addresses of the instances behind it, and what lies outside."""
        outside = self._around.outside if self._around else None
        records: dict[str, list[str]] = {name: [outside.host] for name in outside.names} if outside else {}
        nobody = self._ground.nobody
        services = self._services if nobody else ()
        for one in self.instances:
            if one.role.hostname and one.name not in self.hidden:
                records.setdefault(one.role.hostname, []).append(one.machine.address)
        return {name: [nobody] for name in services} | records

    async def _all_ready(self) -> None:
        try:
            async with asyncio.timeout(self._within):
                await asyncio.gather(*(one.ready() for one in self.instances))
        except TimeoutError:
            raise MeshwrightError(await self._late()) from None

    async def _late(self) -> str:
        """Which Envoys are not ready, and what is known of the first of them."""
        late = [one for one in self.instances if await one.look("/ready") is None]
        if not late:
            return f"Envoys became ready, but not within {self._within:g} s"
        # Of a control plane that is not there Envoy says that it is connected while it tries.
        heard = await late[0].look(f"/stats?filter=^cluster.{XDS_CLUSTER}.upstream_cx_rx_bytes_total$") or ""
        reached = "did not reach" if heard.strip().rpartition(": ")[2] in {"", "0"} else "reached"
        names = ", ".join(one.name for one in late)
        tail = late[0].envoy.tail() if late[0].envoy is not None else ""
        return (
            f"Envoys not ready within {self._within:g} s: {names}. "
            f"{late[0].name} {reached} the control plane at {self._xds}.{tail}"
        )

    async def _end(self) -> None:
        """Proxies first, so that none of them sees its workload vanish."""
        await stop_all([one.envoy for one in self.instances if one.envoy is not None])
        for one in self.instances:
            await one.stop()


def _services(state: State) -> tuple[str, ...]:
    return tuple(one.key.name for one in state.of(Kind.VIRTUAL_SERVICE))


def _intercepted(role: Role) -> tuple[int, ...]:
    """The ports on which others call it through an interception; a gateway is called as it is."""
    return () if role.key.kind is Kind.VIRTUAL_GATEWAY else tuple(port.number for port in role.ports)
