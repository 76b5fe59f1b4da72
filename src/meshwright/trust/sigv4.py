"""AWS Signature Version 4: sign a request, and find out who signed one; pure, time and secrets are arguments.

The one rule: what is accepted was signed whole, by a known key, for this region and service, just now. Where a
client could mean two things, the request is refused.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import msgspec

from meshwright.trust.canonical import (
    ALGORITHM,
    INCOMPLETE,
    INVALID,
    MISSING,
    UNRECOGNIZED,
    Request,
    SignatureError,
    canonical_request,
    headers_of,
    query_pairs,
    signature_of,
    signing_key,
)

__all__ = [
    "STRICT",
    "AccessKeySecret",
    "Request",
    "SignatureError",
    "Tolerance",
    "sign",
    "verify",
    "verify_presigned",
]

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    KeyCache = MutableMapping[tuple[str, str, str, str], bytes]

MAX_PRESIGNED_SECONDS = 7 * 24 * 3600
"""The longest life of a presigned URL."""

_NEVER_SIGNED = frozenset(
    {b"authorization", b"connection", b"expect", b"transfer-encoding", b"user-agent", b"x-amzn-trace-id"}
)
"""Headers that proxies and libraries rewrite on the way; stock clients leave them out too."""
_CACHED_KEYS = 256
_UNSIGNED = "UNSIGNED-PAYLOAD"
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_CREDENTIAL = re.compile(r"([A-Za-z0-9_]{1,128})/([0-9]{8})/([a-z0-9-]{1,64})/([a-z0-9.-]{1,64})/aws4_request")
_HEADER_LIST = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(?:;[!#$%&'*+.^_`|~0-9a-z-]+)*")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


class AccessKeySecret(msgspec.Struct, frozen=True, kw_only=True):
    """What a key id stands for when a signature is checked."""

    secret: str
    token: str | None = None
    """The session token that must come along; None for a long-term key, which must come without one."""

    def __repr__(self) -> str:
        return "AccessKeySecret(…)"


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service may differ from the strict reading; the defaults are App Mesh's."""

    skew: int = 300_000
    """How far the client's clock may be off, in milliseconds."""
    normalize: bool = True
    """Whether dot segments and repeated slashes are removed before signing, as all services but S3 do."""
    unsigned: frozenset[str] = frozenset()
    """Names of `x-amz-*` headers that may come unsigned; some services add the session token after signing."""
    unsigned_payload: bool = False
    """Whether `X-Amz-Content-SHA256: UNSIGNED-PAYLOAD` is taken: for streams, whose body does not exist yet."""


STRICT = Tolerance()
"""App Mesh's own reading."""


