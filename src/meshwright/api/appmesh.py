"""The App Mesh REST API: the wire around `operations.perform`, routed by the operation table.

The one rule: nothing of App Mesh's semantics is decided here; this module reads HTTP, performs, commits and answers.
Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from meshwright.api import repeating
from meshwright.api.answers import JsonAnswer, ProtocolError
from meshwright.api.connection_facts import connection_facts
from meshwright.errors import BadRequestException
from meshwright.operations import (
    OPERATIONS,
    Memory,
    Request,
    Response,
    Stamp,
    decode_request,
    find,
    key_of,
    perform,
    sees,
)
from meshwright.store.contract import Draft

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from meshwright.api.attempts import Attempt
    from meshwright.api.services import Services
    from meshwright.api.turns import Turns
    from meshwright.operations import Operation
    from meshwright.store.contract import Head
    from meshwright.trust.principals import Principal


_TARGETS = 10_000
"""Targets whose meaning is remembered at most."""
_TARGET_BYTES = 500
"""How long one of them may be: longer ones would make the memory large."""


class AppMesh:
    """The endpoint of all 38 operations, and of every path that is nobody else's."""

    def __init__(self, services: Services, turns: Turns) -> None:
        self._services = services
        self._turns = turns
        self._memory = Memory()
        self._meant: dict[tuple[bytes, bytes], Request] = {}
        """What GETs of a path and a query mean: nothing else has a part in it, and finding out takes 30 µs."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            ProtocolError: no operation can be told from it.
            AccessDeniedError: the caller may not do it.
            ApiError: the operation is refused.
            StorageError: the database refused the commit; nothing was changed.
        """
        state = scope["state"]
        target = scope["raw_path"], scope["query_string"]
        request = self._meant.get(target) if scope["method"] == "GET" and not state["body"] else None
        if request is not None:
            state["operation"], members = request.operation.name, None
        else:
            request, members = _understood(scope)
            if members is None and not request.operation.writes:
                self._remember(target, request)
        principal, facts = state["principal"], connection_facts(scope)
        state["attempt"].target = lambda: key_of(request, self._stamp(principal)).path
        if request.operation.writes:
            asked = _asked(request, members, principal, self._stamp(principal))
            response = await self._written(request, asked, state["attempt"], facts)
        else:
            response = _answer(self._read(request, principal, facts))
        await response(scope, receive, send)

    def _remember(self, target: tuple[bytes, bytes], request: Request) -> None:
        if len(target[0]) + len(target[1]) <= _TARGET_BYTES:
            if len(self._meant) >= _TARGETS:
                self._meant.clear()
            self._meant[target] = request

    def _stamp(self, principal: Principal) -> Stamp:
        return self._services.stamp(principal.account)

    def _read(self, request: Request, principal: Principal, facts: dict[str, str]) -> Response:
        services = self._services
        state, stamp = self._turns.moment().head.state, self._stamp(principal)
        services.authority().permit(principal, request, state, stamp, context=facts)
        return perform(state, request, stamp, memory=self._memory)[1]

    async def _written(
        self, request: Request, asked: repeating.Asked | None, attempt: Attempt, facts: dict[str, str]
    ) -> repeating.Answer:
        """Perform on the newest revision, and commit what came of it with the answer; a repetition gets the first."""
        services, principal = self._services, attempt.principal
        answers: list[repeating.Answer] = []

        def decide(head: Head) -> Draft | None:
            stamp = self._stamp(principal)
            permit = services.authority().permit(principal, request, head.state, stamp, context=facts)
            services.authority().refuse_single(request.operation.name)
            before = repeating.earlier(services.store, asked, stamp.at)
            if before is not None and sees(key_of(request, stamp), stamp):
                answers[:] = [repeating.again(before)]
                return None
            claimed = msgspec.structs.replace(request, stack=permit.stack or None)
            after, response = perform(head.state, claimed, stamp, services.most())
            answers[:] = [_answer(response)]
            if response.key is None:
                return None
            answered = repeating.kept(asked, answers[0], stamp.at)
            cause = request.operation.name
            return Draft.of_one(
                response.key, after, principal=principal.arn, cause=cause, at=stamp.at, answered=answered
            )

        await services.writer.write(decide, attempt=attempt)
        return answers[0]


def _understood(scope: Scope) -> tuple[Request, object]:
    """The request, and its body's JSON."""
    operation, path = _routed(scope["method"], scope["raw_path"])
    scope["state"]["operation"] = operation.name
    members = _json(scope["state"]["body"])
    return decode_request(operation, path, _query(scope["query_string"]), members), members


def _answer(response: Response) -> JsonAnswer:
    return JsonAnswer(msgspec.json.encode(response.body))


def _asked(request: Request, members: object, principal: Principal, stamp: Stamp) -> repeating.Asked | None:
    """The request as one that may be repeated, when it has a token."""
    if request.client_token is None:
        return None
    name, key = request.operation.name, key_of(request, stamp)
    return repeating.of_client_token(request.client_token, principal, name, key, members)


def _routed(method: str, raw_path: bytes) -> tuple[Operation, dict[str, str]]:
    """The operation and the members in its path."""
    try:
        path = raw_path.decode("ascii")
        found = find(method, path)
    except UnicodeDecodeError:
        raise BadRequestException("The path is not percent-encoded UTF-8.") from None
    if found is not None:
        return found
    others = sorted({one.method for one in OPERATIONS.values() if find(one.method, path)})
    if others:
        raise ProtocolError(
            f"{method} is no operation on {path[:200]}; it takes {', '.join(others)}.",
            "UnknownOperationException",
            405,
        )
    raise ProtocolError(f"{method} {path[:200]} is no operation of this server.", "UnknownOperationException", 404)


def _query(raw: bytes) -> dict[str, str]:
    """The query's members, each at most once."""
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise BadRequestException("The query is not percent-encoded UTF-8, or has more than 100 fields.") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise BadRequestException(f"These query parameters appear more than once: [{', '.join(twice)}]")
    return found


def _json(body: bytes) -> object:
    """The body's JSON, None for none; the content type does not matter, as it does not to AWS."""
    if not body.strip():
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ProtocolError(f"The body is not JSON: {reason}", "SerializationException", 400) from None
