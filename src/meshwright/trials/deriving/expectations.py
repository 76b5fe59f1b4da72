"""What a verdict promises of a call, as expectations of real proxies.

The one rule: what `simulate` cannot know is not expected; what it knows is expected exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.trials.trial import OUTSIDE, Encryption, Expect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.listeners import Listener, VirtualGatewayListener
    from meshwright.simulate import Share, Verdict

OK, UNAVAILABLE = 200, 503
GRPC_OK, GRPC_UNAVAILABLE = 0, 14


def expectation(verdict: Verdict) -> Expect | None:
    """What must come of the verdict's call when nothing goes wrong; None where nothing can be said beforehand."""
    grpc = verdict.call.protocol == "grpc"
    if verdict.outcome == "routed":
        return _routed(verdict, grpc=grpc)
    if verdict.outcome == "outside":
        status = Expect(grpc_statuses=(GRPC_OK,)) if grpc else Expect(statuses=(OK,))
        return msgspec.structs.replace(status, served_by=(OUTSIDE,))
    # A connection that is closed has no status; the client of a test tells 0 or, with TCP, 503.
    statuses = (0, UNAVAILABLE) if verdict.status is None else (verdict.status,)
    grpc_status = verdict.ending.grpc_status
    if grpc and grpc_status is not None:
        return Expect(grpc_statuses=(grpc_status,))
    return Expect(statuses=statuses)


def agreed(verdict: Verdict) -> Verdict:
    """The verdict as it would be if everybody whom its call is for took the connection.

    What is declared and never comes about is a fault of the definitions, which a test of it is to find.
    """
    if not verdict.refused:
        return verdict
    last = verdict.hops[-1]
    targets = tuple(msgspec.structs.replace(one, refused="") for one in last.targets)
    hops = (*verdict.hops[:-1], msgspec.structs.replace(last, targets=targets))
    ending = msgspec.structs.replace(verdict.ending, outcome="routed", status=None, grpc_status=None)
    return msgspec.structs.replace(verdict, hops=hops, ending=ending)


def leads_nowhere(verdict: Verdict) -> bool:
    """Whether a call that is declared ends at a proxy, because nobody is behind the way that it takes."""
    return verdict.outcome in {"no-route", "no-host", "no-target"}


UNSURE = "what answers such a call is not sure: an extension changes some, or who listens speaks another protocol"
"""Why there is nothing to expect."""


def declared(graph: Graph, verdict: Verdict) -> Expect | None:
    """What must come of a call that the definitions say is for somebody: that it gets there, also where it cannot.

    Where nobody is behind it, it is for whom the route or else the service has, with a weight or without.
    """
    if not leads_nowhere(verdict):
        return expectation(agreed(verdict))
    last = verdict.hops[-1] if verdict.hops else None
    nodes = {one.node.name for one in last.targets} if last else set[str]()
    if last and not nodes and last.decided_by.kind is Kind.VIRTUAL_SERVICE:
        nodes = {one.name for one in graph.service_nodes(last.decided_by)}
    served = tuple(sorted(nodes))
    if verdict.call.protocol == "grpc":
        return Expect(grpc_statuses=(GRPC_OK,), served_by=served)
    return Expect(statuses=(OK,), served_by=served)


def _routed(verdict: Verdict, *, grpc: bool) -> Expect | None:
    reached = [one for one in verdict.targets if one.fraction]
    if any(_disturbed(one) for one in reached) or any(hop.effects for hop in verdict.hops):
        # An extension delays, aborts or edits a part of the calls; what is sure is only where the rest goes.
        return None
    if any(_unspoken(verdict, one) for one in reached):
        return None
    if any(one.refused for one in reached):
        if not all(one.refused for one in reached):
            return None
        return Expect(grpc_statuses=(GRPC_UNAVAILABLE,)) if grpc else Expect(statuses=(UNAVAILABLE,))
    sent = verdict.hops[-1].call_after
    arrived = {} if verdict.call.protocol == "tcp" else {":path": sent.path, ":authority": sent.authority}
    ports = {one.port for one in reached}
    if len(ports) == 1:
        arrived[":port"] = str(ports.pop())
    spoken = {"grpc" if grpc else "http2" if one.protocol == "grpc" else one.protocol for one in reached}
    if len(spoken) == 1:
        arrived[":protocol"] = spoken.pop()
    served = tuple(sorted({one.node.name for one in reached}))
    if grpc:
        return Expect(grpc_statuses=(GRPC_OK,), served_by=served, arrived=arrived)
    return Expect(statuses=(OK,), served_by=served, arrived=arrived)


def encrypted(graph: Graph, verdict: Verdict) -> Encryption | None:
    """How a node's proxy encrypts on the way to where a call goes; None where that is not the same everywhere."""
    found = {_encryption(graph, one) for one in verdict.targets if one.fraction}
    same = len(found) == 1 and verdict.caller.kind is Kind.VIRTUAL_NODE and verdict.call.protocol != "tcp"
    return found.pop() if same else None


def _encryption(graph: Graph, share: Share) -> Encryption:
    if share.tls is None:
        return Encryption.NONE
    spec = graph.state[share.node].spec
    listeners = (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) else ()
    tls = next((one.tls for one in listeners if one.port_mapping.port == share.port), None)
    # Only who asks for a certificate is shown one.
    asked = tls is not None and tls.validation is not None
    return Encryption.MUTUAL if asked and share.tls.certificate is not None else Encryption.SERVER


def security(graph: Graph, proxy: Key, port: int) -> tuple[tuple[Key, str], ...]:
    """The place where the TLS of a listener is written; none where nothing is."""
    spec = graph.state[proxy].spec
    listeners: Sequence[Listener | VirtualGatewayListener] = ()
    if isinstance(spec, VirtualNodeSpec | VirtualGatewaySpec):
        listeners = spec.listeners or ()
    return tuple(
        (proxy, f"spec.listeners[{index}].tls")
        for index, one in enumerate(listeners)
        if one.port_mapping.port == port and one.tls is not None
    )


def shares(verdict: Verdict) -> dict[str, float]:
    """The part of the calls that each virtual node gets, 0 to 1, those with no weight included."""
    found: dict[str, float] = {}
    for one in verdict.targets:
        found[one.node.name] = found.get(one.node.name, 0.0) + one.fraction
    return found


def _unspoken(verdict: Verdict, share: Share) -> bool:
    """Whether a call comes to somebody who may not know what it speaks: HTTP over TCP, or gRPC over HTTP/1.1."""
    if share.protocol == "tcp":
        return verdict.call.protocol != "tcp"
    return share.protocol == "http" and verdict.call.protocol == "grpc"


def _disturbed(share: Share) -> bool:
    return any(effect.delay or effect.status is not None for effect in share.effects)
