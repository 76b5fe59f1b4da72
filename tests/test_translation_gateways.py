"""What a gateway's real Envoy lets in and how much of it: pools, TLS from files and SDS, whom it trusts behind it.

One Envoy for all listeners, and one of its own for what follows an SDS server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from envoys import fetch, until
from meshwright.lab.exchange import Reply, Request
from meshwright.lab.secrets import SecretServer
from meshwright.lab.workload import CALLS
from meshwright.model import Key, Kind
from one_envoy import Mesh, answering, http_route, listening, speaking
from pki import Authority, Issuer
from processes import free_port
from strategies import MESH, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.certificates import TlsFiles

pytestmark = pytest.mark.envoy

DOOR = Key(MESH, Kind.VIRTUAL_GATEWAY, "door")
POOLS: dict[str, Wire] = {
    "http": {"maxConnections": 1, "maxPendingRequests": 1},
    "http2": {"maxRequests": 1},
    "grpc": {"maxRequests": 1},
}
ELSEWHERE: Wire = {"file": {"certificateChain": "/elsewhere", "privateKey": "/elsewhere"}}


class Door:
    """A gateway with listeners, and the certificates of all who talk."""

    def __init__(self, folder: Path) -> None:
        self.mesh = Mesh()
        self.authority = Authority(folder)
        self.log = folder / "own.log"
        self.ports: dict[str, int] = {}
        self._listeners: list[Wire] = []
        self.mesh.node("hit")
        self.mesh.service("hit.local", http_route(("hit", 1)))

    def listen(self, name: str, protocol: str = "http", **rest: Any) -> None:
        """Add a listener."""
        self.ports[name] = free_port()
        self._listeners.append({"portMapping": {"port": self.ports[name], "protocol": protocol}, **rest})

    def lead(
        self, listener: str, service: str = "hit.local", protocol: str = "http", prefix: str = "/", **more: Any
    ) -> None:
        """Add a route from a listener to a service; `more` are further members of its match."""
        match = {"serviceName": "s", **more} if protocol == "grpc" else {"prefix": prefix}
        target = {"virtualService": {"virtualServiceName": service}}
        route = {"match": {"port": self.ports[listener], **match}, "action": {"target": target}}
        name = f"{listener}-{service}".replace(".", "-")
        self.mesh.add(Kind.GATEWAY_ROUTE, name, {f"{protocol}Route": route}, "door")

    def add(self, **spec: Any) -> None:
        """Add the gateway, when all its listeners are there."""
        logging = {"accessLog": {"file": {"path": str(self.log)}}}
        self.mesh.add(Kind.VIRTUAL_GATEWAY, "door", {"listeners": self._listeners, "logging": logging, **spec})

    async def get(self, listener: str, path: str = "/") -> int:
        """The status of a plain request to a listener; 0 for none."""
        return (await fetch(self.mesh.place.ingress, self.ports[listener], path))[0]

    async def get_encrypted(self, listener: str, shown: TlsFiles | None = None) -> int:
        """The same over TLS, with a client certificate or none."""
        at = (self.mesh.place.ingress, self.ports[listener])
        return (await fetch(*at, authority="server.local", context=self.authority.context(shown)))[0]

    def application(self, name: str = "hit") -> contextlib.AbstractAsyncContextManager[list[str]]:
        """The node behind."""
        return answering(self.mesh.hosts[name], self.mesh.port, name)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The gateway's Envoy, running."""
    folder = tmp_path_factory.mktemp("door")
    found = Door(folder)
    for protocol, pool in POOLS.items():
        found.listen(protocol, protocol, connectionPool={protocol: pool})
        found.mesh.node(f"pool-{protocol}", protocol)
        targets = {"weightedTargets": [{"virtualNode": f"pool-{protocol}", "weight": 1}]}
        match = {} if protocol == "grpc" else {"prefix": "/"}
        route = {f"{protocol}Route": {"match": match, "action": targets}}
        found.mesh.service(f"pool-{protocol}.local", route, protocol=protocol)
        found.lead(protocol, f"pool-{protocol}.local", protocol)
    for mode in ("STRICT", "PERMISSIVE", "DISABLED"):
        found.listen(mode, **found.authority.tls(mode))
        found.lead(mode)
    for name, names in (("mutual", None), ("named", ["friend.local"])):
        found.listen(name, **found.authority.tls("STRICT", names, mutual=True))
        found.lead(name)
    found.listen("metadata", "grpc")
    metadata = [{"name": "kind", "match": {"prefix": "gold"}}]
    found.lead("metadata", "pool-grpc.local", "grpc", metadata=metadata)
    found.add()
    with found.mesh.envoy(DOOR, folder):
        yield found


