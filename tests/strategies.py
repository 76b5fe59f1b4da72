"""Hypothesis strategies for meshes that App Mesh accepts, small enough to shrink and rich enough to matter.

Every reference is legal by construction; names come from short pools so that two drawn states overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st

from meshwright.model import SPECS, Key, Kind, Resource, State, decode
from meshwright.model.scalars import HttpMethod, PortProtocol
from meshwright.model.specs import VirtualNodeSpec, VirtualRouterSpec, VirtualServiceSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

T = TypeVar("T")
Wire = dict[str, Any]

MESH = "m"
PORTS = (8080, 8081, 9000, 443)
PROTOCOLS: tuple[PortProtocol, ...] = ("http", "http2", "grpc", "tcp")
METHODS: tuple[HttpMethod, ...] = ("GET", "POST", "DELETE", "PATCH")
PATHS = ("/", "/a", "/a/b", "/api/", "/v1/items")
REGEXES = ("/a.*", "/[a-z]+/[0-9]+", ".*", "/v(1|2)/items")
WORDS = ("x", "blue", "green-1", "42", "Z z")


def optional(values: SearchStrategy[T]) -> SearchStrategy[T | None]:
    """`values` or nothing."""
    return st.none() | values


def _present(members: Wire) -> Wire:
    """`members` without those that are None: an absent member, not a null one."""
    return {name: value for name, value in members.items() if value is not None}


@st.composite
def wires(draw: DrawFn, /, **members: SearchStrategy[Any]) -> Wire:
    """An object with a drawn value for every member; a drawn None leaves the member out."""
    return _present({name: draw(values) for name, values in members.items()})


def durations(most: int = 30_000) -> SearchStrategy[Wire]:
    """A duration, zero included, in either unit."""
    return st.one_of(
        wires(unit=st.just("ms"), value=st.integers(0, most)),
        wires(unit=st.just("s"), value=st.integers(0, most // 1000)),
    )


def http_timeouts() -> SearchStrategy[Wire]:
    """An HTTP timeout with either, both or no member."""
    return wires(idle=optional(durations()), perRequest=optional(durations()))


def header_matches() -> SearchStrategy[Wire]:
    """Each way of comparing a header."""
    words = st.sampled_from(WORDS)
    ranges = st.tuples(st.integers(-5, 100), st.integers(1, 50)).map(lambda r: {"start": r[0], "end": r[0] + r[1]})
    return st.one_of(
        wires(exact=words),
        wires(prefix=words),
        wires(suffix=words),
        wires(regex=st.sampled_from(REGEXES)),
        wires(range=ranges),
    )


def headers() -> SearchStrategy[list[Wire]]:
    """One to three header (or metadata) matches, on distinct names."""
    names = st.sampled_from(("x-user", "x-version", "user-agent", "Clientid"))
    one = wires(name=names, invert=optional(st.booleans()), match=optional(header_matches()))
    return st.lists(one, min_size=1, max_size=3, unique_by=lambda header: str(header["name"]))


def query_parameters() -> SearchStrategy[list[Wire]]:
    """One or two query parameter matches."""
    match = wires(exact=st.sampled_from(WORDS))
    one = wires(name=st.sampled_from(("q", "page")), match=optional(match))
    return st.lists(one, min_size=1, max_size=2, unique_by=lambda parameter: str(parameter["name"]))


def paths() -> SearchStrategy[Wire]:
    """Either a prefix or a path match."""
    return st.one_of(
        wires(prefix=st.sampled_from(PATHS)),
        st.sampled_from(PATHS).map(lambda path: {"path": {"exact": path}}),
        st.sampled_from(REGEXES).map(lambda regex: {"path": {"regex": regex}}),
    )


@st.composite
def http_matches(draw: DrawFn, port: int | None) -> Wire:
    """The match of an HTTP route."""
    rest = draw(
        wires(
            headers=optional(headers()),
            method=optional(st.sampled_from(METHODS)),
            queryParameters=optional(query_parameters()),
            scheme=optional(st.sampled_from(("http", "https"))),
        )
    )
    return _present({**draw(paths()), **rest, "port": port})


@st.composite
def grpc_matches(draw: DrawFn, port: int | None) -> Wire:
    """The match of a gRPC route; a method only with its service."""
    service = draw(optional(st.sampled_from(("shop.Cart", "shop.Pay"))))
    method = draw(optional(st.sampled_from(("Get", "Put")))) if service else None
    metadata = draw(optional(headers()))
    return _present({"serviceName": service, "methodName": method, "metadata": metadata, "port": port})


@st.composite
def retry_policies(draw: DrawFn, protocol: PortProtocol) -> Wire:
    """A retry policy with at least one event."""
    http = ("server-error", "gateway-error", "client-error", "stream-error")
    grpc = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
    policy: Wire = {"maxRetries": draw(st.integers(0, 5)), "perRetryTimeout": draw(durations())}
    policy["httpRetryEvents"] = draw(st.lists(st.sampled_from(http), min_size=1, max_size=4, unique=True))
    if draw(st.booleans()):
        policy["tcpRetryEvents"] = ["connection-error"]
    if protocol == "grpc" and draw(st.booleans()):
        policy["grpcRetryEvents"] = draw(st.lists(st.sampled_from(grpc), min_size=1, max_size=5, unique=True))
    return policy


def certificates() -> SearchStrategy[Wire]:
    """A certificate from files or from SDS."""
    return st.sampled_from(
        (
            {"file": {"certificateChain": "/tls/chain.pem", "privateKey": "/tls/key.pem"}},
            {"sds": {"secretName": "me"}},
        )
    )


def trusts() -> SearchStrategy[Wire]:
    """A trust from files or from SDS."""
    return st.sampled_from(({"file": {"certificateChain": "/tls/ca.pem"}}, {"sds": {"secretName": "trust"}}))


def sans() -> SearchStrategy[Wire]:
    """Subject alternative names, a DNS name and a URI."""
    names = st.sampled_from((["a.local"], ["spiffe://mesh/a", "b.local"]))
    return names.map(lambda exact: {"match": {"exact": exact}})


def listener_tls() -> SearchStrategy[Wire]:
    """A listener's TLS in every mode, mutual or not; now and then with a certificate of ACM."""
    acm = st.just({"acm": {"certificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/1"}})
    return wires(
        mode=st.sampled_from(("STRICT", "PERMISSIVE", "DISABLED")),
        certificate=certificates() | acm,
        validation=optional(wires(trust=trusts(), subjectAlternativeNames=optional(sans()))),
    )


