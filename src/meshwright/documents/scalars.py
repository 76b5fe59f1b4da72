"""What an unquoted YAML scalar means, as PyYAML's safe loader has it, less three surprises.

The one rule: text that looks like a time (12:30), a date or a number with a leading zero (an account id, a mode)
stays the text that was written.
"""

from __future__ import annotations

import re

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_OTHER_BASE = re.compile(r"([-+]?)0(?:x([0-9a-fA-F_]+)|b([01_]+))\Z")
_FLOAT = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?\Z|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?\Z")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)\Z")
_NAN = frozenset({".nan", ".NaN", ".NAN"})
_LIKELY = frozenset("0123456789+-.~nNyYtToOfF")
"""The characters that anything but a string begins with."""

_MOST_DIGITS = 1000


def resolve_plain(text: str) -> str | int | float | bool | None:
    """The value that unquoted `text` stands for.

    Source: https://yaml.org/type/, as implemented by PyYAML 6's `SafeLoader`.
    """
    if text and text[0] not in _LIKELY:
        return text
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    return _number(text)


def _number(text: str) -> str | int | float:
    if len(text) > _MOST_DIGITS:
        return text
    if _DECIMAL.match(text):
        return int(text.replace("_", ""))
    if match := _OTHER_BASE.match(text):
        sign, hexadecimal, binary = match.groups()
        digits = (hexadecimal or binary).replace("_", "")
        return int(sign + digits, 16 if hexadecimal else 2) if digits else text
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    if match := _INFINITE.match(text):
        return float(f"{match[1]}inf")
    return float("nan") if text in _NAN else text
