"""`meshwright.yaml`: the stack, its definitions, its parameters and environments, as one frozen value.

The one rule: strict. What is not understood is refused with its file and line, all of it at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from meshwright.diagnostics import Source
from meshwright.documents.files import read_text
from meshwright.documents.positions import Items, Place, Table, Unquoted, described
from meshwright.documents.yaml_positions import read_yaml
from meshwright.errors import UsageError, did_you_mean

FILE_NAME = "meshwright.yaml"


class LoadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What loading definitions needs beside the files."""

    mesh: str | None = None
    """The mesh of objects that name none."""
    parameters: Mapping[str, str] = MappingProxyType({})
    """Values for CloudFormation parameters, `${NAME}` in other files, and whatever only a deployment would know."""
    account: str | None = None
    region: str | None = None


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A program of the user's that stands for a virtual node where a mesh is tested."""

    command: str
    """For the shell."""
    folder: Path
    """Where it runs; relative to the working directory."""
    environment: Mapping[str, str] = MappingProxyType({})
    """Variables beside those of whoever runs it."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One environment: where its control plane is, which mesh it is, and the values that differ there."""

    endpoint: str | None = None
    mesh: str | None = None
    account: str | None = None
    region: str | None = None
    parameters: Mapping[str, str] = MappingProxyType({})


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project file with one of its environments chosen; the environment's values beat the file's."""

    file: str | None = None
    """The file as it was named, None when there is none."""
    stack: str | None = None
    definitions: tuple[Path, ...] = ()
    """Files and folders, relative to the working directory like `file`."""
    tests: tuple[Path, ...] = ()
    """Files and folders of tests, relative to the working directory, too."""
    environment: str | None = None
    endpoint: str | None = None
    mesh: str | None = None
    account: str | None = None
    region: str | None = None
    parameters: Mapping[str, str] = MappingProxyType({})
    environments: Mapping[str, Environment] = MappingProxyType({})
    workloads: Mapping[str, Command] = MappingProxyType({})
    """What runs in place of the stand-ins of virtual nodes, by name."""

    def expand(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        """What `paths` stand for: none, and the folder of `meshwright.yaml`, for the definitions that it lists."""
        if not paths:
            return self.definitions
        if self.file is None or Path(self.file).name != FILE_NAME or not self.definitions:
            return tuple(paths)
        home = os.path.realpath(Path(self.file).parent)
        meant = [self.definitions if os.path.realpath(path) == home else (path,) for path in paths]
        return tuple(path for group in meant for path in group)

    def tests_of(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        """Its tests where `paths` stand for all of its definitions; none for others, which they are not about."""
        meant, own = ({os.path.realpath(one) for one in some} for some in (self.expand(paths), self.definitions))
        return self.tests if meant == own else ()

    def load_settings(self, parameters: Mapping[str, str] = MappingProxyType({})) -> LoadSettings:
        """What `documents.load` needs; `parameters` (the command line's) beat the project's."""
        merged = {**self.parameters, **parameters}
        return LoadSettings(mesh=self.mesh, parameters=merged, account=self.account, region=self.region)


def find_project(paths: Sequence[Path]) -> Path | None:
    """The project file that holds for `paths`, files and folders: `meshwright.yaml` here, else the nearest of theirs.

    The nearest is in the folder that a path names or lies in, else in one between that folder and the working
    directory; above the working directory, and above a path outside of it, nobody looks.

    Raises:
        UsageError: there is none here, and the paths have different ones.
    """
    if Path(FILE_NAME).is_file():
        return Path(FILE_NAME)
    nearest = {path: _nearest(path) for path in paths}
    if len({one and os.path.realpath(one) for one in nearest.values()}) > 1:
        told = "; ".join(f"{path} has {one or 'none'}" for path, one in nearest.items())
        raise UsageError(
            f"The paths belong to different projects: {told}. Run once for each, or say with --config FILE which "
            f"{FILE_NAME} holds."
        )
    return next(iter(nearest.values()), None)


def _nearest(path: Path) -> Path | None:
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise UsageError("The working directory is gone; run this in one that is there.") from None
    folder = path if os.path.isdir(path) else path.parent  # noqa: PTH112 - is_dir() raises for a name too long
    while not os.path.isfile(folder / FILE_NAME):  # noqa: PTH113 - as above
        above = Path(os.path.abspath(folder)).parent  # noqa: PTH100 - resolve() would leave the tree by a link
        if not above.is_relative_to(here) or above == here:
            return None
        folder = folder.parent
    return folder / FILE_NAME


def load_project(path: Path | None = None, environment: str | None = None) -> Project:
    """The project in `path`, with `environment` chosen; without a file it is empty.

    Raises:
        UnreadableError: the file cannot be read.
        UsageError: it holds what a project file cannot hold, or has no such environment.
    """
    if path is None:
        if environment is not None:
            told = f"there is no {FILE_NAME} here that could define the environment {environment!r}"
            raise UsageError(f"{told}; run where it is or give --config FILE.")
        return Project()
    table, faults = _table(path)
    reader = _Reader(path, faults)
    project = reader.project(table)
    if reader.faults:
        raise UsageError("\n".join(reader.faults))
    return _chosen(project, environment)


def _table(path: Path) -> tuple[Table, list[str]]:
    text, unreadable = read_text(path)
    if unreadable is not None:
        return Table((1, 1)), [f"{_at(path, unreadable.place)}: {unreadable.summary}. {unreadable.detail}".rstrip()]
    parsed = read_yaml(text)
    found = [*(fault for one in parsed.documents for fault in one.faults), *([parsed.fault] if parsed.fault else [])]
    faults = [f"{_at(path, one.place)}: {one.summary}. {one.detail}".rstrip() for one in found]
    values = [one.value for one in parsed.documents if one.value is not None]
    if len(values) > 1:
        faults.append(
            f"{_at(path, parsed.documents[1].place)}: a project file holds one document, found a second one."
        )
    value = values[0] if values else Table((1, 1))
    if not isinstance(value, Table):
        faults.append(f"{_at(path, (1, 1))}: a project file is a mapping with keys such as stack and definitions.")
        value = Table((1, 1))
    return value, faults


def _chosen(project: Project, name: str | None) -> Project:
    if name is None:
        return project
    if name not in project.environments:
        known = ", ".join(project.environments) or "none"
        hint = did_you_mean(name, project.environments, f"It defines: {known}.", sentence=True)
        raise UsageError(f"{project.file} defines no environment {name!r}. {hint}")
    one = project.environments[name]
    return msgspec.structs.replace(
        project,
        environment=name,
        endpoint=one.endpoint or project.endpoint,
        mesh=one.mesh or project.mesh,
        account=one.account or project.account,
        region=one.region or project.region,
        parameters=MappingProxyType({**project.parameters, **one.parameters}),
    )


def _at(path: Path, place: Place) -> str:
    return str(Source(file=str(path), line=place[0], column=place[1]))


class _Reader:
    """Takes the file's tables apart and collects what is wrong with them."""

    def __init__(self, path: Path, faults: list[str]) -> None:
        self._path = path
        self.faults = faults

    def project(self, table: Table) -> Project:
        readers: dict[str, Callable[[Any, Place, str], Any]] = {
            "stack": self._text,
            "mesh": self._text,
            "endpoint": self._text,
            "account": self._account,
            "region": self._text,
            "definitions": self._paths,
            "tests": self._paths,
            "parameters": self._parameters,
            "environments": self._environments,
            "workloads": self._workloads,
        }
        return Project(file=str(self._path), **self._members(table, readers, ""))

    def _members(
        self, table: Table, readers: Mapping[str, Callable[[Any, Place, str], Any]], at: str
    ) -> dict[str, Any]:
        members = {}
        for key, value in table.items():
            name = f"{at}{key}"
            if key in readers:
                members[key] = readers[key](value, table.places[key], name)
                continue
            hint = did_you_mean(key, readers, f"known here: {', '.join(readers)}.")
            self._fault(table.places[key], f"unknown key {name!r}; {hint}")
        return members

    def _fault(self, place: Place, told: str) -> None:
        self.faults.append(f"{_at(self._path, place)}: {told}")

    def _text(self, value: Any, place: Place, name: str) -> str | None:
        if isinstance(value, str) and value:
            return str(value)
        self._fault(place, f"{name} takes text, found {described(value)}.")
        return None

    def _account(self, value: Any, place: Place, name: str) -> str | None:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str) and len(text) == 12 and text.isdigit():
            return text
        self._fault(place, f"{name} takes an account id of 12 digits, found {described(value)}.")
        return None

    def _paths(self, value: Any, place: Place, name: str) -> tuple[Path, ...]:
        listed = value if isinstance(value, Items) else [value]
        places: Sequence[Place] = value.places if isinstance(value, Items) else [place]
        found = [self._text(one, where, name) for one, where in zip(listed, places, strict=True)]
        return tuple(self._path.parent / one for one in found if one)

    def _parameters(self, value: Any, place: Place, name: str) -> Mapping[str, str]:
        if not isinstance(value, Table):
            self._fault(place, f"{name} takes a mapping of names to values, found {described(value)}.")
            return MappingProxyType({})
        parameters = {}
        for key, one in value.items():
            if isinstance(one, Unquoted) or not isinstance(one, str | int | float):
                self._fault(
                    value.places[key], f"{name}.{key} takes text or a number, found {described(one)}; quote it."
                )
            else:
                parameters[key] = str(one).lower() if isinstance(one, bool) else str(one)
        return MappingProxyType(parameters)

    def _workloads(self, value: Any, place: Place, name: str) -> Mapping[str, Command]:
        if not isinstance(value, Table):
            self._fault(place, f"{name} takes a mapping of virtual nodes to what they run, found {described(value)}.")
            return MappingProxyType({})
        readers = {"command": self._text, "folder": self._text, "environment": self._parameters}
        found: dict[str, Command] = {}
        for node, one in value.items():
            where, at = value.places[node], f"{name}.{node}"
            if not isinstance(one, Table) or "command" not in one:
                self._fault(where, f"{at} takes a mapping with a command, found {described(one)}.")
                continue
            members = self._members(one, readers, f"{at}.")
            if members["command"]:
                folder = self._path.parent / (members.pop("folder", None) or ".")
                found[node] = Command(folder=folder, **members)
        return MappingProxyType(found)

    def _environments(self, value: Any, place: Place, name: str) -> Mapping[str, Environment]:
        if not isinstance(value, Table):
            self._fault(place, f"{name} takes a mapping of names to environments, found {described(value)}.")
            return MappingProxyType({})
        readers: dict[str, Callable[[Any, Place, str], Any]] = {
            "endpoint": self._text,
            "mesh": self._text,
            "account": self._account,
            "region": self._text,
            "parameters": self._parameters,
        }
        found = {}
        for key, one in value.items():
            if isinstance(one, Table) or one is None:
                inside = one if isinstance(one, Table) else Table(value.places[key])
                found[key] = Environment(**self._members(inside, readers, f"{name}.{key}."))
            else:
                self._fault(value.places[key], f"{name}.{key} takes a mapping, found {described(one)}.")
        return MappingProxyType(found)
