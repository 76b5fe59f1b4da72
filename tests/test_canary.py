"""Canaries on real Envoys: shifted step by step, judged by what proxies report, and returned by themselves."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest

from canarying import NEW, OLD, QUICK, ended, objects, shop
from envoys import until
from meshwright.lab.exchange import Fault
from meshwright.model.decoding import encode
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.envoy

RETURNED = [(3, "rollback", "propagated"), (2, "apply", "rolled back"), (1, "apply", "propagated")]
"""What `history` tells of a canary that went back."""
LONG = (*QUICK, "--canary-interval", "600")
"""Steps that take longer than any test."""


async def test_a_good_version_takes_all_calls_step_by_step_and_no_caller_notices(tmp_path: Path) -> None:
    """Every step is a release that says what the one before it came to; the last one is what was wanted."""
    async with shop(tmp_path) as one:
        async with one.called():
            done = await one.apply(NEW, *QUICK, "--format", "json")
            assert done.code == 0, done
        assert one.errors == {}
        assert await one.state() == NEW
        assert await one.told() == [(number, "apply", "propagated") for number in (4, 3, 2, 1)]
        found = json.loads(done.out)
        canary = found["canary"]
        assert (canary["canary"], canary["state"], found["release"]["title"]) == ("lab#2", "finished", "lab#4")
        parts = [each["canary"] for each in canary["releases"]]
        assert [(part["state"], part["weight"]) for part in parts] == [("step", 20), ("step", 50), ("finished", 100)]
        for part in parts[1:]:
            assert part["judged"]["verdict"] == "passed"
            (figures,) = part["judged"]["checks"][-1]["figures"]
            assert figures["node"] == "mesh/shop/virtualNode/cart-v2"
            assert figures["requests"] >= 5
            assert figures["errors"] == 0
        assert (
            "lab#2: step 1 of 2, 20 % of the way: virtualRouter/cart/route/all: cart-v1 80 %, cart-v2 20 %"
            in done.err
        )
        assert done.err.splitlines()[-1] == "The canary lab#2 succeeded; lab#4 is what runs."


async def test_a_version_that_answers_with_errors_is_returned_by_itself(tmp_path: Path) -> None:
    """As a new release that says what it reverts and why, with the figures; the job fails."""
    async with shop(tmp_path) as one:
        one.lab.workloads("cart-v2")[0].fault = Fault(status=500)
        async with one.called():
            done = await one.apply(NEW, *QUICK, "--format", "json")
        assert done.code == 1, done
        assert await one.state() == OLD
        assert await one.told() == RETURNED
        back = json.loads(done.out)["release"]
        assert (back["restores"], back["canary"]["state"]) == (1, "returned")
        assert back["reason"].startswith("the canary lab#2 failed at 20 %: 1 failed check; the last: cart-v2: ")
        assert back["reason"].endswith(" requests, 0 % succeeded, at least 99 % must")
        assert back["canary"]["judged"]["verdict"] == "failed"
        assert done.err.splitlines()[-1] == f"lab#3 went back to lab#1: {back['reason']}."


async def test_a_slow_version_is_returned(tmp_path: Path) -> None:
    """By how long its answers take, as those who call it measure; its errors are none."""
    async with shop(tmp_path) as one:
        one.lab.workloads("cart-v2")[0].fault = Fault(delay=0.4)
        more = ("--canary-max-duration", "100", "--canary-threshold", "2")
        async with one.called():
            done = await one.apply(NEW, *QUICK, *more, "--format", "json")
        assert done.code == 1, done
        assert await one.state() == OLD
        judged = json.loads(done.out)["release"]["canary"]["judged"]
        assert judged["verdict"] == "failed"
        for check in judged["checks"]:
            (figures,) = check["figures"]
            assert (figures["errors"], check["outcome"]) == (0, "failed")
            assert figures["p99"] > 250
            assert "at most 100 ms are allowed" in check["told"]
        assert len(judged["checks"]) == 2
        assert one.errors == {}


async def test_what_nobody_calls_cannot_be_judged_and_goes_back(tmp_path: Path) -> None:
    """That is no failure of the version's, and is told apart; who wants it nevertheless says so, and it is kept."""
    async with shop(tmp_path) as one:
        more = (*QUICK, "--canary-progress-deadline", "2", "--format", "json")
        done = await one.apply(NEW, *more)
        assert done.code == 1, done
        back = json.loads(done.out)["release"]
        assert back["canary"]["judged"]["verdict"] == "inconclusive"
        assert back["reason"] == (
            "the canary lab#2 was inconclusive at 20 %: nothing could be judged for 2 s: cart-v2: 0 of at least 5 "
            "requests reported"
        )
        assert await one.state() == OLD
        done = await one.apply(NEW, *more, "--canary-inconclusive", "proceed")
        assert done.code == 0, done
        assert await one.state() == NEW
        parts = [each["canary"]["judged"] for each in json.loads(done.out)["canary"]["releases"]]
        assert [part["verdict"] for part in parts if part is not None] == ["inconclusive", "inconclusive"]


