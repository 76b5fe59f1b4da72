"""Sessions of roles as text.

The one rule: a line is a session, and what it shows was verified or made by the server.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshwright.views.escaping import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence


def sessions_text(sessions: Sequence[dict[str, Any]]) -> str:
    """One line a session: key id, end, state, ARN, and whose token or key it was obtained with."""
    if not sessions:
        return "No sessions.\n"
    return "".join(
        f"{one['access_key_id']}  {_time(one['expires_at'])}  {one['state']:7}  {terminal(one['principal'])}"
        f"{_origin(one)}\n"
        for one in sessions
    )


def revocation_text(done: dict[str, Any]) -> str:
    """What was revoked."""
    kind, _, name = done["subject"].partition(":")
    what = {"role": f"every session that role {name} has had", "session": f"session {name}", "key": f"key {name}"}
    return f"Revoked {terminal(what[kind])}, and what was obtained with it, until {_time(done['at'])}.\n"


def _origin(one: dict[str, Any]) -> str:
    if one["obtained_with"]:
        return f"  with {terminal(' '.join(one['obtained_with']))}"
    return f"  {terminal(one['issuer'])}: {terminal(one['subject'])}" if one["issuer"] else ""


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // 1000, tz=UTC).isoformat().replace("+00:00", "Z")
