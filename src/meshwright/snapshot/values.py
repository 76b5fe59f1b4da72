"""Small values of Envoy's vocabulary: durations, counts, addresses, references to other resources.

The one rule: what a definition may say without bound is clamped here to what the wire can carry.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.snapshot.messages import message, packed

if TYPE_CHECKING:
    from meshwright.snapshot.resources import Separate

Wire: TypeAlias = dict[str, Any]
"""A nested message as its members; the message that takes it in checks names and types."""

UNLIMITED = 2**32 - 1
_LONGEST = 100 * 365 * 24 * 3600 * 1000
"""A hundred years, in milliseconds: beyond any use, within what Envoy accepts."""


def duration(milliseconds: int) -> Wire:
    """A `google.protobuf.Duration`."""
    milliseconds = min(milliseconds, _LONGEST)
    return {"seconds": milliseconds // 1000, "nanos": milliseconds % 1000 * 1_000_000}


def count(value: int) -> Wire:
    """A `google.protobuf.UInt32Value`."""
    return {"value": min(value, UNLIMITED)}


def share(percentage: float) -> Wire:
    """A share of 0 to 100 percent, in millionths: four decimals of a percentage."""
    return {"numerator": round(percentage * 10_000), "denominator": "MILLION"}


def address(host: str, port: int, *, dual: bool = False) -> Wire:
    """A TCP address; `dual` accepts IPv4 on an IPv6 wildcard."""
    socket: Wire = {"address": host, "port_value": port}
    if dual:
        socket["ipv4_compat"] = True
    return {"socket_address": socket}


def source(separate: Separate | None) -> Wire:
    """A config source: the stream of all types, or what a type's own service says."""
    if separate is None:
        return {"ads": {}, "resource_api_version": "V3"}
    api: Wire = {
        "api_type": "DELTA_GRPC" if separate.delta else "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": separate.cluster}}],
        "set_node_on_first_message_only": True,
    }
    return {"api_config_source": api, "resource_api_version": "V3"}


def tags(**named: str) -> Wire:
    """The metadata by which the metrics extension of App Mesh's own Envoy image names what it measures.

    Source: a public configuration dump of an App Mesh gateway on Envoy 1.20.
    """
    written = [{"key": key, "value": value} for key, value in named.items()]
    config = msgspec.json.encode({"tags": written}).decode()
    return {"filter_metadata": {"aws.appmesh.aggregate_stats": {"fields": {"config": {"string_value": config}}}}}


def extension(name: str, type_name: str, **members: Any) -> Wire:
    """A named extension with its typed configuration."""
    return {"name": name, "typed_config": packed(message(type_name)(**members)) if members else _bare(type_name)}


@functools.cache
def _bare(type_name: str) -> Any:
    """The typed configuration that says nothing; a message that takes it in copies it."""
    return packed(message(type_name)())


def is_address(host: str) -> bool:
    """Whether `host` is an IP address and needs no DNS."""
    if not (host[-1:].isdigit() or ":" in host):
        return False  # as most are names: the library takes 3 µs to refuse one
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
