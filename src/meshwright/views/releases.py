"""Releases, drift, propagation and status for people, rendered from the JSON of our own endpoints.

The one rule: the JSON is the answer; the text says no more than it, and no control character reaches a terminal.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.views.escaping import indented_json, terminal

_CAUSES = 5
"""Objects at fault that are shown of one rejection."""

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Document = Mapping[str, Any]


def sentence(text: str) -> str:
    """`text` with a full stop, unless it ends with one: what people write as a message may."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def as_json(document: Document) -> str:
    """`document` as indented JSON, ending in a newline."""
    return indented_json(document)


def outcome_text(outcome: Document) -> str:
    """What came of an apply or a rollback."""
    return _outcome(outcome) + "".join(f"Warning: {sentence(terminal(one))}\n" for one in outcome.get("warnings", ()))


def _outcome(outcome: Document) -> str:
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
    if one.get("promotes"):
        promoted = one["promotes"]
        lines.append(
            f"  as {terminal(promoted['stack'])}#{promoted['number']} of {terminal(promoted['environment'])}"
        )
    lines += [f"  {_tested(one['tests'])}"] if one.get("tests") else []
    lines += [f"  because {terminal(one['reason'])}"] if one.get("reason") else []
    lines += [f"  {change['action']} {terminal(change['object'])}" for change in one["changes"]]
    risks = one.get("risks", ())
    lines += [f"  ! {risk['code']} {terminal(risk['object'])}: {terminal(risk['summary'])}" for risk in risks]
    return "\n".join(lines) + "\n"


def history_text(history: Document, *, searched: bool = False) -> str:
    """A stack's releases, newest first; where it was `searched`, those that were found."""
    rows = [("RELEASE", "WHEN (UTC)", "STATUS", "PROXIES", "BY", "VERIFIED BUILD", "CLAIMED BUILD", "CHANGES")]
    for one in history["releases"]:
        what = {
            "rollback": f"rollback to #{one['restores']}",
            "repair": f"repair of #{one['restores']}",
        }.get(one["kind"], f"{len(one['changes'])} changed")
        what += canary_words(one.get("canary"))
        what += f", {_tested(one['tests'])}" if one.get("tests") else ""
        what += ", approved" if one.get("approval") else ""
        what += ", glass broken" if one.get("broken_glass") else ""
        told, by = _tally(one.get("tally"), one["at"]), one["principal"]
        builds = _verified(one.get("verified")), _build(one["build"])
        rows.append((one["title"], moment(one["at"]), one["status"], told, by, *builds, what))
    if len(rows) == 1:
        such = " that meets these conditions" if searched else ""
        return f"Stack {terminal(history['stack'])} in mesh {terminal(history['mesh'])} has no release{such}.\n"
    older = history.get("next")
    return table(rows) + (f"Older ones: --before {terminal(history['stack'])}#{older}\n" if older else "")


def canary_words(canary: Document | None) -> str:
    """Which part of a canary a release is, to be put after what it is; "" for none."""
    if not canary:
        return ""
    match canary["state"]:
        case "step":
            return f", canary, step {canary['step']} of {len(canary['steps'])}, {canary['weight']} %"
        case "finished":
            return f", canary #{canary['first']} finished"
    return f", canary #{canary['first']} returned"


def _tested(tests: Document) -> str:
    """What tests said of a release, in a few words."""
    how = "tested" if tests["mode"] == "envoy" else "simulated"
    return f"{how}: {tests['passed']} passed, {tests['coverage']:g} % covered"


def _is_step(one: Document) -> bool:
    canary = one.get("canary")
    return canary is not None and bool(canary["state"] == "step")


def drift_text(drift: Document) -> str:
    """Where a stack runs otherwise than its last release left it, and who wrote it."""
    found, title = drift["differences"], terminal(drift["release"])
    under_way = _under_way(drift)
    if not found:
        where = f"{terminal(drift['stack'])} in mesh {terminal(drift['mesh'])}"
        return f"No drift: {where} runs as {title} left it.\n{under_way}"
    one_or_more = "1 object of {} runs" if len(found) == 1 else f"{len(found)} objects of {{}} run"
    lines = [f"{one_or_more.format(title)} otherwise than the release left {'it' if len(found) == 1 else 'them'}."]
    for one in found:
        lines.append(f"  {one['kind']}: {terminal(one['object'])} is {one['state']}{_author(one['author'])}")
        for field in one["fields"]:
            other = field.get("author") if field.get("author") != one["author"] else None
            change = f"{_value(field['old'])} → {_value(field['new'])}"
            lines.append(f"      {terminal(field['path'])}: {change}{_author(other)}")
    return "\n".join(lines) + f"\n{under_way}"


