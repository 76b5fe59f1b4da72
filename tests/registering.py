"""A service whose instances register themselves, and a caller: real Envoys on one control plane."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from ads_client import AdsClient
from envoys import Envoy, envoy, fetch
from live import Live, live
from meshwright.lab.dns import NameServer
from meshwright.model.identity import Key, Kind
from meshwright.proxy.bootstrap import Address, KeyFile
from meshwright.proxy.settings import Registered
from meshwright.release import ApplyRequest, Item
from meshwright.remote import Client, find_credentials
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, Loopback
from meshwright.trust.credentials import parse
from processes import DEADLINE, reserved_net

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

CALLER, PAY = (Key("shop", Kind.VIRTUAL_NODE, name) for name in ("caller", "pay"))
SERVICE = Key("shop", Kind.VIRTUAL_SERVICE, "pay.shop.local")
PORT = 8080
CLUSTER_NAME = f"cds_egress_shop_pay_http_{PORT}"
CLOUD_MAP = {"awsCloudMap": {"namespaceName": "shop.local", "serviceName": "pay"}}
CHECK = {
    "protocol": "http",
    "path": "/ping",
    "healthyThreshold": 2,
    "unhealthyThreshold": 2,
    "intervalMillis": 5000,
    "timeoutMillis": 2000,
}


def shop(discovery: dict[str, Any] | None = None, **listener: Any) -> ApplyRequest:
    """A caller and a service that one node answers; `listener` are further members of the node's listener."""
    members = {"portMapping": {"port": PORT, "protocol": "http"}, **listener}
    backend = {"virtualService": {"virtualServiceName": SERVICE.name}}
    caller = {"backends": [backend]}
    content: tuple[tuple[Key, dict[str, Any]], ...] = (
        (Key.of_mesh("shop"), {}),
        (CALLER, caller),
        (PAY, {"listeners": [members], "serviceDiscovery": discovery or CLOUD_MAP}),
        (SERVICE, {"provider": {"virtualNode": {"virtualNodeName": PAY.name}}}),
    )
    return ApplyRequest(resources=tuple(Item(key=key, spec=spec) for key, spec in content))


def client(server: Live) -> Client:
    """The administrator's client of a server."""
    return Client(server.api, find_credentials({"AWS_SHARED_CREDENTIALS_FILE": str(server.credentials)}, server.api))


class Application:
    """An HTTP application that says its name, and whether it is well."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.well = True
        self.broken = False
        """Whether it answers every request with an error."""
        self.served = 0

    @contextlib.asynccontextmanager
    async def running(self, host: str, port: int = PORT) -> AsyncIterator[None]:
        """Serve until the block ends."""
        open_: set[asyncio.StreamWriter] = set()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            open_.add(writer)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head.split()[1]))
                    await writer.drain()
            writer.close()
            open_.discard(writer)

        server = await asyncio.start_server(answer, host, port)
        try:
            yield
        finally:
            server.close()
            for one in list(open_):
                one.close()

    def _answer(self, path: bytes) -> bytes:
        if path == b"/ping":
            return b"HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n" % (b"200 OK" if self.well else b"503 Ill")
        self.served += 1
        status = b"500 Broken" if self.broken else b"200 OK"
        return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(self.name), self.name.encode())


class Place:
    """Where the instances of one test are: a net of their own."""

    def __init__(self, net: str, folder: Path) -> None:
        """`net` is the first two bytes of addresses, such as `127.77`; see `somewhere`."""
        self.net = net
        self.port = PORT
        self.folder = folder

    def of(self, number: int) -> Loopback:
        """The addresses of one instance; 0 is the caller's."""
        return Loopback(
            **{name: f"{self.net}.{number}.{at}" for at, name in enumerate(("application", "ingress", "egress"), 1)}
        )

    async def ask(self) -> tuple[int, str]:
        """What the caller's application gets from the service."""
        return await fetch(self.of(0).egress, self.port, authority=SERVICE.name)

    @contextlib.asynccontextmanager
    async def caller(self, server: Live, **more: Any) -> AsyncIterator[Envoy]:
        """The caller's Envoy."""
        key = KeyFile(str(server.credentials))
        async with envoy(
            self.folder, CALLER, server.xds, instance="caller", placement=self.of(0), credentials=key, **more
        ) as running:
            yield running

    @contextlib.asynccontextmanager
    async def instance(self, server: Live, number: int, name: str | None = None, **more: Any) -> AsyncIterator[Envoy]:
        """An Envoy of the service that registers its own address."""
        at, name = self.of(number), f"pay-{number}" if name is None else name
        endpoint = Registered(address=at.ingress, farewell=str(self.folder / f"{name}.farewell"))
        key = KeyFile(str(server.credentials))
        async with envoy(
            self.folder, PAY, server.xds, instance=name, placement=at, credentials=key, endpoint=endpoint, **more
        ) as running:
            yield running


