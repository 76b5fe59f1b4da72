"""A job's token for the commands that come after: a file in memory, and variables that every AWS SDK knows.

The one rule: the token is in a file of tmpfs that its owner alone can read, never on a disk, in a variable, on a
command line or in the log; the variables name the file and hold nothing that is secret.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from meshwright.aws import AWS_TOKEN_FILE, OWN_TOKEN_FILE
from meshwright.cli.proving import FACTOR
from meshwright.errors import MeshwrightError, UsageError
from meshwright.remote.web_identity import OWN_ROLE, ROLE, SESSION_NAME, STS_ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from meshwright.cli.proving import Login

RENEWED_EVERY = 240.0
"""Seconds after which a token is renewed that lives for ten minutes."""
AWS_AUDIENCE = "sts.amazonaws.com"
"""Whom a token is for that AWS's own STS takes."""
SHADOWING = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE",
)  # fmt: skip
"""What SDKs would sign with instead of the token."""

_FOLDER, _FILE = "meshwright-", "token"
_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def memory_folder(environ: Mapping[str, str], mounts: str | None = None) -> Path:
    """A folder that is in memory and in which files can be made; `mounts` are those of the system.

    Raises:
        UsageError: there is none.
    """
    text = mounts if mounts is not None else _MOUNTS.read_text("utf-8", "replace") if _MOUNTS.exists() else ""
    kinds = {one[1]: one[2] for one in (line.split(" ") for line in text.splitlines()) if len(one) > 2}
    for folder in ("/dev/shm", environ.get("XDG_RUNTIME_DIR", "")):  # noqa: S108 - whether it is in memory is looked at
        if folder and kinds.get(folder) in _IN_MEMORY and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    raise UsageError(
        "There is no folder in memory for the token, neither /dev/shm nor XDG_RUNTIME_DIR, and on a disk it is not "
        "written. Mount a tmpfs on one of them."
    )


class Handed:
    """The file that a job's token is handed over in."""

    def __init__(self, file: Path, *, own: bool) -> None:
        """`own` where this command made it, and takes it away again."""
        self.file = file
        self._own = own

    @classmethod
    def new(cls, folder: Path, job: int) -> Self:
        """A new file below a folder in memory, which is not written yet."""
        own = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{job}-", dir=folder))
        return cls(own / _FILE, own=True)

    @classmethod
    def found(cls, environ: Mapping[str, str], job: int) -> Self | None:
        """The file that an earlier login of this job handed over to `environ`; None for none."""
        for file in (Path(environ.get(name, "")) for name in (OWN_TOKEN_FILE, AWS_TOKEN_FILE)):
            ours = file.name == _FILE and file.parent.name.startswith(f"{_FOLDER}{job}-")
            if ours and file.is_file():
                return cls(file, own=False)
        return None

    def token(self) -> str:
        """What it holds."""
        return self.file.read_text("ascii")

    def write(self, token: str) -> None:
        """Let it hold another token, whole at every moment, for its owner alone."""
        draft = self.file.with_name(f".{_FILE}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as opened:
            opened.write(token)
        draft.replace(self.file)

    def forget(self) -> None:
        """Take it away, if it is this command's."""
        if self._own:
            shutil.rmtree(self.file.parent, ignore_errors=True)

    def run(
        self,
        command: Sequence[str],
        found: Mapping[str, str],
        environ: Mapping[str, str],
        renew: Callable[[], Login],
        say: Callable[[str], None],
        every: float = RENEWED_EVERY,
    ) -> int:
        """Run a command with the variables and a token that is renewed `every` so many seconds; its exit code.

        Raises:
            UsageError: there is no such command.
        """
        kept = {name: text for name, text in environ.items() if name not in _hidden(found)}
        ended = threading.Event()
        keeping = threading.Thread(target=self._keep, args=(renew, say, ended, every), daemon=True)
        with _passing_on() as started:
            try:
                child = subprocess.Popen(list(command), env={**kept, **found})  # noqa: S603 - it is what was asked for
            except OSError as error:
                raise UsageError(f"{command[0]!r} cannot be run: {error.strerror}.") from error
            started.append(child)
            keeping.start()
            code = child.wait()
        ended.set()
        return code if code >= 0 else 128 - code

    def _keep(
        self, renew: Callable[[], Login], say: Callable[[str], None], ended: threading.Event, every: float
    ) -> None:
        """Renew the token in time until the command has ended."""
        while not ended.wait(every):
            try:
                self.write(renew().token)
            except (MeshwrightError, OSError) as error:
                if not ended.is_set():
                    say(f"The job's token could not be renewed: {error}")


def variables(
    file: Path, endpoint: str, region: str, role: str, session: str, *, apart: bool = False
) -> dict[str, str]:
    """What stock SDKs and `meshwright` itself are to find, or `apart` the latter alone: none of it is secret.

    `endpoint` is where the token is exchanged and what the session is for; "" for AWS itself.
    """
    if apart:
        return {OWN_TOKEN_FILE: str(file), OWN_ROLE: role, "MESHWRIGHT_ENDPOINT": endpoint}
    found = {AWS_TOKEN_FILE: str(file), ROLE: role, SESSION_NAME: session}
    if not endpoint:
        return found
    ours = {STS_ENDPOINT: endpoint, "AWS_ENDPOINT_URL_APP_MESH": endpoint, "MESHWRIGHT_ENDPOINT": endpoint}
    return {**found, **ours, "AWS_REGION": region, "AWS_DEFAULT_REGION": region}


def of_environment(file: Path, environment: str, role: str) -> dict[str, str]:
    """What `meshwright` alone is to find where the project says where its environments are, and as whom to ask each.

    An endpoint or a role would hold for all of them, and some commands are about two; "" for no `role`.
    """
    found = {OWN_TOKEN_FILE: str(file), "MESHWRIGHT_ENVIRONMENT": environment}
    return {**found, OWN_ROLE: role} if role else found


def exported(found: Mapping[str, str]) -> str:
    """The variables as lines for a shell's `eval`."""
    lines = [f"export {name}={shlex.quote(text)}" for name, text in found.items()]
    return "\n".join([f"unset {' '.join(_hidden(found))}", *lines, ""])


def _hidden(found: Mapping[str, str]) -> tuple[str, ...]:
    """What nobody is to find who has these variables."""
    return (*SHADOWING, FACTOR) if AWS_TOKEN_FILE in found else (FACTOR,)


@contextlib.contextmanager
def _passing_on() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Let the command decide about signals once it stands in the list; before, they end ours, which tidies up."""
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: object) -> None:
        if not started:
            raise SystemExit(128 + number)
        started[0].send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield started
    finally:
        for number, given in before.items():
            signal.signal(number, given)
