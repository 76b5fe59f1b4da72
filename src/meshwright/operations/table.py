"""The 38 operations of the App Mesh API as a table: what `perform` does and what `api` routes by.

The one rule: every row of `OPERATIONS` is held against the published service model by
`tests/test_operations_conformance.py`. What can be done to our extensions are rows of a table of their own, which no
path of that API leads to.
Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import unquote

import msgspec

from meshwright.errors import (
    ApiError,
    BadRequestException,
    ConflictException,
    ForbiddenException,
    InternalServerErrorException,
    LimitExceededException,
    NotFoundException,
    ResourceInUseException,
    ServiceUnavailableException,
    TooManyRequestsException,
    TooManyTagsException,
)
from meshwright.model.identity import EXTENSION_KINDS, PORTABLE_KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = "/v20190125"
"""What every path of the API starts with: the version of the service model."""


class Verb(enum.StrEnum):
    """What an operation does to a kind of object."""

    CREATE = "Create"
    DESCRIBE = "Describe"
    UPDATE = "Update"
    DELETE = "Delete"
    LIST = "List"
    TAG = "TagResource"
    UNTAG = "UntagResource"
    LIST_TAGS = "ListTagsForResource"


class Member(msgspec.Struct, frozen=True):
    """A member of an operation's input, and where it travels."""

    name: str
    location: Literal["uri", "querystring", "body"]
    required: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the API."""

    name: str
    method: Literal["GET", "PUT", "DELETE"]
    uri: str
    """The path's template: `/v20190125/meshes/{meshName}`."""
    verb: Verb
    kind: Kind | None
    """None for the operations on tags."""
    members: tuple[Member, ...]
    errors: tuple[type[ApiError], ...]
    output: str = ""
    """The one member of the output: the whole body of create, describe, update and delete; the list of a list."""

    @property
    def action(self) -> str:
        """What a policy must allow: `appmesh:CreateRoute`, `meshwright:PutExtension`."""
        return f"{'appmesh' if self.kind is None or self.kind.portable else 'meshwright'}:{self.name}"

    @property
    def writes(self) -> bool:
        """Whether it changes the state; what writes is idempotent, as the published model says."""
        return self.method != "GET"

    @property
    def most(self) -> int:
        """The largest `limit` of a list, and its default; 0 for what is no list."""
        return {Verb.LIST: 100, Verb.LIST_TAGS: 50}.get(self.verb, 0)


_Errors: TypeAlias = tuple[type[ApiError], ...]
_EVERYWHERE: _Errors = (
    BadRequestException,
    ForbiddenException,
    InternalServerErrorException,
    NotFoundException,
    ServiceUnavailableException,
    TooManyRequestsException,
)
_TOKEN = Member("clientToken", "body")
_OWNER = Member("meshOwner", "querystring")
_PAGE = (Member("limit", "querystring"), Member("nextToken", "querystring"))
_ARN = Member("resourceArn", "querystring", required=True)


def _collection(kind: Kind) -> tuple[str, tuple[Member, ...]]:
    """The path under which objects of `kind` are created and listed, and its members."""
    if kind is Kind.MESH:
        return f"{PREFIX}/meshes", ()
    path = f"{PREFIX}/meshes/{{meshName}}"
    members: tuple[Member, ...] = (Member("meshName", "uri", required=True),)
    if kind.parent:
        path += f"/{kind.parent}/{{{kind.parent.name_field}}}"
        members += (Member(kind.parent.name_field, "uri", required=True),)
    return f"{path}/{kind}s", members


def _of_kind(kind: Kind) -> Iterator[Operation]:
    path, above = _collection(kind)
    one, inside = f"{path}/{{{kind.name_field}}}", (*above, Member(kind.name_field, "uri", required=True))
    plural = "meshes" if kind is Kind.MESH else f"{kind}s"
    mesh = kind is Kind.MESH
    # The mesh's own writes and the list of meshes know no other owner than the caller.
    owner = () if mesh else (_OWNER,)
    spec = Member("spec", "body", required=not mesh)
    changing: _Errors = (ConflictException,)
    limited: _Errors = (*changing, LimitExceededException)

    def row(verb: Verb, method: Literal["GET", "PUT", "DELETE"], *members: Member, errors: _Errors = ()) -> Operation:
        return Operation(
            name=f"{verb}{plural[0].upper()}{plural[1:]}" if verb is Verb.LIST else f"{verb}{kind.type_name}",
            method=method,
            uri=path if verb in {Verb.CREATE, Verb.LIST} else one,
            verb=verb,
            kind=kind,
            members=members,
            errors=(*_EVERYWHERE, *errors),
            output=plural if verb is Verb.LIST else str(kind),
        )

    name = Member(kind.name_field, "body", required=True)
    yield row(Verb.CREATE, "PUT", *above, *owner, name, spec, Member("tags", "body"), _TOKEN, errors=limited)
    yield row(Verb.DESCRIBE, "GET", *inside, _OWNER)
    yield row(Verb.UPDATE, "PUT", *inside, *owner, spec, _TOKEN, errors=changing if mesh else limited)
    yield row(Verb.DELETE, "DELETE", *inside, *owner, errors=(ResourceInUseException,))
    yield row(Verb.LIST, "GET", *above, *owner, *_PAGE)


