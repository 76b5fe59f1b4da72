"""A hunt for secrets: known ones in every source, every command against a live control plane, then a search of all.

What is searched: all output, all files that were written, the database with its journals, the audit log with what it
publishes, the evidence of verifications, and the arguments of all processes that ran; each secret plain, in Base64,
URL-encoded and escaped as in JSON.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import grpc
import pytest

from cloud_map import moto
from live import live
from meshwright.snapshot.messages import message
from parameter_store import door
from processes import DEADLINE, free_port, fresh_place, until
from test_verify_telemetry import asked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud_map import Moto
    from live import Live

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(900)]  # the first of those with moto installs it

SECRETS = {
    "DB_PASSWORD": 'pa"ss/wörd+of=the&build',
    "LISTED": "listed<secret>value-11",
    "SECURE": "secure string\\value-22",
    "URL": "postgres://shop:address%2Fpass-33@db.local/x",
    "PEM": "-----BEGIN PRIVATE KEY-----\nMIIbody-44+/=\n-----END PRIVATE KEY-----\n",
}
WORDS = (
    'pa"ss/wörd+of=the&build',
    "listed<secret>value-11",
    "secure string\\value-22",
    "address%2Fpass-33",
    "MIIbody-44+/=",
)
"""What is looked for: of the last two, the part that matters."""

GOOD = """\
spec: {}
---
virtualNodeName: cart
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: "${HOST}"}}
---
virtualServiceName: cart.local
spec: {provider: {virtualNode: {virtualNodeName: cart}}}
---
virtualNodeName: web
spec: {backends: [{virtualService: {virtualServiceName: cart.local}}]}
"""
BAD = "meshName: shop\nvirtualNodeName: %s\nspec: {serviceDiscovery: {dns: {hostname: '%s'}}}\n"
WANTED = (
    "x-${env:DB_PASSWORD}-y",
    "${DB_PASSWORD:-none}",
    "${env:LISTED}",
    "${ssm:/shop/db}",
    "${SECURE}",
    "${env:URL}",
    "${file:key.pem}",
    "${MADE}",
)
PROJECT = """\
stack: cart
mesh: shop
definitions: [good.yaml]
tests: [tests.yaml]
secrets: [LISTED]
parameters:
  HOST: cart.local
  MADE: https://${env:DB_PASSWORD}@x
parameters_from: ${ssm:/shop/all/}
environments:
  here: {mesh: shop}
  next: {mesh: next}
  broken: {endpoint: "${env:URL}"}
  secure: {mesh: "${ssm:/shop/db}"}
"""
TESTS = "- {name: t, from: cart, request: {url: http://nobody.local:8080/}, expect: {status: 200}}\n"


def forms(secret: str) -> Iterator[bytes]:
    """`secret` as it may be written; in Base64 at each of the three offsets, without the ends that differ."""
    raw = secret.encode()
    yield raw
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        middle = coded[4 if before else 0 : -2]
        yield from (middle, middle.replace(b"+", b"-").replace(b"/", b"_"))
    yield urllib.parse.quote(secret, safe="").encode()
    yield urllib.parse.quote_plus(secret).encode()
    yield json.dumps(secret)[1:-1].encode()
    yield json.dumps(secret, ensure_ascii=False)[1:-1].encode()


FORMS = {form: word for word in WORDS for form in forms(word)}


def hunted(haystack: bytes) -> list[str]:
    """The secrets that are in `haystack` in any form."""
    return sorted({word for form, word in FORMS.items() if form in haystack})


class Hunt:
    """Runs commands and keeps whatever came of them."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.seen: list[bytes] = []
        self.arguments: set[bytes] = set()

    def run(self, *arguments: str, code: int) -> str:
        """A command, which ends with `code`."""
        command = [sys.executable, "-m", "meshwright.cli", *arguments]
        with (self.folder.parent / "said.log").open("w+b") as said:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environ, stdout=said, stderr=said)
            while process.poll() is None:
                self.look(process.pid)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.01)
            said.seek(0)
            out = said.read()
        self.seen.append(out)
        assert process.returncode == code, (arguments, out.decode())
        return out.decode()

    def look(self, pid: int) -> None:
        """Keep the arguments of a process and of those that it started."""
        with contextlib.suppress(OSError):
            self.arguments.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            for task in Path(f"/proc/{pid}/task").iterdir():
                for child in (task / "children").read_text().split():
                    self.look(int(child))

    def files(self, *but: str) -> dict[Path, bytes]:
        """Every file that is there, but for those that the secrets were put into."""
        every = (one for one in self.folder.parent.rglob("*") if one.is_file() and one.name not in but)
        return {one: one.read_bytes() for one in every}


