"""A release as it is kept: content, changes, build metadata, status.

Only the status of a release moves, forward along `NEXT`; everything else is written once.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from meshwright.diagnostics import Written
from meshwright.impact.tested import RunSummary
from meshwright.impact.values import Objection, Risk
from meshwright.model.identity import Key
from meshwright.release.canary import Canary

if TYPE_CHECKING:
    from collections.abc import Mapping


class Build(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Build metadata: what the job's own environment said (claimed), or what a trusted token did (verified)."""

    ci: str = ""
    """`travis`, `github`, `gitlab`, or "" for a laptop."""
    issuer: str = ""
    """Who vouches for it: the `iss` of the token; "" for what is claimed."""
    repository: str = ""
    branch: str = ""
    tag: str = ""
    commit: str = ""
    author: str = ""
    """Who set the build off, as the CI service calls them."""
    event: str = ""
    """What started the build: push, pull_request, api, cron."""
    pull_request: str = ""
    pipeline: str = ""
    """Which of the repository's pipelines numbers its builds, where there may be several: GitHub's workflow."""
    build_id: str = ""
    build_number: str = ""
    job_id: str = ""
    job_number: str = ""
    restart_count: str = ""
    """How often it was started again; of Travis `1` for at least once."""
    url: str = ""


class Status(enum.StrEnum):
    """How far a release has come."""

    APPLIED = "applied"
    PROPAGATED = "propagated"
    VERIFIED = "verified"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"


NEXT: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.APPLIED: frozenset({Status.PROPAGATED, Status.FAILED, Status.ROLLED_BACK}),
        Status.PROPAGATED: frozenset({Status.VERIFIED, Status.FAILED, Status.ROLLED_BACK}),
        Status.VERIFIED: frozenset({Status.FAILED, Status.ROLLED_BACK}),
        Status.FAILED: frozenset({Status.PROPAGATED, Status.VERIFIED, Status.ROLLED_BACK}),
        Status.ROLLED_BACK: frozenset(),
    }
)
"""The moves that a status may make.

From failed to propagated only where every proxy that had rejected the release took it since, and never where it was
judged to have failed by a verification.
"""


ReleaseKind: TypeAlias = Literal["apply", "rollback", "repair"]
"""A repair restores the stack's own newest release, over which somebody wrote since."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a release, as it was released: wire-named spec and tags."""

    key: Key
    spec: dict[str, Any]
    tags: dict[str, str] = {}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a release did to one object."""

    action: Literal["create", "update", "delete"]
    key: Key


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """The release of another environment that a release repeats, as whoever promoted it says."""

    environment: str
    endpoint: str
    mesh: str
    stack: str
    number: int

    @property
    def title(self) -> str:
        """How people name it."""
        return f"{self.stack}#{self.number}"


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """Who let a release through that had to wait for somebody else."""

    pending: int
    """The number under which it waited."""
    principal: str
    identity: str
    """Who is behind the principal."""
    at: int
    reason: str = ""
    rules: tuple[str, ...] = ()
    """The guardrails that asked for it."""


class BrokenGlass(msgspec.Struct, frozen=True, kw_only=True):
    """The grant with which a release passed the guardrails."""

    grant: int
    granted_by: str
    granted_for: str
    """The reason of whoever granted it."""
    reason: str
    """The reason of whoever used it."""
    rules: tuple[str, ...] = ()
    """The guardrails that it passed."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A release of `stack` in `mesh`; `(mesh, stack, number)` is its identity, numbers count from 1."""

    mesh: str
    stack: str
    number: int
    revision: int
    """The revision that the release became."""
    parent: int | None
    """The number of the stack's release before this one."""
    digest: str
    """SHA-256 of the content: equal digests, equal content."""
    at: int
    """When, in milliseconds since the epoch, UTC."""
    principal: str
    kind: ReleaseKind = "apply"
    restores: int | None = None
    """The number of the release that a rollback or a repair restored."""
    reason: str = ""
    """Why that was restored, as whoever did it says."""
    build: Build | None = None
    """What the job claims of itself."""
    verified: Build | None = None
    """What the token proved that its session was obtained with; None for nothing."""
    tool_version: str = ""
    definitions: str = ""
    """SHA-256 of the definitions as they are written, before any value is put in, as the build says; or ""."""
    promotes: Promotion | None = None
    """The release of another environment that it repeats."""
    adopted: tuple[Key, ...] = ()
    """The objects that were taken as they ran, whatever the definitions said, as the build says."""
    tests: RunSummary | None = None
    """What tests said of its definitions, as the build says; None for nothing."""
    changes: tuple[Change, ...] = ()
    content: tuple[Item, ...] = ()
    """The whole of the stack after this release, in order of keys."""
    canary: Canary | None = None
    """Which part of a canary it is; None for a release of its own."""
    target: tuple[Item, ...] = ()
    """Of a canary's first step, the whole of the stack that it leads to."""
    sources: dict[str, Written] = {}
    """Where the objects that it created or updated are written, by path; claimed, as all of `build`."""
    risks: tuple[Risk, ...] = ()
    """What the server saw in it that has hurt others, by its own state and traffic; the first 200."""
    objections: tuple[Objection, ...] = ()
    """What the guardrails had against it; the first 200."""
    approval: Approval | None = None
    broken_glass: BrokenGlass | None = None
    status: Status = Status.APPLIED

    @property
    def title(self) -> str:
        """How people name it: `shop#12`."""
        return f"{self.stack}#{self.number}"

    @property
    def is_step(self) -> bool:
        """Whether it is a step of a canary, on the way to something else."""
        return self.canary is not None and self.canary.state == "step"

    @property
    def part(self) -> Canary:
        """Which part of a canary it is.

        Raises:
            ValueError: it is a release of its own.
        """
        if self.canary is None:
            raise ValueError(f"{self.title} is no part of a canary")
        return self.canary
