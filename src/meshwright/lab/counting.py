"""Envoy's own counters that move while something happens.

The one rule: only what is about the mesh's traffic counts; what proxies say to the rig itself does not.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.trials.seen import CounterSeen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from meshwright.lab.instance import Instance

_ASKED = "/stats?format=json&type=Counters&usedonly&filter=^(cluster.cds_(e|in)gress_|http.(e|in)gress|listener.)"
"""Source: https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--stats"""
_SILENT = ("bytes_total", "_inflate", ".admin.", "_buffered", "worker_")
"""Parts of the names of those that tell nothing of what became of a call."""
_MOST = 80
"""Counters that are told."""


class _Stats(msgspec.Struct):
    stats: list[dict[str, Any]]


@contextlib.asynccontextmanager
async def counting(instances: Iterable[Instance]) -> AsyncIterator[list[CounterSeen]]:
    """What is in the list afterwards are the counters of these proxies that moved meanwhile, in their order."""
    watched, moved = tuple(instances), list[CounterSeen]()
    before = await asyncio.gather(*map(_counters, watched))
    yield moved
    after = await asyncio.gather(*map(_counters, watched))
    found = [
        CounterSeen(instance=one.name, name=name, moved=value - had.get(name, 0))
        for one, had, has in zip(watched, before, after, strict=True)
        for name, value in sorted(has.items())
        if value != had.get(name, 0)
    ]
    moved += found[:_MOST]


async def _counters(instance: Instance) -> dict[str, int]:
    """Every counter that was ever moved; none where Envoy does not answer."""
    told = msgspec.json.decode(await instance.look(_ASKED) or '{"stats": []}', type=_Stats)
    return {
        one["name"]: one["value"]
        for one in told.stats
        if "name" in one and not any(part in one["name"] for part in _SILENT)
    }
