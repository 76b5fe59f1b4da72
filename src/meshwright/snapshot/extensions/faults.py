"""Faults: delays and aborts for a share of the requests, as long as they are allowed to last.

The one rule: the share lives in the runtime layer that Envoy forgets by itself, never in the route, which says 0. So
a fault ends on time even when nobody is there to end it.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from meshwright.snapshot import matching
from meshwright.snapshot.extensions.additions import Additions
from meshwright.snapshot.extensions.filters import FAULT
from meshwright.snapshot.messages import message, packed
from meshwright.snapshot.older import forgets
from meshwright.snapshot.resources import Clue
from meshwright.snapshot.values import Wire, duration, share

if TYPE_CHECKING:
    from meshwright.model.extensions import FaultSpec
    from meshwright.model.state import Resource
    from meshwright.routing import Place
    from meshwright.snapshot.assembly import Assembly

_FAULT = "envoy.extensions.filters.http.fault.v3.HTTPFault"
_UNLAYERED = (
    "the Envoy is older than 1.17, or its bootstrap has no runtime layer: a fault would outlive a control plane that "
    "is away; start a newer one by meshwright proxy, or with a bootstrap that --print-bootstrap wrote"
)


def added(assembly: Assembly, _place: Place, extension: Resource) -> Additions:
    """What a fault adds to a route; nothing where the proxy could not forget it by itself."""
    spec = cast("FaultSpec", extension.spec)
    if not forgets(assembly):
        assembly.refuse(extension.key, "", _UNLAYERED)
        return Additions()
    headers = (spec.match.headers if spec.match else None) or ()
    members: Wire = {"headers": [matching.header(one) for one in headers], "disable_downstream_cluster_stats": True}
    name = f"meshwright.fault.{extension.key.name}"
    if spec.delay is not None:
        members["delay"] = {"fixed_delay": duration(max(spec.delay.duration.milliseconds, 1)), "percentage": share(0)}
        members["delay_percent_runtime"] = f"{name}.delay"
        assembly.hold(extension.key, f"{name}.delay", share(spec.delay.percentage), spec.expiry)
    if spec.abort is not None:
        grpc = spec.abort.grpc_status
        status = {"http_status": spec.abort.http_status} if grpc is None else {"grpc_status": grpc}
        members["abort"] = {**status, "percentage": share(0)}
        members["abort_percent_runtime"] = f"{name}.abort"
        assembly.hold(extension.key, f"{name}.abort", share(spec.abort.percentage), spec.expiry)
    regexes = [one.match.regex for one in headers if one.match is not None and one.match.regex is not None]
    return Additions(
        origins=(extension.key,),
        clues=tuple(Clue(text=text, origin=extension.key, regex=True) for text in regexes),
        filters={FAULT: packed(message(_FAULT)(**members))},
    )
