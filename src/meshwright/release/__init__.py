"""Releases: one stack's change set in one mesh, applied whole, numbered, immutable; all of it pure.

The one rule: a rollback is no mechanism of its own, but a new release with an older one's content.
"""

from meshwright.release.content import checked, content_of, digest_of, last_good, restored, reverted
from meshwright.release.drifting import Author, Difference, drift, without_tags
from meshwright.release.performing import perform
from meshwright.release.records import NEXT, Build, Change, Item, Release, Status
from meshwright.release.refusal import CODES, InvalidReleaseError
from meshwright.release.requests import ApplyRequest, RollbackRequest

__all__ = [
    "CODES",
    "NEXT",
    "ApplyRequest",
    "Author",
    "Build",
    "Change",
    "Difference",
    "InvalidReleaseError",
    "Item",
    "Release",
    "RollbackRequest",
    "Status",
    "checked",
    "content_of",
    "digest_of",
    "drift",
    "last_good",
    "perform",
    "restored",
    "reverted",
    "without_tags",
]
