"""The App Mesh API beside `moto_server`: the same signed requests, from the same client, in one run.

moto holds what it is told in a dictionary and checks neither signatures nor permissions; Meshwright does all that a
production server does: SigV4, authorisation by a policy, ownership, quotas, the audit log, and a full sync before a
create is answered.
"""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from benchmarks.peers import moto
from benchmarks.process import Process, processor_seconds
from benchmarks.report import Table, seconds
from meshwright.store import sqlite
from meshwright.store.keys import create_key, database_path, prepare_directory
from meshwright.trust.sigv4 import Request, sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECTIONS = 32
MESHES = 400
"""Created in a round, and then there to be described and listed."""
NODES = 2000
READS = 8000
"""Of Meshwright; moto gets an eighth of it, which takes it as long or longer. Creates are as many for both."""
SHARE = 8
WARMING = 64
"""Requests of each kind before anything is measured: moto loads its parts when they are first asked for."""
PAGE = 25
"""Objects on a page of a list."""

_TRUST = {
    "version": 1,
    "users": {
        "bench": {
            "permissions": ["everything"],
            "stack": "bench",
            "owns": ["mesh/*", "mesh/*/**"],
            "may_extend": ["mesh/*"],
        }
    },
    "policies": {
        "everything": {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "appmesh:*", "Resource": "arn:aws:appmesh:*:*:mesh/*"},
                {"Effect": "Allow", "Action": "appmesh:ListMeshes", "Resource": "*"},
            ],
        }
    },
    "quotas": {"meshes": 100_000, "virtual_nodes": 100_000},
}


class Target(msgspec.Struct, frozen=True):
    """One server and the key to sign with."""

    name: str
    port: int
    key_id: str
    secret: str
    pid: int
    share: int = 1
    """Of how many requests it gets one."""


class Ask(msgspec.Struct, frozen=True):
    """One request before it is signed."""

    method: str
    target: str
    body: bytes = b""


