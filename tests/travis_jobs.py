"""A control plane that vouches for jobs of a fake Travis CI, and jobs that prove themselves to it step by step."""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from fake_travis import TOKEN, FakeTravis, fake_travis
from meshwright.api.limits import PROVING_PATHS
from meshwright.api.own_issuer import OwnIssuer
from meshwright.audit import Leaf
from meshwright.ci.travis import proof
from meshwright.ci.travis.access import Access
from meshwright.ci.travis.client import Limits
from meshwright.ci.travis.reading import TravisJobs
from meshwright.issuers import Issuers
from meshwright.store.issuer_keys import IssuerKeys
from meshwright.store.keys import ensure_secret
from meshwright.trust.key_ring import KeyRing, new_key, write_ring
from serving import Serving, serving
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wire_client import Answer

ISSUER = "https://mesh.example"
TRUST = f"""
version: 1
issuers:
  travis: {{url: "{ISSUER}", audiences: [meshwright], ci: travis}}
policies:
  everything: {{Version: "2012-10-17", Statement: {{Effect: Allow, Action: "*", Resource: "*"}}}}
roles:
  main:
    stack: orders
    owns: ["mesh/shop/**", "mesh/shop"]
    permissions: [everything]
    assume:
      - issuer: travis
        conditions:
          StringEquals: {{sub: "repo:acme/orders:branch:main:event:push", stage: Deploy}}
  proposer:
    stack: orders
    owns: ["mesh/shop/**", "mesh/shop"]
    permissions: [everything]
    assume: [{{issuer: travis, conditions: {{StringLike: {{sub: "repo:acme/orders:pull_request:*"}}}}}}]
  guarded:
    permissions: [everything]
    assume:
      - issuer: travis
        conditions: {{StringEquals: {{repository: acme/orders, second_factor: "true"}}}}
  plain:
    permissions: [everything]
    assume: [{{issuer: travis, conditions: {{StringLike: {{sub: "repo:acme/orders:branch:*"}}}}}}]
"""


class Clock:
    """The server's, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000 + self.ahead


class TravisJob:
    """One job, or somebody who says that he is one."""

    def __init__(self, plane: Plane, number: int) -> None:
        self.plane = plane
        self.number = number
        self.secret = secrets.token_bytes(proof.SECRET_BYTES)
        self.challenge = ""
        self.line = ""

    def ask(self) -> dict[str, Any]:
        """Ask for a challenge."""
        body = {"job_id": self.number, "commitment": proof.commitment(self.secret)}
        given = self.plane.post(PROVING_PATHS[0], body)
        assert given.status == 200, given.body
        found: dict[str, Any] = json.loads(given.body)
        self.challenge, self.line = found["challenge"], found["line"]
        return found

    def say(self) -> None:
        """Print the answer to the own log."""
        self.plane.travis.print(self.number, f"\n{self.line}\n")

    def redeem(self, **more: Any) -> Answer:
        """Redeem the secret."""
        body = {"job_id": self.number, "challenge": self.challenge, "secret": self.secret.hex(), **more}
        return self.plane.post(PROVING_PATHS[1], body)

    def token(self, **more: Any) -> str:
        """All of it, in order."""
        self.ask()
        self.say()
        given = self.redeem(**more)
        assert given.status == 200, given.body
        return str(json.loads(given.body)["token"])


class Plane(NamedTuple):
    """The control plane, the Travis CI that it asks, and its issuer."""

    server: Serving
    travis: FakeTravis
    issuer: OwnIssuer
    clock: Clock

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        """Ask as somebody who is not known."""
        return self.server.ask("POST", path, json.dumps(body).encode(), key=None)

    def job(self, number: int, **record: Any) -> TravisJob:
        """A running job, which Travis CI knows."""
        self.travis.add_job(number, **record)
        return TravisJob(self, number)

    def assume(self, token: str, role: str = "main") -> Answer:
        """Exchange a token for a session of a role."""
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": f"arn:aws:iam::000000000000:role/{role}",
            "RoleSessionName": "job",
            "WebIdentityToken": token,
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self.server.ask("POST", "/", urlencode(form).encode(), key=None, **headers)

    def refused(self) -> list[Leaf]:
        """What the audit log tells of refusals; the server writes it a moment after it answers."""
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            found = _leaves(self.server, "attempt")
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError("no refusal was written to the audit log")


def _leaves(server: Serving, kind: str) -> list[Leaf]:
    found = [msgspec.json.decode(one.text, type=Leaf) for one in server.store.leaves(0, 1000)]
    return [one for one in found if one.kind == kind]


def given(server: Serving) -> list[Leaf]:
    """The identities that the audit log tells of."""
    return _leaves(server, "identity")


@functools.cache
def _ring() -> bytes:
    """A key that is made once a test run: it takes a while."""
    return write_ring(KeyRing().turned(time.time_ns() // 1_000_000, new_key()))


@contextlib.contextmanager
def plane(folder: Path, prefix: str = "", trust: str = TRUST, **options: Any) -> Iterator[Plane]:
    """A control plane and its Travis CI until the block ends; `options` are of `OwnIssuer`."""
    clock, allowed = Clock(), authority(trust)
    (folder / "issuer.keys").write_bytes(_ring())
    with fake_travis(prefix) as travis:
        access = Access(endpoint=travis.url, token=TOKEN, source="TRAVIS_TOKEN")
        issuer = OwnIssuer(
            url=ISSUER,
            keys=IssuerKeys(folder, clock),
            jobs=TravisJobs(access, Limits(patience=20, silence=options.pop("silence", 10.0), pause=0.01)),
            key=ensure_secret(folder / "travis.key"),
            repositories=options.pop("repositories", ("acme/*",)),
            **{"wait_seconds": 0.1, "pause_seconds": 0.02, **options},
        )
        with serving(
            folder,
            issuer=issuer,
            issuers=Issuers(own={ISSUER: lambda: issuer.keys.key_set}),
            authority=lambda: allowed,
            now=clock,
        ) as server:
            try:
                yield Plane(server, travis, issuer, clock)
            finally:
                issuer.close()
