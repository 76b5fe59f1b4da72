"""Who may become a role, decided on values: entries, conditions on claims, tags, chains, what no claim can say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from meshwright.errors import AccessDeniedError
from meshwright.trust.assuming import Asked, AssumeError, Granted, by_principal, claims_context, unique_id, with_token
from meshwright.trust.policies import matches
from meshwright.trust.principals import Principal
from meshwright.trust.tokens import TokenError
from trusting import authority

if TYPE_CHECKING:
    from meshwright.trust.authorization import Authority

HOME, OTHER = "111111111111", "222222222222"
AT = 1_800_000_000_000
TRUST = """
version: 1
environments:
  staging: {mesh: shop}
  production: {mesh: shop}
issuers:
  ci: {url: "https://ci.example/org", audiences: [m], tags: {repository: repository, branch: "git.branch"}}
  cluster: {url: "https://cluster.example", audiences: [m]}
users:
  writer: {tags: {team: cart}, permissions: [tagging]}
  guest: {account: "222222222222"}
policies:
  tagging: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "sts:TagSession", Resource: "*"}}
roles:
  cart:
    tags: {Team: cart, stage: "${environment.name}"}
    assume:
      - {issuer: ci, environments: [staging], conditions: {StringEquals: {repository: acme/cart}}}
      - issuer: ci
        environments: [production]
        conditions:
          StringEquals: {repository: acme/cart, "ci.example/org:protected": "true", "git.branch": main}
          NumericGreaterThan: {run: "9"}
          "ForAnyValue:StringEquals": {labels: release}
      - issuer: cluster
        conditions: {StringEquals: {"kubernetes.io.namespace": cart}}
  office:
    assume:
      - principals: [user/writer, "arn:aws:iam::222222222222:user/guest", role/cart]
        conditions: {IpAddress: {"aws:SourceIp": 10.0.0.0/8}, StringLike: {"sts:RoleSessionName": "?*-day"}}
  tagged:
    account: "222222222222"
    assume:
      - principals: [user/writer]
        conditions:
          StringEquals: {"aws:RequestTag/ticket": T-1}
          "ForAllValues:StringEquals": {"aws:TagKeys": [ticket]}
  anybody: {assume: [{principals: ["*"]}]}
  staged: {environments: [staging], assume: [{issuer: ci}]}
"""
CLAIMS: dict[str, Any] = {
    "repository": "acme/cart",
    "protected": True,
    "git": {"branch": "main"},
    "run": 10,
    "labels": ["fast", "release"],
}


def asked(role: str, account: str = HOME, **members: Any) -> Asked:
    """A request for a role."""
    return Asked(**{"role_arn": f"arn:aws:iam::{account}:role/{role}", "session_name": "my-day", **members})


def by_token(
    claims: dict[str, Any], issuer: str = "ci", environment: str = "staging", role: str = "cart", **members: Any
) -> Granted:
    """What verified claims get."""
    return with_token(authority(TRUST, environment, HOME), asked(role, **members), issuer, claims, AT)


def caller(name: str, kind: Any = "user", **members: Any) -> Principal:
    """Somebody who signed."""
    given = {"account": HOME, "session": "s1" if kind == "role" else "", "key_id": f"AKIA{name.upper()}", **members}
    return Principal(kind=kind, name=name, **given)


def by_key(who: Principal, role: str = "office", account: str = HOME, **members: Any) -> Granted:
    """What somebody who signed gets."""
    extra = {"aws:SourceIp": "10.1.2.3"}
    return by_principal(authority(TRUST, "staging", HOME), asked(role, account, **members), who, AT, extra)


def denied(call: Any, *given: Any, **members: Any) -> str:
    """The reason of a denial."""
    with pytest.raises(AssumeError) as caught:
        call(*given, **members)
    assert caught.value.code == "AccessDenied"
    return caught.value.reason


def test_each_environment_has_its_own_conditions() -> None:
    """What opens staging does not open production."""
    assert by_token({"repository": "acme/cart"}).principal.tags["stage"] == "staging"
    denied(by_token, {"repository": "acme/cart"}, environment="production")
    assert by_token(CLAIMS, environment="production").principal.tags["stage"] == "production"
    assert "no role" in denied(by_token, CLAIMS, environment="production", role="staged")


@pytest.mark.parametrize(
    "claims",
    [
        {"protected": "yes"},
        {"protected": None},
        {"git": {"branch": "evil"}},
        {"git": None},
        {"run": 9},
        {"run": "many"},
        {"labels": ["fast"]},
        {"labels": []},
        {"repository": "acme/cart2"},
        {"repository": "ACME/cart"},
    ],
    ids=str,
)
def test_every_condition_must_hold(claims: dict[str, Any]) -> None:
    """Of truth, numbers, lists and members of objects."""
    denied(by_token, {**CLAIMS, **claims}, environment="production")


def test_an_entry_is_for_one_issuer() -> None:
    """The same claims of another issuer open nothing."""
    assert by_token({"kubernetes.io": {"namespace": "cart"}}, issuer="cluster").principal.issuer == "cluster"
    assert "match none" in denied(by_token, {"repository": "acme/cart"}, issuer="cluster")
    assert "match none" in denied(by_token, {"kubernetes.io": {"namespace": "cart"}}, issuer="ci")


def test_no_claim_speaks_for_aws_or_this_server() -> None:
    """A claim called like a condition key of theirs is reachable after the issuer's host only."""
    facts = claims_context({"aws:SourceIp": "10.0.0.1", "STS:ExternalId": "x", "a": "b"}, "ci.example")
    assert facts == {
        "a": "b",
        "ci.example:a": "b",
        "ci.example:aws:SourceIp": "10.0.0.1",
        "ci.example:STS:ExternalId": "x",
    }


