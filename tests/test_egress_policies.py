"""Per-node egress policies in real Envoys: what a node may call outside its mesh, and that names cannot be abused."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest

from data_plane import DataPlane, data_plane
from envoy_check import credentials
from envoys import fetch, upstream
from meshwright.graph import resolve
from meshwright.model import Kind, Resource, State
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Redirect
from strategies import Wire, resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.envoy

PORT, TLS_PORT = 8080, 8443
OUTSIDE = ("api.partner.test", "other.partner.test", "eu.files.test", "us.files.test")
ALLOWED: list[Wire] = [
    {"host": "api.partner.test", "ports": [PORT], "protocol": "http"},
    {"host": "*.Files.test", "ports": [PORT], "protocol": "http"},
    {"host": "api.partner.test", "ports": [TLS_PORT], "protocol": "tls"},
    {"host": "*.files.test", "ports": [TLS_PORT], "protocol": "tls"},
]


def shop(plane: DataPlane, *more: Resource) -> list[Resource]:
    """A node `web` that may call the service of node `api`, in a mesh that drops all else."""

    def node(name: str, **members: Wire | list[Wire]) -> Resource:
        discovery = {"dns": {"hostname": plane.place(name).ingress}}
        listeners = [{"portMapping": {"port": PORT, "protocol": "http"}}]
        return resource(Kind.VIRTUAL_NODE, name, {"listeners": listeners, "serviceDiscovery": discovery, **members})

    return [
        resource(Kind.MESH, "m", {"egressFilter": {"type": "DROP_ALL"}}),
        node("web", backends=[{"virtualService": {"virtualServiceName": "api.local"}}]),
        node("api"),
        resource(Kind.VIRTUAL_SERVICE, "api.local", {"provider": {"virtualNode": {"virtualNodeName": "api"}}}),
        *more,
    ]


def policy(**members: str | list[Wire]) -> Resource:
    """The egress policy of `web`."""
    return resource(Kind.EGRESS_POLICY, "web", {"target": {"virtualNodeName": "web"}, **members})


@contextlib.asynccontextmanager
async def greeting(folder: Path, host: str, port: int) -> AsyncIterator[None]:
    """A server that says `outside` to whoever connects by TLS."""
    for name, content in credentials().items():
        (folder / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"outside\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, host, port, ssl=context):
        yield


async def greeted(host: str, port: int, name: str) -> str:
    """What a server says to a client that names it in its TLS greeting; "" where the connection is closed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    except OSError:
        return ""
    said = await reader.readline()
    writer.close()
    return said.decode().strip()


async def test_a_node_calls_the_hosts_that_its_policy_names_and_no_others(tmp_path: Path) -> None:
    """HTTP by Host and TLS by server name, exact and wildcard, on the port that is named, beside a backend's."""
    async with data_plane(tmp_path) as plane:
        outside = plane.place("outside").application
        plane.names.publish({name: [outside] for name in OUTSIDE})
        await plane.publish(*shop(plane, policy(allow=ALLOWED)))
        await plane.proxy(resource(Kind.VIRTUAL_NODE, "web", {}).key)
        await plane.proxy(resource(Kind.VIRTUAL_NODE, "api", {}).key)
        web = plane.place("web").egress
        async with (
            upstream("outside", outside, PORT),
            upstream("outside", outside, 80),
            upstream("api", plane.place("api").application, PORT),
            greeting(tmp_path, outside, TLS_PORT),
        ):
            answers = {
                host: await fetch(web, PORT, "/", host)
                for host in (
                    "api.local",
                    f"api.partner.test:{PORT}",
                    f"API.partner.test:{PORT}",
                    f"eu.files.test:{PORT}",
                    f"other.partner.test:{PORT}",
                    "api.partner.test",
                    "api.partner.test:80",
                    f"files.test:{PORT}",
                )
            }
            assert answers == {
                "api.local": (200, "api"),
                f"api.partner.test:{PORT}": (200, "outside"),
                f"API.partner.test:{PORT}": (200, "outside"),
                f"eu.files.test:{PORT}": (200, "outside"),
                f"other.partner.test:{PORT}": (404, ""),
                "api.partner.test": (404, ""),  # means port 80, which is not let through
                "api.partner.test:80": (404, ""),
                f"files.test:{PORT}": (404, ""),
            }
            spoken = {name: await greeted(web, TLS_PORT, name) for name in (*OUTSIDE, "files.test")}
            assert spoken == {
                "api.partner.test": "outside",
                "other.partner.test": "",
                "eu.files.test": "outside",
                "us.files.test": "outside",
                "files.test": "",
            }


