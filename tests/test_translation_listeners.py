"""How a node's own real Envoy treats what comes in, and a gateway's: pools, limits, TLS, certificates, WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from cryptography import x509

from envoys import fetch, until
from meshwright.lab.secrets import SecretServer
from meshwright.model import Key, Kind
from meshwright.snapshot.resources import Endpoint
from one_envoy import Mesh, answering, http_route, listening
from pki import Authority, Issuer
from processes import free_port, fresh_address
from strategies import MESH, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.certificates import TlsFiles
    from one_envoy import Conversation
    from pki import Issued

pytestmark = pytest.mark.envoy

SERVER = Key(MESH, Kind.VIRTUAL_NODE, "server")
CALLER = Key(MESH, Kind.VIRTUAL_NODE, "caller")
DOOR = Key(MESH, Kind.VIRTUAL_GATEWAY, "door")
ELSEWHERE: Wire = {"mode": "STRICT", "certificate": {"file": {"certificateChain": "/x", "privateKey": "/x"}}}
"""TLS of a server whose proxy is not here."""
KINDS = ("pool", "tcp-pool", "limit", "strict", "permissive", "disabled", "mutual", "named", "unnamed")


class Place:
    """The node `server` with a listener of every kind, each on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.mesh = Mesh()
        self.authority = Authority(folder)
        self.ports = {kind: free_port() for kind in KINDS}
        tls = self.authority.tls
        more: dict[str, Wire] = {
            "pool": {"connectionPool": {"http": {"maxConnections": 1, "maxPendingRequests": 1}}},
            "tcp-pool": {"connectionPool": {"tcp": {"maxConnections": 1}}},
            "limit": {"timeout": {"http": {"perRequest": {"unit": "ms", "value": 200}}}},
            "strict": tls("STRICT"),
            "permissive": tls("PERMISSIVE"),
            "disabled": tls("DISABLED"),
            "mutual": tls("STRICT", mutual=True),
            "named": tls("STRICT", ["friend.local"], mutual=True),
            "unnamed": tls("STRICT", [], mutual=True),
        }
        listeners = [
            {"portMapping": {"port": port, "protocol": "tcp" if kind == "tcp-pool" else "http"}, **more[kind]}
            for kind, port in self.ports.items()
        ]
        discovery = {"dns": {"hostname": self.mesh.place.ingress}}
        self.mesh.add(Kind.VIRTUAL_NODE, "server", {"listeners": listeners, "serviceDiscovery": discovery})

    def application(self, kind: str, delay: float = 0.0) -> contextlib.AbstractAsyncContextManager[list[str]]:
        """The application behind a listener."""
        return answering(self.mesh.place.application, self.ports[kind], kind, delay=delay)

    async def get(self, kind: str) -> tuple[int, str]:
        """A plain request to a listener."""
        return await fetch(self.mesh.place.ingress, self.ports[kind])

    async def get_encrypted(self, kind: str, shown: TlsFiles | None = None) -> str:
        """The body of a request over TLS with a client certificate or none; "" when TLS fails."""
        context = self.authority.context(shown)
        return (await fetch(self.mesh.place.ingress, self.ports[kind], authority="server.local", context=context))[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The node's Envoy, running."""
    folder = tmp_path_factory.mktemp("server")
    found = Place(folder)
    with found.mesh.envoy(SERVER, folder):
        yield found


async def test_a_pool_turns_away_what_is_too_much(place: Place) -> None:
    """One connection to the application and one request waiting; the rest get 503 at once."""
    async with place.application("pool", delay=1.0) as asked:
        first = asyncio.create_task(place.get("pool"))
        await until(lambda: asked)
        answers = await asyncio.gather(first, *(place.get("pool") for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 200, 503, 503, 503, 503]


async def test_a_tcp_pool_turns_away_what_is_too_much(place: Place) -> None:
    """A second connection is closed while the first is open."""
    async with place.application("tcp-pool"):
        at = (place.mesh.place.ingress, place.ports["tcp-pool"])
        reader, writer = await asyncio.open_connection(*at)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"tcp-pool")
        assert await fetch(*at) == (0, "")
        writer.close()


async def test_the_servers_own_limit_holds_whatever_the_caller_allows(place: Place) -> None:
    """Its Envoy cuts off; a caller's longer limit cannot help."""
    async with place.application("limit", delay=1.0):
        assert (await place.get("limit"))[0] == 504


@pytest.mark.parametrize(("kind", "plain", "encrypted"), [
    ("strict", False, True), ("permissive", True, True), ("disabled", True, False),
])  # fmt: skip
async def test_tls_modes_take_what_they_say(place: Place, kind: str, *, plain: bool, encrypted: bool) -> None:
    """STRICT only TLS, PERMISSIVE both, DISABLED only plaintext."""
    async with place.application(kind):
        assert (await place.get(kind))[0] == (200 if plain else 0)
        assert await place.get_encrypted(kind) == (kind if encrypted else "")


async def test_clients_are_let_in_by_their_certificates(place: Place) -> None:
    """None, another authority's, or another name: refused. Without names any of the authority will do."""
    known = place.authority
    async with place.application("mutual"), place.application("named"), place.application("unnamed"):
        for kind in ("mutual", "unnamed"):
            assert await place.get_encrypted(kind, known.friend) == kind
            assert await place.get_encrypted(kind, known.other) == kind
            assert await place.get_encrypted(kind, known.stranger) == ""
            assert await place.get_encrypted(kind) == ""
        assert await place.get_encrypted("named", known.friend) == "named"
        assert await place.get_encrypted("named", known.other) == ""


async def test_applications_hear_of_no_certificate_that_a_client_made_up(place: Place) -> None:
    """The header that tells of client certificates is taken from nobody, nor written where they are checked."""
    forged = 'server.local\r\nx-forwarded-client-cert: Subject="CN=root"'
    async with place.application("mutual") as mutual, place.application("disabled") as plain:
        at = (place.mesh.place.ingress, place.ports["disabled"])
        assert await fetch(*at, authority=forged) == (200, "disabled")
        assert await place.get_encrypted("mutual", place.authority.friend) == "mutual"
    heads = [*mutual, *plain]
    assert len(heads) == 2
    assert not any("x-forwarded-client-cert" in head.lower() for head in heads)


async def test_callers_trust_by_their_policy_and_the_name_they_called(tmp_path: Path) -> None:
    """Another authority's certificate, and one for another name, are refused; without a policy TLS is enough."""
    mesh, issuer = Mesh(), Issuer()
    policy = {"tls": {"validation": {"trust": {"file": {"certificateChain": str(issuer.file(tmp_path))}}}}}
    backends: list[Wire] = []
    for name in ("right", "wrong", "foreign", "any"):
        mesh.node(name, tls=ELSEWHERE)
        mesh.service(f"{name}.local", http_route((name, 1)))
        client = {} if name == "any" else {"clientPolicy": policy}
        backends.append({"virtualService": {"virtualServiceName": f"{name}.local", **client}})
    mesh.add(Kind.VIRTUAL_NODE, "caller", {"backends": backends})
    issued: dict[str, Issued | None] = {
        "right": issuer.issue(mesh.hosts["right"]),
        "wrong": issuer.issue("elsewhere.local"),
        "foreign": Issuer("another authority").issue(mesh.hosts["foreign"]),
        "any": Issuer("another authority").issue("elsewhere.local"),
    }
    found = await _answers(mesh, tmp_path, issued)
    assert [name for name, status in found.items() if status == 200] == ["right", "any"], found


async def test_a_dot_at_the_end_of_a_hostname_is_no_part_of_the_name_that_is_checked(tmp_path: Path) -> None:
    """Nor of the one that the server is asked for: resolvers alone know such names."""
    mesh, issuer, asked = Mesh(), Issuer(), set[str | None]()
    trust = {"file": {"certificateChain": str(issuer.file(tmp_path))}}
    policy = {"clientPolicy": {"tls": {"validation": {"trust": trust}}}}
    node, address = Key(MESH, Kind.VIRTUAL_NODE, "dotted"), fresh_address()
    listener = {"portMapping": {"port": mesh.port, "protocol": "http"}, "tls": ELSEWHERE}
    found = {"dns": {"hostname": "dotted.example."}}
    mesh.add(node.kind, node.name, {"listeners": [listener], "serviceDiscovery": found})
    mesh.add(Kind.REGISTRATION, "dotted", {"target": {"virtualNodeName": node.name}})
    mesh.found[node] = (Endpoint(address=address, port=mesh.port),)
    mesh.service("dotted.local", http_route((node.name, 1)))
    backend = {"virtualService": {"virtualServiceName": "dotted.local", **policy}}
    mesh.add(Kind.VIRTUAL_NODE, "caller", {"backends": [backend]})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = issuer.issue("dotted.example").write(tmp_path, "dotted")
    context.load_cert_chain(files.certificate, files.key)
    context.sni_callback = lambda _socket, name, _context: asked.add(name)
    async with answering(address, mesh.port, "dotted", context=context):
        with contextlib.ExitStack() as running:
            await asyncio.to_thread(running.enter_context, mesh.envoy(CALLER, tmp_path))
            assert await fetch(mesh.place.egress, mesh.port, "/", "dotted.local") == (200, "dotted")
    assert asked == {"dotted.example"}


async def _answers(mesh: Mesh, folder: Path, issued: dict[str, Issued | None]) -> dict[str, int]:
    """What the caller gets of each node's service `NAME.local`; a node without a certificate speaks plaintext."""
    async with contextlib.AsyncExitStack() as stack:
        for name, one in issued.items():
            context = None
            if one is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                files = one.write(folder, name)
                context.load_cert_chain(files.certificate, files.key)
            await stack.enter_async_context(answering(mesh.hosts[name], mesh.port, name, context=context))
        with contextlib.ExitStack() as running:
            await asyncio.to_thread(running.enter_context, mesh.envoy(CALLER, folder))
            at = (mesh.place.egress, mesh.port, "/")
            found = await asyncio.gather(*(fetch(*at, f"{name}.local") for name in issued))
    return {name: status for name, (status, _) in zip(issued, found, strict=True)}


AWS: Wire = {"acm": {"certificateAuthorityArns": ["arn:aws:acm-pca:us-east-1:111122223333:certificate-authority/a"]}}
POLICIES: dict[str, tuple[Wire | None, str, int]] = {
    # What its own policy says beside the trust of the default one, whom the server's certificate names, the answer.
    "default": (None, "itself", 200),
    "default-plain": (None, "", 503),
    "own-plain": ({}, "", 503),
    "lax-plain": ({"enforce": False}, "", 200),
    "lax": ({"enforce": False}, "itself", 200),
    "lax-misnamed": ({"enforce": False}, "elsewhere.local", 503),
    "other-port-plain": ({"ports": [1]}, "", 200),
    "named": ({"names": ["a.local", "elsewhere.local"]}, "elsewhere.local", 200),
    "misnamed": ({"names": ["a.local"]}, "itself", 503),
    "aws": ({"trust": AWS}, "itself", 503),
}


async def test_a_policy_holds_where_it_is_enforced_and_for_the_ports_and_names_it_says(tmp_path: Path) -> None:
    """A backend's own replaces the default one whole; where one holds, nothing is sent in plaintext."""
    mesh, issuer = Mesh(), Issuer()
    ours: Wire = {"file": {"certificateChain": str(issuer.file(tmp_path))}}
    backends: list[Wire] = []
    issued: dict[str, Issued | None] = {}
    for name, (own, shown, _) in POLICIES.items():
        encrypted: dict[str, Any] = {"tls": ELSEWHERE} if shown else {}
        mesh.node(name, **encrypted)
        mesh.service(f"{name}.local", http_route((name, 1)))
        issued[name] = issuer.issue(mesh.hosts[name] if shown == "itself" else shown) if shown else None
        client = {} if own is None else {"clientPolicy": {"tls": _policy(ours, **own)}}
        backends.append({"virtualService": {"virtualServiceName": f"{name}.local", **client}})
    defaults = {"clientPolicy": {"tls": _policy(ours)}}
    mesh.add(Kind.VIRTUAL_NODE, "caller", {"backends": backends, "backendDefaults": defaults})
    assert await _answers(mesh, tmp_path, issued) == {name: status for name, (_, _, status) in POLICIES.items()}


def _policy(ours: Wire, trust: Wire | None = None, names: list[str] | None = None, **rest: Any) -> Wire:
    named = {} if names is None else {"subjectAlternativeNames": {"match": {"exact": names}}}
    return {"validation": {"trust": trust or ours, **named}, **rest}


async def test_certificates_rotate_under_load_without_a_failed_handshake(tmp_path: Path) -> None:
    """From a real SDS server: five times while new connections come all the time; each handshake holds."""
    mesh, port = Mesh(), free_port()
    issuer = Issuer()
    tls = {"mode": "STRICT", "certificate": {"sds": {"secretName": "own"}}}
    listener = {"portMapping": {"port": port, "protocol": "http"}, "tls": tls}
    discovery = {"dns": {"hostname": mesh.place.ingress}}
    mesh.add(Kind.VIRTUAL_NODE, "server", {"listeners": [listener], "serviceDiscovery": discovery})
    context = ssl.create_default_context(cafile=str(issuer.file(tmp_path)))
    issued = [issuer.issue("server.local") for _ in range(6)]
    serials = [x509.load_pem_x509_certificate(one.certificate).serial_number for one in issued]

    async def handshake() -> int:
        at = (mesh.place.ingress, port)
        _, writer = await asyncio.open_connection(*at, ssl=context, server_hostname="server.local")
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number

    secrets = SecretServer({"own": issued[0]})
    socket = tmp_path / "sds.sock"
    seen: list[int] = []
    async with secrets.serving(socket):
        with contextlib.ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, mesh.envoy(SERVER, tmp_path, sds=str(socket)))
            for number, serial in enumerate(serials):
                if number:
                    secrets.rotate("own", issued[number])
                last: list[int] = []
                while serial not in last:
                    last = await asyncio.gather(*(handshake() for _ in range(8)))
                    seen += last
                    assert len(seen) < 20_000, "the new certificate never came"
    assert set(seen) == set(serials)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A gateway's Envoy, running."""
    mesh = Mesh()
    mesh.node("hit")
    mesh.node("rest")
    brief = {"perRequest": {"unit": "ms", "value": 200}}
    mesh.service("hit.local", http_route(("hit", 1), timeout=brief))
    mesh.service("rest.local", http_route(("rest", 1)))
    listeners = [{"portMapping": {"port": mesh.port, "protocol": "http"}}]
    mesh.add(Kind.VIRTUAL_GATEWAY, "door", {"listeners": listeners})
    for name, match in GATEWAY.items():
        target = {"virtualService": {"virtualServiceName": "hit.local"}}
        kept = {"hostname": {"defaultTargetHostname": "DISABLED"}} if name == "kept" else {}
        spec = {"httpRoute": {"match": match, "action": {"target": target, "rewrite": kept}}, "priority": 0}
        mesh.add(Kind.GATEWAY_ROUTE, name, spec, "door")
    rest = {"match": {"prefix": "/"}, "action": {"target": {"virtualService": {"virtualServiceName": "rest.local"}}}}
    mesh.add(Kind.GATEWAY_ROUTE, "rest", {"httpRoute": rest}, "door")
    with mesh.envoy(DOOR, tmp_path_factory.mktemp("door")):
        yield mesh


