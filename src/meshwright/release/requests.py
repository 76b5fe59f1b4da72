"""What a client asks of a release endpoint.

The one rule: a request says everything that decides about it; nothing is remembered between two requests.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from meshwright.diagnostics import Written
from meshwright.impact.tested import RunSummary
from meshwright.model.identity import Key
from meshwright.plan import Plan
from meshwright.release.canary import CanarySettings
from meshwright.release.inspection import Check
from meshwright.release.records import Build, Item, Promotion


class ApplyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Apply either the whole of a stack (`resources`) or a plan made earlier (`plan`)."""

    resources: tuple[Item, ...] | None = None
    plan: Plan | None = None
    definitions: str = ""
    """SHA-256 of the definitions as they are written, 64 hexadecimal digits; "" for unknown."""
    promotes: Promotion | None = None
    adopted: tuple[Key, ...] = ()
    """The objects that are released as they ran, whatever the definitions say; the first 1,000 are kept."""
    tests: RunSummary | None = None
    """What tests said of `definitions`."""
    sources: dict[str, Written] = {}
    """Where the objects are written, by path; what the release does not change is not kept."""
    build: Build | None = None
    tool_version: str = ""
    break_glass: str = ""
    """Why the guardrails are to be passed with a grant; "" for not."""
    canary: CanarySettings | None = None
    """Shift weights in steps; what is made then is the first of them."""


class CanaryRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Go on with a canary as far as it is time, and say that somebody still looks after it."""

    leave: Annotated[str, Meta(max_length=1000)] = ""
    """Why it is to be returned now; "" for not."""
    build: Build | None = None
    tool_version: str = ""


class RollbackRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Restore exactly one of: a release by its number, a build's newest, the last known good one, the newest."""

    to: int | None = None
    to_build: str | None = None
    last_good: bool = False
    repair: bool = False
    """The newest release, over which somebody wrote since."""
    instead_of: int | None = None
    """Only if that release is the stack's newest; whichever it is, unless said."""
    reason: str = ""
    """Why; the first 1,000 characters are kept."""
    build: Build | None = None
    tool_version: str = ""
    break_glass: str = ""
    """As for `ApplyRequest`."""


class VerifyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client saw of a release, and by what it is to be judged."""

    checks: tuple[Check, ...] = ()
    """Of `routes` and `telemetry`, which it alone can look at."""
    expected: dict[str, int] = {}
    """How many instances there must be, by the name of the virtual node; one where calls are sent, unless said."""
    unprobed_allowed: bool = False
    """Take what could not be looked at for good; calls on the routes are not waited for."""
    look: bool = False
    """Only look: nothing is judged and nothing kept, and what is still to come is told as such."""
    patience: float = 0
    """Seconds to wait for what is still to come, 30 at most."""
    build: Build | None = None
    tool_version: str = ""
