"""Which release is good, and what differs from one: the pure part."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from meshwright.errors import RefusedError
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State
from meshwright.operations import Quotas, Stamp
from meshwright.plan import decoded, diff
from meshwright.release import (
    Author,
    Canary,
    CanarySettings,
    Release,
    Status,
    content_of,
    digest_of,
    drift,
    known_good,
    perform,
    reverted,
)
from meshwright.telemetry.happening import event

MESH = "m"


def release(number: int, status: Status, digest: str | None = None, restores: int | None = None) -> Release:
    """A release whose content is told apart by `digest`."""
    return Release(
        mesh=MESH,
        stack="shop",
        number=number,
        revision=number,
        parent=number - 1 or None,
        digest=digest or f"content {number}",
        at=number,
        principal="build",
        kind="apply" if restores is None else "rollback",
        restores=restores,
        status=status,
    )


APPLIED, PROPAGATED, VERIFIED, FAILED, BACK = (
    Status.APPLIED,
    Status.PROPAGATED,
    Status.VERIFIED,
    Status.FAILED,
    Status.ROLLED_BACK,
)


@pytest.mark.parametrize(
    ("newest_first", "runs", "good"),
    [
        ([], "anything", None),
        ([release(1, APPLIED)], "anything", None),
        ([release(1, PROPAGATED)], "drifted", 1),
        ([release(1, PROPAGATED)], "content 1", None),
        ([release(3, APPLIED), release(2, PROPAGATED), release(1, PROPAGATED)], "content 3", 2),
        ([release(3, FAILED), release(2, BACK), release(1, PROPAGATED)], "content 3", 1),
        ([release(3, PROPAGATED), release(2, VERIFIED), release(1, PROPAGATED)], "content 3", 2),
        ([release(3, PROPAGATED), release(2, PROPAGATED), release(1, PROPAGATED)], "content 3", 2),
        ([release(3, PROPAGATED, "content 1", 1), release(2, PROPAGATED), release(1, PROPAGATED)], "drifted", 3),
        ([release(3, PROPAGATED, "content 1", 1), release(2, PROPAGATED), release(1, PROPAGATED)], "content 1", None),
    ],
    ids=[
        "no release",
        "none propagated",
        "drift from the newest",
        "the newest is all there is",
        "the newest has not arrived",
        "failed and rolled back",
        "verified beats propagated",
        "the one before what runs",
        "drift from a rollback",
        "what a rollback took back is not good",
    ],
)
def test_the_last_known_good_release(newest_first: list[Release], runs: str, good: int | None) -> None:
    """The newest that was verified, else that propagated, was not taken back, and is not what runs."""
    found = known_good(newest_first, runs)
    assert (found[0].number if found else None) == good


def test_no_step_of_a_canary_is_good_by_itself() -> None:
    """However well it went: it was on the way to something else. What ended the canary is as good as any."""
    settings = CanarySettings(weights=(20, 50))
    common: dict[str, Any] = {"first": 2, "returns_to": 1, "steps": (20, 50), "settings": settings, "target": ""}
    parts = [
        Canary(state="step", step=1, weight=20, shifts=(), **common),
        Canary(state="step", step=2, weight=50, shifts=(), **common),
        Canary(state="finished", step=2, weight=100, shifts=(), **common),
    ]
    steps = [replace(release(number, PROPAGATED), canary=part) for number, part in enumerate(parts, 2)]
    known = [*reversed(steps), release(1, PROPAGATED)]
    for newest_first, good in ((known, 4), (known[1:], 1), (known[2:], 1)):
        assert known_good(newest_first, "something else")[0].number == good


def test_an_event_says_which_part_of_which_canary_a_release_is() -> None:
    """Wherever releases are told of, so that a dashboard can tell a step from what was wanted."""
    settings = CanarySettings(weights=(20, 50))
    part = Canary(
        first=2,
        returns_to=1,
        state="step",
        step=2,
        steps=(20, 50),
        weight=50,
        settings=settings,
        target="",
        shifts=(),
    )
    told = event("applied", replace(release(3, APPLIED), canary=part), 1).attributes
    names = ("canary", "canary_state", "canary_weight")
    assert [told[f"meshwright.{name}"] for name in names] == ["shop#2", "step", 50]
    assert "meshwright.canary" not in event("applied", release(3, APPLIED), 1).attributes


def test_a_rollback_takes_back_what_lies_between_it_and_what_it_restores() -> None:
    """Whether or not it was marked: a crash may come in between."""
    assert reverted([release(5, APPLIED, restores=2), release(4, PROPAGATED)]) == {3, 4}
    assert reverted([release(3, APPLIED, restores=2)]) == frozenset()


def state(stack: str, **ports: int) -> State:
    """A mesh with one virtual node for each keyword."""
    objects = [decoded(Key.of_mesh(MESH), {}, {}, stack)]
    for name, port in ports.items():
        spec: dict[str, Any] = {
            "listeners": [{"portMapping": {"port": port, "protocol": "http"}}],
            "serviceDiscovery": {"dns": {"hostname": name}},
        }
        objects.append(decoded(Key(MESH, Kind.VIRTUAL_NODE, name), spec, {}, stack))
    return State(objects)


def test_equal_content_has_an_equal_digest() -> None:
    """Whatever the metadata, and different content a different one."""
    one, same, other = (content_of(state("s", a=port), MESH, "s") for port in (80, 80, 81))
    assert digest_of(one) == digest_of(same) != digest_of(other)
    assert content_of(state("other", a=80), MESH, "s") == ()


def test_an_object_that_lost_its_stack_is_drift() -> None:
    """Deleted and made again by hand, it looks the same and is nobody's."""
    content = content_of(state("s", a=80), MESH, "s")
    wrote = Author(principal="intruder", cause="CreateVirtualNode", revision=3, at=1)
    node = Key(MESH, Kind.VIRTUAL_NODE, "a")
    running = state("s").put(decoded(node, content[1].spec, {}))
    found = drift(
        content, running, mesh=MESH, stack="s", principal="build", author=lambda _: wrote, history=lambda _: ()
    )
    assert [(one.key.name, one.kind, one.fields[0].path, one.author) for one in found] == [
        ("a", "drift", "stack", wrote)
    ]


def test_quotas_are_judged_on_what_is_published_not_on_the_way_there() -> None:
    """A stack may exchange all of its objects although both sets together would be too many."""
    before, wanted = state("s", a=80, b=80), state("", c=80, d=80)
    plan = diff(before, wanted, "s", MESH)
    after = perform(before, plan, lambda: Stamp(at=1, uid="u"), Quotas(virtual_nodes=2))
    assert sorted(one.key.name for one in after.of(Kind.VIRTUAL_NODE)) == ["c", "d"]
    with pytest.raises(RefusedError, match="limit of 1 VirtualNodes"):
        perform(before, plan, lambda: Stamp(at=1, uid="u"), Quotas(virtual_nodes=1))


def test_a_plan_in_conflict_is_never_performed() -> None:
    """Every conflict is named."""
    plan = diff(state("other", a=80), state("", a=81), "s", MESH)
    with pytest.raises(
        RefusedError, match=r"mesh/m belongs to stack 'other'.*virtualNode/a belongs to stack 'other'"
    ):
        perform(state("other", a=80), plan, lambda: Stamp(at=1, uid="u"))
