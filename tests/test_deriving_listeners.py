"""Trials of who calls listeners without a proxy: what is derived, and what is found on real Envoys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from meshwright.graph import resolve
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.trials.coverage import coverage
from meshwright.trials.promises import promises
from shop_load import edited
from strategies import MESH, resource
from test_rig import authority, calling, certificate, identified, identity, listening, node, provided
from test_trials import derived

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshwright.lab.machines import Isolation
    from meshwright.trials.judging import Result
    from meshwright.trials.trial import Trial

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
UNPROVEN = (
    "does not take TLS without a certificate",
    "does not take TLS with a certificate that nobody here issued",
)
PROTOCOLS = {"web": ("http", 8080), "two": ("http2", 8081), "rpc": ("grpc", 8082), "raw": ("tcp", 9000)}


def secured(name: str, mode: str = "STRICT") -> dict[str, Any]:
    """The TLS of a listener that asks for certificates."""
    return {"mode": mode, "certificate": certificate(name), "validation": authority("clients")}


def walled(mode: str = "STRICT") -> State:
    """A mesh whose every listener asks for certificates, one of each protocol."""
    shown = {"certificate": certificate("caller"), "validation": authority("servers")}
    entrance = [{"portMapping": {"port": 8443, "protocol": "http"}, "tls": secured("door")}]
    to_web = {"target": {"virtualService": {"virtualServiceName": "web.local"}}}
    door = {
        "listeners": entrance,
        "backendDefaults": {"clientPolicy": {"tls": {**shown, "certificate": certificate("door")}}},
    }
    return State([
        resource(Kind.MESH, MESH, {"egressFilter": {"type": "DROP_ALL"}}),
        resource(Kind.VIRTUAL_GATEWAY, "door", door),
        resource(
            Kind.GATEWAY_ROUTE, "in", {"httpRoute": {"match": {"prefix": "/"}, "action": to_web}}, parent="door"
        ),
        node("caller", **calling(*PROTOCOLS, tls=shown)),
        *(node(name, **listening(*where, tls=secured(name, mode))) for name, where in PROTOCOLS.items()),
        *(provided(name) for name in PROTOCOLS),
    ])  # fmt: skip


def about_listeners(state: State) -> list[Trial]:
    """Those of the derived trials that call listeners without a proxy, or without a certificate."""
    return [one for one in derived(state).trials if one.call.straight or one.call.apart]


def told(results: Sequence[Result]) -> dict[str, list[str]]:
    """What was not as expected, by the name of the trial."""
    return {
        one.trial.name: [one.seen.fault, *(f"{wrong.what}: {wrong.happened}" for wrong in one.mismatches)]
        for one in results
        if not one.passed
    }


@pytest.mark.parametrize(
    ("mode", "plaintext"), [("STRICT", "does not take"), ("PERMISSIVE", "takes")]
)  # fmt: skip
def test_each_listener_is_called_with_what_it_takes_and_with_less(mode: str, plaintext: str) -> None:
    """And those without TLS are left alone."""
    names = [one.name for one in about_listeners(walled(mode))]
    each = [
        f"node {name}:{port} {how}"
        for name, (_, port) in PROTOCOLS.items()
        for how in (f"{plaintext} plaintext", "takes TLS", *UNPROVEN)
    ]
    assert sorted(names) == sorted([*each, *(f"gateway door:8443 {how}" for how in UNPROVEN)])


def test_what_no_run_shows_of_certificates_and_retries_is_listed_with_its_reason() -> None:
    """Whom clients trust, whom they are willing to call, and events that nothing brings about."""
    state = edited(named("caller.example"), Key(MESH, Kind.VIRTUAL_NODE, "caller"), wary)
    events = {"maxRetries": 1, "perRetryTimeout": {"unit": "s", "value": 1}, "tcpRetryEvents": ["connection-error"]}
    to = {"weightedTargets": [{"virtualNode": "web", "weight": 1}]}
    policies: dict[str, dict[str, Any]] = {
        "httpRoute": {"match": {"prefix": "/"}, "retryPolicy": {**events, "httpRetryEvents": ["stream-error"]}},
        "grpcRoute": {"match": {}, "retryPolicy": {**events, "httpRetryEvents": ["gateway-error"]}},
    }
    for member, route in policies.items():
        state = state.put(resource(Kind.ROUTE, member, {member: {**route, "action": to}}, parent="r"))
    found = {(one.key.name, one.path): one.unseen for one in promises(resolve(state))}
    told = "spec.backendDefaults.clientPolicy.tls.validation"
    assert "of another authority is not tried" in found["caller", f"{told}.trust"]
    assert "for another name is not tried" in found["caller", f"{told}.subjectAlternativeNames"]
    assert "between two proxies" in found["httpRoute", "spec.httpRoute.retryPolicy.tcpRetryEvents"]
    assert "refuse no stream" in found["httpRoute", "spec.httpRoute.retryPolicy.httpRetryEvents[0]"]
    assert "a status of gRPC alone" in found["grpcRoute", "spec.grpcRoute.retryPolicy.httpRetryEvents"]
    assert found["web", "spec.listeners[0].tls.validation.subjectAlternativeNames"] == ""


def quiet(_: Result) -> None:
    """Nobody looks on."""


@pytest.mark.envoy
@pytest.mark.timeout(300)
async def test_listeners_that_take_more_than_was_declared_are_found() -> None:
    """STRICT that became PERMISSIVE, and certificates that are not asked for any more: at nodes and at gateways."""
    state = walled()
    trials = about_listeners(state)
    async with Rig(state) as rig:
        assert told(await run(rig, trials, quiet)) == {}
        for name, (_, port) in PROTOCOLS.items():
            where = Key(MESH, Kind.VIRTUAL_NODE, name)
            await rig.apply(edited(state, where, at("mode", "PERMISSIVE")))
            assert [*told(await run(rig, trials, quiet))] == [f"node {name}:{port} does not take plaintext"]
        for name, port in (*((name, port) for name, (_, port) in PROTOCOLS.items()), ("door", 8443)):
            kind = "gateway" if name == "door" else "node"
            where = Key(MESH, Kind.VIRTUAL_GATEWAY if name == "door" else Kind.VIRTUAL_NODE, name)
            await rig.apply(edited(state, where, at("validation", None)))
            found = told(await run(rig, trials, quiet))
            assert [*found] == [f"{kind} {name}:{port} {how}" for how in UNPROVEN], found


def named(*names: str) -> State:
    """The same mesh, whose listener for the web takes clients of these names only."""
    asked = {"subjectAlternativeNames": {"match": {"exact": list(names)}}} if names else {}
    return edited(walled(), WEB, lambda spec: spec["listeners"][0]["tls"]["validation"].update(asked))


def wary(spec: dict[str, Any]) -> None:
    """Let a client call servers of certain names only."""
    asked = {"subjectAlternativeNames": {"match": {"exact": ["web.nodes"]}}}
    spec["backendDefaults"]["clientPolicy"]["tls"]["validation"].update(asked)


@pytest.mark.envoy
@pytest.mark.timeout(300)
async def test_a_listener_that_takes_clients_of_other_names_is_found() -> None:
    """Of another one than was declared, or of any; whom it declares it takes, and nobody else."""
    trials = [one for one in about_listeners(named("caller.example")) if one.caller == WEB]
    theirs, strangers = (f"with a certificate for {name}" for name in ("caller.example", "stranger.example"))
    assert {f"node web:8080 takes TLS {theirs}", f"node web:8080 does not take TLS {strangers}"} <= {
        one.name for one in trials
    }
    state = named("caller.example")
    async with Rig(state) as rig:
        found = await run(rig, trials, quiet)
        assert told(found) == {}
        shown = {one.path for one in coverage(rig.graph, found).policies if one.route == WEB and one.covered}
        assert {f"spec.listeners[0].tls.validation.{one}" for one in ("trust", "subjectAlternativeNames")} <= shown
        await rig.apply(named("other.example"))
        assert [*told(await run(rig, trials, quiet))] == [f"node web:8080 takes TLS {theirs}"]
        await rig.apply(named())
        assert [*told(await run(rig, trials, quiet))] == [f"node web:8080 does not take TLS {strangers}"]


@pytest.mark.envoy
@pytest.mark.parametrize("isolation", ["loopback", "netns"])
async def test_listeners_that_take_both_do(isolation: Isolation) -> None:
    """PERMISSIVE, in every protocol; and everything else that is derived holds beside it."""
    state = walled("PERMISSIVE")
    async with Rig(state, isolation=isolation) as rig:
        assert told(await run(rig, derived(state).trials, quiet)) == {}


@pytest.mark.envoy
async def test_grpc_is_spoken_over_tls_with_whom_no_certificate_names_as_it_is_called() -> None:
    """A gateway, which is called by any name, and a node whose certificate carries an identity and no name of DNS."""
    to_rpc = {"target": {"virtualService": {"virtualServiceName": "rpc.local"}}}
    entrance = [{"portMapping": {"port": 9443, "protocol": "grpc"}, "tls": secured("gate")}]
    served = {"mode": "STRICT", "certificate": identity("rpc")}
    state = State([
        resource(Kind.MESH, MESH, {}),
        resource(Kind.VIRTUAL_GATEWAY, "gate", {
            "listeners": entrance, "backendDefaults": {"clientPolicy": {"tls": identified("rpc")}},
        }),
        resource(
            Kind.GATEWAY_ROUTE, "in",
            {"grpcRoute": {"match": {"serviceName": "lab.Workload"}, "action": to_rpc}}, parent="gate",
        ),
        node("rpc", **listening("grpc", 8082, tls=served)),
        provided("rpc"),
    ])  # fmt: skip
    found = derived(state)
    assert [one for one in found.gaps if ".tls" in one.path] == []
    trials = [one for one in found.trials if not one.given]
    assert {"gateway route in of gate:9443 is reached", "node rpc:8082 takes TLS"} <= {one.name for one in trials}
    async with Rig(state) as rig:
        assert told(await run(rig, trials, quiet)) == {}


def at(member: str, value: str | None) -> Callable[[dict[str, Any]], None]:
    """Another value of a member of a listener's TLS; None takes it away."""

    def edit(spec: dict[str, Any]) -> None:
        tls = spec["listeners"][0]["tls"]
        tls.pop(member)
        if value is not None:
            tls[member] = value

    return edit
