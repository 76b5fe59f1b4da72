"""Names and messages made harmless for where they are shown.

The one rule: text from definitions, commits and servers is never trusted: no control character reaches a terminal,
and nothing in it is markup.
"""

from __future__ import annotations

import re
from types import MappingProxyType

import msgspec

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_NO_XML = re.compile(r"[\ufffe\uffff]")


def terminal(text: object) -> str:
    r"""`text` on one line, control and direction-changing characters as `\x1b` or `\u202e`."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))


def indented_json(value: object) -> str:
    r"""`value` as indented JSON and a line feed, what could steer a terminal written as `\u202e`.

    JSON has such characters in strings only, but for the line feeds between its lines.
    """
    text = msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2).decode()
    return _CONTROL.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text) + "\n"


def _plain(value: object) -> object:
    """A mapping that cannot be changed, as one that msgspec knows."""
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def xml(text: object) -> str:
    """`text` on one line without what XML 1.0 cannot hold; what is markup in XML is the caller's to escape."""
    return _NO_XML.sub("\ufffd", terminal(text))


def code(text: object) -> str:
    """`text` as a code span of Markdown that may also stand in a table."""
    shown = terminal(text).replace("|", "\\|")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if "`" in shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}" if shown else ""
