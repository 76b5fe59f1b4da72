"""Holds a `.travis.yml` against the table of keys, and gathers the values that other checks are about.

The one rule: what is found here is what Travis passes over or takes for something else; a value that Travis mends
without loss is no finding.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.ci.travis.known_keys import Keys, providers, tables
from meshwright.diagnostics import Severity
from meshwright.documents.positions import Items, Table, described
from meshwright.errors import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.ci.travis.known_keys import Key
    from meshwright.documents.findings import Findings
    from meshwright.documents.positions import Place

UNKNOWN_KEY = "MW850"
UNUSABLE_VALUE = "MW851"
OUTDATED_KEY = "MW865"

NEAR = 0.79
"""How like a known name one must be to count as a slip of the finger, from 0 to 1."""

_PRIVATE = ("_", ".", "x-")
_FLAGS = frozenset({"true", "false", "yes", "no", "on", "off", "required", "enabled", "disabled"})
_VERSION = re.compile(r"(?:~>|>|>=|=|<=|<) ?\d+(?:\.\d+){0,2}")
_ANCHOR = re.compile(r"(?:^|[\s:\[,{-])&[^\s,\[\]{}]+")
_REQUIRED: Mapping[str, tuple[str, ...]] = {"vault": ("api_url", "token")}


class Leaf(msgspec.Struct, frozen=True):
    """One value, and where it stands."""

    kind: str
    name: str
    value: Any
    place: tuple[int, int]
    path: str


Leaves: TypeAlias = list[Leaf]


def is_secure(value: Any) -> bool:
    """Whether a value is an encrypted one, `{secure: …}`."""
    return isinstance(value, Table) and set(value) == {"secure"}


def each(value: Any, place: Place, path: str) -> Iterator[tuple[Any, Place, str]]:
    """The items of a list, those of lists in it included, or the value itself."""
    if isinstance(value, Items):
        for index, (one, where) in enumerate(zip(value, value.places, strict=True)):
            yield from each(one, where, f"{path}[{index}]")
    elif value is not None:
        yield value, place, path


def spelled(keys: Iterable[str]) -> Mapping[str, str]:
    """Each key of a mapping by the name that Travis reads it as: dashes stand for underscores."""
    return {key.replace("-", "_"): key for key in keys}


class Shapes:
    """Walks the file; what it gathers is in `leaves`."""

    def __init__(self, found: Findings, file: str, text: str) -> None:
        self._found = found
        self._file = file
        self._lines = text.split("\n")
        self._tables = tables()
        self.leaves: Leaves = []

    def root(self, table: Table) -> None:
        """Check all of the file."""
        self._mapping(table, self._tables["root"], "")

    def _say(self, code: str, place: Place, path: str, summary: str, detail: str, severity: Severity) -> None:
        self._found.add(code, self._file, place, summary, detail, severity=severity, path=path)

    def _mapping(self, table: Table, keys: Keys, at: str) -> None:
        for name, value in table.items():
            path, place = f"{at}.{name}" if at else name, table.places[name]
            key = keys.known.get(name) or keys.known.get(name.replace("-", "_"))
            if key is not None:
                self._outdated(key, place, path)
                self._value(key, value, place, path)
            elif name == "secure" and keys.instead & {"text", "texts"}:
                continue  # an encrypted value in place of the mapping, with keys of the mapping beside it
            elif keys.free:
                self._variable(name, value, place, path, keys)
            elif not (keys.name == "root" and self._is_private(table, name)):
                self._unknown(name, place, path, keys)
        for name in _REQUIRED.get(keys.name, ()):
            if name not in table:
                told = f"{at} lacks {name}, without which Travis rejects it"
                self._say(UNUSABLE_VALUE, table.place, at, told, f"Add {name} to {at}.", Severity.ERROR)

    def _is_private(self, root: Table, name: str) -> bool:
        """Whether a key only holds what anchors name; Travis leaves those in peace."""
        if name.startswith(_PRIVATE):
            return True
        first = root.places[name][0]
        following = [place[0] for place in root.places.values() if place[0] > first]
        lines = self._lines[first - 1 : min(following, default=len(self._lines) + 1) - 1]
        return any(_ANCHOR.search(line) for line in lines)

    def _unknown(self, name: str, place: Place, path: str, keys: Keys) -> None:
        near = nearest(name, keys.known, NEAR)
        where = path.rpartition(".")[0] or "the file's top"
        if near is not None:
            detail = f"Travis passes it over, so that nothing of it happens. Did you mean {near!r}?"
            self._say(UNKNOWN_KEY, place, path, f"unknown key {name!r} in {where}", detail, Severity.ERROR)
            return
        elsewhere = [one for one in self._tables if name.replace("-", "_") in self._tables[one].known]
        homes = ", ".join(sorted({_home(one) for one in elsewhere} - {where}))
        remedy = f"It is known in {homes}: move it there, or remove it." if homes else "Remove it."
        detail = f"Travis passes it over, so that nothing of it happens. {remedy}"
        self._say(UNKNOWN_KEY, place, path, f"unknown key {name!r} in {where}", detail, Severity.WARNING)

    def _outdated(self, key: Key, place: Place, path: str) -> None:
        if key.outdated:
            remedy = {"skip_cleanup": "Without it files stay as they are; cleanup: true removes them."}
            told = f"{path} is outdated: today's tools pass it over"
            self._say(OUTDATED_KEY, place, path, told, remedy.get(key.name, ""), Severity.INFO)

    def _variable(self, name: str, value: Any, place: Place, path: str, keys: Keys) -> None:
        """A key of `env`, which is a variable unless it holds several values."""
        if isinstance(value, Items) or (isinstance(value, Table) and not is_secure(value)):
            hint = did_you_mean(
                name, keys.known, "Variables are texts; lists stand under global and jobs.", cutoff=0.6
            )
            told = f"{path} holds {described(value)}, which no variable can be"
            self._say(UNUSABLE_VALUE, place, path, told, hint[:1].upper() + hint[1:], Severity.ERROR)
        else:
            self.leaves.append(Leaf("variable", name, value, place, path))

    def _value(self, key: Key, value: Any, place: Place, path: str) -> None:
        if value is None or key.kind == "any":
            return
        if key.kind == "table":
            self._tabled(key, value, place, path)
            return
        for one, where, at in each(value, place, path):
            self._scalar(key, one, where, at)
        if key.kind == "condition" and isinstance(value, Items) and len(value) > 1:
            detail = "Travis takes the first and passes the others over; join them by AND."
            self._say(UNUSABLE_VALUE, place, path, f"{path} takes one condition", detail, Severity.ERROR)

    def _tabled(self, key: Key, value: Any, place: Place, path: str) -> None:
        for one, where, at in each(value, place, path):
            if key.table == "deploy":
                self._deploy(one, where, at)
            elif isinstance(one, Table) and not is_secure(one):
                inside = self._tables["job" if key.table == "jobs" and isinstance(value, Items) else key.table]
                self._mapping(one, inside, at)
            else:
                self._instead(key, one, where, at, listed=isinstance(value, Items))

    def _instead(self, key: Key, value: Any, place: Place, path: str, *, listed: bool) -> None:
        """A value in place of a mapping."""
        keys = self._tables[key.table]
        kinds = keys.instead
        if "keys" in kinds and isinstance(value, str):
            self._key_alone(key, value, place, path)
            return
        is_flag = isinstance(value, bool) or str(value).lower() in _FLAGS
        takes = (is_flag and "flag" in kinds) or "texts" in kinds or ("text" in kinds and (key.many or not listed))
        if isinstance(value, Table) or takes:
            kind = "assignments" if key.table in {"env", "variables"} else "instead"
            self.leaves.append(Leaf(kind, key.name, value, place, path))
            return
        told = f"{path} takes a mapping, found {described(value)}"
        detail = f"Travis passes it over. Its keys are: {', '.join(sorted(keys.known)[:12])}."
        self._say(UNUSABLE_VALUE, place, path, told, detail, Severity.ERROR)

    def _key_alone(self, key: Key, value: str, place: Place, path: str) -> None:
        """A key in place of the mapping that would set it to true, as in `cache: pip`."""
        known = [name for name, one in self._tables[key.table].known.items() if one.kind == "flag"]
        if value.lower() not in {*known, *_FLAGS} and "$" not in value:
            hint = did_you_mean(value, known, f"Known are: {', '.join(known)}.", sentence=True)
            told = f"{path} does not take {described(value)}"
            self._say(UNUSABLE_VALUE, place, path, told, f"Travis passes it over. {hint}", Severity.ERROR)

    def _deploy(self, value: Any, place: Place, path: str) -> None:
        table = value if isinstance(value, Table) else None
        provider = value if table is None else table.get("provider")
        if table is not None and provider is None:
            detail = "Travis rejects a deployment that does not say how to deploy, such as provider: script."
            self._say(UNUSABLE_VALUE, place, path, f"{path} lacks provider", detail, Severity.ERROR)
            return
        name = str(provider).lower().replace("-", "_")
        where, at = (table.places["provider"], f"{path}.provider") if table is not None else (place, path)
        if name not in providers():
            if "$" not in name and not isinstance(provider, bool):
                hint = did_you_mean(name, providers(), "Another one can be run by provider: script.", sentence=True)
                told = f"{at} names no way to deploy that Travis knows: {described(provider)}"
                self._say(UNUSABLE_VALUE, where, at, told, hint, Severity.ERROR)
        elif table is not None:
            self._mapping(table, self._tables[f"deploy:{name}"], path)

    def _scalar(self, key: Key, value: Any, place: Place, path: str) -> None:
        if isinstance(value, Table) and (is_secure(value) or key.kind == "secrets_by_branch"):
            plain = [one for one in value.values() if not is_secure(value) and not is_secure(one)]
            for one in plain:
                self.leaves.append(Leaf("secret", key.name, one, place, path))
        elif isinstance(value, Table):
            self._mapping_for_text(key, value, place, path)
        elif key.kind == "choice":
            self._choice(key, value, place, path)
        elif key.kind in {"flag", "number"}:
            self._flag_or_number(key, value, place, path)
        else:
            kind = "secret" if key.kind.startswith("secret") else key.kind
            self.leaves.append(Leaf(kind, key.name, value, place, path))
            if path == "version" and not _VERSION.fullmatch(str(value)):
                told = f"version takes a comparison such as '~> 1.0', found {described(value)}"
                self._say(UNUSABLE_VALUE, place, path, told, "Write version: ~> 1.0.", Severity.ERROR)

    def _mapping_for_text(self, key: Key, value: Table, place: Place, path: str) -> None:
        told = f"{path} takes {'commands' if key.kind == 'commands' else 'a text'}, found a mapping"
        first = next(iter(value), "")
        detail = (
            f"A colon with a space after it makes a mapping of a line: quote the whole of it ({first!r} begins it)."
        )
        self._say(UNUSABLE_VALUE, place, path, told, detail, Severity.ERROR)

    def _choice(self, key: Key, value: Any, place: Place, path: str) -> None:
        text = str(value).lower()
        if text in key.choices or text.replace("-", "_") in key.choices or "$" in text:
            return
        hint = did_you_mean(text, key.choices, f"Known are: {', '.join(key.choices[:40])}.", sentence=True)
        told = f"{path} does not take {described(value)}"
        self._say(UNUSABLE_VALUE, place, path, told, f"Travis passes it over. {hint}", Severity.ERROR)

    def _flag_or_number(self, key: Key, value: Any, place: Place, path: str) -> None:
        text = str(value).strip().lower()
        if isinstance(value, bool | int | float) or text in _FLAGS or text.replace(".", "", 1).isdecimal():
            return
        wanted = "true or false" if key.kind == "flag" else "a number"
        why = "No variable is put in here, and Travis passes it over." if "$" in text else "Travis passes it over."
        told = f"{path} takes {wanted}, found {described(value)}"
        self._say(UNUSABLE_VALUE, place, path, told, f"{why} Write {wanted}.", Severity.WARNING)


def _home(table: str) -> str:
    return "the file's top" if table == "root" else "deploy" if table.startswith("deploy:") else table
