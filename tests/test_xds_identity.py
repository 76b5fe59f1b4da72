"""Who may be which node's proxy: signatures, client certificates, Unix sockets, and whatever is none of them."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import functools
import os
import socket
import stat
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import msgspec
import pytest

from ads_client import AdsClient, signed
from envoys import envoy, fetch, until, upstream
from handmade import NODE, cluster, endpoints, listener, plain, route, snapshot
from meshwright.ads import gate
from meshwright.ads.admission import identities
from meshwright.ads.server import AdsServer
from meshwright.ads.tls import credentials
from meshwright.certificates import Watched
from meshwright.control import Control
from meshwright.errors import UsageError
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.model.state import Resource, State
from meshwright.proxy.bootstrap import KeyFile, Tls
from meshwright.proxy.credentials import followed
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, EnvoyResource, Snapshot
from meshwright.store import sqlite
from meshwright.store.contract import AccessKey, Head, Session
from meshwright.trust.credentials import Credentials, render
from pki import DAY, Issuer
from processes import DEADLINE, fresh_address
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from meshwright.ads.identities import Admission
    from meshwright.graph import Graph
    from meshwright.snapshot.resources import Placement, Traits
    from meshwright.store.sqlite import SqliteStore
    from meshwright.trust.authorization import Authority

OTHER = Key("shop", Kind.VIRTUAL_NODE, "other")
ARN = "arn:aws:appmesh:us-east-1:000000000000:mesh/shop/virtualNode/web"
OTHER_ARN = "arn:aws:appmesh:us-east-1:000000000000:mesh/shop/virtualNode/other"
ADMINISTRATOR = Credentials(key_id="AKIAADMINISTRATOR", secret="not-a-real-secret")
WEB = Credentials(key_id="AKIAWEB", secret="the-web-node's-own-secret")
NOBODY = Credentials(key_id="AKIANOBODY", secret="a-key-that-may-do-nothing")
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
STATE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
TRUST = f"""
version: 1
policies:
  web-proxy:
    Version: "2012-10-17"
    Statement: {{Effect: Allow, Action: "appmesh:StreamAggregatedResources", Resource: "{ARN}"}}
users:
  web: {{permissions: [web-proxy]}}
"""
NOTHING = "version: 1\n"


def now() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


@dataclasses.dataclass
class Guarded:
    """An ADS server that asks who is there, and all that it asks."""

    store: SqliteStore
    server: AdsServer
    control: Control
    offered: tuple[EnvoyResource, ...] = (plain(CLUSTER, "a"),)
    trust: str = TRUST
    tls: Watched | None = None
    port: int = 0
    skew: int = 0

    def build(self, _graph: Graph, node: Key, _placement: Placement, _traits: Traits, _now: int) -> Snapshot:
        """What is offered, for whichever node."""
        return snapshot(*self.offered, node=node)

    def session(self, seconds: float, number: int = 1) -> Credentials:
        """A session of the user web's role, as STS would make it."""
        principal = msgspec.structs.replace(authority(self.trust).user("web"), session="")
        made = Session(
            key_id=f"ASIASESSION{number}",
            secret=f"session secret {number}",
            token=f"token/{number}+=",
            principal=principal,
            created_at=now(),
            expires_at=now() + int(seconds * 1000),
        )
        self.store.add_session(made)
        return Credentials(key_id=made.key_id, secret=made.secret, session_token=made.token)

    def client(
        self,
        key: Credentials | None,
        node: str = ARN,
        *,
        delta: bool = True,
        only: str = "",
        port: int | None = None,
    ) -> AdsClient:
        """A client that says it is `node`, of the type `only` or "" for all."""
        said = {"id": node, "metadata": {"meshwright": {"instance": "one"}}}
        return AdsClient(f"127.0.0.1:{port or self.port}", said, delta=delta, only=only, key=key)

    async def verdict(self, client: AdsClient) -> tuple[int, str]:
        """The code and words that end the stream; 0 and what came first when it is admitted.

        A stream that the server ended while grpc's client was still writing counts as INTERNAL there, whatever the
        server said; then it is asked again.
        """
        said = await self._once(copy.copy(client))
        for _ in range(4):
            if said[0] == grpc.StatusCode.INTERNAL.value[0]:
                said = await self._once(copy.copy(client))
        return said

    async def _once(self, client: AdsClient) -> tuple[int, str]:
        async with client:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await client.say(CLUSTER)
                return 0, str((await client.hear()).type_url)
            return await ended(client)


