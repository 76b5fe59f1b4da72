"""Risks of objects as such: protected ones that go, ports that nobody listens on any more, faults for everybody.

The one rule: an object is judged by itself, before and after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.graph import Relation
from meshwright.impact.risks.pairs import listeners_of
from meshwright.impact.scene import PROTECTED_TAG
from meshwright.impact.values import Risk
from meshwright.model.extensions import FaultSpec
from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualNodeSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.impact.scene import Scene
    from meshwright.model.state import Resource


def protected(scene: Scene) -> Iterator[Risk]:
    """Protected objects that are deleted, and those that lose the tag: the next plan could delete them unseen."""
    for one in scene.deleted():
        if scene.protects(one):
            yield Risk(code="protected-deleted", summary=f"{one.key} is protected, and is deleted", key=one.key)
    for key, old, new in scene.updates():
        if scene.protects(old) and not scene.protects(new):
            yield Risk(
                code="protection-removed",
                summary=f"{key} is no longer protected by its tag {PROTECTED_TAG}",
                key=key,
                path=f"tags.{PROTECTED_TAG}",
                old=_tag(old),
                new=_tag(new),
            )


def _tag(resource: Resource) -> str | None:
    return next((tag.value for tag in resource.tags if tag.key == PROTECTED_TAG), None)


def ports(scene: Scene) -> Iterator[Risk]:
    """Ports that a node, router or gateway listened on and does not any more."""
    for key, old, new in scene.updates(Kind.VIRTUAL_NODE, Kind.VIRTUAL_ROUTER, Kind.VIRTUAL_GATEWAY):
        was, now = ([one.port_mapping.port for one in listeners_of(side)] for side in (old, new))
        for index, port in enumerate(was):
            if port not in now:
                yield Risk(
                    code="port-changed",
                    summary=f"{key} no longer listens on port {port}: who still calls it there is refused",
                    key=key,
                    path=f"spec.listeners[{index}].portMapping.port",
                    old=port,
                    new=now[index] if index < len(now) and now[index] not in was else None,
                )


def protocols(scene: Scene) -> Iterator[Risk]:
    """Ports on which another protocol is spoken than before."""
    for key, old, new in scene.updates(Kind.VIRTUAL_NODE, Kind.VIRTUAL_ROUTER, Kind.VIRTUAL_GATEWAY):
        was = {one.port_mapping.port: one.port_mapping.protocol for one in listeners_of(old)}
        for index, one in enumerate(listeners_of(new)):
            port, protocol = one.port_mapping.port, one.port_mapping.protocol
            if was.get(port, protocol) != protocol:
                yield Risk(
                    code="protocol-changed",
                    summary=f"{key} speaks {protocol} on port {port} instead of {was[port]}",
                    key=key,
                    path=f"spec.listeners[{index}].portMapping.protocol",
                    old=was[port],
                    new=protocol,
                )


def places(scene: Scene) -> Iterator[Risk]:
    """Nodes whose instances are looked for elsewhere: all that comes to them goes there."""
    for key, old, new in scene.updates(Kind.VIRTUAL_NODE):
        was, now = _place(old), _place(new)
        if was != now and was and scene.before.incoming(key, Relation.TARGET, Relation.PROVIDER):
            yield Risk(
                code="discovery-changed",
                summary=f"all that comes to {key} goes to {now or 'nobody'} instead of {was}",
                key=key,
                path="spec.serviceDiscovery",
                old=was,
                new=now or None,
            )


def _place(resource: Resource) -> str:
    """Where the instances of a node are looked for; "" for nowhere."""
    spec = resource.spec
    found = spec.service_discovery if isinstance(spec, VirtualNodeSpec) else None
    if found is None:
        return ""
    if found.dns is not None:
        return f"the DNS name {found.dns.hostname.lower().removesuffix('.')}"
    service = found.aws_cloud_map
    if service is None:
        return ""
    attributes = "".join(sorted(f", {one.key}={one.value}" for one in service.attributes or ()))
    return f"the Cloud Map service {service.service_name} in {service.namespace_name}{attributes}"


def faults(scene: Scene) -> Iterator[Risk]:
    """Faults that anybody's requests may meet, and that concern more of them than before."""
    for old, new in scene.put(Kind.FAULT):
        if not isinstance(new.spec, FaultSpec) or 0 < new.spec.expiry <= scene.now or not _broad(new.spec):
            continue
        was = old.spec if old is not None and isinstance(old.spec, FaultSpec) and _broad(old.spec) else None
        for member in ("delay", "abort"):
            harm, before = getattr(new.spec, member), getattr(was, member, None)
            share = harm.percentage if harm is not None else 0
            earlier = before.percentage if before is not None else 0
            if share > earlier:
                yield Risk(
                    code="broad-fault",
                    summary=f"the {member} concerns {share:g} % of the requests of everybody",
                    key=new.key,
                    path=f"spec.{member}.percentage",
                    old=earlier or None,
                    new=share,
                )


def _broad(spec: FaultSpec) -> bool:
    """Whether neither headers nor callers narrow it."""
    return not spec.callers and not (spec.match is not None and spec.match.headers)
