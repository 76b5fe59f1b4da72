"""What derived trials may ask where programs of the user's run in place of stand-ins.

The one rule: what a program answers is its own affair. Who answered is the mesh's, and its proxies tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from meshwright.trials.trial import FaultKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from meshwright.trials.trial import Trial

_TOLD = frozenset({
    FaultKind.LATENCY, FaultKind.ABORT, FaultKind.RESET, FaultKind.REFUSED, FaultKind.BLACKHOLE, FaultKind.BANDWIDTH,
    FaultKind.UNHEALTHY,
})  # fmt: skip
"""Faults that stand-ins are told to have, and programs cannot be."""


def beside(trials: Iterable[Trial], programs: Collection[str]) -> tuple[Trial, ...]:
    """Those of `trials` that can be run where `programs` (their virtual nodes) do, asking no more than they show."""
    kept = []
    for one in trials:
        if any(given.kind in _TOLD and given.at in programs for given in one.given):
            continue
        if one.call.straight and one.expect.served_by and one.caller.name in programs:
            continue  # who answered is known from the proxy of a caller, and it has none
        asked = one.expect
        if set(asked.served_by).intersection(programs):
            asked = replace(asked, statuses=(), grpc_statuses=(), any_answer=True, arrived={})
        kept.append(replace(one, expect=asked))
    return tuple(kept)
