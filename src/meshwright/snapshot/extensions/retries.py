"""Retries by an extension, as far as the proxy can carry them out.

The one rule: an Envoy that does not know a setting is not sent it, and the status of the proxy says so.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.extensions import RetryPolicySpec

if TYPE_CHECKING:
    from meshwright.routing import Rule
    from meshwright.snapshot.assembly import Assembly

_REFRESHING = (1, 39)
"""The first Envoy in which a retry may have its cluster chosen again."""


def servable(assembly: Assembly, rule: Rule) -> Rule:
    """`rule` with retries that the proxy knows how to do; what is left out is reported."""
    extension = rule.retried_by
    if extension is None or not isinstance(extension.spec, RetryPolicySpec):
        return rule
    spec, name = extension.spec, rule.origin.name
    if rule.protocol == "tcp":
        assembly.refuse(extension.key, "spec.target", f"{name!r} speaks TCP: only requests of HTTP are tried again")
        return rule
    member = "grpcRetryPolicy" if rule.protocol == "grpc" else "httpRetryPolicy"
    given = spec.grpc_retry_policy if rule.protocol == "grpc" else spec.http_retry_policy
    if given is None and not spec.across_versions:
        assembly.refuse(
            extension.key, "spec", f"it has no {member}, which {name!r} would need: it has no effect there"
        )
    if rule.retry is None or not rule.retry.across_versions or assembly.traits.since(*_REFRESHING):
        return rule
    first = ".".join(map(str, _REFRESHING))
    reason = f"retries stay within the version that the weights chose: this takes Envoy {first} or newer"
    assembly.refuse(extension.key, "spec.acrossVersions", reason)
    return msgspec.structs.replace(rule, retry=msgspec.structs.replace(rule.retry, across_versions=False))
