"""TLS between real Envoys over HTTP/2, gRPC and TCP, as over HTTP: who is let in, who is trusted, what stays plain.

One mesh and two Envoys, a caller's and a server's, with a listener and a backend of its own for each case; and the
Envoy of a gateway, called by clients of the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from cryptography import x509

from data_plane import PORT, data_plane
from meshwright.lab import http2
from meshwright.lab.exchange import Reply, Request
from meshwright.lab.secrets import SecretServer
from meshwright.lab.workload import CALLS
from meshwright.model import Key, Kind
from one_envoy import Mesh, named, speaking
from pki import Authority, Issuer
from processes import free_port
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from meshwright.certificates import TlsFiles
    from meshwright.model import Resource

pytestmark = pytest.mark.envoy

SERVER = Key(MESH, Kind.VIRTUAL_NODE, "server")
CALLER = Key(MESH, Kind.VIRTUAL_NODE, "caller")
DOOR = Key(MESH, Kind.VIRTUAL_GATEWAY, "door")
PROTOCOLS = ("http", "http2", "grpc", "tcp")
STREAMS = ("http2", "grpc")
URI = "spiffe://mesh/friend"
CASES: dict[str, tuple[Wire, Wire | None, bool]] = {
    # What the server's listener says, what the caller's policy says (None: there is none), whether calls get through.
    "strict": ({"mode": "STRICT"}, {}, True),
    "unasked": ({"mode": "STRICT"}, None, True),
    "distrusted": ({"mode": "STRICT"}, {"trust": "foreign"}, False),
    "misnamed": ({"mode": "STRICT"}, {"names": ["other.local"]}, False),
    "mutual": ({"mode": "STRICT", "mutual": True}, {"shown": "friend"}, True),
    "bare": ({"mode": "STRICT", "mutual": True}, {}, False),
    "stranger": ({"mode": "STRICT", "mutual": True}, {"shown": "stranger"}, False),
    "named": ({"mode": "STRICT", "mutual": True, "names": ["a.local", "friend.local"]}, {"shown": "friend"}, True),
    "unnamed": ({"mode": "STRICT", "mutual": True, "names": ["friend.local"]}, {"shown": "other"}, False),
    "uri": ({"mode": "STRICT", "mutual": True, "names": [URI]}, {"shown": "uri"}, True),
    "no-uri": ({"mode": "STRICT", "mutual": True, "names": [URI]}, {"shown": "friend"}, False),
    "permissive": ({"mode": "PERMISSIVE"}, {}, True),
    "permissive-mutual": ({"mode": "PERMISSIVE", "mutual": True}, {"shown": "friend"}, True),
    "permissive-bare": ({"mode": "PERMISSIVE", "mutual": True}, {}, False),
    "disabled": ({"mode": "DISABLED"}, {}, False),
    "disabled-lax": ({"mode": "DISABLED"}, {"enforce": False}, True),
}
PLAIN = {"strict": False, "mutual": False, "permissive": True, "permissive-mutual": True, "disabled": True}
"""Whether those who speak no TLS are let in."""
ENCRYPTED = [name for name, (_, _, through) in CASES.items() if through and name != "disabled-lax"]


class Pair:
    """A caller and a server, and the ports of the cases: of the server's listeners and of the caller's backends."""

    def __init__(self, folder: Path) -> None:
        self.mesh = Mesh()
        self.ports: dict[tuple[str, str], int] = {}
        self.called: dict[tuple[str, str], int] = {}
        self.authority = Authority(folder)
        self.foreign = folder / "foreign.pem"
        self.foreign.write_bytes(Issuer("another authority").certificate)
        self.shown: dict[str, TlsFiles] = {
            "friend": self.authority.friend,
            "other": self.authority.other,
            "stranger": self.authority.stranger,
            "uri": self.authority.issuer.issue(URI).write(folder, "uri"),
        }
        listeners, backends = [], []
        for protocol in PROTOCOLS:
            for name, (listening, policy, _) in CASES.items():
                key = (protocol, name)
                self.ports[key] = port = free_port()
                self.called[key] = free_port() if protocol == "tcp" else self.mesh.port
                tls = self.authority.tls(listening["mode"], listening.get("names"), mutual="mutual" in listening)
                listeners.append({"portMapping": {"port": port, "protocol": protocol}, **tls})
                self._serve(f"{name}.{protocol}", protocol, port, self.called[key])
                client = {} if policy is None else {"clientPolicy": {"tls": self._policy(**policy)}}
                backends.append({"virtualService": {"virtualServiceName": f"{name}.{protocol}", **client}})
        discovery = {"dns": {"hostname": self.mesh.place.ingress}}
        self.mesh.add(Kind.VIRTUAL_NODE, "server", {"listeners": listeners, "serviceDiscovery": discovery})
        self.mesh.add(Kind.VIRTUAL_NODE, "caller", {"backends": backends})

    def _serve(self, service: str, protocol: str, port: int, called: int) -> None:
        action = {"weightedTargets": [{"virtualNode": "server", "weight": 1, "port": port}]}
        match: Wire = {"tcp": {}, "grpc": {"match": {}}}.get(protocol, {"match": {"prefix": "/"}})
        self.mesh.service(service, {f"{protocol}Route": {**match, "action": action}}, protocol=protocol, port=called)

    def _policy(self, trust: str = "", names: list[str] | None = None, shown: str = "", **rest: Any) -> Wire:
        trusted = {"file": {"certificateChain": str(self.foreign if trust else self.authority.trusted)}}
        exact = {"match": {"exact": names or ["server.local"]}}
        own = self.shown[shown] if shown else None
        files = {"file": {"certificateChain": str(own.certificate), "privateKey": str(own.key)}} if own else None
        certificate = {"certificate": files} if files else {}
        return {"validation": {"trust": trusted, "subjectAlternativeNames": exact}, **certificate, **rest}

    def application(self, protocol: str, name: str) -> contextlib.AbstractAsyncContextManager[None]:
        """What the server's Envoy stands before."""
        return speaking(protocol, self.mesh.place.application, self.ports[protocol, name], named(name))

    async def call(self, protocol: str, name: str) -> Reply:
        """What the caller's application gets: it speaks no TLS."""
        request = Request(authority=f"{name}.{protocol}", path="/s/M", method="POST")
        return await CALLS[protocol](self.mesh.place.egress, self.called[protocol, name], request)

    async def call_past(self, protocol: str, name: str) -> Reply:
        """What somebody gets at the server's listener without TLS."""
        request = Request(authority="server", path="/s/M", method="POST")
        return await CALLS[protocol](self.mesh.place.ingress, self.ports[protocol, name], request)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The mesh, and all its certificates."""
    return Pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def ask(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Both Envoys, running; what the server's administration tells."""
    folder = tmp_path_factory.mktemp("envoys")
    with pair.mesh.envoy(SERVER, folder) as asked, pair.mesh.envoy(CALLER, folder):
        yield asked


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_calls_get_through_where_both_sides_agree_and_nowhere_else(
    pair: Pair, ask: Callable[[str], str], protocol: str
) -> None:
    """By the server's mode, authority and names, and by the caller's; what should be encrypted was."""
    found = {}
    async with contextlib.AsyncExitStack() as stack:
        for name in CASES:
            await stack.enter_async_context(pair.application(protocol, name))
        for name in CASES:
            found[name] = await pair.call(protocol, name)
    assert {name for name, one in found.items() if one.node} == {name for name in CASES if CASES[name][2]}, found
    assert {one.status for one in found.values()} == {200, 503}
    for name in CASES:
        counter = f"listener.{pair.mesh.place.ingress}_{pair.ports[protocol, name]}.ssl.handshake"
        count = int(ask(f"/stats?filter=^{counter}$").partition(": ")[2] or 0)
        assert bool(count) == (name in ENCRYPTED), (name, count)


