"""Envoy's matchers of nodes, with which a client of CSDS says about whom it asks.

The one rule: what cannot be understood is told to whoever asks and matches nobody, so that an empty answer means that
there is nobody, and none is wider than the question.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/node.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.routing.expressions import matches, program_size
from meshwright.snapshot.messages import as_dict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def fault(matchers: Iterable[Any]) -> str | None:
    """What is wrong with the first `NodeMatcher` message that cannot be understood, and where in the request.

    None where all can be. What Envoy's own rules for these messages ask for is asked for here.
    """
    return next((one for number, matcher in enumerate(matchers) for one in _faults(matcher, f"[{number}]")), None)


def _faults(matcher: Any, place: str) -> Iterator[str]:
    where = f"node_matchers{place}"
    if matcher.HasField("node_id"):
        yield from _faults_of_text(matcher.node_id, f"{where}.node_id")
    for number, one in enumerate(matcher.node_metadatas):
        inner = f"{where}.node_metadatas[{number}]"
        if not one.path or not all(step.key for step in one.path):
            yield f"{inner}.path has to name a member of the metadata, key by key, and no key may be empty"
        yield from _faults_of_value(one.value, f"{inner}.value")


def _faults_of_value(matcher: Any, where: str) -> Iterator[str]:
    match matcher.WhichOneof("match_pattern"):
        case None:
            yield f"{where} has no match_pattern that is known here, such as string_match or present_match"
        case "string_match":
            yield from _faults_of_text(matcher.string_match, f"{where}.string_match")
        case "double_match" if matcher.double_match.WhichOneof("match_pattern") is None:
            yield f"{where}.double_match needs exact or range"
        case "list_match":
            yield from _faults_of_value(matcher.list_match.one_of, f"{where}.list_match.one_of")
        case "or_match":
            alternatives = matcher.or_match.value_matchers
            if not alternatives:
                yield f"{where}.or_match.value_matchers is empty"
            for number, one in enumerate(alternatives):
                yield from _faults_of_value(one, f"{where}.or_match.value_matchers[{number}]")


def _faults_of_text(matcher: Any, where: str) -> Iterator[str]:
    kind = matcher.WhichOneof("match_pattern")
    if kind not in _TEXTS:
        yield f"{where} needs one of {', '.join(_TEXTS)}" + (f", and {kind} is none" if kind else "")
    elif kind == "safe_regex":
        expression = matcher.safe_regex.regex
        try:
            program_size(expression)
        except ValueError as error:
            shown = expression if len(expression) <= _SHOWN else f"{expression[:_SHOWN]}…"
            yield f"{where}.safe_regex.regex is {shown!r}, no regular expression of RE2's: {str(error)[:_SHOWN]}"
    elif kind != "exact" and not getattr(matcher, kind):
        yield f"{where}.{kind} is empty"


_SHOWN = 100
"""Characters of an expression that are quoted: status messages travel in headers."""
_TEXTS = ("exact", "prefix", "suffix", "contains", "safe_regex")


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
        return matches(matcher.safe_regex.regex, text)
    if kind not in _TEXTS:
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
