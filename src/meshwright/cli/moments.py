"""Moments as people write them on a command line: a date, a time, or how long ago.

The one rule: what names no zone is UTC, as everything that we print is.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Moment(click.ParamType[int]):
    """Milliseconds since the epoch, UTC."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The moment that was written, or click's own error."""
        if isinstance(value, int):
            return value
        if age := re.fullmatch(r"([0-9]{1,6})([smhdw])", value):
            return max(0, int((time.time() - int(age[1]) * _UNITS[age[2]]) * 1000))
        try:
            written = datetime.fromisoformat(value)
            at = (written if written.tzinfo else written.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no moment; write 2026-01-31, 2026-01-31T23:59:59Z, or how long ago: 90m, 36h, 7d.",
                param,
                ctx,
            )
        return max(0, int(at * 1000))


MOMENT = Moment()
