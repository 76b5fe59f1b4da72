"""Finds what jobs do where they should not: deployments from pull requests, failures that nobody heeds, long silence.

The one rule: what our own commands would refuse is an error; what others' would do is a warning, since their text is
all that is known of them.

Sources: https://docs.travis-ci.com/user/deployment-v2, https://docs.travis-ci.com/user/job-lifecycle,
https://docs.travis-ci.com/user/pull-requests, https://docs.travis-ci.com/user/common-build-problems
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.ci.travis import shell_words
from meshwright.ci.travis.outcomes import Outcome
from meshwright.ci.travis.pipeline import DECIDING, UNHEEDED, Command
from meshwright.ci.travis.shapes import each
from meshwright.diagnostics import Severity
from meshwright.documents.positions import Table
from meshwright.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.ci.travis.pipeline import Deploy, Job, Pipeline
    from meshwright.documents.findings import Findings

OPEN_DEPLOY = "MW855"
ASSUMED_BRANCH = "MW858"
NEVER_DEPLOYS = "MW859"
TOLERATED_FAILURE = "MW860"
UNHEEDED_COMMAND = "MW861"
SILENT_WAIT = "MW862"
SHALLOW_CLONE = "MW863"
ABSENT_SECRET = "MW864"  # noqa: S105 - a rule's code
UNMATCHED_STAGE = "MW866"
UNFILTERED_LOG = "MW867"

SILENCE = 600
"""Seconds without output after which Travis ends a job."""

SWITCHED_OFF = ("1 = 0", "0 = 1", "false", False)
"""Conditions of a deployment by which somebody says that there is none."""

_RUN_BEFORE = DECIDING[:4]


def judged_jobs(pipeline: Pipeline, found: Findings, file: str) -> None:
    """Report what is wrong with the jobs of a file."""
    for job in pipeline.jobs:
        for command in job.commands:
            _command(job, command, found, file)
        for deploy in job.deploys:
            _deploy(job, deploy, found, file)
        _secrets_of_forks(job, found, file)
        _history(pipeline, job, found, file)
    _never_deploys(pipeline, found, file)
    _stages(pipeline, found, file)
    root = pipeline.root
    if root.get("filter_secrets") is False:
        detail = "Logs are public and stay so: every secret that a command prints can be read. Remove the key."
        found.add(UNFILTERED_LOG, file, root.places["filter_secrets"], "secrets are not masked in logs", detail)


def _command(job: Job, command: Command, found: Findings, file: str) -> None:
    ours, theirs = shell_words.ours(command.text), shell_words.publishes(command.text)
    act, grade = (ours, Severity.ERROR) if ours else (theirs, Severity.WARNING)
    unheeded = command.phase in UNHEEDED
    if act and unheeded:
        told = f"{command.path} runs {act!r} in {command.phase}, where a failure changes nothing"
        detail = "The build passes all the same. Run it in script, in a job of its own, or as a deployment."
        found.add(UNHEEDED_COMMAND, file, command.place, told, detail, severity=grade, path=command.path)
    runs = command.phase in _RUN_BEFORE or (unheeded and command.phase != "after_deploy")
    if act and runs and job.in_pull_requests and not _is_guarded(job, command, bool(ours)):
        told = f"{command.path} runs {act!r} in pull requests as well"
        detail = (
            "A pull request of the same repository has the secrets, and that of a fork may have them: a change that "
            f"nobody has reviewed would be deployed. Give {job.name} the condition 'type != pull_request'."
        )
        found.add(OPEN_DEPLOY, file, command.place, told, detail, severity=grade, path=command.path)
    part, seconds = shell_words.silence(command.text)
    if seconds >= SILENCE:
        told = f"{command.path} runs {part!r}, which prints nothing for {seconds:.0f} seconds"
        detail = f"Travis ends a job after {SILENCE} seconds without output: print something, or use travis_wait."
        found.add(SILENT_WAIT, file, command.place, told, detail, severity=Severity.WARNING, path=command.path)


def _is_guarded(job: Job, command: Command, ours: bool) -> bool:
    """Whether a command, or for others' commands anything in its phase, asks what kind of build this is."""
    texts = [command.text] if ours else [one.text for one in job.commands if one.phase == command.phase]
    return any(map(shell_words.is_guarded, texts))


def _deploy(job: Job, deploy: Deploy, found: Findings, file: str) -> None:
    on = deploy.on
    if not {"branch", "all_branches", "tags"} & set(on):
        told = f"{deploy.path} does not say from which branch it deploys"
        detail = "Travis then deploys from a branch that is called master, and from no other: give on.branch."
        place = deploy.place_of("on")
        found.add(ASSUMED_BRANCH, file, place, told, detail, severity=Severity.WARNING, path=f"{deploy.path}.on")
    own = deploy.get("allow_failure") is True
    if own or job.tolerated is not None:
        place = deploy.place_of("allow_failure") if own else job.tolerated
        _tolerated(job, f"{deploy.path} may fail", place, deploy.path, Severity.WARNING, found, file)
    for one, place, path in each(deploy.get("script"), deploy.place_of("script"), f"{deploy.path}.script"):
        if not isinstance(one, Table):
            _command(job, Command(str(one), "deploy", place, path), found, file)


