"""What a canary may do: guardrails and policies on the whole, fencing, who wins, and what is refused beforehand."""

from __future__ import annotations

import concurrent.futures
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from building import TRUST, Jobs, building, travis
from command_line import commands
from meshwright.api import canaries
from meshwright.errors import AccessDeniedError, RefusedError
from meshwright.model.identity import parse_key
from meshwright.observe import Traffic
from meshwright.release import (
    ApplyRequest,
    CanaryRequest,
    CanarySettings,
    GuardrailError,
    Item,
    OlderBuildError,
    VerifyRequest,
)
from meshwright.store.sqlite import connect
from processes import until
from test_releases import SHOP, item, node, route, router

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.remote import Client

OLD = (*SHOP[:4], route("r/x", a=1))
NEW = (*SHOP[:4], route("r/x", b=1))
UNSEEN = CanarySettings(weights=(10, 20), progress_deadline=1, inconclusive="proceed")
"""Nobody calls anybody here: each step is inconclusive after a second, and that is taken for good."""
WAITS = CanarySettings(weights=(10, 20))
MOVES = "guardrails: {mind: {risks: [weight-moved], over: 50, severity: SEVERITY, message: Ask the platform team.}}\n"


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A control plane with a release of the shop, whose proxies would report twenty times a second."""
    with building(tmp_path, traffic=Traffic(0, every=0.05)) as running:
        applied(running.user("alice"), *OLD)
        yield running


def applied(job: Client, *content: Item, steps: CanarySettings | None = None, **more: Any) -> dict[str, Any]:
    """What a job that applies `content`, in `steps` if any, is answered."""
    return job.apply("m", "shop", ApplyRequest(resources=content, canary=steps, **more))


def over(job: Client, first: int) -> dict[str, Any]:
    """The canary that release `first` began, once it is over."""
    found: dict[str, Any] = {}

    def so() -> bool:
        found.update(job.canary("m", "shop", first, CanaryRequest()))
        return bool(found["state"] != "step")

    until(so)
    return found


def newest(job: Client) -> dict[str, Any]:
    """The stack's newest release."""
    return dict(job.releases("m", "shop", 1)["releases"][0])


def weights(job: Client) -> dict[str, int]:
    """How the route's calls are shared out."""
    spec = job.read("m").state[parse_key("mesh/m/virtualRouter/r/route/x")].spec
    targets = msgspec.to_builtins(spec)["httpRoute"]["action"]["weightedTargets"]
    return {one["virtualNode"]: one["weight"] for one in targets}


def test_a_canary_is_judged_as_a_whole_before_its_first_step(jobs: Jobs) -> None:
    """Steps of 10 points each are a move of 100: what a guardrail denies of that never begins."""
    alice = jobs.user("alice")
    jobs.trust(TRUST + MOVES.replace("SEVERITY", "deny"))
    with pytest.raises(GuardrailError, match=r"mind \(weight-moved\).*Ask the platform team\."):
        applied(alice, *NEW, steps=WAITS)
    assert newest(alice)["number"] == 1


def test_who_approves_approves_the_whole(jobs: Jobs) -> None:
    """The canary begins then, in its author's name, and needs no word for its steps; its author may not give it."""
    alice, bob = jobs.user("alice"), jobs.user("bob")
    jobs.trust(TRUST + MOVES.replace("SEVERITY", "approve").replace("50", "5"))
    waiting = applied(alice, *NEW, steps=UNSEEN)["pending"]
    assert applied(alice, *NEW, steps=UNSEEN)["pending"]["number"] == waiting["number"]
    assert (newest(alice)["number"], {one["object"] for one in waiting["changes"]}) == (
        1,
        {"mesh/m/virtualRouter/r/route/x"},
    )
    with pytest.raises(AccessDeniedError, match="the author's own"):
        alice.approve("m", "shop", waiting["number"])
    first = bob.approve("m", "shop", waiting["number"], "go")["release"]
    assert (first["canary"]["weight"], first["principal"][-5:], weights(alice)) == (10, "alice", {"a": 90, "b": 10})
    found = over(alice, first["number"])
    assert (found["state"], weights(alice)) == ("finished", {"b": 1})
    assert [one["approval"] is not None for one in found["releases"]] == [True, False, False]
    with closing(connect(jobs.folder / "meshwright.db")) as store:
        assert store.verify().faults == ()


def test_one_grant_passes_the_whole(jobs: Jobs) -> None:
    """And is used up by it."""
    alice = jobs.user("alice")
    jobs.trust(TRUST + MOVES.replace("SEVERITY", "deny").replace("50", "5"))
    jobs.user().grant("m", "shop", "user/alice", "INC-7", 30)
    first = applied(alice, *NEW, steps=UNSEEN, break_glass="it burns")["release"]
    assert over(alice, first["number"])["state"] == "finished"
    with pytest.raises(GuardrailError):
        applied(alice, *OLD)


