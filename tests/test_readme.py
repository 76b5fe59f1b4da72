"""The README's commands run, in its order, on the example it names, and print what it says they print."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from processes import DEADLINE, free_port, reserved_net, until
from settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.envoy

CALLS = [
    (line.split("#")[0].strip().removesuffix("&").strip(), int("# denied: exit 1" in line))
    for line in re.findall(r"^ {4}(meshwright .*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
]
PRINTED = {
    call.split("#")[0].strip(): printed
    for call, printed in re.findall(
        r"^ {4}(meshwright [^\n]*)\n\n```text\n(.*?)^```",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
}
"""What the README says that a command prints."""


@contextmanager
def in_background(
    arguments: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until the block ends, then has ended well by itself."""
    with (folder / f"{arguments[0]}.log").open("w+") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "meshwright.cli", *arguments], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            code = child.wait(DEADLINE)
            log.seek(0)
            said = log.read()
        assert code == 0, said


def at(host: str) -> dict[str, str]:
    """The environment of commands whose control plane is at an address of the test's own."""
    names = (name for name in os.environ if not name.startswith(("AWS_", "MESHWRIGHT_")))
    return {name: os.environ[name] for name in names} | {
        "MESHWRIGHT_LISTEN": f"{host}:9080",
        "MESHWRIGHT_XDS_LISTEN": f"{host}:18000",
        "MESHWRIGHT_XDS": f"{host}:18000",
        "MESHWRIGHT_ENDPOINT": f"http://{host}:9080",
    }


def heavier(folder: Path) -> None:
    """Change a weight, as a developer would between two builds."""
    path = folder / "definitions" / "payment.yaml"
    text = path.read_text(encoding="utf-8")
    changed = text.replace("weight: 90", "weight: 80")
    assert changed != text
    path.write_text(changed, encoding="utf-8")


def test_the_readme_can_be_followed_line_by_line(tmp_path: Path) -> None:
    """Every `meshwright` line ends with 0, or as it says; servers and proxies run while what follows needs them."""
    folder = tmp_path / "shop"
    for example in ("shop", "trust"):
        shutil.copytree(ROOT / "examples" / example, tmp_path / example)
    ended = []
    with ExitStack() as stack:
        net = stack.enter_context(reserved_net())
        environment = at(f"{net}.0.9")
        for call, expected in CALLS:
            arguments = shlex.split(call)[1:]
            if arguments[0] == "COMMAND":
                continue
            if arguments[0] == "serve":
                stack.enter_context(in_background(arguments, folder, environment))
                until(lambda: (folder / ".meshwright" / "credentials").exists() and proxies(folder, environment) == 0)
                continue
            if arguments[0] == "proxy":
                # Tests bind loopback addresses only; without these Envoy would bind 0.0.0.0, as in production.
                places = zip(("--application", "--ingress", "--egress"), (1, 2, 3), strict=True)
                arguments += [word for flag, last in places for word in (flag, f"{net}.1.{last}")]
                arguments += ["--drain-seconds", "0", "--admin-port", str(free_port())]
                stack.enter_context(in_background(arguments, folder, environment))
                until(lambda: proxies(folder, environment) == 1)
                continue
            if "definitions" in arguments:
                heavier(folder)
            done = run(arguments, folder, environment)
            ended.append(call)
            assert done.returncode == expected, f"{call}: {done.stdout}{done.stderr}"
            assert done.stdout == PRINTED.get(call, done.stdout)
    assert len(ended) >= 8


def run(arguments: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One command, ended."""
    return subprocess.run(
        [sys.executable, "-m", "meshwright.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def proxies(folder: Path, environment: dict[str, str]) -> int | None:
    """How many proxies the control plane sees; None while it does not answer."""
    done = run(["status", "--format", "json"], folder, environment)
    return len(json.loads(done.stdout)["proxies"]) if done.returncode == 0 else None
