"""Values as the text that the database keeps, and back: readable JSON with wire names.

The one rule: what is digested for the audit log is the stored text itself.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from typing import TYPE_CHECKING

import msgspec

from meshwright.audit import canonical
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import TagRef
from meshwright.model.state import SPECS, Metadata, Resource
from meshwright.release import Account, Build, Evidence, Inspection, Release, Tally, series
from meshwright.store.contract import Found
from meshwright.trust.principals import Principal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.release import Series
    from meshwright.store.contract import AccessKey, Revocation, Session


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object without its key, its spec still to be read by kind."""

    spec: msgspec.Raw
    tags: tuple[TagRef, ...] = ()
    stack: str = ""
    unreleased: bool = False
    owned: tuple[Key, ...] = ()
    metadata: Metadata | None = None


def body_of(resource: Resource) -> str:
    """The object without its key, as JSON."""
    spec = msgspec.Raw(msgspec.json.encode(resource.spec))
    body = _Body(
        spec=spec,
        tags=resource.tags,
        stack=resource.stack,
        unreleased=resource.unreleased,
        owned=resource.owned,
        metadata=resource.metadata,
    )
    return msgspec.json.encode(body).decode()


def resource_of(key: Key, text: str) -> Resource:
    """The object that `body_of` wrote.

    Raises:
        msgspec.MsgspecError: the text is not one.
    """
    body = msgspec.json.decode(text, type=_Body)
    spec = msgspec.json.decode(body.spec, type=SPECS[key.kind])
    return Resource(
        key=key,
        spec=spec,
        tags=body.tags,
        stack=body.stack,
        unreleased=body.unreleased,
        owned=body.owned,
        metadata=body.metadata,
    )


def key_of(mesh: str, kind: str, parent: str, name: str) -> Key:
    """A key from its columns."""
    return Key(mesh, Kind(kind), name, parent)


def release_body(release: Release) -> str:
    """A release as JSON."""
    return msgspec.json.encode(release).decode()


def release_of(text: str) -> Release:
    """The release that `release_body` wrote."""
    return msgspec.json.decode(text, type=Release)


def listed_release_of(text: str) -> Release:
    """The release that `release_body` wrote, without what is large, which is passed over undecoded."""
    return Release(**msgspec.structs.asdict(msgspec.json.decode(text, type=_listed())))


@functools.cache
def _listed() -> type[msgspec.Struct]:
    """`Release` without what is large."""
    fields = [
        one
        for one in msgspec.structs.fields(Release)
        if one.name not in {"content", "target", "sources", "risks", "objections"}
    ]
    members = [(one.name, one.type, one.default) for one in fields]
    return msgspec.defstruct(
        "Listed", [member[:2] if member[2] is msgspec.NODEFAULT else member for member in members], kw_only=True
    )


def inspection_body(inspection: Inspection) -> str:
    """A verification as JSON."""
    return msgspec.json.encode(inspection).decode()


def inspection_of(text: str) -> Inspection:
    """The verification that `inspection_body` wrote."""
    return msgspec.json.decode(text, type=Inspection)


def evidence_columns(evidence: Evidence) -> tuple[str, bytes]:
    """The tally as JSON, and the accounts as compressed JSON: those of 1,000 proxies have much in common."""
    tally = msgspec.json.encode(evidence.tally).decode()
    return tally, zlib.compress(msgspec.json.encode(evidence.accounts), 1)


def evidence_of(tally: str, accounts: bytes | None) -> Evidence:
    """The evidence that `evidence_columns` took apart; without accounts where they were dropped."""
    told = msgspec.json.decode(zlib.decompress(accounts), type=tuple[Account, ...]) if accounts is not None else ()
    return Evidence(tally=tally_of(tally), accounts=told)


def tally_of(text: str) -> Tally:
    """A tally that was written as JSON."""
    return msgspec.json.decode(text, type=Tally)


