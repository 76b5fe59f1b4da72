"""What proxies hold, as the control plane tells it over CSDS: so the floor sends the very same bytes.

The one rule: a resource is kept as it lies in a response, ready to be joined with others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from benchmarks.xds.streams import signed
from meshwright.snapshot.messages import field, message

if TYPE_CHECKING:
    from collections.abc import Iterable

Held: TypeAlias = dict[str, dict[str, dict[str, bytes]]]
"""By node id, type URL and name: a `Resource` as a field of a delta response."""

_METHOD = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"
_STATUS = "envoy.service.status.v3.ClientStatus"
_AT_ONCE = 40
"""Names of one question: its expression is bounded."""


def held(target: str, instances: Iterable[str]) -> Held:
    """What each of the connected proxies with those names holds; one of a node is enough."""
    names = list(instances)
    found: Held = {}
    with grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", -1)]) as channel:
        ask = channel.unary_unary(
            _METHOD,
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=message(_STATUS + "Response").FromString,
        )
        for start in range(0, len(names), _AT_ONCE):
            question = _about(names[start : start + _AT_ONCE])
            _keep(found, ask(question, metadata=signed(target, _METHOD), timeout=60))
    return found


def _about(names: list[str]) -> Any:
    wanted = {"safe_regex": {"regex": "|".join(names)}}
    path = [{"key": "meshwright"}, {"key": "instance"}]
    return message(_STATUS + "Request")(
        node_matchers=[{"node_metadatas": [{"path": path, "value": {"string_match": wanted}}]}]
    )


def _keep(found: Held, answer: Any) -> None:
    for client in answer.config:
        types = found.setdefault(client.node.id, {})
        for one in client.generic_xds_configs:
            if one.xds_config.value:
                types.setdefault(one.type_url, {})[one.name] = _resource(one)


def changed(before: Held, after: Held) -> Held:
    """What of `after` is other than `before`; nodes and types without any are absent."""
    found: Held = {}
    for node, types in after.items():
        for url, named in types.items():
            other = before[node].get(url, {})
            if differing := {name: body for name, body in named.items() if other.get(name) != body}:
                found.setdefault(node, {})[url] = differing
    return found


def _resource(one: Any) -> bytes:
    config = one.xds_config
    made = message("envoy.service.discovery.v3.Resource")(name=one.name, version=one.version_info)
    made.resource.CopyFrom(config)
    return field(2, made.SerializeToString())
