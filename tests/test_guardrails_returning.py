"""The way back to the last good release: no guardrail keeps what has failed, and nothing else gets past one by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from building import Jobs, building
from meshwright.impact.scene import PROTECTED_TAG
from meshwright.release import CanaryRequest, CanarySettings, GuardrailError, Item, RollbackRequest, Status
from meshwright.store.contract import AccessKey
from serving import now
from test_guardrails import applied, guarded, items
from test_impact_risks import TLS, WT, A, T, put
from test_store_contract import inspected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRODUCTION = guarded("", "", "{mesh: m, pack: production, releases_only: false}")
BARE, SAFE = items(put(T, None)), items()
"""Without TLS at a listener, and with it."""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A control plane without guardrails, until a test has some."""
    with building(tmp_path) as running:
        yield running


def judge(jobs: Jobs, number: int, judgement: str = "verified") -> None:
    """Have a release arrive, and be verified or fail."""
    store = jobs.plane.server.store
    store.mark("m", "shop", number, Status.PROPAGATED, principal="p", at=now())
    store.note_inspection("m", "shop", number, inspected(judgement, now()))


def tagged(content: tuple[Item, ...], value: str) -> tuple[Item, ...]:
    """`content` with one node more, or less, protected."""
    tags = {PROTECTED_TAG: value}
    return tuple(msgspec.structs.replace(one, tags=tags) if one.key.name == "a" else one for one in content)


WAYS = {
    "tls": (BARE, SAFE, {"tls-weakened"}),
    "protection": (tagged(SAFE, "false"), tagged(SAFE, "true"), {"protection-removed"}),
    "egress": (
        items(put(":egressFilter.type", "ALLOW_ALL")),
        SAFE,
        {"egress-opened"},
    ),
    "several": (items(put(T, None), put(f"{WT}.0.weight", 0)), SAFE, {"tls-weakened", "weight-moved"}),
}


@pytest.mark.parametrize("judgement", ["failed", "inconclusive"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_never_verified_keeps_nobody_from_the_last_good_release(
    jobs: Jobs, way: str, judgement: str
) -> None:
    """In production, whatever the release that failed had brought; what is taken away again is told and kept."""
    good, failed, codes = WAYS[way]
    alice = jobs.user("alice")
    applied(alice, good)
    judge(jobs, 1)
    jobs.trust(PRODUCTION)
    applied(alice, failed)
    assert len(alice.releases("m", "shop")["releases"]) == 2
    judge(jobs, 2, judgement)
    back = alice.roll_back("m", "shop", RollbackRequest(last_good=True))
    assert (back["changed"], back["release"]["restores"]) == (True, 1)
    kept = alice.release("m", "shop", 3)["objections"]
    assert codes <= {one["about"] for one in kept}
    assert {one["severity"] for one in kept} == {"warn"}
    assert any("as it was in shop#1" in one for one in back["warnings"])


def test_a_release_that_was_verified_counts_even_where_it_failed_later(jobs: Jobs) -> None:
    """Nobody gets rid of what was proven by going back to before it."""
    alice = jobs.user("alice")
    applied(alice, BARE)
    judge(jobs, 1)
    applied(alice, SAFE)
    judge(jobs, 2)
    jobs.trust(PRODUCTION)
    refused(alice, 1)
    store = jobs.plane.server.store
    for status in (Status.FAILED, Status.PROPAGATED):
        # A proxy had rejected it, and took it then.
        store.mark("m", "shop", 2, status, principal="p", at=now())
        refused(alice, 1)
    store.note_inspection("m", "shop", 2, inspected("failed", now()))
    refused(alice, 1)


def test_what_is_older_than_the_last_good_release_is_judged_as_before(jobs: Jobs) -> None:
    """A failed release on top opens no way past one that was verified."""
    alice = jobs.user("alice")
    applied(alice, BARE)
    judge(jobs, 1)
    applied(alice, SAFE)
    judge(jobs, 2)
    jobs.trust(PRODUCTION)
    applied(alice, items(put(f"{A}:listeners.1.tls", TLS)))
    judge(jobs, 3, "failed")
    refused(alice, 1)
    assert alice.roll_back("m", "shop", RollbackRequest(last_good=True))["release"]["restores"] == 2


def test_what_was_written_past_releases_is_not_taken_away_unseen(jobs: Jobs) -> None:
    """It is no doing of the release that failed."""
    alice = jobs.user("alice")
    applied(alice, BARE)
    judge(jobs, 1)
    applied(alice, items(put(T, None), put(f"{WT}.0.weight", 40)))
    judge(jobs, 2, "failed")
    server = jobs.plane.server
    key = server.store.key("AKIAALICE")
    assert isinstance(key, AccessKey)
    secured = next(one for one in SAFE if one.key.name == "a").spec
    server.client(key).update_virtual_node(meshName="m", virtualNodeName="a", spec=secured)
    jobs.trust(PRODUCTION)
    refused(alice, 1)


@pytest.mark.parametrize("failed", [True, False])
def test_where_nothing_was_ever_verified_what_failed_counts_for_nothing(jobs: Jobs, *, failed: bool) -> None:
    """What has arrived since, and was not found to have failed, is as good as what arrived before."""
    alice, store = jobs.user("alice"), jobs.plane.server.store
    applied(alice, BARE)
    store.mark("m", "shop", 1, Status.PROPAGATED, principal="p", at=now())
    applied(alice, SAFE)
    store.mark("m", "shop", 2, Status.FAILED if failed else Status.PROPAGATED, principal="p", at=now())
    jobs.trust(PRODUCTION)
    if failed:
        assert alice.roll_back("m", "shop", RollbackRequest(to=1))["changed"] is True
    else:
        refused(alice, 1)


def test_a_canary_returns_whatever_it_brought(jobs: Jobs) -> None:
    """To what it began from, although nobody ever verified that: here, away from the nodes with TLS."""
    alice = jobs.user("alice")
    applied(alice, items(put(f"{WT}.0.weight", 0)))
    jobs.trust(PRODUCTION)
    steps = CanarySettings(weights=(10, 20))
    first = applied(alice, items(put(f"{WT}.0.weight", 40)), canary=steps)["release"]
    told = alice.canary("m", "shop", first["number"], CanaryRequest(leave="the dashboards are red"))
    assert told["state"] == "returned"
    kept = alice.release("m", "shop", first["number"] + 1)["objections"]
    assert {("tls-share-moved", "warn")} == {(one["about"], one["severity"]) for one in kept if one["rule"] == "tls"}


def test_a_rule_on_changes_does_not_keep_what_failed_either(jobs: Jobs) -> None:
    """Nor has its way back to wait for somebody."""
    alice = jobs.user("alice")
    first = tuple(one for one in SAFE if one.key.name != "y")
    applied(alice, first)
    judge(jobs, 1)
    applied(alice, SAFE)
    judge(jobs, 2, "failed")
    jobs.trust(guarded("approve", "actions: [delete]"))
    assert alice.roll_back("m", "shop", RollbackRequest(last_good=True))["release"]["restores"] == 1


def refused(alice: Any, number: int) -> None:
    """The guardrails keep a release from being restored."""
    with pytest.raises(GuardrailError, match=r"tls \(tls-weakened\)"):
        alice.roll_back("m", "shop", RollbackRequest(to=number))
