"""Risks at the mesh's border: who may call hosts outside that he could not call before.

The one rule: what holds for a node is compared: its own policy, else the mesh's filter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.impact.values import Risk
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import MeshSpec
from meshwright.routing import egress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.impact.scene import Scene
    from meshwright.model.extensions.proxies import EgressAllowance


def opened(scene: Scene) -> Iterator[Risk]:
    """The mesh's filter when it opens, and each node whose own policy opens or goes away over an open mesh."""
    for key, old, new in scene.updates(Kind.MESH):
        if isinstance(new.spec, MeshSpec) and isinstance(old.spec, MeshSpec):
            was, now = _filter(old.spec), _filter(new.spec)
            if (was, now) == ("DROP_ALL", "ALLOW_ALL"):
                summary = "every application without an egress policy of its own may call anything outside the mesh"
                yield Risk(
                    code="egress-opened", summary=summary, key=key, path="spec.egressFilter.type", old=was, new=now
                )
    changed = {one.key for one in scene.plan.changes if one.key.kind is Kind.EGRESS_POLICY}
    for node in scene.new.of(Kind.VIRTUAL_NODE, scene.plan.mesh) if changed else ():
        if node.key in scene.old:
            yield from _node(scene, node.key, changed)


def _node(scene: Scene, node: Key, changed: set[Key]) -> Iterator[Risk]:
    was, now = egress(scene.before, node), egress(scene.after, node)
    whose = now.origin if now.origin in changed else was.origin
    if whose not in changed or was.anything:
        return
    if now.anything:
        yield Risk(
            code="egress-opened",
            summary=f"{node} may call anything outside the mesh",
            key=whose,
            path="spec.type" if whose == now.origin else "",
            old="DROP_ALL",
            new="ALLOW_ALL",
        )
        return
    wider = [one for one in now.allowed if not _covered(one, was.allowed)]
    if wider:
        hosts = ", ".join(sorted({one.host for one in wider}))
        yield Risk(
            code="egress-opened",
            summary=f"{node} may call {hosts}",
            key=whose,
            path="spec.allow",
            old=sorted(map(_told, was.allowed)),
            new=sorted(map(_told, now.allowed)),
        )


def _filter(spec: MeshSpec) -> str:
    return spec.egress_filter.type if spec.egress_filter is not None else "DROP_ALL"


def _told(one: EgressAllowance) -> str:
    return f"{one.protocol} {one.host}:{','.join(str(port) for port in sorted(one.ports))}"


def _covered(one: EgressAllowance, by: tuple[EgressAllowance, ...]) -> bool:
    """Whether every port of `one` could be called before, by its name or by a `*.` above it."""
    return all(
        any(port in other.ports and one.protocol == other.protocol and _within(one.host, other.host) for other in by)
        for port in one.ports
    )


def _within(host: str, pattern: str) -> bool:
    host, pattern = (text.lower().removesuffix(".") for text in (host, pattern))
    return host == pattern or (pattern.startswith("*.") and host.removeprefix("*").endswith(pattern[1:]))
