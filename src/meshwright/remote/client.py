"""The control plane as a client sees it: thin signed HTTP to our own endpoints, answers as JSON values.

The one rule: whatever goes wrong becomes one of our exceptions with one clear message; a secret never does.
The class is long, because it has a method for each endpoint.
"""

from __future__ import annotations

import copy
import time
import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

from meshwright import errors
from meshwright.diagnostics import Diagnostic
from meshwright.errors import (
    AccessDeniedError,
    ApiError,
    MeshwrightError,
    RefusedError,
    ServiceUnavailableException,
    UnreachableError,
    UsageError,
)
from meshwright.model.identity import DEFAULT_REGION, parse_key
from meshwright.model.state import Metadata, State
from meshwright.plan import decoded
from meshwright.release import CODES, ApplyRequest, CanaryRequest, InvalidReleaseError, RollbackRequest, VerifyRequest
from meshwright.remote.connection import LostAnswerError, NoAnswerError, Server
from meshwright.trust import canonical, sigv4
from meshwright.trust.credentials import Credentials
from meshwright.views import answers, approval_answers, observed
from meshwright.views.wire import from_wire, to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TIMEOUT = 30.0
"""Seconds until a server that says nothing counts as unreachable."""
RETRY_SECONDS = 0.5
"""How long after a lost answer, or one of "not now", a request that is safe to repeat is sent once more."""
_LOST_SECONDS = 30.0
"""For how long a request whose answer was lost is asked again, while nobody answers."""
_SIGNATURE_CODES = frozenset(
    {
        canonical.EXPIRED,
        canonical.INCOMPLETE,
        canonical.INVALID,
        canonical.MISSING,
        canonical.UNRECOGNIZED,
    }
)


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One mesh as it runs: its objects with metadata and stacks, and the revision that they were read at."""

    state: State
    revision: int
    stacks: tuple[str, ...]


class Signer(Protocol):
    """Whoever has a key for a while and then another one."""

    def credentials(self) -> Credentials:
        """A key that is valid now.

        Raises:
            MeshwrightError: none can be had.
        """
        ...


class Client:
    """Talks to one control plane; keeps nothing between two calls."""

    def __init__(
        self,
        endpoint: str,
        signer: Credentials | Signer,
        *,
        region: str = DEFAULT_REGION,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.time,
        ca_bundle: str = "",
    ) -> None:
        """`signer` is a key, or gives one that is valid now; `clock` answers with seconds since the epoch.

        `ca_bundle` is a file of certificates to trust, no others. Without it those of the machine are trusted, or of
        the file that `SSL_CERT_FILE` names.

        Raises:
            UsageError: `endpoint` is not `http://HOST[:PORT]` or `https://HOST[:PORT]`.
            UnreadableError: `ca_bundle` holds no certificates.
        """
        self._server = Server(endpoint, ca_bundle)
        self.endpoint = self._server.endpoint
        self._signer = signer
        self._region = region
        self._timeout = timeout
        self._clock = clock
        self._gives_up_at = 0.0
        self._was_there = False
        self._told: Callable[[str], None] = lambda _: None

    def outlasting(self, seconds: float, told: Callable[[str], None]) -> Client:
        """A client that asks again what may be asked twice while nobody answers, for `seconds` from now.

        A control plane that is started anew is gone for some; one that never answered is not there. `told` hears of
        it, once each time.
        """
        patient = copy.copy(self)
        patient._gives_up_at = time.monotonic() + seconds  # noqa: SLF001 - it is one of these
        patient._told = told  # noqa: SLF001 - as above
        return patient

    def read(self, mesh: str) -> Observed:
        """The mesh as it runs now; without objects when it does not exist."""
        found = self._asked("GET", f"/meshes/{_in_path(mesh)}")
        try:
            state = State(
                msgspec.structs.replace(
                    decoded(parse_key(one["object"]), one["spec"], one["tags"], one["stack"]),
                    unreleased=one.get("unreleased", False),
                    owned=tuple(parse_key(path) for path in one.get("owned", ())),
                    metadata=msgspec.convert(one["metadata"], Metadata | None),
                )
                for one in found["resources"]
            )
            return Observed(state=state, revision=found["revision"], stacks=tuple(found["stacks"]))
        except (KeyError, TypeError, ValueError) as error:
            raise self._misunderstood("a mesh", error) from error

    def status(self) -> dict[str, Any]:
        """The server, its stacks and its proxies."""
        return self._asked("GET", "/status", shape=answers.Status)

    def proxy(self, proxy_id: str) -> dict[str, Any]:
        """One connected proxy and every resource that it should hold."""
        return self._asked("GET", "/proxy", {"id": proxy_id}, shape=answers.Holding)

    def calls(self, mesh: str, minutes: int) -> observed.Observed:
        """Who calls whom in a mesh, over the last `minutes`, beside who is declared to."""
        path = f"/meshes/{_in_path(mesh)}/observed"
        found = self._asked("GET", path, {"minutes": str(minutes)}, shape=observed.Observed)
        return from_wire(observed.Observed, found)

    def apply(self, mesh: str, stack: str, request: ApplyRequest) -> dict[str, Any]:
        """Apply a stack's content or a plan: `changed` and the `release`; once, even if an answer is lost.

        Raises:
            RefusedError: it is stale, in conflict or invalid; nothing was changed.
        """
        return self._once(f"{_of_stack(mesh, stack)}/releases", to_wire(_given(request)))

    def roll_back(self, mesh: str, stack: str, request: RollbackRequest) -> dict[str, Any]:
        """Restore an older release: `changed` and the `release`; once, even if an answer is lost.

        Raises:
            RefusedError: it cannot be restored; nothing was changed.
        """
        return self._once(f"{_of_stack(mesh, stack)}/rollbacks", to_wire(_given(request)))

    def verify(self, mesh: str, stack: str, number: int, request: VerifyRequest) -> dict[str, Any]:
        """Judge a release: it, the `checks`, and the `inspection` that is kept of it, None for only a look.

        Raises:
            RefusedError: it is not what runs.
        """
        path = f"{_of_stack(mesh, stack)}/releases/{number}/verifications"
        body = to_wire(_given(request))
        return self._asked(
            "POST", path, body=body, patience=request.patience, shape=answers.Verified, again=request.look
        )

    def canary(self, mesh: str, stack: str, number: int, request: CanaryRequest) -> dict[str, Any]:
        """Go on with the canary that release `number` began, as far as it is time, or return it: where it stands.

        Raises:
            RefusedError: it cannot be returned.
        """
        path = f"{_of_stack(mesh, stack)}/releases/{number}/canary"
        return self._asked("POST", path, body=to_wire(_given(request)), shape=answers.CanaryTurn)

    def verifications(self, mesh: str, stack: str, number: int) -> dict[str, Any]:
        """The verifications of a release with their evidence, newest first."""
        path = f"{_of_stack(mesh, stack)}/releases/{number}/verifications"
        return self._asked("GET", path, shape=answers.Verifications)

    def pending(self, mesh: str, stack: str, limit: int = 100, before: int | None = None) -> dict[str, Any]:
        """Up to `limit` releases of a stack that wait for approval, or did, newest first; numbered below `before`."""
        query = {} if before is None else {"before": str(before)}
        return self._paged(f"{_of_stack(mesh, stack)}/pending", query, limit, "pending", approval_answers.PendingList)

    def approve(self, mesh: str, stack: str, number: int, reason: str = "") -> dict[str, Any]:
        """Let a pending release through, exactly as it was planned: `changed` and the `release`.

        Once, even if an answer is lost: whoever approves again is answered as the first time.

        Raises:
            RefusedError: it is stale, decided or over, or the caller's own; nothing was changed.
        """
        return self._once(f"{_of_stack(mesh, stack)}/pending/{number}/approval", {"reason": reason})

    def withdraw(self, mesh: str, stack: str, number: int, reason: str = "") -> dict[str, Any]:
        """Let a pending release wait no longer.

        Raises:
            RefusedError: it is decided or over.
        """
        path = f"{_of_stack(mesh, stack)}/pending/{number}/withdrawal"
        return self._asked("POST", path, body={"reason": reason}, shape=approval_answers.Pending)

    def judge(self, mesh: str, stack: str, request: ApplyRequest) -> dict[str, Any]:
        """What the guardrails would say of a plan that is applied now.

        Raises:
            RefusedError: the plan is stale.
        """
        path = f"{_of_stack(mesh, stack)}/judgements"
        return self._asked("POST", path, body=to_wire(_given(request)), shape=approval_answers.Judgement)

    def guardrails(self, mesh: str) -> dict[str, Any]:
        """The rules on plans that hold there."""
        return self._asked("GET", f"/meshes/{_in_path(mesh)}/guardrails", shape=approval_answers.Guardrails)

    def grants(self, mesh: str, stack: str) -> dict[str, Any]:
        """The grants past the guardrails of a stack, newest first."""
        return self._asked("GET", f"{_of_stack(mesh, stack)}/grants", shape=approval_answers.Grants)

    def grant(self, mesh: str, stack: str, grantee: str, reason: str, minutes: int) -> dict[str, Any]:
        """Let `grantee` (`user/NAME` or `role/NAME`) pass the guardrails of a stack once, within so many minutes.

        Raises:
            RefusedError: nobody lets himself pass.
        """
        body = {"grantee": grantee, "reason": reason, "minutes": minutes}
        return self._asked("POST", f"{_of_stack(mesh, stack)}/grants", body=body, shape=approval_answers.Grant)

    def releases(
        self, mesh: str, stack: str, limit: int = 100, conditions: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Any]:
        """A stack's releases that meet `conditions` (the endpoint's query), newest first."""
        query = {**conditions, "limit": str(limit)}
        return self._asked("GET", f"{_of_stack(mesh, stack)}/releases", query, shape=answers.History)

    def release(self, mesh: str, stack: str, number: int) -> dict[str, Any]:
        """One release with its content."""
        return self._asked("GET", f"{_of_stack(mesh, stack)}/releases/{number}", shape=answers.Release)

    def endpoints(self, mesh: str) -> dict[str, Any]:
        """Where the instances of a mesh's nodes are, as far as DNS does not tell."""
        return self._asked("GET", f"/meshes/{_in_path(mesh)}/endpoints", shape=answers.Endpoints)

    def drift(self, mesh: str, stack: str) -> dict[str, Any]:
        """Where the stack runs otherwise than its last release left it."""
        return self._asked("GET", f"{_of_stack(mesh, stack)}/drift", shape=answers.Drift)

    def propagation(
        self, mesh: str, stack: str, number: int, wait: float = 0, *, detail: bool = False
    ) -> dict[str, Any]:
        """How far a release has come, after at most `wait` seconds (30 are the most that a server waits).

        With `detail`, also what each proxy made of it.
        """
        query = ({"wait": f"{wait:.3f}"} if wait > 0 else {}) | ({"detail": "true"} if detail else {})
        path = f"{_of_stack(mesh, stack)}/releases/{number}/propagation"
        return self._asked("GET", path, query, patience=wait, shape=answers.Propagation)

    def checkpoint(self) -> dict[str, Any]:
        """The newest checkpoint of the audit log, signed, and the public key that verifies it."""
        return self._asked("GET", "/audit/checkpoint", shape=answers.Checkpoint)

    def audit_entries(self, limit: int, conditions: Mapping[str, str]) -> dict[str, Any]:
        """Up to `limit` entries of the audit log that meet `conditions` (the endpoint's query), newest first."""
        return self._paged("/audit/entries", conditions, limit, "entries", answers.AuditEntries)

    def sessions(self, role: str | None = None, *, ended: bool = False) -> list[dict[str, Any]]:
        """The sessions of a role, or of all; those that ended only where they are asked for."""
        found: list[dict[str, Any]] = []
        query = {"limit": "1000", "all": "true" if ended else "false"} | ({"role": role} if role else {})
        while True:
            page = self._asked("GET", "/sessions", query, shape=answers.Sessions)
            found += page["sessions"]
            if page["next"] is None:
                return found
            query["after"] = page["next"]

    def revoke(self, subject: str) -> dict[str, Any]:
        """Make `key:ID`, `session:ID` or the sessions of `role:NAME` until now worth nothing.

        Raises:
            RefusedError: there is no such key or session, or the caller may not.
        """
        return self._asked("POST", "/revocations", body={"subject": subject}, shape=answers.Revocation)

    def _paged(
        self, path: str, conditions: Mapping[str, str], limit: int, name: str, shape: type[msgspec.Struct]
    ) -> dict[str, Any]:
        """The last page of a list, with up to `limit` members of all pages in it under `name`."""
        found: list[dict[str, Any]] = []
        query = dict(conditions)
        while True:
            query["limit"] = str(min(limit - len(found), 1000))
            page = self._asked("GET", path, query, shape=shape)
            found += page[name]
            if page["next"] is None or len(found) >= limit:
                return {**page, name: found}
            query["before"] = str(page["next"])

    def _once(self, path: str, body: object) -> dict[str, Any]:
        """The answer to a POST that is done once: asked again with its key when it was lost, or is "not now".

        A lost one is worth waiting for: whether it was done, only the control plane knows, once it is back.
        """
        key, patient = str(uuid.uuid4()), self
        try:
            return self._asked("POST", path, body=body, key=key, shape=answers.Outcome)
        except LostAnswerError as error:
            patient = self.outlasting(_LOST_SECONDS, self._told)
            self._told(f"{error} Asking what came of it.")
        except ServiceUnavailableException:
            pass
        time.sleep(RETRY_SECONDS)
        return patient._asked("POST", path, body=body, key=key, shape=answers.Outcome)  # noqa: SLF001 - it is one of these

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: object = None,
        key: str = "",
        patience: float = 0,
        shape: type[msgspec.Struct] | None = None,
        again: bool = False,
    ) -> dict[str, Any]:
        """The answer to a request, as it came; it may be made `again`, or with a `key`; `shape` is what it must hold.

        A client that outlasts the control plane waits for it then.
        """
        repeatable, told = again or method == "GET" or bool(key), False
        while True:
            try:
                found = self._asked_once(method, path, query, body=body, key=key, patience=patience, shape=shape)
            except (NoAnswerError, ServiceUnavailableException) as error:
                left = self._gives_up_at - time.monotonic()
                if not repeatable or left <= 0 or not (self._was_there or key):
                    raise
                if not told:
                    self._told(f"{error} Asking again, {left:.0f} s left.")
                told = True
                time.sleep(min(RETRY_SECONDS, left))
            else:
                self._was_there = True
                return found

    def _asked_once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        *,
        body: object,
        key: str,
        patience: float,
        shape: type[msgspec.Struct] | None,
    ) -> dict[str, Any]:
        target = answers.PREFIX + path + (f"?{urlencode(query)}" if query else "")
        payload = b"" if body is None else msgspec.json.encode(body)
        credentials = self._signer if isinstance(self._signer, Credentials) else self._signer.credentials()
        plain = {"Host": self._server.host, "Content-Type": "application/json"}
        plain |= {"Idempotency-Key": key} if key else {}
        headers = self._signed(method, target, plain, payload, credentials)
        status, code, answer = self._server.ask(method, target, headers, payload, timeout=self._timeout + patience)
        try:
            found = msgspec.json.decode(answer)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or (status >= 400 and not code):
            raise UnreachableError(
                f"{self.endpoint} answered {method} {target} with HTTP {status} and nothing that a Meshwright "
                "control plane says. Is the endpoint right?"
            )
        if status >= 400:
            raise self._refusal(status, code, found, credentials)
        if shape is not None:
            try:
                msgspec.convert(found, shape)
            except msgspec.ValidationError as error:
                raise self._misunderstood(f"HTTP {status} to {method} {target}", error) from None
        return found

    def _misunderstood(self, what: str, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"{self.endpoint} answered with {what} that this version does not understand: {error}. "
            "Are server and client of the same version?"
        )

    def _signed(
        self, method: str, target: str, plain: dict[str, str], payload: bytes, credentials: Credentials
    ) -> dict[str, str]:
        """The headers with their signature."""
        signed = sigv4.sign(
            sigv4.Request.of(method, target, plain.items(), payload),
            credentials.key_id,
            credentials.secret,
            self._region,
            sigv4.SIGNING_NAME,
            int(self._clock() * 1000),
            credentials.session_token,
        )
        return {**plain, **signed}

    def _refusal(
        self, status: int, code: str, answer: Mapping[str, Any], credentials: Credentials
    ) -> MeshwrightError:
        """The exception that an error's code stands for."""
        message = str(answer.get("message") or answer.get("Message") or f"HTTP {status} without a reason")
        if code in _SIGNATURE_CODES:
            return UsageError(
                f"{self.endpoint} does not accept the access key {credentials.key_id!r} "
                f"(from {credentials.source}): {message}"
            )
        if code == CODES[InvalidReleaseError][0]:
            try:
                return InvalidReleaseError(message, from_wire(tuple[Diagnostic, ...], answer.get("diagnostics", [])))
            except ValueError as error:
                return self._misunderstood("a refusal", error)
        ours: dict[str, type[MeshwrightError]] = {name: one for one, (name, _) in CODES.items()}
        ours[AccessDeniedError.code] = AccessDeniedError
        known = ours.get(code) or getattr(errors, code, None)
        if isinstance(known, type) and issubclass(known, RefusedError | ApiError):
            return known(message)
        return UnreachableError(f"{self.endpoint} answered with {code} (HTTP {status}): {message}")


def _given(request: ApplyRequest | CanaryRequest | RollbackRequest | VerifyRequest) -> dict[str, Any]:
    """The members that are set, so that an older server need not know the others."""
    return {
        name: value
        for name, value in msgspec.structs.asdict(request).items()
        if value is not None and value not in ("", {}) and value is not False
    }


def _of_stack(mesh: str, stack: str) -> str:
    return f"/meshes/{_in_path(mesh)}/stacks/{_in_path(stack)}"


def _in_path(name: str) -> str:
    return quote(name, safe="")
