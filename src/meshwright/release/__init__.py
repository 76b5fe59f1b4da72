"""Releases: one stack's change set in one mesh, applied whole, numbered, immutable; all of it pure.

The one rule: a rollback is no mechanism of its own, but a new release with an older one's content.
"""

from meshwright.release.canary import Canary, CanaryCheck, CanarySettings, Figures, Judged, Shift
from meshwright.release.content import checked, content_of, digest_of, known_good, places, restored, reverted
from meshwright.release.drifting import Author, Difference, drift, without_tags
from meshwright.release.evidence import Account, Cause, Evidence, Rejection, Step, Tally, evidence_of
from meshwright.release.fencing import (
    OlderBuildError,
    Series,
    Standing,
    advances,
    order,
    refuse_older,
    same_build,
    series,
    told,
)
from meshwright.release.inspection import Check, Inspection, Sight
from meshwright.release.performing import perform
from meshwright.release.records import NEXT, Approval, BrokenGlass, Build, Change, Item, Promotion, Release, Status
from meshwright.release.refusal import CODES, GuardrailError, InvalidReleaseError
from meshwright.release.requests import ApplyRequest, CanaryRequest, RollbackRequest, VerifyRequest

__all__ = [
    "CODES",
    "NEXT",
    "Account",
    "ApplyRequest",
    "Approval",
    "Author",
    "BrokenGlass",
    "Build",
    "Canary",
    "CanaryCheck",
    "CanaryRequest",
    "CanarySettings",
    "Cause",
    "Change",
    "Check",
    "Difference",
    "Evidence",
    "Figures",
    "GuardrailError",
    "Inspection",
    "InvalidReleaseError",
    "Item",
    "Judged",
    "OlderBuildError",
    "Promotion",
    "Rejection",
    "Release",
    "RollbackRequest",
    "Series",
    "Shift",
    "Sight",
    "Standing",
    "Status",
    "Step",
    "Tally",
    "VerifyRequest",
    "advances",
    "checked",
    "content_of",
    "digest_of",
    "drift",
    "evidence_of",
    "known_good",
    "order",
    "perform",
    "places",
    "refuse_older",
    "restored",
    "reverted",
    "same_build",
    "series",
    "told",
    "without_tags",
]
