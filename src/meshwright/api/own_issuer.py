"""Our own OpenID Connect issuer: who vouches for jobs of Travis CI, and for how long.

The one rule: an identity is worth something while its job runs. Whoever brings its token is asked about at Travis CI,
and sessions that were begun with it end when the job does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from meshwright.audit import Trail
from meshwright.ci.travis import proof
from meshwright.ci.travis.client import TravisRefusedError, TravisUnavailableError
from meshwright.complaining import Complaint
from meshwright.errors import RefusedError, StorageError
from meshwright.issuers import IssuerUnavailableError
from meshwright.trust.tokens import REJECTED_CLAIM, TokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshwright.ci.travis.reading import TravisJobs
    from meshwright.store.contract import Session, Store
    from meshwright.store.issuer_keys import IssuerKeys

TOKEN_SECONDS = 600
"""How long a token lives; it is to be exchanged for a session at once."""
WAIT_SECONDS = 20.0
"""How long one request waits for a line to arrive in a log."""
PAUSE_SECONDS = 1.0
"""Between two looks at the log."""
LOOK_SECONDS = 10.0
"""How often the jobs of living sessions are looked at."""
TURN_SECONDS = 600.0
"""How often it is looked whether there has to be a new key."""

_PAGE = 500

_log = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True)
class OwnIssuer:
    """What identities are given by and ended with."""

    url: str
    """The `iss` of tokens: the address by which this API is reached."""
    keys: IssuerKeys
    jobs: TravisJobs
    key: bytes = dataclasses.field(repr=False)
    """What challenges are signed by, and second factors made from."""
    repositories: tuple[str, ...]
    """Patterns of those that are vouched for."""
    restarted: bool = False
    """Whether jobs that were started again are vouched for."""
    look_seconds: float = LOOK_SECONDS
    wait_seconds: float = WAIT_SECONDS
    pause_seconds: float = PAUSE_SECONDS
    live: dict[str, tuple[int, str, int]] = dataclasses.field(default_factory=dict)
    """Sessions of jobs that run: the job's id, when it was started, and when the session ends by itself."""
    recalled: bool = False
    """Whether those are among them that were begun before this process."""

    async def refuse_ended(self, claims: Mapping[str, Any]) -> None:
        """Return where the job that got a token with these verified claims still runs.

        Raises:
            TokenError: it has ended, or runs anew.
            IssuerUnavailableError: nobody can tell.
        """
        number, started = str(claims.get("job_id", "")), str(claims.get("job_started_at", ""))
        if not number.isdecimal():
            raise TokenError("The token is of no job.", REJECTED_CLAIM)
        try:
            runs = await self._runs(int(number), started)
        except TravisUnavailableError as error:
            raise IssuerUnavailableError(str(error)) from None
        if not runs:
            raise TokenError(f"Job {number} has ended, and what was given to it with it.", REJECTED_CLAIM)

    def began(self, session: Session) -> None:
        """A session of some job; it is ended with the job, if the job is one of ours."""
        claims = session.principal.claims
        if claims.get("iss") == self.url and str(claims.get("job_id", "")).isdecimal():
            started = str(claims.get("job_started_at", ""))
            self.live[session.key_id] = int(claims["job_id"]), started, session.expires_at

    async def keep_watch(self, store: Store, now: Callable[[], int]) -> None:
        """End sessions with their jobs, for ever; those that were begun before this process are found first."""
        complaint = Complaint(_log)
        while True:
            try:
                await self.look(store, now)
            except (StorageError, TravisUnavailableError) as error:
                complaint.made("whether jobs with sessions have ended cannot be told", error)
            else:
                complaint.over("it can be told whether jobs with sessions have ended")
            await asyncio.sleep(self.look_seconds)

    async def turn_keys(self) -> None:
        """Make new keys as their time comes, for ever."""
        complaint = Complaint(_log)
        while True:
            await asyncio.sleep(TURN_SECONDS)
            try:
                await asyncio.to_thread(self.keys.turn)
            except StorageError as error:
                complaint.made("the issuer's keys cannot be turned", error)
            else:
                complaint.over("the issuer's keys are turned")

    def close(self) -> None:
        """Ask Travis CI nothing more."""
        self.jobs.close()

    async def look(self, store: Store, now: Callable[[], int]) -> None:
        """Look once at each job that has a living session; one that cannot be told of holds up no other.

        Raises:
            TravisUnavailableError: nobody can tell of one of them.
            StorageError: a session cannot be ended.
        """
        failure: TravisUnavailableError | None = None
        if not self.recalled:
            await asyncio.to_thread(self._recall, store, now())
            self.recalled = True
        for key_id, (_, _, ends) in list(self.live.items()):
            if ends <= now():
                del self.live[key_id]
        for number, started in {(job, began) for job, began, _ in self.live.values()}:
            try:
                if await self._runs(number, started):
                    continue
            except TravisUnavailableError as error:
                failure = error
                continue
            for key_id in [one for one, (job, began, _) in self.live.items() if (job, began) == (number, started)]:
                await asyncio.to_thread(self._end, store, key_id, number, now())
                self.live.pop(key_id, None)
        if failure is not None:
            raise failure

    async def _runs(self, number: int, started: str) -> bool:
        try:
            job = await self.jobs.job(number)
        except TravisRefusedError as error:
            if error.status == 404:
                return False
            raise TravisUnavailableError(str(error)) from None
        return proof.still_runs(job, {"job_started_at": started})

    def _recall(self, store: Store, now: int) -> None:
        after = ""
        while page := store.sessions(after, _PAGE):
            for one in page:
                if one.expires_at > now and not store.revoked(one):
                    self.began(one)
            after = page[-1].key_id

    def _end(self, store: Store, key_id: str, number: int, at: int) -> None:
        try:
            store.revoke(f"session:{key_id}", at, f"job {number}", Trail(key=key_id))
        except RefusedError:
            _log.info("the session %s of job %s is forgotten already", key_id, number)
