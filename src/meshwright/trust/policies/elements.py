"""The `Action` and `Resource` elements of a statement, and their opposites.

The one rule: an action's name and its service know no case, an ARN does; a service is never a pattern, but for `*`.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.trust.actions import ACTIONS, ELSEWHERE, SERVICES
from meshwright.trust.policies.arns import ArnPattern, arn_pattern, segments
from meshwright.trust.policies.faults import Fault, near, quoted
from meshwright.trust.policies.patterns import SEGMENTS, Glob, Piece, Wild, glob, joined, pieces
from meshwright.trust.policies.variables import Template, Values, Variable, filled, plain, template, text_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

MAX_PATTERNS = 200
"""Entries of one Action or Resource element."""

_ACTION = re.compile(r"(?P<service>[A-Za-z0-9-]+|\*):(?P<name>[A-Za-z0-9*?]+)", re.ASCII)
_LITERAL_PARTS = 5
_LOWER = {
    service: tuple(name.lower() for name in (*ACTIONS, *ELSEWHERE) if name.startswith(f"{service}:"))
    for service in SERVICES
}
_WITH_MESHES = frozenset({"appmesh", "meshwright"})

Path: TypeAlias = tuple[str | int, ...]


class Actions(msgspec.Struct, frozen=True):
    """What `Action` or `NotAction` says."""

    negated: bool
    exact: frozenset[str]
    """Names without wildcards, in lower case."""
    globs: tuple[Glob, ...]

    def match(self, action: str) -> bool:
        """Whether the statement is about `action`, which is in lower case."""
        found = action in self.exact or any(one.matches(action) for one in self.globs)
        return found != self.negated

    def among(self, actions: Collection[str]) -> Collection[str]:
        """Those of `actions`, which are in lower case, that the statement is about."""
        if not self.globs and not self.negated:
            return [action for action in self.exact if action in actions]
        return [action for action in actions if self.match(action)]


class Unfilled(enum.Enum):
    """Why a pattern with variables cannot be told to match."""

    MISSING = enum.auto()
    """A variable has no value, or several."""
    EMPTY = enum.auto()
    """A variable's value is empty."""


class Open(msgspec.Struct, frozen=True):
    """A pattern of ARNs with variables, which stand after the fifth colon alone."""

    widest: ArnPattern
    """With a star for each variable: what this does not match is not meant, whatever the variables say."""
    front: tuple[tuple[Piece, ...], ...]
    """The first five parts."""
    last: Template
    keys: tuple[str, ...]
    """Of its variables."""

    def match(self, arn: str, parts: Sequence[str], context: Mapping[str, Values]) -> bool | Unfilled:
        """Whether `arn`, split as `parts`, is matched, or why that cannot be told."""
        if not self.widest.matches(arn, parts):
            return False
        last = filled(self.last, context)
        if last is None:
            return Unfilled.MISSING
        for key in self.keys:
            if context.get(key) == "":
                return Unfilled.EMPTY
        if len(last) == 1 and isinstance(last[0], str) and ":" not in parts[-1]:
            return last[0] == parts[-1]
        if ":" in parts[-1]:
            return arn_pattern((*self.front, last), runs_on=True).matches(arn, parts)
        return glob(last).matches(parts[-1])


class Resources(msgspec.Struct, frozen=True):
    """What `Resource` or `NotResource` says."""

    negated: bool
    everything: bool
    """`*` is among the patterns."""
    fixed: tuple[ArnPattern, ...]
    open: tuple[Open, ...]

    def match(self, arn: str, parts: Sequence[str], context: Mapping[str, Values]) -> bool | None:
        """Whether the statement is about `arn`, split as `parts`; None where an empty variable leaves it open."""
        if self.everything:
            return not self.negated
        for one in self.fixed:
            if one.matches(arn, parts):
                return not self.negated
        return self._match_open(arn, parts, context) if self.open else self.negated

    def _match_open(self, arn: str, parts: Sequence[str], context: Mapping[str, Values]) -> bool | None:
        found = {one.match(arn, parts, context) for one in self.open}
        if True in found:
            return not self.negated
        # `mesh/${aws:PrincipalTag/team}*` with an empty tag would be every mesh: it neither allows nor lifts a deny.
        if Unfilled.EMPTY in found:
            return None
        # IAM: a variable without a value makes the statement invalid, and `NotResource` is no match either.
        return False if Unfilled.MISSING in found else self.negated


def actions(members: Mapping[Any, Any], path: Path, faults: list[Fault]) -> Actions:
    """The statement's actions; what is wrong is added to `faults`."""
    name, texts = _element(members, ("Action", "NotAction"), path, faults)
    exact: set[str] = set()
    globs: list[Glob] = []
    for where, text in texts:
        fault = _fault_of_action(text)
        if fault:
            faults.append(Fault(where, fault))
        elif "*" in text or "?" in text:
            globs.append(glob(pieces(text.lower())))
        else:
            exact.add(text.lower())
    return Actions(name == "NotAction", frozenset(exact), tuple(globs))


