"""The shapes of what our own endpoints answer, as far as a client reads them.

The one rule: what the views show is declared here, so that an answer that lacks it is seen where it comes in.
It is long because there are many shapes, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.audit import Checkpoint as LogCheckpoint
from meshwright.audit import SigningKey, leaf_hash, signed_checkpoint
from meshwright.views.approval_answers import Pending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.audit import Entry

PREFIX = "/meshwright/v1"
"""Where our own endpoints begin."""


class Checkpoint(msgspec.Struct):
    """The newest checkpoint of the audit log."""

    size: int
    root: str
    """In hexadecimal."""
    checkpoint: str
    """The same, signed."""
    key: str
    """The public key that verifies it."""


def checkpoint_answer(found: LogCheckpoint, key: SigningKey) -> Checkpoint:
    """`found`, signed."""
    return Checkpoint(found.size, found.root, signed_checkpoint(found, key), key.verifier.text)


class AuditEntry(msgspec.Struct):
    """One entry of the audit log."""

    position: int
    """Counted from 0."""
    hash: str
    """Of the leaf, in hexadecimal."""
    root: str
    """Of the log that ends with it."""
    leaf: dict[str, Any]
    """What it tells."""


class AuditEntries(msgspec.Struct):
    """Entries of the audit log, newest first."""

    entries: list[AuditEntry]
    next: int | None
    """Where to go on; None at the log's beginning."""


def audit_answer(found: Iterable[Entry], following: int | None) -> AuditEntries:
    """Entries as they are stored, for a client."""
    shown = [
        AuditEntry(
            position=one.position,
            hash=leaf_hash(one.text.encode()).hex(),
            root=one.root,
            leaf=msgspec.json.decode(one.text),
        )
        for one in found
    ]
    return AuditEntries(shown, following)


class Change(msgspec.Struct):
    """What a release did to one object."""

    action: str
    object: str


class Risk(msgspec.Struct):
    """What the server saw in a release that has hurt others."""

    code: str
    summary: str
    object: str


class Tally(msgspec.Struct):
    """What proxies made of a release, in a few numbers."""

    acked: int
    pending: int
    rejected: int
    first_sent_at: int | None
    last_acked_at: int | None


class Release(msgspec.Struct):
    """A release without its content."""

    title: str
    mesh: str
    stack: str
    number: int
    revision: int
    at: int
    principal: str
    kind: str
    status: str
    changes: list[Change]
    restores: int | None
    build: dict[str, Any] | None
    verified: dict[str, Any] | None = None
    approval: dict[str, Any] | None = None
    broken_glass: dict[str, Any] | None = None
    reason: str = ""
    definitions: str = ""
    promotes: dict[str, Any] | None = None
    adopted: list[str] = []
    tests: dict[str, Any] | None = None
    canary: dict[str, Any] | None = None
    tally: Tally | None = None
    risks: list[Risk] = []


class Outcome(msgspec.Struct):
    """What came of an apply or a rollback."""

    changed: bool
    release: Release | None
    fenced: bool = False
    warnings: list[str] = []
    pending: Pending | None = None


class CanaryTurn(msgspec.Struct):
    """Where a canary stands."""

    canary: str
    """The title of its first release."""
    state: str
    step: int
    steps: list[int]
    weight: int
    release: Release
    """The stack's newest."""
    releases: list[Release]
    """The canary's own, oldest first."""
    checks: list[dict[str, Any]]
    waiting: str
    superseded_by: str


class Sight(msgspec.Struct):
    """One thing that a check looked at."""

    subject: str
    outcome: str
    told: str
    at: int


class Check(msgspec.Struct):
    """One question about a release, and what came of it."""

    name: str
    by: str
    outcome: str
    told: str
    began_at: int
    ended_at: int
    sights: list[Sight]
    omitted: int


class Inspection(msgspec.Struct):
    """One verification of a release."""

    at: int
    principal: str
    judgement: str
    unprobed_allowed: bool
    checks: list[Check]


class Verified(msgspec.Struct):
    """What came of a verification."""

    release: Release
    checks: list[Check]
    inspection: Inspection | None


class Verifications(msgspec.Struct):
    """The verifications of a release."""

    release: str
    status: str
    inspections: list[Inspection]


