"""Faults on a rig: each is felt as it would be, by whom it is for, and is over when it ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from envoys import until
from meshwright.errors import UsageError
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.simulate import Call
from meshwright.trials.trial import Expect, FaultKind, Given, Trial
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meshwright.lab.machines import Isolation
    from meshwright.lab.rig import Sent
    from meshwright.model import Resource

pytestmark = pytest.mark.envoy

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
GOLD = {"x-user": "gold"}
TWO = {"pay": 2, "stock": 2}


def mesh() -> State:
    """A node that calls three others: two instances by DNS, two by Cloud Map, one with TLS from files."""
    tls = {
        "mode": "STRICT",
        "certificate": {"file": {"certificateChain": "/keys/safe.pem", "privateKey": "/keys/safe-key.pem"}},
    }
    trust = {"validation": {"trust": {"file": {"certificateChain": "/keys/ca.pem"}}}, "ports": [8443]}
    cloud_map = {"awsCloudMap": {"namespaceName": "shop.local", "serviceName": "stock"}}
    names = ("pay", "brief", "stock", "safe")
    backends = [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in names]
    caller = {"backends": backends, "backendDefaults": {"clientPolicy": {"tls": trust}}}
    to_pay = {"weightedTargets": [{"virtualNode": "pay", "weight": 1}]}
    limit = {"perRequest": {"value": 300, "unit": "ms"}}
    route = {"httpRoute": {"match": {"prefix": "/"}, "action": to_pay, "timeout": limit}}
    provider = {"provider": {"virtualRouter": {"virtualRouterName": "brief"}}}
    router = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}
    return State([
        resource(Kind.MESH, MESH, {}),
        resource(Kind.VIRTUAL_NODE, "web", caller),
        resource(Kind.VIRTUAL_ROUTER, "brief", router),
        resource(Kind.ROUTE, "all", route, parent="brief"),
        resource(Kind.VIRTUAL_SERVICE, "brief.local", provider),
        *listening("pay", 8080, {"dns": {"hostname": "pay.nodes", "responseType": "ENDPOINTS"}}),
        *listening("stock", 8081, cloud_map),
        *listening("safe", 8443, {"dns": {"hostname": "safe.nodes"}}, tls=tls),
    ])  # fmt: skip


def listening(name: str, port: int, discovery: Wire, **listener: Wire) -> tuple[Resource, Resource]:
    """A node with one listener, and the service that it is."""
    members = {"portMapping": {"port": port, "protocol": "http"}, **listener}
    provider = {"provider": {"virtualNode": {"virtualNodeName": name}}}
    return (
        resource(Kind.VIRTUAL_NODE, name, {"listeners": [members], "serviceDiscovery": discovery}),
        resource(Kind.VIRTUAL_SERVICE, f"{name}.local", provider),
    )


class Asking:
    """The web node's application, that calls the others."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    async def one(self, name: str = "pay", port: int = 8080, user: str = "") -> Sent:
        """One call."""
        call = Call(host=f"{name}.local", port=port, headers=(("x-user", user),) if user else ())
        return await self.rig.send(call, WEB)

    async def all(self, count: int, name: str = "pay", port: int = 8080) -> list[Sent]:
        """So many calls at once."""
        return list(await asyncio.gather(*(self.one(name, port) for _ in range(count))))

    async def instances(self, name: str = "pay", port: int = 8080) -> set[str]:
        """Who answers twenty calls; "" for nobody."""
        return {one.reply.instance for one in await self.all(20, name, port)}


@contextlib.asynccontextmanager
async def asking() -> AsyncIterator[Asking]:
    """The mesh, running."""
    async with Rig(mesh(), instances=TWO) as rig:
        yield Asking(rig)


