"""AWS Cloud Map for tests: moto's server, in an environment of its own, and stock boto3 to fill it."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from processes import DEADLINE, free_port
from settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_INSTALL = "from benchmarks.peers import moto; print(moto())"


class Moto:
    """A running moto, which can be stopped and started again on its port, empty."""

    def __init__(self, program: str, log: Path) -> None:
        self._program = program
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own settings that lead there."""
        return {
            "AWS_ENDPOINT_URL_SERVICEDISCOVERY": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            arguments = [self._program, "-H", "127.0.0.1", "-p", str(self.port)]
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.reset()
                return
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            time.sleep(0.05)
        raise AssertionError(f"moto is not ready: {self._log.read_text()[-2000:]}")

    def reset(self) -> None:
        """Forget everything.

        Raises:
            OSError: it does not answer.
        """
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        with contextlib.closing(asked):
            asked.request("POST", "/moto-api/reset")
            assert asked.getresponse().status == 200

    def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=DEADLINE)

    def client(self) -> Any:
        """A stock client."""
        session = boto3.session.Session("test", "test", region_name="us-east-1")
        config = Config(inject_host_prefix=False, retries={"total_max_attempts": 1})
        return session.client("servicediscovery", endpoint_url=self.url, config=config)

    def service(self, name: str, namespace: str = "shop.local") -> CloudService:
        """A service, made with its namespace where they are not there."""
        client = self.client()
        spaces = {one["Name"]: one["Id"] for one in client.list_namespaces()["Namespaces"]}
        if namespace not in spaces:
            client.create_http_namespace(Name=namespace)
            spaces = {one["Name"]: one["Id"] for one in client.list_namespaces()["Namespaces"]}
        custom = {"FailureThreshold": 1}
        made = client.create_service(Name=name, NamespaceId=spaces[namespace], HealthCheckCustomConfig=custom)
        return CloudService(client, made["Service"]["Id"])


class CloudService:
    """One service of Cloud Map."""

    def __init__(self, client: Any, id_: str) -> None:
        self._client = client
        self._id = id_

    def register(self, name: str, address: str, **attributes: str) -> None:
        """Register an instance, or change it."""
        kind = "AWS_INSTANCE_IPV6" if ":" in address else "AWS_INSTANCE_IPV4"
        self._client.register_instance(ServiceId=self._id, InstanceId=name, Attributes={kind: address, **attributes})

    def deregister(self, name: str) -> None:
        """Take an instance away."""
        self._client.deregister_instance(ServiceId=self._id, InstanceId=name)

    def health(self, name: str, status: str) -> None:
        """Say how an instance is: HEALTHY or UNHEALTHY."""
        self._client.update_instance_custom_health_status(ServiceId=self._id, InstanceId=name, Status=status)


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[Moto]:
    """A running moto; skips where it cannot be installed."""
    running = Moto(_installed(), folder / "moto.log")
    try:
        running.start()
        yield running
    finally:
        running.stop()


def _installed() -> str:
    """The program, installed by whichever test process comes first."""
    lock = ROOT / "benchmarks" / ".peers"
    lock.mkdir(exist_ok=True)
    with (lock / "moto.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-c", _INSTALL],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ),
        )
    if done.returncode:
        pytest.skip(f"moto cannot be installed here: {done.stderr.strip()[-200:]}")
    return done.stdout.strip()
