"""What virtual nodes ask of AWS Cloud Map, and what its answers mean as endpoints. No I/O.

The one rule: an instance counts for a node only if it carries every attribute that the node names.
Source: https://docs.aws.amazon.com/cloud-map/latest/api/API_DiscoverInstances.html
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.model.identity import Key, Kind
from meshwright.model.specs import MeshSpec, VirtualNodeSpec
from meshwright.snapshot.resources import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshwright.model.specs import AwsCloudMapServiceDiscovery
    from meshwright.model.state import State

_IPV4, _IPV6, _PORT, _ZONE = "AWS_INSTANCE_IPV4", "AWS_INSTANCE_IPV6", "AWS_INSTANCE_PORT", "AVAILABILITY_ZONE"


class Service(msgspec.Struct, frozen=True, order=True):
    """A service of Cloud Map."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"


class Query(msgspec.Struct, frozen=True, order=True):
    """The instances of a service that carry all of some attributes, sorted by name."""

    service: Service
    attributes: tuple[tuple[str, str], ...] = ()


class Wish(msgspec.Struct, frozen=True):
    """What one node asks for."""

    query: Query
    preference: str | None = None
    """Its IP preference, or else its mesh's."""


class Instance(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """One registered instance, as far as it can be an endpoint."""

    id: str
    ipv4: str = ""
    ipv6: str = ""
    port: int = 0
    zone: str = ""
    health: str = "UNKNOWN"
    """`HEALTHY`, `UNHEALTHY`, or `UNKNOWN` where the service checks nothing."""

    def endpoint(self, preference: str | None) -> Endpoint | None:
        """Where it is reached: IPv4 first unless the preference says otherwise; None where it has no such address."""
        order = (self.ipv6, self.ipv4) if preference in {"IPv6_PREFERRED", "IPv6_ONLY"} else (self.ipv4, self.ipv6)
        address = order[0] or ("" if preference in {"IPv4_ONLY", "IPv6_ONLY"} else order[1])
        if not address:
            return None
        return Endpoint(address=address, port=self.port, healthy=self.health != "UNHEALTHY", zone=self.zone)


def wishes(state: State) -> dict[Key, Wish]:
    """What every node that Cloud Map discovers asks for."""
    preferences = {one.key.mesh: _preference(one.spec) for one in state.of(Kind.MESH)}
    found = {}
    for node in state.of(Kind.VIRTUAL_NODE):
        discovery = node.spec.service_discovery if isinstance(node.spec, VirtualNodeSpec) else None
        if discovery is not None and discovery.aws_cloud_map is not None:
            found[node.key] = _wish(discovery.aws_cloud_map, preferences.get(node.key.mesh))
    return found


def read(answers: Iterable[Mapping[str, Any]], query: Query) -> tuple[Instance, ...]:
    """The instances in an answer of `DiscoverInstances`, sorted; one that carries no address is none."""
    found = []
    for answer in answers:
        attributes = answer.get("Attributes") or {}
        if any(attributes.get(name) != value for name, value in query.attributes):
            continue
        ipv4, ipv6 = _address(attributes.get(_IPV4), 4), _address(attributes.get(_IPV6), 6)
        if ipv4 or ipv6:
            found.append(
                Instance(
                    str(answer.get("InstanceId", "")),
                    ipv4,
                    ipv6,
                    _port(attributes.get(_PORT)),
                    attributes.get(_ZONE) or "",
                    answer.get("HealthStatus") or "UNKNOWN",
                )
            )
    return tuple(sorted(found))


def _wish(asked: AwsCloudMapServiceDiscovery, usual: str | None) -> Wish:
    attributes = tuple(sorted((one.key, one.value) for one in asked.attributes or ()))
    query = Query(Service(asked.namespace_name, asked.service_name), attributes)
    return Wish(query, asked.ip_preference or usual)


def _preference(spec: object) -> str | None:
    discovery = spec.service_discovery if isinstance(spec, MeshSpec) else None
    return discovery.ip_preference if discovery else None


def _address(text: str | None, version: int) -> str:
    try:
        found = ipaddress.ip_address(text or "")
    except ValueError:
        return ""
    usable = found.version == version and not (found.is_unspecified or found.is_multicast)
    return str(found) if usable else ""


def _port(text: str | None) -> int:
    """0, each listener's own, where there is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and 0 < int(text) < 65_536 else 0
