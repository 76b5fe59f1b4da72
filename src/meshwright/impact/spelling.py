"""A text that a regular expression takes.

The one rule: what is handed out was compared as proxies compare it; None where none was found.
"""

from __future__ import annotations

import re
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

from meshwright.routing.expressions import matches

_PLAIN = "a0_-x9Z/."
"""What stands for any character, the plainest first."""
_MOST = 4
"""How often comes at least what may come again, where it may."""
_LONGEST = 1_000
_NAMED = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "word": "a-zA-Z0-9_",
}
_POSIX = re.compile(rf"\[:({'|'.join(_NAMED)}):\]")
_DOUBTFUL = re.compile(r"\[\^?\[|--|&&|~~|\|\|")
"""What Python warns of, since it may come to mean something else there."""
_CATEGORIES = {
    _constants.CATEGORY_DIGIT: "0",
    _constants.CATEGORY_SPACE: " ",
    _constants.CATEGORY_WORD: "a",
    _constants.CATEGORY_NOT_DIGIT: "a",
    _constants.CATEGORY_NOT_SPACE: "a",
    _constants.CATEGORY_NOT_WORD: "-",
}


def spelled(expression: str) -> str | None:
    """A text that the expression takes as a whole, with something in place of what may be left out, if it can be."""
    plain = _POSIX.sub(lambda found: _NAMED[found[1]], expression)
    if _DOUBTFUL.search(plain):
        return None
    try:
        tree = _parser.parse(plain)
    except (re.error, RecursionError, OverflowError):
        return None  # RE2 takes a few things that Python's expressions do not have.
    for often in (1, _MOST, 0):
        text = _spell(tree, often)[:_LONGEST]
        if matches(expression, text):
            return text
    return None


def _spell(tree: Any, often: int) -> str:
    return "".join(_one(kind, value, often) for kind, value in tree)


def _one(kind: Any, value: Any, often: int) -> str:
    if kind is _constants.LITERAL:
        return chr(value)
    if kind is _constants.NOT_LITERAL:
        return next(one for one in _PLAIN if ord(one) != value)
    if kind is _constants.ANY:
        return _PLAIN[0]
    if kind is _constants.IN:
        return _of_class(value)
    if kind is _constants.BRANCH:
        return _spell(value[1][0], often)
    if kind is _constants.SUBPATTERN:
        return _spell(value[-1], often)
    if kind in {_constants.MAX_REPEAT, _constants.MIN_REPEAT}:
        least, most, tree = value
        times = min(max(int(least), often), int(most), _LONGEST)
        return (_spell(tree, often) * times)[:_LONGEST]
    return ""


def _of_class(members: list[tuple[Any, Any]]) -> str:
    """A character of a class."""
    if members[0][0] is not _constants.NEGATE:
        return _member(*members[0])
    return next((one for one in _PLAIN if not any(_holds(kind, value, one) for kind, value in members[1:])), "")


def _member(kind: Any, value: Any) -> str:
    if kind is _constants.RANGE:
        return next((one for one in _PLAIN if value[0] <= ord(one) <= value[1]), chr(value[0]))
    return _CATEGORIES.get(value, "a") if kind is _constants.CATEGORY else chr(value)


def _holds(kind: Any, value: Any, character: str) -> bool:
    if kind is _constants.RANGE:
        return bool(value[0] <= ord(character) <= value[1])
    if kind is _constants.CATEGORY:
        return bool(re.match(_CLASSES.get(value, "(?!)"), character))
    return bool(value == ord(character))


_CLASSES = {
    _constants.CATEGORY_DIGIT: r"\d",
    _constants.CATEGORY_SPACE: r"\s",
    _constants.CATEGORY_WORD: r"\w",
    _constants.CATEGORY_NOT_DIGIT: r"\D",
    _constants.CATEGORY_NOT_SPACE: r"\S",
    _constants.CATEGORY_NOT_WORD: r"\W",
}
