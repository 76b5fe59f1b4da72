"""Whom a plan reaches, and what their Envoys are told: held against building everything, and against live proxies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as tried
from markdown_it import MarkdownIt

from ads_client import AdsClient
from meshwright.graph import resolve
from meshwright.impact.findings import findings
from meshwright.impact.reach import reach
from meshwright.impact.risks import risks
from meshwright.impact.scene import Scene
from meshwright.impact.values import Impact
from meshwright.model.identity import Key, Kind, parse_key
from meshwright.model.state import State
from meshwright.plan import decoded, diff
from meshwright.remote import Client, find_credentials
from meshwright.server import Settings, control_plane
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import CLUSTER, LISTENER, ROUTE, Endpoint, Redirect, Traits
from meshwright.trust.credentials import parse
from meshwright.views import plan as view
from settings import examples
from strategies import states
from test_cli_plan import DEFINITIONS, FILES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from meshwright.server import Running

MESH = "m"
WEB, A, B = (Key(MESH, Kind.VIRTUAL_NODE, name) for name in ("web", "a", "b"))


def scene(before: State, after: State, **more: Any) -> Scene:
    """The plan from one to the other, of nobody's stack."""
    return Scene(diff(before, after, "", MESH), before, **more)


@given(states(), states())
@tried(max_examples=examples(40))
def test_exactly_those_are_reached_whose_snapshot_differs(before: State, after: State) -> None:
    """Whoever is not looked at because nothing that shapes him changes would have had no difference."""
    found = scene(before, after)
    assert [one.key for one in reach(found, None).nodes] == list(differing(found))


def differing(found: Scene) -> Iterator[Key]:
    """The nodes and gateways of which something differs, by building them all."""
    sides = [resolve(state) for state in (found.old, found.new)]
    keys = {
        one.key for side in sides for one in side.state if one.key.kind in {Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY}
    }
    for key in sorted(keys):
        made = []
        for side in sides:
            instances = {one.key: (Endpoint(address="192.0.2.1"),) for one in side.state.of(Kind.VIRTUAL_NODE)}
            traits = Traits(version=(1, 40, 0), runtime=True)
            there = build(side, key, instances, Redirect(), traits).resources if key in side.state else {}
            made.append({(url, name): one.version for url, some in there.items() for name, one in some.items()})
        if made[0] != made[1]:
            yield key


@given(states())
@tried(max_examples=examples(20))
def test_a_plan_of_equal_states_reaches_nobody(state: State) -> None:
    """And no rule says anything new of it."""
    found = scene(state, state)
    assert reach(found, {}, detail=True).nodes == ()
    assert (findings(found).new, findings(found).mended) == ((), ())


@given(states(), states())
@tried(max_examples=examples(15))
def test_a_comment_is_never_longer_than_it_may_be(before: State, after: State) -> None:
    """However much there is to tell; folds and fences that are opened are closed."""
    found = scene(before, after)
    impact = Impact(risks=risks(found), findings=findings(found), reach=reach(found, None, detail=True))
    for limit in (1_500, 5_000, 65_000):
        told = view.as_markdown(found.plan, impact, limit=limit)
        assert len(told) <= limit
        assert told.count("<details>") == told.count("</details>")
        assert told.count("\n```") % 2 == 0
        assert ("too long for a comment" in told) or len(told) >= 0.2 * len(view.as_markdown(found.plan, impact))


HOSTILE = "`x` | <img src=x> @team #1 [a](http://x.example) www.x.example ~~~ \\| </details> ``"


def test_no_name_is_markup_in_a_comment() -> None:
    """Read as GitHub reads it: names occur in code alone, where nobody is called and nothing is linked."""
    listeners = [{"portMapping": {"port": 80, "protocol": "http"}}]
    node = {"listeners": listeners, "serviceDiscovery": {"dns": {"hostname": "h"}}}
    before = State([decoded(Key(MESH, Kind.VIRTUAL_NODE, HOSTILE), node, {"meshwright:protected": "true"}, HOSTILE)])
    stray = decoded(Key("elsewhere", Kind.VIRTUAL_NODE, HOSTILE), {}, {}, HOSTILE)
    plan = diff(before, State([stray]), HOSTILE, MESH)
    found = Scene(plan, before)
    impact = Impact(risks=risks(found), findings=findings(found), reach=reach(found, {}, detail=True))
    assert impact.risks
    assert plan.conflicts
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(view.as_markdown(plan, impact))
    inside = [one for token in tokens for one in (token, *(token.children or ()))]
    allowed = {
        "<details><summary>Reaches 1 node or gateway, 0 connected proxies</summary>",
        "</details>",
        "<details><summary>What Envoys are sent</summary>",
    }
    told = {line for one in inside if one.type.startswith("html") for line in one.content.splitlines()}
    assert told <= allowed
    assert not [one for one in inside if one.type in {"link_open", "image"}]
    texts = [one.content for one in inside if one.type == "text"]
    assert not [text for text in texts if set("@#<[~") & set(text) or "example" in text]


