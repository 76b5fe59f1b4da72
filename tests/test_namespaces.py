"""Rigs in network namespaces: production's redirection, the same verdicts as on loopback, and nothing left of it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import msgspec
import pytest
import rstr

from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.graph import resolve
from meshwright.lab.namespaces import missing
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Kind, State
from meshwright.simulate import Call
from meshwright.trials.deriving import derive
from rigging import declared
from settings import PROVE, ROOT
from strategies import MESH, resource
from test_corpus_documents import completed
from test_rig import calling, listening, node, provided, secured

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.lab.machines import Isolation
    from meshwright.trials.trial import Trial

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(bool(missing()), reason=missing())]


async def verdicts(state: State, isolation: Isolation) -> dict[tuple[str, str, int], str]:
    """Who answered each call that `state` declares, by caller, host and port."""
    async with Rig(state, isolation=isolation) as rig:
        sent = [await rig.send(asked.call, asked.at) for asked in declared(rig.graph)]
        told = await rig.report(sent)
        assert all(trace.records for trace, one in zip(told, sent, strict=True) if one.reply.node)
    return {(one.at.name, one.call.host, one.call.port): one.reply.node for one in sent}


async def test_both_isolations_give_the_same_verdicts() -> None:
    """Over every protocol, with TLS from files and secrets, Cloud Map, gateways, and callers that are refused."""
    found = await verdicts(secured(), "netns")
    assert found == await verdicts(secured(), "loopback")
    assert set(found.values()) == {"web", "api", "stock", "raw", "pay", "reg", "old", ""}


def wide_open() -> State:
    """A mesh that lets everything out, where only `web` declares a call; two services are named as nodes are."""
    protocols = {"web": "http", "api": "http2", "stock": "grpc", "raw": "tcp"}
    names = {"web": "web.nodes", "api": "api.local", "stock": "stock.nodes", "raw": "raw.local"}
    services = [
        resource(Kind.VIRTUAL_SERVICE, names[name], {"provider": {"virtualNode": {"virtualNodeName": name}}})
        for name in protocols
    ]
    backends = {"web": calling("api")}
    nodes = [node(name, **listening(protocol), **backends.get(name, {})) for name, protocol in protocols.items()]
    mesh = resource(Kind.MESH, MESH, {"egressFilter": {"type": "ALLOW_ALL"}})
    return State().put(mesh, *nodes, *services)


async def test_past_an_open_mesh_both_isolations_reach_the_world_outside() -> None:
    """In every protocol on one port, by names that nobody has and by names of nodes; strangers alike."""
    state = wide_open()
    leaving = tuple(one for one in derived(state) if "outside" in one.expect.served_by)
    assert {(one.call.protocol, one.call.host) for one in leaving} >= {
        ("http", "stranger.example"),
        ("http", "web.nodes"),
        ("http2", "api.local"),
        ("grpc", "stock.nodes"),
        ("tcp", "raw.local"),
    }
    for isolation in ("netns", "loopback"):
        found = await outcomes(state, leaving, isolation)
        assert {name: one for name, one in found.items() if one != ("passed", set())} == {}


SHOP = "examples/shop"
SUITES = [
    "cfn/walkthroughs/howto-http-headers/app.yaml",
    "cfn/walkthroughs/howto-grpc/mesh.yaml",
    "k8s/walkthroughs/howto-k8s-egress/v1beta2/manifest.yaml.template",
]
"""Meshes of the corpus whose tests both isolations run whole, beside the shop's."""


def derived(state: State) -> tuple[Trial, ...]:
    """The tests that nobody wrote, of real limits of time and all."""
    return derive(resolve(state), rstr.Rstr(random.Random(1))).trials  # noqa: S311 - nothing here is secret


async def outcomes(state: State, trials: tuple[Trial, ...], isolation: Isolation) -> dict[str, tuple[str, set[str]]]:
    """How each trial ended, and what was not as expected."""
    needed = {given.at: given.of for one in trials for given in one.given if given.of}
    async with Rig(state, isolation=isolation, instances=needed) as rig:
        results = await run(rig, trials, lambda _: None)
    return {one.trial.name: (one.outcome, {each.what for each in one.mismatches}) for one in results}


@pytest.mark.parametrize("suite", [SHOP, *SUITES] if PROVE else SUITES[:1])
async def test_both_isolations_end_whole_suites_alike(corpus: Path, suite: str) -> None:
    """Every derived test of a mesh, spans of each hop included; a few of them, seeded, outside of `make prove`."""
    project = load_project(ROOT / "examples" / "shop" / "meshwright.yaml")
    shop = load(project.definitions, project.load_settings())
    state = (shop if suite == SHOP else completed(corpus / suite)).state
    trials = derived(state)
    if not PROVE:
        quick = [one for one in trials if not one.given]
        trials = tuple(random.Random(1).sample(quick, min(12, len(quick))))  # noqa: S311 - nothing here is secret
    found = await outcomes(state, trials, "netns")
    assert found == await outcomes(state, trials, "loopback")
    assert ("passed", set()) in found.values()


