"""A client that is killed at any request leaves a release whole or absent, and whoever runs it again ends well.

A real `serve`, the real command line in processes; proxies are streams that take all that they are sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import pytest

from interrupting import Relay, relayed
from live import Live, live
from meshwright.plan import contents
from meshwright.release import Status, content_of
from meshwright.store.sqlite import connect
from processes import DEADLINE
from registering import CALLER, PAY
from settings import PROVE
from test_verify import following

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from meshwright.release import Release

pytestmark = pytest.mark.timeout(1800)

MOMENTS = (False, True) if PROVE else (True,)
"""Whether the request is done that the client is killed at; done or not, what comes of the next one is not."""
PROJECT = """
stack: shop
definitions: [mesh.yaml]
parameters: {NUMBER: "5"}
environments:
  here: {mesh: shop}
  next: {mesh: next}
"""
# What varies is the caller's: an instance whose listener changed is waited for, as nobody says here that it is open.
DEFINITIONS = """
spec: {}
---
virtualNodeName: caller
spec:
  backends: [{virtualService: {virtualServiceName: pay.shop.local}}]
  logging: {accessLog: {file: {path: "/${NUMBER}"}}}
---
virtualNodeName: pay
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}, timeout: {http: {idle: {unit: s, value: 5}}}}]
  serviceDiscovery: {awsCloudMap: {namespaceName: shop.local, serviceName: pay}}
---
virtualServiceName: pay.shop.local
spec: {provider: {virtualNode: {virtualNodeName: pay}}}
"""
HERE = ("--environment", "here")
VERIFYING = ("--allow-unprobed", "--endpoints", "pay=1")
MOST = 60
"""Requests of one command."""


class Plane(NamedTuple):
    """A control plane, the relay that clients reach it by, and the program that runs them."""

    server: Live
    relay: Relay
    program: asyncio.subprocess.Process
    folder: Path

    async def run(self, *arguments: str, at: int | None = None, done: bool = False) -> int:
        """The exit code of a command, -9 where it was killed at its request `at`."""
        environment = {
            "MESHWRIGHT_ENDPOINT": self.relay.url,
            "AWS_SHARED_CREDENTIALS_FILE": str(self.server.credentials),
            "HOME": str(self.folder),
        }
        job = {"folder": str(self.folder), "arguments": arguments, "environment": environment}
        self.relay.doom(self.folder / "pid", at, done=done)
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(f"{json.dumps([{**job, 'begin': 0.0, 'kill': None}])}\n".encode())
        (ended,) = json.loads(await asyncio.wait_for(self.program.stdout.readline(), DEADLINE))
        assert ended["code"] in {0, -9}, ended
        return int(ended["code"])

    def releases(self, mesh: str, *, as_released: bool = True) -> Sequence[Release]:
        """Every release of the stack, newest first; what runs is the newest one, whole, but for drift."""
        with contextlib.closing(connect(self.server.database)) as store:
            found = store.releases(mesh, "shop")
            if found and as_released:
                whole = store.release(mesh, "shop", found[0].number)
                assert whole is not None
                assert content_of(store.head().state, mesh, "shop") == whole.content
            assert [one.number for one in found] == list(range(len(found), 0, -1))
            return found

    def inspections(self, number: int) -> int:
        """How many verifications of a release are kept."""
        with contextlib.closing(connect(self.server.database)) as store:
            return len(store.inspections("shop", "shop", number))

    def running(self) -> tuple[int, str]:
        """What `write_over` changes: the time limit of one object, and where the other one's log is."""
        with contextlib.closing(connect(self.server.database)) as store:
            state = store.head().state
        (pay, _), (caller, _) = contents(state[PAY]), contents(state[CALLER])
        path = caller["logging"]["accessLog"]["file"]["path"] if caller else ""
        return pay["listeners"][0]["timeout"]["http"]["idle"]["value"], path

    def write_over(self, seconds: int) -> None:
        """Drift of two objects."""
        key = self.server.key
        made = boto3.session.Session(key.id, key.secret, region_name="us-east-1")
        api = made.client("appmesh", endpoint_url=self.server.api)
        there = {"meshName": "shop", "virtualNodeName": "pay"}
        spec = api.describe_virtual_node(**there)["virtualNode"]["spec"]
        spec["listeners"][0]["timeout"]["http"]["idle"]["value"] = seconds
        api.update_virtual_node(**there, spec=spec)
        api.update_virtual_node(meshName="shop", virtualNodeName="caller", spec={})


@contextlib.asynccontextmanager
async def plane(folder: Path) -> AsyncIterator[Plane]:
    """All of it, with a first release that is verified."""
    environ = {name: value for name, value in os.environ.items() if not re.match("AWS_|MESHWRIGHT_|TRAVIS", name)}
    words = [sys.executable, str(Path(__file__).with_name("jobs_program.py"))]
    project = folder / "project"
    project.mkdir()
    (project / "meshwright.yaml").write_text(PROJECT)
    (project / "mesh.yaml").write_text(DEFINITIONS)
    with live(folder / "data") as server:
        program = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environ
        )
        try:
            async with relayed(server.port) as relay:
                made = Plane(server, relay, program, project)
                assert await made.run(*HERE, "apply") == 0
                async with following(server, CALLER), following(server, PAY, endpoint={"address": "10.0.0.1"}):
                    yield made
        finally:
            assert program.stdin is not None
            program.stdin.close()  # with which it ends
            await asyncio.wait_for(program.wait(), DEADLINE)
        with contextlib.closing(connect(server.database)) as store:
            assert store.verify().faults == ()


