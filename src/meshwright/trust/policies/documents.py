"""IAM policy documents, read once into statements that are quick to ask.

The one rule: all faults of a document are found, each with its path, and a document with a fault is not used at all.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias

from meshwright.trust.policies.blocks import condition
from meshwright.trust.policies.elements import actions, resources
from meshwright.trust.policies.faults import Fault, PolicyError, near, quoted
from meshwright.trust.policies.statements import Policy, Statement, index_of
from meshwright.trust.strict_json import members_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.trust.policies.conditions import Condition

VERSIONS = ("2008-10-17", "2012-10-17")
WITH_VARIABLES = "2012-10-17"

MAX_CHARACTERS = 10_240
"""Of a document without its white space: the largest that IAM takes, that of a role's inline policies."""
MAX_STATEMENTS = 100
MAX_DEPTH = 8
"""Of lists and objects in one another; a statement's condition values are the sixth."""

_SID = re.compile(r"[A-Za-z0-9]{0,128}", re.ASCII)
_DOCUMENT = ("Version", "Id", "Statement")
_STATEMENT = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
_PRINCIPALS = ("Principal", "NotPrincipal")

Path: TypeAlias = tuple[str | int, ...]


def parse(document: object, source: str) -> Policy:
    """The policy that `document` says.

    Args:
        document: the members as decoded from JSON or YAML, or the JSON text itself.
        source: the policy's name, for errors and decisions.

    Raises:
        PolicyError: with everything that is wrong with it.
    """
    faults: list[Fault] = []
    members = _decoded(document, faults)
    if not faults:
        _check_size(members, faults)
    policy = _policy(members, source, faults) if not faults else None
    if policy is None or faults:
        raise PolicyError(source, faults)
    return policy


def _decoded(document: object, faults: list[Fault]) -> object:
    """`document`, decoded where it is JSON text."""
    if not isinstance(document, (str, bytes)):
        return document
    if len(document) > 4 * MAX_CHARACTERS:
        faults.append(
            Fault((), f"is {len(document)} characters long; {MAX_CHARACTERS} without white space are possible.")
        )
        return None
    try:
        return json.loads(document, object_pairs_hook=members_once)
    except (ValueError, RecursionError) as error:
        faults.append(Fault((), f"is no JSON: {error}."))
        return None


def _check_size(document: object, faults: list[Fault]) -> None:
    """Count characters and depth without recursion, and stop at the limits: a document may be hostile."""
    size, waiting = 0, [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Mapping):
            size += 2 + 2 * len(value)
            waiting.extend((one, depth + 1) for pair in value.items() for one in pair)
        elif isinstance(value, (list, tuple)):
            size += 2 + len(value)
            waiting.extend((one, depth + 1) for one in value)
        else:
            size += len(value) + 2 if isinstance(value, str) else 4
        if depth > MAX_DEPTH and isinstance(value, (Mapping, list, tuple)):
            faults.append(Fault((), f"nests deeper than {MAX_DEPTH} levels; a policy has six."))
            return
        if size > MAX_CHARACTERS:
            faults.append(Fault((), f"is longer than {MAX_CHARACTERS} characters without white space; split it."))
            return


def _policy(members: object, source: str, faults: list[Fault]) -> Policy | None:
    if not isinstance(members, Mapping):
        faults.append(Fault((), f"expected an object with Version and Statement, found {quoted(members)}."))
        return None
    _check_members(members, _DOCUMENT, (), faults)
    version = _version(members, faults)
    name = members.get("Id", "")
    if not isinstance(name, str):
        faults.append(Fault(("Id",), f"expected text, found {quoted(name)}."))
    found = tuple(
        statement
        for position, one in enumerate(_statements(members, faults))
        if (statement := _statement(one, position, faults, variables=version == WITH_VARIABLES)) is not None
    )
    _check_sids(found, faults)
    return Policy(source, version, str(name), found, index_of(found))


def _version(members: Mapping[Any, Any], faults: list[Fault]) -> str:
    """The document's version; one without is of the older, as in IAM."""
    version = members.get("Version", VERSIONS[0])
    if isinstance(version, date):  # YAML reads an unquoted date
        version = version.isoformat()
    if version not in VERSIONS:
        faults.append(
            Fault(("Version",), f"{quoted(version)} is no version of the policy language; write '{VERSIONS[1]}'.")
        )
        return VERSIONS[1]
    return str(version)


def _statements(members: Mapping[Any, Any], faults: list[Fault]) -> Sequence[object]:
    if "Statement" not in members:
        faults.append(Fault((), "lacks Statement."))
        return ()
    found = members["Statement"]
    several = found if isinstance(found, (list, tuple)) else (found,)
    if not several or len(several) > MAX_STATEMENTS:
        faults.append(Fault(("Statement",), f"holds {len(several)} statements; 1 to {MAX_STATEMENTS} are possible."))
        return ()
    return several


def _statement(members: object, position: int, faults: list[Fault], *, variables: bool) -> Statement | None:
    path: Path = ("Statement", position)
    if not isinstance(members, Mapping):
        faults.append(Fault(path, f"expected an object with Effect, Action and Resource, found {quoted(members)}."))
        return None
    _check_members(members, _STATEMENT, path, faults)
    sid = members.get("Sid", "")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        faults.append(Fault((*path, "Sid"), f"{quoted(sid)} is no Sid: letters and digits of ASCII, 128 at most."))
    effect = members.get("Effect")
    if effect not in ("Allow", "Deny"):
        hint = "lacks Effect" if "Effect" not in members else f"Effect is {quoted(effect)}"
        faults.append(Fault(path, f"{hint}; write 'Allow' or 'Deny'.{near(str(effect), ('Allow', 'Deny'))}"))
    tests: Condition = ()
    if "Condition" in members:
        tests = condition(members["Condition"], (*path, "Condition"), faults, variables=variables)
    return Statement(
        position,
        str(sid),
        effect == "Allow",
        actions(members, path, faults),
        resources(members, path, faults, variables=variables),
        tests,
    )


def _check_members(members: Mapping[Any, Any], known: Sequence[str], path: Path, faults: list[Fault]) -> None:
    for name in members:
        if name in _PRINCIPALS and known is _STATEMENT:
            faults.append(
                Fault(
                    (*path, str(name)),
                    "an identity's policy names no principals; who may take a role stands in `assume`.",
                )
            )
        elif name not in known:
            hint = near(str(name), known, 0.5) or f" Known here: {', '.join(known)}."
            faults.append(Fault((*path, str(name)), f"{quoted(name)} is not known.{hint}"))


def _check_sids(statements: Sequence[Statement], faults: list[Fault]) -> None:
    first: dict[str, int] = {}
    for one in statements:
        if one.sid and first.setdefault(one.sid, one.index) != one.index:
            told = (
                f"{one.sid!r} is the Sid of Statement[{first[one.sid]}] as well; within a policy it must be unique."
            )
            faults.append(Fault(("Statement", one.index, "Sid"), told))
