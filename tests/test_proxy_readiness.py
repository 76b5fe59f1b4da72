"""Whether `meshwright proxy` calls itself ready when its Envoy refused a listener or a cluster that it was sent."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from envoys import until
from handmade import NODE, cluster, endpoints, listener, route
from meshwright.lab.secrets import SecretServer
from meshwright.snapshot.messages import message, packed, serialized
from meshwright.snapshot.names import SDS_CLUSTER
from meshwright.snapshot.resources import CLUSTER, LISTENER, EnvoyResource
from pki import Issuer
from processes import DEADLINE, free_port
from proxying import proxy
from stage import staged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from proxying import Running

pytestmark = pytest.mark.envoy

WEB = NODE.path
UNSIGNED = "--insecure-xds-without-authentication"
INGRESS, EGRESS, OTHER = "lds_ingress_127.0.0.1_1", "lds_egress_127.0.0.1_2", "lds_ingress_127.0.0.1_3"
SOON = 0.2
"""Seconds after which a refused listener is offered again."""


def shop(**ports: int) -> tuple[EnvoyResource, ...]:
    """A listener for each name at its port of this machine."""
    return (
        cluster("a"),
        endpoints("a", 9),
        route("r", "a"),
        *(listener(n, "127.0.0.1", p, "r") for n, p in ports.items()),
    )


def taken() -> socket.socket:
    """A port that somebody else listens on, until this is closed."""
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    found.listen()
    return found


def port_of(one: socket.socket) -> int:
    """Where it listens."""
    return int(one.getsockname()[1])


async def said(one: Running, holds: Callable[[int, dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """What `/status` says as soon as that is so."""
    body: dict[str, Any] = {}

    async def so() -> bool:
        nonlocal body
        status, body = await one.status()
        return bool(body) and holds(status, body)

    await until(so, what)
    return body


def refuses(name: str) -> Callable[[int, dict[str, Any]], bool]:
    """Whether `/status` says 503 for want of that listener."""
    return lambda status, body: (status, body["state"]) == (503, "LIVE") and name in body["refused_listeners"]


def is_ready(status: int, body: dict[str, Any]) -> bool:
    """Whether it says that it serves, and that it opened all."""
    return status == 200 and not body["refused_listeners"]


@pytest.mark.parametrize("blocked", [INGRESS, EGRESS])
async def test_a_proxy_that_could_not_open_a_listener_is_not_ready_until_it_can(tmp_path: Path, blocked: str) -> None:
    """`/status` says which and why; it needs no replacement, and heals when the port is free."""
    with taken() as other:
        ports = {INGRESS: free_port(), EGRESS: free_port(), blocked: port_of(other)}
        async with (
            staged(*shop(**ports), retry=SOON) as stage,
            proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED) as one,
        ):
            found = await said(one, refuses(blocked), "refused")
            assert (found["state"], found["ready"], found["alive"], found["connected"]) == ("LIVE", False, True, True)
            words = f"cannot bind '127.0.0.1:{port_of(other)}': Address already in use"
            assert found["refused_listeners"] == {blocked: words}
            assert (await one.ask("/healthz"))[0] == 200
            other.close()
            await said(one, is_ready, "ready")


async def test_a_release_that_moves_the_listener_mends_readiness(tmp_path: Path) -> None:
    """What was refused and is wanted no more holds nobody up."""
    with taken() as other:
        async with (
            staged(*shop(**{INGRESS: port_of(other)}), retry=600) as stage,
            proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED) as one,
        ):
            await said(one, refuses(INGRESS), "refused")
            stage.publish(*shop(**{OTHER: free_port()}))
            await said(one, is_ready, "ready")


async def test_a_proxy_that_serves_stays_ready_when_it_refuses_a_release(tmp_path: Path) -> None:
    """A listener more, another port for the one that serves, another one in its place: the last good ones go on."""
    with taken() as other:
        good, bad = {INGRESS: free_port(), EGRESS: free_port()}, port_of(other)
        async with (
            staged(*shop(**good), retry=SOON) as stage,
            proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED) as one,
        ):
            await said(one, is_ready, "ready")
            for ports in ({**good, OTHER: bad}, {**good, INGRESS: bad}, {EGRESS: good[EGRESS], OTHER: bad}):
                assert (await stage.control.wait(stage.publish(*shop(**ports)), DEADLINE)).state == "rejected"
                status, body = await one.status()
                assert (status, body["ready"]) == (200, True)
                if INGRESS not in ports:
                    assert OTHER in body["refused_listeners"]
                _, opened = await asyncio.to_thread(one.admin.ask, "/listeners")
                assert f"127.0.0.1:{good[INGRESS]}" in opened.decode()


def uncertified(name: str, folder: Path) -> EnvoyResource:
    """A cluster whose client certificate is not in `folder`."""
    tls: Any = message("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext")()
    tls.common_tls_context.tls_certificates.add(
        certificate_chain={"filename": f"{folder}/none.pem"}, private_key={"filename": f"{folder}/none.key"}
    )
    made = message("envoy.config.cluster.v3.Cluster").FromString(cluster(name).body)
    made.transport_socket.name = "envoy.transport_sockets.tls"
    made.transport_socket.typed_config.CopyFrom(packed(tls))
    return EnvoyResource.of(CLUSTER, name, serialized(made), (NODE,))


async def test_a_proxy_is_not_ready_without_a_cluster_until_it_takes_it_or_is_led_to_it_no_more(
    tmp_path: Path,
) -> None:
    """Whatever other clusters it takes meanwhile; once it is ready, one that it refuses does not change that."""
    rest = shop(**{INGRESS: free_port()})[1:]
    bad = uncertified("a", tmp_path)
    async with (
        staged(bad, cluster("b"), *rest, retry=600) as stage,
        proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED) as one,
    ):
        await until(lambda: any(status.rejections for status in stage.control.statuses()), "refused")
        found = await said(one, lambda _, body: body["state"] == "LIVE" and body["refused_clusters"] == ["a"], "led")
        assert (found["state"], found["ready"], found["alive"]) == ("LIVE", False, True)
        stage.publish(bad, cluster("b"), cluster("c"), *rest)
        await until(lambda: _has(one, "c"), "another cluster")
        status, body = await one.status()
        assert (status, body["refused_clusters"]) == (503, ["a"])
        stage.publish(cluster("a"), cluster("b"), *rest)
        mended = await said(one, is_ready, "ready")
        assert not mended["refused_clusters"]
        revision = stage.publish(cluster("a"), uncertified("b", tmp_path), *rest)
        assert (await stage.control.wait(revision, DEADLINE)).state == "rejected"
        status, body = await one.status()
        assert (status, body["ready"], body["refused_clusters"]) == (200, True, [])


async def test_a_release_that_withdraws_a_refused_cluster_mends_readiness(tmp_path: Path) -> None:
    """No route leads there any more."""
    port = free_port()
    async with (
        staged(uncertified("a", tmp_path), cluster("b"), *shop(**{INGRESS: port})[1:], retry=600) as stage,
        proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED) as one,
    ):
        await said(one, lambda _, body: body["refused_clusters"] == ["a"], "led to the cluster")
        stage.publish(cluster("b"), endpoints("b", 9), route("r", "b"), listener(INGRESS, "127.0.0.1", port, "r"))
        assert not (await said(one, is_ready, "ready"))["refused_clusters"]


async def _has(one: Running, name: str) -> bool:
    """Whether the Envoy has a cluster."""
    return f"{name}::" in (await asyncio.to_thread(one.admin.ask, "/clusters"))[1].decode()


@pytest.mark.parametrize("asked", [True, False])
async def test_a_refused_listener_is_not_forgotten_with_the_next_that_opens(tmp_path: Path, asked: bool) -> None:
    """Envoy forgets it then, and it is not offered again for a while; whether or not somebody had asked before."""
    variables = {"HC_POLL_INTERVAL_MS": "600000"}
    with taken() as other:
        ports, more = {INGRESS: port_of(other)}, free_port()
        async with (
            staged(*shop(**ports), retry=600) as stage,
            proxy(tmp_path, WEB, "--xds", f"127.0.0.1:{stage.port}", UNSIGNED, variables=variables) as one,
        ):
            await until(lambda: any(status.rejections for status in stage.control.statuses()), "refused")
            if asked:
                await said(one, refuses(INGRESS), "refused")
            stage.publish(*shop(**ports, **{OTHER: more}))
            await until(lambda: _listens(one, more), "the other one")
            status, found = await one.status()
            assert (status, found["state"], found["ready"]) == (503, "LIVE", False)
            assert found["refused_listeners"].keys() == {INGRESS if asked else "?"}
            stage.publish(*shop(**{OTHER: more}))  # it is wanted no more, as shows when it is not offered again
            await said(one, is_ready, "ready")


async def _listens(one: Running, port: int) -> bool:
    """Whether the Envoy listens there."""
    return f"127.0.0.1:{port}" in (await asyncio.to_thread(one.admin.ask, "/listeners"))[1].decode()


async def test_a_proxy_whose_listener_waits_for_a_secret_is_not_ready_and_says_for_which(tmp_path: Path) -> None:
    """Envoy opens the listener without its certificate after a while and resets every connection."""
    tls: Any = message("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext")()
    source = {"api_type": "GRPC", "transport_api_version": "V3"}
    secret = tls.common_tls_context.tls_certificate_sds_secret_configs.add(
        name="web-cert", sds_config={"api_config_source": source, "resource_api_version": "V3"}
    )
    secret.sds_config.initial_fetch_timeout.FromMilliseconds(1)
    grpc_service = secret.sds_config.api_config_source.grpc_services.add()
    grpc_service.envoy_grpc.cluster_name = SDS_CLUSTER
    made: Any = message("envoy.config.listener.v3.Listener").FromString(
        listener(INGRESS, "127.0.0.1", free_port(), "r").body
    )
    made.filter_chains[0].transport_socket.name = "envoy.transport_sockets.tls"
    made.filter_chains[0].transport_socket.typed_config.CopyFrom(packed(tls))
    offered = (*shop(), EnvoyResource.of(LISTENER, INGRESS, serialized(made), (NODE,)))
    path = tmp_path / "sds.sock"
    async with (
        staged(*offered) as stage,
        proxy(
            tmp_path,
            WEB,
            "--xds",
            f"127.0.0.1:{stage.port}",
            UNSIGNED,
            variables={"APPMESH_SDS_SOCKET_PATH": str(path)},
        ) as one,
    ):
        found = await said(one, lambda _, body: bool(body["state"] == "LIVE" and body["awaited_secrets"]), "it waits")
        assert (found["ready"], found["alive"]) == (False, True)
        assert found["awaited_secrets"] == {"web-cert": [f"listener {INGRESS}"]}
        async with SecretServer({"web-cert": Issuer().issue("web.local")}).serving(path):
            assert (await said(one, is_ready, "ready"))["awaited_secrets"] == {}


async def test_a_proxy_that_opened_for_business_without_any_listener_is_not_ready(tmp_path: Path) -> None:
    """`ENVOY_INITIAL_FETCH_TIMEOUT` ends the wait for a control plane that is away."""
    xds = f"127.0.0.1:{free_port()}"
    async with proxy(tmp_path, WEB, "--xds", xds, UNSIGNED, variables={"ENVOY_INITIAL_FETCH_TIMEOUT": "1"}) as one:
        found = await said(one, lambda _, body: body["state"] == "LIVE", "live")
        assert (found["ready"], found["alive"], found["connected"]) == (False, True, False)
