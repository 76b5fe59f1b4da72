"""What `meshwright test` does between its arguments and its exit code."""

from __future__ import annotations

import fnmatch
import random
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import click
import msgspec
import rstr
from msgspec import structs

from meshwright.cli.definitions import fingerprint_of, loaded, project, runnable, sound
from meshwright.cli.progress import Progress
from meshwright.cli.terminal import shows_colour
from meshwright.cli.writing import write_whole
from meshwright.documents import trial_files
from meshwright.errors import MeshwrightError, UsageError, did_you_mean
from meshwright.graph import resolve
from meshwright.lab.namespaces import isolated
from meshwright.lab.rig import Rig
from meshwright.lab.running import run
from meshwright.trials.coverage import coverage
from meshwright.trials.deriving import PATIENCE, derive
from meshwright.trials.judging import Result
from meshwright.trials.lasting import LONGEST
from meshwright.trials.programs import beside
from meshwright.trials.seen import Seen
from meshwright.trials.simulated import needs_envoys, simulated
from meshwright.trials.trial import Suite
from meshwright.trials.vanished import vanished
from meshwright.views import trials_html, trials_junit, trials_list, trials_text
from meshwright.views.diagnostics import as_json
from meshwright.views.trials import Manner, Timings, run_report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meshwright.documents.load import Loaded
    from meshwright.documents.settings import Command
    from meshwright.trials.trial import Trial
    from meshwright.views.trials import RunReport

