"""`meshwright travis init`: a `.travis.yml` that governs a mesh, or the jobs for it in one that is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshwright.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from meshwright.documents.settings import Project

_SECONDS = 20
"""How long git may take to tell a branch."""


@click.command("init")
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@click.option("--branch", help="The branch that is released [default: what the remote's HEAD is].")
@click.option("--into", multiple=True, metavar="ENVIRONMENT",
              help="Where releases go, first to last; may be repeated [default: the environments of meshwright.yaml "
                   "in its order, protected ones last, without those on this machine].")  # fmt: skip
@click.option(
    "--requirement", metavar="TEXT", help="What pip installs in a job [default: this version of meshwright]."
)
@click.option("--print", "shown", is_flag=True, help="Print what would be written, and write nothing.")
@click.pass_obj
def init(
    options: dict[str, Any],
    *,
    file: Path | None,
    branch: str | None,
    into: tuple[str, ...],
    requirement: str | None,
    shown: bool,
) -> int:
    """Write a Travis CI configuration that governs a mesh, or extend one.

    FILE is .travis.yml here, unless given. Its jobs validate and test in every build, plan in pull requests of the
    same repository, release the branch to the first environment, verify there and promote to the next, roll back
    when a build over the API asks for it, and repair drift in daily builds. Pull requests and forks never get to a
    job that changes something.

    A file that is there keeps every line; what lacks is put between them, and where nothing lacks, nothing is
    written. What stands in the way is told with its line. What comes of it passes `meshwright travis check`.

    Exit codes: 0 written, or complete already, 1 something stands in the way, 2 could not be done.
    """
    from importlib.metadata import version

    from meshwright.ci.travis.between_lines import Conflicts
    from meshwright.ci.travis.extending import extended
    from meshwright.ci.travis.scaffold import Plan
    from meshwright.cli.travis_check import TRAVIS_FILE
    from meshwright.cli.writing import write_whole

    path = file or TRAVIS_FILE
    project, config = _project((options or {}).get("config"), path)
    environments = _through(project, into)
    plan = Plan(
        branch=branch or _released_branch(path.absolute().parent),
        environments=environments,
        logged_in=frozenset(one for one in environments if project.environments[one].role or project.role),
        requirement=requirement or f"meshwright=={version('meshwright')}",
        config=config,
    )
    before = _read(path)
    try:
        after = extended(before, str(path), plan)
    except Conflicts as found:
        raise RefusedError("\n".join([*found.told, "Nothing was written."])) from None
    if shown:
        sys.stdout.write(after)
    elif after == before:
        click.echo(f"{path} has all of it; nothing was written.", err=True)
    else:
        _write(write_whole, path, after)
        click.echo(f"{path} was {'extended' if before else 'written'}: {_told(plan)}.{_rest(after, path)}", err=True)
    return 0


def _read(path: Path) -> str:
    """What is there; nothing where nothing is."""
    from meshwright.documents.files import read_text

    text, fault = read_text(path) if path.exists() else ("", None)
    if fault is not None:
        raise RefusedError(f"{path}:{fault.place[0]}: {fault.summary}. {fault.detail} Nothing was written.")
    return text


def _rest(text: str, path: Path) -> str:
    """What is wrong in the file besides, which its first job will say."""
    from meshwright.ci.travis.review import review
    from meshwright.diagnostics import Severity
    from meshwright.views.diagnostics import counted

    errors = sum(one.severity is Severity.ERROR for one in review(text, str(path)))
    if not errors:
        return ""
    told = f"It had {counted(errors, 'error')} before, on which its first job fails"
    return f" {told}: meshwright travis check tells them."


def _told(plan: Any) -> str:
    way = ", then ".join(plan.environments) or "the mesh"
    return f"{plan.branch} is released to {way}"


def _write(write: Any, path: Path, text: str) -> None:
    try:
        write(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}.") from None


def _project(config: str | None, travis_file: Path) -> tuple[Project, str]:
    """The project, and how commands in a job name its file: "" where they find it by themselves."""
    from meshwright.documents.project_file import load_project
    from meshwright.documents.settings import FILE_NAME

    folder = travis_file.absolute().parent
    path = Path(config) if config else folder / FILE_NAME
    if not path.is_file():
        told = f"there is no {path.name} beside {travis_file}" if not config else f"{config} is no file"
        raise UsageError(f"{told}; it names the stack, the definitions and the environments. Give --config FILE.")
    place = path.absolute()
    if place == folder / FILE_NAME:
        return load_project(path), ""
    if not place.is_relative_to(folder):
        raise UsageError(f"{config} lies outside of {folder}, and is not there in a job; keep it in the repository.")
    return load_project(path), place.relative_to(folder).as_posix()


def _through(project: Project, into: tuple[str, ...]) -> tuple[str, ...]:
    """The environments in the order in which releases pass through them."""
    from meshwright.errors import did_you_mean

    for name in into:
        if name not in project.environments:
            known = f"It has: {', '.join(project.environments) or 'none'}."
            hint = did_you_mean(name, project.environments, known, sentence=True)
            raise UsageError(f"{project.file} has no environment {name!r}. {hint}")
    if into:
        return into
    away = {name: one for name, one in project.environments.items() if not _is_here(one.endpoint or project.endpoint)}
    if project.environments and not away:
        told = "every environment is on this machine, where no job of Travis gets to"
        raise UsageError(f"{project.file}: {told}. Add one with its endpoint, or name one with --into.")
    return tuple(sorted(away, key=lambda name: away[name].protected))


def _is_here(endpoint: str | None) -> bool:
    from urllib.parse import urlsplit

    host = urlsplit(endpoint).hostname if endpoint and "${" not in endpoint else None
    return host is not None and (host in {"localhost", "::1"} or host.startswith("127."))


def _released_branch(folder: Path) -> str:
    """The branch that the remote's HEAD is.

    Raises:
        UsageError: git does not tell.
    """
    command = ["git", "-C", str(folder), "symbolic-ref", "--short", "refs/remotes/origin/HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)  # noqa: S603 - ours
        found = done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        found = ""
    name = found.removeprefix("origin/")
    if not name:
        told = "git knows of no HEAD of the remote 'origin'"
        raise UsageError(
            f"Which branch is released? {told}; name it with --branch, or run: git remote set-head origin -a"
        )
    return name
