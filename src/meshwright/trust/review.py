"""`trust check`: what a trust file allows that it should not, each with the line that allows it; pure.

The one rule: a finding is proved by an example that the real decision was asked about: a name, a claim, an action.
What cannot be shown so is not reported. The rules' pages are those of MW603 to MW614 in `meshwright.rules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.diagnostics import Diagnostic, Severity, ordered
from meshwright.trust import review_entries, review_environments, review_grants, review_guardrails
from meshwright.trust.authorization import Authority
from meshwright.trust.review_finding import Finding
from meshwright.trust.settings import grantees, nearest_place
from meshwright.trust.settling import settle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshwright.diagnostics import Source
    from meshwright.trust.settings import Trust


class KnownKey(msgspec.Struct, frozen=True, kw_only=True):
    """An access key that a server has."""

    key_id: str
    user: str
    created_at: int
    """Milliseconds since the epoch, UTC."""


def review(
    trust: Trust, *, keys: Sequence[KnownKey] = (), now: int = 0, environments: Iterable[str] | None = None
) -> tuple[Diagnostic, ...]:
    """Everything that is unwise in `trust`, in all environments or in those named, in the file's order.

    `keys` are those of a server, whose age is judged at `now`, milliseconds since the epoch, UTC.
    """
    names: list[str | None] = [*(environments or trust.environments)] or [None]
    settled = {name or "": Authority(settle(trust, name)) for name in names}
    found: dict[Finding, list[str]] = {}
    for name, authority in settled.items():
        for one in (*review_grants.findings(authority, now), *review_entries.findings(authority)):
            found.setdefault(one, []).append(name)
    for one in (
        *review_environments.findings(settled, now),
        *review_guardrails.findings(trust, settled, now),
        *review_entries.unused(trust),
        *review_grants.key_findings(trust, [(one.key_id, one.user, one.created_at) for one in keys], now),
    ):
        found.setdefault(one, [])
    return ordered(_diagnostic(one, where, trust.places) for one, where in found.items())


def _diagnostic(one: Finding, environments: list[str], places: Mapping[str, Source]) -> Diagnostic:
    where = ", ".join(name for name in environments if name)
    return Diagnostic(
        rule=one.rule,
        severity=one.severity,
        summary=f"{one.summary}{f' (in {where})' if where else ''}",
        detail=one.detail,
        subject=one.subject,
        path=one.path,
        source=nearest_place(places, one.path),
    )


def subjects(trust: Trust) -> tuple[str, ...]:
    """What was looked at: every user and role."""
    return tuple(grantees(trust))


__all__ = ["Finding", "KnownKey", "Severity", "review", "subjects"]