@pytest.mark.usefixtures("ask")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_who_speaks_no_tls_is_let_in_where_the_mode_says(pair: Pair, protocol: str) -> None:
    """PERMISSIVE and DISABLED take plaintext, STRICT does not; a certificate is asked for in TLS alone."""
    found = {}
    for name in PLAIN:
        async with pair.application(protocol, name):
            found[name] = (await pair.call_past(protocol, name)).node == name
    assert found == PLAIN


async def test_both_sides_take_their_certificates_and_whom_they_trust_from_sds(tmp_path: Path) -> None:
    """Over gRPC: the caller shows its own to the server, and each trusts an authority that has no file."""
    mesh, issuer, port = Mesh(), Issuer(), free_port()

    def tls(name: str, accepted: str, **rest: Any) -> Wire:
        names = {"subjectAlternativeNames": {"match": {"exact": [accepted]}}}
        trust = {"trust": {"sds": {"secretName": "authority"}}}
        return {"certificate": {"sds": {"secretName": name}}, "validation": trust | names, **rest}

    listener = {"portMapping": {"port": port, "protocol": "grpc"}, "tls": tls("server", URI, mode="STRICT")}
    discovery = {"dns": {"hostname": mesh.place.ingress}}
    mesh.add(Kind.VIRTUAL_NODE, "server", {"listeners": [listener], "serviceDiscovery": discovery})
    backends: dict[str, Wire] = {}
    for name in ("friend", "other"):
        action = {"weightedTargets": [{"virtualNode": "server", "weight": 1}]}
        mesh.service(name, {"grpcRoute": {"match": {}, "action": action}}, protocol="grpc")
        policy = {"clientPolicy": {"tls": tls(name, "server.local")}}
        backends[name] = {"virtualService": {"virtualServiceName": name, **policy}}
    secrets = SecretServer(
        {
            "server": issuer.issue("server.local"),
            "friend": issuer.issue(URI),
            "other": issuer.issue("other.local"),
            "authority": issuer.certificate,
        }
    )
    sds = tmp_path / "sds.sock"
    async with secrets.serving(sds), speaking("grpc", mesh.place.application, port, named("server")):
        # One after the other: of two policies for one listener a caller would keep the stricter.
        for name, node in (("friend", "server"), ("other", "")):
            caller = Mesh()
            caller.resources, caller.place, caller.port = list(mesh.resources), mesh.place, mesh.port
            caller.add(Kind.VIRTUAL_NODE, "caller", {"backends": [backends[name]]})
            with contextlib.ExitStack() as stack:
                for key in (SERVER, CALLER):
                    await asyncio.to_thread(stack.enter_context, caller.envoy(key, tmp_path, sds=str(sds)))
                request = Request(authority=name, path="/s/M")
                assert (await CALLS["grpc"](mesh.place.egress, mesh.port, request)).node == node


