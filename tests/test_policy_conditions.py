"""Every operator does what IAM documents, on the examples of its own pages where there are some."""

from __future__ import annotations

from typing import Any

import pytest

from meshwright.trust.policies import PolicyError, compiled_condition, holds, lowered, matches
from meshwright.trust.policies.operators import OPERATORS

KEY = "aws:PrincipalTag/team"
DATE = "aws:CurrentTime"
ARN = "arn:aws:iam::111111111111:role/team/deployer"

HOLDS: list[tuple[str, Any, Any, bool | None]] = [
    # operator, the policy's value, the request's, what comes of it; None is undecided
    ("StringEquals", "iamuser-admin", "iamuser-admin", True),
    ("StringEquals", "iamuser-admin", "iamuser-ADMIN", False),
    ("StringEquals", "iamuser-*", "iamuser-admin", False),
    ("StringEquals", "iamuser-*", "iamuser-*", True),
    ("StringEquals", ["a", "b"], "b", True),
    ("StringEquals", ["a", "b"], "c", False),
    ("StringEquals", 10, "10", True),
    ("StringEquals", True, "true", True),
    ("StringEquals", "é", "e\u0301", False),
    ("StringNotEquals", "a", "b", True),
    ("StringNotEquals", "a", "a", False),
    ("StringNotEquals", ["a", "b"], "b", False),
    ("StringEqualsIgnoreCase", "Admin", "aDMIN", True),
    ("StringEqualsIgnoreCase", "Admin", "bdmin", False),
    ("StringNotEqualsIgnoreCase", "Admin", "aDMIN", False),
    ("StringNotEqualsIgnoreCase", "Admin", "other", True),
    ("StringLike", "home/*", "home/", True),
    ("StringLike", "home/*", "Home/x", False),
    ("StringLike", ["", "home/", "home/a/*"], "", True),
    ("StringLike", ["", "home/", "home/a/*"], "home/a/b/c", True),
    ("StringLike", ["", "home/", "home/a/*"], "home/b", False),
    ("StringLike", "a?c", "abc", True),
    ("StringLike", "a?c", "ac", False),
    ("StringLike", "arn:aws:s:*:111122223333:finance/*", "arn:aws:s:u:9:store/abc:111122223333:finance/d", True),
    ("StringNotLike", "home/*", "home/x", False),
    ("StringNotLike", "home/*", "work", True),
    ("NumericEquals", "10", "10.0", True),
    ("NumericEquals", 10, "10", True),
    ("NumericEquals", "10", "9.99", False),
    ("NumericEquals", "10", "ten", None),
    ("NumericEquals", "10", "1e1", None),
    ("NumericEquals", "10", "\u0661\u0660", None),
    ("NumericNotEquals", "10", "10.0", False),
    ("NumericNotEquals", "10", "11", True),
    ("NumericLessThan", "10", "9", True),
    ("NumericLessThan", "10", "10", False),
    ("NumericLessThan", ["3", "10"], "5", True),
    ("NumericLessThanEquals", "10", "10", True),
    ("NumericLessThanEquals", "10", "10.5", False),
    ("NumericGreaterThan", "10", "10", False),
    ("NumericGreaterThan", "-10", "-9.5", True),
    ("NumericGreaterThanEquals", "10", "10", True),
    ("NumericGreaterThanEquals", "10", "9", False),
    ("DateEquals", "2020-01-01T00:00:01Z", "2020-01-01T00:00:01.000Z", True),
    ("DateEquals", "2020-01-01T00:00:01Z", "2020-01-01T00:00:02Z", False),
    ("DateEquals", "2020-01-01", "2020-01-01T00:00:00Z", True),
    ("DateEquals", "2020-01", "2020-01-01T00:00:00Z", True),
    ("DateEquals", "2020", "2020-01-01T00:00:00Z", True),
    ("DateEquals", "2020-01-01T02:00+02:00", "2020-01-01T00:00:00Z", True),
    ("DateEquals", "2019-12-31T19:00:00-05:00", "2020-01-01T00:00:00Z", True),
    ("DateEquals", "1577836800", "2020-01-01T00:00:00Z", True),
    ("DateEquals", "2020-01-01", "yesterday", None),
    ("DateEquals", "2020-01-01", "2020-02-30", None),
    ("DateNotEquals", "2020-01-01", "2020-01-01T00:00:00Z", False),
    ("DateNotEquals", "2020-01-01", "2020-01-01T00:00:00.5Z", True),
    ("DateLessThan", "2020-01-01", "2019-12-31T23:59:59.999Z", True),
    ("DateLessThan", "2020-01-01", "2020-01-01T00:00:00Z", False),
    ("DateLessThanEquals", "2020-01-01", "2020-01-01T00:00:00Z", True),
    ("DateLessThanEquals", "2020-01-01", "2020-01-01T00:00:00.001Z", False),
    ("DateGreaterThan", "2020-01-01T00:00:01Z", "2020-01-01T00:00:02Z", True),
    ("DateGreaterThan", "2020-01-01T00:00:01Z", "2020-01-01T00:00:01Z", False),
    ("DateGreaterThanEquals", "2020-01-01T00:00:01Z", "2020-01-01T00:00:01Z", True),
    ("DateGreaterThanEquals", "2020-01-01T00:00:01Z", "2020-01-01T00:00:00Z", False),
    ("Bool", "true", "TRUE", True),
    ("Bool", True, "true", True),
    ("Bool", "true", "false", False),
    ("Bool", "false", "false", True),
    ("Bool", "true", "yes", None),
    ("BinaryEquals", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", True),
    ("BinaryEquals", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", "QmluYXJ5", False),
    ("BinaryEquals", "YQ==", "not base64", None),
    ("IpAddress", "203.0.113.0/24", "203.0.113.255", True),
    ("IpAddress", "203.0.113.0/24", "203.0.114.0", False),
    ("IpAddress", "203.0.113.7", "203.0.113.7", True),
    ("IpAddress", "203.0.113.7/24", "203.0.113.200", True),
    ("IpAddress", ["203.0.113.0/24", "2001:DB8:1234:5678::/64"], "2001:db8:1234:5678:1::", True),
    ("IpAddress", ["203.0.113.0/24", "2001:DB8:1234:5678::/64"], "2001:db8:1234:5679::", False),
    ("IpAddress", "203.0.113.0/24", "::ffff:203.0.113.9", True),
    ("IpAddress", "0.0.0.0/0", "203.0.113.9", True),
    ("IpAddress", "0.0.0.0/0", "2001:db8::1", False),
    ("IpAddress", "203.0.113.0/24", "somewhere", None),
    ("IpAddress", "203.0.113.0/24", "203.0.113.09", None),
    ("NotIpAddress", "203.0.113.0/24", "203.0.113.255", False),
    ("NotIpAddress", "203.0.113.0/24", "198.51.100.1", True),
    ("ArnEquals", ARN, ARN, True),
    ("ArnEquals", "arn:aws:iam::*:role/team/*", ARN, True),
    ("ArnLike", "arn:aws:iam::1?1111111111:role/*/deployer", ARN, True),
    ("ArnLike", "arn:aws:iam::*:role/deployer", ARN, False),
    ("ArnLike", ARN.replace("role", "Role"), ARN, False),
    (
        "ArnLike",
        "arn:aws:s:*:111122223333:finance/*",
        "arn:aws:s:us-east-2:999:store/a:111122223333:finance/d",
        False,
    ),
    ("ArnLike", "arn:aws:sns:*:*:topic:*", "arn:aws:sns:us-east-1:1:topic:sub", True),
    ("ArnLike", "arn:aws:iam::*:role/*", "no ARN", None),
    ("ArnLike", "*:*:*:*:*:*", "no:ARN:of:six:parts:either", None),
    ("ArnLike", "*:*:*:*:*:*", ARN, True),
    ("ArnEquals", "arn:aws:iam::*:user/*", ARN, False),
    ("ArnNotEquals", ARN, ARN, False),
    ("ArnNotEquals", "arn:aws:iam::*:user/*", ARN, True),
    ("ArnNotLike", "arn:aws:iam::*:role/*", ARN, False),
    ("ArnNotLike", "arn:aws:iam::2*:role/*", ARN, True),
    ("Null", "false", "there", True),
    ("Null", "true", "there", False),
    ("Null", False, "", True),
    ("Null", ["true", "false"], "there", True),
]


def outcome(operator: str, policy: Any, request: Any, **others: str) -> bool | None:
    """What one test says; None for the request is a missing key."""
    (test,) = compiled_condition({operator: {KEY: policy}}, "test")
    return test.outcome(lowered({KEY: request, **others} if request is not None else others))


@pytest.mark.parametrize(("operator", "policy", "request_", "expected"), HOLDS)
def test_operators_hold_as_documented(operator: str, policy: Any, request_: Any, expected: bool | None) -> None:
    """One policy value, or several, against one of the request."""
    assert outcome(operator, policy, request_) is expected


def test_every_operator_has_examples_of_both_outcomes() -> None:
    """So that none of them can be wired wrongly unseen."""
    for name in OPERATORS:
        assert {expected for operator, _, _, expected in HOLDS if operator == name} >= {True, False}, name


SOUND: dict[str, Any] = {
    "Numeric": "1",
    "Date": "2020-01-01",
    "Bool": "true",
    "Binary": "YQ==",
    "IpAddress": "10.0.0.1",
    "NotIpAddress": "10.0.0.1",
    "Arn": ARN,
    "String": "x",
}
"""A value by the operator's first word."""


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - {"Null"}))
def test_a_missing_key_fails_unless_the_operator_is_negated_or_says_if_exists(name: str) -> None:
    """IAM's page, "If the key that you specify in a policy condition is not present"."""
    value = next(value for start, value in SOUND.items() if name.startswith(start))
    assert outcome(name, value, None) is ("Not" in name)
    assert outcome(name, value, ()) is ("Not" in name)
    assert outcome(f"{name}IfExists", value, None) is True
    assert outcome(f"ForAllValues:{name}", value, None) is True
    assert outcome(f"ForAnyValue:{name}", value, None) is False
    assert outcome(f"ForAnyValue:{name}IfExists", value, None) is True


