"""Where a call goes, from whoever makes it.

The one rule: pure. The same graph, caller, call and time give the same verdict; nothing is asked of a proxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.errors import UsageError
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.simulate.gateways import through_gateway
from meshwright.simulate.listeners import straight_to_node
from meshwright.simulate.nodes import out_of_node
from meshwright.simulate.verdicts import Verdict

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.simulate.calls import Call


def route(graph: Graph, caller: Key, call: Call, now: int = 0) -> Verdict:
    """Where `call` would go and why: behind `iptables`, with every proxy up to date and every instance well.

    `caller` is the virtual node whose application makes it, or the virtual gateway that gets it from outside; of a
    call that goes straight to a listener, the virtual node that gets it. `now`, in milliseconds since the epoch, UTC,
    says which faults have ended.

    Raises:
        UsageError: there is no such caller, or it is of another kind.
    """
    resource = graph.state.get(caller)
    spec = resource.spec if resource else None
    if isinstance(spec, VirtualGatewaySpec):
        hops, end = through_gateway(graph, caller, spec, call, now)
    elif isinstance(spec, VirtualNodeSpec) and call.straight:
        hops, end = straight_to_node(graph, caller, spec, call, now)
    elif isinstance(spec, VirtualNodeSpec):
        hops, end = out_of_node(graph, caller, call, now)
    else:
        why = "does not exist" if resource is None else "calls nobody: only virtual nodes and virtual gateways do"
        raise UsageError(f"{caller.kind.type_name} {caller.name!r} {why}")
    return Verdict(caller=caller, call=call, hops=hops, ending=end)
