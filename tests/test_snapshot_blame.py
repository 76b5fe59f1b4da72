"""A rejection leads to the object at fault; a missing proxy is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envoy_check import refusal
from envoys import envoy, until
from handmade import NODE, cluster, endpoints, listener
from meshwright.errors import UnknownProxyError
from meshwright.graph import resolve
from meshwright.model import Key, Kind, State, encode
from meshwright.proxy import check
from meshwright.snapshot.blame import traced
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import LISTENER, ROUTE, Redirect, Snapshot
from stage import staged
from strategies import MESH, Wire, resource

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.snapshot.resources import EnvoyResource

WEB = Key(MESH, Kind.VIRTUAL_NODE, "web")


def mesh(match: Wire, logging: Wire | None = None, bad: Wire | None = None) -> State:
    """A node whose backend has two routes, the second with `match`, and a third if that is `bad`."""
    action = {"weightedTargets": [{"virtualNode": "n", "weight": 1}]}
    backends = [{"virtualService": {"virtualServiceName": "s.local"}}]
    listeners = [{"portMapping": {"port": 80, "protocol": "http"}}]
    provider = {"provider": {"virtualRouter": {"virtualRouterName": "r"}}}
    discovery = {"dns": {"hostname": "n.local"}}
    state = State(
        [
            resource(Kind.VIRTUAL_NODE, "web", {"backends": backends, **({"logging": logging} if logging else {})}),
            resource(Kind.VIRTUAL_NODE, "n", {"listeners": listeners, "serviceDiscovery": discovery}),
            resource(Kind.VIRTUAL_SERVICE, "s.local", provider),
            resource(Kind.VIRTUAL_ROUTER, "r", {"listeners": listeners}),
            resource(Kind.ROUTE, "good", {"httpRoute": {"match": {"prefix": "/"}, "action": action}}, "r"),
            resource(Kind.ROUTE, "bad", {"httpRoute": {"match": match, "action": action}}, "r"),
        ]
    )
    if bad is not None:
        worse = {"httpRoute": {"match": bad, "action": action}}
        state = state.put(resource(Kind.ROUTE, "worse", worse, "r"))
    return state


def culprits(resource: EnvoyResource, said: str) -> tuple[Key, ...]:
    """The objects that are blamed, each once."""
    return tuple(dict.fromkeys(one.origin for one in traced(resource, said, lambda _: None)))


def built(match: Wire, logging: Wire | None = None, bad: Wire | None = None) -> Snapshot:
    """The snapshot of the node of `mesh`."""
    return build(resolve(mesh(match, logging, bad)), WEB, {}, Redirect())


@pytest.mark.envoy
def test_a_fault_that_many_proxies_share_is_one_finding_at_its_field() -> None:
    """Envoy refuses the route for each caller; the blameless proxies judged with them are not accused."""
    regex = "x{2000}"
    state = mesh({"prefix": "/", "headers": [{"name": "x", "match": {"regex": regex}}]})
    callers = [
        resource(Kind.VIRTUAL_NODE, f"caller-{number}", {"backends": encode(state[WEB].spec)["backends"]})
        for number in range(5)
    ]
    (found,) = check.check(resolve(state.put(*callers)))
    assert found.subject == "mesh/m/virtualRouter/r/route/bad"
    assert found.path == "spec.httpRoute.match.headers[0].match.regex"
    assert " and 5 more: " in found.summary


@pytest.mark.envoy
@pytest.mark.parametrize("regex", ["(", "*a", "a(?=b)", r"(a)\1", "[z-a]", "x{2000}"])
@pytest.mark.parametrize("where", ["path", "header"])
def test_a_bad_regex_leads_to_its_route(regex: str, where: str) -> None:
    """Whatever of the expression Envoy quotes."""
    header = {"prefix": "/", "headers": [{"name": "x", "match": {"regex": regex}}]}
    snapshot = built({"path": {"regex": regex}} if where == "path" else header)
    said = refusal([snapshot])
    assert said
    assert culprits(snapshot.of(ROUTE)["rds_egress_http_80"], said) == (Key(MESH, Kind.ROUTE, "bad", "r"),)


@pytest.mark.envoy
def test_what_envoy_prints_of_the_message_accuses_nobody() -> None:
    """It prints all of it before some reasons, the innocent expressions included."""
    innocent = {"name": "x", "match": {"regex": "[a-z]+"}}
    snapshot = built({"prefix": "/", "headers": [innocent]}, bad={"prefix": "/a", "queryParameters": [{"name": ""}]})
    said = refusal([snapshot])
    assert "[a-z]+" in said
    assert culprits(snapshot.of(ROUTE)["rds_egress_http_80"], said) == (Key(MESH, Kind.ROUTE, "worse", "r"),)
    (refused,) = check.refusals([snapshot])
    assert refused.words.startswith("Proto constraint validation failed (")


@pytest.mark.envoy
async def test_a_rejection_over_the_stream_is_shown_by_its_reason_alone(tmp_path: Path) -> None:
    """Not behind the whole of what was rejected; where Envoy cut the reason off, that is said."""
    bad = built({"prefix": "/", "queryParameters": [{"name": ""}]}).of(ROUTE)["rds_egress_http_80"]
    headers = [{"name": f"x-{'y' * 40}", "match": {"exact": "z" * 255}}] * 10
    long = built({"prefix": "/", "headers": headers, "queryParameters": [{"name": ""}]})
    for number, refused in enumerate((bad, long.of(ROUTE)["rds_egress_http_80"])):
        resources = (cluster("cds_egress_m_n_http_80"), endpoints("cds_egress_m_n_http_80", 9))
        entrance = listener("l", "127.0.0.1", 0, refused.name)
        async with staged(*resources, entrance, refused) as stage:
            async with envoy(tmp_path, NODE, stage.port, instance=f"{number}"):
                await until(lambda at=stage: any(one.rejections for one in at.control.statuses()))
                ((said,),) = ([one.message for one in proxy.rejections] for proxy in stage.control.statuses())
            assert said.startswith("Proto constraint validation failed")
            assert len(said) < 1_000


@pytest.mark.parametrize("regex", [r"/\x{100}", "/a{30}{40}", "/(abcdefghij){100}"])
def test_what_only_envoy_refuses_leads_to_its_route(regex: str) -> None:
    """Judged on bytes and with a limit on the size, as a proxy that we start does."""
    found = built({"path": {"regex": regex}}).of(ROUTE)["rds_egress_http_80"]
    assert culprits(found, "some words") == (Key(MESH, Kind.ROUTE, "bad", "r"),)


@pytest.mark.envoy
def test_a_bad_log_format_leads_to_the_node() -> None:
    """And not to the mesh or the routes."""
    log = {"accessLog": {"file": {"path": "/dev/stdout", "format": {"text": "%REQ(%"}}}}
    snapshot = built({"prefix": "/x"}, log)
    said = refusal([snapshot])
    assert said
    assert culprits(snapshot.of(LISTENER)["lds_egress_0.0.0.0_15001"], said) == (WEB,)


@pytest.mark.envoy
def test_a_fault_at_a_place_leads_to_the_route_at_that_place() -> None:
    """Envoy counts virtual hosts and routes where it refuses a value."""
    snapshot = built({"prefix": "/", "headers": [{"name": "line\nbreak"}]})
    said = refusal([snapshot])
    assert "VirtualHosts[0]" in said
    assert culprits(snapshot.of(ROUTE)["rds_egress_http_80"], said) == (Key(MESH, Kind.ROUTE, "bad", "r"),)


def test_without_a_trace_nobody_is_blamed() -> None:
    """Whoever asks names all that shaped it, most specific first."""
    found = built({"prefix": "/x"}).of(ROUTE)["rds_egress_http_80"]
    assert culprits(found, "something went wrong") == ()
    assert found.origins[0].kind is Kind.ROUTE


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (Key(MESH, Kind.VIRTUAL_NODE, "wib"), r"'mesh/m/virtualNode/wib' does not exist.*did you mean 'web'\?"),
        (Key("other", Kind.VIRTUAL_NODE, "web"), "'mesh/other/virtualNode/web' does not exist.*create it"),
        (Key(MESH, Kind.VIRTUAL_SERVICE, "s.local"), "only virtual nodes and virtual gateways"),
    ],
)
def test_a_proxy_that_stands_for_nothing_is_refused(key: Key, said: str) -> None:
    """The message names it and what to do."""
    graph = resolve(State([resource(Kind.VIRTUAL_NODE, "web", {}), resource(Kind.VIRTUAL_SERVICE, "s.local", {})]))
    with pytest.raises(UnknownProxyError, match=said):
        build(graph, key, {}, Redirect())
