"""The way from some weights to others: whole percents, ever nearer, and settings as they are written."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from meshwright.cli.canarying import settings
from meshwright.documents.project_file import load_project
from meshwright.errors import RefusedError, UsageError
from meshwright.release import CanarySettings, Figures
from meshwright.release.canary import looked, untold, weights_of
from meshwright.release.shifting import course, shifts
from test_releases import node, route, router

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.release import Item

NAMES = "abcd"
WEIGHTS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 100), min_size=1)
RISING = (
    "takes rising percents of the way to the new weights, such as 5,20,50, or the width of a step and the highest "
    "one, such as 10/50"
)
NODES = tuple(node(name) for name in NAMES)


def stack(weights: dict[str, int]) -> tuple[Item, ...]:
    """A stack whose route has these weights."""
    return (*NODES, router("r"), route("r/x", **weights))


def shares(content: tuple[Item, ...]) -> dict[str, float]:
    """The percents of a content's route."""
    (found,) = (one for one in content if one.key.name == "x")
    targets = found.spec["httpRoute"]["action"]["weightedTargets"]
    total = sum(one["weight"] for one in targets)
    return {one["virtualNode"]: 100 * one["weight"] / total for one in targets if one["weight"]}


@given(WEIGHTS, WEIGHTS, st.lists(st.integers(1, 100), min_size=1, max_size=8, unique=True).map(sorted))
@example({"a": 1}, {"b": 1}, [1, 5, 50, 99])
@example({"a": 2, "b": 1}, {"a": 1, "b": 2}, [10, 20, 30])
def test_each_step_is_nearer_and_made_of_whole_percents(
    before: dict[str, int], after: dict[str, int], weights: list[int]
) -> None:
    """Whoever gains calls gets at least one percent, and is close to the way; two steps are never the same."""
    assume(sum(before.values()) and sum(after.values()))
    try:
        moved = shifts(stack(before), stack(after))
        steps = course(stack(before), stack(after), moved, weights)
    except RefusedError:
        return
    (shift,) = moved
    assert [one.weight for one in steps] == [one for one in weights if one in {step.weight for step in steps}]
    seen = [shares(one.content) for one in steps]
    for step, found in zip(steps, seen, strict=True):
        assert sum(found.values()) == pytest.approx(100)
        assert all(one == round(one) for one in found.values())
        for one in shift.shares:
            exact = one.before + (one.after - one.before) * step.weight / 100
            got = found.get(one.node.name, 0)
            assert got == pytest.approx(exact, abs=len(NAMES))
            assert got >= 1 or one.after <= one.before
    assert all(one != other for one, other in pairwise(seen))


def test_where_a_version_takes_all_a_step_is_its_percentage_of_calls() -> None:
    """As Flagger's users know it."""
    moved = shifts(stack({"a": 1}), stack({"b": 1}))
    steps = course(stack({"a": 1}), stack({"b": 1}), moved, (5, 20, 100))
    assert [shares(one.content) for one in steps] == [{"a": 95, "b": 5}, {"a": 80, "b": 20}, {"b": 100}]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("5,20,50", (5, 20, 50)),
        ("100", (100,)),
        (" 1, 2 ", (1, 2)),
        ("10/50", (10, 20, 30, 40, 50)),
        ("30/70", (30, 60)),
    ],
)
def test_steps_are_listed_or_counted(text: str, found: tuple[int, ...]) -> None:
    """A width beyond the highest weight has no step."""
    assert weights_of(text) == found


@pytest.mark.parametrize(
    "text", ["", "x", "0", "5,5", "20,5", "101", "5,", "0/50", "60/50", "5/", "-1", "1.5", "5/10/20"]
)
def test_what_does_not_rise_from_1_to_100_is_refused(text: str) -> None:
    """Whatever it is."""
    with pytest.raises(ValueError, match=RISING):
        weights_of(text)


def figures(**more: Any) -> Figures:
    """What was reported of a node that is well."""
    return Figures(node=node("a").key, **{"requests": 100, "measured": 100, "p99": 20.0, **more})


@pytest.mark.parametrize(
    ("seen", "outcome", "told"),
    [
        ({}, "passed", "a: 100 requests, 100 % succeeded, 99 % within 20 ms"),
        ({"requests": 9, "errors": 9}, "pending", "a: 9 of at least 10 requests reported"),
        ({"errors": 2}, "failed", "a: 100 requests, 98 % succeeded, at least 99 % must"),
        ({"errors": 1}, "passed", "a: 100 requests, 99 % succeeded, 99 % within 20 ms"),
        ({"requests": 1001, "errors": 11}, "failed", "a: 1001 requests, 98.9 % succeeded, at least 99 % must"),
        (
            {"p99": 501.0},
            "failed",
            "a: 100 requests, 100 % succeeded, 99 % within 501 ms, at most 500 ms are allowed",
        ),
        ({"measured": 3}, "pending", "a: 100 requests, 100 % succeeded; times of 3 of at least 10 reported"),
        (
            {"errors": 100, "unconnected": 100, "measured": 0, "p99": None},
            "failed",
            "a: 100 requests, 0 % succeeded, ",
        ),
        (
            {"overdue": 3, "issued": 203},
            "failed",
            "a: 100 requests, 100 % succeeded; of 203 since the step began, 3 were still under way after more than",
        ),
        ({"overdue": 2, "issued": 203}, "passed", "a: 100 requests, 100 % succeeded, 99 % within 20 ms"),
        (
            {"requests": 0, "measured": 0, "p99": None, "overdue": 10, "issued": 12},
            "failed",
            "a: no request has ended; of 12 since the step began, 10 were still under way",
        ),
    ],
    ids=[
        *("well", "few", "errors", "bound", "below", "slow", "untimed", "unconnected"),
        *("hangs", "hardly-hangs", "hangs-wholly"),
    ],
)
def test_a_target_is_judged_by_enough_calls_only(seen: dict[str, Any], outcome: str, told: str) -> None:
    """Errors come before times, since a call that failed may have none."""
    found = looked([figures(**seen)], CanarySettings(weights=(5,)), 1)
    assert found.outcome == outcome
    assert found.told.startswith(told)


