"""From Envoy's messages to plain values: requests of `ads.stream`, and who a proxy says that it is.

The one rule: what a proxy says is a claim, and bounded, before anything is made of it.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from meshwright.ads.stream import DeltaRequest, Request, StateRequest
from meshwright.control import Proxy
from meshwright.discovery import Registree
from meshwright.errors import UsageError
from meshwright.model.identity import Key, Kind, parse_key
from meshwright.snapshot.messages import as_dict, message
from meshwright.snapshot.resources import Loopback, Placement, Redirect, Separate, Traits

if TYPE_CHECKING:
    from collections.abc import Iterator

_DISCOVERY = "envoy.service.discovery.v3."
_NODES = "Envoy's node.id must be an ARN or a path such as mesh/NAME/virtualNode/NAME"
_LONGEST_REFUSAL = 16_384
"""Characters of a refusal that are kept; Envoy writes a sentence a resource."""
_SHORT = 256
"""Bytes of a message that is remembered with what it says: acks, which name a type and a nonce."""
_LONGEST_INSTANCE = 255
_SHOWN = 60
"""Characters of a wrong value that are quoted."""
_LONGEST_ZONE = 255
_LONGEST_VERSION = 255
_LONGEST_CLUSTER = 255
_MOST_NODE_BYTES = 1024 * 1024
"""Of what a proxy says of itself; Envoy 1.40 says 60 kB."""
_MOST_METADATA_BYTES = 64 * 1024
"""Of that, what somebody wrote into its bootstrap; a question about proxies may have an expression look at it."""
_UNASKED = ("extensions", "client_features", "listening_addresses")
"""What nobody here looks at of it, and nearly all of it: a list of more than 500 extensions."""
_MOST_REPORT_BYTES = 4 * 1024 * 1024
"""Of one report of a proxy: ten thousands of clusters. To take in one of 16 MiB took three seconds."""
_MOST_FIELDS = 250_000
"""Fields of a first message, which are counted out before its sender may do anything; a name is one."""


def decode(body: bytes, *, delta: bool, only: str = "") -> Request:
    """A discovery request as a value, without the `Node` that the first of a stream carries.

    At a service of one type, `only`, a request need not name the type.

    Raises:
        UsageError: the bytes are no such message, or it asks for a type that the service is not of.
    """
    name = "DeltaDiscoveryRequest" if delta else "DiscoveryRequest"
    try:
        found = message(_DISCOVERY + name).FromString(body)
    except DecodeError as error:
        raise UsageError(f"{len(body)} bytes that are not a {name}: {error}") from None
    if only and found.type_url not in {"", only}:
        raise UsageError(
            f"a service of {only} was asked for {found.type_url!r}; ask at the service of that type, "
            "or for all types at the aggregated one"
        )
    refusal = None
    if found.HasField("error_detail"):
        refusal = found.error_detail.message[:_LONGEST_REFUSAL] or "refused without a message"
    if delta:
        return DeltaRequest(
            type_url=only or found.type_url,
            subscribe=tuple(found.resource_names_subscribe),
            unsubscribe=tuple(found.resource_names_unsubscribe),
            versions=dict(found.initial_resource_versions),
            nonce=found.response_nonce,
            error=refusal,
        )
    return StateRequest(
        type_url=only or found.type_url,
        names=tuple(found.resource_names),
        version=found.version_info,
        nonce=found.response_nonce,
        error=refusal,
    )


def report(kind: str, body: bytes) -> Any:
    """The message `kind` in which a proxy reports something.

    Raises:
        UsageError: the bytes are no such message, or too many.
    """
    name = kind.rpartition(".")[2]
    if len(body) > _MOST_REPORT_BYTES:
        raise UsageError(f"{len(body)} bytes in one {name}; it may have {_MOST_REPORT_BYTES}")
    try:
        return message(kind).FromString(body)
    except DecodeError as error:
        raise UsageError(f"{len(body)} bytes that are not a {name}: {error}") from None


def said(body: bytes, *, delta: bool, only: str = "") -> Request:
    """What a message on an open stream says; in one of a thousand acks of a push, what the others said.

    Raises:
        UsageError: as `decode`.
    """
    return _short(body, delta=delta, only=only) if len(body) <= _SHORT else decode(body, delta=delta, only=only)


@functools.lru_cache(maxsize=1024)
def _short(body: bytes, *, delta: bool, only: str = "") -> Request:
    return decode(body, delta=delta, only=only)


def node_in(body: bytes, *fields: int) -> Any:
    """The `Node` message in a request of any service, in a field or by way of several; an empty one if not there.

    It is kept for as long as the stream is open, and therefore without what nobody asks for: of a real Envoy's 160 kB
    in memory 3 are left.

    Raises:
        UsageError: the bytes are no message, or hold no `Node` there, or one that is too large.
    """
    try:
        for number in fields:
            body = b"".join(_fields_of(body, number))
        if len(body) > _MOST_NODE_BYTES:
            raise UsageError(f"a node of {len(body)} bytes; it may have {_MOST_NODE_BYTES}")
        node = message("envoy.config.core.v3.Node").FromString(body)
        if (size := node.metadata.ByteSize()) > _MOST_METADATA_BYTES:
            raise UsageError(f"node.metadata has {size} bytes; it may have {_MOST_METADATA_BYTES}")
        for name in _UNASKED:
            node.ClearField(name)
        # Read anew, since a message gives its memory back only as a whole.
        return message("envoy.config.core.v3.Node").FromString(node.SerializeToString())
    except (DecodeError, IndexError) as error:
        raise UsageError(f"{len(body)} bytes that are no request with a node: {error}; {_NODES}") from None


def node_named(name: str) -> Any:
    """The `Node` message of a caller that says no more than its id."""
    return message("envoy.config.core.v3.Node")(id=name)


def node_key(node: Any, home: str = "") -> Key:
    """The virtual node or gateway that an Envoy's id names; `home` is the account whose meshes have bare names.

    Raises:
        UsageError: the id names none.
    """
    if not node.id:
        raise UsageError(f"the first message carries no node id; {_NODES}")
    try:
        key = parse_key(node.id, home)
    except ValueError as error:
        raise UsageError(f"{error}; {_NODES}") from None
    if key.kind not in {Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY}:
        raise UsageError(f"{node.id!r} is a {key.kind.type_name}; an Envoy stands for a virtual node or gateway")
    return key if home else key.within(key.mesh_name)


def identify(node: Any, unnamed: str, home: str = "") -> Proxy:
    """Who an Envoy says it is, from the `Node` of its first message; `unnamed` is its instance where it names none.

    `node.metadata.meshwright` may hold `instance`, a name of this one process of at most 255 characters,
    `placement` with the addresses `application`, `ingress`, `egress` and maybe `outside` of 127/8, `runtime`, whether
    the bootstrap has the runtime layer that ours have, and `separate`, with the `cluster` by which it asks for each
    type at that type's own service, and whether in `delta`.

    Raises:
        UsageError: the id names no virtual node or gateway, or a member of the metadata cannot be used.
    """
    key = node_key(node, home)
    ours = _ours(node)
    instance = ours.get("instance") or unnamed
    if not isinstance(instance, str) or len(instance) > _LONGEST_INSTANCE:
        raise UsageError(
            f"node.metadata.meshwright.instance is {repr(instance)[:_SHOWN]}; it takes a text of up to "
            f"{_LONGEST_INSTANCE} characters"
        )
    version = node.user_agent_build_version.version
    return Proxy(
        id=f"{key.path}@{instance}",
        node=key,
        placement=_placement(ours.get("placement")),
        envoy_version=f"{version.major_number}.{version.minor_number}.{version.patch}"
        if node.HasField("user_agent_build_version")
        else node.user_agent_version[:_LONGEST_VERSION],
        traits=_traits(node, ours),
    )


def registree(node: Any, proxy: Proxy) -> Registree | None:
    """The endpoint that `proxy` registers for its virtual node; None for none.

    `node.metadata.meshwright.endpoint` may hold `address`, an IP address, `port`, and `checked`, true where the
    proxy reports its application's health.

    Raises:
        UsageError: it cannot be an endpoint.
    """
    given = _ours(node).get("endpoint")
    if given is None:
        return None
    if proxy.node.kind is not Kind.VIRTUAL_NODE:
        raise UsageError(f"node.metadata.meshwright.endpoint is of virtual nodes; nobody looks for {proxy.node.path}")
    members = given if isinstance(given, dict) and set(given) <= {"address", "port", "checked"} else {}
    text, port, checked = members.get("address"), members.get("port", 0.0), members.get("checked", False)
    where = _endpoint_address(text, own=isinstance(proxy.placement, Loopback))
    if where is None or not _is_port(port) or not isinstance(checked, bool):
        raise UsageError(
            f"node.metadata.meshwright.endpoint is {given!r}; it takes an IP address at which others reach it as "
            "'address', and may have 'port' (0 for each listener's own) and 'checked'"
        )
    return Registree(
        id=proxy.id,
        node=proxy.node,
        address=where,
        port=int(port),
        zone=proxy.traits.zone,
        checked=checked,
        shared_id=proxy.shared_id,
    )


def _is_port(given: object) -> bool:
    """Whether it is a port or 0, as the only kind of number that protobuf's metadata have."""
    return isinstance(given, float) and given.is_integer() and 0 <= given < 65_536


