"""What came of a request for a release, and how it is told to the client.

The one rule: an answer says what is so on disk; what waits changed nothing yet, and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.api.answers import answer
from meshwright.api.repeating import again
from meshwright.release import Build, Release
from meshwright.store.approvals import Decision, Pending
from meshwright.store.contract import Answered
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from starlette.responses import Response


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request: the release that now holds, and whether it is new."""

    changed: bool
    release: Release | None
    """None for an empty stack that never had a release."""
    fenced: bool = False
    """Whether no older build of the same branch can release after it."""
    warnings: tuple[str, ...] = ()
    pending: Pending | None = None
    """What waits for its approval; nothing was changed."""
    answered: Answered | None = None
    """What the same request was answered before; nothing was done then."""


def outcome_answer(outcome: Outcome) -> Response:
    """`outcome` for the client: 201 for a new release, 200 where nothing changed, or what it was told before."""
    if outcome.answered is not None:
        return again(outcome.answered)
    one = outcome.release
    found = document(one) | ({"risks": to_wire(one.risks)} if outcome.changed else {}) if one is not None else None
    told = {"changed": outcome.changed, "release": found, "fenced": outcome.fenced, "warnings": outcome.warnings}
    if outcome.pending is not None:
        return answer({**told, "pending": waiting_document(outcome.pending, None, "open")}, 202)
    return answer(told, 201 if outcome.changed else 200)


def waiting_document(one: Pending, decision: Decision | None, state: str) -> dict[str, Any]:
    """A pending release for the client: without its plan, and without what only the server needs."""
    found: dict[str, Any] = to_wire(msgspec.structs.replace(one, sources={}, facts={}))
    plan = found.pop("plan")
    for name in ("sources", "facts"):
        del found[name]
    changes = [{"action": change["action"], "object": change["object"]} for change in plan["changes"]]
    verified = to_wire(msgspec.convert(one.principal.build, Build)) if one.principal.build else None
    more = {"principal": one.principal.arn, "identity": one.principal.identity, "verified": verified}
    return {"title": one.title, **found, **more, "changes": changes, "state": state, "decision": to_wire(decision)}


def document(one: Release) -> dict[str, Any]:
    """A release for the client, without its content, its sources and its risks."""
    plain = msgspec.structs.replace(one, content=(), target=(), sources={}, risks=(), objections=())
    found: dict[str, Any] = to_wire(plain)
    for name in ("content", "target", "sources", "risks", "objections"):
        del found[name]
    return {"title": one.title, **found}
