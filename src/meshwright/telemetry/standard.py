"""Where OpenTelemetry is sent, from OpenTelemetry's standard variables.

The one rule: what a variable asks for and is not spoken here is refused when the control plane starts.
Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec

from meshwright.errors import UsageError
from meshwright.telemetry.happening import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

Signal: TypeAlias = Literal["logs", "metrics"]

_SPOKEN = "http/protobuf"
_PREFIX = "OTEL_EXPORTER_OTLP_"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where one signal is sent."""

    url: str
    headers: dict[str, str] = {}
    """They hold tokens: told to nobody but the receiver."""
    timeout: float = 10.0
    """Seconds of one request."""
    gzip: bool = False
    certificate: Path | None = None
    """Authorities that the receiver's certificate is held against, instead of the system's."""

    @property
    def where(self) -> str:
        """The URL as it may be shown."""
        return without_secrets(self.url)

    def __repr__(self) -> str:
        return f"Target({self.where!r}, headers={sorted(self.headers)})"


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where OpenTelemetry is sent, and as whose."""

    targets: dict[Signal, Target]
    resource: dict[str, str]
    """Attributes of the control plane."""
    interval: float = 60.0
    """Seconds between two readings of metrics."""


def destination(endpoint: str | None, environ: Mapping[str, str], own: Mapping[str, str]) -> Destination | None:
    """What the option `endpoint` and the variables ask for; None where nothing is to be sent.

    `own` are the attributes that the control plane has where the variables name none.

    Raises:
        UsageError: naming the variable, and what it takes.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" and endpoint is None:
        return None
    signals: tuple[Signal, ...] = ("logs", "metrics")
    targets = {signal: found for signal in signals if (found := _target(signal, endpoint, environ)) is not None}
    if not targets:
        return None
    said = _pairs("OTEL_RESOURCE_ATTRIBUTES", environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    name = environ.get("OTEL_SERVICE_NAME", "")
    resource = {**own, **said, **({"service.name": name} if name else {})}
    interval = _milliseconds("OTEL_METRIC_EXPORT_INTERVAL", environ.get("OTEL_METRIC_EXPORT_INTERVAL") or "60000")
    return Destination(targets=targets, resource=resource, interval=interval)


def _target(signal: Signal, endpoint: str | None, environ: Mapping[str, str]) -> Target | None:
    exporter = f"OTEL_{signal.upper()}_EXPORTER"
    if environ.get(exporter, "otlp").strip() == "none":
        return None

    def asked(name: str) -> tuple[str, str]:
        """The variable that says it, the signal's own before that of all, and what it says."""
        names = (f"{_PREFIX}{signal.upper()}_{name}", f"{_PREFIX}{name}")
        return next(((one, environ[one].strip()) for one in names if environ.get(one, "").strip()), (names[1], ""))

    option, url = ("--otlp-endpoint", endpoint) if endpoint else asked("ENDPOINT")
    if not url:
        return None
    _refuse_bad_url(option, url)
    # A signal's own endpoint is taken as it is.
    if "_LOGS_" not in option and "_METRICS_" not in option:
        url = f"{url.rstrip('/')}/v1/{signal}"
    variable, protocol = asked("PROTOCOL")
    if protocol not in {"", _SPOKEN}:
        raise UsageError(
            f"{variable} is {protocol!r}; the control plane speaks {_SPOKEN}, which collectors take on port 4318. "
            "Set that, or unset it."
        )
    variable, compression = asked("COMPRESSION")
    if compression not in {"", "none", "gzip"}:
        raise UsageError(f"{variable} is {compression!r}; it takes gzip or none.")
    timeout = asked("TIMEOUT")
    _, certificate = asked("CERTIFICATE")
    return Target(
        url=url,
        headers=_headers(*asked("HEADERS")),
        timeout=_milliseconds(timeout[0], timeout[1] or "10000"),
        gzip=compression == "gzip",
        certificate=Path(certificate) if certificate else None,
    )


def _refuse_bad_url(option: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        shown = without_secrets(url).rpartition("@")[2].partition("?")[0]  # also of what only looks like a URL
        raise UsageError(f"{option} {shown!r} is no URL of a receiver; write http://HOST:4318, or https://HOST:PORT.")


def _headers(variable: str, text: str) -> dict[str, str]:
    found = _pairs(variable, text)
    for name, value in found.items():
        if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            # The value may be a token, and so may be a name where the text is garbled.
            raise UsageError(f"{variable} names no headers; write NAME=VALUE,NAME=VALUE, values percent-encoded.")
    return found


def _pairs(variable: str, text: str) -> dict[str, str]:
    """`a=1,b=2` as W3C Baggage writes it, without properties."""
    found = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{variable} is no list; write NAME=VALUE,NAME=VALUE, values percent-encoded.")
        found[name.strip()] = unquote(value.strip())
    return found


def _milliseconds(variable: str, text: str) -> float:
    if not text.isdecimal() or not 0 < int(text) <= 86_400_000:
        raise UsageError(f"{variable} is {text!r}; it takes milliseconds from 1 to 86400000.")
    return int(text) / 1000