def test_what_a_guardrail_minds_anew_returns_the_canary(jobs: Jobs) -> None:
    """It did not when the canary began; the way back is not what it minds."""
    alice = jobs.user("alice")
    first = applied(alice, *NEW, steps=UNSEEN)["release"]
    jobs.trust(TRUST + MOVES.replace("SEVERITY", "deny, kinds: [apply]").replace("50", "5"))
    found = over(alice, first["number"])
    assert (found["state"], weights(alice)) == ("returned", {"a": 1})
    assert "what comes after it was refused: The guardrails" in found["release"]["reason"]


def test_no_guardrail_keeps_a_canary_from_going_back(jobs: Jobs) -> None:
    """It only goes where the stack had been."""
    alice = jobs.user("alice")
    first = applied(alice, *NEW, steps=WAITS)["release"]
    jobs.trust(TRUST + MOVES.replace("SEVERITY", "deny").replace("50", "5"))
    found = alice.canary("m", "shop", first["number"], CanaryRequest(leave="I changed my mind"))
    assert (found["state"], weights(alice)) == ("returned", {"a": 1})


def test_a_canary_that_may_not_be_returned_stands_and_says_why(jobs: Jobs) -> None:
    """Whoever has lost their permissions meanwhile cannot go back either."""
    alice = jobs.user("alice")
    first = applied(alice, *NEW, steps=WAITS)["release"]
    frozen = (
        '  frozen: {Version: "2012-10-17", Statement: {Effect: Deny, Action: "appmesh:UpdateRoute", Resource: "*"}}\n'
    )
    text = TRUST.replace("policies:\n", f"policies:\n{frozen}")
    jobs.trust(text.replace("permissions: [everything]", "permissions: [everything, frozen]"))
    with pytest.raises(AccessDeniedError, match="virtualRouter/r/route/x"):
        alice.canary("m", "shop", first["number"], CanaryRequest(leave="I changed my mind"))
    assert (weights(alice), newest(alice)["canary"]["state"]) == ({"a": 90, "b": 10}, "step")


def test_an_older_build_takes_no_step_after_a_newer_one(jobs: Jobs) -> None:
    """What the newer one released stays, and the older canary says so; nor does a late job begin one."""
    old, new = jobs.job(**travis(11)), jobs.job(**travis(12))
    first = applied(old, *NEW, steps=WAITS)["release"]
    told = applied(new, *SHOP)
    assert told["warnings"] == ["it takes the place of the canary shop#2, which stood at 10 %"]
    found = old.canary("m", "shop", first["number"], CanaryRequest())
    assert (found["state"], found["superseded_by"]) == ("superseded", "shop#3")
    assert weights(old) == {"a": 90, "b": 10}
    with pytest.raises(OlderBuildError, match=r"Build 11 .* older than build 12"):
        applied(old, *NEW, steps=WAITS)


def test_a_newer_build_that_wants_the_same_goes_on_with_it(jobs: Jobs) -> None:
    """From then on the older one neither goes on nor returns it."""
    old, new = jobs.job(**travis(11)), jobs.job(**travis(12))
    first = applied(old, *NEW, steps=UNSEEN)["release"]
    again = applied(new, *NEW, steps=WAITS)
    assert (again["changed"], again["release"]["number"]) == (False, first["number"])
    with pytest.raises(OlderBuildError, match=r"Build 11 .* older than build 12"):
        old.canary("m", "shop", first["number"], CanaryRequest(leave="late"))
    assert over(new, first["number"])["state"] == "finished"


def test_a_canary_in_the_midst_of_another_returns_to_what_was_good_before_both(jobs: Jobs) -> None:
    """It shifts from the weights that run, whatever they are."""
    alice = jobs.user("alice")
    applied(alice, *NEW, steps=WAITS)
    third = applied(alice, *(*SHOP[:4], route("r/x", a=1, b=1)), steps=WAITS)["release"]
    assert (third["canary"]["returns_to"], weights(alice)) == (1, {"a": 86, "b": 14})
    found = alice.canary("m", "shop", third["number"], CanaryRequest(leave="enough"))
    assert (found["state"], found["release"]["restores"], weights(alice)) == ("returned", 1, {"a": 1})