X: Wire = {"name": "x-h", "match": {"exact": "1"}}
GATEWAY: dict[str, Wire] = {
    "host": {"prefix": "/", "hostname": {"exact": "exact.example.com"}},
    "hosts": {"prefix": "/", "hostname": {"suffix": ".suffix.org"}},
    "method": {"prefix": "/m/", "method": "POST"},
    "header": {"prefix": "/h/", "headers": [X]},
    "query": {"prefix": "/q/", "queryParameters": [{"name": "q", "match": {"exact": "1"}}]},
    "path": {"path": {"exact": "/exact"}},
    "regex": {"path": {"regex": "/r[0-9]+"}},
    "kept": {"prefix": "/kept/"},
}
REQUESTS = [
    ("GET", "/", "exact.example.com", True), ("GET", "/", "EXACT.example.com:80", True),
    ("GET", "/", "a.exact.example.com", False), ("GET", "/", "a.suffix.org", True), ("GET", "/", "suffix.org", False),
    ("POST", "/m/", "x", True), ("GET", "/m/", "x", False),
    ("GET", "/h/", "x\r\nx-h: 1", True), ("GET", "/h/", "x\r\nx-h: 2", False),
    ("GET", "/q/?q=1", "x", True), ("GET", "/q/?q=2", "x", False),
    ("GET", "/exact", "x", True), ("GET", "/exact/", "x", False),
    ("GET", "/r7", "x", True), ("GET", "/r7/", "x", False),
    ("GET", "/kept/", "x", True),
]  # fmt: skip


