"""Every metric is described in docs/metrics.md, and moved by what it says that it counts."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from ads_client import AdsClient
from meshwright.api.metrics import Metrics
from meshwright.model.identity import Key, Kind
from meshwright.server import Settings, control_plane
from meshwright.snapshot.resources import CLUSTER
from meshwright.store.contract import AccessKey
from meshwright.trust.credentials import Credentials, parse
from processes import DEADLINE
from settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from serving import Serving

PAGE = ROOT / "docs" / "metrics.md"
ROW = re.compile(r"\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>[^|]*) \| (?P<meaning>[^|]+) \|")
SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")
WEB = Key("shop", Kind.VIRTUAL_NODE, "web")


def described(text: str) -> dict[str, tuple[str, str, frozenset[str]]]:
    """Each metric's type, words and labels, as Prometheus reads them."""
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    words = dict(re.findall(r"^# HELP (\w+) (.+)$", text, re.MULTILINE))
    labels: dict[str, set[str]] = {name: set() for name in types}
    for line in text.splitlines():
        found = SAMPLE.fullmatch(line)
        if found:
            name = re.sub(r"_(bucket|sum|count)$", "", found["name"]) if found["name"] not in types else found["name"]
            labels[name] |= set(re.findall(r"(\w+)=", found["labels"] or "")) - {"le"}
    return {name: (types[name], words[name], frozenset(labels[name])) for name in types}


_ANSWERED = 'meshwright_xds_responses_total{{result="{}",type="cluster"}}'


def everything() -> str:
    """What a server serves once everything has happened."""
    metrics = Metrics()
    metrics.answered("ListMeshes", 200, 0.1)
    metrics.refused("MissingAuthenticationTokenException")
    metrics.denied("ListMeshes")
    metrics.turned_away("requests")
    metrics.committed(3, 0.1)
    metrics.store_failed()
    metrics.evidence_failed()
    metrics.snapshot_built()
    metrics.events_told("otlp", 1)
    metrics.event_dropped("otlp")
    metrics.telling_failed("otlp")
    metrics.sent(CLUSTER, 2)
    metrics.acked(CLUSTER, accepted=True)
    metrics.propagated(0.1, [(CLUSTER, 0.1)])
    metrics.settled("propagated")
    metrics.verified("verified")
    metrics.stream_refused("PERMISSION_DENIED")
    metrics.cloud_map_asked("revision", "ok")
    return metrics.render().decode()


def test_the_page_describes_every_metric_as_it_is_served() -> None:
    """Name, type, labels and words, in both directions."""
    rows = [found for found in map(ROW.fullmatch, PAGE.read_text(encoding="utf-8").splitlines()) if found]
    page = {
        row["name"]: (row["type"], row["meaning"], frozenset(re.findall(r"`(\w+)`", row["labels"]))) for row in rows
    }
    assert page == described(everything())


def read(url: str) -> dict[str, float]:
    """Every sample by its name and labels."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=DEADLINE) as response:  # noqa: S310 - our own server
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = response.read().decode()
    samples = (SAMPLE.fullmatch(line) for line in text.splitlines() if not line.startswith("#"))
    return {f"{one['name']}{{{one['labels'] or ''}}}": float(one["value"]) for one in samples if one}


def test_requests_are_counted_by_operation_and_status(server: Serving) -> None:
    """And timed; what nobody may ask for has no operation."""
    client = server.client()
    client.create_mesh(meshName="m")
    with pytest.raises(client.exceptions.ConflictException):
        client.create_mesh(meshName="m")
    server.ask("GET", "/nothing")
    found = read(server.url)
    assert found['meshwright_requests_total{operation="CreateMesh",status="200"}'] == 1
    assert found['meshwright_requests_total{operation="CreateMesh",status="409"}'] == 1
    assert found['meshwright_requests_total{operation="none",status="404"}'] == 1
    assert found['meshwright_request_seconds_count{operation="CreateMesh"}'] == 2
    assert found['meshwright_request_seconds_sum{operation="CreateMesh"}'] > 0
    assert found["meshwright_requests_in_flight{}"] == 0
    assert found["meshwright_connections{}"] >= 1


def test_no_label_holds_what_a_client_chose(server: Serving) -> None:
    """A name, a path or a method of one's own would make a series each."""
    for word in ("surprise", "m%20x"):
        server.ask("GET", f"/v20190125/meshes/{word}")
        server.ask("PROPFIND", f"/{word}")
        server.ask("GET", f"/meshwright/v1/meshes/{word}", key=None)
    assert not [name for name in read(server.url) if "surprise" in name or "PROPFIND" in name]


