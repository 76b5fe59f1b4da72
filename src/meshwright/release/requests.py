"""What a client asks of a release endpoint.

The one rule: a request says everything that decides about it; nothing is remembered between two requests.
"""

from __future__ import annotations

import msgspec

from meshwright.diagnostics import Written
from meshwright.plan import Plan
from meshwright.release.records import Build, Item


class ApplyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Apply either the whole of a stack (`resources`) or a plan made earlier (`plan`)."""

    resources: tuple[Item, ...] | None = None
    plan: Plan | None = None
    sources: dict[str, Written] = {}
    """Where the objects are written, by path; what the release does not change is not kept."""
    build: Build | None = None
    tool_version: str = ""


class RollbackRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Restore exactly one of: a release by its number, a build's newest release, the last known good one."""

    to: int | None = None
    to_build: str | None = None
    last_good: bool = False
    build: Build | None = None
    tool_version: str = ""
