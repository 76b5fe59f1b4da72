"""Discovery over gRPC, of all types (ADS) and of one: carries `ads.stream` for each Envoy that is admitted.

The one rule: a slow or hostile client costs a bounded amount. At most one response of a type waits for its ack, a
write waits for the reader, and everything of a stream ends with it. Who may connect is `ads.gate`'s to ask.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
import msgspec

from meshwright.ads import csds, hds, latencies, lrs
from meshwright.ads.encoding import Encoder
from meshwright.ads.gate import Gate, reason
from meshwright.ads.hds import HealthServer
from meshwright.ads.latencies import Latencies
from meshwright.ads.lrs import LoadReports
from meshwright.ads.session import Session
from meshwright.ads.sockets import place
from meshwright.ads.stream import RETRY_SECONDS
from meshwright.ads.twins import Twins
from meshwright.ads.wire import decode, identify, registree
from meshwright.errors import MeshwrightError, UnknownProxyError, UsageError
from meshwright.snapshot.health import specifier
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.ads.gate import Call, Counts
    from meshwright.ads.identities import Admission
    from meshwright.ads.sockets import Placed
    from meshwright.control import Control, Delivery, Proxy
    from meshwright.discovery import Registrations, Registree
    from meshwright.model.identity import Key
    from meshwright.observe import Traffic

_SERVICES = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": ("AggregatedResources", ""),
    "envoy.service.cluster.v3.ClusterDiscoveryService": ("Clusters", CLUSTER),
    "envoy.service.endpoint.v3.EndpointDiscoveryService": ("Endpoints", ENDPOINT),
    "envoy.service.listener.v3.ListenerDiscoveryService": ("Listeners", LISTENER),
    "envoy.service.route.v3.RouteDiscoveryService": ("Routes", ROUTE),
    "envoy.service.secret.v3.SecretDiscoveryService": ("Secrets", SECRET),
    "envoy.service.runtime.v3.RuntimeDiscoveryService": ("Runtime", RUNTIME),
}
"""What follows `Stream` and `Delta` in the names of each service's methods, and the type that it is of; "" for all.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#client-configuration
"""
_MAX_REQUEST_BYTES = 16 * 1024 * 1024
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a share of its connections
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # App Mesh's bootstrap pings every 10 s, also without data.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # When thousands of proxies come back at once their calls wait in line here. By gRPC's own limit of 1,000 waiting
    # calls, the others of 2,000 were cancelled, came back at once, and were never all served.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    # Who has no stream is no proxy: every Envoy holds one open for as long as it runs. One that was refused for its
    # certificate must come over a new connection to show another, so it is not let sit on the old one between tries.
    ("grpc.max_connection_idle_ms", 2_000),
)

_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it

_log = logging.getLogger(__name__)


class AdsServer:
    """Serves both protocols of xDS for the proxies of `control`, to whom `admission` lets in."""

    def __init__(
        self,
        control: Control,
        admission: Admission,
        *,
        home: str = "",
        most: int | None = None,
        counts: Counts | None = None,
        registrations: Registrations | None = None,
        retry: float = RETRY_SECONDS,
        traffic: Traffic | None = None,
    ) -> None:
        """`home` is the account whose meshes have bare names, `most` how many Envoys a node may have connected.

        `registrations` take the endpoints that proxies bring along, `traffic` what they report of their calls; None
        for nobody who would look. `retry` is how many seconds after a refusal an Envoy is offered the same once more.
        """
        self.gate = Gate(admission, home=home, counts=counts)
        self._counts = counts
        self._control = control
        self._registrations = registrations
        self._twins = twins = Twins(time.monotonic, registrations.told_apart() if registrations is not None else ())
        self._health = HealthServer(control, registrations, twins, home=home, most=most) if registrations else None
        self._loads = LoadReports(control, traffic, twins, home=home) if traffic is not None else None
        self._latencies = Latencies(control, traffic, twins) if traffic is not None else None
        self._home = home
        self._most = most
        self._retry = retry
        self._servers: list[Any] = []
        self._placed: list[Placed] = []
        self._watching: list[asyncio.Task[None]] = []
        self._encoders = {delta: Encoder(control.now, delta=delta) for delta in (False, True)}
        self._arriving = asyncio.Lock()
        """Of thousands that connect at once one is served in a turn of the event loop, first come, first served: to
        build what they should hold takes milliseconds each, and whoever is connected already is not kept waiting."""
        self._sessions: dict[Key, set[Session]] = {}
        """Open streams by node: to go through all of 1,000 took 0.4 ms of each that came."""
        self._status = csds.ClientStatus(self._clients)

    async def start(self, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen, with TLS where `credentials` are given; the port, of the kernel's choice where `port` is 0.

        Raises:
            UsageError: the address cannot be listened on.
        """
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        server = self._server()
        try:
            bound = (
                server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
            )
        except RuntimeError:
            bound = 0
        if bound == 0:
            raise UsageError(
                f"cannot listen on {where} for xDS: the port is in use or the address is not this machine's; "
                "stop the other process, or choose another address with --xds"
            )
        await self._run(server)
        return int(bound)

    async def listen_for(self, arn: str, path: Path) -> None:
        """Serve the node `arn`, and no other, on the Unix socket `path`.

        Raises:
            UsageError: the socket cannot be made there.
        """
        server = self._server(socket=arn)

        def listen(address: str) -> None:
            try:
                server.add_insecure_port(address)
            except RuntimeError as error:
                raise UsageError(f"Cannot make the Unix socket {path}: {error}.") from error

        self._placed.append(place(path, listen))
        await self._run(server)

    def _server(self, socket: str = "") -> Any:
        server = grpc.aio.server(options=_OPTIONS, interceptors=(self.gate.interceptor(socket),))
        # Every method is served as a stream, behind the gate; of the two of CSDS one is unary for its clients.
        watching = {
            name: grpc.stream_stream_rpc_method_handler(served)
            for name, served in zip(csds.METHODS, (self._status.fetch, self._status.stream), strict=True)
        }
        server.add_generic_rpc_handlers(
            (
                *(self._discovery(service, *of) for service, of in _SERVICES.items()),
                grpc.method_handlers_generic_handler(csds.SERVICE, watching),
            )
        )
        if self._health is not None:
            reports = {"StreamHealthCheck": grpc.stream_stream_rpc_method_handler(self._health.serve)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(hds.SERVICE, reports),))
        if self._loads is not None and self._latencies is not None:
            served = {lrs.METHOD: grpc.stream_stream_rpc_method_handler(self._loads.serve)}
            taken = {latencies.METHOD: grpc.stream_stream_rpc_method_handler(self._latencies.serve)}
            server.add_generic_rpc_handlers(
                (
                    grpc.method_handlers_generic_handler(lrs.SERVICE, served),
                    grpc.method_handlers_generic_handler(latencies.SERVICE, taken),
                )
            )
        return server

    def _clients(self) -> list[tuple[Any, Delivery]]:
        """The connected proxies, by id: what each says of itself, and its delivery."""
        known = {one.lane.delivery: one.node for one in self._open() if one.lane is not None}
        return sorted(((node, one) for one, node in known.items()), key=lambda one: one[1].proxy.id)

    def _open(self) -> list[Session]:
        return [one for some in self._sessions.values() for one in some]

    async def _run(self, server: Any) -> None:
        self._servers.append(server)
        await server.start()
        if not self._watching:
            self._watching.append(asyncio.create_task(self.gate.watch(), name="looking after xDS streams"))
            if self._health is not None:
                self._watching.append(asyncio.create_task(self._health.watch(), name="telling what to check"))

    async def stop(self, grace: float = 1.0) -> None:
        """Take no new stream and end the open ones; those left after `grace` seconds are cut."""
        for task in self._watching:
            task.cancel()
        stopped = asyncio.gather(*(server.stop(grace) for server in self._servers))
        await asyncio.sleep(0)
        for session in self._open():
            session.end()
        if self._health is not None:
            self._health.end()
        if self._loads is not None:
            self._loads.end()
        await stopped
        for placed in self._placed:
            placed.remove()

    @property
    def parts(self) -> tuple[asyncio.Task[None], ...]:
        """What must not end while it serves."""
        return tuple(self._watching)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._sessions.values()))

    @property
    def sharing(self) -> int:
        """How many Envoys say that they are one that another says it is, too."""
        found = {one.lane.proxy for one in self._open() if one.lane is not None and one.lane.proxy.shared_id}
        named = Counter((one.node, one.shared_id) for one in found)
        return sum(number for number in named.values() if number > 1)

    def _discovery(self, service: str, name: str, only: str) -> grpc.GenericRpcHandler[Any, Any]:
        """Both protocols of one discovery service, of the type `only` or "" for all."""
        methods = {}
        for prefix, delta in (("Stream", False), ("Delta", True)):
            served = functools.partial(self._serve, delta=delta, only=only)
            methods[prefix + name] = grpc.stream_stream_rpc_method_handler(served)
        return grpc.method_handlers_generic_handler(service, methods)

    async def _serve(self, _requests: None, call: Call, *, delta: bool, only: str) -> None:
        session = Session(call, self._encoders[delta], self._counts, delta=delta, only=only, retry=self._retry)
        try:
            request = decode(call.take_first(), delta=delta, only=only)
            named = identify(call.node, call.instance, self._home)
            async with self._arriving:
                await asyncio.sleep(0)  # else all who were read in one turn would be served in it
                proxy = self._told_apart(named, call.peer())
                # It is there for others once it listens, which the stream of its listeners knows.
                registering = self._registering(call, proxy) if only in {"", LISTENER} else None
                self._refuse_crowd(proxy)
                if self._registrations is not None and not self._control.connected:
                    self._registrations.meet()
                lane = self._control.connect(proxy, session.push, only)
        except (UsageError, UnknownProxyError) as error:
            self.gate.refusals.note("invalid_argument", call.peer(), str(error))
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, reason(error))
        except _CrowdError as error:
            self.gate.refusals.note("resource_exhausted", call.peer(), str(error))
            await call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason(error))
        except MeshwrightError as error:
            await call.abort(grpc.StatusCode.UNAVAILABLE, reason(error))
        held = self._registrations.join(registering) if self._registrations and registering else None
        session.lane, session.held = lane, held
        self._sessions.setdefault(proxy.node, set()).add(session)
        kind = f"{'delta' if delta else 'state of the world'} of {only.rpartition('.')[2] or 'all types'}"
        _log.info("%s connected as %s, %s", proxy.id, call.identity.name, kind)
        try:
            await session.run(lane, request)
        finally:
            self._leave(proxy.node, session)
            self._meet(proxy.shared_id, proxy.node)
            if session.displaced and only in {"", CLUSTER}:  # of others an Envoy has many
                self._displaced(proxy, session.peer)
            lane.close()
            if held is not None:
                held.lose()
            _log.info("%s disconnected", proxy.id)

    def _leave(self, node: Key, session: Session) -> None:
        self._sessions[node].discard(session)
        if not self._sessions[node]:
            del self._sessions[node]

    def _told_apart(self, named: Proxy, peer: str) -> Proxy:
        """The proxy with an id that is its own, where that by which it is `named` turned out to be of several."""
        self._meet(named.id, named.node)
        shared = self._twins.returned(named.id, peer)
        if shared is not None:
            self._part(named, shared)
        found = self._twins.entered(named.id, peer, lambda: self._ids(named.node))
        return named if found == named.id else msgspec.structs.replace(named, id=found, shared_id=named.id)

    def _meet(self, name: str, node: Key) -> None:
        """One that calls itself `name` comes or has gone: whether it leaves others behind, or finds some."""
        some = self._sessions.get(node, ())
        others = any(one.lane is not None and one.lane.proxy.shared_id == name for one in some)
        self._twins.met(name, others=others)

    def _displaced(self, proxy: Proxy, peer: str) -> None:
        """A stream of `proxy` from `peer` lost its place to those that are open now."""
        by = {one.peer for one in self._of(proxy.node, proxy.id)}
        if self._twins.displaced(proxy.id, peer, by):
            self._part(proxy, proxy.id)

    def _part(self, proxy: Proxy, shared: str) -> None:
        """Several Envoys have an id, as `proxy` shows: they come again, and each gets one of its own."""
        if shared == (proxy.shared_id or proxy.id):  # else it was told before
            _log.warning(
                "several Envoys say that they are %s: from now on their addresses tell them apart. Give each an "
                "instance of its own, by --instance or in its bootstrap; meshwright proxy makes one up",
                shared,
            )
        for session in self._of(proxy.node, shared):
            session.end()
        if self._health is not None:
            self._health.part(shared)
        if self._loads is not None:
            self._loads.part(shared)

    def _ids(self, node: Key) -> set[str]:
        """The proxies of a node that have a stream open."""
        return {one.lane.proxy.id for one in self._sessions.get(node, ()) if one.lane is not None}

    def _of(self, node: Key, proxy: str) -> list[Session]:
        """The open streams of one proxy."""
        some = self._sessions.get(node, ())
        return [one for one in some if one.lane is not None and one.lane.proxy.id == proxy]

    def _registering(self, call: Call, proxy: Proxy) -> Registree | None:
        """The endpoint that a proxy brings along; its health is waited for only where there is something to check."""
        found = registree(call.node, proxy) if self._registrations is not None else None
        if found is None or not found.checked:
            return found
        due = specifier(self._control.graph, proxy.node, proxy.placement)
        return msgspec.structs.replace(found, checked=bool(due.cluster_health_checks))

    def _refuse_crowd(self, proxy: Proxy) -> None:
        """One that connects again takes its own place.

        Raises:
            _CrowdError: as many others of the node are connected as may be.
        """
        if self._most is None:
            return
        if len(self._ids(proxy.node) - {proxy.id}) >= self._most:
            raise _CrowdError(
                f"{proxy.node.path} has {self._most} Envoys connected, the most that it may have; "
                "raise the limit with --xds-envoys-per-node"
            )


class _CrowdError(MeshwrightError):
    """Too many Envoys for one node: App Mesh's quotas L-606A910B and L-33E8F9C9, gRPC code 8."""
