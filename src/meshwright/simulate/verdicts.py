"""What becomes of a call: the way that it takes, why, and how it ends.

The one rule: a verdict names the object and the field that decided each step.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from meshwright.model.identity import Key
from meshwright.model.scalars import PortProtocol
from meshwright.routing import ClientTls, Retry, Timeouts
from meshwright.simulate.calls import Call

Outcome: TypeAlias = Literal["routed", "outside", "answered", "no-route", "no-host", "no-target", "refused"]
"""How a call ends.

- `routed`: to virtual nodes.
- `outside`: past the mesh, to whom the sender meant.
- `answered`: by a proxy, as an extension wants it.
- `no-route`: no route matches.
- `no-host`: the Host is no backend's, or nobody is called on the port.
- `no-target`: the route leads nowhere.
- `refused`: the connection or the request is not what is listened for.
"""


_FIRST_ERROR = 400


class Miss(msgspec.Struct, frozen=True):
    """One condition of a route that a call does not meet."""

    path: str
    """The field in the route: `spec.httpRoute.match.headers[0]`."""
    wanted: str
    had: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A route that the call was compared with."""

    origin: Key
    misses: tuple[Miss, ...] = ()

    @property
    def matched(self) -> bool:
        """Whether nothing is missing; of several that match, the first is chosen."""
        return not self.misses


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What an extension does to the call on its way."""

    origin: Key
    told: str
    """In words."""
    percentage: float = 100.0
    """Of the calls that are like this one."""
    delay: int = 0
    """Milliseconds that it waits."""
    status: int | None = None
    """The HTTP status that a proxy answers with instead of sending it on."""
    grpc_status: int | None = None
    """The gRPC status that it answers with, where the extension says one."""
    copied_to: Key | None = None
    """The node that gets a copy."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One of the listeners that a rule sends calls to."""

    node: Key
    port: int
    protocol: PortProtocol
    weight: int
    fraction: float
    """Of the calls, 0 to 1."""
    timeouts: Timeouts
    """What holds in the end: the shorter of the route's limits and the listener's."""
    tls: ClientTls | None = None
    """How the caller's proxy encrypts on the way; None for plaintext."""
    refused: str = ""
    """Why no connection comes about; "" when nothing is known against it."""
    effects: tuple[Effect, ...] = ()
    """Of extensions about the node's own ingress."""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of one proxy."""

    at: Key
    """The node or gateway whose proxy decides."""
    decided_by: Key
    """By whose rules: the gateway's routes, those of the virtual service, or the object that lets calls out."""
    virtual_host: str
    """As it is named in the proxy; "" where the port alone decides."""
    call: Call
    """As it is matched: its path normalised."""
    candidates: tuple[Candidate, ...] = ()
    """In the order in which they are tried."""
    chosen: Key | None = None
    """The route, or the node that provides the service itself; None where nothing matches."""
    call_after: Call
    """As it is sent on: rewritten and edited."""
    timeouts: Timeouts | None = None
    """The limits here; None where the proxy does not send it on."""
    retry: Retry | None = None
    targets: tuple[Share, ...] = ()
    effects: tuple[Effect, ...] = ()


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a call ends, as far as the mesh decides."""

    outcome: Outcome
    reason: str
    """One sentence that says why, without its full stop."""
    status: int | None = None
    """The HTTP status that a proxy answers with; None where somebody else answers, or a connection is closed."""
    grpc_status: int | None = None
    """The same as a gRPC client is told it; None for other protocols."""
    decided_by: Key | None = None
    """The object that this is due to; None where no definition is."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The way of one call through a mesh."""

    caller: Key
    call: Call
    hops: tuple[Hop, ...]
    """In the order in which it takes them: for a gateway its own route, then the service's."""
    ending: Ending

    @property
    def outcome(self) -> Outcome:
        """How it ends."""
        return self.ending.outcome

    @property
    def status(self) -> int | None:
        """The HTTP status that a proxy answers with, if one does."""
        return self.ending.status

    @property
    def succeeds(self) -> bool:
        """Whether it gets where it may go, or is answered without an error."""
        if self.outcome == "answered":
            return (self.status or 0) < _FIRST_ERROR and not self.ending.grpc_status
        return self.outcome in {"routed", "outside"}

    @property
    def targets(self) -> tuple[Share, ...]:
        """Where it goes, with shares; empty unless it is routed."""
        return self.hops[-1].targets if self.hops and self.outcome == "routed" else ()

    @property
    def refused(self) -> tuple[Share, ...]:
        """Those of the listeners that it would go to, and to which no connection comes about."""
        reached = self.hops[-1].targets if self.hops and self.outcome in {"routed", "refused"} else ()
        return tuple(one for one in reached if one.fraction and one.refused)

    @property
    def chosen(self) -> tuple[Key, ...]:
        """The routes that it follows, gateway's first."""
        return tuple(hop.chosen for hop in self.hops if hop.chosen is not None)
