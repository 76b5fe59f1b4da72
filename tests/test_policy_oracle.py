"""Our decisions are those of an independent evaluator, `@cloud-copilot/iam-simulate`, over generated policies."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import policy_oracle
from meshwright.trust.policies import Ask, Decision, evaluate, parse
from meshwright.trust.policies.operators import OPERATORS
from policy_cases import HOME, Case, case
from settings import PROVE

CASES = 30_000 if PROVE else 500
TOLD = {"Allowed": "allowed", "ExplicitlyDenied": "explicit deny", "ImplicitlyDenied": "implicit deny"}

NODE = f"arn:aws:appmesh:us-east-1:{HOME}:mesh/shop/virtualNode/cart"
TEAM = "aws:PrincipalTag/team"


@pytest.fixture(scope="module", autouse=True)
def _oracle() -> None:
    if reason := policy_oracle.why_not():
        pytest.skip(reason)


def ours(one: Case, ignored: list[str]) -> Decision:
    """Our decision, on the keys that the other side did not leave out for having no meaning in such a request."""
    left_out = {key.lower() for key in ignored}
    context = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in one.context.items()
        if key.lower() not in left_out
    }
    boundaries = [[parse(document, "boundary") for document in one.boundary]] if one.boundary else []
    if one.session:
        boundaries.append([parse(one.session, "session")])
    identity = [parse(document, f"identity{index}") for index, document in enumerate(one.identity)]
    return evaluate(identity, Ask(one.action, one.resource, context), boundaries=boundaries)


def operators_of(one: Case) -> set[str]:
    """The operators of a case's conditions, with their qualifiers."""
    documents = [*one.identity, *(one.boundary or ()), *([one.session] if one.session else ())]
    found: set[str] = set()
    for document in documents:
        statements = document["Statement"]
        for statement in statements if isinstance(statements, list) else [statements]:
            found.update(statement.get("Condition", {}))
    return found


def test_decisions_are_those_of_an_independent_evaluator() -> None:
    """The verdict is the same, and the statement that we say decided is one that decided there."""
    cases = [case(number) for number in range(CASES)]
    outcomes: Counter[str] = Counter()
    seen: set[str] = set()
    different: list[tuple[int, Decision, Any]] = []
    for one, told in zip(cases, policy_oracle.answers(cases), strict=True):
        assert "error" not in told, (one, told)
        decision = ours(one, told["ignored"])
        outcomes[decision.reason] += 1
        seen |= operators_of(one)
        deciding = {"allowed": told["allows"], "explicit deny": told["denies"]}.get(decision.reason)
        if decision.reason != TOLD[told["result"]] or (deciding and decision.statements[0].sid not in deciding):
            different.append((one.number, decision, told))
    assert not different, (len(different), different[:3], case(different[0][0]))
    assert all(outcomes[reason] > CASES * 0.15 for reason in TOLD.values()), outcomes
    assert {name.removesuffix("IfExists").rpartition(":")[2] for name in seen} == OPERATORS.keys()
    assert {name.partition(":")[0] for name in seen if ":" in name} == {"ForAllValues", "ForAnyValue"}


def allowing(**members: Any) -> dict[str, Any]:
    """A statement that allows everything, but for `members`."""
    about = {} if "NotResource" in members else {"Resource": "*"}
    return {"Effect": "Allow", "Action": "*", **about, **members}


def denying(**members: Any) -> dict[str, Any]:
    """A statement that denies everything, but for `members`."""
    return allowing(Effect="Deny", **members)


