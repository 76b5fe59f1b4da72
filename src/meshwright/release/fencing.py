"""Which of two builds is the older one: what keeps a build that finishes late from undoing a newer one's release.

The one rule: only what was verified counts, and numbers are compared within one series alone: one repository, branch
and pipeline, as one issuer tells them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from meshwright.errors import RefusedError
from meshwright.release.records import ReleaseKind, Status

if TYPE_CHECKING:
    from meshwright.release.records import Build, Release


class OlderBuildError(RefusedError):
    """A newer build of the same branch has released already, or the build was rolled back since."""


class Series(NamedTuple):
    """Builds whose numbers say which is newer."""

    issuer: str
    repository: str
    pipeline: str
    branch: str
    """"" for those of tags, which are one series."""
    pull_request: bool


def series(build: Build | None) -> Series | None:
    """The series of a verified build; None where it has no number in any."""
    if build is None or not build.repository or not any(_numbers(build)):
        return None
    proposed = bool(build.pull_request) or build.event.startswith(("pull_request", "merge_request"))
    return Series(build.issuer, build.repository, build.pipeline, build.branch, proposed)


def order(one: Build, other: Build) -> int | None:
    """Below 0 where `one` is older than `other`, 0 where they are the same build, above 0 where it is newer.

    Both are of one series. None where nothing that both of them have says so.
    """
    for mine, others in zip(_numbers(one), _numbers(other), strict=True):
        if mine is not None and others is not None:
            return mine - others
    return None


def same_build(one: Build | None, other: Build | None) -> bool:
    """Whether both are the same verified build of one series, whichever of its jobs or restarts."""
    if one is None or other is None:
        return False
    known = series(one)
    return known is not None and known == series(other) and order(one, other) == 0


class Standing(NamedTuple):
    """How far a series has come with a stack."""

    build: Build
    """The newest build that released it, or that found it as it wants it."""
    release: Release
    """The release that it made or found, without its content."""


def advances(build: Build, last: Standing | None) -> bool:
    """Whether `build` is newer than all that came before in its series."""
    found = order(build, last.build) if last is not None else None
    return found is None or found > 0


def refuse_older(build: Build, last: Standing | None, kind: ReleaseKind) -> None:
    """Raise where `build` may not release any more after what is `last` in its series.

    Raises:
        OlderBuildError: it is older, or its own release was rolled back and it was not restarted since.
    """
    found = order(build, last.build) if last is not None else None
    if last is None or found is None or found > 0:
        return
    title = last.release.title
    if found < 0:
        raise OlderBuildError(
            f"{told(build)} is older than build {_named(last.build)}, whose release is {title}: what is newer stays. "
            "Nothing was changed."
        )
    taken_back = last.release.kind == "rollback" or last.release.status is Status.ROLLED_BACK
    if kind == "apply" and taken_back and _restarts(build) <= _restarts(last.build):
        by = f"by itself, with {title}" if last.release.kind == "rollback" else f"after its release {title}"
        raise OlderBuildError(
            f"{told(build)} was rolled back {by}, and a job of it that comes late does not undo that. Start a new "
            "build, or restore the release with 'meshwright rollback --to'. Nothing was changed."
        )


def told(build: Build) -> str:
    """How people name a build: `Build 12 of acme/shop (main)`."""
    where = build.branch or build.tag
    return f"Build {_named(build)} of {build.repository}{f' ({where})' if where else ''}"


def _named(build: Build) -> str:
    return build.build_number or build.build_id


def _numbers(build: Build) -> tuple[int | None, int | None]:
    return _number(build.build_number), _number(build.build_id)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _restarts(build: Build) -> int:
    return _number(build.restart_count) or 0