_SEED = 1
"""Any fixed one: the same definitions give the same tests, so that a failure can be run again."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    paths: tuple[Path, ...]
    parameters: tuple[str, ...]
    mesh: str | None
    tests: tuple[Path, ...]
    patterns: tuple[str, ...]
    fail_under: float | None
    junit: Path | None
    html: Path | None
    report: Path | None
    isolation: Literal["auto", "loopback", "netns"]
    simulate: bool
    spans: bool
    listing: bool
    before: tuple[Path, ...]
    patience: float
    form: str

    def again(self, options: Mapping[str, Any]) -> str:
        """The command that runs the same again, without the choice of tests; `options` are the global ones."""
        words = ["meshwright"]
        for name in ("config", "environment"):
            words += [f"--{name}", str(options[name])] if options.get(name) else []
        words += ["test", *map(str, self.paths)]
        words += [word for path in self.tests for word in ("--tests", str(path))]
        words += [word for one in self.parameters for word in ("--parameter", one)]
        words += ["--mesh", self.mesh] if self.mesh else []
        words += ["--simulate"] if self.simulate else []
        words += [] if self.spans else ["--no-spans"]
        words += ["--isolation", self.isolation] if self.isolation != "auto" else []
        words += ["--patience", f"{self.patience:g}"] if self.patience != PATIENCE / 1_000 else []
        words += [word for path in self.before for word in ("--baseline", str(path))]
        return shlex.join(words)


class Testing:
    """One run of tests."""

    def __init__(
        self,
        read: Loaded,
        written: Suite,
        asked: Asked,
        options: Mapping[str, Any],
        programs: Mapping[str, Command],
        before: Loaded | None = None,
        definitions: str = "",
    ) -> None:
        """`written` are the tests that people wrote; others are derived from `before`, or else from what is `read`.

        `programs` stand for virtual nodes, by name; `definitions` are told by their digest.

        Raises:
            UsageError: a pattern chooses nothing.
        """
        self._read = read
        self._graph = resolve(read.state)
        wanted = self._graph if before is None else resolve(before.state)
        samples = rstr.Rstr(random.Random(_SEED))  # noqa: S311 - nothing here is secret
        self._derived = derive(wanted, samples, int(asked.patience * 1_000))
        # What people wrote stands in the place of what is derived under the same name.
        names = {one.name for one in written.trials}
        derived = tuple(one for one in self._derived.trials if one.name not in names)
        possible = beside(derived, programs)
        self._programs, self._left = programs, len(derived) - len(possible)
        # What is derived expects what simulation says: to simulate it would prove nothing.
        every = written if asked.simulate else written.beside(Suite(trials=possible))
        self._suite = structs.replace(every, trials=chosen(every.trials, asked.patterns))
        gone = [] if before is None else [vanished(self._graph, one) for one in self._suite.trials]
        self._gone = {one.trial.name: one for one in gone if one is not None}
        self._asked = asked
        self._definitions = definitions
        self._again = asked.again(options)
        self._quiet = bool(options["quiet"])

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The tests that are run, those that people wrote first."""
        return self._suite.trials

    @classmethod
    def of(cls, options: Mapping[str, Any], asked: Asked) -> Self:
        """The run that a command line asks for; `options` are the global ones.

        Raises:
            UsageError: definitions or tests with faults, or that are not one mesh; a pattern that chooses nothing.
            UnreadableError: a file cannot be read.
        """
        found = project(options, asked.paths)
        read = sound(loaded(found, asked.paths, asked.parameters, asked.mesh))
        written = trial_files.load(asked.tests or found.tests_of(asked.paths), read.state)
        before = sound(loaded(found, asked.before, asked.parameters, asked.mesh)) if asked.before else None
        digest = fingerprint_of(found, asked.paths)
        return cls(read, written, asked, options, found.workloads, before, digest)

    async def run(self) -> int:
        """Run the tests, print the report; the exit code.

        Whatever ends it, the files of the report are there.

        Raises:
            UsageError: the isolation that is asked for cannot be had here, or there is nobody to run.
            RefusedError: a control plane would refuse the definitions.
            MeshwrightError: the mesh did not start.
        """
        at, began_at = _now(), time.monotonic()
        kept, told = isolated(self._asked.isolation)
        laps, known = _Laps(), dict[str, Result]()
        unforeseen: list[BaseException] = []
        ended = "the run was broken off before"
        results: tuple[Result, ...] | None = None
        try:
            runnable(self._read)
            self._say(f"Starting {len(self.trials)} tests on real Envoys, {told} …")
            if self._left:
                self._say(f"Left out are {self._left} tests that would tell programs of yours to misbehave.")
            needed = structs.replace(self._suite, trials=self._runnable).needed
            async with Rig(self._read.state, instances=needed, isolation=kept, programs=self._programs) as rig:
                laps.end("starting")
                self._say(f"Ready after {time.monotonic() - began_at:.1f} s.")
                results = await self._run(rig, known, unforeseen, laps)
                laps.end("telling")
            laps.end("ending")
        except MeshwrightError as error:
            ended = str(error)
            raise
        finally:
            manner = self._manner("envoy", kept, at, time.monotonic() - began_at, laps.timings)
            if results is None:
                self._cut_short(known, ended, manner)
        code = self._reported(results, manner)
        if unforeseen:
            raise unforeseen[0]
        return code

    @property
    def _runnable(self) -> tuple[Trial, ...]:
        """The tests for which everybody is there."""
        return tuple(one for one in self.trials if one.name not in self._gone)

    async def _run(
        self, rig: Rig, known: dict[str, Result], unforeseen: list[BaseException], laps: _Laps
    ) -> tuple[Result, ...]:
        """The results, each of which is in `known` as soon as it is; faults of ours come to `unforeseen`."""
        progress = Progress(sys.stderr, len(self.trials))

        def told(one: Result) -> None:
            known[one.trial.name] = one
            laps.end("testing")
            self._told(progress, one)

        longest = max(LONGEST, self._asked.patience)
        try:
            for one in self._gone.values():
                told(one)
            found = await run(
                rig, self._runnable, told, spans=self._asked.spans, longest=longest, unforeseen=unforeseen.append
            )
            results = self._gone | {one.trial.name: one for one in found}
            return tuple(results[one.name] for one in self.trials)
        finally:
            if not self._quiet:
                progress.end()

    def _cut_short(self, known: Mapping[str, Result], why: str, manner: Manner) -> None:
        """Write the files of the report of a run that ended early: with what is known, and why there is no more."""
        unrun = Seen(calls=(), fault=f"it was not run: {why}")
        results = [known.get(one.name) or Result(trial=one, seen=unrun, mismatches=()) for one in self.trials]
        for told in filter(None, self._written(self._report(results, manner))):
            click.echo(told, err=True)

    def listed(self) -> int:
        """Print which tests there are; the exit code."""
        found = trials_list.listing(self._graph, self.trials, self._read.sources.find, self._again)
        sys.stdout.write(as_json(found) if self._asked.form == "json" else trials_list.render(found))
        return 0

    def simulate(self) -> int:
        """Judge by simulation what can be, print the report; the exit code.

        Raises:
            UsageError: nobody wrote a test.
        """
        if not self.trials:
            raise UsageError("there is no written test to simulate; name files with --tests")
        at, began_at = _now(), time.monotonic()
        results = []
        for one in self.trials:
            why = needs_envoys(self._graph, one)
            skipped = Result(trial=one, seen=Seen(calls=()), mismatches=(), skipped=why)
            results.append(skipped if why else simulated(self._graph, one))
        return self._reported(results, self._manner("simulate", "", at, time.monotonic() - began_at, Timings()))

    def _manner(self, mode: str, isolation: str, at: int, seconds: float, timings: Timings) -> Manner:
        return Manner(
            mode=mode,
            isolation=isolation,
            at=at,
            seconds=seconds,
            timings=timings,
            definitions=self._definitions,
            again=self._again,
        )

    def _report(self, results: Sequence[Result], manner: Manner) -> RunReport:
        covered = coverage(self._graph, results, self._derived.gaps)
        return run_report(self._graph, results, covered, self._read.sources.find, manner)

    def _written(self, report: RunReport) -> list[str]:
        """Write the files that are asked for; of each, why it cannot be written."""
        return [
            _unwritten(self._asked.report, as_json, report),
            _unwritten(self._asked.junit, trials_junit.render, report),
            _unwritten(self._asked.html, trials_html.render, report),
        ]

    def _reported(self, results: Sequence[Result], manner: Manner) -> int:
        report = self._report(results, manner)
        unwritten = self._written(report)
        if self._asked.form == "json":
            sys.stdout.write(as_json(report))
        else:
            sys.stdout.write(trials_text.render(report, colour=shows_colour(sys.stdout), quiet=self._quiet))
        if any(unwritten):
            raise UsageError("; ".join(filter(None, unwritten)))
        fail_under = self._asked.fail_under
        if fail_under is not None and report.coverage < fail_under:
            click.echo(f"Coverage is {report.coverage:g}%, under {fail_under:g}%.", err=True)
            return 1
        return int(bool(report.failed or report.broken))

    def _told(self, progress: Progress, result: Result) -> None:
        if not self._quiet:
            colour = shows_colour(sys.stderr)
            line = trials_text.line(result.trial.name, result.outcome, result.duration, colour=colour)
            progress.told(line, passed=result.passed)

    def _say(self, text: str) -> None:
        if not self._quiet:
            click.echo(text, err=True)


