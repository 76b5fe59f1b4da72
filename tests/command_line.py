"""The command line in a project of its own, against a control plane of the test's own."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from meshwright.cli import main
from serving import KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serving import Serving


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON value."""
        return json.loads(self.out)


def commands(
    project: Path,
    server: Serving,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
) -> Callable[..., Done]:
    """What runs the command line in the new folder `project` with `files`, as the administrator of `server`."""
    for name in ("TRAVIS", "GITHUB_ACTIONS", "GITLAB_CI", "MESHWRIGHT_MESH", "MESHWRIGHT_STACK", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MESHWRIGHT_ENDPOINT", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY.secret)
    project.mkdir()
    monkeypatch.chdir(project)
    for name, text in files.items():
        (project / name).write_text(text)

    def command(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["meshwright", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Done(int(left.value.code or 0), out, err)

    return command
