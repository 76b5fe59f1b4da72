"""AWS's Security Token Service, as far as sessions of roles need it: on the same port, at `/`.

The one rule: a session is written down, with its audit leaf, before anybody has its key; a refusal is counted and
logged with its whole reason, and the client reads no more of it than it may know.
Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import Response

from meshwright.api import sts_xml
from meshwright.api.answers import ProtocolError
from meshwright.api.connection_facts import connection_facts, source_of
from meshwright.api.refusals import Allowance
from meshwright.api.sts_parameters import (
    CALLER,
    WEB_IDENTITY,
    action_of,
    asked_for,
    missing,
    read_form,
    refuse_unknown,
)
from meshwright.audit import Trail
from meshwright.issuers import IssuerUnavailableError
from meshwright.store.contract import Session
from meshwright.store.keys import fresh_key_id, fresh_secret
from meshwright.trust.assuming import AssumeError, by_principal, unique_id, with_token
from meshwright.trust.builds import proved
from meshwright.trust.tokens import TokenError, read_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from meshwright.api.attempts import Attempt
    from meshwright.api.services import Services
    from meshwright.api.sts_xml import Fields
    from meshwright.trust.assuming import Asked, Granted
    from meshwright.trust.principals import Principal
    from meshwright.trust.tokens import Unverified


class Sts:
    """The endpoint of the three actions."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._log = logging.getLogger("meshwright.api.sts")
        limits = services.limits
        self._refusals = Allowance(
            limits.refused_tokens,
            limits.refused_tokens_regained,
            "Too many tokens from your address were refused. Repeat the request later.",
        )
        self._begun_of_late = Allowance(
            limits.sessions,
            limits.sessions_regained,
            "Too many sessions were begun by you of late. Use those for as long as they last.",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whoever signed it, if anybody, stands in its state.

        Raises:
            ProtocolError: no action can be told from it, or its parameters are none of the action's.
            TooManyRequestsException: too many tokens from there were refused, or sessions begun by them, of late.
            StorageError: the session could not be written down; nobody has it.
        """
        if scope["state"]["principal"] is None:
            # As for a wrong signature: of what anybody may send, the log takes some and the metrics all.
            del scope["state"]["principal"]
        form = await read_form(scope, receive)
        action = action_of(form)
        scope["state"]["operation"] = action
        if "attempt" in scope["state"]:
            scope["state"]["attempt"].target = lambda: form.get("RoleArn", "*")
        asked = {name: value for name, value in form.items() if name not in {"Action", "Version"}}
        refuse_unknown(action, asked)
        request_id = scope["state"]["request_id"]
        try:
            fields = await self._carried_out(action, asked, scope)
        except (TokenError, AssumeError, IssuerUnavailableError) as error:
            response = self._refused(error, action, scope)
        else:
            response = _xml(sts_xml.result(action, fields, request_id), 200)
        await response(scope, receive, send)

    async def _carried_out(self, action: str, asked: Mapping[str, str], scope: Scope) -> Fields:
        caller: Principal | None = scope["state"].get("principal")
        if action == WEB_IDENTITY:
            return await self._by_token(asked, scope)
        if caller is None:
            raise ProtocolError(f"{action} must be signed.", "MissingAuthenticationToken", 403)
        if action == CALLER:
            return {"Arn": caller.arn, "UserId": _user_id(caller), "Account": caller.account}
        now = self._services.now()
        granted = by_principal(self._services.authority(), asked_for(asked), caller, now, connection_facts(scope))
        return await self._begun(granted, now, scope)

    async def _by_token(self, asked: Mapping[str, str], scope: Scope) -> Fields:
        self._refusals.admit(source_of(scope), self._services.now())
        if "WebIdentityToken" not in asked:
            raise missing("WebIdentityToken")
        # AWS's SDKs send the file as it is, with the line break that `echo` left behind the token.
        token, now = read_token(asked["WebIdentityToken"].rstrip("\r\n")), self._services.now()
        granted = await self._proved(token, asked_for(asked), now, scope)
        claims = granted.principal.claims
        audience = claims["aud"]
        found = {
            "SubjectFromWebIdentityToken": claims["sub"],
            "Audience": audience if isinstance(audience, str) else ", ".join(audience),
            "Provider": claims["iss"],
        }
        return {**found, **await self._begun(granted, now, scope)}

    async def _proved(self, token: Unverified, asked: Asked, now: int, scope: Scope) -> Granted:
        """What the token is worth, by the first declaration of its issuer under which it is worth something."""
        authority, own = self._services.authority(), self._services.issuer
        address, verified, others = (
            token.issuer(),
            list[TokenError | AssumeError](),
            list[TokenError | IssuerUnavailableError](),
        )
        for name, issuer in authority.settled.issuers.items():
            if issuer.url != address:
                continue
            try:
                claims = await self._services.issuers.verify(token, issuer, now)
                scope["state"]["proved"] = str(claims["sub"]), proved(issuer, claims)
                if own is not None and address == own.url:
                    await own.refuse_ended(claims)
            except (TokenError, IssuerUnavailableError) as error:
                others.append(error)
                continue
            try:
                return with_token(authority, asked, name, claims, now, connection_facts(scope))
            except (TokenError, AssumeError) as error:
                verified.append(error)
        if not (verified or others):
            raise TokenError(f"No OpenIDConnect provider found in this environment for {address[:200]!r}.")
        raise _telling(verified, others)

    async def _begun(self, granted: Granted, now: int, scope: Scope) -> Fields:
        """A new session, once it is durable."""
        subject = _subject(granted.principal, scope["state"].get("principal"))
        self._begun_of_late.admit(subject, now)
        self._begun_of_late.note(subject, now)
        session = _session(granted, now)
        state = scope["state"]
        attempt: Attempt | None = state.get("attempt")
        trail = attempt.trail if attempt else Trail(source=source_of(scope), request=state["request_id"])
        await asyncio.to_thread(self._services.store.add_session, session, trail)
        if self._services.issuer is not None:
            self._services.issuer.began(session)
        if attempt is not None:
            attempt.recorded = True
        principal = state["principal"] = session.principal
        ends = datetime.fromtimestamp(session.expires_at // 1000, tz=UTC)
        return {
            "AssumedRoleUser": {"AssumedRoleId": _user_id(principal), "Arn": principal.arn},
            "Credentials": {
                "AccessKeyId": session.key_id,
                "SecretAccessKey": session.secret,
                "SessionToken": session.token,
                "Expiration": ends.isoformat().replace("+00:00", "Z"),
            },
            "PackedPolicySize": str(granted.packed),
        }

    def _refused(
        self, error: TokenError | AssumeError | IssuerUnavailableError, action: str, scope: Scope
    ) -> Response:
        """The answer to whoever gets no session; counted, and logged with the whole reason."""
        code, status = ("IDPCommunicationError", 400) if isinstance(error, IssuerUnavailableError) else _named(error)
        reason = error.reason if isinstance(error, AssumeError) else str(error)
        state = scope["state"]
        state["refused"] = code, reason
        if "proved" in state and not isinstance(error, IssuerUnavailableError):
            self._note(state, action, code, reason, scope)
        if "principal" not in state:
            state["unauthenticated"] = reason
            self._services.metrics.refused(code)
            self._refusals.note(source_of(scope), self._services.now())
        else:
            self._services.metrics.denied(action)
            self._log.info("refused: %s", reason, extra={"request_id": state["request_id"]})
        # Anybody may name an issuer: which hosts are asked for its keys, and what they answer, is for the log.
        told = f"{error.told} Repeat the request later." if isinstance(error, IssuerUnavailableError) else str(error)
        return _xml(sts_xml.failure(code, told, status, state["request_id"]), status)

    def _note(self, state: Mapping[str, Any], action: str, code: str, reason: str, scope: Scope) -> None:
        """Write down that a role was refused to whoever an issuer vouches for: they are known by their subject."""
        subject, build = state["proved"]
        self._services.attempts.unproved(
            ("token", subject),
            who=subject,
            cause=action,
            target=dict(parse_qsl(state["body"].decode(errors="replace"))).get("RoleArn", "*"),
            trail=Trail(source=source_of(scope), request=state["request_id"], verified=build),
            refused=(code, reason),
            body=state["body"],
        )


def _telling(
    verified: list[TokenError | AssumeError], others: list[TokenError | IssuerUnavailableError]
) -> TokenError | AssumeError | IssuerUnavailableError:
    """What is told of several failures: that nobody can tell only where no issuer has verified the token."""
    if verified:
        return next((one for one in verified if isinstance(one, AssumeError)), verified[0])
    return next((one for one in others if isinstance(one, IssuerUnavailableError)), others[0])


def _session(granted: Granted, now: int) -> Session:
    key_id = fresh_key_id("ASIA")
    ends = now + granted.seconds * 1000
    return Session(
        key_id=key_id,
        secret=fresh_secret(),
        token=secrets.token_urlsafe(96),
        principal=msgspec.structs.replace(granted.principal, key_id=key_id, issued_at=now, expires_at=ends),
        created_at=now,
        expires_at=ends,
    )


def _subject(granted: Principal, caller: Principal | None) -> str:
    """Who begins a session, whatever they call it: whom the token is about, or whoever signed."""
    if granted.issuer or caller is None:
        return f"{granted.issuer} {granted.claims.get('sub', '')}"
    return f"{caller.kind}/{caller.name} {caller.account}"


def _user_id(principal: Principal) -> str:
    if principal.kind == "user":
        return unique_id("AIDA", principal.arn)
    return f"{unique_id('AROA', principal.role_arn)}:{principal.session}"


def _named(error: TokenError | AssumeError) -> tuple[str, int]:
    return error.code, error.status


def _xml(body: bytes, status: int) -> Response:
    return Response(body, status, media_type=sts_xml.MEDIA_TYPE)