def test_no_step_is_verified_or_restored_as_the_last_good_one(jobs: Jobs) -> None:
    """It is on the way to something else; nor is it what a build is taken back to."""
    alice = jobs.user("alice")
    first = applied(alice, *NEW, steps=WAITS)["release"]
    with pytest.raises(RefusedError, match="shop#2 cannot be verified: it is a step of a canary"):
        alice.verify("m", "shop", first["number"], VerifyRequest())


def test_definitions_that_only_say_what_a_step_is_are_a_release_of_their_own(jobs: Jobs) -> None:
    """Then nothing is on the way any more."""
    alice = jobs.user("alice")
    applied(alice, *NEW, steps=WAITS)
    found = applied(alice, *(*SHOP[:4], route("r/x", a=90, b=10)))
    assert (found["changed"], found["release"]["changes"], found["release"]["canary"]) == (True, [], None)


SPLIT = route("r/x", a=50, b=50)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ((*OLD[:4], route("r/x", a=7), node("c")), "There is nothing to shift: no route of the stack"),
        (
            (*SHOP[:2], node("b"), router("r"), SPLIT, route("r/y", a=1)),
            r"create of mesh/m/virtualRouter/r/route/y \(in ",
        ),
        ((SHOP[0], node("a", 81), *SHOP[2:4], SPLIT), r"update of mesh/m/virtualNode/a \(spec.listeners"),
        ((*SHOP[:3], router("r", 81), SPLIT), r"update of mesh/m/virtualRouter/r \(spec.listeners"),
        (
            (*SHOP[:4], item("virtualRouter/r/route/x", {**SPLIT.spec, "priority": 7})),
            r"update of mesh/m/virtualRouter/r/route/x \(spec.priority\)",
        ),
        ((*SHOP[:4], route("r/x", a=0, b=0)), "it sends calls nowhere any more"),
    ],
    ids=["same-shares", "route", "node", "router", "match", "nowhere"],
)
def test_what_would_reach_all_callers_at_once_is_refused_by_name(jobs: Jobs, content: Any, told: str) -> None:
    """Before anything is written."""
    alice = jobs.user("alice")
    before = jobs.plane.server.store.head().revision
    with pytest.raises(RefusedError, match=told) as refused:
        applied(alice, *content, steps=WAITS)
    assert str(refused.value).endswith("Nothing was changed.")
    assert jobs.plane.server.store.head().revision == before


def test_what_no_call_reaches_comes_first_and_what_none_needs_goes_last(jobs: Jobs) -> None:
    """A new node takes the place of another: there with the first step, and the old one gone only with the end."""
    alice = jobs.user("alice")
    moved = item("virtualNode/b", {**node("b").spec, "serviceDiscovery": {"dns": {"hostname": "elsewhere"}}})
    content = (SHOP[0], moved, node("c"), router("r"), route("r/x", b=1, c=1))
    first = applied(alice, *content, steps=UNSEEN)["release"]
    assert (first["canary"]["steps"], first["canary"]["weight"], weights(alice)) == ([0, 10, 20], 0, {"a": 1})
    told = [changed(one) for one in over(alice, first["number"])["releases"]]
    assert told == [
        {"virtualNode/b": "update", "virtualNode/c": "create"},  # nothing is sent to b so far
        {"virtualRouter/r/route/x": "update"},
        {"virtualRouter/r/route/x": "update"},
        {"virtualNode/a": "delete", "virtualRouter/r/route/x": "update"},
    ]


def changed(one: dict[str, Any]) -> dict[str, str]:
    """What a release did to which object."""
    return {change["object"].removeprefix("mesh/m/"): change["action"] for change in one["changes"]}


def test_a_stack_without_a_release_or_with_drift_begins_no_canary(jobs: Jobs) -> None:
    """There is nothing that it could return to."""
    alice = jobs.user("alice")
    with pytest.raises(RefusedError, match="has no release that a canary could return to"):
        alice.apply("m", "other", ApplyRequest(resources=(node("z"),), canary=WAITS))
    jobs.plane.server.client().update_route(
        meshName="m", virtualRouterName="r", routeName="x", spec=route("r/x", a=3, b=4).spec
    )
    with pytest.raises(RefusedError, match="does not run as shop#1 left it"):
        applied(alice, *NEW, steps=WAITS)


def test_what_is_another_stacks_is_refused_before_the_first_step(jobs: Jobs) -> None:
    """And by a principal that may not act for the stack."""
    alice = jobs.user("alice")
    alice.apply("m", "other", ApplyRequest(resources=(node("z"),)))
    with pytest.raises(RefusedError, match="belongs to stack 'other'"):
        applied(alice, *NEW, node("z", 81), steps=WAITS)
    first = applied(alice, *NEW, steps=WAITS)["release"]
    jobs.trust(TRUST.replace("bob: *wide", "bob: {stack: other, owns: ['mesh/**'], permissions: [everything]}"))
    bob = jobs.user("bob")
    for asked in (CanaryRequest(), CanaryRequest(leave="mine now")):
        with pytest.raises(AccessDeniedError, match="acts for stack 'other'"):
            bob.canary("m", "shop", first["number"], asked)
    assert weights(alice) == {"a": 90, "b": 10}


