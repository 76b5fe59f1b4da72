"""A request as bytes: signed over exactly what is sent, or signed wrongly in a stated way.

The one rule: only the time and the key come from outside; everything else is in the case.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from meshwright.trust.canonical import canonical_request, signature_of, signing_key
from meshwright.trust.sigv4 import Request, SignatureError, sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuzzing.requests import Case
    from meshwright.store.contract import AccessKey

    Head = tuple[tuple[bytes, bytes], ...]

MINUTE = 60_000
Made = TypeVar("Made")


class Signer(NamedTuple):
    """Who signs, for whom, when."""

    key: AccessKey
    host: str
    region: str
    at: int
    """Milliseconds since the epoch, UTC."""
    token: str | None = None
    """What a session sends along."""


class Signed(NamedTuple):
    """What is sent after signing."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def rendered(case: Case, signer: Signer) -> bytes:
    """The bytes of `case`."""
    signed = _signed(case, signer)
    return _framed(case.framing, Signed(signed.method, signed.target, (*signed.headers, *case.unsigned), signed.body))


def _signed(case: Case, signer: Signer) -> Signed:
    if case.signing.startswith("presigned"):
        return _presigned(case, signer)
    host = (b"host", signer.host.encode())
    key, region, service, at, token = signer.key, signer.region, case.service, signer.at, signer.token
    request = Request(
        method=case.method, path=case.path, query=case.query, headers=(host, *case.headers), body=case.body
    )
    if case.signing == "none":
        return Signed(case.method, _target(case.path, case.query), request.headers, case.body)
    match case.signing:
        case "wrong secret":
            key = msgspec.structs.replace(key, secret="wrong")
        case "wrong key":
            key = msgspec.structs.replace(key, id="AKIAUNHEARDOFUNHEARD")
        case "wrong region":
            region = "eu-central-1"
        case "wrong service":
            service = "s3" if case.service == "appmesh" else "appmesh"
        case "old date" | "future date":
            at += 6 * MINUTE if case.signing == "future date" else -6 * MINUTE
        case _:
            token = _TOKENS.get(case.signing, token)
    added = _whatever(request, lambda one: sign(one, key.id, key.secret, region, service, at, token))
    pairs = {name.lower(): value for name, value in added.items()}
    signed = Signed(case.method, _target(case.path, case.query), request.headers, case.body)
    return _ALTERED.get(case.signing, _as_it_is)(signed, pairs)


_TOKENS = {
    "token missing": None,
    "token altered": "another session's",
    "token empty": "",
    "surplus token": "a session that nobody opened",
}


def _whatever(request: Request, made: Callable[[Request], Made]) -> Made:
    """What is `made` of the request; where its spelling has no signature, of a plain one that is not sent."""
    try:
        return made(request)
    except SignatureError:
        return made(msgspec.structs.replace(request, path=b"/", query=b""))


def _target(path: bytes, query: bytes) -> bytes:
    return path + b"?" + query if query else path


def _as_it_is(signed: Signed, pairs: dict[str, str]) -> Signed:
    more = tuple((name.encode(), value.encode()) for name, value in pairs.items())
    return signed._replace(headers=(*signed.headers, *more))


def _in_authorization(old: str, new: str) -> Callable[[Signed, dict[str, str]], Signed]:
    def altered(signed: Signed, pairs: dict[str, str]) -> Signed:
        text = pairs["authorization"].replace(old, new)
        return _as_it_is(signed, {**pairs, "authorization": text})

    return altered


def _altered_signature(signed: Signed, pairs: dict[str, str]) -> Signed:
    text = pairs["authorization"]
    return _as_it_is(signed, {**pairs, "authorization": text[:-1] + ("0" if text[-1] != "0" else "1")})


def _upper(signed: Signed, pairs: dict[str, str]) -> Signed:
    head, _, signature = pairs["authorization"].rpartition("=")
    return _as_it_is(signed, {**pairs, "authorization": f"{head}={signature.upper()}F"})


def _date_twice(signed: Signed, pairs: dict[str, str]) -> Signed:
    once = _as_it_is(signed, pairs)
    return once._replace(headers=(*once.headers, (b"x-amz-date", pairs["x-amz-date"].encode())))


