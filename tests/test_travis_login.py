"""A job logs in and hands on what it got: to stock tools, in memory, and never to its log."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest

from fake_travis import TOKEN, FakeTravis, fake_travis
from live import live
from meshwright.audit import Leaf
from meshwright.ci.travis import proof
from meshwright.cli.handing_over import Handed, memory_folder
from meshwright.cli.proving import Login
from meshwright.errors import UnreachableError, UsageError
from meshwright.store import sqlite
from processes import DEADLINE
from travis_jobs import TRUST, Plane, given, plane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROLE = "arn:aws:iam::000000000000:role/main"
BOTO = """
import boto3, os, stat, sys
file = os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]
mesh = boto3.client("appmesh")
mesh.create_mesh(meshName="shop")
try:
    mesh.create_mesh(meshName="other")
except mesh.exceptions.ClientError as error:
    print(error.response["Error"]["Code"])
print(oct(stat.S_IMODE(os.stat(file).st_mode)), file)
print(sorted(name for name in os.environ if "SECRET" in name or "ACCESS_KEY" in name))
sys.exit(7)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="folders in memory are Linux's")


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Plane]:
    """A control plane that vouches for jobs of acme."""
    with plane(tmp_path) as found:
        yield found


class Place(NamedTuple):
    """A control plane, and the Travis CI that its jobs run at."""

    endpoint: str
    travis: FakeTravis


class Done(NamedTuple):
    """What a command in a job left behind; what it printed is in the job's log."""

    code: int
    out: str
    log: str


def in_job(
    ours: Place,
    job: int,
    *command: str,
    more: Mapping[str, str] = MappingProxyType({}),
    heard: Callable[[str], None] = lambda _: None,
) -> Done:
    """Run a command in a job without a key of any kind; its log gets each line of its standard error as it comes."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    own = {"TRAVIS": "true", "TRAVIS_JOB_ID": str(job), "MESHWRIGHT_ENDPOINT": ours.endpoint}
    environ = {**kept, **own, **more}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stdout is not None
    errors, said = process.stderr, list[str]()

    def take() -> None:
        for line in errors:
            said.append(line)
            ours.travis.print(job, line)
            heard(line)

    taking = threading.Thread(target=take)
    taking.start()
    with process:
        out = process.stdout.read()
        code = process.wait(DEADLINE)
        taking.join(DEADLINE)
    return Done(code, out, "".join(said))


def at(ours: Plane) -> Place:
    """Where its jobs find it."""
    return Place(ours.server.url, ours.travis)


def login(*arguments: str) -> list[str]:
    """The command line of a login."""
    return [sys.executable, "-m", "meshwright.cli", "travis", "login", *arguments]


def test_stock_boto3_writes_what_it_owns_and_is_refused_anothers(ours: Plane) -> None:
    """With nothing but the token's file and the endpoints; the file is in memory, the owner's alone, and goes."""
    ours.travis.add_job(71)
    done = in_job(
        at(ours), 71, *login("--role", ROLE, "--", sys.executable, "-c", BOTO), more={"AWS_ACCESS_KEY_ID": "stale"}
    )
    refused, mode, names = done.out.splitlines()
    assert (done.code, refused, names) == (7, "AccessDeniedException", "[]"), done.log
    permissions, file = mode.split()
    assert permissions == "0o600"
    assert Path(file).is_relative_to(memory_folder(os.environ))
    assert not Path(file).parent.exists()
    assert [one.key.name for one in ours.server.store.head().state] == ["shop"]
    assert "Logged in at" in done.log
    assert "as repo:acme/orders:branch:main:event:push." in done.log


def test_the_rest_of_the_job_is_handed_the_token_by_eval_and_renews_it(ours: Plane, tmp_path: Path) -> None:
    """What is printed is no secret; the same again is another token in the same file."""
    ours.travis.add_job(71)
    once = f'eval "$({" ".join(login("--role", ROLE))})"'
    script = f"""
