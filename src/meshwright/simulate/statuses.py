"""What a proxy's own answers say to clients of gRPC.

The one rule: an HTTP status that gRPC has no word for is UNKNOWN.
Source: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from meshwright.simulate.verdicts import Ending

if TYPE_CHECKING:
    from meshwright.model.identity import Key
    from meshwright.simulate.calls import Call
    from meshwright.simulate.verdicts import Outcome

_IN_GRPC = MappingProxyType({400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14})
_UNKNOWN = 2


def ending(
    call: Call, outcome: Outcome, status: int, reason: str, decided_by: Key | None, grpc_status: int | None = None
) -> Ending:
    """An answer of a proxy to `call`: an HTTP status, and in gRPC what becomes of it unless that is told."""
    told = None
    if call.protocol == "grpc":
        told = _IN_GRPC.get(status, _UNKNOWN) if grpc_status is None else grpc_status
    return Ending(outcome=outcome, reason=reason, status=status, grpc_status=told, decided_by=decided_by)
