"""Releases are told of to OpenTelemetry and CloudWatch, and a receiver that is ill is nobody's trouble."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
import pytest

from cloud_map import moto
from envoys import until as until_async
from live import live
from meshwright.api.metrics import Metrics
from meshwright.cli import main
from meshwright.errors import RefusedError, UsageError
from meshwright.release import ApplyRequest, Build, Release, RollbackRequest
from meshwright.remote import Client, Credentials
from meshwright.server import Settings, control_plane
from meshwright.server.exporting import Exporter
from meshwright.snapshot.messages import message
from meshwright.store.contract import AccessKey
from meshwright.store.sqlite import connect
from meshwright.telemetry.happening import Event, Reading, event, without_secrets
from meshwright.telemetry.standard import Destination, destination
from otlp_receiver import OtlpReceiver, otlp_receiver
from processes import free_port, until
from registering import PAY, client, shop
from test_metrics import read
from test_releases import SHIFTED
from test_releases_propagation import CALLER, CONTENT, WEB, Plane
from test_verify import caller, instance, said

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from live import Live

TOKEN = "the-token-of-the-receiver"
PASSWORD = "the-password-in-a-url"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """One that takes everything."""
    with otlp_receiver() as found:
        yield found


def to(url: str, **variables: str) -> Destination:
    """Where `--otlp-endpoint` leads."""
    found = destination(url, variables, {"service.name": "meshwright"})
    assert found is not None
    return found


async def test_each_step_of_a_release_is_an_event_once_with_its_build(tmp_path: Path, receiver: OtlpReceiver) -> None:
    """Good, rejected, rolled back; what was told is told in order, and the last before the stop is told as well."""
    settings = Settings(
        listen=("127.0.0.1", 0), xds=("127.0.0.1", 0), data_dir=tmp_path / "data", otlp=to(receiver.url)
    )
    build = Build(
        ci="travis", build_number="42", commit="abc", url=f"https://u:{PASSWORD}@ci.example/42?key={PASSWORD}"
    )
    async with control_plane(settings) as running:
        plane = Plane(running)
        await plane.ask("apply", ApplyRequest(resources=CONTENT, build=build))
        async with plane.proxy() as stream:
            assert (await plane.ask("propagation", 1, 30))["status"] == "propagated"
            await plane.apply(*SHIFTED, CALLER, WEB)
            await stream.nack(await stream.hear(), "no")
            assert (await plane.ask("propagation", 2, 30))["state"] == "rejected"
            await plane.ask("roll_back", RollbackRequest(last_good=True, reason=PASSWORD))
            await stream.ack(await stream.hear())
            assert (await plane.ask("propagation", 3, 30))["status"] == "propagated"
    assert sorted(receiver.names) == [
        "shop#1 applied",
        "shop#1 propagated",
        "shop#2 applied",
        "shop#2 failed",
        "shop#2 rolled_back",
        "shop#3 applied",
        "shop#3 propagated",
    ]
    first, failed = receiver.events[0], next(one for one in receiver.events if one["severity"] == "ERROR")
    assert (first["meshwright.mesh"], first["meshwright.stack"], first["meshwright.status"]) == (
        "m",
        "shop",
        "applied",
    )
    assert first["meshwright.build.claimed.commit"] == "abc"
    assert first["meshwright.build.claimed.url"] == "https://ci.example/42"
    assert first["meshwright.principal"] == "arn:aws:iam::000000000000:user/administrator"
    assert "meshwright.build.verified.commit" not in first
    assert (failed["meshwright.release"], failed["meshwright.rejected_proxies"]) == ("shop#2", 1)
    back = next(one for one in receiver.events if one["name"].endswith("rolled_back"))
    assert (back["meshwright.rolled_back_by"], back["severity"]) == ("shop#3", "WARN")
    propagated = [one["meshwright.propagation_seconds"] for one in receiver.events if "propagated" in one["name"]]
    assert len(propagated) == 2
    assert all(seconds >= 0 for seconds in propagated)
    assert PASSWORD not in str(receiver.requests)


TRUST = """
version: 1
environments: {test: {mesh: shop}}
users: {bob: {stack: "*", owns: ["mesh/**"], may_change: ["mesh/**"], permissions: [everything]}}
policies:
  everything: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}
