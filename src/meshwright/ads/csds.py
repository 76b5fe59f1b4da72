"""The client status discovery service: what each connected proxy was sent and what it said, for standard tools.

The one rule: nobody sees more than is theirs. An operator sees every proxy, a proxy those of its own node, and nobody
the content of a secret. An answer is made piece by piece, one at a time, and a question's matchers are judged
beside the event loop, so that the proxies are served meanwhile.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from meshwright.ads.matchers import any_matches, fault
from meshwright.errors import MeshwrightError
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from meshwright.ads.gate import Call
    from meshwright.control import Delivery, Held
    from meshwright.snapshot.resources import EnvoyResource

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
METHODS = ("FetchClientStatus", "StreamClientStatus")
MOST_BYTES = 64 * 1024 * 1024
"""Of one answer."""
MOST_QUESTION_BYTES = 1024 * 1024
"""Of one question."""
MOST_WAITING = 20
"""Questions that wait for their turn."""
MOST_SECONDS = 10.0
"""For which the proxies are judged for one question: what they say of themselves is theirs to choose."""
_AT_ONCE = 20
"""Proxies that are put into an answer before others get their turn."""

_STATUS = "envoy.service.status.v3."
_CONFIG = {"synced": "SYNCED", "not sent": "NOT_SENT", "stale": "STALE", "error": "ERROR"}
_CLIENT = {"synced": "ACKED", "not sent": "REQUESTED", "stale": "REQUESTED", "error": "NACKED"}

_Found = TypeVar("_Found")
_EOF = cast("Any", grpc.aio).EOF  # grpc-stubs does not know it


class ClientStatus:
    """Answers for the proxies that `clients` gives: each proxy's `Node` message and its delivery."""

    def __init__(self, clients: Callable[[], Iterable[tuple[Any, Delivery]]]) -> None:
        self._clients = clients
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0
        # Of its own: a question whose client left goes on until its next piece, and must not take others' threads.
        self._beside = ThreadPoolExecutor(1, "csds")

    async def fetch(self, _requests: None, call: Call) -> None:
        """One question, one answer."""
        await self._answer(call, call.take_first())

    async def stream(self, _requests: None, call: Call) -> None:
        """An answer to each question, until the client ends the stream."""
        asked = call.take_first()
        while asked is not _EOF:
            await self._answer(call, asked)
            asked = await call.read()

    async def _answer(self, call: Call, body: bytes) -> None:
        try:
            request = _question(body)
            async with self._place():
                found = await self._found(call, request)
        except _RefusedError as error:
            await call.abort(error.code, str(error))
        await call.write(found)

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One question at a time, in the order in which they came.

        Raises:
            _RefusedError: as many as may wait for that.
        """
        if self._waiting >= MOST_WAITING:
            raise _RefusedError(_EXHAUSTED, f"{self._waiting} other questions wait for their turn. Ask again later.")
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()

    async def _found(self, call: Call, request: Any) -> bytes:
        """The answer.

        Raises:
            _RefusedError: the question cannot be understood, the answer would be too large, or take too long.
        """
        wrong = await self._judged(fault, request.node_matchers)
        if wrong is not None:
            raise _RefusedError(_INVALID, f"{wrong}. Correct it; no proxy was looked at.")
        response = message(_STATUS + "ClientStatusResponse")()
        size, spent, clock = 0, 0.0, asyncio.get_running_loop().time
        for number, (node, delivery) in enumerate(list(self._clients()), 1):
            if call.key in {None, delivery.proxy.node}:
                began = clock()
                if await self._chosen(request.node_matchers, node):
                    config = _config(node, delivery, contents=not request.exclude_resource_contents)
                    size += config.ByteSize()
                    response.config.append(config)
                spent += clock() - began
            if size > MOST_BYTES:
                raise _RefusedError(_EXHAUSTED, _TOO_LARGE)
            if spent > MOST_SECONDS:
                raise _RefusedError(_EXHAUSTED, _TOO_LONG)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return bytes(response.SerializeToString())

    async def _chosen(self, matchers: Any, node: Any) -> bool:
        return not matchers or await self._judged(any_matches, matchers, node)

    async def _judged(self, judge: Callable[..., _Found], *given: Any) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._beside, judge, *given)


class _RefusedError(MeshwrightError):
    """A question that is not answered, with gRPC's code for why."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code = code


_INVALID, _EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
_TOO_LARGE = (
    f"The answer is larger than {MOST_BYTES} bytes: ask for fewer proxies with node_matchers, or set "
    "exclude_resource_contents."
)
_TOO_LONG = (
    f"To look through what proxies say of themselves takes more than {MOST_SECONDS:g} s: name those that you mean by "
    "node_id in each of node_matchers, which is looked at first."
)


def _question(body: bytes) -> Any:
    """The `ClientStatusRequest`.

    Raises:
        _RefusedError: it is none, or too large.
    """
    if len(body) > MOST_QUESTION_BYTES:
        words = f"A ClientStatusRequest of more than {MOST_QUESTION_BYTES} bytes is not read; this has {len(body)}."
        raise _RefusedError(_INVALID, words)
    try:
        return message(_STATUS + "ClientStatusRequest").FromString(body)
    except DecodeError as error:
        raise _RefusedError(_INVALID, f"That is no ClientStatusRequest: {error}") from None


def _config(node: Any, delivery: Delivery, *, contents: bool) -> Any:
    """The `ClientConfig` of one proxy."""
    config = message(_STATUS + "ClientConfig")()
    config.node.id, config.node.cluster = node.id, node.cluster
    config.node.user_agent_name = node.user_agent_name
    for field in ("metadata", "locality", "user_agent_build_version"):
        if node.HasField(field):
            getattr(config.node, field).CopyFrom(getattr(node, field))
    for one in delivery.held():
        _add(config.generic_xds_configs.add(), one, contents=contents)
    return config


def _add(config: Any, one: Held, *, contents: bool) -> None:
    """Fill in a `GenericXdsConfig`."""
    config.type_url, config.name = one.type_url, one.name
    config.version_info = one.resource.version if one.resource is not None else ""
    config.last_updated.FromMilliseconds(one.at)
    config.config_status = _CONFIG[one.state]
    config.client_status = _CLIENT[one.state]
    if one.resource is not None and contents:
        _put(config.xds_config, one.resource)
    if one.rejection is not None:
        failure = config.error_state
        failure.details = one.rejection.message
        failure.version_info = config.version_info
        failure.last_update_attempt.FromMilliseconds(one.rejection.at)
        if one.resource is not None and contents:
            _put(failure.failed_configuration, one.resource)


def _put(target: Any, resource: EnvoyResource) -> None:
    """The resource as an `Any`; of a secret its name alone."""
    target.type_url = resource.type_url
    if resource.type_url == SECRET:
        name = message("envoy.extensions.transport_sockets.tls.v3.Secret")(name=resource.name)
        target.value = name.SerializeToString()
    else:
        target.value = resource.body
