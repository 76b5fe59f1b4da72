"""Certificates in files, on real Envoys: changed files are followed without a release, broken ones are not taken.

New connections come all the time, and none may fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from data_plane import PORT, data_plane, provided
from envoys import until
from meshwright.certificates import TlsFiles
from meshwright.lab.exchange import Request
from meshwright.lab.workload import CALLS
from meshwright.model import Key, Kind
from one_envoy import named, speaking
from pki import Issuer
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from data_plane import DataPlane
    from envoys import Envoy
    from meshwright.model import Resource
    from pki import Issued

pytestmark = pytest.mark.envoy

SERVER = Key(MESH, Kind.VIRTUAL_NODE, "server")
CALLER = Key(MESH, Kind.VIRTUAL_NODE, "caller")
MOST = 20_000
"""Connections that a test may make: none of it lasts for ever."""


def serial(certificate: bytes) -> int:
    """By which certificates in PEM are told apart."""
    return x509.load_pem_x509_certificate(certificate).serial_number


class Clients:
    """Whoever connects to the server, and which certificates it was shown, by serial number."""

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        self._host = host
        self._context = context
        self.seen: list[int] = []

    async def handshake(self) -> int:
        """Connect once; fails where TLS is not agreed on."""
        _, writer = await asyncio.open_connection(self._host, PORT, ssl=self._context, server_hostname="server.local")
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number

    async def until_shown(self, one: Issued) -> None:
        """Connect until nobody is shown anything but `one`."""
        last: list[int] = []
        while set(last) != {serial(one.certificate)}:
            last = await asyncio.gather(*(self.handshake() for _ in range(8)))
            self.seen.extend(last)
            assert len(self.seen) < MOST, "the certificate never came"


def encrypted(tls: Wire | None, discovery: Wire | None = None, logged: str = "new") -> Resource:
    """The server; its listener is another one by what it logs, too."""
    log = {"file": {"path": "/dev/null", "format": {"text": logged}}}
    listeners = [{"portMapping": {"port": PORT, "protocol": "http"}, **({"tls": tls} if tls else {})}]
    found = {"serviceDiscovery": discovery} if discovery else {}
    return resource(Kind.VIRTUAL_NODE, "server", {"listeners": listeners, "logging": {"accessLog": log}, **found})


def shown(files: TlsFiles) -> Wire:
    """A certificate in files, in the words of a definition."""
    return {"file": {"certificateChain": str(files.certificate), "privateKey": str(files.key)}}


def strict(files: TlsFiles) -> Wire:
    """A listener's TLS that shows them."""
    return {"mode": "STRICT", "certificate": shown(files)}


def renamed(folder: Path, issued: Issued) -> TlsFiles:
    """Each file put in the place of the older one, the key first: for a moment they are no pair."""
    return issued.write(folder, "own")


def swapped(folder: Path, issued: Issued) -> TlsFiles:
    """Both at once, as Kubernetes does: the files are links through a link to a folder, which is renamed."""
    versions = len(list(folder.glob("version-*")))
    version = folder / f"version-{versions}"
    version.mkdir()
    issued.write(version, "own")
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")
    files = TlsFiles(certificate=folder / "own.pem", key=folder / "own-key.pem")
    for path in (files.certificate, files.key):
        if not path.is_symlink():
            path.symlink_to(f"..data/{path.name}")
    return files


@pytest.mark.parametrize("replace", [renamed, swapped])
async def test_a_listener_follows_its_files_without_a_failed_handshake(
    tmp_path: Path, replace: Callable[[Path, Issued], TlsFiles]
) -> None:
    """Five times over; and no push, no other listener: whoever is connected stays so."""
    issuer, folder = Issuer(), tmp_path / "tls"
    folder.mkdir()
    issued = [issuer.issue("server.local") for _ in range(6)]
    files = replace(folder, issued[0])
    context = ssl.create_default_context(cafile=str(issuer.file(tmp_path)))
    async with data_plane(tmp_path) as plane:
        clients = Clients(plane.place("server").ingress, context)
        await plane.publish(encrypted(strict(files)))
        running = await plane.proxy(SERVER)
        await clients.until_shown(issued[0])
        before = await running.stats("listener_manager.listener_")
        for one in issued[1:]:
            replace(folder, one)
            await clients.until_shown(one)
        assert await running.stats("listener_manager.listener_") == before
    assert set(clients.seen) == {serial(one.certificate) for one in issued}


async def test_a_release_names_other_files_and_broken_ones_are_not_taken(tmp_path: Path) -> None:
    """A release that names other files has them read; while they are no pair, the last good ones serve."""
    issuer = Issuer()
    context = ssl.create_default_context(cafile=str(issuer.file(tmp_path)))
    issued = [issuer.issue("server.local") for _ in range(5)]
    async with data_plane(tmp_path) as plane:
        clients = Clients(plane.place("server").ingress, context)
        await plane.publish(encrypted(strict(issued[0].write(tmp_path, "first"))))
        running = await plane.proxy(SERVER)
        await clients.until_shown(issued[0])
        second = issued[1].write(tmp_path, "second")
        await asyncio.gather(plane.publish(encrypted(strict(second))), clients.until_shown(issued[1]))
        # Half of a pair, put in place whole: Envoy looks at it and keeps the older pair.
        draft = tmp_path / "draft"
        draft.write_bytes(issued[2].certificate)
        draft.rename(second.certificate)

        async def looked() -> int:
            found = await running.stats("sds.*key_rotation_failed")
            return sum(found.values())

        while not await looked():
            await clients.until_shown(issued[1])
        with pytest.raises(AssertionError, match="KEY_VALUES_MISMATCH"):
            await plane.publish(encrypted(strict(second), logged="no pair"))
        await clients.until_shown(issued[1])
        issued[3].write(tmp_path, "second")
        await clients.until_shown(issued[3])
        await plane.publish(encrypted(strict(second), logged="mended"))
        issued[4].write(tmp_path, "second")
        await clients.until_shown(issued[4])
    assert set(clients.seen) == {serial(issued[one].certificate) for one in (0, 1, 3, 4)}


