"""The jobs with which Travis CI governs a mesh: from validation to production, rollback and drift.

The one rule: what a job may do is decided by its condition before it runs, and how it ended by the exit code of the
command that failed: 1 makes it failed, 2 errored, and nothing after it runs.

Sources: https://docs.travis-ci.com/user/build-stages, https://docs.travis-ci.com/user/conditional-builds-stages-jobs
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.ci.travis.conditions import ConditionError, Equal, Word, parse
from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Value: TypeAlias = str | int | bool | list[str] | dict[str, Any]
Written: TypeAlias = Mapping[str, Value]

PYTHON = "3.12"
SYSTEM = "jammy"
WAIT = 300
"""Seconds that a job waits for proxies, telling how long it still will."""

ACTION = "MESHWRIGHT_ACTION"
"""The variable of a build that was asked for over the API: `rollback` makes it one."""
BUILD = "MESHWRIGHT_TO_BUILD"
"""The variable with the number of the build that a rollback restores; without it, the last good release."""

_PLAIN = re.compile(r"[A-Za-z](?:[^\n#:]|:(?! ))*(?<![ :])")
_TRUTHS = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the pipeline is about."""

    branch: str
    """The branch that is released."""
    environments: tuple[str, ...] = ()
    """In the order in which releases pass through them; none where `meshwright.yaml` has none."""
    requirement: str = "meshwright"
    """What pip installs."""
    logged_in: frozenset[str] = frozenset()
    """The environments whose role a job takes by proving which job it is; others have credentials in the settings."""
    config: str = ""
    """The project file where it is not `meshwright.yaml` beside `.travis.yml`."""


def jobs(plan: Plan, around: Written) -> list[dict[str, Value]]:
    """The jobs in order, each with what it needs `around` it: language, phases of others that are to do nothing.

    Raises:
        UsageError: the branch cannot be named in a condition.
    """
    return [{**head, **around, **rest} for head, rest in _jobs(plan)]


def stages(made: Iterable[Written]) -> list[str]:
    """The stages of jobs, each once, in order."""
    return list(dict.fromkeys(str(job["stage"]) for job in made))


def install(requirement: str) -> str:
    """The command that installs a requirement."""
    return f"pip install {_quoted(requirement)}"


def lines(values: Written, indent: int, *, dash: bool = False) -> Iterator[str]:
    """`values` as lines of YAML, `indent` columns from the left; with a dash before the first key."""
    for number, (key, value) in enumerate(values.items()):
        margin = " " * indent + ("- " if dash and number == 0 else "  " if dash else "")
        if isinstance(value, list):
            yield f"{margin}{key}:"
            yield from (f"{' ' * len(margin)}  - {scalar(one)}" for one in value)
        elif isinstance(value, dict):
            yield f"{margin}{key}:"
            yield from lines(value, len(margin) + 2)
        else:
            yield f"{margin}{key}: {scalar(value)}"


def scalar(value: str | bool | int) -> str:
    """A value as YAML, quoted where it would else be something else than this text."""
    if not isinstance(value, str):
        return str(value).lower()
    if _PLAIN.fullmatch(value) and value.lower() not in _TRUTHS:
        return value
    return f"'{value.replace(chr(39), chr(39) * 2)}'"


def whole(plan: Plan) -> str:
    """A whole `.travis.yml` for a repository that has none."""
    made = jobs(plan, {"python": PYTHON})
    top: dict[str, Value] = {
        "language": "python",
        "dist": SYSTEM,
        "cache": {"pip": True},
        "install": install(plan.requirement),
        "stages": stages(made),
    }
    text = [f"# {line}" if line else "#" for line in _HEAD.strip().split("\n")]
    text += [*lines(top, 0), "jobs:", "  include:"]
    for job in made:
        text += lines(job, 4, dash=True)
    return "\n".join(text) + "\n"


_HEAD = f"""
The mesh is governed from here: meshwright travis init wrote this, and meshwright travis check keeps an eye on it.

Pull requests validate, test and plan. The branch that is released goes to each environment in turn, and on to the
next once it is verified there. A daily build of that branch (Settings, Cron Jobs) repairs drift. A build over the API
with {ACTION}=rollback in env.global rolls back: to the last good release, or to {BUILD}.

No secret stands here: what jobs sign in with belongs into the settings, or each job obtains it for itself.
"""


