"""Whether a stream shows colours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

_CI_LOGS = ("TRAVIS", "GITHUB_ACTIONS", "GITLAB_CI")
"""CI systems whose logs show ANSI colours."""


def shows_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` is a terminal, or a CI log that shows colours, and nobody asked for none.

    Source: https://no-color.org
    """
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    return stream.isatty() or any(environment.get(name) == "true" for name in _CI_LOGS)
