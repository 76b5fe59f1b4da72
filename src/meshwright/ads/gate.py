"""The gate before every service on the xDS port: nobody passes without an identity, and nobody as another one's node.

The one rule: it wraps every method, known or not, so that a service added later is behind it by construction. A call
that is refused costs a bounded amount: nothing is read before its caller is known, and the log has a bounded rate.

gRPC codes are App Mesh's: 16 who are you, 7 not yours, 3 no such node, 12 not served here.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/troubleshooting-setup.html
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any, Protocol, cast

import grpc
import grpc.aio

from meshwright.ads.identities import INSTANCE_HEADER, NODE_HEADER, Peer
from meshwright.ads.wire import node_in, node_key, node_named
from meshwright.errors import MeshwrightError, RefusedError, UsageError
from meshwright.trust.canonical import SignatureError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn, TypeAlias

    from meshwright.ads.identities import Admission, Identity
    from meshwright.model.identity import Key

    Served: TypeAlias = Callable[[Any, "Call"], Awaitable[None]]

FIRST_SECONDS = 10.0
"""How long a caller may take to say which node it is."""
LOOK_SECONDS = 2.0
"""Between two looks whether open streams are still permitted."""
LINES = 10
"""Refusals that are logged in `LINES_SECONDS`; the rest is counted."""
LINES_SECONDS = 60.0
MAX_REASON = 1000
"""Characters of a reason; gRPC carries 16 kB at most, and the reason quotes what the client said."""

_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it
_WATCHING = "/envoy.service.status.v3.ClientStatusDiscoveryService/"
"""The service that tells of other nodes than the caller's own."""
_WITHOUT_NODE = {"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"}
"""Methods whose messages have no `Node`: the caller names it in `NODE_HEADER`, and is asked for it all the same."""
_ENVOY = re.compile(r"/envoy\.service\.[a-z_]+\.v3\.([A-Za-z]+)/([A-Za-z]+)")

_log = logging.getLogger(__name__)


class Counts(Protocol):
    """What is counted of streams."""

    def stream_refused(self, reason: str) -> None:
        """A call was refused or ended; `reason` is one of a handful, such as `unauthenticated`."""
        ...

    def sent(self, type_url: str, resources: int) -> None:
        """A response of a type with so many resources was written to an Envoy."""
        ...

    def acked(self, type_url: str, *, accepted: bool) -> None:
        """An Envoy took or rejected a response of a type."""
        ...


class Call:
    """One admitted call, in place of gRPC's context: its first message was read, and says which node it is of."""

    def __init__(self, context: Any, first: bytes, node: Any, key: Key | None, identity: Identity) -> None:
        self._first = first
        self.node = node
        """The `Node` of the first message, of which the id is authorised and the rest a claim."""
        self.key = key
        """The node that the caller may be; None for one who may see all of them."""
        self.identity = identity
        self._context = context
        self.read: Callable[[], Awaitable[Any]] = context.read
        """The next message, or `grpc.aio.EOF`."""
        self.write: Callable[[bytes], Awaitable[None]] = context.write
        """Send one message."""

    def take_first(self) -> bytes:
        """The first message, handed over once: of an Envoy it has 60 kB, and a stream is open for weeks."""
        first, self._first = self._first, b""
        return first

    def peer(self) -> str:
        """Where it comes from."""
        return str(self._context.peer())

    @property
    def instance(self) -> str:
        """What tells the caller from others of its node where its `Node` does not: a header, or its address."""
        return _said(_metadata(self._context), INSTANCE_HEADER) or self.peer()

    async def finish(self, message: bytes) -> None:
        """Send one message to its end, also where the task is cancelled meanwhile.

        While the first one is under way gRPC does not end a call: a client whose stream is to end never heard of it.
        """
        writing = asyncio.ensure_future(self.write(message))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.gather(writing, return_exceptions=True)
            raise

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with `code`."""
        await self._context.abort(code, details)
        raise AssertionError("abort returned")


class _Admitted:
    """An open call, and why it is to end."""

    def __init__(self, identity: Identity, node: Key | None, task: asyncio.Task[Any]) -> None:
        self.identity = identity
        self.node = node
        self.task = task
        self.verdict: RefusedError | None = None


class Gate:
    """What all servers for xDS have in common: who is asked, what is open, what was refused."""

    def __init__(self, admission: Admission, *, home: str = "", counts: Counts | None = None) -> None:
        """`home` is the account whose meshes have bare names."""
        self.refusals = Refusals(counts)
        self._admission = admission
        self._home = home
        self._open: set[_Admitted] = set()

    def interceptor(self, socket: str = "") -> grpc.aio.ServerInterceptor[Any, Any]:
        """The gate before one server; `socket` is the ARN that a server on a Unix socket stands for."""
        return _Interceptor(self, socket)

    async def watch(self) -> None:
        """End streams whose identity ended or is no longer permitted; until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            # Judged once for each identity and node: a thousand streams are often a hundred nodes of one role.
            judged: dict[tuple[Identity, Key | None], RefusedError | None] = {}
            for number, one in enumerate(list(self._open)):
                if number % 100 == 99:
                    await asyncio.sleep(0)  # proxies are served meanwhile
                asked = (one.identity, one.node)
                if asked not in judged:
                    judged[asked] = self._refusal(*asked)
                refusal = judged[asked]
                if refusal is not None and one in self._open and one.verdict is None:
                    one.verdict = refusal
                    one.task.cancel()

    def _refusal(self, identity: Identity, node: Key | None) -> RefusedError | None:
        """Why `identity` may no longer be `node`, or oversee all of them without one; None where it may."""
        try:
            if node is None:
                self._admission.oversee(identity)
            else:
                self._admission.authorize(identity, node)
        except RefusedError as error:
            return error
        except MeshwrightError as error:
            _log.warning("whether %s may still be %s cannot be told now: %s", identity.name, node, error)
        return None

    async def admit(self, peer: Peer, served: Served | None, context: Any) -> None:
        """One call of `peer`, for which `served` is the service or None."""
        method = peer.method
        try:
            identity = self._admission.authenticate(peer)
            fields = _node_fields(method)
            if not fields and method not in _WITHOUT_NODE:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not served here.")
                return
            first = await _first(context)
            if first is _EOF:
                return
            node = node_in(first, *fields) if fields else node_named(_said(peer.metadata, NODE_HEADER))
            key = self._permitted(identity, node, watching=method.startswith(_WATCHING))
        except MeshwrightError as error:
            code = _code(error)
            self.refusals.note(code.name.lower(), peer.address, str(error))
            await context.abort(code, reason(error))
            return
        if served is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not served here.")
            return
        call = Call(context, first, node, key, identity)
        del (
            first,
            peer,
        )  # the call's to keep or to let go, and kilobytes that nobody asks for in the weeks that it is open
        await self._serve(served, call, _Admitted(identity, key, current()))

    def _permitted(self, identity: Identity, node: Any, *, watching: bool) -> Key | None:
        """The node that the caller may be; None for one who watches, and may watch all of them.

        Raises:
            RefusedError: it may be neither.
            UsageError: it is to say which node it is, and does not.
        """
        refusal: RefusedError | None = None
        if watching:
            try:
                self._admission.oversee(identity)
            except RefusedError as error:
                refusal = error
            else:
                return None
        if refusal is not None and not node.id:
            raise refusal
        key = node_key(node, self._home)
        self._admission.authorize(identity, key)
        return key

    async def _serve(self, served: Served, call: Call, admitted: _Admitted) -> None:
        self._open.add(admitted)
        try:
            await served(None, call)
        except asyncio.CancelledError:
            if admitted.verdict is None:
                raise
            admitted.task.uncancel()
        finally:
            self._open.discard(admitted)
        if admitted.verdict is not None:
            code = _code(admitted.verdict)
            self.refusals.note(f"ended_{code.name.lower()}", call.peer(), str(admitted.verdict))
            await call.abort(code, reason(admitted.verdict))


