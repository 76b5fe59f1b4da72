"""Envoy's matchers of nodes, with which a client of CSDS says about whom it asks.

The one rule: what is not understood matches nobody, so that no answer is wider than the question.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/node.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import re2

from meshwright.routing.expressions import bytewise
from meshwright.snapshot.messages import as_dict

if TYPE_CHECKING:
    from collections.abc import Sequence


def any_matches(matchers: Sequence[Any], node: Any) -> bool:
    """Whether one of the `NodeMatcher` messages matches the `Node`; none at all match every node."""
    return not matchers or any(_matches(one, node) for one in matchers)


def _matches(matcher: Any, node: Any) -> bool:
    if matcher.HasField("node_id") and not _text(matcher.node_id, node.id):
        return False
    metadata = as_dict(node.metadata) if matcher.node_metadatas else {}
    return all(_value(one.value, _found(metadata, [step.key for step in one.path])) for one in matcher.node_metadatas)


def _found(metadata: Any, path: Sequence[str]) -> Any:
    """The member at `path`; `_ABSENT` where there is none."""
    for key in path:
        if not isinstance(metadata, dict) or key not in metadata:
            return _ABSENT
        metadata = metadata[key]
    return metadata


_ABSENT = object()


def _value(matcher: Any, value: Any) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    match kind:
        case "present_match":
            return bool(matcher.present_match) == (value is not _ABSENT)
        case "null_match":
            return value is None
        case "bool_match":
            return value is bool(matcher.bool_match)
        case "string_match":
            return isinstance(value, str) and _text(matcher.string_match, value)
        case "double_match":
            return isinstance(value, float | int) and not isinstance(value, bool) and _number(matcher, value)
        case "list_match":
            return isinstance(value, list) and any(_value(matcher.list_match.one_of, one) for one in value)
        case "or_match":
            return any(_value(one, value) for one in matcher.or_match.value_matchers)
    return False


def _number(matcher: Any, value: float) -> bool:
    wanted = matcher.double_match
    if wanted.WhichOneof("match_pattern") == "exact":
        return bool(value == wanted.exact)
    return bool(wanted.range.start <= value < wanted.range.end)


def _text(matcher: Any, text: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return _expression(matcher.safe_regex.regex, text)
    if kind not in {"exact", "prefix", "suffix", "contains"}:
        return False
    wanted: str = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, text = wanted.lower(), text.lower()
    match kind:
        case "exact":
            return text == wanted
        case "prefix":
            return text.startswith(wanted)
        case "suffix":
            return text.endswith(wanted)
    return wanted in text


def _expression(regex: str, text: str) -> bool:
    try:
        return re2.compile(regex.encode(), bytewise()).fullmatch(text.encode()) is not None
    except re2.error:
        return False
