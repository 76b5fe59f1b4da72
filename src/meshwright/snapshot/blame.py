"""From Envoy's words to the object at fault: a rejection names a resource, which many objects may have shaped.

The one rule: point at an object only when its own text, or the place that Envoy counts, shows the fault; otherwise at
all that shaped the resource.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from meshwright.model.identity import Kind
from meshwright.routing.expressions import refused
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import ROUTE

if TYPE_CHECKING:
    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import EnvoyResource

_SHORTEST = 3
"""Clues shorter than this occur in any message."""
_ROUTES = {Kind.ROUTE, Kind.GATEWAY_ROUTE, Kind.VIRTUAL_NODE}
"""What a step of a route configuration is named after; a node that provides a service itself, too."""
_PLACE = re.compile(r"VirtualHosts\[(\d+)\].*?Routes\[(\d+)\]", re.DOTALL)


_PRINTED = re.compile(r"goo\.gle/debug\w+\s*\n.*?(?:\n: (?=Proto constraint validation failed)|\Z)", re.DOTALL)
_CUT = "Proto constraint validation failed, for a reason that Envoy cut off"
"""Envoy sends 4,096 characters of a rejection, and prints before it writes why."""


def reason(said: str) -> str:
    """Envoy's words without the messages that it prints before some of them, in which innocent texts occur."""
    return _PRINTED.sub("", said).strip() or _CUT


def culprits(resource: EnvoyResource, said: str) -> tuple[Key, ...]:
    """The objects that most likely made Envoy reject `resource` with the words `said`.

    Those whose regular expression Envoy refuses, else those of which a text occurs in the words, else the route at
    the place that they count, else all origins, most specific first.
    """
    said = reason(said)
    broken = [clue.origin for clue in resource.clues if clue.regex and refused(clue.text)]
    quoted = [clue.origin for clue in resource.clues if len(clue.text) >= _SHORTEST and clue.text in said]
    return tuple(dict.fromkeys(broken or quoted or _placed(resource, said))) or resource.origins


def _placed(resource: EnvoyResource, said: str) -> list[Key]:
    """The origins that bear the name of the route at the place that `said` counts: Envoy routes carry their names."""
    place = _PLACE.search(said)
    if place is None or resource.type_url != ROUTE:
        return []
    hosts = message("envoy.config.route.v3.RouteConfiguration").FromString(resource.body).virtual_hosts
    host, route = int(place[1]), int(place[2])
    if host >= len(hosts) or route >= len(hosts[host].routes):
        return []
    name = hosts[host].routes[route].name
    return [origin for origin in resource.origins if origin.name == name and origin.kind in _ROUTES]
