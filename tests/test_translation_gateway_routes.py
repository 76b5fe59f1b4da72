"""What a gateway's real Envoy does with requests over HTTP/1.1, HTTP/2 and gRPC: matches, order, rewrites, ports.

One gateway with a listener for each protocol; each case has a host of its own, and a route for the rest of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from matchers import HTTP, METADATA, PRIORITIES, request
from meshwright.lab.exchange import Reply, Request
from meshwright.lab.workload import CALLS
from meshwright.model import Key, Kind
from one_envoy import Mesh, http_route, speaking
from processes import free_port
from strategies import MESH, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from meshwright.lab.exchange import Answer

pytestmark = pytest.mark.envoy

DOOR = Key(MESH, Kind.VIRTUAL_GATEWAY, "door")
PROTOCOLS = ("http", "http2", "grpc")
MATCHES = {
    # Gateway routes know no scheme, and gRPC ones nothing of paths but the service.
    "http": {name: one for name, one in HTTP.items() if "scheme" not in one[0]},
    "http2": {name: one for name, one in HTTP.items() if "scheme" not in one[0]},
    "grpc": METADATA,
}
HOSTS: dict[str, tuple[Wire, tuple[str, ...], tuple[str, ...]]] = {
    # The match, hosts that match, and hosts that do not.
    "exact": ({"exact": "whole.org"}, ("whole.org", "WHOLE.org", "whole.org:80"), ("a.whole.org", "whole.orga")),
    "suffix": ({"suffix": ".end.org"}, ("a.end.org", "a.b.END.org:80"), ("end.org", "a.end.orga")),
}
LIMITS = {"hit": 300, "rest": 20_000}
"""Milliseconds that a request to a service of each node may take: less and more than its application takes below."""
REWRITES: dict[str, tuple[Wire, Wire | None, dict[str, str]]] = {
    # What matches, the rewrite, and what the application sees of which path. A backslash is no reference to a group;
    # the gateway's second step makes a slash of it, as of any in a path.
    "default": ({"prefix": "/shop/"}, None, {"/shop/a?q=1": "/a?q=1", "/shop/": "/"}),
    "root": ({"prefix": "/"}, None, {"/shop/a": "/shop/a"}),
    "kept": ({"prefix": "/shop/"}, {"prefix": {"defaultPrefix": "DISABLED"}}, {"/shop/a?q=1": "/shop/a?q=1"}),
    "enabled": ({"prefix": "/shop/"}, {"prefix": {"defaultPrefix": "ENABLED"}}, {"/shop/a": "/a"}),
    "value": ({"prefix": "/shop/"}, {"prefix": {"value": "/store/"}}, {"/shop/a?q=1": "/store/a?q=1"}),
    "whole": ({"path": {"exact": "/old"}}, {"path": {"exact": "/new"}}, {"/old?q=1": "/new?q=1"}),
    "whole-of-regex": ({"path": {"regex": "/o[a-z]+"}}, {"path": {"exact": r"/n\1"}}, {"/old": "/n/1"}),
    "whole-of-prefix": ({"prefix": "/shop/"}, {"path": {"exact": "/new"}}, {"/shop/a/b": "/new"}),
    "no-rewrite": ({"path": {"exact": "/old"}}, None, {"/old?q=1": "/old?q=1"}),
}


class Door:
    """The mesh, and the ports of the gateway's listeners and of a service that has two."""

    def __init__(self) -> None:
        self.mesh = Mesh()
        self.ports = {protocol: free_port() for protocol in PROTOCOLS}
        self.second = free_port()
        listeners = [{"portMapping": {"port": port, "protocol": name}} for name, port in self.ports.items()]
        self.mesh.add(Kind.VIRTUAL_GATEWAY, "door", {"listeners": listeners})
        for protocol in PROTOCOLS:
            for word in ("hit", "rest"):
                node = f"{word}-{protocol}"
                self.mesh.node(node, protocol)
                match = {} if protocol == "grpc" else {"prefix": "/"}
                action = {"weightedTargets": [{"virtualNode": node, "weight": 1}]}
                self.mesh.service(node, {f"{protocol}Route": {"match": match, "action": action}}, protocol=protocol)
                self._limit(f"{protocol}-{word}", protocol, node, milliseconds=LIMITS[word])
            for name, (match, _, _) in MATCHES[protocol].items():
                self._case(name, protocol, (match, "hit", 0))
            for name, (hostname, _, _) in HOSTS.items():
                # The Host alone: neither a path nor a service is asked for.
                self._lead(f"host-{name}", protocol, "hit", {"hostname": hostname}, 0)
            for name, routes in PRIORITIES.items() if protocol != "grpc" else ():
                (first, at_first), (second, at_second) = routes
                self._case(name, protocol, (second, "rest", at_second), (first, "hit", at_first))
            self._case("first", protocol, ({}, "rest", 8), ({}, "hit", 7))
            for name, (match, rewrite, _) in REWRITES.items() if protocol != "grpc" else ():
                self._case(f"rewrite-{name}", protocol, (match, "hit", 0), rewrite=rewrite)
            for name, wanted in (("disabled", "DISABLED"), ("enabled", "ENABLED"), ("default", None)):
                kept = {"hostname": {"defaultTargetHostname": wanted}} if wanted else None
                self._case(f"host-{name}", protocol, ({}, "hit", 0), rewrite=kept)
        anywhere = {"prefix": "/anywhere/", "port": self.ports["http"]}
        target = {"target": {"virtualService": {"virtualServiceName": "hit-http"}}}
        self.mesh.add(Kind.GATEWAY_ROUTE, "anywhere", {"httpRoute": {"match": anywhere, "action": target}}, "door")
        self._serve_two_ports()

    def _limit(self, name: str, protocol: str, node: str, milliseconds: int) -> None:
        """A service whose requests may take so long, behind a host of its own."""
        timeout = {"perRequest": {"unit": "ms", "value": milliseconds}}
        match = {} if protocol == "grpc" else {"prefix": "/"}
        action = {"weightedTargets": [{"virtualNode": node, "weight": 1}]}
        own = {f"{protocol}Route": {"match": match, "action": action, "timeout": timeout}}
        self.mesh.service(f"{name}.limited", own, protocol=protocol)
        target = {"target": {"virtualService": {"virtualServiceName": f"{name}.limited"}}}
        everything = {"serviceName": "s"} if protocol == "grpc" else {"prefix": "/"}
        hostname = {"hostname": {"exact": f"{name}.limited"}, "port": self.ports[protocol]}
        spec = {f"{protocol}Route": {"match": {**everything, **hostname}, "action": target}, "priority": 0}
        self.mesh.add(Kind.GATEWAY_ROUTE, f"limited-{name}", spec, "door")

    def _serve_two_ports(self) -> None:
        listeners = [{"portMapping": {"port": one, "protocol": "http"}} for one in (self.mesh.port, self.second)]
        self.mesh.add(Kind.VIRTUAL_ROUTER, "both", {"listeners": listeners})
        self.mesh.add(Kind.VIRTUAL_SERVICE, "both", {"provider": {"virtualRouter": {"virtualRouterName": "both"}}})
        for word, port in (("hit", self.mesh.port), ("rest", self.second)):
            own = http_route((f"{word}-http", 1), match={"prefix": "/", "port": port})
            self.mesh.add(Kind.ROUTE, word, own, "both")
            target = {"virtualService": {"virtualServiceName": "both"}, "port": port}
            match = {"prefix": "/", "port": self.ports["http"], "hostname": {"exact": f"{word}.both"}}
            spec = {"httpRoute": {"match": match, "action": {"target": target}}}
            self.mesh.add(Kind.GATEWAY_ROUTE, f"both-{word}", spec, "door")

    def _case(
        self, name: str, protocol: str, *routes: tuple[Wire, str, int | None], rewrite: Wire | None = None
    ) -> None:
        """Routes for the host of a case, the last one written last, and one for the rest of it."""
        host = {"hostname": {"exact": f"{name}.case"}}
        everything: Wire = {"serviceName": "s"} if protocol == "grpc" else {"prefix": "/"}
        for index, (match, word, priority) in enumerate(routes):
            self._lead(f"{name}-{index}", protocol, word, {**(match or everything), **host}, priority, rewrite)
        if not name.startswith(("rewrite", "host", *PRIORITIES)):
            self._lead(f"{name}-rest", protocol, "rest", {**everything, **host}, None)

    def _lead(
        self, name: str, protocol: str, word: str, match: Wire, priority: int | None, rewrite: Wire | None = None
    ) -> None:
        target: Wire = {"target": {"virtualService": {"virtualServiceName": f"{word}-{protocol}"}}}
        route = {
            "match": {"port": self.ports[protocol], **match},
            "action": target | ({"rewrite": rewrite} if rewrite else {}),
        }
        spec = {f"{protocol}Route": route, **({} if priority is None else {"priority": priority})}
        self.mesh.add(Kind.GATEWAY_ROUTE, f"{protocol}-{name}", spec, "door")

    async def call(self, protocol: str, host: str, text: str = "", client: str = "") -> Reply:
        """What a client from outside gets; `client` is the protocol that it speaks, if another."""
        asked = request(host, text or ("POST /s/M" if protocol == "grpc" else "GET /"))
        if client and protocol == "grpc":
            asked = msgspec.structs.replace(asked, headers={"content-type": "application/grpc"})
        return await CALLS[client or protocol](self.mesh.place.ingress, self.ports[protocol], asked)

    @contextlib.asynccontextmanager
    async def applications(self, protocol: str, spoken: str = "", delay: float = 0.0) -> AsyncIterator[None]:
        """Both nodes of a protocol; they say what path and Host they saw."""
        async with contextlib.AsyncExitStack() as stack:
            for word in ("hit", "rest"):
                at = (self.mesh.hosts[f"{word}-{protocol}"], self.mesh.port)
                await stack.enter_async_context(speaking(spoken or protocol, *at, telling(word, delay)))
            yield