async def test_what_applications_do_is_felt_and_is_over_when_it_ends() -> None:
    """Slow, failing, resetting, refusing, trickling, silent: some instances or all, some requests or all."""
    async with asking() as web:
        rig = web.rig
        async with rig.fault(Given(kind=FaultKind.LATENCY, at="pay", latency=2_000, headers=GOLD)):
            assert (await web.one(user="gold")).seconds >= 1.99
            assert (await web.one()).seconds < 1.99
        async with rig.fault(Given(kind=FaultKind.ABORT, at="pay", status=503, instances=1)):
            sent = await web.all(20)
            assert {one.reply.instance for one in sent} == {"pay-2"}
            tried = [[arrival.instance for arrival in one.attempts] for one in sent]
            assert ["pay-1", "pay-2"] in tried
            assert all(one[-1] == "pay-2" for one in tried)
        async with rig.fault(Given(kind=FaultKind.ABORT, at="pay", status=500)):
            assert {one.reply.status for one in await web.all(4)} == {500}
        async with rig.fault(Given(kind=FaultKind.RESET, at="pay", instances=1)):
            assert await web.instances() == {"pay-2"}
        async with rig.fault(Given(kind=FaultKind.REFUSED, at="pay", instances=1)):
            assert await web.instances() == {"pay-2"}
        async with rig.fault(Given(kind=FaultKind.REFUSED, at="pay")):
            refused = await web.one()
            assert (refused.reply.status, refused.attempts) == (503, ())
        async with rig.fault(Given(kind=FaultKind.BANDWIDTH, at="pay", bandwidth=500)):
            assert (await web.one()).seconds >= 0.5
        assert await web.instances() == {"pay-1", "pay-2"}
        assert 0.25 <= await given_up(web) <= 10
        with pytest.raises(UsageError, match="3 instances of 'pay' cannot fail: 2 run"):
            async with rig.fault(Given(kind=FaultKind.CRASH, at="pay", instances=3)):
                pytest.fail("it did")
        with pytest.raises(UsageError, match="no virtual node or gateway 'pya' runs here; did you mean 'pay'"):
            rig.fault(Given(kind=FaultKind.CRASH, at="pya"))
        with pytest.raises(UsageError, match="refused at 'pay' befalls connections"):
            rig.fault(Given(kind=FaultKind.REFUSED, at="pay", headers=GOLD))


async def given_up(web: Asking) -> float:
    """After how many seconds a proxy leaves an application alone that never answers, as the application sees it."""
    everywhere = Given(kind=FaultKind.BLACKHOLE, at="pay", headers=GOLD)
    one = Given(kind=FaultKind.BLACKHOLE, at="pay", instances=1)
    async with web.rig.fault(everywhere), web.rig.fault(one):
        sent = await web.one("brief", user="gold")
        assert sent.reply.status == 504
        await until(lambda: all(one.given_up_at for one in web.rig.attempts(sent.trace)), "it is left alone")
        return max((one.given_up_at or 0) - one.at for one in sent.attempts)


async def test_instances_crash_are_lost_and_return_and_nobody_fails() -> None:
    """By DNS and by Cloud Map, with their proxies; the control plane may die too. Traffic goes on all the while."""
    async with asking() as web:
        rig = web.rig
        async with rig.fault(Given(kind=FaultKind.CRASH, at="pay", instances=1)):
            assert await web.instances() == {"pay-2"}
        assert await web.instances() == {"pay-1", "pay-2"}
        for name, port in (("stock", 8081), ("pay", 8080)):
            async with rig.fault(Given(kind=FaultKind.LOST, at=name, instances=1)):
                assert await web.instances(name, port) == {f"{name}-2"}
            assert await web.instances(name, port) == {f"{name}-1", f"{name}-2"}
        async with rig.fault(Given(kind=FaultKind.CONTROL_PLANE)):
            assert await web.instances() == {"pay-1", "pay-2"}
        async with rig.fault(Given(kind=FaultKind.EXPIRED_CERTIFICATE, at="safe")):
            expired = await web.one("safe", 8443)
            assert expired.reply.status == 503
            (told,) = await rig.report([expired])
            assert "CERTIFICATE_VERIFY_FAILED" in told.records[0].attributes["upstream.failure"]
        assert (await web.one("safe", 8443)).reply.node == "safe"
        with pytest.raises(UsageError, match="no certificate that could expire"):
            async with rig.fault(Given(kind=FaultKind.EXPIRED_CERTIFICATE, at="pay")):
                pytest.fail("it did")


@pytest.mark.envoy
@pytest.mark.parametrize("isolation", ["loopback", "netns"])
async def test_what_nobody_answers_is_given_up_by_its_limit_whether_a_connection_was_open_or_not(
    isolation: Isolation,
) -> None:
    """Calls over a connection that was kept, over fresh ones, and after the first were given up, in namespaces, too.

    Nor are health checks answered, whatever connection they have: callers leave alone who does not answer them.
    """
    check = {"protocol": "http", "path": "/", "healthyThreshold": 2, "unhealthyThreshold": 2}
    check |= {"intervalMillis": 5_000, "timeoutMillis": 2_000}
    listener = {"portMapping": {"port": 8080, "protocol": "http"}, "healthCheck": check}
    dns = {"dns": {"hostname": "pay.nodes", "responseType": "ENDPOINTS"}}
    state = mesh()
    everywhere = Given(kind=FaultKind.BLACKHOLE, at="pay")
    one = Given(kind=FaultKind.BLACKHOLE, at="pay", instances=1)
    async with Rig(state, instances=TWO, isolation=isolation) as rig:
        web = Asking(rig)
        async with rig.fault(everywhere):
            fresh = await web.all(3, "brief")
        assert await web.instances("brief") == {"pay-1", "pay-2"}
        async with rig.fault(everywhere):
            kept = [*await web.all(3, "brief"), await web.one("brief")]
        assert [(one.reply.status, len(one.attempts)) for one in (*fresh, *kept)] == [(504, 1)] * 7
        await rig.apply(
            state.put(resource(Kind.VIRTUAL_NODE, "pay", {"listeners": [listener], "serviceDiscovery": dns}))
        )
        async with rig.fault(one):
            await left_alone(web)
        assert await web.instances("brief") == {"pay-1", "pay-2"}


