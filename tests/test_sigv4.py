"""Signature Version 4: every published vector, agreement with botocore, and refusal of whatever was changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
import msgspec
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meshwright.trust.canonical import canonical_path, canonical_request, signature_of, signing_key
from meshwright.trust.sigv4 import (
    AccessKeySecret,
    Request,
    SignatureError,
    Tolerance,
    sign,
    verify,
)
from settings import PROVE, SHARED, examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOLDER = SHARED / "vectors" / "sigv4"
KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION, SERVICE = "us-east-1", "appmesh"
TAGS = "/v20190125/tags?resourceArn=arn%3Aaws%3Aappmesh%3Aus-east-1%3A000000000000%3Amesh%2Fshop"


def _known(key_id: str) -> AccessKeySecret | None:
    return AccessKeySecret(secret=SECRET) if key_id == KEY else None


def _parse(text: bytes) -> Request:
    """A request of the vectors: raw, one header a line, folded lines begin with a blank."""
    head, _, body = text.partition(b"\n\n")
    first, *lines = re.sub(rb"\n[ \t]+", b" ", head).strip(b"\n").split(b"\n")
    method, target = first.removesuffix(b" HTTP/1.1").split(b" ", 1)
    path, _, query = target.partition(b"?")
    headers = tuple((name, value) for name, _, value in (line.partition(b":") for line in lines))
    return Request(method=method.decode(), path=path, query=query, headers=headers, body=body)


class Case:
    """One folder of the published vectors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context: dict[str, Any] = json.loads((folder / "context.json").read_bytes())
        keys = self.context["credentials"]
        self.key_id, self.secret, self.token = keys["access_key_id"], keys["secret_access_key"], keys.get("token")
        self.late_token = bool(self.context.get("omit_session_token"))
        self.at = int(datetime.fromisoformat(self.context["timestamp"]).timestamp() * 1000)
        self.scope = (self.context["region"], self.context["service"])
        self.tolerance = Tolerance(
            normalize=self.context["normalize"],
            unsigned=frozenset({"x-amz-security-token"} if self.late_token else ()),
        )

    def read(self, name: str) -> bytes:
        """One file of the vector."""
        return (self.folder / name).read_bytes()

    def secret_of(self, key_id: str) -> AccessKeySecret | None:
        """The vector's only key."""
        return AccessKeySecret(secret=self.secret, token=self.token) if key_id == self.key_id else None

    def verify(self, request: Request) -> str:
        """Verify at the vector's time, in either form."""
        return verify(request, self.secret_of, *self.scope, self.at, tolerance=self.tolerance)


VECTORS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) if FOLDER.is_dir() else []


@pytest.fixture(params=VECTORS or ["absent"])
def case(request: pytest.FixtureRequest) -> Case:
    """Each published vector in turn."""
    if not VECTORS:
        pytest.skip("the published SigV4 vectors are not beside the project")
    return Case(FOLDER / request.param)


def test_a_published_signed_request_is_accepted(case: Case) -> None:
    """In the header form and in the query form."""
    assert case.verify(_parse(case.read("header-signed-request.txt"))) == case.key_id
    assert case.verify(_parse(case.read("query-signed-request.txt"))) == case.key_id


def test_the_canonical_request_of_a_vector_is_the_published_one(case: Case) -> None:
    """Byte by byte, so that a difference says where it is."""
    request = _parse(case.read("header-signed-request.txt"))
    authorization = {name.lower(): value for name, value in request.headers}[b"authorization"].decode()
    signed = re.search(r"SignedHeaders=([^,]+)", authorization)
    assert signed is not None
    names = tuple(name.encode() for name in signed[1].split(";"))
    digest = hashlib.sha256(request.body).hexdigest()
    ours = canonical_request(request, names, digest, normalize=case.tolerance.normalize)
    assert ours == case.read("header-canonical-request.txt")


