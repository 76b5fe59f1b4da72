"""Envoy's protobuf messages, from a pruned descriptor set in a private pool.

The one rule: nothing is loaded before the first message is asked for. The default pool is never touched, because
other packages (`opentelemetry-proto`, `googleapis-common-protos`) register older copies of the same files in it.
`tools/make_messages.py` writes the descriptor set; `NOTICE` says where it comes from.
"""

from __future__ import annotations

import functools
import zlib
from importlib import resources
from typing import Any, cast

from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

TYPE_URL_PREFIX = "type.googleapis.com/"


@functools.cache
def pool() -> DescriptorPool:
    """The private pool that holds every message; loaded on the first call."""
    packed = resources.files("meshwright.snapshot").joinpath("messages.fds").read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(zlib.decompress(packed))
    loaded = DescriptorPool()
    for file in files.file:
        loaded.AddSerializedFile(file.SerializeToString())
    return loaded


@functools.cache
def message(full_name: str) -> type[Any]:
    """The class of a message: `message("envoy.config.cluster.v3.Cluster")(name="a", type="EDS")`.

    Nested messages and repeated ones may be given as dictionaries and lists of them.

    Raises:
        KeyError: `tools/make_messages.py` does not list it.
    """
    return cast("type[Any]", GetMessageClass(pool().FindMessageTypeByName(full_name)))


def serialized(value: Any) -> bytes:
    """The bytes of a message; the same for the same content."""
    return cast("bytes", value.SerializeToString(deterministic=True))


def field(number: int, body: bytes) -> bytes:
    """A length-delimited field, as in https://protobuf.dev/programming-guides/encoding/ ."""
    size = len(body)
    if size <= 0x7F:  # as most are
        return bytes((number << 3 | 2, size)) + body
    return _head(number << 3 | 2, size) + body


def _head(tag: int, value: int) -> bytes:
    out = bytearray((tag,))
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def type_url(value: Any) -> str:
    """The type URL of a message or a message class."""
    return f"{TYPE_URL_PREFIX}{value.DESCRIPTOR.full_name}"


def packed(value: Any) -> Any:
    """`value` in a `google.protobuf.Any` of our pool, deterministically."""
    return message("google.protobuf.Any")(type_url=type_url(value), value=serialized(value))


def unpacked(wrapped: Any) -> Any:
    """The message inside a `google.protobuf.Any`.

    Raises:
        KeyError: its type is not one of ours.
        google.protobuf.message.DecodeError: the bytes are not that message.
    """
    return message(wrapped.type_url.rpartition("/")[2]).FromString(wrapped.value)


def parsed(full_name: str, given: dict[str, Any]) -> Any:
    """The message of that name from JSON-like values, as a bootstrap has them.

    Raises:
        google.protobuf.json_format.ParseError: they are none.
    """
    return json_format.ParseDict(given, message(full_name)(), descriptor_pool=pool())


def as_dict(value: Any) -> dict[str, Any]:
    """A message as JSON-like values with proto field names, nested Any included; for views and tests."""
    return json_format.MessageToDict(value, preserving_proto_field_name=True, descriptor_pool=pool())
