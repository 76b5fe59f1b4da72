"""Our extensions one by one: listed, read, put and deleted apart from releases.

The one rule: what App Mesh's API does for its kinds happens here for ours: the same operations, judged for the same
principals, each write a revision of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.api import repeating
from meshwright.api.answers import answer
from meshwright.api.connection_facts import connection_facts
from meshwright.api.objects import shown
from meshwright.errors import BadRequestException, did_you_mean
from meshwright.graph import disowned
from meshwright.model.decoding import DecodeError
from meshwright.model.identity import EXTENSION_KINDS, Key, Kind, split_mesh
from meshwright.operations import Request as Operated
from meshwright.operations import Verb, operation, perform, sees
from meshwright.operations.requests import refusal_text
from meshwright.plan import decoded, differences
from meshwright.store.contract import Draft

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.services import Services
    from meshwright.model.state import Resource
    from meshwright.store.contract import Head


class PutRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of an extension: what is not here is not there afterwards."""

    spec: dict[str, Any]
    tags: dict[str, str] = {}


async def get_extensions(services: Services, request: Request) -> Response:
    """The extensions of a mesh, of one `kind` or of all, in order; none for an unknown mesh."""
    mesh, head, wanted = request.path_params["mesh"], services.store.head(), request.query_params.get("kind")
    kinds = EXTENSION_KINDS if wanted is None else (_kind(wanted),)
    found = [shown(one, request.state.principal) for kind in kinds for one in head.state.of(kind, mesh)]
    return answer({"mesh": mesh, "revision": head.revision, "extensions": found})


async def get_extension(services: Services, request: Request) -> Response:
    """One extension with its metadata and stack."""
    asked, principal = _asked(services, _key(request), Verb.DESCRIBE), request.state.principal
    state, stamp = services.store.head().state, services.stamp(principal.account)
    services.authority().permit(principal, asked, state, stamp, context=connection_facts(request.scope))
    _, response = perform(state, asked, stamp)
    return _said(response.resource, request)


async def put_extension(services: Services, request: Request) -> Response:
    """Create an extension, or replace it whole; 201 for a new one, 200 also where nothing changed."""
    key = _key(request)
    try:
        body = msgspec.json.decode(await request.body(), type=PutRequest)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadRequestException(f"The body is no PutRequest: {reason}.") from None
    try:
        wanted = decoded(key, body.spec, body.tags)
    except DecodeError as error:
        raise BadRequestException(refusal_text(list(error.problems))) from None
    return await _written(services, request, key, wanted)


async def delete_extension(services: Services, request: Request) -> Response:
    """Delete an extension; the answer is what it was."""
    return await _written(services, request, _key(request), None)


async def _written(services: Services, request: Request, key: Key, wanted: Resource | None) -> Response:
    """Put `wanted`, or delete `key`, in the newest revision; a repetition gets the first answer."""
    principal, facts = request.state.principal, connection_facts(request.scope)
    place = f"{request.scope['state']['operation']}/{key}"
    body = None if wanted is None else msgspec.to_builtins((wanted.spec, wanted.tags))
    repeated = repeating.of_header(request, place, body)
    answers: list[Response] = []

    def decide(head: Head) -> Draft | None:
        stamp, there = services.stamp(principal.account), head.state.get(key)
        if wanted is None:
            asked = _asked(services, key, Verb.DELETE)
        else:
            asked = _asked(services, key, Verb.CREATE if there is None else Verb.UPDATE)
            asked = msgspec.structs.replace(asked, spec=wanted.spec, tags=wanted.tags)
        permit = services.authority().permit(principal, asked, head.state, stamp, context=facts)
        services.authority().refuse_single(asked.operation.name)
        before = repeating.earlier(services.store, repeated, stamp.at)
        if before is not None and sees(key, stamp):
            answers[:] = [repeating.again(before)]
            return None
        # What has lost its effect to another owner of its target is judged and put anew.
        stands = there is not None and not any(disowned(there, one, head.state) for one in there.owned)
        if (
            wanted is not None
            and there is not None
            and stands
            and sees(key, stamp)
            and not differences(there, wanted)
        ):
            answers[:] = [_said(there, request)]
            return None
        claimed = msgspec.structs.replace(asked, stack=permit.stack or None)
        after, response = perform(head.state, claimed, stamp, services.most())
        answers[:] = [_said(response.resource, request, 200 if there is not None else 201)]
        answered = repeating.kept(repeated, answers[0], stamp.at)
        cause = asked.operation.name
        return Draft.of_one(key, after, principal=principal.arn, cause=cause, at=stamp.at, answered=answered)

    await services.writer.write(decide, attempt=request.state.attempt)
    return answers[0]


def _asked(services: Services, key: Key, verb: Verb) -> Operated:
    """The operation on `key`, as the App Mesh API would ask for it."""
    mesh, owner = split_mesh(key.mesh)
    return Operated(
        operation=operation(verb, key.kind), mesh=mesh, mesh_owner=owner or services.account, name=key.name
    )


def _said(one: Resource | None, request: Request, status: int = 200) -> Response:
    return answer(shown(one, request.state.principal) if one is not None else None, status)


def _key(request: Request) -> Key:
    members = request.path_params
    return Key(members["mesh"], _kind(members["kind"]), members["name"])


def _kind(text: str) -> Kind:
    if text not in EXTENSION_KINDS:
        known = [str(kind) for kind in EXTENSION_KINDS]
        hint = did_you_mean(text, known, f"There are {', '.join(known)}.", sentence=True)
        raise BadRequestException(f"{text!r} is no kind of extension. {hint}")
    return Kind(text)
