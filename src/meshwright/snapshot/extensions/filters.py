"""The HTTP filters of every listener, in their order: what a route may then ask of them.

The one rule: without settings of its own for a route, each lets everything pass as if it were not there.
"""

from __future__ import annotations

import functools

from meshwright.snapshot.values import Wire, extension

CORS = "envoy.filters.http.cors"
FAULT = "envoy.filters.http.fault"
RATE_LIMIT = "envoy.filters.http.local_ratelimit"
RATE_LIMITING = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
"""The type of the settings of `RATE_LIMIT`, of a listener and of a route alike."""


@functools.cache
def http_filters() -> tuple[Wire, ...]:
    """The filters as a listener holds them.

    A browser's question is answered before anything else, and what is over a limit before faults are injected.
    """
    return (
        extension(CORS, "envoy.extensions.filters.http.cors.v3.Cors"),
        extension(RATE_LIMIT, RATE_LIMITING, stat_prefix="rate_limit"),
        extension(FAULT, "envoy.extensions.filters.http.fault.v3.HTTPFault", disable_downstream_cluster_stats=True),
        extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
    )
