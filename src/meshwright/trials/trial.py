"""What one test of a mesh is: who calls what, under which faults, and what is expected to come of it.

The one rule: a trial is a value that says all of it; who wrote it, a person or `trials.derive`, makes no difference.
Times are milliseconds.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from meshwright.diagnostics import Source
from meshwright.model.identity import Key
from meshwright.simulate import Call
from meshwright.trials.shares import CONFIDENCE

OUTSIDE = "outside"
"""Who answers for everybody outside of the mesh."""


_LONGEST_INSTANCE = 255
"""Characters of an instance's name that a control plane takes."""
_DIGEST = 8


def instance_name(node: str, number: int) -> str:
    """The name of an instance of a virtual node or gateway, counted from 1: `payment-v1-2`.

    Of a node whose own name leaves no room, a part and what tells it from others that begin alike.
    """
    name = f"{node}-{number}"
    if len(name) <= _LONGEST_INSTANCE:
        return name
    ending = f"-{hashlib.sha256(node.encode()).hexdigest()[:_DIGEST]}-{number}"
    return node[: _LONGEST_INSTANCE - len(ending)] + ending


class FaultKind(enum.StrEnum):
    """What can go wrong on purpose."""

    LATENCY = "latency"
    """Answers come late."""
    ABORT = "abort"
    """The application answers with an error."""
    RESET = "reset"
    """The application breaks the connection off instead of answering."""
    REFUSED = "refused"
    """Nobody listens at the application's port."""
    BLACKHOLE = "blackhole"
    """Connections are taken, and nothing is ever answered, health checks neither; open ones are as fresh ones."""
    BANDWIDTH = "bandwidth"
    """Answers trickle."""
    CRASH = "crash"
    """The instance is gone, its proxy with it; it returns when the fault ends."""
    LOST = "lost"
    """Discovery, DNS or Cloud Map, does not tell of the instance any more."""
    UNHEALTHY = "unhealthy"
    """The application fails its health checks; whatever else it is asked it answers."""
    EXPIRED_CERTIFICATE = "expired-certificate"
    """The certificate that the node shows has expired."""
    CONTROL_PLANE = "control-plane"
    """The control plane is killed; it returns when the fault ends."""


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that holds while the trial's calls are made, and ends with them."""

    kind: FaultKind
    at: str = ""
    """The virtual node, or gateway, that it befalls; "" for the control plane."""
    instances: int | None = None
    """How many of the node's instances, the first ones; None for all."""
    of: int | None = None
    """How many instances the node must have for it; None for as many as run."""
    latency: int = 0
    jitter: int = 0
    """Up to so much more or less latency, evenly spread."""
    status: int = 0
    """The HTTP status of an abort; 0 where `grpc_status` says it."""
    grpc_status: int = 0
    bandwidth: int = 0
    """Bytes a second."""
    path: str = ""
    """Of health checks, only those that ask for this path fail; "" for all."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Only requests with all of these headers are concerned; names in lower case."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """From `least` to `most`, both inside; no end where `most` is None."""

    least: int = 0
    most: int | None = None

    def hold(self, number: int) -> bool:
        """Whether `number` lies between them."""
        return number >= self.least and (self.most is None or number <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        if self.least == self.most:
            return f"{self.least}"
        return f"at most {self.most}" if not self.least else f"{self.least} to {self.most}"


class Encryption(enum.StrEnum):
    """How a call was encrypted on its way between two proxies."""

    NONE = "none"
    SERVER = "server"
    """TLS: the server showed a certificate."""
    MUTUAL = "mutual"
    """TLS: both did."""


class Ejection(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that fails is called so often, and then not for a while."""

    errors: int
    """How many calls arrive at it one after another before it is left alone."""
    away: Bounds
    """Milliseconds until the next one arrives; without an end, at least so long."""

    def __str__(self) -> str:
        return f"called {self.errors} times, and then not for {self.away} ms"


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one proxy that are alike, and how many of them a call leaves."""

    proxy: str
    kind: str = ""
    """`server` or `client`; "" for either."""
    attributes: Mapping[str, str | None] = MappingProxyType({})
    """`service.name` among them; None for one that must not be there."""
    times: Bounds = Bounds(least=1)

    def __str__(self) -> str:
        many = "a span" if self.times == Bounds(least=1) else f"{self.times} spans"
        said = [f"no {name}" if value is None else f"{name} {value}" for name, value in self.attributes.items()]
        kind = f" of the {self.kind}'s kind" if self.kind else ""
        return f"{many} from {self.proxy}{kind}" + (f" with {', '.join(said)}" if said else "")


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """So much gets through an instance at once, and so much waits for its turn; what comes beyond is turned away."""

    at: Key
    """The node or gateway whose instances they are."""
    at_once: int
    waiting: int | None = 0
    """None where all may wait that come beyond."""

    def __str__(self) -> str:
        told = f"{self.at_once} call{'s' if self.at_once > 1 else ''} at once"
        if self.waiting is None:
            return f"{told}, and others wait"
        return f"{told}, has {self.waiting} wait, and turns others away" if self.waiting else f"{told}, and no more"


class Expect(msgspec.Struct, frozen=True, kw_only=True):
    """What must come of it; what is not said is not asked. Each holds for every call unless it says otherwise.

    Only that a call ends well goes without saying: where neither a status is said nor that attempts are given up nor
    `any_answer`, no answer, one of 400 or more, and another gRPC status than OK are not as expected.
    """

    arriving_at: tuple[str, ...] = ()
    """What is said of each call is said of those that arrive at these virtual nodes alone; some do."""
    statuses: tuple[int, ...] = ()
    """The HTTP status is one of these; 0 stands for no answer at all."""
    grpc_statuses: tuple[int, ...] = ()
    any_answer: bool = False
    """How the call ends is nobody's business here, such as where a program of the user's answers."""
    served_by: tuple[str, ...] = ()
    """A virtual node among these answered."""
    not_served_by: tuple[str, ...] = ()
    shares: Mapping[str, float] = MappingProxyType({})
    """Over all calls: what part, 0 to 1, each virtual node answered, within the interval of `confidence`."""
    confidence: float = CONFIDENCE
    path: tuple[str, ...] = ()
    """The nodes and gateways that the call passed, its caller first."""
    attempts: Bounds | None = None
    """How often the call arrived at instances of nodes that it was routed to, as they counted."""
    given_up: Bounds | None = None
    """Milliseconds after its arrival at which its proxy gave an attempt up, as the workload saw it."""
    within: int | None = None
    """The answer came within so many milliseconds."""
    headers: Mapping[str, str | None] = MappingProxyType({})
    """Headers of the answer; None for one that must not be there."""
    arrived: Mapping[str, str | None] = MappingProxyType({})
    """Headers of the request as it arrived at who answered it; `:path` and `:authority` among them."""
    encryption: Encryption | None = None
    """Between the caller's proxy and the one of who answered."""
    peer: str | None = None
    """The name in the client's certificate, as the server's proxy saw it."""
    errors: int | None = None
    """Over all calls: at most so many did not meet what is expected of each."""
    spans: tuple[Reported, ...] = ()
    """What proxies told of the call."""
    avoided: bool = False
    """Over all calls: while the faults hold, none arrives at the instances that they befall; before and after, where
    calls are made then, some do."""
    ejected: Ejection | None = None
    """Over all calls, which are made in turn: what becomes of the first instance, which fails."""
    pool: Pool | None = None
    """Over all calls, which are held: what gets through at once."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One test."""

    name: str
    """Unique among those that run together."""
    call: Call
    expect: Expect
    caller: Key
    """The virtual node whose application calls, or the virtual gateway that is called from outside; where the call
    goes straight to a listener, the virtual node that is called."""
    instance: int = 1
    """Which of the caller's instances calls, from 1."""
    given: tuple[Given, ...] = ()
    of: int = 1
    """How many calls are made; of a steady one, in each of its three times; to fill a pool, so many for each instance
    that has one."""
    steady: bool = False
    """Whether calls are made before, during and after the fault, and one after another while it begins and ends; all
    are held to what is expected."""
    at_once: int | None = None
    """How many calls are under way at the same time, whatever connection pools on their way take; None for as many as
    these take, and few."""
    every: int | None = None
    """Calls are made in turn, so many milliseconds after one another or as soon as the last is answered; None for all
    at once."""
    apart: int = 0
    """All at once, but each begins so many milliseconds after the one before it, divided by the instances."""
    onward: tuple[str, ...] = ()
    """Virtual services that workloads on the way call in turn, each those of its own backends."""
    about: tuple[Key, ...] = ()
    """The objects whose behaviour it is about; whoever wrote it need not say."""
    path: str = ""
    """The field of the first of `about` that it was derived from; "" for the object."""
    shows: tuple[tuple[Key, str], ...] = ()
    """The policies that it shows when it passes: objects and fields."""
    source: Source | None = None
    """Where it is written."""

    @property
    def alone(self) -> bool:
        """Whether nothing else may use the mesh meanwhile: others would feel its faults, or what it fills up."""
        unconfined = any(not one.headers for one in self.given) and not self.gentle
        return unconfined or self.expect.pool is not None

    @property
    def gentle(self) -> bool:
        """Whether others go on meanwhile who do not ask which instance answers: some are ill, no more."""
        return bool(self.given) and all(
            one.kind is FaultKind.UNHEALTHY and one.instances is not None for one in self.given
        )


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """The trials of a run, and what must run for them."""

    trials: tuple[Trial, ...] = ()
    instances: Mapping[str, int] = MappingProxyType({})
    """How many instances of a virtual node or gateway somebody asked for, by name."""

    def beside(self, other: Suite) -> Suite:
        """Both; of instances there are as many as either asks."""
        most = {
            name: max(self.instances.get(name, 1), other.instances.get(name, 1))
            for name in (*self.instances, *other.instances)
        }
        return Suite(trials=(*self.trials, *other.trials), instances=most)

    @property
    def needed(self) -> Mapping[str, int]:
        """How many instances of each node or gateway must run: what was asked for, and what faults need."""
        found = dict(self.instances)
        for one in self.trials:
            if one.instance > 1:
                found[one.caller.name] = max(found.get(one.caller.name, 1), one.instance)
            for given in one.given:
                if given.of is not None:
                    found[given.at] = max(found.get(given.at, 1), given.of)
        return found
