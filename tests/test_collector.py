"""What proxies report to a rig, and who waits for it."""

from __future__ import annotations

import asyncio

from meshwright.lab.collector import collector


async def test_nobody_waits_for_the_spans_of_calls_that_have_none() -> None:
    """Of TCP no span is due, and none comes."""
    async with collector() as kept:
        waiting = asyncio.create_task(kept.heard({}, 600))
        done, _ = await asyncio.wait({waiting}, timeout=60)
        assert done == {waiting}
