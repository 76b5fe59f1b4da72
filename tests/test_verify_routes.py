"""Probes and observed calls: a release is verified by what real applications behind real Envoys answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from envoys import until
from meshwright.lab.exchange import Fault, Request
from meshwright.lab.lab import Lab
from meshwright.lab.workload import CALLS_HEADER, call
from meshwright.model.identity import Kind
from meshwright.model.state import State
from settings import PROVE
from test_observed import CART, WEB, node, one, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model.state import Resource

pytestmark = pytest.mark.envoy

ROUTE = "mesh/shop/virtualRouter/cart/route/all"
WRITES = "mesh/shop/virtualRouter/cart/route/writes"
ENTRY = "mesh/shop/virtualGateway/edge/gatewayRoute/all"


def objects(timeout: int = 5) -> Iterator[Resource]:
    """A gateway and `web` call `cart`, which a router provides: a route of its own for what is written."""
    yield one(Kind.MESH, "shop", {})
    yield node("web", "http", "cart")
    yield node("cart", "http")
    yield one(Kind.VIRTUAL_SERVICE, "cart.local", {"provider": {"virtualRouter": {"virtualRouterName": "cart"}}})
    listener = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}
    yield one(Kind.VIRTUAL_ROUTER, "cart", listener)
    action = {"weightedTargets": [{"virtualNode": "cart", "weight": 1}]}
    limit = {"perRequest": {"unit": "s", "value": timeout}}
    yield one(
        Kind.ROUTE, "all", {"httpRoute": {"match": {"prefix": "/"}, "action": action, "timeout": limit}}, "cart"
    )
    writes = {"match": {"prefix": "/", "method": "POST"}, "action": action}
    yield one(Kind.ROUTE, "writes", {"httpRoute": writes, "priority": 1}, "cart")
    yield one(Kind.VIRTUAL_GATEWAY, "edge", listener)
    target = {"target": {"virtualService": {"virtualServiceName": "cart.local"}}}
    entry = {"httpRoute": {"match": {"prefix": "/"}, "action": target}}
    yield one(Kind.GATEWAY_ROUTE, "all", entry, "edge")


async def verified(lab: Lab, number: int, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a verification."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshwright.cli", "--endpoint", lab.control.url, "verify", str(number)),
        *("--mesh", "shop", "--stack", lab.stack, "--format", "json", *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(lab.control.credentials)},
    )
    out, errors = await asyncio.wait_for(process.communicate(), 120)
    assert out, errors
    return int(process.returncode or 0), json.loads(out)


def routes(found: dict[str, Any], by: str) -> dict[str, tuple[str, str]]:
    """What somebody saw of each route: the outcome, and what is told."""
    checks = [one for one in found["checks"] if (one["name"], one["by"]) == ("routes", by)]
    return {sight["subject"]: (sight["outcome"], sight["told"]) for one in checks for sight in one["sights"]}


async def test_each_changed_route_is_called_and_must_be_answered_by_an_application() -> None:
    """From a node and through a gateway; what may change something only if asked to; an error fails it."""
    async with Lab(State(objects())) as lab:
        nodes = {found.role.key.name: found.machine for found in lab.fleet.instances}
        web = ("--probe-from", f"web={nodes['web'].egress}")
        edge = ("--gateway", f"edge=http://{nodes['edge'].address}:8080")
        code, found = await verified(lab, 1, *web, *edge, "--timeout", "10")
        assert (code, found["inspection"]["judgement"]) == (1, "inconclusive")
        told = routes(found, "client")
        assert told[ROUTE] == ("passed", "GET / of cart.local:8080 was answered 200, 11 times in turn")
        assert told[ENTRY][0] == "passed"
        assert told[WRITES] == ("inconclusive", "POST may change something: --unsafe-methods makes the call")
        code, found = await verified(lab, 1, *web, *edge, "--unsafe-methods")
        assert (code, found["release"]["status"], routes(found, "client")[WRITES][0]) == (0, "verified", "passed")
        await lab.apply(State(objects(timeout=6)))
        lab.workloads("cart")[0].fault = Fault(status=500)
        code, found = await verified(lab, 2, *web, "--timeout", "2")
        assert (code, found["release"]["status"]) == (1, "failed")
        assert routes(found, "client") == {
            ROUTE: ("failed", "GET / of cart.local:8080 was answered 500"),
        }
        cart = next(found for found in lab.fleet.instances if found.role.key.name == "cart")
        assert cart.envoy is not None
        await cart.envoy.kill()
        code, found = await verified(lab, 2, *web, "--timeout", "2", "--endpoints", "cart=0")
        assert code == 1
        assert routes(found, "client")[ROUTE][1].startswith(
            "GET / of cart.local:8080 was answered 503 by a proxy and by no application: "
        )


@pytest.mark.parametrize("weights", [(93, 7), (51, 49)])
async def test_a_target_that_fails_is_found_whatever_its_weight(weights: tuple[int, int]) -> None:
    """Each time: calls that succeed say nothing of the target that had none of them; when it is mended, it passes."""
    async with Lab(State(split(*weights))) as lab:
        nodes = {found.role.key.name: found.machine for found in lab.fleet.instances}
        asked = ("--probe-from", f"web={nodes['web'].egress}", "--timeout", "4")
        lab.workloads("new")[0].fault = Fault(status=503)
        for _ in range(5 if PROVE else 2):
            code, found = await verified(lab, 1, *asked)
            assert (code, found["release"]["status"]) == (1, "failed"), found
            outcome, told = routes(found, "client")[ROUTE]
            assert (outcome, "calls was answered 503" in told) == ("failed", True), told
        lab.workloads("new")[0].fault = Fault()
        code, found = await verified(lab, 1, *asked[:2], "--timeout", "60")
        assert routes(found, "client")[ROUTE][0] == "passed", found


def split(old: int, new: int) -> Iterator[Resource]:
    """The same with another node behind the route."""
    targets = [{"virtualNode": "cart", "weight": old}, {"virtualNode": "new", "weight": new}]
    for each in objects():
        if each.key.name != "all" or each.key.kind is not Kind.ROUTE:
            yield each
    yield node("new", "http")
    match = {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}
    yield one(Kind.ROUTE, "all", {"httpRoute": match}, "cart")


async def test_where_nobody_can_call_what_proxies_report_of_calls_since_decides() -> None:
    """None is no proof; good ones are, and what fails more than it did before is one against it."""
    async with Lab(State(objects())) as lab:
        egress = next(found.machine for found in lab.fleet.instances if found.role.key.name == "web").egress
        code, found = await verified(lab, 1, "--timeout", "0")
        assert (code, found["inspection"]["judgement"]) == (1, "inconclusive")
        assert routes(found, "control-plane")[ROUTE] == ("inconclusive", "no call was seen")
        await asked(lab, egress, 20)
        code, found = await verified(lab, 1, "--timeout", "0", "--allow-unprobed")
        assert (code, routes(found, "control-plane")[ROUTE]) == (0, ("passed", "0 of 20 calls failed"))
        assert routes(found, "control-plane")[ENTRY] == ("inconclusive", "no call was seen")
        await lab.propagated(await lab.apply(State(objects(timeout=6))))
        code, found = await verified(lab, 2, "--timeout", "0")
        assert routes(found, "control-plane")[ROUTE][1] == "no call was seen"
        lab.workloads("cart")[0].fault = Fault(status=500)
        await asked(lab, egress, 4)
        code, found = await verified(lab, 2, "--timeout", "0")
        assert (code, found["release"]["status"]) == (1, "failed")
        assert routes(found, "control-plane")[ROUTE] == ("failed", "4 of 4 calls failed, 0.0% did before")


async def asked(lab: Lab, egress: str, count: int) -> None:
    """So many more calls of `web`'s application, which were reported."""
    before = await total(lab)
    request = Request(authority="cart.local", path="/", headers={CALLS_HEADER: "none"})
    for _ in range(count):
        await call("http", egress, 8080, request)

    async def told() -> bool:
        return await total(lab) == before + count

    await until(told, "what was sent is reported")


