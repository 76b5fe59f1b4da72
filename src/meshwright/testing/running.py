"""A rig that runs for a session of tests in Python, with what they did on it.

The one rule: it is made from what `meshwright test` would take, whole; definitions with a fault are not run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from meshwright.cli.definitions import loaded, project, runnable, sound
from meshwright.documents.settings import find_project
from meshwright.errors import UsageError
from meshwright.lab.namespaces import isolated
from meshwright.lab.rig import Rig
from meshwright.lab.turns import Turns
from meshwright.simulate import route
from meshwright.testing.loop import Loop
from meshwright.testing.mesh import Mesh
from meshwright.trials.coverage import coverage
from meshwright.trials.judging import Result
from meshwright.trials.seen import Seen
from meshwright.trials.trial import Expect
from meshwright.views import calls_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshwright.diagnostics import Source
    from meshwright.documents.load import Loaded
    from meshwright.graph import Graph
    from meshwright.testing.answers import Answers
    from meshwright.trials.trial import Given

_TOLD = 5
"""Kinds of calls of a failed test that are told of, the last ones."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a session asks for."""

    definitions: tuple[Path, ...] = ()
    """Files and folders; without any, the project's."""
    beside: tuple[Path, ...] = ()
    """The tests, beside which the project file is looked for."""
    environment: str | None = None
    parameters: tuple[str, ...] = ()
    isolation: Literal["auto", "loopback", "netns"] = "auto"
    instances: Mapping[str, int] = {}

    def running(self) -> Running:
        """A rig of it, not yet started.

        Raises:
            UsageError: definitions with faults, or that are not one mesh; there are none, or nobody to run.
            RefusedError: a control plane would refuse them.
            UnreadableError: a file cannot be read.
        """
        paths = tuple(map(_near, self.definitions))
        config = None if paths else _beside(self.beside)
        found = project({"config": config, "environment": self.environment}, paths)
        if not found.expand(paths):
            raise UsageError(
                "there is no meshwright.yaml here or beside the tests that lists definitions; name files or folders "
                "with --mesh-definitions, or as meshwright_definitions in pytest's settings"
            )
        read = runnable(sound(loaded(found, paths, self.parameters)))
        kept, _ = isolated(self.isolation)
        return Running(read, Rig(read.state, instances=self.instances, isolation=kept, programs=found.workloads))


class Running:
    """A context manager, which gives the mesh; nothing of it is left afterwards."""

    def __init__(self, read: Loaded, rig: Rig) -> None:
        self.rig = rig
        self.loop = Loop()
        self.turns = Turns(rig)
        self.given: list[Given] = []
        """The faults that hold now."""
        self.covered: dict[tuple[str, str], bool] = {}
        """Of every part of every route, by object and field: whether a passing test followed it."""
        self._read = read
        self._made: list[Answers] = []
        self._exits = contextlib.ExitStack()

    @property
    def graph(self) -> Graph:
        """The mesh's definitions."""
        return self.rig.graph

    @property
    def test(self) -> str:
        """The test that runs, as pytest names it."""
        return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]

    def find(self, subject: str, path: str) -> Source | None:
        """Where a field of an object is written."""
        return self._read.sources.find(subject, path)

    def __enter__(self) -> Mesh:
        """Start everything, and wait until every proxy has what is defined.

        Raises:
            MeshwrightError: something did not start, was refused, or was rejected by an Envoy.
        """
        with contextlib.ExitStack() as exits:
            exits.enter_context(self.loop)
            exits.enter_context(self.loop.within(self.rig))
            self._exits = exits.pop_all()
        self._cover(())
        return Mesh(self)

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def keep(self, answers: Answers) -> None:
        """Remember calls that the running test makes."""
        self._made.append(answers)

    def passed(self) -> None:
        """The test passed: its calls count as covered."""
        self._cover(self._made)

    def over(self) -> None:
        """The test is over."""
        self._made.clear()

    def told(self) -> str:
        """What became of the last calls of the running test; "" where it made none."""
        return "\n".join(
            calls_text.render(
                self.graph,
                one.trial(Expect()),
                [answer.known() for answer in one],
                self.find,
            )
            for one in self._made[-_TOLD:]
            if len(one)
        )

    def _cover(self, made: Iterable[Answers]) -> None:
        results = [found for one in made if (found := self._followed(one)) is not None]
        for point in coverage(self.graph, results).points:
            at = point.route.path, point.path
            self.covered[at] = self.covered.get(at, False) or point.covered

    def _followed(self, made: Answers) -> Result | None:
        """What calls show of routes; nothing where they did not go where simulation says that they go."""
        verdict = route(self.graph, made.caller, made.call)
        nodes = {one.node.name for one in verdict.targets}
        seen = Seen(calls=tuple(one.known() for one in made))
        reached = {one.node for one in seen.calls if one.node}
        reached |= {attempt.node for one in seen.calls for attempt in one.attempts}
        if not made or (not reached & nodes if nodes else reached):
            return None
        return Result(trial=made.trial(Expect()), seen=seen, mismatches=())


def _near(path: Path) -> Path:
    """`path` from the working directory on where it lies below it: that is how places are told."""
    with contextlib.suppress(ValueError):
        return Path(os.path.abspath(path)).relative_to(Path.cwd())  # noqa: PTH100 - resolve() would follow links
    return path


def _beside(paths: Sequence[Path]) -> Path | None:
    """The project file here, else nearest to the tests, else where pytest's settings are."""
    *tests, root = dict.fromkeys(map(_near, paths))
    return find_project(tests) or find_project([root])


def most(marked: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> dict[str, int]:
    """How many instances run of a node, by name, so that every marker `mesh` has what it asks for.

    Raises:
        UsageError: a marker asks for something else.
    """
    found: dict[str, int] = {}
    for arguments, words in marked:
        instances = words.get("instances")
        if arguments or set(words) != {"instances"} or not isinstance(instances, Mapping):
            told = ", ".join([*map(repr, arguments), *(f"{name}={value!r}" for name, value in words.items())])
            raise UsageError(f"@pytest.mark.mesh({told}): it takes instances={{NODE: COUNT}} and nothing else")
        for name, count in instances.items():
            if not isinstance(count, int) or not 1 <= count <= 100:
                raise UsageError(
                    f"@pytest.mark.mesh: {count!r} instances of {name!r}; it takes a number from 1 to 100"
                )
            found[name] = max(found.get(name, 1), count)
    return found
