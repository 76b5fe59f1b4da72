"""What a SigV4 signature is made over: one request in its canonical form; pure.

The one rule: whatever changes what a server would do changes the canonical form; only the spelling may differ.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

import msgspec

from meshwright.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALGORITHM = "AWS4-HMAC-SHA256"
"""The only algorithm there is: HMAC with SHA-256."""

MISSING = "MissingAuthenticationTokenException"
INCOMPLETE = "IncompleteSignatureException"
INVALID = "InvalidSignatureException"
UNRECOGNIZED = "UnrecognizedClientException"
EXPIRED = "ExpiredTokenException"

_STATUS: Mapping[str, int] = MappingProxyType(
    {MISSING: 403, INCOMPLETE: 400, INVALID: 403, UNRECOGNIZED: 403, EXPIRED: 403}
)
_ONCE = frozenset(
    {b"host", b"authorization", b"date", b"x-amz-date", b"x-amz-content-sha256", b"x-amz-security-token"}
)
_BLANKS = re.compile(rb" {2,}")
_ESCAPED = re.compile(rb"%(?![0-9A-F]{2})")
_PLAIN = re.compile(rb"[A-Za-z0-9_.~-]*")


class SignatureError(RefusedError):
    """Nobody can be held to this request: `str()` is the reason, `code` AWS's name for the error.

    Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/CommonErrors.html
    """

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code: 400 for what cannot be read, else 403."""
        return _STATUS[self.code]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request as it is on the wire, nothing decoded; the parts of an ASGI scope fit as they are."""

    method: str
    path: bytes
    """The path before the question mark (ASGI `raw_path`)."""
    query: bytes = b""
    """What follows the question mark (ASGI `query_string`)."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Names in any case; a name may come more than once."""
    body: bytes = b""

    @classmethod
    def of(cls, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Request:
        """The request for `target`, a path with or without a query, as text."""
        path, _, query = target.partition("?")
        pairs = tuple((name.encode("latin-1"), value.encode()) for name, value in headers)
        return cls(method=method, path=path.encode(), query=query.encode(), headers=pairs, body=body)


def canonical_request(request: Request, signed: tuple[bytes, ...], digest: str, *, normalize: bool = True) -> bytes:
    """What is hashed: method, path, query, the headers named in `signed`, and the body's SHA-256 in hexadecimal."""
    return assembled(request, header_lines(headers_of(request), signed), signed, digest, normalize=normalize)


def header_lines(headers: Mapping[bytes, list[bytes]], signed: tuple[bytes, ...]) -> bytes:
    """The signed headers, a line each; `headers` as `headers_of` gives them."""
    return b"".join(name + b":" + b",".join(headers.get(name, ())) + b"\n" for name in signed)


def assembled(
    request: Request, lines: bytes, signed: tuple[bytes, ...], digest: str, *, normalize: bool = True
) -> bytes:
    """The canonical request, with the lines of its headers made before; otherwise as `canonical_request`."""
    query = "&".join(f"{name}={value}" for name, value in sorted(query_pairs(request.query))) if request.query else ""
    parts = (
        request.method.encode(),
        canonical_path(request.path, normalize=normalize).encode(),
        query.encode(),
        lines,
        b";".join(signed),
        digest.encode(),
    )
    return b"\n".join(parts)


def canonical_path(path: bytes, *, normalize: bool = True) -> str:
    """The path as it is signed: encoded once more than on the wire (`%3A` becomes `%253A`).

    With `normalize`, dot segments and repeated slashes go first. A server that routes by the raw path should refuse
    one that normalising changes, or two paths share a signature.
    """
    if normalize and changed_by_normalizing(path):
        kept: list[bytes] = []
        for segment in path.split(b"/"):
            if segment == b"..":
                del kept[-1:]
            elif segment not in {b"", b"."}:
                kept.append(segment)
        path = b"/" + b"/".join(kept) + (b"/" if path.endswith(b"/") and kept else b"")
    return quote(path or b"/", safe="/~")


def changed_by_normalizing(path: bytes) -> bool:
    """Whether `path` may hold a dot segment or a repeated slash; a segment such as `.hidden` is taken for one."""
    return b"//" in path or b"/." in path or not path.startswith(b"/")


def has_dot_segments(path: bytes) -> bool:
    """Whether normalising would change `path`, so that it shares its signature with another one."""
    return changed_by_normalizing(path) and canonical_path(path) != canonical_path(path, normalize=False)


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of one day, region and service that `secret` gives; `date` as in `20260131`."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature_of(key: bytes, stamp: str, scope: str, canonical: bytes) -> str:
    """The signature in hexadecimal; `stamp` as in `20260131T235959Z`, `scope` from the date to `aws4_request`."""
    text = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(canonical).hexdigest()))
    # Not hmac.digest: it gives up the interpreter's lock, and waits for it again while a commit is under way.
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def headers_of(request: Request) -> dict[bytes, list[bytes]]:
    """Values by lower-case name, without spaces around them, runs of spaces as one; a tab is no space.

    Raises:
        SignatureError: a header that signing depends on comes twice.
    """
    found: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        plain = value.strip(b" ")
        found.setdefault(name.lower(), []).append(_BLANKS.sub(b" ", plain) if b"  " in plain else plain)
    if len(found) < len(request.headers):
        for name in _ONCE & found.keys():
            if len(found[name]) > 1:
                raise SignatureError(f"The header {name.decode()} comes {len(found[name])} times.", INCOMPLETE)
    return found


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """Names and values of `query`, each encoded as it is signed; `a` is `a=`, and `+` a space, as servers read it.

    Raises:
        SignatureError: an escape is not of two digits, or not in upper case as every AWS client writes it.
    """
    if _ESCAPED.search(query):
        raise SignatureError(
            "An escape in the query is not % and two upper-case hexadecimal digits, as AWS's clients write it.",
            INVALID,
        )
    pairs = (item.partition(b"=") for item in query.split(b"&")) if query else ()
    return [(_again(name), _again(value)) for name, _, value in pairs]


def _again(text: bytes) -> str:
    if _PLAIN.fullmatch(text):
        return text.decode("ascii")
    return quote(unquote_to_bytes(text.replace(b"+", b" ")), safe="~")
