"""Where the instances of virtual nodes are, as far as DNS does not tell: for those who ask what proxies are sent.

The one rule: it tells what was found and what could not be looked up; what becomes of it is a proxy's snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.api.answers import answer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from meshwright.api.services import Services
    from meshwright.discovery import Found


async def get_endpoints(services: Services, request: Request) -> Response:
    """The endpoints of a mesh's nodes from AWS Cloud Map and from proxies, and what could not be looked up."""
    mesh = request.path_params["mesh"]
    rows = [
        {
            "node": row.node.path,
            "address": row.endpoint.address,
            "port": row.endpoint.port,
            "zone": row.endpoint.zone,
            "source": row.source,
            "name": row.name,
            "state": row.state,
        }
        for row in services.found.rows(mesh)
    ]
    return answer({"mesh": mesh, "endpoints": rows, "faults": _faults(services.found, mesh)})


def discovered(found: Found) -> list[dict[str, Any]]:
    """For the status of the server: by node and source how many endpoints there are, and how many are healthy."""
    counts: dict[tuple[str, str], list[int]] = {}
    for row in found.rows():
        count = counts.setdefault((row.node.path, row.source), [0, 0])
        count[0] += 1
        count[1] += row.endpoint.healthy
    faults = {(one["node"], one["source"]): one for one in _faults(found)}
    return [
        {
            "node": node,
            "source": source,
            "endpoints": counts.get((node, source), [0, 0])[0],
            "healthy": counts.get((node, source), [0, 0])[1],
            "fault": faults.get((node, source)),
        }
        for node, source in sorted({*counts, *faults})
    ]


def _faults(found: Found, mesh: str = "") -> list[dict[str, Any]]:
    return [
        {"node": one.node.path, "source": one.source, "message": one.message, "since": one.since}
        for one in found.faults(mesh)
    ]