def test_signing_a_vector_gives_the_published_signature(case: Case) -> None:
    """What `sign` adds is what the published signed request carries."""
    added = sign(
        _parse(case.read("request.txt")),
        case.key_id,
        case.secret,
        *case.scope,
        case.at,
        None if case.late_token else case.token,
        hash_header=case.context["sign_body"],
        tolerance=case.tolerance,
    )
    assert added["Authorization"].rpartition("=")[2] == case.read("header-signature.txt").decode().strip()


def _others(value: int) -> set[int]:
    """Bytes to put in the place of one: its other case, and in full also one bit and what means something in HTTP."""
    found = {value ^ 0x20, *b"x"} if not PROVE else {value ^ 0x20, value ^ 1, *b"x0/.&=% ,;\t+"}
    return found - {value}


def _replaced(value: bytes) -> Iterator[bytes]:
    """`value` with one byte changed, in each place."""
    for index, byte in enumerate(value):
        for other in _others(byte):
            yield value[:index] + bytes((other,)) + value[index + 1 :]


def _variants(request: Request, *, normalize: bool) -> Iterator[Request]:
    """`request` with one byte changed, in each place of method, path, query, headers and body.

    Left out is what is the same request by definition: a path that normalises to the same one (`/x/..` and `/y/..`),
    and blanks around a value.
    """
    plain = canonical_path(request.path, normalize=normalize)
    yield from (msgspec.structs.replace(request, method=one.decode()) for one in _replaced(request.method.encode()))
    for changed in _replaced(request.path):
        if canonical_path(changed, normalize=normalize) != plain:
            yield msgspec.structs.replace(request, path=changed)
    yield from (msgspec.structs.replace(request, query=one) for one in _replaced(request.query))
    yield from (msgspec.structs.replace(request, body=one) for one in _replaced(request.body))
    for at, (name, value) in enumerate(request.headers):
        for changed in _replaced(value):
            if changed.strip(b" ") != value.strip(b" "):
                before, after = request.headers[:at], request.headers[at + 1 :]
                yield msgspec.structs.replace(request, headers=(*before, (name, changed), *after))


def test_any_one_byte_change_of_a_vector_is_refused(case: Case) -> None:
    """Method, path, query, body, every header and the signature, in both forms: nothing may differ."""
    for name in ("header-signed-request.txt", "query-signed-request.txt"):
        request = _parse(case.read(name))
        tried = 0
        for changed in _variants(request, normalize=case.tolerance.normalize):
            tried += 1
            with pytest.raises(SignatureError):
                case.verify(changed)
        assert tried > 300


NOW = int(datetime(2026, 9, 30, 12, 0, 30, tzinfo=UTC).timestamp() * 1000)


def _signed(method: str = "GET", target: str = TAGS, body: bytes = b"", **extra: str) -> Request:
    headers = [("Host", "127.0.0.1:9080"), *((name.replace("_", "-"), value) for name, value in extra.items())]
    request = Request.of(method, target, headers, body)
    return _with(request, **sign(request, KEY, SECRET, REGION, SERVICE, NOW))


def _with(request: Request, **changed: str) -> Request:
    """`request` with these headers set."""
    names = {name.lower().encode() for name in changed}
    kept = tuple(pair for pair in request.headers if pair[0].lower() not in names)
    added = tuple((name.encode(), value.encode()) for name, value in changed.items())
    return msgspec.structs.replace(request, headers=(*kept, *added))


def _header(request: Request, name: str) -> str:
    return next(value for key, value in request.headers if key.lower() == name.lower().encode()).decode()


def _refused(request: Request, code: str, reason: str, now: int = NOW) -> None:
    with pytest.raises(SignatureError, match=reason) as caught:
        verify(request, _known, REGION, SERVICE, now)
    assert caught.value.code == code
    assert SECRET not in str(caught.value)


def test_what_is_signed_here_is_accepted_here() -> None:
    """With a body, a query and headers of all kinds."""
    assert verify(_signed(), _known, REGION, SERVICE, NOW) == KEY
    assert verify(_signed("PUT", "/v20190125/meshes", b"{}", Content_Type="application/json"), *_here()) == KEY


def _here() -> tuple[Callable[[str], AccessKeySecret | None], str, str, int]:
    return _known, REGION, SERVICE, NOW


