"""Documents are read whole: every fault is told with its path, and what could be read in two ways is refused."""

from __future__ import annotations

import contextlib
import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.errors import UsageError
from meshwright.trust.policies import (
    MAX_CHARACTERS,
    MAX_STATEMENTS,
    Ask,
    PolicyError,
    compiled_condition,
    evaluate,
    parse,
)
from settings import examples

ASK = Ask("appmesh:DescribeMesh", "arn:aws:appmesh:us-east-1:111111111111:mesh/shop")
STATEMENT = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def document(*statements: Any, **members: Any) -> dict[str, Any]:
    """A sound document around `statements`."""
    return {"Version": "2012-10-17", "Statement": list(statements) or [STATEMENT], **members}


def faults(text: Any) -> dict[str, str]:
    """The faults of a document, by path."""
    with pytest.raises(PolicyError) as caught:
        parse(text, "mine")
    assert isinstance(caught.value, UsageError)
    assert str(caught.value).startswith("The policy 'mine' cannot be used:")
    return {fault.where: fault.message for fault in caught.value.faults}


def fault(**members: Any) -> tuple[str, str]:
    """The one fault of a statement that is sound but for `members`; None takes a member away."""
    statement = {name: value for name, value in {**STATEMENT, **members}.items() if value is not None}
    ((where, message),) = faults(document(statement)).items()
    return where, message


def test_one_statement_or_many_one_value_or_many() -> None:
    """As a value or in a list; an Id, Sids and both versions are known."""
    for statement in (STATEMENT, [STATEMENT], (STATEMENT,)):
        policy = parse({"Version": "2008-10-17", "Id": "mine", "Statement": statement}, "one")
        assert evaluate([policy], ASK).allowed
        assert (policy.version, policy.id, policy.source) == ("2008-10-17", "mine", "one")
    several = {"Sid": "S1", "Effect": "Allow", "Action": ["s3:*", "appmesh:Describe*"], "Resource": ["*"]}
    assert evaluate([parse(document(several), "two")], ASK).statements[0].sid == "S1"


def test_a_document_without_a_version_is_of_the_older_one() -> None:
    """As in IAM; YAML's unquoted date is a version, too."""
    assert parse({"Statement": STATEMENT}, "old").version == "2008-10-17"
    assert parse(document(Version=date(2012, 10, 17)), "yaml").version == "2012-10-17"


def test_json_text_is_read_as_well() -> None:
    """Session policies come so."""
    assert evaluate([parse(json.dumps(document()), "text")], ASK).allowed
    assert evaluate([parse(json.dumps(document()).encode(), "bytes")], ASK).allowed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ('{"Version": "2012-10-17", "Version": "2008-10-17", "Statement": []}', "'Version' comes more than once"),
        (
            '{"Statement": {"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}}',
            "'Effect' comes more",
        ),
        ("[" * 20_000, "is no JSON"),
        ('{"Statement": NaN}', "expected an object"),
        ("x" * 50_000, "characters long"),
        (b"\xff\xfe\x00", "is no JSON"),
        ("[]", "expected an object"),
    ],
)
def test_text_that_is_no_policy_is_refused(text: Any, message: str) -> None:
    """And members that come twice are, which JSON's readers would pass over."""
    assert message in next(iter(faults(text).values()))


def test_all_faults_are_told_at_once() -> None:
    """With the place of each, and what was meant."""
    found = faults(
        {
            "version": "2012-10-17",
            "Statement": [
                {
                    "Effct": "Allow",
                    "Action": ["appmesh:DescribeVirtualNodes", "appmesh:Describe*", "nothing"],
                    "Resource": ["arn:aws:app*:x", 7],
                    "Principal": "*",
                    "Condition": {
                        "StringEqual": {"aws:PrincipleTag/x": "a"},
                        "NumericEquals": {"aws:EpochTime": ["1", "x"]},
                        "StringLike": {"aws:PrincipalTag/a": []},
                    },
                },
                {"Effect": "allow", "Action": "apmesh:*", "NotAction": "*", "NotResource": "*"},
                "statement",
            ],
        }
    )
    assert found.keys() == {
        "version",
        "Statement[0].Effct",
        "Statement[0]",
        "Statement[0].Action[0]",
        "Statement[0].Action[2]",
        "Statement[0].Resource[0]",
        "Statement[0].Resource[1]",
        "Statement[0].Principal",
        "Statement[0].Condition.StringEqual",
        "Statement[0].Condition.StringEqual.aws:PrincipleTag/x",
        "Statement[0].Condition.NumericEquals.aws:EpochTime[1]",
        "Statement[0].Condition.StringLike.aws:PrincipalTag/a",
        "Statement[1]",
        "Statement[2]",
    }
    assert "Did you mean 'Version'?" in found["version"]
    assert "Did you mean 'Effect'?" in found["Statement[0].Effct"]
    assert "Did you mean 'appmesh:DescribeVirtualNode'?" in found["Statement[0].Action[0]"]
    assert "Did you mean 'StringEquals'?" in found["Statement[0].Condition.StringEqual"]
    assert "Did you mean 'aws:PrincipalTag'?" in found["Statement[0].Condition.StringEqual.aws:PrincipleTag/x"]


