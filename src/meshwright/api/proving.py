"""Jobs of Travis CI prove which job they are, and get a token for it; and what verifiers of the token need.

The one rule: nobody who asks here is known yet. What is free to ask costs an HMAC; Travis CI is asked for challenges
of this server alone, from few threads and for few at once; every token that is given and, within bounds, every one
that is refused is in the audit log.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from meshwright.api.answers import answer, error_answer
from meshwright.api.asked import body_of
from meshwright.api.connection_facts import source_of
from meshwright.api.limits import PROVING_PATHS, Held
from meshwright.api.own_issuer import TOKEN_SECONDS
from meshwright.api.refusals import Allowance
from meshwright.audit import Trail
from meshwright.ci.travis import proof
from meshwright.ci.travis.client import TravisRefusedError, TravisUnavailableError
from meshwright.ci.travis.proof import ProofError
from meshwright.complaining import Complaint
from meshwright.errors import NotFoundException, ServiceUnavailableException
from meshwright.issuers import IssuerUnavailableError
from meshwright.store.contract import Identity
from meshwright.trust.builds import FACTS
from meshwright.trust.key_ring import ALGORITHM, FRESH_SECONDS
from meshwright.trust.settings import Issuer
from meshwright.trust.tokens import MAX_TOKEN, TokenError, read_token, verify_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from meshwright.api.own_issuer import OwnIssuer
    from meshwright.api.services import Services
    from meshwright.ci.travis.records import Build, Job

    Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/.well-known/jwks.json"

_TIMES = frozenset({"iat", "nbf", "exp", "jti"})
_DIGEST = r"^[0-9a-f]{64}\Z"
JobId: TypeAlias = Annotated[int, msgspec.Meta(ge=1, lt=1 << 53)]


class ChallengeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job that wants to prove itself."""

    job_id: JobId
    """`TRAVIS_JOB_ID`."""
    commitment: Annotated[str, msgspec.Meta(pattern=_DIGEST)]
    """SHA-256 of the job's secret, as `ci.travis.proof.commitment` makes it."""


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job that has printed the answer to its challenge."""

    job_id: JobId
    challenge: Annotated[str, msgspec.Meta(max_length=256)]
    secret: Annotated[str, msgspec.Meta(pattern=_DIGEST)]
    """The job's secret, 32 bytes in hexadecimal."""
    audience: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "meshwright"
    """Whom the token is for: `sts.amazonaws.com` for AWS's own STS."""
    factor: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """What proves that the job has its repository's second factor; "" without."""


class RenewalRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job that still runs and has a token that still lives."""

    token: Annotated[str, msgspec.Meta(max_length=MAX_TOKEN)]


class Described(NamedTuple):
    """An endpoint for those who are not known yet."""

    path: str
    name: str
    summary: str


DESCRIBED = (
    Described(PROVING_PATHS[0], "post_travis_challenge", "What a job has to print, so that it can be told apart."),
    Described(
        PROVING_PATHS[1], "post_travis_token", "A token for the job whose log holds the answer to a challenge."
    ),
    Described(PROVING_PATHS[2], "post_travis_renewal", "A token that lives longer, for a job that still runs."),
)


class Proving:
    """The endpoints."""

    def __init__(self, services: Services) -> None:
        self._services = services
        limits = services.limits
        told = "Too many jobs at your address asked for identities of late. Repeat the request later."
        cheap = Allowance(limits.refused_tokens, limits.refused_tokens_regained, told)
        dear = Allowance(limits.proofs, limits.proofs_regained, told)
        self._allowances: dict[Endpoint, Allowance] = {
            self.post_challenge: cheap,
            self.post_token: dear,
            self.post_renewal: dear,
        }
        self._waiting = Held(limits.proving, limits.proving_each, "the places for jobs that prove themselves")
        self._complaint = Complaint(logging.getLogger(__name__))

    async def discovery(self, _request: Request) -> Response:
        """The issuer's own document."""
        issuer = self._issuer()
        return _kept(
            msgspec.json.encode(
                {
                    "issuer": issuer.url,
                    "jwks_uri": issuer.url + KEYS,
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": [ALGORITHM],
                    "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", *FACTS],
                    "scopes_supported": ["openid"],
                }
            )
        )

    async def keys(self, _request: Request) -> Response:
        """The key set."""
        return _kept(self._issuer().keys.published)

    async def post_challenge(self, request: Request) -> Response:
        """A challenge; nothing is kept of it."""
        issuer, now = self._issuer(), self._services.now()
        asked = await body_of(request, ChallengeRequest)
        made = proof.challenge(issuer.key, asked.job_id, asked.commitment, secrets.token_bytes(16), now)
        return answer({"challenge": made.text, "line": made.line, "expires_at": made.ends})

    async def post_token(self, request: Request) -> Response:
        """The token, once the job is proved; it is given once."""
        issuer, now = self._issuer(), self._services.now()
        asked = await body_of(request, TokenRequest)
        about = _About(asked.job_id)
        try:
            token, claims = await self._redeemed(issuer, asked, now, about, _trail(request))
        except ProofError as error:
            return self._refused(error, request, about)
        return _given(token, claims)

    async def post_renewal(self, request: Request) -> Response:
        """The same token for some minutes more, as long as its job runs."""
        issuer, now = self._issuer(), self._services.now()
        asked = await body_of(request, RenewalRequest)
        about = _About(0)
        try:
            token = read_token(asked.token)
            named = token.claims().get("aud")
            ours = Issuer(url=issuer.url, audiences=(named if isinstance(named, str) else "",))
            claims = verify_token(token, issuer.keys.key_set.keys, ours, now)
            about = _About(int(claims["job_id"]), claims["repository"], claims["sub"])
            await issuer.refuse_ended(claims)
        except TokenError as error:
            return self._refused(error, request, about)
        except IssuerUnavailableError as error:
            raise self._troubled(error) from None
        self._audit(request, about, None)
        return _given(*self._signed(issuer, {name: claims[name] for name in claims if name not in _TIMES}))

    async def _redeemed(
        self, issuer: OwnIssuer, asked: TokenRequest, now: int, about: _About, trail: Trail
    ) -> tuple[str, dict[str, Any]]:
        made = proof.read_challenge(issuer.key, asked.challenge, asked.job_id, bytes.fromhex(asked.secret), now)
        with self._waiting.one(str(asked.job_id)):
            job, build = await self._proved(issuer, made, about)
        claims = proof.claims_of(job, build)
        about.subject = claims["sub"]
        has = proof.has_factor(issuer.key, claims["repository"], made, asked.factor)
        claims["second_factor"] = str(has).lower()
        now = self._services.now()
        given = Identity(run=proof.run_of(issuer.jobs.endpoint, job), subject=claims["sub"], claims=claims, at=now)
        trail = msgspec.structs.replace(trail, verified={fact: claims[fact] for fact in FACTS if fact in claims})
        if not await asyncio.to_thread(self._services.store.add_identity, given, trail):
            raise ProofError(
                "AlreadyUsed", f"This run of job {asked.job_id} has got its identity before, and gets no second one."
            )
        return self._signed(issuer, {"iss": issuer.url, "aud": asked.audience, **claims})

    def _signed(self, issuer: OwnIssuer, claims: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """A token of this moment, and all of its claims."""
        now = self._services.now() // 1000
        whole = {**claims, "iat": now, "nbf": now, "exp": now + TOKEN_SECONDS, "jti": secrets.token_hex(16)}
        return issuer.keys.signed(whole), whole

    async def _proved(self, issuer: OwnIssuer, made: proof.Challenge, about: _About) -> tuple[Job, Build]:
        """The job and its build, once the log holds the answer; the job is looked at before and after."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + issuer.wait_seconds

        def refuse(job: Job, build: Build) -> None:
            about.repository = job.repository.slug if job.repository else ""
            proof.refuse_job(job, build, made, issuer.repositories, restarted=issuer.restarted)

        try:
            job = await issuer.jobs.job(made.job)
            build = await issuer.jobs.build(job)
            refuse(job, build)
            while not proof.found_in(await issuer.jobs.log(made.job), made):
                if self._services.now() >= made.ends or loop.time() + issuer.pause_seconds >= ends:
                    raise ProofError(
                        "ProofMissing",
                        f"The log of job {made.job} does not hold the answer to its challenge. Print it, and ask "
                        "again as long as the challenge counts, if Travis CI's logs are late.",
                    )
                await asyncio.sleep(issuer.pause_seconds)
            job = await issuer.jobs.job(made.job)
            refuse(job, build)
        except TravisRefusedError as error:
            if error.status == 404:
                raise ProofError("UnknownJob", f"There is no job {made.job}, or none that may be read.") from None
            raise self._troubled(error) from None
        except TravisUnavailableError as error:
            raise self._troubled(error) from None
        self._complaint.over("Travis CI can be asked about jobs")
        return job, build

    def _troubled(self, error: Exception) -> ServiceUnavailableException:
        """What a job reads of trouble that is the server's; the log tells more."""
        self._complaint.made("Travis CI cannot be asked about jobs", error)
        return ServiceUnavailableException(
            "Travis CI cannot be asked about the job now; the control plane's log says why. Repeat the request later."
        )

    def _refused(self, error: ProofError | TokenError, request: Request, about: _About) -> Response:
        state = request.scope["state"]
        state["refused"] = error.code, str(error)
        state["unauthenticated"] = str(error)
        self._services.metrics.refused(error.code)
        self._audit(request, about, (error.code, str(error)))
        return error_answer(error.code, str(error), 403)

    def _audit(self, request: Request, about: _About, refused: tuple[str, str] | None) -> None:
        state = request.scope["state"]
        self._services.attempts.unproved(
            ("travis", about.repository),
            who=about.subject or f"job {about.job or '?'} of {about.repository or 'an unknown repository'}",
            cause=state["operation"],
            target=f"travis job {about.job or '?'}",
            trail=_trail(request),
            refused=refused,
            body=state["body"],
        )

    def _issuer(self) -> OwnIssuer:
        issuer = self._services.issuer
        if issuer is None:
            raise NotFoundException("This control plane gives no identities; start it with --issuer.")
        return issuer

    def counted(self, endpoint: Endpoint, name: str) -> Endpoint:
        """`endpoint` for as many as may ask."""
        allowance = self._allowances[endpoint]

        async def serve(request: Request) -> Response:
            state, source, now = request.scope["state"], source_of(request.scope), self._services.now()
            state["operation"] = name
            allowance.admit(source, now)
            allowance.note(source, now)
            return await endpoint(request)

        return serve


class _About:
    """Of what was asked, what is known so far."""

    def __init__(self, job: int, repository: str = "", subject: str = "") -> None:
        self.job = job
        self.repository = repository
        self.subject = subject


def routes(services: Services) -> list[Route]:
    """Discovery and keys, which anybody may read, and what jobs ask."""
    proving = Proving(services)
    asked = (proving.post_challenge, proving.post_token, proving.post_renewal)
    return [
        Route(DISCOVERY, proving.discovery, methods=["GET"]),
        Route(KEYS, proving.keys, methods=["GET"]),
        *(
            Route(one.path, proving.counted(endpoint, one.name), methods=["POST"])
            for one, endpoint in zip(DESCRIBED, asked, strict=True)
        ),
    ]


def _given(token: str, claims: dict[str, Any]) -> Response:
    response = answer({"token": token, "expires_at": claims["exp"] * 1000, "claims": claims})
    response.headers["cache-control"] = "no-store"
    return response


def _kept(body: bytes) -> Response:
    headers = {"cache-control": f"public, max-age={FRESH_SECONDS}"}
    return Response(body, media_type="application/json", headers=headers)


def _trail(request: Request) -> Trail:
    return Trail(source=source_of(request.scope), request=request.scope["state"]["request_id"])
