"""A path as a proxy reads it, before any route is tried.

The one rule: what is written differently and means the same is the same; what nobody can mean is no path.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto
and RFC 3986 section 6; the details are those of Envoy 1.40, which tests compare this with.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from meshwright.routing.matching import PathKind

_PLAIN = re.compile(r"[A-Za-z0-9._~-]")
"""Characters that need no escape, so that an escaped one is the same as it."""
_AS_IT_IS = re.compile(r"/|(?:/[A-Za-z0-9_~-]+)+/?")
"""A path that nothing is to be done about, as most are."""
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})?")
_LOOSE = "\0"
"""Stands for a percent sign that escapes nothing."""
_PARAMETERS = re.compile(r"(?<=/)(\.{1,2});[^/]*")
"""What comes behind a dot segment and a semicolon; it counts for nothing."""
_WRITTEN = re.compile(r'["<>^`{|}]')
"""Characters that are taken as they are but passed on as escapes."""


def split(path: str) -> tuple[str, str]:
    """The path proper, and the query with its question mark."""
    proper, mark, query = path.partition("?")
    return proper, mark + query


def normalised(path: str) -> str:
    """`path`, which may have a query: without dot segments, doubled slashes and needless escapes."""
    proper, query = split(path)
    if _AS_IT_IS.fullmatch(proper):
        return path
    plain = _ESCAPED.sub(_unescaped, _PARAMETERS.sub(r"\1", proper.replace("\\", "/")))
    # One that would escape what follows it now did not before.
    plain = re.sub(f"{_LOOSE}(?=[0-9A-Fa-f]{{2}})", "%25", plain).replace(_LOOSE, "%")
    resolved = _without_dots(_WRITTEN.sub(lambda found: f"%{ord(found.group()):02X}", plain))
    return _merged(resolved) + query


def fault(path: str) -> str:
    """Why no proxy takes a request for `path`; "" when one does."""
    proper, _ = split(path)
    if not path.startswith("/"):
        return "it does not begin with a slash"
    if "#" in path:
        return "it has a fragment, which clients keep to themselves"
    if "%00" in proper:
        return "it has an escaped NUL character"
    if not path.isascii() or not path.isprintable() or " " in path:
        return "it has characters that must be escaped"
    return ""


def beginning(prefix: str) -> str | None:
    """A path that is sent and, as proxies read it, begins with `prefix`; None where there is none.

    What looks like a dot segment or half an escape, as `/.` or `/%4`, may be the beginning of something else.
    """
    sent = (f"{prefix}{end}" for end in ("", "x"))
    return next((one for one in sent if not fault(one) and split(normalised(one))[0].startswith(prefix)), None)


def unmatchable(kind: PathKind, text: str) -> tuple[str, str] | None:
    """Why no path is what a condition compares with, and what to do about it, in a sentence; None where one may be.

    Of expressions nothing is said.
    """
    if kind == "regex" or (beginning(text) is not None if kind == "prefix" else _is_read(text)):
        return None
    proper, query = split(text)
    if query:
        return "the query is no part of it", "Ask for parameters by queryParameters."
    if not text.isascii() or not text.isprintable() or " " in text:
        written = quote(text, safe="/%:@!$&'()*+,;=~")
        return "blanks and what is not ASCII are sent percent-encoded, and compared so", f"Write {written!r}."
    if told := fault(text):
        return f"proxies take none like it, since {told}", "Name another one."
    read = normalised(proper)
    return f"proxies make {read!r} of {text!r}", f"Write {read!r} if that is meant."


def _is_read(path: str) -> bool:
    """Whether a proxy that is sent a path reads just that, without a query."""
    return not fault(path) and "?" not in path and normalised(path) == path


def _unescaped(found: re.Match[str]) -> str:
    if found.group(1) is None:
        return _LOOSE
    character = chr(int(found.group(1), 16))
    return character if _PLAIN.fullmatch(character) else found.group()


def _without_dots(path: str) -> str:
    """Dot segments resolved before slashes are merged: between two slashes is a segment, too."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
            continue
        if last:
            kept.append("")
    return "/" + "/".join(kept)


def _merged(path: str) -> str:
    inner = [one for one in path.split("/") if one]
    if "//" not in path:
        return path
    return "/" + "/".join(inner) + ("/" if path.endswith("/") else "")