@contextlib.contextmanager
def somewhere(folder: Path) -> Iterator[Place]:
    """A place that no other test has until the block ends, in whichever process it runs."""
    with reserved_net() as net:
        yield Place(net, folder)


@contextlib.contextmanager
def serving(folder: Path, *more: str, discovery: dict[str, Any] | None = None, **listener: Any) -> Iterator[Live]:
    """A control plane with the shop."""
    with live(folder, *more) as server:
        client(server).apply("shop", "shop", shop(discovery, **listener))
        yield server


def rows(server: Live) -> list[tuple[str, str, str]]:
    """What is known of the endpoints: address, source and state."""
    return [(one["address"], one["source"], one["state"]) for one in client(server).endpoints("shop")["endpoints"]]


def states(server: Live, *wanted: str) -> Callable[[], Awaitable[bool]]:
    """Whether the endpoints are in these states, by address."""

    async def asked() -> bool:
        return [state for _, _, state in await asyncio.to_thread(rows, server)] == list(wanted)

    return asked


def proxy(server: Live, node: Any, instance: str = "one", *, delta: bool = True, **ours: Any) -> AdsClient:
    """A stream of a proxy, and nothing behind it."""
    said = {"id": node.path, "metadata": {"meshwright": {"instance": instance, **ours}}}
    key = parse(server.credentials.read_text())["default"]
    return AdsClient(f"127.0.0.1:{server.xds}", said, delta=delta, key=key)


async def heard(stream: AdsClient, type_url: str, seconds: float = DEADLINE) -> Any:
    """The next response, which is of this type, acknowledged."""
    response = await stream.hear(seconds)
    assert response.type_url == type_url
    await stream.ack(response)
    return response


async def taken(stream: AdsClient, type_url: str, *names: str) -> Any:
    """Ask for a type; the answer."""
    await stream.say(type_url, resource_names_subscribe=names)
    return await heard(stream, type_url)


async def listening(stream: AdsClient) -> None:
    """Take everything that an instance's Envoy would."""
    await taken(stream, CLUSTER)
    await taken(stream, LISTENER)


def addresses(response: Any) -> set[str]:
    """The endpoints in an answer."""
    kind = message("envoy.config.endpoint.v3.ClusterLoadAssignment")
    found = [kind.FromString(one.resource.value) for one in response.resources]
    assert [one.cluster_name for one in found] == [CLUSTER_NAME]
    return {
        one.endpoint.address.socket_address.address
        for locality in found[0].endpoints
        for one in locality.lb_endpoints
    }


@contextlib.asynccontextmanager
async def calling(server: Live, *known: str) -> AsyncIterator[AdsClient]:
    """A stream of the caller, who has heard of the endpoints that are known."""
    async with proxy(server, CALLER) as caller:
        await taken(caller, CLUSTER)
        assert addresses(await taken(caller, ENDPOINT, CLUSTER_NAME)) == set(known)
        yield caller


@contextlib.asynccontextmanager
async def resolving(records: dict[str, list[str]]) -> AsyncIterator[tuple[NameServer, Address]]:
    """A DNS server with these addresses by name, and where it is."""
    names = NameServer()
    names.publish(records)
    try:
        yield names, await names.start("127.0.0.1")
    finally:
        await names.stop()
