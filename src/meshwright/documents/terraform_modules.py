"""A module of Terraform: the files of one folder, with what its variables, locals and resources come to.

The one rule: a value is worked out when somebody asks for it, once; a resource of ours is known by what its files say
of it, of others only what the files themselves give is known before it is applied.

Source: https://developer.hashicorp.com/terraform/language
"""

from __future__ import annotations

import functools
import os.path
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.documents.hcl import read_hcl
from meshwright.documents.hcl_nodes import Block, Body, Literal, Node
from meshwright.documents.hcl_values import PLANNED, Evaluator, Space, UnknownError, known, whole
from meshwright.errors import did_you_mean
from meshwright.model import PORTABLE_KINDS, Key, Kind
from meshwright.model.identity import DEFAULT_ACCOUNT, DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshwright.documents.hcl_values import Locals
    from meshwright.documents.settings import LoadSettings

PREFIX = "aws_appmesh_"
TYPES: Mapping[str, Kind] = MappingProxyType(
    {PREFIX + re.sub(r"(?<!^)([A-Z])", r"_\1", kind.type_name).lower(): kind for kind in PORTABLE_KINDS}
)
"""The types of resources, each with its kind."""


class Source(msgspec.Struct, frozen=True):
    """A file of a module."""

    file: str
    body: Body
    variables: bool = False
    """Whether it only gives values to variables."""


class Instance(msgspec.Struct, frozen=True):
    """One of what `count` or `for_each` make of a resource or a module, or the only one."""

    address: str
    names: Mapping[str, Any]
    """`each` or `count`, where they are known."""


