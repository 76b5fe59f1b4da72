"""Values of the published shapes: valid ones that make sense together, ones at a limit or one beyond, broken ones.

The one rule: a value depends on the random source that is handed in and on nothing else.
"""

from __future__ import annotations

import copy
import functools
import string
from typing import TYPE_CHECKING, Any, NamedTuple

import published

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from botocore.model import OperationModel, Shape

Wire = Any

MESHES = ("m0", "m1")
NODES = ("n0", "n1", "n2", "n3")
ROUTERS = ("r0", "r1")
SERVICES = ("s0.local", "s1.local", "s2.local")
GATEWAYS = ("g0", "g1")
ROUTES = ("t0", "t1", "t2")
GATEWAY_ROUTES = ("w0", "w1", "w2")
POOLS = {
    "meshName": MESHES,
    "virtualNodeName": NODES,
    "virtualNode": NODES,
    "virtualRouterName": ROUTERS,
    "virtualServiceName": SERVICES,
    "virtualGatewayName": GATEWAYS,
    "routeName": ROUTES,
    "gatewayRouteName": GATEWAY_ROUTES,
}
"""Few names, so that what one request creates another one meets."""

PORT = 8080
"""The one port on which everything listens in values that shall make sense together."""
LIMITS = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_LETTERS = string.ascii_letters + string.digits
_PRINTED = "".join(chr(code) for code in range(33, 127))
_DENSE = 0.45
"""How likely an optional member is, at the top; deeper ones are less so."""


@functools.lru_cache(maxsize=1)
def operations() -> dict[str, OperationModel]:
    """The 38 published operations by name."""
    service = published.service()
    return {name: service.operation_model(name) for name in service.operation_names}


class Place(NamedTuple):
    """Where in a body a value of a shape stands."""

    holder: Any
    at: Any
    shape: Shape
    name: str
    """The member's name; a list's own for what it lists."""


def places(shape: Shape, value: Wire, name: str = "") -> Iterator[Place]:
    """Every value inside of `value`, with its shape."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for member, below in shape.members.items():
            if member in value:
                yield Place(value, member, below, member)
                yield from places(below, value[member], member)
    elif shape.type_name == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield Place(value, index, shape.member, name)
            yield from places(shape.member, item, name)


class Drawing:
    """Draws values; `sensible` makes them agree with each other as far as the service's own rules ask for."""

    def __init__(self, chance: random.Random, *, sensible: bool = True) -> None:
        self.chance = chance
        self.sensible = sensible

    def value(self, shape: Shape, name: str = "", depth: int = 0) -> Wire:
        """A valid value of `shape`, standing in a member called `name`."""
        if self.sensible and shape.name in _SENSIBLE:
            return _SENSIBLE[shape.name](self, shape, depth)
        makers: dict[str, Callable[[Any, str, int], Wire]] = {
            "structure": self._structure,
            "list": self._list,
            "string": self._string,
            "boolean": self._boolean,
        }
        return makers.get(shape.type_name, self._number)(shape, name, depth)

    def _structure(self, shape: Shape, _name: str, depth: int) -> Wire:
        members = shape.members
        if getattr(shape, "is_tagged_union", False):
            chosen = [self.chance.choice(list(members))]
        else:
            needed = set(shape.required_members)
            likely = _DENSE / (1 + depth / 4)
            chosen = [one for one in members if one in needed or self.chance.random() < likely]
        return {one: self.value(members[one], one, depth + 1) for one in chosen}

    def _list(self, shape: Shape, name: str, depth: int) -> Wire:
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 3)
        count = self.chance.randint(low, max(low, min(high, 3)))
        return [self.value(shape.member, name, depth + 1) for _ in range(count)]

    def _string(self, shape: Shape, name: str, _depth: int) -> Wire:
        if shape.enum:
            return self.chance.choice(shape.enum)
        if name in POOLS and (self.sensible or self.chance.random() < 0.5):
            return self.chance.choice(POOLS[name])
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 1024)
        alphabet = _LETTERS if self.sensible or "pattern" in shape.metadata else _PRINTED
        return "".join(self.chance.choices(alphabet, k=self.chance.randint(low, min(high, low + 12)))) or "x"

    def _boolean(self, *_shape: object) -> Wire:
        return self.chance.random() < 0.5

    def _number(self, shape: Shape, name: str, _depth: int) -> Wire:
        if self.sensible and name == "port":
            return PORT
        low, high = limits(shape)
        return self.chance.randint(low, min(high, low + 10_000))

    def duration(self, seconds: int = 60) -> Wire:
        """A time of at most so many seconds."""
        return {"unit": "s", "value": self.chance.randint(0, seconds)}

    def perhaps(self, likely: float = 0.5) -> bool:
        """A coin."""
        return self.chance.random() < likely


