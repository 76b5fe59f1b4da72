"""Regular expressions that differ from another one by a slip, and the characters that tell them from it.

The one rule: what is easily written by mistake, and no more; what comes out may be no expression at all, and whoever
asks has RE2 judge it.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from meshwright.trials.deriving.expressions import COUNTED, alternatives, often, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_RANGE = re.compile(r"([A-Za-z0-9])-([A-Za-z0-9])")
_MEMBER = re.compile(r"\[:\^?[a-z]+:\]|(?:\\.|[^\\])-(?:\\.|[^\\])|\\.|[^\\]")
_FOLDING = re.compile(r"\(\?([A-Za-z]*)i([A-Za-z]*)([:)])")
_WORDS = ("[a-zA-Z0-9]", "[a-z0-9_]", "[A-Z0-9_]", "[a-zA-Z_]")
r"""`\w` without one of the kinds of characters that it takes."""
_BESIDE = {
    ".": ("[^/]", r"[\w.-]"),
    r"\.": (".",),
    r"\d": ("[0-9a-f]",),
    r"\w": (r"\d", r"[\w-]", *_WORDS),
    r"\S": (".", r"[\w.-]"),
    "-": ("[-_]",),
    "_": ("[-_]",),
}
"""Characters of a kind, with what is easily written in their place."""
_KINDS = {".": "/~", r"\w": "aA0_-", r"\d": "0a", r"\S": " ~", "-": "_", "_": "-"}
"""Of characters of a kind, and of those beside, one of each."""
_JOINING = frozenset(("-", "_", "/", r"\.", r"\-", r"\/"))
"""What stands between the parts of a text, and is easily left out."""
_MORE, _MORE_OF_THEM = (("-", "-"), ("_", "_"), ("0", "0-9"), (".", ".")), 3
"""Characters that a class may have besides, and how they are written in it; so many of those that it has not."""
_ENDS = frozenset(("a-", "A-", "0-", "z+", "Z+", "9+"))
"""Ends of ranges that nobody goes beyond by a slip."""
_MOST, _CHARACTERS = 120, 30
"""Slips of one expression, and characters that tell them apart, at most."""


def slips(expression: str) -> Iterator[str]:
    """Expressions that differ a little: an alternative less or the next one more, another count, another class."""
    yield from itertools.islice(dict.fromkeys(_slips(expression)), _MOST)


def edges(expression: str) -> str:
    """The characters at both ends of each range in a class and those just beside, and one of each kind."""
    found = tokens(expression)
    several = (_telling(one) for one in found)
    beside = (one[-1] for some in alternatives(found) for one in _beside(_texts(found, some)))
    return "".join(itertools.islice(dict.fromkeys(itertools.chain(*several, beside)), _CHARACTERS))


def _telling(token: str) -> Iterator[str]:
    """Characters that tell a token from others near it."""
    yield from _KINDS.get(token, "")
    members = _members(token)
    for one in members:
        if _RANGE.fullmatch(one):
            steps = ((end, step) for end in (one[0], one[-1]) for step in (-1, 0, 1))
            yield from (chr(ord(end) + step) for end, step in steps if _goes(end, step))
        elif one in _KINDS:
            yield from _KINDS[one]
        elif len(one) == 1 or not one[-1].isalnum():
            yield one[-1]
    yield from _beside(members)
    yield from (one for one, _ in _MORE if members)


def _goes(end: str, step: int) -> bool:
    """Whether the end of a range is easily moved so, or not at all."""
    return not step or f"{end}{'+' if step > 0 else '-'}" not in _ENDS


def _members(token: str) -> list[str]:
    """What a class of characters is made of; nothing of another token."""
    return _MEMBER.findall(token[1:-1].removeprefix("^")) if token.startswith("[") else []


def _slips(expression: str) -> Iterator[str]:
    found = tokens(expression)
    for several in alternatives(found):
        for place, (begin, end) in enumerate(several):
            # With the bar behind it, or before it where it is the last.
            cut = (begin, end + 1) if place < len(several) - 1 else (begin - 1, end)
            yield "".join((*found[: cut[0]], *found[cut[1] :]))
        first, last = several[0][0], several[-1][1]
        if all(one.isalnum() for one in _texts(found, several)):
            yield "".join((*found[:first], r"\w+", *found[last:]))
        for one in _beside(_texts(found, several)):
            yield "".join((*found[:last], "|", one, *found[last:]))
    yield from (f"(?:{expression})/?", f"(?:{expression}).*", f".*(?:{expression})", f"(?i){expression}")
    # How often something comes is mistaken sooner than what it is.
    kinds = _BESIDE.keys() - _JOINING
    places = sorted(range(len(found)), key=lambda index: found[index] in kinds or found[index].startswith("["))
    for index in places:
        for other in _others(found, index):
            yield "".join((*found[:index], other, *found[index + 1 :]))
        if found[index] in {r"\d", "[0-9]"} and found[index + 1 : index + 2] == ["+"]:
            yield "".join((*found[:index], r"[1-9]\d*", *found[index + 2 :]))


def _texts(found: Sequence[str], several: Sequence[tuple[int, int]]) -> list[str]:
    """Alternatives, each as it is written."""
    return ["".join(found[begin:end]) for begin, end in several]


def _beside(known: Sequence[str]) -> Iterator[str]:
    """What comes before and after things that are numbered, or are single characters."""
    counted = (one for one in known if one.isascii() and one.isalnum() and (len(one) == 1 or one[-1].isdigit()))
    for one in counted:
        for step in (1, -1):
            beside = one[:-1] + chr(ord(one[-1]) + step)
            if beside.isalnum() and beside not in known:
                yield beside


def _others(found: Sequence[str], index: int) -> Sequence[str]:
    """What may stand in the place of a token by a slip."""
    token = found[index]
    most = often(found, index) - 1
    quantifier = token.removesuffix("?") or token
    if quantifier in {"*", "+", "?"}:
        return {"*": ("", "+", f"{{0,{most}}}"), "+": ("", "*", f"{{1,{most}}}"), "?": ("", "{0}", "*")}[quantifier]
    if counted := COUNTED.match(token):
        return tuple(_counts(int(counted[1]), counted[2], counted[3] or "", most))
    if folding := _FOLDING.fullmatch(token):
        exact = f"(?{folding[1]}{folding[2]}{folding[3]}"
        return ("" if exact == "(?)" else exact,)
    if token.startswith("["):
        return tuple(_classes(token))
    left_out = (f"{token}?",) if token in _JOINING and not _repeated(found, index) else ()
    return (*_BESIDE.get(token, ()), *left_out)


def _repeated(found: Sequence[str], index: int) -> bool:
    """Whether a quantifier follows."""
    after = "".join(found[index + 1 : index + 2])
    return after[:1] in {"*", "+", "?"} or COUNTED.match(after) is not None


def _counts(least: int, comma: str, most: str, often_: int) -> Iterator[str]:
    if not comma:
        yield from (f"{{{least},{least + 1}}}", f"{{{max(least - 1, 0)},{least}}}")
        return
    yield f"{{{least + 1},{most}}}"
    if least:
        yield f"{{{least - 1},{most}}}"
    if most:
        yield from (f"{{{least},{int(most) - 1}}}", f"{{{least},{int(most) + 1}}}")
    else:
        yield f"{{{least},{often_}}}"


def _classes(token: str) -> Iterator[str]:
    """A class of characters without one of its members or with one more, and with other ends of its ranges."""
    members = _members(token)
    if token.startswith("[^"):
        yield from (".", r"[\w.-]")
    else:
        yield from (f"[{''.join((*members[:at], *members[at + 1 :]))}]" for at in range(len(members)) if members[1:])
        yield from (f"[{one}{token[1:]}" for one in _beside(members))
        more = (written for one, written in _MORE if not {one, written} & {*members})
        yield from (f"[{one}{token[1:]}" for one in itertools.islice(more, _MORE_OF_THEM))
    for found in _RANGE.finditer(token):
        low, high = found.groups()
        for step in (-1, 1):
            ends = [(chr(ord(low) + step), high)] if _goes(low, step) else []
            ends += [(low, chr(ord(high) + step))] if _goes(high, step) else []
            for first, last in ends:
                if first <= last and first not in r"[]^\-" and last not in r"[]^\-":
                    yield f"{token[: found.start()]}{first}-{last}{token[found.end() :]}"
