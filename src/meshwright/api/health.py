"""Whether the server is alive, whether it can do its work, and what it has done so far; anybody may ask.

The one rule: alive means that the process answers; ready means that the database can be read and written and that
what it holds has reached the control loop. A write is tried every few seconds at most, however often it is asked.
Source: https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from meshwright.api.answers import answer
from meshwright.api.metrics import CONTENT_TYPE
from meshwright.errors import StorageError

if TYPE_CHECKING:
    from starlette.requests import Request

    from meshwright.api.services import Services


def routes(services: Services) -> list[Route]:
    """`GET /healthz` and `GET /readyz`: 200, or 503 with what is missing; `GET /metrics`."""

    async def healthz(_request: Request) -> Response:
        return answer({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        store = _readable(services) and await services.writer.works()
        # A commit of this moment may not have arrived yet; after a start everything older must have.
        control = store and (services.control.revision > 0 or services.store.head().revision == 0)
        checks = {"store": store, "control": control}
        ready = all(checks.values())
        return answer({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)

    async def metrics(_request: Request) -> Response:
        return Response(services.metrics.render(), media_type=CONTENT_TYPE)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def _readable(services: Services) -> bool:
    """Whether the database answers."""
    try:
        services.store.checkpoint()
    except StorageError:
        return False
    return True
