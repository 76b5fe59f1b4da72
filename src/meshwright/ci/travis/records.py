"""What Travis CI's API v3 tells of repositories, builds, jobs, logs, requests and keys, as values; pure.

The one rule: what may be missing or null is so here too, since older servers, minimal representations and enterprise
versions leave out what newer ones have; members that nobody here asks for are passed over.
Source: https://developer.travis-ci.com/explore/
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

CREATED, RECEIVED, QUEUED, STARTED = "created", "received", "queued", "started"
PENDING = frozenset({CREATED, RECEIVED, QUEUED, STARTED})
"""States of what has not ended; the others are passed, failed, errored and canceled."""
PULL_REQUEST = "pull_request"


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository."""

    id: int = 0
    slug: str = ""
    """`acme/orders`."""


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A commit that was built."""

    sha: str = ""
    """Of a pull request, of the merge that Travis CI built."""
    ref: str | None = None
    message: str | None = None


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of a build, or of one job."""

    id: int = 0
    number: int = 0
    name: str = ""
    """As shown: with a capital."""
    state: str | None = None


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A branch or a tag."""

    name: str = ""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody."""

    login: str | None = None


class Linked(msgspec.Struct, frozen=True, kw_only=True):
    """A build or a job as another record names it."""

    href: str = msgspec.field(default="", name="@href")
    id: int = 0
    state: str | None = None

    @property
    def key(self) -> int:
        """Its id, which the shortest representation tells in its address alone; 0 for none."""
        found = re.search(r"/([0-9]{1,18})(?:[?#].*)?\Z", self.href)
        return self.id or (int(found[1]) if found else 0)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job: one machine's work in a build."""

    id: int
    number: str = ""
    """`7.1`: the build's, and which of its jobs."""
    state: str | None = None
    allow_failure: bool | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    restarted_at: str | None = None
    restarted_by: User | int | str | None = None
    build: Linked | None = None
    stage: Stage | None = None
    repository: Repository | None = None
    commit: Commit | None = None


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """A build: what one event set off."""

    id: int
    number: str = ""
    state: str | None = None
    event_type: str = ""
    """push, pull_request, api or cron."""
    pull_request_number: int | None = None
    pull_request_title: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    branch: Named | None = None
    """The one that a pull request wants to go to; of a tag's build, the tag's name."""
    tag: Named | None = None
    commit: Commit | None = None
    repository: Repository | None = None
    jobs: tuple[Linked, ...] | None = None
    stages: tuple[Stage, ...] | None = None
    created_by: User | None = None


class LogPart(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a log, as it came in."""

    number: int = 0
    content: str | None = None
    final: bool = False


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """What a job has printed, as far as it has arrived."""

    content: str | None = None
    log_parts: tuple[LogPart, ...] | None = None

    @property
    def text(self) -> str:
        """All of it that is there."""
        parts = sorted(self.log_parts or (), key=lambda one: one.number)
        joined = "".join(one.content or "" for one in parts)
        # While a job runs, one of the two may lag behind the other.
        return max(self.content or "", joined, key=len)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Something that asks for a build."""

    id: int
    state: str | None = None
    """pending, finished."""
    result: str | None = None
    """approved, rejected."""
    message: str | None = None
    builds: tuple[Linked, ...] | None = None


class Triggered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request for a build."""

    request: Request
    remaining_requests: int | None = None


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """The key by which values of a repository are encrypted."""

    public_key: str
    """PEM."""
    fingerprint: str | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """How a list goes on."""

    next: dict[str, Any] | None = None


class Builds(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list of builds."""

    builds: tuple[Build, ...]
    page: Page | None = msgspec.field(default=None, name="@pagination")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was refused."""

    error_type: str = ""
    error_message: str = ""
    max_requests: int | None = None
    per_seconds: int | None = None
