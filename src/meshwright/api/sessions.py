"""The sessions of roles over our own endpoints: who has one, and the end of it before its time.

The one rule: a secret or a token never leaves the store again; what is revoked is refused from the next request on.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.api.answers import answer
from meshwright.errors import BadRequestException

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.services import Services
    from meshwright.store.contract import Session

PAGE = 100
"""Sessions that are looked at for one answer unless it says otherwise; 1000 are the most."""

_SUBJECT = re.compile(r"(?:key|session):[A-Za-z0-9_]{1,128}|role:[A-Za-z0-9+=,.@_-]{1,64}")


class RevokeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is worth nothing any more."""

    subject: str
    """`key:AKIA…`, `session:ASIA…`, or `role:NAME` for every session that the role has had until now."""


async def get_sessions(services: Services, request: Request) -> Response:
    """Sessions in the order of their key ids, without secrets; those that ended only with `all=true`."""
    query = request.query_params
    role, after, everything = query.get("role"), query.get("after", ""), query.get("all", "false")
    limit = query.get("limit", str(PAGE))
    if not re.fullmatch(r"[0-9]{1,4}", limit) or not 1 <= int(limit) <= 1000:
        raise BadRequestException(f"limit is {limit[:32]!r}; it takes a number from 1 to 1000.")
    if everything not in {"true", "false"}:
        raise BadRequestException(f"all is {everything[:32]!r}; it takes true or false.")
    found = await asyncio.to_thread(services.store.sessions, after, int(limit))
    shown = [
        document
        for document in (_document(services, one) for one in found if role in {None, one.principal.name})
        if everything == "true" or document["state"] == "active"
    ]
    return answer({"sessions": shown, "next": found[-1].key_id if len(found) == int(limit) else None})


async def post_revocation(services: Services, request: Request) -> Response:
    """Revoke a key, a session or all sessions of a role, and what was obtained with them."""
    try:
        asked = msgspec.json.decode(await request.body(), type=RevokeRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestException(f"The body is no revocation: {error}") from None
    if not _SUBJECT.fullmatch(asked.subject):
        raise BadRequestException(
            f"{asked.subject[:200]!r} cannot be revoked; name key:AKIA…, session:ASIA… or role:NAME."
        )
    at, caller = services.now(), request.state.principal
    attempt = request.state.attempt
    attempt.recorded = await asyncio.to_thread(services.store.revoke, asked.subject, at, caller.arn, attempt.trail)
    return answer({"subject": asked.subject, "at": at, "principal": caller.arn})


def _document(services: Services, session: Session) -> dict[str, Any]:
    principal, now = session.principal, services.now()
    state = "expired" if now >= session.expires_at else "revoked" if services.store.revoked(session) else "active"
    return {
        "access_key_id": session.key_id,
        "principal": principal.arn,
        "role": principal.name,
        "session": principal.session,
        "state": state,
        "issuer": principal.issuer,
        "subject": principal.claims.get("sub", ""),
        "obtained_with": [one.key_id for one in principal.ancestors],
        "created_at": session.created_at,
        "expires_at": session.expires_at,
    }
