"""Ask the real Envoy whether it would take what the definitions come to, without running it.

The one rule: Envoy gets the very resources that the stream would carry. Only what lies on another machine's disk is
taken out: TLS contexts, whose files are the proxy's own, and the paths of access logs.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.errors import MeshwrightError
from meshwright.model.identity import Kind
from meshwright.proxy.run import envoy_path, write
from meshwright.routing.expressions import PROGRAM_SIZE
from meshwright.snapshot.blame import culprits, reason
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Redirect
from meshwright.snapshot.static import static_resources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import Snapshot

_STAMP = re.compile(r"^(\[[^\]]*\])+ ?(\[[^\]]*\] ?)*")
SECONDS = 60
"""How long one Envoy may take to judge one proxy's configuration; it needs less than one."""


def check(graph: Graph) -> Iterator[Diagnostic]:
    """What Envoy refuses of the configuration of each virtual node and virtual gateway, one finding a proxy.

    Raises:
        UsageError: there is no Envoy here.
        MeshwrightError: Envoy did not answer in time.
    """
    for kind in (Kind.VIRTUAL_GATEWAY, Kind.VIRTUAL_NODE):
        for resource in graph.state.of(kind):
            snapshot = build(graph, resource.key, {}, Redirect())
            words = refusal(snapshot)
            if words:
                yield _finding(snapshot, words)


def refusal(snapshot: Snapshot) -> str:
    """Envoy's words about `snapshot`; "" when it takes it.

    Raises:
        UsageError: there is no Envoy here.
        MeshwrightError: Envoy did not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="meshwright-check-") as folder:
        config = write(document(snapshot), Path(folder))
        arguments = [str(envoy_path()), "--mode", "validate", "--log-level", "critical", "-c", str(config)]
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments
                arguments, capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            raise MeshwrightError(
                f"Envoy did not judge the configuration of {snapshot.proxy} within {SECONDS} s."
            ) from None
    return "" if done.returncode == 0 else _words(done.stdout + done.stderr, str(config)) or "it gave no reason"


def document(snapshot: Snapshot) -> dict[str, Any]:
    """A bootstrap that holds `snapshot` statically."""
    runtime = {"name": "limits", "static_layer": {"re2.max_program_size.error_level": PROGRAM_SIZE}}
    whole = {
        "node": {"id": snapshot.proxy.path, "cluster": snapshot.proxy.path},
        "static_resources": static_resources(snapshot),
        "layered_runtime": {"layers": [runtime]},
    }
    _take_out_files(whole)
    return whole


def _finding(snapshot: Snapshot, words: str) -> Diagnostic:
    blamed = _blamed(snapshot, words)
    names = ", ".join(key.path for key in blamed)
    return Diagnostic(
        rule="MW901",
        severity=Severity.ERROR,
        summary=f"Envoy rejects the configuration of {snapshot.proxy}: {words}",
        detail=f"It comes from {names}. A running proxy would keep its old configuration.",
        subject=blamed[0].path,
        path="spec",
    )


def _blamed(snapshot: Snapshot, words: str) -> tuple[Key, ...]:
    """The objects whose own text shows the fault, else the proxy's."""
    shown = [
        key
        for resources in snapshot.resources.values()
        for one in resources.values()
        for key in culprits(one, words)
        if culprits(one, words) != one.origins
    ]
    return tuple(dict.fromkeys(shown)) or (snapshot.proxy,)


def _words(output: str, config: str) -> str:
    """The reason in Envoy's log, without time, thread and file, and without the message that it prints before it."""
    begin = f"error initializing configuration '{config}': "
    said = output.rpartition(begin)[2] if begin in output else output.strip().rpartition("\n")[2]
    return _STAMP.sub("", reason(said)).strip()


def _take_out_files(value: Any) -> None:
    """Remove TLS contexts and send access logs nowhere, in place."""
    if isinstance(value, list):
        for one in value:
            _take_out_files(one)
    elif isinstance(value, dict):
        value.pop("transport_socket", None)
        value.pop("transport_socket_matches", None)
        if str(value.get("@type", "")).endswith(".FileAccessLog"):
            value["path"] = "/dev/null"
        for one in value.values():
            _take_out_files(one)