_ALTERED: dict[str, Callable[[Signed, dict[str, str]], Signed]] = {
    "altered body": lambda signed, pairs: _as_it_is(signed, pairs)._replace(body=signed.body + b" "),
    "altered path": lambda signed, pairs: _as_it_is(signed, pairs)._replace(target=b"/v20190125/meshes/altered"),
    "altered query": lambda signed, pairs: _as_it_is(signed, pairs)._replace(
        target=signed.target + (b"&x=1" if b"?" in signed.target else b"?x=1")
    ),
    "altered header": lambda signed, pairs: _as_it_is(signed._replace(headers=((b"host", b"evil.example"),)), pairs),
    "altered method": lambda signed, pairs: _as_it_is(signed, pairs)._replace(
        method="PUT" if signed.method == "DELETE" else "DELETE"
    ),
    "altered signature": _altered_signature,
    "short signature": lambda signed, pairs: _as_it_is(
        signed, {**pairs, "authorization": pairs["authorization"][:-1]}
    ),
    "upper case signature": _upper,
    "host not signed": _in_authorization("host;", ""),
    "no signed headers": _in_authorization("SignedHeaders=", "Headers="),
    "unknown algorithm": _in_authorization("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
    "nonsense": lambda signed, pairs: _as_it_is(signed, {**pairs, "authorization": "AWS4-HMAC-SHA256 \x7f,,=,"}),
    "strange credential": _in_authorization("Credential=", "Credential=../"),
    "other scope date": lambda signed, pairs: _as_it_is(
        signed,
        {**pairs, "authorization": pairs["authorization"].replace(f"/{pairs['x-amz-date'][:8]}/", "/19990101/")},
    ),
    "date twice": _date_twice,
}


def _presigned(case: Case, signer: Signer) -> Signed:
    """Signed in the address.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    at, seconds = signer.at, "300"
    if case.signing == "presigned expired":
        at -= 11 * MINUTE
    seconds = {"presigned too long": "604801", "presigned negative": "-1"}.get(case.signing, seconds)
    stamp = datetime.fromtimestamp(at // 1000, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{signer.region}/{case.service}/aws4_request"
    headers = ((b"host", signer.host.encode()), *case.headers)
    names = b";".join(sorted({name for name, _ in headers})).decode()
    added = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{signer.key.id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": seconds,
        "X-Amz-SignedHeaders": names,
    }
    more = "&".join(f"{name}={quote(value, safe='')}" for name, value in added.items()).encode()
    query = case.query + b"&" + more if case.query else more
    request = Request(method=case.method, path=case.path, query=query, headers=headers, body=case.body)
    signed, digest = tuple(name.encode() for name in names.split(";")), hashlib.sha256(case.body).hexdigest()
    canonical = _whatever(request, lambda one: canonical_request(one, signed, digest))
    secret = signing_key(signer.key.secret, stamp[:8], signer.region, case.service)
    signature = signature_of(secret, stamp, scope, canonical)
    if case.signing == "presigned altered":
        query += b"&limit=1"
    if case.signing == "presigned twice":
        query += b"&X-Amz-Date=" + stamp.encode()
    return Signed(
        case.method, _target(case.path, query + b"&X-Amz-Signature=" + signature.encode()), headers, case.body
    )


def _framed(framing: str, signed: Signed) -> bytes:  # noqa: PLR0912, C901 - one arm a framing
    version, end, body = b"HTTP/1.1", b"\r\n", signed.body
    headers = [pair for pair in signed.headers if not (framing == "no host" and pair[0] == b"host")]
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    length = (b"content-length", b"%d" % len(body))
    chunked = (b"transfer-encoding", b"chunked")
    match framing:
        case "chunked":
            headers, body = [*headers, chunked], chunks
        case "chunked and length":
            headers, body = [*headers, length, chunked], chunks
        case "chunked twice":
            headers, body = [*headers, (b"transfer-encoding", b"chunked, chunked")], chunks
        case "unknown coding":
            headers, body = [*headers, (b"transfer-encoding", b"snappy")], b""
        case "bad chunk size":
            headers, body = [*headers, chunked], b"xyz\r\n" + body + b"\r\n0\r\n\r\n"
        case "huge chunk size":
            headers, body = [*headers, chunked], b"ffffffffffffffffff\r\n" + body
        case "chunk extension":
            headers, body = [*headers, chunked], chunks.replace(b"\r\n", b";x=" + b"y" * 3000 + b"\r\n", 1)
        case "negative length":
            headers.append((b"content-length", b"-1"))
        case "length in words":
            headers.append((b"content-length", b"many"))
        case "length with a sign":
            headers.append((b"content-length", b"+%d" % len(body)))
        case "huge length":
            headers.append((b"content-length", b"9" * 18))
        case "HTTP/1.0":
            version, headers = b"HTTP/1.0", [*headers, length]
        case "HTTP/0.9":
            return b"GET " + signed.target + b"\r\n\r\n"
        case "HTTP/2":
            return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        case "bare line feeds":
            end, headers = b"\n", [*headers, length]
        case _:
            headers.append(length)
    lines = [signed.method.encode() + b" " + signed.target + b" " + version]
    lines += [name + b": " + value for name, value in headers]
    return end.join(lines) + end + end + body
