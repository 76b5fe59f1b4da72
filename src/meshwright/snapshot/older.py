"""Envoys that are older than a setting: what they are told instead, or what is told of them.

An Envoy ignores a field that it does not know. Where that would do less than was asked for, or more, it is sent an
older word of the same meaning, or nothing and its status says so.

The one rule: here stands since when Envoy knows each setting whose absence would go unnoticed. What an older Envoy
rejects is not here: a rejection is reported by itself.
Source: https://www.envoyproxy.io/docs/envoy/latest/version_history/version_history
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.model.identity import Key
    from meshwright.snapshot.assembly import Assembly
    from meshwright.snapshot.matching import AnyMatch
    from meshwright.snapshot.resources import Traits
    from meshwright.snapshot.values import Wire

_EXPIRING = (1, 17)
"""Resources with a time to live."""
_DEFAULT_CHAIN = (1, 17)
"""`default_filter_chain`."""
_HEADER_TEXTS = (1, 20)
"""`HeaderMatcher.string_match`; without it, a condition asks for nothing but the header."""
_RETRIED_CHECKS = (1, 21)
"""`HttpHealthCheck.retriable_statuses`."""
_LOOKED_UP = (1, 21)
"""All that a host is looked up by on its way out: the filter for TLS, and addresses of both families."""
_TYPED_NAMES = (1, 21)
"""`match_typed_subject_alt_names`; without it, no name in a certificate is looked at."""
_SHARED_BUCKETS = (1, 22)
"""`share_key` of limits of connections."""
_EMPTY = (1, 23)
"""`keep_empty_value`."""
_ACTIONS = (1, 24)
"""`append_action`, which was in the API before it did anything; without it, a header is added to what is there."""
_CORS = (1, 24)
"""Policies about browsers as settings of routes; older ones reject the routes."""
_EXHAUSTED = (1, 29)
"""`rate_limited_as_resource_exhausted`."""
_ANSWERED = (1, 30)
"""`forward_not_matching_preflights`."""


def header(name: str, value: str, traits: Traits, *, replacing: bool) -> Wire:
    """A header to add to what is there, or to put in its place. Envoy refuses the old word and the new together."""
    written: Wire = {"header": {"key": name, "value": value}, "keep_empty_value": not value}
    if traits.before(*_ACTIONS):
        return written | {"append": {"value": not replacing}}
    return written | {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD" if replacing else "APPEND_IF_EXISTS_OR_ADD"}


def report_empty(assembly: Assembly, origin: Key, values: Iterable[str]) -> None:
    """Report that the Envoy does not write the headers without a value that are among `values` of `origin`."""
    if assembly.traits.before(*_EMPTY) and not all(values):
        assembly.refuse(origin, "", _since(_EMPTY, "writes headers without a value: here they stay as they are"))


def report_open(assembly: Assembly, origin: Key) -> None:
    """Report that the Envoy closes what is not modelled although the mesh or policy `origin` lets it out."""
    if assembly.traits.before(*_DEFAULT_CHAIN):
        assembly.refuse(
            origin, "", _since(_DEFAULT_CHAIN, "lets out connections to whatever port: here they are closed")
        )


def typed_names(traits: Traits) -> bool:
    """Whether names in certificates can be asked for by their type; otherwise one of any type will do."""
    return not traits.before(*_TYPED_NAMES)


def forgets(assembly: Assembly) -> bool:
    """Whether the Envoy forgets by itself what is sent with a time to live."""
    return assembly.traits.runtime and not assembly.traits.before(*_EXPIRING)


def takes_cors(assembly: Assembly, origin: Key) -> bool:
    """Whether it is sent the policy `origin`, and what it lacks of it."""
    if assembly.traits.before(*_CORS):
        assembly.refuse(origin, "", _since(_CORS, "knows policies about browsers of a route: none is sent"))
        return False
    if assembly.traits.before(*_ANSWERED):
        reason = "answers questions from origins that are not allowed: here the application gets them"
        assembly.refuse(origin, "", _since(_ANSWERED, reason))
    return True


def takes_named_hosts(assembly: Assembly, origin: Key) -> bool:
    """Whether it is sent the hosts that the policy `origin` names."""
    if assembly.traits.before(*_LOOKED_UP):
        reason = "looks up hosts as this needs it: none that is named can be called"
        assembly.refuse(origin, "spec.allow", _since(_LOOKED_UP, reason))
        return False
    return True


def report_limit(assembly: Assembly, origin: Key, protocol: str) -> None:
    """Report what the Envoy lacks of the rate limit `origin`."""
    if protocol == "tcp" and assembly.traits.before(*_SHARED_BUCKETS):
        reason = "shares a bucket: here encrypted connections and plain ones have one each"
        assembly.refuse(origin, "", _since(_SHARED_BUCKETS, reason))
    if protocol == "grpc" and assembly.traits.before(*_EXHAUSTED):
        reason = "says RESOURCE_EXHAUSTED to gRPC callers: here they get UNAVAILABLE"
        assembly.refuse(origin, "", _since(_EXHAUSTED, reason))


def report_checks(assembly: Assembly, node: Key, protocol: str) -> None:
    """Report what the Envoy lacks of the health checks of `node`."""
    if protocol in {"http", "http2"} and assembly.traits.before(*_RETRIED_CHECKS):
        reason = f"counts answers other than 200: here the first one gives an instance of {node.name!r} up"
        assembly.refuse(node, "spec.listeners", _since(_RETRIED_CHECKS, reason))


def report_conditions(assembly: Assembly, routes: Iterable[tuple[Key, AnyMatch]]) -> None:
    """Report of which routes the Envoy does not look at the texts in their conditions."""
    if not assembly.traits.before(*_HEADER_TEXTS):
        return
    members = ("headers", "metadata", "method", "scheme", "hostname")
    for origin, match in routes:
        if any(getattr(match, member, None) for member in members):
            reason = "compares headers with texts: here a condition is met wherever there is such a header"
            assembly.refuse(origin, "", _since(_HEADER_TEXTS, reason))


def _since(first: tuple[int, int], reason: str) -> str:
    return f"only Envoy {first[0]}.{first[1]} or newer {reason}"
