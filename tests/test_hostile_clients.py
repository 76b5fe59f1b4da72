"""Clients that mean harm or are merely broken, against a live server: it stays up, small and quick, and recovers."""

from __future__ import annotations

import contextlib
import http.client
import re
import resource
import select
import socket
import sqlite3
import ssl
import struct
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from live import Disk, Live, live
from load_program import NODES, spec
from pki import Issuer
from processes import DEADLINE, until
from settings import PROVE
from test_load import verify
from wire_client import Client, Connection, signed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)

MESHES = "/v20190125/meshes"
IDLE = 1_500
"""Connections; more than a server keeps, so that it has to choose."""
FLOOD = 50_000 if PROVE else 3_000
BODIES, BODY = 100, 30 << 20
PATIENCE = 8.0
"""Seconds within which a signed request must be answered while others misbehave, on a machine that is shared."""
MEMORY = 60_000
"""kB that misbehaviour may cost at most."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that must survive all of it."""
    with prepared(tmp_path_factory.mktemp("hostile") / "data") as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Live]:
    """A server whose disk and end are one test's business."""
    with prepared(tmp_path / "data") as running:
        yield running


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[Live]:
    """A server with one mesh."""
    with live(folder) as running:
        client = Client(running.port, running.key)
        assert client.ask("PUT", MESHES, {"meshName": "load"}).status == 200
        client.close()
        yield running


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the system lets a process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4 * IDLE:
        pytest.skip(f"this process may open {hard} files; the test needs {4 * IDLE}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def opened(server: Live) -> socket.socket:
    """A new connection."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)


def asked(server: Live, method: str = "GET", target: str = MESHES, body: object = None) -> tuple[int, float]:
    """The status of one signed request on a connection of its own, and the seconds that it took."""
    began = time.monotonic()
    client = Client(server.port, server.key, timeout=30.0)
    try:
        return client.ask(method, target, body).status, time.monotonic() - began
    finally:
        client.close()


def served(server: Live, times: int = 10) -> None:
    """Signed requests are answered, and soon."""
    for _ in range(times):
        status, seconds = asked(server)
        assert status == 200
        assert seconds < PATIENCE


def errors(server: Live) -> list[str]:
    """What the log says that it must not."""
    lines = server.log.read_text(errors="replace").splitlines()
    return [line for line in lines if "level=error" in line or "traceback" in line]


def test_idle_connections_keep_nobody_out(server: Live, many_files: None) -> None:
    """Silent ones, half heads, half bodies; when they go, all that they took is given back."""
    before, files = server.memory(), server.files()
    begun = signed("PUT", MESHES, b'{"meshName":"x"}', server.key, server.port)[:-5]
    strange = begun.replace(server.key.id.encode(), b"AKIAUNHEARDOFUNHEARD")
    starts = [b"", b"GET /v20190125/meshes HTTP/1.1\r\nhost: x\r\nx-slow: ", strange, b"\r\n", b"POST / HTTP/1.1\r\n"]
    with contextlib.ExitStack() as stack:
        for index in range(IDLE):
            with contextlib.suppress(ConnectionError):
                connection = stack.enter_context(opened(server))
                connection.sendall(starts[index % len(starts)] if index % 20 else begun)
            if index % 300 == 299:
                served(server, 2)
        served(server)
        assert server.memory() - before < MEMORY
    until(lambda: server.files() <= files + 2)
    assert errors(server) == []


def test_slow_strangers_at_sts_keep_nobody_out(server: Live) -> None:
    """What needs no signature has few places, and a signed request needs none of them."""
    slow = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nAction=AssumeRoleWith"
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(opened(server)).sendall(slow)
        served(server)
    assert errors(server) == []


def test_handshakes_that_never_come_to_an_end_keep_nobody_out(tmp_path: Path, many_files: None) -> None:
    """Silent clients of the TLS port, and some that speak no TLS; nobody writes to the log by it."""
    issuer = Issuer()
    files = issuer.server().write(tmp_path, "api")
    trusted = ssl.create_default_context(cadata=issuer.certificate.decode())
    with (
        live(tmp_path / "data", "--tls-certificate", str(files.certificate), "--tls-key", str(files.key)) as server,
        contextlib.ExitStack() as stack,
    ):
        before = server.memory()
        for index in range(IDLE):
            connection = stack.enter_context(opened(server))
            connection.sendall(b"" if index % 3 else b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for _ in range(5):
            began = time.monotonic()
            asking = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusted, timeout=DEADLINE)
            asking.request("GET", "/healthz")
            assert asking.getresponse().status == 200
            asking.close()
            assert time.monotonic() - began < PATIENCE
        assert server.memory() - before < 3 * MEMORY
        assert errors(server) == []


def test_clients_that_leave_in_the_middle_leave_nothing_behind(server: Live) -> None:
    """Resets in the middle of a head, a body, an answer; ends in the middle; an answer nobody reads."""
    files = server.files()
    whole = signed(
        "PUT", f"{MESHES}/load/virtualNodes", b'{"virtualNodeName":"x","spec":{}}', server.key, server.port
    )
    read = signed("GET", "/meshwright/v1/openapi.json", b"", server.key, server.port)
    cuts = [whole[:40], whole[:-10], whole, read, read * 5, read[:-1]]
    for index in range(300 if PROVE else 120):
        with opened(server) as connection:
            connection.sendall(cuts[index % len(cuts)])
            if index % 2:  # a reset instead of an end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if index % 5 == 0:
                select.select([connection], [], [], 0.05)
    served(server)
    until(lambda: server.files() <= files + 1)
    assert errors(server) == []


def test_a_client_that_has_said_all_still_hears_the_answer(server: Live) -> None:
    """A half-closed connection is a client that waits."""
    with opened(server) as connection:
        connection.sendall(signed("GET", MESHES, b"", server.key, server.port, headers=(("connection", "close"),)))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_slow_reader_costs_no_memory(server: Live) -> None:
    """Hundreds of requests on one connection, and none of the answers read."""
    before = server.memory()
    read = signed("GET", "/meshwright/v1/openapi.json", b"", server.key, server.port)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(opened(server))
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError, ConnectionError):
                for _ in range(500):
                    connection.sendall(read)
        served(server)
        assert server.memory() - before < MEMORY
    assert errors(server) == []


def test_large_bodies_of_strangers_are_refused_before_they_are_read(server: Live) -> None:
    """A hundred at once, 30 MB each, to our own endpoints: refused after the head, memory bounded."""
    before, highest = server.memory(), 0
    stranger = signed("POST", "/meshwright/v1/meshes/m/stacks/s/releases", b"", server.key, server.port).replace(
        server.key.id.encode(), b"AKIAUNHEARDOFUNHEARD"
    )
    head = stranger.replace(b"content-length: 0", b"content-length: %d" % BODY)
    connections = [opened(server) for _ in range(BODIES)]
    try:
        for connection in connections:
            connection.sendall(head + b"{" * 100_000)
        for connection in connections:
            connection.settimeout(PATIENCE)
            assert connection.recv(12) == b"HTTP/1.1 403", "the answer does not wait for the body"
        served(server, 3)
        until_sent = time.monotonic() + (20 if PROVE else 1)
        while time.monotonic() < until_sent and connections:
            highest = max(highest, server.memory())
            connections = [connection for connection in connections if pushed(connection)]
    finally:
        for connection in connections:
            connection.close()
    assert max(highest, server.memory()) - before < MEMORY
    served(server, 3)
    assert errors(server) == []


def pushed(connection: socket.socket) -> bool:
    """Whether the server still takes what it has refused."""
    connection.settimeout(0.01)
    try:
        connection.send(b"{" * 500_000)
    except TimeoutError:
        return True
    except OSError:
        connection.close()
        return False
    return True


def test_a_flood_of_unsigned_requests_is_counted_and_not_written_down(server: Live) -> None:
    """The log and the database do not grow with it; who has a key is served all the while."""
    disk = Disk(server.database)
    disk.changed()
    before = server.log.stat().st_size
    stop = threading.Event()
    seconds: list[float] = []

    def watch() -> None:
        while not stop.is_set():
            seconds.append(asked(server)[1])
            stop.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        flood(server, FLOOD)
    finally:
        stop.set()
        watcher.join()
    mine = 400 * len(seconds)
    assert server.log.stat().st_size - before < 10_000 + mine, "at most the lines of those who are known"
    assert disk.changed() == {}
    disk.close()
    assert max(seconds) < PATIENCE
    assert counted(server) >= FLOOD


def flood(server: Live, count: int) -> None:
    """Unsigned and badly signed requests, many on each connection."""
    plain = b"GET /v20190125/meshes HTTP/1.1\r\nhost: x\r\n\r\n"
    bad = signed("GET", MESHES, b"", server.key, server.port).replace(b"Signature=", b"Signature=0")
    with Connection(server.port) as connection:
        for index in range(count):
            answer = connection.exchange(bad if index % 2 else plain)
            assert answer.status in {400, 403}


def counted(server: Live) -> float:
    """How many requests of strangers the metrics tell of."""
    with Connection(server.port) as connection:
        text = connection.exchange(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").body.decode()
    found = re.findall(
        r"^meshwright_\w*(?:unauthenticated|refused)\w*_total\{[^}]*\} ([0-9.e+]+)$", text, re.MULTILINE
    )
    return sum(map(float, found))


def writing(server: Live, name: str) -> tuple[int, dict[str, str], float]:
    """The status and headers of one signed write, and the seconds that it took."""
    began = time.monotonic()
    client = Client(server.port, server.key, timeout=60.0)
    try:
        answer = client.ask("PUT", NODES, {"virtualNodeName": name, "spec": spec("x" * 200)})
        return answer.status, answer.headers, time.monotonic() - began
    finally:
        client.close()


def fill(server: Live) -> str:
    """Write until the server says that it cannot; the name that was refused."""
    for number in range(20_000):
        status, headers, _ = writing(server, f"n{number}")
        if status != 200:
            assert status == 503, "a full disk is no fault of the client's"
            assert int(headers["retry-after"]) > 0
            assert headers["x-amzn-errortype"] == "ServiceUnavailableException"
            return f"n{number}"
    raise AssertionError("the disk was never full")


def recovered(server: Live, refused: str) -> None:
    """Reads went on, writes go on, nothing that was refused is there and nothing acknowledged is missing."""
    assert asked(server)[0] == 200
    until(lambda: writing(server, refused)[0] == 200)
    client = Client(server.port, server.key)
    number = int(refused[1:])
    for name in {0, number // 2, max(number - 1, 0), number}:
        assert client.ask("GET", f"{NODES}/n{name}").status == 200
    client.close()


def test_a_disk_that_is_full_is_said_so_and_got_over(own: Live) -> None:
    """No file may grow: 503 with Retry-After, reads as ever, and writes again as soon as there is room."""
    own.limit_file_size(max(path.stat().st_size for path in own.folder.iterdir()) + 50_000)
    refused = fill(own)
    assert asked(own)[0] == 200
    assert writing(own, "another")[0] == 503
    own.limit_file_size(None)
    recovered(own, refused)
    assert own.end() == 0
    verify(own.folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, where this may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_file_system_without_room_is_got_over(small_disk: Path) -> None:
    """A real one: something else takes all of its room, and gives it back."""
    with prepared(small_disk / "data") as server:
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        refused = fill(server)
        ballast.unlink()
        recovered(server, refused)
        assert server.end() == 0
        verify(server.folder)


@contextlib.contextmanager
def locked(server: Live) -> Iterator[None]:
    """Another process holds the database; the lock is let go on leaving."""
    other = sqlite3.connect(server.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_database_that_is_locked_for_a_moment_is_waited_for(server: Live) -> None:
    """Reads go on meanwhile, and the write is made."""
    told: list[tuple[int, dict[str, str], float]] = []
    writer = threading.Thread(target=lambda: told.append(writing(server, "n0")))
    with locked(server):
        writer.start()
        served(server)
        writer.join(timeout=0.5)
        assert writer.is_alive(), "nothing can be written"
    writer.join()
    assert told[0][0] == 200
    assert errors(server) == []


def test_a_database_that_stays_locked_is_said_so_and_got_over(own: Live) -> None:
    """Reads go on, writes are told to come again, all of them soon, and later they work."""
    told: list[tuple[int, dict[str, str], float]] = []
    writers = [threading.Thread(target=lambda: told.append(writing(own, "n0"))) for _ in range(30)]
    with locked(own):
        for index, writer in enumerate(writers):
            writer.start()
            if index == 10:
                served(own)  # the rest comes while the first ones wait
        for writer in writers:
            writer.join(timeout=45)
        served(own)
    for status, headers, seconds in told:
        assert status == 503
        assert int(headers["retry-after"]) > 0
        assert seconds < 9, "four for the lock, and none for those before it"
    assert len(told) == len(writers)
    recovered(own, "n0")
    assert own.end() == 0
    verify(own.folder)