@functools.cache
def decided(trust: str) -> Authority:
    """The authority of a trust file, one as long as the file is the same."""
    return authority(trust)


async def ended(client: AdsClient) -> tuple[int, str]:
    """How the server ended a stream."""
    code: grpc.StatusCode = await asyncio.wait_for(client.call.code(), DEADLINE)
    return code.value[0], str(await client.call.details())


@contextlib.asynccontextmanager
async def guarded(
    folder: Path, ca: Issuer | None = None, *, anonymous: bool = False, **settings: Any
) -> AsyncIterator[Guarded]:
    """A server with three keys, for two nodes; with `ca`, on TLS with client certificates of it."""
    store = sqlite.connect(folder / "meshwright.db")
    names = {ADMINISTRATOR: "administrator", WEB: "web", NOBODY: "nobody"}
    for key, name in names.items():
        store.add_key(AccessKey(id=key.key_id, secret=key.secret, principal=name, created_at=0))
    made: list[Guarded] = []

    def build(graph: Graph, node: Key, placement: Placement, traits: Traits, moment: int) -> Snapshot:
        return made[0].build(graph, node, placement, traits, moment)

    control = Control(build, now)
    tls = _tls(folder, ca)
    known: Admission = identities(
        store,
        account="000000000000",
        region="us-east-1",
        now=lambda: now() + made[0].skew,
        authority=lambda: decided(made[0].trust),
        hosts=lambda: (f"127.0.0.1:{made[0].port}",),
        authorities=lambda: tls.authorities if tls else (),
        anonymous=anonymous,
    )
    server = AdsServer(control, known, home="000000000000", **settings)
    made.append(Guarded(store, server, control, tls=tls))
    nodes = [Resource(key=key, spec=VirtualNodeSpec()) for key in (NODE, OTHER)]
    control.publish(Head(1, State(nodes)))
    try:
        made[0].port = await server.start("127.0.0.1", 0, credentials(tls, clients=True) if tls else None)
        yield made[0]
    finally:
        await server.stop(0.2)
        store.close()


def _tls(folder: Path, ca: Issuer | None) -> Watched | None:
    if ca is None:
        return None
    files = ca.server().write(folder, "server")
    return Watched(msgspec.structs.replace(files, authorities=ca.file(folder)))


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Guarded]:
    """A server without TLS."""
    async with guarded(tmp_path) as running:
        yield running


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("only", ["", CLUSTER], ids=["all", "one"])
async def test_a_signature_admits_to_what_its_principal_may_be(plane: Guarded, delta: bool, only: str) -> None:
    """The administrator to every node, a user to what a policy names; in both protocols, for all types or one."""
    assert (await plane.verdict(plane.client(ADMINISTRATOR, delta=delta, only=only)))[0] == 0
    assert (await plane.verdict(plane.client(ADMINISTRATOR, OTHER_ARN, delta=delta, only=only)))[0] == 0
    assert (await plane.verdict(plane.client(WEB, delta=delta, only=only)))[0] == 0
    code, words = await plane.verdict(plane.client(WEB, OTHER_ARN, delta=delta, only=only))
    assert code == 7
    assert "user/web is not authorized to perform: appmesh:StreamAggregatedResources on resource: " in words
    assert OTHER_ARN in words
    assert (await plane.verdict(plane.client(NOBODY, delta=delta, only=only)))[0] == 7


