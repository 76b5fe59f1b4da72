"""Patterns match what IAM documents, and no pattern takes long."""

from __future__ import annotations

import itertools
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from meshwright.trust.policies import Ask, PolicyError, evaluate, parse
from meshwright.trust.policies.arns import arn_pattern, segments
from meshwright.trust.policies.patterns import automaton, glob, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOME = "111111111111"
NODE = f"arn:aws:appmesh:us-east-1:{HOME}:mesh/shop/virtualNode/cart"


def allowed(
    resource: str = NODE,
    action: str = "appmesh:DescribeVirtualNode",
    context: Mapping[str, Any] | None = None,
    **members: Any,
) -> bool:
    """Whether one statement of the newer version allows."""
    statement = {"Effect": "Allow", **members}
    statement |= {} if {"Action", "NotAction"} & members.keys() else {"Action": "*"}
    statement |= {} if {"Resource", "NotResource"} & members.keys() else {"Resource": "*"}
    policy = parse({"Version": "2012-10-17", "Statement": statement}, "one")
    return evaluate([policy], Ask(action, resource, context or {})).allowed


def translated(pattern: str) -> re.Pattern[str]:
    """What a pattern means, told by another engine."""
    return re.compile("".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern), re.DOTALL)


def words(alphabet: str, longest: int) -> list[str]:
    """Every text over `alphabet`, up to a length."""
    return ["".join(one) for length in range(longest + 1) for one in itertools.product(alphabet, repeat=length)]


def test_globs_match_what_regular_expressions_of_the_same_meaning_match() -> None:
    """Every pattern of up to five characters on every text of up to five, both ways of matching."""
    texts = words("a:\n", 3) + words("a:", 5)
    for pattern in words("a:*?", 5):
        meant = translated(pattern)
        quick, machine = glob(pieces(pattern)), automaton(pieces(pattern))
        for text in texts:
            expected = meant.fullmatch(text) is not None
            assert (quick.matches(text), machine.matches(text)) == (expected, expected), (pattern, text)


PARTS = ("", "a", "*", "?", "a*", "*a", "?*", "*a*")
SHORT = ("arn", "arn:*", "arn:a*", "*:a", "arn:*:a", "arn:*:a:*", "*:*:a", "a*:?:*")


def arns() -> Iterator[tuple[str, list[str]]]:
    """Patterns of many shapes, and texts that they may match."""
    texts = [
        f"arn:{one}:b::c:{two}" for one in ("", "a", "aa", "b", "a:a") for two in ("", "a", "aa", "b:a", "a:b:a")
    ]
    texts += ["", "arn", "a:a", "arn:a", "arn:a:a", "arn:a:a:a", "arn:::::", "arn:a:b:b::c:a", "arn:b:a:b::c:a:b:a"]
    for one, two, three in itertools.product(PARTS, PARTS, ("", "*")):
        yield f"arn:{one}:b:{three}:c:{two}", texts
        yield f"arn:{three}:b::{one}:{two}", texts
    for short in SHORT:
        yield short, texts


def test_arns_are_matched_part_by_part() -> None:
    """In conditions the first five colons of the pattern stand for the first five of the value."""
    for pattern, texts in arns():
        split = segments(pieces(pattern))
        found = arn_pattern(split, runs_on=False)
        meant = [translated(one) for one in pattern.split(":", 5)]
        for text in texts:
            parts = text.split(":", 5)
            expected = len(parts) == len(meant) == 6
            expected = expected and all(one.fullmatch(part) for one, part in zip(meant, parts, strict=True))
            assert found.matches(text, parts) is expected, (pattern, text)


