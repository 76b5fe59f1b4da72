"""What is declared and can never come about, for want of the same TLS on both sides, is found by derived tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from meshwright.graph import resolve
from meshwright.lab.rig import Rig
from meshwright.model import Key, Kind, State
from meshwright.simulate import Call, route
from meshwright.trials.coverage import coverage
from meshwright.trials.judging import judge
from meshwright.trials.seen import CallSeen, Seen
from meshwright.trials.trial import Expect, FaultKind, Given, Trial
from strategies import MESH, resource
from test_trials import derived, ran

if TYPE_CHECKING:
    from pathlib import Path

VAULT = """\
virtualGatewayName: gate
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
---
virtualGatewayName: gate
gatewayRouteName: in
spec: {httpRoute: {match: {prefix: /}, action: {target: {virtualService: {virtualServiceName: plain.local}}}}}
---
virtualNodeName: front
spec:
  backends:
    - virtualService:
        virtualServiceName: vault.local
        clientPolicy:
          tls: {validation: {trust: {file: {certificateChain: /certs/ca.pem}}}}
    - virtualService: {virtualServiceName: plain.local}
---
virtualNodeName: vault
spec:
  listeners: [{portMapping: {port: 8443, protocol: http}}]
  serviceDiscovery: {dns: {hostname: vault.nodes}}
---
virtualNodeName: plain
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: plain.nodes}}
---
virtualServiceName: vault.local
spec: {provider: {virtualNode: {virtualNodeName: vault}}}
---
virtualServiceName: plain.local
spec: {provider: {virtualNode: {virtualNodeName: plain}}}
"""


@pytest.mark.envoy
def test_a_backend_whose_tls_never_agrees_fails_the_run_with_both_places(tmp_path: Path) -> None:
    """The one who asks for it in plaintext is reached all the same."""
    (tmp_path / "mesh.yaml").write_text(VAULT)
    done = ran(
        tmp_path,
        "mesh.yaml",
        "--mesh",
        "m",
        "--isolation",
        "loopback",
        "--only",
        "*is reached",
        "--report",
        "report.json",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    tests = {one["name"]: one["outcome"] for one in json.loads((tmp_path / "report.json").read_text())["tests"]}
    lost = "virtual service vault.local:8443 is reached"
    assert tests.pop(lost) == "failed"
    assert len(tests) > 1
    assert set(tests.values()) == {"passed"}
    assert (
        "the client policy wants TLS, and virtual node 'vault' on port 8443 speaks none at mesh.yaml:20"
        in done.stdout
    )
    assert "VirtualNode 'front' calls it by this client policy at mesh.yaml:15" in done.stdout


def mutual(*, known: bool) -> State:
    """A service that asks for certificates: `bare` and a gateway have none, `other` has one if it is `known`."""
    files = {"file": {"certificateChain": "/certs/x.pem", "privateKey": "/certs/x.key"}}
    trust = {"trust": {"file": {"certificateChain": "/certs/ca.pem"}}}
    tls = {"mode": "STRICT", "certificate": files, "validation": trust}
    listening = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}
    asked = {"protocol": "http", "path": "/", "healthyThreshold": 2, "unhealthyThreshold": 2}
    checked = {"healthCheck": {**asked, "intervalMillis": 5_000, "timeoutMillis": 2_000}}
    secured = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}, "tls": tls, **checked}]}
    dns = {"hostname": "pay.nodes", "responseType": "ENDPOINTS"}
    calls = {"backends": [{"virtualService": {"virtualServiceName": "pay.local"}}]}
    shows = {"backendDefaults": {"clientPolicy": {"tls": {"certificate": files, "validation": trust}}}}
    to = [{"virtualNode": "pay", "weight": 1}]
    target = {"target": {"virtualService": {"virtualServiceName": "pay.local"}}}
    enters = {"httpRoute": {"match": {"prefix": "/"}, "action": target}}
    takes = {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": to}}}
    provider = {"provider": {"virtualRouter": {"virtualRouterName": "pay"}}}
    return State([
        resource(Kind.MESH, MESH, {}),
        resource(Kind.VIRTUAL_NODE, "bare", calls),
        resource(Kind.VIRTUAL_NODE, "other", {**calls, **(shows if known else {})}),
        resource(Kind.VIRTUAL_NODE, "pay", {**secured, "serviceDiscovery": {"dns": dns}}),
        resource(Kind.VIRTUAL_ROUTER, "pay", listening),
        resource(Kind.ROUTE, "all", takes, parent="pay"),
        resource(Kind.VIRTUAL_SERVICE, "pay.local", provider),
        resource(Kind.VIRTUAL_GATEWAY, "gate", listening),
        resource(Kind.GATEWAY_ROUTE, "in", enters, parent="gate"),
    ])  # fmt: skip


def test_a_route_is_shown_by_who_gets_through_and_others_are_to_reach_it_as_well() -> None:
    """They declare it; a gateway route that leads nowhere else is to be reached, too, and tells why it cannot be."""
    found = derived(mutual(known=True))
    reaching = {one.name: (one.caller.name, one.expect.served_by) for one in found.trials}
    assert reaching["route all of pay.local:8080 is reached"] == ("other", ("pay",))
    assert reaching["bare reaches pay.local"] == ("bare", ("pay",))
    assert reaching["gateway route in of gate:8080 is reached"] == ("gate", ("pay",))
    assert "virtual node 'pay' on port 8080 wants a client certificate, and the caller has none" in {
        one.reason for one in found.gaps if one.route.name == "in"
    }


def test_a_route_that_nobody_gets_through_is_to_be_reached_and_is_covered_by_no_refusal() -> None:
    """Not by a test, either, that somebody wrote to see it refused."""
    state = mutual(known=False)
    (found,) = [one for one in derived(state).trials if one.name == "route all of pay.local:8080 is reached"]
    assert found.expect.served_by == ("pay",)
    trial = Trial(name="refused", call=found.call, caller=found.caller, expect=Expect(statuses=(503,)))
    graph = resolve(state)
    result = judge(trial, Seen(calls=(CallSeen(id="1", status=503, elapsed=1),)))
    assert (result.passed, route(graph, trial.caller, trial.call).outcome) == (True, "refused")
    assert not any(one.covered for one in coverage(graph, [result]).points)


@pytest.mark.envoy
async def test_an_ill_instance_is_taken_back_by_all_who_ever_could_call_it() -> None:
    """A gateway and a node that have no certificate to show never can, and are not waited for."""
    caller, call = Key(MESH, Kind.VIRTUAL_NODE, "other"), Call(host="pay.local", port=8080)
    async with Rig(mutual(known=True), instances={"pay": 2}) as rig:
        async with rig.fault(Given(kind=FaultKind.UNHEALTHY, at="pay", instances=1)):
            ill = [(await rig.send(call, caller)).reply.instance for _ in range(6)]
        well = [(await rig.send(call, caller)).reply.instance for _ in range(20)]
    assert (set(ill), set(well)) == ({"pay-2"}, {"pay-1", "pay-2"})
