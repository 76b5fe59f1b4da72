"""AWS Signature Version 4: sign a request, and find out who signed one; pure, time and secrets are arguments.

The one rule: what is accepted was signed whole, by a known key, for this region and service, just now. Where a
client could mean two things, the request is refused.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import msgspec

from meshwright.trust.canonical import (
    ALGORITHM,
    INVALID,
    UNRECOGNIZED,
    Request,
    SignatureError,
    assembled,
    canonical_request,
    query_pairs,
    signature_of,
    signing_key,
)

__all__ = [
    "SIGNING_NAME",
    "STRICT",
    "AccessKeySecret",
    "Claim",
    "Request",
    "SignatureError",
    "Tolerance",
    "check",
    "check_body",
    "check_signature",
    "check_token",
    "read",
    "sign",
    "unknown_key",
    "verify",
]

from meshwright.trust.signature_claims import STRICT, UNSIGNED_PAYLOAD, Claim, Tolerance, read

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    KeyCache = MutableMapping[tuple[str, str, str, str], bytes]

SIGNING_NAME = "appmesh"
"""The service that requests and streams are signed for, as App Mesh's own clients and proxies did."""
_NEVER_SIGNED = frozenset(
    {b"authorization", b"connection", b"expect", b"transfer-encoding", b"user-agent", b"x-amzn-trace-id"}
)
"""Headers that proxies and libraries rewrite on the way; stock clients leave them out too."""
_CACHED_KEYS = 256


class AccessKeySecret(msgspec.Struct, frozen=True, kw_only=True):
    """What a key id stands for when a signature is checked."""

    secret: str
    token: str | None = None
    """The session token that must come along; None for a long-term key, which must come without one."""

    def __repr__(self) -> str:
        return "AccessKeySecret(…)"


