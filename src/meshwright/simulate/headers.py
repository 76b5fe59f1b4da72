"""Headers as a proxy compares them with what routes ask for.

The one rule: what a proxy drops, joins or keeps apart before it routes is said here; seen in Envoy 1.40.
Sources: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/header_sanitizing
and https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers
"""

from __future__ import annotations

_BLANK = " \t"
_DROPPED = frozenset(
    (
        *("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"),
        *("x-envoy-internal", "x-envoy-max-retries", "x-envoy-retry-grpc-on", "x-envoy-retry-on"),
        *("x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-forwarded-client-cert"),
    )
)
"""Those of one connection, and those by which a client would tell the proxy what to do."""
_JOINED = frozenset(
    (
        *("accept", "accept-encoding", "authorization", "cache-control", "content-type", "expect", "grpc-timeout"),
        *("grpc-accept-encoding", "if-none-match", "origin", "pragma", "referer", "user-agent", "via"),
        *("access-control-request-headers", "access-control-request-method", "x-client-trace-id"),
        *("x-envoy-attempt-count", "x-envoy-decorator-operation", "x-envoy-external-address"),
        *("x-envoy-original-path", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"),
        "x-request-id",
    )
)
"""Of these a proxy keeps one, with commas between the values that came apart."""


def read(name: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """The values of the header `name`, in lower case, as they are compared: each by itself, or all as one."""
    if name in _DROPPED:
        return ()
    if name == "cookie":
        return values  # as they were put together where they came in
    trimmed = tuple(one.strip(_BLANK) for one in values)
    if name == "te":
        return ("trailers",) if trimmed == ("trailers",) else ()
    if name in _JOINED and trimmed:
        return (",".join(filter(None, trimmed)),)
    return trimmed


def cookies(values: tuple[str, ...], *, apart: bool) -> tuple[str, ...]:
    """What a proxy reads as `Cookie`: HTTP/2 lets clients split it and makes one of it, HTTP/1.1 leaves it `apart`.

    Source: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3
    """
    trimmed = tuple(one.strip(_BLANK) for one in values)
    if apart:
        return trimmed
    first = next((at for at, one in enumerate(trimmed) if one), len(trimmed))
    return ("; ".join(trimmed[first:]),) if first < len(trimmed) else ()