def _tolerated(job: Job, what: str, place: Any, path: str, grade: Severity, found: Findings, file: str) -> None:
    told = f"{what}, and the build passes all the same"
    detail = f"A build that passed then does not prove that {job.name} deployed anything: let it fail."
    found.add(TOLERATED_FAILURE, file, place, told, detail, severity=grade, path=path)


def _secrets_of_forks(job: Job, found: Findings, file: str) -> None:
    for command in job.commands:
        if job.tolerated is not None and shell_words.ours(command.text):
            what = f"{command.path} runs {shell_words.ours(command.text)!r} in a job that may fail"
            _tolerated(job, what, job.tolerated, command.path, Severity.ERROR, found, file)
        name = shell_words.encrypted_file(command.text)
        if not name or command.phase not in _RUN_BEFORE or not job.in_pull_requests:
            continue
        if not _is_guarded(job, command, ours=False):
            told = f"{command.path} needs ${name}, which pull requests of forks do not have"
            detail = f'They fail there without a word of why. Ask for it first: if [ -n "${name}" ]; then …; fi.'
            grade = Severity.WARNING
            found.add(ABSENT_SECRET, file, command.place, told, detail, severity=grade, path=command.path)


def _history(pipeline: Pipeline, job: Job, found: Findings, file: str) -> None:
    git = job.given.get("git", pipeline.root.get("git"))
    depth = git.get("depth") if isinstance(git, Table) else None
    if depth is False or any(shell_words.fetches_history(one.text) for one in job.commands):
        return
    for command in job.commands:
        part = shell_words.needs_history(command.text)
        if part:
            shown = 50 if depth is None else depth
            told = f"{command.path} runs {part!r} on a clone of the last {shown} commits"
            detail = (
                "Older commits and their tags are not there, and the answer is another one. Set git.depth: false."
            )
            grade = Severity.WARNING
            found.add(SHALLOW_CLONE, file, command.place, told, detail, severity=grade, path=command.path)


def _never_deploys(pipeline: Pipeline, found: Findings, file: str) -> None:
    by_path: dict[str, list[tuple[Job, Deploy]]] = {}
    for job in pipeline.jobs:
        for deploy in job.deploys:
            if deploy.on.get("condition") in SWITCHED_OFF:
                continue  # on purpose: it takes the place of what would be inherited
            by_path.setdefault(deploy.path, []).append((job, deploy))
    only = limited_branches(pipeline.root)
    for path, cases in by_path.items():
        deploy = cases[0][1]
        branches = tuple(_branches(deploy))
        missed = only is not None and branches and not any(one in only for one in branches)
        if missed or not any(_can_deploy(job, branches) for job, _ in cases):
            told = f"{path} never deploys: no build runs it on the branches that it takes"
            shown = ", ".join(branches) or "any branch"
            detail = f"It deploys from {shown}, and never in pull requests; its job's conditions leave none of that."
            found.add(NEVER_DEPLOYS, file, deploy.place, told, detail, path=path)


def limited_branches(root: Table) -> frozenset[str] | None:
    """The branches that builds are limited to; None where there is no limit, or one by patterns."""
    branches = root.get("branches")
    given = branches.get("only") if isinstance(branches, Table) else branches
    names = [str(one) for one, _, _ in each(given, root.place, "")]
    return frozenset(names) if names and not any("/" in one or "*" in one for one in names) else None


def _branches(deploy: Deploy) -> Iterator[str]:
    """The branches by name; none where it deploys from others as well."""
    on = deploy.on
    if on.get("all_branches") or on.get("tags"):
        return
    given = on.get("branch", "master")
    names = [str(one) for one, _, _ in each(given, deploy.place, "") if not isinstance(one, Table)]
    if not any(sign in one for one in names for sign in "*$/"):
        yield from names


def _can_deploy(job: Job, branches: tuple[str, ...]) -> bool:
    known: list[dict[str, Any]] = [{"branch": one} for one in branches] or [{}]
    builds = [{**one, "type": kind} for one in known for kind in ("push", "api", "cron")]
    return any(job.outcome(one) is not Outcome.NEVER for one in builds)


def _stages(pipeline: Pipeline, found: Findings, file: str) -> None:
    listed = {name.lower(): name for name, _, _ in pipeline.stages}
    used = {job.stage for job in pipeline.jobs}
    for name, place, path in pipeline.stages:
        if name.lower() not in used:
            near = nearest(name.lower(), used - set(listed))
            hint = f"Did you mean {near!r}?" if near else "Remove it, or give a job that stage."
            told = f"{path} lists the stage {name!r}, which no job belongs to"
            found.add(UNMATCHED_STAGE, file, place, told, hint, severity=Severity.WARNING, path=path)
    for job in pipeline.jobs:
        near = nearest(job.stage, listed) if listed and job.stage not in listed else None
        if near and job.path:
            told = f"{job.name} is of the stage {job.stage!r}, which stages does not list"
            detail = f"It runs in an order and on conditions of its own. Did you mean {listed[near]!r}?"
            grade = Severity.WARNING
            found.add(UNMATCHED_STAGE, file, job.place, told, detail, severity=grade, path=f"{job.path}.stage")