def test_if_exists_changes_nothing_for_keys_that_are_there() -> None:
    """`StringLikeIfExists` on an instance type, as in IAM's example."""
    types = ["t1.*", "t2.*", "m3.*"]
    assert outcome("StringLikeIfExists", types, "t2.micro") is True
    assert outcome("StringLikeIfExists", types, "c5.large") is False
    assert outcome("StringNotEqualsIfExists", "a", "a") is False


def test_null_asks_for_presence() -> None:
    """Of a value, or of a list with something in it."""
    assert outcome("Null", "true", None) is True
    assert outcome("Null", "false", None) is False
    assert outcome("Null", "true", ()) is True
    assert outcome("Null", "false", ("a",)) is True


WANTED = ["PostDateTime", "Message", "Tags"]


@pytest.mark.parametrize(
    ("operator", "policy", "request_", "expected"),
    [
        ("ForAllValues:StringLike", WANTED, ("PostDateTime", "Message"), True),
        ("ForAllValues:StringLike", WANTED, ("PostDateTime", "UserName"), False),
        ("ForAllValues:StringLike", "Post*", ("PostDateTime", "PostOffice"), True),
        ("ForAnyValue:StringLike", ["ID", "PostDateTime"], ("UserName", "Message", "PostDateTime"), True),
        ("ForAnyValue:StringLike", ["ID", "PostDateTime"], ("UserName",), False),
        ("ForAllValues:StringNotLike", "key1*", ("key1:legal",), False),
        ("ForAllValues:StringNotLike", "key1*", ("key1:hr", "key1:personnel"), False),
        ("ForAllValues:StringNotLike", "key1*", ("key2:audit",), True),
        ("ForAllValues:StringNotLike", "key1*", ("key1:hr", "key2:audit"), False),
        ("ForAnyValue:StringNotLike", "key1*", ("key1:hr", "key2:audit"), True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ("a", "b"), False),
        ("ForAllValues:StringEquals", "a", "a", True),
        ("ForAnyValue:StringEquals", "a", "b", False),
        ("ForAllValues:StringEquals", "a", ("",), True),
        ("ForAnyValue:StringEquals", "", ("",), False),
        ("ForAllValues:NumericLessThan", "5", ("3", "4"), True),
        ("ForAllValues:NumericLessThan", "5", ("3", "x"), None),
        ("ForAllValues:NumericLessThan", "5", ("9", "x"), False),
        ("ForAnyValue:NumericLessThan", "5", ("9", "x"), None),
        ("ForAnyValue:NumericLessThan", "5", ("3", "x"), True),
        ("ForAnyValue:NumericLessThan", "5", ("9", "8"), False),
        ("StringEquals", "a", ("a",), True),
        ("StringEquals", "a", ("a", "a"), True),
        ("StringEquals", "a", ("b", "c"), False),
        ("StringEquals", "a", ("a", "b"), None),
        ("StringNotEquals", "a", ("a", "b"), None),
        ("StringNotEquals", "a", ("b", "c"), True),
    ],
)
def test_several_values_of_a_key(operator: str, policy: Any, request_: Any, expected: bool | None) -> None:
    """The tables of IAM's pages on set operators; without one, values that do not agree leave it undecided."""
    assert outcome(operator, policy, request_) is expected


