"""Conditions are read as Travis reads them, and never and always are said only when it is so."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.ci.travis.conditions import (
    Among,
    And,
    Attribute,
    Call,
    ConditionError,
    Equal,
    Is,
    Match,
    Not,
    Or,
    Word,
    parse,
)
from meshwright.ci.travis.outcomes import TYPES, Outcome, holds, outcome
from settings import SHARED

if TYPE_CHECKING:
    from meshwright.ci.travis.conditions import Expression

BRANCH, TAG, KIND = Attribute("branch"), Attribute("tag"), Attribute("type")


def cases(name: str) -> list[str]:
    """The conditions of a file of real ones."""
    path = SHARED / "travis" / "conditions_fixtures" / f"{name}.txt"
    if not path.is_file():
        pytest.skip("the real conditions are not on this machine")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.strip().startswith("#")]


def refused(text: str) -> str:
    """What is said of a condition that Travis does not take; "" where it does."""
    try:
        parse(text)
    except ConditionError as error:
        return error.summary
    return ""


def test_real_conditions_that_travis_takes_are_taken() -> None:
    """Every one, of well over a thousand."""
    assert [(text, refused(text)) for text in cases("passes") if refused(text)] == []


def test_real_conditions_that_travis_refuses_are_refused() -> None:
    """Every one; each is told with a reason."""
    assert [text for text in cases("failures") if not refused(text)] == []


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("branch = main", Equal(BRANCH, Word("main"))),
        ("branch=main", Equal(BRANCH, Word("main"))),
        ("branch == main", Equal(BRANCH, Word("main"))),
        ("branch != 'a b'", Equal(BRANCH, Word("a b", quoted=True), negated=True)),
        ("tag =~ ^v1", Match(TAG, Word("^v1"))),
        ("tag ~= /^(a|b) c$/", Match(TAG, Word("^(a|b) c$"))),
        (r"tag !~ /a\/b/", Match(TAG, Word(r"a\/b"), negated=True)),
        ("(tag =~ ^v) and tag", And((Match(TAG, Word("^v")), TAG))),
        ("tag =~ env(X)", Match(TAG, Call("env", (Word("X"),)))),
        (
            "tag =~ concat(^,ENV(X),-)",
            Match(TAG, Call("concat", (Word("^"), Call("env", (Word("X"),)), Word("-")))),
        ),
        ("branch IN (a, 'b c')", Among(BRANCH, (Word("a"), Word("b c", quoted=True)))),
        ("branch not in (a,)", Among(BRANCH, (Word("a"),), negated=True)),
        ("tag IS NOT present", Is(TAG, "present", negated=True)),
        ("tag is BLANK", Is(TAG, "blank")),
        ("NOT tag AND tag OR tag", Or((And((Not(TAG), TAG)), TAG))),
        ("tag OR tag AND tag", Or((TAG, And((TAG, TAG))))),
        ("!tag && (tag || tag)", And((Not(TAG), Or((TAG, TAG))))),
        ("tag AND \\\n  tag", And((TAG, TAG))),
        ("env(env(X)) = type", Equal(Call("env", (Call("env", (Word("X"),)),)), KIND)),
        ('branch = "$HOME"', Equal(BRANCH, Word("$HOME", quoted=True))),
        ("tags = true", Equal(Word("tags"), Word("true"))),
    ],
)
def test_a_condition_is_read_into_this_tree(text: str, tree: Expression) -> None:
    """NOT binds more than AND, AND more than OR; aliases and any case of keywords are the same."""
    assert parse(text).expression == tree


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("branch = $X", 10, "begins with a dollar"),
        ("type IS push", 9, "nothing can follow"),
        ("type IN push", 9, "a list in brackets after IN"),
        ("type IN", 8, "a list in brackets after IN"),
        ("type IN ()", 10, "a list of values"),
        ("tag =~", 7, "a regular expression after =~"),
        ("branch = 'a", 10, "a second '"),
        ("(branch = a", 12, "a closing bracket"),
        ("branch = a)", 11, "nothing can follow"),
        ("branch =", 9, "a value"),
        ("", 1, "a value"),
        ("(" * 5000, 102, "deeper than 100"),
        ("not " * 5000, 405, "deeper than 100"),
        ("env(" * 5000, 405, "deeper than 100"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, column: int, told: str) -> None:
    """Counted from 1, in characters; a nest ends in one message."""
    with pytest.raises(ConditionError, match=told) as caught:
        parse(text)
    assert caught.value.column == column


@pytest.mark.parametrize(
    "text",
    [
        "branch!=main",
        "Branch = main",
        "branch = environment",
        "tag =~ /^v AND type = push",
        "tag IS AND tag",
        "type = tag",
    ],
)
def test_what_travis_reads_otherwise_than_meant_is_doubted(text: str) -> None:
    """It parses, and means something else."""
    assert parse(text).doubts


@pytest.mark.parametrize(
    ("text", "anywhere", "in_pull_requests"),
    [
        ("type = push", "sometimes", "never"),
        ("type != pull_request", "sometimes", "never"),
        ("type IN (push, pull_request)", "sometimes", "always"),
        ("NOT type IN (api, cron, push)", "sometimes", "always"),
        ("branch = main", "sometimes", "sometimes"),
        ("branch = main AND branch = next", "never", "never"),
        ("branch != main OR branch != next", "always", "always"),
        ("branch = main AND type = nightly", "never", "never"),
        ("tag IS present", "sometimes", "never"),
        ("tag =~ ^v", "sometimes", "never"),
        ("head_branch IS blank", "sometimes", "never"),
        ("tag =~ ^v AND type = pull_request", "never", "never"),
        ("fork = false", "sometimes", "sometimes"),
        ("fork AND fork IS false", "never", "never"),
        ("repo = head_repo", "sometimes", "sometimes"),
        ("branch IS present", "always", "always"),
        ("1 = 1", "always", "always"),
        ("env(A) = true", "sometimes", "sometimes"),
        ("env(A) IS true AND env(A) IS blank", "never", "never"),
        ("concat(a, -, b) = a-b", "always", "always"),
        (r"branch =~ (?<!x)y", "sometimes", "sometimes"),
        ("branch =~ ^main$ AND branch = next", "never", "never"),
    ],
)
def test_when_a_condition_holds(text: str, anywhere: str, in_pull_requests: str) -> None:
    """In any build, and in those of pull requests."""
    expression = parse(text).expression
    assert (outcome(expression), outcome(expression, {"type": "pull_request"})) == (anywhere, in_pull_requests)


def test_many_variables_are_judged_soon() -> None:
    """What is too much to try counts as unknown."""
    for text in (
        " AND ".join(f"env(V{number}) IN (a, b, c, d)" for number in range(40)),
        " OR ".join(f"branch = b{number}" for number in range(3000)),
    ):
        assert outcome(parse(text).expression) is Outcome.SOMETIMES


WORDS = ("main", "next", "")
ATOMS = st.one_of(
    st.builds(Equal, st.sampled_from([BRANCH, TAG]), st.builds(Word, st.sampled_from(WORDS)), st.booleans()),
    st.builds(Equal, st.just(KIND), st.builds(Word, st.sampled_from(TYPES)), st.booleans()),
    st.builds(Is, st.sampled_from([BRANCH, TAG]), st.sampled_from(["present", "blank"]), st.booleans()),
    st.builds(Match, st.sampled_from([BRANCH, TAG]), st.builds(Word, st.sampled_from(["^m", "n", "t$"]))),
    st.builds(Equal, st.just(BRANCH), st.just(TAG), st.booleans()),
)
TREES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.tuples(inner, inner)),
        st.builds(Or, st.tuples(inner, inner)),
    ),
    max_leaves=6,
)


@given(TREES)
def test_never_and_always_agree_with_every_build(tree: Expression) -> None:
    """Builds of many branches, tags and types, one by one."""
    found = outcome(tree)
    builds = itertools.product(TYPES, ("main", "next", "other"), (None, "main", "next", "v1"))
    for kind, branch, tag in builds:
        if kind != "pull_request" or tag is None:
            here = holds(tree, {"type": kind, "branch": branch, "tag": tag}, {})
            assert found is not (Outcome.NEVER if here else Outcome.ALWAYS)
