"""Terraform in JSON: its own syntax in JSON, and plans and states, in which every value is worked out.

The one rule: plans and states are the provider's: what it leaves empty was not said.

Source: https://developer.hashicorp.com/terraform/language/syntax/json,
https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.documents.hcl import read_template
from meshwright.documents.hcl_nodes import Block, Body, Literal, Mapping, Node, Sequence
from meshwright.documents.positions import Fault, Items, Table
from meshwright.documents.terraform_modules import PREFIX, TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshwright.documents.positions import Place

_LABELS = {"resource": 2, "data": 2, "module": 1, "variable": 1, "output": 1, "provider": 1, "dynamic": 1}
"""How many labels a block has."""
_EXPRESSIONS = frozenset({"for_each", "count", "default", "value", "tags", "depends_on", "lifecycle"})
"""Members that are never blocks."""
_UNSET = frozenset({"port", "max_pending_requests"})
"""Optional numbers that a state shows as 0 where they were not given."""


def body_of(value: Table, fault: Callable[[Fault], None]) -> Body:
    """A file of Terraform's JSON syntax; `fault` is told of strings that are no templates."""
    return _Reader(fault).body(value)


class _Reader:
    def __init__(self, fault: Callable[[Fault], None]) -> None:
        self._fault = fault

    def body(self, table: Table, *, values: bool = False) -> Body:
        """A mapping as a body; of one with `values` every member is an argument."""
        found = Body()
        for name, value in table.items():
            place = table.places[name]
            if name == "//":
                continue
            if name in _LABELS and isinstance(value, Table):
                self._labelled(found, name, value, (), _LABELS[name])
            elif values or name in _EXPRESSIONS or not _is_block(value):
                found.attributes[name] = self._node(value, place), place
            else:
                listed = zip(value, value.places, strict=True) if isinstance(value, Items) else [(value, place)]
                for one, at in listed:
                    inside = self.body(one, values=name == "locals")
                    found.blocks.append(Block(name, (), inside, at))
        return found

    def _labelled(self, found: Body, kind: str, value: Table, labels: tuple[str, ...], left: int) -> None:
        for label, inside in value.items():
            place = value.places[label]
            for one in inside if isinstance(inside, Items) else [inside]:
                if left > 1 and isinstance(one, Table):
                    self._labelled(found, kind, one, (*labels, label), left - 1)
                elif isinstance(one, Table):
                    body = self.body(one, values=kind in {"variable", "output", "module"})
                    found.blocks.append(Block(kind, (*labels, label), body, place))

    def _node(self, value: Any, place: Place) -> Node:
        if isinstance(value, str):
            node = read_template(value)
            if isinstance(node, Fault):
                self._fault(Fault(place, node.summary, node.detail))
                return Literal(None)
            return node
        if isinstance(value, Table):
            return Mapping(tuple((Literal(key), self._node(one, value.places[key])) for key, one in value.items()))
        if isinstance(value, Items):
            return Sequence(tuple(self._node(one, at) for one, at in zip(value, value.places, strict=True)))
        return Literal(value)


def _is_block(value: Any) -> bool:
    return isinstance(value, Table) or (
        isinstance(value, Items) and bool(value) and all(isinstance(one, Table) for one in value)
    )


def resources_of(value: Table) -> Iterator[tuple[str, Table, Place, str]]:
    """The resources of ours in a plan or state: type, values, place, address."""
    for part in ("planned_values", "values"):
        if isinstance(value.get(part), Table):
            yield from _in_module(value[part].get("root_module"))
    if isinstance(value.get("resources"), Items):
        for one in value["resources"]:
            if _is_ours(one) and isinstance(one.get("instances"), Items):
                for instance in one["instances"]:
                    address = ".".join(filter(None, (one.get("module"), one["type"], one.get("name"))))
                    key = instance.get("index_key")
                    address += f"[{key!r}]" if key is not None else ""
                    yield one["type"], _said(instance.get("attributes")), one.place, address


def _in_module(module: Any) -> Iterator[tuple[str, Table, Place, str]]:
    if not isinstance(module, Table):
        return
    for one in module.get("resources") or ():
        if _is_ours(one):
            yield one["type"], _said(one.get("values")), one.place, str(one.get("address", ""))
    for child in module.get("child_modules") or ():
        yield from _in_module(child)


def _is_ours(one: Any) -> bool:
    if not isinstance(one, Table) or one.get("mode", "managed") != "managed":
        return False
    return str(one.get("type", "")).startswith(PREFIX) and one["type"] in TYPES


def _said(value: Any) -> Any:
    """A value without what was not said."""
    if isinstance(value, Table):
        table = Table(value.place)
        for key, one in value.items():
            if one not in (None, "", []) and not (key in _UNSET and one == 0):
                table.put(key, _said(one), value.places[key])
        return table
    if isinstance(value, Items):
        items = Items(value.place)
        for one, place in zip(value, value.places, strict=True):
            items.put(_said(one), place)
        return items
    return value
