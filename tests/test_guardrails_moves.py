"""In production, nobody moves customers unseen: by a route before another, another router, a match, or a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from building import Jobs, building
from meshwright.release import GuardrailError
from test_guardrails import applied, guarded, items
from test_impact_risks import (
    BY_ROUTER,
    ENTRY,
    HEADER,
    S2,
    SVC,
    TWIN,
    WT,
    X,
    Z,
    before,
    by_regex,
    put,
    route,
    taking,
    to,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRODUCTION = guarded("", "", "{mesh: m, pack: production, releases_only: false}")
SHARES = [put(f"{WT}.0.weight", 20), put(f"{WT}.1.weight", 80)]
"""The shares of what every service gets, before."""
WAYS: dict[str, tuple[str, list[Any]]] = {
    "a route before it": ("weight-moved", [put(Z, before(route("/", 100)))]),
    "an expression before it": ("weight-moved", [put(Z, before(by_regex("/.*", 100)))]),
    "a longer prefix": ("weight-moved", [put(Z, route("/api", 100))]),
    "another router": (
        "destination-changed",
        [put(SVC, BY_ROUTER), put(S2, TWIN), put(f"{S2}/route/x", route("/", 100, 0))],
    ),
    "a node elsewhere": ("discovery-changed", [put("virtualNode/b:serviceDiscovery.dns.hostname", "other")]),
    "a narrower gateway route": ("match-narrowed", [put(f"{ENTRY}:httpRoute.match.prefix", "/x")]),
    "a narrower route": ("match-narrowed", [put(f"{X}:httpRoute.match", HEADER["match"])]),
}


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A control plane in production, with the mesh of the risks' cases."""
    with building(tmp_path) as running:
        applied(running.user("alice"), items(*SHARES))
        running.trust(PRODUCTION)
        yield running


@pytest.mark.parametrize("way", WAYS)
def test_traffic_that_moves_by_other_means_than_weights_waits_for_somebody(jobs: Jobs, way: str) -> None:
    """Whatever was written, the risk names the route or the node; nothing has changed until it is approved."""
    code, edits = WAYS[way]
    told = applied(jobs.user("alice"), items(*SHARES, *edits))
    assert told["changed"] is False
    found = {one["about"]: one for one in told["pending"]["objections"] if one["severity"] == "approve"}
    assert code in found
    assert found[code]["rule"] == "traffic"


def test_a_canary_by_header_and_a_new_path_to_a_new_node_are_told_and_pass(jobs: Jobs) -> None:
    """They are what people do every day: the customers of today stay where they are."""
    edits = [put(Z, taking(HEADER, route("/", 100))), put(f"{Z}2", to("/shop", "web"))]
    told = applied(jobs.user("alice"), items(*SHARES, *edits))
    assert told["changed"] is True, told
    assert any("(requests-diverted)" in one for one in told["warnings"])


def test_encryption_is_not_lost_in_small_steps(jobs: Jobs) -> None:
    """A share that moves from a node with TLS to one without it is a risk of its own, however small."""
    edits: list[Any] = [put(f"{WT}.0.weight", 15), put(f"{WT}.1.weight", 85)]
    with pytest.raises(GuardrailError, match=r"tls \(tls-share-moved\): mesh/m/virtualRouter/r/route/x"):
        applied(jobs.user("alice"), items(*edits))
    edits = [put(f"{WT}.0.weight", 25), put(f"{WT}.1.weight", 75)]
    assert applied(jobs.user("alice"), items(*edits))["changed"] is True