DIFFERENCES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str, str]] = {
    # Statements, context, what the other evaluator says, what we say; the reasons are in docs/policies.md.
    "older-version-has-no-variables": (
        [{"Version": "2008-10-17"}, allowing(Condition={"StringEquals": {TEAM: "${aws:PrincipalTag/env}"}})],
        {TEAM: "cart", "aws:PrincipalTag/env": "cart"},
        "allowed",
        "implicit deny",
    ),
    "star-at-the-end-of-a-part-runs-over-colons": (
        [allowing(Resource="arn:aws:appmesh:*:mesh/shop/*")], {}, "implicit deny", "allowed",
    ),
    "not-resource-of-a-short-arn": (
        [allowing(NotResource="arn:aws:appmesh:eu-west-1:*")], {}, "implicit deny", "allowed",
    ),
    "not-resource-that-no-variable-could-make-match": (
        [allowing(NotResource=f"arn:aws:appmesh:*:{HOME}:mesh/pay/virtualNode/${{aws:username}}")],
        {}, "implicit deny", "allowed",
    ),
    "escapes-in-operators-without-wildcards": (
        [allowing(Condition={"StringEquals": {TEAM: "${*}"}})], {TEAM: "*"}, "implicit deny", "allowed",
    ),
    "if-exists-with-for-any-value": (
        [allowing(Condition={"ForAnyValue:StringEqualsIfExists": {TEAM: "cart"}})], {}, "implicit deny", "allowed",
    ),
    "empty-texts-are-an-empty-set": (
        [allowing(Condition={"ForAllValues:StringEquals": {TEAM: "cart"}})], {TEAM: ""}, "implicit deny", "allowed",
    ),
    "question-mark-is-one-character-beyond-the-basic-plane-too": (
        [allowing(Condition={"StringLike": {TEAM: "a?b"}})], {TEAM: "a\U0001f600b"}, "implicit deny", "allowed",
    ),
    "star-matches-line-breaks": (
        [allowing(Condition={"StringLike": {TEAM: "a*b"}})], {TEAM: "a\nb"}, "implicit deny", "allowed",
    ),
    "epoch-seconds-are-dates": (
        [allowing(Condition={"DateEquals": {"aws:CurrentTime": "1767225600"}})],
        {"aws:CurrentTime": "2026-01-01T00:00:00Z"}, "implicit deny", "allowed",
    ),
    "every-ipv4-address-is-in-0.0.0.0/0": (
        [allowing(Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}})],
        {"aws:SourceIp": "10.1.2.3"}, "implicit deny", "allowed",
    ),
    "an-ipv6-address-is-not-an-ipv4-address": (
        [allowing(Condition={"NotIpAddress": {"aws:SourceIp": "10.1.2.3"}})],
        {"aws:SourceIp": "2001:db8::7"}, "implicit deny", "allowed",
    ),
    "mapped-ipv4-addresses-are-ipv4-addresses": (
        [allowing(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})],
        {"aws:SourceIp": "::ffff:10.1.2.3"}, "implicit deny", "allowed",
    ),
    "malformed-values-do-not-lift-a-deny": (
        [allowing(), denying(Condition={"NumericLessThan": {"aws:PrincipalTag/level": "5"}})],
        {"aws:PrincipalTag/level": "none"}, "allowed", "explicit deny",
    ),
    "several-values-without-a-set-operator-do-not-lift-a-deny": (
        [allowing(), denying(Condition={"StringEquals": {"aws:TagKeys": "cost"}})],
        {"aws:TagKeys": ["cost", "env"]}, "allowed", "explicit deny",
    ),
    "one-value-of-a-key-with-several-needs-no-set-operator": (
        [allowing(Condition={"StringEquals": {"aws:TagKeys": "cost"}})],
        {"aws:TagKeys": ["cost"]}, "implicit deny", "allowed",
    ),
}  # fmt: skip


def case_of(name: str) -> Case:
    """The case that shows a difference."""
    statements, context, _, _ = DIFFERENCES[name]
    version = next((one["Version"] for one in statements if "Version" in one), "2012-10-17")
    document = {"Version": version, "Statement": [one for one in statements if "Effect" in one]}
    action = "appmesh:TagResource" if "aws:TagKeys" in context else "appmesh:DescribeVirtualNode"
    return Case(0, f"arn:aws:iam::{HOME}:user/writer", action, NODE, context, [document], None, None)


def test_where_we_differ_is_known_and_still_so() -> None:
    """A difference that ends, here or there, is noticed."""
    cases = {name: case_of(name) for name in DIFFERENCES}
    for (name, one), told in zip(cases.items(), policy_oracle.answers(cases.values()), strict=True):
        assert "error" not in told, (name, told)
        found = (TOLD[told["result"]], ours(one, told["ignored"]).reason)
        assert found == DIFFERENCES[name][2:], name
