"""Hypothesis strategies for meshes with extensions: every kind, about what is there, and nothing that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import re2
from hypothesis import strategies as st

from meshwright.graph import contradict
from meshwright.model import Key, Kind, Resource, State
from meshwright.plan import decoded
from strategies import REGEXES, WORDS, Wire, durations, headers, optional, ports_of, retry_policies, wires

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

NAMES = ("e0", "e1")
FIELDS = ("x-team", "Server", "x-envoy-upstream-service-time", "a!#$&'*+.^_`|~-9", "cookie", "content-type")
_FIELDS = st.sampled_from(FIELDS)
_VALUES = st.sampled_from(("", "plain", "100% %REQ(x)% %%", "é ✓", "a: b; c", "%START_TIME%", 'q="%%"'))
_PERCENTAGES = st.one_of(st.sampled_from((0, 100, 0.0001, 33.3333)), st.integers(0, 10**6).map(lambda n: n / 10**4))
_ENDPOINTS = st.sampled_from(("otel.local:4317", "127.0.0.1:4317", "[::1]:4317"))


@st.composite
def extended(draw: DrawFn, states: SearchStrategy[State]) -> State:
    """One of `states` with extensions of the objects that it has."""
    state = draw(states)
    for kind, name in draw(
        st.lists(st.sampled_from([(kind, name) for kind in _SPECS for name in NAMES]), unique=True)
    ):
        spec = draw(_SPECS[kind](state))
        if spec is not None:
            tags = {"team": "x"} if draw(st.booleans()) else {}
            one = decoded(Key(state.meshes[0], kind, name), spec, tags)
            if not any(contradict(one, other) for other in state.of(kind)):
                state = state.put(one)
    return state


def _keys(state: State, kind: Kind) -> list[Key]:
    return [one.key for one in state.of(kind)]


def _services(state: State) -> list[Wire]:
    return [{"virtualServiceName": key.name} for key in _keys(state, Kind.VIRTUAL_SERVICE)]


def _routes(state: State) -> list[Wire]:
    return [{"virtualRouterName": key.parent, "routeName": key.name} for key in _keys(state, Kind.ROUTE)]


def _nodes(state: State) -> list[Wire]:
    return [{"virtualNodeName": key.name} for key in _keys(state, Kind.VIRTUAL_NODE)]


def _gateways(state: State) -> list[Wire]:
    return [{"virtualGatewayName": key.name} for key in _keys(state, Kind.VIRTUAL_GATEWAY)]


def _places(state: State) -> list[Wire]:
    """All five forms, nodes with and without a port."""
    routes = [
        {"virtualGatewayName": key.parent, "gatewayRouteName": key.name} for key in _keys(state, Kind.GATEWAY_ROUTE)
    ]
    ports = [
        {"virtualNodeName": one.key.name, "port": port}
        for one in state.of(Kind.VIRTUAL_NODE)
        for port, _ in ports_of(one)
    ]
    return [*_services(state), *_routes(state), *routes, *_nodes(state), *ports, *_gateways(state)]


def _about(targets: list[Wire], **members: SearchStrategy[Any]) -> SearchStrategy[Wire | None]:
    """A spec about one of `targets`; None where there is none."""
    return wires(target=st.sampled_from(targets), **members) if targets else st.none()


@st.composite
def _faults(draw: DrawFn, state: State) -> Wire | None:
    spec: Wire | None = draw(
        _about(
            _places(state),
            match=optional(wires(headers=headers())),
            delay=optional(
                wires(duration=wires(unit=st.just("ms"), value=st.integers(1, 10**6)), percentage=_PERCENTAGES)
            ),
            expiresAt=st.sampled_from(("2100-01-01T00:00:00Z", "2001-02-28T23:59:59.5Z")),
        )
    )
    if spec is None:
        return None
    status = st.one_of(wires(httpStatus=st.integers(200, 599)), wires(grpcStatus=st.integers(1, 16)))
    if "delay" not in spec or draw(st.booleans()):
        spec["abort"] = {**draw(status), "percentage": draw(_PERCENTAGES)}
    names = [next(iter(one.values())) for one in (*_nodes(state), *_gateways(state))]
    if names and {"virtualServiceName", "routeName"} & spec["target"].keys() and draw(st.booleans()):
        spec["from"] = [draw(st.sampled_from(names))]
    return spec


@st.composite
def _mirrors(draw: DrawFn, state: State) -> Wire | None:
    targets, nodes = [*_services(state), *_routes(state)], state.of(Kind.VIRTUAL_NODE)
    if not targets or not nodes:
        return None
    node = draw(st.sampled_from(nodes))
    ports = ports_of(node)
    to = {"virtualNodeName": node.key.name}
    port = {"port": draw(st.sampled_from(ports))[0]} if len(ports) > 1 else {}
    return {"target": draw(st.sampled_from(targets)), "to": {**to, **port}, "percentage": draw(_PERCENTAGES)}


def _edits() -> SearchStrategy[Wire]:
    field = st.lists(wires(name=_FIELDS, value=_VALUES), min_size=1, max_size=2)
    names = st.lists(_FIELDS, min_size=1, max_size=2)
    return wires(set=optional(field), add=optional(field), remove=names)


def _header_edits(state: State) -> SearchStrategy[Wire | None]:
    return _about(_places(state), request=_edits(), response=optional(_edits()))


def _cors(state: State) -> SearchStrategy[Wire | None]:
    words = st.sampled_from(("https://shop.example", *WORDS))
    regexes = st.sampled_from([one for one in REGEXES if not re2.fullmatch(one, "*")])
    # Whoever may be anybody gets no credentials.
    anybody = st.sampled_from(({"exact": "*"}, {"regex": ".*"}))
    some = st.one_of(wires(exact=words), wires(prefix=words), wires(suffix=words), wires(regex=regexes))
    names = optional(st.lists(_FIELDS, min_size=1, max_size=2))
    members = {
        "allowMethods": optional(st.lists(st.sampled_from(("GET", "PUT", "*")), min_size=1, max_size=2)),
        "allowHeaders": names,
        "exposeHeaders": names,
        "maxAge": optional(durations()),
    }
    origins, everybody = (st.lists(one, min_size=1, max_size=3) for one in (some, some | anybody))
    return st.one_of(
        _about(_places(state), allowOrigins=origins, allowCredentials=optional(st.booleans()), **members),
        _about(_places(state), allowOrigins=everybody, **members),
    )


def _rate_limits(state: State) -> SearchStrategy[Wire | None]:
    tokens = st.integers(1, 2**31 - 1)
    interval = wires(unit=st.just("ms"), value=st.integers(50, 10**6))
    status = st.sampled_from((401, 429, 503))
    return _about(
        _places(state),
        maxTokens=tokens,
        tokensPerFill=optional(tokens),
        fillInterval=interval,
        statusCode=optional(status),
    )


def _egress_policies(state: State) -> SearchStrategy[Wire | None]:
    host = st.sampled_from(("example.com", "*.example.com", "api.example.org", "s0.local"))
    ports = st.lists(st.sampled_from((80, 443, 8443)), min_size=1, max_size=2, unique=True)
    allowance = wires(host=host, ports=ports, protocol=st.sampled_from(("tls", "http")))
    some = _about(_nodes(state), type=optional(st.just("DROP_ALL")), allow=optional(st.lists(allowance, max_size=3)))
    return some | _about(_nodes(state), type=st.just("ALLOW_ALL"))


def _retries(state: State) -> SearchStrategy[Wire | None]:
    return _about(
        [*_services(state), *_routes(state)],
        httpRetryPolicy=optional(retry_policies("http")),
        grpcRetryPolicy=optional(retry_policies("grpc")),
        acrossVersions=st.booleans(),
    )


def _telemetry(state: State) -> SearchStrategy[Wire | None]:
    collector = wires(endpoint=_ENDPOINTS, protocol=optional(st.just("grpc")))
    attributes = optional(st.just([{"key": "team", "value": "x"}, {"key": "tier", "value": ""}]))
    tracing = wires(
        openTelemetry=collector, samplingPercentage=optional(_PERCENTAGES), serviceName=optional(st.just("shop")),
        attributes=attributes,
    )  # fmt: skip
    target = optional(st.sampled_from([*_nodes(state), *_gateways(state)])) if len(_nodes(state)) else st.none()
    return wires(
        target=target, tracing=tracing, accessLog=optional(wires(openTelemetry=collector, attributes=attributes))
    )


def _zone_policies(state: State) -> SearchStrategy[Wire | None]:
    targets = [*_services(state), *_nodes(state)]
    target = optional(st.sampled_from(targets)) if targets else st.none()
    return wires(target=target, preferSameZone=st.booleans(), minHealthyPercentage=optional(st.integers(0, 100)))


def _registrations(state: State) -> SearchStrategy[Wire | None]:
    return _about(_nodes(state))


_SPECS = {
    Kind.FAULT: _faults,
    Kind.MIRROR: _mirrors,
    Kind.HEADER_EDIT: _header_edits,
    Kind.CORS: _cors,
    Kind.RATE_LIMIT: _rate_limits,
    Kind.EGRESS_POLICY: _egress_policies,
    Kind.RETRY_POLICY: _retries,
    Kind.TELEMETRY: _telemetry,
    Kind.ZONE_POLICY: _zone_policies,
    Kind.REGISTRATION: _registrations,
}


def extensions(state: State) -> list[Resource]:
    """The extensions in `state`."""
    return [one for one in state if not one.key.kind.portable]