def limits(shape: Shape) -> tuple[int, int]:
    """The smallest and the largest number that a shape holds."""
    low, high = LIMITS[shape.type_name]
    return shape.metadata.get("min", low if shape.type_name == "integer" else 0), shape.metadata.get("max", high)


def _with(drawing: Drawing, shape: Shape, depth: int, *, leave: tuple[str, ...] = (), **fixed: Wire) -> Wire:
    """A structure without some members and with others as given."""
    drawn = {name: value for name, value in drawing._structure(shape, "", depth).items() if name not in leave}
    return {**drawn, **fixed}


def _node(drawing: Drawing, shape: Shape, depth: int) -> Wire:
    value = _with(drawing, shape, depth, leave=("listeners", "serviceDiscovery", "backends"))
    if drawing.perhaps(0.8):
        value["listeners"] = [drawing.value(shape.members["listeners"].member, "", depth + 1)]
        value["serviceDiscovery"] = drawing.value(shape.members["serviceDiscovery"], "", depth + 1)
    names = drawing.chance.sample(SERVICES, drawing.chance.randint(0, 2))
    value["backends"] = [{"virtualService": {"virtualServiceName": name}} for name in names]
    return value


def _listener(drawing: Drawing, shape: Shape, depth: int) -> Wire:
    protocols = shape.members["portMapping"].members["protocol"].enum
    protocol = drawing.chance.choice(protocols) if drawing.perhaps(0.3) else "http"
    value = _with(drawing, shape, depth, leave=("timeout", "connectionPool", "healthCheck"))
    value["portMapping"] = {"port": PORT, "protocol": protocol}
    if drawing.perhaps(0.3) and "timeout" in shape.members:
        idle = {"idle": drawing.duration()}
        value["timeout"] = {protocol: idle if protocol == "tcp" else {**idle, "perRequest": drawing.duration()}}
    pools = shape.members["connectionPool"].members
    if drawing.perhaps(0.3) and protocol in pools:
        value["connectionPool"] = {protocol: drawing.value(pools[protocol], "", depth + 2)}
    if drawing.perhaps(0.3):
        check = drawing.value(shape.members["healthCheck"], "", depth + 1)
        value["healthCheck"] = {**check, "protocol": protocol, "path": "/health"}
        if protocol not in {"http", "http2"}:
            del value["healthCheck"]["path"]
    return value


def _matchers(drawing: Drawing, shape: Shape, depth: int, *, path: bool = True) -> Wire:
    """A match with one way to tell the path, as the service wants it."""
    value = _with(drawing, shape, depth, leave=("path", "prefix", "port", "hostname"))
    for one in value.get("headers", ()):
        one.get("match", {}).pop("range", None)
        if not one.get("match", {"": ""}):
            del one["match"]
    if path:
        value |= drawing.chance.choice(({"prefix": "/"}, {"path": {"exact": "/a"}}, {"path": {"regex": "/b.*"}}))
    return value


def _grpc_match(drawing: Drawing, shape: Shape, depth: int) -> Wire:
    value = _with(
        drawing, shape, depth, leave=("methodName", "port", "hostname", "metadata"), serviceName="shop.Cart"
    )
    if "methodName" in shape.members and drawing.perhaps():
        value["methodName"] = "Add"
    return value


def _one_route(drawing: Drawing, shape: Shape, depth: int) -> Wire:
    kinds = [one for one in shape.members if one != "priority"]
    likely = "httpRoute" if drawing.perhaps(0.8) else drawing.chance.choice(kinds)
    value = {likely: drawing.value(shape.members[likely], "", depth + 1)}
    if drawing.perhaps(0.3):
        value["priority"] = drawing.chance.randint(0, 1000)
    return value


