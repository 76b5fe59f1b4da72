"""Texts that a condition takes, and texts just outside of it.

The one rule: what is handed out was checked with the very comparison that proxies make; None where none was found.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from meshwright.routing.expressions import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rstr import Rstr

    from meshwright.model.matching import HeaderMatchMethod

_TRIES = 200
"""Samples of an expression that are looked at for one that can be sent."""
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_QUERY = re.compile(r"([A-Za-z0-9._~!$'()*,;:@/?-]|%[0-9A-Fa-f]{2})*")


class Texts:
    """Makes texts; the same randomness makes the same ones."""

    def __init__(self, samples: Rstr) -> None:
        """`samples` makes texts from expressions, and holds the randomness."""
        self._samples = samples
        self._several: dict[tuple[str, str], tuple[str, ...]] = {}

    def path(self, expression: str) -> str | None:
        """A path that an expression takes as a whole."""
        return self._sample(expression, lambda text: bool(_PATH.fullmatch(text)) and "//" not in text)

    def paths(self, expression: str, most: int) -> tuple[str, ...]:
        """Up to so many paths that an expression takes."""
        return self._each_once("path", expression, (self.path(expression) for _ in range(most)))

    def outside(self, expression: str, inside: str, usable: Callable[[str], bool]) -> str | None:
        """A text near to `inside` that the expression does not take."""
        return next((one for one in _around(inside) if usable(one) and not matches(expression, one)), None)

    def value(self, match: HeaderMatchMethod) -> str | None:
        """A header's value that the condition takes."""
        if match.range is not None:
            return str(match.range.start) if match.range.start < match.range.end else None
        if match.regex is not None:
            return self._sample(match.regex, lambda text: bool(_VALUE.fullmatch(text)))
        text = match.exact or match.prefix or match.suffix
        return text if text and _VALUE.fullmatch(text) else None

    def values(self, match: HeaderMatchMethod, most: int) -> tuple[str, ...]:
        """Up to so many values that the condition takes."""
        if match.range is not None:
            first, last = match.range.start, match.range.end - 1
            return tuple(dict.fromkeys(map(str, (first, (first + last) // 2, last)))) if first <= last else ()
        if match.regex is None:
            return tuple(filter(None, (self.value(match),)))
        return self._each_once("value", match.regex, (self.value(match) for _ in range(most)))

    def other_values(self, match: HeaderMatchMethod) -> tuple[str, ...]:
        """Values just outside of the condition."""
        if match.range is not None:
            return str(match.range.start - 1), str(match.range.end)
        if match.exact is not None:
            return (f"{match.exact}x",)
        if match.prefix is not None:
            return (changed(match.prefix),)
        if match.suffix is not None:
            return (f"{match.suffix}x",) if not f"{match.suffix}x".endswith(match.suffix) else ()
        inside = self.value(match)
        found = inside and self.outside(match.regex or "", inside, lambda text: bool(_VALUE.fullmatch(text)))
        return (found,) if found else ()

    def _each_once(self, kind: str, expression: str, found: Iterable[str | None]) -> tuple[str, ...]:
        """What is found of an expression, up to where nothing is any more; it is looked for once."""
        if (kind, expression) not in self._several:
            several: dict[str, None] = {}
            for one in found:
                if one is None:
                    break
                several[one] = None
            self._several[kind, expression] = tuple(several)
        return self._several[kind, expression]

    def _sample(self, expression: str, usable: Callable[[str], bool]) -> str | None:
        for _ in range(_TRIES):
            try:
                text = self._samples.xeger(expression)
            except (re.error, KeyError, IndexError, ValueError, RecursionError, OverflowError):
                # RE2 takes a few things that Python's expressions do not have.
                return None
            if usable(text) and matches(expression, text):
                return text
        return None


def usable_path(text: str) -> bool:
    """Whether a proxy takes `text` as a path, and leaves it as it is."""
    return bool(_PATH.fullmatch(text)) and "//" not in text and "/./" not in text and "/../" not in text


def usable_value(text: str) -> bool:
    """Whether `text` can be a header's value as it stands."""
    return bool(_VALUE.fullmatch(text))


def usable_query(text: str) -> bool:
    """Whether `text` can be a query parameter's name or value as it stands."""
    return bool(_QUERY.fullmatch(text))


def outside_prefix(prefix: str) -> str | None:
    """A path near to `prefix` that does not begin with it; None for `/`, with which every path begins."""
    shorter = prefix.removesuffix("/")
    candidates = (shorter, changed(shorter), "/not-matched") if shorter else ()
    return next((one for one in candidates if one and usable_path(one) and not one.startswith(prefix)), None)


def changed(text: str) -> str:
    """`text` with its last character another one."""
    last = "y" if text.endswith("x") else "x"
    return f"{text[:-1]}{last}" if len(text) > 1 else f"{text}{last}"[1:]


def _around(text: str) -> Iterator[str]:
    """Texts that differ from `text` in a character: at its end, at its beginning, inside; then others altogether."""
    for more in ("x", "0", "-", "/x", "~"):
        yield f"{text}{more}"
    for place in range(len(text), 0, -1):
        yield text[: place - 1] + text[place:]
        yield f"{text[: place - 1]}~{text[place:]}"
    yield from ("/not-matched", "not-matched", "0")
