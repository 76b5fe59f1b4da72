"""`docs/translation.md` is whole and true, as far as text can tell: rows for all fields, tests that exist and fit."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from typing import TYPE_CHECKING

import pytest
from msgspec import inspect

from meshwright.model import PORTABLE_KINDS, SPECS
from meshwright.model.listeners import Duration
from settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (ROOT / "docs" / "translation.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `((?:mesh|virtual|route|gatewayRoute|\{)[^`]*)` \|", PAGE, flags=re.MULTILINE)


def fields(type_: inspect.Type, path: str) -> Iterator[str]:
    """The fields below `path` that hold a value, in wire names; a duration is one value."""
    if isinstance(type_, inspect.UnionType):
        for one in type_.types:
            yield from () if isinstance(one, inspect.NoneType) else fields(one, path)
    elif isinstance(type_, inspect.VarTupleType):
        yield from fields(type_.item_type, f"{path}[]")
    elif isinstance(type_, inspect.StructType) and type_.cls is not Duration:
        for member in type_.fields:
            yield from fields(member.type, f"{path}.{member.encode_name}")
    else:
        yield path


EVERY = [path for kind in PORTABLE_KINDS for path in fields(inspect.type_info(SPECS[kind]), kind.value)]


def expression(row: str) -> re.Pattern[str]:
    """The fields that a row is about."""
    parts = re.split(r"(\{[^}]*\}|\*\*|\*)", row)
    written = {"**": ".*", "*": r"[^.\[]+"}
    return re.compile("".join(written.get(one) or _alternatives(one) for one in parts))


def _alternatives(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    return f"(?:{'|'.join(map(re.escape, part[1:-1].split(',')))})"


def test_every_field_has_its_row_and_every_row_its_field() -> None:
    """A field that is added to the model is missing here until somebody says what becomes of it."""
    expressions = {row: expression(row) for row in ROWS}
    missing = [path for path in EVERY if not any(one.fullmatch(path) for one in expressions.values())]
    idle = [row for row, one in expressions.items() if not any(one.fullmatch(path) for path in EVERY)]
    twice = [
        (path, one, other)
        for path in EVERY
        for one, other in itertools.combinations(ROWS, 2)
        if expressions[one].fullmatch(path) and expressions[other].fullmatch(path)
    ]
    assert (missing, idle, twice) == ([], [], [])
    assert len(EVERY) > 200


@pytest.mark.parametrize("page", ["translation.md", "conformance.md"])
def test_every_test_that_is_named_exists(page: str) -> None:
    """By file and name."""
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / page).read_text(encoding="utf-8")))
    assert len(named) > 20
    lost = [
        f"{file}::{name}"
        for file, name in sorted(named)
        if not re.search(
            rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert lost == []


SHAPES = {"test_routing.py", "test_snapshot_cases.py", "test_snapshot_edges.py", "test_snapshot_properties.py"}
"""Modules whose tests compare configuration, whatever else they do."""
DECIDED_BEFORE = {
    "virtualGateway.listeners[].healthCheck.**",
    "virtualNode.serviceDiscovery.awsCloudMap.attributes[].**",
}
"""Rows about what no Envoy hears of."""


def test_every_field_names_a_test_of_traffic_that_writes_it() -> None:
    """A real Envoy runs in it, and its module, or a table that it imports, has every word of the field's path.

    That such a test also proves what the row says is for a reader to judge; this catches a test that cannot.
    """
    lines = {
        line.split("`")[1]: line for line in PAGE.splitlines() if any(line.startswith(f"| `{one}` |") for one in ROWS)
    }
    assert len(lines) == len(ROWS)
    without: dict[str, list[str]] = {}
    for row, line in lines.items():
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", line)
        texts = [_written(file) for file, name in named if file not in SHAPES and _runs_envoys(file, name)]
        for path in EVERY:
            if expression(row).fullmatch(path) and not any(_has(text, path) for text in texts):
                without.setdefault(row, []).append(path)
    assert without.keys() == DECIDED_BEFORE, {row: without[row] for row in without.keys() ^ DECIDED_BEFORE}


def _runs_envoys(file: str, name: str) -> bool:
    """Whether a test, or its whole module, is marked to."""
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    marked = rf"^pytestmark = .*mark\.envoy|^@pytest\.mark\.envoy\n(@.*\n)*(async )?def {name}\("
    return re.search(marked, text, re.MULTILINE) is not None


@functools.cache
def _written(file: str) -> str:
    """The module and those beside it that it imports; not the one that can write everything."""
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    imported = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    paths = (ROOT / "tests" / f"{module}.py" for module in imported - {None, "strategies"})
    return "\n".join([text, *(path.read_text(encoding="utf-8") for path in paths if path.exists())])


def _has(text: str, path: str) -> bool:
    """Whether every word of a field's path is in a text; `httpRoute` may be made of a protocol and `Route`."""
    return all(
        re.search(rf"\b{word}\b", text)
        or (word.endswith("Route") and "}Route" in text and f'"{word.removesuffix("Route")}"' in text)
        for word in re.findall(r"\w+", path)[1:]
    )
