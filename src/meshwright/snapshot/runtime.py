"""The runtime layer of a proxy: numbers that Envoy looks up while it serves, and forgets when their time is over.

The one rule: an Envoy that has the layer is always sent it, empty or not, because it waits for it when it starts.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/runtime
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import FAULTS

if TYPE_CHECKING:
    from meshwright.snapshot.assembly import Assembly


def add_runtime(assembly: Assembly) -> None:
    """Add the layer where the proxy has one; Envoy forgets it with the first of its numbers that ends."""
    if assembly.traits.runtime:
        if assembly.held:
            _add_layer(assembly)
        else:
            assembly.again("runtime", (), _add_layer)


def _add_layer(assembly: Assembly) -> None:
    made = message("envoy.service.runtime.v3.Runtime")(name=FAULTS)
    for name, held in sorted(assembly.held.items()):
        made.layer[name] = held.value
    origins = (*(held.origin for held in assembly.held.values()), assembly.proxy)
    ends = min((held.until for held in assembly.held.values()), default=0)
    assembly.add(made, origins, expires_at=ends)
