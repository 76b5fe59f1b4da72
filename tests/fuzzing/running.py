"""Send the requests of a seed to a live server, one after the other, and judge each answer.

The one rule: whatever is found is told with the seed and the number that make the same request again.
"""

from __future__ import annotations

import collections
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import msgspec

from fuzzing import judging, requests
from fuzzing.requests import Case, World
from fuzzing.sending import Signer, rendered
from live import Disk
from meshwright.store.contract import AccessKey
from wire_client import REGION, Answer, Connection, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from live import Live

TRUST = """
version: 1
roles:
  narrow:
    stack: narrow
    owns: ["mesh/m0/virtualNode/n0", "mesh/m0/virtualRouter/r0"]
    may_extend: ["mesh/m0"]
    assume: [{principals: ["user/administrator"]}]
    permissions: [{Version: "2012-10-17", Statement: {Effect: Allow, Action: "appmesh:*", Resource: "*"}}]
"""
"""The server's `trust.yaml`."""
LOOK_EVERY = 200
"""Requests between two looks at the log, the memory and the files."""
GRAVE = ("level=error", "level=critical", "traceback", "Traceback")


class Finding(NamedTuple):
    """One thing that was wrong."""

    number: int
    what: str
    case: Case | None

    def __str__(self) -> str:
        about = self.case
        said = (
            ""
            if about is None
            else (
                f"\n  {about.family} | {about.note} | {about.method} {about.path[:200]!r}?{about.query[:200]!r}"
                f"\n  {about.body[:400]!r}"
            )
        )
        return f"#{self.number}: {self.what}{said}"


class Outcome(msgspec.Struct):
    """What came of a run."""

    findings: list[Finding] = []
    sent: int = 0
    seconds: float = 0.0
    statuses: collections.Counter[str] = msgspec.field(default_factory=collections.Counter)
    """By family and what was answered: `sensible 200`, `broken BadRequestException`."""
    refusals: dict[str, str] = {}
    """The last message for each operation and error that refused a sensible request."""
    operations: set[str] = msgspec.field(default_factory=set)
    """Of which at least one request was accepted."""
    writes: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    """Of sensible writes: how many were accepted, how many there were."""
    memory: list[int] = []
    """In kB, at each look."""
    files: list[int] = []

    @property
    def share(self) -> float:
        """What part of the sensible writes was accepted."""
        return self.writes[0] / max(self.writes[1], 1)


