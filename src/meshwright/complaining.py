"""Say of a trouble that lasts what it is when it begins, ever more rarely while it lasts, and when it is over.

The one rule: what fails again and again, because a disk is full for hours, is counted each time and written down at a
falling rate, so that the log neither hides it nor fills what is full already.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

FIRST_SECONDS = 10.0
"""Between the first line of a trouble and the second; twice as long each time after that."""
LONGEST_SECONDS = 3_600.0


class Complaint:
    """One thing that may fail, and is tried again and again."""

    def __init__(
        self, log: logging.Logger, clock: Callable[[], float] = time.monotonic, *, then: str = ", trying again"
    ) -> None:
        """Lines go to `log`; `clock` counts seconds; `then` follows on what failed."""
        self._log = log
        self._then = then
        self._clock = clock
        self._why = ""
        self._silent = 0
        """Failures since the last line."""
        self._lasting = 0
        """Failures since it last went well."""
        self._pause = FIRST_SECONDS
        self._due = 0.0
        """When the same failure is worth a line again, also where it went well meanwhile."""

    def made(self, what: str, error: Exception) -> None:
        """`what` failed once more, such as "the evidence of shop cannot be kept", and for which reason."""
        why, now = str(error), self._clock()
        self._lasting += 1
        if why == self._why and now < self._due:
            self._silent += 1
            return
        anew = why != self._why or now >= self._due + self._pause
        self._pause = FIRST_SECONDS if anew else min(self._pause * 2, LONGEST_SECONDS)
        more = f" ({self._silent} more times since this was said last)" if self._silent and not anew else ""
        self._why, self._due, self._silent = why, now + self._pause, 0
        self._log.error("%s%s: %s%s", what, self._then, why, more)

    def over(self, what: str) -> None:
        """It went well; `what` does so again, which is worth a line where it had failed more than once in a row."""
        if self._lasting > 1:
            self._log.warning("%s again, after %d failures", what, self._lasting)
        self._lasting = 0
