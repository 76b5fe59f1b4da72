"""The jobs that a `.travis.yml` makes: their phases, conditions and deployments, with what they inherit.

The one rule: in doubt there is a job, and it can run; what is said of it says only what holds in any case.

Sources: https://docs.travis-ci.com/user/build-stages, https://docs.travis-ci.com/user/build-matrix,
https://docs.travis-ci.com/user/job-lifecycle
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.ci.travis.conditions import And, ConditionError, parse
from meshwright.ci.travis.outcomes import Outcome, outcome
from meshwright.ci.travis.shapes import each, spelled
from meshwright.documents.positions import Items, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.ci.travis.conditions import Expression
    from meshwright.ci.travis.outcomes import Value
    from meshwright.documents.positions import Place

DECIDING = ("before_install", "install", "before_script", "script", "before_deploy")
"""The phases whose failure ends the job as failed or errored."""

UNHEEDED = ("after_success", "after_failure", "after_script", "after_deploy")
"""The phases whose failure changes nothing."""

PHASES = (
    *DECIDING[:4],
    "before_cache",
    "after_success",
    "after_failure",
    "before_deploy",
    "after_deploy",
    "after_script",
)

_ONLY_IN_DEPLOYS = frozenset({"before_deploy", "after_deploy"})

_EXPANDED = frozenset(
    {"os", "arch", "compiler", "osx_image", "jdk", "crystal", "dotnet", "mono", "solution", "d", "dart", "dart_task"}
    | {
        "elixir",
        "otp_release",
        "elm",
        "node_js",
        "node",
        "go",
        "hhvm",
        "php",
        "ghc",
        "haxe",
        "julia",
        "matlab",
        "nix",
    }
    | {
        "perl",
        "perl6",
        "python",
        "r",
        "rvm",
        "ruby",
        "rbenv",
        "gemfile",
        "xcode_scheme",
        "xcode_sdk",
        "rust",
        "scala",
    }
    | {"smalltalk", "smalltalk_config", "smalltalk_vm", "env"}
)
"""The keys of the file's top that make jobs of their own beside those of `jobs.include`."""


class Command(msgspec.Struct, frozen=True):
    """One line of a phase."""

    text: str
    phase: str
    place: tuple[int, int]
    path: str


class Deploy(msgspec.Struct, frozen=True):
    """One deployment."""

    table: Any
    place: tuple[int, int]
    path: str

    def get(self, name: str) -> Any:
        """The value of a key, whichever way it is spelled; None where it is not given."""
        if not isinstance(self.table, Table):
            return self.table if name == "provider" else None
        keys = spelled(self.table)
        return self.table[keys[name]] if name in keys else None

    def place_of(self, name: str) -> Place:
        """Where a key stands, or the deployment."""
        return self.table.places.get(name, self.place) if isinstance(self.table, Table) else self.place

    @property
    def on(self) -> Mapping[str, Any]:
        """What it is bound to; a text or a list there names branches."""
        given = self.get("on") or self.get("true")
        if isinstance(given, Table):
            return given
        return {"branch": given} if given else {}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job, or the ones that the file's top expands to."""

    name: str
    """As a message calls it."""
    stage: str
    """In lower case."""
    place: tuple[int, int]
    path: str
    commands: tuple[Command, ...]
    deploys: tuple[Deploy, ...]
    conditions: tuple[Any, ...] = ()
    """Those of the build, of the stage and of its own, as far as they parse; all of them must hold."""
    given: Any = None
    """The job's own mapping."""
    tolerated: Any = None
    """Where it says that the job may fail: line and column; None where nothing does."""

    def outcome(self, known: Mapping[str, Value]) -> Outcome:
        """When the job runs, in builds with these attributes."""
        if not self.conditions:
            return Outcome.ALWAYS
        return outcome(self.conditions[0] if len(self.conditions) == 1 else And(self.conditions), known)

    @property
    def in_pull_requests(self) -> bool:
        """Whether it can run for a pull request."""
        return self.outcome({"type": "pull_request"}) is not Outcome.NEVER


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file as its jobs."""

    root: Any
    jobs: tuple[Job, ...]
    stages: tuple[tuple[str, tuple[int, int], str], ...]
    """Those that `stages` lists: name as written, place, path."""


def pipeline(root: Table) -> Pipeline:
    """The jobs of a file; what cannot be understood in it is left out, and found by other checks."""
    stages = tuple(_stages(root))
    conditions = {name.lower(): table.get("if") for name, _, _, table in stages if isinstance(table, Table)}
    listed = tuple((name, place, path) for name, place, path, _ in stages)
    matrix = _matrix(root)
    top = "jobs" if "jobs" in root else "matrix"
    includes = [*_listed(matrix, "include", top)]
    jobs = []
    if not includes or expands(root):
        jobs.append(_job(Table(root.place), root.place, "", "test", root, conditions))
    stage = "test"
    for given, place, path in includes:
        if isinstance(given, Table):
            stage = str(given.get("stage") or stage)
            jobs.append(_job(given, place, path, stage, root, conditions))
    tolerated = [*_listed(matrix, "allow_failures", top)]
    judged = tuple(msgspec.structs.replace(job, tolerated=_tolerated(job, root, tolerated)) for job in jobs)
    return Pipeline(root=root, jobs=judged, stages=listed)


def expands(root: Table) -> bool:
    """Whether the file's top makes jobs of its own beside those of `jobs.include`."""
    named = _EXPANDED & set(spelled(root))
    env = root.get("env")
    only_global = isinstance(env, Table) and set(env) <= {"global"}
    return bool(named - {"env"} if only_global else named)


