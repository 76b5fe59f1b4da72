"""The observed graph over the API: who really calls whom, beside who is declared to.

The one rule: it reads what proxies reported and the newest state, and writes nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from meshwright.api.answers import answer
from meshwright.errors import BadRequestException, NotFoundException
from meshwright.model.identity import Key
from meshwright.observe import compared
from meshwright.observe.traffic import MINUTES
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.services import Services

USUAL_MINUTES = 5


async def get_observed(services: Services, request: Request) -> Response:
    """Who calls whom in a mesh, how often, with what errors and latency; `minutes` is 5 unless given, 60 at most."""
    mesh = request.path_params["mesh"]
    control = services.control
    if Key.of_mesh(mesh) not in control.graph.state:
        raise NotFoundException(f"There is no mesh {mesh!r}.")
    text = request.query_params.get("minutes", str(USUAL_MINUTES))
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= MINUTES:
        raise BadRequestException(f"minutes takes a whole number from 1 to {MINUTES}, found {text!r}.")
    found = compared(
        control.graph, services.traffic, mesh, revision=control.revision, now=services.now(), minutes=int(text)
    )
    return answer(to_wire(found))
