"""Patterns of `owns`, `may_extend` and `may_change`: which names they mean, and how two of them relate; pure.

The one rule: a pattern is matched against the parts of a key and not against its text, so that a name with a slash in
it never passes for a route of somebody's router.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from meshwright.model.identity import Key

_SLASH = "\0"
"""A slash inside a name, where `/` divides the parts."""
_TOKEN = re.compile(r"\*\*+|\*|\?|[^*?]+")


class Pattern(msgspec.Struct, frozen=True):
    """One pattern as it holds: from the mesh inwards."""

    written: str
    """As the file has it."""
    full: str
    """`mesh/NAME/…`."""
    place: str
    """Where the file has it: `roles.cart-deployer.owns[0]`."""

    def matches(self, key: Key) -> bool:
        """Whether `key` is meant: `*` and `?` stay within a name, `**` does not."""
        return _compiled(self.full).fullmatch(_parts(key)) is not None

    def reaches(self, mesh: str) -> bool:
        """Whether the pattern can mean anything in `mesh`."""
        head, across, _ = "/".join(self.full.split("/")[:2]).partition("**")
        # What follows a ** may lie in the mesh's name or in it: only what stands before it is certain.
        return _compiled(f"{head}*" if across else head).fullmatch(f"mesh/{mesh}") is not None


def pattern(written: str, mesh: str, place: str) -> Pattern:
    """`written` as it holds where relative patterns mean `mesh`."""
    if written == "mesh":
        return Pattern(written, f"mesh/{mesh}", place)
    return Pattern(written, written if written.startswith("mesh/") else f"mesh/{mesh}/{written}", place)


def overlap(one: str, other: str) -> bool:
    """Whether some name is meant by both full patterns; `**` is taken for any number of any characters."""
    first, second = _tokens(one), _tokens(other)
    seen: set[tuple[int, int]] = set()
    left = [(0, 0)]
    while left:
        at = left.pop()
        if at in seen:
            continue
        seen.add(at)
        if at == (len(first), len(second)):
            return True
        left += _steps(first, second, *at)
    return False


def _steps(first: list[str], second: list[str], i: int, j: int) -> list[tuple[int, int]]:
    """Where two patterns may stand after one more character, or after a star that stands for nothing."""
    a, b = first[i] if i < len(first) else "", second[j] if j < len(second) else ""
    steps = []
    if a in {"*", "**"}:
        steps.append((i + 1, j))
    if b in {"*", "**"}:
        steps.append((i, j + 1))
    if a and b and _meet(a, b):
        steps.append((i if a in {"*", "**"} else i + 1, j if b in {"*", "**"} else j + 1))
    return steps


def _meet(a: str, b: str) -> bool:
    """Whether one character can be meant by both tokens."""
    wild = {"*", "**", "?"}
    if a in wild and b in wild:
        return True
    if a in wild:
        return a == "**" or b != "/"
    if b in wild:
        return b == "**" or a != "/"
    return a == b


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    for token in _TOKEN.findall(text):
        if token.startswith("**"):
            found.append("**")
        elif token in {"*", "?"}:
            found.append(token)
        else:
            found += token
    return found


@functools.lru_cache(maxsize=4096)
def _compiled(full: str) -> re.Pattern[str]:
    wild = {"*": r"[^/\0]*", "?": r"[^/\0]"}
    parts = (
        ".*" if token.startswith("**") else wild.get(token) or re.escape(token) for token in _TOKEN.findall(full)
    )
    return re.compile("".join(parts), re.DOTALL)


def _parts(key: Key) -> str:
    if not any("/" in part for part in (key.mesh, key.name, key.parent)):
        return key.path
    mesh, name, parent = (part.replace("/", _SLASH) for part in (key.mesh, key.name, key.parent))
    return msgspec.structs.replace(key, mesh=mesh, name=name, parent=parent).path
