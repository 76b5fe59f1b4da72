"""Whatever a real Envoy rejects of what definitions come to is told with the object and the field at fault."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from envoys import envoy, until
from handmade import NODE, plain, snapshot
from meshwright.ads.server import AdsServer
from meshwright.control import Control, Proxy
from meshwright.graph import resolve
from meshwright.lab.addresses import Block
from meshwright.model import Key, Kind, State
from meshwright.model.specs import VirtualNodeSpec
from meshwright.model.state import Resource
from meshwright.snapshot.blame import Culprit, traced
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import ROUTE, EnvoyResource, Redirect
from meshwright.store.contract import Head
from processes import DEADLINE
from stage import Everybody
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from meshwright.graph import Graph
    from meshwright.snapshot.resources import Placement, Snapshot, Traits

    Object = tuple[Kind, str, Wire, str]

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
N = Key(MESH, Kind.VIRTUAL_NODE, "n")
GATEWAY = Key(MESH, Kind.VIRTUAL_GATEWAY, "gw")
BAD = Key(MESH, Kind.ROUTE, "bad", "r")
BAD_GATEWAY_ROUTE = Key(MESH, Kind.GATEWAY_ROUTE, "bad", "gw")

_ACTION = {"weightedTargets": [{"virtualNode": "n", "weight": 1}]}
_LISTENER = {"portMapping": {"port": 8080, "protocol": "http"}}
_SERVICE = {"virtualServiceName": "s.local"}
_FILES = {"file": {"certificateChain": "/no/such/chain.pem", "privateKey": "/no/such/key.pem"}}
_CA = {"file": {"certificateChain": "/no/such/ca.pem"}}

BASE: tuple[Object, ...] = (
    (Kind.VIRTUAL_NODE, "web", {
        "listeners": [_LISTENER], "serviceDiscovery": {"dns": {"hostname": "127.1.1.1"}},
        "backends": [{"virtualService": _SERVICE}]}, ""),
    (Kind.VIRTUAL_NODE, "n", {"listeners": [_LISTENER], "serviceDiscovery": {"dns": {"hostname": "127.1.3.1"}}}, ""),
    (Kind.VIRTUAL_SERVICE, "s.local", {"provider": {"virtualRouter": {"virtualRouterName": "r"}}}, ""),
    (Kind.VIRTUAL_ROUTER, "r", {"listeners": [_LISTENER]}, ""),
    (Kind.ROUTE, "good", {"httpRoute": {"match": {"prefix": "/"}, "action": _ACTION}, "priority": 5}, "r"),
    (Kind.VIRTUAL_GATEWAY, "gw", {"listeners": [_LISTENER]}, ""),
    (Kind.GATEWAY_ROUTE, "good", {
        "httpRoute": {"match": {"prefix": "/"}, "action": {"target": {"virtualService": _SERVICE}}}}, "gw"),
)  # fmt: skip
"""A node that calls another through a router, and a gateway to it; named by addresses, so that nobody asks DNS."""


def route(**match: Any) -> Object:
    """A route beside the good one."""
    return Kind.ROUTE, "bad", {"httpRoute": {"match": match, "action": _ACTION}, "priority": 1}, "r"


def gateway_route(match: Wire, **action: Any) -> Object:
    """A gateway route beside the good one."""
    spec = {"match": match, "action": {"target": {"virtualService": _SERVICE}} | action}
    return Kind.GATEWAY_ROUTE, "bad", {"httpRoute": spec, "priority": 1}, "gw"


def changed(name: str, **members: Any) -> Object:
    """One of the base's nodes, or the gateway, with other members."""
    kind, _, spec, parent = next(one for one in BASE if one[1] == name)
    return kind, name, spec | members, parent


def listening(name: str, **members: Any) -> Object:
    """The same with other members of its listener."""
    return changed(name, listeners=[_LISTENER | members])


def logging(**file: Any) -> Wire:
    """An access log."""
    return {"logging": {"accessLog": {"file": {"path": "/dev/null"} | file}}}


def checking(path: str) -> Wire:
    """A health check."""
    times = {"intervalMillis": 5000, "timeoutMillis": 2000, "healthyThreshold": 2, "unhealthyThreshold": 2}
    return {"protocol": "http", "path": path} | times


OK: Wire = {"name": "ok", "match": {"exact": "1"}}