@pytest.mark.parametrize("protocol", [*POOLS])
async def test_a_gateways_pool_turns_away_what_is_too_much(door: Door, protocol: str) -> None:
    """One request under way, of HTTP/1.1 one more waiting; the others get 503, of gRPC UNAVAILABLE, at once."""
    asked: list[str] = []
    done = asyncio.Event()

    async def answer(request: Request, _: str) -> Reply:
        asked.append(request.path)
        await done.wait()
        return Reply()

    async def call() -> int:
        request = Request(authority="x", path="/s/M", method="POST")
        return (await CALLS[protocol](door.mesh.place.ingress, door.ports[protocol], request)).status

    waiting = 1 if protocol == "http" else 0
    async with speaking(protocol, door.mesh.hosts[f"pool-{protocol}"], door.mesh.port, answer):
        first = asyncio.create_task(call())
        await until(lambda: asked)
        others = [asyncio.create_task(call()) for _ in range(4)]
        await until(lambda: sum(one.done() for one in others) == 4 - waiting)
        done.set()
        statuses = sorted([await first, *[await one for one in others]])
    assert statuses == [200] * (1 + waiting) + [503] * (4 - waiting)
    assert len(asked) == 1 + waiting


@pytest.mark.parametrize(("mode", "plain", "encrypted"), [
    ("STRICT", 0, 200), ("PERMISSIVE", 200, 200), ("DISABLED", 200, 0),
])  # fmt: skip
async def test_a_gateways_tls_modes_take_what_they_say(door: Door, mode: str, plain: int, encrypted: int) -> None:
    """STRICT only TLS, PERMISSIVE both, DISABLED only plaintext."""
    async with door.application():
        assert await door.get(mode) == plain
        assert await door.get_encrypted(mode) == encrypted


async def test_a_gateway_lets_clients_in_by_their_certificates(door: Door) -> None:
    """Who shows none, or one of another authority, is refused; with names, one of another name too."""
    known = door.authority
    shown = (known.friend, known.other, known.stranger, None)
    async with door.application():
        assert [await door.get_encrypted("mutual", one) for one in shown] == [200, 200, 0, 0]
        assert [await door.get_encrypted("named", one) for one in shown] == [200, 0, 0, 0]


async def test_grpc_calls_are_matched_by_service_and_metadata_at_a_gateway(door: Door) -> None:
    """What no route takes gets UNIMPLEMENTED from the gateway itself."""

    async def answer(request: Request, _: str) -> Reply:
        return Reply(node="reached", path=request.path)

    async def call(path: str, **headers: str) -> str:
        request = Request(authority="x", path=path, method="POST", headers=headers)
        reply = await CALLS["grpc"](door.mesh.place.ingress, door.ports["metadata"], request)
        return reply.node or reply.fault

    async with speaking("grpc", door.mesh.hosts["pool-grpc"], door.mesh.port, answer):
        assert await call("/s/M", kind="gold-1") == "reached"
        for refused in (call("/s/M"), call("/s/M", kind="silver"), call("/other/M", kind="gold-1")):
            assert (await refused).startswith("gRPC UNIMPLEMENTED")


async def test_access_logs_without_a_format_are_envoys_own(door: Door) -> None:
    """Of a gateway on both of its steps."""
    async with door.application():
        assert await door.get("DISABLED", "/logged") == 200
    await until(lambda: door.log.read_text(encoding="utf-8").count('"GET /logged HTTP/1.1" 200 - 0 3 ') == 2)


async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An application that closes after each answer; a connection that is kept stays trusted."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    await writer.drain()


