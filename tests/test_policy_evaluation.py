"""Decisions: who wins, who must agree, and who is named."""

from __future__ import annotations

from typing import Any

import pytest

from meshwright.trust.actions import ACTIONS
from meshwright.trust.policies import Ask, Decision, Policy, evaluate, parse
from policy_cases import case

HOME = "111111111111"
MESH = f"arn:aws:appmesh:us-east-1:{HOME}:mesh/shop"
NODE = f"{MESH}/virtualNode/cart"
TEAM = "aws:ResourceTag/team"
ASK = Ask("appmesh:UpdateVirtualNode", NODE, {TEAM: "cart", "aws:TagKeys": ("a", "b")})


def policy(*statements: dict[str, Any], source: str = "mine") -> Policy:
    """A policy of the newer version."""
    return parse({"Version": "2012-10-17", "Statement": list(statements)}, source)


def allow(sid: str = "", **members: Any) -> dict[str, Any]:
    """A statement that allows everything, but for `members`."""
    return {"Sid": sid, "Effect": "Allow", "Action": "*", "Resource": "*", **members}


def deny(sid: str = "", **members: Any) -> dict[str, Any]:
    """A statement that denies everything, but for `members`."""
    return {**allow(sid, **members), "Effect": "Deny"}


def told(decision: Decision) -> list[str]:
    """The statements of a decision, as people read them."""
    return [str(one) for one in decision.statements]


def test_nothing_is_allowed_that_nobody_allows() -> None:
    """No policy, or none about the action."""
    assert evaluate([], ASK) == Decision(False, "implicit deny")
    assert evaluate([policy(allow(Action="appmesh:List*"))], ASK) == Decision(False, "implicit deny")


def test_an_allow_names_its_statement() -> None:
    """The first that applies, by Sid or position."""
    found = evaluate([policy(allow(Action="s3:*")), policy(deny(Action="s3:*"), allow("Mine"), source="second")], ASK)
    assert found.allowed
    assert found.reason == "allowed"
    assert told(found) == ["statement 'Mine' of second"]
    assert told(evaluate([policy(deny(Action="s3:*"), allow())], ASK)) == ["statement 2 of mine"]


@pytest.mark.parametrize("first", [True, False])
def test_a_deny_wins_over_every_allow(first: bool) -> None:
    """Wherever it stands."""
    statements = [deny("No"), allow("Yes")] if first else [allow("Yes"), deny("No")]
    together = evaluate([policy(*statements)], ASK)
    apart = evaluate([policy(one, source=one["Sid"]) for one in statements], ASK)
    assert (together.allowed, together.reason) == (False, "explicit deny") == (apart.allowed, apart.reason)
    assert [one.sid for one in (*together.statements, *apart.statements)] == ["No", "No"]
    assert together.statements[0].effect == "Deny"


def test_boundaries_and_session_policies_must_each_allow() -> None:
    """And name the statement of each that does."""
    mine, theirs = policy(allow("I")), [[policy(allow("B"))], [policy(deny(Action="s3:*")), policy(allow("S"))]]
    assert [one.sid for one in evaluate([mine], ASK, boundaries=theirs).statements] == ["I", "B", "S"]
    for number in (1, 2):
        boundaries = [*theirs[: number - 1], [policy(allow(Action="appmesh:List*"))], *theirs[number:]]
        found = evaluate([mine], ASK, boundaries=boundaries)
        assert (found.allowed, found.reason, found.boundary) == (False, "implicit deny", number)
        found = evaluate(
            [mine], ASK, boundaries=[*theirs[: number - 1], [policy(deny("D"), allow())], *theirs[number:]]
        )
        assert (found.allowed, found.reason, found.boundary) == (False, "explicit deny", number)
    assert not evaluate([mine], ASK, boundaries=[[]]).allowed


def test_a_boundary_gives_nothing() -> None:
    """What the identity is not allowed, it is not."""
    found = evaluate([], ASK, boundaries=[[policy(allow())]])
    assert (found.allowed, found.boundary) == (False, 0)


def test_a_deny_of_a_boundary_wins_over_a_lack_of_grants() -> None:
    """Explicit denies are looked for everywhere first."""
    assert evaluate([], ASK, boundaries=[[policy(deny())]]).reason == "explicit deny"


