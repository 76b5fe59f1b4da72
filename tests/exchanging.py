"""A control plane with roles, an issuer and stock STS clients, for tests of sessions."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import boto3
from botocore.config import Config

from issuing import Published, published
from meshwright.issuers import Issuers, Limits
from meshwright.store.contract import AccessKey
from serving import Serving, serving
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT = "000000000000"
ADMIN = AccessKey(id="AKIAADMINISTRATOR", secret="a-secret", principal="administrator", created_at=0)
DEPLOYER = AccessKey(id="AKIADEPLOYER0000", secret="d-secret", principal="deployer", created_at=0)
STRANGER = AccessKey(id="AKIASTRANGER0000", secret="s-secret", principal="stranger", created_at=0)
VERSION = "2011-06-15"

TRUST = """
version: 1
issuers:
  ci: {url: "URL", audiences: [meshwright], tags: {repository: repository, labels: labels}}
  other: {url: "URL", audiences: [elsewhere]}
users:
  deployer:
    tags: {team: cart}
    permissions: [may-tag]
  watcher: {}
policies:
  releasing:
    Version: "2012-10-17"
    Statement: [{Effect: Allow, Action: ["appmesh:*", "meshwright:*"], Resource: "*"}]
  read-only:
    Version: "2012-10-17"
    Statement: [{Effect: Allow, Action: ["appmesh:Describe*", "appmesh:List*"], Resource: "*"}]
  may-tag:
    Version: "2012-10-17"
    Statement:
      - {Effect: Allow, Action: "sts:TagSession", Resource: "*"}
      - {Effect: Deny, Action: "sts:AssumeRole", Resource: "arn:aws:iam::*:role/forbidden"}
  chain:
    Version: "2012-10-17"
    Statement: [{Effect: Allow, Action: ["sts:AssumeRole", "sts:TagSession"], Resource: "*"}]
roles:
  cart-deployer:
    permissions: [read-only]
    tags: {team: cart, stage: test}
    session: {max: 30m}
    assume:
      - issuer: ci
        conditions:
          StringEquals: {repository: acme/cart, "HOST:ref": refs/heads/main}
  elsewhere:
    assume: [{issuer: other}]
  releaser:
    stack: cart
    owns: ["mesh/shop/**", "mesh/shop"]
    may_extend: ["mesh/shop"]
    permissions: [releasing]
    assume: [{issuer: ci, conditions: {StringLike: {sub: "repo:acme/cart:*"}}}]
  operator:
    permissions: [chain]
    tags: {team: ops}
    assume:
      - principals: [user/deployer]
        conditions: {StringEquals: {"aws:PrincipalTag/team": cart}}
      - principals: [role/operator]
  guarded:
    assume:
      - principals: [user/deployer]
        conditions: {StringEquals: {"sts:ExternalId": "x-1"}}
  forbidden:
    assume: [{principals: [user/deployer]}]
  second:
    permissions: [read-only]
    assume: [{principals: [role/operator]}]
"""


@functools.cache
def _session() -> Any:
    """One for all clients: it reads the service models once."""
    return boto3.session.Session()


class Plane(NamedTuple):
    """A running API that trusts a running issuer."""

    server: Serving
    issuer: Published
    deployer: AccessKey = DEPLOYER

    def sts(self, key: AccessKey | None = None, **options: Any) -> Any:
        """A stock boto3 client for STS; `key` signs what is signed."""
        secret = {"aws_access_key_id": key.id, "aws_secret_access_key": key.secret} if key else {}
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30)
        given = {"region_name": "us-east-1", "config": config, **secret, **options}
        if not key and "aws_access_key_id" not in options:
            given |= {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        return _session().client("sts", endpoint_url=self.server.url, **given)

    def by_token(self, token: str | None = None, role: str = "cart-deployer", **members: Any) -> dict[str, Any]:
        """The answer to AssumeRoleWithWebIdentity."""
        asked = {"RoleArn": arn(role), "RoleSessionName": "build-7", "WebIdentityToken": token or self.issuer.token()}
        found: dict[str, Any] = self.sts().assume_role_with_web_identity(**{**asked, **members})
        return found

    def by_key(self, role: str, key: AccessKey | None = None, **members: Any) -> dict[str, Any]:
        """The answer to AssumeRole; `key` is the deployer's unless given."""
        asked = {"RoleArn": arn(role), "RoleSessionName": "me", **members}
        found: dict[str, Any] = self.sts(key or self.deployer).assume_role(**asked)
        return found

    def as_session(self, answer: dict[str, Any], service: str = "sts") -> Any:
        """A stock client that signs with an answer's credentials."""
        given = answer["Credentials"]
        config = Config(retries={"total_max_attempts": 1})
        return _session().client(
            service,
            endpoint_url=self.server.url,
            region_name="us-east-1",
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            config=config,
        )

    def ask(self, form: dict[str, str], method: str = "POST") -> tuple[int, str, str]:
        """Status, error code and message of an unsigned request as it stands."""
        body = urlencode(form).encode()
        head = {"host": self.server.url.removeprefix("http://"), "content-type": "application/x-www-form-urlencoded"}
        target = "/" if method == "POST" else f"/?{body.decode()}"
        answer = self.server.send(method, target, head, body if method == "POST" else b"")
        return answer.status, *told(answer.body)

    def leaves(self) -> list[dict[str, Any]]:
        """The audit log."""
        return [json.loads(one.text) for one in self.server.store.leaves(limit=1000)]


def told(body: bytes) -> tuple[str, str]:
    """An error's code and message."""
    root = ET.fromstring(body)  # noqa: S314 - our own server's answer
    space = {"": "https://sts.amazonaws.com/doc/2011-06-15/"}
    return root.findtext("Error/Code", "", space), root.findtext("Error/Message", "", space)


def arn(role: str) -> str:
    """A role's ARN."""
    return f"arn:aws:iam::{ACCOUNT}:role/{role}"


@contextlib.contextmanager
def planes(folder: Path, account: str = ACCOUNT, issuer: Published | None = None, **members: Any) -> Iterator[Plane]:
    """A control plane with `TRUST` and an issuer until the block ends; `members` are of `serving`."""
    with contextlib.nullcontext(issuer) if issuer else published() as known:
        text = TRUST.replace("URL", known.url).replace("HOST", known.url.removeprefix("http://"))
        trusted = authority(text, account=account)
        issuers = Issuers(limits=Limits(patience=20.0, retry=0.05, refresh=0.05))
        with serving(folder, authority=lambda: trusted, issuers=issuers, account=account, **members) as server:
            for key in (ADMIN, DEPLOYER, STRANGER):
                server.store.add_key(key)
            yield Plane(server, known)
