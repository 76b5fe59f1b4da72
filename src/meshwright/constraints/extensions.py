"""What is refused of our extensions: targets that are not there, values that mean nothing, two where one can be.

The one rule: what is written is of use. A target that goes later leaves the extension without effect, and stops
nobody from deleting it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from meshwright.constraints.faults import Fault
from meshwright.constraints.listeners import duration_fault
from meshwright.constraints.references import ports
from meshwright.constraints.requests import range_faults, retry_faults
from meshwright.graph import Relation, contradict, scope_of
from meshwright.model.extensions import (
    CorsSpec,
    EgressPolicySpec,
    FaultSpec,
    HeaderEditSpec,
    MirrorSpec,
    RateLimitSpec,
    RetryPolicySpec,
    TelemetrySpec,
)
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.routing import MARK
from meshwright.routing.expressions import CURE, FOLDED_CLASSES, costly, folded_classes, matches, unfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.graph import Graph
    from meshwright.model.extensions.headers import OriginMatch
    from meshwright.model.state import Extension, Resource

SHORTEST_FILL = 50
"""Milliseconds that Envoy wants between two fills of a token bucket.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter
"""
_REFUSALS = frozenset((*range(400, 418), *range(421, 425), 426, 428, 429, 431, *range(500, 509), 510, 511))
"""The statuses of errors that Envoy's filters may answer with; it refuses a configuration that names another.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/v3/http_status.proto
"""
_UNTOUCHABLE = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        MARK,
    }
)
"""What a proxy routes and frames by, a gateway's own mark included.