@pytest.mark.parametrize("node", [ARN, "mesh/shop/virtualNode/web", "mesh/shop@000000000000/virtualNode/web"])
async def test_every_spelling_of_a_node_is_authorised_as_the_same_node(plane: Guarded, node: str) -> None:
    """What was authorised is what is served: no spelling slips past the policy."""
    assert (await plane.verdict(plane.client(WEB, node)))[0] == 0
    assert (await plane.verdict(plane.client(WEB, node.replace("web", "other"))))[0] == 7


async def test_nobody_is_admitted_without_credentials(plane: Guarded) -> None:
    """On loopback as anywhere; the answer says what to do."""
    code, words = await plane.verdict(plane.client(None))
    assert code == 16
    assert "The stream is not signed" in words
    assert "meshwright proxy" in words


@pytest.mark.parametrize(
    ("signing", "words"),
    [
        (lambda: signed(msgspec.structs.replace(WEB, secret="another"), DELTA), "signature does not match"),
        (lambda: signed(msgspec.structs.replace(WEB, key_id="AKIAUNKNOWN"), DELTA), "is not known here"),
        (lambda: signed(WEB, STATE), "signature does not match"),
        (lambda: signed(WEB, DELTA, region="eu-west-1"), "region"),
        (lambda: signed(WEB, DELTA, host="elsewhere:443"), "signature does not match"),
        (lambda: signed(WEB, DELTA, at=now() - 301_000), "20"),
        (lambda: signed(WEB, DELTA, at=now() + 361_000), "20"),
        (lambda: signed(msgspec.structs.replace(WEB, session_token="made up"), DELTA), "session token"),
        (lambda: (*signed(WEB, DELTA), ("x-amz-extra", "not signed")), "must be signed"),
        (lambda: (*signed(WEB, DELTA), *signed(NOBODY, DELTA)), "times"),
        (lambda: (("authorization", "Bearer x"),), "AWS4-HMAC-SHA256"),
        (lambda: (("authorization", "AWS4-HMAC-SHA256 " + "x" * 4000),), ""),
    ],
)
async def test_a_signature_that_does_not_hold_admits_nobody(
    plane: Guarded, signing: Callable[[], tuple[tuple[str, str], ...]], words: str
) -> None:
    """Another secret, key, method, region, host or time, a token that is not the key's, a header slipped in."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        call: Any = channel.stream_stream(DELTA, request_serializer=None, response_deserializer=None)
        stream = call(metadata=signing())
        assert (await asyncio.wait_for(stream.code(), DEADLINE)).value[0] == 16
        assert words in await stream.details()


async def test_policies_may_ask_where_a_proxy_comes_from_and_for_its_node_s_tags(plane: Guarded) -> None:
    """Conditions hold for streams as for requests."""
    for condition, expected in (
        ('{IpAddress: {"aws:SourceIp": "127.0.0.0/8"}}', 0),
        ('{IpAddress: {"aws:SourceIp": "10.0.0.0/8"}}', 7),
        ('{StringEquals: {"aws:ResourceTag/team": "web"}}', 7),
    ):
        plane.trust = TRUST.replace("Effect: Allow", f"Condition: {condition}, Effect: Allow")
        assert (await plane.verdict(plane.client(WEB)))[0] == expected


async def test_a_replayed_signature_opens_no_other_node(plane: Guarded) -> None:
    """Whoever overheard a stream's metadata may repeat them for minutes: as the same principal, for its nodes."""
    heard = signed(WEB, DELTA)
    for node, expected in ((ARN, 0), (OTHER_ARN, 7)):
        client = plane.client(None, node)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
            kind = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")
            call: Any = channel.stream_stream(DELTA, request_serializer=None, response_deserializer=kind.FromString)
            stream = call(metadata=heard)
            request = message("envoy.service.discovery.v3.DeltaDiscoveryRequest")(type_url=CLUSTER)
            request.node.id = node
            await stream.write(request.SerializeToString())
            if expected:
                assert (await asyncio.wait_for(stream.code(), DEADLINE)).value[0] == expected
            else:
                assert (await asyncio.wait_for(stream.read(), DEADLINE)).type_url == CLUSTER
            stream.cancel()
        del client


