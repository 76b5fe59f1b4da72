"""Labs on real Envoys: the whole shop serves, faults are survived, and nothing is left behind, however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import shop_load
from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.documents.settings import LoadSettings
from meshwright.errors import MeshwrightError, UsageError
from meshwright.graph import resolve
from meshwright.lab.addresses import Block
from meshwright.lab.control_plane import ControlPlane
from meshwright.lab.exchange import Fault, Request
from meshwright.lab.fleet import Fleet
from meshwright.lab.folders import private_folder
from meshwright.lab.lab import Lab
from meshwright.lab.topology import roles
from meshwright.model import Key, Kind, Resource, decode
from meshwright.model.specs import VirtualNodeSpec
from meshwright.proxy.bootstrap import Address
from processes import DEADLINE, alive, descendants, free_port, is_envoy, until
from shop_load import EVERYBODY, edited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.model.state import State

pytestmark = pytest.mark.envoy

SHOP = Path(__file__).parent.parent / "examples" / "shop"
HOME = Request(authority="shop.example", path="/home?a=b", headers={"x-customer": "ada"})
TWO = {"payment-v1": 2}


@pytest.fixture
def shop() -> State:
    """The shop's definitions."""
    project = load_project(SHOP / "meshwright.yaml")
    return load(project.definitions, project.load_settings()).state


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of our own for temporary folders, so that what is left of them can be seen.

    Its path is short: a lab goes elsewhere where paths are too long for sockets.
    """
    with tempfile.TemporaryDirectory(prefix="mw-test-", dir="/tmp") as name:
        monkeypatch.setattr("tempfile.tempdir", name)
        yield Path(name)


def left(folder: Path) -> list[str]:
    """What is in a folder."""
    return [one.name for one in folder.iterdir()]


async def test_the_shop_serves_every_protocol_through_real_envoys(shop: State) -> None:
    """One request at the gateway reaches every node, over HTTP, HTTP/2, gRPC and TCP, by discovery through DNS."""
    async with Lab(shop, stack="shop") as lab:
        seen: dict[str, str] = {}
        # Weights are shares of chance: with one in ten for payment-v2, 400 requests miss it once in 10^18 runs.
        for _ in range(400):
            reply = await lab.request(HOME)
            assert reply.ok, [one for one in reply.walk() if one.status != 200]
            assert reply.path == HOME.path
            seen |= {one.node: one.protocol for one in reply.walk()}
            if len(seen) == 8:
                break
        assert seen == {
            "web": "http",
            "cart": "http",
            "catalog": "http2",
            "orders": "http",
            "inventory": "grpc",
            "payment-v1": "http",
            "payment-v2": "http",
            "ledger": "tcp",
        }
        assert {"payment-v1.shop.internal", "ledger.shop.internal"} <= set(lab.fleet.names.asked)
        found = set()
        for one in lab.fleet.instances:
            _, text = await one.administration("/config_dump?resource=dynamic_active_clusters")
            clusters = [item["cluster"] for item in json.loads(text).get("configs", [])]
            found |= {item.get("type") for item in clusters if item["name"].startswith("cds_egress_")}
        assert found == {"STRICT_DNS", "LOGICAL_DNS"}


async def test_headers_choose_a_version_and_gateways_rewrite(shop: State) -> None:
    """What the definitions say holds on the wire: the testers' route, and the prefix that partners' requests lose."""
    async with Lab(shop, stack="shop") as lab:
        tester = Request(authority="shop.example", headers={"x-payment-version": "v2"})
        for _ in range(10):
            reply = await lab.request(tester)
            assert "payment-v1" not in {one.node for one in reply.walk()}
        partner = await lab.request(Request(authority="shop.example", path="/orders/42"))
        assert (partner.node, partner.path) == ("orders", "/42")


async def test_a_slow_or_broken_instance_is_survived_by_the_other() -> None:
    """Timeout and retries, with real discovery of both instances; only that instance is too slow for anybody."""
    patience = {"perRequest": {"unit": "s", "value": 60}}
    retry = {
        "maxRetries": 2,
        "perRetryTimeout": {"unit": "s", "value": 2},
        "httpRetryEvents": ["server-error", "gateway-error"],
    }
    patient = edited(
        shop_load.shop(), EVERYBODY, lambda spec: spec["httpRoute"].update(retryPolicy=retry, timeout=patience)
    )
    async with Lab(patient, stack="shop", instances=TWO) as lab:
        bad, good = lab.workloads("payment-v1")
        for fault in (Fault(delay=30.0), Fault(status=503), Fault(hang_up=True)):
            bad.fault, before = fault, bad.received
            replies = await asyncio.gather(*(lab.request(HOME) for _ in range(20)))
            assert all(reply.ok for reply in replies)
            assert bad.received > before
            assert bad.instance not in {one.instance for reply in replies for one in reply.walk()}
            assert good.received
        bad.fault = Fault()
        replies = [await lab.request(HOME) for _ in range(30)]
        assert bad.instance in {one.instance for reply in replies for one in reply.walk()}


async def test_envoys_serve_while_the_control_plane_is_dead_and_find_it_again(shop: State) -> None:
    """A crash costs no request; the restarted server goes on from its disk and sees every proxy."""
    async with Lab(shop, stack="shop") as lab:
        await lab.control.kill()
        assert not alive(lab.control.pid)
        for _ in range(10):
            assert (await lab.request(HOME)).ok
        await lab.control.start()
        wanted = len(lab.fleet.instances)
        await proxies(lab, wanted, "synced")
        await lab.propagated(1)
        assert (await lab.request(HOME)).ok


async def test_a_lab_leaves_nothing_behind(shop: State, temporary: Path) -> None:
    """After success, and after an exception inside."""
    pids: list[int] = []

    async def look(*, fail: bool) -> None:
        async with Lab(shop, stack="shop") as lab:
            pids.extend(one.envoy.pid for one in lab.fleet.instances if one.envoy is not None)
            pids.append(lab.control.pid)
            assert all(alive(pid) for pid in pids[-10:])
            assert left(temporary)
            if fail:
                raise ZeroDivisionError

    await look(fail=False)
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(ZeroDivisionError):
        await look(fail=True)
    assert len(pids) == 20
    assert not any(alive(pid) for pid in pids)
    assert not descendants(os.getpid())
    assert not left(temporary)


async def test_a_lab_runs_in_however_deep_a_temporary_folder(
    shop: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Unix socket's path may have some hundred bytes; CI systems like longer ones."""
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    async with Lab(shop, stack="shop") as lab:
        assert (await lab.request(HOME)).ok
        sockets = lab.fleet.instances[0].admin.parent
    assert not left(deep)
    assert not sockets.exists()


