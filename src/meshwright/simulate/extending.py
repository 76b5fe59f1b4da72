"""What extensions do to a call where it passes them.

The one rule: they are asked in the order of a proxy's filters; the first that answers ends the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.model.extensions import (
    CorsSpec,
    FaultSpec,
    HeaderEditSpec,
    MirrorSpec,
    RateLimitSpec,
    RetryPolicySpec,
)
from meshwright.model.identity import Kind
from meshwright.routing import LostTarget, copied, holding
from meshwright.routing.expressions import matches
from meshwright.simulate.matching import fits, is_preflight
from meshwright.simulate.statuses import ending
from meshwright.simulate.verdicts import Effect

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.extensions.headers import OriginMatch
    from meshwright.model.state import Resource
    from meshwright.routing import Place
    from meshwright.simulate.calls import Call
    from meshwright.simulate.verdicts import Ending

_CERTAIN = 100
_KINDS = (Kind.CORS, Kind.RATE_LIMIT, Kind.FAULT, Kind.RETRY_POLICY, Kind.MIRROR, Kind.HEADER_EDIT)
"""In the order of a proxy's filters; then what its router does."""
_WITHOUT_TARGET = (Kind.RATE_LIMIT, Kind.FAULT)


def effects(graph: Graph, place: Place, call: Call, now: int, *, sent_on: bool = True) -> tuple[Effect, ...]:
    """What the extensions that hold at `place` do to `call`; `now` in milliseconds since the epoch, UTC.

    Where it is not `sent_on`, because the route leads nowhere, browsers' questions are not answered either.
    """
    if not graph.has_extensions:
        return ()
    found: list[Effect] = []
    for kind in _KINDS if sent_on else _WITHOUT_TARGET:
        extension = holding(graph, kind, place, now)
        if extension is not None and (place.protocol != "tcp" or kind is Kind.RATE_LIMIT):
            found += _effects(graph, place, call, extension)
    return tuple(found)


def answered(told: tuple[Effect, ...], call: Call) -> Ending | None:
    """How the call ends where an extension answers every call that is like it."""
    for one in told:
        if one.percentage >= _CERTAIN and one.status is not None:
            reason = f"{one.origin.kind.type_name} {one.origin.name!r} {one.told}"
            return ending(call, "answered", one.status, reason, one.origin, one.grpc_status)
    return None


def edited(graph: Graph, place: Place, call: Call, now: int) -> Call:
    """`call` with the edits of request headers that hold at `place`."""
    if not graph.has_extensions or place.protocol == "tcp":
        return call
    extension = holding(graph, Kind.HEADER_EDIT, place, now)
    edits = extension.spec.request if extension and isinstance(extension.spec, HeaderEditSpec) else None
    if edits is None:
        return call
    put, more = (tuple((one.name, one.value) for one in several or ()) for several in (edits.set, edits.add))
    return call.with_headers(drop=edits.remove or (), set_=put, add=more)


def _effects(graph: Graph, place: Place, call: Call, extension: Resource) -> list[Effect]:
    key, spec = extension.key, extension.spec
    match spec:
        case CorsSpec():
            return [_shared(extension, spec, call)]
        case RateLimitSpec():
            what = "connection" if place.protocol == "tcp" else "request"
            wait = spec.fill_interval.milliseconds
            told = f"takes a token a {what}, of {spec.max_tokens}; {spec.tokens_per_fill or 1} come every {wait} ms"
            return [Effect(origin=key, told=told)]
        case FaultSpec():
            headers = (spec.match.headers if spec.match else None) or ()
            return _faults(extension, spec) if all(fits(one, call) for one in headers) else []
        case MirrorSpec() if place.called is not None:
            target = copied(graph, spec.to, place.called)
            if isinstance(target, LostTarget):
                return [Effect(origin=key, told=f"copies nothing: {target.reason}", percentage=0)]
            told = f"copied to {target.node.name}:{target.port}"
            return [Effect(origin=key, told=told, percentage=spec.percentage, copied_to=target.node)]
        case RetryPolicySpec():
            return [Effect(origin=key, told="decides about retries")]
        case HeaderEditSpec():
            sides = " and ".join(side for side in ("request", "response") if getattr(spec, side))
            return [Effect(origin=key, told=f"edits headers of the {sides}")]
        case _:
            return []


def _faults(extension: Resource, spec: FaultSpec) -> list[Effect]:
    found = []
    if spec.delay is not None:
        wait, share = max(spec.delay.duration.milliseconds, 1), spec.delay.percentage
        found.append(Effect(origin=extension.key, told=f"waits {wait} ms", percentage=share, delay=wait))
    if spec.abort is not None:
        status, grpc = spec.abort.http_status, spec.abort.grpc_status
        told = f"answers with status {status}"
        if grpc is not None:
            # To a client of plain HTTP that is an empty success.
            status, told = 200, f"answers with gRPC status {grpc}"
        share = spec.abort.percentage
        found.append(Effect(origin=extension.key, told=told, percentage=share, status=status, grpc_status=grpc))
    return found


def _shared(extension: Resource, spec: CorsSpec, call: Call) -> Effect:
    """What a policy about browsers does with a request, and with a question before one."""
    origins = call.values("origin")
    allowed = bool(origins) and any(_is_origin(one, origins[0]) for one in spec.allow_origins)
    told = f"{'allows' if allowed else 'does not allow'} pages of {origins[0]!r}" if origins else "is for browsers"
    if is_preflight(call):
        return Effect(origin=extension.key, told=f"{told}, and answers the browser's question", status=200)
    return Effect(origin=extension.key, told=told)


def _is_origin(match: OriginMatch, origin: str) -> bool:
    if match.regex is not None:
        return matches(match.regex, origin)
    if match.exact is not None:
        return match.exact in {origin, "*"}
    if match.prefix is not None:
        return origin.startswith(match.prefix)
    return origin.endswith(match.suffix or "")