@pytest.mark.parametrize(
    ("members", "where", "message"),
    [
        ({"Effect": "allow"}, "Statement[0]", "Did you mean 'Allow'?"),
        ({"Effect": None}, "Statement[0]", "lacks Effect"),
        ({"Effect": ["Allow"]}, "Statement[0]", "write 'Allow' or 'Deny'"),
        ({"Sid": "no spaces"}, "Statement[0].Sid", "letters and digits"),
        ({"Sid": "é"}, "Statement[0].Sid", "letters and digits"),
        ({"Sid": 7}, "Statement[0].Sid", "letters and digits"),
        ({"Action": None}, "Statement[0]", "lacks Action"),
        ({"NotAction": "*"}, "Statement[0]", "has both Action and NotAction"),
        ({"Resource": None}, "Statement[0]", "lacks Resource"),
        ({"NotResource": "*"}, "Statement[0]", "has both Resource and NotResource"),
        ({"Action": []}, "Statement[0].Action", "has 0 entries"),
        ({"Action": ["*"] * 201}, "Statement[0].Action", "has 201 entries"),
        ({"Action": {"a": "b"}}, "Statement[0].Action", "expected text, found dict"),
        ({"Action": "appmesh"}, "Statement[0].Action", "expected SERVICE:NAME"),
        ({"Action": "appmesh*"}, "Statement[0].Action", "expected SERVICE:NAME"),
        ({"Action": "app*:Describe*"}, "Statement[0].Action", "expected SERVICE:NAME"),
        ({"Action": "*:Describe*"}, "Statement[0].Action", "cannot be a wildcard"),
        ({"Action": "appmesh:Descrbe*"}, "Statement[0].Action", "is no action of appmesh"),
        ({"Action": "meshwright:Rollback2"}, "Statement[0].Action", "Did you mean 'meshwright:RollBack'?"),
        ({"Action": "apmesh:*"}, "Statement[0].Action", "Did you mean 'appmesh'?"),
        ({"Action": "sts:AssumeRol"}, "Statement[0].Action", "Did you mean 'sts:AssumeRole'?"),
        ({"Action": "appmesh:DescribeMésh"}, "Statement[0].Action", "expected SERVICE:NAME"),
        ({"Resource": "mesh/shop"}, "Statement[0].Resource", "is no ARN"),
        ({"Resource": "?"}, "Statement[0].Resource", "is no ARN"),
        ({"Resource": "*shop*"}, "Statement[0].Resource", "is no ARN"),
        ({"Resource": "arn:*"}, "Statement[0].Resource", "is no ARN"),
        ({"Resource": "arn:aws:*"}, "Statement[0].Resource", "service of an ARN must be named"),
        ({"Resource": "arn:aws:*:*:*:*"}, "Statement[0].Resource", "service of an ARN must be named"),
        ({"Resource": "arn:aws:app*:*:*:mesh/*"}, "Statement[0].Resource", "service of an ARN must be named"),
        ({"Resource": "arn:aws::*:*:mesh/*"}, "Statement[0].Resource", "service of an ARN must be named"),
        ({"Resource": "arn:aws:appmesh:r"}, "Statement[0].Resource", "4 of an ARN's six parts"),
        ({"Resource": "arn:aws:appmesh:r:mesh/*"}, "Statement[0].Resource", "5 of an ARN's six parts"),
        ({"Resource": "arn:aws:appmesh:*:*:mes*"}, "Statement[0].Resource", "cannot be a wildcard"),
        ({"Resource": "arn:aws:appmesh:*:*:mesh*"}, "Statement[0].Resource", "cannot be a wildcard"),
        ({"Resource": "arn:aws:meshwright:*:*:meshes/x"}, "Statement[0].Resource", "begin with 'mesh/'"),
        ({"Resource": "arn:aws:appmesh:*:*:*/shop"}, "Statement[0].Resource", "cannot be a wildcard"),
        ({"Resource": "arn:aws:appmesh:*:*:virtualNode/x"}, "Statement[0].Resource", "begin with 'mesh/'"),
        ({"Resource": "arn:aws:appmesh:*:*:"}, "Statement[0].Resource", "begin with 'mesh/'"),
        ({"Resource": "arn:aws:appmesh:*:${aws:userid}:mesh/*"}, "Statement[0].Resource", "after the fifth colon"),
        ({"Resource": "arn:aws:appmesh:*:*:mesh/${aws:userid"}, "Statement[0].Resource", "does not close it"),
        ({"Resource": "arn:aws:appmesh:*:*:mesh/${}"}, "Statement[0].Resource", "is no variable"),
        ({"Resource": "arn:aws:appmesh:*:*:mesh/${aws:userid,x}"}, "Statement[0].Resource", "is no variable"),
        (
            {"Resource": "arn:aws:appmesh:*:*:mesh/${aws:usrname}"},
            "Statement[0].Resource",
            "Did you mean 'aws:username'?",
        ),
        ({"Resource": None, "NotPrincipal": "*"}, "Statement[0].NotPrincipal", "names no principals"),
        ({"Condition": {}}, "Statement[0].Condition", "leave it out"),
        ({"Condition": None, "condition": {}}, "Statement[0].condition", "Did you mean 'Condition'?"),
        ({"Condition": {"StringEquals": {}}}, "Statement[0].Condition.StringEquals", "expected keys"),
        ({"Condition": {"StringEquals": "x"}}, "Statement[0].Condition.StringEquals", "expected keys"),
    ],
)
def test_a_statement_that_cannot_mean_anything_is_refused(members: dict[str, Any], where: str, message: str) -> None:
    """Each fault alone, at its place."""
    if "NotPrincipal" in members:
        members = {"NotPrincipal": "*"}
    found_where, found_message = fault(**members)
    assert found_where == where
    assert message in found_message


