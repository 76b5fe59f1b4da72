"""Writers and readers of one mesh over real HTTP, a thread and a connection each: what they did and what they saw.

Reads its task as JSON from standard input and writes what happened as JSON. It judges only what one reader alone can
see; the test that starts it puts the rest together.
"""

from __future__ import annotations

import collections
import random
import sys
import threading
import time
from typing import Any, NamedTuple

import msgspec

from meshwright.store.contract import AccessKey
from wire_client import Answer, Client

MESH = "/v20190125/meshes/load"
NODES = f"{MESH}/virtualNodes"
SHARED = 4
"""Objects that every writer updates."""
OWN = 12
"""Objects of its own that a writer keeps."""
OURS = "/meshwright/v1/meshes/load"


class Ack(NamedTuple):
    """One acknowledged write."""

    name: str
    verb: str
    version: int
    host: str
    at: float


class Task(msgspec.Struct):
    """Who does what, and for how long."""

    port: int
    key_id: str
    secret: str
    writers: list[int]
    readers: list[int]
    releaser: bool
    seconds: float


class Result(msgspec.Struct):
    """What happened."""

    acks: list[Ack] = []
    releases: int = 0
    """How many releases changed something."""
    described: set[tuple[str, int, str]] = msgspec.field(default_factory=set)
    """Name, version and host as some reader saw them."""
    listed: set[tuple[str, int]] = msgspec.field(default_factory=set)
    faults: list[str] = []
    reads: int = 0
    pushed_back: int = 0
    """How often 429 was answered."""
    slowest: float = 0.0
    """Seconds."""


def spec(host: str) -> dict[str, Any]:
    """A node that tells who wrote it."""
    return {
        "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": host}},
    }


class Worker:
    """One thread with one connection."""

    def __init__(self, task: Task, number: int, result: Result) -> None:
        key = AccessKey(id=task.key_id, secret=task.secret, principal="", created_at=0)
        self.client = Client(task.port, key)
        self.number = number
        self.result = result
        self.until = time.monotonic() + task.seconds
        self.chance = random.Random(number)  # noqa: S311 - repeatable
        self.pause = threading.Event()

    def ask(self, method: str, target: str, body: object = None) -> Answer:
        """One request, repeated while the server says that it is asked too much."""
        while True:
            began = time.monotonic()
            answer = self.client.ask(method, target, body)
            self.result.slowest = max(self.result.slowest, time.monotonic() - began)
            if answer.status != 429:
                return answer
            self.result.pushed_back += 1
            if "retry-after" not in answer.headers:
                self.result.faults.append("429 without Retry-After")
            self.pause.wait(min(float(answer.headers.get("retry-after", "1")), 0.2))

    def work(self) -> None:
        """Until the time is over."""
        try:
            while time.monotonic() < self.until:
                self.step()
        except Exception as error:  # noqa: BLE001 - a thread's end must be told
            self.result.faults.append(f"{type(self).__name__} {self.number}: {error!r}")
        finally:
            self.client.close()

    def step(self) -> None:
        """One round."""
        raise NotImplementedError


class Writer(Worker):
    """Creates, updates and deletes objects of its own, and updates what all writers share."""

    def __init__(self, task: Task, number: int, result: Result) -> None:
        super().__init__(task, number, result)
        self.own: list[str] = []
        self.count = 0

    def step(self) -> None:
        """One write."""
        self.count += 1
        host = f"w{self.number}-{self.count}"
        dice = self.chance.random()
        if dice < 0.4:
            self.write("update", f"shared-{self.chance.randrange(SHARED)}", host)
        elif not self.own or (dice < 0.6 and len(self.own) < OWN):
            name = f"own-{self.number}-{self.count}"
            self.write("create", name, host)
            self.own.append(name)
        elif dice < 0.85:
            self.write("update", self.chance.choice(self.own), host)
        else:
            self.write("delete", self.own.pop(self.chance.randrange(len(self.own))), host)

    def write(self, verb: str, name: str, host: str) -> None:
        """One write that nobody may refuse."""
        if verb == "create":
            answer = self.ask("PUT", NODES, {"virtualNodeName": name, "spec": spec(host)})
        elif verb == "update":
            answer = self.ask("PUT", f"{NODES}/{name}", {"spec": spec(host)})
        else:
            answer = self.ask("DELETE", f"{NODES}/{name}")
        if answer.status != 200:
            self.result.faults.append(f"{verb} {name}: {answer.status} {answer.code} {answer.body[:200]!r}")
            return
        body = answer.document
        self.result.acks.append(Ack(name, verb, body["metadata"]["version"], host, time.time()))
        if verb != "delete" and body["spec"]["serviceDiscovery"]["dns"]["hostname"] != host:
            self.result.faults.append(f"{verb} {name}: answered with another's spec")


