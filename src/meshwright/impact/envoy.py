"""The difference between two snapshots of one proxy: resources, and the fields of their messages.

The one rule: items of a list are matched by what names them, as Envoy does, so that one insertion is one difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from meshwright.impact.values import ResourceDifference
from meshwright.plan import Field
from meshwright.snapshot.messages import as_dict, message
from meshwright.snapshot.resources import PUSH_ORDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.snapshot.resources import EnvoyResource, Snapshot

_MOST_FIELDS = 50
"""Fields that are told of one resource."""
_LARGEST = 2_000
"""Characters of a value's JSON; of a larger one its size is told."""
_ABSENT: Any = object()


class Compared(NamedTuple):
    """How two snapshots differ."""

    added: int
    changed: int
    removed: int
    resources: tuple[ResourceDifference, ...]
    """In the order in which they are sent, then by name."""

    @property
    def total(self) -> int:
        """How many resources differ."""
        return self.added + self.changed + self.removed


def compared(before: Snapshot, after: Snapshot, *, most: int) -> Compared:
    """The difference, of which at most `most` resources are described."""
    differing = list(_differing(before, after))
    resources = tuple(_described(*one) for one in differing[:most])
    added = sum(old is None for _, old, new in differing)
    removed = sum(new is None for _, old, new in differing)
    return Compared(added, len(differing) - added - removed, removed, resources)


_Pair = tuple[str, "EnvoyResource | None", "EnvoyResource | None"]


def _differing(before: Snapshot, after: Snapshot) -> Iterator[_Pair]:
    """The URL of the type, and a resource before and after, one of which there is."""
    for url in PUSH_ORDER:
        was, now = before.of(url), after.of(url)
        for name in sorted({**was, **now}):
            old, new = was.get(name), now.get(name)
            if (old.version if old else None) != (new.version if new else None):
                yield url, old, new


def _described(url: str, old: EnvoyResource | None, new: EnvoyResource | None) -> ResourceDifference:
    name = new.name if new is not None else old.name if old is not None else ""
    fields: list[Field] = []
    if old is not None and new is not None:
        sides = (_message(url, old), _message(url, new))
        fields = list(_compared("", *sides))
        if old.expires_at != new.expires_at:
            fields.append(Field(path="ttl", old=old.expires_at or None, new=new.expires_at or None))
    return ResourceDifference(
        action="add" if old is None else "remove" if new is None else "change",
        type=url.rpartition(".")[2],
        name=name,
        fields=tuple(fields[:_MOST_FIELDS]),
        more=max(0, len(fields) - _MOST_FIELDS),
    )


def _message(url: str, resource: EnvoyResource) -> dict[str, Any]:
    return as_dict(message(url.rpartition("/")[2]).FromString(resource.body))


def _compared(path: str, old: Any, new: Any) -> Iterator[Field]:
    if old is not _ABSENT and new is not _ABSENT and old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            inner = f"{path}.{name}" if path else name
            yield from _compared(inner, old.get(name, _ABSENT), new.get(name, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(path, old, new)
    else:
        yield Field(path=path, old=_told(old), new=_told(new))


def _lists(path: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Field]:
    was, now = [_named(one) for one in old], [_named(one) for one in new]
    if "" in was or "" in now or len(set(was)) < len(was) or len(set(now)) < len(now):
        was, now = list(map(str, range(len(old)))), list(map(str, range(len(new))))
    before, after = dict(zip(was, old, strict=True)), dict(zip(now, new, strict=True))
    stayed = [one for one in was if one in after], [one for one in now if one in before]
    if stayed[0] != stayed[1]:
        yield Field(path=f"{path}.order", old=was, new=now)
    for name in [*now, *(name for name in was if name not in after)]:
        yield from _compared(f"{path}[{name}]", before.get(name, _ABSENT), after.get(name, _ABSENT))


def _named(item: Any) -> str:
    """What names an item of a list; "" where nothing does."""
    if not isinstance(item, dict):
        return ""
    found = item.get("name") or item.get("key")
    return found if isinstance(found, str) else ""


def _told(value: Any) -> Any:
    if value is _ABSENT:
        return None
    size = len(msgspec.json.encode(value))
    return value if size <= _LARGEST else f"({size} characters of JSON)"