def test_variables_are_filled_in() -> None:
    """In String, Arn and Bool operators; without a value there is no match, and no negated one either."""
    own = "${aws:username}"
    assert outcome("StringEquals", own, "writer", **{"aws:username": "writer"}) is True
    assert outcome("StringEquals", own, "writer", **{"AWS:UserName": "second"}) is False
    assert outcome("StringEquals", own, "writer") is False
    assert outcome("StringNotEquals", own, "writer") is False
    assert outcome("StringNotEquals", own, "writer", **{"aws:username": "second"}) is True
    assert outcome("StringNotEquals", [own, "x"], "writer") is False
    assert outcome("StringEquals", [own, "writer"], "writer") is True
    assert outcome("StringEquals", "${aws:username, 'writer'}", "writer") is True
    assert outcome("StringLike", "a/${aws:username}/*", "a/*/b", **{"aws:username": "*"}) is True
    assert outcome("StringLike", "a/${aws:username}/*", "a/x/b", **{"aws:username": "*"}) is False
    assert outcome("StringLike", "a${*}?", "a*b") is True
    assert outcome("StringLike", "a${*}?", "axb") is False
    assert outcome("StringEquals", "${$}{aws:username}", "${aws:username}") is True
    account = "arn:aws:iam::${aws:PrincipalAccount}:role/*"
    assert outcome("ArnLike", account, ARN, **{"aws:PrincipalAccount": "111111111111"}) is True
    assert outcome("ArnLike", account, ARN, **{"aws:PrincipalAccount": "222222222222"}) is False
    assert outcome("ArnEquals", "${aws:SourceArn}", ARN, **{"aws:SourceArn": ARN}) is True
    assert outcome("ArnNotEquals", "${aws:SourceArn}", ARN, **{"aws:SourceArn": "junk"}) is False
    assert outcome("Bool", own, "true", **{"aws:username": "True"}) is True
    assert outcome("Bool", own, "true", **{"aws:username": "junk"}) is False


