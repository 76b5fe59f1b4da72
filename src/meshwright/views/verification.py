"""Verifications of a release for people, rendered from the JSON of our own endpoints.

The one rule: the text says no more than the JSON; what did not pass comes first, and no control character reaches a
terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.views.escaping import terminal
from meshwright.views.releases import moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Document = Mapping[str, Any]

_TOLD = 10
"""Sights of one check that are shown, of those that did not pass."""
_WORDS = {
    "verified": "is verified",
    "failed": "failed its verification",
    "inconclusive": "cannot be said to be good: something could not be looked at",
}


def verified_text(found: Document) -> str:
    """What came of a verification."""
    return _text(found["release"]["title"], found["inspection"])


def verifications_text(found: Document) -> str:
    """The verifications of a release, newest first."""
    title = found["release"]
    if not found["inspections"]:
        return f"{terminal(title)} is {terminal(found['status'])}; nobody has verified it.\n"
    return "\n".join(_text(title, one) for one in found["inspections"])


def progress(checks: Sequence[Document]) -> str:
    """What is still waited for, in a line."""
    return "; ".join(f"{one['name']}: {one['told']}" for one in checks if one["outcome"] == "pending")


def _text(title: str, one: Document) -> str:
    by, at = terminal(one["principal"]), moment(one["at"])
    lines = [f"{terminal(title)} {_WORDS.get(one['judgement'], one['judgement'])} (by {by} at {at})."]
    for check in one["checks"]:
        waived = one["judgement"] == "verified" and check["outcome"] == "inconclusive"
        outcome = f"{check['outcome']}, taken for good" if waived else check["outcome"]
        lines.append(f"  {check['name']}: {terminal(outcome)}: {terminal(check['told'])}")
        lines += _sights(check)
    return "\n".join(lines) + "\n"


def _sights(check: Document) -> Iterator[str]:
    """Those that did not pass, where there are more than the one that the check tells of."""
    bad = [one for one in check["sights"] if one["outcome"] != "passed"]
    if len(bad) > 1:
        for one in bad[:_TOLD]:
            yield f"      {one['outcome']}: {terminal(one['subject'])}: {terminal(one['told'])}"
        if len(bad) > _TOLD:
            yield f"      and {len(bad) - _TOLD} more"