async def test_a_control_plane_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    """Here because its data directory is a file; the error holds the end of its log."""
    (tmp_path / "control-plane").write_text("in the way")
    with (
        Block() as block,
        pytest.raises(MeshwrightError, match=r"(?s)ended with status 2.*control-plane: File exists"),
    ):
        async with ControlPlane(block, tmp_path):
            pytest.fail("it started")
    assert not descendants(os.getpid())


async def test_envoys_without_a_control_plane_are_given_up(shop: State, tmp_path: Path) -> None:
    """They wait for their configuration for ever; the lab does not, and says who waited."""
    with Block() as block:
        nowhere = Address(block.control_plane, 18000)
        fleet = Fleet(shop, xds=nowhere, ground=block, folder=tmp_path, within=1.5)
        with pytest.raises(
            MeshwrightError,
            match=r"(?s)not ready within 1.5 s: entrance-1, cart-1.* did not reach the control plane at 127",
        ):
            async with fleet:
                pytest.fail("they started")
    assert not descendants(os.getpid())


async def test_the_color_app_serves_from_its_template(corpus: Path) -> None:
    """App Mesh's own first example, health checks and all, as it was written."""
    template = corpus / "cfn/examples/apps/colorapp/servicemesh/appmesh-colorapp.yaml"
    parameters = {"EnvironmentName": "demo", "ServicesDomain": "demo.local", "AppMeshMeshName": "color"}
    loaded = load([template], LoadSettings(parameters=parameters))
    async with Lab(loaded.state) as lab:
        nodes = {one.key.name for one in loaded.state.of(Kind.VIRTUAL_NODE)}
        assert {"colorgateway-vn", "colorteller-red-vn", "tcpecho-vn"} <= nodes
        seen: set[str] = set()
        for _ in range(60):
            reply = await lab.request(Request(authority="colorgateway.demo.local", path="/color"), "colorgateway-vn")
            assert reply.ok, [one for one in reply.walk() if one.status != 200]
            seen |= {one.node for one in reply.walk()}
        # The black one is defined and no route leads to it.
        assert seen == nodes - {"colorteller-black-vn"}


@pytest.mark.parametrize(
    ("folder", "entrance", "depth"),
    [
        ("blogs/eks-appmesh-connectivity/deployments/yaml/mesh/appmesh", "ingress-gw", 5),
        ("walkthroughs/howto-k8s-multiple-listeners", "colors-gw_colors", 1),
        ("examples/apps/djapp/2_meshed_application", "dj_prod", 3),
    ],
)
async def test_kubernetes_walkthroughs_serve_as_they_were_written(
    corpus: Path, folder: str, entrance: str, depth: int
) -> None:
    """A request at the entrance leads to as many answers as the walkthrough has services on the way."""
    loaded = load([corpus / "k8s" / folder], LoadSettings(mesh="walk"))
    async with Lab(loaded.state) as lab:
        reply = await lab.request(Request(authority="app.example"), entrance)
        assert reply.ok, [one for one in reply.walk() if one.status != 200]
        assert sum(1 for _ in reply.walk()) == depth


