"""Extends a `.travis.yml` by the jobs that govern a mesh, without touching the rest of its text.

The one rule: lines are only ever put between lines. What comes of it is read again and must be what was there and
what was added; whatever stands in the way of that is told with its line and what to do, and nothing is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.ci.travis.between_lines import Conflicts, Lines, faults, reads_as
from meshwright.ci.travis.judged_jobs import SWITCHED_OFF, limited_branches
from meshwright.ci.travis.pipeline import expands
from meshwright.ci.travis.review import review
from meshwright.ci.travis.scaffold import PYTHON, SYSTEM, Value, install, jobs, lines, scalar, stages, whole
from meshwright.ci.travis.shapes import each, spelled
from meshwright.diagnostics import Severity
from meshwright.documents.positions import Items, Table
from meshwright.documents.yaml_positions import read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.ci.travis.scaffold import Plan

_OTHERS_PHASES = (
    *("before_install", "before_script", "before_cache", "after_success", "after_failure", "after_script"),
)
"""Phases of the file's top that the jobs would inherit."""

_NO_DEPLOYMENT: dict[str, Value] = {
    "provider": "script",
    "script": "true",
    "on": {"all_branches": True, "condition": SWITCHED_OFF[0]},
}
"""Takes the place of a deployment at the file's top, which a job cannot be without otherwise."""

_TELLING = ("stage", "name", "if", "script")
"""What makes a job that is there one of ours; how it is installed may be the user's own."""


def extended(text: str, file: str, plan: Plan) -> str:
    """`text` with what lacks of the jobs of `plan`; the same text where nothing does.

    Raises:
        Conflicts: something in the file stands in the way.
        UsageError: the branch cannot be named in a condition.
    """
    parsed = read_yaml(text)
    unsound = faults(text, file)
    if unsound:
        raise Conflicts(unsound)
    root = parsed.documents[0].value if parsed.documents else None
    if root is None:
        made = text + whole(plan)
    elif isinstance(root, Table) and len(parsed.documents) == 1:
        made = _Extension(text, file, plan, root).text()
    else:
        raise Conflicts([f"{file}:1: the file holds no single mapping; a configuration of Travis is one."])
    _refuse_new_faults(text, made, file)
    return made


def _refuse_new_faults(before: str, after: str, file: str) -> None:
    """Raise for errors that the review finds in the extended file and did not find before."""
    known = {(one.rule, one.summary) for one in review(before, file)}
    new = [one for one in review(after, file) if one.severity is Severity.ERROR]
    told = [
        f"{one.source}: with the jobs of the mesh, {one.summary}. {one.detail}"
        for one in new
        if (one.rule, one.summary) not in known
    ]
    if told:
        raise Conflicts(told)


