"""The HTTP filters of every listener, in their order: what a route may then ask of them.

The one rule: without settings of its own for a route, each lets everything pass as if it were not there.
"""

from __future__ import annotations

import functools

from meshwright.snapshot.values import Wire, extension

CORS = "envoy.filters.http.cors"
FAULT = "envoy.filters.http.fault"


@functools.cache
def http_filters() -> tuple[Wire, ...]:
    """The filters as a listener holds them; a browser's question is answered before faults are injected."""
    return (
        extension(CORS, "envoy.extensions.filters.http.cors.v3.Cors"),
        extension(FAULT, "envoy.extensions.filters.http.fault.v3.HTTPFault", disable_downstream_cluster_stats=True),
        extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
    )
