"""Environments that can reach each other; pure.

They are the same objects under two names, or have roles that reach into another's mesh, or let the same jobs in.

The one rule: names or jobs that reach a protected environment are an error; the rest is a warning, and so is a policy
alone, which ownership still confines.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.diagnostics import Severity
from meshwright.model.identity import Key, Kind
from meshwright.trust.review_finding import REACHABLE_ENVIRONMENT, Finding
from meshwright.trust.review_grants import NOBODYS, allowed, names_of, place_of, principal_of
from meshwright.trust.settings import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.trust.authorization import Authority


def findings(authorities: Mapping[str, Authority], now: int) -> Iterator[Finding]:
    """What is wrong between every two of the environments."""
    for first, second in itertools.permutations(authorities, 2):
        here, there = authorities[first], authorities[second]
        if first < second:
            yield from _same(first, here, second, there)
            yield from _same_jobs(first, here, second, there)
        yield from _reaching(first, here, second, there, now)


def _severity(*authorities: Authority) -> Severity:
    return Severity.ERROR if any(one.settled.protected for one in authorities) else Severity.WARNING


def _same(first: str, here: Authority, second: str, there: Authority) -> Iterator[Finding]:
    """Two environments with one account, region and mesh have the same objects."""
    one, other = here.settled, there.settled
    if (one.account, one.region, one.mesh) == (other.account, other.region, other.mesh):
        yield Finding(
            rule=REACHABLE_ENVIRONMENT,
            severity=_severity(here, there),
            summary=f"environments {first!r} and {second!r} have the same account, region and mesh",
            detail="What holds for the one holds for the other's objects: their ARNs are equal. Give each an account "
            "or a mesh of its own.",
            subject=f"environment/{second}",
            path=f"environments.{second}",
        )


def _reaching(first: str, here: Authority, second: str, there: Authority, now: int) -> Iterator[Finding]:
    """Users and roles of one environment whose names or policies reach into the other's mesh."""
    mesh, account = there.settled.mesh, there.settled.account
    if not mesh or (here.settled.account, here.settled.mesh) == (account, mesh):
        return
    for name in names_of(here):
        holding = here.holding(principal_of(here, name))
        for one in (*holding.owns, *holding.may_change, *holding.may_extend):
            if one.reaches(mesh) and mesh != here.settled.mesh:
                told = f"its {one.written!r} means names in {mesh!r} too"
                yield _reach(name, first, second, _severity(there), one.place, told)
        if name in names_of(there):
            continue  # It is meant to be in both; what it may do in each is said for each.
        key = Key(mesh, Kind.VIRTUAL_NODE, NOBODYS)
        as_there = type(here)(msgspec.structs.replace(here.settled, account=account))
        for operation, judgement in allowed(as_there, principal_of(as_there, name), key, now):
            place = place_of(judgement, path_of(name))
            allows = f"its policies allow appmesh:{operation.name} on {judgement.resource}"
            yield _reach(name, first, second, Severity.WARNING, place, allows)
            break


def _reach(name: str, first: str, second: str, severity: Severity, place: str, told: str) -> Finding:
    return Finding(
        rule=REACHABLE_ENVIRONMENT,
        severity=severity,
        summary=f"{name} of {first!r} reaches into {second!r}: {told}",
        detail="Name the mesh, with ${environment.mesh}, and the account, with ${environment.account}.",
        subject=name,
        path=place,
    )


def _same_jobs(first: str, here: Authority, second: str, there: Authority) -> Iterator[Finding]:
    """Jobs that get into a protected environment because they get into one that is not."""
    if here.settled.protected == there.settled.protected:
        return
    guarded, open_ = (here, there) if here.settled.protected else (there, here)
    inside, outside = (first, second) if guarded is here else (second, first)
    for name, role in guarded.settled.roles.items():
        for index, entry in enumerate(role.assume):
            if entry.issuer is None:
                continue
            asked = _tests(entry.conditions)
            for other, easier in open_.settled.roles.items():
                if any(one.issuer == entry.issuer and asked <= _tests(one.conditions) for one in easier.assume):
                    yield Finding(
                        rule=REACHABLE_ENVIRONMENT,
                        severity=Severity.ERROR,
                        summary=f"every job that may take role/{other} in {outside!r} may take role/{name} in "
                        f"{inside!r}, which is protected",
                        detail="Ask for more there than elsewhere: a claim that only a job of the protected "
                        "environment has, such as StringEquals: {environment: production} or {ref: refs/heads/main}.",
                        subject=f"role/{name}",
                        path=guarded.settled.entry_places[name][index],
                    )
                    break


def _tests(conditions: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    """What the conditions ask, each as operator, key and values."""
    return {
        (operator, key.lower(), repr(sorted(map(str, values)) if isinstance(values, list) else [str(values)]))
        for operator, keys in conditions.items()
        for key, values in keys.items()
    }
