"""Who is calling: every request is signed with SigV4 by a key or a session of the store, or goes no further.

The one rule: what an endpoint reads is what was verified. Whatever can be judged from the head alone is judged
before the body is asked for; the body is read here, once, and handed on.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from meshwright.api.answers import TOKEN_PATH, ProtocolError
from meshwright.api.attempts import Attempt
from meshwright.api.connection_facts import source_of
from meshwright.api.limits import OPEN_PATHS, PROVING_PATHS, Held
from meshwright.trust.canonical import EXPIRED, INCOMPLETE, INVALID, MISSING, has_dot_segments
from meshwright.trust.sigv4 import (
    SIGNING_NAME,
    AccessKeySecret,
    Request,
    SignatureError,
    check_body,
    check_signature,
    check_token,
    read,
    unknown_key,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from meshwright.api.limits import Limits
    from meshwright.api.services import Services
    from meshwright.api.turns import Turns
    from meshwright.store.contract import AccessKey, Session
    from meshwright.trust.authorization import Authority
    from meshwright.trust.principals import Principal
    from meshwright.trust.sigv4 import Claim

STS = "sts"
"""What requests to STS are signed for; all others, to our own endpoints too, for App Mesh (`SIGNING_NAME`)."""
UNSIGNED_ACTION = "AssumeRoleWithWebIdentity"
"""The only action that is not signed: the token in it is the proof."""

_EMPTY = hashlib.sha256(b"").hexdigest()
_OURS = "/meshwright/"


class Authentication:
    """The layer that verifies signatures.

    It sets in the request's state: `principal`, a `trust.principals.Principal`, None for the one unsigned action, and
    none at all for jobs that prove who they are;
    `key_id`; `attempt`, the request for the audit log, where it is signed; `signed_headers`, the lower-case names of
    the headers that the signature covers; and `body`, all of it, which `receive` gives as well.
    """

    def __init__(self, app: ASGIApp, services: Services, turns: Turns) -> None:
        self._app = app
        self._services = services
        self._turns = turns
        self._users: dict[str, tuple[Authority, Principal]] = {}
        """Whose the keys of the store are, by key, as one version of the trust file says."""
        self._signing_keys: dict[tuple[str, str, str, str], bytes] = {}
        limits = services.limits
        self._bodies = Held(limits.bodies_bytes, limits.bodies_bytes_each, "the bytes for bodies")
        self._places = Held(limits.requests, limits.requests_each, "the places for requests")
        self._unsigned = Held(limits.unsigned, limits.unsigned_each, "the places for unsigned requests")
        services.metrics.watch("requests_in_flight", lambda: self._places.amount)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            SignatureError: nobody can be held to it.
            ProtocolError: it is too large, too slow to come, or ambiguous.
            TooManyRequestsException: there is no room for it.
        """
        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        length = _length(scope)
        if length == 0:
            await self._serve(scope, receive, send, None)
            return
        reader = _Body(receive, length, self._limit(scope), self._services.limits, self._bodies)
        reader.is_there = scope["state"].get("body_is_there", False)
        try:
            await self._serve(scope, receive, send, reader)
        finally:
            reader.release()

    async def _serve(self, scope: Scope, receive: Receive, send: Send, reader: _Body | None) -> None:
        request = _head(scope)
        state = scope["state"]
        if scope["path"] in PROVING_PATHS:
            # They may wait for long, within limits of their own; a signature would say nothing more.
            body = await self._short_body(reader, source_of(scope))
            if body is not None:
                state["body"] = body
                await self._app(scope, _replay(body, receive), send)
            return
        if scope["path"] == TOKEN_PATH and _unsigned(request):
            source = source_of(scope)
            body = await self._unsigned_body(request, reader, source)
            if body is None:
                return
            with self._unsigned.one(source), self._places.one(source):
                state["principal"], state["key_id"], state["signed_headers"], state["body"] = None, "", (), body
                await self._app(scope, _replay(body, receive), send)
            return
        body = await self._verified(request, scope, reader, STS if scope["path"] == TOKEN_PATH else SIGNING_NAME)
        if body is None:
            return
        state["body"], principal = body, state["principal"]
        holder = f"{principal.kind} {principal.account} {principal.name}"
        # Only a request that is whole takes a place: slow senders could keep it from others.
        self._places.take(holder, 1)
        try:
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._places.give(holder, 1)

    async def _verified(self, request: Request, scope: Scope, reader: _Body | None, service: str) -> bytes | None:
        """The body of `request`, once all of it holds; None when the client went away."""
        services, now, state = self._services, self._services.now(), scope["state"]
        claim = read(request, services.region, service, now)
        known, principal = self._known(claim, now)
        check_token(claim, known)
        if isinstance(principal, SignatureError):
            raise principal
        digest = claim.digest if reader else _EMPTY
        if digest is not None:
            # The head tells the hash: a signature over it is judged before a byte of the body is waited for.
            check_signature(claim, request, digest, known, cache=self._signing_keys)
        # Without its hash in the head nobody has proved yet to have the key: others may know its id.
        body = await reader.read(f"{claim.key_id} {source_of(scope)}") if reader else b""
        if body is None:
            return None
        found = hashlib.sha256(body).hexdigest() if body else _EMPTY
        check_body(claim, found)
        if digest is None:
            check_signature(claim, request, found, known, cache=self._signing_keys)
        state["principal"], state["key_id"], state["signed_headers"] = principal, claim.key_id, claim.signed
        state["attempt"] = Attempt(principal, claim.key_id, source_of(scope), state["request_id"], body)
        return body

    def _known(self, claim: Claim, now: int) -> tuple[AccessKeySecret, Principal | SignatureError]:
        """What the key is worth: its secret, and whose it is or why it is worth nothing any more.

        Raises:
            SignatureError: it was never made, or was revoked.
        """
        store = self._services.store
        key = store.key(claim.key_id)
        if key is not None:
            if self._turns.moment().revoked(key):
                raise unknown_key(claim.key_id)
            return AccessKeySecret(secret=key.secret), self._of_user(key)
        session = store.session(claim.key_id)
        if session is None:
            raise unknown_key(claim.key_id)
        return AccessKeySecret(secret=session.secret, token=session.token), self._of_session(session, now)

    def _of_user(self, key: AccessKey) -> Principal:
        authority = self._services.authority()
        known = self._users.get(key.id)
        if known is None or known[0] is not authority:
            principal = msgspec.structs.replace(authority.user(key.principal), key_id=key.id)
            known = self._users[key.id] = authority, principal
        return known[1]

    def _of_session(self, session: Session, now: int) -> Principal | SignatureError:
        if now >= session.expires_at:
            return SignatureError("The security token included in the request is expired.", EXPIRED)
        if self._turns.moment().revoked(session):
            return SignatureError("The security token included in the request was revoked.", EXPIRED)
        return session.principal

    async def _unsigned_body(self, request: Request, reader: _Body | None, source: str) -> bytes | None:
        """The body of the one action that needs no signature; None when the client went away."""
        body = await self._short_body(reader, source)
        if body is None:
            return None
        form = body if request.method == "POST" else request.query
        try:
            actions = [value for name, value in parse_qsl(form.decode(), max_num_fields=50) if name == "Action"]
        except ValueError:
            actions = []
        if actions != [UNSIGNED_ACTION]:
            raise SignatureError(f"The request is not signed; only {UNSIGNED_ACTION} needs no signature.", MISSING)
        return body

    async def _short_body(self, reader: _Body | None, source: str) -> bytes | None:
        """The body of a request that nobody signed; None when the client went away."""
        return await reader.read(source, self._services.limits.unsigned_seconds) if reader else b""

    def _limit(self, scope: Scope) -> int:
        """How many bytes of body are read here."""
        limits, path = self._services.limits, scope["path"]
        if path == TOKEN_PATH or path in PROVING_PATHS:
            return limits.token_body_bytes
        return limits.our_body_bytes if path.startswith(_OURS) else limits.body_bytes