@pytest.mark.parametrize("name", ["ci.example:groups", "CI.example:groups", "ci.example:GROUPS"])
def test_no_claim_speaks_for_another_one(name: str) -> None:
    """A claim that is called like another's condition key adds no value to it, in whatever case."""
    conditions = {"ForAnyValue:StringEquals": {"ci.example:groups": ["admins"]}}
    facts = claims_context({"groups": ["guests"], name: "admins"}, "ci.example")
    assert matches(conditions, claims_context({"groups": ["guests", "admins"]}, "ci.example"))
    assert not matches(conditions, facts)


@pytest.mark.parametrize(
    "claims",
    [{"ref": "a", "REF": "b"}, {"a": {"b": "1"}, "a.b": "2"}, {"a": {"b": "1", "B": "2"}}, {"é": "1", "É": "2"}],
    ids=str,
)
def test_claims_that_would_be_one_key_are_refused(claims: dict[str, Any]) -> None:
    """Condition keys know no case: which of them counts must not depend on their order."""
    with pytest.raises(TokenError, match="differ in case or nesting"):
        by_token({**CLAIMS, **claims})


def test_tags_come_from_claims_and_go_over_the_roles() -> None:
    """A claim that is not there gives none; one that is no text gives no session."""
    assert by_token(CLAIMS).principal.tags == {
        "Team": "cart",
        "stage": "staging",
        "repository": "acme/cart",
        "branch": "main",
    }
    assert "branch" not in by_token({"repository": "acme/cart"}).principal.tags
    for branch in (["a"], "x" * 257, "a\nb", "<script>"):
        with pytest.raises(TokenError, match="cannot be the session tag 'branch'"):
            by_token({**CLAIMS, "git": {"branch": branch}})


def test_callers_are_named_as_declared_or_by_arn() -> None:
    """In their own account; another user of the same name is somebody else."""
    assert by_key(caller("writer")).principal.arn == f"arn:aws:sts::{HOME}:assumed-role/office/my-day"
    for who in (caller("guest", account=OTHER), caller("cart", "role")):
        assert (by_key(who).principal.name, by_key(who, "anybody").principal.name) == ("office", "anybody")
    assert "no entry names" in denied(by_key, caller("writer", account=OTHER))
    assert "no entry names" in denied(by_key, caller("guest"))
    assert "no entry names" in denied(by_key, caller("cart", "user"))
    assert "no entry names" in denied(by_key, caller("writer", "role"))
    assert "no entry names" in denied(by_key, caller("stranger"), "anybody")


