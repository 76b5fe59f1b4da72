"""From a place that requests pass to all that extensions add there.

The one rule: an extension that cannot do its work at a place is reported, with why, and never half applied.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from meshwright.model.extensions import FaultSpec
from meshwright.model.identity import Kind
from meshwright.routing import holding
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
_OF_CONNECTIONS = frozenset({Kind.RATE_LIMIT})
"""Kinds that are about TCP, too; all others are about HTTP alone."""


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
        if place.protocol == "tcp" and kind not in _OF_CONNECTIONS:
            where = f"port {place.port}" if place.called is None else f"{place.called.service.name!r}"
            reason = f"{where} of {place.targets[0].name!r} speaks TCP: it has an effect on HTTP only"
            assembly.refuse(extension.key, "spec.target", reason)
        else:
            found.append(translated(assembly, place, extension))
    if place.protocol != "tcp":
        found.append(telemetry.traced_at(assembly, place))
    return merged(found) if found else NOTHING
