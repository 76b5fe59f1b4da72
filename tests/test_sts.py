"""Tokens and signatures become sessions of roles: through stock boto3, in AWS's words, and for nobody else."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import botocore.exceptions
import msgspec
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from msgspec.structs import asdict

from exchanging import ACCOUNT, ADMIN, DEPLOYER, STRANGER, VERSION, Plane, arn, planes, told
from issuing import private_key, public, published
from meshwright.api.limits import Limits
from meshwright.api.refusals import Allowance
from meshwright.api.sts_xml import failure, result
from meshwright.errors import TooManyRequestsException
from meshwright.issuers import Issuers
from meshwright.store.contract import AccessKey
from meshwright.trust.sigv4 import Request, sign
from processes import until
from serving import now, serving
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """One of a test's own."""
    with planes(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One for the tests that leave nothing behind which another could see."""
    with planes(tmp_path_factory.mktemp("sts")) as running:
        yield running


def refused(call: Any, **members: Any) -> tuple[str, int, str]:
    """Code, HTTP status and message of a refusal, as boto3 read them."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**members)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_a_token_becomes_a_session_that_signs(plane: Plane) -> None:
    """With everything that AWS answers, for as long as the role allows."""
    answer = plane.by_token()
    credentials, user = answer["Credentials"], answer["AssumedRoleUser"]
    assert re.fullmatch(r"ASIA[A-Z2-7]{16}", credentials["AccessKeyId"])
    assert len(credentials["SecretAccessKey"]) == 40
    assert user["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/cart-deployer/build-7"
    assert re.fullmatch(r"AROA[A-Z2-7]{17}:build-7", user["AssumedRoleId"])
    assert answer["SubjectFromWebIdentityToken"] == "repo:acme/cart:ref:refs/heads/main"
    assert (answer["Provider"], answer["Audience"]) == (plane.issuer.url, "meshwright")
    assert answer["PackedPolicySize"] == 1
    assert answer["ResponseMetadata"]["RequestId"]
    left = credentials["Expiration"].timestamp() - now() / 1000
    assert 1790 < left <= 1800
    caller = plane.as_session(answer).get_caller_identity()
    assert (caller["Arn"], caller["UserId"], caller["Account"]) == (user["Arn"], user["AssumedRoleId"], ACCOUNT)
    assert plane.as_session(answer, "appmesh").list_meshes()["meshes"] == []


def test_a_session_holds_what_was_verified(plane: Plane) -> None:
    """Claims, issuer, tags of the role with those of the token over them; one audit leaf tells of it."""
    before = len(plane.leaves())
    answer = plane.by_token()
    session = plane.server.store.session(answer["Credentials"]["AccessKeyId"])
    assert session is not None
    principal = session.principal
    assert (principal.kind, principal.name, principal.issuer) == ("role", "cart-deployer", "ci")
    assert principal.claims["repository"] == "acme/cart"
    assert principal.tags == {"team": "cart", "stage": "test", "repository": "acme/cart"}
    assert (principal.key_id, principal.expires_at) == (session.key_id, session.expires_at)
    (leaf,) = plane.leaves()[before:]
    assert (leaf["kind"], leaf["principal"]) == ("session", principal.arn)
    assert leaf["cause"] == "begin session for repo:acme/cart:ref:refs/heads/main of ci"
    assert session.secret not in json.dumps(leaf)
    assert session.token not in json.dumps(leaf)


def test_the_log_tells_who_took_a_role_under_whatever_name(plane: Plane) -> None:
    """The session's name is its caller's choice, and its row is forgotten: the leaf has the key that signed."""
    first = plane.by_key("operator", RoleSessionName="administrator")["Credentials"]["AccessKeyId"]
    leaf = plane.leaves()[-1]
    assert (leaf["key"], leaf["cause"]) == (first, f"begin session with {plane.deployer.id}")


def test_an_empty_list_of_tags_is_none(plane: Plane) -> None:
    """SDKs send the name of an empty list with no value."""
    answer = plane.by_key("operator", Tags=[], TransitiveTagKeys=[])
    assert plane.server.store.session(answer["Credentials"]["AccessKeyId"]) is not None


PROGRAM = """
import boto3, json
print(json.dumps([boto3.client("appmesh").list_meshes()["meshes"], boto3.client("sts").get_caller_identity()["Arn"]]))
"""


def test_five_environment_variables_are_all_that_an_sdk_needs(plane: Plane, tmp_path: Path) -> None:
    """A process that knows nothing else exchanges its token and makes signed App Mesh calls."""
    file = tmp_path / "token"
    file.write_text(plane.issuer.token())
    environ = {
        "AWS_ENDPOINT_URL_STS": plane.server.url,
        "AWS_ENDPOINT_URL_APP_MESH": plane.server.url,
        "AWS_ROLE_ARN": arn("cart-deployer"),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ROLE_SESSION_NAME": "job-42",
        # These three say nothing about who or where the server is; without a region no SDK asks anything.
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(tmp_path / "nobody"),
        "PATH": os.environ["PATH"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], f"arn:aws:sts::{ACCOUNT}:assumed-role/cart-deployer/job-42"]


@pytest.mark.parametrize(
    ("claims", "code", "status"),
    [
        ({"exp": 1_000_000_000, "iat": 999_999_000}, "ExpiredTokenException", 400),
        ({"aud": "sts.amazonaws.com"}, "InvalidIdentityToken", 400),
        ({"iss": "https://evil.example"}, "InvalidIdentityToken", 400),
        ({"nbf": 4_000_000_000}, "IDPRejectedClaim", 403),
        ({"labels": ["a", "b"]}, "IDPRejectedClaim", 403),
        ({"Repository": "acme/cart"}, "IDPRejectedClaim", 403),
        ({"repository": "acme/other"}, "AccessDenied", 403),
        ({"repository": ["acme/cart", "acme/other"]}, "IDPRejectedClaim", 403),
        ({"repository": None, "aws:RequestTag/x": "acme/cart"}, "AccessDenied", 403),
        ({"ref": "refs/heads/evil"}, "AccessDenied", 403),
    ],
    ids=str,
)
def test_a_token_that_proves_nothing_gets_awss_own_error(
    shared: Plane, claims: dict[str, Any], code: str, status: int
) -> None:
    """And no session is made, nor anything audited."""
    before = len(shared.leaves())
    assert refused(shared.by_token, token=shared.issuer.token(**claims))[:2] == (code, status)
    assert len(shared.leaves()) == before


def test_tokens_of_attackers_are_refused(shared: Plane) -> None:
    """Unsigned, signed by another key, confused, cut, embedded; each counted by its reason."""
    evil, good = private_key("RS256", "evil"), shared.issuer.token()
    head, body, mark = good.split(".")
    forged = [
        shared.issuer.token(evil),
        shared.issuer.token(evil, header={"kid": private_key().kid}),
        shared.issuer.token(evil, header={"kid": private_key().kid, "jwk": public(evil)}),
        f"{head}.{body}.{mark[:-4]}",
        f"{body}.{body}.{mark}",
        "eyJhbGciOiJub25lIn0." + body + ".AA",
        "not a token",
    ]
    for token in forged:
        assert refused(shared.by_token, token=token)[:2] == ("InvalidIdentityToken", 400)
    metrics = shared.server.ask("GET", "/metrics", key=None).body.decode()
    counted = re.search(r'meshwright_refused_unauthenticated_total\{reason="InvalidIdentityToken"\} (\S+)', metrics)
    assert counted
    assert float(counted[1]) >= len(forged)


def test_who_may_not_take_a_role_is_not_told_why(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """The role may be unknown or its conditions others; the client reads the same, the log tells."""
    caplog.set_level("INFO", logger="meshwright.api")
    wrong = refused(plane.by_token, token=plane.issuer.token(ref="refs/heads/evil"))
    unknown = refused(plane.by_token, role="nobody-here")
    unlisted = refused(plane.by_token, role="operator")
    assert (
        wrong
        == unknown
        == unlisted
        == ("AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
    )

    def logged(words: str) -> bool:
        return any(words in getattr(record, "refused", "") for record in caplog.records)

    for words in ("match none", "no role", "no entry for issuer 'ci'"):
        # A request is logged once it was answered.
        until(functools.partial(logged, words))


def test_one_issuer_may_be_declared_for_several_audiences(shared: Plane) -> None:
    """Each declaration opens only the roles that name it."""
    other = shared.issuer.token(aud="elsewhere")
    assert shared.by_token(other, role="elsewhere")["Audience"] == "elsewhere"
    assert refused(shared.by_token, token=other)[0] == "AccessDenied"
    assert refused(shared.by_token, role="elsewhere")[0] == "AccessDenied"
    both = shared.issuer.token(aud=["elsewhere", "meshwright"])
    assert shared.by_token(both)["Audience"] == "elsewhere, meshwright"


def test_an_issuer_that_is_down_is_told_from_a_bad_token(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """And nobody gets in meanwhile who could not before; when it is back, tokens work.

    Who was asked for its keys, and what came back, is in the log alone: whoever names an issuer has proved nothing.
    """
    caplog.set_level("INFO", logger="meshwright")
    plane.issuer.down = True
    code, status, message = refused(plane.by_token)
    assert (code, status) == ("IDPCommunicationError", 400)
    assert "the server's log says why" in message
    assert plane.issuer.url not in message
    assert "HTTP 503" in caplog.text
    plane.issuer.down = False

    def works() -> bool:
        with contextlib.suppress(botocore.exceptions.ClientError):
            return bool(plane.by_token())
        return False

    assert any(works() for _ in range(200))


def test_an_outage_of_one_declaration_does_not_block_another(tmp_path: Path) -> None:
    """Of one issuer's address: whichever verifies the token counts; that nobody can tell is said if none did."""
    with published() as issuer:
        declared = f'url: "{issuer.url}", audiences: [meshwright]'
        trusted = authority(
            f"version: 1\nissuers:\n  moved: {{{declared}, jwks_url: 'http://127.0.0.1:1/keys'}}\n"
            f"  ci: {{{declared}}}\n"
            "roles:\n  builder: {assume: [{issuer: ci, conditions: {StringEquals: {repository: acme/cart}}}]}\n"
        )
        with serving(tmp_path, authority=lambda: trusted, issuers=Issuers()) as server:
            plane = Plane(server, issuer)
            assert plane.by_token(role="builder")
            assert refused(plane.by_token, role="other")[0] == "AccessDenied"
            forged = issuer.token(private_key("ES256", "forged"), header={"kid": private_key().kid})
            code, _, message = refused(plane.by_token, role="builder", token=forged)
            assert (code, "127.0.0.1:1" in message) == ("IDPCommunicationError", False)


def test_a_key_that_cannot_be_looked_for_is_told_from_one_that_is_none(plane: Plane) -> None:
    """The issuer is down, and the token may be signed with its newest key; what went wrong is for the log."""
    assert plane.by_token()
    plane.issuer.down = True
    unknown = plane.issuer.token(private_key("RS256", "rotated"))

    def looked_for() -> bool:
        code, status, message = refused(plane.by_token, token=unknown)
        assert (status, plane.issuer.url in message, "503" in message) == (400, False, False)
        return code == "IDPCommunicationError" and "could not be reached to look for the key" in message

    until(looked_for)
    assert plane.by_token()


def test_new_keys_are_found_while_the_server_runs(plane: Plane) -> None:
    """Rotation at the issuer needs no restart."""
    assert plane.by_token()
    rotated = private_key("RS256", "rotated")
    plane.issuer.keys = json.dumps({"keys": [public(private_key()), public(rotated)]}).encode()

    def works() -> bool:
        with contextlib.suppress(botocore.exceptions.ClientError):
            return bool(plane.by_token(plane.issuer.token(rotated)))
        return False

    assert any(works() for _ in range(200))


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"DurationSeconds": 1801}, "ValidationError"),
        ({"RoleSessionName": "with blank"}, "ValidationError"),
        ({"RoleSessionName": "x" * 65}, "ValidationError"),
        ({"RoleArn": "arn:aws:iam::0:role/" + "x" * 2048}, "ValidationError"),
        ({"RoleArn": "arn:aws:iam::111111111111:role/cart-deployer"}, "AccessDenied"),
        ({"RoleArn": "arn:aws:sts::000000000000:assumed-role/cart-deployer/x"}, "AccessDenied"),
        ({"ProviderId": "www.amazon.com"}, "ValidationError"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]}, "ValidationError"),
        ({"Policy": "{}"}, "MalformedPolicyDocument"),
        ({"Policy": "not JSON"}, "MalformedPolicyDocument"),
        ({"Policy": '{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}'}, "MalformedPolicyDocument"),
        ({"Policy": '{"Version":"2012-10-17","Statement":[{"Effect":"Perhaps"}]}'}, "MalformedPolicyDocument"),
        ({"Policy": '{"Version":"2012-10-17","Statement":[],"Id":"' + "x" * 2048 + '"}'}, "PackedPolicyTooLarge"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_parameters_that_aws_would_refuse_are_refused(shared: Plane, members: dict[str, Any], code: str) -> None:
    """By the same name; what is not supported is refused, and not left out."""
    assert refused(shared.by_token, **members)[0] == code


def test_what_the_client_would_never_send_is_refused_too(shared: Plane) -> None:
    """Missing, doubled, unknown and unreadable parameters, other versions and methods."""
    common = {"Version": VERSION, "RoleArn": arn("cart-deployer"), "RoleSessionName": "b7"}
    right = {"Action": "AssumeRoleWithWebIdentity", **common}
    token = {"WebIdentityToken": shared.issuer.token()}
    assert shared.ask({**right, **token})[0] == 200
    assert shared.ask({**right, **token}, "GET")[0] == 200
    assert shared.ask(right)[:2] == (400, "ValidationError")
    assert shared.ask({**right, **token, "DurationSeconds": "900.0"})[:2] == (400, "ValidationError")
    assert shared.ask({**right, **token, "DurationSeconds": "899"})[:2] == (400, "ValidationError")
    assert shared.ask({**right, **token, "Tags.member.1.Key": "a"})[:2] == (400, "ValidationError")
    assert shared.ask({**right, **token, "Polcy": "{}"})[:2] == (400, "ValidationError")
    assert shared.ask({**right, **token, "Version": "2010-01-01"})[:2] == (400, "InvalidAction")
    for action in ("AssumeRoleWithSAML", "GetCallerIdentity", "AssumeRole"):
        assert shared.ask({**common, **token, "Action": action})[:2] == (403, "MissingAuthenticationToken")
    assert shared.ask({})[:2] == (403, "MissingAuthenticationToken")
    assert shared.ask({**right, "WebIdentityToken": "x" * 20_001})[:2] == (400, "InvalidIdentityToken")
    assert shared.ask({**right, "WebIdentityToken": "x" * 200_000})[0] == 413
    host = {"host": shared.server.url.removeprefix("http://")}
    doubled = urlencode({**right, **token}) + "&RoleArn=" + arn("operator")
    for body in (doubled, "Action=AssumeRoleWithWebIdentity&x=%ff"):
        assert told(shared.server.send("POST", "/", host, body.encode()).body)[0] == "MalformedQueryString"
    assert shared.server.send("PUT", "/", host, urlencode({**right, **token}).encode()).status >= 400


def test_a_signed_request_names_a_known_action(shared: Plane) -> None:
    """And is told what there is."""
    assume = {"Action": "AssumeRole", "Version": VERSION, "RoleArn": arn("operator")}
    named = {**assume, "RoleSessionName": "me"}
    for form, code in (
        ({}, "MissingAction"),
        ({"Action": "DecodeAuthorizationMessage", "Version": VERSION}, "InvalidAction"),
        ({"Action": "GetCallerIdentity"}, "InvalidAction"),
        ({"Action": "GetCallerIdentity", "Version": VERSION, "X": "y"}, "ValidationError"),
        (assume, "ValidationError"),
        ({**named, "Tags.member.0.Key": "x"}, "ValidationError"),
        ({**named, "Tags.member.1.Key": "x"}, "ValidationError"),
        ({**named, "TransitiveTagKeys.x": "x"}, "ValidationError"),
    ):
        body = urlencode(form).encode()
        head = {"host": shared.server.url.removeprefix("http://")}
        signed = sign(Request.of("POST", "/", head.items(), body), ADMIN.id, ADMIN.secret, "us-east-1", "sts", now())
        answer = shared.server.send("POST", "/", head | signed, body)
        assert (answer.status, told(answer.body)[0]) == (400, code)


def test_a_signature_for_another_service_opens_nothing_here(shared: Plane) -> None:
    """A key's App Mesh signature cannot be carried to STS, nor the other way round."""
    body = urlencode({"Action": "GetCallerIdentity", "Version": VERSION}).encode()
    head = {"host": shared.server.url.removeprefix("http://")}
    for service, path in (("appmesh", "/"), ("sts", "/v20190125/meshes")):
        signed = sign(
            Request.of("POST", path, head.items(), body), ADMIN.id, ADMIN.secret, "us-east-1", service, now()
        )
        assert shared.server.send("POST", path, head | signed, body).status == 403


def test_anybody_with_a_key_may_ask_who_it_is(shared: Plane) -> None:
    """Even who may do nothing else; a wrong secret gets STS's own error."""
    who = shared.sts(STRANGER).get_caller_identity()
    assert (who["Arn"], who["Account"]) == (f"arn:aws:iam::{ACCOUNT}:user/stranger", ACCOUNT)
    assert re.fullmatch(r"AIDA[A-Z2-7]{17}", who["UserId"])
    wrong = shared.sts(AccessKey(id=STRANGER.id, secret="x", principal="", created_at=0))
    assert refused(wrong.get_caller_identity)[:2] == ("SignatureDoesNotMatch", 403)
    nobody = shared.sts(AccessKey(id="AKIANOBODY", secret="x", principal="", created_at=0))
    assert refused(nobody.get_caller_identity)[:2] == ("InvalidClientTokenId", 403)


def test_a_presigned_question_is_answered(shared: Plane) -> None:
    """GET with the signature in the query, as tools hand it on to prove who they are."""
    url = f"{shared.server.url}/?{urlencode({'Action': 'GetCallerIdentity', 'Version': VERSION})}"
    asked = AWSRequest("GET", url, headers={"host": shared.server.url.removeprefix("http://")})
    SigV4QueryAuth(BotoCredentials(ADMIN.id, ADMIN.secret), "sts", "us-east-1", expires=60).add_auth(asked)
    answer = shared.server.send(
        "GET", str(asked.url).removeprefix(shared.server.url), {"host": shared.server.url.removeprefix("http://")}
    )
    assert answer.status == 200
    assert b":user/administrator" in answer.body


def test_a_user_takes_a_role_that_names_it(shared: Plane) -> None:
    """With the conditions of the entry, and no other user does."""
    answer = shared.by_key("operator")
    assert answer["AssumedRoleUser"]["Arn"].endswith("assumed-role/operator/me")
    assert refused(shared.by_key, role="operator", key=STRANGER)[:2] == ("AccessDenied", 403)
    code, _, message = refused(shared.by_key, role="cart-deployer")
    assert code == "AccessDenied"
    assert message == (
        f"User: arn:aws:iam::{ACCOUNT}:user/deployer is not authorized to perform: sts:AssumeRole on resource: "
        f"{arn('cart-deployer')}"
    )
    assert refused(shared.by_key, role="no-such-role")[0] == "AccessDenied"


def test_an_external_id_is_a_condition(shared: Plane) -> None:
    """Missing or other ones are refused."""
    assert shared.by_key("guarded", ExternalId="x-1")
    assert refused(shared.by_key, role="guarded")[0] == "AccessDenied"
    assert refused(shared.by_key, role="guarded", ExternalId="x-2")[0] == "AccessDenied"
    assert refused(shared.by_key, role="guarded", ExternalId="x 1")[0] == "ValidationError"


def test_a_deny_beats_the_roles_own_word(shared: Plane) -> None:
    """The caller's policies may forbid what the role would allow."""
    assert refused(shared.by_key, role="forbidden")[0] == "AccessDenied"


def test_the_administrator_takes_any_role(shared: Plane) -> None:
    """As it may do everything."""
    assert shared.by_key("forbidden", key=ADMIN)


def test_session_tags_are_carried_as_far_as_they_were_said_to(shared: Plane) -> None:
    """Transitive ones stay along a chain and cannot be changed on the way; others end with their session."""
    tags = [{"Key": "team", "Value": "mine"}, {"Key": "ticket", "Value": "T-1"}]
    first = shared.by_key("operator", Tags=tags, TransitiveTagKeys=["ticket"])
    session = shared.server.store.session(first["Credentials"]["AccessKeyId"])
    assert session is not None
    assert session.principal.tags == {"team": "mine", "ticket": "T-1"}
    chained = shared.as_session(first)
    second = chained.assume_role(RoleArn=arn("second"), RoleSessionName="on")
    follower = shared.server.store.session(second["Credentials"]["AccessKeyId"])
    assert follower is not None
    assert (follower.principal.tags, follower.principal.transitive_tags) == ({"ticket": "T-1"}, ("ticket",))
    again = {"RoleArn": arn("second"), "RoleSessionName": "on", "Tags": [{"Key": "Ticket", "Value": "T-2"}]}
    assert refused(chained.assume_role, **again)[0] == "ValidationError"


@pytest.mark.parametrize(
    "members",
    [
        {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]},
        {"Tags": [{"Key": "aws:x", "Value": "1"}]},
        {"Tags": [{"Key": "a<b", "Value": "1"}]},
        {"Tags": [{"Key": "a", "Value": "1"}], "TransitiveTagKeys": ["b"]},
        {"Tags": [{"Key": f"k{number}", "Value": ""} for number in range(51)]},
        {"SourceIdentity": "writer"},
        {"SerialNumber": "arn:aws:iam::1:mfa/x", "TokenCode": "123456"},
        {"DurationSeconds": 3601},
        {"ProvidedContexts": [{"ProviderArn": "arn:aws:iam::aws:contextProvider/x", "ContextAssertion": "abcd"}]},
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_a_session_cannot_have_is_refused(shared: Plane, members: dict[str, Any]) -> None:
    """Whether AWS refuses it too or this server does not know it."""
    assert refused(shared.by_key, role="operator", **members)[0] == "ValidationError"


def test_tags_need_their_permission(shared: Plane) -> None:
    """A role without sts:TagSession passes none on."""
    first = shared.by_token()
    with pytest.raises(botocore.exceptions.ClientError):
        shared.as_session(first).assume_role(RoleArn=arn("second"), RoleSessionName="on")
    chained = shared.as_session(shared.by_key("operator"))
    tags = [{"Key": "a", "Value": "b"}]
    assert chained.assume_role(RoleArn=arn("operator"), RoleSessionName="on", Tags=tags)
    narrow = shared.by_key("operator", Policy=policy("Allow", "sts:AssumeRole"))
    asked = {"RoleArn": arn("second"), "RoleSessionName": "on"}
    assert shared.as_session(narrow).assume_role(**asked)
    assert refused(shared.as_session(narrow).assume_role, **asked, Tags=tags)[0] == "AccessDenied"


def policy(effect: str, action: str) -> str:
    """A session policy of one statement."""
    statement = {"Effect": effect, "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=1)


def test_a_narrow_session_does_not_become_a_wide_one(shared: Plane) -> None:
    """Its session policy bounds which roles it may take."""
    for narrow in (policy("Allow", "appmesh:*"), policy("Deny", "sts:*"), policy("Allow", "sts:TagSession")):
        session = shared.as_session(shared.by_key("operator", Policy=narrow))
        asked = {"RoleArn": arn("second"), "RoleSessionName": "on"}
        assert refused(session.assume_role, **asked)[0] == "AccessDenied"


def test_a_session_policy_is_kept_with_the_session(shared: Plane) -> None:
    """As it is evaluated with every request, in its shortest form."""
    answer = shared.by_token(Policy=policy("Allow", "appmesh:ListMeshes"))
    session = shared.server.store.session(answer["Credentials"]["AccessKeyId"])
    assert session is not None
    (kept,) = session.principal.policies
    assert json.loads(kept) == json.loads(policy("Allow", "appmesh:ListMeshes"))
    assert answer["PackedPolicySize"] > 1


def test_a_session_without_its_token_or_with_another_is_refused(shared: Plane) -> None:
    """The key alone signs nothing."""
    given = shared.by_token()["Credentials"]
    other = shared.by_token()["Credentials"]
    for token in (None, "x", other["SessionToken"]):
        answer = {"Credentials": {**given, "SessionToken": token}}
        assert refused(shared.as_session(answer).get_caller_identity)[:2] == ("InvalidClientTokenId", 403)


def test_a_session_does_what_role_and_policy_both_allow(plane: Plane) -> None:
    """And nothing that only one of them allows."""
    wide = plane.as_session(plane.by_token(role="releaser"), "appmesh")
    wide.create_mesh(meshName="shop")
    listing = policy("Allow", "appmesh:ListMeshes")
    narrow = plane.as_session(plane.by_token(role="releaser", Policy=listing), "appmesh")
    assert [one["meshName"] for one in narrow.list_meshes()["meshes"]] == ["shop"]
    code, status, message = refused(narrow.describe_mesh, meshName="shop")
    assert (code, status) == ("AccessDeniedException", 403)
    assert "no session policy allows the appmesh:DescribeMesh action" in message
    reading = plane.as_session(plane.by_token(Policy=policy("Allow", "*")), "appmesh")
    assert reading.describe_mesh(meshName="shop")
    assert refused(reading.create_mesh, meshName="other")[0] == "AccessDeniedException"
    denying = plane.as_session(plane.by_token(Policy=policy("Deny", "*")), "appmesh")
    assert refused(denying.list_meshes)[0] == "AccessDeniedException"


def test_an_expired_session_is_refused_as_aws_does(plane: Plane) -> None:
    """To the millisecond, with the name that SDKs know."""
    answer = plane.by_token()
    live = plane.server.store.session(answer["Credentials"]["AccessKeyId"])
    assert live is not None
    ended = msgspec.structs.replace(live, key_id="ASIAENDED0000000", expires_at=now() - 1)
    plane.server.store.add_session(ended)
    old = {"Credentials": {**answer["Credentials"], "AccessKeyId": ended.key_id}}
    assert refused(plane.as_session(old, "appmesh").list_meshes)[:2] == ("ExpiredTokenException", 403)
    assert refused(plane.as_session(old).get_caller_identity)[:2] == ("ExpiredToken", 403)


def test_a_revoked_session_ends_at_once(plane: Plane) -> None:
    """One alone, or all of a role until then; sessions made later live."""
    first, second = plane.by_token(), plane.by_token()
    store = plane.server.store
    store.revoke(f"session:{first['Credentials']['AccessKeyId']}", now(), "administrator")
    assert refused(plane.as_session(first).get_caller_identity)[:2] == ("ExpiredToken", 403)
    assert refused(plane.as_session(first, "appmesh").list_meshes)[:2] == ("ExpiredTokenException", 403)
    assert plane.as_session(second).get_caller_identity()
    store.revoke("role:cart-deployer", now(), "administrator")
    assert refused(plane.as_session(second).get_caller_identity)[:2] == ("ExpiredToken", 403)
    assert plane.as_session(plane.by_token()).get_caller_identity()


def test_what_was_obtained_with_a_revoked_credential_ends_with_it(plane: Plane) -> None:
    """Along a chain of roles, whichever link is revoked; what came of another is not touched."""
    for subject in ("key:AKIADEPLOYER0000", "session:", "role:operator"):
        admin, first = plane.by_key("operator", key=ADMIN), plane.by_key("operator")
        second = plane.as_session(first).assume_role(RoleArn=arn("second"), RoleSessionName="on")
        assert plane.as_session(second).get_caller_identity()
        revoked = subject + (first["Credentials"]["AccessKeyId"] if subject == "session:" else "")
        plane.server.store.revoke(revoked, now(), "administrator")
        for ended in (first, second):
            assert refused(plane.as_session(ended).get_caller_identity)[:2] == ("ExpiredToken", 403)
        if subject != "role:operator":
            assert plane.as_session(admin).get_caller_identity()
        if subject.startswith("key:"):
            assert refused(plane.sts(DEPLOYER).get_caller_identity)[0] == "InvalidClientTokenId"
            plane.server.store.add_key(again := AccessKey(**{**asdict(DEPLOYER), "id": "AKIADEPLOYER0001"}))
            plane = plane._replace(deployer=again)


def test_a_chain_of_roles_comes_to_an_end(shared: Plane) -> None:
    """A session cannot prolong itself for ever."""
    answer = shared.by_key("operator")
    for _ in range(7):
        answer = shared.as_session(answer).assume_role(RoleArn=arn("operator"), RoleSessionName="on")
    asked = {"RoleArn": arn("operator"), "RoleSessionName": "on"}
    code, _, message = refused(shared.as_session(answer).assume_role, **asked)
    assert code == "AccessDenied"
    assert "the last of 8 roles" in message


def test_nothing_that_is_secret_is_logged(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a token nor a key, of whoever succeeds or fails."""
    caplog.set_level("DEBUG")
    token, bad = plane.issuer.token(), plane.issuer.token(private_key("RS256", "evil"))
    answer = plane.by_token(token)
    refused(plane.by_token, token=bad)
    plane.by_key("operator")
    text = "\n".join(str(vars(record)) for record in caplog.records if record.name.startswith("meshwright"))
    secrets = [answer["Credentials"][name] for name in ("SecretAccessKey", "SessionToken")]
    assert text
    for secret in (*secrets, token, bad, token.split(".")[2], bad.split(".")[2], DEPLOYER.secret):
        assert secret not in text


def test_refused_tokens_of_one_address_are_bounded() -> None:
    """Those of another are not touched by it, and time heals."""
    found = Allowance(most=3, regained=10.0, told="Too many.", sources=2)
    for _ in range(3):
        found.admit("a", 0)
        found.note("a", 0)
    with pytest.raises(TooManyRequestsException):
        found.admit("a", 99)
    found.admit("b", 99)
    found.admit("a", 100)
    found.note("b", 100)
    found.note("c", 100)
    found.admit("a", 100)


def test_many_refusals_end_in_429(tmp_path: Path) -> None:
    """With Retry-After, and without looking at the token; it passes."""
    with planes(tmp_path, limits=Limits(refused_tokens=10, refused_tokens_regained=1.0)) as plane:
        host = {"host": plane.server.url.removeprefix("http://")}
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": VERSION,
            "RoleArn": arn("x"),
            "RoleSessionName": "x7",
        }
        body = urlencode({**form, "WebIdentityToken": "no.to.ken"}).encode()
        answers = [plane.server.send("POST", "/", host, body) for _ in range(30)]
        assert [one.status for one in answers[:10]] == [400] * 10
        assert told(answers[-1].body)[0] == "Throttling"
        assert answers[-1].headers["retry-after"]
        assert plane.sts(ADMIN).get_caller_identity()


def test_nobody_fills_the_disk_with_sessions(tmp_path: Path) -> None:
    """Of one token's subject or one user so many at once, whatever the sessions are called; others have theirs."""
    with planes(tmp_path, limits=Limits(sessions=3, sessions_regained=0.001)) as plane:
        token = plane.issuer.token()
        for number in range(3):
            plane.by_token(token, RoleSessionName=f"build-{number}")
            plane.by_key("operator", RoleSessionName=f"me-{number}")
        leaves = plane.leaves()
        asked = {"RoleSessionName": "another"}
        assert refused(plane.by_token, token=plane.issuer.token(jti="another"), **asked)[:2] == ("Throttling", 429)
        assert refused(plane.by_key, role="operator", **asked)[:2] == ("Throttling", 429)
        assert plane.leaves() == leaves
        assert plane.by_token(plane.issuer.token(sub="repo:acme/cart:environment:test"))
        assert plane.by_key("operator", key=ADMIN)


def test_nobody_floods_the_log_with_unsigned_requests(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is wrong with them: the metrics count all, the log takes some."""
    caplog.set_level("INFO", logger="meshwright.api")
    host = {"host": plane.server.url.removeprefix("http://")}
    for number in range(60):
        form = {"Action": "AssumeRoleWithWebIdentity", "Version": VERSION, f"Wrong{number}": "x"}
        assert plane.server.send("POST", "/", host, urlencode(form).encode()).status == 400
        right = form | {"RoleArn": arn("releaser"), "RoleSessionName": "x7", "WebIdentityToken": f"a.b.{number}"}
        del right[f"Wrong{number}"]
        assert plane.server.send("POST", "/", host, urlencode(right).encode()).status == 400
    assert 0 < len(caplog.records) < 40
    metrics = plane.server.ask("GET", "/metrics", key=None).body.decode()
    assert 'meshwright_refused_unauthenticated_total{reason="InvalidIdentityToken"} 60.0' in metrics


def test_a_token_whose_claims_no_store_could_keep_is_refused(shared: Plane) -> None:
    """Not answered with a failure of the server."""
    for claims in ({"big": 1 << 64}, {"deep": [[[[[[[[[1]]]]]]]]]}, {"low": -(1 << 70)}):
        assert refused(shared.by_token, token=shared.issuer.token(**claims))[:2] == ("InvalidIdentityToken", 400)
    odd: dict[str, Any] = {
        "": "x",
        "a\x00b": "\x1b[2J",
        "real": 1e300,
        "none": None,
        "list": [1, True, None, {"a": 1}],
        "é": "𝄞",
    }
    assert shared.by_token(shared.issuer.token(**odd))


def test_texts_stay_texts_in_xml() -> None:
    """Whatever they hold."""
    text = "a<b>&\"'\r\n]]>\x00\x1b\ufffe é 𝄞"
    root = ET.fromstring(result("Do", {"A": text, "B": {"C": ""}}, "id"))  # noqa: S314 - our own
    space = "{https://sts.amazonaws.com/doc/2011-06-15/}"
    assert root.findtext(f"{space}DoResult/{space}A") == "a<b>&\"'\r\n]]>\ufffd\ufffd\ufffd é 𝄞"
    assert root.findtext(f"{space}ResponseMetadata/{space}RequestId") == "id"
    assert told(failure("Code", text, 403, "id"))[0] == "Code"