def client_policies() -> SearchStrategy[Wire]:
    """A client policy, enforced or not, for all ports or some."""
    tls = wires(
        enforce=optional(st.booleans()),
        ports=optional(st.lists(st.sampled_from(PORTS), max_size=2, unique=True)),
        certificate=optional(certificates()),
        validation=wires(trust=trusts(), subjectAlternativeNames=optional(sans())),
    )
    return wires(tls=optional(tls))


def logging() -> SearchStrategy[Wire]:
    """An access log with each kind of format."""
    formats = st.sampled_from(
        ({"text": "%PROTOCOL% %RESPONSE_CODE%\n"}, {"json": [{"key": "status", "value": "%RESPONSE_CODE%"}]})
    )
    return wires(path=st.just("/dev/stdout"), format=optional(formats)).map(lambda log: {"accessLog": {"file": log}})


def _timeout(protocol: PortProtocol) -> SearchStrategy[Wire]:
    inner = wires(idle=optional(durations())) if protocol == "tcp" else http_timeouts()
    return inner.map(lambda one: {protocol: one})


def _pool(protocol: PortProtocol) -> SearchStrategy[Wire]:
    limits = st.integers(1, 500)
    match protocol:
        case "http":
            inner = wires(maxConnections=limits, maxPendingRequests=optional(limits))
        case "tcp":
            inner = wires(maxConnections=limits)
        case _:
            inner = wires(maxRequests=limits)
    return inner.map(lambda one: {protocol: one})


