"""A control plane that trusts tokens of CI services, and jobs of builds that sign with what they get for theirs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from exchanging import Plane
from issuing import published
from meshwright.issuers import Issuers
from meshwright.remote import Client, Credentials
from meshwright.store.contract import AccessKey
from serving import serving
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.trust.authorization import Authority

TRUST = """
version: 1
environments: {test: {mesh: m}}
issuers:
  travis: {url: "URL", audiences: [travis], ci: travis}
  github: {url: "URL", audiences: [github], ci: github}
  gitlab: {url: "URL", audiences: [gitlab], ci: gitlab}
  ours: {url: "URL", audiences: [ours], build: {repository: project, build_number: run, branch: ""}}
  plain: {url: "URL", audiences: [plain]}
users:
  alice: &wide {stack: "*", owns: ["mesh/**"], may_change: ["mesh/**"], permissions: [everything]}
  bob: *wide
policies:
  everything: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}
roles:
  deployer:
    <<: *wide
    assume: [{issuer: travis}, {issuer: github}, {issuer: gitlab}, {issuer: ours}, {issuer: plain}]
  second:
    <<: *wide
    assume: [{principals: [role/deployer, user/alice]}]
"""
"""One issuer, declared once for the tokens of each service: the audience tells which."""


def travis(number: int, repository: str = "acme/shop", branch: str = "main", **more: Any) -> dict[str, Any]:
    """The claims of a job of a Travis CI build."""
    return {
        "aud": "travis",
        "sub": f"repo:{repository}:branch:{branch}:event:push",
        "repository": repository,
        "branch": branch,
        "event": "push",
        "build_id": str(9000 + number),
        "build_number": str(number),
        "job_id": f"{9000 + number}1",
        "job_number": f"{number}.1",
        "commit": f"{number:040x}",
        **more,
    }


class Jobs(NamedTuple):
    """A running API, and clients of it that are jobs or people."""

    plane: Plane
    folder: Path
    """Where its database is."""
    trusted: list[Authority]
    """What the newest trust file says: the last one."""

    def trust(self, text: str) -> None:
        """Take over a new trust file."""
        self.trusted.append(authority(text.replace("URL", self.plane.issuer.url)))

    def job(self, role: str = "deployer", **claims: Any) -> Client:
        """A client with the session that a token of these claims gets."""
        return self._with(self.plane.by_token(self.plane.issuer.token(**claims), role))

    def through(self, role: str, user: str = "", **claims: Any) -> Client:
        """A client with the session that such a session takes with its own, or a user with a key."""
        asked = {"RoleArn": f"arn:aws:iam::000000000000:role/{role}", "RoleSessionName": "chained"}
        if user:
            self.user(user)
            key = self.plane.server.store.key(f"AKIA{user.upper()}")
            return self._with(self.plane.sts(key).assume_role(**asked))
        first = self.plane.by_token(self.plane.issuer.token(**claims), "deployer")
        return self._with(self.plane.as_session(first).assume_role(**asked))

    def user(self, name: str = "administrator") -> Client:
        """A client with a key of a user's own."""
        store = self.plane.server.store
        known = AccessKey(id=f"AKIA{name.upper()}", secret=f"secret-of-{name}", principal=name, created_at=0)
        if store.key(known.id) is None:
            store.add_key(known)
        return Client(self.plane.server.url, Credentials(key_id=known.id, secret=known.secret, source="the test"))

    def _with(self, answer: dict[str, Any]) -> Client:
        given = answer["Credentials"]
        return Client(
            self.plane.server.url,
            Credentials(
                key_id=given["AccessKeyId"],
                secret=given["SecretAccessKey"],
                session_token=given["SessionToken"],
                source="the test",
            ),
        )


@contextlib.contextmanager
def building(folder: Path, text: str = TRUST, **members: Any) -> Iterator[Jobs]:
    """A control plane with the trust file `text` until the block ends; `members` are of `serving`."""
    with published() as issuer:
        trusted = [authority(text.replace("URL", issuer.url))]
        with serving(folder, authority=lambda: trusted[-1], issuers=Issuers(), **members) as server:
            yield Jobs(Plane(server, issuer), folder, trusted)