@pytest.mark.parametrize(
    ("operator", "key", "value", "message"),
    [
        ("stringEquals", "aws:username", "x", "Did you mean 'StringEquals'?"),
        ("StringEqualsIfExist", "aws:username", "x", "Did you mean 'StringEqualsIfExists'?"),
        ("ForAnyValues:StringLike", "aws:username", "x", "Did you mean 'ForAnyValue:StringLike'?"),
        ("ForAllValues:", "aws:username", "x", "is no condition operator"),
        ("ForAllValues:ForAnyValue:StringLike", "aws:username", "x", "is no condition operator"),
        ("NullIfExists", "aws:username", "true", "Null stands alone"),
        ("ForAnyValue:Null", "aws:username", "true", "Null stands alone"),
        ("BoolEquals", "aws:SecureTransport", "true", "is no condition operator"),
        ("StringEquals", "username", "x", "a service and a colon come first"),
        ("StringEquals", "aws:usrname", "x", "Did you mean 'aws:username'?"),
        ("StringEquals", "aws:ResourceTag", "x", "lacks the tag's key"),
        ("StringEquals", "aws:ResourceTag/", "x", "lacks the tag's key"),
        ("StringEquals", "aws:ResourceTags/team", "x", "Did you mean 'aws:ResourceTag'?"),
        ("StringEquals", "aws:username/x", "x", "does not exist"),
        ("StringEquals", "appmesh:ResourceTag/x", "x", "no condition keys of its own"),
        ("StringEquals", "", "x", "is no condition key"),
        ("StringEquals", "a b:c", "x", "is no condition key"),
        ("StringEquals", "aws:username", None, "found nothing"),
        ("StringEquals", "aws:username", {"a": "b"}, "found dict"),
        ("StringEquals", "aws:username", [["x"]], "found list"),
        ("StringEquals", "aws:username", ["x"] * 201, "has 201 values"),
        ("StringEquals", "aws:username", "${aws:nobody}", "in a variable"),
        ("NumericLessThan", "aws:MultiFactorAuthAge", "ten", "is not a number"),
        ("NumericLessThan", "aws:MultiFactorAuthAge", float("nan"), "is not a number"),
        ("NumericLessThan", "aws:MultiFactorAuthAge", "${aws:username}", "is not a number"),
        ("DateLessThan", "aws:CurrentTime", "2026-02-30", "is not a date"),
        ("DateLessThan", "aws:CurrentTime", "2026-01-01T00:00:00", "is not a date"),
        ("Bool", "aws:SecureTransport", "yes", "is not true or false"),
        ("Null", "aws:username", "yes", "is not true or false"),
        ("BinaryEquals", "aws:PrincipalTag/b", "?", "is not base64"),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/33", "is no IP address"),
        ("IpAddress", "aws:SourceIp", "10.0.0.*", "is no IP address"),
        ("ArnLike", "aws:PrincipalArn", "*", "six parts"),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*", "six parts"),
        ("ArnLike", "aws:PrincipalArn", "${aws:SourceArn}:x", "six parts"),
    ],
)
def test_a_condition_that_cannot_mean_anything_is_refused(operator: str, key: str, value: Any, message: str) -> None:
    """At the operator, the key or the value."""
    where, told = fault(Condition={operator: {key: value}})
    assert where.startswith(f"Statement[0].Condition.{operator}")
    assert message in told