def test_statements_that_came_near_say_what_was_missing() -> None:
    """Those about the action, with the resource or the conditions that did not match."""
    found = evaluate(
        [
            policy(
                allow("Elsewhere", Resource=f"{MESH}/virtualNode/pay"),
                allow("Other", Condition={"StringEquals": {TEAM: "pay"}, "Null": {TEAM: "false"}}),
                allow(
                    "Absent",
                    Condition={"StringEquals": {"aws:username": "x"}, "Bool": {"aws:SecureTransport": "true"}},
                ),
                allow("NotAbout", Action="appmesh:Describe*"),
                {"Sid": "All", "Effect": "Allow", "Action": "*", "NotResource": "*"},
                deny("NoDeny", Resource=f"{MESH}/virtualNode/pay"),
            )
        ],
        ASK,
    )
    assert found.reason == "implicit deny"
    assert told(found) == [
        "statement 'Elsewhere' of mine (Resource does not match)",
        f"statement 'Other' of mine (StringEquals {TEAM}: is 'cart', the policy says 'pay')",
        (
            "statement 'Absent' of mine (StringEquals aws:username: is missing, the policy says 'x'; "
            "Bool aws:SecureTransport: is missing, the policy says 'true')"
        ),
        "statement 'All' of mine (NotResource does not match)",
    ]


def test_a_resource_that_an_empty_variable_leaves_open_is_told() -> None:
    """As one that does not match."""
    mine = policy(allow("Open", Resource=f"{MESH}/virtualNode/${{{TEAM}}}*"))
    assert told(evaluate([mine], Ask(ASK.action, NODE, {TEAM: ""}))) == [
        "statement 'Open' of mine (Resource does not match)"
    ]


def test_what_is_undecided_neither_allows_nor_lifts_a_deny() -> None:
    """A malformed value, and several values that do not agree."""
    for condition in (
        {"NumericLessThan": {TEAM: "5"}},
        {"NumericNotEquals": {TEAM: "5"}},
        {"StringEquals": {"aws:TagKeys": "a"}},
        {"StringNotEquals": {"aws:TagKeys": "a"}},
    ):
        assert evaluate([policy(allow(Condition=condition))], ASK).reason == "implicit deny"
        assert evaluate([policy(allow(), deny(Condition=condition))], ASK).reason == "explicit deny"


def test_a_test_that_fails_makes_up_for_one_that_is_undecided() -> None:
    """A deny whose other condition surely fails says nothing."""
    condition = {"NumericLessThan": {TEAM: "5"}, "StringEquals": {TEAM: "pay"}}
    assert evaluate([policy(allow(), deny(Condition=condition))], ASK).allowed


def test_actions_know_no_case() -> None:
    """Neither in the question nor in the policy."""
    ask = Ask("APPMESH:updatevirtualnode", NODE)
    assert evaluate([policy(allow(Action="appMesh:UPDATE*Node"))], ask).allowed
    assert evaluate([policy(allow(Action="appmesh:UpdateVirtualNode"))], ask).allowed


def test_an_action_about_no_resource_needs_the_star() -> None:
    """`ListMeshes`, as in the service authorization reference."""
    ask = Ask("appmesh:ListMeshes", "*")
    assert evaluate([policy(allow())], ask).allowed
    assert not evaluate([policy(allow(Resource=f"{MESH}*".replace("mesh/shop*", "*")))], ask).allowed
    assert evaluate([policy({"Effect": "Allow", "Action": "*", "NotResource": NODE})], ask).allowed


def test_the_index_leaves_out_nothing_that_matters() -> None:
    """For every action the statements found by it are those that match it, of generated policies."""
    for number in range(60):
        for document in case(number).identity:
            mine = parse(document, "generated")
            for name in ACTIONS:
                about = mine.about(name.lower())
                assert {one.index for one in (*about.denies, *about.allows)} == {
                    one.index for one in mine.statements if one.actions.match(name.lower())
                }
                assert not any(one.allow for one in about.denies)
                assert all(one.allow for one in about.allows)


def test_a_decision_on_ten_statements_looks_at_those_about_the_action() -> None:
    """The others are not evaluated: the index holds two of ten."""
    statements = [allow(f"S{number}", Action=name) for number, name in enumerate(list(ACTIONS)[:9])]
    mine = policy(*statements, deny("D", Action="appmesh:UpdateVirtualNode"))
    about = mine.about("appmesh:updatevirtualnode")
    assert [one.sid for one in about.denies] == ["D"]
    assert len(about.allows) <= 1