def _endpoint_address(text: object, *, own: bool) -> str | None:
    """The address as it is written usually; None for what means somebody else, or nobody, to those who call it.

    Whoever is told of a loopback address calls itself, and at a link-local one it may find its machine's metadata
    service: a loopback address is only for those whose listeners are said to be there, its `own`.
    """
    try:
        found = ipaddress.ip_address(text) if isinstance(text, str) and "%" not in text else None
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if found is None or found.is_multicast or found.is_unspecified or found.is_link_local:
        return None
    return str(found) if own or not found.is_loopback else None


def _ours(node: Any) -> dict[str, Any]:
    """What the node's metadata say to us; the rest of them is Envoy's."""
    if "meshwright" not in node.metadata.fields:
        return {}
    try:
        ours = as_dict(node.metadata.fields["meshwright"])
    except ValueError as error:  # JSON has no infinity and no NaN, protobuf has
        raise UsageError(f"node.metadata.meshwright cannot be read: {error}") from None
    if not isinstance(ours, dict):
        raise UsageError(f"node.metadata.meshwright is {ours!r}; it must be an object")
    return ours


def _traits(node: Any, ours: dict[str, Any]) -> Traits:
    runtime, zone = ours.get("runtime", False), node.locality.zone
    if not isinstance(runtime, bool):
        raise UsageError(f"node.metadata.meshwright.runtime is {runtime!r}; it takes true or false")
    if len(zone) > _LONGEST_ZONE:
        raise UsageError(f"node.locality.zone has {len(zone)} characters; it takes up to {_LONGEST_ZONE}")
    said = node.user_agent_build_version
    version = said.version.major_number, said.version.minor_number, said.version.patch
    return Traits(
        version=version if said.HasField("version") else None,
        zone=zone,
        runtime=runtime,
        separate=_separate(ours.get("separate")),
    )


