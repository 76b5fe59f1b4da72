"""A rejection leads to the file and line of the build that brought it, however the build released it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import pytest

from envoys import envoy, until
from meshwright.diagnostics import Written
from meshwright.lab.addresses import Block
from meshwright.model.identity import Key, Kind
from meshwright.release import places
from meshwright.server import Settings, control_plane
from meshwright.store import sqlite
from meshwright.trust.credentials import parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from meshwright.server import Running

pytestmark = pytest.mark.envoy

PROXY = "mesh/m/virtualNode/web@one"
WEB = """virtualNodeName: web
meshName: m
spec:
  listeners:
    - portMapping: {port: 8080, protocol: http}
  serviceDiscovery: {dns: {hostname: web.local}}
  logging:
    accessLog:
      file:
        # where the log goes
        path: LOG
"""
GOOD, BAD = "/dev/null", "/no/such/folder/access.log"
FIELD = "spec.logging.accessLog.file.path"


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Project:
    """A project's folder, whose pipeline is played with a real server and a real Envoy."""

    def __init__(self, folder: Path, running: Running) -> None:
        self.folder = folder
        self.running = running
        self.ingress = ""
        """Where its Envoy listens for others."""
        (folder / "meshwright.yaml").write_text("stack: shop\nmesh: m\ndefinitions: [definitions]\n")
        (folder / "definitions").mkdir()
        (folder / "definitions" / "mesh.yaml").write_text("meshName: m\nspec: {}\n")
        self.log(GOOD)

    def log(self, path: str) -> None:
        """Let the node log there."""
        (self.folder / "definitions" / "web.yaml").write_text(WEB.replace("LOG", path))

    async def run(self, *words: str, build: int = 0) -> Done:
        """A command, in the job of a build where that has a number."""
        job = {"TRAVIS": "true", "TRAVIS_BUILD_NUMBER": str(build), "TRAVIS_COMMIT": f"c0ffee{build:02}" * 5}
        mine = {
            "PATH": os.environ["PATH"],
            "MESHWRIGHT_ENDPOINT": self.running.api,
            "AWS_SHARED_CREDENTIALS_FILE": str(self.running.credentials),
            **(job if build else {}),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "meshwright.cli", *words, cwd=self.folder, env=mine,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def settled(self) -> bool:
        """Whether a proxy is connected and waits for nothing."""
        proxies = json.loads((await self.run("status", "--format", "json")).out)["proxies"]
        return [one["state"] for one in proxies] in (["synced"], ["rejected"])

    async def causes(self) -> list[dict[str, Any]]:
        """What the connected proxy's rejections lead to, as `status` tells."""
        done = await self.run("status", "--proxy", PROXY, "--format", "json")
        return [cause for one in json.loads(done.out)["proxy"]["rejections"] for cause in one["causes"]]


async def write(project: Project, path: str) -> None:
    """Let the node log there, apart from releases."""
    key = parse(project.running.credentials.read_text())["default"]
    client = boto3.session.Session().client(
        "appmesh",
        endpoint_url=project.running.api,
        region_name="us-east-1",
        aws_access_key_id=key.key_id,
        aws_secret_access_key=key.secret,
    )
    spec = {
        "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": "web.local"}},
        "logging": {"accessLog": {"file": {"path": path}}},
    }
    await asyncio.to_thread(client.update_virtual_node, meshName="m", virtualNodeName="web", spec=spec)


@pytest.fixture
async def project(tmp_path: Path) -> AsyncIterator[Project]:
    """A project whose first release, of build 44, an Envoy has."""
    settings = Settings(
        listen=("127.0.0.1", 0),
        xds=("127.0.0.1", 0),
        data_dir=tmp_path / "data",
        xds_without_authentication=True,
    )
    (tmp_path / "project").mkdir()
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(control_plane(settings))
        made = Project(tmp_path / "project", running)
        assert (await made.run("apply", build=44)).code == 0
        node = Key("m", Kind.VIRTUAL_NODE, "web")
        place = stack.enter_context(Block()).place()
        made.ingress = place.ingress
        await stack.enter_async_context(envoy(tmp_path, node, running.xds, placement=place))
        await until(made.settled, "the proxy has the first release")
        assert (await made.run("wait", "1")).code == 0
        yield made