def telling(word: str, delay: float = 0.0) -> Answer:
    """An application that says who it is, and what it was asked."""

    async def answer(asked: Request, protocol: str) -> Reply:
        await asyncio.sleep(delay)
        return Reply(node=word, path=asked.path, service=asked.authority, protocol=protocol)

    return answer


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The gateway's Envoy, running."""
    found = Door()
    with found.mesh.envoy(DOOR, tmp_path_factory.mktemp("door")):
        yield found


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_gateways_match_by_all_that_routes_match_by(door: Door, protocol: str) -> None:
    """Paths, methods, headers and query parameters, and every condition on metadata, inverted too."""
    async with door.applications(protocol):
        for name, (_, matching, others) in MATCHES[protocol].items():
            for expected, texts in (("hit", matching), ("rest", others)):
                for text in texts:
                    reply = await door.call(protocol, f"{name}.case", text)
                    assert (reply.status, reply.node) == (200, expected), (name, text, reply.fault)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_gateways_match_by_the_host_whole_or_by_its_end(door: Door, protocol: str) -> None:
    """In any case, with a port or without; what no route takes gets 404, of gRPC UNIMPLEMENTED."""
    async with door.applications(protocol):
        for _, matching, others in HOSTS.values():
            for host in matching:
                assert (await door.call(protocol, host)).node == "hit", host
            for host in others:
                reply = await door.call(protocol, host)
                assert (reply.status, reply.node) == (503 if protocol == "grpc" else 404, ""), host
                assert protocol != "grpc" or reply.fault.startswith("gRPC UNIMPLEMENTED")