class _Extension:
    """One file, and what is put between its lines."""

    def __init__(self, text: str, file: str, plan: Plan, root: Table) -> None:
        self._file = file
        self._plan = plan
        self._root = root
        self._lines = Lines(text)
        self._indent = next(iter(root.places.values()), (1, 1))[1] - 1
        self._top = next((name for name in ("jobs", "matrix") if name in root), "")
        self._made = jobs(plan, self._around())

    def text(self) -> str:
        """The extended text."""
        lacking = self._lacking()
        added = [*self._kept_job(), *lacking]
        conflicts = [*self._conflicts()]
        wanted: dict[str, Any] = dict(self._root)
        if not conflicts and lacking:
            conflicts += self._put_stages(wanted)
            conflicts += self._put_jobs(added, wanted)
        if conflicts:
            raise Conflicts(conflicts)
        made = self._lines.joined()
        if not reads_as(made, wanted):
            told = "is written in a way that cannot be extended line by line; write it in block style, one key a line"
            raise Conflicts([self._at(self._top or next(iter(self._root)), f"{self._top or 'the file'} {told}")])
        return made

    def _at(self, key: str, told: str, table: Table | None = None) -> str:
        place = (table or self._root).place_of(key)
        return f"{self._file}:{place[0]}: {told}."

    def _around(self) -> dict[str, Value]:
        """What the jobs say for themselves, because the file's top says something else."""
        around: dict[str, Value] = {"python": PYTHON}
        above = spelled(self._root)
        wanted: dict[str, Value] = {
            "language": "python",
            "dist": SYSTEM,
            "cache": {"pip": True},
            "install": install(self._plan.requirement),
        }
        around |= {name: value for name, value in wanted.items() if self._root.get(name) != value}
        others: dict[str, Value] = {"os": "linux", "arch": "amd64", "git": {"depth": 50}}
        others |= dict.fromkeys(_OTHERS_PHASES, "true")
        others["deploy"] = _NO_DEPLOYMENT
        return {**around, **{name: value for name, value in others.items() if name in above}}

    def _included(self) -> list[tuple[Any, tuple[int, int]]]:
        """The jobs that are there, with their places."""
        matrix = self._root.get(self._top)
        given = matrix.get("include") if isinstance(matrix, Table) else matrix
        return [(one, place) for one, place, _ in each(given, self._root.place, "")]

    def _lacking(self) -> list[dict[str, Value]]:
        """The jobs that are not there yet."""
        known = [[one.get(name) for name in _TELLING] for one, _ in self._included() if isinstance(one, Table)]
        return [job for job in self._made if [job[name] for name in _TELLING] not in known]

    def _kept_job(self) -> list[dict[str, Value]]:
        """The one job that the file's top makes by itself, and no longer does once others are listed."""
        if self._included() or expands(self._root):
            return []
        return [{"stage": "test"}]

    def _conflicts(self) -> Iterable[str]:
        limits = limited_branches(self._root)
        if limits is not None and self._plan.branch not in limits:
            told = f"branches leaves out {self._plan.branch!r}, which shall be released: add it there"
            yield self._at("branches", told)
        names = {(str(job["stage"]).lower(), job["name"]) for job in self._lacking()}
        for one, place in self._included():
            if isinstance(one, Table) and (str(one.get("stage")).lower(), one.get("name")) in names:
                told = (
                    f"the job {one['name']!r} is not as init would write it: rename it, or remove it to have it anew"
                )
                yield f"{self._file}:{place[0]}: {told}."

    def _put_stages(self, wanted: dict[str, Any]) -> Iterable[str]:
        """List the stages of the jobs after those that are listed; all of them where no order is given yet."""
        given = self._root.get("stages")
        if given is None:
            if any(isinstance(one, Table) and "stage" in one for one, _ in self._included()):
                return  # stages follow in the order of the jobs
            named = stages(self._made)
            wanted["stages"] = named
            self._lines.append([f"{' ' * self._indent}stages:", *self._items(named, self._indent + 2)])
            return
        names = {
            str(one.get("name") if isinstance(one, Table) else one).lower() for one, _, _ in each(given, (1, 1), "")
        }
        lacking = [name for name in stages(self._made) if name.lower() not in names]
        if not lacking:
            return
        column = self._lines.dashes(given)
        if column is None:
            yield self._at(
                "stages", f"stages is written in one line: write one a line, so that {lacking[0]!r} can follow"
            )
            return
        wanted["stages"] = [*given, *lacking]
        self._lines.put(self._lines.end(given.places[0][0] - 1, column), self._items(lacking, column))

    def _put_jobs(self, added: list[dict[str, Value]], wanted: dict[str, Any]) -> Iterable[str]:
        matrix = self._root.get(self._top)
        given = matrix.get("include") if isinstance(matrix, Table) else matrix
        if isinstance(given, Items) and given:
            column = self._lines.dashes(given)
            if column is None:
                told = f"the jobs of {self._top} are written in one line: write one a line, so that others can follow"
                yield self._at(self._top, told)
                return
            self._lines.put(self._lines.end(given.places[0][0] - 1, column), self._block(added, column))
            merged: Any = [*given, *added]
        elif isinstance(matrix, Table) and matrix and given is None:
            column = next(iter(matrix.places.values()))[1] - 1
            first = next(iter(matrix.places.values()))[0] - 1
            block = [f"{' ' * column}include:", *self._block(added, column + 2)]
            self._lines.put(self._lines.end(first, column, mapping=True), block)
            merged = added
        elif matrix is None and self._top == "":
            head = " " * self._indent
            self._lines.append([f"{head}jobs:", f"{head}  include:", *self._block(added, self._indent + 4)])
            wanted["jobs"] = {"include": added}
            return
        else:
            yield self._at(
                self._top, f"{self._top} holds no list of jobs: remove it, or write include: with a job below"
            )
            return
        wanted[self._top] = {**matrix, "include": merged} if isinstance(matrix, Table) else merged

    def _block(self, added: list[dict[str, Value]], column: int) -> list[str]:
        return [line for job in added for line in lines(job, column, dash=True)]

    def _items(self, names: list[str], column: int) -> list[str]:
        return [f"{' ' * column}- {scalar(name)}" for name in names]
