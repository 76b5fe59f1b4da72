"""What every command that reads definitions shares: the project and loading.

The one rule: paths and values on the command line beat the environment's, which beat the file's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.ci.pull_request import pull_request
from meshwright.diagnostics import Severity
from meshwright.documents.fingerprint import fingerprint
from meshwright.documents.load import Loaded, load
from meshwright.documents.project_file import load_project
from meshwright.documents.settings import FILE_NAME, find_project
from meshwright.errors import RefusedError, UsageError
from meshwright.model.identity import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshwright.documents.settings import Project

_PROXIES = frozenset({Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY})
"""What an Envoy runs for."""


def project(options: Mapping[str, Any], paths: Sequence[Path] = (), parameters: Iterable[str] = ()) -> Project:
    """The project file that the global options name, else the one that holds for `paths`, with its values.

    Raises:
        UsageError: it cannot mean anything.
        UnreadableError: it cannot be read.
    """
    config = options.get("config")
    found = load_project(Path(config) if config else find_project(paths), options.get("environment"))
    return found.valued(os.environ, pull_request(os.environ), dict(_pair(one) for one in parameters))


def loaded(
    chosen: Project,
    paths: Sequence[Path],
    parameters: Iterable[str] = (),
    mesh: str | None = None,
    *,
    lenient: bool = False,
) -> Loaded:
    """The definitions in `paths`, or in those of the project.

    With `lenient`, an object that needs what is withheld in a pull request is left out with a warning.

    Raises:
        UsageError: there is no path, or a parameter is not KEY=VALUE.
        UnreadableError: a path cannot be read.
    """
    wanted = chosen.expand(paths)
    if not wanted:
        raise UsageError(f"no definitions to read: name files or folders, or list them in {FILE_NAME} (definitions:)")
    given = dict(_pair(one) for one in parameters)
    # The mesh of the command line is taken first, so that nothing is asked for the one in the file.
    settings = (msgspec.structs.replace(chosen, mesh=mesh) if mesh else chosen).load_settings(given)
    return load(wanted, msgspec.structs.replace(settings, lenient=lenient, whole=chosen.means_all(paths)))


def fingerprint_of(chosen: Project, paths: Sequence[Path]) -> str:
    """The digest of the definitions in `paths`, or in those of the project, as they are written.

    Raises:
        UnreadableError: a path cannot be read.
    """
    return fingerprint(chosen.expand(paths), Path(chosen.file).parent if chosen.file else Path())


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


def runnable(read: Loaded) -> Loaded:
    """`read`, which a control plane takes as the whole of a mesh, and in which there is somebody to run.

    Raises:
        UsageError: it is not one mesh, or no proxy has a place in it.
        RefusedError: it is refused; with every error, its place and what to do.
    """
    from meshwright import constraints, rules
    from meshwright.graph import resolve
    from meshwright.lab.lab import whole

    graph = resolve(whole(read.state))
    found = (*constraints.check(graph, whole=True), *rules.audit(graph))
    errors = [one for one in read.sources.attach(found) if one.severity is Severity.ERROR]
    if errors:
        from meshwright.views import text  # on the way to an error only
        from meshwright.views.diagnostics import report

        told = text.render(report((one.key.path for one in read.state), errors), colour=False)
        raise RefusedError(f"the mesh cannot be run, because a control plane refuses it:\n{told.rstrip()}")
    if not any(one.key.kind in _PROXIES for one in read.state):
        places = [read.sources.find(one.key.path, "") for one in read.state]
        place = next((f"{one}: " for one in places if one is not None), "")
        told = f"{place}mesh {read.state.meshes[0]!r} has neither a virtual node nor a virtual gateway"
        raise UsageError(f"{told}, so that there is no proxy to run; add one, or name the files that define them")
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