@st.composite
def _health_checks(draw: DrawFn, port: int, protocol: PortProtocol) -> Wire:
    kinds = PROTOCOLS if protocol in {"grpc", "http2"} else ("http", "http2", "tcp")
    kind = draw(st.sampled_from(kinds))
    check: Wire = {
        "protocol": kind,
        "healthyThreshold": draw(st.integers(2, 10)),
        "unhealthyThreshold": draw(st.integers(2, 10)),
        "intervalMillis": draw(st.sampled_from((5_000, 30_000))),
        "timeoutMillis": draw(st.sampled_from((2_000, 5_000))),
    }
    if kind in {"http", "http2"}:
        check["path"] = "/health"
    if draw(st.booleans()):
        check["port"] = port
    return check


def _outliers() -> SearchStrategy[Wire]:
    positive = st.integers(1, 60).map(lambda value: {"unit": "s", "value": value})
    return wires(
        interval=positive,
        baseEjectionDuration=positive,
        maxEjectionPercent=st.integers(0, 100),
        maxServerErrors=st.integers(1, 10),
    )


@st.composite
def node_listeners(draw: DrawFn, port: int, protocol: PortProtocol) -> Wire:
    """A listener of a virtual node."""
    rest = wires(
        timeout=optional(_timeout(protocol)),
        connectionPool=optional(_pool(protocol)),
        healthCheck=optional(_health_checks(port, protocol)),
        outlierDetection=optional(_outliers()),
        tls=optional(listener_tls()),
    )
    return {"portMapping": {"port": port, "protocol": protocol}, **draw(rest)}


def discoveries(name: str) -> SearchStrategy[Wire]:
    """DNS discovery in both response types and every IP preference, and Cloud Map."""
    preference = st.sampled_from(("IPv4_ONLY", "IPv4_PREFERRED", "IPv6_ONLY", "IPv6_PREFERRED"))
    dns = wires(
        hostname=st.just(f"{name}.local"),
        responseType=optional(st.sampled_from(("LOADBALANCER", "ENDPOINTS"))),
        ipPreference=optional(preference),
    )
    cloud_map = wires(namespaceName=st.just("ns"), serviceName=st.just(name), ipPreference=optional(preference))
    return dns.map(lambda one: {"dns": one}) | cloud_map.map(lambda one: {"awsCloudMap": one})


@st.composite
def node_specs(draw: DrawFn, name: str, backends: Sequence[str] = ()) -> Wire:
    """A virtual node that calls some of `backends`; now and then a client without listeners."""
    ports = draw(st.lists(st.sampled_from(PORTS), max_size=2, unique=True))
    spec = draw(
        wires(backendDefaults=optional(wires(clientPolicy=optional(client_policies()))), logging=optional(logging()))
    )
    if ports:
        spec["listeners"] = [draw(node_listeners(port, draw(st.sampled_from(PROTOCOLS)))) for port in ports]
        spec["serviceDiscovery"] = draw(discoveries(name))
    called = draw(st.lists(st.sampled_from(backends), max_size=4, unique=True)) if backends else []
    if called:
        spec["backends"] = [
            {"virtualService": draw(wires(virtualServiceName=st.just(one), clientPolicy=optional(client_policies())))}
            for one in called
        ]
    return spec


Ports = list[tuple[int, PortProtocol]]


@st.composite
def _targets(draw: DrawFn, nodes: dict[str, Ports], protocol: PortProtocol) -> list[Wire]:
    """Weighted targets among the nodes that speak `protocol`."""
    able = [(name, port) for name, ports in nodes.items() for port, spoken in ports if spoken == protocol]
    chosen = draw(st.lists(st.sampled_from(able), min_size=1, max_size=3, unique_by=lambda one: one[0]))
    weight = st.integers(0, 100)
    return [
        _present(
            {
                "virtualNode": name,
                "weight": draw(weight),
                "port": port if len(nodes[name]) > 1 or draw(st.booleans()) else None,
            }
        )
        for name, port in chosen
    ]


