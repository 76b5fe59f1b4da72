"""Three teams in one shop: a control plane, their keys and projects, and in each of three environments real proxies.

The one rule: a command is a process that signs with its own team's key; the administrator only looks at what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from command_line import Done
from envoys import until
from live import Live, live
from meshwright.trust.credentials import Credentials, parse
from processes import DEADLINE, reserved_net
from proxying import proxy
from registering import PORT, Application, client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from proxying import Running

TEAMS = ("platform", "pay", "cart")
MESHES = {"dev": "shop-dev", "staging": "shop-staging", "production": "shop"}
"""By the environment's name."""
TRUST = """
version: 1
policies:
  everything: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}
users:
  platform: {stack: platform, owns: ["mesh/*", "mesh/*/virtualGateway/edge"], permissions: [everything]}
"""
USER = """
  NAME:
    stack: NAME
    owns: ["mesh/*/virtualNode/NAME*", "mesh/*/virtualService/NAME.local", "mesh/*/virtualRouter/NAME",
           "mesh/*/virtualRouter/NAME/route/*", "mesh/*/virtualGateway/edge/gatewayRoute/NAME"]
    may_extend: ["mesh/*", "mesh/*/virtualGateway/edge"]
    permissions: [everything]
"""
OPERATOR = """
  operator: {may_change: ["mesh/*/virtualRouter/*/route/*"], permissions: [everything]}
"""
PROJECT = """
stack: NAME
definitions: [mesh.yaml]
environments:
  dev: {mesh: shop-dev, parameters: {IDLE: 5}}
  staging: {mesh: shop-staging, parameters: {IDLE: 6}}
  production: {mesh: shop, protected: true, parameters: {IDLE: 7}}
"""
EDGE = """
spec: {}
tags: [{key: release, value: "1"}]
---
virtualGatewayName: edge
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}], logging: {accessLog: {file: {path: /dev/null}}}}
tags: [{key: release, value: "1"}]
"""
SERVICE = """
virtualNodeName: NAME
spec:
  listeners:
  - portMapping: {port: 8080, protocol: http}
    timeout: {http: {idle: {unit: s, value: "${IDLE}"}}}
  serviceDiscovery: {awsCloudMap: {namespaceName: shop.local, serviceName: NAME}}
---
virtualServiceName: NAME.local
spec: {provider: {virtualRouter: {virtualRouterName: NAME}}}
---
virtualRouterName: NAME
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}]}
---
virtualRouterName: NAME
routeName: all
spec:
  httpRoute:
    match: {prefix: /}
    action: {weightedTargets: [{virtualNode: NAME, weight: 1}]}
    timeout: {perRequest: {unit: s, value: 11}}
---
virtualGatewayName: edge
gatewayRouteName: NAME
spec: {httpRoute: {match: {prefix: /NAME/}, action: {target: {virtualService: {virtualServiceName: NAME.local}}}}}
"""