async def test_nothing_is_waited_for_of_a_tcp_connection_that_its_proxy_closes() -> None:
    """Which knows nobody whom it is for, and says nothing of it: a report is there at once, not when time is up."""
    state = State([
        resource(Kind.MESH, MESH, {"egressFilter": {"type": "DROP_ALL"}}),
        node("stranger", **calling()),
        node("raw", **listening("tcp", 9000)),
        provided("raw"),
    ])  # fmt: skip
    async with Rig(state, isolation="netns") as rig:
        sent = await rig.send(Call(protocol="tcp", host="raw.local", port=9000), rig.named("stranger"))
        async with asyncio.timeout(5):
            (trace,) = await rig.report([sent])
    assert (sent.reply.status, sent.attempts, trace.records) == (503, (), [])


def two_ports() -> State:
    """A gateway with a route to each of the two ports of one service."""
    ports = (8080, 9090)
    listeners = [one for port in ports for one in listening("http", port)["listeners"]]
    found = [
        node("web", listeners=listeners),
        resource(Kind.VIRTUAL_ROUTER, "web", {"listeners": listeners}),
        resource(Kind.VIRTUAL_SERVICE, "web.local", {"provider": {"virtualRouter": {"virtualRouterName": "web"}}}),
        resource(Kind.VIRTUAL_GATEWAY, "door", listening("http")),
    ]
    for port in ports:
        action = {"weightedTargets": [{"virtualNode": "web", "weight": 1, "port": port}]}
        match = {"prefix": "/", "port": port}
        found.append(
            resource(Kind.ROUTE, f"at-{port}", {"httpRoute": {"match": match, "action": action}}, parent="web")
        )
        to = {"target": {"virtualService": {"virtualServiceName": "web.local"}, "port": port}}
        entry = {"httpRoute": {"match": {"prefix": f"/{port}"}, "action": to}}
        found.append(resource(Kind.GATEWAY_ROUTE, f"to-{port}", entry, parent="door"))
    return State([resource(Kind.MESH, MESH, {}), *found])


async def test_behind_a_gateway_every_port_of_a_service_is_called_by_its_name_alone() -> None:
    """As App Mesh has it, in both isolations: the port that is meant is no part of the Host that arrives."""
    state = two_ports()
    trials = tuple(one for one in derived(state) if one.name.endswith(" is reached"))
    assert {one.about[0].name for one in trials} == {"at-8080", "at-9090", "to-8080", "to-9090"}
    for isolation in ("netns", "loopback"):
        found = await outcomes(state, trials, isolation)
        assert [one for one in found.values() if one != ("passed", set())] == []


async def test_what_a_run_cannot_know_fails_no_sound_mesh() -> None:
    """A node that calls itself goes past its own listener, and an id that is no UUID leaves no spans."""
    match = {"prefix": "/", "headers": [{"name": "x-request-id", "match": {"prefix": "zz"}}]}
    action = {"weightedTargets": [{"virtualNode": "many", "weight": 1}]}
    router = {"provider": {"virtualRouter": {"virtualRouterName": "many"}}}
    state = State([
        resource(Kind.MESH, MESH, {"egressFilter": {"type": "DROP_ALL"}}),
        node("many", **listening("http"), **calling("many")),
        node("web", **listening("http"), **calling("many", "routed")),
        resource(Kind.VIRTUAL_ROUTER, "many", listening("http")),
        resource(Kind.ROUTE, "known", {"httpRoute": {"match": match, "action": action}}, parent="many"),
        resource(Kind.VIRTUAL_SERVICE, "routed.local", router),
        provided("many"),
    ])  # fmt: skip
    trials = {one.name: one for one in derived(state)}
    known = trials["route known of routed.local:8080 is reached"]
    served = trials["virtual service many.local:8080 is reached"]
    assert served.caller.name == "web"
    assert "many reaches many.local" not in trials
    found = derive(resolve(state), rstr.Rstr(random.Random(1)))  # noqa: S311 - nothing here is secret
    (gap,) = (one for one in found.gaps if one.path.startswith("spec.backends["))
    assert (gap.route.name, "calls its own node" in gap.reason) == ("many", True)
    itself = msgspec.structs.replace(
        served, name="itself", caller=msgspec.structs.replace(served.caller, name="many")
    )
    for isolation in ("netns", "loopback"):
        ended = await outcomes(state, (known, served, itself), isolation)
        assert [one for one in ended.values() if one != ("passed", set())] == []
