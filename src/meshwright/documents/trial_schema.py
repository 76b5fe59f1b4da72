"""The JSON Schema of files of tests, for editors.

The one rule: it is made from `trials.written`, the very classes and tables that files are read with, and takes what
they take; the texts are those under their members. What only a mesh or arithmetic can tell it leaves to the reader:
names, URLs and what goes with them, headers that nobody sends, shares above 100% in all, `3 of 2`.
"""

from __future__ import annotations

import ast
import inspect
from typing import Any

import msgspec

from meshwright.trials import written

_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema: a list of tests, one test, a mapping that says more than tests, or nothing yet."""
    forms, parts = msgspec.json.schema_components(
        [tuple[written.Test, ...], written.Test, written.File], ref_template="#/$defs/{name}"
    )
    texts = _texts()
    for name, part in parts.items():
        for member, said in texts.get(name, {}).items():
            part["properties"][member.rstrip("_")].setdefault("description", said)
    parts["Given"] |= _fault()
    parts["Expect"]["anyOf"] = [
        _said(name) for name in written.Expect.__struct_fields__ if name not in written.UNASKED
    ]
    parts["Test"] |= _under_a_fault()
    found: dict[str, Any] = _portable({
        "$schema": _SCHEMA,
        "title": "Tests of a mesh, for meshwright test",
        "anyOf": [*forms, {"type": "null"}],
        "$defs": parts,
    })  # fmt: skip
    return found


def _fault() -> dict[str, Any]:
    """Exactly one kind of fault, with what goes with it."""
    beside = []
    for name, takes in written.FAULTS.items():
        untaken = [_said(one, written.Given) for one in written.BESIDE if one not in takes]
        then: dict[str, Any] = {"not": {"anyOf": untaken}} if untaken else {}
        then |= _said("at", written.Given) if "at" in takes else {}
        beside.append({"if": _said(name, written.Given), "then": then})
    return {"oneOf": [_said(name, written.Given) for name in written.FAULTS], "allOf": beside}


def _under_a_fault() -> dict[str, Any]:
    """What is about a time with a fault has one."""
    return {
        "if": {"required": ["expect"], "properties": {"expect": {"anyOf": [_said(one) for one in written.FAULTY]}}},
        "then": {"required": ["given"], "properties": {"given": {"minItems": 1}}},
    }


def _said(name: str, part: type[written.Expect | written.Given] = written.Expect) -> dict[str, Any]:
    """As `written.said`: a member that is there and says something."""
    fields = {one.name: one.default for one in msgspec.structs.fields(part)}
    something: dict[str, Any] = {"not": {"type": "null"}}
    if fields[name] is False:
        something = {"const": True}
    elif fields[name] == ():
        something = {"minItems": 1}
    elif fields[name] is not None:
        something = {"minProperties": 1}
    return {"required": [name], "properties": {name: something}}


def _texts() -> dict[str, dict[str, str]]:
    """What stands under each member of each class."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(written)).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                member.target.id: " ".join(text.value.value.split())
                for member, text in zip(node.body, node.body[1:], strict=False)
                if isinstance(member, ast.AnnAssign)
                and isinstance(member.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            }
    return found


def _portable(value: Any) -> Any:
    """`value` with the end of patterns as ECMAScript writes it."""
    if isinstance(value, dict):
        return {key: _portable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(one) for one in value]
    return value.replace("\\Z", "$") if isinstance(value, str) else value
