"""What of a run goes on beside each other: who waits in a small pool, and what is run once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.simulate import Call
from meshwright.trials.trial import Encryption, Expect, FaultKind, Given, Suite, Trial
from strategies import MESH, Wire, resource
from test_deriving_instances import CHECK, quiet

if TYPE_CHECKING:
    from meshwright.trials.judging import Result

pytestmark = pytest.mark.envoy

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
LISTENERS: dict[str, Wire] = {
    "plain": {},
    "checked": {"healthCheck": CHECK},
    "narrow": {"connectionPool": {"http": {"maxConnections": 1, "maxPendingRequests": 1}}},
}
GOLD = {"x-user": "gold"}


def mesh() -> State:
    """A node that calls three others, one of which is checked and one of which takes one call at a time."""
    found = [resource(Kind.MESH, MESH, {})]
    backends = [{"virtualService": {"virtualServiceName": f"{name}.local"}} for name in LISTENERS]
    found.append(resource(Kind.VIRTUAL_NODE, "web", {"backends": backends}))
    for name, more in LISTENERS.items():
        listener = {"portMapping": {"port": 8080, "protocol": "http"}, **more}
        dns = {"hostname": f"{name}.nodes", "responseType": "ENDPOINTS"}
        found += [
            resource(Kind.VIRTUAL_NODE, name, {"listeners": [listener], "serviceDiscovery": {"dns": dns}}),
            resource(
                Kind.VIRTUAL_SERVICE,
                f"{name}.local",
                {"provider": {"virtualNode": {"virtualNodeName": name}}},
            ),
        ]
    return State(found)


def trial(name: str, service: str, *given: Given, of: int, steady: bool = False) -> Trial:
    """So many calls of the web node's to a service, all of which are answered."""
    call = Call(host=f"{service}.local", port=8080)
    return Trial(name=name, call=call, caller=WEB, expect=Expect(statuses=(200,)), given=given, of=of, steady=steady)


async def test_who_waits_in_a_small_pool_waits_for_those_alone_who_pass_it() -> None:
    """While hundreds of calls are counted elsewhere, one is held in the only place of a pool, once that is free."""
    many, few = trial("many", "plain", of=800), trial("few", "narrow", of=4)
    held = trial("held", "narrow", Given(kind=FaultKind.LATENCY, at="narrow", latency=1_500, headers=GOLD), of=1)
    held = replace(held, call=held.call.with_headers(add=tuple(GOLD.items())))
    async with Rig(mesh()) as rig:
        found = {one.trial.name: one for one in await run(rig, (many, few, held), quiet)}
    assert {name: (one.mismatches, one.seen.fault) for name, one in found.items() if not one.passed} == {}
    assert found["few"].began < found["held"].began < ended(found["many"])


async def test_nobody_calls_who_is_ill_from_the_beginning_of_a_run() -> None:
    """Whether it is well has changed a moment before, as it does whenever a run begins."""
    unwell = Given(kind=FaultKind.UNHEALTHY, at="checked", instances=1, of=2)
    ill = trial("ill", "checked", unwell, of=12, steady=True)
    ill = replace(ill, expect=replace(ill.expect, avoided=True))
    async with Rig(mesh(), instances=Suite(trials=(ill,)).needed) as rig:
        (found,) = await run(rig, [ill], quiet)
    assert (found.outcome, found.mismatches, found.again) == ("passed", (), False)


async def test_what_is_run_once_more_and_does_nothing_but_call_is_run_side_by_side() -> None:
    """Each waits for what proxies say of how its calls were encrypted, which comes once a second."""
    wrong = [trial(f"wrong {number}", "plain", of=2) for number in range(3)]
    wrong = [replace(one, expect=replace(one.expect, encryption=Encryption.SERVER)) for one in wrong]
    async with Rig(mesh()) as rig:
        found = await run(rig, wrong, quiet)
    assert [(one.outcome, one.again) for one in found] == [("failed", True)] * 3
    assert max(one.began for one in found) < min(map(ended, found))


def ended(result: Result) -> float:
    """When it was over, in seconds after the beginning of all."""
    return result.began + result.duration
