"""A verdict on a call, with the file and line of what decided it: the route that takes it first, then why no other.

The one rule: the JSON, which is documented and stable, says all that the text says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from meshwright.views.escaping import indented_json, terminal
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from meshwright.diagnostics import Source
    from meshwright.model.identity import Key
    from meshwright.routing import Retry, Timeouts
    from meshwright.simulate import Call, Candidate, Effect, Hop, Share, Verdict

    Find: TypeAlias = Callable[[str, str], Source | None]
    """Where the field of an object, both as paths, stands in a file."""


_ALL = 100


def as_json(verdict: Verdict, find: Find) -> str:
    """`verdict` as indented JSON, with the `source` of whatever has a part in it."""
    told = to_wire(verdict)
    for call in (told["call"], *(hop[name] for hop in told["hops"] for name in ("call", "call_after"))):
        # The connection between two proxies is theirs, and no part of the call.
        del call["over_http1"]
    end = verdict.ending.decided_by
    told["ending"]["source"] = to_wire(end and find(end.path, ""))
    for hop, plain in zip(verdict.hops, told["hops"], strict=True):
        for candidate, written in zip(hop.candidates, plain["candidates"], strict=True):
            subject = candidate.origin.path
            written |= {"matched": candidate.matched, "source": to_wire(find(subject, ""))}
            for miss, line in zip(candidate.misses, written["misses"], strict=True):
                line["source"] = to_wire(find(subject, miss.path))
        for several, plains in ((hop.effects, plain["effects"]), *_of_targets(hop, plain["targets"])):
            for effect, written in zip(several, plains, strict=True):
                written["source"] = to_wire(find(effect.origin.path, ""))
    return indented_json({"version": 1, **told})


def _of_targets(hop: Hop, plain: list[Any]) -> Iterator[tuple[tuple[Effect, ...], list[Any]]]:
    for share, written in zip(hop.targets, plain, strict=True):
        yield share.effects, written["effects"]


def render(verdict: Verdict, find: Find, *, colour: bool) -> str:
    """`verdict` for people; ends in a newline."""
    good = "32" if verdict.outcome in {"routed", "outside"} else "33"
    status = f" {verdict.status}" if verdict.status is not None else ""
    grpc = f" (gRPC status {verdict.ending.grpc_status})" if verdict.ending.grpc_status is not None else ""
    head = _painted(f"{verdict.outcome}{status}{grpc}", f"1;{good}", colour)
    decided = verdict.ending.decided_by
    lines = [f"{head}: {terminal(verdict.ending.reason)}{_at(find, decided) if decided else ''}"]
    lines.append(f"{_asked(verdict.call)}, {'to' if _from_outside(verdict) else 'from'} {_named(verdict.caller)}")
    if verdict.hops and verdict.hops[0].call.path != verdict.call.path:
        lines.append(f"the path is read as {terminal(verdict.hops[0].call.path)}")
    for hop in verdict.hops:
        lines += ["", *_hop(hop, find, colour)]
    return "\n".join(lines) + "\n"


def _hop(hop: Hop, find: Find, colour: bool) -> Iterator[str]:
    title = _named(hop.at) if hop.decided_by == hop.at else f"{_named(hop.at)} → {_named(hop.decided_by)}"
    yield _painted(title, "1", colour)
    for candidate in hop.candidates:
        if candidate.origin == hop.chosen:
            yield f"  {_named(candidate.origin)}{_at(find, candidate.origin)}"
    yield from (f"    {line}" for line in (*_changes(hop), *_limits(hop), *_effects(hop.effects, find)))
    for share in hop.targets:
        yield f"    {_share(share)}"
        yield from (f"      {line}" for line in _effects(share.effects, find))
    others = [one for one in hop.candidates if one.origin != hop.chosen]
    if others:
        yield _painted("  not taken:", "2", colour)
    for candidate in others:
        yield from _other(candidate, find)


def _other(candidate: Candidate, find: Find) -> Iterator[str]:
    name = f"    {_named(candidate.origin)}{_at(find, candidate.origin)}"
    if candidate.matched:
        yield f"{name}: would match, and comes later"
        return
    yield name
    for miss in candidate.misses:
        where = _at(find, candidate.origin, miss.path)
        yield f"      {terminal(miss.path)}: wants {terminal(miss.wanted)}; the call has {terminal(miss.had)}{where}"


def _changes(hop: Hop) -> Iterator[str]:
    before, after = hop.call, hop.call_after
    if before.path != after.path:
        yield f"path {terminal(before.path)} becomes {terminal(after.path)}"
    if before.authority != after.authority:
        yield f"Host {terminal(before.authority)} becomes {terminal(after.authority)}"


def _limits(hop: Hop) -> Iterator[str]:
    if hop.timeouts is not None:
        yield f"limits: {_timeouts(hop.timeouts)}"
    if hop.retry is not None:
        yield f"retries: {_retry(hop.retry)}"


def _share(share: Share) -> str:
    how = "plaintext"
    if share.tls is not None:
        how = "mutual TLS" if share.tls.certificate else "TLS"
        how += f" to {terminal(' or '.join(share.tls.names))}" if share.tls.names else ""
    refused = f"; refused: {terminal(share.refused)}" if share.refused else ""
    where = f"{terminal(share.node.name)}:{share.port}"
    limits = _timeouts(share.timeouts)
    return f"→ {share.fraction * 100:.4g} % {where} ({share.protocol}, {how}), in the end {limits}{refused}"


def _effects(effects: Iterable[Effect], find: Find) -> Iterator[str]:
    for one in effects:
        share = "" if one.percentage >= _ALL else f" ({one.percentage:g} % of such calls)"
        yield f"{_named(one.origin)}: {terminal(one.told)}{share}{_at(find, one.origin)}"


def _timeouts(limits: Timeouts) -> str:
    idle = f"idle {_duration(limits.idle)}"
    return f"{_duration(limits.request)}, {idle}" if limits.request else idle


def _duration(milliseconds: int) -> str:
    if not milliseconds:
        return "without end"
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds} ms"


def _retry(retry: Retry) -> str:
    on = [one for one in retry.on if one != "retriable-status-codes"] + _runs(retry.statuses)
    each = f", each try within {_duration(retry.per_try)}" if retry.per_try else ""
    across = ", another version each time" if retry.across_versions else ""
    return f"{retry.most} more on {', '.join(on)}{each}{across}"


def _runs(numbers: Sequence[int]) -> list[str]:
    """Sorted `numbers`, several in a row as `500-508`."""
    runs: list[list[int]] = []
    for one in numbers:
        if runs and one == runs[-1][-1] + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    return [f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in runs]


def _asked(call: Call) -> str:
    scheme = "tcp" if call.protocol == "tcp" else call.scheme
    where = f"{scheme}://{call.host}:{call.port}"
    if call.protocol == "tcp":
        return terminal(where + (" in TLS" if call.encrypted else ""))
    over = {"http": "", "http2": " over HTTP/2", "grpc": " as gRPC"}[call.protocol]
    return terminal(f"{call.verb} {where}{call.path}{over}")


def _from_outside(verdict: Verdict) -> bool:
    return verdict.caller.kind == "virtualGateway"


def _named(key: Key) -> str:
    return f"{key.kind.type_name} {terminal(key.wire_name)}"


def _at(find: Find, key: Key, path: str = "") -> str:
    source = find(key.path, path)
    return f"  ({terminal(source)})" if source else ""


def _painted(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
