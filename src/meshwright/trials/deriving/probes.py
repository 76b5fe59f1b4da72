"""Calls that show whether the routes that a release changed are answered, from whoever can call.

The one rule: a call is harmless or is told as one that is not; what must come of it is what `simulate` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.impact.routes import changed_entries, changed_rules
from meshwright.model.identity import Key, Kind
from meshwright.model.routes import GrpcRouteMatch
from meshwright.trials.deriving.arriving import Inside, at_route, entrances
from meshwright.trials.deriving.entries import Arrival, Gap, service_rules
from meshwright.trials.deriving.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rstr import Rstr

    from meshwright.graph import Graph

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing.

Source: https://www.rfc-editor.org/rfc/rfc9110#section-9.2.1
"""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A changed route, and a call that follows it."""

    subject: Key
    """The route, or the virtual service that a node provides itself."""
    found: Arrival | Gap
    harmful: str = ""
    """Why the call may change something; "" where it cannot."""


def probes(
    graph: Graph, changed: frozenset[Key], mesh: str, callers: Sequence[Key], samples: Rstr
) -> Iterator[Probe]:
    """A probe for each route of a mesh that a change of the objects `changed` concerns, but for those of TCP.

    A connection says nothing of who is behind it. Nobody but `callers` can call: virtual nodes, and virtual gateways
    from outside.
    """
    texts = Texts(samples)
    concerned = {(one.port, one.rule.origin): one.subject for one in changed_rules(graph, changed, mesh)}
    found: dict[Key, Probe] = {}
    for port, rule in service_rules(graph):
        subject = concerned.get((port, rule.origin))
        if (
            subject is None
            or port.protocol == "tcp"
            or (subject in found and isinstance(found[subject].found, Arrival))
        ):
            continue
        inside = Inside(graph, port, rule, texts)
        arrival = at_route(graph, inside, callers)
        if isinstance(arrival, Gap):
            arrival = _beside(arrival, at_route(graph, inside))
        named = isinstance(rule.match, GrpcRouteMatch) and rule.match.method_name is not None
        found[subject] = Probe(subject=subject, found=arrival, harmful=_harm(arrival, named=named))
    yield from found.values()
    entries = {one.subject for one in changed_entries(graph, changed, mesh)}
    for entrance in entrances(graph, texts) if entries else ():
        gateway = entrance.key.owner
        if entrance.key in entries and gateway in callers and entrance.key.kind is Kind.GATEWAY_ROUTE:
            yield Probe(subject=entrance.key, found=entrance.found, harmful=_harm(entrance.found, named=False))


def _beside(gap: Gap, other: Arrival | Gap) -> Gap:
    """Why none of those who can call reaches a route, and whose call would."""
    if isinstance(other, Gap) or other.verdict.refused:
        return gap
    name = other.caller.name
    given = f"--gateway {name}=URL" if other.caller.kind is Kind.VIRTUAL_GATEWAY else f"--probe-from {name}"
    return msgspec.structs.replace(gap, reason=f"{gap.reason}; a call of {name} would: {given}")


def _harm(arrival: Arrival | Gap, *, named: bool) -> str:
    """Why a call may change something."""
    if isinstance(arrival, Gap):
        return ""
    call = arrival.call
    if call.protocol == "grpc":
        return f"the gRPC method {call.path} may change something" if named else ""
    return "" if call.method in _SAFE else f"{call.method} may change something"
