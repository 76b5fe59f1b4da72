"""`kill -9` while many clients write: what was acknowledged is there, and what was repeated was done once.

Single objects with client tokens, and releases of small stacks with idempotency keys; `tests/test_crash_story.py` has
releases of a whole mesh with Envoys and traffic.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pytest

from live import Live, live
from load_program import MESH, NODES, OURS, spec
from processes import free_port
from settings import PROVE
from test_load import verify
from wire_client import Answer, Client, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.store.contract import AccessKey

pytestmark = pytest.mark.timeout(1800)

KILLS = 50 if PROVE else 3
LIFE = (1.0, 4.0) if PROVE else (0.2, 0.5)
"""How many seconds a server lives between two kills."""
WRITERS = 10
READY = 30.0
"""Seconds that a restart may take before it serves, on a machine that others keep busy; alone it takes below one."""
PATIENCE = 60.0
"""Seconds for which a client repeats one write."""


class Kept(msgspec.Struct):
    """What a writer knows of its object."""

    version: int = 0
    host: str = ""


class Writer:
    """Writes one object of its own and one of everybody's, each write with a token, until it is answered."""

    def __init__(self, number: int, port: int, key: AccessKey, abandoned: threading.Event) -> None:
        self.number = number
        self.abandoned = abandoned
        self.client = Client(port, key, timeout=10.0)
        self.own = f"own-{number}"
        self.kept = Kept()
        self.shared: list[tuple[int, str]] = []
        """Versions of the shared object that were acknowledged to this writer."""
        self.releases = 0
        self.repeated = 0
        """Writes that went unanswered at first."""
        self.faults: list[str] = []
        self.count = 0

    def work(self, stop: threading.Event) -> None:
        """Until `stop`, and until the last write is answered."""
        try:
            while not stop.is_set() and not self.faults:
                self.count += 1
                if self.count % 5 == 0:
                    self.release()
                elif self.count % 3:
                    self.write_own()
                else:
                    self.write_shared()
        except (AssertionError, KeyError, ValueError) as error:
            self.faults.append(f"writer {self.number}: {error!r}")
        finally:
            self.client.close()

    def write_own(self) -> None:
        """Create, update or delete; the version tells whether a repeated write was done twice."""
        host = f"w{self.number}-{self.count}"
        if not self.kept.version:
            answer = self.asked("PUT", NODES, {"virtualNodeName": self.own, "spec": spec(host)})
        else:
            answer = self.asked("PUT", f"{NODES}/{self.own}", {"spec": spec(host)})
        self.kept.version += 1
        self.kept.host = host
        self.judge(answer, self.kept.version, host)

    def write_shared(self) -> None:
        """Update what everybody updates."""
        host = f"w{self.number}-{self.count}"
        answer = self.asked("PUT", f"{NODES}/shared", {"spec": spec(host)})
        if answer.status == 200:
            self.shared.append((answer.document["metadata"]["version"], host))
        self.judge(answer, None, host)

    def release(self) -> None:
        """Apply a stack of its own: numbers without a gap, however often it had to be sent."""
        item = {
            "object": f"mesh/load/virtualNode/released-{self.number}",
            "spec": spec(f"r-{self.count}"),
            "tags": {},
        }
        target = f"{OURS}/stacks/s{self.number}/releases"
        answer = self.asked("POST", target, {"resources": [item]}, idempotency_key=f"{self.number}-{self.count}")
        self.releases += 1
        number = answer.document["release"]["number"] if answer.status == 201 else answer.body[:300]
        if number != self.releases:
            self.faults.append(f"release {self.releases}: {answer.status} {number!r}")

    def judge(self, answer: Answer, version: int | None, host: str) -> None:
        """A write that nobody may refuse, done exactly once."""
        if answer.status != 200:
            self.faults.append(f"{host}: {answer.status} {answer.code} {answer.body[:300]!r}")
            return
        found = answer.document
        if version is not None and found["metadata"]["version"] != version:
            self.faults.append(f"{host}: version {found['metadata']['version']}, expected {version}")
        if found["spec"] != spec(host):
            self.faults.append(f"{host}: answered with another's spec: {found['spec']}")

    def asked(self, method: str, target: str, body: dict[str, Any], **headers: str) -> Answer:
        """The answer to one write, however often it has to be sent: a token says that it is the same one."""
        body = body if headers else {**body, "clientToken": f"{self.number}-{self.count}"}
        end, first = time.monotonic() + PATIENCE, True
        while True:
            try:
                answer = self.client.ask(method, target, body, **headers)
                if answer.status not in {429, 503}:
                    return answer
                self.repeated += first
                first = False
            except NoAnswerError:
                self.repeated += first
                first = False
            except OSError:
                pass  # nobody listens: nothing was sent
            assert time.monotonic() < end, "the server did not come back"
            assert not self.abandoned.wait(0.02), "the test is over"


