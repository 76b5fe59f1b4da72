"""What `simulate` says is what real Envoys do: meshes and calls by chance, near misses included.

Two Envoys, a node's and a gateway's, take one mesh after the other from a running control plane; behind them are
small servers of the test, one a node, so that who answers tells which route was taken.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from calling import difference, heard_of
from data_plane import PORT, data_plane, routed, to
from meshwright.graph import resolve
from meshwright.lab.exchange import Reply, Request
from meshwright.model import Key, Kind, State
from meshwright.model.decoding import encode
from meshwright.simulate import Call, Verdict, route
from one_envoy import speaking
from random_meshes import CALLER, GATE, HTTP_NODES, NODE_PORTS, TCP_NODES, Drawn, calls
from settings import PROVE
from strategies import MESH, resource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from calling import Heard
    from data_plane import DataPlane
    from meshwright.lab.exchange import Answer
    from meshwright.model import Resource
    from meshwright.simulate.calls import Protocol

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(1800 if PROVE else 300)]

GATE_PORT = 9080

MESHES = 400 if PROVE else 25
CALLS = 100 if PROVE else 60


def answering(name: str) -> Answer:
    """A server that says who it is and what it was asked."""

    async def answer(request: Request, protocol: str) -> Reply:
        return Reply(
            node=name, protocol=protocol, service=request.authority, path=request.path, headers=request.headers
        )

    return answer


async def servers(plane: DataPlane, exits: contextlib.AsyncExitStack) -> dict[str, str]:
    """A server for each node that meshes are drawn with; their addresses."""
    places = {}
    for name, protocol in (HTTP_NODES | TCP_NODES).items():
        places[name] = plane.place(name).ingress
        await exits.enter_async_context(speaking(protocol, places[name], NODE_PORTS[protocol], answering(name)))
    return places


def told(seed: int, state: State, caller: Key, call: Call, verdict: Verdict, heard: Heard, wanted: str) -> str:
    """A disagreement, with all that it takes to see it again."""
    objects = [f"  {one.key.path}: {msgspec.json.encode(encode(one.spec)).decode()}" for one in state]
    return "\n".join(
        [
            f"seed {seed}: {caller.name} sends {call}",
            f"simulated: {verdict.outcome}, {verdict.ending.reason}; {wanted}",
            f"heard: {heard}",
            *(f"  {hop.chosen}: {hop.candidates}" for hop in verdict.hops),
            *(one for one in objects if "virtualNode/n" not in one and "virtualNode/t" not in one),
        ]
    )


def by_cookies(plane: DataPlane, gate: int) -> State:
    """A service whose routes ask for cookies, called by a node, and by a gateway on ports `gate` and the next."""
    targets = {"joined": "a; b", "second": "b", "first": "a", "more": "a; "}
    objects = [plane.node(name) for name in targets] + [plane.node("rest"), plane.node("web", "s.local")]
    objects += routed("s.local", {"match": {"prefix": "/"}, "action": to(rest=1)})
    for number, (name, value) in enumerate(targets.items()):
        match = {"prefix": "/", "headers": [{"name": "cookie", "match": {"exact": value}}]}
        route = {"httpRoute": {"match": match, "action": to(**{name: 1})}, "priority": number}
        objects.append(resource(Kind.ROUTE, name, route, parent="s.local"))
    return State([*objects, *entered(gate)])


def by_scheme(plane: DataPlane, gate: int) -> State:
    """The same with a route that asks for the scheme."""
    objects = [plane.node("secure"), plane.node("rest"), plane.node("web", "s.local")]
    objects += routed("s.local", {"match": {"prefix": "/"}, "action": to(rest=1)})
    route = {"httpRoute": {"match": {"prefix": "/", "scheme": "https"}, "action": to(secure=1)}, "priority": 1}
    objects.append(resource(Kind.ROUTE, "secure", route, parent="s.local"))
    return State([*objects, *entered(gate)])


def entered(gate: int) -> Iterator[Resource]:
    """A gateway to the service on port `gate` over HTTP/1.1, and on the next one over HTTP/2."""
    listeners = [{"portMapping": {"port": gate + at, "protocol": one}} for at, one in enumerate(("http", "http2"))]
    yield resource(Kind.VIRTUAL_GATEWAY, GATE.name, {"listeners": listeners})
    action = {"target": {"virtualService": {"virtualServiceName": "s.local"}}}
    for at, one in enumerate(("http", "http2")):
        route = {f"{one}Route": {"match": {"prefix": "/", "port": gate + at}, "action": action}}
        yield resource(Kind.GATEWAY_ROUTE, one, route, parent=GATE.name)


async def test_cookies_that_come_apart_are_one_over_http2_and_stay_apart_before(tmp_path: Path) -> None:
    """Found by chance: what a gateway passes on to itself over HTTP/2 counts as well, and empty cookies are none."""
    web = Key(MESH, Kind.VIRTUAL_NODE, "web")
    cookies = (("a", "b"), ("a",), ("", "b"), ("a", ""), ("", ""), ("", "", "a"), (" a ", " b "), ("a; b",), ())
    protocols: tuple[Protocol, ...] = ("http", "http2")
    wrong = []
    async with data_plane(tmp_path) as plane, contextlib.AsyncExitStack() as exits:
        state, graph = by_cookies(plane, GATE_PORT), resolve(by_cookies(plane, GATE_PORT))
        for name in ("joined", "second", "first", "more", "rest"):
            await exits.enter_async_context(speaking("http", plane.place(name).ingress, PORT, answering(name)))
        await plane.publish(*state)
        await plane.proxy(web)
        await plane.proxy(GATE)
        ways = ((web, PORT), (GATE, GATE_PORT), (GATE, GATE_PORT + 1))
        for (caller, port), protocol, values in itertools.product(ways, protocols, cookies):
            sent = tuple(("cookie", one) for one in values)
            call = Call(host="s.local", port=port, protocol=protocol, headers=sent)
            verdict = route(graph, caller, call, 0)
            place = plane.place(caller.name)
            heard = await heard_of(verdict, place.ingress if caller is GATE else place.egress)
            if wanted := difference(verdict, heard):
                wrong.append(told(0, state, caller, call, verdict, heard, wanted))
    assert not wrong, "\n\n".join(wrong)


async def test_a_scheme_is_what_a_header_says_wherever_a_call_came_over_http1(tmp_path: Path) -> None:
    """Found by chance: what a gateway passes on to itself over HTTP/1.1 has no other place for it."""
    web, wrong = Key(MESH, Kind.VIRTUAL_NODE, "web"), []
    protocols: tuple[Protocol, ...] = ("http", "http2")
    async with data_plane(tmp_path) as plane, contextlib.AsyncExitStack() as exits:
        state, graph = by_scheme(plane, GATE_PORT), resolve(by_scheme(plane, GATE_PORT))
        for name in ("secure", "rest"):
            await exits.enter_async_context(speaking("http", plane.place(name).ingress, PORT, answering(name)))
        await plane.publish(*state)
        await plane.proxy(web)
        await plane.proxy(GATE)
        ways = ((web, PORT), (GATE, GATE_PORT), (GATE, GATE_PORT + 1))
        for (caller, port), protocol, said in itertools.product(ways, protocols, ("https", "http", "")):
            headers = (("x-forwarded-proto", said),) if said else ()
            call = Call(host="s.local", port=port, protocol=protocol, headers=headers)
            verdict = route(graph, caller, call, 0)
            place = plane.place(caller.name)
            heard = await heard_of(verdict, place.ingress if caller is GATE else place.egress)
            if wanted := difference(verdict, heard):
                wrong.append(told(0, state, caller, call, verdict, heard, wanted))
    assert not wrong, "\n\n".join(wrong)


async def test_simulation_and_real_envoys_agree_on_meshes_and_calls_by_chance(tmp_path: Path) -> None:
    """Who serves a call, with which path and Host it arrives, or with what it is answered."""
    first = random.randrange(10**6) if PROVE else 0  # noqa: S311 - chance, nothing secret
    wrong, compared = [], dict[str, int]()
    async with data_plane(tmp_path) as plane, contextlib.AsyncExitStack() as exits:
        places = await servers(plane, exits)
        addresses = {CALLER: plane.place(CALLER.name).egress, GATE: plane.place(GATE.name).ingress}
        started = False
        for seed in range(first, first + MESHES):
            drawn = Drawn(random.Random(seed), places, 10_000 + 10 * (seed % 2_000))  # noqa: S311
            state = drawn.state
            await plane.publish(*state)
            if not started:
                await plane.proxy(CALLER)
                await plane.proxy(GATE)
                started = True
            graph = resolve(state)
            for caller, call in calls(drawn, state, CALLS):
                verdict = route(graph, caller, call, time.time_ns() // 1_000_000)
                heard = await heard_of(verdict, addresses[caller])
                compared[verdict.outcome] = compared.get(verdict.outcome, 0) + 1
                if wanted := difference(verdict, heard):
                    wrong.append(told(seed, state, caller, call, verdict, heard, wanted))
    assert not wrong, f"{len(wrong)} of {sum(compared.values())} differ\n" + "\n\n".join(wrong[:5])
    assert {"routed", "no-route", "no-host", "no-target", "answered", "refused"} <= compared.keys(), compared
