"""Hypothesis strategies for small valid meshes in which listeners, ports, providers and targets vary.

Names come from tiny pools, so that two draws share objects and differ in them: what a plan has to bridge.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from meshwright.model.identity import Key, Kind
from meshwright.model.state import Resource, State
from meshwright.plan import decoded

MESH = "m"
PORTS = (80, 81, 82)
PROTOCOLS = ("http", "http2", "grpc", "tcp")
Listeners = dict[int, str]


def listeners(protocols: tuple[str, ...] = PROTOCOLS) -> st.SearchStrategy[Listeners]:
    """One or two ports with a protocol each."""
    return st.dictionaries(st.sampled_from(PORTS), st.sampled_from(protocols), min_size=1, max_size=2)


@st.composite
def meshes(draw: st.DrawFn) -> State:
    """A mesh that App Mesh accepts as it stands."""
    nodes = draw(st.dictionaries(st.sampled_from("abc"), listeners(), min_size=1))
    routers = draw(st.dictionaries(st.sampled_from("rs"), listeners()))
    gateways = draw(st.dictionaries(st.sampled_from("gh"), listeners(("http", "http2", "grpc"))))
    providers = [None, *nodes, *routers]
    services = draw(st.dictionaries(st.sampled_from(("x.local", "y.local")), st.sampled_from(providers)))
    objects = [_object(Kind.MESH, MESH, {}, draw(tags()))]
    objects += [_object(Kind.VIRTUAL_NODE, name, _node(name, ports), draw(tags())) for name, ports in nodes.items()]
    objects += [_object(Kind.VIRTUAL_ROUTER, name, _listening(ports)) for name, ports in routers.items()]
    objects += [_object(Kind.VIRTUAL_GATEWAY, name, _listening(ports)) for name, ports in gateways.items()]
    objects += [_object(Kind.VIRTUAL_SERVICE, name, _service(provider, nodes)) for name, provider in services.items()]
    for router, ports in routers.items():
        for name in draw(st.sets(st.sampled_from("pq"))):
            objects.append(_object(Kind.ROUTE, name, draw(_route(ports, nodes)), parent=router))
    for gateway, ports in gateways.items():
        for name in draw(st.sets(st.sampled_from("pq"))) if services else ():
            spec = draw(_gateway_route(ports, services, {**nodes, **routers}))
            objects.append(_object(Kind.GATEWAY_ROUTE, name, spec, parent=gateway))
    return State(objects)


def tags() -> st.SearchStrategy[dict[str, str]]:
    """At most two tags."""
    return st.dictionaries(st.sampled_from(("team", "tier")), st.sampled_from(("", "red", "blue")))


def _object(
    kind: Kind, name: str, spec: dict[str, Any], labels: dict[str, str] | None = None, parent: str = ""
) -> Resource:
    return decoded(Key(MESH, kind, name, parent), spec, labels or {})


def _listening(ports: Listeners) -> dict[str, Any]:
    return {"listeners": [{"portMapping": {"port": port, "protocol": protocol}} for port, protocol in ports.items()]}


def _node(name: str, ports: Listeners) -> dict[str, Any]:
    return {**_listening(ports), "serviceDiscovery": {"dns": {"hostname": f"{name}.local"}}}


def _service(provider: str | None, nodes: dict[str, Listeners]) -> dict[str, Any]:
    if provider is None:
        return {}
    if provider in nodes:
        return {"provider": {"virtualNode": {"virtualNodeName": provider}}}
    return {"provider": {"virtualRouter": {"virtualRouterName": provider}}}


@st.composite
def _port(draw: st.DrawFn, ports: Listeners) -> dict[str, int]:
    """A `port` member: free where there is one listener, needed where there are more."""
    named = draw(st.sampled_from(sorted(ports)))
    return {"port": named} if len(ports) > 1 or draw(st.booleans()) else {}


@st.composite
def _route(draw: st.DrawFn, ports: Listeners, nodes: dict[str, Listeners]) -> dict[str, Any]:
    port = draw(_port(ports))
    protocol = ports[port["port"]] if port else next(iter(ports.values()))
    targets = [
        {"virtualNode": name, "weight": draw(st.integers(0, 2)), **draw(_port(nodes[name]))}
        for name in draw(st.lists(st.sampled_from(sorted(nodes)), min_size=1, max_size=2, unique=True))
    ]
    match = {**port, **({"prefix": "/"} if protocol.startswith("http") else {})}
    return {f"{protocol}Route": {"match": match, "action": {"weightedTargets": targets}}}


@st.composite
def _gateway_route(
    draw: st.DrawFn, ports: Listeners, services: dict[str, str | None], providers: dict[str, Listeners]
) -> dict[str, Any]:
    port = draw(_port(ports))
    protocol = ports[port["port"]] if port else next(iter(ports.values()))
    service = draw(st.sampled_from(sorted(services)))
    provider = services[service]
    at = draw(_port(providers[provider])) if provider is not None else {}
    match = {**port, **({"prefix": "/"} if protocol.startswith("http") else {})}
    target = {"virtualService": {"virtualServiceName": service}, **at}
    return {f"{protocol}Route": {"match": match, "action": {"target": target}}}