class Releaser(Worker):
    """Makes releases of a stack of two objects that always say the same."""

    count = 0

    def step(self) -> None:
        """One release."""
        self.count += 1
        items = [
            {"object": f"mesh/load/virtualNode/pair-{side}", "spec": spec(f"pair-{self.count}")} for side in "ab"
        ]
        answer = self.ask(
            "POST", f"{OURS}/stacks/pair/releases", {"resources": [{**one, "tags": {}} for one in items]}
        )
        if answer.status != 201:
            self.result.faults.append(f"release: {answer.status} {answer.code} {answer.body[:300]!r}")
            return
        self.result.releases += 1
        self.pause.wait(0.02)


class Reader(Worker):
    """Lists, describes, reads the whole mesh; nothing may ever go backwards or be torn."""

    def __init__(self, task: Task, number: int, result: Result) -> None:
        super().__init__(task, number, result)
        self.versions: dict[str, int] = {}
        self.gone: set[str] = set()

    def step(self) -> None:
        """One look."""
        match self.chance.randrange(4):
            case 0:
                self.list_all()
            case 1:
                self.read_mesh()
            case _:
                self.describe()

    def saw(self, name: str, version: int, where: str) -> None:
        """Note a version."""
        self.result.reads += 1
        if version < self.versions.get(name, 0):
            self.result.faults.append(f"{where}: {name} went from {self.versions[name]} back to {version}")
        if name in self.gone:
            self.result.faults.append(f"{where}: {name} is there again after it was deleted")
        self.versions[name] = max(version, self.versions.get(name, 0))

    def list_all(self) -> None:
        """All pages; in one page, the pair is of one release."""
        size, token = self.chance.choice([5, 20, 100]), ""
        while token is not None:
            more = f"&nextToken={token}" if token else ""
            answer = self.ask("GET", f"{NODES}?limit={size}{more}")
            if answer.status != 200:
                self.result.faults.append(f"list: {answer.status} {answer.body[:200]!r}")
                return
            page = {one["virtualNodeName"]: one["version"] for one in answer.document["virtualNodes"]}
            for name, version in page.items():
                self.saw(name, version, "list")
                self.result.listed.add((name, version))
            if {"pair-a", "pair-b"} <= page.keys() and page["pair-a"] != page["pair-b"]:
                self.result.faults.append(f"a page with half a release: {page}")
            token = answer.document.get("nextToken")

    def read_mesh(self) -> None:
        """The whole mesh is of one revision."""
        answer = self.ask("GET", OURS)
        found = {one["object"].rpartition("/")[2]: one for one in answer.document["resources"][1:]}
        for name, one in found.items():
            if "virtualNode" in one["object"]:
                self.note(name, one["metadata"]["version"], one["spec"], "mesh")
        pair = [found[name]["spec"] for name in ("pair-a", "pair-b") if name in found]
        if len(pair) == 1 or (pair and pair[0] != pair[1]):
            self.result.faults.append(f"a mesh with half a release: {pair}")

    def describe(self) -> None:
        """One object that was seen before, or one that is always there."""
        known = [name for name in self.versions if name not in self.gone]
        name = self.chance.choice(known) if known else "shared-0"
        answer = self.ask("GET", f"{NODES}/{name}")
        if answer.status == 404 and name.startswith("own-"):
            self.gone.add(name)
        elif answer.status != 200:
            self.result.faults.append(f"describe {name}: {answer.status} {answer.body[:200]!r}")
        else:
            body = answer.document
            self.note(name, body["metadata"]["version"], body["spec"], "describe")

    def note(self, name: str, version: int, spec: dict[str, Any], where: str) -> None:
        """A version together with what it says."""
        self.saw(name, version, where)
        self.result.described.add((name, version, spec["serviceDiscovery"]["dns"]["hostname"]))


def main() -> None:
    """Do the task."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    results: dict[Worker, Result] = {}
    workers: list[Worker] = []
    released = [0] if task.releaser else []
    kinds: dict[type[Worker], list[int]] = {Writer: task.writers, Reader: task.readers, Releaser: released}
    for kind, numbers in kinds.items():
        for number in numbers:
            result = Result()
            workers.append(kind(task, number, result))
            results[workers[-1]] = result
    threads = [threading.Thread(target=worker.work) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.buffer.write(msgspec.json.encode(together(list(results.values()))))


def together(results: list[Result]) -> Result:
    """Many results as one."""
    whole = Result()
    faults: collections.Counter[str] = collections.Counter()
    for one in results:
        whole.acks += one.acks
        whole.releases += one.releases
        whole.described |= one.described
        whole.listed |= one.listed
        faults.update(one.faults)
        whole.reads += one.reads
        whole.pushed_back += one.pushed_back
        whole.slowest = max(whole.slowest, one.slowest)
    whole.faults = [f"{text} ({count} times)" for text, count in faults.most_common(50)]
    return whole


if __name__ == "__main__":
    main()
