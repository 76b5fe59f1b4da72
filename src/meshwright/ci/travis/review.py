"""Reviews a `.travis.yml`: everything that would bite, at its line.

The one rule: the text alone is judged; nothing is asked of Travis, the repository or the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.ci.travis.judged_conditions import excluded_jobs, judged_conditions
from meshwright.ci.travis.judged_jobs import judged_jobs
from meshwright.ci.travis.pipeline import pipeline
from meshwright.ci.travis.plain_secrets import plain_secrets, unquoted_values
from meshwright.ci.travis.shapes import UNUSABLE_VALUE, Shapes
from meshwright.documents.findings import Findings
from meshwright.documents.positions import Table
from meshwright.documents.yaml_positions import read_yaml

if TYPE_CHECKING:
    from meshwright.diagnostics import Diagnostic


def review(text: str, file: str) -> tuple[Diagnostic, ...]:
    """Everything that is wrong or unwise in `text`, the content of `file`, in reading order."""
    found = Findings()
    parsed = read_yaml(text)
    for document in parsed.documents:
        found.add_faults(file, *document.faults)
    if parsed.fault is not None:
        found.add_faults(file, parsed.fault)
    root = parsed.documents[0].value if parsed.documents else None
    if isinstance(root, Table):
        _review(root, text, file, found)
    elif parsed.fault is None:
        told = f"{file} holds no mapping at its top"
        detail = "Travis then builds with Ruby's defaults; begin with language: and script:."
        found.add(UNUSABLE_VALUE, file, (1, 1), told, detail)
    return _once(found.ordered())


def _once(found: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
    """Without what was found again in another job that inherits the same line."""
    return tuple({(one.rule, one.path, one.source, one.summary): one for one in reversed(found)}.values())[::-1]


def _review(root: Table, text: str, file: str, found: Findings) -> None:
    shapes = Shapes(found, file, text)
    shapes.root(root)
    if {"jobs", "matrix"} <= set(root):
        told = "jobs and matrix are one key by two names, and only one of them holds"
        found.add(UNUSABLE_VALUE, file, root.places["matrix"], told, "Put all of it under jobs.", path="matrix")
    plain_secrets(shapes.leaves, found, file)
    unquoted_values(shapes.leaves, found, file)
    made = pipeline(root)
    if root.get("conditions") != "v0":
        judged_conditions(shapes.leaves, found, file)
        excluded_jobs(made, found, file)
    judged_jobs(made, found, file)
