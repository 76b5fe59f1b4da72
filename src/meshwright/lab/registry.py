"""A stand-in for AWS Cloud Map: the two operations by which a control plane discovers instances, over HTTP.

The one rule: it holds what the lab registers, with the attributes that definitions ask for, and speaks as AWS does: a
control plane finds instances by the very way that it takes in production.
Source: https://docs.aws.amazon.com/cloud-map/latest/api/API_DiscoverInstances.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import h11
import msgspec

from meshwright.lab import http1
from meshwright.lab.sockets import Outlet, Server
from meshwright.proxy.settings import Address

if TYPE_CHECKING:
    import asyncio

    from meshwright.lab.exchange import Request

_ADDRESS = "AWS_INSTANCE_IPV4"


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a service."""

    namespace: str
    service: str
    name: str
    """Its id there."""
    address: str
    attributes: Mapping[str, str]


class Registry:
    """Services with their instances."""

    def __init__(self) -> None:
        self._instances: dict[str, Registered] = {}
        self._revision = 1
        self._server = Server(self._converse, h11.ProtocolError, msgspec.DecodeError)

    def register(self, instance: Registered) -> None:
        """Add an instance, or change it."""
        self._instances[instance.name] = instance
        self._revision += 1

    def deregister(self, name: str) -> None:
        """Take an instance away."""
        del self._instances[name]
        self._revision += 1

    async def start(self, host: str) -> Address:
        """Answer on a free port of `host`."""
        return Address(host, await self._server.start(host, 0))

    async def stop(self) -> None:
        """Answer nobody any more."""
        await self._server.stop()

    async def _converse(self, reader: asyncio.StreamReader, outlet: Outlet) -> None:
        peer = h11.Connection(h11.SERVER)
        while (request := await http1.received(peer, reader)) is not None:
            status, body = self._answer(request)
            headers = [("content-type", "application/x-amz-json-1.1"), ("content-length", str(len(body)))]
            parts = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
            await outlet.send(b"".join(peer.send(part) or b"" for part in parts))
            if peer.our_state is not h11.DONE:
                return
            peer.start_next_cycle()

    def _answer(self, request: Request) -> tuple[int, bytes]:
        asked: dict[str, Any] = msgspec.json.decode(request.body or b"{}")
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        if operation == "DiscoverInstancesRevision":
            return 200, msgspec.json.encode({"InstancesRevision": self._revision})
        if operation != "DiscoverInstances":
            return 400, msgspec.json.encode({"__type": "UnknownOperationException", "message": operation})
        wanted: dict[str, str] = asked.get("QueryParameters") or {}
        found = [
            _written(one)
            for one in self._instances.values()
            if (one.namespace, one.service) == (asked.get("NamespaceName"), asked.get("ServiceName"))
            and all(one.attributes.get(name) == value for name, value in wanted.items())
        ]
        return 200, msgspec.json.encode({"Instances": found, "InstancesRevision": self._revision})


def _written(one: Registered) -> dict[str, Any]:
    return {
        "InstanceId": one.name,
        "NamespaceName": one.namespace,
        "ServiceName": one.service,
        "HealthStatus": "HEALTHY",
        "Attributes": {**one.attributes, _ADDRESS: one.address},
    }
