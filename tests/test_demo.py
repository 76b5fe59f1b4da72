"""`meshwright demo`: the whole story holds on real Envoys, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from meshwright.errors import FailedCheckError
from meshwright.lab.stage import Teller
from meshwright.lab.story import steps, telling
from processes import DEADLINE, alive, descendants, is_envoy, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from meshwright.lab.story.scene import Scene


def demo(folder: Path, *options: str) -> subprocess.Popen[str]:
    """The command, running; its temporary folders go to `folder`."""
    environment = {**os.environ, "TMPDIR": str(folder), "AWS_PROFILE": "nobody", "MESHWRIGHT_ENVIRONMENT": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "meshwright.cli", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def left(folder: Path) -> list[str]:
    """What is in a folder."""
    return [one.name for one in folder.iterdir()]


@pytest.mark.envoy
def test_every_check_of_the_story_holds_and_keep_leaves_it_running(tmp_path: Path) -> None:
    """Seven steps, each ticked off; then the gateway answers us too, until Ctrl-C ends it cleanly."""
    with demo(tmp_path, "demo", "--keep") as process:
        assert process.stdout is not None
        told: list[str] = []
        for line in process.stdout:
            told.append(line.rstrip("\n"))
            if line.startswith("  cd "):
                break
        story = "\n".join(told)
        assert "every check held." in story, story + "".join(process.stderr or ())
        assert [line[0] for line in told if line[1:3] == ". "] == list("1234567")
        assert story.count("✓") > 30
        assert "✗" not in story
        address = next(word for word in story.split() if word.startswith("http://127.") and word.endswith(":8080/"))
        request = urllib.request.Request(address, headers={"Host": "shop.example"})  # noqa: S310 - our own gateway
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:  # noqa: S310 - as above
            assert b"ledger" in answer.read()
        started = descendants(process.pid)
        assert sum(is_envoy(pid) for pid in started) == 10
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    assert not any(alive(pid) for pid in started)
    assert not list(tmp_path.iterdir())


@pytest.mark.envoy
def test_an_interrupted_story_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C while the Envoys start: 130, and neither process nor folder stays."""
    with demo(tmp_path, "--quiet", "demo") as process:
        until(lambda: any(is_envoy(pid) for pid in descendants(process.pid)))
        started = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, err
    assert "Interrupted" in err
    assert "$ meshwright" not in out
    assert not any(alive(pid) for pid in started)
    assert not list(tmp_path.iterdir())


@pytest.mark.envoy
async def test_a_check_that_fails_ends_the_demo_with_1_and_nothing_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The story stops where it stops holding; here because it expects the impossible."""

    async def impossible(scene: Scene) -> None:
        traffic = await scene.traffic(1)
        scene.teller.check("nobody is served", held=bool(traffic.failed), expected="a failure", seen="an answer")

    monkeypatch.setattr(steps, "send", impossible)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lines: list[str] = []
    assert await telling.tell(Teller(lines.append), keep=False) == 1
    assert "   ✗ nobody is served" in lines
    assert lines[-1].endswith("expected a failure; saw an answer")
    assert not descendants(os.getpid())
    assert left(tmp_path) == []


@pytest.fixture
def told() -> tuple[Teller, list[str]]:
    """A teller and the lines it has written."""
    lines: list[str] = []
    return Teller(lines.append), lines


def test_a_failing_check_ends_the_story_with_what_was_seen(told: tuple[Teller, list[str]]) -> None:
    """Exit code 1, and the message holds claim, expectation and observation."""
    teller, lines = told
    teller.step("Look")
    teller.check("water is wet", held=True, expected="wet", seen="wet")
    with pytest.raises(FailedCheckError, match=r"step 1, 'fire is cold' .* expected cold; saw hot") as caught:
        teller.check("fire is cold", held=False, expected="cold", seen="hot")
    assert caught.value.exit_code == 1
    assert lines == ["", "1. Look", "   ✓ water is wet", "   ✗ fire is cold"]


@pytest.mark.parametrize(
    ("speak", "shown"),
    [
        (lambda teller: teller.say("prose"), []),
        (lambda teller: teller.typed("plan"), []),
        (lambda teller: teller.end("done"), ["", "done"]),
        (lambda teller: teller.step("Look"), ["", "1. Look"]),
    ],
)
def test_a_quiet_story_keeps_steps_and_results(speak: Callable[[Teller], None], shown: list[str]) -> None:
    """`--quiet` drops prose and output, never a result."""
    lines: list[str] = []
    speak(Teller(lines.append, quiet=True))
    assert lines == shown