class History(msgspec.Struct):
    """A stack's releases, or a page of them."""

    mesh: str
    stack: str
    releases: list[Release]
    next: int | None = None
    """The number to ask on before; None where there is no older one."""


class Author(msgspec.Struct):
    """Who wrote an object last."""

    principal: str
    cause: str
    revision: int
    at: int


class Field(msgspec.Struct):
    """A field that differs, and who gave it the value that it has."""

    path: str
    old: Any
    new: Any
    author: Author | None = None


class Difference(msgspec.Struct):
    """An object that does not run as its release left it."""

    object: str
    state: str
    kind: str
    fields: list[Field]
    author: Author | None


class Drift(msgspec.Struct):
    """Where a stack runs otherwise than its last release left it."""

    mesh: str
    stack: str
    release: str
    differences: list[Difference]
    canary: dict[str, Any] | None = None
    """Which part of a canary the release is."""


class Source(msgspec.Struct):
    """A place in a build's files."""

    file: str
    line: int


class Cause(msgspec.Struct):
    """An object that a rejection leads to, and who brought it."""

    object: str
    path: str
    source: Source | None
    release: str
    build: dict[str, Any] | None
    author: Author | None


class Rejection(msgspec.Struct):
    """What an Envoy said against resources, and the objects that these were made from."""

    message: str
    resources: list[str]
    origins: list[str]
    causes: list[Cause] = []


class Rejecting(msgspec.Struct):
    """A proxy that refused something."""

    id: str
    rejections: list[Rejection] = []


class Step(msgspec.Struct):
    """Resources of one type on their way to one proxy."""

    type_url: str
    resources: dict[str, str]
    state: str
    sent_at: int | None
    settled_at: int | None


class Account(Rejecting, kw_only=True):
    """What one proxy made of a release."""

    state: str
    connected: bool
    steps: list[Step]


class Propagation(msgspec.Struct):
    """How far a release has come."""

    revision: int
    state: str
    concerned: list[str]
    acked: list[str]
    pending: list[str]
    rejected: list[Rejecting]
    away: list[str] = []
    tally: Tally | None = None
    committed_at: int = 0
    accounts: list[Account] = []


class Unserved(msgspec.Struct):
    """What a proxy cannot be sent, and why."""

    subject: str
    path: str
    reason: str


class Proxy(Rejecting, kw_only=True):
    """A connected proxy."""

    node: str
    state: str
    acked_revision: int
    target_revision: int
    envoy_version: str
    unserved: list[Unserved] = []
    shared_id: str = ""


class Held(msgspec.Struct):
    """One resource of a proxy and how far it is with it."""

    type_url: str
    name: str
    version: str
    state: str
    at: int


class Holding(msgspec.Struct):
    """One proxy and all that it should hold."""

    proxy: Proxy
    resources: list[Held]


class Stack(msgspec.Struct):
    """A stack and its newest release."""

    mesh: str
    stack: str
    release: Release | None


class Discovered(msgspec.Struct):
    """How many endpoints of a node are known from one source."""

    node: str
    source: str
    endpoints: int
    healthy: int
    fault: Fault | None


class Status(msgspec.Struct):
    """The server, its stacks and its proxies."""

    version: str
    revision: int
    stacks: list[Stack]
    proxies: list[Proxy]
    discovered: list[Discovered] = []


class Fault(msgspec.Struct):
    """Why endpoints may be out of date."""

    node: str
    source: str
    message: str
    since: int


class Endpoint(msgspec.Struct):
    """One instance of a node."""

    node: str
    address: str
    port: int
    zone: str
    source: str
    name: str
    state: str


class Endpoints(msgspec.Struct):
    """Where the instances of a mesh's nodes are."""

    mesh: str
    endpoints: list[Endpoint]
    faults: list[Fault]


class Session(msgspec.Struct):
    """A session of a role."""

    access_key_id: str
    principal: str
    role: str
    session: str
    state: str
    issuer: str
    subject: str
    obtained_with: list[str]
    created_at: int
    expires_at: int


class Sessions(msgspec.Struct):
    """Sessions, and from where on to ask for more."""

    sessions: list[Session]
    next: str | None


class Revocation(msgspec.Struct):
    """What was revoked."""

    subject: str
    at: int
    principal: str