def test_one_target_that_fails_fails_them_all_and_all_must_pass() -> None:
    """Whatever the others are."""
    steps = CanarySettings(weights=(5,))
    assert looked([figures(), figures(errors=50), figures(requests=0)], steps, 1).outcome == "failed"
    assert looked([figures(), figures(requests=0)], steps, 1).outcome == "pending"
    assert looked([figures(), figures()], steps, 1).outcome == "passed"


def test_what_a_step_brought_is_judged_by_itself_or_not_at_all() -> None:
    """Of calls that came by another route as well, unless all are to count."""
    steps, others = CanarySettings(weights=(5,)), (node("r").key,)
    few = looked([figures(others=others, own=9)], steps, 1)
    assert (few.outcome, few.told) == (
        "pending",
        "a: 9 of at least 10 requests reported by what is shifted, 100 in all",
    )
    found = looked([figures(others=others, own=20, errors=1)], steps, 1)
    assert found.told == (
        "a: 20 of 100 requests by what is shifted, 95 % succeeded if every failure is theirs, at least 99 % must"
    )
    assert looked([figures(others=others, own=20, overdue=1, issued=400)], steps, 1).outcome == "failed"
    assert looked([figures(others=others, own=20)], steps, 1).outcome == "passed"
    unknown = figures(others=others, own=None)
    assert untold(unknown, steps)
    assert looked([unknown], steps, 1).outcome == "pending"
    assert looked([figures(others=others, own=None, errors=2)], steps, 1).outcome == "failed"
    count = msgspec.structs.replace(steps, shared="count")
    assert (untold(unknown, count), looked([unknown], count, 1).outcome) == (False, "passed")


def test_what_fails_for_one_caller_fails_however_many_others_there_are() -> None:
    """Where that caller made calls enough; fewer prove nothing."""
    steps, whole = CanarySettings(weights=(5,)), figures(requests=10_000, errors=20)
    bad = figures(requests=20, errors=20, caller=node("job").key)
    found = looked([whole], steps, 1, [figures(caller=node("web").key), bad])
    assert (found.outcome, found.told, found.callers) == (
        "failed",
        "a, of job: 20 requests, 0 % succeeded, at least 99 % must",
        (bad,),
    )
    few = msgspec.structs.replace(bad, requests=9, errors=9)
    assert looked([whole], steps, 1, [few]).outcome == "passed"


def test_settings_of_canaries_may_stand_in_the_project_and_in_an_environment(tmp_path: Path) -> None:
    """The environment's beat the file's, one by one."""
    file = tmp_path / "meshwright.yaml"
    file.write_text(
        'canary: {steps: "5,20", interval: 30, max_duration: 0}\n'
        "environments: {production: {canary: {steps: [1, 2], iterations: 5}}, staging: {}}\n"
    )
    assert dict(load_project(file).canary) == {"steps": "5,20", "interval": 30, "max_duration": 0}
    production = load_project(file, "production").canary
    assert dict(production) == {"steps": "1,2", "interval": 30, "max_duration": 0, "iterations": 5}
    assert load_project(file, "staging").canary == load_project(file).canary


def test_a_setting_that_cannot_be_meant_is_told_with_its_place(tmp_path: Path) -> None:
    """All of them at once."""
    file = tmp_path / "meshwright.yaml"
    file.write_text("canary:\n  steps: 5,1\n  intervall: 3\n  threshold: many\n  inconclusive: maybe\n  lease: 0\n")
    with pytest.raises(UsageError) as caught:
        load_project(file)
    told = [line.removeprefix(f"{file}:") for line in str(caught.value).splitlines()]
    assert told == [
        f"2: canary.steps {RISING}; found '5,1'.",
        "3: unknown key 'canary.intervall'; did you mean 'interval'?",
        "4: canary.threshold: Expected int, got str; found 'many'.",
        "5: canary.inconclusive: Invalid enum value 'maybe'; found 'maybe'.",
        "6: canary.lease: Expected float >= 1.0; found 0.",
    ]


def test_settings_without_a_canary_and_markdown_without_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would have no effect, which nobody means."""
    monkeypatch.chdir(tmp_path)
    asked = dict.fromkeys(("canary", *(f"canary_{one.name}" for one in msgspec.structs.fields(CanarySettings))))
    assert settings(asked, {"steps": "5"}) is None
    with pytest.raises(UsageError, match="--canary-min-success says how a canary's steps are judged"):
        settings({**asked, "canary_min_success": 3.0}, {})
    with pytest.raises(UsageError, match=r"takes those of meshwright\.yaml"):
        settings({**asked, "canary": ""}, {})
    with pytest.raises(UsageError, match=r"--canary 'mesh\.yaml' takes rising percents"):
        settings({**asked, "canary": "mesh.yaml"}, {})
    written = {"steps": "5,20", "threshold": 3, "max_duration": 0}
    found = settings({**asked, "canary": "", "canary_threshold": 7}, written)
    assert found == CanarySettings(weights=(5, 20), threshold=7, max_duration=None)
