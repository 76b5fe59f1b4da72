"""What makes a request hostile: texts, paths, queries, headers, framings and signatures as no client writes them.

The one rule: each entry says whether a server has to refuse it; where that is a matter of taste, it says no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    Text = Callable[[bytes, random.Random], tuple[str, bytes, bool]]
    Path = Callable[[bytes, random.Random], tuple[str, bytes]]
    Query = Callable[[bytes, random.Random], tuple[str, bytes, bool]]

MEGABYTE = 1 << 20


def _twice(body: bytes, _chance: random.Random) -> tuple[str, bytes, bool]:
    return "a key twice", body[:-1] + b',"spec":{},"spec":{"listeners":7}}', True


TEXTS: tuple[Text, ...] = (
    lambda body, _: ("cut off", body[: len(body) // 2] or b"{", True),
    lambda body, _: ("a byte order mark", b"\xef\xbb\xbf" + body, False),
    lambda body, _: ("UTF-16", body.decode(errors="replace").encode("utf-16"), True),
    lambda body, _: ("invalid UTF-8", body.replace(b'"', b'"\xff\xfe', 1), True),
    lambda _body, _: ("overlong UTF-8", b'{"meshName":"\xc0\xae"}', True),
    lambda _body, _: ("a lone surrogate", b'{"meshName":"\\ud800","spec":{}}', True),
    lambda _body, _: ("a surrogate as UTF-8", b'{"meshName":"\xed\xa0\x80"}', True),
    lambda body, _: ("NaN", body[:-1] + b',"spec":NaN}', True),
    lambda body, _: ("Infinity", body[:-1] + b',"spec":-Infinity}', True),
    lambda body, _: ("a huge number", body[:-1] + b',"spec":{"priority":1' + b"0" * 5000 + b"}}", True),
    lambda body, _: ("a huge exponent", body[:-1] + b',"spec":{"priority":1e999999999}}', True),
    lambda _body, _: ("deep lists", b'{"spec":' + b"[" * 50_000 + b"]" * 50_000 + b"}", True),
    lambda _body, _: ("deep objects", b'{"a":' * 30_000 + b"1" + b"}" * 30_000, True),
    lambda _body, _: ("a megabyte of text", b'{"spec":{"a":"' + b"x" * (MEGABYTE - 40) + b'"}}', True),
    lambda _body, _: ("more than a megabyte", b'{"spec":"' + b"x" * MEGABYTE + b'"}', True),
    lambda _body, _: ("a list", b"[]", True),
    lambda _body, _: ("a string", b'"spec"', True),
    lambda _body, _: ("null", b"null", False),
    lambda _body, _: ("blank", b" \r\n\t ", False),
    lambda _body, _: ("nothing", b"", False),
    lambda body, _: ("two documents", body + body, True),
    lambda body, _: ("a comment", b"/*x*/" + body, True),
    lambda body, _: ("single quotes", body.replace(b'"', b"'") if b'"' in body else b"{'a':1}", True),
    lambda body, _: ("a NUL inside", body[:-1] + b',"x\x00":1}', True),
    lambda body, _: ("an escaped NUL", body[:-1] + b',"x\\u0000":1}', True),
    lambda body, _: ("__proto__", body[:-1] + b',"__proto__":{"x":1},"constructor":1}', True),
    _twice,
    lambda body, chance: ("random bytes", chance.randbytes(200), True) if body else ("random", b"\x00", True),
)
"""Bodies; what is not JSON of a known form must be refused."""


def _deeper(path: bytes, _chance: random.Random) -> tuple[str, bytes]:
    return "encoded slashes", path[:12] + path[12:].replace(b"/", b"%2F")


PATHS: tuple[Path, ...] = (
    lambda path, _: ("a dot segment", path.replace(b"/meshes", b"/./meshes", 1)),
    lambda path, _: ("two dots", path + b"/../m1"),
    lambda path, _: ("dots that leave", b"/../../../etc/passwd" + path),
    lambda path, _: ("encoded dots", path + b"/%2e%2e/%2E"),
    lambda path, _: ("a slash at the end", path + b"/"),
    lambda path, _: ("two slashes", path.replace(b"/meshes", b"//meshes", 1)),
    lambda path, _: ("slashes first", b"//evil.example" + path),
    _deeper,
    lambda path, _: ("encoded twice", path + b"%252F%252e%252e"),
    lambda path, _: ("a NUL", path + b"%00"),
    lambda path, _: ("line ends", path + b"%0d%0aSet-Cookie:%20x=1"),
    lambda path, _: ("overlong UTF-8", path + b"%c0%af"),
    lambda path, _: ("invalid UTF-8", path + b"%ff%fe"),
    lambda path, _: ("a surrogate", path + b"%ed%a0%80"),
    lambda path, _: ("a cut off escape", path + b"%"),
    lambda path, _: ("a bad escape", path + b"%zz%4"),
    lambda path, _: ("raw bytes above 127", path + b"\xc3\xbc"),
    lambda path, _: ("very long", path + b"a" * 5000),
    lambda path, _: ("too long for a head", path + b"a" * 70_000),
    lambda path, _: ("many segments", path + b"/a" * 2000),
    lambda path, _: ("a parameter", path + b";jsessionid=1"),
    lambda path, _: ("an at sign", path + b"@000000000000"),
    lambda path, _: ("an encoded at sign", path + b"%40111111111111"),
    lambda path, _: ("a star", path + b"*"),
    lambda path, _: ("a colon and a plus", path + b":+x"),
    lambda path, _: ("other case", path.upper()),
    lambda path, _: ("encoded letters", path.replace(b"meshes", b"%6deshes")),
    lambda path, _: ("a whole address", b"http://evil.example" + path),
    lambda path, _: ("a fragment", path + b"#x"),
    lambda path, _: ("a backslash", path + b"\\..\\m1"),
    lambda path, chance: ("random escapes", path + b"".join(b"%%%02x" % byte for byte in chance.randbytes(8))),
    lambda _path, _: ("our prefix", b"/meshwright/v1/../v1/status"),
    lambda _path, _: ("health with more", b"/healthz/../v20190125/meshes"),
    lambda _path, _: ("metrics with more", b"/metrics/"),
    lambda _path, _: ("an unknown version", b"/v20180101/meshes"),
)
"""Paths; a server may take some of them for a name."""


def _with(query: bytes, more: bytes) -> bytes:
    return query + b"&" + more if query else more


QUERIES: tuple[Query, ...] = (
    lambda query, _: ("limit 0", _with(query, b"limit=0"), True),
    lambda query, _: ("limit -1", _with(query, b"limit=-1"), True),
    lambda query, _: ("limit 101", _with(query, b"limit=101"), True),
    lambda query, _: ("limit abc", _with(query, b"limit=abc"), True),
    lambda query, _: ("limit 1.5", _with(query, b"limit=1.5"), True),
    lambda query, _: ("limit 1e1", _with(query, b"limit=1e1"), True),
    lambda query, _: ("limit of nothing", _with(query, b"limit="), False),
    lambda query, _: ("limit in other digits", _with(query, b"limit=%E0%A5%A7"), True),
    lambda query, _: ("limit of many digits", _with(query, b"limit=" + b"9" * 5000), True),
    lambda query, _: ("limit twice", _with(query, b"limit=5&limit=6"), True),
    lambda query, _: ("a token of ours, almost", _with(query, b"nextToken=e30%3D"), True),
    lambda query, _: ("a token of nonsense", _with(query, b"nextToken=%00%ff%fe"), True),
    lambda query, _: ("a token of bad base64", _with(query, b"nextToken=AAAA"), True),
    lambda query, _: ("a long token", _with(query, b"nextToken=" + b"A" * 20_000), True),
    lambda query, _: ("a short owner", _with(query, b"meshOwner=1"), False),
    lambda query, _: ("another owner", _with(query, b"meshOwner=111111111111"), False),
    lambda query, _: ("an owner in letters", _with(query, b"meshOwner=abcdefghijkl"), False),
    lambda query, _: ("an owner twice", _with(query, b"meshOwner=000000000000&meshOwner=111111111111"), False),
    lambda _query, _: ("10,000 parameters", b"&".join(b"a%d=" % index for index in range(10_000)), False),
    lambda _query, _: ("120 parameters", b"&".join(b"a%d=" % index for index in range(120)), False),
    lambda query, _: ("unknown parameters", _with(query, b"unheard=of&Limit=x"), False),
    lambda query, _: ("ampersands", _with(query, b"&&&=&==&"), False),
    lambda query, _: ("a bad escape", _with(query, b"%zz=%f"), False),
    lambda query, _: ("invalid UTF-8", _with(query, b"%ff=%fe"), False),
    lambda query, _: ("raw bytes", _with(query, b"x=\xc3\xbc"), False),
    lambda query, _: ("semicolons", _with(query, b"a=1;b=2;limit=7"), False),
    lambda _query, _: ("an empty ARN", b"resourceArn=", False),
    lambda _query, _: ("a strange ARN", b"resourceArn=arn%3Aaws%3Aappmesh%3A%3A%3Amesh%2F..%2F%00", False),
    lambda query, _: ("a question mark", _with(query, b"?limit=5"), False),
    lambda query, _: ("a plus", _with(query, b"limit=+5"), False),
)
"""Queries; whether a list has to refuse them."""


class Trick(NamedTuple):
    """Headers that are sent along."""

    note: str
    pairs: tuple[tuple[bytes, bytes], ...]
    signed: bool = True
    loose: bool = False
    refuse: bool = False


HEADERS: tuple[Trick, ...] = (
    Trick("no known content type", ((b"content-type", b"text/xml; charset=utf-16"),), signed=False, loose=True),
    Trick("content types", ((b"accept", b"application/xml"), (b"accept-charset", b"utf-7"))),
    Trick("a method override", ((b"x-http-method-override", b"DELETE"),)),
    Trick("an AWS target", ((b"x-amz-target", b"AppMesh.DeleteMesh"),)),
    Trick(
        "forwarded", ((b"x-forwarded-for", b"127.0.0.1"), (b"x-forwarded-host", b"evil"), (b"forwarded", b"for=_"))
    ),
    Trick("an original address", ((b"x-original-url", b"/v20190125/meshes"), (b"x-rewrite-url", b"/"))),
    Trick("an unsigned AWS header", ((b"x-amz-unheard-of", b"1"),), signed=False, refuse=True),
    Trick("an unsigned payload", ((b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD"),), refuse=True),
    Trick("a streamed payload", ((b"x-amz-content-sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),), refuse=True),
    Trick("another payload's hash", ((b"x-amz-content-sha256", b"0" * 64),), refuse=True),
    Trick("a hash of nothing", ((b"x-amz-content-sha256", b""),), refuse=True),
    Trick("chunks of AWS", ((b"content-encoding", b"aws-chunked"), (b"x-amz-decoded-content-length", b"1"))),
    Trick("a date in a plain header", ((b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),)),
    Trick("a long header", ((b"x-long", b"a" * 8000),)),
    Trick("a very long header", ((b"x-long", b"a" * 60_000),), loose=True),
    Trick("too long a header", ((b"x-long", b"a" * 100_000),), loose=True),
    Trick("500 headers", tuple((b"x-many-%d" % index, b"1") for index in range(500)), loose=True),
    Trick("the same header 50 times", ((b"x-same", b"1"),) * 50),
    Trick("an empty header", ((b"x-empty", b""),)),
    Trick("blanks in a header", ((b"x-blank", b"a   b\t c"),), loose=True),
    Trick("Latin-1", ((b"x-latin", b"\xfc\xe4"),), loose=True),
    Trick("UTF-8", ((b"x-utf", "\u00fc\U0001f600".encode()),), loose=True),
    Trick("a NUL", ((b"x-nul", b"a\x00b"),), signed=False, loose=True),
    Trick("a lone line feed", ((b"x-feed", b"a\nx-evil: 1"),), signed=False, loose=True),
    Trick("a folded line", ((b"x-fold", b"a\r\n b"),), signed=False, loose=True),
    Trick("a blank before the colon", ((b"x-blank ", b"1"),), signed=False, loose=True),
    Trick("no name", ((b"", b"1"),), signed=False, loose=True),
    Trick("a second host", ((b"host", b"evil.example"),), signed=False, loose=True, refuse=True),
    Trick("a second date", ((b"x-amz-date", b"20200101T000000Z"),), signed=False, loose=True, refuse=True),
    Trick("a second authorization", ((b"authorization", b"Basic eDp5"),), signed=False, loose=True, refuse=True),
    Trick("a second length", ((b"content-length", b"0"),), signed=False, loose=True),
    Trick("expect", ((b"expect", b"100-continue"),), signed=False, loose=True),
    Trick("expect the unknown", ((b"expect", b"everything"),), signed=False, loose=True),
    Trick("a web socket", ((b"connection", b"Upgrade"), (b"upgrade", b"websocket")), signed=False, loose=True),
    Trick("HTTP/2", ((b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", b"h2c")), signed=False, loose=True),
    Trick("a range", ((b"range", b"bytes=0-0"), (b"if-none-match", b"*"), (b"if-match", b'"x"'))),
    Trick("a cookie", ((b"cookie", b"a=" + b"b" * 4000),)),
    Trick("trailers", ((b"te", b"trailers"), (b"trailer", b"x-amz-date")), signed=False, loose=True),
    Trick("an idempotency key", ((b"idempotency-key", b"\xff" * 10),), loose=True),
)
"""Headers; most are nobody's business and change nothing."""

