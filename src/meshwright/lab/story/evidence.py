"""What the running system says about itself, beside what its commands print: the API's answers, Envoys' own clocks.

The story's checks are held against this, so that a command that merely prints the right words does not pass.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.lab.story.scene import MESH, STACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.lab.story.scene import Scene


async def releases(scene: Scene) -> list[dict[str, Any]]:
    """The stack's releases, newest first."""
    found = await asyncio.to_thread(scene.client().releases, MESH, STACK)
    listed: list[dict[str, Any]] = found["releases"]
    return listed


async def status(scene: Scene) -> dict[str, Any]:
    """The control plane's revision, stacks and proxies."""
    return await asyncio.to_thread(scene.client().status)


async def revision(scene: Scene) -> int:
    """The control plane's newest revision."""
    return int((await status(scene))["revision"])


async def taken(scene: Scene, since: int) -> dict[str, int]:
    """The Envoys that took something new since `since`, and when; milliseconds since the epoch, by Envoy's own clock.

    Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump.proto
    """
    found = {}
    for one in scene.running.instances:
        _, text = await one.administration("/config_dump")
        times = [_milliseconds(stamp) for stamp in _stamps(msgspec.json.decode(text))]
        if times and max(times) >= since:
            found[one.name] = max(times)
    return found


def _stamps(node: Any) -> Iterator[str]:
    """Every `last_updated` of a configuration dump."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "last_updated" and isinstance(value, str):
                yield value
            else:
                yield from _stamps(value)
    elif isinstance(node, list):
        for value in node:
            yield from _stamps(value)


def _milliseconds(stamp: str) -> int:
    return int(dt.datetime.fromisoformat(stamp).timestamp() * 1000)