guardrails: {look: {actions: [update], kinds: [apply], severity: approve, message: Look first.}}
"""
BOB = AccessKey(id="AKIABOB", secret="s", principal="bob", created_at=1)


def timed(seconds: int) -> ApplyRequest:
    """The shop with another time limit."""
    return shop(timeout={"http": {"idle": {"unit": "s", "value": seconds}}})


def write_by_hand(server: Live, key: AccessKey, seconds: int) -> None:
    """Somebody's update of the shop's node, past any release."""
    stock = boto3.client(
        "appmesh",
        endpoint_url=server.api,
        region_name="us-east-1",
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
    )
    node = {"meshName": "shop", "virtualNodeName": PAY.name}
    spec = stock.describe_virtual_node(**node)["virtualNode"]["spec"]
    spec["listeners"][0]["timeout"] = {"http": {"idle": {"unit": "s", "value": seconds}}}
    stock.update_virtual_node(**node, spec=spec)


def test_approvals_grants_and_drift_are_events_as_well(tmp_path: Path, receiver: OtlpReceiver) -> None:
    """Each once, without reasons; drift that is looked at again is told again only where it is another."""
    (tmp_path / "trust.yaml").write_text(TRUST)
    words = ("--trust", str(tmp_path / "trust.yaml"), "--environment", "test", "--otlp-endpoint", receiver.url)
    with live(tmp_path / "data", *words) as server:
        with closing(connect(server.database)) as store:
            store.add_key(BOB)
        admin = client(server)
        bob = Client(server.api, Credentials(key_id=BOB.id, secret=BOB.secret, source="the test"))
        admin.apply("shop", "shop", timed(4))
        for _ in range(2):
            admin.apply("shop", "shop", timed(5))
        admin.withdraw("shop", "shop", 1, PASSWORD)
        admin.apply("shop", "shop", timed(6))
        for _ in range(2):
            bob.approve("shop", "shop", 2, PASSWORD)
        admin.grant("shop", "shop", "user/administrator", PASSWORD, 5)
        admin.apply("shop", "shop", msgspec.structs.replace(timed(7), break_glass=PASSWORD))
        for key, seconds in ((server.key, 8), (BOB, 9), (BOB, 10)):
            write_by_hand(server, key, seconds)
            for _ in range(2):
                admin.drift("shop", "shop")
        admin.roll_back("shop", "shop", RollbackRequest(repair=True, reason=PASSWORD))
        admin.drift("shop", "shop")
        assert server.end() == 0
    assert receiver.others == [
        "approval.asked shop#pending-1",
        "approval.withdrawn shop#pending-1",
        "approval.asked shop#pending-2",
        "approval.approved shop#2 shop#pending-2",
        "grant.given 1",
        "grant.used shop#3 1",
        "drift.found shop#3",
        "drift.found shop#3",
        "drift.repaired shop#4",
    ]
    assert [one for one in receiver.names if "applied" in one] == [f"shop#{number} applied" for number in range(1, 5)]
    asked, found = receiver.events[1], next(one for one in receiver.events if one["name"] == "meshwright.drift.found")
    assert (asked["meshwright.guardrails"], asked["meshwright.changes"], asked["severity"]) == ("look", 1, "INFO")
    assert (found["meshwright.drift.objects"], found["meshwright.drift.changed"], found["severity"]) == (1, 1, "WARN")
    assert found["meshwright.drift.writers"] == "arn:aws:iam::000000000000:user/bob"
    assert PASSWORD not in str(receiver.requests)


async def test_numbers_are_those_of_the_metrics_page_and_secrets_are_in_none_of_it(
    tmp_path: Path, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command, with OpenTelemetry's own variables; the token reaches the receiver, and nobody else."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{TOKEN}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=pay,service.instance.id=one")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url.replace("//", f"//u:{PASSWORD}@"))
    with live(tmp_path / "data") as server:
        await asyncio.to_thread(client(server).apply, "shop", "shop", shop())
        async with caller(server), instance(server):
            code, _, _ = await said(server, "verify", "1", "--allow-unprobed", "--timeout", "30")
            assert code == 0
            await asyncio.to_thread(until, lambda: "shop#1 verified" in receiver.names)

            async def both_are_seen() -> bool:
                found = receiver.metrics.get("meshwright.proxies_connected")
                return found is not None and found.gauge.data_points[0].as_double == 2

            await until_async(both_are_seen)
        arguments = await asyncio.to_thread(Path(f"/proc/{server.process.pid}/cmdline").read_bytes)
        numbers = await asyncio.to_thread(read, server.api)
        assert numbers['meshwright_events_told_total{receiver="otlp"}'] == 3
        assert numbers["meshwright_snapshots_built_total{}"] > 0
        receiver.status = 503
        await asyncio.to_thread(until, lambda: "cannot be told to otlp" in server.log.read_text())
        receiver.status = 200
        assert await asyncio.to_thread(server.end) == 0
    assert receiver.names == ["shop#1 applied", "shop#1 propagated", "shop#1 verified"]
    assert receiver.headers[0]["authorization"] == f"Bearer {TOKEN}"
    assert (receiver.resource["service.name"], receiver.resource["team"]) == ("meshwright", "pay")
    assert receiver.resource["service.instance.id"] == "one"
    requests = receiver.metrics["meshwright.requests"]
    assert (requests.sum.is_monotonic, requests.sum.aggregation_temporality) == (True, 2)
    took = receiver.metrics["meshwright.request_seconds"]
    for point in took.histogram.data_points:
        assert sum(point.bucket_counts) == point.count
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert took.unit == "s"
    files = b"".join(one.read_bytes() for one in (tmp_path / "data").iterdir() if one.is_file())
    for secret in (TOKEN, PASSWORD):
        assert secret not in server.log.read_text()
        assert secret.encode() not in files + arguments
        assert secret not in str(receiver.requests)


def page(server: Live) -> dict[str, float]:
    """The numbers that concern receivers."""
    return {name: value for name, value in read(server.api).items() if "receiver" in name}


def test_events_wait_for_a_receiver_that_is_gone_and_the_log_says_so_once(tmp_path: Path) -> None:
    """The API serves meanwhile; what was told nobody comes first when somebody is there."""
    port = free_port()
    with live(tmp_path / "data", "--otlp-endpoint", f"http://127.0.0.1:{port}") as server:
        client(server).apply("shop", "shop", shop())
        until(lambda: page(server).get('meshwright_telling_failures_total{receiver="otlp"}', 0) >= 2)
        assert server.log.read_text().count("cannot be told to otlp") == 1
        assert client(server).release("shop", "shop", 1)["status"] == "applied"
        with otlp_receiver(port) as receiver:
            until(lambda: receiver.names == ["shop#1 applied"])
            assert server.end() == 0
        assert "events and metrics cannot be told to otlp" in server.log.read_text()


def test_a_receiver_that_never_answers_holds_up_neither_a_request_nor_the_end(
    tmp_path: Path, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may take an hour by the settings; the end comes all the same, and says what was left."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")
    receiver.silent.set()
    with live(tmp_path / "data", "--otlp-endpoint", receiver.url) as server:
        client(server).apply("shop", "shop", shop())
        assert receiver.asked.wait(60)
        client(server).apply("shop", "shop", shop(timeout={"http": {"idle": {"unit": "s", "value": 5}}}))
        assert server.end() == 0
        assert "2 events were not told to otlp" in server.log.read_text()


@pytest.mark.parametrize("status", [400, 401])
def test_what_a_receiver_refuses_for_good_is_dropped_and_counted(
    tmp_path: Path, receiver: OtlpReceiver, status: int
) -> None:
    """And what comes later is told."""
    receiver.status = status
    with live(tmp_path / "data", "--otlp-endpoint", receiver.url) as server:
        client(server).apply("shop", "shop", shop())
        until(lambda: page(server).get('meshwright_events_dropped_total{receiver="otlp"}') == 1)
        receiver.status = 200
        client(server).apply("shop", "shop", shop(timeout={"http": {"idle": {"unit": "s", "value": 5}}}))
        until(lambda: receiver.names == ["shop#2 applied"])


def test_what_a_receiver_takes_but_for_some_is_counted_so_and_not_sent_again(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    """The receiver's words are in the log, once and short; a warning alone costs no event."""
    partial = message("opentelemetry.proto.collector.logs.v1.ExportLogsServiceResponse")
    rest = {"rejected_log_records": 1, "error_message": "too old\n" + "x" * 1000}
    receiver.answer = partial(partial_success=rest).SerializeToString()
    with live(tmp_path / "data", "--otlp-endpoint", receiver.url) as server:
        client(server).apply("shop", "shop", shop())
        until(lambda: page(server).get('meshwright_events_dropped_total{receiver="otlp"}') == 1)
        assert page(server)['meshwright_telling_failures_total{receiver="otlp"}'] == 1
        receiver.answer = partial(partial_success={"error_message": "use HTTPS"}).SerializeToString()
        client(server).apply("shop", "shop", shop(timeout={"http": {"idle": {"unit": "s", "value": 5}}}))
        until(lambda: page(server).get('meshwright_events_told_total{receiver="otlp"}') == 1)
        receiver.answer = b"<html>"
        client(server).apply("shop", "shop", shop(timeout={"http": {"idle": {"unit": "s", "value": 6}}}))
        until(lambda: page(server).get('meshwright_events_told_total{receiver="otlp"}') == 2)
        assert server.end() == 0
        assert receiver.names == ["shop#1 applied", "shop#2 applied", "shop#3 applied"]
        log = server.log.read_text()
    assert "otlp does not take all events as they are: http://127.0.0.1" in log
    assert "does not take 1 of the logs: 'too old" in log
    assert "x" * 300 not in log
    assert "takes the logs and warns: 'use HTTPS'" in log