async def test_a_listener_that_is_to_be_encrypted_with_files_that_are_not_there_stays_as_it_was(
    tmp_path: Path,
) -> None:
    """Plain calls are answered before, after and meanwhile; once the files are there, the same release is taken."""
    missing = TlsFiles(certificate=tmp_path / "missing.pem", key=tmp_path / "missing-key.pem")
    async with data_plane(tmp_path) as plane:
        place = plane.place("server")

        async def answered() -> str:
            return (await CALLS["http"](place.ingress, PORT, Request(authority="server", path="/"))).node

        async with speaking("http", place.application, PORT, named("plain")):
            await plane.publish(encrypted(None))
            await plane.proxy(SERVER)
            assert await answered() == "plain"
            with pytest.raises(AssertionError, match=r"missing-key\.pem"):
                await plane.publish(encrypted(strict(missing)))
            assert await answered() == "plain"
            issuer = Issuer()
            issued = issuer.issue("server.local")
            issued.write(tmp_path, "missing")
            await plane.publish(encrypted(strict(missing), logged="there"))
            context = ssl.create_default_context(cafile=str(issuer.file(tmp_path)))
            clients = Clients(place.ingress, context)

            async def is_encrypted() -> bool:
                # Envoy's workers change over one after the other, and not before it took the release.
                try:
                    return await clients.handshake() == serial(issued.certificate)
                except ssl.SSLError:
                    return False

            await until(is_encrypted, "the listener speaks TLS")


@contextlib.asynccontextmanager
async def demanding(host: str, context: ssl.SSLContext, shown_by: list[int]) -> AsyncIterator[None]:
    """A server that asks for a certificate with every request, and notes whose it was."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            shown_by.append(x509.load_der_x509_certificate(found).serial_number)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()

    server = await asyncio.start_server(serve, host, PORT, ssl=context)
    async with server:
        yield


async def test_a_caller_follows_its_own_certificate_and_whom_it_trusts_without_a_failed_call(tmp_path: Path) -> None:
    """First its certificate is replaced; then it trusts a second authority too, to which the server goes over."""
    old, new = Issuer("old"), Issuer("new")
    own = [old.issue("caller.local") for _ in range(2)]
    files, trusted = own[0].write(tmp_path, "own"), old.file(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(trusted))
    context.verify_mode = ssl.CERT_REQUIRED
    first, second = (one.issue("server.local").write(tmp_path, n) for one, n in ((old, "first"), (new, "second")))
    context.load_cert_chain(first.certificate, first.key)
    seen: list[int] = []
    async with data_plane(tmp_path) as plane, demanding(plane.place("server").ingress, context, seen):
        running = await _calling(plane, files, trusted)

        async def call() -> int:
            request = Request(authority="server", path="/")
            return (await CALLS["http"](plane.place("caller").egress, PORT, request)).status

        async def calls(so: Callable[[], bool]) -> None:
            """Call at least once more, and until that is so; none fails."""
            while True:
                found = await asyncio.gather(*(call() for _ in range(4)))
                assert set(found) == {200}, found
                assert len(seen) < MOST
                if so():
                    return

        await calls(lambda: set(seen) == {serial(own[0].certificate)})
        own[1].write(tmp_path, "own")
        await calls(lambda: seen[-1] == serial(own[1].certificate))
        before = await running.stats("cluster.*ssl_context_update_by_sds")
        draft = tmp_path / "draft"
        draft.write_bytes(old.certificate + new.certificate)
        draft.rename(trusted)
        while await running.stats("cluster.*ssl_context_update_by_sds") == before:
            await calls(lambda: True)
        context.load_cert_chain(second.certificate, second.key)
        await calls(lambda: True)
        with pytest.raises(AssertionError, match=r"nobody\.pem"):
            await plane.publish(*_mesh(plane, files, tmp_path / "nobody.pem"))
        await calls(lambda: True)
    assert set(seen) == {serial(one.certificate) for one in own}


def _mesh(plane: DataPlane, files: TlsFiles, trusted: Path) -> list[Resource]:
    trust = {"file": {"certificateChain": str(trusted)}}
    names = {"subjectAlternativeNames": {"match": {"exact": ["server.local"]}}}
    policy = {"clientPolicy": {"tls": {"certificate": shown(files), "validation": {"trust": trust, **names}}}}
    caller = {"backends": [{"virtualService": {"virtualServiceName": "server", **policy}}]}
    at = {"dns": {"hostname": plane.place("server").ingress}}
    return [encrypted(strict(files), at), provided("server", "server"), resource(Kind.VIRTUAL_NODE, "caller", caller)]


async def _calling(plane: DataPlane, files: TlsFiles, trusted: Path) -> Envoy:
    await plane.publish(*_mesh(plane, files, trusted))
    return await plane.proxy(CALLER)