@pytest.mark.parametrize("delta", [True, False])
async def test_a_later_message_that_names_another_node_changes_nothing(plane: Guarded, delta: bool) -> None:
    """The stream is the first message's node for as long as it lives."""
    async with plane.client(WEB, delta=delta) as client:
        await client.say(CLUSTER)
        await client.hear()
        await client.say("type.googleapis.com/envoy.config.listener.v3.Listener", node={"id": OTHER_ARN})
        await until(lambda: bool(plane.control.statuses()))
        (status,) = plane.control.statuses()
        assert status.node == NODE
        assert client.call.done() is False


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats", 1),
        ("/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets", 2),
        ("/envoy.service.route.v3.ScopedRoutesDiscoveryService/StreamScopedRoutes", 2),
        ("/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts", 1),
        ("/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters", 2),
        ("/envoy.service.nobody.v3.MadeUpService/Anything", 0),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", 0),
        ("/", 0),
    ],
)
async def test_every_other_service_is_behind_the_same_gate(plane: Guarded, method: str, kind: int) -> None:
    """Who are you, whose node, and only then: not served here."""

    async def asked(key: Credentials | None, node: str) -> int:
        body = message("envoy.config.core.v3.Node")(id=node).SerializeToString()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
            call: Any = channel.stream_stream(method, request_serializer=None, response_deserializer=None)
            stream = call(metadata=signed(key, method) if key else ())
            # Who is nobody is refused unheard; to this client, writing to a call that is over is INTERNAL.
            if key:
                with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # refused before
                    await stream.write(bytes([(kind or 1) << 3 | 2, len(body)]) + body)
                    await stream.done_writing()
            return int((await asyncio.wait_for(stream.code(), DEADLINE)).value[0])

    assert await asked(None, ARN) == 16
    assert await asked(WEB, ARN) == 12
    assert await asked(WEB, OTHER_ARN) == (7 if kind else 12)


async def test_who_exports_statistics_says_in_a_header_which_node_it_is(plane: Guarded) -> None:
    """The messages of OpenTelemetry have no place for it; the gate asks all the same."""
    method = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

    async def asked(key: Credentials | None, node: str) -> int:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
            call: Any = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
            named = (("x-meshwright-node", node),) if node else ()
            answered = call(b"", metadata=(*(signed(key, method) if key else ()), *named))
            return int((await asyncio.wait_for(answered.code(), DEADLINE)).value[0])

    assert await asked(None, ARN) == 16
    assert await asked(WEB, "") == 3
    assert await asked(WEB, OTHER_ARN) == 7
    assert await asked(WEB, ARN) == 12


async def test_a_message_of_millions_of_fields_is_not_read_to_its_end(plane: Guarded) -> None:
    """Nobody who may do nothing keeps the server busy for seconds."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        call: Any = channel.stream_stream(DELTA, request_serializer=None, response_deserializer=None)
        stream = call(metadata=signed(NOBODY, DELTA))
        await stream.write(b"\x28\x01" * 5_000_000)
        assert (await asyncio.wait_for(stream.code(), DEADLINE)).value[0] == 3
        assert "more than 250000 fields" in await stream.details()


async def test_without_authentication_sockets_and_certificates_still_stand_for_their_node(tmp_path: Path) -> None:
    """What was said is that who proves nothing is let in, not that what proves something is ignored."""
    async with guarded(tmp_path, anonymous=True) as plane:
        await plane.server.listen_for(ARN, tmp_path / "web.sock")
        assert (await plane.verdict(plane.client(None, OTHER_ARN)))[0] == 0
        assert (await plane.verdict(AdsClient(f"unix:{tmp_path}/web.sock", {"id": OTHER_ARN}, delta=True)))[0] == 7


async def test_nobody_is_waited_for_who_does_not_say_which_node(
    plane: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that says nothing costs nothing for long."""
    monkeypatch.setattr(gate, "FIRST_SECONDS", 0.2)
    async with plane.client(WEB) as client:
        assert (await ended(client))[0] == 4


