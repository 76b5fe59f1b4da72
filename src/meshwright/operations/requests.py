"""What an operation is asked with and answers with, as values, and the way from the wire to them.

The one rule: everything wrong with a request's members is said in one BadRequestException, each with its wire path.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from meshwright.errors import BadRequestException, did_you_mean
from meshwright.model.decoding import DecodeError, Problem, decode
from meshwright.model.identity import DEFAULT_ACCOUNT, DEFAULT_REGION, Key, Kind
from meshwright.model.scalars import AccountId, ResourceName, TagKey
from meshwright.model.specs import MeshSpec, TagRef
from meshwright.model.state import SPECS, Resource, Spec
from meshwright.model.tls import TlsValidationContextTrust
from meshwright.operations.table import Member, Operation, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

TagList = Annotated[tuple[TagRef, ...], Meta(max_length=50)]
TagKeyList = Annotated[tuple[TagKey, ...], Meta(max_length=50)]
_CLIENT_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,36}")


Sharing: TypeAlias = frozenset[tuple[str, str, str]]
"""Meshes that other accounts may use: (owner's account, bare name, consumer's account)."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call of an operation, decoded; members that the operation does not take keep their defaults."""

    operation: Operation
    mesh: str = ""
    """Without its owner: `accounts.key_of` tells which object is meant."""
    name: str = ""
    """The object's name; "" for lists and tags, the mesh's own name for a mesh."""
    parent: str = ""
    """The router's name for routes, the gateway's for gateway routes."""
    mesh_owner: str | None = None
    """None for the caller's own account."""
    spec: Spec | None = None
    tags: tuple[TagRef, ...] = ()
    tag_keys: tuple[str, ...] = ()
    client_token: str | None = None
    """Who asks again with the same token gets the first answer; `api` sees to that, `perform` does not look at it."""
    resource_arn: str = ""
    limit: int | None = None
    next_token: str | None = None
    stack: str | None = None
    """The stack that the written object shall belong to; None leaves it as it is. Never from the wire."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation needs from the outside: the time, a fresh id, who asks, and whose server this is."""

    at: int
    """Milliseconds since the epoch, UTC."""
    uid: str
    """The `uid` of the object, should one be created."""
    account: str = DEFAULT_ACCOUNT
    """The caller's."""
    home: str = DEFAULT_ACCOUNT
    """The server's own: its meshes have bare names in keys."""
    shared: Sharing = frozenset()
    """Which meshes are shared with whom."""
    region: str = DEFAULT_REGION
    partition: str = "aws"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An operation's answer."""

    body: dict[str, Any] | msgspec.Raw
    """The JSON body or its bytes, wire names; times are seconds since the epoch with milliseconds."""
    key: Key | None = None
    """The object that was written, None when nothing was."""
    resource: Resource | None = None
    """The object after a create, update, tag or untag, before a delete, or described; None for lists."""


def decode_request(operation: Operation, path: Mapping[str, str], query: Mapping[str, str], body: object) -> Request:
    """The request that the members in the path, the query and the JSON body make up.

    Query members that the operation does not take are ignored, body members are not.

    Raises:
        BadRequestException: with every fault found.
    """
    reader = _Reader(operation, path, query, body)
    kind = operation.kind
    request = Request(
        operation=operation,
        mesh=reader.name("meshName"),
        name=reader.name(kind.name_field) if kind else "",
        parent=reader.name(kind.parent.name_field) if kind and kind.parent else "",
        mesh_owner=reader.take("meshOwner", AccountId, None),
        spec=reader.spec(),
        tags=reader.take("tags", TagList, ()),
        tag_keys=reader.take("tagKeys", TagKeyList, ()),
        client_token=reader.client_token(),
        resource_arn=reader.take("resourceArn", str, ""),
        limit=reader.limit(),
        next_token=reader.take("nextToken", str, None),
    )
    if reader.problems:
        raise BadRequestException(refusal_text(reader.problems))
    return request


