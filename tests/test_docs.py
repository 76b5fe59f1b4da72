"""The documentation says what the program does: help pages, README commands, layers, fragments."""

from __future__ import annotations

import re
import shlex
import tomllib

import click
import pytest

from meshwright.cli import _COMMANDS, cli
from settings import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[tuple[str, click.Command]]:
    """Every command and subcommand by the words that call it."""
    found: list[tuple[str, click.Command]] = []
    for name in _COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            for inner, one in command.commands.items():
                found.append((f"{name} {inner}", one))
                if isinstance(one, click.Group):
                    found += [(f"{name} {inner} {last}", deep) for last, deep in one.commands.items()]
    return found


def page(words: str, command: click.Command) -> str:
    """A command's documentation page: its help, at a fixed width."""
    context = click.Context(command, info_name=f"meshwright {words}", max_content_width=100, terminal_width=100)
    context.help_option_names = ["-h", "--help"]
    return f"# meshwright {words}\n\n```text\n{command.get_help(context)}\n```\n"


@pytest.mark.parametrize(("words", "command"), commands(), ids=[words for words, _ in commands()])
def test_every_command_has_its_page(words: str, command: click.Command, update_goldens: bool) -> None:
    """`docs/commands/` is the help; `make docs` writes it."""
    path = ROOT / "docs" / "commands" / f"{words.replace(' ', '-')}.md"
    if update_goldens:
        path.parent.mkdir(exist_ok=True)
        path.write_text(page(words, command), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page(words, command), "run `make docs`"
    assert "\\b" not in page(words, command), "a table that click runs together"


def test_no_page_is_left_of_a_command_that_is_gone() -> None:
    """Nothing documents what does not exist."""
    pages = {path.stem for path in (ROOT / "docs" / "commands").glob("*.md")}
    assert pages == {words.replace(" ", "-") for words, _ in commands()}


def readme_calls() -> list[str]:
    """Every `meshwright …` line of the README's code blocks, without comments."""
    lines = re.findall(r"^ {4}(meshwright .*)$", README, flags=re.MULTILINE)
    return [line.split("#")[0].strip().removesuffix("&").strip() for line in lines]


@pytest.mark.parametrize("call", readme_calls())
def test_the_commands_of_the_readme_parse(call: str) -> None:
    """Every command and option of the README exists."""
    words = shlex.split(call)[1:]
    context = cli.make_context("meshwright", words, resilient_parsing=True)
    name, command, rest = cli.resolve_command(context, list(words))
    assert name in _COMMANDS
    assert command is not None
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, rest)
        assert command is not None
    command.make_context(name, rest, resilient_parsing=True)
    options = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.split("=")[0] for word in rest if word.startswith("-")}
    assert used <= options


def test_the_verbs_of_the_readme_are_the_makefile_s() -> None:
    """`make demo` and `make test` come first, and exist."""
    verbs = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?= +#|`)", README)) <= verbs
    assert README.index("make demo") < README.index("make test")


def test_every_layer_of_the_architecture_is_checked() -> None:
    """The layers that the architecture page draws are those that import-linter holds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    drawn = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    chain = " → ".join(layers)
    assert chain in " ".join(drawn.split())


def test_lock_files_hold_no_addresses() -> None:
    """Names, versions and hashes only."""
    for path in [*(ROOT / "requirements").glob("*.txt"), *(ROOT / "benchmarks").glob("*.txt")]:
        assert "://" not in path.read_text(encoding="utf-8"), path.name


def test_a_changelog_fragment_is_one_sentence_under_a_known_heading() -> None:
    """Fragments can be folded into a changelog."""
    fragments = [path for path in (ROOT / "changelog.d").glob("*.md") if path.name != "README.md"]
    assert fragments
    for path in fragments:
        assert path.name.split(".")[1] in {"added", "changed", "fixed", "removed", "security"}, path.name
        assert path.read_text(encoding="utf-8").strip().endswith("."), path.name
