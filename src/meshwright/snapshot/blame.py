"""From Envoy's words to the object at fault, and the field: a rejection names a resource, which many may have shaped.

The one rule: point at an object only when its own text, or the place that Envoy counts, shows the fault; otherwise at
all that shaped the resource. The field is the one that holds that text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from meshwright.model.identity import Kind
from meshwright.routing import log_formats
from meshwright.routing.expressions import refused
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import LISTENER, ROUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import EnvoyResource

_SHORTEST = 3
"""Clues shorter than this occur in any message."""
_ROUTES = {Kind.ROUTE, Kind.GATEWAY_ROUTE, Kind.VIRTUAL_NODE}
"""What a step of a route configuration is named after; a node that provides a service itself, too."""
_PLACE = re.compile(r"VirtualHosts\[(\d+)\].*?Routes\[(\d+)\]", re.DOTALL)
_STEP = re.compile(r"\w+ValidationError\.(\w+)(?:\[(\d+)\])?")
"""One step of the way to a value that breaks a constraint, as Envoy counts it."""
_COMMAND = re.compile(r"Not supported field in StreamInfo: (\w+)")
"""What Envoy says of a command of an access log that it does not know."""
_COMMANDS = (("parse expression", "CEL"), ("create an expression", "CEL"), ("COALESCE: ", "COALESCE"))
"""Words of Envoy's about a command that only Envoy can judge, which do not quote the format that holds it."""
_BOUND = re.compile(r"cannot bind '[^']*:(\d+)'")
"""What Envoy says of a port that somebody else has, or that is not for it to have."""
_PRINTED = re.compile(r"goo\.gle/debug\w+\s*\n.*?(?:\n: (?=Proto constraint validation failed)|\Z)", re.DOTALL)
_CUT = "Proto constraint validation failed, for a reason that Envoy cut off"
"""Envoy sends 4,096 characters of a rejection, and prints before it writes why."""


class Culprit(NamedTuple):
    """An object at fault."""

    origin: Key
    path: str
    """The field, in wire names; "" where nothing points at one."""


def reason(said: str) -> str:
    """Envoy's words without the messages that it prints before some of them, in which innocent texts occur."""
    return _PRINTED.sub("", said).strip() or _CUT


def traced(resource: EnvoyResource, said: str, spec_of: Callable[[Key], object]) -> tuple[Culprit, ...]:
    """What shows itself to have made Envoy reject `resource` with the words `said`; none where nothing does.

    Those whose regular expression or log format Envoy refuses, else those of which a text occurs in the words, else
    those that hold the value that breaks a constraint, else the route at the place that they count. Of a port that
    cannot be had, the proxy's own definition: nothing else tells where it listens.
    `spec_of` gives the spec of an object, None for one that is gone; its fields are searched for the text at fault.
    """
    said = reason(said)
    if (bound := _BOUND.search(said)) is not None and resource.type_url == LISTENER:
        proxy = resource.origins[0]
        return (Culprit(proxy, _path(spec_of(proxy), int(bound[1]), "portMapping.port")),)
    texts = _broken(resource) or _quoted(resource, said) or _unknown(resource, said)
    if texts:
        return _once(Culprit(origin, _path(spec_of(origin), text)) for origin, text in texts)
    placed = _placed(resource, said)
    found = _value(resource, said)
    if not isinstance(found, str):
        return _once(Culprit(origin, "") for origin in placed)
    held = [(origin, _path(spec_of(origin), found)) for origin in placed or resource.origins]
    named = [Culprit(origin, "") for origin in resource.origins if origin.name == found] if not placed else []
    return _once(named or [Culprit(*one) for one in held if one[1]] or [Culprit(origin, "") for origin in placed])


def _once(found: Iterable[Culprit]) -> tuple[Culprit, ...]:
    return tuple(dict.fromkeys(found))


def _broken(resource: EnvoyResource) -> list[tuple[Key, str]]:
    """The expressions and log formats that Envoy refuses, whatever it says."""
    return [
        (clue.origin, clue.text)
        for clue in resource.clues
        if (clue.regex and refused(clue.text)) or (clue.log and log_formats.refused(clue.text))
    ]


def _quoted(resource: EnvoyResource, said: str) -> list[tuple[Key, str]]:
    return [(clue.origin, clue.text) for clue in resource.clues if len(clue.text) >= _SHORTEST and clue.text in said]


def _unknown(resource: EnvoyResource, said: str) -> list[tuple[Key, str]]:
    """The log formats with the command that Envoy does not know, or whose text it cannot read."""
    names = [*_COMMAND.findall(said), *(name for words, name in _COMMANDS if words in said)]
    wanted = [clue for clue in resource.clues if clue.log and any(f"%{name}" in clue.text for name in names)]
    return [(clue.origin, clue.text) for clue in wanted]


def _value(resource: EnvoyResource, said: str) -> Any:
    """The value that breaks a constraint, by the way that Envoy counts to it; None where it cannot be followed."""
    steps = _STEP.findall(said)
    if not steps:
        return None
    value = message(resource.type_url.rpartition("/")[2]).FromString(resource.body)
    for name, index in steps:
        field = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        if field not in getattr(getattr(value, "DESCRIPTOR", None), "fields_by_name", ()):
            return None
        value = getattr(value, field)
        if index:
            if int(index) >= len(value):
                return None
            value = value[int(index)]
    return value


def _path(spec: object, text: object, member: str = "") -> str:
    """The wire path of the first field of `spec` that is `text`, and whose path ends in `member`; "" for none."""
    leaves = _leaves(msgspec.to_builtins(spec), "spec")
    return next((path for path, value in leaves if value == text and path.endswith(member)), "")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(one, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _leaves(one, f"{path}[{index}]")
    else:
        yield path, value


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