class _Laps:
    """When each part of a run ended, which is when the next one began."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._ends: dict[str, float] = {}

    def end(self, name: str) -> None:
        """A part, by its name in `Timings`, is over now; later ones may say so again."""
        self._ends[name] = time.monotonic()

    @property
    def timings(self) -> Timings:
        """How long each took, as far as it came to its end."""
        ends = [self._began_at, *self._ends.values()]
        return Timings(**{
            name: round(end - before, 3)
            for name, before, end in zip(self._ends, ends, self._ends.values(), strict=False)
        })  # fmt: skip


def _now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _unwritten(path: Path | None, render: Callable[[RunReport], str], report: RunReport) -> str:
    """Why a file of the report cannot be written, the others are all the same; "" if it was, or is not asked for."""
    try:
        if path is not None:
            write_whole(path, render(report))
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}"
    return ""


def chosen(trials: Sequence[Trial], patterns: Sequence[str]) -> tuple[Trial, ...]:
    """The trials whose names are one of `patterns`, or else have it in them or match it; all without patterns.

    Raises:
        UsageError: a pattern chooses none.
    """
    if not patterns:
        return tuple(trials)
    kept: dict[str, Trial] = {}
    for pattern in patterns:
        # A whole name is the one test: reports repeat it so, and others may begin with the same words.
        found = [one for one in trials if one.name == pattern] or [
            one for one in trials if pattern in one.name or fnmatch.fnmatchcase(one.name, pattern)
        ]
        if not found:
            hint = did_you_mean(pattern, [one.name for one in trials], "See 'meshwright test --list'.", sentence=True)
            raise UsageError(f"no test is named like {pattern!r}. {hint}")
        kept.update((one.name, one) for one in found)
    return tuple(one for one in trials if one.name in kept)