class _Claim(msgspec.Struct, frozen=True):
    """What a request says about its own signature."""

    key_id: str
    date: str
    region: str
    service: str
    signed: tuple[bytes, ...]
    signature: str
    stamp: str
    token: bytes | None

    @property
    def at(self) -> int:
        """When it says that it was signed, in milliseconds since the epoch."""
        if not _DATE.fullmatch(self.stamp):
            raise SignatureError(f"X-Amz-Date {self.stamp!r} is not of the form 20260131T235959Z.", INCOMPLETE)
        try:
            moment = datetime.strptime(self.stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise SignatureError(f"X-Amz-Date {self.stamp!r} is no date.", INCOMPLETE) from None
        return int(moment.timestamp()) * 1000


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
    fresh = {name.lower().encode() for name in added}
    kept = tuple(pair for pair in request.headers if pair[0].lower() not in fresh | _NEVER_SIGNED)
    signed = msgspec.structs.replace(
        request, headers=(*kept, *((name.encode(), value.encode()) for name, value in added.items()))
    )
    names = tuple(sorted({name.lower() for name, _ in signed.headers}))
    canonical = canonical_request(signed, names, digest, normalize=tolerance.normalize)
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    signature = signature_of(signing_key(secret, stamp[:8], region, service), stamp, scope, canonical)
    added["Authorization"] = (
        f"{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={b';'.join(names).decode()}, Signature={signature}"
    )
    return added


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
    """The id of the key that signed `request` in its `Authorization` header.

    Args:
        request: as it came from the wire.
        secret_of: what a key id stands for, None for an unknown one.
        region: the only one accepted.
        service: the only one accepted.
        now: the time, in milliseconds since the epoch.
        tolerance: where the service is less strict.
        cache: the caller's memory of derived signing keys; it holds secrets, and is emptied when it grows.

    Raises:
        SignatureError: nobody can be held to it, with the reason.
    """
    headers = headers_of(request)
    claim = _header_claim(headers)
    _check_time(claim, now, before=tolerance.skew, after=tolerance.skew)
    _check_signed(claim, headers, tolerance)
    digest = hashlib.sha256(request.body).hexdigest()
    if tolerance.unsigned_payload and headers.get(b"x-amz-content-sha256") == [_UNSIGNED.encode()]:
        digest = _UNSIGNED
    _check_body(headers, digest)
    canonical = canonical_request(request, claim.signed, digest, normalize=tolerance.normalize)
    return _checked(claim, canonical, secret_of, (region, service), cache)


def verify_presigned(
    request: Request,
    secret_of: Callable[[str], AccessKeySecret | None],
    region: str,
    service: str,
    now: int,
    *,
    tolerance: Tolerance = STRICT,
    cache: KeyCache | None = None,
) -> str:
    """The id of the key that signed `request` in its query (`X-Amz-Signature` and its companions).

    Arguments and errors are those of `verify`; the URL lives as long as its `X-Amz-Expires` says, a week at most.
    """
    headers = headers_of(request)
    if b"authorization" in headers:
        raise SignatureError("The request is signed in its query and carries Authorization as well.", INCOMPLETE)
    pairs = query_pairs(request.query)
    claim, seconds = _query_claim(pairs)
    _check_time(claim, now, before=tolerance.skew, after=seconds * 1000)
    _check_signed(claim, headers, tolerance)
    digest = hashlib.sha256(request.body).hexdigest()
    _check_body(headers, digest)
    left_out = {b"x-amz-signature"} | {name.encode() for name in tolerance.unsigned}
    kept = [pair for pair in pairs if unquote_to_bytes(pair[0]).lower() not in left_out]
    plain = msgspec.structs.replace(request, query="&".join(f"{name}={value}" for name, value in kept).encode())
    canonical = canonical_request(plain, claim.signed, digest, normalize=tolerance.normalize)
    return _checked(claim, canonical, secret_of, (region, service), cache)


def _header_claim(headers: Mapping[bytes, list[bytes]]) -> _Claim:
    if b"authorization" not in headers:
        raise SignatureError(
            "The request is not signed: it carries no Authorization header. Configure AWS credentials for it.",
            MISSING,
        )
    text = headers[b"authorization"][0].decode("latin-1")
    algorithm, _, rest = text.partition(" ")
    if algorithm != ALGORITHM:
        raise SignatureError(f"Authorization begins with {algorithm[:40]!r}; only {ALGORITHM} is known.", INCOMPLETE)
    parts = [part.strip(" ").partition("=") for part in rest.split(",")]
    found = {name: value for name, _, value in parts}
    if len(parts) != 3 or found.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise SignatureError(
            "Authorization must hold Credential, SignedHeaders and Signature, each once and nothing else.", INCOMPLETE
        )
    if b"x-amz-date" not in headers:
        raise SignatureError("The request carries no X-Amz-Date header.", INCOMPLETE)
    token = headers.get(b"x-amz-security-token", [None])[0]
    stamp = headers[b"x-amz-date"][0].decode("latin-1")
    return _claim(found["Credential"], found["SignedHeaders"], found["Signature"], stamp, token)


def _query_claim(pairs: list[tuple[str, str]]) -> tuple[_Claim, int]:
    """The claim, and for how many seconds the URL lives."""
    plain = [(unquote_to_bytes(name).decode("latin-1"), unquote_to_bytes(value)) for name, value in pairs]
    ours = [(name, value) for name, value in plain if name.lower().startswith("x-amz-")]
    repeated = [name for name, count in Counter(name.lower() for name, _ in ours).items() if count > 1]
    if repeated:
        raise SignatureError(f"The query parameter {repeated[0]!r} comes more than once.", INCOMPLETE)
    found = dict(ours)
    names = ("Algorithm", "Credential", "SignedHeaders", "Signature", "Date", "Expires")
    missing = [f"X-Amz-{name}" for name in names if f"X-Amz-{name}" not in found]
    if missing:
        code = MISSING if len(missing) == len(names) else INCOMPLETE
        raise SignatureError(f"The query lacks {', '.join(missing)}.", code)
    algorithm, credential, signed, signature, stamp, expires = (
        found[f"X-Amz-{name}"].decode("latin-1") for name in names
    )
    if algorithm != ALGORITHM:
        raise SignatureError(f"X-Amz-Algorithm is {algorithm[:40]!r}; only {ALGORITHM} is known.", INCOMPLETE)
    if not re.fullmatch(r"[0-9]{1,6}", expires) or not 1 <= int(expires) <= MAX_PRESIGNED_SECONDS:
        raise SignatureError(
            f"X-Amz-Expires is {expires[:20]!r}; it takes seconds from 1 to {MAX_PRESIGNED_SECONDS}.", INCOMPLETE
        )
    return _claim(credential, signed, signature, stamp, found.get("X-Amz-Security-Token")), int(expires)


def _claim(credential: str, signed: str, signature: str, stamp: str, token: bytes | None) -> _Claim:
    scope = _CREDENTIAL.fullmatch(credential)
    if scope is None:
        raise SignatureError(
            f"Credential is {credential[:200]!r}; expected KEY/YYYYMMDD/REGION/SERVICE/aws4_request.", INCOMPLETE
        )
    names = signed.split(";")
    if not _HEADER_LIST.fullmatch(signed) or names != sorted(set(names)):
        raise SignatureError(
            f"SignedHeaders is {signed[:200]!r}; expected lower-case names, sorted, each once.", INCOMPLETE
        )
    if not _SIGNATURE.fullmatch(signature):
        raise SignatureError("Signature is not 64 lower-case hexadecimal digits.", INCOMPLETE)
    key_id, date, region, service = scope.groups()
    return _Claim(key_id, date, region, service, tuple(name.encode() for name in names), signature, stamp, token)


def _check_time(claim: _Claim, now: int, *, before: int, after: int) -> None:
    """The claim's date is its stamp's; the stamp is at most `before` ms ahead of `now` and `after` ms behind."""
    at = claim.at
    if claim.date != claim.stamp[:8]:
        raise SignatureError(
            f"The credential scope is of {claim.date}, X-Amz-Date of {claim.stamp[:8]}; they must agree.", INVALID
        )
    if not at - before <= now <= at + after:
        clock = datetime.fromtimestamp(now // 1000, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
        what = "expired" if now > at else "is not yet valid"
        raise SignatureError(
            f"The signature {what}: signed at {claim.stamp}, and the server's clock says {clock}. Check the clock.",
            INVALID,
        )


def _check_signed(claim: _Claim, headers: Mapping[bytes, list[bytes]], tolerance: Tolerance) -> None:
    """`host` and every `x-amz-*` header are signed, and nothing is signed that is not there."""
    excused = {name.encode() for name in tolerance.unsigned}
    needed = {b"host"} | {name for name in headers if name.startswith(b"x-amz-") and name not in excused}
    bare = sorted(needed - set(claim.signed))
    if bare:
        raise SignatureError(f"The header {bare[0].decode('latin-1')!r} must be signed, and is not.", INVALID)
    gone = [name for name in claim.signed if name not in headers]
    if gone:
        raise SignatureError(f"The signed header {gone[0].decode()!r} is not in the request.", INVALID)


def _check_body(headers: Mapping[bytes, list[bytes]], digest: str) -> None:
    """Where the body's hash is sent along it is the body's; a placeholder such as UNSIGNED-PAYLOAD is none."""
    sent = headers.get(b"x-amz-content-sha256", [digest.encode()])[0]
    if not hmac.compare_digest(sent, digest.encode()):
        raise SignatureError(
            "X-Amz-Content-SHA256 is not the SHA-256 of the body; unsigned bodies are refused.", INVALID
        )


def _checked(
    claim: _Claim,
    canonical: bytes,
    secret_of: Callable[[str], AccessKeySecret | None],
    expected: tuple[str, str],
    cache: KeyCache | None,
) -> str:
    """The claim's key id, once its scope, key, token and signature hold."""
    for what, is_there, wanted in zip(("region", "service"), (claim.region, claim.service), expected, strict=True):
        if is_there != wanted:
            raise SignatureError(f"The credential is scoped to {what} {is_there!r}; this is {wanted!r}.", INVALID)
    known = secret_of(claim.key_id)
    if known is None:
        raise SignatureError(f"The access key {claim.key_id!r} is not known here.", UNRECOGNIZED)
    if not hmac.compare_digest(claim.token or b"", (known.token or "").encode()):
        raise SignatureError(f"The session token does not belong to the access key {claim.key_id!r}.", UNRECOGNIZED)
    parts = (known.secret, claim.date, claim.region, claim.service)
    key = cache.get(parts) if cache is not None else None
    if key is None:
        key = signing_key(*parts)
        if cache is not None:
            if len(cache) >= _CACHED_KEYS:
                cache.clear()
            cache[parts] = key
    scope = f"{claim.date}/{claim.region}/{claim.service}/aws4_request"
    if not hmac.compare_digest(signature_of(key, claim.stamp, scope, canonical), claim.signature):
        raise SignatureError(
            f"The signature does not match: the request was signed with another secret than that of "
            f"{claim.key_id!r}, or changed on its way.",
            INVALID,
        )
    return claim.key_id
