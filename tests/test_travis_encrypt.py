"""`travis encrypt` makes values that Travis decrypts and bash reads back, and adds them to a file."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st

from fake_travis import TOKEN, fake_travis
from meshwright.ci.travis.adding import added
from meshwright.ci.travis.between_lines import Conflicts
from meshwright.ci.travis.review import review
from meshwright.ci.travis.secure_values import assignment, encrypted, read_key
from meshwright.cli import cli
from meshwright.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "pa ss'w\"ord$(id)`id`\\!#é\n2"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository's key pair, made by OpenSSL."""
    folder = tmp_path_factory.mktemp("keys")
    make = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"]
    subprocess.run(make, check=True, cwd=folder, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"], check=True, cwd=folder)
    return folder


def run(*arguments: str, stdin: str | bytes = b"", **environment: str) -> Result:
    """The command as `main` runs it."""
    return CliRunner().invoke(
        cli, ["travis", "encrypt", *arguments], input=stdin, env=environment, standalone_mode=False
    )


def decrypted(keys: Path, value: str) -> bytes:
    """As Travis does it, by OpenSSL."""
    command = [
        "openssl",
        "pkeyutl",
        "-decrypt",
        "-inkey",
        str(keys / "key.pem"),
        "-pkeyopt",
        "rsa_padding_mode:pkcs1",
    ]
    return subprocess.run(command, input=base64.b64decode(value), capture_output=True, check=True).stdout


def of(output: str) -> str:
    """The ciphertext that was printed."""
    match = re.fullmatch(r'secure: "([A-Za-z0-9+/=]+)"\n', output)
    assert match, output
    return match[1]


def in_bash(plain: bytes, name: str) -> bytes:
    """What a job's shell has after Travis let it assign the value."""
    script = b"export " + plain + b'\nprintf %s "$' + name.encode() + b'"\n'
    return subprocess.run(["bash", "-s"], input=script, capture_output=True, check=True, env={"LC_ALL": "C"}).stdout


def test_openssl_decrypts_what_is_printed_and_bash_reads_the_very_secret(keys: Path) -> None:
    """With blanks, both quotes, substitutions, a backslash and a newline in it."""
    done = run("TOKEN", "--public-key", str(keys / "public.pem"), stdin=SECRET + "\n")
    assert done.return_value == 0
    plain = decrypted(keys, of(done.stdout))
    assert plain.startswith(b"TOKEN=")
    assert in_bash(plain, "TOKEN") == SECRET.encode()
    assert "pa ss" not in done.output


@given(st.binary(min_size=1, max_size=40).filter(lambda value: b"\0" not in value))
@example(b"'")
@example(b"it's")
@example(b"$HOME")
@example(b'"')
@example(b"\xff\xfe")
@example(b"a\nb\n")
@example(b"~")
@example(b"-n")
def test_bash_assigns_the_very_bytes(value: bytes) -> None:
    """Whatever they are, but zero."""
    assert in_bash(assignment("N", value), "N") == value


def test_a_bare_value_is_encrypted_as_it_is(keys: Path, tmp_path: Path) -> None:
    """For keys such as vault.token; from a file or the environment, with or without its last newline."""
    file = tmp_path / "secret"
    file.write_bytes(b"s3cret value\n")
    public = ("--public-key", str(keys / "public.pem"))
    assert decrypted(keys, of(run(*public, "--from-file", str(file)).stdout)) == b"s3cret value"
    assert decrypted(keys, of(run(*public, "--from-file", str(file), "--exact").stdout)) == b"s3cret value\n"
    assert decrypted(keys, of(run(*public, "--from-env", "MY_SECRET", MY_SECRET="a\n").stdout)) == b"a\n"
    told = json.loads(run(*public, "--format", "json", stdin="x").stdout)
    assert decrypted(keys, told["secure"]) == b"x"


def test_a_key_of_one_form_under_the_header_of_the_other_is_read(keys: Path) -> None:
    """As Travis gives some."""
    pem = (keys / "public.pem").read_text(encoding="utf-8").replace("PUBLIC KEY", "RSA PUBLIC KEY")
    assert decrypted(keys, encrypted(b"a", read_key(pem, "f"), "A")) == b"a"


def test_what_is_longer_than_the_key_takes_is_refused_with_what_to_do(keys: Path) -> None:
    """245 bytes for a key of 2048 bits, name and quotes included."""
    public = ("--public-key", str(keys / "public.pem"))
    assert run("A", *public, stdin="x" * 243).return_value == 0
    error = run("A", *public, stdin="x" * 244).exception
    assert isinstance(error, UsageError)
    assert "A takes 246 bytes with its name and quotes, and the repository's key of 2048 bits takes 245" in str(error)
    assert "settings" in str(error)
    assert "xxx" not in str(error)


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (("1A",), b"a", "no name of a variable"),
        (("A=b",), b"a", "no name of a variable"),
        (("A",), b"a\0b", "zero byte"),
        (("A",), b"\n", "is empty"),
        (("A", "--from-env", "NOT_THERE"), b"", "no variable 'NOT_THERE'"),
        (("A", "--from-env", "HOME", "--from-file", "x"), b"", "two places"),
        (("A", "--from-file", "/nowhere/x"), b"", "cannot be read"),
        (("A", "--add", "a..b"), b"a", "no path of keys"),
    ],
)
def test_what_cannot_be_encrypted_is_told(keys: Path, arguments: tuple[str, ...], stdin: bytes, told: str) -> None:
    """With exit code 2, and without the secret."""
    done = run(*arguments, "--public-key", str(keys / "public.pem"), stdin=stdin)
    assert told in str(done.exception)
    assert getattr(done.exception, "exit_code", None) == 2


