"""Regular expressions as Envoy takes them: RE2 on bytes, up to a size.

The one rule: whoever judges an expression asks here, so that a rule, a rejection's culprit and Envoy never disagree,
and none holds up who asks: what would take long to compile is known without being compiled.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/regex.proto
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import re2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model.gateway_routes import GatewayRouteSpec
    from meshwright.model.matching import HttpPathMatch, HttpRouteHeader
    from meshwright.model.routes import RouteSpec

PROGRAM_SIZE = 1_000
"""Instructions that a proxy takes when it is started as App Mesh starts it (`proxy.bootstrap`)."""
PLAIN_PROGRAM_SIZE = 100
"""Instructions that Envoy takes by itself: the default of `re2.max_program_size.error_level`."""

MEMORY = 128 * 1024
"""Bytes that RE2 takes at most for a compiled expression and for matching it.

They hold 10,000 instructions, before those that do nothing are left out. With RE2's own 8 MiB, the 225 bytes of
`.{0,1000}` 25 times took 1.7 s to compile; so they take 10 ms at most.
"""
FOLDED_CLASSES = 4
"""Unicode classes that an expression which ignores case may have: RE2 takes 10 to 40 ms to find the letters of each,
whatever memory it is allowed, and so does every Envoy."""
COSTLY = f"it ignores case and has more than {FOLDED_CLASSES} Unicode classes (\\p, \\P)"
"""What is wrong with an expression that is `costly`."""
CURE = "Name the letters, or leave (?i) out."
"""What to do about it."""
_TOKEN = re.compile(r"\\[pP]|\\.|\(\?[A-Za-z]*i", re.DOTALL)


def bytewise() -> re2.Options:
    """RE2's options for what Envoy does; in UTF-8 mode a dot alone costs eight instructions."""
    options = re2.Options()
    options.max_mem = MEMORY
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return options


def program_size(expression: str) -> int:
    """The instructions of the compiled expression.

    Raises:
        ValueError: RE2 does not compile it, with RE2's words; or it would take too long to.
    """
    if costly(expression):
        raise ValueError(COSTLY)
    try:
        return int(re2.compile(expression.encode(), bytewise()).programsize)
    except re2.error as error:
        reason = error.args[0]
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None


def costly(expression: str) -> bool:
    """Whether to compile an expression would hold everybody up, for as long as a second."""
    return folded_classes(expression) > FOLDED_CLASSES


def folded_classes(expression: str) -> int:
    """The Unicode classes of an expression that ignores case; 0 of another, where they cost nothing."""
    found = _TOKEN.findall(expression)
    return sum(one in {r"\p", r"\P"} for one in found) if any(one.startswith("(") for one in found) else 0


def unfit(expression: str) -> tuple[str, str] | None:
    """What keeps a proxy that is started as App Mesh starts it from an expression, and what to do; None for nothing.

    The first is the end of a sentence about the expression.
    """
    if costly(expression):
        return f"takes too long to compile: {COSTLY}", CURE
    try:
        size = program_size(expression)
    except ValueError as error:
        if _TOO_LARGE not in str(error):
            return f"is not valid for Envoy: {error}", "RE2 has no look-around and no back-references."
        size = None
    if size is None or size > PROGRAM_SIZE:
        told = (
            f"{size} instructions, at most {PROGRAM_SIZE} are taken" if size else f"over {PROGRAM_SIZE} instructions"
        )
        return f"is too large for Envoy: {told}", "Shorten its repetitions."
    return None


_TOO_LARGE = "pattern too large"
"""RE2's words where the memory does not hold all instructions."""


def matches(expression: str, text: str) -> bool:
    """Whether the whole of `text` matches, as Envoy asks; nothing matches what no proxy takes."""
    compiled = _compiled(expression)
    return compiled is not None and compiled.fullmatch(text.encode()) is not None


@functools.lru_cache(maxsize=256)
def _compiled(expression: str) -> re2._Regexp | None:
    """As RE2 has it, None for what no proxy takes; to look it up in the cache of RE2 takes as long as ten matches."""
    if costly(expression):
        return None
    try:
        return re2.compile(expression.encode(), bytewise())
    except re2.error:
        return None


def refused(expression: str) -> bool:
    """Whether a proxy that is started as App Mesh starts it rejects the expression."""
    return unfit(expression) is not None


def written_in(spec: RouteSpec | GatewayRouteSpec) -> Iterator[tuple[str, str]]:
    """Every regular expression of a route or gateway route, after its wire path."""
    for member, http in (("httpRoute", spec.http_route), ("http2Route", spec.http2_route)):
        if http is not None:
            yield from _of_path(http.match.path, f"spec.{member}.match.path")
            yield from _of_headers(http.match.headers, f"spec.{member}.match.headers")
    if spec.grpc_route is not None:
        yield from _of_headers(spec.grpc_route.match.metadata, "spec.grpcRoute.match.metadata")


def _of_path(path: HttpPathMatch | None, at: str) -> Iterator[tuple[str, str]]:
    if path is not None and path.regex is not None:
        yield f"{at}.regex", path.regex


def _of_headers(headers: tuple[HttpRouteHeader, ...] | None, at: str) -> Iterator[tuple[str, str]]:
    for index, header in enumerate(headers or ()):
        if header.match is not None and header.match.regex is not None:
            yield f"{at}[{index}].match.regex", header.match.regex