class Crew:
    """The writers and their threads."""

    def __init__(self, server: Live) -> None:
        self.stop, self.abandoned = threading.Event(), threading.Event()
        self.writers = [Writer(number, server.port, server.key, self.abandoned) for number in range(WRITERS)]
        self.threads = [threading.Thread(target=writer.work, args=(self.stop,)) for writer in self.writers]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.abandoned.set()
        self.finish()

    def finish(self) -> None:
        """Let each writer have its last answer."""
        self.stop.set()
        for thread in self.threads:
            thread.join()

    @property
    def faults(self) -> list[str]:
        """What any of them found wrong."""
        return [fault for writer in self.writers for fault in writer.faults]


def prepare(server: Live) -> None:
    """The mesh and the shared object."""
    client = Client(server.port, server.key)
    assert client.ask("PUT", "/v20190125/meshes", {"meshName": MESH.rpartition("/")[2]}).status == 200
    assert client.ask("PUT", NODES, {"virtualNodeName": "shared", "spec": spec("first")}).status == 200
    client.close()


def objects(server: Live) -> dict[str, tuple[int, str]]:
    """Version and host of every node."""
    client = Client(server.port, server.key)
    found = client.ask("GET", OURS).document["resources"]
    client.close()
    return {
        one["object"].rpartition("/")[2]: (
            one["metadata"]["version"],
            one["spec"]["serviceDiscovery"]["dns"]["hostname"],
        )
        for one in found
        if "/virtualNode/" in one["object"]
    }


def test_nothing_acknowledged_is_lost_and_nothing_repeated_is_done_twice(tmp_path: Path) -> None:
    """Ten writers that repeat what went unanswered, a server killed again and again."""
    folder, port = tmp_path / "data", free_port()
    chance, pause = random.Random(5), threading.Event()  # noqa: S311 - a repeatable schedule
    starts: list[float] = []
    with live(folder, port=port) as server:
        prepare(server)
        crew = Crew(server)
        assert server.end() == 0
    with crew:
        for _ in range(KILLS):
            with restarted(folder, port, starts) as server:
                pause.wait(chance.uniform(*LIFE))
                assert crew.faults == []
                server.end(signal.SIGKILL)
        with restarted(folder, port, starts) as server:
            crew.finish()
            final = objects(server)
            log = server.log.read_text()
            assert server.end() == 0
    tell(crew, starts)
    assert crew.faults == []
    assert "traceback" not in log
    assert_all_there(crew, final)
    assert sum(writer.repeated for writer in crew.writers) >= KILLS // 2, "the kills came in the middle of writes"
    left = {path.name for path in folder.iterdir()} - {"meshwright.db", "credentials", "audit.key", ".gitignore"}
    assert left <= {"meshwright.db.serving"}, "the database was closed, and no lock or socket was left"
    verify(folder)


@contextlib.contextmanager
def restarted(folder: Path, port: int, starts: list[float]) -> Iterator[Live]:
    """Another server on what the last one left; how long it took is noted."""
    began = time.monotonic()
    with live(folder, port=port, within=READY) as server:
        starts.append(time.monotonic() - began)
        yield server


def assert_all_there(crew: Crew, final: dict[str, tuple[int, str]]) -> None:
    """What was acknowledged is what there is."""
    assert {writer.own: (writer.kept.version, writer.kept.host) for writer in crew.writers} == {
        name: one for name, one in final.items() if name.startswith("own-")
    }
    released = {f"released-{writer.number}": writer.releases for writer in crew.writers if writer.releases}
    assert released == {name: version for name, (version, _) in final.items() if name.startswith("released-")}
    shared = sorted(one for writer in crew.writers for one in writer.shared)
    assert [version for version, _ in shared] == list(range(2, len(shared) + 2)), "each update was counted once"
    assert final["shared"] == shared[-1]


def tell(crew: Crew, starts: list[float]) -> None:
    """The figures, for `pytest -s`."""
    writes = sum(writer.count for writer in crew.writers)
    repeated = sum(writer.repeated for writer in crew.writers)
    text = f"{KILLS} kills, {writes} writes, {repeated} repeated, ready after {max(starts):.2f} s at most"
    print(text)  # noqa: T201 - figures