def test_an_unsigned_request_is_told_what_it_lacks() -> None:
    """403 and AWS's own name for it."""
    _refused(Request.of("GET", "/", [("Host", "a")]), "MissingAuthenticationTokenException", "not signed")
    with pytest.raises(SignatureError) as caught:
        verify(Request.of("GET", "/", [("Host", "a")]), *_here())
    assert (caught.value.code, caught.value.status) == ("MissingAuthenticationTokenException", 403)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "AWS4-HMAC-SHA256"),
        (lambda text: "Basic " + text, "Basic"),
        (lambda text: text.replace("AWS4-HMAC-SHA256 ", ""), "only AWS4"),
        (lambda text: text.rpartition(",")[0], "each once"),
        (lambda text: text + ", Signature=" + "0" * 64, "each once"),
        (lambda text: text + ", More=1", "each once"),
        (lambda text: text.replace("Signature=", "signature="), "each once"),
        (lambda text: text[:-1], "64 lower-case"),
        (lambda text: text[:-64] + text[-64:].upper().replace("0", "A"), "64 lower-case"),
        (lambda text: text.replace("/aws4_request", ""), "Credential is"),
        (lambda text: text.replace("/aws4_request", "/aws4_request/more"), "Credential is"),
        (lambda text: text.replace("host;x-amz-date", "x-amz-date;host"), "SignedHeaders is"),
        (lambda text: text.replace("host;x-amz-date", "host;host;x-amz-date"), "SignedHeaders is"),
        (lambda text: text.replace("host;x-amz-date", "Host;x-amz-date"), "SignedHeaders is"),
        (lambda text: text.replace("host;x-amz-date", ""), "SignedHeaders is"),
    ],
)
def test_a_malformed_authorization_is_refused(change: Callable[[str], str], reason: str) -> None:
    """It is parsed strictly: each part once, nothing else, each of its form."""
    request = _signed()
    changed = _with(request, Authorization=change(_header(request, "Authorization")))
    assert changed != request
    _refused(changed, "IncompleteSignatureException", reason)


@pytest.mark.parametrize("name", ["Host", "Authorization", "X-Amz-Date"])
def test_a_header_that_signing_depends_on_must_not_come_twice(name: str) -> None:
    """Otherwise two readers could each see their own."""
    request = _signed()
    doubled = msgspec.structs.replace(
        request, headers=(*request.headers, (name.encode(), _header(request, name).encode()))
    )
    _refused(doubled, "IncompleteSignatureException", "2 times")


def test_host_and_every_amz_header_must_be_signed() -> None:
    """A header that was slipped in changes what the request means."""
    request = _signed()
    _refused(
        _with(request, **{"X-Amz-Target": "Other"}), "InvalidSignatureException", "'x-amz-target' must be signed"
    )
    authorization = _header(request, "Authorization")
    bare = _with(request, Authorization=authorization.replace("host;x-amz-date", "x-amz-date"))
    _refused(bare, "InvalidSignatureException", "'host' must be signed")
    undated = _with(request, Authorization=authorization.replace("host;x-amz-date", "host"))
    _refused(undated, "InvalidSignatureException", "'x-amz-date' must be signed")


def test_a_signed_header_that_is_gone_is_named() -> None:
    """A proxy that drops headers is a common cause."""
    request = _signed(Content_Type="application/json")
    kept = tuple(pair for pair in request.headers if pair[0] != b"Content-Type")
    stripped = msgspec.structs.replace(request, headers=kept)
    _refused(stripped, "InvalidSignatureException", "'content-type' is not in the request")


@pytest.mark.parametrize("seconds", [-301, 301, 86_400, -86_400])
def test_a_request_from_another_time_is_refused(seconds: int) -> None:
    """Five minutes either way."""
    _refused(_signed(), "InvalidSignatureException", "expired|not yet valid", NOW + seconds * 1000)


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_five_minutes_of_skew_are_accepted(seconds: int) -> None:
    """The bounds belong to it."""
    assert verify(_signed(), _known, REGION, SERVICE, NOW + seconds * 1000) == KEY


