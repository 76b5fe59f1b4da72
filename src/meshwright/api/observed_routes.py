"""Whether calls on the routes that a release changed succeed, by what proxies report of them since.

The one rule: proxies count by whom they call and not by route, so that calls of another route to the same node are
seen, too; where no call is seen, nothing is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright import release
from meshwright.impact.routes import changed_entries, changed_rules
from meshwright.observe import Counts
from meshwright.release import Status
from meshwright.release.inspection import Check, Outcome, Sight, check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.api.services import Services
    from meshwright.model.identity import Key
    from meshwright.observe.baselines import Way
    from meshwright.release import Release

ALLOWED = 0.01
"""The part of the calls that may fail, unless more did before."""
_LOOK_BACK = 100
"""Releases of which it is asked what became of them; more than are remembered of what was counted."""


def observed_routes(services: Services, one: Release) -> Check:
    """The calls on its changed routes since release `one` has propagated."""
    now, graph = services.now(), services.control.graph
    keys = frozenset(change.key for change in one.changes)
    counted = services.baselines.since(one.mesh, one.stack, one.number, services.traffic, _bad(services, one))
    reached: dict[Key, tuple[Key | None, set[Key]]] = {}
    for rule in changed_rules(graph, keys, one.mesh):
        reached.setdefault(rule.subject, (None, set()))[1].update(rule.nodes)
    for entry in changed_entries(graph, keys, one.mesh):
        reached.setdefault(entry.subject, (entry.gateway, set()))[1].update(entry.nodes)
    sights = []
    for subject, (caller, nodes) in sorted(reached.items()):
        # Each target of a route must be seen to answer; which of them a gateway's callers come to is not its matter.
        groups = [{node} for node in sorted(nodes)] if caller is None else [nodes]
        seen = [_sight(subject, group, caller, counted, now, named=len(groups) > 1) for group in groups]
        sights.append(
            next((each for word in ("failed", "pending") for each in seen if each.outcome == word), seen[0])
        )
    told = (
        "calls are seen on all of its routes and succeed" if sights else "it changes no route that leads to anybody"
    )
    return check("routes", sights, told, by="control-plane", at=now)


def _bad(services: Services, one: Release) -> frozenset[int]:
    """The releases before it that failed or were taken back: how many calls failed meanwhile excuses nothing."""
    known = list(services.store.releases(one.mesh, one.stack, _LOOK_BACK))
    failed = {each.number for each in known if each.status in {Status.FAILED, Status.ROLLED_BACK}}
    return release.reverted(known) | failed


def _sight(
    subject: Key,
    nodes: set[Key],
    caller: Key | None,
    counted: Mapping[Way, tuple[Counts, Counts]],
    now: int,
    *,
    named: bool,
) -> Sight:
    """What the calls counted to `nodes` mean for a route; of a lone failure nothing, until there are more."""
    before, after = Counts(), Counts()
    for (source, callee, _), (earlier, later) in counted.items():
        if callee in nodes and caller in {None, source}:
            before.add(earlier)
            after.add(later)
    share = before.errors / before.requests if before.requests else 0.0
    over = after.errors > max(ALLOWED, share) * after.requests
    told = f"{after.errors} of {after.requests} calls failed"
    told += f", {share:.1%} did before" if before.requests else ""
    if not after.requests:
        told = "no call was seen"
    if named:
        told += f" at {', '.join(node.name for node in nodes)}"
    lone = after.errors == 1 and over
    outcome: Outcome = "pending" if lone or not after.requests else "failed" if over else "passed"
    return Sight(subject=subject.path, outcome=outcome, told=told, at=now)


def together(own: tuple[Check, ...], brought: tuple[Check, ...]) -> tuple[Check, ...]:
    """The control plane's checks and the client's: of a route that was probed it is no gap that no calls were seen.

    The other way round it is one: calls that were seen may be another route's, or the probes of another.
    """
    probed = frozenset(sight.subject for one in brought if one.name == "routes" for sight in one.sights)
    found = []
    for one in own:
        kept = [sight for sight in one.sights if sight.outcome in {"passed", "failed"} or sight.subject not in probed]
        if one.name != "routes" or len(kept) == len(one.sights):
            found.append(one)
        elif kept:
            told = "calls are seen on some of its routes and succeed"
            found.append(check("routes", kept, told, by="control-plane", at=one.ended_at))
    return (*found, *brought)
