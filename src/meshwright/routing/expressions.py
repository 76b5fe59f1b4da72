"""Regular expressions as Envoy takes them: RE2 on bytes, up to a size.

The one rule: whoever judges an expression asks here, so that a rule, a rejection's culprit and Envoy never disagree.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/regex.proto
"""

from __future__ import annotations

import re2

PROGRAM_SIZE = 1_000
"""Instructions that a proxy takes when it is started as App Mesh starts it (`proxy.bootstrap`)."""
PLAIN_PROGRAM_SIZE = 100
"""Instructions that Envoy takes by itself: the default of `re2.max_program_size.error_level`."""


MEMORY = 8 * 1024 * 1024
"""Bytes that RE2 takes at most for a compiled expression and for matching it, where nobody says otherwise."""


def bytewise(memory: int = MEMORY) -> re2.Options:
    """RE2's options for what Envoy does; in UTF-8 mode a dot alone costs eight instructions."""
    options = re2.Options()
    options.max_mem = memory
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return options


def program_size(expression: str, memory: int = MEMORY) -> int:
    """The instructions of the compiled expression.

    Raises:
        ValueError: RE2 does not compile it; with RE2's words.
    """
    try:
        return int(re2.compile(expression.encode(), bytewise(memory)).programsize)
    except re2.error as error:
        reason = error.args[0]
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None


def matches(expression: str, text: str, memory: int = MEMORY) -> bool:
    """Whether the whole of `text` matches, as Envoy asks; nothing matches what does not compile."""
    try:
        return re2.compile(expression.encode(), bytewise(memory)).fullmatch(text.encode()) is not None
    except re2.error:
        return False


def refused(expression: str) -> bool:
    """Whether a proxy that is started as App Mesh starts it rejects the expression."""
    try:
        return program_size(expression) > PROGRAM_SIZE
    except ValueError:
        return True