def _under_way(drift: Document) -> str:
    """That what the stack runs is a step on the way to something else."""
    canary = drift.get("canary")
    if not canary or canary["state"] != "step":
        return ""
    place = f"step {canary['step']} of {len(canary['steps'])}, {canary['weight']} % of the way"
    stack, back = terminal(drift["stack"]), canary["returns_to"]
    # Not with --last-good, which takes the newest that was verified, whatever came after it.
    return (
        f"The canary {stack}#{canary['first']} is at {place}: it ends by itself, goes on with the same "
        f"'apply --canary', or goes back to {stack}#{back} with 'rollback --to {back}'.\n"
    )


def propagation_text(found: Document, *, left: bool = False) -> str:
    """How far a release has come, with what each proxy refused and the objects that it came from.

    One that was `left` behind is one that a proxy rejected and never took.
    """
    title = terminal(found.get("release", f"revision {found['revision']}"))
    if left:
        refused = (found.get("tally") or {}).get("rejected", 0)
        by = f" by {'one proxy' if refused == 1 else f'{refused} proxies'}" if refused else ""
        return f"{title} was rejected{by}, and a newer release has taken its place.\n{_accounts(found)}"
    rest = _missed(found) + _accounts(found)
    match found["state"]:
        case "no-proxies":
            nobody = "" if found.get("tally") else "; nobody has it yet"
            return f"{title}: no proxy is connected{nobody}.\n{rest}"
        case "propagated":
            number = len(found["acked"])
            if not number:
                away = _away(found.get("tally"))
                return f"{title} changes nothing for any of the connected proxies{away}.\n{rest}"
            reached = f"{title} has reached {f'all {number} proxies' if number > 1 else 'the one proxy'} it concerns"
            after = _after(found.get("tally"), found.get("committed_at"))
            return f"{reached}{f', {after} after its commit' if after else ''}.\n{rest}"
    lines = [f"{title} has reached {len(found['acked'])} of {len(found['concerned'])} proxies it concerns."]
    gone = set(found.get("away", ()))
    lines += [f"  pending: {terminal(one)}{', which is away' if one in gone else ''}" for one in found["pending"]]
    lines += [line for proxy in found["rejected"] for line in _rejections(proxy)]
    return "\n".join(lines) + f"\n{rest}"


def _missed(found: Document) -> str:
    """Who left a short while ago and may not have it, a line each."""
    away = [one for one in found.get("away", ()) if one not in found["pending"]]
    return "".join(f"  not seen: {terminal(one)}, which left lately and gets it when it is back\n" for one in away)


def holding_text(found: Document) -> str:
    """One proxy and every resource that it should hold."""
    proxy = found["proxy"]
    revision = f"revision {proxy['acked_revision']} of {proxy['target_revision']}"
    envoy = terminal(proxy["envoy_version"])
    lines = [f"{terminal(proxy['id'])} is {terminal(proxy['state'])}, at {revision}; Envoy {envoy}."]
    lines += [*_rejections(proxy), *_unserved(proxy)]
    rows = [("TYPE", "RESOURCE", "VERSION", "STATE", "SINCE (UTC)")]
    rows += [
        (one["type_url"].rpartition(".")[2], one["name"], one["version"], one["state"], moment(one["at"]))
        for one in found["resources"]
    ]
    return "\n".join(lines) + f"\n\n{table(rows)}"


def status_text(status: Document) -> str:
    """The server, its stacks and its proxies."""
    lines = [f"Meshwright {terminal(status['version'])} at revision {status['revision']}."]
    stacks = [("STACK", "MESH", "RELEASE", "STATUS", "WHEN (UTC)", "VERIFIED BUILD")]
    for one in status["stacks"]:
        newest = one["release"]
        told = ("none", "", "", "")
        if newest:
            stands = newest["status"] + _refused(one, status["proxies"])
            stands += canary_words(newest.get("canary")) if _is_step(newest) else ""
            told = (newest["title"], stands, moment(newest["at"]), _verified(newest.get("verified")))
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
    text += "".join(_sharing(status["proxies"]))
    for one in status["proxies"]:
        text += "".join(f"{line}\n" for line in (*_rejections(one), *_unserved(one)))
    return text