async def test_a_client_that_is_interrupted_returns_its_canary_first(tmp_path: Path) -> None:
    """By Ctrl-C and by a polite kill alike; more of them change nothing."""
    async with shop(tmp_path) as one:
        number = 1
        for name in ("SIGINT", "SIGTERM"):
            running = await one.applying(NEW, *LONG)
            await one.at_step(1)
            done = await ended(running, signal.Signals[name])
            assert done.code == 1, done
            assert await one.state() == OLD
            number += 2
            newest = await one.newest()
            assert (newest["number"], newest["kind"], newest["restores"]) == (number, "rollback", number - 2)
            assert newest["reason"].endswith(f"the job that looked after it was interrupted ({name})")


async def test_a_client_that_was_killed_is_missed_and_its_canary_goes_back(tmp_path: Path) -> None:
    """The control plane does that in its name, also one that was restarted since; meanwhile everybody can see it."""
    async with shop(tmp_path) as one:
        running = await one.applying(NEW, *LONG, "--canary-lease", "4")
        await one.at_step(1)
        for command, told in (
            (("status",), "canary, step 1 of 2, 20 %"),
            (("history", "--mesh", "shop", "--stack", "lab"), "canary, step 1 of 2, 20 %"),
            (("drift", "--mesh", "shop", "--stack", "lab"), "The canary lab#2 is at step 1 of 2, 20 %"),
            (("drift", "--mesh", "shop", "--stack", "lab"), "or goes back to lab#1 with 'rollback --to 1'."),
        ):
            assert told in (await one.run(*command)).out
        await ended(running, signal.SIGKILL)
        await one.lab.control.kill()
        await one.lab.control.start()

        async def back() -> bool:
            return bool((await one.newest())["kind"] == "rollback")

        await until(back, "the canary is returned")
        assert await one.state() == OLD
        newest = await one.newest()
        assert newest["reason"] == "the canary lab#2 was inconclusive at 20 %: nobody has looked after it for 4 s"
        assert newest["principal"] == "arn:aws:iam::000000000000:user/administrator"


async def test_the_same_job_started_again_goes_on_with_its_canary(tmp_path: Path) -> None:
    """What was killed in the midst is finished by whoever wants the same, from the step that it had come to."""
    async with shop(tmp_path) as one:
        running = await one.applying(NEW, *QUICK)
        await one.at_step(1)  # where it stays, as nobody calls
        await ended(running, signal.SIGKILL)
        async with one.called():
            done = await one.apply(NEW, *QUICK, "--format", "markdown")
        assert done.code == 0, done
        assert "lab#2 is on the way there already" in done.err
        lines = done.out.splitlines()
        assert lines[:3] == ["### Canary `lab#2`", "", "`The canary lab#2 succeeded; lab#4 is what runs.`"]
        assert lines[6].startswith("| `lab#2` | `1 of 2` | `20 %` | `cart-v2` | ")
        assert lines[8] == "| `lab#4` | `finished` | `100 %` |  |  |  |  |  |  |"
        assert "- 50 %: `passed: cart-v2: " in done.out
        assert await one.told() == [(number, "apply", "propagated") for number in (4, 3, 2, 1)]
        assert await one.state() == NEW


async def test_whoever_releases_in_the_midst_wins(tmp_path: Path) -> None:
    """The canary ends where it stands, takes back nothing of what came after it, and its job fails with a reason."""
    async with shop(tmp_path) as one:
        running = await one.applying(NEW, *LONG)
        await one.at_step(1)
        newer = State(objects({"cart-v1": 70, "cart-v2": 30}))
        done = await one.apply(newer)
        assert done.code == 0
        assert "Warning: it takes the place of the canary lab#2, which stood at 20 %" in done.out
        done = await ended(running)
        assert done.code == 1
        assert done.out.splitlines()[-1] == "The canary lab#2 ended at 20 %: lab#3 came after it, and stays."
        assert await one.state() == newer
        assert [kind for _, kind, _ in await one.told()] == ["apply"] * 3


@pytest.mark.parametrize("target", [("--last-good",), ("--to", "1")], ids=["last-good", "told-by-drift"])
async def test_a_rollback_of_a_canary_goes_to_what_was_good_before_it(
    tmp_path: Path, target: tuple[str, ...]
) -> None:
    """No step of it is ever the last good release."""
    async with shop(tmp_path) as one:
        running = await one.applying(NEW, *LONG)
        await one.at_step(1)
        done = await one.run("rollback", *target, "--mesh", "shop", "--stack", "lab", "--wait", "30")
        assert done.code == 0, done
        assert await one.state() == OLD
        assert (await ended(running)).code == 1
        assert await one.told() == RETURNED


