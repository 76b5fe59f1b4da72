"""TLS on both sides: stock clients over it, certificates replaced while it runs, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import grpc
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import SSLError
from cryptography import x509

from ads_client import AdsClient
from envoys import envoy, fetch, until, upstream
from meshwright import certificates
from meshwright.api import http_server
from meshwright.api.limits import Limits
from meshwright.certificates import TlsFiles, read_pair
from meshwright.cli import cli
from meshwright.errors import UsageError
from meshwright.model.identity import Key, Kind
from meshwright.proxy.bootstrap import KeyFile, Tls
from meshwright.server import Settings, control_plane
from meshwright.snapshot.resources import CLUSTER
from meshwright.trust.credentials import Credentials, parse
from pki import DAY, Issued, Issuer
from processes import DEADLINE, fresh_place
from test_aws_cli import aws

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meshwright.server import Running

__all__ = ["aws"]  # a fixture

WEB = Key("shop", Kind.VIRTUAL_NODE, "web")


class Secure:
    """A control plane with TLS in this process."""

    def __init__(self, running: Running, ca: Issuer, folder: Path) -> None:
        self.running = running
        self.ca = ca
        self.folder = folder
        self.bundle = folder / "ca.pem"
        self.port = int(running.api.rpartition(":")[2])
        self.xds = int(running.xds.rpartition(":")[2])

    @property
    def key(self) -> Credentials:
        """The administrator's."""
        return parse(self.running.credentials.read_text())["default"]

    def appmesh(self, verify: str | None = None, host: str = "127.0.0.1") -> Any:
        """A stock client that trusts our authority, or what `verify` names."""
        session = boto3.session.Session(
            aws_access_key_id=self.key.key_id, aws_secret_access_key=self.key.secret, region_name="us-east-1"
        )
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30)
        endpoint = f"https://{host}:{self.port}"
        return session.client("appmesh", endpoint_url=endpoint, verify=verify or str(self.bundle), config=config)

    def replace(self, issued: Issued) -> None:
        """Put another certificate into the files."""
        issued.write(self.folder, "server")

    def shown(self, port: int) -> int:
        """The serial number of the certificate that a new handshake sees."""
        context = ssl.create_default_context(cafile=str(self.bundle))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            found = secured.getpeercert(binary_form=True)
            assert found is not None
            assert secured.version() in {"TLSv1.2", "TLSv1.3"}
            return x509.load_der_x509_certificate(found).serial_number


def serial(issued: Issued) -> int:
    """A certificate's serial number."""
    return x509.load_pem_x509_certificate(issued.certificate).serial_number


@contextlib.asynccontextmanager
async def secured(folder: Path, *names: str) -> AsyncIterator[Secure]:
    """A control plane that speaks TLS on both sides, with a certificate for `names` or for this machine."""
    ca = Issuer()
    settings = await asyncio.to_thread(_settings, folder, *names, ca=ca)
    async with control_plane(settings) as running:
        yield Secure(running, ca, folder)


def _settings(folder: Path, *names: str, ca: Issuer | None = None) -> Settings:
    ca = ca or Issuer()
    ca.file(folder)
    files = (ca.issue(*names) if names else ca.server()).write(folder, "server")
    return Settings(listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=folder / "data", tls=files, xds_tls=files)


def web(timeout: int = 5) -> dict[str, Any]:
    """A node that answers HTTP on port 8080."""
    listener = {
        "portMapping": {"port": 8080, "protocol": "http"},
        "timeout": {"http": {"perRequest": {"unit": "s", "value": timeout}}},
    }
    return {"listeners": [listener], "serviceDiscovery": {"dns": {"hostname": "web.shop.local"}}}


async def test_stock_boto3_speaks_to_it_and_to_no_impostor(tmp_path: Path) -> None:
    """With the authority as `verify`; another authority, or another name, ends in an error of TLS."""
    other = tmp_path / "other"
    other.mkdir()
    async with secured(tmp_path) as plane:
        assert plane.running.api == f"https://127.0.0.1:{plane.port}"
        appmesh = plane.appmesh()
        await asyncio.to_thread(appmesh.create_mesh, meshName="shop")
        assert (await asyncio.to_thread(appmesh.list_meshes))["meshes"][0]["meshName"] == "shop"
        stranger = plane.appmesh(verify=str(Issuer("stranger").file(other)))
        with pytest.raises(SSLError):
            await asyncio.to_thread(stranger.list_meshes)
    async with secured(other, "localhost") as plane:
        assert (await asyncio.to_thread(plane.appmesh(host="localhost").list_meshes))["meshes"] == []
        with pytest.raises(SSLError):
            await asyncio.to_thread(plane.appmesh().list_meshes)


