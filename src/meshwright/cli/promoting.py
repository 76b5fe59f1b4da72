"""Which release may be promoted, and that the definitions here are the ones that it was made of.

The one rule: what is not sure to be the verified release is refused, with what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.cli.definitions import fingerprint_of
from meshwright.cli.target import release_number, resolve
from meshwright.errors import RefusedError, UsageError
from meshwright.impact.tested import RunSummary
from meshwright.release import Promotion
from meshwright.views.wire import from_wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshwright.cli.target import Target

_LOOK_BACK = 1000
"""Releases among which the newest verified one is looked for."""


def between(
    options: Mapping[str, Any], source: str, goal: str, stack: str | None, parameters: Sequence[str]
) -> tuple[Target, Target]:
    """The two environments.

    Raises:
        UsageError: there is no such environment, or both are one place.
    """
    before, after = (
        resolve({**options, "environment": one}, stack=stack, parameters=parameters) for one in (source, goal)
    )
    if (before.endpoint, before.meshed()) == (after.endpoint, after.meshed()):
        raise UsageError(
            f"{source} and {goal} are the same mesh, {after.meshed()!r} at {after.endpoint}: there is nothing to "
            "promote. Give them meshes or endpoints of their own, and leave out --mesh and MESHWRIGHT_MESH."
        )
    return before, after


def promotion(before: Target, environment: str, release: str | None) -> tuple[Promotion, RunSummary | None]:
    """The newest verified release of the stack in `before`, whose definitions are those here, and its tests.

    Raises:
        RefusedError: none is verified, it is not the one that is meant, or it was made of other definitions.
    """
    where, owner = before.place()
    known = before.client().releases(where, owner, _LOOK_BACK)["releases"]
    found = next((one for one in known if one["status"] == "verified"), None)
    if found is None:
        raise RefusedError(
            f"No release of stack {owner!r} in {environment} (mesh {where!r}) is verified; nothing was changed. "
            f"Verify the newest with `meshwright --environment {environment} verify`."
        )
    title = found["title"]
    if release is not None and release_number(release, owner) != found["number"]:
        status = next(
            (one["status"] for one in known if one["number"] == release_number(release, owner)), "not there"
        )
        raise RefusedError(
            f"{owner}#{release_number(release, owner)} is {status} in {environment}, and {title} is the newest "
            "verified release there: only that can be promoted. Nothing was changed."
        )
    if not found.get("definitions"):
        raise RefusedError(
            f"Of {title} in {environment} it is not known of which definitions it was made, so that nobody can tell "
            "whether these are the same. Release it once more by `meshwright apply`. Nothing was changed."
        )
    if found["definitions"] != fingerprint_of(before.project, ()):
        raise RefusedError(
            f"The definitions here are not those of which {title} in {environment} was made{_made(found)}. "
            "Check out its commit and promote from there. Nothing was changed."
        )
    tests = from_wire(RunSummary, found["tests"]) if found.get("tests") else None
    made = Promotion(
        environment=environment,
        endpoint=before.endpoint,
        mesh=where,
        stack=owner,
        number=found["number"],
    )
    return made, tests


def _made(found: Mapping[str, Any]) -> str:
    """From which commit and by which build, as far as that is told."""
    build = found.get("build") or {}
    told = [
        f"{word} {build[name]}" for word, name in (("commit", "commit"), ("build", "build_number")) if build.get(name)
    ]
    return f" ({', '.join(told)})" if told else ""
