"""YAML with the place of every key and item: libyaml's events under a builder of ours.

The one rule: nothing recurses and nothing expands unseen. Depth is counted with the aliases in it, so that a nest or
a bomb of aliases ends in one message.

YAML: https://yaml.org/spec/1.1/; CloudFormation's short tags:
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference.html
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from meshwright.documents.positions import MAX_DEPTH, Document, Fault, Items, Parsed, Place, Table, Unquoted
from meshwright.documents.scalars import resolve_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_ALIASED = 1_000_000
"""How many values the aliases of one document may stand for together."""

_SHORT_TAGS = frozenset(
    {"And", "Base64", "Cidr", "Equals", "FindInMap", "GetAZs", "GetAtt", "If", "ImportValue", "Join", "Length"}
    | {"Not", "Or", "Select", "Split", "Sub", "ToJsonString", "Transform"}
)
_YAML = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset({"!", f"{_YAML}map", f"{_YAML}seq"})
_OPEN = object()


class _FatalError(Exception):
    """The rest of the text cannot be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.summary)
        self.fault = fault


class _Open:
    """A collection whose end has not come yet."""

    __slots__ = ("anchor", "height", "is_key", "key", "key_place", "merges", "started", "tag", "template", "value")

    def __init__(self, value: Table | Items, event: Any, started: int, is_key: bool) -> None:
        self.value = value
        self.anchor: str | None = event.anchor
        self.tag: str | None = event.tag
        self.started = started
        self.is_key = is_key
        self.height = 1
        self.key: str | None = None
        self.key_place: Place = value.place
        self.merges: list[Table] = []
        self.template = False

    @property
    def wants_key(self) -> bool:
        """Whether what comes next is a key of this mapping."""
        return self.key is None and isinstance(self.value, Table)


def read_yaml(text: str) -> Parsed:
    """The documents of `text`; never raises for what is in it."""
    builder = _Builder()
    fault = None
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            handle = _HANDLERS.get(type(event))
            if handle is not None:
                handle(builder, event)
    except _FatalError as error:
        fault = error.fault
    except yaml.MarkedYAMLError as error:
        fault = _syntax_fault(error, text)
    except yaml.YAMLError as error:
        fault = Fault((1, 1), f"this is not YAML: {' '.join(str(error).split())}")
    return Parsed(tuple(builder.documents), fault)


