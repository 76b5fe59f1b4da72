"""Terraform: `aws_appmesh_*` resources in `.tf` and `.tf.json` files, and in what `terraform show -json` says.

The one rule: only App Mesh resources are looked at; whatever stands in others does not matter unless one of ours
refers to it. What only an apply would know is told with the expression's own words, and how to give it.

Source: https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/appmesh_virtual_node
"""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshwright.diagnostics import Severity
from meshwright.documents.findings import UNRESOLVED, UNSUPPORTED
from meshwright.documents.hcl import read_hcl
from meshwright.documents.hcl_values import UnknownError, known
from meshwright.documents.positions import UNKNOWN, Items, Table
from meshwright.documents.terraform_json import body_of, resources_of
from meshwright.documents.terraform_modules import PREFIX, TYPES, Instance, Module, Source, pairs
from meshwright.documents.terraform_requests import request
from meshwright.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.documents.drafts import Draft
    from meshwright.documents.findings import Findings
    from meshwright.documents.hcl_nodes import Block, Body, Node
    from meshwright.documents.positions import Fault, Place
    from meshwright.documents.settings import LoadSettings
    from meshwright.model import Kind

_VARIABLES = (".tfvars",)
_META = frozenset(
    {"count", "for_each", "depends_on", "provider", "lifecycle", "timeouts", "provisioner", "connection"}
)
"""What any resource may say to Terraform itself."""
_DEEPEST = 10
"""Modules within modules."""


