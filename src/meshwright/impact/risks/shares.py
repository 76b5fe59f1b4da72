"""Risks to who gets how much: shares that jump, requests that nothing takes any more, shares that lose encryption.

The one rule: what counts is what requests get by whole route tables, before and after; a route that is shadowed has
moved although nobody touched it. What one field says is told there, and not again for each service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from meshwright.graph import Relation, gateway_route_target, route_action
from meshwright.impact.flows import flows
from meshwright.impact.risks.pairs import listeners_of, paired
from meshwright.impact.risks.tls import strength
from meshwright.impact.risks.traffic import callers, takes_place
from meshwright.impact.samples import told as named
from meshwright.impact.values import Risk
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.identity import Key, Kind
from meshwright.model.listeners import Listener
from meshwright.model.routes import RouteSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.impact.flows import Flow, Way
    from meshwright.impact.scene import Scene

_NAMED = 3
"""Services that a sentence names."""
_LEAST = 0.1
"""Percentage points of a share below which nothing is told."""
_ALL = 100
_GRADES = ((2, "insist on TLS"), (1, "take TLS"))


class _Share(NamedTuple):
    percent: float
    path: str


def moves(scene: Scene) -> Iterator[Risk]:
    """Shares that move, requests that nothing takes in place of what did, and shares that go on in plaintext."""
    told: set[tuple[Key, object]] = set()
    for risk, node in (*_written(scene), *_followed(scene)):
        if (risk.key, node) not in told:
            told.add((risk.key, node))
            yield risk


def _followed(scene: Scene) -> Iterator[tuple[Risk, object]]:
    """What is due to the way that requests go, each with what it is about besides its object."""
    changed = {one.key for one in scene.plan.changes}
    for flow in flows(scene):
        entry = flow.before.entry
        if entry is not None and entry == flow.after.entry and entry not in changed:
            continue  # what becomes of it behind the gateway is told of the service
        key = _blamed(scene, flow, changed)
        if key is None:
            continue
        if flow.after.rule is None:
            yield from ((risk, risk.code) for risk in _narrowed(scene, flow, key))
        else:
            yield from ((risk, risk.code) for risk in _bared(scene, flow, key))
            yield from _moved(scene, flow, key)


def _written(scene: Scene) -> Iterator[tuple[Risk, Key]]:
    """Targets whose share of their route, as it is written, moves by more than the step, and their nodes."""
    for key, old, new in _versions(scene):
        was, now = _shares(old), _shares(new)
        for target in [*now, *(one for one in was if one not in now)]:
            before = was[target].percent if target in was else 0.0
            share = now.get(target) or _Share(0.0, was[target].path)
            if _far(before, share.percent, scene.weight_step):
                where = f"what {_called(key)}{_for(scene, key)} takes"
                risk = Risk(
                    code="weight-moved",
                    summary=f"{target} gets {share.percent:g} % instead of {before:g} % of {where}",
                    key=key,
                    path=share.path,
                    old=_number(before),
                    new=_number(share.percent),
                )
                yield risk, Key(key.mesh, Kind.VIRTUAL_NODE, target.partition(":")[0])


def _versions(scene: Scene) -> Iterator[tuple[Key, RouteSpec, RouteSpec]]:
    """The routes that change, and those that are made in the place of one that goes away."""
    for key, old, new in scene.updates(Kind.ROUTE):
        if isinstance(old.spec, RouteSpec) and isinstance(new.spec, RouteSpec):
            yield key, old.spec, new.spec
    for gone in scene.deleted(Kind.ROUTE):
        for one in scene.new.of(Kind.ROUTE, gone.key.mesh, gone.key.parent):
            replaces = one.key not in scene.old and takes_place(scene, one, gone.key)
            if replaces and isinstance(gone.spec, RouteSpec) and isinstance(one.spec, RouteSpec):
                yield one.key, gone.spec, one.spec


def _shares(spec: RouteSpec) -> dict[str, _Share]:
    """By target, its percentage of the route and the field that says so."""
    member, action = route_action(spec)
    total = sum(one.weight for one in action.weighted_targets)
    found: dict[str, _Share] = {}
    for index, one in enumerate(action.weighted_targets):
        name = f"{one.virtual_node}:{one.port}" if one.port else one.virtual_node
        earlier = found[name].percent if name in found else 0.0
        percent = round(earlier + (100 * one.weight / total if total else 0.0), 1)
        found[name] = _Share(percent, f"spec.{member}.action.weightedTargets[{index}].weight")
    return found


def _moved(scene: Scene, flow: Flow, key: Key) -> Iterator[tuple[Risk, Key]]:
    """Nodes that get another share of such requests."""
    was, now, apart = flow.before.shares, flow.after.shares, _apart(flow)
    for node in [*now, *(one for one in was if one not in now)]:
        before, share = was.get(node, 0.0), now.get(node, 0.0)
        if not _far(before, share, scene.weight_step) or (apart and share < before):
            continue
        code = "requests-diverted" if apart else "weight-moved"
        summary = f"{node.name} gets {share:g} % instead of {before:g} % of {_where(flow)}"
        path = _field(scene, key, node)
        yield Risk(code=code, summary=summary, key=key, path=path, old=_number(before), new=_number(share)), node


def _apart(flow: Flow) -> bool:
    """Whether a new match takes a part of what a route took, and not a share of all.

    It goes on to nodes that had none of it, or is chosen by what a sender may say or leave out, as for a canary.
    """
    return not flow.known and not (flow.plain and flow.after.shares.keys() <= flow.before.shares.keys())


def _narrowed(scene: Scene, flow: Flow, key: Key) -> Iterator[Risk]:
    """Requests that were taken and find nothing now, by a route that is still there, and that may be made."""
    origin = flow.before.origin
    if not flow.known or origin is None or origin not in scene.new or flow.after.entry is not None:
        return
    whose = "" if flow.before.entry is not None else callers(scene, flow.at)
    if flow.before.entry is None and not whose:
        return
    what = f"{_called(origin)} of {_several(flow.at)} took requests such as {named(flow.call)}, and nothing does now"
    yield Risk(
        code="match-narrowed",
        summary=f"{what}: they are answered 404{f'; it is called by {whose}' if whose else ''}",
        key=key,
        path=_match(scene, key),
    )


def _bared(scene: Scene, flow: Flow, key: Key) -> Iterator[Risk]:
    """Shares that move away from targets that listen with TLS, each as it listens after the plan.

    Of a part that goes on to other nodes, only where all of it was encrypted: nobody relied on what chance gave.
    """
    if not flow.after.targets:
        return
    for grade, what in _GRADES:
        was = _encrypted(scene, flow.before, grade, before=True)
        now = _encrypted(scene, flow.after, grade, before=False)
        if was - now >= _LEAST and (was >= _ALL or not _apart(flow)):
            yield Risk(
                code="tls-share-moved",
                summary=f"{now:g} % instead of {was:g} % of {_where(flow)} goes to targets that {what}",
                key=key,
                path=next((path for node in flow.after.shares if (path := _field(scene, key, node))), ""),
                old=_number(was),
                new=_number(now),
            )
            return


def _encrypted(scene: Scene, way: Way, grade: int, *, before: bool) -> float:
    """The percentage that goes to listeners of some strength, which counts as it is after the plan."""
    strict = (
        share for (node, port), share in way.targets.items() if _strength(scene, node, port, before=before) >= grade
    )
    return round(sum(strict), 1)


def _strength(scene: Scene, node: Key, port: int, *, before: bool) -> int:
    """How strictly a node listens with TLS on a port after the plan: what becomes of that is a risk of its own."""
    old, new = scene.old.get(node), scene.new.get(node)
    if before and old is not None and new is not None:
        pairs = {one.old.port_mapping.port: one.new for one in paired(old, new)}
        if port in pairs:
            return strength(pairs[port].tls)
    resource = old if before and old is not None else new
    for one in listeners_of(resource) if resource is not None else ():
        if one.port_mapping.port == port and isinstance(one, Listener):
            return strength(one.tls)
    return 0


def _far(old: float, new: float, step: float) -> bool:
    """Whether a share moves by more than the step; what is shown is what is compared: 20.04 would read as 20."""
    return round(abs(new - old), 1) > step


def _blamed(scene: Scene, flow: Flow, changed: set[Key]) -> Key | None:
    """The object of the plan that a flow is due to: the route that takes it, or took it, before all else."""
    before, after = flow.before, flow.after
    rules = (after.rule, before.rule)
    near = (after.entry, before.entry, *(one.origin for one in rules if one is not None), *flow.at)
    providers = (graph.provider(one) for graph in (scene.after, scene.before) for one in flow.at)
    nodes = (*after.shares, *before.shares)
    for key in (*near, *providers, *nodes):
        if key in changed:
            return key
    around = (scene.after.region(flow.at[0]) | scene.before.region(flow.at[0])) & changed
    return min(around, default=None)


def _where(flow: Flow) -> str:
    """Of which requests."""
    before, after = flow.before.origin, flow.after.origin
    taken = f"what {_called(before)} of {_several(flow.at)} " if before is not None else "what nobody "
    if after is None or before == after:
        return f"{taken}takes"
    alike = before is not None and before.name == after.name
    whose = f" of {_called(after.owner)}" if alike and after.owner is not None else ""
    return f"{taken}took and {_called(after)}{whose} takes"


def _called(key: Key) -> str:
    words = "".join(f" {one.lower()}" if one.isupper() else one for one in key.kind.type_name)
    return f"{words.strip()} {key.name}"


def _several(keys: Iterable[Key]) -> str:
    some = [_called(one) for one in keys]
    more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
    return f"{', '.join(some[:_NAMED])}{more}"


def _for(scene: Scene, route: Key) -> str:
    """The services that a route answers for, in words; "" for none."""
    provided = scene.after.incoming(route.owner, Relation.PROVIDER) if route.owner is not None else ()
    return f" of {_several(one.source for one in provided)}" if provided else ""


def _field(scene: Scene, key: Key, node: Key) -> str:
    """The field of a route that says a node's weight, or where that is missing; "" for another object."""
    spec = scene.new[key].spec if key in scene.new else None
    if not isinstance(spec, RouteSpec):
        return ""
    member, action = route_action(spec)
    targets: Mapping[str, int] = {one.virtual_node: index for index, one in enumerate(action.weighted_targets)}
    listed = f"spec.{member}.action.weightedTargets"
    return f"{listed}[{targets[node.name]}].weight" if node.name in targets else listed


def _match(scene: Scene, key: Key) -> str:
    """The field of a route that says what it takes; "" for another object."""
    spec = scene.new[key].spec if key in scene.new else None
    if isinstance(spec, RouteSpec):
        return f"spec.{route_action(spec)[0]}.match"
    return f"spec.{gateway_route_target(spec)[0]}.match" if isinstance(spec, GatewayRouteSpec) else ""


def _number(percent: float) -> float:
    return int(percent) if percent == int(percent) else percent
