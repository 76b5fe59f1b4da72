"""The audit log over our own endpoints.

The one rule: what is told of the log can be checked by whoever is told, without trust in the server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from meshwright.api.answers import answer
from meshwright.api.searching import conditions, number, text_of
from meshwright.audit import KINDS, LogSearch
from meshwright.errors import BadRequestException
from meshwright.model.identity import parse_key
from meshwright.views.answers import audit_answer, checkpoint_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.services import Services


async def get_checkpoint(services: Services, request: Request) -> Response:
    """The newest checkpoint of the audit log, signed, and the public key that verifies it."""
    del request
    found = await asyncio.to_thread(services.store.checkpoint)
    return answer(checkpoint_answer(found, services.signing_key))


async def get_audit_entries(services: Services, request: Request) -> Response:
    """Entries of the audit log that meet every condition, newest first, and where to go on."""
    search, limit = _search(request.query_params, services.account)
    found, following = await asyncio.to_thread(services.store.search_log, search, limit)
    return answer(audit_answer(found, following))


def _search(query: Mapping[str, str], account: str) -> tuple[LogSearch, int]:
    """What `query` asks for, and how many entries at most.

    Raises:
        BadRequestException: naming the parameter, with what it takes.
    """
    signed, limit = conditions(query, {*_READERS, "object"}, "entries of the audit log")
    found: dict[str, Any] = {name: read(name, signed[name]) for name, read in _READERS.items() if name in signed}
    if "object" in signed:
        found["object"] = _object(signed["object"], account)
    return LogSearch(**found), limit


def _object(text: str, account: str) -> str:
    """The path that is asked about; an ARN is one too."""
    if not text.startswith("arn:"):
        return text_of("object", text).rstrip("/")
    try:
        return parse_key(text, account).path
    except ValueError as error:
        raise BadRequestException(f"object: {error}.") from None


def _kind(name: str, text: str) -> str:
    if text not in KINDS:
        raise BadRequestException(f"{name} takes one of {', '.join(KINDS)}, found {text[:64]!r}.")
    return text


def _outcome(name: str, text: str) -> str:
    if text not in {"allowed", "refused"}:
        raise BadRequestException(f"{name} takes allowed or refused, found {text[:64]!r}.")
    return text


_READERS: Mapping[str, Callable[[str, str], object]] = {
    "before": number,
    "since": number,
    "until": number,
    "kind": _kind,
    "outcome": _outcome,
    "principal": text_of,
    "key": text_of,
    "build": text_of,
    "release": text_of,
}
"""How each condition is read, by its name."""
