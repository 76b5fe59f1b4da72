"""What the running system says about itself, beside what its commands print: Envoys' own clocks, releases as JSON.

The story's checks are held against this, so that a command that merely prints the right words does not pass.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.errors import MeshwrightError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.lab.story.scene import Scene


async def asked(scene: Scene, *arguments: str) -> Any:
    """What a command prints with `--format json`, whatever its exit code.

    Raises:
        MeshwrightError: that is not JSON.
    """
    done = await scene.operator.types(*arguments, "--format", "json", show=False)
    try:
        return msgspec.json.decode(done.out)
    except msgspec.DecodeError:
        told = " ".join(arguments)
        raise MeshwrightError(f"'meshwright {told} --format json' printed no JSON: {done.text.strip()}") from None


async def releases(scene: Scene) -> list[dict[str, Any]]:
    """The stack's releases, newest first."""
    found: list[dict[str, Any]] = (await asked(scene, "history"))["releases"]
    return found


async def revision(scene: Scene) -> int:
    """The control plane's newest revision."""
    return int((await asked(scene, "status"))["revision"])


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