def test_only_a_star_that_ends_a_part_of_a_resource_runs_over_colons() -> None:
    """Told by regular expressions whose other wildcards match no colon, but for those of the sixth part."""
    for pattern, texts in arns():
        told, colons = "", 0
        for at, char in enumerate(pattern):
            inner = colons < 5
            ends = pattern[at + 1 : at + 2] in ("", ":")
            told += {"*": "[^:]*" if inner and not ends else ".*", "?": "[^:]" if inner else "."}.get(
                char, re.escape(char)
            )
            colons += char == ":"
        found = arn_pattern(segments(pieces(pattern)), runs_on=True)
        whole = pattern.count(":") >= 5 or re.search(r"\*(:|$)", pattern)
        for text in texts:
            expected = bool(whole and re.fullmatch(told, text))
            assert found.matches(text, text.split(":", 5)) is expected, (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*", True),
        (NODE, True),
        (NODE.replace("cart", "Cart"), False),
        (f"arn:aws:appmesh:us-east-1:{HOME}:mesh/shop/*", True),
        (f"arn:aws:appmesh:us-east-1:{HOME}:mesh/*/cart", True),
        (f"arn:aws:appmesh:us-east-1:{HOME}:mesh/sho?/virtualNode/c*t", True),
        (f"arn:aws:appmesh:us-east-1:{HOME}:mesh/shop/virtualNode/car", False),
        (f"arn:aws:appmesh:us-east-1:{HOME}:mesh/shop/virtualNode/cart?", False),
        (f"arn:aws:appmesh:us-east-1:{HOME}:mesh/shop/virtualNode/cart*", True),
        (f"arn:aws:appmesh:us-east-1:{HOME}:*", True),
        (f"arn:aws:appmesh:eu-*:{HOME}:mesh/*", False),
        (f"arn:aws:appmesh:us-*t-1:{HOME}:mesh/*", True),
        (f"arn:*:appmesh:*:{HOME}:mesh/*", True),
        ("arn:aws:appmesh:*", True),
        ("arn:aws:appmesh:*:mesh/shop/*", True),
        ("arn:aws:appmesh:*:mesh/pay/*", False),
        ("arn:aws:appmesh:us-e*t-1:mesh/shop/virtualNode/*", None),
        ("arn:aws:appmesh:us-*", True),
        ("arn:aws:s3:::bucket/*", False),
    ],
)
def test_resources_match_as_documented(pattern: str, matched: bool | None) -> None:
    """And what is not matched, is by `NotResource`."""
    if matched is None:
        with pytest.raises(PolicyError, match="six parts"):
            allowed(Resource=pattern)
        return
    assert allowed(Resource=pattern) is matched
    assert allowed(NotResource=pattern) is not matched


@pytest.mark.parametrize(
    ("pattern", "key", "matched"),
    [
        ("bucket/*/test/*", "bucket/1/test/object.jpg", True),
        ("bucket/*/test/*", "bucket/1/2/test/3/object.jpg", True),
        ("bucket/*/test/*", "bucket/1///test///object.jpg", True),
        ("bucket/*/test/*", "bucket//test/object.jpg", True),
        ("bucket/*/test/*", "bucket/1/test/", True),
        ("bucket/*/test/*", "bucket/1-test/object.jpg", False),
        ("bucket/*/test/*", "bucket/test/object.jpg", False),
        ("bucket/*/test/*", "bucket/1/2/test.jpg", False),
        ("bucket/*", "bucket/a:b:c", True),
    ],
)
def test_stars_match_slashes(pattern: str, key: str, matched: bool) -> None:
    """The examples of IAM's page on `Resource`."""
    assert allowed(f"arn:aws:s3:::{key}", Resource=f"arn:aws:s3:::{pattern}") is matched


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*", True),
        ("*:*", True),
        ("appmesh:*", True),
        ("APPMESH:describevirtualnode", True),
        ("appmesh:Describe*", True),
        ("appmesh:?escribeVirtualNode", True),
        ("appmesh:DescribeVirtual", None),
        ("appmesh:DescribeVirtualRouter", False),
        ("s3:*", False),
    ],
)
def test_actions_match_as_documented(pattern: str, matched: bool | None) -> None:
    """And what is not matched, is by `NotAction`."""
    if matched is None:
        with pytest.raises(PolicyError, match="no action"):
            allowed(Action=pattern)
        return
    assert allowed(Action=pattern) is matched
    assert allowed(NotAction=pattern) is not matched


def test_an_action_that_no_table_knows_is_matched_as_well() -> None:
    """Policies are asked about actions of other services in `trust explain`."""
    assert allowed(action="s3:GetObject", Action="s3:Get*")
    assert not allowed(action="s3:PutObject", Action="s3:Get*")


TAG = "aws:PrincipalTag/name"


