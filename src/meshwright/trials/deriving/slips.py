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
_BESIDE = {".": ("[^/]", r"[\w.-]"), r"\.": (".",), r"\d": (r"\w",), r"\w": (r"\d", r"[\w-]", *_WORDS)}
"""Characters of a kind, with what is easily written in their place."""
_KINDS = {".": "/~", r"\w": "aA0_", r"\d": "0"}
"""Of characters of a kind, one of each."""
_MOST, _CHARACTERS = 90, 24
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
            yield from (chr(ord(end) + step) for end in (one[0], one[-1]) for step in (-1, 0, 1))
        elif one in _KINDS:
            yield from _KINDS[one]
        elif len(one) == 1 or not one[-1].isalnum():
            yield one[-1]
    yield from _beside(members)


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
        last = several[-1][1]
        for one in _beside(_texts(found, several)):
            yield "".join((*found[:last], "|", one, *found[last:]))
    yield from (f"(?:{expression}).*", f".*(?:{expression})", f"(?i){expression}")
    for index in range(len(found)):
        for other in _others(found, index):
            yield "".join((*found[:index], other, *found[index + 1 :]))


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
        return {"*": ("", "+", f"{{0,{most}}}"), "+": ("", "*", f"{{1,{most}}}"), "?": ("", "{0}")}[quantifier]
    if counted := COUNTED.match(token):
        return tuple(_counts(int(counted[1]), counted[2], counted[3] or "", most))
    if folding := _FOLDING.fullmatch(token):
        exact = f"(?{folding[1]}{folding[2]}{folding[3]}"
        return ("" if exact == "(?)" else exact,)
    if token.startswith("["):
        return tuple(_classes(token))
    return _BESIDE.get(token, ())


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
    for found in _RANGE.finditer(token):
        low, high = found.groups()
        for step in (-1, 1):
            for first, last in ((chr(ord(low) + step), high), (low, chr(ord(high) + step))):
                if first <= last and first not in r"[]^\-" and last not in r"[]^\-":
                    yield f"{token[: found.start()]}{first}-{last}{token[found.end() :]}"
