"""Whether traces or metrics show a release at every hop of the routes that it changed.

The one rule: only what a proxy did after it had acked the release shows it; that nothing is seen shows nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.impact.routes import changed_entries, changed_rules
from meshwright.model.identity import Key, parse_key, split_mesh
from meshwright.release import Check, Sight
from meshwright.release.inspection import check
from meshwright.trials.deriving.entries import callers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.cli.target import Target
    from meshwright.graph import Graph
    from meshwright.remote import Client
    from meshwright.telemetry import Told, Witness

_PAUSE = 1.0
"""Seconds between two looks."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked."""

    otlp: str = ""
    """Where OpenTelemetry is received, HOST:PORT."""
    otlp_file: str = ""
    xray: bool = False
    cloudwatch: str = ""
    """The namespace."""

    @property
    def any(self) -> bool:
        """Whether anybody is."""
        return bool(self.otlp or self.otlp_file or self.xray or self.cloudwatch)


class _Hop(msgspec.Struct, frozen=True, kw_only=True):
    """Proxies of which one must have told something."""

    subject: Key
    proxies: tuple[Key, ...]
    who: str


@contextlib.contextmanager
def witnesses(target: Target, sources: Sources, mesh: str, since: int) -> Iterator[tuple[Witness, ...]]:
    """Those who are asked, until the block ends; of AWS what is there since `since`, milliseconds since the epoch.

    Raises:
        UsageError: one of them cannot be had.
    """
    with contextlib.ExitStack() as exits:
        found: list[Witness] = []
        if sources.otlp:
            from meshwright.telemetry.otlp import Receiver

            found.append(Receiver(sources.otlp))
        if sources.otlp_file:
            from meshwright.telemetry.otlp import File

            found.append(File(Path(sources.otlp_file)))
        if sources.xray or sources.cloudwatch:
            from meshwright.telemetry.aws import CloudWatch, XRay

            access = target.project.access(os.environ, target.project.text("region") or "")
            if sources.xray:
                found.append(XRay(access, split_mesh(mesh)[0], since, _clock))
            if sources.cloudwatch:
                found.append(CloudWatch(access, sources.cloudwatch, split_mesh(mesh)[0], since, _clock))
        for one in found:
            exits.callback(one.close)
        yield tuple(found)


def witnessed(
    target: Target,
    client: Client,
    one: Mapping[str, Any],
    graph: Graph,
    asked: tuple[Witness, ...],
    seconds: float,
) -> Check:
    """What witnesses tell of the hops of the routes that a release changed, once of each or when the time is over.

    Raises:
        MeshwrightError: one of them cannot be asked.
    """
    place = one["mesh"], one["stack"], one["number"]
    known = client.release(*place)
    hops = tuple(_hops(graph, frozenset(parse_key(change["object"]) for change in known["changes"]), one["mesh"]))
    acked = _acked(client.propagation(*place, detail=True))
    began_at, deadline = _now(), time.monotonic() + seconds
    seen: dict[Key, Told] = {}
    while True:
        for spoke in (told for witness in asked for told in witness.told()):
            # Proxies name the mesh without its owner, whom everybody here knows.
            proxy = Key(one["mesh"], spoke.proxy.kind, spoke.proxy.name)
            own = spoke.proxy.mesh == split_mesh(one["mesh"])[0]
            if own and spoke.at >= acked.get(proxy.path, known["at"]):
                seen.setdefault(proxy, spoke)
        missing = [hop for hop in hops if not any(proxy in seen for proxy in hop.proxies)]
        left = deadline - time.monotonic()
        if not missing or left <= 0:
            break
        target.say(f"Waiting for traces or metrics, {left:.0f} s left: {', '.join(hop.who for hop in missing[:3])}")
        time.sleep(min(_PAUSE, left))
    sights = [_sight(hop, seen) for hop in hops]
    told = "traces or metrics show it at every hop" if sights else "it changes no route that leads to anybody"
    return msgspec.structs.replace(check("telemetry", sights, told, by="client", at=_now()), began_at=began_at)


def _hops(graph: Graph, changed: frozenset[Key], mesh: str) -> Iterator[_Hop]:
    """For each changed route one of its callers, and everybody to whom it leads."""
    nodes: dict[Key, None] = {}
    for rule in changed_rules(graph, changed, mesh):
        able = callers(graph, rule.port.service)
        if able:
            yield _Hop(subject=rule.subject, proxies=able, who=f"a caller of {rule.port.service.name}")
        nodes |= dict.fromkeys(rule.nodes)
    for entry in changed_entries(graph, changed, mesh):
        nodes |= dict.fromkeys((entry.gateway, *entry.nodes))
    for node in nodes:
        yield _Hop(subject=node, proxies=(node,), who=node.name)


def _sight(hop: _Hop, seen: Mapping[Key, Told]) -> Sight:
    found = next((seen[proxy] for proxy in hop.proxies if proxy in seen), None)
    if found is None:
        told = f"nothing was told by {hop.who} since it has the release"
        return Sight(subject=hop.subject.path, outcome="inconclusive", told=told, at=_now())
    deployed = f", deployed with {found.deployed}" if found.deployed else ""
    told = f"{found.what} by {found.proxy.name}{deployed}"
    return Sight(subject=hop.subject.path, outcome="passed", told=told, at=found.at)


def _acked(found: Mapping[str, Any]) -> dict[str, int]:
    """By node, when the last of its proxies had acked the release."""
    acked: dict[str, int] = {}
    for one in found.get("accounts", ()):
        if one["settled_at"] is not None:
            acked[one["node"]] = max(acked.get(one["node"], 0), one["settled_at"])
    return acked


def _now() -> int:
    return time.time_ns() // 1_000_000


def _clock() -> datetime:
    return datetime.now(UTC)