async def meshwright(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """The command's exit code, output and errors."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshwright.cli", *arguments),
        stdout=pipe, stderr=pipe, cwd=folder, env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE)
    return process.returncode or 0, out.decode(), err.decode()


async def test_our_own_commands_trust_the_bundle_that_they_are_given(tmp_path: Path) -> None:
    """By option, by AWS's variable, by OpenSSL's; without one the message says what to give."""
    async with secured(tmp_path) as plane:
        ask = ("--endpoint", plane.running.api, "status", "--format", "json")
        keys = {"AWS_SHARED_CREDENTIALS_FILE": str(plane.running.credentials)}
        bundle = str(plane.bundle)
        code, out, err = await meshwright(tmp_path, "--ca-bundle", bundle, *ask, **keys)
        assert (code, json.loads(out)["revision"]) == (0, 0), err
        for variable in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
            assert (await meshwright(tmp_path, *ask, **keys, **{variable: bundle}))[0] == 0
        code, _, err = await meshwright(tmp_path, *ask, **keys)
        assert (code, "--ca-bundle FILE" in err) == (2, True)
        for wrong in (plane.running.credentials, tmp_path / "missing"):
            code, _, err = await meshwright(tmp_path, "--ca-bundle", str(wrong), *ask, **keys)
            assert (code, f"The CA bundle {wrong}" in err) == (2, True)


async def test_the_aws_cli_trusts_the_bundle_that_it_is_given(aws: Path, tmp_path: Path) -> None:
    """`AWS_CA_BUNDLE`, and nothing else; without it, it refuses."""
    async with secured(tmp_path) as plane:
        for bundle, code in ((str(plane.bundle), 0), ("", 255)):
            process = await asyncio.create_subprocess_exec(
                *(str(aws), str(aws.with_name("aws")), "appmesh", "list-meshes", "--output", "json"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(tmp_path),
                    "AWS_SHARED_CREDENTIALS_FILE": str(plane.running.credentials),
                    "AWS_ENDPOINT_URL_APP_MESH": plane.running.api,
                    "AWS_DEFAULT_REGION": "us-east-1",
                    "AWS_MAX_ATTEMPTS": "1",
                    **({"AWS_CA_BUNDLE": bundle} if bundle else {}),
                },
            )
            out, err = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == code, err.decode()
            assert code or json.loads(out) == {"meshes": []}
            assert ("certificate verify failed" in err.decode()) == bool(code)


@pytest.mark.envoy
async def test_a_real_envoy_signs_over_tls_and_checks_the_server_s_name(tmp_path: Path) -> None:
    """It serves; with another authority, or a certificate of another name, it never connects."""
    place = fresh_place()
    async with secured(tmp_path) as plane, upstream("here", place.application, 8080):
        appmesh = plane.appmesh()
        await asyncio.to_thread(appmesh.create_mesh, meshName="shop")
        await asyncio.to_thread(appmesh.create_virtual_node, meshName="shop", virtualNodeName="web", spec=web())
        key = KeyFile(str(plane.running.credentials.absolute()))
        tls = Tls(authorities=str(plane.bundle))

        async def serves() -> bool:
            return await fetch(place.ingress, 8080) == (200, "here")

        for xds in (f"127.0.0.1:{plane.xds}", f"localhost:{plane.xds}"):
            async with envoy(tmp_path, WEB, xds, placement=place, credentials=key, tls=tls) as running:
                await until(serves, str(running.log))


@pytest.mark.envoy
@pytest.mark.parametrize("counter", ["fail_verify_error", "fail_verify_san"])
async def test_a_real_envoy_tells_an_impostor_nothing(tmp_path: Path, counter: str) -> None:
    """Another authority's certificate, or one of another name: it says nothing, and no signature is seen."""
    other = tmp_path / "other"
    await asyncio.to_thread(other.mkdir)
    async with secured(tmp_path, "localhost" if counter == "fail_verify_san" else "127.0.0.1") as plane:
        stranger = await asyncio.to_thread(Issuer("stranger").file, other)
        tls = Tls(authorities=str(stranger if counter == "fail_verify_error" else plane.bundle))
        key = KeyFile(str(plane.running.credentials.absolute()))
        async with envoy(tmp_path, WEB, f"127.0.0.1:{plane.xds}", credentials=key, tls=tls) as running:

            async def refused() -> bool:
                name = f"cluster.meshwright_xds.ssl.{counter}"
                return (await running.stats("cluster.meshwright_xds.ssl")).get(name, 0) > 0

            await until(refused, str(running.log))
            assert not (await running.stats("control_plane.connected_state"))["control_plane.connected_state"]


async def test_a_new_certificate_is_shown_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To new handshakes of both sides; connections and streams that are open live on."""
    monkeypatch.setattr(certificates, "LOOK_SECONDS", 0.05)
    async with secured(tmp_path) as plane:
        appmesh = plane.appmesh()
        await asyncio.to_thread(appmesh.create_mesh, meshName="shop")
        await asyncio.to_thread(appmesh.create_virtual_node, meshName="shop", virtualNodeName="web", spec=web())
        before = await asyncio.to_thread(plane.shown, plane.port)
        assert await asyncio.to_thread(plane.shown, plane.xds) == before
        channel = _channel(plane)
        client = AdsClient(f"localhost:{plane.xds}", {"id": WEB.path}, delta=True, key=plane.key, tls=channel)
        async with client:
            await client.say(CLUSTER)
            await client.hear()
            renewed = plane.ca.server()
            plane.replace(renewed)

            async def shown() -> bool:
                found = {await asyncio.to_thread(plane.shown, port) for port in (plane.port, plane.xds)}
                return found == {serial(renewed)}

            await until(shown)
            assert serial(renewed) != before
            assert client.call.done() is False
            assert (await asyncio.to_thread(appmesh.list_meshes))["meshes"]  # on the connection that it kept


@pytest.mark.parametrize("how", ["mismatched", "broken", "empty", "gone", "encrypted", "open"])
async def test_a_pair_that_cannot_be_used_is_logged_and_the_old_one_stays(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, not at every look; and the next good one is taken."""
    monkeypatch.setattr(certificates, "LOOK_SECONDS", 0.05)
    async with secured(tmp_path) as plane:
        before = await asyncio.to_thread(plane.shown, plane.port)
        await asyncio.to_thread(_spoil, plane, how)
        await until(lambda: "the old certificate stays in use" in caplog.text)
        await asyncio.sleep(0.3)  # several looks
        assert caplog.text.count("the old certificate stays in use") == 1
        for port in (plane.port, plane.xds):
            assert await asyncio.to_thread(plane.shown, port) == before
        good = plane.ca.server()
        await asyncio.to_thread(plane.replace, good)

        async def shown() -> bool:
            found = {await asyncio.to_thread(plane.shown, port) for port in (plane.port, plane.xds)}
            return found == {serial(good)}

        await until(shown)


def _spoil(plane: Secure, how: str) -> None:
    one, two = plane.ca.server(), plane.ca.server()
    key = plane.folder / "server-key.pem"
    match how:
        case "mismatched":
            Issued(one.certificate, two.key).write(plane.folder, "server")
        case "broken":
            Issued(one.certificate[:200], one.key).write(plane.folder, "server")
        case "empty":
            Issued(b"", b"").write(plane.folder, "server")
        case "gone":
            key.unlink()
        case "encrypted":
            plane.ca.issue("localhost", password="secret").write(plane.folder, "server")
        case "open":
            one.write(plane.folder, "server")
            key.chmod(0o644)


async def test_a_certificate_that_ends_soon_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once a day, from two weeks before; a fresh one is not."""
    watched = certificates.Watched(Issuer().server(ends=3 * DAY).write(tmp_path, "soon"))
    now = watched.pair.expires_at - 3 * 86_400
    for hours in (0, 1, 23, 25):
        watched.warn(now + hours * 3600)
    said = [one.getMessage() for one in caplog.records]
    assert ["ends in 3.0 days" in said[0], "ends in 2.0 days" in said[1], len(said)] == [True, True, 2]
    watched.warn(watched.pair.expires_at + 7 * 86_400)
    assert "ended 7.0 days ago" in caplog.text
    caplog.clear()
    certificates.Watched(Issuer().server(ends=60 * DAY).write(tmp_path, "long")).warn(now)
    assert not caplog.text


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("encrypted", "is encrypted, and nobody is there to type its passphrase"),
        ("mismatched", "are no pair that TLS can use"),
        ("readable", "can be read by everybody on this machine (mode 0644). Take that back: chmod 600"),
        ("missing", "cannot be read: No such file or directory"),
        ("none", "holds no certificate in PEM"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path, how: str, words: str) -> None:
    """With the file and what to do; no part of a key is quoted."""
    ca = Issuer()
    one, two = ca.issue("localhost", password="secret" if how == "encrypted" else ""), ca.server()
    made = Issued(b"x" if how == "none" else one.certificate, two.key if how == "mismatched" else one.key)
    files = made.write(tmp_path, "server")
    if how == "readable":
        files.key.chmod(0o644)
    if how == "missing":
        files.key.unlink()
    with pytest.raises(UsageError) as caught:
        read_pair(files.certificate, files.key)
    assert words in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


def test_a_key_that_its_group_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As Kubernetes mounts secrets for a pod's group."""
    files = Issuer().server().write(tmp_path, "server")
    files.key.chmod(0o640)
    assert read_pair(files.certificate, files.key).names == ("localhost", "127.0.0.1")
    assert "can be read by its group (mode 0640)" in caplog.text


async def test_a_silent_or_slow_handshake_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the API's port; everybody else is served meanwhile."""
    monkeypatch.setattr(http_server, "HANDSHAKE_SECONDS", 0.3)
    async with secured(tmp_path) as plane:
        many = [await asyncio.open_connection("127.0.0.1", plane.port) for _ in range(50)]
        try:
            many[0][1].write(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
            assert (await asyncio.to_thread(plane.appmesh().list_meshes))["meshes"] == []
            for reader, _ in many:
                assert await asyncio.wait_for(reader.read(), 8) == b"", "well before the usual ten seconds"
        finally:
            for _, writer in many:
                writer.close()


async def test_handshakes_count_among_the_connections_and_give_way(tmp_path: Path) -> None:
    """More silent clients than there is room for: the limit holds for them too, and somebody who speaks gets in."""
    settings = msgspec.structs.replace(_settings(tmp_path), limits=Limits(connections=6))
    async with control_plane(settings) as running:
        plane = Secure(running, Issuer(), tmp_path)
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(socket.create_connection(("127.0.0.1", plane.port))) for _ in range(10)]
            await asyncio.to_thread(plane.shown, plane.port)
            ended = [await asyncio.to_thread(_ended, one) for one in silent[:4]]
            assert ended == [True] * 4, "those that waited longest gave way"
            silent[9].settimeout(0.2)
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(silent[9].recv, 1)
            assert (await asyncio.to_thread(plane.appmesh().list_meshes))["meshes"] == []


def _ended(connection: socket.socket) -> bool:
    connection.settimeout(5)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


async def test_what_was_said_before_a_handshake_is_no_request(tmp_path: Path) -> None:
    """Whoever sits between could put it there, in the name of the one who shakes hands."""
    async with secured(tmp_path) as plane:

        def ask() -> bytes:
            with socket.create_connection(("127.0.0.1", plane.port), timeout=DEADLINE) as plain:
                plain.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                context = ssl.create_default_context(cafile=str(plane.bundle))
                with context.wrap_socket(plain, server_hostname="localhost") as found:
                    return found.recv(100)

        with pytest.raises(OSError, match=r"SSL|reset"):
            await asyncio.to_thread(ask)


@pytest.mark.parametrize("side", ["api", "xds"])
async def test_plain_text_to_a_tls_port_is_refused(
    tmp_path: Path, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut off, and no traceback in the log for what any scanner does."""
    async with secured(tmp_path) as plane:
        port = plane.port if side == "api" else plane.xds
        for said in (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 64):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            with contextlib.suppress(ConnectionError):
                assert b"200 OK" not in await asyncio.wait_for(reader.read(), DEADLINE)
            writer.close()
        await asyncio.to_thread(plane.shown, port)
    assert not [one for one in caplog.records if one.exc_info]


async def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    """1.2 and 1.3 it speaks."""
    async with secured(tmp_path) as plane:
        for port in (plane.port, plane.xds):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                assert await asyncio.to_thread(_handshake, port, version)
            with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(_handshake, port, ssl.TLSVersion.TLSv1_1)


def _handshake(port: int, version: ssl.TLSVersion) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if version < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("DEFAULT@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain,
        context.wrap_socket(plain) as found,
    ):
        return found.version()


async def test_client_certificates_may_have_a_port_of_their_own(tmp_path: Path) -> None:
    """Signed streams go on where they were."""
    ca = Issuer()
    files = ca.server().write(tmp_path, "server")
    settings = Settings(
        listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=tmp_path / "data", tls=files,
        xds_tls=msgspec.structs.replace(files, authorities=await asyncio.to_thread(ca.file, tmp_path)),
        xds_mutual=("127.0.0.1", 0),
    )  # fmt: skip
    async with control_plane(settings) as running:
        plane = Secure(running, ca, tmp_path)
        await asyncio.to_thread(plane.appmesh().create_mesh, meshName="shop")
        create = plane.appmesh().create_virtual_node
        await asyncio.to_thread(create, meshName="shop", virtualNodeName="web", spec=web())
        own = ca.issue("arn:aws:appmesh:us-east-1:000000000000:mesh/shop/virtualNode/web")
        mutual = int(running.xds_mutual.rpartition(":")[2])
        for port, key, tls in ((plane.xds, plane.key, _channel(plane)), (mutual, None, _channel(plane, own))):
            node = {"id": WEB.path}
            async with AdsClient(f"localhost:{port}", node, delta=True, key=key, tls=tls) as client:
                await client.say(CLUSTER)
                await client.hear()


def _channel(plane: Secure, own: Issued | None = None) -> Any:
    if own is None:
        return grpc.ssl_channel_credentials(plane.ca.certificate)
    return grpc.ssl_channel_credentials(plane.ca.certificate, own.key, own.certificate)


ANY = ("0.0.0.0", 0)  # noqa: S104 - it is refused
TLS = TlsFiles(certificate=Path("c.pem"), key=Path("k.pem"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": ANY}, "--listen 0.0.0.0:0 can be reached from other machines and speaks no TLS. Give --tls-c"),
        ({"listen": ("::", 0), "xds_tls": TLS}, "speaks no TLS"),
        ({"xds": ANY}, "--xds 0.0.0.0:0 can be reached from other machines and speaks no TLS"),
        ({"xds": ANY, "tls": TLS, "xds_tls": TLS, "xds_without_authentication": True},
         "and asks nobody who it is. Leave --insecure-xds-without-authentication out"),
        ({"xds": ANY, "xds_without_authentication": True}, "speaks no TLS and asks nobody who it is"),
        ({"xds_mutual": ANY}, "--xds-mutual 0.0.0.0:0"),
    ],
)  # fmt: skip
async def test_nothing_is_offered_to_other_machines_in_the_clear_or_to_anybody(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    """Unless that is said in as many words, which the message does; it is refused before anything is written."""
    with pytest.raises(UsageError) as caught:
        async with control_plane(Settings(data_dir=tmp_path / "data", **settings)):
            pytest.fail("it serves")
    assert words in str(caught.value)
    assert "--insecure-listen-beyond-loopback" in str(caught.value)
    assert not await asyncio.to_thread((tmp_path / "data").exists)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tls-certificate", "x.pem"], "--tls-key is missing"),
        (["--xds-tls-key", "x.pem"], "--xds-tls-certificate is missing"),
        (["--xds-client-ca", "x.pem"], "--xds-client-ca needs TLS"),
        (["--xds-mutual", "127.0.0.1:0"], "--xds-mutual needs --xds-client-ca"),
        (["--xds-socket", "mesh/shop/virtualRouter/r=/run/x"], "is not of the form ARN=PATH"),
        (["--xds-socket", "mesh/shop/virtualNode/web"], "is not of the form ARN=PATH"),
    ],
)
def test_options_that_cannot_mean_anything_are_usage_errors(arguments: list[str], words: str) -> None:
    """With what to give; nothing is started."""
    with pytest.raises(UsageError) as caught:
        cli.main(["serve", *arguments], standalone_mode=False)
    assert words in str(caught.value)
