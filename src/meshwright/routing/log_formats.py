"""Envoy's log formats: which commands there are, what each takes, and since which Envoy.

The one rule: the lists are what real Envoys from 1.36 to 1.40 answered, asked about every name in their binaries, and
`tests/test_log_formats.py` asks again. What no list can judge is remarked upon, never passed in silence.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from meshwright.diagnostics import Severity
from meshwright.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_SHOWN = 20
"""Characters of a format that a finding quotes."""
_COMMAND = re.compile(r"%%|%(?P<name>[A-Z0-9_]+)(?:\((?P<given>.*?)\))?(?::(?P<length>[0-9]+))?%")
_LONGEST = 2**64 - 1
_HEADER = re.compile(r"(:?[!#$%&'*+.^_`|~0-9A-Za-z-]+)?", re.ASCII)
_LINE_BREAK = re.compile(r"%[-_0^#]*[1-9]*[EO]?n")
_METADATA = ("DYNAMIC", "CLUSTER", "ROUTE", "UPSTREAM_HOST", "LISTENER", "VIRTUAL_HOST", "LISTENER_FILTER_CHAIN")


class Judgement(NamedTuple):
    """What is to be said of a format."""

    severity: Severity
    """ERROR for what Envoy rejects, INFO for what some Envoy may reject."""
    text: str


class Takes(NamedTuple):
    """What a command takes between its name and the second `%`."""

    fault: Callable[[str], str]
    """What is wrong with the text in brackets, "" without brackets; "" when nothing is."""
    length: bool = False
    """Whether `:10` may follow."""


def judged(text: str) -> Iterator[Judgement]:
    """Everything to be said of `text`, read as Envoy reads: from left to right, up to the first % that is stray."""
    at = text.find("%")
    while at >= 0:
        command = _COMMAND.match(text, at)
        if command is None or int(command["length"] or 0) > _LONGEST:
            shown = text[at : at + _SHOWN]
            yield _error(f"The access log's format has a % that begins no command, at {shown!r}; write %NAME%, or %%")
            return
        if command["name"] is not None:
            yield from _of(command["name"], command["given"], command["length"])
        at = text.find("%", command.end())


def refused(text: str) -> bool:
    """Whether Envoy rejects the format, as far as can be told without Envoy."""
    return any(one.severity is Severity.ERROR for one in judged(text))


def _error(text: str) -> Judgement:
    return Judgement(Severity.ERROR, text)


def _of(name: str, given: str | None, length: str | None) -> Iterator[Judgement]:
    """What is to be said of one command."""
    if name not in COMMANDS:
        near = did_you_mean(f"%{name}%", (f"%{one}%" for one in COMMANDS), sentence=True)
        yield _error(f"The access log's format has the command %{name}%, which Envoy does not know. {near}".rstrip())
        return
    takes = COMMANDS[name]
    if length is not None and not takes.length:
        yield _error(f"The access log's format gives %{name}% a length, which it does not take")
    elif given and takes is _NOTHING:
        yield _error(f"The access log's format gives %{name}% {given!r} in brackets, and it takes nothing")
    elif fault := takes.fault(given or ""):
        yield _error(f"The access log's format has a %{name}% that Envoy rejects: {fault}")
    elif name in _UNJUDGED:
        text = f"The access log's format has a %{name}%, whose text in brackets only Envoy can judge"
        yield Judgement(Severity.INFO, f"{text}; ask it by validate --envoy")
    if name in _SINCE:
        text = f"The access log's format has the command %{name}%, which Envoy knows from {_SINCE[name]} on"
        yield Judgement(Severity.INFO, f"{text}; an older one rejects the listener")


def _anything(_given: str) -> str:
    return ""


def _something(given: str) -> str:
    return "" if given else "it needs a text in brackets"


def _header(given: str) -> str:
    if not given:
        return "it needs the name of a header in brackets"
    names = given.split("?")
    if len(names) > 2:
        return f"{given!r} names more than one header to take instead"
    return "" if all(map(_HEADER.fullmatch, names)) else f"{given!r} is not the name of a header"


def _time(given: str) -> str:
    return f"{given!r} holds a line break" if _LINE_BREAK.search(given) else ""


def _choice(*options: tuple[str, ...]) -> Callable[[str], str]:
    """Texts between colons, each one of its `options` or empty; Envoy does not look at more."""

    def fault(given: str) -> str:
        for one, allowed in zip(given.split(":", len(options)), options, strict=False):
            if one and one not in allowed:
                return f"{one!r} is not one of {', '.join(allowed)}"
        return ""

    return fault


def _one_of(*allowed: str) -> Callable[[str], str]:
    return lambda given: "" if not given or given in allowed else f"{given!r} is not one of {', '.join(allowed)}"


def _metadata(given: str) -> str:
    kind = given.partition(":")[0]
    return "" if kind in _METADATA else f"{kind!r} is not one of {', '.join(_METADATA)}"


def _state(given: str) -> str:
    key, form, field, *_ = *given.split(":"), "", ""
    if not key:
        return "it needs a key in brackets"
    if form not in {"", "PLAIN", "TYPED", "FIELD"}:
        return f"{form!r} is not one of PLAIN, TYPED, FIELD"
    return "" if (form == "FIELD") == bool(field) else "FIELD goes with the name of a field, and nothing else does"


def _duration(given: str) -> str:
    _, *rest = given.split(":")
    if not rest or len(rest) > 2:
        return f"{given!r} does not say from when to when, and in which unit"
    return "" if len(rest) == 1 or rest[1] in {"ms", "us", "ns"} else f"{rest[1]!r} is not one of ms, us, ns"


_NOTHING = Takes(_anything)
_TIME = Takes(_time)
_NAMED = Takes(_header, length=True)
_OPTION = Takes(_anything)
_UNJUDGED = ("CEL", "COALESCE")
_WITH: Mapping[str, Takes] = MappingProxyType(
    {
        "CEL": Takes(_something, length=True),
        "CLUSTER_METADATA": Takes(_something),
        "COALESCE": Takes(_something, length=True),
        "COMMON_DURATION": Takes(_duration),
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT": _OPTION,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": _OPTION,
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _OPTION,
        "DOWNSTREAM_PEER_CERT_V_END": _TIME,
        "DOWNSTREAM_PEER_CERT_V_START": _TIME,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _OPTION,
        "DYNAMIC_METADATA": Takes(_something, length=True),
        "EMIT_TIME": _TIME,
        "EMIT_TIME_LOCAL": _TIME,
        "ENVIRONMENT": Takes(_something, length=True),
        "FILTER_STATE": Takes(_state, length=True),
        "GRPC_STATUS": Takes(_one_of("CAMEL_STRING", "SNAKE_STRING", "NUMBER")),
        "METADATA": Takes(_metadata, length=True),
        "PATH": Takes(_choice(("WQ", "NQ"), ("ORIG", "PATH", "ORIG_OR_PATH")), length=True),
        "QUERY_PARAM": Takes(_something, length=True),
        "QUERY_PARAMS": Takes(_one_of("ORIG", "DECODED"), length=True),
        "REQ": _NAMED,
        "REQUESTED_SERVER_NAME": Takes(
            _choice(("SNI_ONLY", "SNI_FIRST", "HOST_FIRST"), ("ORIG_OR_HOST", "HOST", "ORIG"))
        ),
        "REQUEST_HEADER": _NAMED,
        "RESP": _NAMED,
        "RESPONSE_CODE_DETAILS": _OPTION,
        "RESPONSE_HEADER": _NAMED,
        "RESPONSE_TRAILER": _NAMED,
        "START_TIME": _TIME,
        "START_TIME_LOCAL": _TIME,
        "STREAM_INFO_REQ": _NAMED,
        "TRAILER": _NAMED,
        "UPSTREAM_FILTER_STATE": Takes(_state, length=True),
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _OPTION,
        "UPSTREAM_METADATA": Takes(_something),
        "UPSTREAM_PEER_CERT_V_END": _TIME,
        "UPSTREAM_PEER_CERT_V_START": _TIME,
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _OPTION,
    }
)
_BARE = """
ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS
CUSTOM_FLAGS DOWNSTREAM_CX_RTT DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED
DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS
DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS
DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_HANDSHAKE_DURATION DOWNSTREAM_HEADER_BYTES_RECEIVED
DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID
DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN
DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN
DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256
DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1
DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256
DOWNSTREAM_PEER_ISSUER_SERIAL DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT
DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_GROUP
DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED
DOWNSTREAM_WIRE_BYTES_SENT DURATION FILTER_CHAIN_NAME GRPC_STATUS_NUMBER HOSTNAME LISTENER_NAME LOCAL_REPLY_BODY
PACKETS_RETRANSMITTED PROTOCOL REQUEST_DURATION REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE
RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES
RESPONSE_TX_DURATION ROUNDTRIP_DURATION ROUTE_NAME ROUTE_RESOLUTION_COUNT ROUTE_RESOLUTION_TIME_US SPAN_ID STREAM_ID
TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT TRACE_ID UNIQUE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW
UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED UPSTREAM_CONNECTION_POOL_READY_DURATION
UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_DETECTED_CLOSE_TYPE
UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST UPSTREAM_HOSTS_ATTEMPTED
UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME UPSTREAM_HOST_NAMES_ATTEMPTED
UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS
UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_PORT UPSTREAM_LOCAL_URI_SAN
UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT
UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID
UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_SERVER_NAME UPSTREAM_TLS_CIPHER UPSTREAM_TLS_GROUP
UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_WIRE_BYTES_RECEIVED
UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME
"""
COMMANDS: Mapping[str, Takes] = MappingProxyType(dict.fromkeys(_BARE.split(), _NOTHING) | dict(_WITH))
"""Every command that Envoy knows."""
_NEWER = """
1.40 DOWNSTREAM_CX_RTT LISTENER_NAME ROUTE_RESOLUTION_COUNT ROUTE_RESOLUTION_TIME_US
1.39 DOWNSTREAM_TLS_GROUP UPSTREAM_SERVER_NAME UPSTREAM_TLS_GROUP
1.38 DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256
1.38 DOWNSTREAM_PEER_ISSUER_SERIAL QUERY_PARAMS SPAN_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED
1.38 UPSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT
1.38 UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_LOCAL_CLOSE_REASON
1.37 COALESCE DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID REQUEST_HEADER
1.37 RESPONSE_HEADER RESPONSE_TRAILER UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID
"""
_SINCE: Mapping[str, str] = MappingProxyType(
    {name: version for version, *names in map(str.split, _NEWER.strip().splitlines()) for name in names}
)
"""The first Envoy that knows a command, of those that the oldest of them did not know."""