Source: https://www.rfc-editor.org/rfc/rfc9110#field.connection
"""
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def extension_faults(graph: Graph, resource: Resource) -> Iterator[Fault]:
    """The faults of one extension, its references and its neighbours of the same kind."""
    yield from _missing(graph, resource.key)
    yield from _absent_ports(graph, resource)
    yield from _meaningless(cast("Extension", resource.spec))
    yield from _contradicted(graph, resource)


def _missing(graph: Graph, key: Key) -> Iterator[Fault]:
    for edge in graph.outgoing(key, Relation.OWNER, Relation.EXTENDS, Relation.CALLER, Relation.COPIES):
        place = edge.target
        if edge.found or (edge.relation is Relation.EXTENDS and place.kind is Kind.MESH):
            continue
        rule, path = "MW104" if edge.relation is Relation.OWNER else "MW101", edge.path or "meshName"
        there = graph.state.get(place)
        if there is not None:
            text = f"{place.kind.type_name} {place.wire_name} belongs to stack {there.stack!r} by now"
            detail = "It was its own stack's or nobody's when this was put. Put this anew if you may, or remove it."
            yield Fault(rule=rule, path=path, text=text, detail=detail)
            continue
        kind = "VirtualNode or VirtualGateway" if edge.relation is Relation.CALLER else place.kind.type_name
        yield Fault(
            rule=rule,
            path=path,
            text=f"{kind} with name {place.wire_name} is missing",
            detail=f"Define {place.path}, or correct the name.",
            missing=place,
        )


def _absent_ports(graph: Graph, resource: Resource) -> Iterator[Fault]:
    about, port, _ = scope_of(resource)
    yield from _not_listening(graph, about, port, "spec.target.port")
    if isinstance(resource.spec, MirrorSpec):
        to = resource.spec.to
        node = Key(resource.key.mesh, Kind.VIRTUAL_NODE, to.virtual_node_name)
        there = ports(graph, node)
        yield from _not_listening(graph, node, to.port, "spec.to.port")
        if to.port is None and len(there) > 1:
            yield Fault(
                rule="MW105",
                path="spec.to.port",
                text=f"A port must be set: VirtualNode {node.name} has multiple listeners",
                detail=f"It listens on {', '.join(map(str, there))}; name one of them.",
            )


def _not_listening(graph: Graph, place: Key, port: int | None, path: str) -> Iterator[Fault]:
    resource = graph.state.get(place)
    if port is None or resource is None or not isinstance(resource.spec, VirtualNodeSpec | VirtualGatewaySpec):
        return
    there = ports(graph, place)
    if port not in there:
        yield Fault(
            rule="MW105",
            path=path,
            text=f"{place.kind.type_name} {place.name} does not listen on port {port}",
            detail=f"It listens on {', '.join(map(str, there)) or 'none'}.",
        )


def _meaningless(spec: Extension) -> Iterator[Fault]:
    """Values that contradict each other, or that Envoy would not take."""
    match spec:
        case FaultSpec():
            yield from _of_fault(spec)
        case HeaderEditSpec():
            yield from _of_edits(spec)
        case CorsSpec():
            yield from _of_cors(spec)
        case MirrorSpec():
            yield from _decimals(spec.percentage, "spec.percentage")
        case RateLimitSpec():
            yield from _of_rate_limit(spec)
        case RetryPolicySpec():
            yield from retry_faults(spec.http_retry_policy, "spec.httpRetryPolicy")
            yield from retry_faults(spec.grpc_retry_policy, "spec.grpcRetryPolicy")
        case TelemetrySpec():
            yield from _of_telemetry(spec)
        case EgressPolicySpec():
            yield from _of_egress(spec)
        case _:
            return


def _of_fault(spec: FaultSpec) -> Iterator[Fault]:
    date = spec.expires_at[:10]
    year, month, day = map(int, date.split("-"))
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > _DAYS[month - 1] + leap:
        yield Fault(rule="MW002", path="spec.expiresAt", text=f"{date} is no day of the calendar")
    if spec.callers is not None and spec.target.virtual_service_name is None and spec.target.route_name is None:
        yield Fault(
            rule="MW005",
            path="spec.from",
            text="from can be set only where the target is a virtual service or a route",
            detail="An ingress and a gateway do not know who calls. Leave it out, or match a header.",
        )
    headers, at = spec.match.headers if spec.match is not None else None, "spec.match.headers"
    yield from range_faults(headers, at)
    matched = [
        (f"{at}[{index}].match.regex", one.match.regex) for index, one in enumerate(headers or ()) if one.match
    ]
    yield from _expressions(matched)
    for index, header in enumerate(headers or ()):
        if any(one in header.name for one in "\0\r\n"):
            text = f"{header.name!r} holds a line break or a NUL character"
            yield Fault(rule="MW211", path=f"{at}[{index}].name", text=text, detail="No header has such a name.")
    if spec.delay is not None:
        yield from duration_fault(spec.delay.duration, "spec.delay.duration")
        if spec.delay.duration.value == 0:
            yield Fault(rule="MW002", path="spec.delay.duration.value", text="A delay must be longer than 0")
        yield from _decimals(spec.delay.percentage, "spec.delay.percentage")
    if spec.abort is not None:
        yield from _decimals(spec.abort.percentage, "spec.abort.percentage")


def _of_edits(spec: HeaderEditSpec) -> Iterator[Fault]:
    named = []
    for way, edits in (("request", spec.request), ("response", spec.response)):
        removed, edited = (edits.remove, (("set", edits.set), ("add", edits.add))) if edits is not None else ((), ())
        named += [(f"spec.{way}.remove[{index}]", name) for index, name in enumerate(removed or ())]
        for member, values in edited:
            named += [(f"spec.{way}.{member}[{index}].name", one.name) for index, one in enumerate(values or ())]
    for path, name in named:
        if name.lower() in _UNTOUCHABLE:
            yield Fault(
                rule="MW005",
                path=path,
                text=f"The header {name!r} cannot be edited: messages are routed and framed by it",
                detail="Where a gateway shall keep or replace the Host, say so in the gateway route's rewrite.",
            )


def _of_cors(spec: CorsSpec) -> Iterator[Fault]:
    yield from _expressions(
        (f"spec.allowOrigins[{index}].regex", one.regex) for index, one in enumerate(spec.allow_origins)
    )
    yield from duration_fault(spec.max_age, "spec.maxAge")
    for index, origin in enumerate(spec.allow_origins if spec.allow_credentials else ()):
        if _takes_all(origin):
            yield Fault(
                rule="MW005",
                path="spec.allowCredentials",
                text="Credentials cannot be allowed to every origin",
                detail=f"allowOrigins[{index}] matches a plain '*', which Envoy takes for all. Name the origins that "
                "may send cookies.",
            )
            return


def _takes_all(origin: OriginMatch) -> bool:
    """Whether Envoy takes every origin for allowed: it asks whether `*` would match, before it asks about the origin.

    Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/cors/v3/cors.proto
    """
    regex = origin.regex
    return "*" in {origin.exact, origin.prefix, origin.suffix} or (regex is not None and matches(regex, "*"))


def _of_rate_limit(spec: RateLimitSpec) -> Iterator[Fault]:
    interval, path = spec.fill_interval, "spec.fillInterval"
    unfit = list(duration_fault(interval, path))
    yield from unfit
    if not unfit and interval.milliseconds < SHORTEST_FILL:
        yield Fault(
            rule="MW002",
            path=path,
            text=f"{interval.milliseconds} ms are too short; Envoy takes {SHORTEST_FILL} ms or more",
            detail="Fill more tokens at a time instead.",
        )
    if spec.status_code not in {None, *_REFUSALS}:
        yield Fault(
            rule="MW002",
            path="spec.statusCode",
            text=f"Envoy has no status {spec.status_code} to refuse with",
            detail="Use one that is registered for errors, such as 429 or 503.",
        )


def _of_egress(spec: EgressPolicySpec) -> Iterator[Fault]:
    if spec.type == "ALLOW_ALL" and spec.allow:
        text = "allow says what passes where all else is dropped, and type is ALLOW_ALL"
        yield Fault(rule="MW005", path="spec.allow", text=text, detail="Leave one of them out.")
    for index, one in enumerate(spec.allow or ()):
        if one.host.removesuffix(".").rpartition(".")[2].isdigit() and (one.protocol == "tls" or "*" in one.host):
            yield Fault(
                rule="MW005",
                path=f"spec.allow[{index}].host",
                text=f"{one.host!r} is an address: nothing would pass by it",
                detail="A TLS greeting names no address, and none lies below another. Name the host by its DNS name.",
            )


def _of_telemetry(spec: TelemetrySpec) -> Iterator[Fault]:
    for member, export in (("tracing", spec.tracing), ("accessLog", spec.access_log)):
        if export is None:
            continue
        endpoint = export.open_telemetry.endpoint
        if not 1 <= int(endpoint.rpartition(":")[2]) <= 65535:
            text = f"The port of {endpoint!r} is not a number from 1 to 65535"
            yield Fault(rule="MW002", path=f"spec.{member}.openTelemetry.endpoint", text=text)
        names = [one.key for one in export.attributes or ()]
        for index, name in enumerate(names):
            if name in names[:index]:
                path, text = f"spec.{member}.attributes[{index}].key", f"The attribute {name!r} is given twice"
                yield Fault(rule="MW005", path=path, text=text, detail="Leave one of them out.")
    if spec.tracing is not None and spec.tracing.sampling_percentage is not None:
        yield from _decimals(spec.tracing.sampling_percentage, "spec.tracing.samplingPercentage")


_TOGETHER = (
    "takes too long to compile, with those before it: those of one object that ignore case may have "
    f"{FOLDED_CLASSES} Unicode classes (\\p, \\P) together"
)


def _expressions(found: Iterable[tuple[str, str | None]]) -> Iterator[Fault]:
    """What is wrong with the expressions of an object, each after its path; together they may cost what one may."""
    left = FOLDED_CLASSES
    for path, expression in found:
        if expression is None:
            continue
        left -= folded_classes(expression)
        fault = unfit(expression) if left >= 0 or costly(expression) else (_TOGETHER, CURE)
        if fault is not None:
            yield Fault(
                rule="MW210", path=path, text=f"Regular expression {expression!r} {fault[0]}", detail=fault[1]
            )


def _decimals(percentage: float, path: str) -> Iterator[Fault]:
    if round(percentage, 4) != percentage:
        text = f"The percentage {percentage!r} has more than four decimals"
        yield Fault(rule="MW002", path=path, text=text, detail="Envoy counts in millionths.")


def _contradicted(graph: Graph, resource: Resource) -> Iterator[Fault]:
    place, _, _ = scope_of(resource)
    for other in graph.extensions(resource.key.kind, place):
        if contradict(resource, other):
            about = "the whole mesh" if place.kind is Kind.MESH else place.path
            yield Fault(
                rule="MW005",
                path="spec.target",
                text=f"{other.key.path} is a {resource.key.kind.type_name} for {about} already",
                detail="Two for exactly the same would contradict each other. Change that one, or remove it first.",
            )
            return
