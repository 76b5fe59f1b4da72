"""App Mesh's own semantics as one function of a state and a request.

The one rule: a refused request leaves the state as it was; an accepted one changes exactly one object.

The order in which a request is judged (nothing public settles it; this is ours):

1. its members, all faults in one BadRequestException (`requests.decode_request`);
2. the mesh: NotFoundException when it is not there, or another account's that does not share it with the caller;
   then the router or gateway, NotFoundException; then what a caller may do in another account's mesh,
   ForbiddenException (`accounts`);
3. the object itself: NotFoundException, for a create ConflictException when the name is taken, by an equal object
   too; then whether it is the caller's to change, ForbiddenException;
4. tags;
5. the object's own rules, then what it refers to, then what refers to it (`constraints.refusal`), then listeners
   that others depend on; for a delete ResourceInUseException;
6. quotas.

Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright import constraints
from meshwright.errors import BadRequestException, ConflictException, NotFoundException
from meshwright.graph import owned
from meshwright.model.identity import Key, Kind
from meshwright.model.state import Metadata, Resource, State
from meshwright.operations import accounts, paging, references, replies, tagging
from meshwright.operations.quotas import DEFAULT_QUOTAS, Quotas, refuse_excess
from meshwright.operations.requests import Request, Response, Stamp
from meshwright.operations.table import Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshwright.model.state import Spec


def perform(
    state: State,
    request: Request,
    stamp: Stamp,
    quotas: Quotas = DEFAULT_QUOTAS,
    memory: replies.Memory | None = None,
) -> tuple[State, Response]:
    """The state after `request`, and the answer; the same state where nothing was written.

    With a `memory`, what is described and listed is answered in JSON as it remembers it, which is quicker.

    Raises:
        ApiError: the request is refused, with the error and the words of App Mesh.
    """
    if request.operation.verb is Verb.LIST:
        return _list(state, request, stamp, memory)
    if request.operation.verb is Verb.DESCRIBE:
        return _describe(state, request, stamp, memory)
    return _PERFORMERS[request.operation.verb](state, request, stamp, quotas)


def changes(before: State, after: State) -> tuple[tuple[Resource, ...], tuple[Key, ...]]:
    """What a commit takes: the objects that `after` has new or different, and the keys that it lacks."""
    keys = after.differing(before)
    return tuple(after[key] for key in keys if key in after), tuple(key for key in keys if key not in after)


def _create(state: State, request: Request, stamp: Stamp, quotas: Quotas) -> tuple[State, Response]:
    key = accounts.key_of(request, stamp)
    owner = accounts.mesh_owner(key, stamp)
    _refuse_missing_owner(state, key, stamp)
    accounts.refuse_stranger(Verb.CREATE, key, None, stamp)
    if key in state:
        where = "" if key.kind is Kind.MESH else f" under {_place(key)}"
        raise ConflictException(
            f"{key.kind.type_name} with name {key.wire_name} already exists{where} for account {owner}"
        )
    tagging.refuse_tags(request.tags)
    fresh = Metadata(
        uid=stamp.uid,
        version=1,
        created_at=stamp.at,
        last_updated_at=stamp.at,
        mesh_owner=owner,
        resource_owner=stamp.account,
    )
    resource = Resource(
        key=key,
        spec=_spec(request),
        tags=tagging.ordered(request.tags),
        stack=request.stack or "",
        unreleased=bool(request.stack),
        metadata=fresh,
    )
    resource = _relying(resource, state)
    after = state.put(resource)
    _refuse_by_constraints(after, key, created=True)
    refuse_excess(after, resource, quotas, before=None)
    return after, Response(body=replies.reply(resource, stamp), key=key, resource=resource)


def _update(state: State, request: Request, stamp: Stamp, quotas: Quotas) -> tuple[State, Response]:
    before = _present(state, request, stamp)
    key = before.key
    if not key.kind.portable:
        # An extension is replaced whole; App Mesh's updates leave the tags alone.
        tagging.refuse_tags(request.tags)
        before = msgspec.structs.replace(before, tags=tagging.ordered(request.tags))
    resource = msgspec.structs.replace(
        before,
        spec=_spec(request),
        stack=before.stack if request.stack is None else request.stack,
        unreleased=before.unreleased or request.stack not in {None, before.stack},
        metadata=_next(before, stamp),
    )
    resource = _relying(resource, state)
    after = state.put(resource)
    _refuse_by_constraints(after, key, created=False)
    if key.kind is Kind.VIRTUAL_ROUTER:
        references.refuse_moved_listeners(before, resource, references.dependents(state, key))
    refuse_excess(after, resource, quotas, before=before)
    return after, Response(body=replies.reply(resource, stamp), key=key, resource=resource)


def _relying(resource: Resource, state: State) -> Resource:
    """The same, with what it reaches as its owner, if it is an extension."""
    return resource if resource.key.kind.portable else msgspec.structs.replace(resource, owned=owned(resource, state))


def _delete(state: State, request: Request, stamp: Stamp, quotas: Quotas) -> tuple[State, Response]:
    del quotas
    resource = _present(state, request, stamp)
    references.refuse_in_use(state, resource.key, accounts.mesh_owner(resource.key, stamp))
    # A deleted mesh keeps its version in the user guide's samples; every other kind counts the delete as a change.
    last = _next(resource, stamp)
    if resource.key.kind is Kind.MESH:
        last = msgspec.structs.replace(last, version=last.version - 1)
    gone = msgspec.structs.replace(resource, metadata=last)
    answer = Response(body=replies.reply(gone, stamp, "DELETED"), key=resource.key, resource=resource)
    return state.drop(resource.key), answer


def _describe(state: State, request: Request, stamp: Stamp, memory: replies.Memory | None) -> tuple[State, Response]:
    resource = _present(state, request, stamp)
    said = replies.reply(resource, stamp) if memory is None else memory.reply(resource, stamp)
    return state, Response(body=said, resource=resource)


def _list(state: State, request: Request, stamp: Stamp, memory: replies.Memory | None) -> tuple[State, Response]:
    kind = request.operation.kind
    if kind is None:
        raise AssertionError("a list is of one kind")
    if kind is Kind.MESH:
        mesh, found = "", state.of(kind)
    else:
        key = accounts.key_of(request, stamp)
        mesh = key.mesh
        _refuse_missing_owner(state, key, stamp)
        found = state.of(kind, mesh, request.parent)
    limit, scope = _limit(request), f"{request.operation.name}/{mesh}/{request.parent}"

    def page() -> dict[str, Any]:
        seen = accounts.seen(found, stamp) if kind is Kind.MESH else found
        listed, token = paging.page(seen, accounts.by_name, scope=scope, limit=limit, token=request.next_token)
        return {request.operation.output: [replies.summary(one, stamp, memory) for one in listed], "nextToken": token}

    if memory is None:
        return state, Response(body=page())
    # Which meshes an account sees depends on who shares with it as well.
    sees = (stamp.account, stamp.shared) if kind is Kind.MESH else None
    return state, Response(body=memory.recall((scope, limit, request.next_token, sees), found, page))


def _tag(state: State, request: Request, stamp: Stamp, quotas: Quotas) -> tuple[State, Response]:
    del quotas
    before = _named_by_arn(state, request, stamp)
    tags = tagging.tagged(before.tags, request.tags, request.resource_arn)
    return _retagged(state, before, msgspec.structs.replace(before, tags=tags))


def _untag(state: State, request: Request, stamp: Stamp, quotas: Quotas) -> tuple[State, Response]:
    del quotas
    before = _named_by_arn(state, request, stamp)
    tags = tagging.untagged(before.tags, request.tag_keys)
    return _retagged(state, before, msgspec.structs.replace(before, tags=tags))


def _retagged(state: State, before: Resource, after: Resource) -> tuple[State, Response]:
    """The state with the tags changed; tags that stay as they are are no write."""
    if after.tags == before.tags:
        return state, Response(body={}, resource=before)
    return state.put(after), Response(body={}, key=after.key, resource=after)


def _list_tags(state: State, request: Request, stamp: Stamp, quotas: Quotas) -> tuple[State, Response]:
    del quotas
    resource = _named_by_arn(state, request, stamp)
    listed, token = paging.page(
        tagging.ordered(resource.tags),
        lambda tag: tag.key,
        scope=f"{request.operation.name}/{resource.key}",
        limit=_limit(request),
        token=request.next_token,
    )
    return state, Response(body={"tags": [msgspec.to_builtins(tag) for tag in listed], "nextToken": token})


_PERFORMERS: Mapping[Verb, Callable[[State, Request, Stamp, Quotas], tuple[State, Response]]] = MappingProxyType(
    {
        Verb.CREATE: _create,
        Verb.UPDATE: _update,
        Verb.DELETE: _delete,
        Verb.TAG: _tag,
        Verb.UNTAG: _untag,
        Verb.LIST_TAGS: _list_tags,
    }
)


def _spec(request: Request) -> Spec:
    if request.spec is None:
        raise BadRequestException(
            "1 validation error detected: Value at 'spec' failed to satisfy constraint: is required"
        )
    return request.spec


def _refuse_by_constraints(after: State, key: Key, *, created: bool) -> None:
    refusal = constraints.refusal(references.neighbourhood(after, key, created=created), key)
    if refusal is not None:
        raise refusal


def _refuse_missing_owner(state: State, key: Key, stamp: Stamp) -> None:
    """Raise when the mesh, or the router or gateway, that `key` lies in is not there or not for the caller to see."""
    mesh = Key.of_mesh(key.mesh)
    if not accounts.sees(key, stamp) or (key.kind is not Kind.MESH and mesh not in state):
        raise _absent(mesh, stamp)
    owner = key.owner
    if owner is not None and owner not in state:
        raise _absent(owner, stamp)


def _present(state: State, request: Request, stamp: Stamp) -> Resource:
    """The object that the request names; one that it would change is the caller's to change."""
    key = accounts.key_of(request, stamp)
    _refuse_missing_owner(state, key, stamp)
    resource = state.get(key)
    if resource is None:
        raise _absent(key, stamp)
    if request.operation.writes:
        accounts.refuse_stranger(request.operation.verb, key, resource, stamp)
    return resource


