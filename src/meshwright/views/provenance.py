"""The provenance of a release as SLSA has it: what was released, by which build, as far as that was verified.

The one rule: what was claimed and what was verified never stand in the same place.
Sources: https://slsa.dev/spec/v1.0/provenance and https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.audit import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.audit import Entry
    from meshwright.release import Build, Release

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:meshwright:release:v1"
"""How what stands in `buildDefinition` is to be read: as `docs/audit.md` says."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HOSTS = {"github": "https://github.com", "gitlab": "https://gitlab.com"}
"""Where the repositories are of services that have one place."""


def statement(release: Release, entry: Entry, origin: str) -> dict[str, Any]:
    """The statement of how `release` came about; `entry` tells of it in the audit log that is called `origin`."""
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": f"{release.mesh}/{release.stack}#{release.number}", "digest": {"sha256": release.digest}}
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _asked(release),
                "internalParameters": _decided(release),
                "resolvedDependencies": list(_sources(release)),
            },
            "runDetails": {
                "builder": {"id": f"urn:meshwright:{origin}"},
                "metadata": _run(release),
                "byproducts": [_leaf(entry), *_tests(release)],
            },
        },
    }


def _asked(release: Release) -> dict[str, Any]:
    """What the job asked for, and what it said of itself: nobody verified that."""
    return {
        "mesh": release.mesh,
        "stack": release.stack,
        "kind": release.kind,
        **({"restores": release.restores} if release.restores is not None else {}),
        **({"reason": release.reason} if release.reason else {}),
        **({"definitions": {"sha256": release.definitions}} if release.definitions else {}),
        **({"promotes": msgspec.to_builtins(release.promotes)} if release.promotes is not None else {}),
        "claimedBuild": msgspec.to_builtins(release.build) if release.build is not None else {},
        "toolVersion": release.tool_version,
    }


def _decided(release: Release) -> dict[str, Any]:
    """What the control plane knows by itself."""
    return {
        "principal": release.principal,
        "verifiedBuild": msgspec.to_builtins(release.verified) if release.verified is not None else {},
        "revision": release.revision,
        **({"parent": release.parent} if release.parent is not None else {}),
        "changes": [{"action": one.action, "object": one.key.path} for one in release.changes],
        **({"approval": msgspec.to_builtins(release.approval)} if release.approval is not None else {}),
        **({"brokenGlass": msgspec.to_builtins(release.broken_glass)} if release.broken_glass is not None else {}),
    }


def _sources(release: Release) -> Iterator[dict[str, Any]]:
    """The commit that the definitions are of: the verified one or, where none was, the claimed one."""
    for build, verified in ((release.verified, True), (release.build, False)):
        if build is not None and _COMMIT.fullmatch(build.commit):
            yield {
                **({"name": build.repository} if build.repository else {}),
                **_address(build),
                "digest": {"gitCommit": build.commit},
                "annotations": {"verified": verified},
            }
            return


def _address(build: Build) -> dict[str, str]:
    host = _HOSTS.get(build.ci)
    if host is None or not build.repository:
        return {}
    ref = f"refs/tags/{build.tag}" if build.tag else f"refs/heads/{build.branch}"
    return {"uri": f"git+{host}/{build.repository}" + (f"@{ref}" if build.tag or build.branch else "")}


def _run(release: Release) -> dict[str, str]:
    build = release.verified or release.build
    invoked = (build.url or build.build_id or build.build_number) if build is not None else ""
    at = datetime.fromtimestamp(release.at // 1000, tz=UTC).isoformat().replace("+00:00", "Z")
    return {**({"invocationId": invoked} if invoked else {}), "finishedOn": at}


def _tests(release: Release) -> Iterator[dict[str, Any]]:
    """The report of the tests that the build says its definitions passed."""
    one = release.tests
    if one is not None:
        said = {
            "mode": one.mode,
            "at": one.at,
            "passed": one.passed,
            "skipped": one.skipped,
            "coverage": one.coverage,
        }
        yield {"name": "test report", "digest": {"sha256": one.digest}, "annotations": {"claimed": True, **said}}


def _leaf(entry: Entry) -> dict[str, Any]:
    """Where the release is in the audit log; `audit prove --leaf` proves it."""
    return {
        "name": "audit leaf",
        "digest": {"sha256": leaf_hash(entry.text.encode()).hex()},
        "annotations": {"position": entry.position},
    }
