"""What tests said of the definitions that a release is made of: the summary of a report, as the build says it.

The one rule: it is of exactly these definitions and has no failure in it; otherwise a release does not carry it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class RunSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A report of `meshwright test` in a few facts."""

    digest: Digest
    """SHA-256 of the report as it was written."""
    definitions: Digest
    """SHA-256 of the definitions that were tested, as they are written."""
    mode: Literal["envoy", "simulate"]
    """On real Envoys, or without any."""
    at: Annotated[int, Meta(ge=0)]
    """When the run began, in milliseconds since the epoch, UTC."""
    passed: Annotated[int, Meta(ge=1)]
    skipped: Annotated[int, Meta(ge=0)] = 0
    coverage: Annotated[float, Meta(ge=0, le=100)]
    """Percentage of what tests can show of the routes."""

    @property
    def told(self) -> str:
        """In a few words."""
        return f"{self.passed} tests{'' if self.mode == 'envoy' else ' simulated'}, {self.coverage:g} % covered"


def lacking(tests: RunSummary | None, coverage: float) -> str:
    """Why `tests` are not evidence of at least that `coverage` on real Envoys, as a clause; "" where they are."""
    if tests is None:
        return "no report of tests comes with it"
    if tests.mode != "envoy":
        return "its tests were simulated and not run on real Envoys"
    if tests.coverage < coverage:
        return f"its tests cover {tests.coverage:g} %, under {coverage:g} %"
    return ""