def test_an_empty_variable_leaves_a_pattern_undecided() -> None:
    """With an empty tag `${tag}*` would match everything; a text without wildcards is compared as it is."""
    empty = {"aws:username": ""}
    for operator in ("StringLike", "StringNotLike"):
        assert outcome(operator, "${aws:username}*", "cart", **empty) is None
        assert outcome(operator, ["${aws:username}*", "cart"], "cart", **empty) is ("Not" not in operator)
        assert outcome(operator, ["${aws:username}*", "cart"], "pay", **empty) is None
    assert outcome("ArnLike", "arn:aws:iam::*:role/${aws:username}*", ARN, **empty) is None
    assert outcome("StringEquals", "${aws:username}", "cart", **empty) is False
    assert outcome("StringNotEquals", "${aws:username}", "cart", **empty) is True
    assert outcome("ForAnyValue:StringLike", "${aws:username}*", ("a", "b"), **empty) is None


def test_a_value_with_colons_shifts_no_part_of_an_arn() -> None:
    """A variable is filled in after the pattern was split."""
    pattern = "arn:aws:iam::${aws:username}:role/*"
    value = "arn:aws:iam::1:2:role/x"
    for operator in ("ArnLike", "ArnEquals"):
        assert outcome(operator, pattern, value, **{"aws:username": "1:2"}) is False
        assert outcome(f"{operator.replace('Arn', 'ArnNot')}", pattern, value, **{"aws:username": "1:2"}) is True