def _jobs(plan: Plan) -> Iterator[tuple[dict[str, Value], dict[str, Value]]]:
    ordinary = f"env({ACTION}) IS blank"
    branch = _branch(plan.branch)
    ours = f"{branch} AND fork = false"
    first = plan.environments[0] if plan.environments else ""
    anybody = f"type != cron AND {ordinary}"
    yield _job("validate", "Validate the mesh", anybody, _validate(plan))
    head, rest = _job("test", "Test the mesh", anybody, [_run(plan, first, "test")])
    yield head, {"install": install(_with_lab(plan.requirement)), **rest}
    proposal = f"type = pull_request AND head_repo = repo AND {branch}"
    yield _job("plan", "Plan the change", proposal, [_run(plan, first, "plan", first)])
    released = f"type IN (push, api) AND {ours} AND tag IS blank AND {ordinary}"
    name = first or "the mesh"
    yield _job(
        f"release to {name}", f"Release to {name}", released, [_run(plan, first, f"apply --wait {WAIT}", first)]
    )
    verify = _run(plan, first, f"verify --rollback --timeout {WAIT}", first)
    yield _job(f"verify {name}", f"Verify {name}", released, [verify])
    for before, after in zip(plan.environments, plan.environments[1:], strict=False):
        promote = _run(plan, "", f"promote --from {before} --to {after} --wait {WAIT} --verify", after)
        yield _job(f"promote to {after}", f"Promote to {after}", released, [promote])
    back = f"type = api AND {ours} AND env({ACTION}) = rollback"
    last = plan.environments[-1] if plan.environments else ""
    yield _job("rollback", "Roll back", back, [_rollback(plan, last)])
    for one in plan.environments or ("",):
        command = f'drift --repair --wait {WAIT} --reason "Travis build $TRAVIS_BUILD_NUMBER"'
        repair = _run(plan, one, command, one)
        named = f" in {one}" if one else ""
        yield _job("drift", f"Repair drift{named}", f"type = cron AND {ours}", [repair])


def _job(stage: str, name: str, condition: str, script: Sequence[str]) -> tuple[dict[str, Value], dict[str, Value]]:
    return {"stage": stage, "name": name, "if": condition}, {"script": list(script)}


def _validate(plan: Plan) -> list[str]:
    checked = ["meshwright travis check || travis_terminate $?"]
    return checked + [_run(plan, one, "validate") for one in plan.environments or ("",)]


def _rollback(plan: Plan, environment: str) -> str:
    chosen = f'"${{MESHWRIGHT_ENVIRONMENT:-{environment}}}"' if environment else ""
    if set(plan.environments) == plan.logged_in:
        plan = msgspec.structs.replace(plan, logged_in=frozenset({chosen}))
    target = f"${{{BUILD}:+--to-build}} ${{{BUILD}:---last-good}}"
    command = f'rollback {target} --wait {WAIT} --reason "Travis build $TRAVIS_BUILD_NUMBER"'
    return _run(plan, chosen, command, chosen)


def _run(plan: Plan, environment: str, command: str, login: str = "") -> str:
    """A command of ours; the job ends as its exit code says. `login` is the environment that it is signed in at."""
    config = f" --config {_quoted(plan.config)}" if plan.config else ""
    where = f" --environment {environment}" if environment else ""
    signed_in = (
        f"meshwright{config} --environment {login} travis login --beside-aws -- " if login in plan.logged_in else ""
    )
    return f"{signed_in}meshwright{config}{where} {command} || travis_terminate $?"


def _branch(name: str) -> str:
    """The condition that a build is of a branch."""
    for shown in (name, f'"{name}"', f"'{name}'"):
        condition = f"branch = {shown}"
        try:
            read = parse(condition)
        except ConditionError:
            continue
        right = read.expression.right if isinstance(read.expression, Equal) else None
        if isinstance(right, Word) and right.text == name and not read.doubts:
            return condition
    raise UsageError(f"the branch {name!r} cannot be named in a condition of Travis; choose another with --branch.")


def _with_lab(requirement: str) -> str:
    """The requirement with what running a mesh needs besides."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    if name is None or "[" in requirement:
        return requirement
    return f"{name[0]}[lab]{requirement[name.end() :]}"


def _quoted(text: str) -> str:
    """A word for bash."""
    return text if re.fullmatch(r"[\w./=:@-]+", text) else "'" + text.replace("'", "'\\''") + "'"
