"""The audit log for people.

The one rule: a line is an entry, and what it shows is in the entry; JSON shows all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.views.releases import moment, table

if TYPE_CHECKING:
    from collections.abc import Mapping

_OBJECTS = 2
"""Objects of a commit that a line names."""
_FIELDS = 3
"""Fields of an object that it names."""


def log_text(found: Mapping[str, Any]) -> str:
    """One line an entry: its position, when, how it ended, who, of which build, from where, and about what."""
    rows = [("LEAF", "WHEN (UTC)", "OUTCOME", "BY", "BUILD", "FROM", "WHAT", "ABOUT")]
    for one in found["entries"]:
        leaf = one["leaf"]
        by = leaf.get("by", {})
        outcome = leaf.get("error") or leaf.get("outcome") or "done"
        rows.append(
            (
                str(one["position"]),
                moment(leaf["at"]),
                outcome.removesuffix("Exception"),
                leaf["principal"],
                _build(leaf, by),
                by.get("source", ""),
                _what(leaf),
                _about(leaf),
            )
        )
    if len(rows) == 1:
        return "No such entries.\n"
    older = found["next"]
    return table(rows) + (f"Older ones: --before {older}\n" if older else "")


def _build(leaf: Mapping[str, Any], by: Mapping[str, Any]) -> str:
    """The build's number, with a question mark where nobody verified it."""
    verified = by.get("verified", {}).get("build_number", "")
    claimed = leaf.get("claimed", {}).get("build_number", "")
    return verified or (f"{claimed}?" if claimed else "")


def _what(leaf: Mapping[str, Any]) -> str:
    kinds = {"status": "status: ", "inspection": "verification: "}
    return kinds.get(leaf["kind"], "") + str(leaf["cause"])


def _about(leaf: Mapping[str, Any]) -> str:
    if "left_out" in leaf:
        more = f"{leaf['left_out']} attempts before are left out"
        return f"{leaf['target']}{_refused(leaf)}; {more}" if "target" in leaf else more
    changes = leaf.get("changes", [])
    if changes:
        told = ", ".join(_changed(one) for one in changes[:_OBJECTS])
        return told + (f" and {len(changes) - _OBJECTS} more" if len(changes) > _OBJECTS else "")
    told = str(leaf.get("target") or leaf.get("release") or leaf.get("subject") or leaf.get("key") or "")
    return told + _refused(leaf)


def _refused(leaf: Mapping[str, Any]) -> str:
    """The objects that a release was refused for."""
    objects = leaf.get("objects", [])
    more = len(objects) - _OBJECTS + leaf.get("more", 0)
    told = ", ".join(objects[:_OBJECTS]) + (f" and {more} more" if more > 0 else "")
    return f" for {told}" if told else ""


def _changed(one: Mapping[str, Any]) -> str:
    if "before" not in one:
        return f"+ {one['object']}"
    if "after" not in one:
        return f"- {one['object']}"
    fields = one.get("fields", [])
    more = len(fields) - _FIELDS + one.get("more", 0)
    told = ", ".join(fields[:_FIELDS]) + (f" and {more} more" if more > 0 else "")
    return f"~ {one['object']}{f' ({told})' if told else ''}"