async def test_the_build_s_log_names_the_object_the_field_and_its_file_and_line(project: Project) -> None:
    """In the job that waits, in the history and in the proxy's own page."""
    project.log(BAD)
    done = await project.run("apply", "--wait", "60", build=45)
    assert done.code == 1
    assert f"unable to open file '{BAD}': No such file or directory" in done.out
    brought = f"mesh/m/virtualNode/web {FIELD} at definitions/web.yaml:11, brought by shop#2, build #45 c0ffee45"
    assert f"      {brought}\n" in done.out
    assert "A proxy rejected the configuration; it keeps what it had." in done.err
    rows = {line.split()[0]: line for line in (await project.run("history")).out.splitlines()}
    assert " failed " in rows["shop#2"]
    assert " 1 rejected " in rows["shop#2"]
    assert " propagated " in rows["shop#1"]
    assert " 1 acked in " in rows["shop#1"]
    shown = (await project.run("status", "--proxy", PROXY)).out
    assert shown.startswith(f"{PROXY} is rejected, at revision 1 of 2; Envoy 1.")
    assert brought in shown
    assert [line.split()[0] for line in shown.splitlines() if " error " in line] == ["Listener"]
    detail = await project.run("wait", "2", "--detail")
    assert detail.code == 1
    assert any(line.split()[:3] == [PROXY, "rejected", "Listener"] for line in detail.out.splitlines())
    missing = await project.run("status", "--proxy", PROXY.replace("one", "none"))
    assert (missing.code, "did you mean" in missing.err) == (2, True)


async def test_a_release_that_failed_has_not_arrived_although_another_one_mended_it(project: Project) -> None:
    """Nor has one that put another fault in the place of the first: each job that waits hears of its own release."""
    for number, path in ((2, BAD), (3, f"{BAD}.too")):
        project.log(path)
        assert (await project.run("apply", "--wait", "60")).code == 1

        async def failed(title: str = f"shop#{number}") -> bool:
            rows = {line.split()[0]: line for line in (await project.run("history")).out.splitlines()}
            return " failed " in rows[title]

        await until(failed, f"shop#{number} failed")
    project.log("/dev/stdout")
    assert (await project.run("apply", "--wait", "60")).code == 0
    for number in (2, 3):
        done = await project.run("wait", str(number))
        said = f"shop#{number} was rejected by one proxy, and a newer release has taken its place.\n"
        assert (done.code, done.out) == (1, said)
        assert "What the proxies have came after it" in done.err
    told = await project.run("wait", "2", "--format", "json")
    found = json.loads(told.out)
    assert (told.code, found["state"], found["status"]) == (1, "propagated", "failed")
    assert (await project.run("wait", "4")).code == 0


async def test_a_release_that_keeps_what_a_proxy_rejects_fails_and_is_not_the_last_good_one(project: Project) -> None:
    """The rejection names the build that brought the field, not those that changed something beside it."""
    project.log(BAD)
    assert (await project.run("apply", "--wait", "60", build=45)).code == 1
    mesh = project.folder / "definitions" / "mesh.yaml"
    other = WEB.replace("name: web", "name: other").replace("LOG", GOOD).replace("Name: web", "Name: other")
    mesh.write_text(mesh.read_text() + "---\n" + other)
    done = await project.run("apply", "--wait", "60", build=46)
    brought = f"mesh/m/virtualNode/web {FIELD} at definitions/web.yaml:11, brought by shop#2, build #45 c0ffee45"
    assert (done.code, brought in done.out) == (1, True)
    web = project.folder / "definitions" / "web.yaml"
    web.write_text("# One line more.\n" + web.read_text().replace("8080", "8081"))
    done = await project.run("apply", "--wait", "60", build=47)
    assert (done.code, brought in done.out) == (1, True)
    rows = {line.split()[0]: line for line in (await project.run("history")).out.splitlines()}
    assert [number for number in range(1, 5) if " failed " in rows[f"shop#{number}"]] == [2, 3, 4]
    back = await project.run("rollback", "--last-good", "--wait", "60", build=48)
    assert (back.code, "restoring shop#1" in back.out) == (0, True)


async def test_a_release_that_was_rejected_and_taken_later_has_arrived(project: Project) -> None:
    """What was in its way is gone: the proxy is offered it again by itself."""
    log = project.folder / "later" / "access.log"
    project.log(str(log))
    assert (await project.run("apply", "--wait", "60")).code == 1
    log.parent.mkdir()

    async def arrived() -> bool:
        return (await project.run("wait", "2", "--timeout", "20")).code == 0

    await until(arrived, "it is taken when it is offered again")
    rows = {line.split()[0]: line for line in (await project.run("history")).out.splitlines()}
    assert " propagated " in rows["shop#2"]
    assert " 1 acked, 1 rejected in " in rows["shop#2"]
    project.log(BAD)
    assert (await project.run("apply", "--wait", "60")).code == 1
    back = await project.run("rollback", "--last-good", "--wait", "60")
    assert (back.code, "restoring shop#2" in back.out) == (0, True)


async def test_a_release_that_keeps_what_was_taken_later_has_arrived_too_and_nobody_needs_to_ask(
    project: Project,
) -> None:
    """It failed for what an older one had brought; the control plane notes by itself that this is there now."""
    log = project.folder / "later" / "access.log"
    project.log(str(log))
    assert (await project.run("apply", "--wait", "60")).code == 1
    mesh = project.folder / "definitions" / "mesh.yaml"
    other = WEB.replace("name: web", "name: other").replace("LOG", GOOD).replace("Name: web", "Name: other")
    mesh.write_text(mesh.read_text() + "---\n" + other)
    assert (await project.run("apply", "--wait", "60")).code == 1
    log.parent.mkdir()
    store = sqlite.connect(project.running.credentials.parent / "meshwright.db")
    try:
        await until(
            lambda: [one.status for one in store.releases("m", "shop")] == ["propagated", "failed", "propagated"]
        )
    finally:
        store.close()


