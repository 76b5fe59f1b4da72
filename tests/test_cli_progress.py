"""How a run of tests is followed: line by line in a log, in one changing line on a terminal."""

from __future__ import annotations

import io

from meshwright.cli.progress import Progress


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


def followed(stream: io.StringIO) -> str:
    """What a run of two tests writes, the second of which fails."""
    times = iter((0.0, 1.2, 3.0))
    progress = Progress(stream, 2, clock=lambda: next(times))
    progress.told("good", passed=True)
    progress.told("bad", passed=False)
    progress.end()
    return stream.getvalue()


def test_a_log_has_a_line_a_test_with_counts_and_time() -> None:
    """Whoever reads it later sees each."""
    assert followed(io.StringIO()) == "[1/2, 1 s] good\n[2/2, 3 s] bad\n"


def test_a_terminal_keeps_what_failed_and_one_line_that_changes() -> None:
    """Nothing but failures is left when it ends."""
    clear = "\r\x1b[K"
    expected = f"{clear}1 of 2 tests, 1 s{clear}bad\n2 of 2 tests, 1 failed, 3 s{clear}"
    assert followed(Terminal()) == expected