class _Body:
    """The body of one request as it comes, within its limit and that of all bodies together."""

    def __init__(self, receive: Receive, declared: int, limit: int, limits: Limits, bodies: Held) -> None:
        self._receive = receive
        self._declared = declared
        self._limit = limit
        self._limits = limits
        self._bodies = bodies
        self._holder = ""
        self._size = 0
        self.is_there = False
        """Whether all of it came with the head, so that nobody waits for it."""

    async def read(self, holder: str, seconds: float | None = None) -> bytes | None:
        """The whole of it, held for `holder`; None when the client went away.

        It must come within `seconds` or, without, the quicker the smaller it is.
        """
        if self._declared > self._limit:
            raise _too_large(self._limit)
        self._holder = holder
        if self.is_there:
            message = await self._receive()
            return None if message["type"] == "http.disconnect" else self._counted(message["body"])
        parts, began = [], asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds or self._allowed) as end:
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(self._counted(message.get("body", b"")))
                    if not message.get("more_body", False):
                        return b"".join(parts)
                    if seconds is None:
                        end.reschedule(began + self._allowed)
        except TimeoutError:
            text = f"The request's body did not come within {seconds or self._allowed:.2g} s."
            raise ProtocolError(text, "RequestTimeoutException", 408) from None

    @property
    def _allowed(self) -> float:
        """How many seconds there are for it, with what has come."""
        limits = self._limits
        return min(limits.body_seconds, limits.body_grace + self._size / limits.body_pace)

    def release(self) -> None:
        """It is not needed any more."""
        if self._size:
            self._bodies.give(self._holder, self._size)
        self._size = 0

    def _counted(self, part: bytes) -> bytes:
        if not part:
            return part
        self._bodies.take(self._holder, len(part))
        self._size += len(part)
        if self._size > self._limit:
            raise _too_large(self._limit)
        return part


def _head(scope: Scope) -> Request:
    """What of the request is signed, but for its body.

    Raises:
        SignatureError: its path shares its signature with another one.
        ProtocolError: it could be read in two ways.
    """
    path = scope["raw_path"]
    if has_dot_segments(path):
        # A signature is made over the path without dot segments and repeated slashes; routing is by the raw one.
        raise SignatureError("The path has dot segments or repeated slashes; write it without.", INVALID)
    return Request(method=scope["method"], path=path, query=scope["query_string"], headers=tuple(scope["headers"]))


def _unsigned(request: Request) -> bool:
    """Whether it does not even claim a signature."""
    return not any(name == b"authorization" for name, _ in request.headers) and b"-amz-" not in request.query.lower()


def _length(scope: Scope) -> int:
    """How long the body is said to be; 1 where that is known at its end only.

    Raises:
        ProtocolError: it is said in two ways, or in one that is not understood here.
    """
    lengths, codings = [], []
    for name, value in scope["headers"]:
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
    if codings:
        if lengths or [one.lower() for one in codings] != [b"chunked"]:
            raise ProtocolError("Of Transfer-Encoding only chunked is understood, alone.", INCOMPLETE, 400)
        return 1
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise ProtocolError("Content-Length takes one number.", INCOMPLETE, 400)
    return int(lengths[0])


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body, and then whatever comes of the client."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _too_large(limit: int) -> ProtocolError:
    return ProtocolError(
        f"The request's body is larger than {limit} bytes, the most that is read here.",
        "RequestEntityTooLargeException",
        413,
    )
