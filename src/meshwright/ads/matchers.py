"""Envoy's matchers of nodes, with which a client of CSDS says about whom it asks.

The one rule: what cannot be understood is told to whoever asks and matches nobody, so that an empty answer means that
there is nobody, and none is wider than the question. How much one question may cost is judged before any is compiled.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/node.proto
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

from meshwright.routing.expressions import PROGRAM_SIZE, matches, program_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


MOST_MATCHERS = 100
"""Of one question, those within others included."""
MOST_EXPRESSION_BYTES = 1_000
"""Of one expression."""
MOST_INSTRUCTIONS = PROGRAM_SIZE
"""Of all compiled expressions of one question together: what one costs grows with it, for every byte it looks at."""

_WIDE = re.compile(r"(?:[^\\]|\\[^pP])*\\[pP]", re.DOTALL)
"""Up to a Unicode class: in one that ignores case RE2 takes 10 ms for each, whatever memory it is allowed."""


def fault(matchers: Sequence[Any]) -> str | None:
    """What is wrong with the first `NodeMatcher` message that cannot be understood, and where in the request.

    None where all can be. What Envoy's own rules for these messages ask for is asked for here. It may take a tenth of
    a second.
    """
    if next(itertools.islice(_all(matchers), MOST_MATCHERS, None), None) is not None:
        return f"node_matchers holds more than {MOST_MATCHERS} matchers, those within others included"
    found = [(f"node_matchers[{number}]", matcher) for number, matcher in enumerate(matchers)]
    expressions: list[tuple[str, str]] = []
    faults = itertools.chain(
        (one for where, matcher in found for one in _faults(matcher, where, expressions)), _costs(expressions)
    )
    return next(faults, None)


def _all(matchers: Iterable[Any]) -> Iterator[Any]:
    """Every matcher of nodes, and every matcher of a value within them, one by one."""
    for matcher in matchers:
        yield matcher
        for one in matcher.node_metadatas:
            yield from _values(one.value)


def _values(matcher: Any) -> Iterator[Any]:
    yield matcher
    match matcher.WhichOneof("match_pattern"):
        case "list_match":
            yield from _values(matcher.list_match.one_of)
        case "or_match":
            for one in matcher.or_match.value_matchers:
                yield from _values(one)


def _costs(expressions: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What is wrong with expressions, given with their places: first what is seen without compiling any."""
    for where, expression in expressions:
        if (size := len(expression.encode())) > MOST_EXPRESSION_BYTES:
            yield f"{where} has {size} bytes, and at most {MOST_EXPRESSION_BYTES} are taken"
        if _WIDE.match(expression):
            yield f"{where} is {_quoted(expression)}, and Unicode classes (\\p, \\P) are not taken"
    left = MOST_INSTRUCTIONS
    for where, expression in expressions:
        try:
            left -= program_size(expression)
        except ValueError as error:
            reason = str(error)[:_SHOWN]
            yield f"{where} is {_quoted(expression)}, no regular expression of RE2's that is taken: {reason}"
        if left < 0:
            yield (
                f"{where} is {_quoted(expression)}, and with it the expressions of this question have more than "
                f"{MOST_INSTRUCTIONS} instructions of RE2's"
            )


def _quoted(expression: str) -> str:
    return repr(expression if len(expression) <= _SHOWN else f"{expression[:_SHOWN]}…")


def _faults(matcher: Any, where: str, expressions: list[tuple[str, str]]) -> Iterator[str]:
    """Of one matcher; adds its expressions to `expressions`, with their places."""
    if matcher.HasField("node_id"):
        yield from _faults_of_text(matcher.node_id, f"{where}.node_id", expressions)
    for number, one in enumerate(matcher.node_metadatas):
        inner = f"{where}.node_metadatas[{number}]"
        if not one.path or not all(step.key for step in one.path):
            yield f"{inner}.path has to name a member of the metadata, key by key, and no key may be empty"
        yield from _faults_of_value(one.value, f"{inner}.value", expressions)


def _faults_of_value(matcher: Any, where: str, expressions: list[tuple[str, str]]) -> Iterator[str]:
    match matcher.WhichOneof("match_pattern"):
        case None:
            yield f"{where} has no match_pattern that is known here, such as string_match or present_match"
        case "string_match":
            yield from _faults_of_text(matcher.string_match, f"{where}.string_match", expressions)
        case "double_match" if matcher.double_match.WhichOneof("match_pattern") is None:
            yield f"{where}.double_match needs exact or range"
        case "list_match":
            yield from _faults_of_value(matcher.list_match.one_of, f"{where}.list_match.one_of", expressions)
        case "or_match":
            alternatives = matcher.or_match.value_matchers
            if not alternatives:
                yield f"{where}.or_match.value_matchers is empty"
            for number, one in enumerate(alternatives):
                yield from _faults_of_value(one, f"{where}.or_match.value_matchers[{number}]", expressions)


def _faults_of_text(matcher: Any, where: str, expressions: list[tuple[str, str]]) -> Iterator[str]:
    kind = matcher.WhichOneof("match_pattern")
    if kind not in _TEXTS:
        yield f"{where} needs one of {', '.join(_TEXTS)}" + (f", and {kind} is none" if kind else "")
    elif kind == "safe_regex":
        expressions.append((f"{where}.safe_regex.regex", matcher.safe_regex.regex))
    elif kind != "exact" and not getattr(matcher, kind):
        yield f"{where}.{kind} is empty"


_SHOWN = 100
"""Characters of an expression that are quoted: status messages travel in headers."""
_TEXTS = ("exact", "prefix", "suffix", "contains", "safe_regex")


def any_matches(matchers: Sequence[Any], node: Any) -> bool:
    """Whether one of the `NodeMatcher` messages, without a `fault`, matches the `Node`; none at all match every one.

    It may take half a second where the node says much of itself.
    """
    return not matchers or any(_matches(one, node) for one in matchers)


def _matches(matcher: Any, node: Any) -> bool:
    if matcher.HasField("node_id") and not _text(matcher.node_id, node.id):
        return False
    return all(
        _value(one.value, _found(node.metadata, [step.key for step in one.path])) for one in matcher.node_metadatas
    )


def _found(metadata: Any, path: Sequence[str]) -> Any:
    """The `Value` message at `path`, None where there is none; nothing else is looked at of what a node says."""
    value, held = None, metadata
    for key in path:
        if held is None or key not in held.fields:
            return None
        value = held.fields[key]
        held = value.struct_value if value.HasField("struct_value") else None
    return value


_PRIMITIVE = frozenset({"null_value", "number_value", "string_value", "bool_value"})


def _value(matcher: Any, value: Any) -> bool:
    kind = value.WhichOneof("kind") if value is not None else None
    match matcher.WhichOneof("match_pattern"):
        case "present_match":
            return bool(matcher.present_match) and kind in _PRIMITIVE
        case "null_match":
            return bool(kind == "null_value")
        case "bool_match":
            return kind == "bool_value" and bool(value.bool_value == matcher.bool_match)
        case "string_match":
            return kind == "string_value" and _text(matcher.string_match, value.string_value)
        case "double_match":
            return kind == "number_value" and _number(matcher, value.number_value)
        case "list_match":
            return kind == "list_value" and any(
                _value(matcher.list_match.one_of, one) for one in value.list_value.values
            )
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
