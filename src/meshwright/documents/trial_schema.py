"""The JSON Schema of files of tests, for editors.

The one rule: it is made from `trials.written`, the very classes that files are read with; the texts are those under
their members.
"""

from __future__ import annotations

import ast
import inspect
from typing import Any

import msgspec

from meshwright.trials import written

_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema: a list of tests, or a mapping that says more than tests."""
    (listed, whole), parts = msgspec.json.schema_components(
        [tuple[written.Test, ...], written.File], ref_template="#/$defs/{name}"
    )
    texts = _texts()
    for name, part in parts.items():
        for member, said in texts.get(name, {}).items():
            part["properties"][member.rstrip("_")].setdefault("description", said)
    found: dict[str, Any] = _portable({
        "$schema": _SCHEMA,
        "title": "Tests of a mesh, for meshwright test",
        "anyOf": [listed, whole],
        "$defs": parts,
    })  # fmt: skip
    return found


def _texts() -> dict[str, dict[str, str]]:
    """What stands under each member of each class."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(written)).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                member.target.id: text.value.value
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
