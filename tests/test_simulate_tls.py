"""What `simulate` says of encrypted and plain connections is what the Envoys of callers, gateways and servers do.

Every combination of a listener's mode and a caller's policy, behind a node and behind a gateway that encrypts or not.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest

from calling import difference, heard_of
from data_plane import PORT, data_plane, provided
from meshwright.graph import resolve
from meshwright.lab.exchange import Reply, Request
from meshwright.model import Key, Kind, Resource, State
from meshwright.simulate import Call, route
from one_envoy import speaking
from pki import Authority
from settings import PROVE
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    from pathlib import Path

    from data_plane import DataPlane

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(900 if PROVE else 300)]

WEB, SERVER = (Key(MESH, Kind.VIRTUAL_NODE, name) for name in ("web", "server"))
GATE = Key(MESH, Kind.VIRTUAL_GATEWAY, "gate")
GATE_PORT = 8443
LISTENERS: tuple[tuple[str, bool], ...] = (
    # The mode, and whether clients must show a certificate.
    ("", False),
    ("DISABLED", False),
    ("PERMISSIVE", False),
    ("STRICT", False),
    ("PERMISSIVE", True),
    ("STRICT", True),
)
POLICIES: tuple[Wire | None, ...] = (
    # `shown` is whether it has a certificate.
    None,
    {"shown": False},
    {"shown": True},
    {"shown": False, "enforce": False},
    {"shown": True, "enforce": False},
    {"shown": True, "ports": [1]},
)


async def answer(request: Request, protocol: str) -> Reply:
    """The application of the server."""
    return Reply(node="server", protocol=protocol, service=request.authority, path=request.path)


def policy(authority: Authority, given: Wire | None) -> Wire:
    """A caller's defaults."""
    if given is None:
        return {}
    trust = {"file": {"certificateChain": str(authority.trusted)}}
    tls: Wire = {
        "validation": {"trust": trust, "subjectAlternativeNames": {"match": {"exact": ["server.local"]}}},
        **{name: value for name, value in given.items() if name != "shown"},
    }
    if given["shown"]:
        files = authority.friend
        tls["certificate"] = {"file": {"certificateChain": str(files.certificate), "privateKey": str(files.key)}}
    return {"backendDefaults": {"clientPolicy": {"tls": tls}}}


def mesh(plane: DataPlane, authority: Authority, listener: tuple[str, bool], given: Wire | None, door: str) -> State:
    """A node and a gateway that call a server; `door` is the gateway's own mode."""
    mode, mutual = listener
    mapping: Wire = {"portMapping": {"port": PORT, "protocol": "http"}}
    tls: Wire = authority.tls(mode, mutual=mutual) if mode else {}
    found = {"serviceDiscovery": {"dns": {"hostname": plane.place(SERVER.name).ingress}}}
    caller = policy(authority, given)
    target = {"virtualService": {"virtualServiceName": "s.local"}}
    entrance: Any = {"portMapping": {"port": GATE_PORT, "protocol": "http"}, **(authority.tls(door) if door else {})}
    objects: list[Resource] = [
        resource(Kind.VIRTUAL_NODE, SERVER.name, {"listeners": [mapping | tls], **found}),
        resource(
            Kind.VIRTUAL_NODE,
            WEB.name,
            {"backends": [{"virtualService": {"virtualServiceName": "s.local"}}], **caller},
        ),
        provided("s.local", SERVER.name),
        resource(Kind.VIRTUAL_GATEWAY, GATE.name, {"listeners": [entrance], **caller}),
        resource(
            Kind.GATEWAY_ROUTE,
            "all",
            {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}},
            parent=GATE.name,
        ),
    ]
    return State(objects)


async def test_simulation_and_real_envoys_agree_on_who_encrypts(tmp_path: Path) -> None:
    """Who is served, and who gets 503 or a closed connection."""
    every = [
        (listener, given, door)
        for number, (listener, given) in enumerate(itertools.product(LISTENERS, POLICIES))
        for door in (("", "PERMISSIVE", "STRICT") if PROVE else (("", "PERMISSIVE", "STRICT")[number % 3],))
    ]
    chosen = every if PROVE else random.Random(5).sample(every, 16)  # noqa: S311 - chance, nothing secret
    authority, outcomes, wrong = Authority(tmp_path), set[str](), list[str]()
    calls = [(WEB, Call(host="s.local", port=PORT))]
    calls += [(GATE, Call(host="server.local", port=GATE_PORT, scheme=scheme)) for scheme in ("http", "https")]
    async with data_plane(tmp_path) as plane, contextlib.AsyncExitStack() as exits:
        await exits.enter_async_context(speaking("http", plane.place(SERVER.name).application, PORT, answer))
        addresses = {WEB: plane.place(WEB.name).egress, GATE: plane.place(GATE.name).ingress}
        await plane.publish(*mesh(plane, authority, *chosen[0]))
        for key in (SERVER, WEB, GATE):
            await plane.proxy(key)
        for listener, given, door in chosen:
            state = mesh(plane, authority, listener, given, door)
            await plane.publish(*state)
            for caller, call in calls:
                verdict = route(resolve(state), caller, call)
                context = authority.context() if call.encrypted else None
                heard = await heard_of(verdict, addresses[caller], context)
                outcomes.add(verdict.outcome)
                if wanted := difference(verdict, heard):
                    told = f"listener {listener}, policy {given}, gateway {door!r}: {caller.name} {call.scheme}"
                    wrong.append(f"{told}: {verdict.ending.reason}; {wanted}, heard {heard}")
    assert not wrong, "\n".join(wrong)
    assert outcomes == {"routed", "refused"}
