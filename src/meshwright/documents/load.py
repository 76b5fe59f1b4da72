"""From files and folders to a state, with every problem found and the place of every field.

The one rule: the first problem stops nothing; what is good is loaded beside it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.documents import api_json, cloudformation, kubernetes, terraform
from meshwright.documents.drafts import Assembly
from meshwright.documents.files import SUFFIXES, find, read_text
from meshwright.documents.findings import EMPTY, UNMATCHED, Findings
from meshwright.documents.json_positions import read_json
from meshwright.documents.overlays import Overlays
from meshwright.documents.positions import Parsed, Place
from meshwright.documents.sources import Sources
from meshwright.documents.substitution import Substitution, stored
from meshwright.documents.values import Values
from meshwright.documents.yaml_positions import read_yaml
from meshwright.errors import UnreadableError
from meshwright.model import Key, Kind, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from meshwright.documents.drafts import Draft
    from meshwright.documents.positions import Document, Fault
    from meshwright.documents.settings import LoadSettings

_ABOUT_MESHES = re.compile(
    r"app-?mesh|meshwright/|mesh_?name|virtual_?(?:node|service|router|gateway)|weightedTargets", re.IGNORECASE
)


_TERRAFORM = frozenset({".tf", ".tfvars"})


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What files hold."""

    state: State
    sources: Sources
    diagnostics: tuple[Diagnostic, ...]
    broken: tuple[Key, ...] = ()
    """Objects that are defined with a fault and therefore missing from `state`; a reference to one leads nowhere."""


def load(paths: Sequence[Path], settings: LoadSettings) -> Loaded:
    """Read every App Mesh definition in `paths`, files or folders, in any dialect.

    Raises:
        UnreadableError: a path does not exist, cannot be read, or is an empty folder named like a file.
    """
    findings = Findings()
    loading = _Loading(settings, findings)
    counts: dict[str, int] = {}
    empty: list[Path] = []
    for path, files in find(paths).items():
        for one in files:
            real = os.path.realpath(one)
            if real not in counts:
                counts[real] = loading.read(one, named=one == path)
        if not any(counts[os.path.realpath(one)] for one in files):
            if path.suffix in SUFFIXES and path not in files:
                told = f"{path} is a folder, though it is named like a file, and holds no App Mesh definitions"
                raise UnreadableError(f"{told}; give the file or the folder that has them.")
            empty.append(path)
    for path in settings.overlays:
        for file in find([path])[path]:
            loading.overlay(file)
    _report_empty(empty, findings, grave=not any(counts.values()))
    return loading.result()


def _report_empty(paths: Sequence[Path], findings: Findings, *, grave: bool) -> None:
    """A check of nothing at all would always succeed, so it is an error; beside definitions, a warning."""
    severity = Severity.ERROR if grave else Severity.WARNING
    for path in paths:
        told = f"{path} holds no App Mesh definitions"
        detail = (
            "Expected are requests of the API, CloudFormation templates, appmesh.k8s.aws/v1beta2 objects or "
            "aws_appmesh resources of Terraform."
        )
        findings.add(EMPTY, path.as_posix(), (0, 0), told, detail, severity=severity)


class _Pending(msgspec.Struct, frozen=True):
    """A document whose variables wait until all files are read, so that their values are asked for together."""

    value: Any
    place: Place
    file: str
    dialect: Literal["api", "kubernetes", "namespace", "overlay"]
    replaced: bool
    """Whether variables are replaced in it."""


class _Api(msgspec.Struct, frozen=True):
    """A document in the API's dialect, kept until the meshes are known."""

    value: Any
    place: Place
    file: str
    lax: bool