def test_all_operators_and_keys_must_hold() -> None:
    """The values of one key are alternatives."""
    block = {"StringEquals": {KEY: ["a", "b"], "aws:username": "x"}, "Bool": {"aws:SecureTransport": "true"}}
    right = {KEY: "b", "aws:username": "x", "aws:SecureTransport": "true"}
    assert matches(block, right)
    for key in right:
        assert not matches(block, {**right, key: "false"})


def test_claims_are_keys_too() -> None:
    """Names of claims need no service; lists are several values; case of names does not matter."""
    block = {
        "StringEquals": {"repository": "acme/cart"},
        "StringLike": {"ref": "refs/heads/*"},
        "ForAnyValue:StringEquals": {"groups": "deployers"},
        "Bool": {"protected": True},
        "NumericGreaterThan": {"run_attempt": 0},
    }
    claims: dict[str, str | tuple[str, ...]] = {
        "repository": "acme/cart",
        "Ref": "refs/heads/main",
        "groups": ("readers", "deployers"),
        "protected": "true",
        "run_attempt": "1",
    }
    assert matches(block, claims)
    assert not matches(block, {**claims, "groups": ("readers",)})
    assert not matches(block, {**claims, "repository": "evil/acme/cart"})
    assert not matches(block, {**claims, "repository": ("acme/cart", "evil/cart")})
    assert not matches(block, {**claims, "run_attempt": "many"})
    with pytest.raises(PolicyError, match="StringEqual"):
        matches({"StringEqual": {"repository": "x"}}, claims)


def test_what_is_undecided_does_not_hold() -> None:
    """A block on its own allows."""
    assert not holds(compiled_condition({"StringNotEquals": {KEY: "a"}}, "test"), lowered({KEY: ("a", "b")}))


def test_names_that_differ_in_case_alone_are_one_key_with_several_values() -> None:
    """A second tag `Team` beside `team` opens no gap, whichever comes first."""
    for context in (
        {"aws:PrincipalTag/team": "a", KEY.upper(): "b"},
        {KEY.upper(): "b", "aws:PrincipalTag/team": "a"},
    ):
        assert set(lowered(context)["aws:principaltag/team"]) == {"a", "b"}
        assert not matches({"StringEquals": {KEY: "a"}}, context)


def test_a_test_tells_what_it_asked_and_what_was_there() -> None:
    """For `trust explain`."""
    (test,) = compiled_condition({"StringEquals": {KEY: ["cart", "pay"]}}, "test")
    assert test.told({KEY.lower(): "web"}) == f"StringEquals {KEY}: is 'web', the policy says 'cart' or 'pay'"
    assert test.told({}) == f"StringEquals {KEY}: is missing, the policy says 'cart' or 'pay'"