def _of_tags() -> Iterator[Operation]:
    tags, keys = Member("tags", "body", required=True), Member("tagKeys", "body", required=True)
    yield Operation(
        name="TagResource",
        method="PUT",
        uri=f"{PREFIX}/tag",
        verb=Verb.TAG,
        kind=None,
        members=(_ARN, tags),
        errors=(*_EVERYWHERE, TooManyTagsException),
    )
    yield Operation(
        name="UntagResource",
        method="PUT",
        uri=f"{PREFIX}/untag",
        verb=Verb.UNTAG,
        kind=None,
        members=(_ARN, keys),
        errors=_EVERYWHERE,
    )
    yield Operation(
        name="ListTagsForResource",
        method="GET",
        uri=f"{PREFIX}/tags",
        verb=Verb.LIST_TAGS,
        kind=None,
        members=(_ARN, *_PAGE),
        errors=_EVERYWHERE,
        output="tags",
    )


def _of_extension(kind: Kind) -> Iterator[Operation]:
    """What can be done to an extension; to put is to create it or to replace it, tags included."""
    inside = (Member("meshName", "uri", required=True), Member(kind.name_field, "uri", required=True))
    sent = (*inside, Member("spec", "body", required=True), Member("tags", "body"))

    def row(name: str, method: Literal["GET", "PUT", "DELETE"], verb: Verb, members: tuple[Member, ...]) -> Operation:
        return Operation(
            name=name,
            method=method,
            uri=f"/meshes/{{meshName}}/extensions/{kind}/{{name}}",
            verb=verb,
            kind=kind,
            members=members,
            errors=_EVERYWHERE,
        )

    yield row("PutExtension", "PUT", Verb.CREATE, sent)
    yield row("PutExtension", "PUT", Verb.UPDATE, sent)
    yield row("GetExtension", "GET", Verb.DESCRIBE, inside)
    yield row("DeleteExtension", "DELETE", Verb.DELETE, inside)


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {one.name: one for one in (*(row for kind in PORTABLE_KINDS for row in _of_kind(kind)), *_of_tags())}
)
"""Every operation of the App Mesh API by its name."""

_BY_VERB: Mapping[tuple[Verb, Kind | None], Operation] = MappingProxyType(
    {
        (one.verb, one.kind): one
        for one in (*OPERATIONS.values(), *(row for kind in EXTENSION_KINDS for row in _of_extension(kind)))
    }
)

_BY_LENGTH: Mapping[int, tuple[tuple[tuple[str, ...], Operation], ...]] = MappingProxyType(
    {
        length: tuple((tuple(one.uri.split("/")), one) for one in OPERATIONS.values() if one.uri.count("/") == length)
        for length in range(2, 8)
    }
)


def operation(verb: Verb, kind: Kind) -> Operation:
    """The operation that does `verb` to objects of `kind`, ours too; the three on tags are `OPERATIONS[verb]`."""
    return _BY_VERB[verb, kind]


def find(method: str, raw_path: str) -> tuple[Operation, dict[str, str]] | None:
    """The operation that a request is for and the members in its path, percent-decoded; None for no operation.

    `raw_path` is as it was sent, so that an encoded slash stays inside the name that it belongs to.

    Raises:
        UnicodeDecodeError: a member is not percent-encoded UTF-8.
    """
    segments = raw_path.split("/")
    for template, one in _BY_LENGTH.get(len(segments) - 1, ()):
        if one.method == method and all(
            want == got or want.startswith("{") for want, got in zip(template, segments, strict=True)
        ):
            found = {
                want[1:-1]: unquote(got, errors="strict")
                for want, got in zip(template, segments, strict=True)
                if want.startswith("{")
            }
            return one, found
    return None
