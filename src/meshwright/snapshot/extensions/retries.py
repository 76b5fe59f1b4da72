"""Retries by an extension, as far as the proxy can carry them out.

The one rule: an Envoy that does not know a setting is not sent it, and the status of the proxy says so.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.routing import hindrance

if TYPE_CHECKING:
    from meshwright.routing import Place, Rule
    from meshwright.snapshot.assembly import Assembly

_REFRESHING = (1, 39)
"""The first Envoy in which a retry may have its cluster chosen again."""


def servable(assembly: Assembly, rule: Rule, place: Place) -> Rule:
    """`rule` at `place` with retries that the proxy knows how to do; what is left out is reported."""
    extension = rule.retried_by
    if extension is None:
        return rule
    if hindered := hindrance(assembly.graph, extension, place):
        assembly.refuse(extension.key, hindered.path, hindered.reason)
    if rule.retry is None or not rule.retry.across_versions or assembly.traits.since(*_REFRESHING):
        return rule
    first = ".".join(map(str, _REFRESHING))
    reason = f"retries stay within the version that the weights chose: this takes Envoy {first} or newer"
    assembly.refuse(extension.key, "spec.acrossVersions", reason)
    return msgspec.structs.replace(rule, retry=msgspec.structs.replace(rule.retry, across_versions=False))
