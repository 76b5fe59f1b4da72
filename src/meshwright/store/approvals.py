"""What waits for somebody else's word, and what an administrator lets through once, as values.

The one rule: what is here was asked, granted or decided, and is never changed; that it is over is a value of its own.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from meshwright.diagnostics import Written
from meshwright.impact.tested import RunSummary
from meshwright.impact.values import Objection, Risk
from meshwright.model.identity import Key
from meshwright.plan import Plan
from meshwright.release import Build, CanarySettings, Promotion
from meshwright.release.records import ReleaseKind
from meshwright.trust.principals import Principal


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A release that waits for its approval: what would be done, by whom, and why it waits."""

    mesh: str
    stack: str
    number: int = 0
    """Counted from 1 for each stack, apart from releases; 0 until it is stored."""
    at: int
    """Milliseconds since the epoch, UTC."""
    expires_at: int
    """From this millisecond on nobody can approve it."""
    kind: ReleaseKind
    restores: int | None = None
    reason: str = ""
    """Why, as its author said."""
    plan: Plan
    principal: Principal
    """Its author, as whom it is authorised again when it is approved."""
    facts: dict[str, str] = {}
    """What the connection told of the author: condition keys."""
    build: Build | None = None
    tool_version: str = ""
    definitions: str = ""
    promotes: Promotion | None = None
    adopted: tuple[Key, ...] = ()
    tests: RunSummary | None = None
    canary: CanarySettings | None = None
    """The steps in which it is to be released."""
    sources: dict[str, Written] = {}
    objections: tuple[Objection, ...] = ()
    risks: tuple[Risk, ...] = ()

    @property
    def title(self) -> str:
        """How people name it: `shop#pending-3`."""
        return f"{self.stack}#pending-{self.number}"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a pending release."""

    mesh: str
    stack: str
    number: int
    verdict: Literal["approved", "withdrawn"]
    principal: str
    identity: str
    """Who is behind the principal."""
    at: int
    reason: str = ""
    release: int | None = None
    """The number of the release that it became."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Leave for one release of a stack past its guardrails, once and for a while."""

    number: int = 0
    """Counted from 1; 0 until it is stored."""
    mesh: str
    stack: str
    grantee: str
    """`user/NAME` or `role/NAME`."""
    reason: str
    principal: str
    """Who granted it."""
    identity: str
    at: int
    expires_at: int


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What a grant was used for."""

    number: int
    """Of the grant."""
    principal: str
    at: int
    reason: str
    mesh: str
    stack: str
    release: int
    """The number of the release."""