async def test_certificates_in_files_change_with_their_listener_without_a_failed_handshake(tmp_path: Path) -> None:
    """New connections come all the time. A release names other files, or changes its listener otherwise.

    Files that change alone change nothing; those that are broken by then are refused, and the old ones stay.
    """
    issuer = Issuer()
    context = ssl.create_default_context(cafile=str(issuer.file(tmp_path)))
    issued = [issuer.issue("server.local") for _ in range(4)]
    serials = [x509.load_pem_x509_certificate(one.certificate).serial_number for one in issued]
    seen: list[int] = []

    async def handshake() -> int:
        _, writer = await asyncio.open_connection(at, PORT, ssl=context, server_hostname="server.local")
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number

    async def until_shown(serial: int) -> None:
        last: list[int] = []
        while set(last) != {serial}:
            last = await asyncio.gather(*(handshake() for _ in range(8)))
            seen.extend(last)
            assert len(seen) < 20_000, "the certificate never came"

    def server(files: TlsFiles, logged: str = "new") -> Resource:
        """The node; its listener is another one by what it logs, too."""
        file = {"certificateChain": str(files.certificate), "privateKey": str(files.key)}
        tls = {"mode": "STRICT", "certificate": {"file": file}}
        log = {"file": {"path": "/dev/null", "format": {"text": logged}}}
        listeners = [{"portMapping": {"port": PORT, "protocol": "http"}, "tls": tls}]
        return resource(Kind.VIRTUAL_NODE, "server", {"listeners": listeners, "logging": {"accessLog": log}})

    async with data_plane(tmp_path) as plane:
        at = plane.place("server").ingress
        first = issued[0].write(tmp_path, "first")
        await plane.publish(server(first))
        await plane.proxy(SERVER)
        await until_shown(serials[0])
        second = issued[1].write(tmp_path, "second")
        await asyncio.gather(plane.publish(server(second)), until_shown(serials[1]))
        issued[2].write(tmp_path, "second")
        await until_shown(serials[1])
        await asyncio.gather(plane.publish(server(second, "changed")), until_shown(serials[2]))
        second.certificate.write_text("half of it")
        with pytest.raises(AssertionError, match=r"second\.pem"):
            await plane.publish(server(second, "broken"))
        await until_shown(serials[2])
        issued[3].write(tmp_path, "second")
        await asyncio.gather(plane.publish(server(second, "mended")), until_shown(serials[3]))
    assert set(seen) == set(serials)


KINDS: dict[str, dict[str, Any]] = {
    "STRICT": {},
    "PERMISSIVE": {},
    "DISABLED": {},
    "mutual": {"mutual": True},
    "named": {"names": ["friend.local"], "mutual": True},
}