@pytest.mark.parametrize(
    ("name", "context", "matched"),
    [
        ("${aws:PrincipalTag/name}", {TAG: "cart"}, True),
        ("${AWS:principaltag/NAME}", {TAG: "cart"}, True),
        ("${aws:PrincipalTag/name}", {TAG: "car"}, False),
        ("${aws:PrincipalTag/name}", {TAG: "cart2"}, False),
        ("${aws:PrincipalTag/name}", {TAG: "*"}, False),
        ("${aws:PrincipalTag/name}", {TAG: "c?rt"}, False),
        ("${aws:PrincipalTag/name}", {}, False),
        ("${aws:PrincipalTag/name}", {TAG: ("cart",)}, False),
        ("${aws:PrincipalTag/name}", {TAG: ""}, False),
        ("${aws:PrincipalTag/name}*", {TAG: ""}, False),
        ("${aws:PrincipalTag/name}*", {TAG: "ca"}, True),
        ("${aws:PrincipalTag/name, 'cart'}", {}, True),
        ("${aws:PrincipalTag/name, 'c*'}", {}, False),
        ("${aws:PrincipalTag/name, 'cart'}", {TAG: "pay"}, False),
        ("c${*}rt", {}, False),
        ("$cart", {}, False),
    ],
)
def test_variables_bring_in_literal_text(name: str, context: dict[str, Any], matched: bool) -> None:
    """Of the context's single values; without one the statement is about nothing."""
    assert allowed(context=context, Resource=NODE.replace("cart", name)) is matched


def test_escapes_stand_for_the_characters_themselves() -> None:
    """`${*}`, `${?}` and `${$}`."""
    for char in "*?$":
        pattern = NODE.replace("cart", f"${{{char}}}{{x}}")
        assert allowed(NODE.replace("cart", f"{char}{{x}}"), Resource=pattern)
        assert not allowed(NODE.replace("cart", "c{x}"), Resource=pattern)


def test_a_variable_without_a_value_makes_not_resource_no_match_either() -> None:
    """Unless no value could make it match."""
    own = NODE.replace("cart", "${aws:username}")
    assert not allowed(NotResource=own)
    assert allowed(NotResource=own, context={"aws:username": "pay"})
    assert allowed(NotResource=own.replace("shop", "pay"))


def test_variables_stand_in_resources_with_colons() -> None:
    """With a star before them that runs over colons, and without."""
    own = {"aws:username": "writer"}
    assert allowed("arn:aws:s3:r:1:b:writer", Resource="arn:aws:s3:*:1:b:${aws:username}", context=own)
    assert allowed("arn:aws:s3:r:2:1:b:writer", Resource="arn:aws:s3:*:1:b:${aws:username}", context=own)
    assert not allowed("arn:aws:s3:r:2:1:b:second", Resource="arn:aws:s3:*:1:b:${aws:username}", context=own)
    assert allowed("arn:aws:s3:::b:a:b", Resource="arn:aws:s3:::b:${aws:username}", context={"aws:username": "a:b"})
    assert not allowed(
        "arn:aws:s3:::b:a:c", Resource="arn:aws:s3:::b:${aws:username}", context={"aws:username": "a:b"}
    )


def test_an_empty_variable_lifts_no_deny() -> None:
    """`mesh/${tag}*` with an empty tag could be every mesh."""
    deny = {"Effect": "Deny", "Action": "*", "Resource": NODE.replace("cart", f"${{{TAG}}}*")}
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = parse({"Version": "2012-10-17", "Statement": [deny, allow]}, "two")
    ask = Ask("appmesh:DescribeVirtualNode", NODE, {TAG: ""})
    assert evaluate([policy], ask).reason == "explicit deny"
    assert evaluate([policy], Ask(ask.action, NODE, {TAG: "pay"})).allowed


def test_variables_are_text_in_the_older_version() -> None:
    """As IAM does without a Version, too."""
    literal = NODE.replace("cart", "${aws:username}")
    for version in ({}, {"Version": "2008-10-17"}):
        policy = parse({**version, "Statement": {"Effect": "Allow", "Action": "*", "Resource": literal}}, "old")
        assert evaluate([policy], Ask("appmesh:DescribeVirtualNode", literal)).allowed
        assert not evaluate([policy], Ask("appmesh:DescribeVirtualNode", NODE, {"aws:username": "cart"})).allowed


@pytest.mark.parametrize(
    "pattern", ["*a" * 500 + "b", "*?a" * 300 + "b", "?*" * 400 + "b", "*" * 900, "a?" * 450 + "*b"]
)
@pytest.mark.parametrize("element", ["Resource", "Condition"])
def test_hostile_patterns_take_no_time(pattern: str, element: str) -> None:
    """Backtracking would need longer than the universe has; processor time, as the machine may be busy."""
    text = "a" * 2000
    start = time.process_time()
    if element == "Resource":
        found = allowed(f"arn:aws:s3:::{text}:", Resource=f"arn:aws:s3:*::{pattern}")
    else:
        found = allowed(context={TAG: text}, Condition={"StringLike": {TAG: pattern}})
    assert found is (pattern.strip("*") == "")
    assert time.process_time() - start < 1
