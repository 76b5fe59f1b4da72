"""A job of Travis CI on its way to a token: challenge, a line in the log, redemption, renewal.

The one rule: the secret and the token are in memory and go to the control plane alone, encrypted; what is printed is
worth nothing to whoever reads it.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from meshwright.ci.travis import proof
from meshwright.errors import RefusedError, UnreachableError, UsageError
from meshwright.remote.connection import LostAnswerError, Server, is_loopback
from meshwright.remote.web_identity import WITHOUT_TLS
from meshwright.views.answers import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

JOB, FACTOR = "TRAVIS_JOB_ID", "MESHWRIGHT_TRAVIS_SECRET"
"""The variables that hold the job's id and, encrypted in the repository, its second factor."""
TIMEOUT = 60.0
"""Seconds for one answer: the server waits for the log."""
PAUSE = 2.0
"""Seconds before the control plane is asked again."""
RENEWAL_SECONDS = 60.0
"""For how long it is tried to renew a token."""

_MOST = 64 << 10
_COMES_LATER = frozenset({429, 500, 502, 503, 504})


class Login(NamedTuple):
    """What a job got."""

    token: str
    subject: str
    ends: float
    """When the token does, in seconds since the epoch."""


class _LaterError(Exception):
    """What may be there when it is asked for again; `failure` is what is told if it never is."""

    def __init__(self, failure: RefusedError | UnreachableError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def job_of(environ: Mapping[str, str]) -> int:
    """The id of the job of `environ`.

    Raises:
        UsageError: it is none of Travis CI's.
    """
    text = environ.get(JOB, "").strip()
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 16):
        raise UsageError(
            f"This is no job of Travis CI: {JOB} is {text[:40]!r}. Other CI services sign tokens of their own: see "
            "docs/credentials.md."
        )
    return int(text)


class Door:
    """Where one job gets its tokens."""

    def __init__(
        self,
        server: Server,
        environ: Mapping[str, str],
        job: int,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`server` is the control plane; `clock` answers with seconds since the epoch.

        Raises:
            UsageError: secrets would be sent in the clear.
        """
        if not (server.secure or is_loopback(server.endpoint) or environ.get(WITHOUT_TLS) == "1"):
            raise UsageError(
                f"The token would come from {server.endpoint} unencrypted, and whoever reads it there can use it. "
                f"Serve the API over https://, or set {WITHOUT_TLS}=1 where the network is trusted."
            )
        self._server = server
        self._job = job
        self._factor = environ.get(FACTOR, "").strip()
        self._clock = clock
        self._sleep = sleep

    def log_in(self, audience: str, show: Callable[[str], None]) -> Login:
        """The first token; `show` prints a text to the job's log as it stands.

        Raises:
            RefusedError: the control plane does not believe that it is this job.
            UnreachableError: it does not answer in time.
            UsageError: it gives no identities.
        """
        secret = secrets.token_bytes(proof.SECRET_BYTES)
        ends = self._clock() + proof.WINDOW / 1000
        made = self._until(ends, "challenges", {"job_id": self._job, "commitment": proof.commitment(secret)})
        show(f"\n{made['line']}\n")
        challenge = made["challenge"]
        told = {"job_id": self._job, "challenge": challenge, "secret": secret.hex(), "audience": audience}
        if self._factor:
            told["factor"] = proof.factor(self._factor, challenge)
        return _login(self._until(ends, "tokens", told))

    def renewed(self, token: str) -> Login:
        """A token that lives longer than `token`, as long as the job runs.

        Raises:
            RefusedError: it is worth nothing any more.
            UnreachableError: the control plane does not answer in time.
        """
        return _login(self._until(self._clock() + RENEWAL_SECONDS, "renewals", {"token": token}))

    def _until(self, ends: float, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """The control plane's answer, asked for until it has come or the time is over."""
        while True:
            try:
                return self._asked(what, body)
            except _LaterError as later:
                if self._clock() + PAUSE >= ends:
                    raise later.failure from None
            self._sleep(PAUSE)

    def _asked(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        server, sent = self._server, msgspec.json.encode(body)
        headers = {"Host": server.host, "Content-Type": "application/json"}
        try:
            status, code, text = server.ask(
                "POST", f"{PREFIX}/travis/{what}", headers, sent, timeout=TIMEOUT, most=_MOST
            )
        except LostAnswerError:
            # It may have been given, and then is given to nobody again.
            raise
        except UnreachableError as error:
            raise _LaterError(error) from None
        try:
            found = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = {}
        message = str(found.get("message", ""))[:500]
        if status == 200 and found:
            return found
        if status == 404 or not message:
            more = message or "It answered with something else than identities."
            raise UsageError(f"{server.endpoint} gives no identities (HTTP {status}): {more}")
        told = f"{server.endpoint} gives job {self._job} no identity: {code}: {message}"
        if status in _COMES_LATER:
            raise _LaterError(UnreachableError(told))
        refusal = RefusedError(told)
        raise _LaterError(refusal) if code == "ProofMissing" else refusal


def _login(found: Mapping[str, Any]) -> Login:
    return Login(found["token"], str(found["claims"]["sub"]), found["expires_at"] / 1000)
