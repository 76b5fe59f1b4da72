"""Releases, drift, propagation and status for people, rendered from the JSON of our own endpoints.

The one rule: the JSON is the answer; the text says no more than it, and no control character reaches a terminal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.views.escaping import indented_json, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Document = Mapping[str, Any]


def as_json(document: Document) -> str:
    """`document` as indented JSON, ending in a newline."""
    return indented_json(document)


def outcome_text(outcome: Document) -> str:
    """What came of an apply or a rollback."""
    one = outcome["release"]
    if one is None:
        return "Nothing to release: the definitions are empty and the stack never had a release.\n"
    if not outcome["changed"]:
        return f"No changes: {terminal(one['title'])} (revision {one['revision']}) is what runs.\n"
    counts = ", ".join(
        f"{sum(change['action'] == action for change in one['changes'])} {action}d"
        for action in ("create", "update", "delete")
    )
    restores = f", restoring {terminal(one['stack'])}#{one['restores']}" if one.get("restores") else ""
    lines = [f"Released {terminal(one['title'])} (revision {one['revision']}){restores}: {counts}."]
    lines += [f"  {change['action']} {terminal(change['object'])}" for change in one["changes"]]
    return "\n".join(lines) + "\n"


def history_text(history: Document) -> str:
    """A stack's releases, newest first."""
    rows = [("RELEASE", "WHEN (UTC)", "STATUS", "BY", "BUILD", "CHANGES")]
    for one in history["releases"]:
        what = f"rollback to #{one['restores']}" if one["kind"] == "rollback" else f"{len(one['changes'])} changed"
        rows.append((one["title"], moment(one["at"]), one["status"], one["principal"], _build(one["build"]), what))
    if len(rows) == 1:
        return f"Stack {terminal(history['stack'])} in mesh {terminal(history['mesh'])} has no release.\n"
    return table(rows)


def drift_text(drift: Document) -> str:
    """Where a stack runs otherwise than its last release left it, and who wrote it."""
    found, title = drift["differences"], terminal(drift["release"])
    if not found:
        return f"No drift: {terminal(drift['stack'])} in mesh {terminal(drift['mesh'])} runs as {title} left it.\n"
    one_or_more = "1 object of {} runs" if len(found) == 1 else f"{len(found)} objects of {{}} run"
    lines = [f"{one_or_more.format(title)} otherwise than the release left {'it' if len(found) == 1 else 'them'}."]
    for one in found:
        lines.append(f"  {one['kind']}: {terminal(one['object'])} is {one['state']}{_author(one['author'])}")
        lines += [
            f"      {terminal(field['path'])}: {_value(field['old'])} → {_value(field['new'])}"
            for field in one["fields"]
        ]
    return "\n".join(lines) + "\n"


def propagation_text(found: Document) -> str:
    """How far a release has come, with what each proxy refused and the objects that it came from."""
    title = terminal(found.get("release", f"revision {found['revision']}"))
    match found["state"]:
        case "no-proxies":
            return f"{title}: no proxy is connected; nobody has it yet.\n"
        case "propagated":
            number = len(found["acked"])
            if not number:
                return f"{title} changes nothing for any of the connected proxies.\n"
            return f"{title} has reached {f'all {number} proxies' if number > 1 else 'the one proxy'} it concerns.\n"
    lines = [f"{title} has reached {len(found['acked'])} of {len(found['concerned'])} proxies it concerns."]
    lines += [f"  pending: {terminal(one)}" for one in found["pending"]]
    lines += [line for proxy in found["rejected"] for line in _rejections(proxy)]
    return "\n".join(lines) + "\n"


def status_text(status: Document) -> str:
    """The server, its stacks and its proxies."""
    lines = [f"Meshwright {terminal(status['version'])} at revision {status['revision']}."]
    stacks = [("STACK", "MESH", "RELEASE", "STATUS", "WHEN (UTC)")]
    for one in status["stacks"]:
        newest = one["release"]
        told = (newest["title"], newest["status"], moment(newest["at"])) if newest else ("none", "", "")
        stacks.append((one["stack"], one["mesh"], *told))
    proxies = [("PROXY", "NODE", "STATE", "REVISION", "ENVOY")]
    for one in status["proxies"]:
        revision = f"{one['acked_revision']} of {one['target_revision']}"
        state = f"{one['state']}, node deleted" if one.get("gone") else one["state"]
        proxies.append((one["id"], one["node"], state, revision, one["envoy_version"]))
    text = "\n".join(lines) + "\n\n"
    text += table(stacks) if len(stacks) > 1 else "No stack has a release.\n"
    text += "\n" + (table(proxies) if len(proxies) > 1 else "No proxy is connected.\n")
    text += _discovered(status.get("discovered", ()))
    for one in status["proxies"]:
        text += "".join(f"{line}\n" for line in (*_rejections(one), *_unserved(one)))
    return text


def moment(at: int) -> str:
    """Milliseconds since the epoch as `2026-01-31 23:59:59`, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _rejections(proxy: Document) -> Iterator[str]:
    for one in proxy.get("rejections", ()):
        yield f"  rejected by {terminal(proxy['id'])}: {terminal(one['message'].strip())}"
        resources = ", ".join(terminal(name) for name in one["resources"])
        origins = ", ".join(terminal(name) for name in one["origins"])
        yield f"      {resources or 'its snapshot'}, made from {origins or 'objects that are gone'}"


def _discovered(found: Sequence[Document]) -> str:
    """The nodes that are not found by DNS, and whatever could not be looked up."""
    rows = [("DISCOVERED NODE", "SOURCE", "HEALTHY ENDPOINTS")]
    rows += [(one["node"], one["source"], f"{one['healthy']} of {one['endpoints']}") for one in found]
    lines = [fault_line(one["fault"]) for one in found if one["fault"]]
    return "\n" + table(rows) + "".join(lines) if found else ""


def fault_line(fault: Document) -> str:
    """Why the endpoints of a node may be out of date."""
    since, node = moment(fault["since"]), terminal(fault["node"])
    return f"  not looked up since {since}: {node} in {terminal(fault['source'])}: {terminal(fault['message'])}\n"


def _unserved(proxy: Document) -> Iterator[str]:
    for one in proxy.get("unserved", ()):
        place = " ".join(filter(None, (one["subject"], one["path"])))
        yield f"  not served by {terminal(proxy['id'])}: {terminal(place)}: {terminal(one['reason'])}"


def _author(author: Document | None) -> str:
    if author is None:
        return ""
    who, cause = terminal(author["principal"]), terminal(author["cause"])
    return f", by {who} with {cause} at {moment(author['at'])} (revision {author['revision']})"


def _build(build: Document | None) -> str:
    if not build:
        return ""
    number, commit = build.get("build_number", ""), build.get("commit", "")
    return " ".join(filter(None, (f"#{number}" if number else "", commit[:8])))


def _value(value: object) -> str:
    return "(none)" if value is None else terminal(msgspec.json.encode(value).decode())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first row their titles."""
    shown = [[terminal(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in shown) for index in range(len(shown[0]))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in shown
    )
