"""What a request claims about its own signature, in its `Authorization` header or in its query; pure.

The one rule: whatever the head alone can tell is judged here, before anybody waits for a body.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import msgspec

from meshwright.trust.canonical import (
    ALGORITHM,
    INCOMPLETE,
    INVALID,
    MISSING,
    Request,
    SignatureError,
    header_lines,
    headers_of,
    query_pairs,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    Headers = Mapping[bytes, list[bytes]]

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""What stands for the hash of a body that is not signed."""
MAX_PRESIGNED_SECONDS = 7 * 24 * 3600
"""The longest life of a presigned URL."""


_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_CREDENTIAL = re.compile(r"([A-Za-z0-9_]{1,128})/([0-9]{8})/([a-z0-9-]{1,64})/([a-z0-9.-]{1,64})/aws4_request")
_HEADER_LIST = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(?:;[!#$%&'*+.^_`|~0-9a-z-]+)*")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


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


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says about its own signature; nothing of it is proven until `check` has passed."""

    key_id: str
    date: str
    region: str
    service: str
    signed: tuple[bytes, ...]
    """The names of the signed headers, lower case, sorted."""
    signature: str
    stamp: str
    token: bytes | None
    """The session token that came along."""
    digest: str | None
    """The body's SHA-256 as the request tells it, None where it does not."""
    presigned: bool
    """Whether it stood in the query."""
    lines: bytes = b""
    """The signed headers in canonical form."""


def read(request: Request, region: str, service: str, now: int, *, tolerance: Tolerance = STRICT) -> Claim:
    """What `request` claims, from its head alone: judged in everything but its key, its signature and its body.

    The claim stands in the `Authorization` header or, in a presigned URL, in the query (`X-Amz-Signature` and its
    companions). A presigned URL lives as long as its `X-Amz-Expires` says, a week at most.

    Args:
        request: as it came from the wire; the body does not matter yet.
        region: the only one accepted.
        service: the only one accepted.
        now: the time, in milliseconds since the epoch.
        tolerance: where the service is less strict.

    Raises:
        SignatureError: nobody can be held to it, with the reason.
    """
    headers = headers_of(request)
    if b"authorization" not in headers and b"-amz-" in request.query.lower():
        return _read_presigned(request, headers, (region, service), now, tolerance)
    return _read_signed(request, headers, (region, service), now, tolerance)


def _read_signed(
    request: Request, headers: Headers, expected: tuple[str, str], now: int, tolerance: Tolerance
) -> Claim:
    """The claim of the `Authorization` header."""
    if request.query and b"x-amz-signature" in request.query.lower():
        raise SignatureError("The request is signed in its query and carries Authorization as well.", INCOMPLETE)
    claim, dated = _header_claim(headers, tolerance)
    _check_time(claim, now, before=tolerance.skew, after=tolerance.skew)
    _check_scope(claim, expected)
    _check_signed(claim, headers, tolerance, dated)
    return claim


def _read_presigned(
    request: Request, headers: Headers, expected: tuple[str, str], now: int, tolerance: Tolerance
) -> Claim:
    """The claim of the query."""
    claim, seconds = _query_claim(query_pairs(request.query), headers, tolerance)
    if b"x-amz-security-token" in headers:
        raise SignatureError("A request that is signed in its query carries its session token there.", INCOMPLETE)
    _check_time(claim, now, before=tolerance.skew, after=seconds * 1000)
    _check_scope(claim, expected)
    _check_signed(claim, headers, tolerance, b"host")
    return claim


def _header_claim(headers: Headers, tolerance: Tolerance) -> tuple[Claim, bytes]:
    """The claim, and the name of the header that dates it."""
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
    stamp, dated = _stamp(headers)
    token = headers.get(b"x-amz-security-token", [None])[0]
    written = found["Credential"], found["SignedHeaders"], found["Signature"]
    return _claim(written, stamp, token, headers, tolerance, presigned=False), dated


def _stamp(headers: Headers) -> tuple[str, bytes]:
    """When it says that it was signed, as in `20260131T235959Z`, and the header that says so.

    `Date` counts where there is no `X-Amz-Date`; botocore sends it so when a caller sets it.
    """
    if b"x-amz-date" in headers:
        return headers[b"x-amz-date"][0].decode("latin-1"), b"x-amz-date"
    if b"date" not in headers:
        raise SignatureError("The request carries neither an X-Amz-Date header nor a Date header.", INCOMPLETE)
    text = headers[b"date"][0].decode("latin-1")
    if _DATE.fullmatch(text):
        return text, b"date"
    try:
        moment = parsedate_to_datetime(text) if _HTTP_DATE.fullmatch(text) else None
    except ValueError:
        moment = None
    if moment is None:
        raise SignatureError(f"Date {text[:60]!r} is not of the form 'Sat, 31 Jan 2026 23:59:59 GMT'.", INCOMPLETE)
    return moment.strftime("%Y%m%dT%H%M%SZ"), b"date"


def _digest(headers: Headers, tolerance: Tolerance) -> str | None:
    """The body's hash as the request tells it.

    Bodies signed in chunks (`STREAMING-…`) or not at all (`UNSIGNED-PAYLOAD`) are for S3's large objects: what is
    written here is small, and a body that nobody signed could be anybody's.
    """
    if b"content-encoding" in headers and b"aws-chunked" in b",".join(headers[b"content-encoding"]).lower():
        raise SignatureError(
            "Content-Encoding is aws-chunked; bodies signed in chunks are refused here. Sign the body whole.", INVALID
        )
    sent = headers.get(b"x-amz-content-sha256")
    if sent is None:
        return None
    text = sent[0].decode("latin-1")
    if not _SIGNATURE.fullmatch(text) and not (tolerance.unsigned_payload and text == UNSIGNED_PAYLOAD):
        raise SignatureError(
            f"X-Amz-Content-SHA256 is {text[:60]!r}, not the body's SHA-256 in 64 lower-case hexadecimal digits; "
            "unsigned bodies and bodies signed in chunks are refused here. Sign the body whole.",
            INVALID,
        )
    return text


def _query_claim(pairs: list[tuple[str, str]], headers: Headers, tolerance: Tolerance) -> tuple[Claim, int]:
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
    token = found.get("X-Amz-Security-Token")
    return _claim((credential, signed, signature), stamp, token, headers, tolerance, presigned=True), int(expires)


def _claim(
    written: tuple[str, str, str],
    stamp: str,
    token: bytes | None,
    headers: Headers,
    tolerance: Tolerance,
    *,
    presigned: bool,
) -> Claim:
    """The claim made of its credential, signed headers and signature as they are written."""
    credential, listed, signature = written
    digest = _digest(headers, tolerance)
    key_id, date, region, service = _scope(credential)
    signed = _names(listed)
    if not _SIGNATURE.fullmatch(signature):
        raise SignatureError("Signature is not 64 lower-case hexadecimal digits.", INCOMPLETE)
    return Claim(
        key_id=key_id,
        date=date,
        region=region,
        service=service,
        signed=signed,
        signature=signature,
        stamp=stamp,
        token=token,
        digest=digest,
        presigned=presigned,
        lines=header_lines(headers, signed),
    )


# A client writes the same credential and the same list all day, and every request of a second carries one stamp. The
# next two and `_moment` say nothing but what a text means: remembering that saves 6 µs of a request.


@functools.lru_cache(maxsize=1024)
def _scope(credential: str) -> tuple[str, str, str, str]:
    """The key's id, the date, the region and the service that a credential names."""
    scope = _CREDENTIAL.fullmatch(credential)
    if scope is None:
        raise SignatureError(
            f"Credential is {credential[:200]!r}; expected KEY/YYYYMMDD/REGION/SERVICE/aws4_request.", INCOMPLETE
        )
    key_id, date, region, service = scope.groups()
    return key_id, date, region, service


@functools.lru_cache(maxsize=256)
def _names(listed: str) -> tuple[bytes, ...]:
    """The names of signed headers."""
    names = listed.split(";")
    if not _HEADER_LIST.fullmatch(listed) or names != sorted(set(names)):
        raise SignatureError(
            f"SignedHeaders is {listed[:200]!r}; expected lower-case names, sorted, each once.", INCOMPLETE
        )
    return tuple(name.encode() for name in names)


def _check_time(claim: Claim, now: int, *, before: int, after: int) -> None:
    """The claim's date is its stamp's; the stamp is at most `before` ms ahead of `now` and `after` ms behind."""
    at = _moment(claim.stamp)
    if claim.date != claim.stamp[:8]:
        raise SignatureError(
            f"The credential scope is of {claim.date}, the request of {claim.stamp[:8]}; they must agree.", INVALID
        )
    if not at - before <= now <= at + after:
        clock = datetime.fromtimestamp(now // 1000, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
        what = "expired" if now > at else "is not yet valid"
        raise SignatureError(
            f"The signature {what}: signed at {claim.stamp}, and the server's clock says {clock}. Check the clock.",
            INVALID,
        )


@functools.lru_cache(maxsize=1024)
def _moment(stamp: str) -> int:
    """Milliseconds since the epoch."""
    if not _DATE.fullmatch(stamp):
        raise SignatureError(f"X-Amz-Date {stamp[:60]!r} is not of the form 20260131T235959Z.", INCOMPLETE)
    try:
        moment = datetime(
            int(stamp[:4]),
            int(stamp[4:6]),
            int(stamp[6:8]),
            int(stamp[9:11]),
            int(stamp[11:13]),
            int(stamp[13:15]),
            tzinfo=UTC,
        )
    except ValueError:
        raise SignatureError(f"X-Amz-Date {stamp!r} is no date.", INCOMPLETE) from None
    return int(moment.timestamp()) * 1000


def _check_scope(claim: Claim, expected: tuple[str, str]) -> None:
    """The credential is for this region and service."""
    if (claim.region, claim.service) == expected:
        return
    for what, is_there, wanted in zip(("region", "service"), (claim.region, claim.service), expected, strict=True):
        if is_there != wanted:
            raise SignatureError(f"The credential is scoped to {what} {is_there!r}; this is {wanted!r}.", INVALID)


def _check_signed(claim: Claim, headers: Headers, tolerance: Tolerance, dated: bytes) -> None:
    """`host`, the date and every `x-amz-*` header are signed, and nothing is signed that is not there."""
    signed = claim.signed
    bare = [name for name in headers if name.startswith(b"x-amz-") and name not in signed]
    if tolerance.unsigned:
        bare = [name for name in bare if name.decode("latin-1") not in tolerance.unsigned]
    bare = sorted({*bare, *(name for name in (b"host", dated) if name not in signed)})
    if bare:
        raise SignatureError(f"The header {bare[0].decode('latin-1')!r} must be signed, and is not.", INVALID)
    gone = [name for name in claim.signed if name not in headers]
    if gone:
        raise SignatureError(f"The signed header {gone[0].decode()!r} is not in the request.", INVALID)