async def test_a_rejection_by_an_envoy_ends_the_start_with_its_words(shop: State) -> None:
    """Here a certificate that is not there: the release is accepted, one Envoy is not content, and says why."""
    key = Key("shop", Kind.VIRTUAL_NODE, "cart")
    certificate = {"file": {"certificateChain": "/no/chain.pem", "privateKey": "/no/key.pem"}}
    listener = {
        "portMapping": {"port": 8080, "protocol": "http"},
        "tls": {"mode": "STRICT", "certificate": certificate},
    }
    spec = {"listeners": [listener], "serviceDiscovery": {"dns": {"hostname": "cart.shop.internal"}}}
    with pytest.raises(MeshwrightError, match=r"is rejected: .*cart.*/no/key.pem"):
        async with Lab(shop.put(Resource(key=key, spec=decode(VirtualNodeSpec, spec))), stack="shop"):
            pytest.fail("it started")


def test_unknown_instances_are_refused(shop: State) -> None:
    """A typo must not run one instance in silence."""
    with pytest.raises(UsageError, match="paymnt"):
        roles(resolve(shop), {"paymnt": 2})
    with pytest.raises(UsageError, match="0 instances"):
        roles(resolve(shop), {"cart": 0})


def test_a_lab_runs_one_mesh(shop: State) -> None:
    """Two meshes have no common control plane stack."""
    other = Resource(key=Key.of_mesh("other"), spec=shop[Key.of_mesh("shop")].spec)
    with pytest.raises(UsageError, match="other, shop"):
        Lab(shop.put(other))


KEPT = """
import asyncio, sys
from pathlib import Path
from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.documents.settings import LoadSettings
from meshwright.lab import interrupts
from meshwright.lab.fleet import Fleet
from meshwright.lab.lab import Lab

async def keep():
    project = load_project(Path(sys.argv[1]))
    async with Lab(load(project.definitions, project.load_settings()).state):
        print("ready", flush=True)
        await asyncio.Event().wait()
    return 0

sys.exit(interrupts.run(keep()))
"""


@pytest.mark.parametrize("ready", [False, True], ids=["starting", "running"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_survives_a_signal(number: signal.Signals, ready: bool, temporary: Path) -> None:
    """Asked to end, a lab cleans up after itself; killed, the kernel ends its processes, the next lab its folders."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", KEPT, str(SHOP / "meshwright.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as lab:
        if ready:
            assert lab.stdout is not None
            assert lab.stdout.readline() == b"ready\n"
        until(lambda: any(is_envoy(pid) for pid in descendants(lab.pid)))
        started = descendants(lab.pid)
        lab.send_signal(number)
        _, err = lab.communicate(timeout=DEADLINE)
    if number is signal.SIGKILL:
        until(lambda: not any(alive(pid) for pid in started))
        assert left(temporary)
        with private_folder() as folder:
            assert left(temporary) == [folder.name]
        return
    assert lab.returncode == 128 + number, err.decode()
    assert not any(alive(pid) for pid in started)
    assert not left(temporary)


async def test_the_proxy_command_joins_a_running_mesh(shop: State) -> None:
    """`meshwright proxy` is another Envoy of its node: the control plane sees it take everything, and go again."""
    async with Lab(shop, stack="shop") as lab:
        machine = lab.fleet.entrance("cart").machine
        # Beside the lab's own cart: the next three addresses of its block are nobody's.
        first, _, last = machine.application.rpartition(".")
        spare = [f"{first}.{int(last) + 100 + number}" for number in range(3)]
        resolver = lab.fleet.resolver
        arguments = [
            *("proxy", "arn:aws:appmesh:us-east-1:000000000000:mesh/shop/virtualNode/cart", "--instance", "guest"),
            *("--xds", str(lab.control.xds), "--resolver", str(resolver), "--admin-port", str(free_port())),
            *("--application", spare[0], "--ingress", spare[1], "--egress", spare[2]),
            *("--concurrency", "1", "--drain-seconds", "1"),
        ]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshwright.cli", *arguments),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(lab.control.credentials)},
        )
        try:
            await proxies(lab, 10, "synced")
            process.terminate()
            _, err = await asyncio.wait_for(process.communicate(), DEADLINE)
            assert process.returncode == 0, err.decode()
            await proxies(lab, 9, "synced")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def proxies(lab: Lab, count: int, state: str) -> None:
    """Wait until the control plane sees exactly `count` proxies, all in `state`."""
    for _ in range(200):
        seen = (await asyncio.to_thread(lab.client().status))["proxies"]
        if len(seen) == count and {one["state"] for one in seen} == {state}:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"expected {count} proxies, {state}; saw {[(one['id'], one['state']) for one in seen]}")