set -e
{once}
cp "$AWS_WEB_IDENTITY_TOKEN_FILE" first; before=$AWS_WEB_IDENTITY_TOKEN_FILE
{once}
test "$before" = "$AWS_WEB_IDENTITY_TOKEN_FILE"
cmp -s first "$AWS_WEB_IDENTITY_TOKEN_FILE" && exit 9
{sys.executable} -m meshwright.cli travis login --role {ROLE} -- env
cat "$AWS_WEB_IDENTITY_TOKEN_FILE" > second
rm -r "$(dirname "$AWS_WEB_IDENTITY_TOKEN_FILE")"
"""
    done = in_job(
        at(ours), 71, "bash", "-c", f"cd {tmp_path}\n{script}\ncat first; echo; cat second", more={"AWS_PROFILE": "x"}
    )
    assert done.code == 0, done.log
    first, second = done.out.split()[-2:]
    assert first.count(".") == second.count(".") == 2
    assert first != second
    assert first not in done.log
    assert second not in done.log
    assert "AWS_PROFILE" not in done.out
    assert done.log.count(proof.MARK) == 1
    assert len(given(ours.server)) == 1
    assert ours.assume(second).status == 200


def test_beside_aws_the_token_is_for_meshwright_alone(ours: Plane) -> None:
    """AWS's variables stay what they are, and commands are the role all the same; the same again renews the token."""
    ours.travis.add_job(71)
    aws = {"AWS_ACCESS_KEY_ID": "AKIAAWS", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"}
    refused = in_job(at(ours), 71, *login("--beside-aws", "--", "env"), more=aws)
    assert refused.code == 2
    assert "--role or MESHWRIGHT_ROLE" in refused.log
    script = """
eval "$("$0" -m meshwright.cli travis login --beside-aws)"
"$0" -m meshwright.cli status || true
first=$MESHWRIGHT_TOKEN_FILE; eval "$("$0" -m meshwright.cli travis login --beside-aws)"
test "$first" = "$MESHWRIGHT_TOKEN_FILE"; env; rm -r "$(dirname "$first")"
"""
    more = {**aws, "MESHWRIGHT_ROLE": ROLE}
    done = in_job(at(ours), 71, "bash", "-ec", script, sys.executable, more=more)
    assert done.code == 0, done.log
    assert "AWS_ACCESS_KEY_ID=AKIAAWS" in done.out
    assert "AWS_ROLE_ARN=arn:aws:iam::1:role/x" in done.out
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" not in done.out
    assert len(given(ours.server)) == 1
    assert len(ours.server.store.sessions()) == 1


def test_a_command_about_two_environments_asks_each_as_the_project_says(ours: Plane, tmp_path: Path) -> None:
    """No endpoint and no role is handed over that would hold for both."""
    ours.travis.add_job(71)
    file = tmp_path / "meshwright.yaml"
    file.write_text(
        "stack: orders\nmesh: shop\nenvironments:\n"
        f"  staging: {{endpoint: '{ours.server.url}', account: '000000000000', role: main}}\n"
        "  production: {endpoint: 'http://127.0.0.1:9', role: other}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "meshwright.cli", "--config", str(file)]
    promote = shlex.join([*command, "promote", "--from", "staging", "--to", "production"])
    script = f"{promote} 2>&1 || true; {shlex.join([*command, 'status'])} > /dev/null; env"
    login = [*command, "--environment", "staging", "travis", "login", "--beside-aws", "--", "bash", "-c", script]
    done = in_job(at(ours), 71, *login, more={"MESHWRIGHT_ENDPOINT": ""})
    assert done.code == 0, done.log
    assert "No release of stack 'orders' in staging" in done.out
    assert "MESHWRIGHT_ROLE" not in done.out
    assert [one.principal.arn for one in ours.server.store.sessions()]


def test_the_second_factor_is_in_no_commands_environment(ours: Plane, tmp_path: Path) -> None:
    """It comes from the control plane's machine, and out of the repository's encrypted variable."""
    printed = subprocess.run(
        [sys.executable, "-m", "meshwright.cli", "travis", "secret", "acme/orders", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    ours.travis.add_job(71)
    role = ROLE.replace("main", "guarded")
    secret = printed.stdout.strip()
    done = in_job(at(ours), 71, *login("--role", role, "--", "env"), more={"MESHWRIGHT_TRAVIS_SECRET": secret})
    assert done.code == 0
    assert secret not in done.out + done.log
    assert "AWS_ROLE_ARN=" + role in done.out
    assert given(ours.server)[0].claims["second_factor"] == "true"


def test_a_late_log_is_waited_for_and_a_refusal_is_told(ours: Plane) -> None:
    """A log that the server has waited for in vain is asked about again, as long as the challenge counts."""
    job = ours.travis.add_job(7_000_000 + os.getpid())
    looks = list[str]()

    def late(_number: int, text: str) -> str:
        looks.append(text)
        return "" if len(looks) < 12 else text

    ours.travis.delay_log = late
    done = in_job(at(ours), job, *login("--role", ROLE, "--", "true"))
    assert (done.code, done.out) == (0, "")
    again = in_job(at(ours), job, *login("--role", ROLE, "--", "true"))
    assert again.code == 1
    assert f"gives job {job} no identity: ProofNotAlone" in again.log
    assert not list(memory_folder(os.environ).glob(f"meshwright-{job}-*"))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"TRAVIS_JOB_ID": ""}, "This is no job of Travis CI"),
        ({"MESHWRIGHT_ENDPOINT": "http://mesh.example:9080"}, "unencrypted"),
    ],
)
def test_what_cannot_be_a_login_is_none(ours: Plane, more: dict[str, str], told: str) -> None:
    """Exit code 2, before anything is asked."""
    done = in_job(at(ours), 71, *login("--role", ROLE, "--", "true"), more=more)
    assert done.code == 2
    assert told in done.log
    assert ours.travis.asked == []


def test_a_disk_is_no_place_for_a_token() -> None:
    """Only what is mounted as memory is."""
    with pytest.raises(UsageError, match="no folder in memory"):
        memory_folder({"XDG_RUNTIME_DIR": "/tmp"}, "/dev/sda1 / ext4 rw 0 0\n/dev/sda2 /dev/shm ext4 rw 0 0\n")
    assert memory_folder({}, "tmpfs /dev/shm tmpfs rw 0 0\n") == Path("/dev/shm")


def test_a_token_is_renewed_while_a_command_runs() -> None:
    """The file is whole at every moment; a renewal that fails is told, and tried again."""
    handed, said, tokens = Handed.new(memory_folder(os.environ), 71), list[str](), iter(["", "second"])

    def renew() -> Login:
        token = next(tokens, "third")
        if not token:
            raise UnreachableError("nobody answers")
        return Login(token, "repo:acme/orders", 0.0)

    handed.write("first")
    loop = 'until grep -q third "$FILE"; do test -s "$FILE" || exit 3; done'
    try:
        code = handed.run(["sh", "-c", loop], {"FILE": str(handed.file)}, os.environ, renew, said.append, 0.01)
        assert (code, said) == (0, ["The job's token could not be renewed: nobody answers"])
        assert stat.S_IMODE(handed.file.stat().st_mode) == 0o600
    finally:
        handed.forget()
    assert not handed.file.parent.exists()


def test_what_a_job_releases_has_its_build_as_verified(ours: Plane, tmp_path: Path) -> None:
    """By the API's record, whatever the job's variables say."""
    ours.travis.add_job(71, build_number="7", commit={"sha": "c" * 40, "ref": "refs/heads/main"})
    (tmp_path / "mesh.yaml").write_text("meshName: shop\nspec: {}\n")
    apply = [sys.executable, "-m", "meshwright.cli", "apply", "mesh.yaml", "--stack", "orders", "--mesh", "shop"]
    script = f"cd {tmp_path} && {' '.join(apply)}"
    command = login("--role", ROLE, "--", "sh", "-c", script)
    done = in_job(at(ours), 71, *command, more={"TRAVIS_BUILD_NUMBER": "999", "TRAVIS_BRANCH": "forged"})
    assert done.code == 0, done.log
    release = ours.server.store.release("shop", "orders", 1)
    assert release is not None
    assert release.verified is not None
    assert release.build is not None
    assert (release.verified.build_number, release.verified.branch, release.verified.commit) == (
        "7",
        "main",
        "c" * 40,
    )
    assert (release.build.build_number, release.build.branch) == ("999", "forged")


def test_a_job_that_is_cancelled_leaves_no_token(ours: Plane) -> None:
    """The command is told, and decides; then the file goes."""
    ours.travis.add_job(71)
    script = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: (print(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"], flush=True), os._exit(5)))
os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
"""
    done = in_job(at(ours), 71, *login("--role", ROLE, "--", sys.executable, "-c", script))
    assert done.code == 5, done.log
    assert Path(done.out.strip()).name == "token"
    assert not Path(done.out.strip()).parent.exists()


LASTING = """
import boto3, sys
mesh = boto3.client("appmesh")
mesh.create_mesh(meshName="shop")
print("the job has written", file=sys.stderr, flush=True)
try:
    while True:
        mesh.describe_mesh(meshName="shop")
except mesh.exceptions.ClientError as error:
    print(error.response["Error"]["Code"])
"""


def test_a_server_that_is_started_as_an_issuer_gives_and_ends_identities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real process: its options, its keys, and the session that it ends with its job."""
    (tmp_path / "trust.yaml").write_text(TRUST)
    monkeypatch.setenv("TRAVIS_TOKEN", TOKEN)
    options = ["--issuer", "https://mesh.example", "--travis-repository", "acme/*"]
    with fake_travis() as travis:
        travis.add_job(71)
        more = ["--travis-endpoint", travis.url, "--trust", str(tmp_path / "trust.yaml")]

        def heard(line: str) -> None:
            if line == "the job has written\n":
                travis.finish(71)

        with live(tmp_path / "data", *options, *more) as running:
            place = Place(running.api, travis)
            command = login("--role", ROLE, "--", sys.executable, "-c", LASTING)
            done = in_job(place, 71, *command, heard=heard)
            assert (done.code, done.out) == (0, "ExpiredTokenException\n"), done.log
            assert running.end() == 0
            assert TOKEN not in running.log.read_text()
        with contextlib.closing(sqlite.connect(tmp_path / "data" / "meshwright.db")) as store:
            kinds = [msgspec.json.decode(one.text, type=Leaf).kind for one in store.leaves(0, 1000)]
            assert {"identity", "session", "revision", "revocation"} <= set(kinds)
            assert store.verify().faults == ()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--travis-repository", "acme/*"], "name the --issuer"),
        (["--issuer", "http://mesh.example", "--travis-repository", "acme/*"], "is none; name this API"),
        (["--issuer", "https://mesh.example/path", "--travis-repository", "acme/*"], "is none; name this API"),
        (["--issuer", "https://mesh.example"], "vouches for nobody"),
        (["--issuer", "https://mesh.example", "--travis-repository", "acme/*"], "set TRAVIS_TOKEN"),
    ],
)
def test_half_an_issuer_is_none(tmp_path: Path, options: list[str], told: str) -> None:
    """The server does not start."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "meshwright.cli", "serve", "--listen", "127.0.0.1:0", "--xds", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, env=environ, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
