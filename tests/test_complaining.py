"""A trouble that lasts is written down when it begins and ever more rarely, and so is its end."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

from meshwright.complaining import Complaint

if TYPE_CHECKING:
    import pytest

LOG = logging.getLogger("complaining")


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.at


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was written since this was asked last."""
    found = [one.getMessage() for one in caplog.records]
    caplog.clear()
    return found


def test_twice_a_second_for_a_day_is_a_line_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    """At once, after 10 s, then after twice as long each time, up to an hour; each says how often it was silent."""
    clock = Clock()
    complaint, written = Complaint(LOG, clock), list[float]()
    for _ in range(2 * 86_400):
        complaint.made("it fails", OSError("disk full"))
        if lines(caplog):
            written.append(clock.at - 100)
        clock.at += 0.5
    assert written[:9] == [0, 10, 30, 70, 150, 310, 630, 1270, 2550]
    gaps = {later - earlier for earlier, later in itertools.pairwise(written[9:])}
    assert gaps == {3600}


def test_a_line_says_what_and_why_and_how_often_nothing_was_said(caplog: pytest.LogCaptureFixture) -> None:
    """The first, the second, and the end."""
    clock = Clock()
    complaint = Complaint(LOG, clock)
    for _ in range(21):
        complaint.made("it fails", OSError("disk full"))
        clock.at += 0.5
    assert lines(caplog) == [
        "it fails, trying again: disk full",
        "it fails, trying again: disk full (19 more times since this was said last)",
    ]
    complaint.over("it works")
    complaint.over("it works")
    assert lines(caplog) == ["it works again, after 21 failures"]


def test_another_reason_is_said_at_once_and_a_new_trouble_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    """What changes is news; what comes back after long is, too."""
    clock = Clock()
    complaint = Complaint(LOG, clock)
    for _ in range(200):
        complaint.made("it fails", OSError("disk full"))
        clock.at += 0.5
    lines(caplog)
    complaint.made("it fails", OSError("read-only"))
    assert lines(caplog) == ["it fails, trying again: read-only"]
    complaint.over("it works")
    clock.at += 3_600
    lines(caplog)
    complaint.made("it fails", OSError("read-only"))
    clock.at += 10
    complaint.made("it fails", OSError("read-only"))
    assert len(lines(caplog)) == 2


def test_a_trouble_that_comes_and_goes_is_no_line_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """It went well in between, and failed for the same reason."""
    clock = Clock()
    complaint = Complaint(LOG, clock)
    for _ in range(120):
        complaint.made("it fails", OSError("locked"))
        complaint.over("it works")
        clock.at += 0.5
    assert len(lines(caplog)) == 3
