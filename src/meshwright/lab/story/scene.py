"""Where the story of `meshwright demo` plays: the shop, its control plane, its fleet, and the people who type.

Everything that the story does to the mesh goes through the product's own commands or the AWS SDK.
"""

from __future__ import annotations

import asyncio
import collections
import os
import shutil
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

import meshwright
from meshwright.errors import MeshwrightError, UnreadableError
from meshwright.lab.exchange import Reply, Request
from meshwright.lab.stage import Principal
from meshwright.remote import Client, find_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.lab.control_plane import ControlPlane
    from meshwright.lab.fleet import Fleet
    from meshwright.lab.stage import Teller

GATEWAY_HOST = "shop.example"
"""What customers call the shop; the gateway's routes match any host."""
REGION = "us-east-1"
MESH, STACK = "shop", "shop"
AT_ONCE = 8
"""Requests under way at the same time."""

BUILD: Mapping[str, str] = MappingProxyType(
    {
        "CI": "true",
        "TRAVIS": "true",
        "TRAVIS_REPO_SLUG": "shop/mesh",
        "TRAVIS_BRANCH": "main",
        "TRAVIS_EVENT_TYPE": "push",
        "TRAVIS_PULL_REQUEST": "false",
        "TRAVIS_COMMIT": "4f1c2d9a7be05c3316d8e2b41f70a95c6d3e8b12",
        "TRAVIS_BUILD_ID": "271828182",
        "TRAVIS_BUILD_NUMBER": "42",
        "TRAVIS_BUILD_WEB_URL": "https://app.travis-ci.com/shop/mesh/builds/271828182",
        "TRAVIS_JOB_ID": "314159265",
        "TRAVIS_JOB_NUMBER": "42.1",
    }
)
"""What Travis CI sets in a job; the build that the story plays claims it."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What became of some requests sent through the gateway."""

    replies: tuple[Reply, ...]
    seconds: tuple[float, ...]

    @property
    def failed(self) -> tuple[Reply, ...]:
        """The replies in which anything on the way failed."""
        return tuple(one for one in self.replies if not one.ok)

    def answers(self, service: str) -> collections.Counter[str]:
        """How often each instance answered for `service`, by its name."""
        every = (one for reply in self.replies for one in reply.walk())
        return collections.Counter(one.instance for one in every if one.service == service and one.instance)

    def share(self, service: str, node: str) -> float:
        """The part, 0 to 1, of `service`'s answers that came from `node`."""
        every = [one.node for reply in self.replies for one in reply.walk() if one.service == service and one.node]
        return every.count(node) / len(every) if every else 0.0


TRUST = """\
version: 1
policies:
  everything: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}
users:
  build:
    stack: shop
    owns: ["mesh/**"]
    permissions: [everything]
  intruder:
    may_change: ["mesh/shop/virtualRouter/**"]
    permissions: [everything]
"""
"""The shop's own build, and somebody who was once allowed to change routes by hand."""


BUILDER = "arn:aws:iam::000000000000:user/build"
"""The build as releases and the audit log name it."""


class Scene:
    """The people, the mesh, and what may be done to it."""

    def __init__(self, teller: Teller, control: ControlPlane, folder: Path) -> None:
        """`folder` is empty and gets a work tree of the shop and everybody's credentials."""
        self.teller = teller
        self.control = control
        self.tree = folder / "shop"
        self._folder = folder
        shutil.copytree(shop(), self.tree)
        self.operator = self._principal(control.credentials, {"MESHWRIGHT_DATA_DIR": str(control.folder)})
        self.build = self.operator
        self._fleet: Fleet | None = None

    @property
    def running(self) -> Fleet:
        """The Envoys and workloads.

        Raises:
            MeshwrightError: they were not started yet.
        """
        if self._fleet is None:
            raise MeshwrightError("no Envoys run yet")
        return self._fleet

    @running.setter
    def running(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def client(self) -> Client:
        """The API with the administrator's key, for looking only."""
        profile = {"AWS_SHARED_CREDENTIALS_FILE": str(self.control.credentials)}
        return Client(self.control.url, find_credentials(profile, self.control.url), region=REGION)

    async def hire(self, name: str, more: Mapping[str, str] = MappingProxyType({})) -> Principal:
        """A principal `name` with a new key, made as an operator makes it; `more` are environment variables.

        Raises:
            MeshwrightError: the key was not made.
        """
        self.teller.typed(f"meshwright trust key create {name} >> {name}.credentials")
        done = await self.operator.types("trust", "key", "create", name, show=False)
        if done.code:
            raise MeshwrightError(f"no key for {name}: {done.text.strip()}")
        path = self._folder / f"{name}.credentials"
        path.touch(mode=0o600)
        path.write_text(done.out)
        return self._principal(path, {"AWS_PROFILE": name, **more})

    def _principal(self, credentials: Path, more: Mapping[str, str]) -> Principal:
        settings = {
            "MESHWRIGHT_ENDPOINT": self.control.url,
            "AWS_ENDPOINT_URL_APP_MESH": self.control.url,
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "NO_PROXY": "*",
            **more,
        }
        return Principal(self.teller, self.tree, settings)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace `old`, which stands in a definition file exactly once, by `new`; the story shows the change.

        Raises:
            MeshwrightError: it does not stand there once.
        """
        path = self.tree / "definitions" / file
        text = path.read_text()
        if text.count(old) != 1:
            raise MeshwrightError(f"{path} holds {old!r} {text.count(old)} times; the story needs it once")
        path.write_text(text.replace(old, new))
        self.teller.typed(f"edit definitions/{file}")
        for sign, text, others in (("-", old, new), ("+", new, old)):
            changed = [
                line.strip().removeprefix("- ") for line in text.splitlines() if line not in others.splitlines()
            ]
            self.teller.say("\n".join(f"{sign} {line}" for line in changed), indent="     ")

    def revert(self, file: str, text: str) -> None:
        """Put a definition file back as it was."""
        (self.tree / "definitions" / file).write_text(text)

    def text(self, file: str) -> str:
        """A definition file's text."""
        return (self.tree / "definitions" / file).read_text()

    async def traffic(self, count: int) -> Traffic:
        """Send `count` customers' requests through the gateway, a few at a time.

        Raises:
            MeshwrightError: the fleet was not started.
        """
        fleet = self.running
        slots = asyncio.Semaphore(AT_ONCE)

        async def one() -> tuple[Reply, float]:
            async with slots:
                begin = time.monotonic()
                reply = await fleet.request(Request(authority=GATEWAY_HOST))
                return reply, time.monotonic() - begin

        done = await asyncio.gather(*(one() for _ in range(count)))
        return Traffic(replies=tuple(reply for reply, _ in done), seconds=tuple(took for _, took in done))


def shop() -> Path:
    """The folder of the example that the story is about.

    Raises:
        UnreadableError: this installation lacks it.
    """
    package = Path(meshwright.__file__).parent
    # In an installed wheel it is beside the code, in a clone it is where people look for examples.
    for folder in (package / "examples" / "shop", package.parent.parent / "examples" / "shop"):
        if (folder / "meshwright.yaml").is_file():
            return folder
    raise UnreadableError(f"the example that the demo is about is not beside {package}; reinstall meshwright")