def _separate(given: Any) -> Separate | None:
    if given is None:
        return None
    members = given if isinstance(given, dict) and set(given) <= {"cluster", "delta"} else {}
    cluster, delta = members.get("cluster"), members.get("delta", True)
    if not isinstance(cluster, str) or not 0 < len(cluster) <= _LONGEST_CLUSTER or not isinstance(delta, bool):
        raise UsageError(
            f"node.metadata.meshwright.separate is {given!r}; it takes the name of the bootstrap's cluster for xDS "
            f"as 'cluster', of up to {_LONGEST_CLUSTER} characters, and may have 'delta', true or false"
        )
    return Separate(cluster=cluster, delta=delta)


def _placement(given: Any) -> Placement:
    if given is None:
        return Redirect()
    names = ("application", "ingress", "egress")
    if not isinstance(given, dict) or set(given) - {"outside"} != set(names):
        raise UsageError(
            f"node.metadata.meshwright.placement is {given!r}; it must hold the addresses {', '.join(names)}, "
            "and may hold outside"
        )
    for name in given:
        if not _is_loopback(given[name]):
            raise UsageError(
                f"node.metadata.meshwright.placement.{name} is {given[name]!r}; loopback placement listens only on "
                "addresses of 127.0.0.0/8, written such as 127.0.1.1"
            )
    return Loopback(**given)


def _is_loopback(text: object) -> bool:
    try:
        return isinstance(text, str) and ipaddress.IPv4Address(text).is_loopback
    except ValueError:
        return False


def _fields_of(body: bytes, wanted: int) -> Iterator[bytes]:
    """The contents of every length-delimited field `wanted`: parts of one message are merged by joining them."""
    at = count = 0
    while at < len(body):
        count += 1
        if count > _MOST_FIELDS:
            raise IndexError(f"more than {_MOST_FIELDS} fields")
        tag, at = _read_varint(body, at)
        kind = tag & 7
        if kind == 2:
            size, at = _read_varint(body, at)
            if at + size > len(body):
                raise IndexError("cut off")
            if tag >> 3 == wanted:
                yield body[at : at + size]
            at += size
        elif kind == 0:
            _, at = _read_varint(body, at)
        elif kind in {1, 5}:
            at += 8 if kind == 1 else 4
        else:
            raise IndexError(f"a field of kind {kind}")


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise IndexError("a number of more than 64 bits")
