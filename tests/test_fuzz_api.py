"""Whatever is sent to the API: no 5xx, no traceback, answers of the protocol, and nothing changed by a refusal.

The requests are made from the published service model and our OpenAPI document, from a seed and a number each.
`MESHWRIGHT_FUZZ_SEED` and `MESHWRIGHT_FUZZ_NUMBER` send one of them again.
"""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING

import pytest

from fuzzing import requests
from fuzzing.mutants import MUTANTS
from fuzzing.running import TRUST, Finding, Outcome, Run
from fuzzing.values import operations
from live import Disk, Live, live
from settings import PROVE
from test_load import verify

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)

COUNT = 50_000 if PROVE else 1_500
MANY = 1_500 if PROVE else 75
"""Requests of each of eight clients at once."""
SEED = int(os.environ.get("MESHWRIGHT_FUZZ_SEED", random.SystemRandom().randrange(10**6) if PROVE else 20190125))
NUMBER = os.environ.get("MESHWRIGHT_FUZZ_NUMBER")
GROWTH = 60_000
"""kB of memory that a server may have more at the end than after its first requests: its state is some objects."""
SHARE = 0.3
"""The least part of sensible creates and updates that is accepted; most others meet a taken or a missing name."""


def trusting(folder: Path) -> Path:
    """A data directory with a trust file."""
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "trust.yaml").write_text(TRUST)
    return folder / "data"


def bounded(outcome: Outcome) -> list[str]:
    """What grew that must not: memory, open files."""
    memory = outcome.memory
    grown = max(memory, default=0) - memory[min(1, len(memory) - 1)] if memory else 0
    found = [f"{grown} kB more memory than at first, of {memory}"] if grown > GROWTH else []
    if outcome.files and outcome.files[-1] > outcome.files[0] + 8:
        found.append(f"open files went from {outcome.files[0]} to {outcome.files[-1]}")
    return found


def told(outcome: Outcome) -> str:
    """What was found, and how to see it again."""
    first = outcome.findings[0].number if outcome.findings else 0
    again = f"MESHWRIGHT_FUZZ_SEED={SEED} MESHWRIGHT_FUZZ_NUMBER={first} pytest tests/test_fuzz_api.py -k whatever"
    return "\n".join([f"seed {SEED}", *map(str, outcome.findings[:10]), again])


def test_whatever_is_sent_is_answered_in_order_and_a_refusal_changes_nothing(tmp_path: Path) -> None:
    """Valid, boundary and invalid bodies, hostile paths, queries, headers, framings and signatures."""
    numbers = range(COUNT) if NUMBER is None else [int(NUMBER)]
    with live(trusting(tmp_path)) as server:
        outcome = Run(server, SEED).run(numbers)
        report(outcome, server)
        assert outcome.findings == [], told(outcome)
        if NUMBER is not None:
            return
        assert bounded(outcome) == []
        assert outcome.share >= SHARE, f"{outcome.writes} of the sensible writes were accepted"
        never = set(operations()) - outcome.operations
        assert len(never) <= (0 if PROVE else 2), f"never accepted: {never}"
        assert server.end() == 0


def test_what_many_send_at_once_is_counted_once(tmp_path: Path) -> None:
    """As many revisions as accepted writes, in whatever batches they were committed with refused ones beside them."""
    totals: list[tuple[int, int]] = []
    findings: list[Finding] = []
    with live(trusting(tmp_path)) as server:
        first = Run(server, SEED)
        assert first.run(range(0)).findings == []
        before = revision(server)

        def send(part: int) -> None:
            one = Run(server, SEED)
            one.learn()
            totals.append(one.alone(range(part * MANY, (part + 1) * MANY)))
            findings.extend(one.outcome.findings)

        threads = [threading.Thread(target=send, args=(part,)) for part in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made = revision(server) - before
        assert "level=error" not in server.log.read_text()
        assert server.end() == 0
    assert findings == [], "\n".join(map(str, findings[:10]))
    assert len(totals) == len(threads)
    assert sum(least for least, _ in totals) <= made <= sum(most for _, most in totals)
    verify(tmp_path / "data")


def revision(server: Live) -> int:
    """The newest one on disk."""
    disk = Disk(server.database)
    found = disk.revision
    disk.close()
    return found


def report(outcome: Outcome, server: Live) -> None:
    """The figures, for `pytest -s` and for whoever reads a failure."""
    by_family: dict[str, list[str]] = {}
    for name, count in sorted(outcome.statuses.items()):
        family, _, answer = name.rpartition(" ")
        by_family.setdefault(family, []).append(f"{count} {answer}")
    memory, files = outcome.memory, outcome.files
    lines = [
        f"seed {SEED}: {outcome.sent} requests in {outcome.seconds:.1f} s",
        f"sensible writes accepted: {outcome.share:.0%} {outcome.writes}",
        f"memory {memory[:1]} to {memory[-1:]} kB, files {files[:1]} to {files[-1:]}",
        f"log {server.log.stat().st_size >> 10} kB",
        *(f"  {family}: {', '.join(said)}" for family, said in by_family.items()),
    ]
    print("\n".join(lines))  # noqa: T201 - figures for `pytest -s`


def test_a_request_is_made_from_its_seed_and_number_alone() -> None:
    """So that one of fifty thousand can be sent again."""
    world = requests.World()
    for number in range(300):
        assert requests.case(7, number, world) == requests.case(7, number, world)
    assert requests.case(7, 1, world) != requests.case(8, 1, world)


@pytest.mark.parametrize("name", MUTANTS if PROVE else ["unexpected", "written first"])
def test_a_fault_in_the_server_is_found(tmp_path: Path, name: str) -> None:
    """The fuzzer can fail: each fault is put into a server, and told within a thousand requests."""
    with live(trusting(tmp_path), program=("-m", "fuzzing.mutants", name)) as server:
        outcome = Run(server, SEED, most=1).run(range(1_000))
    assert outcome.findings or bounded(outcome), f"nobody noticed {name}"