class Case(NamedTuple):
    """A command that is killed."""

    prepare: Callable[[int], Awaitable[object]]
    """Before each time, which it is given the number of."""
    arguments: Callable[[int], tuple[str, ...]]
    judge: Callable[[int, bool], None]
    """Whether what is there is whole, and where it says that it ended well, whether all is there."""


async def killed_everywhere(one: Plane, case: Case) -> str:
    """Kill a command at each of its requests, judge what is left, run it again, judge that; how often that was."""
    tries, killed = itertools.count(100), 0
    for done in MOMENTS:
        for at in range(MOST):
            number = next(tries)
            await case.prepare(number)
            code = await one.run(*case.arguments(number), at=at, done=done)
            case.judge(number, code == 0)
            if code == 0:
                break
            killed += 1
            assert await one.run(*case.arguments(number)) == 0
            case.judge(number, True)
        else:
            raise AssertionError(f"more than {MOST} requests: {one.relay.asked}")
    assert killed > len(MOMENTS)
    return f"killed {killed} times"


async def test_of_a_killed_apply_with_verification(tmp_path: Path, record_property: Any) -> None:
    """There is the old release or the new one; the same job once more makes no second one, and verifies it."""
    async with plane(tmp_path) as one:
        before = 0

        async def prepare(_number: int) -> None:
            nonlocal before
            before = len(one.releases("shop"))

        def arguments(number: int) -> tuple[str, ...]:
            return (*HERE, "apply", "--verify", *VERIFYING, "--parameter", f"NUMBER={number}")

        def judge(number: int, ended: bool) -> None:
            found = one.releases("shop")
            made = len(found) - before
            assert made in ({1} if ended else {0, 1})
            assert (one.running() == (5, f"/{number}")) is (made == 1)
            assert not ended or found[0].status == Status.VERIFIED

        record_property("tried", await killed_everywhere(one, Case(prepare, arguments, judge)))


async def test_of_a_killed_verification(tmp_path: Path, record_property: Any) -> None:
    """A release is verified with its evidence, or neither."""
    async with plane(tmp_path) as one:

        async def prepare(number: int) -> None:
            assert await one.run(*HERE, "apply", "--parameter", f"NUMBER={number}") == 0

        def arguments(_number: int) -> tuple[str, ...]:
            return (*HERE, "verify", str(len(one.releases("shop"))), *VERIFYING)

        def judge(_number: int, ended: bool) -> None:
            newest = one.releases("shop")[0]
            kept = one.inspections(newest.number)
            assert (newest.status == Status.VERIFIED) is (kept > 0)
            assert kept > 0 or not ended

        record_property("tried", await killed_everywhere(one, Case(prepare, arguments, judge)))


async def test_of_a_killed_promotion(tmp_path: Path, record_property: Any) -> None:
    """It is released in the next environment, with what it repeats, or not at all; and nothing else is."""
    async with plane(tmp_path) as one:
        assert await one.run(*HERE, "verify", "1", *VERIFYING) == 0
        before = 0

        async def prepare(_number: int) -> None:
            nonlocal before
            before = len(one.releases("next"))

        def arguments(number: int) -> tuple[str, ...]:
            return ("promote", "--from", "here", "--to", "next", "--parameter", f"NUMBER={number}")

        def judge(_number: int, ended: bool) -> None:
            found = one.releases("next")
            assert len(found) - before in ({1} if ended else {0, 1})
            assert all(release.promotes and release.promotes.number == 1 for release in found)
            assert len(one.releases("shop")) == 1

        record_property("tried", await killed_everywhere(one, Case(prepare, arguments, judge)))


async def test_of_a_killed_repair(tmp_path: Path, record_property: Any) -> None:
    """Both objects are repaired by one release, or both are as they were written over."""
    async with plane(tmp_path) as one:
        repairs = 0

        async def prepare(number: int) -> None:
            nonlocal repairs
            repairs += 1
            await asyncio.to_thread(one.write_over, number)

        def arguments(_number: int) -> tuple[str, ...]:
            return (*HERE, "drift", "--repair", "--wait", "60")

        def judge(number: int, ended: bool) -> None:
            drifted = one.running() == (number, "")
            assert not (drifted and ended)
            assert drifted or one.running() == (5, "/5")
            found = one.releases("shop", as_released=not drifted)
            assert len(found) == 1 + repairs - drifted
            assert {release.kind for release in found[:-1]} <= {"repair"}

        record_property("tried", await killed_everywhere(one, Case(prepare, arguments, judge)))