async def test_a_gateway_route_without_a_host_goes_on_where_others_name_one(door: Door) -> None:
    """Hosts are conditions like all others: which route wins is told by priority and path first."""
    async with door.applications("http"):
        for host in ("nobody.org", "method.case"):
            assert (await door.call("http", host, "GET /anywhere/a")).node == "hit", host
        # Of that host every other path is for its own routes.
        assert (await door.call("http", "method.case", "GET /elsewhere")).node == "rest"
        assert (await door.call("http", "nobody.org", "GET /elsewhere")).status == 404


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_of_several_gateway_routes_that_match_the_right_one_wins(door: Door, protocol: str) -> None:
    """The lowest priority first, none last; then exact path, longer prefix, expression, more conditions."""
    async with door.applications(protocol):
        assert (await door.call(protocol, "first.case")).node == "hit"
        for name in PRIORITIES if protocol != "grpc" else ():
            assert (await door.call(protocol, f"{name}.case", "GET /a/b 1")).node == "hit", name


@pytest.mark.parametrize("protocol", ["http", "http2"])
async def test_paths_are_rewritten_as_gateway_routes_say(door: Door, protocol: str) -> None:
    """A prefix becomes `/`, another one or stays; a whole path is replaced; the query stays as it is."""
    seen = {}
    async with door.applications(protocol):
        for name, (_, _, paths) in REWRITES.items():
            seen[name] = {
                path: (await door.call(protocol, f"rewrite-{name}.case", f"GET {path}")).path for path in paths
            }
    assert seen == {name: paths for name, (_, _, paths) in REWRITES.items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_hosts_are_rewritten_unless_gateway_routes_say_otherwise(door: Door, protocol: str) -> None:
    """The application sees the virtual service's name, or what the client asked for."""
    hosts = {"default": f"hit-{protocol}", "enabled": f"hit-{protocol}", "disabled": "host-disabled.case"}
    seen = {}
    # gRPC's own servers do not tell the Host; any of HTTP/2 does.
    spoken = "http2" if protocol == "grpc" else protocol
    async with door.applications(protocol, spoken):
        for name in hosts:
            reply = await door.call(protocol, f"host-{name}.case", client=spoken)
            assert reply.status == 200, reply.fault
            seen[name] = reply.service
    assert seen == hosts


async def test_a_gateway_route_leads_to_the_port_of_the_service_that_it_names(door: Door) -> None:
    """One service, two ports, each with routes of its own."""
    async with door.applications("http"):
        for word in ("hit", "rest"):
            reply = await door.call("http", f"{word}.both")
            assert (reply.status, reply.node) == (200, word), msgspec.to_builtins(reply)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_limits_of_routes_hold_behind_a_gateway_in_every_protocol(door: Door, protocol: str) -> None:
    """The gateway waits as long as the service's routes allow, and no longer."""
    async with door.applications(protocol, delay=1.0):
        brief, long = await asyncio.gather(*(door.call(protocol, f"{protocol}-{word}.limited") for word in LIMITS))
    assert (brief.status, long.status) == (503 if protocol == "grpc" else 504, 200), (brief.fault, long.fault)
