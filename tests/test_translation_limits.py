"""How long and how much real Envoys let through: silence, limits at several places, pools of streams, texts in logs.

One mesh and two Envoys: that of the node `server`, with a listener for each limit, and that of a caller of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from envoys import fetch, until
from meshwright.lab.exchange import Reply, Request
from meshwright.lab.workload import CALLS
from meshwright.model import Key, Kind
from one_envoy import Mesh, answering, listening, named, speaking
from processes import free_port
from settings import PROVE
from strategies import MESH, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from one_envoy import Conversation

pytestmark = pytest.mark.envoy

SERVER = Key(MESH, Kind.VIRTUAL_NODE, "server")
CALLER = Key(MESH, Kind.VIRTUAL_NODE, "caller")
PROTOCOLS = ("http", "http2", "grpc", "tcp")
IDLE = 1.5
"""Seconds without traffic that listeners and routes allow below."""
PIECES, PAUSE = 25, 0.1
"""An answer that takes longer than that, but is never silent for long."""
LIMITS: dict[str, dict[str, int | None]] = {
    # Milliseconds for a request at one place; None says nothing there.
    "small": {"brief": 300, "long": 10_000},
    "default": {"nothing": None, "raised": 30_000},
}
CASES = [
    (protocol, limits, delay)
    for protocol in ("http", "http2", "grpc")
    for limits, delay in (("small", 1.0), *([("default", 16.0)] if PROVE else []))
]
TEXT = "%PROTOCOL% %RESPONSE_CODE% is the answer to %REQ(x-h)%\n"


def limited(milliseconds: int | None) -> Wire:
    """The limit of a whole request."""
    return {} if milliseconds is None else {"perRequest": {"unit": "ms", "value": milliseconds}}


def idle(protocol: str) -> Wire:
    """No limit but of silence."""
    whole = {} if protocol == "tcp" else limited(0)
    return {"idle": {"unit": "ms", "value": int(IDLE * 1000)}, **whole}


class Chain:
    """The mesh, and where its listeners are."""

    def __init__(self, folder: Path) -> None:
        self.mesh = Mesh()
        self.ports: dict[str, int] = {}
        self._listeners: list[Wire] = []
        self._backends: list[Wire] = []
        self.log = folder / "texts.log"
        for protocol in PROTOCOLS:
            self._listen(f"idle-{protocol}", protocol, timeout={protocol: idle(protocol)})
            self.mesh.node(f"silent-{protocol}", protocol)
            self._serve(f"silent-{protocol}", protocol, {"virtualNode": f"silent-{protocol}"}, idle(protocol))
            for limits in LIMITS.values() if protocol != "tcp" else ():
                self._limit(protocol, limits)
        for protocol in ("http2", "grpc"):
            self._listen(f"pool-{protocol}", protocol, connectionPool={protocol: {"maxRequests": 1}})
        discovery = {"dns": {"hostname": self.mesh.place.ingress}}
        logging = {"accessLog": {"file": {"path": str(self.log), "format": {"text": TEXT}}}}
        server = {"listeners": self._listeners, "serviceDiscovery": discovery, "logging": logging}
        self.mesh.add(Kind.VIRTUAL_NODE, "server", server)
        self.mesh.add(Kind.VIRTUAL_NODE, "caller", {"backends": self._backends})

    def _limit(self, protocol: str, limits: dict[str, int | None]) -> None:
        for node, at_node in limits.items():
            port = self._listen(f"{node}-{protocol}", protocol, timeout={protocol: limited(at_node)})
            for route, at_route in limits.items():
                target = {"virtualNode": "server", "port": port}
                self._serve(f"{route}-{node}-{protocol}", protocol, target, limited(at_route))

    def _listen(self, name: str, protocol: str, **rest: Any) -> int:
        self.ports[name] = free_port()
        self._listeners.append({"portMapping": {"port": self.ports[name], "protocol": protocol}, **rest})
        return self.ports[name]

    def _serve(self, name: str, protocol: str, target: Wire, timeout: Wire) -> None:
        # TCP needs a port of its own: on one of HTTP only a name in TLS would lead there.
        self.ports[f"to-{name}"] = port = free_port() if protocol == "tcp" else self.mesh.port
        route: Wire = {"action": {"weightedTargets": [{"weight": 1, **target}]}, "timeout": timeout}
        if protocol != "tcp":
            route["match"] = {} if protocol == "grpc" else {"prefix": "/"}
        self.mesh.service(f"{name}.local", {f"{protocol}Route": route}, protocol=protocol, port=port)
        self._backends.append({"virtualService": {"virtualServiceName": f"{name}.local"}})


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Both Envoys, running."""
    folder = tmp_path_factory.mktemp("chain")
    found = Chain(folder)
    with found.mesh.envoy(SERVER, folder), found.mesh.envoy(CALLER, folder):
        yield found


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP/1.1 application: silence for `/silent`, else a long answer in small pieces."""
    if b" /silent " in await reader.readuntil(b"\r\n\r\n"):
        await reader.read()
        return
    writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {PIECES}\r\n\r\n".encode())
    for _ in range(PIECES):
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(PAUSE)


async def trickle_h2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same over HTTP/2."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    peer.initiate_connection()
    writer.write(peer.data_to_send())

    async def respond(stream: int) -> None:
        peer.send_headers(stream, [(":status", "200")])
        for left in reversed(range(PIECES)):
            peer.send_data(stream, b".", end_stream=not left)
            writer.write(peer.data_to_send())
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as answers:
        while chunk := await reader.read(65_536):
            for event in peer.receive_data(chunk):
                if isinstance(event, h2.events.RequestReceived) and (b":path", b"/silent") not in (
                    event.headers or ()
                ):
                    answers.create_task(respond(event.stream_id or 0))
            writer.write(peer.data_to_send())


async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An application that says back every byte."""
    while chunk := await reader.read(100):
        writer.write(chunk)