FRAMINGS = (
    "gzip",
    "chunked and length",
    "chunked twice",
    "unknown coding",
    "bad chunk size",
    "huge chunk size",
    "chunk extension",
    "negative length",
    "length in words",
    "length with a sign",
    "huge length",
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/2",
    "bare line feeds",
    "no host",
)
"""Ways to send a body that a server must not be confused by."""

METHODS = ("POST", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "put", "GETT", "PROPFIND", "M-SEARCH", "\u00fc")
"""Methods that no operation has."""

SIGNINGS = (
    "none",
    "wrong secret",
    "wrong key",
    "wrong region",
    "wrong service",
    "old date",
    "future date",
    "other scope date",
    "altered body",
    "altered path",
    "altered query",
    "altered header",
    "altered method",
    "altered signature",
    "short signature",
    "upper case signature",
    "host not signed",
    "no signed headers",
    "unknown algorithm",
    "nonsense",
    "strange credential",
    "date twice",
    "surplus token",
)
"""Signatures that nobody can be held to."""

TOKENS = ("token missing", "token altered", "token empty", "wrong secret", "altered body", "old date")
"""The same for a session."""

PRESIGNINGS = (
    "presigned expired",
    "presigned too long",
    "presigned altered",
    "presigned twice",
    "presigned negative",
)
"""The same in an address."""

SEGMENTS: Mapping[str, tuple[str, ...]] = {
    "mesh": ("m0", "m0", "m0", "m1", "nope", "m0%2Fx", "%00", "%ff", "m0@111111111111", "a" * 300),
    "stack": ("own", "own", "own", "other", "..", "%2e", "a%20b", "-x", "s" * 200, "%F0%9F%98%80"),
    "number": ("1", "1", "2", "0", "-1", "999999999999999", "9" * 30, "x", "1.0", "%31", "%D9%A1"),
    "kind": ("fault", "zonePolicy", "rateLimit", "virtualNode", "Fault", "fault%00", "", "\u00fc"),
    "name": ("e0", "e0", "e1", "..", "%2e%2e", "a%2Fb", "a b", "%ff", "@", "n" * 300),
    "revision": ("1", "5", "0", "999999999", "9" * 40, "x", "1e3", "-0"),
}
"""What stands in the paths of our own endpoints."""
