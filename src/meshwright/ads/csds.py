"""The client status discovery service: what each connected proxy was sent and what it said, for standard tools.

The one rule: nobody sees more than is theirs. An operator sees every proxy, a proxy those of its own node, and nobody
the content of a secret. An answer is made piece by piece, one at a time, and a question's matchers are judged
beside the event loop, so that the proxies are served meanwhile.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from meshwright.ads.matchers import any_matches, fault
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshwright.ads.gate import Call
    from meshwright.control import Delivery, Held
    from meshwright.snapshot.resources import EnvoyResource

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
METHODS = ("FetchClientStatus", "StreamClientStatus")
MOST_BYTES = 64 * 1024 * 1024
"""Of one answer."""
MOST_QUESTION_BYTES = 1024 * 1024
"""Of one question."""
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
        if len(body) > MOST_QUESTION_BYTES:
            words = (
                f"A ClientStatusRequest of more than {MOST_QUESTION_BYTES} bytes is not read; this has {len(body)}."
            )
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, words)
        try:
            request = message(_STATUS + "ClientStatusRequest").FromString(body)
        except DecodeError as error:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, f"That is no ClientStatusRequest: {error}")
        async with self._turn:
            wrong = await self._judged(fault, request.node_matchers)
            found = await self._found(call, request) if wrong is None else None
        if wrong is not None:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{wrong}. Correct it; no proxy was looked at.")
        if found is None:
            await call.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The answer is larger than {MOST_BYTES} bytes: ask for fewer proxies with node_matchers, or set "
                "exclude_resource_contents.",
            )
        else:
            await call.write(found)

    async def _found(self, call: Call, request: Any) -> bytes | None:
        """The answer; None where it would be too large."""
        response = message(_STATUS + "ClientStatusResponse")()
        size = 0
        for number, (node, delivery) in enumerate(list(self._clients()), 1):
            if call.key in {None, delivery.proxy.node} and await self._chosen(request.node_matchers, node):
                config = _config(node, delivery, contents=not request.exclude_resource_contents)
                size += config.ByteSize()
                if size > MOST_BYTES:
                    return None
                response.config.append(config)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return bytes(response.SerializeToString())

    async def _chosen(self, matchers: Any, node: Any) -> bool:
        return not matchers or await self._judged(any_matches, matchers, node)

    async def _judged(self, judge: Callable[..., _Found], *given: Any) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._beside, judge, *given)


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
