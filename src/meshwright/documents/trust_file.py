"""`trust.yaml`: who may do what, as one value whose every member knows its file and line.

The one rule: strict, because what is misread here opens a door. What is not understood is refused, and so is what
names something that is not there. Every fault of the form (members, types) is told at once; names and policies can be
read only when the form is right, and then the faults of both are told at once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.diagnostics import Source
from meshwright.documents.files import read_text
from meshwright.documents.positions import Items, Table, reach
from meshwright.documents.yaml_positions import read_yaml
from meshwright.errors import UnreadableError, UsageError, ended
from meshwright.model.decoding import DecodeError, decode
from meshwright.trust.declarations import faults_of
from meshwright.trust.settings import Trust, Written
from meshwright.trust.settling import settle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from meshwright.documents.positions import Parsed, Place

FILE_NAME = "trust.yaml"
MOST_CHARACTERS = 1_000_000
"""The largest file that is read: a thousand roles take a quarter of it."""
MOST_MEMBERS = 200_000
"""Members that a file may have with its aliases spelled out."""


def load(path: Path) -> Trust:
    """The file at `path`.

    Raises:
        UnreadableError: it cannot be read, or is no YAML.
        UsageError: it holds what it cannot hold; every fault with its line, and what to write instead.
    """
    text, unreadable = read_text(path)
    if unreadable is not None:
        at = _source(path, unreadable.place)
        raise UnreadableError(f"{at}: {unreadable.summary}. {unreadable.detail}".rstrip())
    return parsed(text, path)


def parsed(text: str, path: Path) -> Trust:
    """What `text` declares; `path` is what its faults name.

    Raises:
        UnreadableError: it is no YAML.
        UsageError: as `load`.
    """
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"{path} has {len(text)} characters; a trust file takes at most {MOST_CHARACTERS}.")
    table = _table(read_yaml(text), path)
    places = dict(_places(table, path))
    try:
        written = decode(Written, table)
    except DecodeError as error:
        raise UsageError(_decoding(error, table, path)) from None
    members = {name: getattr(written, name) for name in written.__struct_fields__}
    trust = _beside(Trust(**_plain(members), file=str(path), places=places), path)
    told = [(f"{_place(places, where, path)}: {where}", fault) for where, fault in faults_of(trust)]
    # What is already told of a member explains what its environment cannot make of it.
    known = {member for member, _ in told}
    rest = [one for one in _unsettled(trust) if known.isdisjoint(_around(one))]
    if told or rest:
        raise UsageError(_sorted([*(f"{member}: {fault}" for member, fault in told), *rest]))
    return trust


def _beside(trust: Trust, path: Path) -> Trust:
    """`trust` with the files that it names as seen from the folder that it lies in."""
    issuers = {
        name: one if one.ca_file is None else msgspec.structs.replace(one, ca_file=str(path.parent / one.ca_file))
        for name, one in trust.issuers.items()
    }
    return msgspec.structs.replace(trust, issuers=issuers)


def _place(places: Mapping[str, Source], where: str, path: Path) -> Source:
    """Where a member stands, or the nearest one around it."""
    while where and where not in places:
        where = where[: max(where.rfind("."), where.rfind("["), 0)]
    return places.get(where, Source(file=str(path)))


def _table(found: Parsed, path: Path) -> Table:
    """The one mapping that the text holds."""
    if found.fault is not None:
        at = _source(path, found.fault.place)
        raise UnreadableError(f"{at}: {found.fault.summary}. {found.fault.detail}".rstrip())
    faults = [fault for one in found.documents for fault in one.faults]
    told = [f"{_source(path, one.place)}: {one.summary}. {one.detail}".rstrip() for one in faults]
    values = [one.value for one in found.documents if one.value is not None]
    if len(values) > 1:
        told.append(
            f"{_source(path, found.documents[1].place)}: a trust file holds one document, found a second one."
        )
    if not values or not isinstance(values[0], Table):
        told.append(f"{_source(path, (1, 1))}: a trust file is a mapping that begins with 'version: 1'.")
    if told:
        raise UsageError("\n".join(told))
    value: Table = values[0]
    return value


def _places(root: Table, path: Path) -> Iterator[tuple[str, Source]]:
    """Every member's path and place; without recursion, for aliases nest as deep as they like."""
    left: list[tuple[str, Any]] = [("", root)]
    count = 0
    while left:
        before, value = left.pop()
        for where, place, member in _members(before, value):
            count += 1
            if count > MOST_MEMBERS:
                raise UsageError(f"{path} has more than {MOST_MEMBERS} members, aliases spelled out; write less.")
            yield where, _source(path, place)
            if isinstance(member, Table | Items):
                left.append((where, member))


def _members(before: str, value: Table | Items) -> Iterable[tuple[str, Place, Any]]:
    if isinstance(value, Table):
        return [
            (f"{before}.{name}" if before else name, value.places.get(name, value.place), one)
            for name, one in value.items()
        ]
    return [(f"{before}[{index}]", value.places[index], one) for index, one in enumerate(value)]


def _decoding(error: DecodeError, table: Table, path: Path) -> str:
    told = []
    for one in error.problems:
        value, place, _ = reach(table, one.path)
        hint = one.hint
        if not hint and "expected a string, found a number" in one.message:
            hint = (
                f"quote it: '{value:012d}'" if isinstance(value, int) and one.path.endswith("account") else "quote it"
            )
        fault = ended(f"{one.message}; {hint}" if hint else one.message)
        told.append(f"{_source(path, place)}: {one.path}: {fault}")
    return _sorted(told)


def _unsettled(trust: Trust) -> list[str]:
    """What is wrong in any environment: policies are read with the environment's values in them."""
    told: list[str] = []
    for name in trust.environments or (None,):
        try:
            settle(trust, name)
        except UsageError as error:
            told += str(error).split("\n")
    return told


def _around(fault: str) -> Iterator[str]:
    """The beginnings of a fault that end with its member."""
    return (fault[: found.start()] for found in re.finditer(": ", fault))


def _sorted(told: list[str]) -> str:
    """Faults in the order of their lines, each once."""

    def line(text: str) -> int:
        number = text.split(":", 2)[1] if text.count(":") > 1 else ""
        return int(number) if number.isdigit() else 0

    return "\n".join(sorted(dict.fromkeys(told), key=line))


def _plain(value: Any) -> Any:
    """`value` without positions."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{n: _plain(getattr(value, n)) for n in value.__struct_fields__})
    if isinstance(value, tuple):
        return tuple(_plain(one) for one in value)
    return value


def _source(path: Path, place: Place) -> Source:
    return Source(file=str(path), line=place[0], column=place[1])
