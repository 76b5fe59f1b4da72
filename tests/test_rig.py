"""Rigs: any mesh runs from its definitions alone, on real Envoys, and says of every call what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.errors import UsageError
from meshwright.lab.rig import Rig
from meshwright.model import Key, Kind, Resource, State
from meshwright.model.decoding import encode
from meshwright.simulate import Call
from rigging import declared
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    from meshwright.lab.collector import Span, Trace

pytestmark = pytest.mark.envoy

SHOP = Path(__file__).parent.parent / "examples" / "shop"
TRUST = "spiffe://shop.local"


@pytest.fixture
def shop() -> State:
    """The shop's definitions."""
    project = load_project(SHOP / "meshwright.yaml")
    return load(project.definitions, project.load_settings()).state


def node(name: str, **spec: Any) -> Resource:
    """A virtual node that is found under a name of its own, and the port that it listens on if it does."""
    discovery = {"serviceDiscovery": {"dns": {"hostname": f"{name}.nodes"}}} if "listeners" in spec else {}
    return resource(Kind.VIRTUAL_NODE, name, {**discovery, **spec})


def listening(protocol: str, port: int = 8080, tls: Wire | None = None) -> Wire:
    """The members of a node that has one listener."""
    return {"listeners": [{"portMapping": {"port": port, "protocol": protocol}, **({"tls": tls} if tls else {})}]}


def provided(name: str) -> Resource:
    """The service of a node."""
    return resource(Kind.VIRTUAL_SERVICE, f"{name}.local", {"provider": {"virtualNode": {"virtualNodeName": name}}})


def calling(*names: str, tls: Wire | None = None) -> Wire:
    """The members of a node that calls services; `tls` is its policy for all of them."""
    policy = {"backendDefaults": {"clientPolicy": {"tls": tls}}} if tls else {}
    return {"backends": [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in names], **policy}


def certificate(name: str) -> Wire:
    """A certificate in files."""
    return {"file": {"certificateChain": f"/keys/{name}.pem", "privateKey": f"/keys/{name}-key.pem"}}


def authority(name: str) -> Wire:
    """A bundle of authorities in a file."""
    return {"trust": {"file": {"certificateChain": f"/keys/{name}.pem"}}}


def identity(name: str) -> Wire:
    """The SPIFFE identity of a node, as the name of its secret."""
    return {"sds": {"secretName": f"{TRUST}/{name}"}}


def identified(*names: str) -> Wire:
    """A client policy by SPIFFE: whom it is willing to call."""
    exact = [f"{TRUST}/{name}" for name in names]
    validation = {
        "trust": {"sds": {"secretName": TRUST}},
        "subjectAlternativeNames": {"match": {"exact": exact}},
    }
    return {"certificate": identity("web"), "validation": validation}


def secured() -> State:
    """A mesh in which every kind of certificate, of discovery and of egress is needed for a call to come home."""
    mutual = {"mode": "STRICT", "certificate": certificate("api"), "validation": authority("clients")}
    by_identity = {
        "mode": "STRICT",
        "certificate": identity("pay"),
        "validation": {"trust": {"sds": {"secretName": TRUST}}},
    }
    shown = {"certificate": certificate("web"), "validation": authority("servers")}
    door = {"mode": "STRICT", "certificate": certificate("door"), "validation": authority("customers")}
    cloud_map = {"awsCloudMap": {
        "namespaceName": "shop.local", "serviceName": "stock", "attributes": [{"key": "version", "value": "2"}],
    }}  # fmt: skip
    called = ("api", "stock", "raw", "old", "reg")
    address = {"dns": {"hostname": "10.1.2.3", "ipPreference": "IPv6_ONLY"}}
    allow = [
        {"host": "api.example.com", "ports": [443], "protocol": "tls"},
        {"host": "*.example.org", "ports": [80], "protocol": "http"},
    ]
    entrance = [{"portMapping": {"port": 8443, "protocol": "http"}, "tls": door}]
    to_web = {"target": {"virtualService": {"virtualServiceName": "web.local"}}}
    return State([
        resource(Kind.MESH, MESH, {"egressFilter": {"type": "DROP_ALL"}}),
        resource(Kind.VIRTUAL_GATEWAY, "door", {"listeners": entrance}),
        resource(
            Kind.GATEWAY_ROUTE, "in", {"httpRoute": {"match": {"prefix": "/"}, "action": to_web}}, parent="door"
        ),
        node("web", **listening("http"), **calling(*called, tls=shown | {"ports": [8081]})),
        node("api", **listening("grpc", 8081, tls=mutual)),
        node("stock", **listening("http2"), serviceDiscovery=cloud_map),
        node("raw", **listening("tcp", 9000)),
        node("old", **listening("http", 8083), serviceDiscovery=address),
        node("reg", **listening("http", 8084)),
        resource(Kind.REGISTRATION, "reg", {"target": {"virtualNodeName": "reg"}}),
        node("payer", **calling("pay", tls=identified("pay"))),
        node("doubter", **calling("pay", tls=identified("somebody-else"))),
        node("stranger", **calling("api")),
        node("pay", **listening("http", 8082, tls=by_identity)),
        node("open", **listening("http"), **calling("web")),
        *(provided(name) for name in ("web", "api", "stock", "raw", "old", "reg", "pay")),
        resource(
            Kind.EGRESS_POLICY, "out", {"target": {"virtualNodeName": "web"}, "type": "DROP_ALL", "allow": allow}
        ),
        resource(
            Kind.EGRESS_POLICY, "free", {"target": {"virtualNodeName": "open"}, "type": "ALLOW_ALL"}
        ),
    ])  # fmt: skip


