"""What a mesh finds on machines, and a lab must bring: files, secrets, Cloud Map, a collector, the world outside.

The one rule: proxies get it by the ways that they take in production. The control plane sends them what it would send
there, but for the folders that files lie in and for where they report to.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from meshwright.errors import UsageError, did_you_mean
from meshwright.graph import resolve
from meshwright.lab.authorities import papers
from meshwright.lab.certificates import DAY, Issued, Issuer
from meshwright.lab.collector import Collector, collector
from meshwright.lab.exchange import ClientTls
from meshwright.lab.outside import Outside
from meshwright.lab.registry import Registered, Registry
from meshwright.lab.secrets import SecretServer
from meshwright.lab.staging import localised, staged
from meshwright.model.identity import DEFAULT_REGION, Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.proxy import settings
from meshwright.proxy.extras import sds_cluster
from meshwright.proxy.settings import Extras

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from meshwright.documents.settings import Command
    from meshwright.lab.authorities import Certificate, Papers
    from meshwright.lab.machines import Ground, Machine
    from meshwright.model.identity import Key
    from meshwright.model.state import State
    from meshwright.simulate import Call

_PROMPTLY: Mapping[str, int | bool] = {
    "tracing.opentelemetry.flush_interval_ms": 100,
    "tracing.opentelemetry.min_flush_spans": 256,
    "health_check.max_interval": 500,
}
"""Envoy's own settings of when spans are sent, soon and together, where it waits for seconds by default, and of how
long it waits at most between two health checks, which without any call would be a minute."""
_REGISTRY_SECONDS = "0.1"
"""How often the control plane looks at Cloud Map."""


class Surroundings:
    """What stands around one mesh while it runs."""

    def __init__(self, state: State, *, traced: bool = True, programs: Mapping[str, Command] | None = None) -> None:
        """With `traced`, all proxies report spans and log records, to the lab and to nobody else.

        Raises:
            UsageError: `programs` names no virtual node.
        """
        nodes = {one.key.name: one.key for one in state.of(Kind.VIRTUAL_NODE)}
        for name in (programs or {}).keys() - nodes.keys():
            hint = did_you_mean(name, nodes, f"there is {', '.join(nodes) or 'none'}.")
            raise UsageError(f"workloads names {name!r}, which is no virtual node; {hint}")
        self.programs = {nodes[name]: command for name, command in (programs or {}).items()}
        """What runs in place of the workloads of nodes."""
        self._graph = resolve(localised(state))
        self._traced = traced
        self._papers: Papers = papers(self._graph)
        self._issuers: dict[int, Issuer] = {}
        self._numbers = {
            one.key: number
            for number, one in enumerate((*state.of(Kind.VIRTUAL_NODE), *state.of(Kind.VIRTUAL_GATEWAY)))
        }
        self.registry = Registry()

    release = ""
    """What proxies are told that they were deployed with, once somebody knows."""
    state: State
    """The mesh, ready to be run here."""
    collector: Collector
    outside: Outside
    arguments: tuple[str, ...]
    """Further arguments of the control plane."""
    environment: dict[str, str]
    """Further variables of the control plane's environment."""

    @contextlib.asynccontextmanager
    async def standing(self, ground: Ground, folder: Path) -> AsyncIterator[None]:
        """Bring it all; whatever lies in files goes into `folder`."""
        self._folder = folder
        self.arguments, self.environment = ("--quota", "unlimited"), {}
        async with contextlib.AsyncExitStack() as exits:
            self.collector = await exits.enter_async_context(collector(ground.collector, ground.inside))
            where = f"{ground.collector}:{self.collector.port}" if self._traced else ""
            self._where = where
            self.state = staged(self._graph.state, self.place, where)
            self._write(self._numbers)
            trusted = {one.secret: self._issuer(one.authority).certificate for one in self._papers.bundles}
            self._secrets = SecretServer(trusted, self._shown(self._numbers))
            await exits.enter_async_context(self._secrets.serving(folder / "sds.sock"))
            self.outside = Outside(self._graph, ground.outside, ground.inside)
            exits.push_async_callback(self._leave)
            await self.outside.start()
            if any(one.service_discovery and one.service_discovery.aws_cloud_map for one in self._nodes()):
                exits.push_async_callback(self.registry.stop)
                address = await self.registry.start(ground.control_plane)
                self.arguments += ("--cloud-map", "--cloud-map-interval", _REGISTRY_SECONDS)
                self.environment = _aws(f"http://{address}")
            yield

    async def restage(self, state: State) -> frozenset[Key]:
        """Stand around `state` instead, in which the same nodes and gateways are defined otherwise.

        The proxies are those that must be started again, because certificates are not those that they have read.

        Raises:
            UsageError: they are others.
        """
        running = {one.key for kind in (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY) for one in state.of(kind)}
        if differing := running ^ self._numbers.keys():
            names = ", ".join(sorted(key.path for key in differing))
            raise UsageError(f"another rig is needed where nodes or gateways come or go: {names}")
        self._graph = resolve(localised(state))
        self.state = staged(self._graph.state, self.place, self._where)
        await self._leave()
        self.outside = Outside(self._graph, self.outside.host, self.outside.inside)
        await self.outside.start()
        before, self._papers = self._papers, papers(self._graph)
        if before == self._papers:
            return frozenset()
        self._issuers.clear()
        self._write(self._numbers)
        for one in self._papers.bundles:
            self._secrets.rotate(one.secret, self._issuer(one.authority).certificate)
        for (node, name), issued in self._shown(self._numbers).items():
            self._secrets.rotate(name, issued, node)
        return before.proxies | self._papers.proxies

    async def _leave(self) -> None:
        await self.outside.stop()

    def place(self, proxy: Key, path: str) -> str:
        """Where the file is that the definition of `proxy` calls `path`; its folder is there."""
        here = self._folder / "files" / str(self._numbers[proxy]) / posixpath.normpath(f"/{path}").lstrip("/")
        here.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(here)

    def extras(self) -> Extras:
        """What every Envoy has beside the mesh."""
        return Extras(clusters=(sds_cluster(str(self._folder / "sds.sock")),), runtime=dict(_PROMPTLY))

    def endpoint(self, node: Key, machine: Machine) -> settings.Registered | None:
        """What the proxy of an instance registers; None for a node that is found otherwise."""
        found = self._graph.extensions(Kind.REGISTRATION, node)
        return settings.Registered(address=machine.address) if found else None

    def enlist(self, node: Key, name: str, machine: Machine, *, there: bool = True) -> None:
        """Put an instance into Cloud Map, or take it out, if that is where its node is found."""
        spec = self._graph.state[node].spec
        discovery = spec.service_discovery if isinstance(spec, VirtualNodeSpec) else None
        found = discovery.aws_cloud_map if discovery else None
        if found is not None and not there:
            self.registry.deregister(name)
        elif found is not None:
            instance = Registered(
                namespace=found.namespace_name,
                service=found.service_name,
                name=name,
                address=machine.address,
                attributes={one.key: one.value for one in found.attributes or ()},
            )
            self.registry.register(instance)

    def tls(self, proxy: Key, port: int, call: Call) -> ClientTls | None:
        """How who makes `call` from outside speaks TLS with a listener; None where it has no certificate to show."""
        for one in self._papers.entrances:
            if (one.proxy, one.port) == (proxy, port):
                shown = Issued(b"", b"")
                if one.client_authority is not None and not call.anonymous:
                    issuer = Issuer("nobody's authority") if call.foreign else self._issuer(one.client_authority)
                    shown = issuer.issue(*(one.client_names if call.named is None else call.named))
                return ClientTls(
                    authorities=self._issuer(one.authority).certificate,
                    name=one.name,
                    certificate=shown.certificate,
                    key=shown.key,
                )
        return None

    @contextlib.contextmanager
    def expired(self, proxy: Key) -> Iterator[None]:
        """While this lasts, the certificates of `proxy` are expired; those in files are read when an Envoy starts.

        Raises:
            UsageError: it has none.
        """
        if not any(one.proxy == proxy for one in self._papers.certificates):
            raise UsageError(f"{proxy.path} has no certificate that could expire")
        try:
            self._renew(proxy, ends=-DAY)
            yield
        finally:
            self._renew(proxy, ends=DAY)

    def _renew(self, proxy: Key, ends: dt.timedelta) -> None:
        self._write([proxy], ends)
        for (node, name), issued in self._shown([proxy], ends).items():
            self._secrets.rotate(name, issued, node)

    def _nodes(self) -> Iterator[VirtualNodeSpec]:
        return (one.spec for one in self._graph.state.of(Kind.VIRTUAL_NODE) if isinstance(one.spec, VirtualNodeSpec))

    def _issuer(self, number: int) -> Issuer:
        if number not in self._issuers:
            self._issuers[number] = Issuer(f"authority {number}")
        return self._issuers[number]

    def _issue(self, one: Certificate, ends: dt.timedelta) -> Issued:
        return self._issuer(one.authority).issue(*one.names, ends=ends, begins=-2 * DAY)

    def _write(self, proxies: Iterable[Key], ends: dt.timedelta = DAY) -> None:
        """Write the files that proxies show and trust; one file may be several of them."""
        texts: dict[str, bytes] = {}

        def add(proxy: Key, path: str, text: bytes) -> None:
            place = self.place(proxy, path)
            texts[place] = texts.get(place, b"") + text

        wanted = frozenset(proxies)
        for one in self._papers.certificates:
            if one.chain and one.proxy in wanted:
                issued = self._issue(one, ends)
                add(one.proxy, one.key, issued.key)
                add(one.proxy, one.chain, issued.certificate + self._issuer(one.authority).certificate)
        for bundle in self._papers.bundles:
            if bundle.path and bundle.proxy in wanted:
                add(bundle.proxy, bundle.path, self._issuer(bundle.authority).certificate)
        for path, text in texts.items():
            Path(path).write_bytes(text)

    def _shown(self, proxies: Iterable[Key], ends: dt.timedelta = DAY) -> dict[tuple[str, str], Issued]:
        wanted = frozenset(proxies)
        return {
            (one.proxy.path, one.secret): self._issue(one, ends)
            for one in self._papers.certificates
            if one.secret and one.proxy in wanted
        }


def _aws(url: str) -> dict[str, str]:
    """AWS's own settings that lead to the stand-in, and to nothing of this machine's user."""
    return {
        "AWS_ENDPOINT_URL_SERVICEDISCOVERY": url,
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        "AWS_REGION": DEFAULT_REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "*",
    }
