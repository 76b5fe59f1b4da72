"""What a canary is of: the shares of routes, and the contents of a stack on the way from what runs to what is wanted.

The one rule: what reaches callers otherwise than by shares is refused, since it would change for all of them at once.
First comes what no call reaches yet, last goes what none reaches any more.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from meshwright.errors import RefusedError
from meshwright.graph import Relation, resolve, route_action
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import RouteSpec
from meshwright.release.canary import Share, Shift
from meshwright.release.content import restored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from meshwright.model.state import State
    from meshwright.plan import Change, Plan
    from meshwright.release.records import Item

    Content: TypeAlias = Sequence[Item]
    Target: TypeAlias = tuple[str, int | None]

MOST_TARGETS = 10
"""Weighted targets that App Mesh lets a route have.

Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/API_HttpRouteAction.html
"""
_CONTAINERS = frozenset({Kind.VIRTUAL_NODE, Kind.VIRTUAL_ROUTER, Kind.VIRTUAL_SERVICE, Kind.VIRTUAL_GATEWAY})
_LEAVES = frozenset({Kind.ROUTE, Kind.GATEWAY_ROUTE})
_TOLD = 5


class Step(NamedTuple):
    """One stop on the way."""

    weight: int
    """Percent of the way."""
    content: tuple[Item, ...]
    """The whole stack."""


def shifts(before: Content, after: Content) -> tuple[Shift, ...]:
    """The routes whose shares differ between two contents of a stack, in order of keys.

    Raises:
        RefusedError: one of them cannot be shifted in steps, or there is none.
    """
    old, new = ({one.key: one for one in content if one.key.kind is Kind.ROUTE} for content in (before, after))
    both = [(old[key].spec, new[key].spec, key) for key in sorted(old.keys() & new.keys())]
    found = tuple(_shift(key, was, now) for was, now, key in both if _shares(was) != _shares(now))
    if not found:
        raise RefusedError(
            "There is nothing to shift: no route of the stack has other weights than what runs. Apply without "
            "--canary. Nothing was changed."
        )
    return found


def refuse_sudden(plan: Plan, state: State, moved: Sequence[Shift]) -> None:
    """Raise for what `plan`, made of `state`, would change for all callers at once.

    Raises:
        RefusedError: naming each such object.
    """
    fresh = {one.key for one in plan.changes if one.action == "create"}
    gone = {one.key for one in plan.changes if one.action == "delete"}
    routes = {one.route for one in moved}
    idle = set(unreached(state, moved))
    told = [
        f"{one.action} of {one.key}{f' ({why})' if why else ''}"
        for one in plan.changes
        if (why := _sudden(one, fresh, gone, routes, idle)) is not None
    ]
    if told:
        more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        raise RefusedError(
            f"A canary shifts weights, and this would reach all callers at once: {'; '.join(told[:_TOLD])}{more}. "
            "Release it apart, without --canary, before or after. Nothing was changed."
        )


def unreached(state: State, moved: Sequence[Shift]) -> Iterator[Key]:
    """The targets that gain calls and that nothing in `state` sends any to."""
    graph = resolve(state)
    for node in dict.fromkeys(node for one in moved for node in one.rising):
        leading = graph.incoming(node, Relation.TARGET, Relation.PROVIDER)
        if not any(_sends(state, edge.source, node) for edge in leading):
            yield node


def course(before: Content, after: Content, moved: Sequence[Shift], weights: Iterable[int]) -> tuple[Step, ...]:
    """The stops at `weights` that differ from what runs and from each other.

    Before them, at 0, comes what no call reaches yet, where there is any: its instances can only come then.

    Raises:
        RefusedError: no weight differs.
    """
    idle = set(unreached(restored(before), moved))
    ready = _content(before, after, (), 0, idle)
    found = [Step(0, ready)] if ready != tuple(sorted(before, key=lambda one: one.key)) else []
    last = tuple(before)
    for weight in weights:
        content = _content(before, after, moved, weight, idle)
        if _weights(content, moved) != _weights(last, moved):
            found.append(Step(weight, content))
            last = content
    if last == tuple(before):
        raise RefusedError(
            "There is too little to shift in steps: weights are whole numbers, and no step would differ from what "
            "runs. Apply without --canary. Nothing was changed."
        )
    return tuple(found)


def _sudden(one: Change, fresh: set[Key], gone: set[Key], routes: set[Key], idle: set[Key]) -> str | None:
    """Why a change reaches callers at once, "" for being what it is; None where it does not."""
    moving = fresh if one.action == "create" else gone
    if one.action != "update":
        if one.key.kind in _CONTAINERS or (one.key.kind in _LEAVES and one.key.owner in moving):
            return None
        return f"in {one.key.owner}, which stays" if one.key.kind in _LEAVES else ""
    if one.key in idle:
        return None
    left = [field.path for field in one.fields if field.path.startswith("spec")]
    if one.key in routes:
        left = [path for path in left if ".action.weightedTargets" not in path]
    return ", ".join(left[:_TOLD]) if left else None


def _sends(state: State, source: Key, node: Key) -> bool:
    spec = state[source].spec
    if not isinstance(spec, RouteSpec):
        return True
    return any(one.virtual_node == node.name and one.weight for one in route_action(spec)[1].weighted_targets)


def _content(
    before: Content, after: Content, moved: Sequence[Shift], weight: int, idle: set[Key]
) -> tuple[Item, ...]:
    there = {one.key: one for one in before}
    for one in after:
        if one.key not in there or one.key in idle:
            there[one.key] = one
    for shift in moved:
        was = there[shift.route]
        there[shift.route] = msgspec.structs.replace(was, spec=_shifted(was.spec, shift, weight))
    return tuple(there[key] for key in sorted(there))


def _shifted(spec: Mapping[str, Any], shift: Shift, weight: int) -> dict[str, Any]:
    member = _member(spec)
    targets = [
        {"virtualNode": share.node.name, "weight": points, **({} if share.port is None else {"port": share.port})}
        for share, points in zip(shift.shares, _points(shift, weight), strict=True)
        if points or share.before
    ]
    inside = dict(spec[member])
    return {**spec, member: {**inside, "action": {**inside["action"], "weightedTargets": targets}}}


def _points(shift: Shift, weight: int) -> list[int]:
    """Whole percents that sum up to 100; what is to gain calls gets one at least."""
    exact = [
        Fraction(one.before).limit_denominator(10_000) * (100 - weight) / 100
        + Fraction(one.after).limit_denominator(10_000) * weight / 100
        for one in shift.shares
    ]
    found = [int(one) for one in exact]
    rest = sorted(range(len(exact)), key=lambda at: (found[at] - exact[at], at))
    for at in rest[: max(0, 100 - sum(found))]:
        found[at] += 1
    for at, share in enumerate(shift.shares):
        if share.after > share.before and not found[at]:
            found[max(range(len(found)), key=lambda other: found[other])] -= 1
            found[at] = 1
    return found


def _shift(key: Key, was: Mapping[str, Any], now: Mapping[str, Any]) -> Shift:
    if _member(was) != _member(now):
        raise _refused(key, f"it becomes a {_member(now)} and was a {_member(was)}")
    if _member(was) == "tcpRoute":
        raise _refused(
            key, "proxies report neither errors nor times of TCP connections, so that nothing tells a good one"
        )
    old, new = _shares(was), _shares(now)
    if not old or not new:
        raise _refused(key, f"it sends calls nowhere {'yet' if not old else 'any more'}")
    shares = tuple(
        Share(
            node=Key(key.mesh, Kind.VIRTUAL_NODE, node),
            port=port,
            before=float(old.get((node, port), 0)),
            after=float(new.get((node, port), 0)),
        )
        for node, port in dict.fromkeys((*old, *new))
    )
    if len(shares) > MOST_TARGETS:
        raise _refused(key, f"it would have {len(shares)} targets on the way, and a route has {MOST_TARGETS} at most")
    falling = {one.node for one in shares if one.after < one.before}
    found = Shift(route=key, shares=shares)
    both = [one.name for one in found.rising if one in falling]
    if both:
        raise _refused(key, f"calls move between ports of {both[0]!r}, which are counted together")
    return found


def _refused(key: Key, why: str) -> RefusedError:
    return RefusedError(
        f"{key} cannot be shifted in steps: {why}. Release it apart, without --canary. Nothing was changed."
    )


def _member(spec: Mapping[str, Any]) -> str:
    return next(name for name in spec if name.endswith("Route") and spec[name] is not None)


def _shares(spec: Mapping[str, Any]) -> dict[Target, Fraction]:
    """The share of each target that gets any call, in percent."""
    targets = spec[_member(spec)]["action"]["weightedTargets"]
    total = sum(one["weight"] for one in targets)
    found: dict[Target, Fraction] = {}
    for one in targets:
        if one["weight"]:
            target = one["virtualNode"], one.get("port")
            found[target] = found.get(target, Fraction(0)) + Fraction(100 * one["weight"], total)
    return found


def _weights(content: Content, moved: Sequence[Shift]) -> list[dict[Target, Fraction]]:
    routes = {one.route for one in moved}
    return [_shares(one.spec) for one in content if one.key in routes]
