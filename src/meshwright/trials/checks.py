"""What health checks ask of an application, which it can answer well or not.

The one rule: what a check asks is told by its path alone, that of gRPC included, so that instances may fail one check
and no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshwright.model.listeners import HealthCheckPolicy

HEALTH = "/grpc.health.v1.Health/Check"
"""gRPC's way of asking whether a server is well.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""


def asked_path(check: HealthCheckPolicy | None) -> str:
    """The path that a check asks an application for; "" where it asks none, as for a connection alone."""
    if check is None or check.protocol == "tcp":
        return ""
    return HEALTH if check.protocol == "grpc" else check.path or "/"
