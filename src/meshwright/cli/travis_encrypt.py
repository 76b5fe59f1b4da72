"""`meshwright travis encrypt`: a secret as a `secure:` value.

The one rule: a secret comes from standard input, a file or the environment, never from an argument, which other
programs on the machine and the shell's history can read; and it is printed nowhere.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from meshwright.cli.options import FORMAT
from meshwright.errors import RefusedError, UnreadableError, UsageError

_MOST = 1024 * 1024
_REMOTE = re.compile(r"(?:[:/])([\w.-]+/[\w.-]+?)(?:\.git)?/?\Z")


@click.command("encrypt")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--from-file", type=click.Path(path_type=Path), metavar="PATH", help="Read the secret from a file.")
@click.option("--from-env", metavar="VARIABLE", help="Take the secret from a variable of the environment.")
@click.option("--exact", is_flag=True, help="Keep a newline at the end of the secret, which else is no part of it.")
@click.option("--public-key", type=click.Path(path_type=Path), metavar="PEM",
              help="The repository's public key [default: asked of Travis's API].")  # fmt: skip
@click.option(
    "--repository", metavar="OWNER/NAME", help="Whose key is asked for [default: that of the remote 'origin']."
)
@click.option("--travis-endpoint", metavar="URL",
              help="Travis's API [default: TRAVIS_ENDPOINT, else that of the travis command].")  # fmt: skip
@click.option("--add", metavar="KEYPATH",
              help="Add it to .travis.yml there, such as env.global or vault.token, and print nothing.")  # fmt: skip
@click.option(
    "--file", type=click.Path(path_type=Path), metavar="PATH", help="The file for --add [default: .travis.yml]."
)
@FORMAT
def encrypt(  # noqa: PLR0913 - one parameter an option
    *,
    name: str | None,
    from_file: Path | None,
    from_env: str | None,
    exact: bool,
    public_key: Path | None,
    repository: str | None,
    travis_endpoint: str | None,
    add: str | None,
    file: Path | None,
    form: str,
) -> int:
    """Encrypt a secret for a Travis CI configuration.

    With NAME, the value of that variable, quoted so that bash assigns the very secret; without, a bare value, as
    vault.token and the keys of deployments take it. The secret is read from standard input unless told otherwise, and
    is never an argument. Only the repository whose key it is can decrypt it.

    With --add, the file keeps every line; what stands there already is not replaced.

    Exit codes: 0 encrypted, 1 something stands in the way in the file, 2 could not be done.
    """
    from meshwright.ci.travis.adding import added
    from meshwright.ci.travis.between_lines import Conflicts
    from meshwright.ci.travis.secure_values import assignment, encrypted, read_key
    from meshwright.cli.travis_check import TRAVIS_FILE
    from meshwright.views.escaping import indented_json

    secret = _secret(from_file, from_env, exact=exact)
    plain = assignment(name, secret) if name is not None else secret
    pem, source = _key(public_key, repository, travis_endpoint)
    value = encrypted(plain, read_key(pem, source), name or "The value")
    if add is None:
        sys.stdout.write(indented_json({"secure": value}) if form == "json" else f'secure: "{value}"\n')
        return 0
    path = file or TRAVIS_FILE
    text = _text(path)
    try:
        after = added(text, str(path), add, value)
    except Conflicts as found:
        raise RefusedError("\n".join([*found.told, "Nothing was written."])) from None
    _write(path, after)
    click.echo(f"{name or 'The value'} was added to {path} at {add}.", err=True)
    return 0


def _secret(file: Path | None, variable: str | None, *, exact: bool) -> bytes:
    """The secret's bytes.

    Raises:
        UsageError: two places are named, or there is none.
        UnreadableError: the file cannot be read.
    """
    if file is not None and variable is not None:
        raise UsageError("--from-file and --from-env name two places of one secret; give one of them.")
    if variable is not None:
        if variable not in os.environ:
            raise UsageError(f"The environment has no variable {variable!r}.")
        found, exact = os.fsencode(os.environ[variable]), True
    elif file is not None:
        try:
            with file.open("rb") as opened:
                found = opened.read(_MOST)
        except OSError as error:
            raise UnreadableError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    else:
        if sys.stdin.isatty():
            click.echo("Type the secret, and Ctrl-D on a line of its own to end it:", err=True)
        found = sys.stdin.buffer.read(_MOST)
    if not exact:
        found = found.removesuffix(b"\n").removesuffix(b"\r")
    if not found:
        raise UsageError("The secret is empty; give it on standard input, or by --from-file or --from-env.")
    return found


def _key(file: Path | None, repository: str | None, endpoint: str | None) -> tuple[str, str]:
    """The repository's public key in PEM, and where it came from."""
    if file is not None:
        return _text(file, wanted=True), str(file)
    from meshwright.ci.travis.access import find_access
    from meshwright.ci.travis.client import Travis

    whose = repository or _of_remote()
    with Travis(find_access(os.environ, endpoint or "")) as api:
        return api.key_pair(whose).public_key, f"The answer of {api.endpoint} about {whose}"


def _of_remote() -> str:
    """The repository that the remote `origin` is."""
    import subprocess

    command = ["git", "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603 - ours
    except (OSError, subprocess.SubprocessError):
        found = None
    else:
        found = _REMOTE.search(done.stdout.strip())
    if found is None:
        raise UsageError("Whose key? git knows of no repository 'origin'; name it with --repository OWNER/NAME.")
    return found[1]


def _text(path: Path, *, wanted: bool = False) -> str:
    from meshwright.documents.files import read_text

    if not wanted and not path.exists():
        return ""
    text, fault = read_text(path)
    if fault is not None:
        raise UnreadableError(f"{path}:{fault.place[0]}: {fault.summary}. {fault.detail}")
    return text


def _write(path: Path, text: str) -> None:
    from meshwright.cli.writing import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}.") from None