async def test_each_matcher_of_gateway_routes_takes_what_it_says(door: Mesh) -> None:
    """By host, whole or by its end, in any case; method, header, query parameter, path."""
    async with answering(door.hosts["hit"], door.port, "hit"), answering(door.hosts["rest"], door.port, "rest"):
        for method, path, host, hit in REQUESTS:
            found = await fetch(door.place.ingress, door.port, path, host, method)
            assert found == (200, "hit" if hit else "rest"), (method, path, host)


@pytest.mark.parametrize("path", ["/exact", "/kept/"], ids=["rewritten", "kept"])
async def test_limits_of_routes_hold_behind_a_gateway_whatever_the_host(door: Mesh, path: str) -> None:
    """App Mesh forgot them where a gateway route leaves the Host alone."""
    async with answering(door.hosts["hit"], door.port, "hit", delay=1.0):
        assert (await fetch(door.place.ingress, door.port, path))[0] == 504


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP/2 application that takes WebSockets by extended CONNECT (RFC 8441) and says back what it hears."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    peer.initiate_connection()
    peer.update_settings({h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
    writer.write(peer.data_to_send())
    while chunk := await reader.read(65_536):
        for event in peer.receive_data(chunk):
            if isinstance(event, h2.events.RequestReceived):
                connect = (b":protocol", b"websocket") in list(event.headers or ())
                peer.send_headers(event.stream_id or 0, [(":status", "200" if connect else "400")])
            elif isinstance(event, h2.events.DataReceived):
                peer.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                peer.send_data(event.stream_id or 0, event.data or b"")
        writer.write(peer.data_to_send())


async def echo_upgraded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same over HTTP/1.1, by an upgrade."""
    assert b"upgrade: websocket" in (await reader.readuntil(b"\r\n\r\n")).lower()
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    while chunk := await reader.read(65_536):
        writer.write(chunk)


@pytest.mark.parametrize(("protocol", "application"), [("http", echo_upgraded), ("http2", echo)])
async def test_websockets_pass_listeners_of_http_2_and_of_http(
    tmp_path: Path, protocol: str, application: Conversation
) -> None:
    """An upgrade of HTTP/1.1 stays one, or becomes a stream of HTTP/2 to the application; bytes go both ways."""
    mesh, port = Mesh(), free_port()
    listener = {"portMapping": {"port": port, "protocol": protocol}}
    discovery = {"dns": {"hostname": mesh.place.ingress}}
    mesh.add(Kind.VIRTUAL_NODE, "server", {"listeners": [listener], "serviceDiscovery": discovery})
    async with listening(mesh.place.application, port, application):
        with contextlib.ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, mesh.envoy(SERVER, tmp_path))
            reader, writer = await asyncio.open_connection(mesh.place.ingress, port)
            upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13"
            writer.write(f"GET /chat HTTP/1.1\r\nhost: x\r\n{upgrade}\r\nsec-websocket-key: eA==\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in head, head + await reader.read()
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