def shop() -> State:
    """`entry` → `web.local` → `a`, and a node that nobody calls."""

    def one(kind: Kind, name: str, spec: dict[str, Any], parent: str = "") -> Any:
        return decoded(Key(MESH, kind, name, parent), spec, {})

    def node(name: str, *backends: str) -> Any:
        services = [{"virtualService": {"virtualServiceName": f"{one}.local"}} for one in backends]
        listeners = [{"portMapping": {"port": 80, "protocol": "http"}}]
        spec = {"listeners": listeners, "backends": services, "serviceDiscovery": {"dns": {"hostname": name}}}
        return one(Kind.VIRTUAL_NODE, name, spec)

    def provided(name: str) -> Any:
        return one(Kind.VIRTUAL_SERVICE, f"{name}.local", {"provider": {"virtualNode": {"virtualNodeName": name}}})

    entry = {"match": {"prefix": "/"}, "action": {"target": {"virtualService": {"virtualServiceName": "web.local"}}}}
    return State(
        [
            one(Kind.MESH, MESH, {}),
            *(node("web", "a"), node("a"), node("alone"), provided("web"), provided("a")),
            one(Kind.VIRTUAL_GATEWAY, "entry", {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}),
            one(Kind.GATEWAY_ROUTE, "all", {"httpRoute": entry}, "entry"),
        ]
    )


def limited(state: State, seconds: int) -> State:
    """`a` takes so long at most."""
    limit = {"http": {"perRequest": {"unit": "s", "value": seconds}}}
    listener = {"portMapping": {"port": 80, "protocol": "http"}, "timeout": limit}
    return state.put(decoded(A, {"listeners": [listener], "serviceDiscovery": {"dns": {"hostname": "a"}}}, {}))


def test_callers_whose_requests_pass_through_are_named_apart() -> None:
    """Only `a` itself holds the limit; requests come to it by `web`, and by the gateway before that."""
    ids = {A: ("a-1", "a-2"), Key(MESH, Kind.VIRTUAL_NODE, "alone"): ("x",)}
    found = reach(scene(shop(), limited(shop(), 5)), ids)
    assert [(one.key, one.action, one.proxies) for one in found.nodes] == [(A, "update", ("a-1", "a-2"))]
    assert found.callers == (Key(MESH, Kind.VIRTUAL_GATEWAY, "entry"), WEB)
    assert found.connected == 2
    assert reach(scene(shop(), limited(shop(), 5)), None).connected is None


def test_a_node_that_comes_or_goes_is_told_as_such() -> None:
    """With all that its proxies are sent, or drop."""
    alone = parse_key("mesh/m/virtualNode/alone")
    without = shop().drop(alone)
    (come,) = reach(scene(without, shop()), {}).nodes
    assert (come.key, come.action, come.changed, come.removed) == (alone, "create", 0, 0)
    (gone,) = reach(scene(shop(), without), {}).nodes
    assert (gone.key, gone.action, gone.added, gone.changed, gone.removed) == (alone, "delete", 0, 0, come.added)


def test_a_zone_policy_reaches_the_callers_of_instances_that_dns_does_not_tell() -> None:
    """Though no instance is known while a plan is made."""
    cloud = {"awsCloudMap": {"namespaceName": "n", "serviceName": "a"}}
    listeners = [{"portMapping": {"port": 80, "protocol": "http"}}]
    before = shop().put(decoded(A, {"listeners": listeners, "serviceDiscovery": cloud}, {}))
    policy = decoded(
        parse_key("mesh/m/meshwright/zonePolicy/near"),
        {"target": {"virtualNodeName": "a"}, "preferSameZone": True},
        {},
    )
    assert [one.key for one in reach(scene(before, before.put(policy)), None).nodes] == [WEB]


