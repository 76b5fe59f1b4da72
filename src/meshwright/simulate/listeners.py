"""The step of a listener that somebody calls who has no proxy: which connections it takes.

The one rule: a node's listener and a gateway's judge TLS by the same words of their definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.routing import ClientTls, at_ingress, listener_timeouts, unservable
from meshwright.simulate.extending import effects
from meshwright.simulate.services import malformed
from meshwright.simulate.verdicts import Ending, Hop, Share

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.listeners import Listener
    from meshwright.model.specs import VirtualNodeSpec
    from meshwright.model.tls import ListenerTls
    from meshwright.simulate.calls import Call


def straight_to_node(
    graph: Graph, node: Key, spec: VirtualNodeSpec, call: Call, now: int
) -> tuple[tuple[Hop, ...], Ending]:
    """What becomes of `call` that comes to one of the node's own ports, past any proxy of its sender."""
    listener = next((one for one in spec.listeners or () if one.port_mapping.port == call.port), None)
    reason = _refusal(node, listener, call)
    if listener is None or reason:
        return (), Ending(outcome="refused", reason=reason, decided_by=node)
    if refused := malformed(call):
        return (), refused
    mapping = listener.port_mapping
    share = Share(
        node=node,
        port=mapping.port,
        protocol=mapping.protocol,
        weight=1,
        fraction=1.0,
        timeouts=listener_timeouts(listener),
        tls=ClientTls() if call.encrypted else None,
        effects=effects(graph, at_ingress(node, mapping.protocol, mapping.port), call, now),
    )
    seen = call.arrived(call.protocol)
    hop = Hop(
        at=node,
        decided_by=node,
        virtual_host="" if mapping.protocol == "tcp" else "ingress",
        call=seen,
        call_after=seen,
        targets=(share,),
    )
    return (hop,), Ending(outcome="routed", reason=f"virtual node {node.name!r} takes it", decided_by=node)


def tls_refusal(where: str, tls: ListenerTls | None, call: Call) -> str:
    """Why a listener, `where` it is, does not take a connection as it is encrypted; "" when it does."""
    mode = "DISABLED" if tls is None else tls.mode
    lacking = unservable(tls) if tls else ""
    if lacking and (mode == "STRICT" or call.encrypted):
        return f"{where} is not served with TLS: {lacking}"
    if mode == "DISABLED" and call.encrypted:
        return f"{where} speaks no TLS"
    if mode == "STRICT" and not call.encrypted:
        return f"{where} takes TLS only"
    return _unproven(where, tls, call) if call.encrypted and tls is not None else ""


def _unproven(where: str, tls: ListenerTls, call: Call) -> str:
    """Why a listener does not take who calls it for somebody whom it may serve; "" when it does."""
    if tls.validation is None:
        return ""
    if call.anonymous:
        return f"{where} wants a client certificate, and none is shown"
    if call.foreign:
        return f"{where} does not trust who issued the client's certificate"
    names = tls.validation.subject_alternative_names
    wanted = names.match.exact if names else ()
    if wanted and call.named is not None and not set(wanted) & set(call.named):
        return f"{where} wants a client certificate for {' or '.join(wanted)}, and it is for {', '.join(call.named)}"
    return ""


def _refusal(node: Key, listener: Listener | None, call: Call) -> str:
    where = f"port {call.port} of virtual node {node.name!r}"
    if listener is None:
        return f"nobody listens on {where}"
    protocol = listener.port_mapping.protocol
    if (protocol == "tcp") != (call.protocol == "tcp"):
        return f"{where} speaks {protocol}"
    return tls_refusal(where, listener.tls, call)
