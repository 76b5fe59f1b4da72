"""Releases: one stack's change set in one mesh, applied whole, numbered, immutable; all of it pure.

The one rule: a rollback is no mechanism of its own, but a new release with an older one's content.
"""

from meshwright.release.content import checked, content_of, digest_of, last_good, places, restored, reverted
from meshwright.release.drifting import Author, Difference, drift, without_tags
from meshwright.release.evidence import Account, Cause, Evidence, Rejection, Step, Tally, evidence_of
from meshwright.release.performing import perform
from meshwright.release.records import NEXT, Build, Change, Item, Release, Status
from meshwright.release.refusal import CODES, InvalidReleaseError
from meshwright.release.requests import ApplyRequest, RollbackRequest

__all__ = [
    "CODES",
    "NEXT",
    "Account",
    "ApplyRequest",
    "Author",
    "Build",
    "Cause",
    "Change",
    "Difference",
    "Evidence",
    "InvalidReleaseError",
    "Item",
    "Rejection",
    "Release",
    "RollbackRequest",
    "Status",
    "Step",
    "Tally",
    "checked",
    "content_of",
    "digest_of",
    "drift",
    "evidence_of",
    "last_good",
    "perform",
    "places",
    "restored",
    "reverted",
    "without_tags",
]