class Module:
    """One folder, called with `inputs`; the module that nobody calls has those of the settings."""

    def __init__(
        self,
        folder: str,
        sources: Mapping[str, tuple[Source, ...]],
        settings: LoadSettings,
        inputs: Mapping[str, Any] | None = None,
        address: str = "",
        caller: Module | None = None,
    ) -> None:
        """`sources` are the files of every folder; `address` is that of the call, such as `module.mesh.`."""
        self._caller = caller
        self._sources = sources
        self._settings = settings
        self._inputs = inputs
        self.folder = folder
        self.address = address
        self._values: dict[str, Any] = {}
        self._pending: set[str] = set()
        self._evaluator = Evaluator(self._root)
        self.blocks = {
            (one.kind, *one.labels): (source.file, one)
            for source in sources[folder]
            if not source.variables
            for one in source.body.blocks
            if one.kind != "locals"
        }

    def value(self, node: Node, names: Locals) -> Any:
        """What an expression comes to, whole.

        Raises:
            UnknownError: nothing that is known.
        """
        return whole(self._evaluator.value(node, names))

    def instances(self, block: Block, address: str) -> Iterator[Instance]:
        """What `count` and `for_each` make of a block.

        Raises:
            UnknownError: that is not known.
        """
        attributes = block.body.attributes
        if "count" in attributes:
            count = self.value(attributes["count"][0], {})
            for index in range(int(count) if isinstance(count, int | float | str) and str(count).isdigit() else 0):
                yield Instance(f"{address}[{index}]", {"count": {"index": index}})
        elif "for_each" in attributes:
            for key, one in pairs(known(self._evaluator.value(attributes["for_each"][0], {}))):
                yield Instance(f'{address}["{key}"]', {"each": {"key": key, "value": one}})
        else:
            yield Instance(address, {})

    def calls(self) -> Iterator[tuple[str, Block, str]]:
        """Every module that it calls: the file, the block, and the folder that it leads to, "" for one elsewhere."""
        for (kind, *_), (file, block) in self.blocks.items():
            if kind == "module" and block.labels:
                node = block.body.attributes.get("source", (Literal(""), (0, 0)))[0]
                path = node.value if isinstance(node, Literal) and isinstance(node.value, str) else ""
                local = path.startswith(("./", "../", ".\\"))
                folder = os.path.normpath(Path(self.folder, path)) if local else ""
                yield file, block, folder if folder in self._sources else ""

    def called(self, block: Block, folder: str, instance: Instance) -> Module:
        """A module as one of its instances is called."""
        inputs = {name: _Later(self, node, instance.names) for name, (node, _) in block.body.attributes.items()}
        address = f"{self.address}{instance.address}."
        return Module(folder, self._sources, self._settings, inputs, address, self)

    def default_tags(self) -> Any:
        """The tags that the provider gives every resource: its own, or of whoever calls the module.

        Raises:
            UnknownError: they are not known.
        """
        for source in self._sources[self.folder]:
            for block in source.body.blocks:
                if block.kind == "provider" and block.labels == ("aws",) and "alias" not in block.body.attributes:
                    listed = [one.body.attributes for one in block.body.blocks if one.kind == "default_tags"]
                    return self.value(listed[0]["tags"][0], {}) if listed and "tags" in listed[0] else {}
        return self._caller.default_tags() if self._caller is not None else {}

    def _root(self, name: str) -> Any:
        spaces: dict[str, Callable[[str], Any]] = {
            "var": self._variable,
            "local": self._local,
            "data": lambda kind: Space(lambda label: self._data(kind, label)),
            "module": self._module,
            "path": lambda what: self._given(f"path.{what}", {"module": self.folder}.get(what)),
            "terraform": lambda what: self._given(f"terraform.{what}", None),
        }
        if name in spaces:
            return Space(spaces[name])
        if name in {"each", "count", "self"}:
            raise UnknownError(f"{name} stands where there is none")
        return Space(lambda label: self._resource(name, label))

    def _once(self, name: str, work: Callable[[], Any]) -> Any:
        """A value that is worked out once.

        Raises:
            UnknownError: it is made from itself.
        """
        if name not in self._values:
            if name in self._pending:
                raise UnknownError(f"{name} is made from itself", "References may not run in a circle.")
            self._pending.add(name)
            try:
                self._values[name] = work()
            finally:
                self._pending.discard(name)
        return self._values[name]

    def _refuse_lacking(self, what: str) -> None:
        lack = self._settings.lacks.get(what)
        if lack is not None:
            error = UnknownError(lack.told, lack.remedy)
            error.severity = self._settings.gravity(lack)
            raise error

    def _given(self, what: str, otherwise: Any) -> Any:
        self._refuse_lacking(what)
        value = self._settings.parameters.get(what, otherwise)
        if value is None:
            remedy = f"Give its value as --parameter {what}=VALUE, or what `terraform show -json` says of a plan."
            raise UnknownError(f"{self.address}{what} is only known once it is applied", remedy)
        return value

    def _data(self, kind: str, label: str) -> Any:
        if kind == "aws_default_tags":
            return {"tags": self.default_tags()}
        return self._elsewhere(f"data.{kind}.{label}")

    def _elsewhere(self, address: str) -> Any:
        return Space(lambda attribute: self._given(f"{address}.{attribute}", None))

    def _variable(self, name: str) -> Any:
        return self._once(f"var.{name}", lambda: self._value_of_variable(name))

    def _value_of_variable(self, name: str) -> Any:
        _, block = self.blocks.get(("variable", name), ("", Block("variable", (name,), Body(), (0, 0))))
        attributes = block.body.attributes
        if self._inputs is not None:
            if name in self._inputs:
                later = self._inputs[name]
                return later.value()
        elif name in self._settings.parameters:
            return _typed(self._settings.parameters[name])
        else:
            self._refuse_lacking(name)
            for source in self._sources[self.folder]:
                if source.variables and name in source.body.attributes:
                    return self._evaluator.value(source.body.attributes[name][0], {})
        if "default" in attributes:
            return self._evaluator.value(attributes["default"][0], {})
        declared = [one[1] for one in self.blocks if one[0] == "variable" and len(one) > 1]
        remedy = f"Give it as --parameter {name}=VALUE, under parameters in meshwright.yaml, or a default."
        if name not in declared:
            remedy = did_you_mean(name, declared, remedy, sentence=True)
        raise UnknownError(f"{self.address}var.{name} has no value", remedy)

    def _local(self, name: str) -> Any:
        for source in self._sources[self.folder]:
            for block in source.body.blocks:
                if block.kind == "locals" and name in block.body.attributes:
                    node = block.body.attributes[name][0]
                    return self._once(f"local.{name}", functools.partial(self._evaluator.value, node, {}))
        raise UnknownError(f"{self.address}local.{name} is not there", "Give the folder whose files have it.")

    def _module(self, name: str) -> Any:
        for _, block, folder in self.calls():
            if block.labels[0] == name:
                outputs = functools.partial(self._outputs, block, folder)
                return self._many(block, f"module.{name}", outputs)
        raise UnknownError(f"{self.address}module.{name} is not there", PLANNED)

    def _outputs(self, block: Block, folder: str, instance: Instance) -> Any:
        if not folder:
            return self._elsewhere(instance.address)
        module = self._once(instance.address, lambda: self.called(block, folder, instance))
        return Space(module.output)

    def output(self, name: str) -> Any:
        """What the module gives under a name.

        Raises:
            UnknownError: nothing that is known.
        """
        _, block = self.blocks.get(("output", name), ("", None))
        if block is None or "value" not in block.body.attributes:
            raise UnknownError(f"{self.address}{name} is no output", PLANNED, absent=True)
        node = block.body.attributes["value"][0]
        return self._evaluator.value(node, {})

    def _resource(self, kind: str, name: str) -> Any:
        found = self.blocks.get(("resource", kind, name))
        if found is None:
            labels = [one[2] for one in self.blocks if one[:2] == ("resource", kind)]
            remedy = did_you_mean(name, labels, "Give the folder whose files have it.", sentence=True)
            raise UnknownError(f"{self.address}{kind}.{name} is not there", remedy)
        block = found[1]
        return self._many(block, f"{kind}.{name}", lambda one: Space(lambda what: self._attribute(block, one, what)))

    def _many(self, block: Block, address: str, made: Callable[[Instance], Any]) -> Any:
        """What a reference to something with `count` or `for_each` leads to: a list, a mapping, or the only one."""
        attributes = block.body.attributes
        every = list(self.instances(block, address))
        if "count" in attributes:
            return [made(one) for one in every]
        if "for_each" in attributes:
            return {one.names["each"]["key"]: made(one) for one in every}
        return made(every[0])

    def _attribute(self, block: Block, instance: Instance, name: str) -> Any:
        self._refuse_lacking(f"{instance.address}.{name}")
        given = self._settings.parameters.get(f"{instance.address}.{name}")
        if given is not None:
            return given
        if name in block.body.attributes:
            node = block.body.attributes[name][0]
            return self._once(
                f"{instance.address}.{name}#{id(node)}", lambda: self._evaluator.value(node, instance.names)
            )
        inner = [one for one in block.body.blocks if one.kind == name]
        if inner:
            return [Space(functools.partial(self._attribute, one, instance)) for one in inner]
        kind = TYPES.get(block.labels[0]) if block.labels else None
        if kind is Kind.MESH and name == "id":
            return self._attribute(block, instance, "name")
        if kind is not None and name == "arn":
            return self._arn(kind, block, instance)
        return self._given(f"{instance.address}.{name}", None)

    def _arn(self, kind: Kind, block: Block, instance: Instance) -> str:
        mesh = "name" if kind is Kind.MESH else "mesh_name"
        parent = "virtual_router_name" if kind is Kind.ROUTE else "virtual_gateway_name"
        wanted = [mesh, "name", *([parent] if kind.parent else [])]
        names = [str(whole(self._attribute(block, instance, one))) for one in wanted]
        key = Key(names[0], kind, names[1], names[2] if kind.parent else "")
        region, account = self._settings.region or DEFAULT_REGION, self._settings.account or DEFAULT_ACCOUNT
        return key.arn(region=region, account=account)


class _Later(msgspec.Struct, frozen=True):
    """What a module is called with, worked out where it is called from."""

    module: Any
    node: Node
    names: Mapping[str, Any]

    def value(self) -> Any:
        return self.module._evaluator.value(self.node, self.names)  # noqa: SLF001 - of the same class's module


def pairs(many: Any) -> list[tuple[str, Any]]:
    """The keys and values of what `for_each` goes through: a mapping, or a set, whose values are their own keys.

    Raises:
        UnknownError: it is neither.
    """
    if isinstance(many, dict):
        return sorted(many.items())
    if isinstance(many, list):
        return [
            (str(known(one)) if not isinstance(one, dict) else str(index), known(one))
            for index, one in enumerate(many)
        ]
    raise UnknownError("for_each goes through something that is neither a mapping nor a set")


def _typed(value: str) -> Any:
    """A value from the command line: text, or where it reads like a list or a mapping, that."""
    if value[:1] in {"[", "{"}:
        body, fault = read_hcl(f"value = {value}")
        if fault is None:
            return Evaluator(_nothing).value(body.attributes["value"][0], {})
    return value


def _nothing(name: str) -> Any:
    raise UnknownError(f"{name} means nothing in a value from outside", "Give plain values.")