async def test_a_release_that_a_write_mended_stays_failed(project: Project) -> None:
    """What the proxy has then is not what was released."""
    project.log(BAD)
    assert (await project.run("apply", "--wait", "60")).code == 1
    await write(project, GOOD)
    await until(project.settled)

    async def taken() -> bool:
        return '"propagated"' in (await project.run("wait", "2", "--format", "json")).out

    await until(taken, "the proxy has what was written")
    done = await project.run("wait", "2", "--format", "json")
    assert json.loads(done.out)["status"] == "failed"


async def test_a_port_that_is_taken_leads_to_the_listener_that_names_it(project: Project) -> None:
    """To its own line, and to nothing else that shaped the listener."""
    with socket.socket() as other:
        other.bind((project.ingress, 0))
        other.listen()
        port = other.getsockname()[1]
        web = (project.folder / "definitions" / "web.yaml").read_text()
        more = f"    - portMapping: {{port: {port}, protocol: http}}\n  serviceDiscovery"
        (project.folder / "definitions" / "web.yaml").write_text(web.replace("  serviceDiscovery", more))
        done = await project.run("apply", "--wait", "60")
    field = "spec.listeners[1].portMapping.port"
    assert done.code == 1
    assert f"cannot bind '{project.ingress}:{port}': Address already in use" in done.out
    (cause,) = await project.causes()
    assert (cause["object"], cause["path"], cause["release"]) == ("mesh/m/virtualNode/web", field, "shop#2")
    assert cause["source"] == {"file": "definitions/web.yaml", "line": 6, "column": 0}
    assert f"mesh/m/virtualNode/web {field} at definitions/web.yaml:6, brought by shop#2" in done.out


async def test_a_plan_file_and_rollbacks_keep_the_lines_of_the_build_that_wrote_them(project: Project) -> None:
    """A release that restores an older one leads to the older one's build."""
    project.log(BAD)
    assert (await project.run("plan", "--out", "plan.json")).code == 0
    assert (await project.run("apply", "--plan", "plan.json", "--wait", "60", build=46)).code == 1
    (cause,) = await project.causes()
    assert (cause["object"], cause["path"], cause["release"]) == ("mesh/m/virtualNode/web", FIELD, "shop#2")
    assert cause["source"] == {"file": "definitions/web.yaml", "line": 11, "column": 0}
    assert (cause["build"]["build_number"], cause["author"]["cause"]) == ("46", "release shop#2")
    assert (await project.run("rollback", "--last-good", "--wait", "60", build=47)).code == 0
    assert (await project.run("rollback", "--to", "2", "--wait", "60", build=48)).code == 1
    (again,) = await project.causes()
    assert again["author"]["cause"] == "rollback shop#4"
    assert {**again, "author": None} == {**cause, "author": None}


async def test_a_change_apart_from_releases_leads_to_who_wrote_it(project: Project) -> None:
    """There is no file then."""
    await write(project, BAD)
    await until(project.causes, "the proxy rejects the change")
    (cause,) = await project.causes()
    assert (cause["object"], cause["path"]) == ("mesh/m/virtualNode/web", FIELD)
    assert (cause["release"], cause["source"], cause["build"]) == ("", None, None)
    assert cause["author"]["cause"] == "UpdateVirtualNode"
    assert cause["author"]["principal"].endswith(":user/administrator")
    shown = (await project.run("status")).out
    assert f"mesh/m/virtualNode/web {FIELD}, by {cause['author']['principal']} with UpdateVirtualNode at " in shown
    assert [
        one["status"] for one in json.loads((await project.run("history", "--format", "json")).out)["releases"]
    ] == ["propagated"]


def test_what_is_kept_of_places_is_bounded() -> None:
    """Whoever sends them; of what does not fit the fields go first."""
    keys = [Key("m", Kind.VIRTUAL_NODE, f"n{number}") for number in range(6_000)]
    lines = {f"spec.x[{index}]": index for index in range(100)}
    given = {key.path: Written(file="f" * 2_000, line=3, fields=lines) for key in keys}
    kept = places(given, keys)
    assert len(kept) == 5_000
    assert sum(len(one.fields) for one in kept.values()) == 20_000
    assert {len(one.file) for one in kept.values()} == {1_000}
    assert kept[keys[0].path].at("spec.x[7]").line == 7
    assert kept[keys[300].path].at("spec.x[7]").line == 3
    assert places({keys[0].path: given[keys[0].path]}, keys[1:]) == {}
