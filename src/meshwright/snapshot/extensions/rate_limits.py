"""Rate limits: a bucket of tokens in each proxy, of which every request, or for TCP every connection, takes one.

The one rule: who shares a definition shares its bucket as far as a proxy can: all routes of a service or gateway use
one, a route of its own limit has its own. It is full whenever Envoy takes another version of the routes.
Sources: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter
and https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/local_rate_limit_filter
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from meshwright.graph import extended
from meshwright.model.identity import Kind
from meshwright.snapshot.extensions.additions import Additions
from meshwright.snapshot.extensions.filters import RATE_LIMIT, RATE_LIMITING
from meshwright.snapshot.messages import message, packed
from meshwright.snapshot.older import report_limit
from meshwright.snapshot.values import Wire, count, duration, extension

if TYPE_CHECKING:
    from meshwright.model.extensions import RateLimitSpec
    from meshwright.model.state import Resource
    from meshwright.routing import Place
    from meshwright.snapshot.assembly import Assembly

_CONNECTIONS = "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit"
_TOO_MANY = 429
_SHORTEST = 50
"""Milliseconds between two fills that Envoy keeps up with."""
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def added(assembly: Assembly, place: Place, extension_: Resource) -> Additions:
    """What a limit adds at a place: to the route, to all routes of its virtual host, or to connections."""
    spec, key = cast("RateLimitSpec", extension_.spec), extension_.key
    name = f"rate_limit_{key.name}"
    report_limit(assembly, key, place.protocol)
    if place.protocol == "tcp":
        # Encrypted and plain connections to one port go through two chains of filters.
        share = f"{key.name} {place.port if place.called is None else place.called.port}"
        limit = extension(
            "envoy.filters.network.local_ratelimit",
            _CONNECTIONS,
            stat_prefix=name,
            token_bucket=_bucket(spec),
            share_key=share,
        )
        return Additions(origins=(key,), connections=(limit,))
    settings = message(RATE_LIMITING)(
        stat_prefix=name,
        status={"code": spec.status_code or _TOO_MANY},
        token_bucket=_bucket(spec),
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        rate_limited_as_resource_exhausted=True,
    )
    filters: Wire = {RATE_LIMIT: packed(settings)}
    if extended(key.mesh, spec)[0].kind in {Kind.VIRTUAL_SERVICE, Kind.VIRTUAL_GATEWAY}:
        return Additions(origins=(key,), shared=filters)
    return Additions(origins=(key,), filters=filters)


def _bucket(spec: RateLimitSpec) -> Wire:
    return {
        "max_tokens": spec.max_tokens,
        "tokens_per_fill": count(spec.tokens_per_fill or 1),
        "fill_interval": duration(max(spec.fill_interval.milliseconds, _SHORTEST)),
    }
