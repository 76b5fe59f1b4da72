"""Trials on a rig: faults hold while calls are made, steady ones are watched through, and what fails is run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from meshwright.graph import resolve
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.simulate import Call
from meshwright.trials.simulated import simulated
from meshwright.trials.trial import Encryption, Expect, FaultKind, Given, Reported, Trial
from strategies import MESH, resource

if TYPE_CHECKING:
    from meshwright.trials.judging import Result

pytestmark = pytest.mark.envoy

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
CALL = Call(host="pay.local", port=8080)


def mesh() -> State:
    """A node that calls another."""
    listener = {"portMapping": {"port": 8080, "protocol": "http"}}
    discovery = {"dns": {"hostname": "pay.nodes", "responseType": "ENDPOINTS"}}
    backends = {"backends": [{"virtualService": {"virtualServiceName": "pay.local"}}]}
    provider = {"provider": {"virtualNode": {"virtualNodeName": "pay"}}}
    return State([
        resource(Kind.MESH, MESH, {}),
        resource(Kind.VIRTUAL_NODE, "web", backends),
        resource(Kind.VIRTUAL_NODE, "pay", {"listeners": [listener], "serviceDiscovery": discovery}),
        resource(Kind.VIRTUAL_SERVICE, "pay.local", provider),
    ])  # fmt: skip


def trial(name: str, expect: Expect, *given: Given, of: int = 10, steady: bool = False) -> Trial:
    """So many calls of the web node's."""
    return Trial(name=name, call=CALL, caller=WEB, expect=expect, given=given, of=of, steady=steady)


async def test_faults_hold_while_calls_are_made_and_what_fails_is_run_again() -> None:
    """A lost instance gets no calls; what every caller sees makes its trial fail, twice, if it asks for speed alone.

    What an instance said of calls is not lost when it crashes soon after them. A test that a fault of ours ends, as
    one whose call nobody can write down, ends no other, and one whose fault is for a header is not felt by another
    that carries the same. Text that is not ASCII arrives as it was written.
    """
    half = {"at": "pay", "instances": 1, "of": 2}
    fine = Expect(statuses=(200,), served_by=("pay",))
    silver, mark = Expect(statuses=(500,)), {"x-mark": "silver"}
    marked = replace(CALL, headers=tuple(mark.items()))
    late, failing = (
        Given(kind=kind, at="pay", headers=mark, latency=latency, status=status)
        for kind, latency, status in ((FaultKind.LATENCY, 1_500, 0), (FaultKind.ABORT, 0, 500))
    )
    trials = (
        trial("gone", fine, Given(kind=FaultKind.CRASH, **half), steady=True, of=4),  # type: ignore[arg-type]
        trial("lost", fine, Given(kind=FaultKind.LOST, **half)),  # type: ignore[arg-type]
        trial("dead", fine, Given(kind=FaultKind.REFUSED, at="pay"), of=2),
        trial("fast", Expect(within=30_000), Given(kind=FaultKind.REFUSED, at="pay"), of=1),
        trial("soon", fine, of=5),
        trial(
            "well",
            Expect(statuses=(200,), encryption=Encryption.NONE, spans=(Reported(proxy="web"), Reported(proxy="pay"))),
            of=2,
        ),
        trial("nobody", fine, Given(kind=FaultKind.RESET, at="nobody")),
        replace(trial("silver", silver, late, failing, of=1), call=marked),
        replace(trial("silver too", fine, of=1), call=marked),
        replace(trial("method", Expect(statuses=(400,)), of=1), call=replace(CALL, method="FOO")),
        replace(trial("http2", Expect(statuses=(400,)), of=1), call=replace(CALL, method="FOO", protocol="http2")),
        replace(
            trial("hostless", Expect(statuses=(0,)), of=1),
            call=replace(CALL, protocol="http2", headers=(("host", ""),)),
        ),
        replace(trial("known", Expect(statuses=(200,)), of=1), call=replace(CALL, method="PURGE")),
        replace(trial("ours", fine, of=1), call=replace(CALL, headers=(("x-user", "\ud800"),))),
        replace(
            trial("text", Expect(statuses=(200,), arrived={"x-user": "Grüße"}), of=1),
            call=replace(CALL, headers=(("X-User", " Grüße "),)),
        ),
    )
    heard: list[str] = []
    unforeseen: list[BaseException] = []
    async with Rig(mesh(), instances={"pay": 2}) as rig:
        results = await run(rig, trials, lambda one: heard.append(one.trial.name), unforeseen=unforeseen.append)
        with pytest.raises(UnicodeEncodeError):
            await run(rig, [trials[-2]], quiet)
    assert [one.trial.name for one in results] == [one.name for one in trials]
    assert sorted(heard) == sorted(one.name for one in trials)
    gone, lost, dead, fast, soon, well, nobody, *small, ours, text = results
    assert instances(soon) == {"pay-1", "pay-2"}
    assert [{line.partition(":")[0] for line in one.log} for one in soon.seen.calls] == [{"web", "pay"}] * 5
    assert instances(lost) == {"pay-2"}
    assert (lost.passed, lost.again) == (True, False)
    assert (dead.passed, dead.again, len(dead.seen.calls)) == (False, True, 2)
    assert {one.what for one in dead.mismatches} == {"status", "served_by"}
    assert dead.seen.calls[0].log
    assert [(one.what, one.expected) for one in fast.mismatches] == [("status", "no error")]
    assert len(gone.seen.calls) >= 14
    assert (gone.passed, instances(gone)) == (True, {"pay-1", "pay-2"})
    assert well.passed
    assert "no virtual node or gateway 'nobody' runs here" in nobody.seen.fault
    assert [(one.outcome, one.mismatches) for one in small] == [("passed", ())] * 6
    assert [simulated(resolve(mesh()), one.trial).outcome for one in small[2:]] == ["passed"] * 4
    assert [type(one) for one in unforeseen] == [UnicodeEncodeError]
    assert ours.outcome == "broken"
    assert ours.seen.fault.startswith("internal error: UnicodeEncodeError: ")
    assert (text.outcome, text.mismatches) == ("passed", ())


