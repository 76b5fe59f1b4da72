"""The benchmarks judge what they measured, and their floor sends what it was given. No figure is a test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from benchmarks.process import Process
from benchmarks.xds.__main__ import main
from benchmarks.xds.figures import Figure, combined, late, slope, table
from benchmarks.xds.floor import floor

from meshwright.snapshot.messages import field, message, packed, serialized
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODES = ("mesh/m/virtualNode/a", "mesh/m/virtualNode/b")


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure(what="told", value=1), ""),
        (Figure(what="within", value=0.4, target=0.4), "met"),
        (Figure(what="beyond", value=0.41, target=0.4), "missed"),
        (Figure(what="near its floor", value=0.3, target=0.4, floor=0.15, most=2), "met"),
        (Figure(what="far from its floor", value=0.31, target=0.4, floor=0.15, most=2), "missed"),
        (Figure(what="without the floor it is held to", value=0.3, target=0.4, most=2), "missed"),
        (Figure(what="nothing where nothing may be", value=0, target=0, floor=0), "met"),
    ],
    ids=lambda one: one.what if isinstance(one, Figure) else None,
)
def test_a_figure_is_met_within_its_target_and_near_its_floor(figure: Figure, verdict: str) -> None:
    """Without a target it is told and not judged."""
    assert figure.verdict == verdict


def test_the_table_says_target_floor_ratio_and_verdict_in_each_row() -> None:
    """A reader needs nothing else to judge."""
    one = Figure(what="push", value=0.3, floor=0.1, target=0.4, most=2)
    assert table([one], "").rows == (
        ("push", "300.0 ms", "100.0 ms", "3.00", "≤ 400.0 ms, ≤ 2 times the floor", "1", "missed"),
    )


def test_of_several_runs_the_medians_are_told_and_how_many_they_were() -> None:
    """Of the figure and of its floor, each for itself."""
    runs = [[Figure(what="push", value=value, floor=value / 2)] for value in (3.0, 1.0, 8.0)]
    (one,) = combined(runs)
    assert (one.value, one.floor, one.ratio, one.runs) == (3, 1.5, 2, 3)


def test_the_late_one_is_the_99th_percentile_by_nearest_rank() -> None:
    """Of a hundred the last but one; of fewer the largest."""
    assert late(list(range(100))) == 98
    assert late(list(range(40))) == 39


def test_memory_that_rises_has_its_slope() -> None:
    """By time, not by sample."""
    assert slope([(0, 5), (2, 9), (10, 25)]) == pytest.approx(2)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("value", [1, 3])
def test_a_missed_target_fails_the_run_where_it_is_to_count(
    value: float, capsys: pytest.CaptureFixture[str], *, strict: bool
) -> None:
    """Else figures are not tests; the JSON says the same."""

    def case(_seconds: int) -> Iterator[Figure]:
        yield Figure(what="one", value=value, target=2, unit="kB")

    words = ["--format", "json", *(["--strict"] if strict else [])]
    assert main(words, {"case": case}) == int(strict and value > 2)
    (told,) = json.loads(capsys.readouterr().out)["figures"]
    assert (told["what"], told["verdict"], told["runs"]) == ("one", "met" if value < 2 else "missed", 5)


def test_a_run_that_fails_is_tried_again_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody waits for most of an hour to learn that the last case of all failed once."""
    outcomes = [True, False, True]

    def case(_seconds: int) -> Iterator[Figure]:
        if not outcomes.pop():
            raise RuntimeError("the machine was crowded")
        yield Figure(what="one", value=1)

    assert main(["--runs", "2", "--format", "json"], {"case": case}) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["figures"][0]["runs"] == 2
    assert "A run of case failed: the machine was crowded" in told.err


def test_a_case_without_any_figure_is_given_up() -> None:
    """It is an error, not a figure that is missing."""

    def case(_seconds: int) -> Iterator[Figure]:
        raise RuntimeError("the machine was crowded")

    with pytest.raises(RuntimeError, match="none of 3 runs of case"):
        main(["--runs", "1"], {"case": case})


def test_the_floor_sends_what_it_was_given_to_those_whom_it_concerns(tmp_path: Path) -> None:
    """Simulated proxies subscribe as with the control plane, and count the bytes that come."""
    before = {node: held("old", node) for node in NODES}
    after = {**before, NODES[0]: held("new and longer", NODES[0])}
    proxies = ("benchmarks.xds.streams", "--node", NODES[0], "--node", NODES[1], "--count", "4")
    with floor(tmp_path, before, after) as bare, Process(*proxies, "--target", bare.target) as streams:
        streams.answer()
        streams.tell("counts")
        had = streams.answer()["received"]
        assert bare.until_acked() > 0
        streams.tell("counts")
        got = [now - then for now, then in zip(streams.answer()["received"], had, strict=True)]
    body = after[NODES[0]][ROUTE]["r"]
    assert got[1::2] == [0, 0]
    assert got[0] == got[2]
    assert 0 < got[0] - len(body) - len(field(4, ROUTE.encode())) < 40, "the nonce is all that is added"


def held(route_version: str, node: str) -> dict[str, dict[str, bytes]]:
    """A cluster, a listener and the route configuration that it names."""
    manager = packed(
        message("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")(
            rds={"route_config_name": "r"}
        )
    )
    listener = message("envoy.config.listener.v3.Listener")(filter_chains=[{"filters": [{"typed_config": manager}]}])
    return {
        CLUSTER: {"c": resource("c", "1", message("envoy.config.cluster.v3.Cluster")(name=node))},
        LISTENER: {"l": resource("l", "1", listener)},
        ROUTE: {"r": resource("r", route_version, message("envoy.config.route.v3.RouteConfiguration")(name="r"))},
    }


def resource(name: str, version: str, body: object) -> bytes:
    """It as a field of a response."""
    found = message("envoy.service.discovery.v3.Resource")(name=name, version=version, resource=packed(body))
    return field(2, serialized(found))