@st.composite
def route_specs(draw: DrawFn, listeners: Ports, nodes: dict[str, Ports]) -> Wire | None:
    """A route of a router with `listeners`; None where no node speaks a protocol of the router."""
    spoken = {protocol for ports in nodes.values() for _, protocol in ports}
    usable = [(port, protocol) for port, protocol in listeners if protocol in spoken]
    if not usable:
        return None
    port, protocol = draw(st.sampled_from(usable))
    match_port = port if len(listeners) > 1 or draw(st.booleans()) else None
    route: Wire = {"action": {"weightedTargets": draw(_targets(nodes, protocol))}}
    if protocol == "tcp":
        route["match"] = {"port": match_port} if match_port else None
        route["timeout"] = draw(optional(wires(idle=optional(durations()))))
    else:
        matches = grpc_matches if protocol == "grpc" else http_matches
        route["match"] = draw(matches(match_port))
        route["timeout"] = draw(optional(http_timeouts()))
        route["retryPolicy"] = draw(optional(retry_policies(protocol)))
    return _present({f"{protocol}Route": _present(route), "priority": draw(optional(st.integers(0, 1000)))})


@st.composite
def gateway_specs(draw: DrawFn) -> Wire:
    """A virtual gateway with one or two listeners."""
    ports = draw(st.lists(st.sampled_from(PORTS), min_size=1, max_size=2, unique=True))
    protocols = [draw(st.sampled_from(PROTOCOLS[:3])) for _ in ports]
    listeners = [
        draw(
            wires(
                portMapping=st.just({"port": port, "protocol": protocol}),
                tls=optional(listener_tls()),
                connectionPool=optional(_pool(protocol)),
            )
        )
        for port, protocol in zip(ports, protocols, strict=True)
    ]
    rest = wires(
        logging=optional(logging()), backendDefaults=optional(wires(clientPolicy=optional(client_policies())))
    )
    return {"listeners": listeners, **draw(rest)}


@st.composite
def gateway_route_specs(draw: DrawFn, listeners: Ports, services: dict[str, Ports]) -> Wire:
    """A gateway route of a gateway with `listeners` to one of `services` (name → the provider's ports)."""
    port, protocol = draw(st.sampled_from(listeners))
    name = draw(st.sampled_from(sorted(services)))
    target_port = draw(st.sampled_from(services[name]))[0] if len(services[name]) > 1 else None
    target = _present({"virtualService": {"virtualServiceName": name}, "port": target_port})
    hostnames = st.sampled_from(({"exact": "shop.example.com"}, {"suffix": ".example.com"}))
    action: Wire = {"target": target}
    switch = st.sampled_from(("ENABLED", "DISABLED"))
    rewrite = draw(wires(hostname=optional(wires(defaultTargetHostname=switch))))
    match: Wire = {"hostname": draw(optional(hostnames)), "port": port if len(listeners) > 1 else None}
    if protocol == "grpc":
        match |= {
            "serviceName": draw(st.sampled_from(("shop.Cart", "shop.Pay"))),
            "metadata": draw(optional(headers())),
        }
    else:
        match |= draw(paths()) | {"method": draw(optional(st.sampled_from(METHODS)))}
        match |= {"headers": draw(optional(headers())), "queryParameters": draw(optional(query_parameters()))}
        part = "prefix" if "prefix" in match else "path"
        prefix_rewrite = st.sampled_from(({"defaultPrefix": "DISABLED"}, {"value": "/inner/"}))
        change = draw(optional(prefix_rewrite if part == "prefix" else st.just({"exact": "/inner"})))
        rewrite |= _present({part: change})
    if rewrite:
        action["rewrite"] = rewrite
    route = {f"{protocol}Route": {"match": _present(match), "action": action}}
    return _present({**route, "priority": draw(optional(st.integers(0, 1000)))})


def resource(kind: Kind, name: str, spec: Wire, parent: str = "", mesh: str = MESH) -> Resource:
    """One object from its wire-named spec."""
    return Resource(key=Key(mesh, kind, name, parent), spec=decode(SPECS[kind], spec))


