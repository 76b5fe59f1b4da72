"""What is told elsewhere of releases and of the control plane itself: events as they happen, and readings of numbers.

What has to do with releases is told as well: approvals, grants past the guardrails, drift.

The one rule: nothing that a definition says, and no reason that somebody wrote, is told: whoever reads telemetry need
not be one of those who may read the mesh. An event names the release; the audit log holds the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import msgspec
from prometheus_client.metrics_core import Metric

from meshwright.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.release import Build, Release

What: TypeAlias = Literal["applied", "propagated", "failed", "verified", "inconclusive", "rolled_back"]
"""What became of a release. `inconclusive` is a verification that leaves it as it was."""

_LONGEST = 500
"""Characters of one attribute: a job claims of itself what it likes."""


Beside: TypeAlias = Literal["asked", "approved", "withdrawn", "given", "used", "found", "repaired"]
"""What becomes of an approval (the first three), of a grant, of drift."""
Family: TypeAlias = Literal["release", "approval", "grant", "drift"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that became of a release, or of what has to do with releases."""

    family: Family = "release"
    what: What | Beside
    at: int
    """Milliseconds since the epoch, UTC."""
    mesh: str
    stack: str
    title: str
    """The release, as people name it."""
    seconds: float | None = None
    """From its commit to the last ack of the proxies that it concerns; None for what has none."""
    attributes: Mapping[str, str | int]
    """By name, in the order in which they are told."""

    @property
    def name(self) -> str:
        """As OpenTelemetry's `event_name`: `meshwright.release.applied`."""
        return f"meshwright.{self.family}.{self.what}"


class PartlyTakenError(RefusedError):
    """A receiver took what it was sent, but for `rejected` of it, or has only something to say; never sent again."""

    def __init__(self, message: str, rejected: int) -> None:
        super().__init__(message)
        self.rejected = rejected


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of one moment; those that count do so since `since`."""

    at: int
    since: int
    """When the control plane started. Both in milliseconds since the epoch, UTC."""
    metrics: tuple[Metric, ...]
    """Those of `/metrics`."""
    proxies: Mapping[tuple[str, str], int] = {}
    """How many are connected, by mesh and state."""


def event(
    what: What,
    one: Release,
    at: int,
    *,
    principal: str = "",
    seconds: float | None = None,
    rejected: int | None = None,
    instead: str = "",
) -> Event:
    """What became of `one`, by `principal` unless that is who released it.

    `rejected` is how many proxies rejected it, `instead` the title of the release that took it back.
    """
    said: dict[str, str | int] = {
        "meshwright.mesh": one.mesh,
        "meshwright.stack": one.stack,
        "meshwright.release": one.title,
        "meshwright.status": what.replace("_", " "),
        "meshwright.kind": one.kind,
        "meshwright.revision": one.revision,
        "meshwright.digest": one.digest,
        "meshwright.changes": len(one.changes),
        "meshwright.principal": principal or one.principal,
    }
    if one.restores is not None:
        said["meshwright.restores"] = f"{one.stack}#{one.restores}"
    if instead:
        said["meshwright.rolled_back_by"] = instead
    if one.promotes is not None:
        said["meshwright.promotes"] = f"{one.promotes.title} of {one.promotes.environment}"
    if one.canary is not None:
        said["meshwright.canary"] = f"{one.stack}#{one.canary.first}"
        said["meshwright.canary_state"] = one.canary.state
        said["meshwright.canary_weight"] = one.canary.weight
    if rejected is not None:
        said["meshwright.rejected_proxies"] = rejected
    for side, build in (("verified", one.verified), ("claimed", one.build)):
        said |= _of_build(f"meshwright.build.{side}", build)
    told = _bounded(said)
    return Event(what=what, at=at, mesh=one.mesh, stack=one.stack, title=one.title, seconds=seconds, attributes=told)


def beside(
    family: Family,
    what: Beside,
    at: int,
    *,
    mesh: str,
    stack: str,
    title: str,
    principal: str,
    said: Mapping[str, str | int],
) -> Event:
    """What became of an approval, a grant or drift, by `principal`; `said` are attributes without `meshwright.`.

    `title` is what it is about, as people name it: a release, a pending one, or a grant.
    """
    told: dict[str, str | int] = {
        "meshwright.mesh": mesh,
        "meshwright.stack": stack,
        "meshwright.status": what,
        "meshwright.principal": principal,
        **{f"meshwright.{name}": value for name, value in said.items()},
    }
    return Event(family=family, what=what, at=at, mesh=mesh, stack=stack, title=title, attributes=_bounded(told))


def passed(one: Release) -> Iterator[Event]:
    """What a release that was committed did beside: it was let through, used a grant, or repaired drift."""
    told: dict[str, str | int] = {"release": one.title}
    if one.approval is not None:
        said = {"pending": f"{one.stack}#pending-{one.approval.pending}", "author": one.principal}
        rules = ", ".join(one.approval.rules)
        yield _of_release("approval", "approved", one, one.approval.principal, {**told, **said, "guardrails": rules})
    if one.broken_glass is not None:
        glass = one.broken_glass
        used: dict[str, str | int] = {"grant": glass.grant, "grant.principal": glass.granted_by}
        yield _of_release("grant", "used", one, one.principal, {**told, **used, "guardrails": ", ".join(glass.rules)})
    if one.kind == "repair":
        yield _of_release("drift", "repaired", one, one.principal, {**told, "changes": len(one.changes)})


def _of_release(family: Family, what: Beside, one: Release, principal: str, said: Mapping[str, str | int]) -> Event:
    return beside(
        family, what, one.at, mesh=one.mesh, stack=one.stack, title=one.title, principal=principal, said=said
    )


def _bounded(said: Mapping[str, str | int]) -> dict[str, str | int]:
    return {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in said.items()}


def _of_build(prefix: str, build: Build | None) -> dict[str, str | int]:
    if build is None:
        return {}
    return {
        f"{prefix}.{name}": without_secrets(value) for name, value in msgspec.structs.asdict(build).items() if value
    }


def without_secrets(url: str) -> str:
    """`url` without the password, query and fragment that it may have, in which tokens are handed around."""
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
