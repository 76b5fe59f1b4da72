"""Builds race, in any order, and some of their jobs are killed: the newest wins, nothing is lost, losers say why.

A real `serve`, the real command line, a process a job; each signs with a session for its own token.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from building import travis
from issuing import Published, published
from live import Live, live
from meshwright.release import ApplyRequest, content_of
from meshwright.remote import Client, Credentials
from meshwright.store.sqlite import connect
from processes import DEADLINE
from settings import PROVE
from test_releases import item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.store.sqlite import SqliteStore

pytestmark = pytest.mark.timeout(3600)

ROUNDS = 200 if PROVE else 3
JOBS = 8
ROLE = "arn:aws:iam::000000000000:role/deployer"
TRUST = """
version: 1
environments: {test: {mesh: m, quotas: {virtual_nodes: 1000}}}
issuers: {travis: {url: "URL", audiences: [travis], ci: travis}}
users: {base: {stack: base, owns: [mesh], permissions: [everything]}}
policies:
  everything: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}
roles:
  deployer:
    {stack: "*", owns: ["mesh/**"], may_extend: [mesh], permissions: [everything], assume: [{issuer: travis}]}
"""
NODE = """
virtualNodeName: {name}
spec: {{listeners: [{{portMapping: {{port: {port}, protocol: http}}}}], serviceDiscovery: {{dns: {{hostname: a}}}}}}
"""


class Racing(NamedTuple):
    """A control plane, its issuer, and the program that runs jobs."""

    server: Live
    issuer: Published
    program: subprocess.Popen[str]
    store: SqliteStore
    folder: Path

    def ran(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What became of each job."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(json.dumps(jobs) + "\n")
        self.program.stdin.flush()
        found: list[dict[str, Any]] = json.loads(self.program.stdout.readline())
        return found

    def job(self, stack: str, number: int, begin: float = 0.0, kill: float | None = None) -> dict[str, Any]:
        """The job of a build that applies two nodes which tell its number by their port."""
        folder = self.folder / f"{stack}-{number}"
        folder.mkdir(exist_ok=True)
        nodes = (NODE.format(name=f"{stack}-{name}", port=1000 + number) for name in ("one", "two"))
        (folder / "mesh.yaml").write_text("---".join(nodes))
        (folder / "token").write_text(self.issuer.token(**travis(number, f"acme/{stack}")))
        environment = {
            "MESHWRIGHT_ENDPOINT": self.server.api,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "token"),
            "AWS_ROLE_ARN": ROLE,
            "HOME": str(folder),
        }
        words = ["apply", "mesh.yaml", "--mesh", "m", "--stack", stack]
        return {"folder": str(folder), "arguments": words, "environment": environment, "begin": begin, "kill": kill}


@pytest.fixture(scope="module")
def racing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Racing]:
    """One for all rounds: each has a stack and a repository of its own."""
    folder = tmp_path_factory.mktemp("racing")
    environ = {name: value for name, value in os.environ.items() if not re.match("AWS_|MESHWRIGHT_|TRAVIS", name)}
    with contextlib.ExitStack() as stack:
        issuer = stack.enter_context(published())
        (folder / "trust.yaml").write_text(TRUST.replace("URL", issuer.url))
        server = stack.enter_context(live(folder / "data", "--trust", str(folder / "trust.yaml")))
        key = server.key
        admin = Client(server.api, Credentials(key_id=key.id, secret=key.secret, source="the test"))
        admin.apply("m", "base", ApplyRequest(resources=(item("", {}),)))
        words = [sys.executable, str(Path(__file__).with_name("jobs_program.py"))]
        program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
        stack.callback(program.communicate, timeout=DEADLINE)  # it ends with its input
        store = stack.enter_context(contextlib.closing(connect(server.database)))
        yield Racing(server, issuer, program, store, folder)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_the_newest_build_wins_whoever_finishes_last(racing: Racing, seed: int, record_property: Any) -> None:
    """Eight builds at once, in random order; some are killed at a random moment, and restarted at the end."""
    random_ = random.Random(seed)  # noqa: S311 - a reproducible sample
    stack, numbers = f"s{seed}", random_.sample(range(1, 100), JOBS)
    doomed = {number: random_.uniform(0.0, 0.6) for number in numbers if random_.random() < 0.4}
    jobs = [racing.job(stack, number, random_.uniform(0.0, 0.4), doomed.get(number)) for number in numbers]
    ended = dict(zip(numbers, racing.ran(jobs), strict=True))
    made = judged(racing, stack, ended)
    survivors = [number for number in numbers if ended[number]["code"] != -9]
    assert made[-1:] >= [max(survivors, default=0)], "the newest of those that lived runs, or one newer"
    killed = [number for number in numbers if ended[number]["code"] == -9]
    again = dict(zip(killed, racing.ran([racing.job(stack, number) for number in killed]), strict=True))
    made = judged(racing, stack, again, made)
    assert made[-1] == max(numbers)
    record_property("tried", f"{len(killed)} of {JOBS} jobs killed, {len(made)} releases")


def judged(
    racing: Racing, stack: str, ended: dict[int, dict[str, Any]], before: list[int] | None = None
) -> list[int]:
    """The numbers of the builds that released, once all that has to hold holds."""
    releases = racing.store.releases("m", stack)[::-1]
    made = [int(one.verified.build_number) for one in releases if one.verified]
    assert made == sorted(set(made)), "each build releases once, and none after a newer one"
    assert made[: len(before or [])] == (before or [])
    for number, one in zip(made, releases, strict=True):
        whole = racing.store.release("m", stack, one.number)
        assert whole is not None
        ports = [found.spec["listeners"][0]["portMapping"]["port"] for found in whole.content]
        assert ports == [1000 + number] * 2, "a release is whole"
    for number, end in ended.items():
        if end["code"] == 0:
            assert number in made, "what was answered is there"
        elif end["code"] != -9:
            reason = re.search(r"older than build (\d+), whose release is (\S+#\d+)", end["err"])
            assert end["code"] == 1, end
            assert reason is not None, end
            assert f"Build {number} of acme/{stack} (main)" in end["err"]
            assert number < int(reason[1]) in made, end
    running = content_of(racing.store.head().state, "m", stack)
    whole = racing.store.release("m", stack, len(releases))
    assert running == (whole.content if whole is not None else ()), "what runs is the newest release"
    return made


def test_the_audit_log_of_all_rounds_is_sound(racing: Racing) -> None:
    """Killed clients leave no trace in it that is not whole."""
    assert racing.store.verify().faults == ()