class _Loading:
    """Documents by dialect, until all files are read: names and meshes may stand in any of them."""

    def __init__(self, settings: LoadSettings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._pending: list[_Pending] = []
        self._overlays: list[Draft] = []
        self._api: list[_Api] = []
        self._templates: list[Draft] = []
        self._manifests: list[kubernetes.Manifest] = []
        self._terraform = terraform.Terraform(settings, findings)
        self._resources: list[Draft] = []

    def read(self, path: Path, *, named: bool) -> int:
        """Read one file; how many definitions or findings it gave."""
        file = path.as_posix()
        text, unreadable = read_text(path)
        if unreadable is not None:
            return self._unreadable(file, unreadable, text, named=named)
        if path.suffix in _TERRAFORM:
            return self._module(path, text, named=named)
        parsed = _parsed(path, text)
        variables = "${" in text or "{{" in text or (path.suffix == ".json" and "$" in text)
        count = sum(self._document(one, file, variables=variables) for one in parsed.documents)
        if parsed.fault is not None:
            count += self._unreadable(file, parsed.fault, text, named=named)
        return count

    def overlay(self, path: Path) -> None:
        """Read a file of overlays."""
        file = path.as_posix()
        text, unreadable = read_text(path)
        parsed = _parsed(path, text) if unreadable is None else Parsed((), unreadable)
        if parsed.fault is not None:
            self._findings.add_faults(file, parsed.fault)
        for one in parsed.documents:
            self._findings.add_faults(file, *one.faults)
            if api_json.recognises(one.value) or api_json.names(one.value):
                self._pending.append(_Pending(one.value, one.place, file, "overlay", replaced=True))
            elif one.value is not None:
                detail = "An overlay names an object as a request of the API does, and has a spec or tags."
                self._findings.add(UNMATCHED, file, one.place, "this is no overlay", detail)

    def _module(self, path: Path, text: str, *, named: bool) -> int:
        if not self._terraform.reads(path, named=named):
            return 0
        count, fault = self._terraform.read(path, text)
        return count + (self._unreadable(path.as_posix(), fault, text, named=named) if fault is not None else 0)

    def _unreadable(self, file: str, fault: Fault, text: str, *, named: bool) -> int:
        """A folder may hold files that are not meant for us; only what seems to be is reported."""
        reported = named or _ABOUT_MESHES.search(text) is not None
        if reported:
            self._findings.add_faults(file, fault)
        return int(reported)

    def _document(self, document: Document, file: str, *, variables: bool) -> int:
        value, place = document.value, document.place
        if cloudformation.recognises(value):
            self._findings.add_faults(file, *document.faults)
            found = list(cloudformation.drafts(value, file, self._settings, self._findings))
            self._templates.extend(found)
            return 1
        if terraform.recognises(value, file):
            self._findings.add_faults(file, *document.faults)
            return self._terraform.read_json(value, file)
        ours = api_json.recognises(value)
        theirs = kubernetes.recognises(value)
        if ours or theirs:
            self._findings.add_faults(file, *document.faults)
            replaced = variables and (ours or not kubernetes.is_legacy(value))
            self._pending.append(_Pending(value, place, file, "api" if ours else "kubernetes", replaced))
        elif _is_namespace(value):
            self._pending.append(_Pending(value, place, file, "namespace", variables))
        else:
            self._manifests.extend(kubernetes.manifests(value, place, file, lax=False))
        return int(ours or theirs)

    def _replace(self) -> None:
        """Replace the variables of all documents, and sort them by dialect."""
        values = self._settings.values or Values(self._settings.parameters)
        values.gather(text for one in self._pending if one.replaced for text in stored(one.value))
        substitution = Substitution(values, self._findings)
        # What is missing in a namespace is missing in its objects too, and reported there.
        quiet = Substitution(values, Findings())
        for one in self._pending:
            value, lax = one.value, False
            if one.replaced:
                chosen = quiet if one.dialect == "namespace" else substitution
                value = chosen.document(value, one.place, one.file)
                lax = chosen.loose and one.dialect != "namespace"
            if one.dialect == "overlay":
                found = api_json.drafts(value, one.place, one.file, self._settings, self._findings, lax=lax)
                self._overlays.extend(found)
            elif one.dialect == "api":
                self._api.append(_Api(value, one.place, one.file, lax))
            else:
                self._manifests.extend(kubernetes.manifests(value, one.place, one.file, lax=lax))
        substitution.report(Severity.WARNING if self._settings.lenient else Severity.ERROR)

    def result(self) -> Loaded:
        """Everything put together."""
        assembly = Assembly(self._findings)
        self._replace()
        self._resources = list(self._terraform.drafts())
        overlays = Overlays(self._overlays, self._findings)
        for draft in self._drafts():
            assembly.take(overlays.laid_over(draft))
        if self._settings.whole:
            overlays.report()
        return Loaded(
            state=assembly.state,
            sources=Sources(assembly.places),
            diagnostics=self._findings.ordered(),
            broken=assembly.broken,
        )

    def _drafts(self) -> Iterator[Draft]:
        settings = msgspec.structs.replace(self._settings, mesh=self._settings.mesh or self._only_mesh())
        yield from self._templates
        yield from self._resources
        for one in self._api:
            yield from api_json.drafts(one.value, one.place, one.file, settings, self._findings, lax=one.lax)
        yield from kubernetes.drafts(self._manifests, settings, self._findings)

    def _only_mesh(self) -> str | None:
        """The mesh that the files create, when it is one: what names no mesh can only mean that."""
        names = {
            one.wire["meshName"]
            for one in (*self._templates, *self._resources)
            if one.kind is Kind.MESH and "meshName" in one.wire
        }
        for document in self._api:
            names.update(api_json.declared_mesh(document.value))
        for manifest in self._manifests:
            names.update(kubernetes.declared_mesh(manifest))
        only = next(iter(names)) if len(names) == 1 else None
        return only if isinstance(only, str) else None


def _parsed(path: Path, text: str) -> Parsed:
    """JSON where the name or the first character says so, YAML elsewhere."""
    start = text.lstrip()[:2]
    is_json = path.suffix == ".json" or (path.suffix == ".template" and start[:1] == "{" and start != "{{")
    return read_json(text) if is_json else read_yaml(text)


def _is_namespace(value: Any) -> bool:
    return isinstance(value, dict) and value.get("kind") == "Namespace"
