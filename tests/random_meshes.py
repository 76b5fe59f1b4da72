"""Meshes drawn by chance, and calls that hit or just miss what their routes match, from the same seed the same.

Words come from short lists, so that matches overlap, hide each other and differ in one character. Every route leads
to nodes of its own, so that who answers tells which route was taken.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright import constraints
from meshwright.graph import resolve
from meshwright.model import Key, Kind, State
from meshwright.model.gateway_routes import GatewayRouteSpec
from meshwright.model.routes import RouteSpec
from meshwright.routing import gateway_route_match, grpc_path, http_path, route_match
from meshwright.simulate import Call
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping

    from meshwright.model import Resource
    from meshwright.model.matching import HttpRouteHeader

CALLER, GATE = Key(MESH, Kind.VIRTUAL_NODE, "caller"), Key(MESH, Kind.VIRTUAL_GATEWAY, "gate")
HTTP_NODES = {f"n{number}": "http2" if number % 4 == 3 else "http" for number in range(18)}
TCP_NODES = {"t0": "tcp", "t1": "tcp", "t2": "tcp"}
NODE_PORTS = {"http": 7000, "http2": 7001, "tcp": 7002}
"""On which nodes listen, by protocol, each at an address of its own."""

PREFIXES = ("/", "/a", "/a/", "/a/b", "/A", "/ab", "/a%2Fb", "/a.b", "/~", "")
EXACT = ("/", "/a", "/a/b", "/a/b/", "/A/b", "/ab", "/a%20b", "/a~b")
REGEXES: Mapping[str, tuple[str, ...]] = {
    "/a/[0-9]+": ("/a/7", "/a/07"),
    "/a.*": ("/a", "/a/b"),
    "(?i)/a/b": ("/A/B", "/a/b"),
    "/a|/b": ("/a", "/b"),
    "/[^/]*": ("/", "/xyz"),
    "/a/./c": ("/a/b/c",),
    "a": (),
}
NAMES = ("x-a", "X-B", "user-agent", ":path", "host", "accept", "cookie")
WORDS = ("1", "ab", "a", "B", "a,b", "5")
HEADER_REGEXES: Mapping[str, str] = {"a+": "aa", "[0-9]{2}": "42", "(?i)ab": "AB", ".*b": "ab"}
METHODS = ("GET", "POST", "HEAD", "OPTIONS")
HOSTS = ("shop.example", "api.shop.example", "SHOP.example", "shopxexample", "example")
RPC = (("shop.Cart", "Get"), ("shop.Cart", "GetAll"), ("shop.Carts", "Get"))


class Drawn:
    """One mesh and what is asked of it."""

    def __init__(self, chance: random.Random, places: Mapping[str, str], first: int) -> None:
        """`places` are the addresses of the nodes, `first` the first of ten ports that no other mesh has.

        A listener that stays and changes keeps old connections for a while, and they what they were told.
        """
        self.chance = chance
        self.ports, self.gate_ports = (first, first + 1, first + 2), (first + 3, first + 4)
        self._places = places
        self._free = itertools.cycle(HTTP_NODES)
        self.services: dict[str, str] = {}
        """The protocol of each."""
        self.resources: dict[Key, Resource] = {}
        for name, protocol in (HTTP_NODES | TCP_NODES).items():
            listener = {"portMapping": {"port": NODE_PORTS[protocol], "protocol": protocol}}
            found = {"dns": {"hostname": places[name]}}
            self._add(Kind.VIRTUAL_NODE, name, {"listeners": [listener], "serviceDiscovery": found})
        for number in range(chance.randint(1, 4)):
            self._service(f"{chance.choice(('s', 'S'))}{number}.local")
        backends = [{"virtualService": {"virtualServiceName": one}} for one in self.services]
        chance.shuffle(backends)
        self._add(Kind.VIRTUAL_NODE, CALLER.name, {"backends": backends})
        self._gateway()
        self._extensions()

    @property
    def state(self) -> State:
        """All of it that App Mesh and we accept."""
        found = State(self.resources.values())
        while wrong := {one.subject for one in constraints.check(resolve(found)) if one.severity == "error"}:
            found = State(one for one in found if one.key.path not in wrong)
        return found

    def _add(self, kind: Kind, name: str, spec: Wire, parent: str = "") -> None:
        one = resource(kind, name, spec, parent)
        self.resources[one.key] = one

    def _service(self, name: str) -> None:
        chance = self.chance
        protocol = chance.choice(("http", "http", "http2", "grpc", "tcp"))
        self.services[name] = protocol
        provided = chance.random()
        if provided < 0.1:
            self._add(Kind.VIRTUAL_SERVICE, name, {})
            return
        if provided < 0.2:
            node = next(self._free) if protocol != "tcp" else chance.choice(list(TCP_NODES))
            provider: Wire = {"virtualNode": {"virtualNodeName": node}}
            self._add(Kind.VIRTUAL_SERVICE, name, {"provider": provider})
            return
        self._add(Kind.VIRTUAL_SERVICE, name, {"provider": {"virtualRouter": {"virtualRouterName": name}}})
        ports = chance.sample(self.ports, chance.choice((1, 1, 2)))
        listeners = [{"portMapping": {"port": port, "protocol": protocol}} for port in ports]
        self._add(Kind.VIRTUAL_ROUTER, name, {"listeners": listeners})
        for number in range(chance.randint(0, 2 if protocol == "tcp" else 5)):
            spec = self._route(protocol, ports)
            if chance.random() < 0.3:
                spec["priority"] = chance.randint(0, 2)
            self._add(Kind.ROUTE, f"r{number}", spec, name)

    def _route(self, protocol: str, ports: list[int]) -> Wire:
        chance = self.chance
        node = next(self._free) if protocol != "tcp" else chance.choice(list(TCP_NODES))
        targets = [{"virtualNode": node, "weight": chance.choice((0, 1, 1, 1, 1, 1, 1, 100))}]
        if chance.random() < 0.2 and protocol != "tcp":
            targets.append({"virtualNode": next(self._free), "weight": chance.choice((0, 1))})
        action = {"weightedTargets": targets}
        port = {"port": chance.choice(ports)} if len(ports) > 1 or chance.random() < 0.1 else {}
        if protocol == "tcp":
            return {"tcpRoute": {"action": action, "match": port}}
        if protocol == "grpc" or chance.random() < 0.1:
            return {"grpcRoute": {"match": self._grpc_match(with_method=True) | port, "action": action}}
        match = self._http_match() | port
        if chance.random() < 0.1:
            match["scheme"] = chance.choice(("http", "https"))
        return {f"{protocol}Route": {"match": match, "action": action}}

    def _http_match(self) -> Wire:
        chance, match = self.chance, dict[str, Any]()
        kind = chance.random()
        if kind < 0.5:
            match["prefix"] = chance.choice(PREFIXES)
        elif kind < 0.75:
            match["path"] = {"exact": chance.choice(EXACT)}
        elif kind < 0.95:
            match["path"] = {"regex": chance.choice(list(REGEXES))}
        if chance.random() < 0.25:
            match["method"] = chance.choice(METHODS)
        if chance.random() < 0.3:
            match["headers"] = self._header_matches()
        if chance.random() < 0.2:
            exact = {"match": {"exact": chance.choice(("1", "a%20b", "b"))}} if chance.random() < 0.7 else {}
            match["queryParameters"] = [{"name": "q", **exact}]
        return match

    def _grpc_match(self, *, with_method: bool) -> Wire:
        chance, match = self.chance, dict[str, Any]()
        if chance.random() < 0.8:
            service, method = chance.choice(RPC)
            match["serviceName"] = service
            if with_method and chance.random() < 0.6:
                match["methodName"] = method
        if chance.random() < 0.3:
            match["metadata"] = self._header_matches()
        return match

    def _header_matches(self) -> list[Wire]:
        chance = self.chance
        found = []
        for name in chance.sample(NAMES, chance.choice((1, 1, 2))):
            kind = chance.choice(("exact", "prefix", "suffix", "regex", "range", "present"))
            value: Any = chance.choice(WORDS)
            if kind == "regex":
                value = chance.choice(list(HEADER_REGEXES))
            if kind == "range":
                start = chance.randint(-2, 5)
                value = {"start": start, "end": start + chance.randint(1, 4)}
            one: Wire = {"name": name} if kind == "present" else {"name": name, "match": {kind: value}}
            found.append(one | ({"invert": True} if chance.random() < 0.3 else {}))
        return found

    def _gateway(self) -> None:
        chance = self.chance
        protocols = ("http", chance.choice(("http2", "grpc")))
        ports = self.gate_ports[: chance.choice((1, 2))]
        listeners = [
            {"portMapping": {"port": port, "protocol": protocol}}
            for port, protocol in zip(ports, protocols, strict=False)
        ]
        self._add(Kind.VIRTUAL_GATEWAY, GATE.name, {"listeners": listeners})
        for number in range(chance.randint(1, 4)):
            spec = self._gateway_route(chance.choice(list(self.services)), ports)
            if chance.random() < 0.3:
                spec["priority"] = chance.randint(0, 2)
            self._add(Kind.GATEWAY_ROUTE, f"g{number}", spec, GATE.name)

    def _gateway_route(self, service: str, ports: tuple[int, ...]) -> Wire:
        chance = self.chance
        target: Wire = {"virtualService": {"virtualServiceName": service}}
        router = self.resources.get(Key(MESH, Kind.VIRTUAL_ROUTER, service))
        several = [one.port_mapping.port for one in router.spec.listeners] if router else []  # type: ignore[union-attr]
        if len(several) > 1:
            target["port"] = chance.choice(several)
        rewrite: Wire = {}
        if chance.random() < 0.25:
            rewrite["hostname"] = {"defaultTargetHostname": chance.choice(("ENABLED", "DISABLED"))}
        where: Wire = {"port": chance.choice(ports)} if len(ports) > 1 else {}
        if chance.random() < 0.5:
            member = chance.choice(("exact", "suffix"))
            where["hostname"] = {member: chance.choice(HOSTS)}
        if self.services[service] == "grpc" or chance.random() < 0.1:
            action = {"target": target, **({"rewrite": rewrite} if rewrite else {})}
            return {"grpcRoute": {"match": self._grpc_match(with_method=False) | where, "action": action}}
        match = self._http_match() | where
        if "path" in match and chance.random() < 0.5:
            rewrite["path"] = {"exact": chance.choice(("/a", "/a/b", "/new\\1"))}
        elif "prefix" in match and chance.random() < 0.5:
            rewrite["prefix"] = chance.choice(({"value": "/a/"}, {"value": "/"}, {"defaultPrefix": "DISABLED"}))
        if not {"path", "prefix", "hostname"} & match.keys():
            match["prefix"] = "/"
        action = {"target": target, **({"rewrite": rewrite} if rewrite else {})}
        return {f"{chance.choice(('http', 'http2'))}Route": {"match": match, "action": action}}

    def _extensions(self) -> None:
        """Those that change where a call goes or who answers it."""
        chance = self.chance
        for number, key in enumerate(list(self.resources)):
            target = {
                Kind.ROUTE: {"virtualRouterName": key.parent, "routeName": key.name},
                Kind.GATEWAY_ROUTE: {"virtualGatewayName": key.parent, "gatewayRouteName": key.name},
                Kind.VIRTUAL_SERVICE: {"virtualServiceName": key.name},
            }.get(key.kind)
            if target is None or chance.random() > 0.3:
                continue
            name, kind = f"e{number}", chance.choice((Kind.HEADER_EDIT, Kind.FAULT, Kind.CORS))
            spec: Wire = {"target": target}
            if kind is Kind.HEADER_EDIT:
                more = {"name": chance.choice(("x-a", "x-b")), "value": chance.choice(WORDS)}
                spec["request"] = {chance.choice(("set", "add")): [more], "remove": ["X-B", "x-c"]}
            elif kind is Kind.FAULT:
                year = chance.choice((2001, 2901, 2901))
                status = chance.choice(
                    ({"httpStatus": 418}, {"httpStatus": 404}, {"grpcStatus": chance.randint(1, 16)})
                )
                abort = {"percentage": chance.choice((0, 100, 100)), **status}
                spec |= {"abort": abort, "expiresAt": f"{year}-01-01T00:00:00Z"}
                if chance.random() < 0.5:
                    spec["match"] = {"headers": self._header_matches()}
            else:
                spec["allowOrigins"] = [{"exact": "https://a"}]
            self._add(kind, name, spec)


def calls(drawn: Drawn, state: State, count: int) -> Iterator[tuple[Key, Call]]:
    """Calls of the node and through the gateway: those that a match wants, and each a little off."""
    chance = drawn.chance
    routes = [one for one in state if isinstance(one.spec, RouteSpec | GatewayRouteSpec)]
    for _ in range(count):
        about = chance.choice(routes) if routes and chance.random() < 0.9 else None
        caller = GATE if about is not None and about.key.kind is Kind.GATEWAY_ROUTE else CALLER
        if chance.random() < 0.1:
            caller = GATE
        call = _wanted(drawn, state, caller, about)
        for _ in range(chance.choice((0, 0, 1, 1, 1, 2))):
            call = _changed(drawn, call)
        yield caller, call


def _wanted(drawn: Drawn, state: State, caller: Key, about: Resource | None) -> Call:
    """A call that meets the match of a route."""
    chance = drawn.chance
    match: Any = None
    if about is not None:
        spec = about.spec
        match = route_match(spec) if isinstance(spec, RouteSpec) else gateway_route_match(spec)  # type: ignore[arg-type]
    service = (
        about.key.parent
        if about is not None and about.key.kind is Kind.ROUTE
        else chance.choice(list(drawn.services))
    )
    port = getattr(match, "port", None) or chance.choice(
        drawn.gate_ports if caller is GATE else _ports(state, service)
    )
    host = service
    if caller is GATE:
        wanted = getattr(match, "hostname", None)
        host = chance.choice(HOSTS) if wanted is None else wanted.exact or f"x{wanted.suffix}"
    made: dict[str, Any] = {"host": host, "port": port, "protocol": chance.choice(("http", "http", "http2"))}
    headers: list[tuple[str, str]] = []
    if about is not None and getattr(about.spec, "tcp_route", None) is not None:
        made["protocol"] = "tcp"
    elif hasattr(match, "service_name"):
        kind, path = grpc_path(match)
        made |= {"protocol": "grpc", "path": path if kind == "exact" else f"{path}{chance.choice(('Get', 'x/y'))}"}
        headers = _headers(chance, match.metadata or ())
    elif match is not None:
        made["path"] = _path(chance, *http_path(match))
        if match.query_parameters:
            value = match.query_parameters[0].match
            made["path"] += f"?q={value.exact}" if value else "?q"
        made["method"] = match.method or chance.choice(("GET", "GET", "POST"))
        headers = _headers(chance, match.headers or ())
        if getattr(match, "scheme", None) == "https":
            headers.append(("x-forwarded-proto", "https"))
    return Call(**made, headers=tuple(headers))


def _ports(state: State, service: str) -> tuple[int, ...]:
    router: Any = state.get(Key(MESH, Kind.VIRTUAL_ROUTER, service))
    return tuple(one.port_mapping.port for one in router.spec.listeners) if router else tuple(NODE_PORTS.values())


def _path(chance: random.Random, kind: str, text: str) -> str:
    if kind == "exact":
        return text
    if kind == "regex":
        return chance.choice(REGEXES[text] or ("/a",))
    return (text or "/") + chance.choice(("", "b", "/c", "/"))


def _headers(chance: random.Random, conditions: tuple[HttpRouteHeader, ...]) -> list[tuple[str, str]]:
    found = []
    for one in conditions:
        match = one.match
        value = chance.choice(WORDS)
        if match is not None and not one.invert:
            if match.range is not None:
                value = str(chance.choice((match.range.start, match.range.end - 1)))
            elif match.regex is not None:
                value = HEADER_REGEXES[match.regex]
            else:
                value = match.exact or (f"{match.prefix}x" if match.prefix else f"x{match.suffix}")
        if match is None and one.invert:
            continue
        if not one.name.startswith(":"):
            found.append((one.name, value))
    return found


def _changed(drawn: Drawn, call: Call) -> Call:
    """`call` with one thing about it a little different."""
    change = drawn.chance.choice((_other_path, _other_path, _other_headers, _other_headers, _other_host, None))
    return _other_kind(drawn, call) if change is None else change(drawn.chance, call)


def _other_path(chance: random.Random, call: Call) -> Call:
    path, mark, query = call.path.partition("?")
    at = chance.randrange(len(path))
    changed = chance.choice(
        (
            path[:-1] or "/",
            f"{path}x",
            f"{path}/",
            f"/{path}",
            f"{path}/.",
            f"/x/..{path}",
            path.swapcase(),
            f"{path[:at]}%{ord(path[at]):02X}{path[at + 1 :]}" if at else path,
            path.replace("%20", "~"),
            f"{path};x",
        )
    )
    if chance.random() < 0.02:
        changed += "#f"
    asked = chance.choice(
        (mark + query, mark + query, "?q", "?q=1", "?q=2&q=1", "?q=1&q=2", "?Q=1", "?q=a%20b", "?q=a")
    )
    return msgspec.structs.replace(call, path=changed + asked)


def _other_headers(chance: random.Random, call: Call) -> Call:
    headers = list(call.headers)
    at = chance.randrange(len(headers)) if headers else 0
    name = chance.choice(("x-a", "X-A", "x-b", "user-agent", "accept", "cookie"))
    more = (name, chance.choice((*WORDS, "", "6", "-2", "+5", "05", "5.0", "9", " 5 ", "AB", "ba")))
    match chance.randrange(6):
        case 0 if headers:
            del headers[at]
        case 1 if headers and headers[at][0] != "host":
            headers.insert(chance.choice((at, at + 1)), (headers[at][0].upper(), more[1]))
        case 2 if headers and headers[at][0] != "host":
            headers[at] = (headers[at][0], headers[at][1] + chance.choice(("x", "1", " ")))
        case 3 if headers:
            headers[at] = (headers[at][0], headers[at][1][1:] or "x")
        case 4:
            asked = chance.choice(METHODS)
            headers += [
                ("origin", chance.choice(("https://a", "https://b"))),
                ("access-control-request-method", asked),
            ]
            return msgspec.structs.replace(call, headers=tuple(headers), method="OPTIONS")
        case _:
            headers.append(more)
    # An empty cookie beside another one leaves a blank at the end, which the HTTP/2 servers of the test refuse.
    told = tuple((one, value or "a") if one.lower() == "cookie" else (one, value) for one, value in headers)
    return msgspec.structs.replace(call, headers=told)


def _other_host(chance: random.Random, call: Call) -> Call:
    plain = call.host
    host = chance.choice(
        (
            plain,
            plain.upper(),
            f"{plain}:{call.port}",
            f"{plain}:1",
            f"{plain}.",
            f"x{plain}",
            plain[1:],
            "other.local",
        )
    )
    return call.to(host or "x")


def _other_kind(drawn: Drawn, call: Call) -> Call:
    chance, ports = drawn.chance, (*drawn.ports, *drawn.gate_ports, *NODE_PORTS.values())
    if call.protocol == "tcp":
        return msgspec.structs.replace(call, port=chance.choice(ports))
    match chance.randrange(4):
        case 0:
            return msgspec.structs.replace(call, method=chance.choice(METHODS))
        case 1:
            return msgspec.structs.replace(call, protocol=chance.choice(("http", "http2", "grpc")))
        case 2:
            return msgspec.structs.replace(call, port=chance.choice(ports))
        case _:
            proto = ("x-forwarded-proto", chance.choice(("http", "https", "ftp")))
            return msgspec.structs.replace(call, headers=(*call.headers, proto))