def quiet(_: Result) -> None:
    """Nobody looks at it."""


def instances(result: Result) -> set[str]:
    """Who answered."""
    return {one.instance for one in result.seen.calls}


def routed(route: str, *, backends: tuple[str, ...]) -> State:
    """A node that may call `backends`, all of one router with a route of that name."""
    port = {"portMapping": {"port": 8080, "protocol": "http"}}
    discovery = {"dns": {"hostname": "pay.nodes", "responseType": "ENDPOINTS"}}
    named = [{"virtualService": {"virtualServiceName": name}} for name in backends]
    leading = {"action": {"weightedTargets": [{"virtualNode": "pay", "weight": 1}]}, "match": {"prefix": "/"}}
    retries = {"retryPolicy": {"maxRetries": 1, "perRetryTimeout": {"unit": "s", "value": 5}, "httpRetryEvents": [
        "server-error",
    ]}}  # fmt: skip
    provider = {"provider": {"virtualRouter": {"virtualRouterName": "pay"}}}
    return State([
        resource(Kind.MESH, MESH, {}),
        resource(Kind.VIRTUAL_NODE, "web", {"backends": named}),
        resource(Kind.VIRTUAL_NODE, "pay", {"listeners": [port], "serviceDiscovery": discovery}),
        resource(Kind.VIRTUAL_ROUTER, "pay", {"listeners": [port]}),
        resource(Kind.ROUTE, route, {"httpRoute": {**leading, **retries}}, parent="pay"),
        *(resource(Kind.VIRTUAL_SERVICE, name, provider) for name in ("pay.local", "old.local", "new.local")),
    ])  # fmt: skip