class Door:
    """A gateway with a listener of every kind in every protocol."""

    def __init__(self, folder: Path) -> None:
        self.mesh = Mesh()
        self.authority = Authority(folder)
        self.ports: dict[tuple[str, str], int] = {}
        listeners = []
        for protocol in STREAMS:
            self.mesh.node(f"hit-{protocol}", protocol)
            action = {"weightedTargets": [{"virtualNode": f"hit-{protocol}", "weight": 1}]}
            match = {} if protocol == "grpc" else {"prefix": "/"}
            self.mesh.service(
                f"hit.{protocol}", {f"{protocol}Route": {"match": match, "action": action}}, protocol=protocol
            )
            for kind, more in KINDS.items():
                self.ports[protocol, kind] = port = free_port()
                tls = self.authority.tls(kind if kind.isupper() else "STRICT", **more)
                listeners.append({"portMapping": {"port": port, "protocol": protocol}, **tls})
                target = {"virtualService": {"virtualServiceName": f"hit.{protocol}"}}
                route = {"match": {"port": port, **match}, "action": {"target": target}}
                self.mesh.add(Kind.GATEWAY_ROUTE, f"{protocol}-{kind}", {f"{protocol}Route": route}, "door")
        self.mesh.add(Kind.VIRTUAL_GATEWAY, "door", {"listeners": listeners})

    def application(self, protocol: str) -> contextlib.AbstractAsyncContextManager[None]:
        """The node behind."""
        return speaking(protocol, self.mesh.hosts[f"hit-{protocol}"], self.mesh.port, named("hit"))

    async def call(self, protocol: str, kind: str) -> bool:
        """Whether a call without TLS gets through."""
        request = Request(authority="server.local", path="/s/M", method="POST")
        return (await CALLS[protocol](self.mesh.place.ingress, self.ports[protocol, kind], request)).status == 200

    async def call_encrypted(self, protocol: str, kind: str, shown: TlsFiles | None = None) -> bool:
        """The same over TLS, with a client certificate or none."""
        called = self._call_grpc if protocol == "grpc" else self._call_http2
        return await called(self.ports[protocol, kind], shown)

    async def _call_http2(self, port: int, shown: TlsFiles | None) -> bool:
        context = self.authority.context(shown)
        context.set_alpn_protocols(["h2"])
        at = (self.mesh.place.ingress, port)
        request = Request(authority="server.local", path="/s/M", method="POST")
        try:
            reader, writer = await asyncio.open_connection(*at, ssl=context, server_hostname="server.local")
            with contextlib.closing(writer):
                assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
                return (await http2.exchange(reader, writer, request)).status == 200
        except (ConnectionError, ssl.SSLError):
            return False

    async def _call_grpc(self, port: int, shown: TlsFiles | None) -> bool:
        own = (shown.key.read_bytes(), shown.certificate.read_bytes()) if shown else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.trusted.read_bytes(), *own)
        options = [("grpc.ssl_target_name_override", "server.local"), ("grpc.use_local_subchannel_pool", 1)]
        at = f"{self.mesh.place.ingress}:{port}"
        async with grpc.aio.secure_channel(at, credentials, options=options) as channel:
            method = channel.unary_unary("/s/M", request_serializer=None, response_deserializer=None)
            try:
                return bool(await method(b"", timeout=10))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return False


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The gateway's Envoy, running."""
    folder = tmp_path_factory.mktemp("door")
    found = Door(folder)
    with found.mesh.envoy(DOOR, folder):
        yield found


@pytest.mark.parametrize("protocol", STREAMS)
async def test_a_gateways_tls_is_the_same_over_http_2_and_grpc(door: Door, protocol: str) -> None:
    """Its modes, whom it lets in by their certificates and by the names in them."""
    known = door.authority
    async with door.application(protocol):
        for kind, plain, encrypted in (
            ("STRICT", False, True),
            ("PERMISSIVE", True, True),
            ("DISABLED", True, False),
        ):
            assert await door.call(protocol, kind) == plain, kind
            assert await door.call_encrypted(protocol, kind) == encrypted, kind
        shown = (known.friend, known.other, known.stranger, None)
        for kind, let_in in (("mutual", [True, True, False, False]), ("named", [True, False, False, False])):
            assert [await door.call_encrypted(protocol, kind, one) for one in shown] == let_in, kind
