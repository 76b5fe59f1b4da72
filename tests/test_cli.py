"""The command line as a whole: help, exit codes, start-up."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from meshwright.cli import _COMMANDS, cli


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "meshwright.cli", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_an_unknown_command_is_told_the_nearest_one_and_exits_2() -> None:
    """Usage errors are exit code 2."""
    done = run("aply")
    assert done.returncode == 2
    assert "Did you mean 'apply'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_every_command_of_the_table_exists_and_explains_itself(name: str) -> None:
    """The table's line is the command's own first line of help."""
    command = importlib.import_module(f"meshwright.cli.{name}").command
    assert isinstance(command, click.Command)
    assert command.help is not None
    assert command.help.strip().splitlines()[0] == _COMMANDS[name]
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize("words", [[], *([name] for name in _COMMANDS), ["trust", "key", "create"]], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """What keeps the start-up short, without a clock: a command imports its work when it is called."""
    heavy = {"grpc", "google.protobuf", "starlette", "uvicorn", "rich", "boto3", "msgspec", "yaml", "sqlite3", "re2"}
    heavy |= {"asyncio", "hashlib", "http.client", "meshwright.model", "importlib.metadata"}
    code = (
        "import sys; from meshwright.cli import cli\n"
        f"try: cli.main({[*words, '--help']!r})\n"
        f"except SystemExit: print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_goes_away_is_no_finding(buffered: bool) -> None:
    """`meshwright rules | head -0` ends as shells say it, with nothing on standard error."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    more = {} if buffered else {"PYTHONUNBUFFERED": "1"}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "meshwright.cli", "rules"],
            stdout=writer,
            stderr=subprocess.PIPE,
            env={**environment, **more},
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
