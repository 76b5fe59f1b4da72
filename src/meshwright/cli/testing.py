"""What `meshwright test` does between its arguments and its exit code."""

from __future__ import annotations

import fnmatch
import random
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, Self

import click
import rstr

from meshwright.cli.definitions import loaded, project
from meshwright.cli.terminal import shows_colour
from meshwright.errors import UsageError, did_you_mean
from meshwright.graph import resolve
from meshwright.lab.namespaces import isolated
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.trials.coverage import coverage
from meshwright.trials.deriving import derive
from meshwright.views import trials_text
from meshwright.views.diagnostics import as_json
from meshwright.views.trials import Manner, quoted, run_report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meshwright.documents.load import Loaded
    from meshwright.trials.judging import Result
    from meshwright.trials.trial import Trial

_SEED = 1
"""Any fixed one: the same definitions give the same tests, so that a failure can be run again."""


class Testing:
    """One run of tests."""

    def __init__(
        self, read: Loaded, patterns: Sequence[str], again: str, *, quiet: bool, before: Loaded | None = None
    ) -> None:
        """`again` is the command that repeats it, without the choice of tests; those are derived from `before`.

        Raises:
            UsageError: a pattern chooses nothing.
        """
        self._read = read
        self._graph = resolve(read.state)
        wanted = self._graph if before is None else resolve(before.state)
        self._derived = derive(wanted, rstr.Rstr(random.Random(_SEED)))  # noqa: S311 - nothing here is secret
        self.trials = chosen(self._derived.trials, patterns)
        self._again = again
        self._quiet = quiet

    @classmethod
    def of(
        cls,
        options: dict[str, Any],
        paths: Sequence[Path],
        parameters: Sequence[str],
        mesh: str | None,
        patterns: Sequence[str],
        before: Sequence[Path] = (),
    ) -> Self:
        """The run that a command line asks for.

        Raises:
            UsageError: definitions with faults, or that are not one mesh; a pattern that chooses nothing.
            UnreadableError: a file cannot be read.
        """
        chosen_project = project(options, paths)
        read = loaded(chosen_project, paths, parameters, mesh)
        old = loaded(chosen_project, before, parameters, mesh) if before else None
        words = [*(str(path) for path in paths), *(f"--parameter {quoted(one)}" for one in parameters)]
        words += [f"--mesh {quoted(mesh)}"] if mesh else []
        words += [f"--baseline {quoted(str(path))}" for path in before]
        return cls(read, patterns, " ".join(["meshwright test", *words]), quiet=bool(options["quiet"]), before=old)

    async def run(self, form: str, fail_under: float | None, isolation: Literal["auto", "loopback", "netns"]) -> int:
        """Run the tests, print the report; the exit code.

        Raises:
            UsageError: the `isolation` that is asked for cannot be had here.
        """
        began_at = time.monotonic()
        kept, told = isolated(isolation)
        self._say(f"Starting {len(self.trials)} tests on real Envoys, {told} …")
        async with Rig(self._read.state, isolation=kept) as rig:
            starting = time.monotonic() - began_at
            self._say(f"Ready after {starting:.1f} s.")
            results = await run(rig, self.trials, self._told)
        report = run_report(
            self._graph,
            results,
            coverage(self._graph, results, self._derived.gaps),
            self._read.sources.find,
            Manner(
                mode="envoy",
                isolation=kept,
                seconds=time.monotonic() - began_at,
                starting=starting,
                again=self._again,
            ),
        )
        if form == "json":
            sys.stdout.write(as_json(report))
        else:
            sys.stdout.write(trials_text.render(report, colour=shows_colour(sys.stdout), quiet=self._quiet))
        if fail_under is not None and report.coverage < fail_under:
            click.echo(f"Coverage is {report.coverage:g}%, under {fail_under:g}%.", err=True)
            return 1
        return int(bool(report.failed or report.broken))

    def _told(self, result: Result) -> None:
        outcome = "broken" if result.seen.fault else "passed" if result.passed else "failed"
        self._say(trials_text.line(result.trial.name, outcome, result.duration, colour=shows_colour(sys.stderr)))

    def _say(self, text: str) -> None:
        if not self._quiet:
            click.echo(text, err=True)


def chosen(trials: Sequence[Trial], patterns: Sequence[str]) -> tuple[Trial, ...]:
    """The trials whose names have one of `patterns` in them or match it; all without patterns.

    Raises:
        UsageError: a pattern chooses none.
    """
    if not patterns:
        return tuple(trials)
    kept: dict[str, Trial] = {}
    for pattern in patterns:
        found = [one for one in trials if pattern in one.name or fnmatch.fnmatchcase(one.name, pattern)]
        if not found:
            hint = did_you_mean(pattern, [one.name for one in trials], "See 'meshwright test --list'.", sentence=True)
            raise UsageError(f"no test is named like {pattern!r}. {hint}")
        kept.update((one.name, one) for one in found)
    return tuple(one for one in trials if one.name in kept)