def key(name: str) -> Key:
    """A virtual node of the secured mesh."""
    return Key(MESH, Kind.VIRTUAL_NODE, name)


async def test_a_mesh_runs_from_its_definitions_alone() -> None:
    """Files, secrets of SDS, Cloud Map, registrations, every protocol, gateways with TLS, hosts outside: all work.

    Who is not trusted, or asks for another name, is refused.
    """
    async with Rig(secured()) as rig:
        sent = [await rig.send(asked.call, asked.at) for asked in declared(rig.graph)]
        seen = {(one.at.name, one.call.host): one.reply.node for one in sent}
        assert seen == {
            ("door", "gateway.example"): "web",
            ("web", "api.local"): "api",
            ("web", "stock.local"): "stock",
            ("web", "raw.local"): "raw",
            ("web", "old.local"): "old",
            ("web", "reg.local"): "reg",
            ("payer", "pay.local"): "pay",
            ("doubter", "pay.local"): "",
            ("stranger", "api.local"): "",
            ("open", "web.local"): "web",
        }
        plain = await rig.send(Call(host="gateway.example", port=8443))
        assert plain.reply.status == 0
        assert not plain.attempts
        out = [
            Call(host="api.example.com", port=443, scheme="https"),
            Call(host="www.example.org", port=80),
            Call(host="www.example.net", port=80),
        ]
        assert [(await rig.send(call, key("web"))).reply.node for call in out] == ["outside", "outside", ""]
        past = [await rig.send(Call(host="www.example.net", port=port), key("open")) for port in (8080, 81)]
        assert [(one.reply.node, one.taken) for one in past] == [("outside", True), ("outside", False)]
        # Of gRPC, its library says what a proxy would, where there is none.
        nobody = await rig.send(Call(protocol="grpc", host="api.local", port=82), key("web"))
        refused = next(one for one in sent if one.at == key("stranger"))
        assert [(one.reply.grpc_status, one.taken) for one in (nobody, refused)] == [(14, False), (14, True)]
        told = dict(zip(seen, await rig.report(sent), strict=True))
        assert encrypted(told["web", "api.local"]) == {"web": ("-", "api.nodes"), "api": ("web.nodes", "-")}
        assert encrypted(told["payer", "pay.local"]) == {
            "payer": ("-", f"{TRUST}/pay"),
            "pay": (f"{TRUST}/web", "-"),
        }
        assert encrypted(told["web", "raw.local"]) == {"web": ("-", "-"), "raw": ("-", "-")}
        (failure,) = {one.attributes["upstream.failure"] for one in told["doubter", "pay.local"].records}
        assert "SAN_matcher" in failure


def encrypted(trace: Trace) -> dict[str, tuple[str, ...]]:
    """By proxy, the name in the certificate of who called it, and of whom it called."""
    return {
        one.resource["service.name"]: tuple(
            one.attributes[f"{end}.tls.names"].replace("-,-", "-").removeprefix("-,").removesuffix(",-")
            for end in ("client", "upstream")
        )
        for one in trace.records
    }


