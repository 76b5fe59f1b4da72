"""`meshwright.yaml` as it is read: strictly, into a project with one of its environments chosen.

The one rule: what is not understood is refused with its file and line, all of it at once.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.diagnostics import Source
from meshwright.documents.files import read_text
from meshwright.documents.positions import Items, Place, Placed, Table, Unquoted, described
from meshwright.documents.settings import FILE_NAME, Amazon, Command, Environment, Project, is_account
from meshwright.documents.yaml_positions import read_yaml
from meshwright.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PATH = re.compile(r"\$\{ssm:(/(?:[A-Za-z0-9_.-]+/)*)\}")


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
        role=one.role or project.role,
        token_file=one.token_file or project.token_file,
        profile=one.profile or project.profile,
        aws=Amazon(profile=one.aws.profile or project.aws.profile, region=one.aws.region or project.aws.region),
        parameters=MappingProxyType({**project.parameters, **one.parameters}),
        parameters_from=(*one.parameters_from, *project.parameters_from),
        overlays=one.overlays,
        protected=one.protected,
        canary=MappingProxyType({**project.canary, **one.canary}),
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
            "mesh": self._placed,
            "endpoint": self._placed,
            "account": self._account,
            "region": self._placed,
            "role": self._plain,
            "token_file": self._file,
            "profile": self._plain,
            "aws": self._aws,
            "definitions": self._paths,
            "tests": self._paths,
            "parameters": self._parameters,
            "parameters_from": self._stored,
            "secrets": self._names,
            "public": self._names,
            "environments": self._environments,
            "workloads": self._workloads,
            "canary": self._canary,
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

    def _placed(self, value: Any, place: Place, name: str) -> str | None:
        text = self._text(value, place, name)
        return self._at(text, place) if text and "${" in text else text

    def _at(self, text: str, place: Place) -> Placed:
        return Placed.of(text, Source(file=str(self._path), line=place[0], column=place[1]))

    def _truth(self, value: Any, place: Place, name: str) -> bool:
        if not isinstance(value, bool):
            self._fault(place, f"{name} takes true or false, found {described(value)}.")
        return value is True

    def _plain(self, value: Any, place: Place, name: str) -> str | None:
        """Text that says as whom somebody is asked, which values cannot: to find them out is to ask."""
        text = self._text(value, place, name)
        if text and "${" in text:
            self._fault(place, f"{name} takes plain text; an expression such as {text!r} is not read here.")
        return text

    def _file(self, value: Any, place: Place, name: str) -> Path | None:
        text = self._plain(value, place, name)
        return self._path.parent / text if text else None

    def _aws(self, value: Any, place: Place, name: str) -> Amazon:
        if isinstance(value, Table):
            return Amazon(**self._members(value, {"profile": self._plain, "region": self._plain}, f"{name}."))
        self._fault(place, f"{name} takes a mapping with a profile or a region, found {described(value)}.")
        return Amazon()

    def _names(self, value: Any, place: Place, name: str) -> tuple[str, ...]:
        return tuple(filter(None, self._each(value, place, name)))

    def _stored(self, value: Any, place: Place, name: str) -> tuple[str, ...]:
        """Paths of Parameter Store, written as everywhere else: `${ssm:/shop/}`."""
        found = []
        for one in self._names(value, place, name):
            match = _PATH.fullmatch(one)
            if match is None:
                self._fault(place, f"{name} takes paths of Parameter Store such as ${{ssm:/shop/}}, found {one!r}.")
            else:
                found.append(match[1])
        return tuple(found)

    def _account(self, value: Any, place: Place, name: str) -> str | None:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str) and "${" in text:
            return self._at(text, place)
        if isinstance(text, str) and is_account(text):
            return text
        self._fault(place, f"{name} takes an account id of 12 digits, found {described(value)}.")
        return None

    def _paths(self, value: Any, place: Place, name: str) -> tuple[Path, ...]:
        return tuple(self._path.parent / one for one in self._each(value, place, name) if one)

    def _each(self, value: Any, place: Place, name: str) -> list[str | None]:
        listed = value if isinstance(value, Items) else [value]
        places: Sequence[Place] = value.places if isinstance(value, Items) else [place]
        return [self._text(one, where, name) for one, where in zip(listed, places, strict=True)]

    def _parameters(self, value: Any, place: Place, name: str) -> Mapping[str, str]:
        if not isinstance(value, Table):
            self._fault(place, f"{name} takes a mapping of names to values, found {described(value)}.")
            return MappingProxyType({})
        parameters: dict[str, str] = {}
        for key, one in value.items():
            if isinstance(one, str) and "${" in one:
                parameters[key] = self._at(one, value.places[key])
            elif isinstance(one, Unquoted) or not isinstance(one, str | int | float):
                self._fault(
                    value.places[key], f"{name}.{key} takes text or a number, found {described(one)}; quote it."
                )
            else:
                parameters[key] = str(one).lower() if isinstance(one, bool) else str(one)
        return MappingProxyType(parameters)

    def _variables(self, value: Any, place: Place, name: str) -> Mapping[str, str]:
        """Variables of a program's environment, to which the build's own is handed on: `${…}` has no meaning here."""
        found = self._parameters(value, place, name)
        return MappingProxyType({key: str(one) for key, one in found.items()})

    def _workloads(self, value: Any, place: Place, name: str) -> Mapping[str, Command]:
        if not isinstance(value, Table):
            self._fault(place, f"{name} takes a mapping of virtual nodes to what they run, found {described(value)}.")
            return MappingProxyType({})
        readers = {"command": self._text, "folder": self._text, "environment": self._variables}
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

    def _canary(self, value: Any, place: Place, name: str) -> Mapping[str, Any]:
        """In which steps weights are shifted where that is asked for, and by what a step is judged."""
        from meshwright.documents.canary_settings import reading  # noqa: PLC0415 - most projects need nothing of it

        if isinstance(value, Table):
            return MappingProxyType(self._members(value, reading(self._fault), f"{name}."))
        self._fault(place, f"{name} takes a mapping with steps and settings, found {described(value)}.")
        return MappingProxyType({})

    def _environments(self, value: Any, place: Place, name: str) -> Mapping[str, Environment]:
        if not isinstance(value, Table):
            self._fault(place, f"{name} takes a mapping of names to environments, found {described(value)}.")
            return MappingProxyType({})
        readers: dict[str, Callable[[Any, Place, str], Any]] = {
            "endpoint": self._placed,
            "mesh": self._placed,
            "account": self._account,
            "region": self._placed,
            "role": self._plain,
            "token_file": self._file,
            "profile": self._plain,
            "aws": self._aws,
            "parameters": self._parameters,
            "parameters_from": self._stored,
            "overlays": self._paths,
            "protected": self._truth,
            "canary": self._canary,
        }
        found = {}
        for key, one in value.items():
            if isinstance(one, Table) or one is None:
                inside = one if isinstance(one, Table) else Table(value.places[key])
                found[key] = Environment(**self._members(inside, readers, f"{name}.{key}."))
            else:
                self._fault(value.places[key], f"{name}.{key} takes a mapping, found {described(one)}.")
        return MappingProxyType(found)