def test_conditions_know_the_connection_and_the_request() -> None:
    """Where it comes from and how the session is to be called."""
    assert "conditions do not hold" in denied(by_key, caller("writer"), session_name="my-night")
    trusted = authority(TRUST, "staging", HOME)
    for extra in ({"aws:SourceIp": "11.0.0.1"}, {}):
        with pytest.raises(AssumeError):
            by_principal(trusted, asked("office"), caller("writer"), AT, extra)


def test_a_caller_cannot_say_what_the_server_knows() -> None:
    """Tags of the request are no tags of the caller."""
    assert by_key(caller("writer"), "tagged", OTHER, tags={"ticket": "T-1"}).principal.account == OTHER
    denied(by_key, caller("writer"), "tagged", OTHER, tags={"ticket": "T-2"})
    denied(by_key, caller("writer"), "tagged", OTHER, tags={"ticket": "T-1", "more": "x"})
    denied(by_key, caller("writer"), "tagged", OTHER)
    assert "sts:TagSession" in denied(by_key, caller("guest", account=OTHER), "anybody", tags={"a": "b"})


def test_session_tags_replace_the_roles_whatever_their_case() -> None:
    """So that no policy finds the old one under another spelling."""
    trusted = authority(
        TRUST.replace("principals: [user/writer, ", "principals: [user/administrator, "), "staging", HOME
    )
    admin = caller("administrator")
    granted = by_principal(trusted, asked("cart", tags={"team": "mine"}), admin, AT)
    assert granted.principal.tags == {"stage": "staging", "team": "mine"}


def test_a_session_remembers_what_led_to_it() -> None:
    """Key ids, roles and times, in their order."""
    first = by_key(caller("writer")).principal
    held = msgspec.structs.replace(first, key_id="ASIA1", issued_at=5)
    second = by_key(held, "anybody").principal
    assert [(one.key_id, one.role, one.issued_at) for one in second.ancestors] == [
        ("AKIAWRITER", "", 0),
        ("ASIA1", "office", 5),
    ]


def test_policy_and_tags_share_their_space() -> None:
    """And how much of it is used is told."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    assert by_key(caller("writer"), "anybody", policy=policy).packed == 3
    tags = {f"key-{number}": "v" * 200 for number in range(30)}
    with pytest.raises(AssumeError) as caught:
        by_key(caller("writer"), "anybody", tags=tags)
    assert caught.value.code == "PackedPolicyTooLarge"


def test_ids_are_of_awss_form_and_stay() -> None:
    """For the same ARN always the same, for another another."""
    assert unique_id("AROA", "a") == unique_id("AROA", "a") != unique_id("AROA", "b")
    assert len(unique_id("AROA", "a")) == 21


@pytest.mark.parametrize("gone", ["user/writer", "role/second", "role/first"])
def test_a_session_ends_with_whoever_began_it(gone: str) -> None:
    """A user or role that the trust file declares no more: what was obtained as it may do nothing."""
    everything = '[{Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}]'
    declared = {
        "user/writer": f"users: {{writer: {{permissions: {everything}}}}}",
        "role/first": f"  first: {{permissions: {everything}, assume: [{{principals: ['*']}}]}}",
        "role/second": f"  second: {{permissions: {everything}, assume: [{{principals: ['*']}}]}}",
    }

    def version(without: str = "") -> Authority:
        user, *roles = ["" if name == without else text for name, text in declared.items()]
        return authority("\n".join(["version: 1", user, "roles:", "  other: {}", *roles]), account=HOME)

    now = version()
    first = by_principal(now, asked("first"), caller("writer"), AT).principal
    second = by_principal(now, asked("second"), first, AT).principal
    now.permit_action(second, "meshwright:GetStatus", "*", at=AT)
    with pytest.raises(AccessDeniedError):
        version(gone).permit_action(second, "meshwright:GetStatus", "*", at=AT)
    with pytest.raises(AssumeError):
        by_principal(version(gone), asked("first"), second, AT)
    by_administrator = by_principal(now, asked("second"), caller("administrator"), AT).principal
    version("user/writer").permit_action(by_administrator, "meshwright:GetStatus", "*", at=AT)
