"""What requests can be matched by and retried for, as tables: the same hold for every protocol that can say it.

The one rule: a table says what App Mesh documents, and no test of one protocol expects other than what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.lab.exchange import Request

if TYPE_CHECKING:
    from strategies import Wire


def header(**match: Any) -> Wire:
    """A match of the header `x-h`; without arguments that it is there."""
    inverted = match.pop("invert", None)
    member = {"name": "x-h", **({"match": match} if match else {}), **({} if inverted is None else {"invert": True})}
    return {"prefix": "/", "headers": [member]}


def query(**match: Any) -> Wire:
    """A match of the query parameter `q`."""
    return {"prefix": "/", "queryParameters": [{"name": "q", **({"match": match} if match else {})}]}


_NUMBER: Wire = {"range": {"start": 3, "end": 6}}
HTTP: dict[str, tuple[Wire, tuple[str, ...], tuple[str, ...]]] = {
    # The match; requests as METHOD PATH VALUE-OF-X-H, the last as far as it matters: that match, and that do not.
    "prefix": ({"prefix": "/a"}, ("GET /a", "GET /ab/c"), ("GET /", "GET /A")),
    "exact-path": ({"path": {"exact": "/a"}}, ("GET /a", "GET /a?q=1"), ("GET /a/", "GET /ab")),
    "regex-path": ({"path": {"regex": "/[0-9]+"}}, ("GET /42", "GET /4?x"), ("GET /42/", "GET /x")),
    "merged-slashes": ({"path": {"exact": "/a/b"}}, ("GET //a//b", "GET /x/../a/b"), ("GET /a%2Fb",)),
    "method": ({"prefix": "/", "method": "POST"}, ("POST /",), ("GET /", "PUT /")),
    "scheme": ({"prefix": "/", "scheme": "http"}, ("GET /",), ()),
    "other-scheme": ({"prefix": "/", "scheme": "https"}, (), ("GET /",)),
    "header-exact": (header(exact="1"), ("GET / 1",), ("GET / 11", "GET /")),
    "header-prefix": (header(prefix="ab"), ("GET / abc",), ("GET / cab", "GET /")),
    "header-suffix": (header(suffix="bc"), ("GET / abc",), ("GET / bca", "GET /")),
    "header-regex": (header(regex="a+"), ("GET / aaa",), ("GET / aab", "GET /")),
    "header-range": (header(**_NUMBER), ("GET / 3", "GET / 5"), ("GET / 6", "GET / 2", "GET / x", "GET /")),
    "header-present": (header(), ("GET / x",), ("GET /",)),
    "header-absent": (header(invert=True), ("GET /",), ("GET / x",)),
    "header-not-exact": (header(exact="1", invert=True), ("GET / 2",), ("GET / 1", "GET /")),
    "header-not-prefix": (header(prefix="a", invert=True), ("GET / b",), ("GET / ab",)),
    "header-not-suffix": (header(suffix="a", invert=True), ("GET / b",), ("GET / ba",)),
    "header-not-regex": (header(regex="a+", invert=True), ("GET / b",), ("GET / aa",)),
    "header-not-range": (header(**_NUMBER, invert=True), ("GET / 6",), ("GET / 3",)),
    "query-exact": (query(exact="1"), ("GET /?q=1", "GET /?a=2&q=1"), ("GET /?q=2", "GET /")),
    "query-present": (query(), ("GET /?q", "GET /?q=7"), ("GET /?p=7",)),
}


def _calls(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one.replace("GET /", "POST /s/M") for one in texts)


METADATA: dict[str, tuple[Wire, tuple[str, ...], tuple[str, ...]]] = {
    name.replace("header", "metadata"): (
        {"serviceName": "s", "metadata": match["headers"]},
        _calls(those),
        _calls(others),
    )
    for name, (match, those, others) in HTTP.items()
    if "headers" in match
}
"""The same conditions on headers, on metadata of calls of `s.M`."""


def request(authority: str, text: str) -> Request:
    """One of the requests above, for a service."""
    method, path, *value = text.split(" ")
    return Request(authority=authority, path=path, method=method, headers={"x-h": value[0]} if value else {})


PRIORITIES: dict[str, tuple[tuple[Wire, int | None], ...]] = {
    # The first of each is written last and wins for `GET /a/b` with `x-h: 1`.
    "by-priority": (({"prefix": "/"}, 0), ({"path": {"exact": "/a/b"}}, 1)),
    "priority-before-none": (({"prefix": "/"}, 1000), ({"path": {"exact": "/a/b"}}, None)),
    "exact-before-prefix": (({"path": {"exact": "/a/b"}}, None), ({"prefix": "/a/b"}, None)),
    "longer-prefix": (({"prefix": "/a/"}, None), ({"prefix": "/"}, None)),
    "prefix-before-regex": (({"prefix": "/a"}, None), ({"path": {"regex": "/a/.*"}}, None)),
    "more-conditions": ((header(exact="1"), None), ({"prefix": "/"}, None)),
    "ties-at-a-priority": (({"prefix": "/a/"}, 5), ({"prefix": "/a"}, 5)),
}


def retrying(*http: str, most: int = 2, **rest: Any) -> Wire:
    """A retry policy."""
    events = {"httpRetryEvents": list(http)} if http else {}
    return {"maxRetries": most, "perRetryTimeout": {"unit": "ms", "value": 500}, **events, **rest}


RETRIES: dict[str, tuple[Wire | None, tuple[int, ...], int, int]] = {
    # The policy, what the server answers in turn, how often it is asked, and what the client gets.
    "default-503": (None, (503, 503, 200), 3, 200),
    "default-gives-up": (None, (503,), 3, 503),
    "default-not-500": (None, (500,), 1, 500),
    "default-reset": (None, (0, 200), 2, 200),
    "server-error": (retrying("server-error"), (500, 507, 200), 3, 200),
    "gateway-error": (retrying("gateway-error"), (502, 504, 200), 3, 200),
    "gateway-not-500": (retrying("gateway-error"), (500,), 1, 500),
    "client-error": (retrying("client-error"), (409, 200), 2, 200),
    "client-not-404": (retrying("client-error"), (404,), 1, 404),
    "no-retries": (retrying("server-error", most=0), (500,), 1, 500),
    "four-retries": (retrying("server-error", most=4), (500,), 5, 500),
    "explicit-replaces": (retrying("client-error"), (503,), 1, 503),
    "stream-error-only": (retrying("stream-error"), (503,), 1, 503),
}