def run() -> Table:
    """Creates, describes and lists a second, with the 99th percentile of their times."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((folder / "log").open("w"))
        load = stack.enter_context(Process("benchmarks.load"))
        ours = stack.enter_context(_meshwright(folder, log))
        theirs = stack.enter_context(_moto(log))
        rows = []
        for target in (ours, theirs):
            _warm(load, target)
        for name, asks in _rounds():
            found = [_measure(load, target, asks) for target in (ours, theirs)]
            rows.append(
                (
                    name,
                    f"{found[0]['batch']:.0f}" if found[0]["batch"] else "",
                    *(
                        text
                        for one in found
                        for text in (f"{one['rate']:,.0f}/s", seconds(one["p99"]), f"{one['cpu'] * 1e6:,.0f} µs")
                    ),
                    f"{found[0]['rate'] / found[1]['rate']:.1f}",
                    f"{found[1]['cpu'] / found[0]['cpu']:.1f}",
                )
            )
            print(name, [{k: v for k, v in one.items() if k != "last"} for one in found], file=sys.stderr)
    columns = (
        "operation",
        "in a commit",
        "serve",
        "p99",
        "CPU each",
        "moto_server",
        "p99",
        "CPU each",
        "ratio",
        "CPU ratio",
    )
    note = (
        f"The same requests, signed by the same client, over {CONNECTIONS} connections from one process; a list "
        f"gives pages of {PAGE}. Each server is one process of one interpreter, warmed by {WARMING} requests of each "
        "kind. Meshwright checks signature, policy, ownership and quotas, and answers a create after its audit leaf "
        "and a full sync; how many creates shared one is the second column. moto_server runs as it is installed: it "
        "checks and keeps nothing, and speaks HTTP/1.0, so that the client connects anew for each request; it has no "
        f"option for another. Both get the same number of creates; moto gets one {SHARE}th of the {READS:,} reads, "
        "because each takes it so much longer. Rates suffer from whatever else runs; the CPU time of a request less."
    )
    return Table("App Mesh API", note, columns, tuple(rows))


def _rounds() -> Iterator[tuple[str, list[Ask]]]:
    """What is asked, in an order in which each finds what it needs."""
    meshes, nodes = [f"mesh-{n:05}" for n in range(MESHES)], [f"node-{n:05}" for n in range(NODES)]
    root, inside = "/v20190125/meshes", f"/v20190125/meshes/{meshes[0]}/virtualNodes"
    yield "CreateMesh", [Ask("PUT", root, _body(meshName=name)) for name in meshes]
    yield "CreateVirtualNode", [Ask("PUT", inside, _body(virtualNodeName=name, spec=_spec(name))) for name in nodes]
    yield "DescribeMesh", [Ask("GET", f"{root}/{meshes[n % MESHES]}") for n in range(READS)]
    yield "DescribeVirtualNode", [Ask("GET", f"{inside}/{nodes[n % NODES // SHARE]}") for n in range(READS)]
    yield "ListMeshes", [Ask("GET", f"{root}?limit={PAGE}") for _ in range(READS)]
    yield "ListVirtualNodes", [Ask("GET", f"{inside}?limit={PAGE}") for _ in range(READS)]


def _warm(load: Process, target: Target) -> None:
    """Have each kind of request answered some times, on a mesh of its own."""
    root = "/v20190125/meshes"
    inside = f"{root}/warm-00/virtualNodes"
    names = [f"warm-{n:02}" for n in range(WARMING)]
    warming = msgspec.structs.replace(target, share=1)
    for asks in (
        [Ask("PUT", root, _body(meshName=name)) for name in names],
        [Ask("PUT", inside, _body(virtualNodeName=name, spec=_spec(name))) for name in names],
        [Ask("GET", f"{root}/{name}") for name in names],
        [Ask("GET", f"{inside}/{name}") for name in names],
        [Ask("GET", f"{root}?limit={PAGE}") for _ in names],
        [Ask("GET", f"{inside}?limit={PAGE}") for _ in names],
    ):
        _measure(load, warming, asks)


def _body(**members: object) -> bytes:
    return json.dumps({**members, "clientToken": str(uuid.uuid4())}).encode()


def _spec(name: str) -> dict[str, Any]:
    return {
        "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": f"{name}.example.org"}},
    }


def _measure(load: Process, target: Target, asks: Sequence[Ask]) -> dict[str, Any]:
    """Sign what `target` gets of `asks`, send it, and look that it was answered."""
    count = len(asks) if asks[0].method == "PUT" and target.share > 1 else len(asks) // target.share
    signed = [_signed(target, one) for one in asks[:count]]
    commits = _commits(target)
    before = processor_seconds(target.pid)
    load.tell(json.dumps({"host": "127.0.0.1", "port": target.port, "connections": CONNECTIONS, "requests": signed}))
    found = load.answer()
    found["cpu"] = (processor_seconds(target.pid) - before) / count
    revisions, batches = (after - was for after, was in zip(_commits(target), commits, strict=True))
    found["batch"] = revisions / batches if batches else 0
    if found["statuses"] != {"200": count}:
        raise RuntimeError(f"{target.name} answered {asks[0].target} with {found['statuses']}: {found['last'][:500]}")
    return found


def _commits(target: Target) -> tuple[float, float]:
    """How many revisions Meshwright has committed so far, and in how many transactions."""
    if target.name != "meshwright":
        return 0, 0
    with urllib.request.urlopen(f"http://127.0.0.1:{target.port}/metrics", timeout=5) as answer:
        said = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[:1] != "#")
    name = "meshwright_commit_batch_revisions"
    return float(said[f"{name}_sum"]), float(said[f"{name}_count"])


def _signed(target: Target, ask: Ask) -> str:
    headers = {"Host": f"127.0.0.1:{target.port}", "Content-Type": "application/json"}
    request = Request.of(ask.method, ask.target, headers.items(), ask.body)
    headers |= sign(request, target.key_id, target.secret, "us-east-1", "appmesh", time.time_ns() // 1_000_000)
    headers |= {"Content-Length": str(len(ask.body))} if ask.body else {}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return base64.b64encode(f"{ask.method} {ask.target} HTTP/1.1\r\n{head}\r\n".encode() + ask.body).decode()


@contextlib.contextmanager
def _meshwright(folder: Path, log: IO[str]) -> Iterator[Target]:
    """`meshwright serve` on a disk, with a policy that its user must match."""
    path = prepare_directory(folder / "data")
    assert path == database_path(folder / "data")
    with contextlib.closing(sqlite.connect(path)) as store:
        key = create_key(store, "bench", 0)
    (folder / "trust.yaml").write_text(json.dumps(_TRUST))
    options = ("--listen", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data-dir", str(folder / "data"))
    with Process(
        "meshwright.cli", "serve", *options, "--trust", str(folder / "trust.yaml"), "--format", "json", log=log
    ) as child:
        address = child.answer()["api"]
        try:
            yield Target("meshwright", int(address.rpartition(":")[2]), key.id, key.secret, child.pid)
        finally:
            child.terminate()


@contextlib.contextmanager
def _moto(log: IO[str]) -> Iterator[Target]:
    """`moto_server` as it is installed; it cannot be told to take a port of the kernel's choice."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    child = subprocess.Popen([moto(), "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        _until_it_answers(port, child)
        yield Target("moto", port, "AKIATEST", "test", child.pid, SHARE)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(10)


def _until_it_answers(port: int, child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        if child.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"moto_server did not start on port {port}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/data.json", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