_QUOTED = frozenset({TlsValidationContextTrust.one_of_message})
"""Faults that the service itself words; alone they are the whole message."""


_MOST_TOLD = 100
"""Problems that one message tells; a megabyte of nonsense is not answered with ten."""


def refusal_text(problems: list[Problem]) -> str:
    """The first of `problems`, and how many there are, as one message in the service's voice."""
    if len(problems) == 1 and problems[0].message in _QUOTED:
        return problems[0].message
    said = "; ".join(
        f"Value at '{one.path}' failed to satisfy constraint: {one.message}{', ' + one.hint if one.hint else ''}"
        for one in problems[:_MOST_TOLD]
    )
    more = f"; and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
    return f"{len(problems)} validation error{'s' * (len(problems) != 1)} detected: {said}{more}"


@functools.cache
def _in_body(members: tuple[Member, ...]) -> frozenset[str]:
    return frozenset(one.name for one in members if one.location == "body")


class _Reader:
    """The members of one request; collects what is wrong with them."""

    def __init__(self, operation: Operation, path: Mapping[str, str], query: Mapping[str, str], body: object) -> None:
        self.operation = operation
        self.problems: list[Problem] = []
        self._values: dict[str, object] = {**query, **path}
        known = _in_body(operation.members)
        self._values = {
            one.name: self._values[one.name]
            for one in operation.members
            if one.location != "body" and one.name in self._values
        }
        if body is None:
            body = {}
        if not isinstance(body, dict):
            self.problems.append(Problem("MW001", "", "the body is not a JSON object"))
            body = {}
        for name, value in body.items():
            if name in known:
                self._values[name] = value
            else:
                told = len(self.problems) < _MOST_TOLD
                listed = f"known here: {', '.join(sorted(known)) or 'nothing'}"
                hint = did_you_mean(name, known, listed) if told else listed
                self.problems.append(Problem("MW001", name, f"unknown field {name!r}", hint))
        for one in operation.members:
            if one.required and self._values.get(one.name) is None:
                self.problems.append(Problem("MW001", one.name, "is required"))

    def take(self, name: str, wanted: Any, default: Any) -> Any:
        """The member as `wanted`, `default` where it is absent or wrong."""
        value = self._values.get(name)
        if value is None:
            return default
        try:
            return decode(wanted, value, at=name)
        except DecodeError as error:
            self.problems.extend(error.problems)
            return default

    def name(self, member: str) -> str:
        """A name; an @ would make one object's name another account's."""
        found: str = self.take(member, ResourceName, "")
        told = any(one.path == member for one in self.problems)
        if "@" in found and not told:
            hint = "; meshOwner says whose mesh is meant" if member == "meshName" else ""
            self.problems.append(Problem("MW002", member, f"{found!r} has an @, which no name may have{hint}"))
        return found

    def client_token(self) -> str | None:
        """The idempotency token.

        Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_CreateMesh.html
        """
        found: str | None = self.take("clientToken", str, None)
        if found is not None and not _CLIENT_TOKEN.fullmatch(found):
            text = f"{found[:60]!r} is not made of 1 to 36 letters, numbers, hyphens and underscores"
            self.problems.append(Problem("MW002", "clientToken", text))
        return found

    def spec(self) -> Spec | None:
        """The spec as its kind's shape; a mesh without one has an empty one."""
        kind = self.operation.kind
        if kind is None or self.operation.verb not in {Verb.CREATE, Verb.UPDATE}:
            return None
        found: Spec | None = self.take("spec", SPECS[kind], MeshSpec() if kind is Kind.MESH else None)
        return found

    def limit(self) -> int | None:
        """The page size, a number in the query."""
        text, most = self._values.get("limit"), self.operation.most
        if text is None:
            return None
        if re.fullmatch("[0-9]{1,9}", str(text)) and 1 <= int(str(text)) <= most:
            return int(str(text))
        self.problems.append(Problem("MW002", "limit", f"{text!r} is not a number from 1 to {most}"))
        return None
