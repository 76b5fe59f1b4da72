"""Overlays: what one environment has otherwise, laid over the objects that definitions of any dialect made.

The one rule: an overlay changes objects that are there and makes none; every field that it sets keeps its own place.

An overlay is a request of the API with only what differs. Its `spec` is merged into the object's as RFC 7396 has it:
mappings are merged, `null` removes, anything else, lists too, is replaced. One item of a list is meant by
`listeners[0]`, or by what is in it: `weightedTargets[virtualNode=pay-v2]`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.documents.drafts import name_fields
from meshwright.documents.findings import UNMATCHED
from meshwright.documents.positions import Elsewhere, Items, Place, Table, described
from meshwright.errors import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshwright.documents.drafts import Draft
    from meshwright.documents.findings import Findings

_MEMBERS = ("spec", "tags")
_ITEM = re.compile(r"([^\[\]]+)((?:\[[^\[\]]+\])+)")
_STEP = re.compile(r"\[([^\[\]]+)\]")


class Overlays:
    """The overlays of the environment that was chosen, in their order."""

    def __init__(self, overlays: Sequence[Draft], findings: Findings) -> None:
        self._overlays = overlays
        self._findings = findings
        self._matched: set[int] = set()
        self._known: dict[str, None] = {}
        for one in overlays:
            self._report_strange(one)

    def laid_over(self, draft: Draft) -> Draft:
        """`draft` with every overlay that names it."""
        self._known[_named(draft)] = None
        for number, one in enumerate(self._overlays):
            if _names(one, draft):
                self._matched.add(number)
                patch = Table(one.wire.place)
                for key, value in one.wire.items():
                    if key.partition("[")[0] in _MEMBERS:
                        patch.put(key, value, one.wire.places[key])
                wire = _Merge(one.file, self._findings).tables(draft.wire, patch)
                draft = msgspec.structs.replace(draft, wire=wire, lax=draft.lax or one.lax)
        return draft

    def _report_strange(self, overlay: Draft) -> None:
        known = (*name_fields(overlay.kind), *_MEMBERS, "kind")
        for key in overlay.wire:
            if key.partition("[")[0] not in known:
                told = f"this overlay has a field {key!r}, which no {overlay.kind.type_name} has"
                hint = did_you_mean(key, known, f"Known here are {', '.join(known[:-1])}.", sentence=True)
                self._findings.add(UNMATCHED, overlay.file, overlay.wire.place_of(key), told, hint)

    def report(self) -> None:
        """Report overlays that no object is named by."""
        for number, one in enumerate(self._overlays):
            if number not in self._matched:
                near = nearest(_named(one), self._known)
                hint = f"Did you mean {near}?" if near else f"Defined are {', '.join(self._known) or 'no objects'}."
                told = f"this overlay is for {_named(one)}, which no definition makes"
                self._findings.add(UNMATCHED, one.file, one.place, told, hint)


def _names(overlay: Draft, draft: Draft) -> bool:
    if overlay.kind is not draft.kind:
        return False
    pairs = [(overlay.wire.get(name), draft.wire.get(name)) for name in name_fields(draft.kind)]
    # An overlay without a mesh is for the object in whichever mesh the definitions put it.
    return all(wanted == found or (at == 0 and wanted is None) for at, (wanted, found) in enumerate(pairs))


def _named(draft: Draft) -> str:
    names = [draft.wire.get(name) for name in name_fields(draft.kind)]
    return f"{draft.kind.type_name} {'/'.join(str(one) for one in names[min(1, len(names) - 1) :])}"


class _Merge:
    """Lays one overlay over one object."""

    def __init__(self, file: str, findings: Findings) -> None:
        self._file = file
        self._findings = findings

    def tables(self, under: Table, patch: Table) -> Table:
        """`under` with the members of `patch`; neither is changed."""
        merged = Table(under.place)
        for key, value in under.items():
            merged.put(key, value, under.places[key])
        for key, value in patch.items():
            place = patch.places[key]
            item = _ITEM.fullmatch(key)
            if item is not None:
                listed = self._item(merged.get(item[1]), item[1], _STEP.findall(item[2]), value, place)
                merged.put(item[1], listed, merged.place_of(item[1]))
            elif value is None:
                merged.pop(key, None)
            else:
                both = isinstance(value, Table) and isinstance(merged.get(key), Table)
                where = merged.places[key] if both else Elsewhere.of(place, self._file)
                merged.put(key, self._over(merged.get(key), value), where)
        return merged

    def _over(self, under: Any, value: Any) -> Any:
        if isinstance(value, Table):
            place = Elsewhere.of(value.place, self._file)
            return self.tables(under if isinstance(under, Table) else Table(place), value)
        if isinstance(value, Items):
            items = Items(Elsewhere.of(value.place, self._file))
            for one, where in zip(value, value.places, strict=True):
                items.put(self._over(None, one), Elsewhere.of(where, self._file))
            return items
        return value

    def _item(self, under: Any, name: str, steps: Sequence[str], value: Any, place: Place) -> Any:
        """The list `under` with `value` laid over the item that `steps` lead to."""
        index = self._found(under, name, steps[0], place)
        if index is None:
            return under
        items = Items(under.place)
        for at, (one, where) in enumerate(zip(under, under.places, strict=True)):
            if at != index:
                items.put(one, where)
            elif len(steps) > 1:
                items.put(self._item(one, f"{name}[{steps[0]}]", steps[1:], value, place), where)
            elif value is not None:
                both = isinstance(one, Table) and isinstance(value, Table)
                items.put(self._over(one, value), where if both else Elsewhere.of(place, self._file))
        return items

    def _found(self, under: Any, name: str, step: str, place: Place) -> int | None:
        if not isinstance(under, Items):
            found = "there is none" if under is None else f"it is {described(under)}"
            self._unmatched(place, f"{name}[{step}] names an item of a list, but {found}", "Give the whole list.")
            return None
        if step.isascii() and step.isdecimal():
            if len(step) < 6 and int(step) < len(under):
                return int(step)
            detail = f"It has {len(under)} item{'s' * (len(under) != 1)}, counted from 0."
            self._unmatched(place, f"{name} has no item {step[:20]}", detail)
            return None
        member, _, wanted = step.partition("=")
        fitting = [at for at, one in enumerate(under) if isinstance(one, Table) and str(one.get(member)) == wanted]
        if len(fitting) == 1:
            return fitting[0]
        number = "no item" if not fitting else f"{len(fitting)} items"
        self._unmatched(place, f"{name} has {number} with {member}={wanted}", f"There are {_listed(under, member)}.")
        return None

    def _unmatched(self, place: Place, told: str, detail: str) -> None:
        self._findings.add(UNMATCHED, self._file, place, told, detail)


def _listed(items: Iterable[Any], member: str) -> str:
    found = [f"{member}={one[member]}" for one in items if isinstance(one, Table) and member in one]
    return ", ".join(found) or f"none with {member}"
