"""An object as a dialect left it: a request of the API with positions, on its way into the model.

The one rule: every fault of the draft is found and has a place; one that has any does not become an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.diagnostics import Source
from meshwright.documents.findings import DUPLICATE, INCOMPLETE
from meshwright.documents.positions import UNKNOWN, Items, Place, Table, described, reach
from meshwright.errors import did_you_mean
from meshwright.model import SPECS, DecodeError, Key, Kind, Problem, Resource, State, decode
from meshwright.model.scalars import ResourceName
from meshwright.model.specs import TagRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.documents.findings import Findings

_ELSEWHERE = frozenset({"metadata", "status"})
"""Members of describe's answers that say nothing about what is wanted."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One object before it is judged."""

    kind: Kind
    wire: Table
    """Members named as in a create request: `meshName`, `virtualNodeName`, `spec`, `tags`."""
    file: str
    place: Place
    lax: bool = False
    """Scalars may be strings, as in CloudFormation and where a template's variable stood."""
    hints: Mapping[str, str] = MappingProxyType({})
    """How the dialect spells a wire member that is missing."""
    problems: tuple[tuple[Problem, Place], ...] = ()
    """What the dialect itself found wrong."""


class Assembly:
    """Takes drafts and gives the state and the positions; what is wrong goes into the findings."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._resources: dict[Key, Resource] = {}
        self._places: dict[str, tuple[str, Table]] = {}
        self._broken: dict[Key, None] = {}

    @property
    def state(self) -> State:
        """Every object that has no fault."""
        return State(self._resources.values())

    @property
    def places(self) -> Mapping[str, tuple[str, Table]]:
        """By subject: the file and the positioned request of every object that could be named."""
        return self._places

    @property
    def broken(self) -> tuple[Key, ...]:
        """The objects that are defined with a fault and therefore missing from the state."""
        return tuple(key for key in self._broken if key not in self._resources)

    def take(self, draft: Draft) -> None:
        """Judge a draft; keep the object when nothing is wrong with it."""
        key = self._key(draft)
        problems = list(_member_problems(draft))
        spec, found = _decoded(draft, SPECS[draft.kind], "spec", {} if draft.kind is Kind.MESH else None)
        problems += found
        tags, found = _decoded(draft, tuple[TagRef, ...], "tags", ())
        problems += found
        if key is not None:
            problems += _name_problems(key)
            if not self._first(draft, key):
                return
        self._report(draft, key, [*draft.problems, *_placed(draft, problems)])
        if key is None:
            return
        if problems or draft.problems or spec is None or tags is None:
            self._broken[key] = None
        else:
            self._resources[key] = Resource(key=key, spec=spec, tags=tags)

    def _first(self, draft: Draft, key: Key) -> bool:
        if key.path not in self._places:
            self._places[key.path] = (draft.file, draft.wire)
            return True
        file, table = self._places[key.path]
        first = Source(file=file, line=table.place[0], column=table.place[1])
        told = f"{key.path} is defined twice; the first definition is at {first}"
        detail = "An object has one definition; remove or rename one of them. The first one is used here."
        self._findings.add(DUPLICATE, draft.file, draft.place, told, detail, subject=key.path)
        return False

    def _key(self, draft: Draft) -> Key | None:
        fields = name_fields(draft.kind)
        values = [draft.wire.get(field) for field in fields]
        for field, value in zip(fields, values, strict=True):
            if value is None:
                self._missing(draft, field)
            elif value is not UNKNOWN and not isinstance(value, str):
                told = f"{field} takes text, found {described(value)}"
                detail = "" if isinstance(value, Table | Items) else "Quote it."
                self._findings.add("MW001", draft.file, draft.wire.place_of(field), told, detail, path=field)
        names = [str(value) for value in values if isinstance(value, str)]
        if len(names) != len(fields):
            return None
        mesh, parent, name = (names[0], names[1] if len(names) == 3 else "", names[-1])
        return Key(mesh, draft.kind, name, parent)

    def _missing(self, draft: Draft, field: str) -> None:
        name = draft.wire.get(draft.kind.name_field)
        named = f" {name!r}" if isinstance(name, str) and field != draft.kind.name_field else ""
        told = f"this {draft.kind.type_name}{named} has no {field}"
        detail = draft.hints.get(field) or (
            f"Add {field}, or give --mesh, or name the mesh in meshwright.yaml."
            if field == "meshName"
            else f"Add {field}."
            if not draft.kind.portable
            else f"Add {field}, or give it as --parameter {field}=NAME as `aws appmesh` takes it from its options."
        )
        if field != "meshName" or self._findings.first(draft.file, field):
            self._findings.add(INCOMPLETE, draft.file, draft.place, told, detail, path=field)

    def _report(self, draft: Draft, key: Key | None, problems: list[tuple[Problem, Place]]) -> None:
        for one, place in problems:
            hint = draft.hints.get(one.path.rpartition(".")[2], "") if one.message == "is required" else one.hint
            self._findings.add(
                one.rule,
                draft.file,
                place,
                f"{one.path}: {one.message}",
                f"{hint[:1].upper()}{hint[1:]}",
                subject=key.path if key else "",
                path=one.path,
            )


def _placed(draft: Draft, problems: list[Problem]) -> Iterator[tuple[Problem, Place]]:
    for one in problems:
        value, place, there = reach(draft.wire, one.path)
        # Why a value is unknown has been said where it stands.
        if not there or value is not UNKNOWN:
            yield one, place if place[0] else draft.place


def name_fields(kind: Kind) -> tuple[str, ...]:
    """The members that identify an object of a kind, from the mesh inwards."""
    parent = (kind.parent.name_field,) if kind.parent else ()
    return ("meshName",) if kind is Kind.MESH else ("meshName", *parent, kind.name_field)


def _member_problems(draft: Draft) -> list[Problem]:
    known = {*name_fields(draft.kind), "spec", "tags"}
    known |= {"clientToken", "meshOwner"} if draft.kind.portable else {"kind"}
    problems = []
    for name in draft.wire:
        if name not in known and name not in _ELSEWHERE:
            hint = did_you_mean(name, known, f"known here: {', '.join(sorted(known))}")
            problems.append(Problem("MW001", name, f"unknown field {name!r}", hint))
    return problems


def _name_problems(key: Key) -> list[Problem]:
    fields = name_fields(key.kind)
    problems: list[Problem] = []
    for field, name in zip(
        fields, (key.mesh, key.parent, key.name) if key.parent else (key.mesh, key.name), strict=False
    ):
        try:
            decode(ResourceName, name, at=field)
        except DecodeError as error:
            problems += error.problems
    return problems


def _decoded(draft: Draft, wanted: Any, member: str, absent: Any) -> tuple[Any, tuple[Problem, ...]]:
    value = draft.wire.get(member)
    if value is None:
        value = absent
    if value is None:
        return None, (Problem("MW001", member, "is required"),)
    if value is UNKNOWN:
        return None, ()
    try:
        return decode(wanted, value, at=member, lax=draft.lax), ()
    except DecodeError as error:
        return None, error.problems
