"""Methods that a proxy reads in HTTP/1.1.

The one rule: a method that its parser does not know is answered before any route is looked at; HTTP/2 carries any.
Seen in Envoy 1.40, which takes the methods that are registered at
https://www.iana.org/assignments/http-methods/http-methods.xhtml in part only.
"""

from __future__ import annotations

_KNOWN = frozenset(
    (
        *("ACL", "BIND", "CHECKOUT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "MERGE", "MKACTIVITY"),
        *("MKCALENDAR", "MKCOL", "MOVE", "MSEARCH", "NOTIFY", "OPTIONS", "PATCH", "POST", "PROPFIND", "PROPPATCH"),
        *("PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK"),
        *("UNLOCK", "UNSUBSCRIBE"),
    )
)
"""Without CONNECT, which names no path."""


def fault(method: str) -> str:
    """Why HTTP/1.1 does not take `method`; "" when it does."""
    return "" if method in _KNOWN else "proxies take no such method in HTTP/1.1"
