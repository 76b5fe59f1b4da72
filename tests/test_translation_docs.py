"""`docs/translation.md` is whole: a row for every field of the model; and pages name only tests that exist."""

from __future__ import annotations

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
