"""What one Envoy should hold: named resources, each versioned by its own content.

The version of a resource is a digest of its own content, never of the collection it is in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from meshwright.model.identity import Key

_PREFIX = "type.googleapis.com/"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
RUNTIME = _PREFIX + "envoy.service.runtime.v3.Runtime"

PUSH_ORDER = (CLUSTER, ENDPOINT, SECRET, LISTENER, ROUTE, RUNTIME)
"""Make before break: what is referred to goes out before what refers to it.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations
"""


class Clue(msgspec.Struct, frozen=True):
    """A text from the definition of `origin`."""

    text: str
    origin: Key
    regex: bool = False
    log: bool = False
    """Whether it is a format of an access log."""


class EnvoyResource(msgspec.Struct, frozen=True, kw_only=True):
    """One serialised Envoy message and the mesh objects that it was made from."""

    type_url: str
    name: str
    version: str
    """16 hexadecimal digits of the SHA-256 of the body and of when it expires."""
    body: bytes
    """The deterministic serialisation: the `value` of its `google.protobuf.Any`."""
    origins: tuple[Key, ...]
    """The objects whose definitions shaped it, most specific first."""
    clues: tuple[Clue, ...] = ()
    """Texts of those definitions that Envoy judges by itself, for tracing a rejection (`blame.traced`)."""
    expires_at: int = 0
    """When Envoy forgets it by itself, in milliseconds since the epoch, UTC; 0 for never.

    It is sent as a time to live, so that it holds while the control plane is away.
    Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#time-to-live-ttl
    """
    leads_to: Key | None = None
    """Of a cluster, the virtual node that it calls, or the mesh for what lies outside; None for neither."""

    @classmethod
    def of(
        cls,
        type_url: str,
        name: str,
        body: bytes,
        origins: tuple[Key, ...],
        clues: tuple[Clue, ...] = (),
        expires_at: int = 0,
        leads_to: Key | None = None,
    ) -> EnvoyResource:
        """The resource, with its version computed from `body` and `expires_at`."""
        return cls(
            type_url=type_url,
            name=name,
            version=version_of(body, expires_at),
            body=body,
            origins=origins,
            clues=clues,
            expires_at=expires_at,
            leads_to=leads_to,
        )


def version_of(body: bytes, expires_at: int = 0) -> str:
    """The version of a resource with that body, which Envoy forgets at `expires_at` if not 0."""
    ending = f" until {expires_at}".encode() if expires_at else b""
    return hashlib.sha256(body + ending).hexdigest()[:16]


class Unserved(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A part of the definitions that this proxy cannot serve, and therefore refuses instead of guessing."""

    subject: Key
    path: str
    """The field, in wire names; "" for the whole object."""
    reason: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one proxy should hold, by type URL and name; a type without resources is absent."""

    proxy: Key
    resources: Mapping[str, Mapping[str, EnvoyResource]]
    unserved: tuple[Unserved, ...] = ()
    """What is left out or made to refuse, and why; sorted."""
    changes_at: int | None = None
    """When time alone makes it another one, in milliseconds since the epoch, UTC; None for never."""

    def of(self, type_url: str) -> Mapping[str, EnvoyResource]:
        """The resources of one type by name."""
        return self.resources.get(type_url, {})

    def sharing(self, older: Snapshot) -> Snapshot:
        """The same snapshot, made of the objects of `older` where they are equal: a type that is, whole.

        So what did not change is held once, and told apart from what did by identity.
        """
        shared: dict[str, Mapping[str, EnvoyResource]] = {}
        for url, named in self.resources.items():
            before = older.of(url)
            if named == before:
                shared[url] = before
                continue
            kept = {name: _older(before.get(name), one) for name, one in named.items()}
            shared[url] = kept
        return msgspec.structs.replace(self, resources=shared)


def _older(older: EnvoyResource | None, one: EnvoyResource) -> EnvoyResource:
    """`one`, or else the older object that is its equal."""
    return older if older is not None and older is not one and older == one else one


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """Production: listeners on 15000 and 15001 behind `iptables`, the application on the loopback address."""


class Loopback(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Without privileges: three addresses of 127/8 for one proxy, so that ports repeat across proxies.

    The application listens on `application`, other proxies connect to `ingress`, the application connects to
    its backends through `egress`; each on the ports that the definitions name.
    """

    application: str
    ingress: str
    egress: str
    outside: str = ""
    """Where calls to HTTP hosts arrive that nobody models, if they may be made; "" where they cannot leave here."""


Placement: TypeAlias = Redirect | Loopback


class Separate(msgspec.Struct, frozen=True, kw_only=True):
    """An Envoy that asks for each type at the service of that type, and not for all of them over one stream."""

    cluster: str
    """The cluster of its bootstrap by which it reaches them."""
    delta: bool = True
    """Whether it is to ask there for endpoints and routes in the delta protocol."""


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What an Envoy can do and where it runs, by its own word, as far as that shapes its snapshot."""

    version: tuple[int, int, int] | None = None
    """Of Envoy itself; None where it does not say."""
    zone: str = ""
    """Its availability zone; "" where it does not say."""
    runtime: bool = False
    """Whether its bootstrap has the runtime layer `FAULTS`."""
    separate: Separate | None = None
    """Where it asks for endpoints and routes; None for the stream that clusters and listeners came by."""

    def since(self, major: int, minor: int) -> bool:
        """Whether it can do what Envoy does since `major.minor`; one that does not say its version cannot."""
        return self.version is not None and self.version >= (major, minor, 0)

    def before(self, major: int, minor: int) -> bool:
        """Whether it says that it is older than `major.minor`; every Envoy says its version."""
        return self.version is not None and self.version < (major, minor, 0)


FAULTS = "faults"
"""The runtime layer of our bootstraps that comes over the stream and holds what must end by itself."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One instance of a virtual node, found in AWS Cloud Map or registered by its own proxy."""

    address: str
    """IPv4 or IPv6, canonical."""
    port: int = 0
    """0 for the port of whichever listener is called."""
    healthy: bool = True
    starting: bool = False
    """Whether its proxy is known, and not yet that its listeners are open: nobody could be answered there."""
    zone: str = ""
    """The availability zone, as `us-east-1a`; "" where nobody says."""


Endpoints: TypeAlias = Mapping[Key, tuple[Endpoint, ...] | None]
"""What was found of nodes: a node that is missing has no instance, one with None was not looked up yet."""