def test_refusals_denials_and_limits_are_counted(server: Serving) -> None:
    """Each by a name that the server chose."""
    server.store.add_key(AccessKey(id="AKIANOBODY", secret="s", principal="nobody", created_at=0))
    nobody = AccessKey(id="AKIANOBODY", secret="s", principal="nobody", created_at=0)
    assert server.ask("GET", "/v20190125/meshes", key=None).status == 403
    assert server.ask("GET", "/v20190125/meshes", key=nobody).code == "AccessDeniedException"
    assert server.ask("GET", "/" + "x" * 20_000, key=None).status == 414
    found = read(server.url)
    assert found['meshwright_refused_unauthenticated_total{reason="MissingAuthenticationTokenException"}'] == 1
    assert found['meshwright_denied_total{operation="ListMeshes"}'] == 1
    assert found['meshwright_turned_away_total{limit="target_bytes"}'] == 1


def test_commits_are_counted_with_their_size_and_time(server: Serving) -> None:
    """One transaction may hold many revisions; a read is none."""
    client = server.client()
    for name in ("a", "b"):
        client.create_mesh(meshName=name)
    client.list_meshes()
    found = read(server.url)
    assert found["meshwright_revisions_committed_total{}"] == 2
    assert found["meshwright_commit_batch_revisions_sum{}"] == 2
    assert found["meshwright_commit_seconds_count{}"] == found["meshwright_commit_batch_revisions_count{}"] == 2


def test_a_database_that_fails_is_counted(server: Serving) -> None:
    """The client is told 503."""
    server.store.close()
    assert server.ask("GET", "/v20190125/meshes").status == 503
    assert read(server.url)["meshwright_store_failures_total{}"] == 1


async def test_proxies_and_what_they_say_are_counted(tmp_path: Path) -> None:
    """Connected, acked and rejected; and the revision that they are sent."""
    settings = Settings(listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=tmp_path)
    async with control_plane(settings) as running:
        key = parse(running.credentials.read_text())["default"]
        await asyncio.to_thread(_create, running.api, key)
        async with AdsClient(running.xds, {"id": WEB.path}, delta=True, key=key) as proxy:
            await proxy.say(CLUSTER)
            await proxy.ack(await proxy.hear())
            await asyncio.to_thread(_until, running.api, _ANSWERED.format("ack"), 1)
            await asyncio.to_thread(_update, running.api, key)
            await proxy.nack(await proxy.hear(), "no")
            await asyncio.to_thread(_until, running.api, _ANSWERED.format("nack"), 1)
            found = await asyncio.to_thread(read, running.api)
            assert found["meshwright_proxies_connected{}"] == 1
            assert found['meshwright_proxies{state="rejected"}'] == 1
            assert found['meshwright_xds_resources{state="rejected",type="cluster"}'] == 1
            assert found['meshwright_xds_resources{state="pending",type="listener"}'] > 0
            assert found["meshwright_revision{}"] == 3
            assert found['meshwright_xds_resources_sent_total{type="cluster"}'] >= 2, "both versions of what changed"
        await asyncio.to_thread(_until, running.api, "meshwright_proxies_connected{}", 0)


def _client(url: str, key: Credentials) -> Any:
    session = boto3.session.Session(
        aws_access_key_id=key.key_id, aws_secret_access_key=key.secret, region_name="us-east-1"
    )
    return session.client("appmesh", endpoint_url=url)


def _spec(port: int) -> dict[str, Any]:
    return {
        "listeners": [{"portMapping": {"port": port, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": "web.shop.local"}},
    }


def _create(url: str, key: Credentials) -> None:
    client = _client(url, key)
    client.create_mesh(meshName="shop")
    client.create_virtual_node(meshName="shop", virtualNodeName="web", spec=_spec(8080))


def _update(url: str, key: Credentials) -> None:
    _client(url, key).update_virtual_node(meshName="shop", virtualNodeName="web", spec=_spec(8081))


def _until(url: str, name: str, value: float) -> None:
    for _ in range(500):
        if read(url)[name] == value:
            return
    raise AssertionError(f"{name} did not become {value}")
