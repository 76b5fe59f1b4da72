"""Mirrors: a share of the requests is copied to another node, whose answers nobody waits for.

The one rule: a copy never delays or changes the request that it is made of; it says that it is one by its Host, which
ends in `-shadow`.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from meshwright.routing import LostTarget, copied
from meshwright.snapshot import names
from meshwright.snapshot.extensions.additions import Additions
from meshwright.snapshot.values import share

if TYPE_CHECKING:
    from meshwright.model.extensions import MirrorSpec
    from meshwright.model.state import Resource
    from meshwright.routing import Place
    from meshwright.snapshot.assembly import Assembly


def added(assembly: Assembly, place: Place, extension: Resource) -> Additions:
    """What a mirror adds to a route; nothing where there is nobody to copy to."""
    spec = cast("MirrorSpec", extension.spec)
    if place.called is None:
        raise AssertionError("the model lets a mirror be about services and routes only")
    target = copied(assembly.graph, spec.to, place.called)
    if isinstance(target, LostTarget):
        return Additions()  # a hindrance, and told as such
    policy = {
        "cluster": names.backend(target.node, target.protocol, target.port),
        "runtime_fraction": {"default_value": share(spec.percentage)},
    }
    return Additions(
        origins=(extension.key,),
        action={"request_mirror_policies": [policy]},
        targets=(target,),
    )
