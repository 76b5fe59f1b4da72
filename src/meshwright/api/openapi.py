"""The OpenAPI document of our own endpoints, made from their table and their types.

The one rule: it describes what is served and nothing else; a test asks for every path in it.
Source: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from meshwright.api.approving import DecisionRequest, GrantRequest
from meshwright.api.extensions import PutRequest
from meshwright.api.proving import ChallengeRequest, RenewalRequest, TokenRequest
from meshwright.api.sessions import RevokeRequest
from meshwright.release import ApplyRequest, CanaryRequest, RollbackRequest, VerifyRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

_BODIES: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("put_extension", PutRequest),
    ("post_release", ApplyRequest),
    ("post_rollback", RollbackRequest),
    ("post_approval", DecisionRequest),
    ("post_withdrawal", DecisionRequest),
    ("post_judgement", ApplyRequest),
    ("post_grant", GrantRequest),
    ("post_verification", VerifyRequest),
    ("post_canary", CanaryRequest),
    ("post_revocation", RevokeRequest),
    ("post_travis_challenge", ChallengeRequest),
    ("post_travis_token", TokenRequest),
    ("post_travis_renewal", RenewalRequest),
)
_QUERIES = (
    ("get_extensions", "kind", "Only those of this kind, such as fault."),
    ("get_audit_entries", "limit", "At most so many entries, 1 to 1000 [100]; there may be fewer before the next."),
    ("get_audit_entries", "before", "Those at positions below this one: the answer's next."),
    ("get_audit_entries", "kind", "Those of this kind: revision, status, attempt and others."),
    ("get_audit_entries", "outcome", "refused: attempts that were; allowed: all else."),
    ("get_audit_entries", "principal", "Those by this ARN, by user/NAME, or by any session of role/NAME."),
    ("get_audit_entries", "key", "Those by the access key or session with this id, or about it."),
    ("get_audit_entries", "object", "Those about the object with this path or ARN, or one in it."),
    ("get_audit_entries", "build", "Those of the build with this number, verified or else claimed."),
    ("get_audit_entries", "release", "Those about this release: MESH/STACK#NUMBER."),
    ("get_audit_entries", "since", "Those of this moment or later, in milliseconds since the epoch."),
    ("get_audit_entries", "until", "Those before this moment."),
    ("get_pending", "limit", "At most so many, 1 to 1000 [100]."),
    ("get_pending", "before", "Those numbered below this one: the answer's next."),
    ("get_releases", "limit", "At most so many releases, 1 to 1000 [100]."),
    ("get_releases", "before", "Those numbered below this one: the answer's next."),
    ("get_releases", "status", "Those that stand so: applied, propagated, verified, failed or rolled back."),
    ("get_releases", "object", "Those that changed this object: its path or ARN."),
    ("get_releases", "principal", "Those that the principal with this ARN made."),
    ("get_releases", "build", "Those of the build with this number, verified or else claimed."),
    ("get_releases", "commit", "Those of a commit that begins so, verified or else claimed."),
    ("get_releases", "branch", "Those of this branch, verified or else claimed."),
    ("get_releases", "repository", "Those of this repository, verified or else claimed."),
    ("get_releases", "since", "Those made at this moment or later, in milliseconds since the epoch."),
    ("get_releases", "until", "Those made before this moment."),
    ("get_release_propagation", "wait", "Seconds to wait until it is decided, 0 to 30."),
    ("get_revision_propagation", "wait", "Seconds to wait until it is decided, 0 to 30."),
    ("get_observed", "minutes", "Count over the last so many minutes, 1 to 60."),
    ("get_sessions", "limit", "Look at so many sessions, 1 to 1000."),
    ("get_sessions", "after", "Those whose key ids come after this one."),
    ("get_sessions", "role", "Only those of this role."),
    ("get_sessions", "all", "true: those that ended as well."),
)
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "1 to 128 printable characters, signed as a header: for a day, the same request with the same key "
    "is answered as it was the first time, and another one with 409.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
_NUMBERS = frozenset({"before", "limit", "since", "until", "wait"})
_REPEATABLE = frozenset({"post_release", "post_rollback", "put_extension", "delete_extension"})
_WAITS = frozenset({"post_release", "post_rollback"})
_CREATES = {
    "post_release": "A new release was made.",
    "post_rollback": "A new release was made.",
    "post_approval": "It is a release now.",
    "post_grant": "It was granted.",
    "put_extension": "It is new.",
    "post_verification": "It was judged, and the evidence kept.",
}


class Described(NamedTuple):
    """What the document says of one endpoint."""

    method: str
    path: str
    name: str
    summary: str
    action: str
    """What a policy must allow."""
    resource: str
    """On what: the end of the ARN, or `*`."""
    signed: bool = True
    """False for what jobs ask that are not known yet."""


def document(endpoints: Iterable[Described], version: str) -> dict[str, Any]:
    """The whole document."""
    bodies = dict(_BODIES)
    references, components = msgspec.json.schema_components(
        bodies.values(), schema_hook=None, ref_template="#/components/schemas/{name}"
    )
    schemas = dict(zip(bodies, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas.get(one.name))
    components = _as_written(components)
    components["Key"] = {"type": "string", "description": "An object's path, such as mesh/shop/virtualNode/cart."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Meshwright",
            "version": version,
            "description": "Releases of App Mesh definitions, and extensions of them. Every request is signed with "
            "AWS Signature Version 4 for the service appmesh, but for those of jobs that prove which job they are.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"sigv4": {"type": "apiKey", "name": "Authorization", "in": "header"}},
        },
        "security": [{"sigv4": []}],
    }


def _as_written(schema: Any) -> Any:
    """`schema` with the member that holds an object's path under its name on the wire (`views.wire`)."""
    if isinstance(schema, list):
        return ["object" if one == "key" else _as_written(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {"object" if name == "key" else name: _as_written(one) for name, one in schema.items()}


def _schema(name: str) -> dict[str, str]:
    return {"type": "number" if name in _NUMBERS else "string"}


def _operation(one: Described, body: dict[str, Any] | None) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", one.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": _schema(name)}
        for endpoint, name, text in _QUERIES
        if endpoint == one.name
    ]
    operation: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "x-meshwright-action": one.action,
        "x-meshwright-resource": one.resource,
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}, "4XX": {"description": "Refused; `message` says why."}},
    }
    if not one.signed:
        operation["security"] = []
    if one.name in _REPEATABLE:
        operation["parameters"].append(_IDEMPOTENCY_KEY)
    if one.name in _CREATES:
        operation["responses"]["201"] = {"description": _CREATES[one.name]}
    if one.name in _WAITS:
        operation["responses"]["202"] = {"description": "It waits for somebody's approval; nothing was changed."}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation
