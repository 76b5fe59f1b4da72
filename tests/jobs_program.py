"""Many jobs of builds, each a process of its own that runs the real command line; some are killed on the way.

Reads one JSON line a round: a list of jobs with `folder`, `arguments`, `environment`, `begin` and `kill` (seconds,
null for never). Answers with a JSON list: the exit code of each, -9 for one that was killed, and what it said. While
a job runs, the file `pid` in its folder has its process id. Each job is forked from here, where everything is
imported already, so that it is killed at its work, not at its imports.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import meshwright.cli.apply
import meshwright.cli.applying
import meshwright.cli.drift
import meshwright.cli.promote
import meshwright.cli.promoting
import meshwright.cli.repairing
import meshwright.cli.target
import meshwright.cli.verify
import meshwright.cli.verifying
import meshwright.cli.waiting
import meshwright.cli.wanted
import meshwright.remote.web_identity


def child(job: dict[str, Any]) -> None:
    """Become the job."""
    folder = Path(job["folder"])
    (folder / "pid").write_text(str(os.getpid()))
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    os.environ.update(job["environment"])
    time.sleep(job["begin"])
    sys.argv = ["meshwright", *job["arguments"]]
    code = 3
    try:
        meshwright.cli.main()
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def started(job: dict[str, Any]) -> int:
    """The process that is the job."""
    pid = os.fork()
    if not pid:
        child(job)
    return pid


def ran(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What became of each."""
    began = time.monotonic()
    pids = [started(job) for job in jobs]
    doomed = sorted(
        (job["begin"] + job["kill"], pid) for job, pid in zip(jobs, pids, strict=True) if job["kill"] is not None
    )
    for moment, pid in doomed:
        time.sleep(max(0.0, began + moment - time.monotonic()))
        os.kill(pid, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return [
        {"code": code, "err": (Path(job["folder"]) / "err").read_text() if code != -signal.SIGKILL else ""}
        for job, code in zip(jobs, codes, strict=True)
    ]


for line in sys.stdin:
    sys.stdout.write(json.dumps(ran(json.loads(line))) + "\n")
    sys.stdout.flush()