def _matrix(root: Table) -> Any:
    return root.get("jobs", root.get("matrix"))


def _listed(matrix: Any, name: str, top: str) -> Iterator[tuple[Any, Place, str]]:
    if isinstance(matrix, Items) and name == "include":
        yield from each(matrix, matrix.place, top)
    elif isinstance(matrix, Table):
        for spelling in (name, name.replace("allow_", "allowed_")):
            if spelling in matrix:
                yield from each(matrix[spelling], matrix.places[spelling], f"{top}.{spelling}")
                return


def _stages(root: Table) -> Iterator[tuple[str, Place, str, Any]]:
    for one, place, path in each(root.get("stages"), root.place_of("stages"), "stages"):
        name = one.get("name") if isinstance(one, Table) else one
        if isinstance(name, str | int | float):
            yield str(name), place, path, one


def _job(given: Table, place: Place, path: str, stage: str, root: Table, stages: Mapping[str, Any]) -> Job:
    own, above = spelled(given), spelled(root)

    def found(name: str) -> tuple[Any, Place, str]:
        """A key of the job, or what it inherits from the top."""
        if name in own:
            return given[own[name]], given.places[own[name]], f"{path}.{own[name]}"
        if name in above:
            return root[above[name]], root.places[above[name]], above[name]
        return None, place, path

    commands = [
        Command(str(one), phase, where, at)
        for phase in PHASES
        for one, where, at in each(*found(phase))
        if not isinstance(one, Table)
    ]
    deploys = tuple(Deploy(one, where, at) for one, where, at in each(*found("deploy")) if one)
    texts = [root.get("if"), stages.get(stage.lower()), given.get("if")]
    label = f"job {given['name']!r}" if given.get("name") else path or "the jobs of the file's top"
    return Job(
        name=label,
        stage=stage.lower(),
        place=place,
        path=path,
        commands=tuple(one for one in commands if deploys or one.phase not in _ONLY_IN_DEPLOYS),
        deploys=deploys,
        conditions=tuple(_parsed(texts)),
        given=given,
    )


def _parsed(texts: list[Any]) -> Iterator[Expression]:
    """The conditions; those that do not parse are left out, since the whole build is rejected then."""
    for text in texts:
        if text is not None and not isinstance(text, Table | Items):
            with contextlib.suppress(ConditionError):
                yield parse(str(text).lower() if isinstance(text, bool) else str(text)).expression


def _tolerated(job: Job, root: Table, entries: list[tuple[Any, Place, str]]) -> Place | None:
    if isinstance(job.given, Table) and job.given.get("allow_failure") is True:
        return job.given.places["allow_failure"]
    for entry, place, _ in entries:
        if isinstance(entry, Table) and entry and job.path:
            wanted = {key: value for key, value in entry.items() if key not in {"if", "branch"}}
            if wanted and all(job.given.get(key, root.get(key)) == value for key, value in wanted.items()):
                return place
    return None