async def total(lab: Lab) -> int:
    """How many calls from `web` to `cart` were reported."""

    async def watched() -> bool:
        return WEB not in (await seen(lab)).unwatched

    await until(watched, "the proxy reports")
    return next(one.total.requests for one in (await seen(lab)).calls if (one.caller, one.callee) == (WEB, CART))


def typed() -> Iterator[Resource]:
    """`web` calls a service of each protocol; of gRPC's routes one names its method, and one nobody may call."""
    yield one(Kind.MESH, "shop", {})
    yield node("web", "http", "mail", "pay", "raw")
    for name, protocol in (("mail", "http2"), ("pay", "grpc"), ("raw", "tcp")):
        yield node(name, protocol)
        provider = {"virtualRouter": {"virtualRouterName": name}}
        yield one(Kind.VIRTUAL_SERVICE, f"{name}.local", {"provider": provider})
        yield one(Kind.VIRTUAL_ROUTER, name, {"listeners": [{"portMapping": {"port": 8080, "protocol": protocol}}]})
        action = {"weightedTargets": [{"virtualNode": name, "weight": 1}]}
        match: dict[str, Any] = {} if protocol == "tcp" else {"match": {"prefix": "/"}}
        if protocol == "grpc":
            match = {"match": {"serviceName": "acme.Pay"}}
            named = {"match": {"serviceName": "acme.Pay", "methodName": "Charge"}, "action": action}
            yield one(Kind.ROUTE, "charge", {"grpcRoute": named, "priority": 1}, name)
        yield one(Kind.ROUTE, "all", {f"{protocol}Route": {**match, "action": action}}, name)
    yield node("lonely", "http")
    provider = {"virtualNode": {"virtualNodeName": "lonely"}}
    yield one(Kind.VIRTUAL_SERVICE, "lonely.local", {"provider": provider})


