"""Finds conditions that Travis cannot read, that say something else than was meant, and that never or always hold.

The one rule: a condition that is written to be constant, true or false, is nobody's mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.ci.travis.conditions import (
    Among,
    Attribute,
    Call,
    ConditionError,
    Equal,
    Match,
    Word,
    parse,
    parts,
)
from meshwright.ci.travis.outcomes import TYPES, Outcome, outcome
from meshwright.diagnostics import Severity
from meshwright.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.ci.travis.conditions import Condition, Expression
    from meshwright.ci.travis.pipeline import Pipeline
    from meshwright.ci.travis.shapes import Leaf, Leaves
    from meshwright.documents.findings import Findings

UNREADABLE_CONDITION = "MW852"
CONSTANT_CONDITION = "MW853"
MISREAD_CONDITION = "MW854"


def judged_conditions(leaves: Leaves, found: Findings, file: str) -> None:
    """Report what is wrong with each `if:` alone."""
    for leaf in leaves:
        if leaf.kind == "condition":
            _one(leaf, found, file)


def excluded_jobs(pipeline: Pipeline, found: Findings, file: str) -> None:
    """Report jobs whose conditions exclude those of their stage or of the build."""
    for job in pipeline.jobs:
        alone = [outcome(one) for one in job.conditions]
        if alone and Outcome.NEVER not in alone and job.outcome({}) is Outcome.NEVER:
            told = f"{job.name} can never run: its condition excludes that of its stage or of the build"
            detail = "All of them must hold. A job that is left out leaves no trace in the build."
            found.add(CONSTANT_CONDITION, file, job.place, told, detail, path=f"{job.path}.if")


def _one(leaf: Leaf, found: Findings, file: str) -> None:
    text = str(leaf.value).lower() if isinstance(leaf.value, bool) else str(leaf.value)
    try:
        condition = parse(text)
    except ConditionError as error:
        detail = f"Travis rejects the whole build, and shows it under Requests alone. {error.remedy}".strip()
        found.add(UNREADABLE_CONDITION, file, leaf.place, f"{leaf.path}: {error.summary}", detail, path=leaf.path)
        return
    doubts = [*condition.doubts, *_doubts(condition.expression)]
    for doubt in doubts:
        told = f"{leaf.path} does not say what it seems to: {doubt.partition('; ')[0].rstrip('.')}"
        remedy = doubt.partition("; ")[2]
        detail = remedy[:1].upper() + remedy[1:]
        found.add(MISREAD_CONDITION, file, leaf.place, told, detail, severity=Severity.WARNING, path=leaf.path)
    _constant(condition, leaf, found, file)


def _constant(condition: Condition, leaf: Leaf, found: Findings, file: str) -> None:
    expression = condition.expression
    if isinstance(expression, Word) and expression.text.lower() in {"true", "false"}:
        return
    when = outcome(expression)
    if when is Outcome.SOMETIMES:
        return
    names = [one.text for one in _lone_words(expression)]
    hint = f" {names[0]!r} is a word here, and not what the build calls so." if names else ""
    if when is Outcome.NEVER:
        told, grade = f"{leaf.path} never holds", Severity.ERROR
        detail = f"What it guards never runs, and leaves no trace in a build.{hint}"
    else:
        told, grade = f"{leaf.path} always holds", Severity.WARNING
        detail = f"It guards nothing.{hint}"
    found.add(CONSTANT_CONDITION, file, leaf.place, told, detail, severity=grade, path=leaf.path)


def _lone_words(expression: Expression) -> Iterator[Word]:
    """Words that stand where an attribute or a variable would."""
    for part in parts(expression):
        left = part.left if isinstance(part, Equal | Match | Among) else part
        if isinstance(left, Word) and left is not part:
            yield left


def _doubts(expression: Expression) -> Iterator[str]:
    for part in parts(expression):
        if isinstance(part, Call) and part.name == "env" and part.arguments:
            name = part.arguments[0].text if isinstance(part.arguments[0], Word) else ""
            if name.startswith("TRAVIS_"):
                yield (
                    f"env({name}) has no value, because conditions are judged before there is a job; use "
                    f"{_INSTEAD.get(name, 'an attribute such as type, branch or tag')}."
                )
        if isinstance(part, Equal | Among) and part.left == Attribute("type"):
            compared = part.items if isinstance(part, Among) else (part.right,)
            for word in compared:
                if isinstance(word, Word) and word.text not in TYPES:
                    known = f"the types are {', '.join(TYPES)}."
                    yield f"no build is of the type {word.text!r}; {did_you_mean(word.text, TYPES, known)}"


_INSTEAD = {
    "TRAVIS_BRANCH": "branch",
    "TRAVIS_TAG": "tag",
    "TRAVIS_EVENT_TYPE": "type",
    "TRAVIS_PULL_REQUEST": "type = pull_request",
    "TRAVIS_PULL_REQUEST_BRANCH": "head_branch",
    "TRAVIS_PULL_REQUEST_SLUG": "head_repo",
    "TRAVIS_REPO_SLUG": "repo",
    "TRAVIS_COMMIT_MESSAGE": "commit_message",
    "TRAVIS_OS_NAME": "os",
    "TRAVIS_DIST": "dist",
    "TRAVIS_LANGUAGE": "language",
}
