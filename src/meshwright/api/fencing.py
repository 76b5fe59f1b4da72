"""Whether a build may still release a stack: what a newer build of its branch has released stays.

The one rule: asked while a commit is decided, on what is on disk then, so that no race passes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from meshwright import release
from meshwright.errors import RefusedError

if TYPE_CHECKING:
    from meshwright.api.applying import Intent
    from meshwright.api.services import Services
    from meshwright.release import Build

UNVERIFIED = "verified-builds"
"""The guardrail that stands for the environment's demand for verified builds."""
UNFENCED = (
    "the number of this build is claimed and not verified, so that nothing keeps an older build from releasing after "
    "it; let the job sign with a session for its identity token (docs/credentials.md)"
)
"""What a job is told of which nobody vouches for the build that it says it is of."""


class Fence(NamedTuple):
    """How a build stands among those of its series."""

    build: Build | None = None
    """What is verified of it; None where that gives it no number, and nothing is fenced."""
    advances: bool = False
    """Whether it is newer than all that came before."""
    unverified: bool = False
    """Whether the environment takes it with a grant alone, since nothing proves its number."""


def fence(services: Services, intent: Intent) -> Fence:
    """How the caller's build stands, where it may release; reads the database.

    Raises:
        OlderBuildError: a newer build of the same branch was there already, or it was rolled back itself.
        RefusedError: the environment takes verified builds only, and this is none.
    """
    build, settled = intent.caller.build, services.authority().settled
    known = release.series(build)
    if build is None or known is None:
        unverified = intent.kind == "apply" and settled.verified_builds
        if unverified and not intent.break_glass and UNVERIFIED not in intent.passes:
            raise RefusedError(
                f"The environment {settled.environment!r} takes releases of verified builds only, and the session of "
                f"{intent.caller.principal.arn} proves no repository and number of a build. Let the job sign with a "
                "session for its identity token (docs/trust.md, Verified builds). Nothing was changed."
            )
        return Fence(unverified=unverified)
    last = services.store.standing(intent.mesh, intent.stack, known)
    release.refuse_older(build, last, intent.kind)
    return Fence(build, release.advances(build, last))


def unfenced(intent: Intent, found: Fence) -> tuple[str, ...]:
    """What to tell a job whose release is not fenced; nothing to people, who have no build."""
    claimed = intent.build is not None and bool(intent.build.build_number or intent.build.build_id)
    return (UNFENCED,) if claimed and found.build is None else ()
