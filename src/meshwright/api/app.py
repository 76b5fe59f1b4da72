"""The HTTP API, assembled: read it from top to bottom to see what a request passes.

The one rule: nothing is reached without a signature but the questions about health, the metrics, what our own issuer
publishes, the two by which a job proves which it is, and the one STS action that exchanges a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.routing import Router

from meshwright.api import health, proving, releases
from meshwright.api.answers import TOKEN_PATH, ErrorLayer, ProtocolError
from meshwright.api.appmesh import AppMesh
from meshwright.api.authentication import Authentication
from meshwright.api.services import Services
from meshwright.api.sts import Sts
from meshwright.api.turns import Turns
from meshwright.operations import PREFIX

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Services", "build"]


def build(services: Services) -> ASGIApp:
    """The whole API on one port: the App Mesh API, STS, our own endpoints, health and metrics."""
    turns = Turns(services.store)
    appmesh = AppMesh(services, turns)
    routes = [*health.routes(services), *proving.routes(services), *releases.routes(services)]
    # AppMesh answers for unknown paths too. No mount: its pattern would miss a path with a line feed in it, and
    # Starlette would answer in its own words.
    ours = Router(routes, redirect_slashes=False, default=appmesh)
    return ErrorLayer(Authentication(Doors(appmesh, Sts(services), ours), services, turns), services)


class Doors:
    """Which of the APIs a request is for."""

    def __init__(self, appmesh: ASGIApp, sts: ASGIApp, ours: ASGIApp) -> None:
        self._appmesh = appmesh
        self._sts = sts
        self._ours = ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            ProtocolError: one of our paths has no such method.
        """
        if scope["path"].startswith(PREFIX):
            await self._appmesh(scope, receive, send)
            return
        if scope["path"] == TOKEN_PATH:
            await self._sts(scope, receive, send)
            return
        scope["app"] = self
        try:
            await self._ours(scope, receive, send)
        except HTTPException as error:
            text = f"{scope['method']} is no operation on {scope['path'][:200]}."
            raise ProtocolError(text, "UnknownOperationException", error.status_code) from None