@pytest.mark.parametrize("status", [429, 503])
def test_what_a_receiver_cannot_take_now_is_sent_again(tmp_path: Path, receiver: OtlpReceiver, status: int) -> None:
    """Once it can, and it is not dropped."""
    receiver.status = status
    with live(tmp_path / "data", "--otlp-endpoint", receiver.url) as server:
        client(server).apply("shop", "shop", shop())
        until(lambda: page(server).get('meshwright_telling_failures_total{receiver="otlp"}', 0) >= 1)
        receiver.status = 200
        until(lambda: receiver.names == ["shop#1 applied"])
        assert 'meshwright_events_dropped_total{receiver="otlp"}' not in page(server)


def test_an_answer_without_an_end_is_not_read_to_its_end(tmp_path: Path, receiver: OtlpReceiver) -> None:
    """The receiver took the events by its status; what it says beside that is its own business."""
    receiver.endless.set()
    with live(tmp_path / "data", "--otlp-endpoint", receiver.url) as server:
        client(server).apply("shop", "shop", shop())
        until(lambda: page(server).get('meshwright_events_told_total{receiver="otlp"}') == 1)
        receiver.endless.clear()
        assert server.end() == 0


def test_a_rollback_tells_of_what_it_takes_back_and_of_nothing_that_was_before(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    """However many releases that are."""

    def idle(seconds: int) -> ApplyRequest:
        return shop(timeout={"http": {"idle": {"unit": "s", "value": seconds}}})

    with live(tmp_path / "data", "--otlp-endpoint", receiver.url) as server:
        ours = client(server)
        for seconds in (1, 2, 3):
            ours.apply("shop", "shop", idle(seconds))
        ours.roll_back("shop", "shop", RollbackRequest(to=1))
        ours.apply("shop", "shop", idle(4))
        ours.roll_back("shop", "shop", RollbackRequest(to=1))
        assert server.end() == 0
    told = [
        (one["meshwright.release"], one["meshwright.rolled_back_by"])
        for one in receiver.events
        if "back" in one["name"]
    ]
    assert told == [("shop#2", "shop#4"), ("shop#3", "shop#4"), ("shop#4", "shop#6"), ("shop#5", "shop#6")]


class Held:
    """A receiver that takes nothing before it is let go."""

    name = "otlp"

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.told: list[str] = []

    def tell(self, events: Sequence[Event]) -> None:
        """Wait."""
        self.begun.set()
        self.go.wait(60)
        if not self.told:
            self.told.append("refused")
            raise RefusedError("not these")
        self.told += [one.title for one in events]

    def read(self, reading: Reading) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def happened(number: int) -> Event:
    """An event of a release."""
    one = Release(mesh="m", stack="s", number=number, revision=1, parent=None, digest="", at=0, principal="p")
    return event("applied", one, 0)


def test_room_is_bounded_and_what_has_none_is_counted() -> None:
    """Those that were under way stay in front; none is counted twice, or both as told and as dropped."""
    sink, metrics = Held(), Metrics()
    exporter = Exporter(sink, metrics, most=3)
    exporter.start()
    exporter.tell(happened(1))
    assert sink.begun.wait(60)
    for number in range(2, 10):
        exporter.tell(happened(number))
    sink.go.set()
    exporter.end(60)
    assert sink.told == ["refused", "s#2", "s#3"]
    text = metrics.render().decode()
    assert 'meshwright_events_dropped_total{receiver="otlp"} 7.0' in text
    assert 'meshwright_events_told_total{receiver="otlp"} 2.0' in text


def statistics(found: Any, name: str, **dimensions: str) -> float:
    """The sum of a metric in CloudWatch over all time."""
    now = datetime.now(UTC)
    answer = found.get_metric_statistics(
        Namespace="Meshwright/tests",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=7200,
        Statistics=["Sum"],
    )
    return float(sum(one["Sum"] for one in answer["Datapoints"]))


async def test_cloudwatch_counts_releases_by_mesh_stack_and_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On moto's server, which is gone for a while: what came meanwhile is not lost."""
    with moto(tmp_path) as aws:
        for name, value in {**aws.environment, "AWS_ENDPOINT_URL_CLOUDWATCH": aws.url}.items():
            monkeypatch.setenv(name, value)
        found = boto3.session.Session(region_name="us-east-1").client("cloudwatch")
        with live(tmp_path / "data", "--cloudwatch", "Meshwright/tests") as server:
            await asyncio.to_thread(client(server).apply, "shop", "shop", shop())

            def arrived(status: str) -> bool:
                return statistics(found, "Releases", Mesh="shop", Stack="shop", Status=status) == 1

            await asyncio.to_thread(until, lambda: arrived("applied"))
            await asyncio.to_thread(client(server).grant, "shop", "shop", "user/administrator", "fire", 5)
            aws.stop()
            async with caller(server), instance(server):
                await asyncio.to_thread(
                    until, lambda: page(server).get('meshwright_telling_failures_total{receiver="cloudwatch"}', 0) > 0
                )
                aws.start()
                await asyncio.to_thread(until, lambda: arrived("propagated"))
                assert await asyncio.to_thread(server.end) == 0
        listed = {
            (one["MetricName"], tuple(sorted(it["Name"] for it in one["Dimensions"])))
            for one in found.list_metrics(Namespace="Meshwright/tests")["Metrics"]
        }
        assert {("PropagationTime", ("Mesh", "Stack")), ("Releases", ("Mesh", "Stack", "Status"))} <= listed
        assert statistics(found, "Grants", Mesh="shop", Stack="shop", Status="given") == 1
        assert {("Requests", ()), ("RequestsFailed", ()), ("SnapshotsBuilt", ())} <= listed
        assert statistics(found, "Requests") >= 1
        assert statistics(found, "SnapshotsBuilt") >= 2


REFUSED = {
    "grpc": ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'"),
    "compression": ({"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "it takes gzip or none"),
    "timeout": ({"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "soon"}, "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT is 'soon'"),
    "headers": ({"OTEL_EXPORTER_OTLP_HEADERS": TOKEN}, "OTEL_EXPORTER_OTLP_HEADERS is no list"),
    "lines": ({"OTEL_EXPORTER_OTLP_HEADERS": f"a={TOKEN}%0d%0ab: c"}, "OTEL_EXPORTER_OTLP_HEADERS names no headers"),
    "resource": ({"OTEL_RESOURCE_ATTRIBUTES": "team"}, "OTEL_RESOURCE_ATTRIBUTES is no list"),
    "interval": ({"OTEL_METRIC_EXPORT_INTERVAL": "0"}, "OTEL_METRIC_EXPORT_INTERVAL is '0'"),
}


@pytest.mark.parametrize(("variables", "told"), REFUSED.values(), ids=REFUSED)
def test_a_variable_that_cannot_be_followed_is_named_and_its_secrets_are_not(
    variables: dict[str, str], told: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(UsageError) as found:
        to("http://127.0.0.1:4318", **variables)
    assert told in str(found.value)
    assert TOKEN not in str(found.value)


def test_the_variables_say_where_each_signal_goes() -> None:
    """A signal's own before that of all; the option before both; none for nobody."""
    assert destination(None, {}, {}) is None
    every = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example/otlp/", "OTEL_SERVICE_NAME": "mesh"}
    found = destination(None, every, {"service.name": "meshwright"})
    assert found is not None
    assert {signal: one.url for signal, one in found.targets.items()} == {
        "logs": "https://c.example/otlp/v1/logs",
        "metrics": "https://c.example/otlp/v1/metrics",
    }
    assert found.resource["service.name"] == "mesh"
    own = {**every, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://l.example/in", "OTEL_METRICS_EXPORTER": "none"}
    found = destination(None, own, {})
    assert found is not None
    assert {signal: one.url for signal, one in found.targets.items()} == {"logs": "http://l.example/in"}
    assert destination(None, {**every, "OTEL_SDK_DISABLED": "true"}, {}) is None
    option = to("http://o.example", OTEL_EXPORTER_OTLP_HEADERS=f"a={TOKEN}", **every)
    assert option.targets["logs"].url == "http://o.example/v1/logs"
    assert option.targets["logs"].headers == {"a": TOKEN}
    assert TOKEN not in repr(option)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--otlp-endpoint", f"collector:4318?key={PASSWORD}"), "is no URL of a receiver"),
        (("--cloudwatch", "AWS/EC2"), "is no namespace of CloudWatch's"),
    ],
)
def test_the_command_refuses_what_is_no_receiver(
    tmp_path: Path,
    arguments: tuple[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With exit code 2, and what it takes."""
    where = ("--listen", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"))
    # No log of this process's is set up: it would go to a stream that ends with this test.
    monkeypatch.setattr(sys, "argv", ["meshwright", "serve", *where, *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    errors = capsys.readouterr().err
    assert (left.value.code, told in errors, PASSWORD in errors) == (2, True, False), errors


def test_a_url_is_told_without_what_tokens_are_handed_around_in() -> None:
    """User, password, query and fragment."""
    assert without_secrets("https://u:p@h.example:1/a?b=c#d") == "https://h.example:1/a"
    assert without_secrets("acme/shop") == "acme/shop"
    assert without_secrets("http://[") == ""
