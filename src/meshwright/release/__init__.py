"""Releases: one stack's change set in one mesh, applied whole, numbered, immutable; all of it pure.

The one rule: a rollback is no mechanism of its own, but a new release with an older one's content.
"""

from meshwright.release.content import content_of, digest_of, last_good, restored, reverted
from meshwright.release.drifting import Author, Difference, drift
from meshwright.release.performing import perform
from meshwright.release.records import NEXT, Build, Change, Item, Release, Status

__all__ = [
    "NEXT",
    "Author",
    "Build",
    "Change",
    "Difference",
    "Item",
    "Release",
    "Status",
    "content_of",
    "digest_of",
    "drift",
    "last_good",
    "perform",
    "restored",
    "reverted",
]
