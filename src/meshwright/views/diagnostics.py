"""The report of a check, as a value whose JSON is documented (`docs/json.md`) and stable.

The one rule: text, SARIF and JUnit are rendered from this value and from nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.diagnostics import Diagnostic, Severity, ordered
from meshwright.views.escaping import indented_json

if TYPE_CHECKING:
    from collections.abc import Iterable


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at and what was found."""

    version: int = 1
    """Raised when a member changes its meaning or goes; new members may come at any time."""
    objects: tuple[str, ...]
    """The objects that were read, as paths, in order."""
    errors: int
    warnings: int
    infos: int
    diagnostics: tuple[Diagnostic, ...]
    """In reading order: file, line, severity."""


def report(objects: Iterable[str], found: Iterable[Diagnostic]) -> Report:
    """The report on `objects` (paths) with everything `found`, each finding once."""
    diagnostics = ordered(_encodable(one) for one in found)
    count = [one.severity for one in diagnostics].count
    return Report(
        objects=tuple(sorted(map(_utf8, objects))),
        errors=count(Severity.ERROR),
        warnings=count(Severity.WARNING),
        infos=count(Severity.INFO),
        diagnostics=diagnostics,
    )


def _encodable(one: Diagnostic) -> Diagnostic:
    """`one` without half characters, which a file's name or a JSON escape may hold and no output can."""
    texts = {name: _utf8(getattr(one, name)) for name in ("summary", "detail", "subject", "path")}
    place = one.source and msgspec.structs.replace(one.source, file=_utf8(one.source.file))
    return msgspec.structs.replace(one, **texts, source=place)


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def as_json(value: msgspec.Struct) -> str:
    """`value` as indented JSON, ending in a newline."""
    return indented_json(value)


def counted(number: int, word: str) -> str:
    """`1 error`, `2 errors`, `no errors`."""
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"
