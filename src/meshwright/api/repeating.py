"""Requests that may be repeated: the first answer to a token, kept with what it did and given again word for word.

The one rule: the answer is written in the transaction of the change that it tells of, so that there is never one
without the other. A refusal is not kept, nor an answer that changed nothing: deciding those anew harms nobody.

App Mesh's `clientToken` and the `Idempotency-Key` of our own endpoints are told apart; both are a user's or a role's,
so that nobody uses up another's or reads what it was answered, and are forgotten after a day.
Sources: https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_CreateMesh.html and
https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from starlette.responses import Response

from meshwright.api.answers import JsonAnswer
from meshwright.errors import BadRequestException, ConflictException
from meshwright.store.contract import Answered

if TYPE_CHECKING:
    from starlette.requests import Request

    from meshwright.model.identity import Key
    from meshwright.store.contract import Store
    from meshwright.trust.principals import Principal

Answer: TypeAlias = Response | JsonAnswer

KEPT = 24 * 60 * 60 * 1000
"""Milliseconds for which an answer is given again."""
HEADER = "idempotency-key"

_KEY = re.compile(r"[!-~]{1,128}")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that names a token."""

    scope: str
    """Whose the token is: `ACCOUNT user/NAME`, or of all sessions of a role `ACCOUNT role/NAME`."""
    token: str
    digest: str
    """Of what is asked: another one with the same token is another request."""
    conflict: str
    """What to say of that one."""


def of_client_token(token: str, principal: Principal, operation: str, key: Key, body: object) -> Asked:
    """A call of the App Mesh API with a `clientToken`; `key` is the object that it means, `body` its decoded JSON."""
    rest = {name: value for name, value in body.items() if name != "clientToken"} if isinstance(body, dict) else {}
    return Asked(
        scope=_scope(principal),
        token=f"clientToken:{token}",
        digest=_digest(operation, str(key), rest),
        conflict=(
            "The request contains a client token that was used for a previous update resource call with different "
            "specifications. Try the request again with a new client token."
        ),
    )


def of_header(request: Request, place: str, body: object) -> Asked | None:
    """A call of one of our endpoints with an `Idempotency-Key`; `place` is what is called. None without one.

    Raises:
        BadRequestException: there are several, it is malformed, or the signature does not cover it.
    """
    found = request.headers.getlist(HEADER)
    if not found:
        return None
    key = found[0]
    if len(found) > 1 or not _KEY.fullmatch(key):
        raise BadRequestException("Idempotency-Key takes 1 to 128 printable characters, no spaces, and comes once.")
    if HEADER.encode() not in request.state.signed_headers:
        raise BadRequestException(
            "Idempotency-Key is not signed; whoever carries the request could change it. Sign it as a header."
        )
    return Asked(
        scope=_scope(request.state.principal),
        token=f"Idempotency-Key:{key}",
        digest=_digest(place, body),
        conflict=(
            "The request contains an Idempotency-Key that was used for a previous request with other content. "
            "Try the request again with a new one."
        ),
    )


def earlier(store: Store, asked: Asked | None, now: int) -> Answered | None:
    """What the same request was answered, if it came before.

    Raises:
        ConflictException: another request came with the token.
    """
    found = store.answered(asked.scope, asked.token) if asked is not None else None
    if asked is None or found is None or found.at + KEPT <= now:
        return None
    if found.digest != asked.digest:
        raise ConflictException(asked.conflict)
    return found


def kept(asked: Asked | None, answer: Answer, now: int) -> Answered | None:
    """`answer`, to be stored along with what it tells of."""
    if asked is None:
        return None
    return Answered(
        scope=asked.scope,
        token=asked.token,
        digest=asked.digest,
        status=answer.status_code,
        body=bytes(answer.body).decode(),
        at=now,
    )


def again(found: Answered) -> Response:
    """The first answer once more."""
    return Response(found.body, found.status, media_type="application/json")


def _scope(principal: Principal) -> str:
    return f"{principal.account} {principal.kind}/{principal.name}"


def _digest(*parts: object) -> str:
    """Of the parts' canonical JSON: the order of members does not matter, as it does not to an SDK's retry."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
