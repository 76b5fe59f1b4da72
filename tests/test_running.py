"""Trials on a rig: faults hold while calls are made, steady ones are watched through, and what fails is run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Key, Kind, State
from meshwright.simulate import Call
from meshwright.trials.trial import Encryption, Expect, FaultKind, Given, Trial
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
    """A lost instance gets no calls; what every caller sees makes its trial fail, twice."""
    half = {"at": "pay", "instances": 1, "of": 2}
    fine = Expect(statuses=(200,), served_by=("pay",))
    trials = (
        trial("lost", fine, Given(kind=FaultKind.LOST, **half)),  # type: ignore[arg-type]
        trial("dead", fine, Given(kind=FaultKind.REFUSED, at="pay"), of=2),
        trial("gone", fine, Given(kind=FaultKind.CRASH, **half), steady=True, of=4),  # type: ignore[arg-type]
        trial("well", Expect(statuses=(200,), encryption=Encryption.NONE, spans=("web", "pay")), of=2),
        trial("nobody", fine, Given(kind=FaultKind.RESET, at="nobody")),
    )
    heard: list[str] = []
    async with Rig(mesh(), instances={"pay": 2}) as rig:
        results = await run(rig, trials, lambda one: heard.append(one.trial.name))
    assert [one.trial.name for one in results] == [one.name for one in trials]
    assert sorted(heard) == sorted(one.name for one in trials)
    lost, dead, gone, well, nobody = results
    assert instances(lost) == {"pay-2"}
    assert (lost.passed, lost.again) == (True, False)
    assert (dead.passed, dead.again, len(dead.seen.calls)) == (False, True, 2)
    assert {one.what for one in dead.mismatches} == {"status", "served_by"}
    assert dead.seen.calls[0].log
    assert len(gone.seen.calls) >= 14
    assert (gone.passed, instances(gone)) == (True, {"pay-1", "pay-2"})
    assert well.passed
    assert "no virtual node or gateway 'nobody' runs here" in nobody.seen.fault


def instances(result: Result) -> set[str]:
    """Who answered."""
    return {one.instance for one in result.seen.calls}