async def test_an_administrator_is_told_of_nodes_that_are_not_there(plane: Guarded) -> None:
    """Code 3, as App Mesh's; whoever may not be a node does not learn whether it exists."""
    missing = "mesh/shop/virtualNode/missing"
    code, words = await plane.verdict(plane.client(ADMINISTRATOR, missing))
    assert code == 3
    assert missing in words
    assert (await plane.verdict(plane.client(WEB, missing)))[0] == 7


async def test_the_envoys_of_a_node_are_counted(tmp_path: Path) -> None:
    """One too many gets code 8; one that comes back takes its own place, other nodes have theirs."""
    async with guarded(tmp_path, most=1) as plane, plane.client(WEB) as first:
        await first.say(CLUSTER)
        await first.hear()
        crowd = AdsClient(f"127.0.0.1:{plane.port}", {"id": ARN}, delta=True, key=WEB)
        code, words = await plane.verdict(crowd)
        assert code == 8
        assert "--xds-envoys-per-node" in words
        assert (await plane.verdict(plane.client(ADMINISTRATOR, OTHER_ARN)))[0] == 0
        assert (await plane.verdict(plane.client(WEB)))[0] == 0
        assert (await ended(first))[0] == 0


async def test_a_session_must_bring_its_token(plane: Guarded) -> None:
    """Half of its credentials are none."""
    key = plane.session(60)
    assert (await plane.verdict(plane.client(key)))[0] == 0
    assert (await plane.verdict(plane.client(msgspec.structs.replace(key, session_token=None))))[0] == 16
    plane.skew = 61_000
    code, words = await plane.verdict(plane.client(key))
    assert (code, "expired" in words) == (16, True)


async def test_an_open_stream_ends_with_its_session(plane: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself when its time is over: Envoy comes back with what it has by then."""
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.1)
    async with plane.client(plane.session(1.5)) as client:
        await client.say(CLUSTER)
        await client.hear()
        code, words = await ended(client)
    assert (code, "expired" in words) == (16, True)
    await until(lambda: plane.control.statuses() == ())


@pytest.mark.parametrize("subject", ["session:ASIASESSION1", "key:AKIAWEB"])
async def test_an_open_stream_ends_when_its_credentials_are_revoked(
    plane: Guarded, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within seconds, whichever process revoked them."""
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.1)
    key = plane.session(600)
    async with plane.client(key if "ASIA" in subject else WEB) as client:
        await client.say(CLUSTER)
        await client.hear()
        await asyncio.to_thread(plane.store.revoke, subject, now(), "administrator")
        code, words = await ended(client)
    assert (code, "worth nothing" in words) == (16, True)