REJECTED: dict[str, tuple[Object, Key, str]] = {
    "regex of a path": (route(path={"regex": "/a("}), BAD, "spec.httpRoute.match.path.regex"),
    "regex of a header": (
        route(prefix="/x", headers=[OK, {"name": "h", "match": {"regex": "*a"}}]),
        BAD,
        "spec.httpRoute.match.headers[1].match.regex",
    ),
    "name of a header": (
        route(prefix="/x", method="GET", headers=[OK, {"name": "a\nb"}]),
        BAD,
        "spec.httpRoute.match.headers[1].name",
    ),
    "query parameter without a name": (
        route(prefix="/x", queryParameters=[{"name": "ok"}, {"name": ""}]),
        BAD,
        "spec.httpRoute.match.queryParameters[1].name",
    ),
    "query parameter with a long name": (
        route(prefix="/x", queryParameters=[{"name": "q" * 1100}]),
        BAD,
        "spec.httpRoute.match.queryParameters[0].name",
    ),
    "log format": (
        changed("web", **logging(format={"text": "%REQ(%"})),
        WEB,
        "spec.logging.accessLog.file.format.text",
    ),
    "log command that Envoy does not know": (
        changed("web", **logging(format={"text": "%START_TIME% %NOPE%"})),
        WEB,
        "spec.logging.accessLog.file.format.text",
    ),
    "expression in a log that Envoy alone can read": (
        changed("web", **logging(format={"text": "%START_TIME% %CEL(1 +)%"})),
        WEB,
        "spec.logging.accessLog.file.format.text",
    ),
    "alternatives in a log that Envoy alone can read": (
        changed("web", **logging(format={"json": [{"key": "a", "value": "%COALESCE(x)%"}]})),
        WEB,
        "spec.logging.accessLog.file.format.json[0].value",
    ),
    "text of a command that it does not take": (
        changed("web", **logging(format={"text": "%START_TIME% %GRPC_STATUS(x)%"})),
        WEB,
        "spec.logging.accessLog.file.format.text",
    ),
    "log format in JSON": (
        changed("web", **logging(format={"json": [{"key": "a", "value": "ok"}, {"key": "b", "value": "%NOPE%"}]})),
        WEB,
        "spec.logging.accessLog.file.format.json[1].value",
    ),
    "log that cannot be opened": (
        changed("web", **logging(path="/no/such/dir/access.log")),
        WEB,
        "spec.logging.accessLog.file.path",
    ),
    "log of a gateway": (
        changed("gw", **logging(format={"text": "%NOPE%"})),
        GATEWAY,
        "spec.logging.accessLog.file.format.text",
    ),
    "certificate of a listener": (
        listening("web", tls={"mode": "STRICT", "certificate": _FILES}),
        WEB,
        "spec.listeners[0].tls.certificate.file.privateKey",
    ),
    "certificate of a gateway": (
        listening("gw", tls={"mode": "STRICT", "certificate": _FILES}),
        GATEWAY,
        "spec.listeners[0].tls.certificate.file.privateKey",
    ),
    "authorities of a listener": (
        listening(
            "web",
            tls={"mode": "STRICT", "certificate": {"sds": {"secretName": "x"}}, "validation": {"trust": _CA}},
        ),
        WEB,
        "spec.listeners[0].tls.validation.trust.file.certificateChain",
    ),
    "authorities of a client": (
        changed("web", backendDefaults={"clientPolicy": {"tls": {"validation": {"trust": _CA}}}}),
        WEB,
        "spec.backendDefaults.clientPolicy.tls.validation.trust.file.certificateChain",
    ),
    "certificate of a client": (
        changed(
            "web",
            backendDefaults={"clientPolicy": {"tls": {
                "certificate": _FILES, "validation": {"trust": {"sds": {"secretName": "y"}}}}}},
        ),
        WEB,
        "spec.backendDefaults.clientPolicy.tls.certificate.file.privateKey",
    ),
    "path of a health check": (
        listening("n", healthCheck=checking("/a\nb")),
        N,
        "spec.listeners[0].healthCheck.path",
    ),
    "empty host name": (
        changed("n", serviceDiscovery={"dns": {"hostname": ""}}),
        N,
        "spec.serviceDiscovery.dns.hostname",
    ),
    "regex of a gateway route": (
        gateway_route({"path": {"regex": "/a("}}),
        BAD_GATEWAY_ROUTE,
        "spec.httpRoute.match.path.regex",
    ),
    "prefix that a gateway route writes": (
        gateway_route({"prefix": "/x"}, rewrite={"prefix": {"value": "/y\n"}}),
        BAD_GATEWAY_ROUTE,
        "spec.httpRoute.action.rewrite.prefix.value",
    ),
    "path that a gateway route writes": (
        gateway_route({"path": {"exact": "/x"}}, rewrite={"path": {"exact": "/y\nz"}}),
        BAD_GATEWAY_ROUTE,
        "spec.httpRoute.action.rewrite.path.exact",
    ),
}  # fmt: skip
"""By what is wrong: the object that has it in place of, or beside, the base's, and what is to be blamed."""