def _named_by_arn(state: State, request: Request, stamp: Stamp) -> Resource:
    """The object whose tags are meant; only the account that created it reads and changes them."""
    key = accounts.key_of(request, stamp)
    if not accounts.sees(key, stamp):
        raise accounts.unknown_arn(request.resource_arn, stamp)
    resource = state.get(key)
    if resource is None:
        raise _absent(key, stamp)
    if replies.metadata(resource, stamp).resource_owner != request.resource_arn.split(":", 5)[4]:
        raise accounts.unknown_arn(request.resource_arn, stamp)
    accounts.refuse_stranger(request.operation.verb, key, resource, stamp)
    return resource


def _absent(key: Key, stamp: Stamp) -> NotFoundException:
    """The error for an object that is not there, in the service's words for a virtual node."""
    where = "" if key.kind is Kind.MESH else f" under {_place(key)}"
    owner = accounts.mesh_owner(key, stamp)
    return NotFoundException(
        f"{key.kind.type_name} with name {key.wire_name} is not present{where} for account {owner}"
    )


def _place(key: Key) -> str:
    """Where an object lies, as messages say it."""
    parent = f"{key.kind.parent.type_name} {key.parent} in " if key.kind.parent else ""
    return f"{parent}mesh {key.mesh_name}"


def _next(resource: Resource, stamp: Stamp) -> Metadata:
    """The metadata after one more change."""
    known = replies.metadata(resource, stamp)
    # A clock that was set back must not make an object older than it is.
    at = max(stamp.at, known.last_updated_at)
    return msgspec.structs.replace(known, version=known.version + 1, last_updated_at=at)


def _limit(request: Request) -> int:
    most = request.operation.most
    limit = most if request.limit is None else request.limit
    if not 1 <= limit <= most:
        raise BadRequestException(f"The limit {limit} is not a number from 1 to {most}")
    return limit
