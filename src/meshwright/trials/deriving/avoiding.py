"""Calls that meet some matches and none of others: those of a route, and not those of the routes before it.

The one rule: part by part it is known which matches a choice keeps the call from, so that what no choice of one part
does several do together; the search is bounded, and whoever asks has `simulate` judge what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key
from meshwright.simulate import Call, misses
from meshwright.trials.deriving.choices import choices
from meshwright.trials.deriving.parts import PATH, Matched, Part, parts, with_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.trials.deriving.texts import Texts

_STEPS = 2_000
"""Choices that are tried until the search is given up."""


def _same(call: Call) -> Call:
    return call


class Asked(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a route asks of a call."""

    route: Key
    match: Matched
    where: str
    """The field of the match."""
    seen: Callable[[Call], Call] = _same
    """The call as it is when the route is tried: a gateway may have rewritten it before."""

    def missing(self, call: Call) -> frozenset[str]:
        """The fields of the conditions that `call` does not meet."""
        return frozenset(one.path for one in misses(self.match, self.seen(call), self.where))

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """The part of a call that each of its conditions is about, by its field."""
        return parts(self.match, self.where)


class _Choice(msgspec.Struct, frozen=True):
    """What a part may be, and which routes a call is kept from by that: a bit each, by their order."""

    values: tuple[str, ...]
    kept_from: int


class Search:
    """The search for calls that meet what `wanted` ask, all of them, and not all that any of `others` does.

    Of `others` those are looked at that a call was found for otherwise: most are for other calls anyway.
    """

    def __init__(
        self,
        base: Call,
        wanted: Sequence[Asked],
        others: Sequence[Asked],
        texts: Texts,
        paths: Sequence[str] = (),
        fixed: tuple[Part, tuple[str, ...]] | None = None,
    ) -> None:
        """Calls are made of `base`, whose protocol and port they keep; `paths` are looked at before others.

        The part that is `fixed` is so, whatever is wanted of it.
        """
        self._base, self._fixed = base, fixed
        self._wanted = tuple(wanted)
        self._others = tuple(one for one in others if not one.missing(base) - one.parts.keys())
        """Without those that ask for another protocol."""
        self._texts, self._paths = texts, tuple((one,) for one in paths)
        self._steps = 0
        self._known: dict[tuple[Part, tuple[str, ...]], dict[int, bool]] = {}
        """For what a part may be, whether a match, by its identity here, is missed by it."""
        self._before: list[Asked] = []
        """Those of `others` that would take calls which meet what is wanted."""
        self.found = False
        """Whether any call was found so far."""
        self._choices, self.lacking = self._weighed(self._wanted)
        """`lacking` is the field of a condition of `wanted` that nothing meets that was looked at; "" for none."""
        if self.lacking:
            self._choices, self.lacking = self._weighed((*self._wanted, *self._others))

    def calls(self) -> Iterator[Call]:
        """Those that were found, the plainest first."""
        known = set[Call]()
        again = not self.lacking
        while again:
            again = False
            for call in self._from({}):
                taken = next((one for one in self._others if one not in self._before and not one.missing(call)), None)
                if taken is not None:
                    self._before.append(taken)
                    self._choices, self.lacking = self._weighed((*self._wanted, *self._before))
                    again = not self.lacking
                    break
                if call not in known:
                    known.add(call)
                    self.found = True
                    yield call

    @property
    def reason(self) -> str:
        """Why there is none, for people: who takes it before, and what was looked at."""
        every = [one for several in self._choices.values() for one in several]
        sure = [
            one for index, one in enumerate(self._before) if not any(each.kept_from >> index & 1 for each in every)
        ]
        told = sure or self._before
        names = [f"{one.route.kind.type_name} {one.route.name!r}" for one in self._others if one in told]
        if not names:
            return "no call was found that it takes"
        together = f"{', '.join(names[:-1])} and {names[-1]} together take"
        taking = f"{names[0]} takes" if len(names) == 1 or sure else together
        looked = [_counted(part, len(several)) for part, several in self._choices.items() if len(several) > 1]
        tried = f"; looked at were {', '.join(looked)}" if looked else ""
        tried += f", in {_STEPS} steps" if self._steps > _STEPS and looked else ""
        return f"{taking} before it whatever it would match{tried}"

    def _weighed(self, asked: Sequence[Asked]) -> tuple[dict[Part, list[_Choice]], str]:
        """For each part that a condition of `asked` is about, what it may be by what is wanted; what is lacking."""
        found: dict[Part, list[_Choice]] = {}
        lacking = next((path for one in self._wanted for path in one.missing(self._base) - one.parts.keys()), "")
        for part in dict.fromkeys(part for one in asked for part in one.parts.values()):
            known: dict[int, _Choice] = {}
            fixed = self._fixed is not None and self._fixed[0] == part
            for values in self._several(part, asked):
                if fixed or not any(self._misses(one, part, values) for one in self._wanted):
                    before = enumerate(self._before)
                    mask = sum(1 << index for index, one in before if self._misses(one, part, values))
                    known.setdefault(mask, _Choice(values, mask))
            found[part] = list(known.values())
            if not known:
                blamed = [path for one in self._wanted for path, about in one.parts.items() if about == part]
                lacking = lacking or next(iter(blamed), self._wanted[-1].where)
        return found, lacking

    def _several(self, part: Part, asked: Sequence[Asked]) -> Iterator[tuple[str, ...]]:
        """What a part may be."""
        if self._fixed is not None and self._fixed[0] == part:
            yield self._fixed[1]
            return
        yield from self._paths if part == PATH else ()
        yield from choices(part, self._base, [one.match for one in asked], self._texts)

    def _misses(self, one: Asked, part: Part, values: tuple[str, ...]) -> bool:
        """Whether a call misses a condition of `one` about a part by that part being so; it is looked at once."""
        known = self._known.setdefault((part, values), {})
        if id(one) not in known:
            known[id(one)] = _unmet(one, part, with_part(self._base, part, values))
        return known[id(one)]

    def _from(self, chosen: Mapping[Part, _Choice]) -> Iterator[Call]:
        """Calls with these parts, the others being as plain as they may."""
        self._steps += 1
        if self._steps > _STEPS:
            return
        made = {part: chosen.get(part, several[0]) for part, several in self._choices.items()}
        kept_from = 0
        for one in made.values():
            kept_from |= one.kept_from
        left = (index for index in range(len(self._before)) if not kept_from >> index & 1)
        first = next(left, None)
        if first is None:
            call = self._base
            for part, one in made.items():
                call = with_part(call, part, one.values)
            yield call
            return
        options = [
            (part, one)
            for part, several in self._choices.items()
            if part not in chosen
            for one in several
            if one.kept_from >> first & 1
        ]
        for part, one in sorted(options, key=lambda option: -option[1].kept_from.bit_count()):
            yield from self._from({**chosen, part: one})


def _unmet(one: Asked, part: Part, call: Call) -> bool:
    """Whether `call` misses a condition about that part."""
    about = one.parts
    return part in about.values() and any(about.get(path) == part for path in one.missing(call))


def _counted(part: Part, count: int) -> str:
    kind, name = part
    words = {"query": f"the parameter {name}", "header": f"the header {name}"}
    return f"{count} kinds of {words.get(kind, f'{kind}s')}"
