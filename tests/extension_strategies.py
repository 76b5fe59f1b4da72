"""Hypothesis strategies for extensions of a mesh: any kind, about anything in it, as far as they may be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from meshwright import constraints
from meshwright.graph import resolve
from meshwright.model import Key, Kind, Resource, State
from strategies import (
    MESH,
    REGEXES,
    WORDS,
    Wire,
    durations,
    headers,
    optional,
    resource,
    retry_policies,
    states,
    wires,
)

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

NAMES = ("x-team", "Server", "x-envoy-upstream-service-time", "a!#$&'*+.^_`|~-9", "cookie", "content-type")
VALUES = ("", "plain", "100% %REQ(x)% %%", "é ✓", "a: b; c")


def shares() -> SearchStrategy[float]:
    """A percentage that Envoy can count."""
    return st.integers(0, 1_000_000).map(lambda millionths: millionths / 10_000)


def _values() -> SearchStrategy[list[Wire]]:
    one = wires(name=st.sampled_from(NAMES), value=st.sampled_from(VALUES))
    return st.lists(one, min_size=1, max_size=3)


def _edits() -> SearchStrategy[Wire]:
    names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)
    return wires(set=optional(_values()), add=optional(_values()), remove=names)


def _origins() -> SearchStrategy[list[Wire]]:
    words, regexes = st.sampled_from(("https://shop.example", "*", *WORDS)), st.sampled_from(REGEXES)
    one = st.one_of(wires(exact=words), wires(prefix=words), wires(suffix=words), wires(regex=regexes))
    return st.lists(one, min_size=1, max_size=3)


@st.composite
def _faults(draw: DrawFn, proxies: list[str]) -> Wire:
    members: Wire = {"expiresAt": "2999-01-01T00:00:00Z"}
    status = draw(st.sampled_from(({"httpStatus": 200}, {"httpStatus": 599}, {"grpcStatus": 1}, {"grpcStatus": 16})))
    members["abort"] = {**status, "percentage": draw(shares())}
    if draw(st.booleans()):
        members["delay"] = {
            "duration": {"unit": "ms", "value": draw(st.integers(1, 10**6))},
            "percentage": draw(shares()),
        }
    if draw(st.booleans()):
        members["match"] = {"headers": draw(headers())}
    named = draw(st.booleans())
    if proxies and named:
        members["from"] = draw(st.lists(st.sampled_from(proxies), min_size=1, max_size=2, unique=True))
    return members


def _cors() -> SearchStrategy[Wire]:
    names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2)
    return wires(
        allowOrigins=_origins(),
        allowMethods=optional(st.lists(st.sampled_from(("GET", "PUT", "*")), min_size=1, max_size=2)),
        allowHeaders=optional(names),
        exposeHeaders=optional(names),
        maxAge=optional(durations()),
        allowCredentials=optional(st.booleans()),
    )


def _allowances() -> SearchStrategy[list[Wire]]:
    one = wires(
        host=st.sampled_from(("api.example", "*.example", "s0.local")),
        ports=st.lists(st.sampled_from((443, 8080)), min_size=1, max_size=2, unique=True),
        protocol=st.sampled_from(("tls", "http")),
    )
    return st.lists(one, max_size=3)


def _specs(kind: Kind, nodes: list[str], proxies: list[str]) -> SearchStrategy[Wire]:
    """What an extension of `kind` says besides its target."""
    collector = st.just({"endpoint": "otel.example:4317"})
    match kind:
        case Kind.FAULT:
            return _faults(proxies)
        case Kind.MIRROR:
            to = wires(virtualNodeName=st.sampled_from(nodes or ["n0"]))
            return wires(to=to, percentage=shares())
        case Kind.HEADER_EDIT:
            return wires(request=optional(_edits()), response=_edits())
        case Kind.CORS:
            return _cors()
        case Kind.RATE_LIMIT:
            interval = wires(unit=st.just("ms"), value=st.integers(50, 10_000))
            return wires(
                maxTokens=st.integers(1, 2**31 - 1), fillInterval=interval, statusCode=optional(st.just(503))
            )
        case Kind.EGRESS_POLICY:
            return wires(allow=optional(_allowances()))
        case Kind.RETRY_POLICY:
            return wires(
                httpRetryPolicy=optional(retry_policies("http")),
                grpcRetryPolicy=optional(retry_policies("grpc")),
                acrossVersions=st.booleans(),
            )
        case Kind.TELEMETRY:
            log = wires(openTelemetry=collector)
            return wires(
                tracing=wires(openTelemetry=collector, samplingPercentage=optional(shares())), accessLog=optional(log)
            )
        case Kind.ZONE_POLICY:
            return wires(preferSameZone=st.booleans(), minHealthyPercentage=optional(st.integers(0, 100)))
        case _:
            return st.just({})


def _targets(state: State) -> list[Wire]:
    """What in `state` an extension may be about, whatever its kind allows."""
    found: list[Wire] = []
    for one in state:
        key = one.key
        if key.kind is Kind.ROUTE:
            found.append({"virtualRouterName": key.parent, "routeName": key.name})
        elif key.kind is Kind.GATEWAY_ROUTE:
            found.append({"virtualGatewayName": key.parent, "gatewayRouteName": key.name})
        elif key.kind in {Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY, Kind.VIRTUAL_SERVICE}:
            found.append({key.kind.name_field: key.name})
            ports = [listener.port_mapping.port for listener in getattr(one.spec, "listeners", None) or ()]
            if key.kind is not Kind.VIRTUAL_SERVICE:
                found += [{key.kind.name_field: key.name, "port": port} for port in ports]
    return found


_OF_MESHES = {Kind.TELEMETRY, Kind.ZONE_POLICY}
"""Kinds that may be about the whole mesh."""
EXTENSIONS = tuple(kind for kind in Kind if not kind.portable)


@st.composite
def extended_states(draw: DrawFn) -> State:
    """A mesh that App Mesh accepts, with up to six extensions that Meshwright accepts."""
    state = draw(states())
    targets = _targets(state)
    nodes = [one.key.name for one in state.of(Kind.VIRTUAL_NODE)]
    proxies = [*nodes, *(one.key.name for one in state.of(Kind.VIRTUAL_GATEWAY))]
    for index in range(draw(st.integers(0, 6)) if targets else 0):
        kind = draw(st.sampled_from(EXTENSIONS))
        target = draw(st.sampled_from([*targets, None] if kind in _OF_MESHES else targets))
        spec = draw(_specs(kind, nodes, proxies))
        state = _written(state, kind, f"e{index}", {"target": target, **spec} if target else spec)
    return state


def _written(state: State, kind: Kind, name: str, spec: Wire) -> State:
    """`state` with the extension, or without it where it may not be written."""
    try:
        made: Resource = resource(kind, name, spec)
    except ValueError:
        return state  # a target that this kind has not
    after = state.put(made)
    return state if constraints.refusal(resolve(after), Key(MESH, kind, name)) else after