async def test_an_open_stream_ends_when_its_principal_may_no_longer(
    plane: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new trust file holds for streams that were opened under the old one; others go on."""
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.1)
    async with plane.client(WEB) as client, plane.client(ADMINISTRATOR, OTHER_ARN) as other:
        for one in (client, other):
            await one.say(CLUSTER)
            await one.hear()
        plane.trust = NOTHING
        assert (await ended(client))[0] == 7
        assert other.call.done() is False


async def test_a_flood_of_refusals_is_counted_and_logged_at_a_bounded_rate(
    plane: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody fills the disk by knocking."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        call: Any = channel.stream_stream(DELTA, request_serializer=None, response_deserializer=None)
        for _ in range(10):
            streams = [call(metadata=signed(WEB, STATE)) for _ in range(30)]
            assert {await stream.code() for stream in streams} == {grpc.StatusCode.UNAUTHENTICATED}
    assert plane.server.gate.refusals.counts == {"unauthenticated": 300}
    assert len([one for one in caplog.records if one.name == "meshwright.ads.gate"]) == gate.LINES
    assert plane.server.streams == 0


# Unix sockets


async def test_a_socket_is_its_node_whatever_the_proxy_says(plane: Guarded, tmp_path: Path) -> None:
    """Mode 0600, no signature needed, and no signature helps to another node."""
    path = tmp_path / "web.sock"
    await plane.server.listen_for(ARN, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_ISSOCK(path.stat().st_mode)
    for key in (None, ADMINISTRATOR):
        for node, expected in ((ARN, 0), ("mesh/shop/virtualNode/web", 0), (OTHER_ARN, 7)):
            client = AdsClient(f"unix:{path}", {"id": node}, delta=False, key=key)
            code, words = await plane.verdict(client)
            assert code == expected
            assert not code or "stands for itself alone" in words
    assert not [name for name in await asyncio.to_thread(os.listdir, tmp_path) if name.startswith(".")]


async def test_a_socket_goes_with_its_server(tmp_path: Path) -> None:
    """But not one that another server put in its place."""
    async with guarded(tmp_path) as plane:
        await plane.server.listen_for(ARN, tmp_path / "web.sock")
        await plane.server.listen_for(OTHER_ARN, tmp_path / "other.sock")
        (tmp_path / "other.sock").unlink()
        (tmp_path / "other.sock").write_text("another's")
    assert not (tmp_path / "web.sock").exists()
    assert (tmp_path / "other.sock").read_text() == "another's"


async def test_a_killed_server_s_socket_is_replaced_and_a_live_one_s_is_not(plane: Guarded, tmp_path: Path) -> None:
    """A file without a listener is stale; anything else stays."""
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    await plane.server.listen_for(ARN, path)
    assert (await plane.verdict(AdsClient(f"unix:{path}", {"id": ARN}, delta=True)))[0] == 0
    with pytest.raises(UsageError, match="another server listens there"):
        await plane.server.listen_for(ARN, path)
    assert (await plane.verdict(AdsClient(f"unix:{path}", {"id": ARN}, delta=True)))[0] == 0


@pytest.mark.parametrize(
    ("kind", "words"), [("file", "no Unix socket"), ("link", "a symbolic link"), ("folder", "no Unix socket")]
)
async def test_what_is_no_stale_socket_is_left_alone(plane: Guarded, tmp_path: Path, kind: str, words: str) -> None:
    """Not followed, not overwritten."""
    path, target = tmp_path / "web.sock", tmp_path / "precious"
    target.write_text("precious")
    if kind == "file":
        path.write_text("precious")
    elif kind == "link":
        path.symlink_to(target)
    else:
        path.mkdir()
    with pytest.raises(UsageError, match=words):
        await plane.server.listen_for(ARN, path)
    assert target.read_text() == "precious"
    assert path.is_symlink() == (kind == "link")


async def test_a_socket_that_cannot_be_made_says_why(plane: Guarded, tmp_path: Path) -> None:
    """A missing folder, and a path longer than the system takes."""
    with pytest.raises(UsageError, match="No such file or directory"):
        await plane.server.listen_for(ARN, tmp_path / "missing" / "web.sock")
    with pytest.raises(UsageError, match="too long"):
        await plane.server.listen_for(ARN, tmp_path / ("x" * 120))


# Client certificates


def secure(plane: Guarded, ca: Issuer, issued: Any, node: str = ARN, key: Credentials | None = None) -> AdsClient:
    """A client with a certificate."""
    made = grpc.ssl_channel_credentials(ca.certificate, issued.key, issued.certificate)
    return AdsClient(f"localhost:{plane.port}", {"id": node}, delta=True, key=key, tls=made)


async def test_a_client_certificate_is_the_node_that_its_uri_names(tmp_path: Path) -> None:
    """And no other; names of other kinds in it say nothing, nor does a signature beside it."""
    ca = Issuer()
    web = ca.issue("web.shop.local", "spiffe://shop.local/ns/web", ARN)
    async with guarded(tmp_path, ca) as plane:
        assert (await plane.verdict(secure(plane, ca, web)))[0] == 0
        assert (await plane.verdict(secure(plane, ca, web, "mesh/shop/virtualNode/web")))[0] == 0
        code, words = await plane.verdict(secure(plane, ca, web, OTHER_ARN))
        assert (code, "stands for itself alone" in words) == (7, True)
        assert (await plane.verdict(secure(plane, ca, web, OTHER_ARN, ADMINISTRATOR)))[0] == 7


async def test_a_certificate_that_names_no_node_leaves_it_to_the_signature(tmp_path: Path) -> None:
    """Certificates of machines, say, below proxies that sign."""
    ca = Issuer()
    async with guarded(tmp_path, ca) as plane:
        for plain_one in (ca.issue("web.shop.local"), ca.issue()):
            assert (await plane.verdict(secure(plane, ca, plain_one)))[0] == 16
            assert (await plane.verdict(secure(plane, ca, plain_one, key=WEB)))[0] == 0
            assert (await plane.verdict(secure(plane, ca, plain_one, OTHER_ARN, WEB)))[0] == 7


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ((OTHER_ARN,), 7),
        ((ARN.replace("000000000000", "111111111111"),), 7),
        ((ARN.replace("us-east-1", "eu-west-1"),), 7),
        ((ARN.replace("/web", "/we"),), 7),
        ((f"{ARN}/",), 7),
        ((ARN.upper(),), 16),
        ((ARN.replace("/web", "/*"),), 16),
        (("arn:aws:appmesh:*:*:mesh/*",), 16),
        ((ARN, OTHER_ARN), 16),
        ((ARN, ARN), 16),
        (("spiffe://shop/web",), 16),
    ],
)
async def test_a_certificate_of_anything_else_is_refused(tmp_path: Path, names: tuple[str, ...], code: int) -> None:
    """Another node, account or region, patterns, two names: issued by the right authority, and worth nothing here."""
    ca = Issuer()
    async with guarded(tmp_path, ca) as plane:
        assert (await plane.verdict(secure(plane, ca, ca.issue(*names))))[0] == code


async def test_a_certificate_of_another_authority_or_time_gets_no_connection(tmp_path: Path) -> None:
    """The handshake fails, for an authority of the same name too."""
    ca = Issuer()
    async with guarded(tmp_path, ca) as plane:
        for bad in (
            Issuer().issue(ARN),
            Issuer("another").issue(ARN),
            ca.issue(ARN, ends=-DAY / 24),
            ca.issue(ARN, begins=DAY, ends=2 * DAY),
        ):
            assert (await plane.verdict(secure(plane, ca, bad)))[0] == 14
        assert (await plane.verdict(plane.client(WEB)))[0] == 14


async def test_a_stream_ends_with_its_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection was made while it was good."""
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.1)
    ca = Issuer()
    async with guarded(tmp_path, ca) as plane, secure(plane, ca, ca.issue(ARN)) as client:
        await client.say(CLUSTER)
        await client.hear()
        plane.skew = 25 * 3600 * 1000
        code, words = await ended(client)
        assert (code, "expired" in words) == (16, True)