@pytest.mark.parametrize(
    "stamp", ["20260930T120030", "2026-09-30T12:00:30Z", "20261301T000000Z", "\u0662\u06600260930T120030Z", ""]
)
def test_a_date_that_is_none_is_refused(stamp: str) -> None:
    """Only the ISO 8601 basic form in UTC."""
    _refused(_with(_signed(), **{"X-Amz-Date": stamp}), "IncompleteSignatureException", "X-Amz-Date")


def test_the_scope_must_be_of_the_same_day() -> None:
    """A signing key of another day is not accepted under today's date."""
    request = _signed()
    changed = _with(request, Authorization=_header(request, "Authorization").replace("/20260930/", "/20260929/"))
    _refused(changed, "InvalidSignatureException", "must agree")


def test_another_region_or_service_is_refused_by_name() -> None:
    """A signature for one service is no signature for another."""
    request = Request.of("GET", "/", [("Host", "a")])
    for region, service, reason in (("eu-west-1", SERVICE, "region 'eu-west-1'"), (REGION, "sts", "service 'sts'")):
        _refused(
            _with(request, **sign(request, KEY, SECRET, region, service, NOW)), "InvalidSignatureException", reason
        )


def test_an_unknown_key_and_a_wrong_secret_are_told_apart() -> None:
    """As AWS does: the ids are no secrets."""
    request = Request.of("GET", "/", [("Host", "a")])
    unknown = _with(request, **sign(request, "AKIAOTHER", SECRET, REGION, SERVICE, NOW))
    _refused(unknown, "UnrecognizedClientException", "'AKIAOTHER' is not known")
    wrong = _with(request, **sign(request, KEY, "x" * 40, REGION, SERVICE, NOW))
    _refused(wrong, "InvalidSignatureException", "does not match")


def test_the_body_is_always_part_of_the_signature() -> None:
    """With and without the hash header; a placeholder for the hash is refused."""
    request = _signed("PUT", "/v20190125/meshes", b'{"meshName":"shop"}')
    _refused(msgspec.structs.replace(request, body=b"{}"), "InvalidSignatureException", "does not match")
    for placeholder in ("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", hashlib.sha256(b"x").hexdigest()):
        bare = Request.of("PUT", "/", [("Host", "a"), ("X-Amz-Content-SHA256", placeholder)], b"{}")
        added = sign(bare, KEY, SECRET, REGION, SERVICE, NOW)
        _refused(_with(bare, **added), "InvalidSignatureException", "unsigned bodies|is not the SHA-256 of the body")
    hashed = Request.of("PUT", "/", [("Host", "a")], b"{}")
    added = sign(hashed, KEY, SECRET, REGION, SERVICE, NOW, hash_header=True)
    assert verify(_with(hashed, **added), *_here()) == KEY


def test_a_session_token_belongs_to_its_key() -> None:
    """A token for a long-term key, another token, and none at all are refused."""
    request = Request.of("GET", "/", [("Host", "a")])

    def signed(token: str | None) -> Request:
        return _with(request, **sign(request, KEY, SECRET, REGION, SERVICE, NOW, token))

    def session(key_id: str) -> AccessKeySecret | None:
        return AccessKeySecret(secret=SECRET, token="token") if key_id == KEY else None

    _refused(signed("token"), "UnrecognizedClientException", "session token")
    assert verify(signed("token"), session, REGION, SERVICE, NOW) == KEY
    for token in (None, "other"):
        with pytest.raises(SignatureError, match="session token"):
            verify(signed(token), session, REGION, SERVICE, NOW)


