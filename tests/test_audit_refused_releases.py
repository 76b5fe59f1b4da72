"""A release that was refused is found in the audit log by each object that it was refused for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from building import TRUST, Jobs, building
from command_line import commands
from meshwright.api.attempts import _OBJECTS
from meshwright.errors import MeshwrightError
from meshwright.release import ApplyRequest, Item
from processes import until
from test_guardrails import guarded
from test_releases import SHOP, item, node, router

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.remote import Client

TEAM = """
version: 1
policies:
  all:
    Version: "2012-10-17"
    Statement: [{Effect: Allow, Action: ["appmesh:*", "meshwright:*"], Resource: "*"}]
users:
  pay: {stack: pay, owns: ["mesh/m/virtualNode/pay"], may_extend: [mesh/m], permissions: [all]}
"""
STOCK = "mesh/m/virtualNode/stock"


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A control plane with a trust file that is exchanged."""
    with building(tmp_path) as running:
        yield running


def tried(who: Client, *content: Item, stack: str) -> None:
    """Apply what is refused."""
    with pytest.raises(MeshwrightError):
        who.apply("m", stack, ApplyRequest(resources=content))


def found(jobs: Jobs, path: str) -> list[dict[str, Any]]:
    """Refused attempts on an object."""
    asked = {"object": path, "outcome": "refused"}
    return [one["leaf"] for one in jobs.user().audit_entries(100, asked)["entries"]]


def test_what_somebody_may_not_change_is_found_by_its_own_name(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what he may change is not; as the command shows it."""
    jobs.user().apply("m", "stock", ApplyRequest(resources=(item("", {}), node("stock"))))
    jobs.trust(TEAM)
    tried(jobs.user("pay"), node("pay"), node("stock", 81), stack="pay")
    until(lambda: bool(found(jobs, STOCK)))
    (leaf,) = found(jobs, STOCK)
    assert (leaf["target"], leaf["objects"], leaf["error"]) == ("mesh/m/stack/pay", [STOCK], "AccessDeniedException")
    assert found(jobs, "mesh/m") == [leaf]
    assert found(jobs, "mesh/m/virtualNode/pay") == []
    command = commands(tmp_path / "project", jobs.plane.server, monkeypatch, capsys, {})
    shown = command("audit", "log", "--object", STOCK, "--outcome", "refused")
    assert f"mesh/m/stack/pay for {STOCK}\n" in shown.out
    assert jobs.plane.server.store.verify().faults == ()


@pytest.mark.parametrize(
    ("trust", "content", "error", "path"),
    [
        (TRUST, (node("stock", 81),), "RefusedException", STOCK),
        (guarded("deny", "actions: [create]"), (node("more"),), "GuardrailException", "mesh/m/virtualNode/more"),
        (TRUST, (node("twice"), node("twice")), "InvalidReleaseException", "mesh/m/virtualNode/twice"),
        (TRUST, (router("r"), SHOP[4]), "RefusedException", "mesh/m/virtualRouter/r/route/x"),
    ],
    ids=["another stack's", "a guardrail minds it", "two of one name", "it leads nowhere"],
)
def test_whatever_the_release_was_refused_for(
    jobs: Jobs, trust: str, content: tuple[Item, ...], error: str, path: str
) -> None:
    """Also to the administrator, who may do everything."""
    jobs.user().apply("m", "stock", ApplyRequest(resources=(item("", {}), node("stock"))))
    jobs.trust(trust)
    tried(jobs.user(), *content, stack="shop")
    until(lambda: bool(found(jobs, path)))
    (leaf,) = found(jobs, path)
    assert (leaf["target"], leaf["error"]) == ("mesh/m/stack/shop", error)


def test_of_many_objects_the_first_are_told_and_how_many_more(jobs: Jobs) -> None:
    """Nobody fills the disk by being refused, and no path is cut."""
    nodes = [node(f"{'n' * 200}{number:03}") for number in range(_OBJECTS + 10)]
    jobs.user().apply("m", "stock", ApplyRequest(resources=(item("", {}), *nodes)))
    jobs.trust(TEAM)
    tried(jobs.user("pay"), *(node(one.key.name, 81) for one in nodes), stack="pay")
    until(lambda: bool(found(jobs, "mesh/m")))
    (leaf,) = found(jobs, "mesh/m")
    assert leaf["objects"] == sorted(one.key.path for one in nodes)[: len(leaf["objects"])]
    assert (len(leaf["objects"]), leaf["more"]) == (18, len(nodes) - 18)