def test_fields_of_a_message_are_told_by_the_names_in_it() -> None:
    """In Envoy's words; without being asked for, only their number is."""
    found = scene(limited(shop(), 5), limited(shop(), 9))
    (one,) = reach(found, None, detail=True).nodes
    told = [
        (each.action, each.type, [(some.path, some.old, some.new) for some in each.fields]) for each in one.resources
    ]
    assert ("change", "RouteConfiguration", [("virtual_hosts[a].routes[0].route.timeout", "5s", "9s")]) in told
    (one,) = reach(found, None).nodes
    assert (one.resources, one.more, one.changed) == ((), 0, len(told))


# ── against a live control plane ──


@contextlib.asynccontextmanager
async def connected(running: Running, name: str, instance: str) -> AsyncIterator[None]:
    """A proxy of a node, with what it is sent first."""
    node = {"id": f"mesh/m/virtualNode/{name}", "metadata": {"meshwright": {"instance": instance}}}
    key = parse(running.credentials.read_text())["default"]
    async with AdsClient(running.xds, node, delta=True, key=key) as stream:
        for type_url in (CLUSTER, LISTENER, ROUTE):
            await stream.say(type_url, resource_names_subscribe=["*"])
            await stream.ack(await stream.hear())
        yield


async def held(client: Client, proxy: str) -> set[tuple[str, str, str]]:
    """Type, name and version of all that a connected proxy should hold; what it is to drop has no version."""
    found = (await asyncio.to_thread(client.proxy, proxy))["resources"]
    return {(one["type_url"].rpartition(".")[2], one["name"], one["version"]) for one in found if one["version"]}


async def command(running: Running, folder: Path, *arguments: str) -> str:
    """What the command line prints, as a process of its own."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MESHWRIGHT_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshwright.cli", "--endpoint", running.api, *arguments),
        cwd=folder,
        env=environ | {"AWS_SHARED_CREDENTIALS_FILE": str(running.credentials)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize(
    ("old", "new", "reached"),
    [
        ("weight: 10", "weight: 80", {"web": ["one", "two"]}),
        ("maxServerErrors: 5", "maxServerErrors: 6", {"web": ["one", "two"]}),
        ("DROP_ALL", "ALLOW_ALL", {"a": ["one"], "b": [], "web": ["one", "two"]}),
        ("        - {virtualNode: b, weight: 10}\n", "", {"web": ["one", "two"]}),
    ],
    ids=["weight", "outlier", "egress", "target"],
)
async def test_the_proxies_that_a_plan_names_are_those_that_its_release_concerns(
    tmp_path: Path, old: str, new: str, reached: dict[str, list[str]]
) -> None:
    """By the control plane's own account, once it is applied; and so are the resources."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    settings = Settings(listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=tmp_path / "data")
    async with control_plane(settings) as running:
        await command(running, tmp_path, "apply")
        assert old in DEFINITIONS
        (tmp_path / "mesh.yaml").write_text(DEFINITIONS.replace(old, new))
        async with connected(running, "web", "one"), connected(running, "web", "two"), connected(running, "a", "one"):
            planned = await command(running, tmp_path, "plan", "--envoy-diff", "--format", "json")
            found = json.loads(planned)["impact"]["reach"]
            ids = {name: [f"mesh/m/virtualNode/{name}@{one}" for one in some] for name, some in reached.items()}
            assert {one["object"].rpartition("/")[2]: one["proxies"] for one in found["nodes"]} == ids
            assert found["connected"] == sum(map(len, ids.values()))
            credentials = find_credentials({"AWS_SHARED_CREDENTIALS_FILE": str(running.credentials)}, running.api)
            client = Client(running.api, credentials)
            before = {one: await held(client, one) for some in ids.values() for one in some}
            await command(running, tmp_path, "apply")
            for node in found["nodes"]:
                told = {(one["type"], one["name"]) for one in node["resources"]}
                for one in node["proxies"]:
                    after = await held(client, one)
                    assert {(kind, name) for kind, name, _ in before[one] ^ after} == told
            concerned = (await asyncio.to_thread(client.propagation, MESH, "shop", 2))["concerned"]
            assert sorted(concerned) == sorted(one for some in ids.values() for one in some)