def test_names_of_keys_know_no_case_and_stand_once() -> None:
    """And keys of other services are taken as they come."""
    assert "stands twice" in fault(Condition={"StringEquals": {"aws:username": "x", "AWS:UserName": "y"}})[1]
    others = {
        "AWS:userName": "x",
        "s3:prefix": "x",
        "token.actions.githubusercontent.com:sub": "x",
        "aws:TAGKEYS": "x",
    }
    parse(document({**STATEMENT, "Condition": {"StringEquals": others}}), "others")


def test_sids_are_unique() -> None:
    """Within a policy; statements without one are many."""
    found = faults(document({**STATEMENT, "Sid": "A"}, STATEMENT, STATEMENT, {**STATEMENT, "Sid": "A"}))
    assert found.keys() == {"Statement[3].Sid"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Statement": []}, "holds 0 statements"),
        ({"Statement": [STATEMENT] * (MAX_STATEMENTS + 1)}, "holds 101 statements"),
        ({"Statement": None}, "expected an object"),
        ({"Version": "2012-10-18"}, "no version of the policy language"),
        ({"Version": 2012}, "no version of the policy language"),
        ({"Id": 7}, "expected text"),
        ({"Extra": 7}, "Known here: Version, Id, Statement"),
        ({"Statement": {**STATEMENT, "Action": ["appmesh:*"] * 900}}, f"longer than {MAX_CHARACTERS}"),
        ({"Id": "x" * MAX_CHARACTERS}, f"longer than {MAX_CHARACTERS}"),
    ],
)
def test_documents_have_limits(members: dict[str, Any], message: str) -> None:
    """Told before anything large is read."""
    assert message in next(iter(faults({**document(), **members}).values()))


def test_white_space_does_not_count() -> None:
    """As in IAM's quota."""
    assert parse(json.dumps(document({**STATEMENT, "Sid": "A"}), indent=400), "wide").statements


def test_nests_that_have_no_end_are_refused() -> None:
    """YAML's aliases can make them."""
    loop: dict[str, Any] = document()
    loop["Statement"].append(loop)
    assert "nests deeper" in next(iter(faults(loop).values()))
    wide: list[Any] = []
    for _ in range(60):
        wide = [wide, wide]
    assert faults(document(Statement=wide))


def test_every_kind_of_nonsense_is_a_policy_error() -> None:
    """Nothing but."""
    for nonsense in (
        None,
        7,
        1.5,
        True,
        [],
        [STATEMENT],
        object(),
        {1: 2},
        {"Statement": {1: {2: 3}}},
        b"\x00",
        "null",
    ):
        assert faults(nonsense)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["*", "Allow", "${", "arn:"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Version",
                    "Statement",
                    "Effect",
                    "Action",
                    "Resource",
                    "NotResource",
                    "Condition",
                    "Null",
                    "StringLike",
                    "Sid",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=examples(50))
@given(anything, anything)
def test_what_is_read_can_be_asked_and_all_else_is_a_policy_error(members: Any, condition: Any) -> None:
    """Whatever comes."""
    for text in (members, {"Statement": members}, document({**STATEMENT, "Condition": condition})):
        with contextlib.suppress(PolicyError):
            evaluate([parse(text, "any")], ASK)
    with contextlib.suppress(PolicyError):
        compiled_condition(condition, "any")


def test_messages_are_short_and_escaped() -> None:
    """However long and odd the names are."""
    with pytest.raises(PolicyError) as caught:
        parse({"\x1b[31m" * 50: 1, **{f"x{number}": 1 for number in range(40)}}, "long")
    assert "\x1b[31m'" not in str(caught.value)
    assert "and 22 more faults" in str(caught.value)
    assert len(str(caught.value)) < 5000