def plain_text(value: msgspec.Struct) -> str:
    """A value as JSON, as it is kept whole."""
    return msgspec.json.encode(value).decode()


def stack_name(mesh: str, stack: str) -> str:
    """How the audit log names a stack: `shop/cart`."""
    return f"{mesh}/{stack}"


def pending_name(mesh: str, stack: str, number: int) -> str:
    """How the audit log names a pending release: `shop/cart#pending-3`."""
    return f"{mesh}/{stack}#pending-{number}"


def release_name(mesh: str, stack: str, number: int) -> str:
    """How the audit log names a release: `shop/cart#12` is number 12 of the stack `cart` in the mesh `shop`."""
    return f"{mesh}/{stack}#{number}"


def build_columns(release: Release | None, found: Found | None) -> tuple[str, str, str, int, str] | None:
    """Mesh, stack, series, release and build of a commit that a verified build has to do with; None for none."""
    if found is None and release is not None and release.verified is not None:
        place = release.mesh, release.stack, release.number
        found = Found(mesh=place[0], stack=place[1], number=place[2], build=release.verified)
    known = series(found.build) if found is not None else None
    if found is None or known is None:
        return None
    return found.mesh, found.stack, series_text(known), found.number, msgspec.json.encode(found.build).decode()


def series_text(one: Series) -> str:
    """A series as JSON."""
    return msgspec.json.encode(one).decode()


def build_of(text: str) -> Build:
    """The build of `build_columns`."""
    return msgspec.json.decode(text, type=Build)


def build_digest(columns: tuple[str, str, str, int, str]) -> str:
    """SHA-256 of what `build_columns` tells."""
    return hashlib.sha256(canonical(columns)).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a stored text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def changes_digest(changes: Iterable[tuple[str, str | None]]) -> str:
    """SHA-256 of a commit's changes: paths and stored bodies (None for a delete), in the order they were made."""
    return hashlib.sha256(canonical([[path, body] for path, body in changes])).hexdigest()


def status_digest(release: str, status: str) -> str:
    """SHA-256 of one move of a release's status."""
    return hashlib.sha256(canonical([release, status])).hexdigest()


def key_digest(key: AccessKey) -> str:
    """SHA-256 of an access key; its secret goes in hashed, and has too many bits to be guessed from that."""
    return hashlib.sha256(canonical([key.id, text_digest(key.secret), key.principal, key.created_at])).hexdigest()


def session_columns(session: Session) -> tuple[str, str, str, str, int, int]:
    """A session's id, secret, token, principal, beginning and end."""
    who = principal_text(session.principal)
    return session.key_id, session.secret, session.token, who, session.created_at, session.expires_at


def session_digest(key_id: str, secret: str, token: str, principal: str, created_at: int, expires_at: int) -> str:
    """SHA-256 of a session's columns; its secret and its token go in hashed, as a key's secret does."""
    said = [key_id, text_digest(secret), text_digest(token), principal, created_at, expires_at]
    return hashlib.sha256(canonical(said)).hexdigest()


def revocation_digest(revocation: Revocation) -> str:
    """SHA-256 of a revocation."""
    return hashlib.sha256(canonical([revocation.subject, revocation.at, revocation.principal])).hexdigest()


def principal_text(principal: Principal) -> str:
    """Who a session stands for, as canonical JSON."""
    return canonical(principal).decode()


def principal_of(text: str) -> Principal:
    """The principal that `principal_text` wrote."""
    return msgspec.json.decode(text, type=Principal)


STRETCH = 256
"""Leaves whose terms lie together in the index of the log: what one transaction adds is on few of its pages."""


def stretch_of(number: int) -> int:
    """The first leaf of the stretch in which a number of the index is."""
    return (number >> 40) * STRETCH


def term_id(term: int, position: int) -> int:
    """Under which number the index of the log has a leaf for a term; those of a term in a stretch are in a row."""
    return (position // STRETCH << 40) + (term << 8) + position % STRETCH