class Judges:
    """A control loop on real definitions, with a real Envoy of the node `web` and one of the gateway."""

    def __init__(self) -> None:
        self.control = Control(self._build, lambda: time.time_ns() // 1_000_000)

    async def blamed(self, one: Object) -> set[tuple[Key, str]]:
        """What is blamed once an Envoy has rejected the base with `one`; afterwards both have the base again."""
        refused = self.publish(one)
        found = await self.control.wait(refused, DEADLINE)
        assert found.state == "rejected", f"{one} is {found}"
        causes = {(cause.key, cause.path) for it in found.rejected for said in it.rejections for cause in said.causes}
        back = await self.control.wait(self.publish(), DEADLINE)
        assert back.state == "propagated", f"after {one} the base is {back}"
        return causes

    def publish(self, *more: Object) -> int:
        """Offer the base with `more`; the revision."""
        objects = {(kind, name, parent): spec for kind, name, spec, parent in (*BASE, *more)}
        state = State(
            resource(kind, name, spec, *([parent] if parent else []))
            for (kind, name, parent), spec in objects.items()
        )
        self.control.publish(Head(self.control.revision + 1, state))
        return self.control.revision

    def _build(self, graph: Graph, node: Key, placement: Placement, traits: Traits, now: int) -> Snapshot:
        return build(graph, node, {}, placement, traits, now)


@contextlib.asynccontextmanager
async def judging(folder: Path) -> AsyncIterator[Judges]:
    """Two real Envoys that have the base."""
    judges = Judges()
    judges.publish()
    server = AdsServer(judges.control, Everybody())
    port = await server.start("127.0.0.1", 0)
    try:
        with Block() as block:
            async with (
                envoy(folder, WEB, port, placement=block.place()),
                envoy(folder, GATEWAY, port, placement=block.place(), instance="gw"),
            ):
                await until(lambda: len(judges.control.statuses()) == 2)
                assert (await judges.control.wait(1, DEADLINE)).state == "propagated"
                yield judges
    finally:
        await server.stop(0.2)


@pytest.mark.envoy
async def test_each_kind_of_rejection_leads_to_the_object_and_the_field(tmp_path: Path) -> None:
    """Everything that real Envoys are known to reject of what App Mesh's API takes; and they recover from each."""
    async with judging(tmp_path) as judges:
        found = {what: await judges.blamed(one) for what, (one, _, _) in REJECTED.items()}
    assert found == {what: {(key, path)} for what, (_, key, path) in REJECTED.items()}


def test_without_a_trace_what_changed_since_it_was_taken_is_suspected() -> None:
    """Three objects shape the route, one of them changed: it is told, and of a proxy that is new all three."""
    keys = [Key("shop", Kind.ROUTE, name, "r") for name in ("a", "b", "c")]

    def built(graph: Graph, node: Key, _placement: Placement, _traits: Traits, _now: int) -> Snapshot:
        written = "".join(one.stack for one in graph.state)
        made = EnvoyResource.of(ROUTE, "r", written.encode(), tuple(keys))
        return snapshot(made, plain("other", "x", written), node=node)

    def state(*versions: str) -> State:
        node = Resource(key=NODE, spec=VirtualNodeSpec(), stack="".join(versions))
        made = [resource(Kind.ROUTE, key.name, {"tcpRoute": {"action": _ACTION}}, "r") for key in keys]
        return State([node]).put(
            *(
                Resource(key=key, spec=one.spec, stack=version)
                for key, one, version in zip(keys, made, versions, strict=True)
            )
        )

    control = Control(built, lambda: 0)
    control.publish(Head(1, state("1", "1", "1")))
    old = control.connect(Proxy(id="old", node=NODE, placement=Redirect()), lambda _: None)
    old.report({}, {})
    control.publish(Head(2, state("1", "2", "1")))
    new = control.connect(Proxy(id="new", node=NODE, placement=Redirect()), lambda _: None)
    for one in (old, new):
        one.report({ROUTE: frozenset({"r"})}, {ROUTE: {"r": "something went wrong"}})
    by_proxy = {one.id: one.rejections[0].origins for one in control.statuses()}
    assert by_proxy == {"old": (keys[1],), "new": tuple(keys)}


def test_an_object_that_is_gone_is_still_named() -> None:
    """Without a field: nobody knows any more what stood there."""
    objects = [resource(kind, name, spec, *([parent] if parent else [])) for kind, name, spec, parent in BASE]
    state = State([*objects, resource(*route(path={"regex": "/a("}))])
    found = build(resolve(state), WEB, {}, Redirect()).of(ROUTE)["rds_egress_http_8080"]
    assert traced(found, "missing ): /a(", lambda _: None) == (Culprit(BAD, ""),)
