"""Who is calling: every request is signed with SigV4 by a key of the store, or goes no further.

The one rule: what an endpoint reads is what was verified; the body is read here, once, and handed on. For now every
valid key may do everything; the principal reaches each revision, so that who did what is known from the first day.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from meshwright.api.answers import ProtocolError
from meshwright.trust.canonical import INVALID, canonical_path
from meshwright.trust.sigv4 import AccessKeySecret, Request, SignatureError, verify

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from meshwright.api.services import Services
    from meshwright.store.contract import AccessKey

SIGNING_NAME = "appmesh"
"""The service that requests are signed for, our own endpoints included."""
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What anybody may ask."""
APPMESH_BODY_LIMIT = 1 << 20
"""Bytes of a request to the App Mesh API; its largest legal spec takes some 200 kB."""
OUR_BODY_LIMIT = 32 << 20
"""Bytes of a request to our own endpoints: a change set of thousands of objects."""
BODY_SECONDS = 60.0
"""How long a body may take."""


class Authentication:
    """The layer that verifies signatures; sets `principal` and `key_id` in the request's state."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._signing_keys: dict[tuple[str, str, str, str], bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            SignatureError: nobody can be held to it.
            ProtocolError: it is too large, or too slow to come.
        """
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(scope, receive)
        except TimeoutError:
            raise _too_slow() from None
        if body is None:
            return
        key = self._signer(scope, body)
        scope["state"] |= {"principal": key.principal, "key_id": key.id}
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    def _signer(self, scope: Scope, body: bytes) -> AccessKey:
        """The key that signed the request, read from the store each time: a key made a moment ago works."""
        path = scope["raw_path"]
        if canonical_path(path) != canonical_path(path, normalize=False):
            # A signature is made over the path without dot segments and repeated slashes; routing is by the raw one.
            raise SignatureError("The path has dot segments or repeated slashes; write it without.", INVALID)
        known: dict[str, AccessKey] = {}

        def secret_of(key_id: str) -> AccessKeySecret | None:
            key = self._services.store.key(key_id)
            if key is None:
                return None
            known[key_id] = key
            return AccessKeySecret(secret=key.secret)

        request = Request(
            method=scope["method"],
            path=path,
            query=scope["query_string"],
            headers=tuple((name, value) for name, value in scope["headers"]),
            body=body,
        )
        services = self._services
        signer = verify(request, secret_of, services.region, SIGNING_NAME, services.now(), cache=self._signing_keys)
        return known[signer]


async def _body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body; None when the client went away."""
    limit = OUR_BODY_LIMIT if scope["path"].startswith("/meshwright/") else APPMESH_BODY_LIMIT
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_slow() -> ProtocolError:
    text = f"The request's body did not come within {BODY_SECONDS:g} s."
    return ProtocolError(text, "RequestTimeoutException", 408)


def _too_large(limit: int) -> ProtocolError:
    return ProtocolError(
        f"The request's body is larger than {limit} bytes, the most that is read here.",
        "RequestEntityTooLargeException",
        413,
    )
