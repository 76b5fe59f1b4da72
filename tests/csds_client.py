"""A client of the client status discovery service, as standard tools speak it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from ads_client import signed
from meshwright.snapshot.messages import message
from processes import DEADLINE

if TYPE_CHECKING:
    from meshwright.trust.credentials import Credentials

SERVICE = "/envoy.service.status.v3.ClientStatusDiscoveryService/"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def request(**members: Any) -> Any:
    """A `ClientStatusRequest`."""
    return message("envoy.service.status.v3.ClientStatusRequest")(**members)


async def fetched(target: str, key: Credentials | None = None, **members: Any) -> Any:
    """The answer to one unary question."""
    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        ask: Any = channel.unary_unary(
            SERVICE + "FetchClientStatus",
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=message("envoy.service.status.v3.ClientStatusResponse").FromString,
        )
        metadata = () if key is None else signed(key, SERVICE + "FetchClientStatus")
        return await asyncio.wait_for(ask(request(**members), metadata=metadata), DEADLINE)


def told(answer: Any) -> dict[str, dict[tuple[str, str], Any]]:
    """By the name of the proxy's instance, by short type and name, each `GenericXdsConfig`."""
    return {
        one.node.metadata["meshwright"]["instance"]: {
            (config.type_url.rpartition(".")[2], config.name): config for config in one.generic_xds_configs
        }
        for one in answer.config
    }


def states(answer: Any, instance: str = "one") -> dict[str, str]:
    """By resource, in which state the server says it is."""
    return {
        f"{kind} {name}": config.DESCRIPTOR.fields_by_name["config_status"]
        .enum_type.values_by_number[config.config_status]
        .name
        for (kind, name), config in told(answer)[instance].items()
    }