@st.composite
def states(draw: DrawFn, mesh: str = MESH, most: int = 3) -> State:
    """A mesh that App Mesh accepts: up to `most` nodes, routers, services and gateways, with their routes."""
    count = st.integers(0, most)
    service_names = [f"s{index}.local" for index in range(draw(count))]
    found: list[Resource] = [resource(Kind.MESH, mesh, draw(_mesh_specs()), mesh=mesh)]
    backends = [*service_names, "unknown.local"]
    nodes: dict[str, Ports] = {}
    for index in range(draw(count)):
        one = resource(Kind.VIRTUAL_NODE, f"n{index}", draw(node_specs(f"n{index}", backends)), mesh=mesh)
        found.append(one)
        nodes[one.key.name] = ports_of(one)
    routers: dict[str, Ports] = {}
    for index in range(draw(count)):
        ports = draw(st.lists(st.sampled_from(PORTS), min_size=1, max_size=2, unique=True))
        listeners = [{"portMapping": {"port": port, "protocol": draw(st.sampled_from(PROTOCOLS))}} for port in ports]
        one = resource(Kind.VIRTUAL_ROUTER, f"r{index}", {"listeners": listeners}, mesh=mesh)
        found.append(one)
        routers[one.key.name] = ports_of(one)
        found += draw(_routes(one.key, routers[one.key.name], nodes))
    services = {name: draw(_service(name, nodes, routers, mesh)) for name in service_names}
    found += [one for one, _ in services.values()]
    ports_by_service = {name: ports for name, (_, ports) in services.items()}
    for index in range(draw(st.integers(0, 1))):
        found += draw(_gateway(f"g{index}", ports_by_service, mesh))
    return State(found)


def _mesh_specs() -> SearchStrategy[Wire]:
    preference = st.sampled_from(("IPv4_ONLY", "IPv4_PREFERRED", "IPv6_ONLY", "IPv6_PREFERRED"))
    return wires(
        egressFilter=optional(wires(type=st.sampled_from(("ALLOW_ALL", "DROP_ALL")))),
        serviceDiscovery=optional(wires(ipPreference=preference)),
    )


@st.composite
def _routes(draw: DrawFn, router: Key, listeners: Ports, nodes: dict[str, Ports]) -> list[Resource]:
    specs = [draw(route_specs(listeners, nodes)) for _ in range(draw(st.integers(0, 3)))]
    return [
        resource(Kind.ROUTE, f"t{index}", spec, parent=router.name, mesh=router.mesh)
        for index, spec in enumerate(specs)
        if spec is not None
    ]


@st.composite
def _service(
    draw: DrawFn, name: str, nodes: dict[str, Ports], routers: dict[str, Ports], mesh: str
) -> tuple[Resource, Ports]:
    choices: list[tuple[Wire, Ports]] = [({}, [])]
    choices += [({"virtualNode": {"virtualNodeName": one}}, ports) for one, ports in nodes.items()]
    choices += [({"virtualRouter": {"virtualRouterName": one}}, ports) for one, ports in routers.items()]
    provider, ports = draw(st.sampled_from(choices))
    return resource(Kind.VIRTUAL_SERVICE, name, {"provider": provider} if provider else {}, mesh=mesh), ports


@st.composite
def _gateway(draw: DrawFn, name: str, services: dict[str, Ports], mesh: str) -> list[Resource]:
    spec = draw(gateway_specs())
    listeners: Ports = [(one["portMapping"]["port"], one["portMapping"]["protocol"]) for one in spec["listeners"]]
    found = [resource(Kind.VIRTUAL_GATEWAY, name, spec, mesh=mesh)]
    for index in range(draw(st.integers(0, 3)) if services else 0):
        route = draw(gateway_route_specs(listeners, services))
        found.append(resource(Kind.GATEWAY_ROUTE, f"gr{index}", route, parent=name, mesh=mesh))
    return found


def ports_of(one: Resource) -> Ports:
    """The ports and protocols of a node's or a router's listeners; none for any other object."""
    if isinstance(one.spec, VirtualNodeSpec | VirtualRouterSpec):
        return [(item.port_mapping.port, item.port_mapping.protocol) for item in one.spec.listeners or ()]
    return []


def proxies(state: State) -> list[Key]:
    """The keys of everything that an Envoy can stand for."""
    return [one.key for one in state if one.key.kind in {Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY}]


def services(state: State) -> list[Key]:
    """The keys of the virtual services."""
    return [one.key for one in state if isinstance(one.spec, VirtualServiceSpec)]