APPLICATIONS: dict[str, Conversation] = {"http": trickle, "http2": trickle_h2, "grpc": trickle_h2, "tcp": repeat}


async def hold(protocol: str, host: str, port: int, authority: str) -> None:
    """Be silent at `host:port` and be cut off; be slow there and be let."""
    if protocol == "tcp":
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(PIECES):
            writer.write(b".")
            assert await reader.readexactly(1) == b"."
            await asyncio.sleep(PAUSE)
        assert await reader.read() == b""
        writer.close()
        return
    grpc = protocol == "grpc"
    named = f"{authority}\r\ncontent-type: application/grpc" if grpc else authority
    silent, slow = await asyncio.gather(fetch(host, port, "/silent", named), fetch(host, port, "/slow", named))
    assert silent == ((200, "") if grpc else (504, "stream timeout"))
    assert slow == (200, "." * PIECES)


async def test_a_node_cuts_off_who_is_silent_too_long_and_lets_who_is_slow(chain: Chain) -> None:
    """Over every protocol, whatever time the whole takes."""
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tries:
        for protocol, application in APPLICATIONS.items():
            port = chain.ports[f"idle-{protocol}"]
            await stack.enter_async_context(listening(chain.mesh.place.application, port, application))
            tries.create_task(hold(protocol, chain.mesh.place.ingress, port, "server"))


async def test_a_route_cuts_off_who_is_silent_too_long_and_lets_who_is_slow(chain: Chain) -> None:
    """In the caller's Envoy, over every protocol."""
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tries:
        for protocol, application in APPLICATIONS.items():
            name = f"silent-{protocol}"
            await stack.enter_async_context(listening(chain.mesh.hosts[name], chain.mesh.port, application))
            tries.create_task(hold(protocol, chain.mesh.place.egress, chain.ports[f"to-{name}"], f"{name}.local"))


@pytest.mark.parametrize(("protocol", "limits", "delay"), CASES)
async def test_to_lower_a_limit_one_place_suffices_and_to_raise_it_takes_both(
    chain: Chain, protocol: str, limits: str, delay: float
) -> None:
    """Of a route's limit and the server's own the shorter bites; where nothing is said, 15 s are."""
    async with contextlib.AsyncExitStack() as stack:
        for node in LIMITS[limits]:
            at = (chain.mesh.place.application, chain.ports[f"{node}-{protocol}"])
            await stack.enter_async_context(speaking(protocol, *at, named("done", delay)))
        names = [f"{route}-{node}-{protocol}.local" for route in LIMITS[limits] for node in LIMITS[limits]]
        requests = [Request(authority=name, path="/s/M", method="POST") for name in names]
        at = (chain.mesh.place.egress, chain.mesh.port)
        found = await asyncio.gather(*(CALLS[protocol](*at, one) for one in requests))
    *cut, whole = (one.status for one in found)
    late = 503 if protocol == "grpc" else 504
    assert (cut, whole) == ([late, late, late], 200), dict(zip(names, found, strict=True))


@pytest.mark.parametrize("protocol", ["http2", "grpc"])
async def test_a_pool_of_streams_turns_away_what_is_too_much(chain: Chain, protocol: str) -> None:
    """One request at a time reaches the application; the others get 503, of gRPC UNAVAILABLE, at once."""
    asked: list[str] = []
    done = asyncio.Event()

    async def answer(request: Request, _: str) -> Reply:
        asked.append(request.path)
        await done.wait()
        return Reply()

    port = chain.ports[f"pool-{protocol}"]
    request = Request(authority="server", path="/s/M", method="POST")
    async with speaking(protocol, chain.mesh.place.application, port, answer):
        first = asyncio.ensure_future(CALLS[protocol](chain.mesh.place.ingress, port, request))
        await until(lambda: asked)
        others = await asyncio.gather(*(CALLS[protocol](chain.mesh.place.ingress, port, request) for _ in range(4)))
        done.set()
        assert ([one.status for one in others], (await first).status) == ([503] * 4, 200)
    assert len(asked) == 1


async def test_texts_in_access_logs_are_as_written(chain: Chain) -> None:
    """Line by line; what a request does not have is a dash."""
    async with answering(chain.mesh.place.application, chain.ports["long-http"]):
        await fetch(chain.mesh.place.ingress, chain.ports["long-http"], "/", "server\r\nx-h: a question")
        await fetch(chain.mesh.place.ingress, chain.ports["long-http"], "/", "server")
    lines = [f"HTTP/1.1 200 is the answer to {asked}" for asked in ("a question", "-")]
    await until(lambda: set(lines) <= set(chain.log.read_text(encoding="utf-8").splitlines()))


async def test_connections_of_tcp_are_logged_when_they_end(chain: Chain) -> None:
    """A line each, of what connections have; the rest is a dash."""

    def lines() -> int:
        return chain.log.read_text(encoding="utf-8").splitlines().count("- 0 is the answer to -")

    before = lines()
    port = chain.ports["idle-tcp"]
    async with listening(chain.mesh.place.application, port, repeat):
        for _ in range(3):
            reader, writer = await asyncio.open_connection(chain.mesh.place.ingress, port)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            writer.close()
            await writer.wait_closed()
        await until(lambda: lines() >= before + 3)