def everything(hunt: Hunt, server: Live, cloud: Moto) -> None:
    """All commands that read definitions, with good ones and with bad ones."""
    for form in ("text", "json", "sarif", "junit"):
        hunt.run("validate", "--format", form, code=0)
    for form in ("text", "json", "markdown"):
        hunt.run("plan", "--format", form, code=0)
    hunt.run("plan", "--out", "plan.json", code=0)
    hunt.run("apply", code=0)
    hunt.run("history", code=0)
    hunt.run("drift", code=0)
    hunt.run("status", code=0)
    hunt.run("graph", "--format", "json", code=0)
    reports = ("--junit", "junit.xml", "--html", "page.html", "--report", "report.json")
    hunt.run("test", "--simulate", *reports, code=1)
    released(hunt, server, cloud)
    hunt.run("--environment", "broken", "plan", code=2)
    hunt.run("--environment", "secure", "plan", code=2)
    bad = [BAD % (f"n{number}", wanted) for number, wanted in enumerate(WANTED)]
    (hunt.folder / "bad.yaml").write_text("---\n".join(bad))
    for form in ("text", "json", "sarif", "junit"):
        told = hunt.run("validate", "bad.yaml", "--part", "--format", form, code=1)
        assert told.count("MW011") >= len(WANTED) - 1  # two of them lack the same
    for command in (["plan", "bad.yaml"], ["apply", "bad.yaml"]):
        assert "bad.yaml:3" in hunt.run(*command, code=1)
    hunt.run("route", "bad.yaml", "--from", "n0", "http://x.local/", code=2)
    hunt.run("graph", "bad.yaml", code=1)
    assert server.process.poll() is None


def released(hunt: Hunt, server: Live, cloud: Moto) -> None:
    """A release and all that becomes of it, with a real proxy, and with traces and metrics that hold secrets."""
    port, spans = free_port(), hunt.folder.parent / "elsewhere" / "spans.json"
    line = {"resourceSpans": [{"scopeSpans": [{"spans": [span()]}]}]}
    spans.write_text(f"{json.dumps(line)}\n")
    told_aws(cloud)
    with proxied(hunt, server), exporting(port):
        sources = ("--otlp", f"127.0.0.1:{port}", "--otlp-file", str(spans), "--xray", "--cloudwatch", "mesh")
        hunt.run("verify", "1", *sources, "--allow-unprobed", "--timeout", "10", code=0)
        told = json.loads(hunt.run("verify", "1", "--show", "--format", "json", code=0))
        (check,) = (one for one in told["inspections"][0]["checks"] if one["name"] == "telemetry")
        assert ("mesh/shop/virtualNode/cart", "passed") in {
            (one["subject"], one["outcome"]) for one in check["sights"]
        }
        hunt.run("promote", "--from", "here", "--to", "next", code=0)
        written_over(server)
        hunt.run("drift", "--format", "json", code=1)
        hunt.run("drift", "--repair", code=0)
        hunt.run("rollback", "--to", "1", "--reason", "as it was", code=0)
    hunt.run("apply", "good.yaml", "--stack", "other", code=1)
    for form in ("text", "json"):
        hunt.run("history", "--format", form, code=0)
        hunt.run("audit", "log", "--format", form, code=0)
    here = ("--data-dir", str(server.folder))
    for command in (
        ("verify",),
        ("export",),
        ("export", "--format", "slsa", "--release", "shop/cart#1"),
        ("prove", "--release", "shop/cart#1"),
    ):
        hunt.run("audit", *command, *here, code=0)
    hunt.run("audit", "checkpoint", code=0)


def said() -> dict[str, str]:
    """What a span says of its proxy, and of what it should never have been told."""
    return {"meshwright.mesh": "shop", "meshwright.virtual_node": "cart", **SECRETS}


def span() -> dict[str, Any]:
    """A span, as JSON, of a moment to come."""
    attributes = [{"key": name, "value": {"stringValue": value}} for name, value in said().items()]
    started = time.time_ns() + 60 * 10**9
    return {"traceId": "aa", "name": SECRETS["SECURE"], "startTimeUnixNano": str(started), "attributes": attributes}


def told_aws(cloud: Moto) -> None:
    """The same as a segment of X-Ray, and as the dimensions of a metric."""
    now = time.time() + 60
    trace = f"1-{int(now):08x}-{'a' * 24}"
    segment = {"trace_id": trace, "id": "0" * 16, "name": "shop/cart", "start_time": now, "end_time": now}
    document = json.dumps({**segment, "annotations": SECRETS})
    asked(cloud, "xray").put_trace_segments(TraceSegmentDocuments=[document])
    names = {"Mesh": "shop", "VirtualNode": "cart", "Url": SECRETS["LISTED"]}
    dimensions = [{"Name": name, "Value": value} for name, value in names.items()]
    metric = {"MetricName": "RequestCount", "Dimensions": dimensions, "Value": 3.0}
    asked(cloud, "cloudwatch").put_metric_data(Namespace="mesh", MetricData=[metric])


