"""What every command that reads definitions shares: the project and loading.

The one rule: paths and values on the command line beat the environment's, which beat the file's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.diagnostics import Severity
from meshwright.documents.load import Loaded, load
from meshwright.documents.settings import FILE_NAME, find_project, load_project
from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshwright.documents.settings import Project


def project(options: Mapping[str, Any], paths: Sequence[Path] = ()) -> Project:
    """The project file that the global options name, else the one that holds for `paths`.

    Raises:
        UsageError: it cannot mean anything.
        UnreadableError: it cannot be read.
    """
    config = options.get("config")
    return load_project(Path(config) if config else find_project(paths), options.get("environment"))


def loaded(chosen: Project, paths: Sequence[Path], parameters: Iterable[str] = (), mesh: str | None = None) -> Loaded:
    """The definitions in `paths`, or in those of the project.

    Raises:
        UsageError: there is no path, or a parameter is not KEY=VALUE.
        UnreadableError: a path cannot be read.
    """
    wanted = chosen.expand(paths)
    if not wanted:
        raise UsageError(f"no definitions to read: name files or folders, or list them in {FILE_NAME} (definitions:)")
    settings = chosen.load_settings(dict(_pair(one) for one in parameters))
    return load(wanted, msgspec.structs.replace(settings, mesh=mesh) if mesh else settings)


def sound(read: Loaded) -> Loaded:
    """`read`, of which nothing is missing.

    Raises:
        UsageError: a definition has a fault, or a file cannot be understood; with all that loading finds.
    """
    found = [one for one in read.diagnostics if one.severity is Severity.ERROR]
    if found:
        from meshwright.views import text  # on the way to an error only
        from meshwright.views.diagnostics import report

        told = text.render(report((one.path for one in read.broken), found), colour=False)
        raise UsageError(f"the definitions have faults:\n{told.rstrip()}")
    return read


def refuse_bytes(name: str, text: str) -> None:
    """Raise when `text`, given as `name`, was not UTF-8 on the command line or in the environment.

    Raises:
        UsageError: always then.
    """
    if not text.isascii() and any("\udc80" <= one <= "\udcff" for one in text):
        raise UsageError(f"{name} {text!r} is not UTF-8.")


def _pair(pair: str) -> tuple[str, str]:
    key, separator, value = pair.partition("=")
    if not key or not separator:
        raise UsageError(f"--parameter {pair!r} is not KEY=VALUE, such as EnvironmentName=staging")
    refuse_bytes("--parameter", pair)
    return key, value
