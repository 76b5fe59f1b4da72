"""One connected proxy, resource by resource.

The one rule: it tells how things stand now; what was seen on the way is a release's evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.api.answers import answer
from meshwright.api.tracing import traced
from meshwright.errors import NotFoundException, did_you_mean
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.services import Services


async def get_proxy(services: Services, request: Request) -> Response:
    """One connected proxy, named by `id`, and how far it is with every resource that it should hold."""
    named = request.query_params.get("id", "")
    delivery = services.control.delivery(named)
    if delivery is None:
        connected = [one.id for one in services.control.statuses()]
        raise NotFoundException(
            f"No proxy {named!r} is connected; {did_you_mean(named, connected, 'GET /status lists those that are')}."
        )
    held = [
        {
            "type_url": one.type_url,
            "name": one.name,
            "version": one.resource.version if one.resource is not None else "",
            "state": one.state,
            "at": one.at,
        }
        for one in delivery.held()
    ]
    (status,) = await traced(services.store, (delivery.status(),))
    return answer({"proxy": to_wire(status), "resources": held})