async def test_a_policy_that_changes_leaves_what_it_still_allows_alone(tmp_path: Path) -> None:
    """Added, another preference of addresses, taken away: each change is taken, and the backend answers all along."""
    async with data_plane(tmp_path) as plane:
        outside = plane.place("outside").application
        plane.names.publish({name: [outside] for name in OUTSIDE})
        await plane.publish(*shop(plane))
        await plane.proxy(resource(Kind.VIRTUAL_NODE, "web", {}).key)
        await plane.proxy(resource(Kind.VIRTUAL_NODE, "api", {}).key)
        web = plane.place("web").egress
        async with upstream("outside", outside, PORT), upstream("api", plane.place("api").application, PORT):
            preferred = {"egressFilter": {"type": "DROP_ALL"}, "serviceDiscovery": {"ipPreference": "IPv4_ONLY"}}
            for resources, expected in (
                (shop(plane), 404),
                (shop(plane, policy(allow=ALLOWED)), 200),
                ([resource(Kind.MESH, "m", preferred), *shop(plane, policy(allow=ALLOWED))[1:]], 200),
                (shop(plane, policy(allow=ALLOWED[1:])), 404),
                (shop(plane), 404),
            ):
                await plane.publish(*resources)
                assert await fetch(web, PORT, "/", "api.local") == (200, "api")
                assert (await fetch(web, PORT, "/", f"api.partner.test:{PORT}"))[0] == expected


async def test_a_host_that_is_a_backend_too_leads_to_the_backend_however_it_is_written(tmp_path: Path) -> None:
    """Envoy takes `Api.Local` and `api.local` for one; either way to write it reaches the backend."""
    allow: list[Wire] = [{"host": "api.local", "ports": [PORT], "protocol": "http"}, *ALLOWED]
    async with data_plane(tmp_path) as plane:
        outside, service = plane.place("outside").application, "Api.Local"
        plane.names.publish({name: [outside] for name in (*OUTSIDE, "api.local")})
        mesh, web, api, provided, *_ = shop(plane, policy(allow=allow))
        calling = plane.node("web", service)
        named = resource(Kind.VIRTUAL_SERVICE, service, {"provider": {"virtualNode": {"virtualNodeName": "api"}}})
        await plane.publish(mesh, calling, api, provided, named, policy(allow=allow))
        await plane.proxy(web.key)
        await plane.proxy(api.key)
        address = plane.place("web").egress
        async with (
            upstream("outside", outside, PORT),
            upstream("api", plane.place("api").application, PORT),
        ):
            for host, expected in (
                (service, "api"),
                (f"api.local:{PORT}", "api"),
                (f"eu.files.test:{PORT}", "outside"),
            ):
                assert await fetch(address, PORT, "/", host) == (200, expected)


def test_what_a_policy_allows_in_vain_is_reported() -> None:
    """On one port either every connection is the TCP backend's or is taken for HTTP, and the backend was first."""
    discovery = {"dns": {"hostname": "db.local"}}
    listeners = [{"portMapping": {"port": PORT, "protocol": "tcp"}}]
    state = State(
        [
            resource(Kind.VIRTUAL_NODE, "db", {"listeners": listeners, "serviceDiscovery": discovery}),
            resource(Kind.VIRTUAL_SERVICE, "db.local", {"provider": {"virtualNode": {"virtualNodeName": "db"}}}),
            resource(
                Kind.VIRTUAL_NODE, "web", {"backends": [{"virtualService": {"virtualServiceName": "db.local"}}]}
            ),
            policy(allow=ALLOWED),
        ]
    )
    web = resource(Kind.VIRTUAL_NODE, "web", {}).key
    (lost,) = build(resolve(state), web, {}, Redirect()).unserved
    assert (lost.subject.path, lost.path) == ("mesh/m/meshwright/egressPolicy/web", "spec.allow")
    assert f"port {PORT}" in lost.reason
    assert "'db.local'" in lost.reason
