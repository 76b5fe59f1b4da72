"""Trials of a mesh's borders, as they are derived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshwright.model import Kind
from strategies import MESH, resource
from test_trials import derived, routed

if TYPE_CHECKING:
    from meshwright.trials.trial import Trial


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
