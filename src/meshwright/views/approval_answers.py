"""The shapes of what our endpoints answer about guardrails, pending releases and grants, as far as clients read them.

The one rule: as for all answers: what the views show is declared here.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Objection(msgspec.Struct):
    """What a guardrail has against a release."""

    rule: str
    severity: str
    message: str
    about: str
    object: str
    path: str
    summary: str


class Decision(msgspec.Struct):
    """What became of a pending release."""

    verdict: str
    principal: str
    at: int
    reason: str
    release: int | None


class Pending(msgspec.Struct):
    """A release that waits for its approval."""

    title: str
    mesh: str
    stack: str
    number: int
    at: int
    expires_at: int
    kind: str
    principal: str
    verified: dict[str, Any] | None
    build: dict[str, Any] | None
    changes: list[dict[str, Any]]
    objections: list[Objection]
    decision: Decision | None
    state: str
    """`open`, `approved`, `withdrawn` or `expired`."""
    canary: dict[str, Any] | None = None
    """The steps in which it is to be released."""


class PendingList(msgspec.Struct):
    """The releases of a stack that wait, or did."""

    mesh: str
    stack: str
    pending: list[Pending]
    next: int | None
    """Below which number to go on; None at the end."""


class Judgement(msgspec.Struct):
    """What the guardrails say of a plan."""

    environment: str
    verdict: str
    objections: list[Objection]


class Grant(msgspec.Struct):
    """Leave to pass the guardrails of a stack once."""

    number: int
    mesh: str
    stack: str
    grantee: str
    reason: str
    principal: str
    at: int
    expires_at: int
    state: str
    use: dict[str, Any] | None


class Grants(msgspec.Struct):
    """The grants for a stack."""

    mesh: str
    stack: str
    grants: list[Grant]


class Guardrails(msgspec.Struct):
    """The rules on plans that hold."""

    mesh: str
    environment: str
    releases_only: bool
    verified_builds: bool
    approval_seconds: int
    guardrails: dict[str, dict[str, Any]]
