"""Whose an object is, and what follows: who may create, and who may change or delete; pure.

The one rule: ownership only ever takes away. What a policy allows happens only where the stack of the caller owns the
name, or the file grants what is another's; a mesh's own members follow the same rules as everything in it.

| to | it takes |
|---|---|
| create | a match in `owns`, and that the mesh, router or gateway around it is own or in `may_extend` |
| change, delete, tag | that the object is own, or a match in `may_change` |
| put an extension | besides, that its target is own or in `may_change` or, but for mesh and gateway, `may_extend` |
| claim (a release takes an object that no stack has) | a match in `owns` |

A fault that is for the requests of certain callers only (`from`) may also be put by whoever has these instead.

A stack is released by whoever acts for it and owns something in its mesh.

An object is *own* when its stack is the caller's, in a mesh that `owns` reaches, or when no stack has it and `owns`
matches its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.model.identity import Kind
from meshwright.trust.patterns import Pattern, pattern
from meshwright.trust.settings import ANY_STACK, path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.model.identity import Key
    from meshwright.trust.settings import Grantee

_SHARED = frozenset({Kind.MESH, Kind.VIRTUAL_GATEWAY})
"""Extended by creating in them what concerns nobody else; what concerns all of one changes it."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What ownership says of one deed, in a sentence that can follow `because`."""

    allowed: bool
    reason: str
    place: str = ""
    """The member of the file that decided: `roles.cart-deployer.owns[0]`."""


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What one user or role owns and was granted, ready to be asked."""

    whose: str
    """`role/NAME` or `user/NAME`."""
    stack: str = ""
    """The stack that it acts for; "" for none, `*` for any."""
    owns: tuple[Pattern, ...] = ()
    may_extend: tuple[Pattern, ...] = ()
    may_change: tuple[Pattern, ...] = ()

    @property
    def claims(self) -> str:
        """The stack that what it creates belongs to; "" for none."""
        return "" if self.stack == ANY_STACK else self.stack

    @property
    def place(self) -> str:
        """Where the file declares it."""
        return path_of(self.whose)

    def own(self, key: Key, stack: str) -> Verdict:
        """Whether `key`, which belongs to `stack` ("" for none), is own."""
        if stack and self.stack in {stack, ANY_STACK} and any(one.reaches(key.mesh) for one in self.owns):
            told = f"stack {stack!r} has it, and {self.whose} acts for {_any(self.stack)}"
            return Verdict(allowed=True, reason=told, place=f"{self.place}.stack")
        match = _match(self.owns, key)
        if not stack and match is not None:
            told = f"no stack has it, and {self.whose} owns {match.written!r}"
            return Verdict(allowed=True, reason=told, place=match.place)
        held = f"it belongs to stack {stack!r}" if stack else f"no stack has it, {self.whose} owns no such name"
        return Verdict(allowed=False, reason=held, place=self.place)

    def may_alter(self, key: Key, stack: str) -> Verdict:
        """Whether it may change, delete or tag `key`, which belongs to `stack`."""
        own = self.own(key, stack)
        if own.allowed:
            return own
        match = _match(self.may_change, key)
        if match is not None:
            told = f"{self.whose} may change {match.written!r}"
            return Verdict(allowed=True, reason=told, place=match.place)
        acts = f"acts for {_any(self.stack)}" if self.stack else "has no stack"
        start = f"{own.reason}, {self.whose} {acts}," if stack else f"{own.reason},"
        told = f"{start} and nothing in its may_change matches {key}"
        return Verdict(allowed=False, reason=told, place=self.place)

    def may_claim(self, key: Key) -> Verdict:
        """Whether its stack may claim the name of `key`."""
        match = _match(self.owns, key)
        if match is not None:
            return Verdict(allowed=True, reason=f"{self.whose} owns {match.written!r}", place=match.place)
        return Verdict(allowed=False, reason=f"nothing that {self.whose} owns matches {key}", place=self.place)

    def may_create(self, key: Key, parent_stack: str) -> Verdict:
        """Whether it may create `key` in its parent, which belongs to `parent_stack` ("" for none)."""
        claim = self.may_claim(key)
        parent = key.owner
        if not claim.allowed or parent is None:
            return claim
        match = _match(self.may_extend, parent)
        if match is not None:
            return Verdict(allowed=True, reason=f"{claim.reason} and may extend {match.written!r}", place=claim.place)
        own = self.own(parent, parent_stack)
        if own.allowed:
            return Verdict(
                allowed=True, reason=f"{claim.reason}, and {parent} is own: {own.reason}", place=claim.place
            )
        told = f"of what it lies in, {parent}: {own.reason}, and nothing in the may_extend of {self.whose} matches it"
        return Verdict(allowed=False, reason=told, place=self.place)

    def may_reach(self, ways: Sequence[Sequence[tuple[Key, str]]]) -> Verdict:
        """Whether its extensions may do something to all objects of one of `ways`, each with its stack."""
        found = [self._all_reached(way) for way in ways]
        return next((one for one in found if one.allowed), found[0])

    def _all_reached(self, way: Sequence[tuple[Key, str]]) -> Verdict:
        for key, stack in way:
            own = self.own(key, stack)
            granted = self.may_change if key.kind in _SHARED else (*self.may_change, *self.may_extend)
            if not own.allowed and _match(granted, key) is None:
                told = (
                    f"of what it is about, {key}: {own.reason}, and nothing in the may_change "
                    f"{'' if key.kind in _SHARED else 'or may_extend '}of {self.whose} matches it"
                )
                return Verdict(allowed=False, reason=told, place=self.place)
        told = f"{self.whose} may extend {', '.join(str(key) for key, _ in way)}"
        return Verdict(allowed=True, reason=told, place=self.place)

    def may_release(self, stack: str, mesh: str) -> Verdict:
        """Whether it may make releases of `stack` in `mesh`: stacks of two meshes that share a name are two."""
        acts = f"{self.whose} acts for {_any(self.stack)}" if self.stack else f"{self.whose} has no stack"
        if self.stack not in {stack, ANY_STACK}:
            return Verdict(allowed=False, reason=f"{acts} and not for stack {stack!r}", place=self.place)
        if not any(one.reaches(mesh) for one in self.owns):
            return Verdict(allowed=False, reason=f"{acts} and owns nothing in mesh {mesh!r}", place=self.place)
        return Verdict(allowed=True, reason=acts, place=f"{self.place}.stack")


def holding(whose: str, grantee: Grantee, mesh: str) -> Holding:
    """What `grantee` (`role/NAME` or `user/NAME`) holds where relative patterns mean `mesh`."""

    def patterns(member: Literal["owns", "may_extend", "may_change"]) -> tuple[Pattern, ...]:
        written: tuple[str, ...] = getattr(grantee, member)
        return tuple(pattern(one, mesh, f"{path_of(whose)}.{member}[{index}]") for index, one in enumerate(written))

    return Holding(
        whose=whose,
        stack=grantee.stack or "",
        owns=patterns("owns"),
        may_extend=patterns("may_extend"),
        may_change=patterns("may_change"),
    )


def _match(patterns: tuple[Pattern, ...], key: Key) -> Pattern | None:
    return next((one for one in patterns if one.matches(key)), None)


def _any(stack: str) -> str:
    return "any stack" if stack == ANY_STACK else f"stack {stack!r}"
