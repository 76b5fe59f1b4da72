"""Folders of definitions beside what must come of them: the objects, and every finding with its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from meshwright.documents import Loaded, LoadSettings, load
from meshwright.model import encode
from settings import CASES

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = sorted(CASES.glob("documents_*"))


def told(loaded: Loaded, folder: Path) -> dict[str, Any]:
    """What was loaded, as it stands in the golden file; paths relative to the case."""
    return {
        "objects": {
            one.key.path: {"spec": encode(one.spec)} | ({"tags": encode(one.tags)} if one.tags else {})
            for one in loaded.state
        },
        "broken": [key.path for key in loaded.broken],
        "diagnostics": [
            f"{str(one.source).removeprefix(f'{folder.as_posix()}/')}:{one.source.column if one.source else 0} "
            f"{one.rule} {one.severity} [{one.subject} {one.path}] {one.summary} | {one.detail}".replace(
                f"{folder.as_posix()}/", ""
            )
            for one in loaded.diagnostics
        ],
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=[one.name for one in FOLDERS])
def test_a_folder_of_definitions_gives_these_objects_and_findings(folder: Path, update_goldens: bool) -> None:
    """`--update-goldens` rewrites `expected.json`."""
    settings = LoadSettings(**json.loads((folder / "settings.json").read_text(encoding="utf-8")))
    found = told(load([folder / "input"], settings), folder)
    golden = folder / "expected.json"
    if update_goldens:
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(golden.read_text(encoding="utf-8"))


def test_there_are_cases_for_every_dialect() -> None:
    """A renamed folder must not silence the test above."""
    dialects = ("api", "cloudformation", "kubernetes", "terraform")
    assert {one.name for one in FOLDERS} >= {f"documents_{one}" for one in dialects}