def _retry(drawing: Drawing, shape: Shape, depth: int) -> Wire:
    value = _with(drawing, shape, depth, leave=("httpRetryEvents", "grpcRetryEvents"))
    value["tcpRetryEvents"] = ["connection-error"]
    if drawing.perhaps():
        value["httpRetryEvents"] = ["server-error"]
    return value


def _target(drawing: Drawing, shape: Shape, depth: int) -> Wire:
    return _with(drawing, shape, depth, leave=("port",))


def _targets(drawing: Drawing, _shape: Shape, _depth: int) -> Wire:
    names = drawing.chance.sample(NODES, drawing.chance.randint(1, 2))
    return [{"virtualNode": name, "weight": drawing.chance.randint(0, 100)} for name in names]


def _header_range(drawing: Drawing, _shape: Shape, _depth: int) -> Wire:
    start = drawing.chance.randint(0, 100)
    return {"start": start, "end": start + drawing.chance.randint(1, 100)}


def _one_listener(drawing: Drawing, shape: Shape, depth: int) -> Wire:
    return [drawing.value(shape.member, "", depth + 1)]


def _tags(drawing: Drawing, _shape: Shape, _depth: int) -> Wire:
    keys = drawing.chance.sample(("team", "tier", "cost", "x"), drawing.chance.randint(0, 3))
    return [{"key": key, "value": drawing.chance.choice(("", "a", "b"))} for key in keys]


def _json_format(drawing: Drawing, _shape: Shape, _depth: int) -> Wire:
    return [{"key": f"k{index}", "value": "%START_TIME%"} for index in range(drawing.chance.randint(0, 2))]


def _rewrite(_drawing: Drawing, _shape: Shape, _depth: int) -> Wire:
    return {"hostname": {"defaultTargetHostname": "ENABLED"}}


def _regex(_drawing: Drawing, _shape: Shape, _depth: int) -> Wire:
    return {"exact": "a"}


def _sans(drawing: Drawing, _shape: Shape, _depth: int) -> Wire:
    return {"match": {"exact": drawing.chance.sample(("a.example", "spiffe://b/c", "d.example"), 2)}}


_SENSIBLE: dict[str, Callable[[Drawing, Any, int], Wire]] = {
    "Duration": lambda drawing, *_: drawing.duration(),
    "VirtualNodeSpec": _node,
    "Listener": _listener,
    "VirtualGatewayListener": _listener,
    "Listeners": _one_listener,
    "VirtualGatewayListeners": _one_listener,
    "VirtualRouterListeners": _one_listener,
    "RouteSpec": _one_route,
    "GatewayRouteSpec": _one_route,
    "HttpRouteMatch": _matchers,
    "HttpGatewayRouteMatch": _matchers,
    "GrpcRouteMatch": _grpc_match,
    "GrpcGatewayRouteMatch": _grpc_match,
    "TcpRouteMatch": lambda *_: {},
    "HttpRetryPolicy": _retry,
    "GrpcRetryPolicy": _retry,
    "GatewayRouteTarget": _target,
    "WeightedTargets": _targets,
    "MatchRange": _header_range,
    "TagList": _tags,
    "JsonFormat": _json_format,
    "HttpGatewayRouteRewrite": _rewrite,
    "GrpcGatewayRouteRewrite": _rewrite,
    "HeaderMatchMethod": _regex,
    "SubjectAlternativeNames": _sans,
}
"""Shapes that mean nothing to the service unless their members agree."""


def body_of(drawing: Drawing, operation: OperationModel) -> dict[str, Wire]:
    """All members of an operation's input, those of the path and the query included."""
    shape = operation.input_shape
    value: dict[str, Wire] = {}
    for name, member in shape.members.items():
        needed = name in shape.required_members
        if name == "clientToken":
            if drawing.perhaps(0.3):
                value[name] = f"{drawing.chance.getrandbits(128):032x}"
        elif name in {"meshOwner", "nextToken"}:
            continue
        elif needed or name == "spec" or drawing.perhaps(0.4):
            value[name] = drawing.value(member, name)
    return value