async def test_certificates_and_authorities_come_from_sds_and_change_with_it(tmp_path: Path) -> None:
    """A gateway shows, and trusts at both of its ends, what the SDS server hands out, and what it hands out next."""
    found, foreign = Door(tmp_path), Issuer("another authority")
    known = found.authority
    trust = {"trust": {"sds": {"secretName": "clients"}}}
    names = {"subjectAlternativeNames": {"match": {"exact": ["friend.local"]}}}
    certificate = {"sds": {"secretName": "own"}}
    found.listen("mutual", tls={"mode": "STRICT", "certificate": certificate, "validation": trust | names})
    found.lead("mutual")
    found.listen("open")
    port = free_port()
    issued = {}
    for name, issuer in (("ours", known.issuer), ("theirs", foreign)):
        found.mesh.node(name, port=port, tls={"mode": "STRICT", "certificate": ELSEWHERE})
        found.mesh.service(f"{name}.local", http_route((name, 1)), port=port)
        found.lead("open", f"{name}.local", prefix=f"/{name}/")
        issued[name] = issuer.issue(found.mesh.hosts[name])
    validation = {"trust": {"sds": {"secretName": "servers"}}}
    found.add(backendDefaults={"clientPolicy": {"tls": {"ports": [port], "validation": validation}}})
    trusted = dict.fromkeys(("clients", "servers"), known.issuer.certificate)
    secrets = SecretServer({"own": known.issuer.issue("server.local"), **trusted})

    async def seen() -> tuple[int, ...]:
        """Whom it lets in: a friend, a stranger, another; whom it calls: ours, theirs."""
        shown = (known.friend, known.stranger, known.other)
        let_in = [await found.get_encrypted("mutual", one) for one in shown]
        return (*let_in, await found.get("open", "/ours/"), await found.get("open", "/theirs/"))

    async def now(*expected: int) -> bool:
        return await seen() == expected

    async with contextlib.AsyncExitStack() as stack:
        for name, one in issued.items():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            files = one.write(tmp_path, name)
            context.load_cert_chain(files.certificate, files.key)
            await stack.enter_async_context(listening(found.mesh.hosts[name], port, once, context))
        await stack.enter_async_context(found.application())
        await stack.enter_async_context(secrets.serving(tmp_path / "sds.sock"))
        with contextlib.ExitStack() as running:
            sds = str(tmp_path / "sds.sock")
            await asyncio.to_thread(running.enter_context, found.mesh.envoy(DOOR, tmp_path, sds=sds))
            assert await seen() == (200, 0, 0, 200, 503)
            secrets.rotate("clients", Issuer("another authority").certificate)
            await until(lambda: now(0, 0, 0, 200, 503))
            secrets.rotate("servers", foreign.certificate)
            await until(lambda: now(0, 0, 0, 503, 200))
            secrets.rotate("clients", known.issuer.certificate)
            await until(lambda: now(200, 0, 0, 503, 200))


async def test_a_gateway_shows_and_asks_for_certificates_by_its_policy(tmp_path: Path) -> None:
    """Towards nodes, whose applications here speak TLS themselves: its own, and the names that it insists on."""
    found = Door(tmp_path)
    known = found.authority
    found.listen("open")
    issued = {"right": "server.local", "misnamed": "elsewhere.local", "plain": ""}
    for name, subject in issued.items():
        found.mesh.node(name, tls={"mode": "STRICT" if subject else "DISABLED", "certificate": ELSEWHERE})
        found.mesh.service(f"{name}.local", http_route((name, 1)))
        found.lead("open", f"{name}.local", prefix=f"/{name}/")
    names = {"subjectAlternativeNames": {"match": {"exact": ["server.local"]}}}
    validation = {"trust": {"file": {"certificateChain": str(known.trusted)}}, **names}
    own = {"file": {"certificateChain": str(known.friend.certificate), "privateKey": str(known.friend.key)}}
    found.add(backendDefaults={"clientPolicy": {"tls": {"certificate": own, "validation": validation}}})
    shown: list[object] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        encrypted = writer.get_extra_info("ssl_object")
        shown.append(encrypted and encrypted.getpeercert()["subjectAltName"])
        await once(reader, writer)

    async with contextlib.AsyncExitStack() as stack:
        for name, subject in issued.items():
            context = None
            if subject:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(known.trusted))
                context.verify_mode = ssl.CERT_REQUIRED
                files = known.issuer.issue(subject).write(tmp_path, name)
                context.load_cert_chain(files.certificate, files.key)
            await stack.enter_async_context(listening(found.mesh.hosts[name], found.mesh.port, answer, context))
        with contextlib.ExitStack() as running:
            await asyncio.to_thread(running.enter_context, found.mesh.envoy(DOOR, tmp_path))
            assert [await found.get("open", f"/{name}/") for name in issued] == [200, 503, 503]
    assert (("DNS", "friend.local"),) in shown