def written_over(server: Live) -> None:
    """Drift."""
    key = {"aws_access_key_id": server.key.id, "aws_secret_access_key": server.key.secret}
    api = boto3.client("appmesh", endpoint_url=server.api, region_name="eu-west-1", **key)
    api.update_virtual_node(meshName="shop", virtualNodeName="web", spec={})


@contextlib.contextmanager
def exporting(port: int) -> Iterator[None]:
    """Whoever listens at `port` is told the span, again and again, until the block ends."""
    kind = message("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest")
    sent = kind()
    one = sent.resource_spans.add().instrumentation_library_spans.add().spans.add()
    one.trace_id, one.name, one.start_time_unix_nano = b"b", SECRETS["SECURE"], time.time_ns() + 60 * 10**9
    for name, value in said().items():
        one.attributes.add(key=name).value.string_value = value
    over = threading.Event()

    def export() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                lambda value: value.SerializeToString(),
                response_deserializer=None,
            )
            while not over.wait(0.1):
                with contextlib.suppress(grpc.RpcError):
                    call(sent, timeout=5)

    thread = threading.Thread(target=export)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def proxied(hunt: Hunt, server: Live) -> Iterator[None]:
    """The proxy of `cart`, which has its listener."""
    place = fresh_place()
    at = ("--application", place.application, "--ingress", place.ingress, "--egress", place.egress)
    with (hunt.folder.parent / "proxy.log").open("wb") as log:
        command = ("-m", "meshwright.cli", "proxy", "mesh/shop/virtualNode/cart", "--xds", f"127.0.0.1:{server.xds}")
        more = ("--admin-port", str(free_port()), "--drain-seconds", "0", "--concurrency", "1")
        process = subprocess.Popen([sys.executable, *command, *at, *more], env=hunt.environ, stdout=log, stderr=log)
    try:
        until(lambda: open_at(place.ingress))
        hunt.look(process.pid)
        hunt.look(server.process.pid)
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE)


def open_at(host: str) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection((host, 8080), 1):
        return True
    return False


def test_the_hunter_finds_what_is_there() -> None:
    """In each form; otherwise it would prove nothing."""
    for word in WORDS:
        for form in forms(word):
            assert hunted(b"before" + form + b"after") == [word]
        for before in ("", "a", "ab"):
            assert word in hunted(base64.b64encode(f"{before}{word} and more".encode()))
    assert hunted(b"nothing of it") == []


def test_no_secret_is_found_anywhere(tmp_path: Path) -> None:
    """Neither where it may be used nor where it is refused."""
    work, kept = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    kept.mkdir()
    files = {"meshwright.yaml": PROJECT, "good.yaml": GOOD, "tests.yaml": TESTS, "key.pem": SECRETS["PEM"]}
    for name, text in files.items():
        (work / name).write_text(text)
    with (
        moto(kept) as cloud,
        door(cloud) as store,
        live(tmp_path / "data", "--region", "eu-west-1", "--checkpoints", str(tmp_path / "checkpoints")) as server,
    ):
        store.put("/shop/db", SECRETS["SECURE"], "SecureString")
        store.put("/shop/all/SECURE", SECRETS["SECURE"], "SecureString")
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environ |= store.environment | {name: SECRETS[name] for name in ("DB_PASSWORD", "LISTED", "URL")}
        environ |= {"AWS_ENDPOINT_URL_APP_MESH": server.api, "LANG": "C.UTF-8"}
        environ |= {"AWS_ENDPOINT_URL_XRAY": cloud.url, "AWS_ENDPOINT_URL_CLOUDWATCH": cloud.url}
        hunt = Hunt(work, environ | {"AWS_ACCESS_KEY_ID": server.key.id, "AWS_SECRET_ACCESS_KEY": server.key.secret})
        everything(hunt, server, cloud)
        server.end()
    found = {str(path): hunted(text) for path, text in hunt.files("key.pem", "moto.log", "spans.json").items()}
    assert {path: words for path, words in found.items() if words} == {}
    assert [one for one in hunt.seen if hunted(one)] == []
    assert [one for one in hunt.arguments if hunted(one)] == []
    own = tuple(forms(server.key.secret))
    assert [one for one in (*hunt.seen, *hunt.arguments) if any(form in one for form in own)] == []
    for program in (b"meshwright.cli", b"/envoy", b"serve"):
        assert any(program in one for one in hunt.arguments)
    assert {"plan.json", "junit.xml", "page.html", "report.json", "meshwright.db", "checkpoints"} <= {
        one.name for one in hunt.files()
    }
    assert not any(one.get("WithDecryption") for _, one in store.calls)