def test_connections_are_not_shifted(jobs: Jobs) -> None:
    """Nothing that proxies report of TCP tells a good one from a bad one."""
    alice = jobs.user("alice")
    listening = {"listeners": [{"portMapping": {"port": 90, "protocol": "tcp"}}]}
    there = {"serviceDiscovery": {"dns": {"hostname": "t"}}}
    nodes = [item(f"virtualNode/{name}", {**listening, **there}) for name in ("s", "t")]

    def ledger(**weights: int) -> ApplyRequest:
        targets = [{"virtualNode": name, "weight": weight} for name, weight in weights.items()]
        way = item("virtualRouter/l/route/all", {"tcpRoute": {"action": {"weightedTargets": targets}}})
        resources = (*nodes, item("virtualRouter/l", listening), way)
        return ApplyRequest(resources=resources, canary=WAITS if "t" in weights else None)

    alice.apply("m", "ledger", ledger(s=1))
    with pytest.raises(RefusedError, match="proxies report neither errors nor times of TCP connections"):
        alice.apply("m", "ledger", ledger(t=1))


def test_a_target_whose_instances_are_gone_fails_a_step(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """No report tells of calls that were sent nowhere; what DNS alone tells of is not known to be gone."""
    monkeypatch.setattr(canaries, "ABSENT", 0.1)
    alice = jobs.user("alice")
    found = {"awsCloudMap": {"namespaceName": "shop.local", "serviceName": "b"}}
    registered = item("virtualNode/b", {**node("b").spec, "serviceDiscovery": found})
    there, wanted = ((*SHOP[:2], registered, router("r"), route("r/x", **shares)) for shares in ({"a": 1}, {"b": 1}))
    applied(alice, *there)
    first = applied(alice, *wanted, steps=WAITS)["release"]
    told = over(alice, first["number"])["release"]["reason"]
    assert told == "the canary shop#3 failed at 10 %: for 0.1 s, b: no instance of it is registered and healthy"
    applied(alice, *OLD)
    first = applied(alice, *NEW, steps=UNSEEN)["release"]
    assert over(alice, first["number"])["state"] == "finished"


DEFINITIONS = """
meshName: m
spec: {}
---
virtualNodeName: a
spec: {listeners: [{portMapping: {port: 80, protocol: http}}], serviceDiscovery: {dns: {hostname: a}}}
---
virtualNodeName: b
spec: {listeners: [{portMapping: {port: 80, protocol: http}}], serviceDiscovery: {dns: {hostname: b}}}
---
virtualRouterName: r
spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}
---
virtualRouterName: r
routeName: x
spec: {httpRoute: {match: {prefix: /}, action: {weightedTargets: [{virtualNode: b, weight: 1}]}}}
"""
PROJECT = """
stack: shop
mesh: m
definitions: [mesh.yaml]
canary: {steps: 50/50, progress_deadline: 1, inconclusive: proceed}
"""


def test_a_job_waits_for_the_approval_of_its_canary_and_looks_after_it(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As its project says; somebody else approves it meanwhile."""
    jobs.trust(TRUST + MOVES.replace("SEVERITY", "approve"))
    files = {"mesh.yaml": DEFINITIONS, "meshwright.yaml": PROJECT}
    command = commands(tmp_path / "project", jobs.plane.server, monkeypatch, capsys, files)
    done = command("apply", "--canary")
    assert (done.code, newest(jobs.user("bob"))["number"]) == (1, 1)
    assert "shop#pending-1 waits for somebody's approval, in steps of 50 %, until " in done.out
    assert "1 to change, in steps of 50 %" in command("pending").out

    def approved() -> None:
        until(lambda: bool(newest_pending()))
        jobs.user("bob").approve("m", "shop", 2, "go")

    def newest_pending() -> list[dict[str, Any]]:
        found = jobs.user("bob").pending("m", "shop")["pending"]
        return [one for one in found if one["number"] == 2 and one["state"] == "open"]

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        approving = pool.submit(approved)
        done = command("apply", "--canary", "30", "--wait", "60", "--format", "json")
        approving.result()
    assert done.code == 0, done
    assert (done.json["release"]["title"], done.json["canary"]["steps"]) == ("shop#3", [30])
    assert weights(jobs.user("bob")) == {"b": 1}
