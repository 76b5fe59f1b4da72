"""Texts that a condition takes, and texts just outside of it.

The one rule: what is handed out was checked with the very comparison that proxies make; None where none was found.
"""

from __future__ import annotations

import itertools
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from meshwright.routing.expressions import matches
from meshwright.trials.deriving.expressions import branches, extremes, plainer
from meshwright.trials.deriving.telling import Sides, telling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rstr import Rstr

    from meshwright.model.matching import HeaderMatchMethod

_TRIES = 50
"""Samples of an expression, and of a plainer one, that are looked at for one that can be sent."""
_VISIBLE = r"!-~\u00a1-\ud7ff\ue000-\U0010ffff"
_VALUE = re.compile(rf"[{_VISIBLE}]([ {_VISIBLE}]*[{_VISIBLE}])?")
"""Other than ASCII goes out as UTF-8 where the protocol takes it, of which `sendable` knows."""
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_QUERY = re.compile(r"([A-Za-z0-9._~!$'()*,;:@/?-]|%[0-9A-Fa-f]{2})*")
_ASKED = re.compile(r"([A-Za-z0-9._~!$'()*,;:@/?&=-]|%[0-9A-Fa-f]{2})*")
_HOST = re.compile(r"[A-Za-z0-9_~!$&'()*+,;=-][A-Za-z0-9._~!$&'()*+,;=-]*(:[0-9]{1,5})?")
_PLAIN = "[a-z0-9]"
_IN_PATHS, _IN_VALUES = r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]", "[ -~]"
"""What stands for any character in examples: first the plain ones, then all that can be sent."""
_EXAMPLES = 12


class Texts:
    """Makes texts; the same randomness makes the same ones."""

    def __init__(self, samples: Rstr) -> None:
        """`samples` makes texts from expressions, and holds the randomness."""
        self._samples = samples
        self._several: dict[tuple[str, str], tuple[str, ...]] = {}
        self._about: dict[tuple[str, str], Sides] = {}

    def path(self, expression: str) -> str | None:
        """A path that an expression takes as a whole."""
        return next(iter(self._samples_of(expression, "path")), None)

    def paths(self, expression: str) -> tuple[str, ...]:
        """Some paths that an expression takes, plain ones first."""
        return tuple(dict.fromkeys((*self._samples_of(expression, "path"), *self.about(expression, "path")[0])))

    def about(self, expression: str, kind: str) -> Sides:
        """Texts that an expression takes, and those that it does not: they tell it from others that differ by a slip.

        They can be sent as `path` or as a header's `value`, as `kind` says; a value may be empty.
        """
        if (expression, kind) not in self._about:
            samples = self._samples_of(expression, kind)
            self._about[expression, kind] = telling(expression, samples, _USABLE[kind], empty=kind == "value")
        return self._about[expression, kind]

    def value(self, match: HeaderMatchMethod) -> str | None:
        """A header's value that the condition takes."""
        if match.range is not None:
            return str(match.range.start) if match.range.start < match.range.end else None
        if match.regex is not None:
            return next(iter(self._samples_of(match.regex, "value")), None)
        # Blanks around a value are no part of it: where one is wanted, something else has to stand beside it.
        begins = f"{match.prefix}x" if match.prefix and match.prefix[-1] == " " else match.prefix
        ends = f"x{match.suffix}" if match.suffix and match.suffix[0] == " " else match.suffix
        text = match.exact or begins or ends
        return text if text and _VALUE.fullmatch(text) else None

    def values(self, match: HeaderMatchMethod) -> tuple[str, ...]:
        """Some values that the condition takes."""
        if match.range is not None:
            first, last = match.range.start, match.range.end - 1
            return tuple(dict.fromkeys(map(str, (first, (first + last) // 2, last)))) if first <= last else ()
        if match.regex is None:
            return tuple(filter(None, (self.value(match),)))
        return tuple(dict.fromkeys((*self._samples_of(match.regex, "value"), *self.about(match.regex, "value")[0])))

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
        return tuple(filter(None, self.about(match.regex or "", "value")[1]))

    def _samples_of(self, expression: str, kind: str) -> tuple[str, ...]:
        """Some texts that an expression takes, the shortest and longest and one of each alternative among them.

        They are looked for once.
        """
        if (kind, expression) not in self._several:
            first = self._sample(expression, kind, _PLAIN)
            ends = itertools.islice((*extremes(expression), *branches(expression)), _EXAMPLES)
            ways = ((one, anything) for anything in (_PLAIN, _ANY[kind]) for one in (expression,) * (_EXAMPLES // 2))
            found = (self._sample(one, kind, anything) for one, anything in (*((one, _PLAIN) for one in ends), *ways))
            self._several[kind, expression] = tuple(dict.fromkeys((first, *filter(None, found)))) if first else ()
        return self._several[kind, expression]

    def _sample(self, expression: str, kind: str, anything: str) -> str | None:
        """A text that an expression takes: what `anything` stands for in place of any character, if that does."""
        plain = plainer(expression, anything)
        rooted = (f"/{plain}",) if kind == "path" else ()
        for pattern in itertools.chain.from_iterable((one,) * _TRIES for one in (plain, *rooted, expression)):
            try:
                text = self._samples.xeger(pattern)
            except (re.error, KeyError, IndexError, ValueError, RecursionError, OverflowError):
                # RE2 takes a few things that Python's expressions do not have.
                continue
            if _USABLE[kind](text) and matches(expression, text):
                return text
        return None


def usable_path(text: str) -> bool:
    """Whether a proxy takes `text` as a path, and leaves it as it is."""
    return bool(_PATH.fullmatch(text)) and "//" not in text and "/./" not in text and "/../" not in text


def usable_target(text: str) -> bool:
    """The same of a path that may have a query."""
    path, _, query = text.partition("?")
    return usable_path(path) and bool(_ASKED.fullmatch(query))


def usable_value(text: str) -> bool:
    """Whether `text` can be a header's value as it stands, and is more than none."""
    return bool(_VALUE.fullmatch(text))


def usable_host(text: str) -> bool:
    """Whether proxies and clients of every protocol take `text` as a Host, with or without a port."""
    return bool(_HOST.fullmatch(text))


def usable_query(text: str) -> bool:
    """Whether `text` can be a query parameter's name or value as it stands."""
    return bool(_QUERY.fullmatch(text))


_USABLE: Mapping[str, Callable[[str], bool]] = MappingProxyType({"path": usable_path, "value": usable_value})
_ANY: Mapping[str, str] = MappingProxyType({"path": _IN_PATHS, "value": _IN_VALUES})


def outside_prefix(prefix: str) -> str | None:
    """A path near to `prefix` that does not begin with it; None for `/`, with which every path begins."""
    shorter = prefix.removesuffix("/")
    candidates = (shorter, changed(shorter), "/not-matched") if shorter else ()
    return next((one for one in candidates if one and usable_path(one) and not one.startswith(prefix)), None)


def changed(text: str) -> str:
    """`text` with its last character another one."""
    last = "y" if text.endswith("x") else "x"
    return f"{text[:-1]}{last}" if len(text) > 1 else f"{text}{last}"[1:]


def longer(text: str) -> str:
    """`text` with its last character twice, which more expressions take that begin with it than another one."""
    return f"{text}{text[-1:] if text[-1:].isalnum() else 'x'}"