async def test_a_call_is_seen_by_its_sender_the_workloads_and_the_proxies(shop: State) -> None:
    """Who answered, what arrived how often and when, and every hop with its route, as spans and log records."""
    async with Rig(shop, instances={"payment-v1": 2}) as rig:
        sent = await rig.send(Call(host="shop.example", port=8080, path="/home?a=b", headers=(("x-user", "ada"),)))
        assert (sent.reply.status, sent.reply.node, sent.reply.path) == (200, "web", "/home?a=b")
        assert sent.reply.headers["x-user"] == "ada"
        assert sent.reply.returned["content-type"] == "application/json"
        assert [(one.instance, one.port, one.request.path) for one in sent.attempts] == [("web-1", 8080, "/home?a=b")]
        assert sent.began_at <= sent.attempts[0].at <= sent.began_at + sent.seconds
        inside = Call(host="payment.shop.internal", port=8080)
        several = [await rig.send(inside, Key("shop", Kind.VIRTUAL_NODE, "orders")) for _ in range(4)]
        assert {one.reply.status for one in several} == {200}
        told = await rig.report([sent, *several])
        assert hops(told[0]) == [
            ("entrance", "server", {"gateway_route": "everything"}),
            ("entrance", "client", {"virtual_service": "web.shop.internal"}),
            ("web", "server", {}),
        ]
        for one, trace in zip(several, told[1:], strict=True):
            caller, server = trace.spans if trace.spans[0].kind == 3 else reversed(trace.spans)
            assert caller.attributes["meshwright.route"]
            assert caller.attributes["meshwright.release"] == "rig#1"
            assert server.parent == caller.id
            assert server.service == one.reply.node == one.attempts[0].node.name


def hops(trace: Trace) -> list[tuple[str, str, dict[str, str]]]:
    """Its spans from the outermost on: whose they are, and what they are about beside that."""
    by_parent = {span.parent: span for span in trace.spans}
    found = []
    span = next((one for one in trace.spans if one.parent not in {other.id for other in trace.spans}), None)
    while span is not None:
        found.append((span.service, {2: "server", 3: "client"}[span.kind], _about(span)))
        span = by_parent.get(span.id)
    return found


def _about(span: Span) -> dict[str, str]:
    names = ("gateway_route", "route", "virtual_service")
    return {name: value for name in names if (value := span.attributes.get(f"meshwright.{name}"))}


async def test_another_state_of_the_same_nodes_runs_without_another_start() -> None:
    """What is changed holds at once, ports and certificates included; what is changed back is as it was."""
    first = secured()
    stock = {"serviceDiscovery": encode(first[key("stock")].spec)["serviceDiscovery"]}
    moved = first.put(node("stock", **listening("http2", 8085), **stock))
    changed = moved.put(node("doubter", **calling("pay", tls=identified("pay"))))
    port = {"stock": 8080}

    async def seen(rig: Rig) -> tuple[str, str, list[int]]:
        """Who answers the doubter and the web node, and on which port."""
        doubted = await rig.send(Call(host="pay.local", port=8082), key("doubter"))
        asked = await rig.send(Call(protocol="http2", host="stock.local", port=port["stock"]), key("web"))
        return doubted.reply.node, asked.reply.node, [one.port for one in asked.attempts]

    async with Rig(first) as rig:
        assert await seen(rig) == ("", "stock", [8080])
        port["stock"] = 8085
        await rig.apply(changed)
        assert await seen(rig) == ("pay", "stock", [8085])
        port["stock"] = 8080
        await rig.apply(first)
        assert await seen(rig) == ("", "stock", [8080])
        with pytest.raises(
            UsageError, match="another rig is needed where nodes or gateways come or go: mesh/m/virtualNode/new"
        ):
            await rig.apply(first.put(node("new")))


async def test_a_node_whose_name_is_as_long_as_names_may_be_runs_like_any_other() -> None:
    """Two of them, too, that differ in their last letter: each instance has a name of its own, and no longer one."""
    names = {letter: f"{'n' * 254}{letter}" for letter in "ab"}
    state = State([
        resource(Kind.MESH, MESH, {}),
        node("web", **calling(*names)),
        *(node(name, **listening("http"), serviceDiscovery={"dns": {
            "hostname": f"{letter}.nodes", "responseType": "ENDPOINTS",
        }}) for letter, name in names.items()),
        *(resource(Kind.VIRTUAL_SERVICE, f"{letter}.local", {"provider": {"virtualNode": {"virtualNodeName": name}}})
          for letter, name in names.items()),
    ])  # fmt: skip
    async with Rig(state, instances={names["a"]: 2}) as rig:
        web = rig.named("web")
        sent = [await rig.send(Call(host=f"{letter}.local", port=8080), web) for letter in "aaaab"]
    assert [one.reply.node for one in sent] == [names[letter] for letter in "aaaab"]
    assert len({one.reply.instance for one in sent}) == 3
    assert all(len(one.reply.instance) <= 255 for one in sent)