class _Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg] # generic in the stubs only
    """The gate before the methods of one server."""

    def __init__(self, gate: Gate, socket: str) -> None:
        self._gate = gate
        self._socket = socket

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Every method as a stream behind the gate; one that is not served, or not as streams, is refused there."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        served = handler.stream_stream if handler is not None else None

        async def admit(_requests: Any, context: Any) -> None:
            await self._gate.admit(_peer(context, method, self._socket), served, context)

        return grpc.stream_stream_rpc_method_handler(admit)


class Refusals:
    """Counts calls that were refused, by why, and logs them at a bounded rate."""

    def __init__(self, counts: Counts | None = None) -> None:
        self.counts: dict[str, int] = {}
        self._counts = counts
        self._logged = 0
        self._silent = 0
        self._since = float("-inf")

    def note(self, kind: str, address: str, message: str) -> None:
        """One call was refused."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self._counts is not None:
            self._counts.stream_refused(kind)
        now = asyncio.get_running_loop().time()
        if now - self._since > LINES_SECONDS:
            if self._silent:
                _log.warning("refused %d more calls, which were not logged one by one", self._silent)
            self._since, self._logged, self._silent = now, 0, 0
        if self._logged < LINES:
            self._logged += 1
            _log.warning("refused %s (%s): %s", address, kind, shortened(message))
        else:
            self._silent += 1


def reason(error: Exception) -> str:
    """An error's message, as long as a status may be."""
    return shortened(str(error))


def shortened(text: str) -> str:
    """`text`, as long as a status may be."""
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}…"


def _code(error: MeshwrightError) -> grpc.StatusCode:
    if isinstance(error, SignatureError):
        return grpc.StatusCode.UNAUTHENTICATED
    if isinstance(error, RefusedError):
        return grpc.StatusCode.PERMISSION_DENIED
    if isinstance(error, UsageError):
        return grpc.StatusCode.INVALID_ARGUMENT
    return grpc.StatusCode.UNAVAILABLE


async def _first(context: Any) -> Any:
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            return await context.read()
    except TimeoutError:
        text = f"The stream said nothing for {FIRST_SECONDS:g} s."
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, text)


def _node_fields(method: str) -> tuple[int, ...]:
    """Where the first message of `method` has its `Node`: a field, or the way to it; () where no node is known.

    Source: https://github.com/envoyproxy/envoy/tree/main/api/envoy/service
    """
    match = _ENVOY.fullmatch(method)
    if match is None:
        return ()
    service, name = match.groups()
    if service == "HealthDiscoveryService":
        return 1, 1
    if service == "LoadReportingService" or name.startswith("Delta"):
        return (1,)
    return (2,) if service.endswith("DiscoveryService") else ()


def _metadata(context: Any) -> tuple[tuple[str, str | bytes], ...]:
    """The headers of a call."""
    return tuple((str(name), value) for name, value in context.invocation_metadata())


def _said(metadata: tuple[tuple[str, str | bytes], ...], header: str) -> str:
    return next((str(value) for name, value in metadata if name == header), "")


def _peer(context: Any, method: str, socket: str) -> Peer:
    found = context.auth_context()
    certificate = next(iter(found.get("x509_pem_cert", ())), b"")
    return Peer(
        address=str(context.peer()),
        method=method,
        metadata=_metadata(context),
        certificate=certificate,
        socket=socket,
    )


def current() -> asyncio.Task[Any]:
    """The task that serves a call."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine always runs in one
    return task
