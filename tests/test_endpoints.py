"""What is said of endpoints: what a proxy may register, what the commands take and show, what a burst costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from meshwright.ads.wire import identify, registree
from meshwright.cli.discovering import registered
from meshwright.errors import UsageError
from meshwright.model.identity import Key, Kind
from meshwright.proxy.settings import Registered
from meshwright.snapshot.messages import parsed
from meshwright.views.endpoints import endpoints_text
from registering import PAY, calling, listening, proxy, serving

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY = Key("shop", Kind.VIRTUAL_GATEWAY, "edge")


def brought(endpoint: Any, node: Key = PAY, **more: Any) -> Any:
    """What a proxy of `node` with this `metadata.meshwright.endpoint`, and `more` beside it, registers."""
    ours = {"instance": "i", "endpoint": endpoint, **more}
    said = parsed("envoy.config.core.v3.Node", {"id": node.path, "metadata": {"meshwright": ours}})
    return registree(said, identify(said, "peer"))


def test_a_proxy_registers_an_address_with_or_without_a_port() -> None:
    """Addresses are written in one way, whatever way they come."""
    found = brought({"address": "FD00:0:0::1", "port": 8080, "checked": True})
    assert (found.address, found.port, found.checked, found.id) == ("fd00::1", 8080, True, f"{PAY.path}@i")
    assert brought({"address": "10.0.0.1"}).port == 0
    assert brought({"address": "::ffff:10.0.0.1"}).address == "10.0.0.1"


def test_a_loopback_address_is_only_for_those_who_listen_there() -> None:
    """Whoever else is told of it calls itself."""
    placement = {"application": "127.0.1.1", "ingress": "127.0.1.2", "egress": "127.0.1.3"}
    assert brought({"address": "127.0.1.2"}, placement=placement).address == "127.0.1.2"
    assert registered("127.0.1.2", PAY, own=True) == Registered(address="127.0.1.2")


@pytest.mark.parametrize(
    "endpoint",
    [
        "10.0.0.1",
        {},
        {"address": "pay.shop.local"},
        {"address": "0.0.0.0"},  # noqa: S104 - what is refused
        {"address": "224.0.0.1"},
        {"address": "fe80::1%eth0"},
        {"address": "fe80::1"},
        {"address": "169.254.169.254"},
        {"address": "127.0.1.1"},
        {"address": "::1"},
        {"address": "::ffff:127.0.0.1"},
        {"address": "10.0.0.1", "port": 70_000},
        {"address": "10.0.0.1", "port": 80.5},
        {"address": "10.0.0.1", "port": True},
        {"address": "10.0.0.1", "checked": 1},
        {"address": "10.0.0.1", "weight": 1},
    ],
)
def test_what_cannot_be_connected_to_is_no_endpoint(endpoint: object) -> None:
    """The whole of it is refused, with what it would take."""
    with pytest.raises(UsageError, match=r"metadata\.meshwright\.endpoint is .* takes an IP address"):
        brought(endpoint)


def test_nobody_looks_for_a_gateway() -> None:
    """Its proxy may not register, and the command says so before it starts."""
    with pytest.raises(UsageError, match="nobody looks for mesh/shop/virtualGateway/edge"):
        brought({"address": "10.0.0.1"}, GATEWAY)
    with pytest.raises(UsageError, match="for virtual nodes"):
        registered("10.0.0.1", GATEWAY)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("10.0.0.1", "10.0.0.1", 0),
        ("10.0.0.1:8080", "10.0.0.1", 8080),
        ("fd00::1", "fd00::1", 0),
        ("[fd00::1]:8080", "fd00::1", 8080),
        ("[fd00::1]", "fd00::1", 0),
    ],
)
def test_an_endpoint_address_is_a_host_and_maybe_a_port(text: str, address: str, port: int) -> None:
    """As the command line takes it."""
    assert registered(text, PAY) == Registered(address=address, port=port)
    assert registered(None, PAY) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", ":8080", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:x", "[fd00::1]8080", "[fd00::1", "::", "0.0.0.0:80"),
        *("localhost", "127.0.1.1:8080", "169.254.169.254", "fe80::1", "::ffff:127.0.0.1"),
    ],
)
def test_what_is_no_endpoint_address_is_refused(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(UsageError, match="--endpoint-address"):
        registered(text, PAY)


def test_endpoints_are_shown_with_their_sources_and_faults() -> None:
    """One line each; a port that is each listener's own is not made up."""
    one = {
        "node": PAY.path,
        "address": "fd00::1",
        "port": 0,
        "zone": "us-east-1a",
        "source": "cloud-map",
        "name": "i-1",
        "state": "healthy",
    }
    fault = {"node": PAY.path, "source": "cloud-map", "message": "Rate exceeded", "since": 0}
    shown = endpoints_text({"mesh": "shop", "endpoints": [one], "faults": [fault]}).splitlines()
    assert shown[1].split() == [
        PAY.path, "[fd00::1]:(each", "listener's)", "us-east-1a", "healthy", "cloud-map", "i-1",
    ]  # fmt: skip
    assert shown[2] == f"  not looked up since 1970-01-01 00:00:00: {PAY.path} in cloud-map: Rate exceeded"
    assert endpoints_text({"mesh": "shop", "endpoints": [], "faults": []}).startswith("Nothing was found")


async def test_instances_that_start_together_are_told_of_together(tmp_path: Path) -> None:
    """A hundred of them cost a caller far fewer than a hundred responses; the commands show them."""
    with serving(tmp_path / "data", "--xds-envoys-per-node", "200") as server:
        async with calling(server) as caller, contextlib.AsyncExitStack() as stack:
            streams = [proxy(server, PAY, str(one), endpoint={"address": f"10.0.1.{one}"}) for one in range(100)]
            opened = [await stack.enter_async_context(one) for one in streams]
            await asyncio.gather(*(listening(one) for one in opened))
            heard, known = 0, 0
            while known < 100:
                response = await caller.hear(20)
                heard += 1
                known = response.resources[0].resource.value.count(b"10.0.1.")
                await caller.ack(response)
            assert heard < 100
            settings = {**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(server.credentials)}
            command = [sys.executable, "-m", "meshwright.cli", "--endpoint", server.api]
            for arguments, wanted in (
                (["endpoints", "--mesh", "shop"], "10.0.1.99:(each listener's)"),
                (["status"], "registration  100 of 100"),
            ):
                done = await asyncio.to_thread(
                    subprocess.run, [*command, *arguments], env=settings, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, done.stderr
                assert wanted in done.stdout
