"""Adds an encrypted value to a `.travis.yml` at a path of keys, and touches nothing else.

The one rule: a value is added, never replaced; what stands there already is told with its line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from meshwright.ci.travis.between_lines import Conflicts, Lines, faults, reads_as
from meshwright.documents.positions import Items, Table, described
from meshwright.documents.yaml_positions import read_yaml
from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEP = re.compile(r"([A-Za-z_][\w-]*)((?:\[\d+\])*)")
_LISTS = frozenset({("env",), ("env", "global"), ("env", "jobs"), ("env", "matrix")})
"""Where a value is one of several."""


def steps(path: str) -> tuple[str | int, ...]:
    """`jobs.include[0].vault.token` as its keys and numbers.

    Raises:
        UsageError: it is no path.
    """
    found: list[str | int] = []
    for part in path.split("."):
        match = _STEP.fullmatch(part)
        if match is None:
            raise UsageError(
                f"{path!r} is no path of keys; write it as env.global, vault.token or jobs.include[0].env."
            )
        found += [match[1], *(int(number) for number in re.findall(r"\d+", match[2]))]
    return tuple(found)


def added(text: str, file: str, path: str, secure: str) -> str:
    """`text` with `{secure: …}` at `path`: as one more of a list, or as the value of a key that is not there.

    Raises:
        Conflicts: something stands there, or the file is written so that nothing can be put between its lines.
        UsageError: the path is none.
    """
    wanted_at = steps(path)
    unsound = faults(text, file)
    if unsound:
        raise Conflicts(unsound)
    documents = read_yaml(text).documents
    root = documents[0].value if documents else None
    root = Table((1, 1)) if root is None else root
    if not isinstance(root, Table) or len(documents) > 1:
        raise Conflicts([f"{file}:1: the file holds no single mapping; a configuration of Travis is one."])
    return _Adding(text, file, path, root).made(wanted_at, secure)


class _Adding:
    def __init__(self, text: str, file: str, path: str, root: Table) -> None:
        self._lines = Lines(text)
        self._file = file
        self._path = path
        self._root = root

    def made(self, way: tuple[str | int, ...], secure: str) -> str:
        """The text with the value."""
        parent: Table | Items = self._root
        for depth, step in enumerate(way):
            inside = self._inside(parent, step, way[: depth + 1])
            if inside is None:
                self._create(parent, way[depth:], secure, is_list=way in _LISTS)
                break
            if depth == len(way) - 1:
                self._append(inside, parent, step, secure)
            elif not isinstance(inside, Table | Items):
                raise self._conflict(parent, step, f"holds {described(inside)}, and no keys")
            else:
                parent = inside
        made = self._lines.joined()
        if not reads_as(made, _with(self._root, way, {"secure": secure})):
            raise self._conflict(self._root, way[0], "is written so that nothing can follow; write one key a line")
        return made

    def _inside(self, parent: Table | Items, step: str | int, way: Sequence[str | int]) -> Any:
        """The value at a step; None where there is none and a key can be added."""
        if isinstance(step, int):
            if isinstance(parent, Items) and step < len(parent):
                return parent[step]
            raise UsageError(f"{self._file} has nothing at {_shown(way)}.")
        if isinstance(parent, Items):
            raise UsageError(f"{_shown(way[:-1])} of {self._file} is a list: say which of its items, as in [0].")
        return parent.get(step)

    def _append(self, value: Any, parent: Table | Items, step: str | int, secure: str) -> None:
        """Add the value to a list that is there."""
        column = self._lines.dashes(value)
        if column is None:
            remedy = "write one item a line" if isinstance(value, Items) else "remove it first, or add elsewhere"
            raise self._conflict(parent, step, f"is there already, {described(value)}; {remedy}")
        end = self._lines.end(value.places[0][0] - 1, column)
        self._lines.put(end, [f'{" " * column}- secure: "{secure}"'])

    def _create(self, parent: Table | Items, rest: Sequence[str | int], secure: str, *, is_list: bool) -> None:
        """Add the keys that are not there yet, and the value below them."""
        if not isinstance(parent, Table):
            raise UsageError(f"{self._file} has nothing at {self._path}.")
        if any(isinstance(step, int) for step in rest):
            raise UsageError(f"{self._file} has nothing at {self._path}: a list can only be added to.")
        place = next(iter(parent.places.values()), None)
        column = place[1] - 1 if place else 0
        block = [f"{' ' * (column + 2 * depth)}{step}:" for depth, step in enumerate(rest)]
        margin = " " * (column + 2 * len(rest))
        block.append(f'{margin}{"- " if is_list else ""}secure: "{secure}"')
        if place is None or parent is self._root:
            self._lines.append(block)
        else:
            self._lines.put(self._lines.end(place[0] - 1, column, mapping=True), block)

    def _conflict(self, parent: Table | Items, step: str | int, told: str) -> Conflicts:
        place = parent.place_of(step) if isinstance(parent, Table) and isinstance(step, str) else parent.place
        return Conflicts([f"{self._file}:{place[0]}: {self._path} {told}."])


def _shown(way: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in way).lstrip(".")


def _with(
    value: Any, way: Sequence[str | int], secure: dict[str, str], whole: Sequence[str | int] | None = None
) -> Any:
    """The value that the file shall have."""
    whole = way if whole is None else whole
    if not way:
        fresh: Any = [secure] if tuple(whole) in _LISTS else secure
        return [*value, secure] if isinstance(value, list) else fresh
    step, rest = way[0], way[1:]
    if isinstance(step, int):
        return [_with(one, rest, secure, whole) if number == step else one for number, one in enumerate(value)]
    inner = value.get(step) if isinstance(value, dict) else None
    return {**(value or {}), step: _with(inner, rest, secure, whole)}