class Terraform:
    """The files of modules, until all of them are read: a module is all files of a folder."""

    def __init__(self, settings: LoadSettings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._sources: dict[str, list[Source]] = {}
        self._worked_out: list[Draft] = []
        self._told: set[tuple[str, str]] = set()

    def reads(self, path: Path, *, named: bool) -> bool:
        """Whether a file is Terraform's own by its name; others may be what `terraform show -json` says."""
        if path.suffix in _VARIABLES:
            return named or path.name == "terraform.tfvars" or path.name.endswith(".auto.tfvars")
        return path.suffix == ".tf"

    def read(self, path: Path, text: str) -> tuple[int, Fault | None]:
        """Read one file; how many resources of ours it has, and what is wrong with its syntax."""
        body, fault = read_hcl(text)
        return self._take(path.as_posix(), body, variables=path.suffix in _VARIABLES), fault

    def read_json(self, value: Table, file: str) -> int:
        """Read a file of Terraform's JSON syntax, or a plan or state in JSON; how many resources of ours it has."""
        if not file.endswith(".tf.json"):
            found = list(resources_of(value))
            for kind, values, place, address in found:
                self._worked_out.append(request(TYPES[kind], values, file, place, address))
            return len(found)
        return self._take(file, body_of(value, self._fault_in(file)), variables=False)

    def _fault_in(self, file: str) -> Any:
        return lambda fault: self._findings.add_faults(file, fault)

    def _take(self, file: str, body: Body, *, variables: bool) -> int:
        folder = os.path.normpath(Path(file).parent)
        self._sources.setdefault(folder, []).append(Source(file, body, variables=variables))
        return sum(_is_ours(one) for one in body.blocks)

    def drafts(self) -> Iterator[Draft]:
        """The objects of every module, those of modules that others call as often as they are called."""
        yield from self._worked_out
        sources = {folder: tuple(files) for folder, files in self._sources.items()}
        modules = [Module(folder, sources, self._settings) for folder in sources]
        called = {folder for module in modules for _, _, folder in module.calls() if folder != module.folder}
        for module in modules:
            if module.folder not in called:
                yield from self._objects(module, 0)

    def _objects(self, module: Module, depth: int) -> Iterator[Draft]:
        ours = [(file, block) for file, block in module.blocks.values() if _is_ours(block)]
        for file, block in ours:
            kind = TYPES.get(block.labels[0])
            if kind is None:
                known_types = f"There are {', '.join(TYPES)}."
                detail = did_you_mean(block.labels[0], TYPES, known_types, sentence=True)
                told = f"{block.labels[0]} is no type of resource that is read"
                self._findings.add(UNSUPPORTED, file, block.place, told, detail)
                continue
            yield from self._made(module, kind, file, block)
        for file, block, folder in module.calls():
            if folder and depth < _DEEPEST:
                for one in self._instances(module, block, f"module.{block.labels[0]}", file):
                    yield from self._objects(module.called(block, folder, one), depth + 1)
            elif ours or not folder:
                self._foreign(file, block, recursive=bool(folder))

    def _foreign(self, file: str, block: Block, *, recursive: bool) -> None:
        """A module that is not here may define anything, which nobody should miss unseen."""
        where = "calls itself" if recursive else "is not among these files"
        told = f"module {block.labels[0]!r} {where}, and what it defines is not known here"
        detail = "If it has App Mesh resources, give its folder too, or what `terraform show -json` says of a plan."
        self._findings.add(UNSUPPORTED, file, block.place, told, detail, severity=Severity.INFO)

    def _instances(self, module: Module, block: Block, address: str, file: str) -> list[Instance]:
        try:
            return list(module.instances(block, address))
        except UnknownError as error:
            name = "count" if "count" in block.body.attributes else "for_each"
            self._unknown(error, file, block.body.attributes[name][1])
            return []

    def _made(self, module: Module, kind: Kind, file: str, block: Block) -> Iterator[Draft]:
        address = ".".join(block.labels)
        for one in self._instances(module, block, address, file):
            values = _Bodies(self, module, file).table(block.body, block.place, one.names, top=True)
            if "provider" not in block.body.attributes:
                self._tag(module, values, file)
            yield request(kind, values, file, block.place, f"{module.address}{one.address}")

    def _tag(self, module: Module, values: Table, file: str) -> None:
        """Add the tags that the provider gives every resource to those of its own."""
        own = values.get("tags")
        place = values.place_of("tags")
        try:
            given = module.default_tags()
        except UnknownError as error:
            self._unknown(error, file, place)
            return
        if isinstance(given, dict) and given and (own is None or isinstance(own, Table)):
            values.put("tags", placed({**given, **(own or {})}, place), place)

    def _unknown(self, error: UnknownError, file: str, place: Place) -> None:
        """Tell of something that is not known, once a file: one remedy serves all places."""
        if (file, error.told) not in self._told:
            self._told.add((file, error.told))
            self._findings.add(UNRESOLVED, file, place, error.told, error.remedy, severity=error.severity)

    def worked_out(self, module: Module, node: Node, names: Mapping[str, Any], file: str, place: Place) -> Any:
        """What an expression comes to; UNKNOWN, and told of, where that is not known."""
        try:
            return module.value(node, names)
        except UnknownError as error:
            self._unknown(error, file, place)
            return UNKNOWN


class _Bodies:
    """Bodies as tables: arguments worked out, blocks gathered by their kind, dynamic ones written out."""

    def __init__(self, terraform: Terraform, module: Module, file: str) -> None:
        self._terraform = terraform
        self._module = module
        self._file = file

    def table(self, body: Body, place: Place, names: Mapping[str, Any], *, top: bool = False) -> Table:
        table = Table(place)
        for name, (node, at) in body.attributes.items():
            if not (top and name in _META):
                value = self._terraform.worked_out(self._module, node, names, self._file, at)
                table.put(name, placed(value, at), at)
        for block in body.blocks:
            if block.kind == "dynamic" and len(block.labels) == 1:
                self._dynamic(table, block, names)
            elif not (top and block.kind in _META):
                self._add(table, block.kind, self.table(block.body, block.place, names), block.place)
        return table

    def _dynamic(self, table: Table, block: Block, names: Mapping[str, Any]) -> None:
        kind, attributes = block.labels[0], block.body.attributes
        content = next((one for one in block.body.blocks if one.kind == "content"), None)
        if content is None or "for_each" not in attributes:
            table.put(kind, UNKNOWN, block.place)
            told = f"dynamic {kind!r} has no content or no for_each"
            self._terraform._unknown(UnknownError(told, "Write both."), self._file, block.place)  # noqa: SLF001
            return
        node, at = attributes["for_each"]
        many = self._terraform.worked_out(self._module, node, names, self._file, at)
        if many is UNKNOWN:
            table.put(kind, UNKNOWN, block.place)
            return
        iterator = getattr(attributes["iterator"][0], "name", kind) if "iterator" in attributes else kind
        listed = list(enumerate(many)) if isinstance(many, list) else pairs(many or {})
        for key, value in listed:
            within = {**names, iterator: {"key": key, "value": known(value)}}
            self._add(table, kind, self.table(content.body, content.place, within), block.place)

    @staticmethod
    def _add(table: Table, kind: str, value: Table, place: Place) -> None:
        if kind not in table:
            table.put(kind, Items(place), place)
        if isinstance(table[kind], Items):
            table[kind].put(value, place)


def placed(value: Any, place: Place) -> Any:
    """A value that was worked out, everything in it at `place`."""
    if isinstance(value, dict):
        table = Table(place)
        for key, one in value.items():
            table.put(str(key), placed(one, place), place)
        return table
    if isinstance(value, list):
        items = Items(place)
        for one in value:
            items.put(placed(one, place), place)
        return items
    return value


def _is_ours(block: Block) -> bool:
    return block.kind == "resource" and len(block.labels) == 2 and block.labels[0].startswith(PREFIX)


def recognises(value: Any, file: str) -> bool:
    """Whether a document in JSON is Terraform's: its own syntax by the file's name, or a plan or state."""
    if not isinstance(value, Table):
        return False
    return file.endswith(".tf.json") or (
        "terraform_version" in value and bool({"planned_values", "values", "resources"} & value.keys())
    )
