"""The audit log over our own endpoints.

The one rule: what is told of the log can be checked by whoever is told, without trust in the server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from meshwright.api.answers import answer
from meshwright.views.answers import checkpoint_answer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.services import Services


async def get_checkpoint(services: Services, request: Request) -> Response:
    """The newest checkpoint of the audit log, signed, and the public key that verifies it."""
    del request
    found = await asyncio.to_thread(services.store.checkpoint)
    return answer(checkpoint_answer(found, services.signing_key))
