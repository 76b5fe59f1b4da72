"""Trials of a mesh's borders, as they are derived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.model import Kind, State
from strategies import MESH, resource
from test_trials import derived, routed

if TYPE_CHECKING:
    from meshwright.trials.trial import Trial

SHARED = {"caller": ("web", "db"), "other": ("web",), "third": ("db", "more")}
"""Who calls whom, of services on one port."""


def on_one_port() -> State:
    """A service of HTTP and two of TCP on one port, and nodes that call some of them."""
    speak = {"web": "http", "db": "tcp", "more": "tcp"}
    listening = {
        name: {"listeners": [{"portMapping": {"port": 5000, "protocol": one}}]} for name, one in speak.items()
    }
    return State(
        [
            resource(Kind.MESH, MESH, {}),
            *(
                resource(Kind.VIRTUAL_NODE, name, {**one, "serviceDiscovery": {"dns": {"hostname": f"{name}.nodes"}}})
                for name, one in listening.items()
            ),
            *(
                resource(
                    Kind.VIRTUAL_SERVICE, f"{name}.local", {"provider": {"virtualNode": {"virtualNodeName": name}}}
                )
                for name in speak
            ),
            *(
                resource(
                    Kind.VIRTUAL_NODE,
                    name,
                    {"backends": [{"virtualService": {"virtualServiceName": f"{one}.local"}} for one in called]},
                )
                for name, called in SHARED.items()
            ),
        ]
    )


def test_a_tcp_backend_that_only_its_name_in_tls_tells_apart_is_no_test_and_is_told() -> None:
    """Whether HTTP takes the rest of the connections on its port or TCP; the others are reached."""
    found = derived(on_one_port())
    told = {(one.route.name, one.path): one.reason for one in found.gaps if "in a TLS greeting" in one.reason}
    assert told.keys() == {
        ("caller", "spec.backends[1].virtualService.virtualServiceName"),
        ("third", "spec.backends[1].virtualService.virtualServiceName"),
        ("more", ""),
    }
    assert "on port 5000 another backend takes what does not name 'more.local'" in told["more", ""]
    names = {one.name for one in found.trials}
    assert not {"caller reaches db.local", "third reaches more.local"} & names
    assert {
        "other does not reach db.local",
        "virtual service db.local:5000 is reached",
        "other does not reach more.local",
    } <= names
    assert "third does not reach web.local" not in names, "who takes HTTP as TCP may answer anything"


@pytest.mark.envoy
async def test_proxies_turn_tcp_away_where_they_take_http() -> None:
    """Their answer in HTTP is nobody's whom the connection was for."""
    state = on_one_port()
    trials = [one for one in derived(state).trials if not one.given]
    async with Rig(state) as rig:
        results = await run(rig, trials, lambda _: None)
    wrong = [(one.trial.name, one.mismatches) for one in results if not one.passed]
    assert wrong == []
    assert any(one.trial.call.protocol == "tcp" and one.trial.caller.name == "other" for one in results)


def leaving(filter_: str) -> list[Trial]:
    """The calls of strangers, in a mesh with this egress filter."""
    mesh = resource(Kind.MESH, MESH, {"egressFilter": {"type": filter_}})
    found = derived(routed({"prefix": "/"}).put(mesh)).trials
    return [one for one in found if one.call.host == "stranger.example"]


def test_strangers_are_called_on_ports_in_use_and_on_another() -> None:
    """And everything is dropped, in the words of the filter that says so."""
    found = leaving("DROP_ALL")
    assert [(one.caller.name, one.call.port, one.expect.statuses) for one in found] == [
        ("caller", 8080, (404,)),
        ("caller", 8880, (0, 503)),
        ("target", 8880, (0, 503)),
    ]
    assert {one.path for one in found} == {"spec.egressFilter"}
    assert {one.about[0].kind for one in found} == {Kind.MESH}


def test_what_is_let_out_is_answered_from_outside() -> None:
    """With every port."""
    assert {one.expect.served_by for one in leaving("ALLOW_ALL")} == {("outside",)}


@pytest.mark.parametrize(
    ("mode", "scheme", "served"),
    [("STRICT", "http", ()), ("DISABLED", "https", ()), ("PERMISSIVE", "https", ("target",))],
)
def test_gateways_are_called_as_they_do_not_ask_for(mode: str, scheme: str, served: tuple[str, ...]) -> None:
    """Plaintext where TLS is asked for, TLS where it is not."""
    certificate = {"file": {"certificateChain": "/cert.pem", "privateKey": "/key.pem"}}
    tls = {"tls": {"mode": mode, "certificate": certificate}}
    listeners = [{"portMapping": {"port": 8443, "protocol": "http"}, **tls}]
    target = {"target": {"virtualService": {"virtualServiceName": "target.local"}}}
    state = routed({"prefix": "/"}).put(
        resource(Kind.VIRTUAL_GATEWAY, "door", {"listeners": listeners}),
        resource(
            Kind.GATEWAY_ROUTE, "in", {"httpRoute": {"match": {"prefix": "/"}, "action": target}}, parent="door"
        ),
    )
    (found,) = [one for one in derived(state).trials if one.path == "spec.listeners"]
    assert found.call.scheme == scheme
    assert found.expect.served_by == served
