"""The raw floor from the driver's side: the process of `bare`, fed with what the control plane's proxies hold."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from benchmarks.process import Process
from benchmarks.xds.captured import changed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.xds.captured import Held


class Floor:
    """A bare gRPC server that holds what was captured and can send what had changed."""

    def __init__(self, process: Process, folder: Path, before: Held, after: Held) -> None:
        """`before` and `after` one change or several: what differs is pushed, there and back in turn."""
        self.process = process
        self.target = f"127.0.0.1:{process.answer()['port']}"
        self._turn = 0
        self._changes = []
        for name, one in (("there", changed(before, after)), ("back", changed(after, before))):
            path = folder / f"{name}.json"
            path.write_bytes(msgspec.json.encode(one))
            self._changes.append(path)
        whole = folder / "held.json"
        whole.write_bytes(msgspec.json.encode(before))
        process.tell(f"hold {whole}")
        process.answer()

    def push(self, nodes: Sequence[str] = ()) -> float:
        """Send what changed to every stream of these nodes, or of all that it concerns; when that began."""
        self._turn += 1
        self.process.tell(" ".join(("push", str(self._changes[self._turn % 2 - 1]), *nodes)))
        began: float = self.process.answer()["began"]
        return began

    def until_acked(self, nodes: Sequence[str] = ()) -> float:
        """Seconds from a push to the last ack, as the server hears it."""
        began = self.push(nodes)
        self.process.tell("acked")
        last: float = self.process.answer()["last"]
        return last - began


@contextmanager
def floor(folder: Path, before: Held, after: Held) -> Iterator[Floor]:
    """A running floor."""
    with Process("benchmarks.xds.bare") as process:
        yield Floor(process, folder, before, after)
