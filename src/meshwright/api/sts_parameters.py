"""The parameters of STS's three actions, as AWS's query protocol sends them.

The one rule: what is not understood is refused and never left out, since it could have been a limit.
Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.requests import Request as HttpRequest

from meshwright.api.answers import ProtocolError
from meshwright.trust.assuming import VALIDATION, Asked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope

VERSION = "2011-06-15"
WEB_IDENTITY, ASSUME_ROLE, CALLER = "AssumeRoleWithWebIdentity", "AssumeRole", "GetCallerIdentity"
_COMMON = frozenset({"RoleArn", "RoleSessionName", "DurationSeconds", "Policy"})
_TAKEN: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        WEB_IDENTITY: _COMMON | {"WebIdentityToken"},
        ASSUME_ROLE: _COMMON | {"ExternalId", "Tags", "TransitiveTagKeys"},
        CALLER: frozenset(),
    }
)
_LISTS = frozenset({"Tags", "TransitiveTagKeys"})
"""A list that is empty comes as its name alone."""
_MEMBER = re.compile(r"(Tags)\.member\.([1-9][0-9]?)\.(Key|Value)|(TransitiveTagKeys)\.member\.([1-9][0-9]?)")


async def read_form(scope: Scope, receive: Receive) -> dict[str, str]:
    """The parameters, each once: of the body of a POST, of the query of a GET without what signs it.

    Raises:
        ProtocolError: they cannot be read, or in two ways.
    """
    if scope["method"] == "POST":
        raw = await HttpRequest(scope, receive).body()
    elif scope["method"] == "GET":
        raw = scope["query_string"]
    else:
        raise ProtocolError(f"{scope['method']} is no way to ask STS; POST is, and GET.", "InvalidAction", 405)
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        text = "The parameters are not percent-encoded UTF-8, or there are more than 200."
        raise ProtocolError(text, "MalformedQueryString", 400) from None
    found = {name: value for name, value in pairs if not name.lower().startswith("x-amz-")}
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ProtocolError(f"The parameter {twice[:64]!r} comes more than once.", "MalformedQueryString", 400)
    return found


def action_of(form: Mapping[str, str]) -> str:
    """The action that is asked for.

    Raises:
        ProtocolError: there is none, or none such.
    """
    action, version = form.get("Action"), form.get("Version")
    if not action:
        raise ProtocolError("The request names no Action.", "MissingAction", 400)
    if action not in _TAKEN or version != VERSION:
        told = f"Could not find operation {action[:64]} for version {(version or 'NO_VERSION_SPECIFIED')[:32]}"
        raise ProtocolError(f"{told}; there are {', '.join(_TAKEN)} for {VERSION}.", "InvalidAction", 400)
    return action


def refuse_unknown(action: str, asked: Mapping[str, str]) -> None:
    """Let no parameter pass that is not understood: it could have been meant to make the session narrower.

    Raises:
        ProtocolError: there is one.
    """
    for name in asked:
        if name.partition(".")[0] not in _TAKEN[action]:
            raise ProtocolError(f"{action} takes no {name[:64]!r} here; leave it out.", VALIDATION, 400)


def asked_for(form: Mapping[str, str]) -> Asked:
    """What session is asked for.

    Raises:
        ProtocolError: a parameter is missing or of another form.
    """
    for name in ("RoleArn", "RoleSessionName"):
        if name not in form:
            raise missing(name)
    seconds = form.get("DurationSeconds")
    if seconds is not None and not re.fullmatch(r"[0-9]{1,9}", seconds):
        raise ProtocolError(f"DurationSeconds is {seconds[:32]!r}; it takes a number.", VALIDATION, 400)
    members = _members(form)
    return Asked(
        role_arn=form["RoleArn"],
        session_name=form["RoleSessionName"],
        seconds=None if seconds is None else int(seconds),
        policy=form.get("Policy"),
        tags=_tags(members),
        transitive=tuple(value for (what, _, _), value in members.items() if what == "TransitiveTagKeys"),
        external_id=form.get("ExternalId"),
    )


def _members(form: Mapping[str, str]) -> dict[tuple[str, int, str], str]:
    """The members of lists, by the list, the position and what of the member it is."""
    found = {}
    for name, value in form.items():
        if name.startswith(("Tags", "TransitiveTagKeys")) and (name not in _LISTS or value):
            parts = _MEMBER.fullmatch(name)
            if parts is None:
                raise ProtocolError(f"The parameter {name[:64]!r} is no member of a list.", VALIDATION, 400)
            found[parts[1] or parts[4], int(parts[2] or parts[5]), parts[3] or ""] = value
    return found


def _tags(members: Mapping[tuple[str, int, str], str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number in sorted({number for what, number, _ in members if what == "Tags"}):
        key, value = members.get(("Tags", number, "Key")), members.get(("Tags", number, "Value"))
        if key is None or value is None or key in found:
            raise ProtocolError(f"Tags.member.{number} takes a Key of its own and a Value.", VALIDATION, 400)
        found[key] = value
    return found


def missing(name: str) -> ProtocolError:
    """The error for a parameter that is not there."""
    return ProtocolError(f"The request must contain the parameter {name}.", VALIDATION, 400)
