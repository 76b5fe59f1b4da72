"""A path as a proxy reads it, before any route is tried.

The one rule: what is written differently and means the same is the same; what nobody can mean is no path.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto
and RFC 3986 section 6; the details are those of Envoy 1.40, which tests compare this with.
"""

from __future__ import annotations

import re

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