async def test_each_hop_of_each_call_leaves_the_span_that_simulation_says() -> None:
    """Of retried calls and of those that nobody takes, too; spans that are missing, others or too many are told."""
    calls = {name: Call(host=f"{name}.local", port=8080) for name in ("pay", "old", "new")}

    def asked(name: str, expect: Expect, *given: Given, of: int = 1) -> Trial:
        return Trial(name=name, call=calls[name], caller=WEB, expect=expect, given=given, of=of)

    fine, lost, broken = Expect(statuses=(200,)), Expect(statuses=(404,)), Expect(statuses=(503,))
    told = (asked("pay", fine, of=20), asked("old", broken, Given(kind=FaultKind.ABORT, at="pay", status=503)))
    refused = asked("pay", broken, Given(kind=FaultKind.REFUSED, at="pay"))
    async with Rig(routed("all", backends=("pay.local", "old.local"))) as rig:
        well = await run(rig, (*told, asked("new", lost)), lambda _: None)
        well += await run(rig, (refused,), lambda _: None)
        # What is defined by now is not what the proxies hold.
        rig.graph = resolve(routed("every", backends=("pay.local", "new.local")))
        # What is not run once more need not be waited for twice.
        grave = Expect(statuses=(404,), served_by=("pay",))
        wrong = await run(rig, (asked("pay", fine), asked("old", fine), asked("new", grave)), lambda _: None)
        unseen = await run(rig, told[:1], lambda _: None, spans=False)
    pay = Key(MESH, Kind.VIRTUAL_NODE, "pay")
    assert [(one.outcome, one.mismatches) for one in well] == [("passed", ())] * 4
    assert [one.seen.followed for one in well] == [20, 1, 1, 1]
    assert [one.seen.ways for one in well] == [((WEB, pay),), ((WEB, pay),), (), ((WEB, pay),)]
    unlike = [one for result in wrong for one in result.mismatches if one.what != "served_by"]
    assert [(one.what, one.expected, one.happened) for one in unlike] == [
        (
            "spans.web.client",
            "1 of the client's kind with virtual_service pay.local, route every",
            "meshwright.route all instead of every",
        ),
        ("spans.web.client", "none, by simulation", "one of the client's kind"),
        ("spans.pay.server", "none, by simulation", "one of the server's kind"),
        ("spans.web.client", "1 of the client's kind with virtual_service new.local, route every", "no span"),
    ]
    assert [one.again for one in wrong] == [True, False, False]
    assert (unseen[0].passed, unseen[0].seen.followed, unseen[0].seen.ways) == (True, None, ((WEB, pay),))


def gated() -> State:
    """A gateway before `web`, which calls two services in turn, and before one of them; both take only `/pay`."""
    state = routed("all", backends=("pay.local", "old.local"))
    port = {"portMapping": {"port": 8080, "protocol": "http"}}
    discovery = {"dns": {"hostname": "web.nodes", "responseType": "ENDPOINTS"}}
    named = [{"virtualService": {"virtualServiceName": name}} for name in ("pay.local", "old.local")]
    leading = {"action": {"weightedTargets": [{"virtualNode": "pay", "weight": 1}]}, "match": {"prefix": "/pay"}}

    def way(prefix: str, service: str) -> dict[str, object]:
        target = {"virtualService": {"virtualServiceName": service}}
        rewrite = {"prefix": {"defaultPrefix": "DISABLED"}}
        return {"httpRoute": {"action": {"rewrite": rewrite, "target": target}, "match": {"prefix": prefix}}}

    replaced = {
        one.key: one
        for one in (
            resource(
                Kind.VIRTUAL_NODE, "web", {"listeners": [port], "serviceDiscovery": discovery, "backends": named}
            ),
            resource(Kind.ROUTE, "all", {"httpRoute": leading}, parent="pay"),
            resource(Kind.VIRTUAL_SERVICE, "web.local", {"provider": {"virtualNode": {"virtualNodeName": "web"}}}),
            resource(Kind.VIRTUAL_GATEWAY, "gate", {"listeners": [port]}),
            resource(Kind.GATEWAY_ROUTE, "web", way("/web", "web.local"), parent="gate"),
            resource(Kind.GATEWAY_ROUTE, "pay", way("/p", "pay.local"), parent="gate"),
        )
    }
    return State(({one.key: one for one in state} | replaced).values())


async def test_a_call_that_no_route_takes_leaves_a_span_where_it_was_traced_before() -> None:
    """At a gateway after its own route, and where workloads call in turn; not where it begins at the proxy."""
    lost = Expect(statuses=(404,))

    def asked(name: str, path: str, expect: Expect, *onward: str, caller: str = "gate") -> Trial:
        kind = Kind.VIRTUAL_NODE if caller == "web" else Kind.VIRTUAL_GATEWAY
        host = "pay.local" if caller == "web" else "shop.example"
        call = Call(host=host, port=8080, path=path)
        return Trial(name=name, call=call, caller=Key(MESH, kind, caller), expect=expect, of=3, onward=onward)

    trials = (
        asked("taken", "/pay", Expect(statuses=(200,))),
        asked("by no route", "/p", lost),
        asked("by no gateway route", "/else", lost),
        asked("from a node", "/else", lost, caller="web"),
        asked("in turn", "/web", Expect(statuses=(200,)), "pay.local"),
        asked("both in turn", "/web", Expect(statuses=(200,)), "pay.local", "old.local"),
    )
    async with Rig(gated()) as rig:
        results = await run(rig, trials, quiet)
    assert [(one.trial.name, one.outcome, one.mismatches) for one in results] == [
        (one.name, "passed", ()) for one in trials
    ]
    assert [one.seen.followed for one in results] == [3] * len(trials)
