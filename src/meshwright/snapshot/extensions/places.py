"""From a place that requests pass to all that extensions add there.

The one rule: an extension that cannot do its work at a place is reported, with why, and never half applied.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from meshwright.model.extensions import FaultSpec
from meshwright.model.identity import Kind
from meshwright.routing import hindrance, holding
from meshwright.snapshot.extensions import cors, faults, header_edits, mirrors, rate_limits, telemetry
from meshwright.snapshot.extensions.additions import NOTHING, Additions, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshwright.model.state import Resource
    from meshwright.routing import Place
    from meshwright.snapshot.assembly import Assembly

_TRANSLATIONS: Mapping[Kind, Callable[[Assembly, Place, Resource], Additions]] = MappingProxyType(
    {
        Kind.CORS: cors.added,
        Kind.FAULT: faults.added,
        Kind.HEADER_EDIT: header_edits.added,
        Kind.MIRROR: mirrors.added,
        Kind.RATE_LIMIT: rate_limits.added,
    }
)
"""By kind, what an extension that holds at a place adds there."""


def additions(assembly: Assembly, place: Place) -> Additions:
    """What the extensions that hold at `place` add to its route."""
    if not assembly.graph.has_extensions:
        return NOTHING  # as in most meshes, for every rule of every backend of every proxy
    found = []
    for kind, translated in _TRANSLATIONS.items():
        extension = holding(assembly.graph, kind, place, assembly.now)
        if extension is None:
            continue
        if isinstance(extension.spec, FaultSpec):  # with or without effect, it is there until then
            assembly.build_again(extension.spec.expiry)
        if hindered := hindrance(assembly.graph, extension, place):
            assembly.refuse(extension.key, hindered.path, hindered.reason)
        else:
            found.append(translated(assembly, place, extension))
    if place.protocol != "tcp":
        found.append(telemetry.traced_at(assembly, place))
    return merged(found) if found else NOTHING