def _syntax_fault(error: yaml.MarkedYAMLError, text: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.split("\n", place[0])[: place[0]]
    shown = lines[-1].strip()
    why = " ".join(part for part in (error.problem, error.context) if part)
    detail = f"The line reads {shown[:80]!r}." if shown else ""
    # libyaml notices a line or two after the one that it could not read.
    if any("{{" in line or "{%" in line for line in lines[-3:]):
        detail += " It looks like a template: render it first (helm template, kustomize build) and give the result."
    return Fault(place, f"this is not YAML: {why}", detail.strip())


class _Builder:
    """Takes events, keeps what is open on a stack of its own, and collects documents."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.begin()
        self._plain: dict[str, Any] = {}

    def begin(self, event: Any = None) -> None:
        self._place: Place = (event.start_mark.line + 1, event.start_mark.column + 1) if event else (1, 1)
        self._faults: list[Fault] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, Any] = {}
        self._root: Any = None
        self._nodes = 0
        self._aliased = 0

    def finish(self, _event: Any) -> None:
        self.documents.append(Document(self._root, self._place, tuple(self._faults)))

    def mapping(self, event: Any) -> None:
        self._open(Table(_place(event)), event)

    def sequence(self, event: Any) -> None:
        self._open(Items(_place(event)), event)

    def _open(self, value: Table | Items, event: Any) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _FatalError(_too_deep(value.place))
        is_key = bool(self._stack) and self._stack[-1].wants_key
        if event.anchor:
            self._anchors[event.anchor] = _OPEN
        self._stack.append(_Open(value, event, self._nodes, is_key))
        self._nodes += 1

    def close(self, _event: Any) -> None:
        frame = self._stack.pop()
        value: Any = frame.value
        if frame.merges:
            value = _merged(frame)
        if frame.tag and frame.tag not in _PLAIN_TAGS:
            value = self._long_form(frame.tag, value, frame.value.place)
            frame.height += 1
        if frame.template and isinstance(value, Table):
            value = self._template(value)
        if frame.anchor:
            self._anchors[frame.anchor] = (value, self._nodes - frame.started, frame.height)
        if frame.is_key:
            self._complex_key(value, frame.value.place)
        else:
            self._add(value, frame.value.place, frame.height)

    def scalar(self, event: Any) -> None:
        mark = event.start_mark
        place = (mark.line + 1, mark.column + 1)
        text = event.value
        top = self._stack[-1] if self._stack else None
        self._nodes += 1
        if top is not None and top.wants_key and (event.tag is None or event.tag.startswith(_YAML)):
            top.key, top.key_place = text, place
            if event.anchor:
                self._anchors[event.anchor] = (text, 1, 0)
            if text == "<<" and event.implicit[0]:
                top.key = _MERGE
            return
        height = 0
        if event.tag is not None and event.tag != "!":
            value = self._tagged_scalar(event.tag, text, place)
            height = 2
        elif event.implicit[0]:
            value = self._plain_value(text)
        else:
            value = text
        if event.anchor:
            self._anchors[event.anchor] = (value, 1, height)
        self._add(value, place, height)

    def _plain_value(self, text: str) -> Any:
        try:
            return self._plain[text]
        except KeyError:
            value = Unquoted(text) if "$" in text else resolve_plain(text)
            self._plain[text] = value
            return value

    def alias(self, event: Any) -> None:
        place = _place(event)
        found = self._anchors.get(event.anchor)
        if found is None:
            self._faults.append(Fault(place, f"the alias *{event.anchor} refers to no anchor above it"))
            found = (None, 1, 0)
        if found is _OPEN:
            raise _FatalError(Fault(place, f"the alias *{event.anchor} stands inside what it refers to"))
        value, size, height = found
        self._nodes += size
        self._aliased += size
        if self._aliased > MOST_ALIASED:
            told = f"the aliases stand for more than {MOST_ALIASED:,} values"
            raise _FatalError(Fault(place, told, "Such a file would fill the memory; write the values out."))
        if len(self._stack) + height > MAX_DEPTH:
            raise _FatalError(_too_deep(place))
        top = self._stack[-1] if self._stack else None
        if top is None or not top.wants_key:
            self._add(value, place, height)
        elif isinstance(value, str):
            top.key, top.key_place = value, place
        else:
            self._complex_key(value, place)

    def _add(self, value: Any, place: Place, height: int) -> None:
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        top.height = max(top.height, height + 1)
        container = top.value
        if isinstance(container, Items):
            container.put(value, place)
            return
        key, top.key = top.key, None
        if key is _MERGE:
            self._merge(top, value)
        elif key is not None and key in container:
            first = container.places[key][0]
            told = f"the key {key!r} is given twice, first on line {first}"
            self._faults.append(Fault(top.key_place, told, "Only one of them can hold; remove the other."))
        elif key is not None:
            container.put(key, value, top.key_place)

    def _merge(self, top: _Open, value: Any) -> None:
        tables = list(reversed(value)) if isinstance(value, Items) else [value]
        if all(isinstance(one, Table) for one in tables):
            top.merges.extend(tables)
        else:
            told = "the merge key << takes a mapping or a list of mappings"
            self._faults.append(Fault(top.key_place, told))

    def _complex_key(self, value: Any, place: Place) -> None:
        top = self._stack[-1]
        if isinstance(value, Table) and len(value) == 1 and next(iter(value.values())) is None:
            # {{ NAME }} without quotes: a mapping whose only key is a mapping with the only key NAME.
            top.key, top.key_place, top.template = f"{{{{{next(iter(value))}}}}}", place, True
            return
        self._faults.append(Fault(place, "a key must be text, not a list or a mapping"))
        top.key, top.key_place = "", place

    def _template(self, value: Table) -> Any:
        if len(value) == 1 and next(iter(value.values())) is None:
            return Unquoted(next(iter(value)))
        self._faults.append(Fault(value.place, "a key must be text, not a list or a mapping"))
        return value

    def _tagged_scalar(self, tag: str, text: str, place: Place) -> Any:
        if tag in _STANDARD:
            value = _STANDARD[tag](text)
            if value is None and not tag.endswith("null"):
                self._faults.append(Fault(place, f"{text!r} is not a {tag.removeprefix(_YAML)}"))
            return value
        if tag == "!GetAtt":
            resource, _, attribute = text.partition(".")
            parts = Items(place)
            parts.put(resource, place)
            parts.put(attribute, place)
            return self._long_form(tag, parts, place)
        return self._long_form(tag, text, place)

    def _long_form(self, tag: str, value: Any, place: Place) -> Any:
        """CloudFormation's `!Name value` as `{"Fn::Name": value}`."""
        name = tag.removeprefix("!")
        if tag in {"!Ref", "!Condition"}:
            long = name
        elif tag.startswith("!") and name in _SHORT_TAGS:
            long = f"Fn::{name}"
        else:
            shown = f"!!{tag.removeprefix(_YAML)}" if tag.startswith(_YAML) else tag
            told = "Only CloudFormation's functions (!Ref, !Sub, …) have tags here; remove it or quote the value."
            self._faults.append(Fault(place, f"the tag {shown} means nothing here", told))
            return value
        table = Table(place)
        table.put(long, value, place)
        return table


_MERGE = "\x00merge"
"""Stands for an unquoted `<<`; the reader lets no NUL through, so that no key is equal to it."""


def _place(event: Any) -> Place:
    return (event.start_mark.line + 1, event.start_mark.column + 1)


def _too_deep(place: Place) -> Fault:
    return Fault(
        place, f"values nest deeper than {MAX_DEPTH} levels", "No App Mesh definition needs a tenth of that."
    )


def _merged(frame: _Open) -> Table:
    result = Table(frame.value.place)
    own = frame.value
    for table in [*frame.merges, own]:
        if isinstance(table, Table):
            for key, value in table.items():
                result.put(key, value, table.places[key])
    return result


def _as_int(text: str) -> int | None:
    value = resolve_plain(text)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_float(text: str) -> float | None:
    value = resolve_plain(text)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _as_bool(text: str) -> bool | None:
    value = resolve_plain(text)
    return value if isinstance(value, bool) else None


_STANDARD: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        f"{_YAML}str": str,
        f"{_YAML}timestamp": str,
        f"{_YAML}int": _as_int,
        f"{_YAML}float": _as_float,
        f"{_YAML}bool": _as_bool,
        f"{_YAML}null": lambda _text: None,
    }
)

_HANDLERS: Mapping[type, Callable[[_Builder, Any], None]] = MappingProxyType(
    {
        yaml.ScalarEvent: _Builder.scalar,
        yaml.MappingStartEvent: _Builder.mapping,
        yaml.MappingEndEvent: _Builder.close,
        yaml.SequenceStartEvent: _Builder.sequence,
        yaml.SequenceEndEvent: _Builder.close,
        yaml.AliasEvent: _Builder.alias,
        yaml.DocumentStartEvent: _Builder.begin,
        yaml.DocumentEndEvent: _Builder.finish,
    }
)