class Shop:
    """The control plane, and whatever a team does there."""

    def __init__(self, server: Live, folder: Path, net: str) -> None:
        self.server = server
        self.folder = folder
        self.net = net
        self.administrator = client(server)
        self.proxies: dict[tuple[str, str], Running] = {}

    def key(self, name: str) -> Credentials:
        """Somebody's key."""
        return parse((self.folder / "keys").read_text())[name]

    def environment(self, name: str) -> dict[str, str]:
        """What a job of a team has in its environment: of AWS and CI services nothing but its own key."""
        kept = re.compile("AWS_|MESHWRIGHT_|TRAVIS|GITHUB_|GITLAB_|CI")
        own = {
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "keys"),
            "AWS_PROFILE": name,
            "MESHWRIGHT_ENDPOINT": self.server.api,
        }
        return {name: value for name, value in os.environ.items() if not kept.match(name)} | own

    async def started(self, team: str, *arguments: str, project: str = "") -> asyncio.subprocess.Process:
        """A command that is signed by a team's key, running in its project or another's."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshwright.cli", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment(team),
            cwd=self.folder / (project or team),
        )

    async def run(self, team: str, *arguments: str, code: int = 0, project: str = "") -> Done:
        """A command of a team, which ends with `code`."""
        process = await self.started(team, *arguments, project=project)
        out, errors = await asyncio.wait_for(process.communicate(), DEADLINE)
        done = Done(int(process.returncode or 0), out.decode(), errors.decode())
        assert done.code == code, (team, arguments, done)
        return done

    def boto3(self, name: str) -> Any:
        """A stock client of App Mesh with somebody's key."""
        key = self.key(name)
        session = boto3.session.Session(key.key_id, key.secret, region_name="us-east-1")
        config = Config(retries={"total_max_attempts": 1})
        return session.client("appmesh", endpoint_url=self.server.api, config=config)

    def edit(self, team: str, old: str, new: str) -> None:
        """Change a team's definitions."""
        file = self.folder / team / "mesh.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def objects(self) -> dict[Key, Resource]:
        """All that runs, with versions and stacks."""
        found = (self.administrator.read(mesh).state for mesh in MESHES.values())
        return {one.key: one for state in found for one in state}

    @contextlib.asynccontextmanager
    async def step(self, stack: str, *environments: str) -> AsyncIterator[None]:
        """A step in which nothing may change but objects of `stack`, in these environments."""
        before = await asyncio.to_thread(self.objects)
        yield
        after = await asyncio.to_thread(self.objects)
        mine = {MESHES[one] for one in environments}
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        both = [one for key in changed for one in (before.get(key), after.get(key)) if one is not None]
        assert {(one.key.path, one.stack) for one in both if one.key.mesh not in mine or one.stack != stack} == set()

    async def refused(self, name: str, whose: str, *arguments: str) -> dict[str, Any]:
        """A team tries something on another's stack, in that one's project; what the audit log tells of it."""
        before = len(await self.refusals(name))
        async with self.step(""):
            await self.run(name, *arguments, code=1, project=whose)

        async def told() -> bool:
            return len(await self.refusals(name)) > before

        await until(told, "the attempt is in the audit log")
        return (await self.refusals(name))[0]

    async def refusals(self, name: str) -> list[dict[str, Any]]:
        """What the audit log has of somebody's refused attempts, newest first."""
        asked = {"principal": f"arn:aws:iam::000000000000:user/{name}", "outcome": "refused"}
        found = await asyncio.to_thread(self.administrator.audit_entries, 1000, asked)
        return [one["leaf"] for one in found["entries"]]

    def address(self, environment: str, name: str) -> str:
        """The first three bytes of where a proxy of the environment is."""
        number = 1 + 10 * list(MESHES).index(environment) + TEAMS.index(name)
        return f"{self.net}.{number}"

    def gateway(self, environment: str) -> str:
        """Where the environment's gateway takes calls."""
        return f"http://{self.address(environment, 'platform')}.2:{PORT}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Every environment's proxies, with their applications, all of them ready."""
        async with contextlib.AsyncExitStack() as stack:
            for environment in MESHES:
                for team in TEAMS:
                    self.proxies[environment, team] = await stack.enter_async_context(self._proxy(environment, team))
            await asyncio.gather(*(until(self._ready(one), "a proxy is ready") for one in self.proxies.values()))
            yield

    def _ready(self, one: Running) -> Any:
        async def ready() -> bool:
            assert one.process.returncode is None
            return (await one.status())[0] == 200

        return ready

    @contextlib.asynccontextmanager
    async def newer(self, application: Application, environment: str, team: str, node: str) -> AsyncIterator[None]:
        """A proxy of a team's `node` with its application, which may connect once the node is there."""
        number = int(self.address(environment, team).rpartition(".")[2]) + 5
        async with self._proxy(environment, team, f"virtualNode/{node}", f"{self.net}.{number}", application):
            yield

    @contextlib.asynccontextmanager
    async def _proxy(
        self, environment: str, team: str, node: str = "", at: str = "", application: Application | None = None
    ) -> AsyncIterator[Running]:
        at = at or self.address(environment, team)
        place = ("--application", f"{at}.1", "--ingress", f"{at}.2", "--egress", f"{at}.3")
        node = node or ("virtualGateway/edge" if team == "platform" else f"virtualNode/{team}")
        own = () if team == "platform" else ("--endpoint-address", f"{at}.2")
        more = ("--instance", "one", "--concurrency", "1", "--drain-seconds", "0")
        folder = self.folder / f"{environment}-{node.rpartition('/')[2]}"
        folder.mkdir()
        async with contextlib.AsyncExitStack() as stack:
            if team != "platform":
                told = application or Application(f"{team} of {environment}")
                await stack.enter_async_context(told.running(f"{at}.1"))
            arguments = (f"mesh/{MESHES[environment]}/{node}", "--xds", f"127.0.0.1:{self.server.xds}")
            given: Mapping[str, str] = self.environment(team)
            one = await stack.enter_async_context(proxy(folder, *arguments, *place, *own, *more, variables=given))
            yield one


@contextlib.asynccontextmanager
async def shop(folder: Path, *more: str) -> AsyncIterator[Shop]:
    """The control plane with every team's key and project; nothing is released yet."""
    trust = folder / "trust.yaml"
    trust.write_text(TRUST + "".join(USER.replace("NAME", team) for team in TEAMS[1:]) + OPERATOR)
    with reserved_net() as net, live(folder / "data", "--trust", str(trust), *more) as server:
        found = Shop(server, folder, net)
        (folder / "keys").write_text("")
        for name in (*TEAMS, "operator"):
            (folder / name).mkdir()
        made = [
            found.run(name, "trust", "key", "create", name, "--data-dir", str(server.folder))
            for name in (*TEAMS, "operator")
        ]
        (folder / "keys").write_text("".join(one.out for one in await asyncio.gather(*made)))
        for team in TEAMS:
            text = EDGE if team == "platform" else SERVICE.replace("NAME", team)
            (folder / team / "mesh.yaml").write_text(text)
            (folder / team / "meshwright.yaml").write_text(PROJECT.replace("NAME", team))
        yield found


def titles(found: Any) -> list[tuple[int, str, str]]:
    """Number, kind and status of each release that `history` listed."""
    return [(one["number"], one["kind"], one["status"]) for one in json.loads(found)["releases"]]
