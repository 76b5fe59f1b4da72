"""What a server reads of jobs while it serves others: the client's questions, from threads of their own.

The one rule: an API that hangs holds up those who wait for it and nobody else; the threads that write to the database
are not its.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from meshwright.ci.travis.client import Limits, Travis, TravisUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.ci.travis.access import Access
    from meshwright.ci.travis.records import Build, Job

T = TypeVar("T")

THREADS = 8
"""Questions at once."""
LIMITS = Limits(patience=12.0, silence=5.0, attempts=3)
"""Somebody waits for the answer."""


class TravisJobs:
    """Jobs of one API, read with the server's own token. Every method may raise the errors of `exchange`."""

    def __init__(self, access: Access, limits: Limits = LIMITS) -> None:
        self._travis = Travis(access, limits)
        self._threads = ThreadPoolExecutor(THREADS, "travis")
        self.endpoint = access.endpoint

    async def job(self, number: int) -> Job:
        """A job as it is now."""
        return await self._asked(lambda: self._travis.job(number))

    async def build(self, job: Job) -> Build:
        """The build of a job."""
        if job.build is None or not job.build.key:
            raise TravisUnavailableError(f"Travis CI at {self.endpoint} does not say of which build job {job.id} is.")
        number = job.build.key
        return await self._asked(lambda: self._travis.build(number))

    async def log(self, number: int) -> str:
        """A job's log as far as it has arrived."""
        return await self._asked(lambda: self._travis.log(number))

    def close(self) -> None:
        """Ask nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._travis.close()

    async def _asked(self, question: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, question)