def test_a_presigned_url_lives_as_long_as_it_says() -> None:
    """And a week at most."""
    credentials = Credentials(KEY, SECRET)
    for seconds, accepted in ((60, True), (604_800, True), (604_801, False), (0, False)):
        request = AWSRequest("GET", "http://127.0.0.1:9080" + TAGS)
        SigV4QueryAuth(credentials, SERVICE, REGION, expires=seconds).add_auth(request)
        ours = Request.of("GET", request.url.removeprefix("http://127.0.0.1:9080"), [("host", "127.0.0.1:9080")])
        at = _stamp(re.search(r"X-Amz-Date=(\w+)", request.url))
        if accepted:
            assert verify(ours, _known, REGION, SERVICE, at + seconds * 1000) == KEY
        with pytest.raises(SignatureError, match=r"expired|takes seconds"):
            verify(ours, _known, REGION, SERVICE, at + seconds * 1000 + 1)
        with pytest.raises(SignatureError, match=r"not yet valid|takes seconds"):
            verify(ours, _known, REGION, SERVICE, at - 300_001)


def _stamp(found: re.Match[str] | None) -> int:
    assert found is not None
    return int(datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) * 1000


def test_derived_keys_are_kept_where_the_caller_says() -> None:
    """The cache answers as the derivation does, never for another secret, and does not grow without end."""
    cache: dict[tuple[str, str, str, str], bytes] = {}
    for _ in range(2):
        assert verify(_signed(), _known, REGION, SERVICE, NOW, cache=cache) == KEY
    assert len(cache) == 1
    with pytest.raises(SignatureError, match="does not match"):
        verify(_signed(), lambda _: AccessKeySecret(secret="changed"), REGION, SERVICE, NOW, cache=cache)
    for number in range(600):
        other = AccessKeySecret(secret=str(number))
        with pytest.raises(SignatureError):
            verify(_signed(), {KEY: other}.get, REGION, SERVICE, NOW, cache=cache)
    assert len(cache) <= 256


def test_a_secret_does_not_show_in_a_representation() -> None:
    """Log lines and tracebacks print values."""
    assert SECRET not in repr(AccessKeySecret(secret=SECRET, token="also secret"))
    assert "also" not in repr(AccessKeySecret(secret=SECRET, token="also secret"))


def test_paths_are_signed_encoded_twice_and_normalised() -> None:
    """As botocore signs them for every service but S3."""
    assert canonical_path(b"/v20190125/tags/arn%3Aaws") == "/v20190125/tags/arn%253Aaws"
    assert canonical_path(b"") == canonical_path(b"/") == canonical_path(b"//") == "/"
    assert canonical_path(b"/a/./b/../c//d/") == "/a/c/d/"
    assert canonical_path(b"/a/%2E%2E/b") == "/a/%252E%252E/b"


@pytest.mark.parametrize(
    ("signed", "sent"), [("a=1%2B2", "a=1+2"), ("a=1&b=2", "a=1&&b=2"), ("a=%26", "a=&"), ("a=1", "a=1&a=1")]
)
def test_a_query_that_a_server_reads_otherwise_is_signed_otherwise(signed: str, sent: str) -> None:
    """A plus is a space to every server, and an empty or repeated parameter is one more."""
    request = msgspec.structs.replace(_signed(target=f"/?{signed}"), query=sent.encode())
    _refused(request, "InvalidSignatureException", "does not match")


@pytest.mark.parametrize(
    ("signed", "sent"), [("a", "a="), ("a=", "a"), ("b=2&a=1", "a=1&b=2"), ("a=+", "a=%20"), ("a=b:c", "a=b%3Ac")]
)
def test_a_query_spelled_otherwise_keeps_its_signature(signed: str, sent: str) -> None:
    """Order, what is escaped without need and the sign after an empty parameter mean nothing."""
    request = msgspec.structs.replace(_signed(target=f"/?{signed}"), query=sent.encode())
    assert verify(request, *_here()) == KEY


