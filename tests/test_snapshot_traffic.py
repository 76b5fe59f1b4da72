"""Real requests through real Envoys that hold snapshots in loopback placement: what routes, limits and TLS do."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from envoy_check import bootstrap, credentials
from envoys import fetch, until
from meshwright.graph import resolve
from meshwright.model import Key, Kind, Resource, State, encode
from meshwright.proxy.run import envoy_path
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Traits
from processes import free_port, fresh_place
from strategies import Wire, proxies, resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from meshwright.snapshot.resources import Loopback

pytestmark = pytest.mark.envoy


class Lab:
    """A mesh under test: where each proxy is, and one port for everything."""

    def __init__(self, folder: Path, traits: Traits | None = None) -> None:
        """Its proxies are sent what Envoys of those `traits` are sent."""
        self.folder = folder
        self.traits = traits or Traits()
        self.port = free_port()
        self.places: dict[str, Loopback] = {}
        self.resources: list[Resource] = []

    def add(self, kind: Kind, name: str, spec: Wire, parent: str = "") -> None:
        """Add an object."""
        self.resources.append(resource(kind, name, spec, parent))

    def node(self, name: str, protocol: str = "http", backends: tuple[str, ...] = (), **listener: Any) -> None:
        """Add a node that listens on the port and is found at its ingress address, and calls `backends`."""
        place = self.places[name] = fresh_place()
        spec: Wire = {
            "listeners": [{"portMapping": {"port": self.port, "protocol": protocol}, **listener}],
            "serviceDiscovery": {"dns": {"hostname": place.ingress}},
            "backends": [{"virtualService": {"virtualServiceName": one}} for one in backends],
        }
        self.add(Kind.VIRTUAL_NODE, name, spec)

    def gateway(self, name: str, **spec: Any) -> None:
        """Add a gateway that listens on the port."""
        self.places[name] = fresh_place()
        listeners = [{"portMapping": {"port": self.port, "protocol": "http"}}]
        self.add(Kind.VIRTUAL_GATEWAY, name, {"listeners": listeners, **spec})

    def router(self, service: str, protocol: str = "http", **routes: Wire) -> None:
        """Add a service with a router of the same name and its routes."""
        self.add(Kind.VIRTUAL_SERVICE, service, {"provider": {"virtualRouter": {"virtualRouterName": service}}})
        listeners = [{"portMapping": {"port": self.port, "protocol": protocol}}]
        self.add(Kind.VIRTUAL_ROUTER, service, {"listeners": listeners})
        for name, spec in routes.items():
            self.add(Kind.ROUTE, name, spec, parent=service)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Every proxy as an Envoy of its own."""
        state = State(self.resources)
        graph = resolve(state)
        for name, content in credentials().items():
            (self.folder / name).write_bytes(content)
        async with contextlib.AsyncExitStack() as stack:
            for key in proxies(state):
                document = bootstrap(build(graph, key, {}, self.places[key.name], self.traits), self.folder)
                await stack.enter_async_context(self._envoy(key, document))
            yield

    @contextlib.asynccontextmanager
    async def _envoy(self, key: Key, document: Wire) -> AsyncIterator[None]:
        document["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        config, where, log = (self.folder / f"{key.name}.{suffix}" for suffix in ("json", "admin", "log"))
        config.write_text(json.dumps(document))
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                str(envoy_path()), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1",
                "--admin-address-path", str(where), "-l", "warn", stdout=out, stderr=out,
            )  # fmt: skip
        try:
            await until(lambda: where.exists() and ":" in where.read_text(), f"{log}: {log.read_text()}")
            admin = int(where.read_text().rpartition(":")[2])

            async def ready() -> bool:
                return (await fetch("127.0.0.1", admin, "/ready"))[0] == 200

            await until(ready, f"{log}: {log.read_text()}")
            yield
        finally:
            process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def application(
        self, name: str, statuses: tuple[int, ...] = (), delay: float = 0.0
    ) -> AsyncIterator[list[str]]:
        """An application behind the node `name` that says who it is and what it was asked; its requests so far.

        It answers with `statuses` in turn, then with 200, each after `delay` seconds.
        """
        asked: list[str] = []
        coming = iter(statuses)
        connections: list[asyncio.StreamWriter] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                closing = False
                while not closing:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    asked.append(head)
                    closing = "connection: close" in head.lower()
                    await asyncio.sleep(delay)
                    host = next(line[6:] for line in head.split("\r\n") if line.lower().startswith("host: "))
                    body = f"{name} {head.split()[1]} {host}"
                    status = next(coming, 200)
                    writer.write(f"HTTP/1.1 {status} OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, self.places[name].application, self.port)
        try:
            yield asked
        finally:
            server.close()
            for writer in connections:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def get(self, caller: str, path: str, host: str) -> tuple[int, str]:
        """What the application of `caller` gets when it calls `host`; status and body."""
        return await fetch(self.places[caller].egress, self.port, path, host)


def http_route(*targets: tuple[str, int], match: Wire | None = None, **rest: Any) -> Wire:
    """An HTTP route spec."""
    weighted = [{"virtualNode": name, "weight": weight} for name, weight in targets]
    priority = {"priority": rest.pop("priority")} if "priority" in rest else {}
    route = {"match": match or {"prefix": "/"}, "action": {"weightedTargets": weighted}, **rest}
    return {"httpRoute": route, **priority}


async def test_routes_choose_by_path_query_and_weight(tmp_path: Path) -> None:
    """Exact before longer prefix before shorter; weights of zero get nothing; an unknown host gets 404."""
    lab = Lab(tmp_path)
    lab.node("web", backends=("cart.local",))
    lab.node("v1")
    lab.node("v2")
    lab.router(
        "cart.local",
        rest=http_route(("v1", 1), ("v2", 0)),
        exact=http_route(("v2", 1), match={"path": {"exact": "/items"}}),
        query=http_route(
            ("v2", 1), match={"prefix": "/q", "queryParameters": [{"name": "v", "match": {"exact": "2"}}]}
        ),
        first=http_route(("v2", 1), match={"path": {"regex": "/r/[0-9]+"}}, priority=1),
    )
    async with lab.running(), lab.application("v1"), lab.application("v2"):
        expected = {
            "/": "v1",
            "/items": "v2",
            "/items/1": "v1",
            "/q?v=2": "v2",
            "/q?v=3": "v1",
            "/r/7": "v2",
            "/r/x": "v1",
        }
        for path, answerer in expected.items():
            status, body = await lab.get("web", path, "cart.local")
            assert (status, body.split()[0]) == (200, answerer), path
        assert (await lab.get("web", "/", f"cart.local:{lab.port}"))[0] == 200
        assert (await lab.get("web", "/", "unmodelled.local"))[0] == 404


async def test_failures_are_retried_and_slow_answers_are_cut_off(tmp_path: Path) -> None:
    """By default a 503 is tried again twice; a policy replaces that; the route's time limit holds."""
    lab = Lab(tmp_path)
    lab.node("web", backends=("flaky.local", "slow.local"))
    lab.node("flaky")
    lab.node("slow")
    never = {"maxRetries": 0, "perRetryTimeout": {"value": 1, "unit": "s"}, "httpRetryEvents": ["server-error"]}
    lab.router(
        "flaky.local",
        default=http_route(("flaky", 1)),
        never=http_route(("flaky", 1), match={"prefix": "/never"}, retryPolicy=never),
    )
    lab.router("slow.local", only=http_route(("slow", 1), timeout={"perRequest": {"value": 50, "unit": "ms"}}))
    flaky = lab.application("flaky", statuses=(503, 503, 200, 503))
    async with lab.running(), flaky as asked, lab.application("slow", delay=0.5):
        assert (await lab.get("web", "/", "flaky.local"))[0] == 200
        assert len(asked) == 3
        assert (await lab.get("web", "/never", "flaky.local"))[0] == 503
        assert len(asked) == 4
        assert (await lab.get("web", "/", "slow.local"))[0] == 504


async def test_a_gateway_rewrites_path_and_host_and_retries_behind(tmp_path: Path) -> None:
    """The default rewrites, a value, an exact path; what no gateway route matches gets 404."""
    lab = Lab(tmp_path)
    lab.gateway("front")
    lab.node("v1")
    lab.router("cart.local", rest=http_route(("v1", 1)))
    target = {"virtualService": {"virtualServiceName": "cart.local"}}

    def gateway_route(name: str, match: Wire, rewrite: Wire | None = None) -> None:
        action = {"target": target, **({"rewrite": rewrite} if rewrite else {})}
        lab.add(Kind.GATEWAY_ROUTE, name, {"httpRoute": {"match": match, "action": action}}, parent="front")

    gateway_route("default", {"prefix": "/cart"})
    gateway_route("kept", {"prefix": "/kept/"}, {"prefix": {"defaultPrefix": "DISABLED"}})
    gateway_route("value", {"prefix": "/old/"}, {"prefix": {"value": "/new/"}})
    gateway_route("exact", {"path": {"regex": "/r/.*"}}, {"path": {"exact": "/exact"}})
    gateway_route("hosted", {"prefix": "/h/", "hostname": {"suffix": ".example.com"}})
    async with lab.running(), lab.application("v1", statuses=(503,)):
        ingress = lab.places["front"].ingress
        expected = {
            "/cart/a": "/a",
            "/cart": "/",
            "/kept/a": "/kept/a",
            "/old/a?q=1": "/new/a?q=1",
            "/r/1/2": "/exact",
            "/h/a": "/a",
        }
        for path, seen in expected.items():
            assert await fetch(ingress, lab.port, path, "shop.example.com:80") == (200, f"v1 {seen} cart.local")
        assert (await fetch(ingress, lab.port, "/h/a", "elsewhere.org"))[0] == 404
        assert (await fetch(ingress, lab.port, "/nothing", "shop.example.com"))[0] == 404


@pytest.mark.parametrize("version", [(1, 40, 0), (1, 23, 12)], ids=["new", "old"])
async def test_a_kept_host_cannot_choose_another_backend(tmp_path: Path, version: tuple[int, int, int]) -> None:
    """The gateway route decides, whatever Host or mark comes from outside; in the words of older Envoys, too."""
    lab = Lab(tmp_path, Traits(version=version))
    lab.gateway("front")
    for name in ("a", "b"):
        lab.node(name)
        lab.router(f"{name}.local", rest=http_route((name, 1)))
        rewrite = {"hostname": {"defaultTargetHostname": "DISABLED"}} if name == "a" else {}
        action = {"target": {"virtualService": {"virtualServiceName": f"{name}.local"}}, "rewrite": rewrite}
        spec = {"httpRoute": {"match": {"prefix": f"/{name}/"}, "action": action}}
        lab.add(Kind.GATEWAY_ROUTE, name, spec, parent="front")
    async with lab.running(), lab.application("a") as asked, lab.application("b"):
        ingress = lab.places["front"].ingress
        assert await fetch(ingress, lab.port, "/a/x", "outside.org") == (200, "a /x outside.org")
        assert await fetch(ingress, lab.port, "/a/x", "b.local") == (200, "a /x b.local")
        assert await fetch(ingress, lab.port, "/b/x", "a.local") == (200, "b /x b.local")
        forged = "outside.org\r\nx-app-mesh-virtual-service: b.local"
        assert await fetch(ingress, lab.port, "/a/x", forged) == (200, "a /x outside.org")
        assert all("x-app-mesh-virtual-service" not in head.lower() for head in asked)


async def test_tcp_reaches_its_target_and_closed_ports_stay_closed(tmp_path: Path) -> None:
    """Bytes pass unchanged through both Envoys; without a target with a weight nothing listens."""
    lab = Lab(tmp_path)
    lab.node("web", backends=("db.local",))
    lab.node("idle", backends=("nothing.local",))
    lab.node("db", protocol="tcp")
    weighted = [{"virtualNode": "db", "weight": 1}]
    lab.router("db.local", protocol="tcp", all={"tcpRoute": {"action": {"weightedTargets": weighted}}})
    nothing = [{"virtualNode": "db", "weight": 0}]
    lab.router("nothing.local", protocol="tcp", all={"tcpRoute": {"action": {"weightedTargets": nothing}}})
    async with lab.running(), lab.application("db"):
        assert await lab.get("web", "/raw", "anything") == (200, "db /raw anything")
        assert await lab.get("idle", "/raw", "anything") == (0, "")


FILE = {"file": {"certificateChain": "/chain.pem", "privateKey": "/key.pem"}}
TRUST = {"file": {"certificateChain": "/chain.pem"}}


@pytest.mark.parametrize(("mode", "minor"), [("STRICT", 40), ("PERMISSIVE", 40), ("STRICT", 20)])
async def test_mutual_tls_lets_only_the_certified_in(tmp_path: Path, mode: str, minor: int) -> None:
    """A policy with a certificate gets through, one without does not; plaintext only where it is permitted.

    Names are asked for in words that an older Envoy knows as well.
    """
    lab = Lab(tmp_path, Traits(version=(1, minor, 0)))
    certified = {"certificate": FILE, "validation": {"trust": TRUST, **names("localhost")}}
    mistaken = {"certificate": FILE, "validation": {"trust": TRUST, **names("elsewhere.local")}}
    tls = {"mode": mode, "certificate": FILE, "validation": {"trust": TRUST, **names("localhost")}}
    lab.node("server", tls=tls)
    lab.router("safe.local", rest=http_route(("server", 1)))
    for name, policy in {"certified": certified, "mistaken": mistaken, "bare": None}.items():
        lab.node(name, backends=("safe.local",))
        if policy:
            spec = lab.resources.pop().spec
            lab.resources.append(with_policy(name, spec, policy))
    async with lab.running(), lab.application("server"):
        assert (await lab.get("certified", "/", "safe.local"))[0] == 200
        assert (await lab.get("mistaken", "/", "safe.local"))[0] == 503
        assert (await lab.get("bare", "/", "safe.local"))[0] == 503
        direct = await fetch(lab.places["server"].ingress, lab.port, "/", "safe.local")
        assert direct[0] == (200 if mode == "PERMISSIVE" else 0)


async def test_certificates_of_aws_fail_closed(tmp_path: Path) -> None:
    """Neither does the server listen nor the client send anything in the clear."""
    lab = Lab(tmp_path)
    acm = {"acm": {"certificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/1"}}
    lab.node("web", backends=("safe.local",))
    lab.node("server", tls={"mode": "STRICT", "certificate": acm})
    lab.router("safe.local", rest=http_route(("server", 1)))
    async with lab.running(), lab.application("server") as asked:
        assert (await lab.get("web", "/", "safe.local"))[0] == 503
        assert await fetch(lab.places["server"].ingress, lab.port, "/", "safe.local") == (0, "")
        assert asked == []


def names(*exact: str) -> Wire:
    """Subject alternative names to insist on."""
    return {"subjectAlternativeNames": {"match": {"exact": list(exact)}}}


def with_policy(name: str, spec: Any, policy: Wire) -> Resource:
    """The node with a client policy for all backends."""
    wire = encode(spec) | {"backendDefaults": {"clientPolicy": {"tls": policy}}}
    return resource(Kind.VIRTUAL_NODE, name, wire)
