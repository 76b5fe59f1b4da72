"""Grants wider than what is owned, grants of nothing, names that two stacks may claim, long-lived keys; pure.

The one rule: names are tried, not compared as text. Every write action is asked about on a name that nobody owns and
on names that others own; what the policies allow and ownership alone refuses is a grant too wide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.diagnostics import Severity
from meshwright.model.identity import EXTENSION_KINDS, PORTABLE_KINDS, Key, Kind
from meshwright.operations import Verb, operation
from meshwright.trust.deeds import Deed, rule_of
from meshwright.trust.patterns import Pattern, overlap
from meshwright.trust.review_finding import (
    LONG_LIVED_KEY,
    OVERLAPPING_OWNERSHIP,
    POWERLESS_GRANT,
    WIDER_GRANT,
    Finding,
)
from meshwright.trust.settings import ADMINISTRATOR, ANY_STACK, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.operations import Operation
    from meshwright.trust.authorization import Authority, Judgement
    from meshwright.trust.ownership import Holding
    from meshwright.trust.principals import Principal
    from meshwright.trust.settings import Trust

NOBODYS = "nobody-owns-this-name"
"""A name that is tried; whoever owns it owns any."""
OLD_KEY_DAYS = 90
_DAY = 86_400_000
_WRITES = (Verb.CREATE, Verb.UPDATE, Verb.DELETE)


def findings(authority: Authority, now: int) -> Iterator[Finding]:
    """What is wrong with the grants of one environment."""
    everybody = [(name, principal_of(authority, name)) for name in names_of(authority)]
    for name, principal in everybody:
        others = [key for other, one in everybody if other != name for key in samples(authority.holding(one))]
        yield from _wider(authority, principal, name, others, now)
        yield from _powerless(authority, principal, name, others, now)
    yield from _overlapping([authority.holding(one) for _, one in everybody])


def names_of(authority: Authority) -> tuple[str, ...]:
    """Every user and role of the environment."""
    settled = authority.settled
    return (*(f"user/{one}" for one in settled.users), *(f"role/{one}" for one in settled.roles))


def principal_of(authority: Authority, name: str) -> Principal:
    """The user, or a session of the role, that `user/NAME` or `role/NAME` means."""
    kind, _, plain = name.partition("/")
    return authority.user(plain) if kind == "user" else authority.session(plain, "check")


def samples(holding: Holding) -> list[Key]:
    """A name for each pattern of `owns` that names one kind of object."""
    found = (sample(one) for one in holding.owns)
    return [one for one in found if one is not None]


def sample(one: Pattern) -> Key | None:
    """A name that the pattern matches; None for one that means several kinds at once."""
    parts = [part.replace("**", "x").replace("*", "x").replace("?", "x") for part in one.full.split("/")]
    match parts:
        case ["mesh", mesh]:
            key = Key.of_mesh(mesh)
        case ["mesh", mesh, kind, name] if kind in set(PORTABLE_KINDS):
            key = Key(mesh, Kind(kind), name)
        case ["mesh", mesh, "meshwright", kind, name] if kind in set(EXTENSION_KINDS):
            key = Key(mesh, Kind(kind), name)
        case ["mesh", mesh, _, parent, kind, name] if kind in set(PORTABLE_KINDS):
            key = Key(mesh, Kind(kind), name, parent)
        case _:
            return None
    return key if one.matches(key) else None


def tried(mesh: str) -> list[Key]:
    """A name of each kind that nobody has a reason to own."""
    return [Key(mesh, kind, NOBODYS, NOBODYS if kind.parent else "") for kind in Kind if kind is not Kind.MESH] + [
        Key.of_mesh(mesh)
    ]


def allowed(authority: Authority, principal: Principal, key: Key, now: int) -> Iterator[tuple[Operation, Judgement]]:
    """The write operations on `key` that the policies of `principal` allow, whoever owns it."""
    for one in (operation(verb, key.kind) for verb in _WRITES):
        deed = Deed(
            action=one.action,
            key=key,
            rule=rule_of(one.verb),
            owner=authority.settled.account,
            stack=NOBODYS,
        )
        judgement = authority.judge(principal, deed, at=now)
        if judgement.decision.allowed:
            yield one, judgement


def _wider(
    authority: Authority, principal: Principal, name: str, others: Sequence[Key], now: int
) -> Iterator[Finding]:
    """One finding for each statement that allows writes which ownership alone refuses."""
    holding, mesh = authority.holding(principal), authority.settled.mesh
    meshes = sorted({mesh or NOBODYS} | {key.mesh for key in others})
    seen: dict[str, list[str]] = {}
    for key in dict.fromkeys([*others, *(key for one in meshes for key in tried(one))]):
        for one, judgement in allowed(authority, principal, key, now):
            mine = holding.may_claim(key) if one.verb is Verb.CREATE else holding.may_alter(key, NOBODYS)
            if not mine.allowed and not holding.may_claim(key).allowed:
                statement = place_of(judgement, path_of(name))
                named = key.path.removeprefix(f"mesh/{mesh}/") if key.kind is not Kind.MESH else "the mesh"
                seen.setdefault(statement, []).append(f"{one.action} on {named}")
    for statement, examples in seen.items():
        kinds = len({one.split(" on ")[0] for one in examples})
        yield Finding(
            rule=WIDER_GRANT,
            severity=Severity.WARNING,
            summary=f"{name} is granted {kinds} write action{'s' * (kinds != 1)} beyond what it owns, "
            f"such as {examples[0]}",
            detail="Ownership refuses that today, and alone. Name in Resource what the role owns, for example with "
            "${environment.mesh} and ${aws:PrincipalTag/NAME}, so that two locks hold instead of one.",
            subject=name,
            path=statement,
        )


def place_of(judgement: Judgement, otherwise: str) -> str:
    """The statement of the file that decided."""
    for one in judgement.decision.statements:
        return f"{one.source}.Statement[{one.index}]"
    return otherwise


def _powerless(
    authority: Authority, principal: Principal, name: str, others: Sequence[Key], now: int
) -> Iterator[Finding]:
    """Writes that are granted to somebody who owns nothing, and ownership that no policy lets anybody use."""
    holding = authority.holding(principal)
    if not holding.owns and not holding.may_change:
        for key in (*tried(authority.settled.mesh or NOBODYS), *others):
            for one, judgement in allowed(authority, principal, key, now):
                yield Finding(
                    rule=POWERLESS_GRANT,
                    severity=Severity.WARNING,
                    summary=f"{name} is granted {one.action} and other writes, and owns nothing",
                    detail="Nothing can come of it: creating takes a match in owns, changing takes the object's "
                    "stack or a match in may_change. Add what it owns, or take the write actions away.",
                    subject=name,
                    path=place_of(judgement, path_of(name)),
                )
                return
    for owned in holding.owns:
        named = sample(owned)
        told = named.path.removeprefix(f"mesh/{authority.settled.mesh}/") if named is not None else ""
        if named is not None and not any(True for _ in allowed(authority, principal, named, now)):
            yield Finding(
                rule=POWERLESS_GRANT,
                severity=Severity.WARNING,
                summary=f"{name} owns {owned.written!r}, and no policy of it allows to write {told}",
                detail="Grant the actions on these names, or remove the pattern.",
                subject=name,
                path=owned.place,
            )


def _overlapping(holdings: Sequence[Holding]) -> Iterator[Finding]:
    """Names that two stacks may claim."""
    for index, first in enumerate(holdings):
        for second in holdings[index + 1 :]:
            if first.stack == second.stack or ANY_STACK in {first.stack, second.stack}:
                continue
            for one in first.owns:
                for other in second.owns:
                    if overlap(one.full, other.full):
                        yield Finding(
                            rule=OVERLAPPING_OWNERSHIP,
                            severity=Severity.ERROR,
                            summary=f"stack {first.stack!r} ({first.whose}) and stack {second.stack!r} "
                            f"({second.whose}) may claim the same names: {one.written!r} and {other.written!r}",
                            detail="Who creates the object first has it, and can keep the other from its own name. "
                            "Give each name to one stack.",
                            subject=second.whose,
                            path=other.place,
                        )


def key_findings(trust: Trust, keys: Sequence[tuple[str, str, int]], now: int) -> Iterator[Finding]:
    """Long-lived keys: users that are declared, and the keys (id, user, created at) that a server has."""
    for name, user in trust.users.items():
        yield Finding(
            rule=LONG_LIVED_KEY,
            severity=Severity.WARNING if user.owns or user.may_change else Severity.INFO,
            summary=f"user/{name} works with an access key that never expires",
            detail="What leaks once is good for ever. Let people and jobs take a role for an hour (roles, assume), "
            "and keep users for what cannot.",
            subject=f"user/{name}",
            path=f"users.{name}",
        )
    for key_id, holder, created_at in keys:
        days = (now - created_at) // _DAY
        if holder not in trust.users and holder != ADMINISTRATOR:
            yield Finding(
                rule=LONG_LIVED_KEY,
                severity=Severity.WARNING,
                summary=f"the access key {key_id} is of user {holder!r}, whom the trust file does not declare",
                detail="It can do nothing now, and everything that a user of this name is ever granted. Revoke it.",
                subject=f"user/{holder}",
                path="users",
            )
        elif days >= OLD_KEY_DAYS:
            yield Finding(
                rule=LONG_LIVED_KEY,
                severity=Severity.WARNING,
                summary=f"the access key {key_id} of user {holder!r} is {days} days old",
                detail=f"Make a new one, use it, and revoke this one; {OLD_KEY_DAYS} days are long enough.",
                subject=f"user/{holder}",
                path=f"users.{holder}",
            )
