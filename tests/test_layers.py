"""House rules that import-linter cannot see, read from the source itself."""

from __future__ import annotations

import ast
import tomllib
from typing import TYPE_CHECKING

from settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = ROOT / "src" / "meshwright"


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Every module's dotted name below the package, and its syntax tree."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield ".".join(path.relative_to(SOURCE).with_suffix("").parts), ast.parse(path.read_text(encoding="utf-8"))


def core() -> tuple[str, ...]:
    """The modules that do no input or output, as import-linter's contract lists them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][1]
    return tuple(name.removeprefix("meshwright.") for name in contract["source_modules"])


def test_the_core_opens_no_file_and_asks_no_clock() -> None:
    """Neither `open` nor `now` is called from the views down."""
    inside = core()
    found = [
        f"{name}:{node.lineno}"
        for name, tree in trees()
        if name.startswith(tuple(f"{one}." for one in inside)) or name in inside
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "open")
            or (isinstance(node.func, ast.Attribute) and node.func.attr in {"now", "utcnow", "today"})
        )
    ]
    assert found == []


def test_every_broad_except_is_one_of_the_three() -> None:
    """The command line's main, the API's error layer, one turn of the control loop.

    A handler that cleans up and raises the same again swallows nothing and does not count.
    """
    broad = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
        )
        and not any(isinstance(last, ast.Raise) and last.exc is None for last in node.body[-1:])
    }
    assert broad <= {"cli.__init__", "api.answers", "control.loop"}


def test_every_module_says_what_it_is_for() -> None:
    """A docstring opens each."""
    assert [name for name, tree in trees() if not ast.get_docstring(tree)] == []


def test_a_long_module_gives_its_reason() -> None:
    """Over 400 lines, the docstring says why."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 400:
            assert "lines" in (ast.get_docstring(ast.parse(text)) or "") or "long" in text[:1500], _name(path)


def test_no_function_is_long() -> None:
    """At most 40 lines from `def` to the end, signature included; decorators and the docstring do not count."""
    functions = (
        (name, node)
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert [f"{name}.{node.name}" for name, node in functions if _lines(node) > 40] == []


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    told = first if ast.get_docstring(function, clean=False) is not None else None
    return _span(function) - (_span(told) if told else 0)


def _span(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _name(path: Path) -> str:
    return str(path.relative_to(SOURCE))
