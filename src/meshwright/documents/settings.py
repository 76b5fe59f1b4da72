"""A project: its stack, definitions, parameters and environments, as one frozen value; and where its file is.

The one rule: a field is written as the file has it, and comes to its value when somebody asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from meshwright.aws import Access, access
from meshwright.diagnostics import Severity
from meshwright.documents.positions import Placed
from meshwright.documents.values import Around, Lack, Values
from meshwright.errors import UsageError
from meshwright.model.identity import DEFAULT_REGION

FILE_NAME = "meshwright.yaml"


class LoadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What loading definitions needs beside the files."""

    mesh: str | None = None
    """The mesh of objects that name none."""
    parameters: Mapping[str, str] = MappingProxyType({})
    """Values for CloudFormation parameters, `${NAME}` in other files, and whatever only a deployment would know."""
    account: str | None = None
    region: str | None = None
    lacks: Mapping[str, Lack] = MappingProxyType({})
    """Parameters that have no value, and why."""
    values: Values | None = None
    """What else `${…}` stands for; without them, the parameters alone."""
    lenient: bool = False
    """Whether what is withheld in a pull request leaves an object out with a warning, instead of being an error."""

    overlays: tuple[Path, ...] = ()
    """Files and folders of what is otherwise in this environment, in order."""
    whole: bool = False
    """Whether all definitions of the project are read, so that each overlay has to find its object."""

    def gravity(self, lack: Lack) -> Severity:
        """How grave it is that a value is lacking."""
        return Severity.WARNING if self.lenient and lack.kind == "withheld" else Severity.ERROR


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A program of the user's that stands for a virtual node where a mesh is tested."""

    command: str
    """For the shell."""
    folder: Path
    """Where it runs; relative to the working directory."""
    environment: Mapping[str, str] = MappingProxyType({})
    """Variables beside those of whoever runs it."""


class Amazon(msgspec.Struct, frozen=True, kw_only=True):
    """As whom AWS's own services are asked, where AWS's variables do not say it."""

    profile: str | None = None
    """Of AWS's configuration and credentials files."""
    region: str | None = None


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One environment: where its control plane is, which mesh it is, and the values that differ there."""

    endpoint: str | None = None
    mesh: str | None = None
    account: str | None = None
    region: str | None = None
    role: str | None = None
    token_file: Path | None = None
    profile: str | None = None
    aws: Amazon = Amazon()
    parameters: Mapping[str, str] = MappingProxyType({})
    parameters_from: tuple[str, ...] = ()
    overlays: tuple[Path, ...] = ()
    protected: bool = False
    canary: Mapping[str, Any] = MappingProxyType({})


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
    role: str | None = None
    """What a build's token is exchanged for: a role's name in `account`, or its ARN."""
    token_file: Path | None = None
    """Where a build's token is, relative to the working directory like `file`."""
    profile: str | None = None
    """Whose key of AWS's credentials files signs requests to the control plane."""
    aws: Amazon = Amazon()
    parameters: Mapping[str, str] = MappingProxyType({})
    environments: Mapping[str, Environment] = MappingProxyType({})
    workloads: Mapping[str, Command] = MappingProxyType({})
    """What runs in place of the stand-ins of virtual nodes, by name."""
    parameters_from: tuple[str, ...] = ()
    """Paths of Parameter Store whose parameters hold too, an environment's before the file's."""
    secrets: tuple[str, ...] = ()
    """Names of variables and parameters that are secret, beside those that are named like credentials."""
    public: tuple[str, ...] = ()
    """Names that only look like secrets: of variables, or `ssm:/path` and `file:path`."""
    overlays: tuple[Path, ...] = ()
    """The chosen environment's files and folders of what is otherwise there, in order."""
    protected: bool = False
    """Whether the chosen environment is one to be careful in; plans say so."""
    canary: Mapping[str, Any] = MappingProxyType({})
    """`steps`, and members of `release.CanarySettings`, for when a canary is asked for."""
    values: Values | None = None
    """What `${…}` stands for in this run; without them, the parameters alone."""

    def valued(
        self, environ: Mapping[str, str], pull_request: str = "", given: Mapping[str, str] = MappingProxyType({})
    ) -> Project:
        """This project in a run: with `given`, the command line's parameters, and the build's environment.

        `pull_request` says in words which one this job builds, "" for none.
        """
        around = Around(
            environ=environ,
            pull_request=pull_request,
            folder=Path(self.file).parent if self.file else Path(),
            access=self.access(environ, "" if isinstance(self.region, Placed) else self.region or ""),
            secrets=frozenset(self.secrets),
            public=frozenset(self.public),
        )
        values = Values(self.parameters, around, self.parameters_from)
        values.give(given)
        return msgspec.structs.replace(self, values=values)

    def access(self, environ: Mapping[str, str], region: str = "") -> Access:
        """As whom AWS is asked; `region` is for where `aws` names none, and beats AWS's variables."""
        # boto3 itself does not look at AWS_REGION, which every other AWS tool honours.
        where = self.aws.region or region or environ.get("AWS_REGION", "")
        apart = bool(self.token_file or self.profile)
        profile = self.aws.profile or ""
        return access(environ, profile=profile, region=where, otherwise=DEFAULT_REGION, apart=apart)

    def text(self, field: Literal["endpoint", "mesh", "account", "region"]) -> str | None:
        """A field with its variables replaced.

        Raises:
            UsageError: one has no value, or the field cannot have it.
        """
        written: str | None = getattr(self, field)
        if written is None or not isinstance(written, Placed):
            return written
        found = (self.values or Values(self.parameters)).text(written)
        if isinstance(found, Lack):
            told = found.told.replace(f" (at {written.source})", "")
            raise UsageError(f"{written.source}: {field} has no value: {told}. {found.remedy}")
        if not found or (field == "account" and not is_account(found)):
            told = "an account id of 12 digits" if field == "account" else "text"
            raise UsageError(f"{written.source}: {field} takes {told}, but {str(written)!r} comes to {found!r}.")
        return found

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
        return self.tests if self.means_all(paths) else ()

    def means_all(self, paths: Sequence[Path]) -> bool:
        """Whether `paths` stand for all of its definitions."""
        meant, own = ({os.path.realpath(one) for one in some} for some in (self.expand(paths), self.definitions))
        return meant == own

    def load_settings(self, parameters: Mapping[str, str] = MappingProxyType({})) -> LoadSettings:
        """What `documents.load` needs; `parameters` (the command line's) beat the project's.

        Raises:
            UsageError: a variable in mesh, account or region has no value.
        """
        values = self.values or Values(self.parameters)
        values.give(parameters)
        known, lacks = values.parameters()
        return LoadSettings(
            mesh=self.text("mesh"),
            parameters=known,
            account=self.text("account"),
            region=self.text("region"),
            lacks=lacks,
            values=values,
            overlays=self.overlays,
        )


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


def is_account(text: str) -> bool:
    """Whether `text` can be the id of an AWS account."""
    return len(text) == 12 and text.isascii() and text.isdigit()