async def test_routes_of_every_protocol_are_probed_as_far_as_a_call_says_something() -> None:
    """HTTP/2 and gRPC are called, by a method that a route names only if asked to; TCP is left to proxies."""
    async with Lab(State(typed())) as lab:
        egress = next(found.machine for found in lab.fleet.instances if found.role.key.name == "web").egress
        probing = ("--probe-from", f"web={egress}", "--allow-unprobed", "--timeout", "10")
        code, found = await verified(lab, 1, *probing)
        assert code == 0
        told = routes(found, "client")
        router = "mesh/shop/virtualRouter"
        assert told[f"{router}/mail/route/all"] == (
            "passed",
            "GET / of mail.local:8080 was answered 200, 11 times in turn",
        )
        outcome, words = told[f"{router}/pay/route/all"]
        assert (outcome, words.endswith("of pay.local:8080 was answered OK, 11 times in turn")) == ("passed", True)
        named = "the gRPC method /acme.Pay/Charge may change something: --unsafe-methods makes the call"
        assert told[f"{router}/pay/route/charge"] == ("inconclusive", named)
        assert f"{router}/raw/route/all" not in told
        assert routes(found, "control-plane")[f"{router}/raw/route/all"][0] == "inconclusive"
        assert told["mesh/shop/virtualService/lonely.local"] == (
            "inconclusive",
            "no call from where you said reaches it: nobody may call virtual service 'lonely.local'",
        )
        lab.workloads("pay")[0].fault = Fault(status=500)
        code, found = await verified(lab, 1, *probing, "--timeout", "1", "--unsafe-methods")
        assert (code, found["release"]["status"]) == (1, "failed")
        outcome, words = routes(found, "client")[f"{router}/pay/route/charge"]
        assert (outcome, words) == ("failed", "POST /acme.Pay/Charge of pay.local:8080 was answered UNAVAILABLE")