def resources(members: Mapping[Any, Any], path: Path, faults: list[Fault], *, variables: bool) -> Resources:
    """The statement's resources; what is wrong is added to `faults`."""
    name, texts = _element(members, ("Resource", "NotResource"), path, faults)
    fixed: list[ArnPattern] = []
    open_: list[Open] = []
    everything = False
    for where, text in texts:
        if text == "*":
            everything = True
            continue
        try:
            split = segments(template(text, variables=variables, wildcards=True))
            _check_arn(text, split)
        except ValueError as error:
            faults.append(Fault(where, f"{error}."))
            continue
        static = plain(split)
        if static is not None:
            fixed.append(arn_pattern(static, runs_on=True))
        else:
            front = plain(split[:_LITERAL_PARTS]) or []
            starred = joined(Wild.RUN if isinstance(part, Variable) else part for part in split[-1])
            used = tuple(part.key for part in split[-1] if isinstance(part, Variable))
            open_.append(Open(arn_pattern((*front, starred), runs_on=True), tuple(front), split[-1], used))
    return Resources(name == "NotResource", everything, tuple(fixed), tuple(open_))


def _element(
    members: Mapping[Any, Any], names: tuple[str, str], path: Path, faults: list[Fault]
) -> tuple[str, list[tuple[Path, str]]]:
    """Which of the two names is there, and its texts with their paths."""
    there = [name for name in names if name in members]
    if len(there) != 1:
        told = f"has both {names[0]} and {names[1]}" if there else f"lacks {names[0]}"
        faults.append(Fault(path, f"{told}; a statement has one of {names[0]} and {names[1]}."))
        return names[0], []
    value = members[there[0]]
    where = (*path, there[0])
    several = value if isinstance(value, (list, tuple)) else (value,)
    if not several or len(several) > MAX_PATTERNS:
        faults.append(Fault(where, f"has {len(several)} entries; 1 to {MAX_PATTERNS} are possible."))
        return there[0], []
    found: list[tuple[Path, str]] = []
    for index, one in enumerate(several):
        place = (*where, index) if isinstance(value, (list, tuple)) else where
        if isinstance(one, str):
            found.append((place, one))
        else:
            faults.append(Fault(place, f"expected text, found {quoted(one)}."))
    return there[0], found


def _fault_of_action(text: str) -> str:
    """Why `text` is no pattern of actions, "" when it is one."""
    if text == "*":
        return ""
    found = _ACTION.fullmatch(text)
    if found is None:
        known = near(text, ACTIONS, 0.75)
        return f"{quoted(text)} is no action; expected SERVICE:NAME such as 'appmesh:Describe*', or '*'.{known}"
    service, name = found["service"].lower(), found["name"]
    if service == "*":
        return "" if name == "*" else f"{quoted(text)}: the service cannot be a wildcard; name it, or write '*'."
    if service not in SERVICES:
        meant = near(service, SERVICES, 0.8)
        return f"{quoted(text)}: {service!r} is no service known here.{meant}" if meant else ""
    pattern = glob(pieces(text.lower()))
    if any(map(pattern.matches, _LOWER[service])):
        return ""
    mine = [action for action in (*ACTIONS, *ELSEWHERE) if action.startswith(f"{service}:")]
    return f"{quoted(text)} is no action of {service}.{near(text, mine, 0.75)}"


def _covers_the_rest(split: Sequence[Sequence[Piece | Variable]]) -> bool:
    """Whether a star stands for the parts that are missing; in `arn:aws:appmesh:us-east-1:mesh/*` none does."""
    if any(one and one[-1] is Wild.RUN for one in split[:-1]):
        return True
    return bool(split[-1]) and split[-1][-1] is Wild.RUN and not any("/" in text_of([part]) for part in split[-1])


def _check_arn(text: str, split: Sequence[Sequence[Piece | Variable]]) -> None:
    """Refuse what IAM refuses, or what could never match."""
    if text_of(split[0]) != "arn" or len(split) < 3 or not all(isinstance(one, str) for one in split[0]):
        raise ValueError(f"{quoted(text)} is no ARN; expected arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE, or '*'")
    if any(isinstance(part, Variable) for one in split[:_LITERAL_PARTS] for part in one):
        raise ValueError(f"{quoted(text)}: a variable can stand only after the fifth colon of an ARN")
    service = split[2]
    if any(isinstance(part, Wild) for part in service) or not text_of(service):
        raise ValueError(
            f"{quoted(text)}: the service of an ARN must be named, it cannot be a wildcard; write '*' for all"
        )
    if len(split) < SEGMENTS and not _covers_the_rest(split):
        raise ValueError(f"{quoted(text)} has {len(split)} of an ARN's six parts, and no '*' for the others")
    if len(split) == SEGMENTS and text_of(service) in _WITH_MESHES and split[-1] != (Wild.RUN,):
        first = split[-1][0] if split[-1] else ""
        if not (isinstance(first, str) and first.startswith("mesh/")):
            raise ValueError(
                f"{quoted(text)}: the resources of {text_of(service)} begin with 'mesh/', and the type of a resource "
                "cannot be a wildcard; write 'mesh/*', or '*' for all of them"
            )