class Run:
    """One run against one server."""

    def __init__(self, server: Live, seed: int, *, most: int = 20) -> None:
        self._server = server
        self._seed = seed
        self._most = most
        self._connection = Connection(server.port, 15.0)
        self._disk = Disk(server.database)
        self._revision = self._disk.revision
        self._logged = server.log.stat().st_size
        self._recent: dict[str, int] = {}
        self._key = server.key
        self._session: tuple[AccessKey, str] | None = None
        self.world = World()
        self.outcome = Outcome()

    def run(self, numbers: Iterable[int]) -> Outcome:
        """The requests of these numbers, after those that make the world that they are about."""
        began = time.monotonic()
        self._prepare()
        for number in numbers:
            self._one(requests.case(self._seed, number, self.world))
            if self.outcome.sent % LOOK_EVERY == 0:
                self._look()
            if len(self.outcome.findings) >= self._most:
                break
        self._look()
        self.outcome.seconds = time.monotonic() - began
        self._connection.close()
        self._disk.close()
        return self.outcome

    def _prepare(self) -> None:
        self.learn()
        self._disk.changed()
        for case in requests.first(self.world):
            self._one(case)

    def _assumed(self) -> tuple[AccessKey, str]:
        """A session of the role `narrow`: its key and its token."""
        form = (
            "Action=AssumeRole&Version=2011-06-15&RoleSessionName=fuzz&RoleArn=arn:aws:iam::000000000000:role/narrow"
        )
        headers = ((b"content-type", b"application/x-www-form-urlencoded"),)
        asked = Case(family="", method="POST", path=b"/", service="sts", body=form.encode(), headers=headers)
        answer = self._ask(asked)
        assert answer is not None
        assert answer.status == 200, answer.body
        found = ET.fromstring(answer.body)  # noqa: S314 - our own server's answer
        texts = {one.tag.rpartition("}")[2]: one.text or "" for one in found.iter()}
        key = AccessKey(id=texts["AccessKeyId"], secret=texts["SecretAccessKey"], principal="narrow", created_at=0)
        return key, texts["SessionToken"]

    def _ask(self, case: Case) -> Answer | None:
        key, token = self._session if case.narrow and self._session else (self._key, None)
        signer = Signer(key, urlsplit(self._server.api).netloc, REGION, time.time_ns() // 1_000_000, token)
        try:
            answer = self._connection.exchange(rendered(case, signer), method=case.method.encode())
        except NoAnswerError:
            return None
        if case.loose or case.framing != "length":
            # What the server takes for the rest of this request must not be read as the answer to the next one.
            self._connection.close()
        return answer

    def _one(self, case: Case) -> None:
        answer = self._ask(case)
        changed = self._disk.changed()
        before, self._revision = self._revision, self._disk.revision if changed else self._revision
        for what in judging.faults(case, answer, changed, self._revision - before):
            self.outcome.findings.append(Finding(case.number, what, case))
        self._count(case, answer)

    def alone(self, numbers: Iterable[int]) -> tuple[int, int]:
        """Only send and judge, while others do the same; the revisions that were told of, at least and at most."""
        least = most = 0
        for number in numbers:
            case = requests.case(self._seed, number, self.world)
            answer = self._ask(case)
            if answer is None:
                found = [] if case.loose else ["no answer"]
            else:
                found = judging.answer_faults(case, answer)
                few, many = judging.revisions_of(case, answer)
                least, most = least + few, most + many
            self.outcome.findings += [Finding(number, what, case) for what in found]
            self._count(case, answer)
        self._connection.close()
        self._disk.close()
        return least, most

    def learn(self) -> None:
        """What requests refer to, and a session of the narrow role."""
        document = self._ask(Case(family="", path=b"/meshwright/v1/openapi.json"))
        self._session = self._assumed()
        assert document is not None
        endpoints, schemas = requests.endpoints_of(document.document)
        self.world = World(endpoints=endpoints, schemas=schemas)

    def _count(self, case: Case, answer: Answer | None) -> None:
        outcome = self.outcome
        outcome.sent += 1
        said = "no answer" if answer is None else answer.code or str(answer.status)
        outcome.statuses[f"{case.family} {said}"] += 1
        if answer is None:
            return
        self._recent[answer.headers.get("x-amzn-requestid", "")] = case.number
        if answer.status < 300:
            outcome.operations.add(case.operation)
        if case.family == "sensible" and case.operation.startswith(("Create", "Update")):
            outcome.writes[0] += answer.status == 200
            outcome.writes[1] += 1
            if answer.status >= 400:
                outcome.refusals[f"{case.operation} {answer.code}"] = answer.body.decode(errors="replace")

    def _look(self) -> None:
        """The log so far must tell of nothing grave, and the server must be there."""
        for line in self._lines():
            if any(word in line for word in GRAVE):
                about = [number for name, number in self._recent.items() if name and name in line]
                number = about[0] if about else -1
                case = requests.case(self._seed, number, self.world) if about else None
                self.outcome.findings.append(Finding(number, f"logged: {line[:1500]}", case))
        self._recent.clear()
        if self._server.process.poll() is not None:
            self.outcome.findings.append(Finding(-1, f"the server ended: {self._server.process.returncode}", None))
            self.outcome.findings += [Finding(-1, "", None)] * self._most
            return
        self.outcome.memory.append(self._server.memory())
        self.outcome.files.append(self._server.files())

    def _lines(self) -> Iterator[str]:
        with self._server.log.open("rb") as log:
            log.seek(self._logged)
            data = log.read()
            self._logged = log.tell()
        yield from data.decode(errors="replace").splitlines()