async def test_whatever_else_is_given_ends_though_the_control_plane_was_gone_with_it() -> None:
    """In any order: an instance that crashed starts again, one that was lost is found, when it is back."""
    call = Call(host="pay.local", port=8080)
    gone, well = Given(kind=FaultKind.CONTROL_PLANE), Expect(statuses=(200,))
    trials = [
        Trial(name=f"{other.kind} {at}", call=call, caller=WEB, expect=well, given=given, of=4, steady=True)
        for other in (
            Given(kind=FaultKind.CRASH, at="pay", instances=1),
            Given(kind=FaultKind.EXPIRED_CERTIFICATE, at="safe"),
            Given(kind=FaultKind.LOST, at="stock", instances=1),
        )
        for at, given in enumerate(((gone, other), (other, gone)))
    ]
    async with asyncio.timeout(240), Rig(mesh(), instances=TWO) as rig:
        found = await run(rig, trials, lambda _: None)
        assert await Asking(rig).instances("brief") == {"pay-1", "pay-2"}
        assert await Asking(rig).instances("stock", 8081) == {"stock-1", "stock-2"}
    assert [(one.outcome, one.mismatches, one.seen.fault) for one in found] == [("passed", (), "")] * len(trials)


async def test_no_client_fails_while_callers_find_out_by_outlier_detection_that_a_fault_is_over() -> None:
    """That takes longer than anybody waits: they are started anew when the last of the steady calls is over."""
    limits: dict[str, Any] = {"maxServerErrors": 3, "maxEjectionPercent": 100}
    limits |= {"interval": {"value": 500, "unit": "ms"}, "baseEjectionDuration": {"value": 60, "unit": "s"}}
    listener = {"portMapping": {"port": 8080, "protocol": "http"}, "outlierDetection": limits}
    dns = {"dns": {"hostname": "pay.nodes", "responseType": "ENDPOINTS"}}
    state = mesh().put(resource(Kind.VIRTUAL_NODE, "pay", {"listeners": [listener], "serviceDiscovery": dns}))
    call, expect = Call(host="pay.local", port=8080), Expect(statuses=(200,), errors=0)
    trials = [
        Trial(
            name=str(kind),
            call=call,
            caller=WEB,
            expect=expect,
            given=(Given(kind=kind, at="pay", instances=1),),
            of=20,
            steady=True,
        )
        for kind in (FaultKind.RESET, FaultKind.REFUSED, FaultKind.CRASH)
    ]
    async with Rig(state, instances=TWO) as rig:
        found = await run(rig, trials, lambda _: None)
        assert await Asking(rig).instances() == {"pay-1", "pay-2"}
    assert [(one.outcome, one.mismatches, one.seen.fault) for one in found] == [("passed", (), "")] * len(trials)


async def test_who_comes_back_through_a_health_check_is_called_as_soon_as_that_is_over() -> None:
    """Lost and found, crashed, refused: what callers make of it is the same before and after, trial by trial."""
    check = {"protocol": "http", "path": "/", "healthyThreshold": 2, "unhealthyThreshold": 2}
    check |= {"intervalMillis": 5_000, "timeoutMillis": 2_000}
    listener = {"portMapping": {"port": 8080, "protocol": "http"}, "healthCheck": check}
    dns = {"dns": {"hostname": "pay.nodes", "responseType": "ENDPOINTS"}}
    state = mesh().put(resource(Kind.VIRTUAL_NODE, "pay", {"listeners": [listener], "serviceDiscovery": dns}))
    async with Rig(state, instances=TWO) as rig:
        web = Asking(rig)
        for kind in (FaultKind.LOST, FaultKind.REFUSED, FaultKind.CRASH) * 2:
            async with rig.fault(Given(kind=kind, at="pay", instances=1)):
                pass
            assert await web.instances("brief") == {"pay-1", "pay-2"}, kind


async def left_alone(web: Asking) -> None:
    """Return once nobody calls the first instance of two any more."""
    async with asyncio.timeout(60):
        while await web.instances("brief") != {"pay-2"}:
            pass