# Real Envoys


def shop(host: str, port: int) -> tuple[EnvoyResource, ...]:
    """One listener that serves one upstream."""
    return (cluster("a"), endpoints("a", port), listener("web", host, 8080, "r"), route("r", "a"))


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.rename(path)


@pytest.mark.envoy
@pytest.mark.parametrize("delta", [True, False])
async def test_an_envoy_outlives_its_session_without_a_failed_request(
    tmp_path: Path, delta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It signs, is thrown out when its session is revoked, reads the next one from its file, and serves meanwhile."""
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.1)
    host = fresh_address()
    answers: list[int] = []

    async def ask() -> None:
        while True:
            answers.append((await fetch(host, 8080))[0])

    async with guarded(tmp_path) as plane, upstream("here") as port:
        plane.offered = shop(host, port)
        folder = tmp_path / "keys"
        folder.mkdir()
        file = folder / "credentials"
        file.write_text(render({"default": plane.session(600)}))
        key = KeyFile(str(file))
        async with envoy(tmp_path, NODE, plane.port, delta=delta, credentials=key) as running:
            await until(lambda: _serves(host), str(running.log))
            asking = asyncio.create_task(ask())
            await asyncio.to_thread(plane.store.revoke, "session:ASIASESSION1", now(), "administrator")
            await until(lambda: plane.control.statuses() == ())
            await until(lambda: plane.server.gate.refusals.counts.get("unauthenticated", 0) > 0)
            before = len(answers)
            await until(lambda: len(answers) > before + 5)
            _replace(file, render({"default": plane.session(600, 2)}))
            await until(lambda: len(plane.control.statuses()) == 1, str(running.log))
            await until(lambda: plane.control.statuses()[0].state == "synced")
            before = len(answers)
            await until(lambda: len(answers) > before + 5)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        assert set(answers) == {200}
        assert "session secret" not in running.log.read_text()


@pytest.mark.envoy
async def test_an_envoy_comes_through_its_socket_with_the_official_image_s_settings(tmp_path: Path) -> None:
    """State of the world, no signature, a Unix socket: what APPMESH_XDS_ENDPOINT=unix:///PATH makes of it."""
    host = fresh_address()
    async with guarded(tmp_path) as plane, upstream("here") as port:
        plane.offered = shop(host, port)
        path = tmp_path / "web.sock"
        await plane.server.listen_for(ARN, path)
        async with envoy(tmp_path, NODE, f"unix://{path}", delta=False) as running:
            await until(lambda: _serves(host), str(running.log))


@pytest.mark.envoy
async def test_an_envoy_with_a_certificate_needs_no_key(tmp_path: Path) -> None:
    """TLS both ways, the server's name checked."""
    host = fresh_address()
    ca = Issuer()
    own = ca.issue(ARN).write(tmp_path, "proxy")
    tls = Tls(authorities=str(ca.file(tmp_path)), certificate=str(own.certificate), key=str(own.key))
    async with guarded(tmp_path, ca) as plane, upstream("here") as port:
        plane.offered = shop(host, port)
        async with envoy(tmp_path, NODE, plane.port, tls=tls) as running:
            await until(lambda: _serves(host), str(running.log))
        async with envoy(tmp_path, OTHER, plane.port, instance="two", tls=tls):
            await until(lambda: plane.server.gate.refusals.counts.get("permission_denied", 0) > 0)


@pytest.mark.envoy
async def test_an_envoy_outlives_its_certificate_without_a_failed_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thrown out at its end, it comes back over a new connection with the one that took its place."""
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.1)
    host = fresh_address()
    ca = Issuer()
    own = ca.issue(ARN, ends=DAY).write(tmp_path, "proxy")
    tls = Tls(authorities=str(ca.file(tmp_path)), certificate=str(own.certificate), key=str(own.key))
    answers: list[int] = []

    async def ask() -> None:
        while True:
            answers.append((await fetch(host, 8080))[0])

    with followed(tls) as following:
        async with guarded(tmp_path, ca) as plane, upstream("here") as port:
            plane.offered = shop(host, port)
            async with envoy(tmp_path, NODE, plane.port, tls=following) as running:
                await until(lambda: _serves(host), str(running.log))
                asking = asyncio.create_task(ask())
                plane.skew = 25 * 3600 * 1000
                await until(lambda: plane.server.gate.refusals.counts.get("ended_unauthenticated", 0) > 0)
                ca.issue(ARN, ends=3 * DAY).write(tmp_path, "proxy")
                await until(lambda: len(plane.control.statuses()) == 1, str(running.log))
                await until(lambda: plane.control.statuses()[0].state == "synced")
                before = len(answers)
                await until(lambda: len(answers) > before + 5)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
    assert set(answers) == {200}


async def test_a_stream_ends_when_its_issuer_leaves_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is older than the new bundle."""
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.1)
    ca = Issuer()
    async with guarded(tmp_path, ca) as plane, secure(plane, ca, ca.issue(ARN)) as client:
        await client.say(CLUSTER)
        await client.hear()
        await asyncio.to_thread(Issuer("the next").file, tmp_path)
        assert plane.tls is not None
        assert await plane.tls.refresh()
        code, words = await ended(client)
        assert (code, "issued by none of --xds-client-ca" in words) == (16, True)


async def _serves(host: str) -> bool:
    return await fetch(host, 8080) == (200, "here")