def _refused(stack: Document, proxies: Iterable[Document]) -> str:
    """How many proxies reject what a release of the stack brought: one may join after it has propagated."""
    number = sum(
        any(
            cause["release"].startswith(f"{stack['stack']}#")
            for rejection in proxy.get("rejections", ())
            for cause in rejection.get("causes", ())
        )
        for proxy in proxies
        if proxy["node"].startswith(f"mesh/{stack['mesh']}/")
    )
    return f"; {number} {'proxy rejects' if number == 1 else 'proxies reject'} it" if number else ""


def _sharing(proxies: Iterable[Document]) -> Iterator[str]:
    """Who say that they are the same one, so that evidence and `wait` know them by their addresses alone."""
    for name, number in sorted(Counter(one.get("shared_id", "") for one in proxies).items()):
        if name and number > 1:
            yield (
                f"  {number} proxies say that they are {terminal(name)}; give each an instance of its own, by "
                "--instance or in its bootstrap: meshwright proxy makes one up\n"
            )


def moment(at: int) -> str:
    """Milliseconds since the epoch as `2026-01-31 23:59:59`, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _accounts(found: Document) -> str:
    """What each proxy made of a release, one line a response; "" where that was not asked for."""
    if not found.get("accounts"):
        return ""
    committed = found.get("committed_at")
    rows = [("PROXY", "STATE", "TYPE", "RESOURCES", "SENT", "SETTLED")]
    for one in found["accounts"]:
        proxy = one["id"] if one["connected"] else f"{one['id']} (gone)"
        for step in one["steps"]:
            names, kind = ", ".join(step["resources"]), step["type_url"].rpartition(".")[2]
            sent, settled = _since(step["sent_at"], committed), _since(step["settled_at"], committed)
            rows.append((proxy, step["state"], kind, names, sent, settled))
    mended = [one for one in found["accounts"] if one["rejections"] and one["state"] != "rejected"]
    return table(rows) + "".join(f"{line}\n" for one in mended for line in _rejections(one))


def _away(tally: Document | None) -> str:
    """What became of the proxies that it concerned and that left; "" where it concerned none."""
    acked, others = (tally["acked"], tally["pending"] + tally["rejected"]) if tally else (0, 0)
    return f"; of those that it concerned and that left, {acked} had it and {others} not" if acked + others else ""


def _since(at: int | None, committed: int | None) -> str:
    if at is None:
        return ""
    return f"+{max(0, at - committed)} ms" if committed else moment(at)


def _after(tally: Document | None, committed: int | None) -> str:
    """How long after the commit the last ack came; "" where nobody knows."""
    if tally is None or tally["last_acked_at"] is None or not committed:
        return ""
    return f"{max(0, tally['last_acked_at'] - committed) / 1000:.3f} s"


def _tally(tally: Document | None, committed: int) -> str:
    if tally is None:
        return ""
    told = ", ".join(f"{tally[word]} {word}" for word in ("acked", "pending", "rejected") if tally[word])
    after = _after(tally, committed)
    return f"{told} in {after}" if after and not tally["pending"] else told


def _rejections(proxy: Document) -> Iterator[str]:
    for one in proxy.get("rejections", ()):
        yield f"  rejected by {terminal(proxy['id'])}: {terminal(one['message'].strip())}"
        resources = ", ".join(terminal(name) for name in one["resources"])
        origins = ", ".join(terminal(name) for name in one["origins"])
        yield f"      {resources or 'its snapshot'}, made from {origins or 'objects that are gone'}"
        causes = one.get("causes", ())
        yield from (f"      {_cause(cause)}" for cause in causes[:_CAUSES])
        if len(causes) > _CAUSES:
            yield f"      and {len(causes) - _CAUSES} more objects"


def _cause(cause: Document) -> str:
    """An object, its field, where that is written, and who brought it."""
    place = " ".join(filter(None, (cause["object"], cause["path"])))
    source, author = cause.get("source"), cause.get("author")
    where = f" at {source['file']}:{source['line']}" if source else ""
    if cause["release"]:
        build = _build(cause.get("build"))
        return terminal(f"{place}{where}, brought by {cause['release']}{f', build {build}' if build else ''}")
    return terminal(f"{place}{where}") + _author(author)


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


def _verified(build: Document | None) -> str:
    """What a token proved: the build, and of what it is one."""
    if not build:
        return ""
    place = build.get("branch") or build.get("tag")
    where = "@".join(filter(None, (build.get("repository", ""), place)))
    return " ".join(filter(None, (_build(build), where)))


def _value(value: object) -> str:
    return "(none)" if value is None else terminal(msgspec.json.encode(value).decode())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first row their titles."""
    shown = [[terminal(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in shown) for index in range(len(shown[0]))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in shown
    )