async def test_over_grpc_what_is_the_server_s_fault_counts_as_an_error(tmp_path: Path) -> None:
    """And what it answers to a caller's fault does not."""
    new = State(objects({"cart-v2": 1}, "grpc"))
    async with shop(tmp_path, "grpc") as one, one.called():
        (newer,) = one.lab.workloads("cart-v2")
        newer.fault = Fault(status=503, grpc_status=14)
        done = await one.apply(new, *QUICK, "--format", "json")
        assert done.code == 1, done
        (check,) = json.loads(done.out)["release"]["canary"]["judged"]["checks"]
        (figures,) = check["figures"]
        assert figures["errors"] == figures["requests"] >= 5
        newer.fault = Fault(status=404, grpc_status=5)
        done = await one.apply(new, *QUICK, "--format", "json")
        assert done.code == 0, done


async def test_a_control_plane_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    """The job goes on when it is back; the step is judged by what is reported from then on. Then it is verified."""
    async with shop(tmp_path) as one:
        more = ("--canary-lease", "60", "--verify", "--allow-unprobed", "--format", "json")
        running = await one.applying(NEW, *QUICK, *more)
        await one.at_step(1)  # where it stays, as nobody calls
        await one.lab.control.kill()
        await one.lab.control.start()
        async with one.called():
            done = await ended(running)
        assert done.code == 0, done
        assert one.errors == {}
        assert await one.told() == [
            (4, "apply", "verified"),
            *((number, "apply", "propagated") for number in (3, 2, 1)),
        ]
        found = json.loads(done.out)
        assert (found["canary"]["state"], found["verification"]["judgement"]) == ("finished", "verified")


async def test_what_somebody_wrote_over_is_not_the_step_that_is_judged(tmp_path: Path) -> None:
    """The canary goes back, and with it all of the stack; whoever wrote that finds it named in the reason."""
    async with shop(tmp_path) as one:
        running = await one.applying(NEW, *QUICK)
        await one.at_step(1)
        key = Key("shop", Kind.ROUTE, "all", "cart")
        spec = encode(State(objects({"cart-v1": 9, "cart-v2": 1}))[key].spec)
        boto3 = one.boto3()
        await asyncio.to_thread(
            boto3.update_route, meshName="shop", virtualRouterName="cart", routeName="all", spec=spec
        )
        done = await ended(running)
        assert done.code == 1
        reason = (await one.newest())["reason"]
        assert reason.startswith("the canary lab#2 failed at 20 %: somebody wrote over lab#2, ")
        assert ": mesh/shop/virtualRouter/cart/route/all (spec.httpRoute.action.weightedTargets" in reason
        assert reason.endswith(") by arn:aws:iam::000000000000:user/administrator with UpdateRoute")
        assert reason in done.out
        assert await one.state() == OLD


async def test_calls_that_never_end_are_none_that_succeeded(tmp_path: Path) -> None:
    """A target that hangs has nothing to be judged by until its callers give up, and fails then."""
    async with shop(tmp_path, patience=1000) as one:
        one.lab.workloads("cart-v2")[0].fault = Fault(silent=True)
        async with one.called():
            done = await one.apply(State(objects({"cart-v2": 1}, patience=1000)), *QUICK, "--format", "json")
        assert done.code == 1, done
        (check,) = json.loads(done.out)["release"]["canary"]["judged"]["checks"]
        (figures,) = check["figures"]
        assert figures["errors"] == figures["requests"] >= 5


async def test_calls_that_hang_are_not_answered_in_time_however_long_their_callers_wait(tmp_path: Path) -> None:
    """A target that takes half of its calls and answers none of them is found long before the route gives up."""
    async with shop(tmp_path, patience=60_000) as one, one.marking(2, silent=True):
        more = (*QUICK, "--canary-interval", "2", "--canary-max-duration", "500", "--format", "json")
        done = await one.apply(State(objects({"cart-v2": 1}, patience=60_000)), *more)
        assert done.code == 1, done
        judged = json.loads(done.out)["release"]["canary"]["judged"]
        (figures,) = judged["checks"][-1]["figures"]
        assert (judged["verdict"], figures["errors"]) == ("failed", 0)
        assert 0 < figures["overdue"] <= figures["issued"]
        told = f"of {figures['issued']} since the step began, {figures['overdue']} were still under way"
        assert f"{told} after more than 500 ms, at most 1 % may be" in judged["told"]