def sign(  # noqa: PLR0913 - what a signature is made of
    request: Request,
    key_id: str,
    secret: str,
    region: str,
    service: str,
    at: int,
    session_token: str | None = None,
    *,
    hash_header: bool = False,
    tolerance: Tolerance = STRICT,
) -> dict[str, str]:
    """The headers to add to `request` so that `verify` knows its signer; it must carry `Host` already.

    Args:
        request: what will be sent; all of its headers are signed but those that proxies rewrite.
        key_id: the access key's id.
        secret: the access key's secret.
        region: such as `us-east-1`.
        service: the signing name, such as `appmesh`.
        at: now, in milliseconds since the epoch.
        session_token: what temporary credentials come with.
        hash_header: whether to send the body's hash as `X-Amz-Content-SHA256` as well.
        tolerance: only `normalize` matters here.
    """
    stamp = datetime.fromtimestamp(at // 1000, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(request.body).hexdigest()
    added = {"X-Amz-Date": stamp}
    if session_token is not None:
        added["X-Amz-Security-Token"] = session_token
    if hash_header:
        added["X-Amz-Content-SHA256"] = digest
    signed = _signable(request, added)
    names = tuple(sorted({name.lower() for name, _ in signed.headers}))
    canonical = canonical_request(signed, names, digest, normalize=tolerance.normalize)
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    signature = signature_of(signing_key(secret, stamp[:8], region, service), stamp, scope, canonical)
    added["Authorization"] = (
        f"{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={b';'.join(names).decode()}, Signature={signature}"
    )
    return added


def _signable(request: Request, added: dict[str, str]) -> Request:
    """`request` with the headers that are signed only: those `added`, and its own that nobody rewrites."""
    fresh = {name.lower().encode() for name in added}
    kept = tuple(pair for pair in request.headers if pair[0].lower() not in fresh | _NEVER_SIGNED)
    more = ((name.encode(), value.encode()) for name, value in added.items())
    return msgspec.structs.replace(request, headers=(*kept, *more))


def check(
    claim: Claim,
    request: Request,
    known: AccessKeySecret,
    *,
    tolerance: Tolerance = STRICT,
    cache: KeyCache | None = None,
) -> None:
    """Hold `request`, now with its body, to what `claim` says of it.

    Args:
        claim: what `read` found in the same request.
        request: with its whole body.
        known: what the claim's key id stands for.
        tolerance: where the service is less strict.
        cache: the caller's memory of derived signing keys; it holds secrets, and is emptied when it grows.

    Raises:
        SignatureError: the token, the body or the signature is another.
    """
    check_token(claim, known)
    unsigned = claim.digest == UNSIGNED_PAYLOAD
    digest = UNSIGNED_PAYLOAD if unsigned else hashlib.sha256(request.body).hexdigest()
    check_body(claim, digest)
    check_signature(claim, request, digest, known, tolerance=tolerance, cache=cache)


def check_token(claim: Claim, known: AccessKeySecret) -> None:
    """The session token is the key's own; a long-term key comes without.

    Raises:
        SignatureError: it is not.
    """
    if not hmac.compare_digest(claim.token or b"", (known.token or "").encode()):
        raise SignatureError(f"The session token does not belong to the access key {claim.key_id!r}.", UNRECOGNIZED)


def check_body(claim: Claim, digest: str) -> None:
    """The body's hash, where the request tells it, is `digest`, the body's own.

    Raises:
        SignatureError: it is not.
    """
    if claim.digest is not None and not hmac.compare_digest(claim.digest, digest):
        raise SignatureError("X-Amz-Content-SHA256 is not the SHA-256 of the body.", INVALID)


def check_signature(
    claim: Claim,
    request: Request,
    digest: str,
    known: AccessKeySecret,
    *,
    tolerance: Tolerance = STRICT,
    cache: KeyCache | None = None,
) -> None:
    """The signature is what the key makes of the request's head and `digest`, the body's SHA-256.

    Raises:
        SignatureError: it is not.
    """
    if claim.presigned:
        request = _without_signature(request, tolerance)
    canonical = assembled(request, claim.lines, claim.signed, digest, normalize=tolerance.normalize)
    scope = f"{claim.date}/{claim.region}/{claim.service}/aws4_request"
    signature = signature_of(_key(claim, known.secret, cache), claim.stamp, scope, canonical)
    if not hmac.compare_digest(signature, claim.signature):
        raise SignatureError(
            f"The signature does not match: the request was signed with another secret than that of "
            f"{claim.key_id!r}, or changed on its way.",
            INVALID,
        )


def verify(
    request: Request,
    secret_of: Callable[[str], AccessKeySecret | None],
    region: str,
    service: str,
    now: int,
    *,
    tolerance: Tolerance = STRICT,
    cache: KeyCache | None = None,
) -> str:
    """The id of the key that signed `request`, in its `Authorization` header or in its query.

    `secret_of` tells what a key id stands for, None for an unknown one; the rest is as for `read` and `check`.

    Raises:
        SignatureError: nobody can be held to it, with the reason.
    """
    claim = read(request, region, service, now, tolerance=tolerance)
    known = secret_of(claim.key_id)
    if known is None:
        raise unknown_key(claim.key_id)
    check(claim, request, known, tolerance=tolerance, cache=cache)
    return claim.key_id


def unknown_key(key_id: str) -> SignatureError:
    """The refusal of a key that was never made, or is worth nothing any more."""
    return SignatureError(
        f"The security token included in the request is invalid: the access key {key_id!r} is not known here.",
        UNRECOGNIZED,
    )


def _without_signature(request: Request, tolerance: Tolerance) -> Request:
    """A presigned request as it was before its signature was added."""
    left_out = {b"x-amz-signature"} | {name.encode() for name in tolerance.unsigned}
    pairs = query_pairs(request.query)
    kept = [f"{name}={value}" for name, value in pairs if unquote_to_bytes(name).lower() not in left_out]
    return msgspec.structs.replace(request, query="&".join(kept).encode())


def _key(claim: Claim, secret: str, cache: KeyCache | None) -> bytes:
    """The signing key, from the cache where it is there."""
    parts = (secret, claim.date, claim.region, claim.service)
    key = cache.get(parts) if cache is not None else None
    if key is None:
        key = signing_key(*parts)
        if cache is not None:
            if len(cache) >= _CACHED_KEYS:
                cache.clear()
            cache[parts] = key
    return key