def test_the_key_is_asked_of_travis(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the repository that git's `origin` is, or the one that is named."""
    monkeypatch.chdir(tmp_path)
    for command in (["init", "--quiet"], ["remote", "add", "origin", "git@git.example:acme/orders.git"]):
        subprocess.run(["git", *command], check=True)
    with fake_travis() as travis:
        travis.keys["acme/orders"] = (keys / "public.pem").read_text(encoding="utf-8")
        known = {"TRAVIS_ENDPOINT": travis.url, "TRAVIS_TOKEN": TOKEN}
        assert decrypted(keys, of(run("A", stdin="b", **known).stdout)) == b"A=b"
        error = run("A", "--repository", "acme/none", stdin="b", **known).exception
        assert "the public key of acme/none" in str(error)


def test_a_private_key_is_no_public_one(keys: Path) -> None:
    """Which is said."""
    error = run("A", "--public-key", str(keys / "key.pem"), stdin="a").exception
    assert "It is a private key" in str(error)


@pytest.mark.parametrize(
    ("before", "path", "value"),
    [
        ("", "env.global", {"env": {"global": [{"secure": "x"}]}}),
        ("script: a\n", "vault.token", {"script": "a", "vault": {"token": {"secure": "x"}}}),
        (
            "env:\n  global:\n  - A=1 # one\n  # two\nscript: a\n",
            "env.global",
            {"env": {"global": ["A=1", {"secure": "x"}]}, "script": "a"},
        ),
        ("env:\n    jobs: [A=1]\n", "env.global", {"env": {"jobs": ["A=1"], "global": [{"secure": "x"}]}}),
        ("env:\n  - A=1", "env", {"env": ["A=1", {"secure": "x"}]}),
        (
            "vault:\n  api_url: a\n\n# end\nscript: b\n",
            "vault.token",
            {"vault": {"api_url": "a", "token": {"secure": "x"}}, "script": "b"},
        ),
        (
            "jobs:\n  include:\n  - script: a\n  - script: b\n    name: c\n",
            "jobs.include[1].vault.token",
            {
                "jobs": {
                    "include": [{"script": "a"}, {"script": "b", "name": "c", "vault": {"token": {"secure": "x"}}}]
                }
            },
        ),
        (
            "deploy:\n- provider: npm\n  email: a\n- provider: script\n",
            "deploy[0].api_token",
            {"deploy": [{"provider": "npm", "email": "a", "api_token": {"secure": "x"}}, {"provider": "script"}]},
        ),
    ],
)
def test_a_value_is_added_between_the_lines(before: str, path: str, value: dict[str, object]) -> None:
    """Every line stays; the value is where it was wanted."""
    after = added(before, "f", path, "x")
    rest = iter(after.splitlines())
    assert all(line in rest for line in before.splitlines())
    assert yaml.safe_load(after) == value


@pytest.mark.parametrize(
    ("before", "path", "line", "told"),
    [
        ("vault:\n  token: a\n", "vault.token", 2, "is there already"),
        ("env:\n  global: [A=1]\n", "env.global", 2, "one item a line"),
        ("vault: {api_url: a}\n", "vault.token", 1, "one key a line"),
        ("vault: a\n", "vault.token", 1, "no keys"),
        ("a: [\n", "env.global", 2, "not YAML"),
        ("- a\n", "env.global", 1, "no single mapping"),
    ],
)
def test_what_stands_there_already_is_told_with_its_line(before: str, path: str, line: int, told: str) -> None:
    """And nothing comes of it."""
    with pytest.raises(Conflicts, match=told) as caught:
        added(before, "f", path, "x")
    assert str(caught.value).startswith(f"f:{line}: ")


@pytest.mark.parametrize("path", ["jobs.include[3].env", "jobs.include.env", "env[0].x"])
def test_a_path_that_leads_nowhere_is_told(path: str) -> None:
    """It may be mistyped."""
    with pytest.raises(UsageError, match=r"f has nothing at|of f is a list"):
        added("jobs:\n  include:\n    - script: a\nenv:\n  global: []\n", "f", path, "x")


def test_the_command_adds_to_the_file_and_the_check_is_content(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is printed then but that it was done."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".travis.yml"
    path.write_text("language: go # here\nscript: make\n", encoding="utf-8")
    done = run("TOKEN", "--public-key", str(keys / "public.pem"), "--add", "env.global", stdin="a b")
    assert (done.stdout, done.stderr) == ("", "TOKEN was added to .travis.yml at env.global.\n")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("language: go # here\nscript: make\n")
    assert decrypted(keys, yaml.safe_load(text)["env"]["global"][0]["secure"]) == b"TOKEN='a b'"
    assert review(text, ".travis.yml") == ()
    again = run("T", "--public-key", str(keys / "public.pem"), "--add", "env.global.x", stdin="a b")
    assert getattr(again.exception, "exit_code", None) == 2
    assert path.read_text(encoding="utf-8") == text
