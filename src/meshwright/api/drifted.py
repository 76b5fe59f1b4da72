"""Drift over the API: where a stack runs otherwise than its last release left it.

The one rule: the running state is compared with the release, and what is new of it is told as an event, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright import release
from meshwright.api.answers import answer
from meshwright.api.asked import stack_of
from meshwright.api.objects import foreign
from meshwright.errors import NotFoundException
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.services import Services
    from meshwright.model.state import State
    from meshwright.release import Difference, Release


def drifted(services: Services, newest: Release, state: State) -> tuple[Difference, ...]:
    """Where a stack runs otherwise in `state` than its `newest` release, whole, left it; reads the database."""
    return release.drift(
        newest.content,
        state,
        mesh=newest.mesh,
        stack=newest.stack,
        principal=newest.principal,
        author=services.store.author,
        history=lambda key: services.store.history(key, newest.revision),
    )


async def get_drift(services: Services, request: Request) -> Response:
    """Where a stack runs otherwise than its last release left it, with who wrote it."""
    mesh, stack = stack_of(request)
    listed = next(iter(services.store.releases(mesh, stack, 1)), None)
    newest = services.store.release(mesh, stack, listed.number) if listed else None
    if newest is None:
        raise NotFoundException(f"Stack {stack!r} in mesh {mesh!r} has no release to compare with.")
    head = services.store.head()

    found = drifted(services, newest, head.state)
    news = services.drifts.news(newest, found, principal=request.state.principal.arn, at=services.now())
    if news is not None:
        services.told(news)
    about = {
        "mesh": mesh,
        "stack": stack,
        "release": newest.title,
        "revision": head.revision,
        "canary": to_wire(newest.canary),
    }
    hidden = foreign(head.state, newest, request.state.principal)
    seen = [release.without_tags(one) if hidden(one.key) else one for one in found]
    return answer({**about, "differences": to_wire([one for one in seen if one.fields or one.state != "changed"])})
