"""The HTTP API, assembled: read it from top to bottom to see what a request passes.

The one rule: nothing is reached without a signature but the two questions about health.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from meshwright.api import health, releases
from meshwright.api.answers import ErrorLayer
from meshwright.api.appmesh import AppMesh
from meshwright.api.authentication import Authentication
from meshwright.api.services import Services

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

__all__ = ["Services", "build"]


def build(services: Services) -> Starlette:
    """The whole API on one port: the App Mesh API, our own endpoints, health."""
    routes: list[BaseRoute] = [
        *health.routes(services),
        *releases.routes(services),
        Mount("/", app=AppMesh(services)),
    ]
    layers = [
        Middleware(ErrorLayer, services=services),
        Middleware(Authentication, services=services),
    ]
    return Starlette(routes=routes, middleware=layers)
