"""What `simulate` says of ports that several share is what a real Envoy does: TCP beside HTTP, TLS names, policies.

Behind the Envoy is one server a node, and one for everybody outside, which speak whatever they are spoken to in.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from calling import OUTSIDE, difference, heard_of
from data_plane import data_plane
from envoy_check import credentials
from meshwright.graph import resolve
from meshwright.model import Key, Kind, Resource, State
from meshwright.simulate import Call, route
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from data_plane import DataPlane

pytestmark = pytest.mark.envoy

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")
SHARED, TCP, OTHER = 8080, 9000, 8443
SERVICES = {
    # The node that provides each, its port and protocol, in the order of the backends.
    "http.local": ("h", SHARED, "http"),
    "first.local": ("t1", SHARED, "tcp"),
    "Second.local": ("t2", SHARED, "tcp"),
    "second.local": ("t3", SHARED, "tcp"),
    "alone.local": ("t4", TCP, "tcp"),
    "named.local": ("t5", TCP, "tcp"),
}
ALLOWED: list[Wire] = [
    {"host": "api.test", "ports": [SHARED, TCP], "protocol": "http"},
    {"host": "*.files.test", "ports": [SHARED], "protocol": "http"},
    {"host": "api.test", "ports": [OTHER, SHARED], "protocol": "tls"},
    {"host": "*.files.test", "ports": [OTHER], "protocol": "tls"},
]
NAMES = (*SERVICES, "api.test", "API.test", "eu.files.test", "files.test", "other.test", "SECOND.local")


@contextlib.contextmanager
def obliging(name: str, host: str, port: int, context: ssl.SSLContext) -> Iterator[None]:
    """A server that says its name in HTTP/1.1 or with a line, encrypted or not, as each client likes."""
    listener = socket.create_server((host, port), backlog=64)

    def answer(peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            peer.settimeout(10)
            encrypted = peer.recv(1, socket.MSG_PEEK) == b"\x16"
            with context.wrap_socket(peer, server_side=True) if encrypted else peer as spoken:
                file = spoken.makefile("rb")
                asked = file.readline()
                head = list(iter(file.readline, b"\r\n")) if asked.startswith(b"GET") else []
                host = next((one.split()[1].decode() for one in head if one.lower().startswith(b"host:")), "")
                body = json.dumps({"node": name, "path": "/", "service": host}).encode()
                if head:
                    body = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
                spoken.sendall(body + b"\n")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def mesh(plane: DataPlane, *more: Resource) -> State:
    """A node that may call all of the services."""
    backends = [{"virtualService": {"virtualServiceName": name}} for name in SERVICES]
    found: list[Resource] = [resource(Kind.VIRTUAL_NODE, WEB.name, {"backends": backends}), *more]
    for service, (node, port, protocol) in SERVICES.items():
        listeners = [{"portMapping": {"port": port, "protocol": protocol}}]
        discovery = {"dns": {"hostname": plane.place(node).ingress}}
        found += [
            resource(Kind.VIRTUAL_NODE, node, {"listeners": listeners, "serviceDiscovery": discovery}),
            resource(Kind.VIRTUAL_SERVICE, service, {"provider": {"virtualNode": {"virtualNodeName": node}}}),
        ]
    return State(found)


async def test_simulation_and_a_real_envoy_agree_on_ports_that_several_share(tmp_path: Path) -> None:
    """Every name on every port, in plain HTTP and TCP and in TLS, without a policy and with one that names hosts."""
    for name, content in credentials().items():
        (tmp_path / name).write_bytes(content)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    asking = ssl.create_default_context()
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    allowing = resource(Kind.EGRESS_POLICY, "web", {"target": {"virtualNodeName": "web"}, "allow": ALLOWED})
    calls = [
        Call(protocol=protocol, host=name, port=port, scheme=scheme)  # type: ignore[arg-type]
        for name, port, protocol, scheme in itertools.product(
            NAMES, (SHARED, TCP, OTHER), ("http", "tcp"), ("http", "https")
        )
    ]
    outcomes, wrong = set[str](), list[str]()
    async with data_plane(tmp_path) as plane, contextlib.AsyncExitStack() as exits:
        outside = plane.place(OUTSIDE).application
        plane.names.publish({name.lower(): [outside] for name in NAMES})
        for node, port, _ in SERVICES.values():
            exits.enter_context(obliging(node, plane.place(node).ingress, port, served))
        for port in (SHARED, TCP, OTHER):
            exits.enter_context(obliging(OUTSIDE, outside, port, served))
        for state in (mesh(plane), mesh(plane, allowing)):
            await plane.publish(*state)
            if not outcomes:
                await plane.proxy(WEB)
            for call in calls:
                verdict = route(resolve(state), WEB, call)
                heard = await heard_of(verdict, plane.place(WEB.name).egress, asking if call.encrypted else None)
                outcomes.add(verdict.outcome)
                if wanted := difference(verdict, heard):
                    wrong.append(f"{call}: {verdict.outcome}, {verdict.ending.reason}; {wanted}, heard {heard}")
    assert not wrong, "\n".join(wrong)
    assert outcomes == {"routed", "outside", "no-host", "refused"}
