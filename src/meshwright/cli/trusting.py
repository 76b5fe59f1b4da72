"""Which trust file and which of its environments a server or a check works with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from meshwright.errors import UsageError

FILE_NAME = "trust.yaml"

TRUST = click.option(
    "--trust",
    type=click.Path(path_type=Path),
    envvar="MESHWRIGHT_TRUST",
    metavar="FILE",
    help="Who may do what [default: trust.yaml in the data directory, where there is one].",
)
ENVIRONMENT = click.option("--environment", metavar="NAME", help="The environment of the trust file to use.")


def trust_file(given: Path | None, data_dir: Path) -> Path | None:
    """The file that was named, else the one in the data directory; None where there is none.

    Raises:
        UsageError: the file that was named is not there.
    """
    if given is not None and not given.is_file():
        raise UsageError(f"--trust {str(given)!r}: there is no such file.")
    beside = data_dir / FILE_NAME
    return given or (beside if beside.is_file() else None)


def found_file(given: Path | None, data_dir: Path | None) -> Path:
    """The file that was named, else trust.yaml of the data directory, here, or in .meshwright.

    Raises:
        UsageError: there is none.
    """
    if given is not None:
        return given
    folders = (data_dir,) if data_dir is not None else (Path(), Path(".meshwright"))
    for folder in folders:
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise UsageError(
        f"There is no {FILE_NAME} in {' or '.join(str(one.absolute()) for one in folders)}; name the file."
    )


def chosen(ctx: click.Context, given: str | None, file: Path | None) -> str | None:
    """The environment that was named, here or before the command's name; the latter counts only with a file.

    Raises:
        UsageError: one was named and there is no file that could declare it.
    """
    if given is not None and file is None:
        raise UsageError(f"--environment {given!r}: there is no trust file that could declare it; give --trust FILE.")
    return given or (ctx.obj or {}).get("environment") if file is not None else None


def place(ctx: click.Context, file: Path | None, environment: str | None) -> dict[str, str]:
    """The account and the region that the environment declares and the command line does not say."""
    if file is None:
        return {}
    from meshwright.documents.trust_file import load

    trust = load(file)
    name = environment or (next(iter(trust.environments)) if len(trust.environments) == 1 else "")
    found: Any = trust.environments.get(name)
    return {
        member: getattr(found, member)
        for member in ("account", "region")
        if found is not None
        and getattr(found, member) is not None
        and ctx.get_parameter_source(member) in {None, click.core.ParameterSource.DEFAULT}
    }