@pytest.fixture
def received() -> Iterator[tuple[str, list[Request]]]:
    """The address of a server that answers every request with an empty object, and what it received."""
    requests: list[Request] = []

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append(Request.of(self.command, self.path, self.headers.items(), body))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_PUT = do_DELETE = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("token", [None, "a session token/+="])
def test_what_boto3_sends_is_accepted(received: tuple[str, list[Request]], token: str | None) -> None:
    """Over real HTTP: ARNs in the query, names that need escaping in the path, bodies."""
    endpoint, requests = received
    client = boto3.client(
        SERVICE,
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        aws_session_token=token,
    )
    arn = "arn:aws:appmesh:us-east-1:000000000000:mesh/shop/virtualService/cart.shop.local"
    client.list_tags_for_resource(resourceArn=arn, limit=5)
    client.describe_virtual_service(meshName="a b~ü", virtualServiceName="x/y?z=+%2F&..")
    client.create_mesh(meshName="shop", tags=[{"key": "ü", "value": ""}])
    client.untag_resource(resourceArn=arn, tagKeys=["a", "b"])
    client.delete_mesh(meshName=".hidden")
    client.close()
    assert [one.method for one in requests] == ["GET", "GET", "PUT", "PUT", "DELETE"]
    assert b"resourceArn=arn%3Aaws" in requests[0].query
    secret = AccessKeySecret(secret=SECRET, token=token)
    for request in requests:
        assert verify(request, {KEY: secret}.get, REGION, SERVICE, time.time_ns() // 1_000_000) == KEY


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
_SEGMENTS = st.lists(st.one_of(_TEXT, st.sampled_from([".", "..", "", "a b", "arn:aws:x/y"])), max_size=5)
_PARAMETERS = st.dictionaries(_TEXT.filter(bool), _TEXT, max_size=4)
_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@settings(max_examples=examples(50))
@given(_SEGMENTS, _PARAMETERS, _VALUES, st.binary(max_size=40), st.sampled_from(["GET", "PUT", "DELETE", "POST"]))
def test_botocore_and_we_agree(
    segments: list[str], parameters: dict[str, str], value: str, body: bytes, method: str
) -> None:
    """Whatever botocore signs is accepted, and our signature of the same request is the same."""
    path = "/" + "/".join(quote(segment, safe="~") for segment in segments)
    query = "&".join(f"{quote(key, safe='~')}={quote(text, safe='~')}" for key, text in parameters.items())
    target = path + ("?" + query if query else "")
    request = AWSRequest(method, "http://127.0.0.1:9080" + target, {"My-Header": value}, data=body)
    SigV4Auth(Credentials(KEY, SECRET, "token"), SERVICE, REGION).add_auth(request)
    headers = [("Host", "127.0.0.1:9080"), *((name, str(text)) for name, text in request.headers.items())]
    ours = Request.of(method, target, headers, body)
    now = _stamp(re.match(r"(.*)", request.headers["X-Amz-Date"]))
    secret = AccessKeySecret(secret=SECRET, token="token")
    assert verify(ours, lambda _: secret, REGION, SERVICE, now) == KEY
    plain = Request.of(method, target, [("Host", "127.0.0.1:9080"), ("My-Header", value)], body)
    assert (
        sign(plain, KEY, SECRET, REGION, SERVICE, now, "token")["Authorization"] == request.headers["Authorization"]
    )


@settings(max_examples=examples(50))
@given(_SEGMENTS, _PARAMETERS, st.binary(max_size=40), st.data())
def test_a_signature_fits_one_request_only(
    segments: list[str], parameters: dict[str, str], body: bytes, data: st.DataObject
) -> None:
    """Any other path, query, body or host is refused, unless it is the same once normalised."""
    path = "/" + "/".join(quote(segment, safe="~") for segment in segments)
    query = "&".join(f"{quote(key)}={quote(text)}" for key, text in parameters.items())
    request = _signed("PUT", f"{path}?{query}", body)
    field = data.draw(st.sampled_from(["path", "query", "body"]))
    value: bytes = getattr(request, field)
    index = data.draw(st.integers(0, len(value)))
    changed = (
        value[:index] + data.draw(st.binary(min_size=1, max_size=3)) + value[index + data.draw(st.integers(0, 1)) :]
    )
    other = msgspec.structs.replace(request, **{field: changed})
    with contextlib.suppress(SignatureError):
        assume(_canonical(other) != _canonical(request))
    with pytest.raises(SignatureError):
        verify(other, *_here())


def _canonical(request: Request) -> bytes:
    return canonical_request(request, (), hashlib.sha256(request.body).hexdigest())


@pytest.mark.parametrize(
    ("off", "accepted"), [(300_000, True), (-300_000, True), (300_001, False), (-300_001, False)]
)
def test_a_clock_may_be_off_by_five_minutes_and_not_more(off: int, accepted: bool) -> None:
    """To the millisecond, in both directions."""
    request = _signed()
    at = _stamp(re.match(r"(.*)", _header(request, "x-amz-date")))
    if accepted:
        assert verify(request, _known, REGION, SERVICE, at + off) == KEY
    else:
        _refused(request, "InvalidSignatureException", "expired|not yet valid", at + off)


@pytest.mark.parametrize(
    ("date", "accepted"),
    [
        ("Wed, 30 Sep 2026 12:00:30 GMT", True),
        ("20260930T120030Z", True),
        ("Wed, 30 Sep 2026 13:00:30 +0100", False),
        ("Wednesday, 30-Sep-26 12:00:30 GMT", False),
        ("Wed, 31 Sep 2026 12:00:30 GMT", False),
        ("now", False),
    ],
)
def test_a_date_header_counts_where_there_is_no_x_amz_date(date: str, accepted: bool) -> None:
    """As botocore sends it; it must be signed then, and come once."""
    request = Request.of("GET", "/", [("Host", "a"), ("Date", date)])
    names, scope = (b"date", b"host"), f"20260930/{REGION}/{SERVICE}/aws4_request"
    canonical = canonical_request(request, names, hashlib.sha256(b"").hexdigest())
    signature = signature_of(signing_key(SECRET, "20260930", REGION, SERVICE), "20260930T120030Z", scope, canonical)
    claim = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders=date;host, Signature={signature}"
    signed = _with(request, Authorization=claim)
    if accepted:
        assert verify(signed, *_here()) == KEY
        _refused(_with(signed, Date="Wed, 30 Sep 2026 12:00:31 GMT"), "InvalidSignatureException", "does not match")
        bare = _with(signed, Authorization=claim.replace("date;host", "host"))
        _refused(bare, "InvalidSignatureException", "'date' must be signed")
    else:
        _refused(signed, "IncompleteSignatureException", "is not of the form")


def test_x_amz_date_is_what_counts_where_both_are_there() -> None:
    """Another Date beside it says when the message was sent, and is only signed."""
    assert verify(_signed(Date="Thu, 01 Jan 1970 00:00:00 GMT"), *_here()) == KEY


def test_a_body_may_come_unsigned_only_where_the_service_says_so() -> None:
    """For streams; and then nothing but the placeholder itself stands for the hash."""
    plain = Request.of("POST", "/", [("Host", "a"), ("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")])
    scope = f"20260930/{REGION}/{SERVICE}/aws4_request"
    dated = _with(plain, **{"X-Amz-Date": "20260930T120030Z"})
    names = (b"host", b"x-amz-content-sha256", b"x-amz-date")
    canonical = canonical_request(dated, names, "UNSIGNED-PAYLOAD")
    signature = signature_of(signing_key(SECRET, "20260930", REGION, SERVICE), "20260930T120030Z", scope, canonical)
    signed = _with(
        dated,
        Authorization=f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, "
        f"SignedHeaders={';'.join(name.decode() for name in names)}, Signature={signature}",
    )
    lenient = Tolerance(unsigned_payload=True)
    assert verify(msgspec.structs.replace(signed, body=b"anything"), *_here(), tolerance=lenient) == KEY
    _refused(signed, "InvalidSignatureException", "unsigned bodies")


def test_an_escape_in_lower_case_is_refused() -> None:
    """No AWS client writes one, and with it one byte could change and the signature stay."""
    _refused(
        msgspec.structs.replace(_signed(target="/?a=%3A"), query=b"a=%3a"), "InvalidSignatureException", "escape"
    )


def test_a_tab_is_no_space() -> None:
    """Runs of spaces are one, as the rules say; another blank is another value."""
    assert verify(_with(_signed(My_Header="a b"), **{"My-Header": "a   b"}), *_here()) == KEY
    _refused(_with(_signed(My_Header="a b"), **{"My-Header": "a\tb"}), "InvalidSignatureException", "does not match")