def boundary(drawing: Drawing, shape: Shape, value: Wire, skip: frozenset[str]) -> tuple[Wire, bool, str] | None:
    """`value` with one member at one of its limits or one beyond; whether it is beyond, and what was done.

    None where nothing in it has a limit.
    """
    changed = copy.deepcopy(value)
    found = [one for one in places(shape, changed) if one.at not in skip and _edges(one.shape, one.name)]
    if not found:
        return None
    place = drawing.chance.choice(found)
    replaced, beyond = drawing.chance.choice(_edges(place.shape, place.name))
    if callable(replaced):
        replaced = replaced(place.holder[place.at])
    place.holder[place.at] = replaced
    return changed, beyond, f"{place.shape.name} {place.name}: {str(replaced)[:60]!r}"


def _edges(shape: Shape, name: str) -> list[tuple[Any, bool]]:
    """Values at the limits of a shape, each with whether it is one beyond."""
    meta = shape.metadata
    if shape.type_name == "string":
        return _text_edges(shape, name)
    if shape.type_name == "list":
        edges: list[tuple[Any, bool]] = []
        if meta.get("min", 0) > 0:
            edges += [(lambda items: items[: meta["min"]], False), (lambda items: items[: meta["min"] - 1], True)]
        if "max" in meta:
            edges += [(lambda items: (items or [{}]) * (meta["max"] + 1), True)]
        return edges
    if shape.type_name in LIMITS:
        low, high = LIMITS[shape.type_name]
        least, most = meta.get("min", low), meta.get("max", high)
        return [(least, False), (most, False), (least - 1, True), (most + 1, True)]
    return []


def _text_edges(shape: Shape, name: str) -> list[tuple[Any, bool]]:
    meta = shape.metadata
    if shape.enum:
        return [(shape.enum[-1], False), (f"{shape.enum[0]}x", True), (shape.enum[0].swapcase(), True), ("", True)]
    edges: list[tuple[Any, bool]] = []
    if meta.get("min", 0) > 0:
        edges += [("/" * meta["min"], False), ("x" * (meta["min"] - 1), True)]
    if "max" in meta:
        edges += [("x" * meta["max"], False), ("x" * (meta["max"] + 1), True)]
    if "pattern" in meta:
        edges += [("\u00fc", True), ("a\nb", True)]
    if name == "clientToken":
        edges += [("x" * 36, False)]
    return edges


HUGE = (10**400, -(10**30), 2**63, -(2**63) - 1, 1.5, 1e308)


def broken(drawing: Drawing, shape: Shape, value: Wire, skip: frozenset[str]) -> tuple[Wire, bool, str]:
    """`value` with one thing in it wrong; whether the service has to refuse it, and what was done."""
    changed = copy.deepcopy(value)
    found = [one for one in places(shape, changed) if one.at not in skip]
    if not found:
        return {"unheardOf": 1}, True, "an unknown member instead of nothing"
    place = drawing.chance.choice(found)
    kind = place.shape.type_name
    how = drawing.chance.choice(("type", "type", "null", "missing", "extra", "huge", "deep"))
    match how:
        case "null":
            place.holder[place.at] = None
            must = isinstance(place.holder, list)
        case "missing" if isinstance(place.holder, dict):
            del place.holder[place.at]
            must = False
        case "extra" if kind == "structure" and isinstance(place.holder[place.at], dict):
            place.holder[place.at]["unheardOf"] = drawing.chance.choice((None, 1, "x", {}))
            must = True
        case "huge" if kind in LIMITS:
            place.holder[place.at] = drawing.chance.choice(HUGE)
            must = True
        case "deep":
            place.holder[place.at] = _nested(drawing.chance.randint(2, 200))
            must = True
        case _:
            how = "type"
            place.holder[place.at] = drawing.chance.choice(_others(kind))
            must = True
    return changed, must, f"{how} at {place.shape.name} {place.name}"


def _nested(depth: int) -> Wire:
    value: Wire = 1
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return [[value]] if isinstance(value, int) else {"x": [value]}


def _others(kind: str) -> list[Wire]:
    """Values of every other JSON type than that of a published one."""
    every: dict[str, list[Wire]] = {
        "structure": [["x"], "x", 1, True],
        "list": [{"x": 1}, "x", 1, False],
        "string": [1, True, ["x"], {"x": "y"}, 1.5],
        "boolean": ["true", 1, 0, [], {}],
    }
    return every.get(kind, ["1", True, [1], {"x": 1}, 1.25, "NaN"])
