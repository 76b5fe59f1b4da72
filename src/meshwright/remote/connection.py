"""One HTTP exchange with one server, without anything kept between two.

The one rule: a server that is not there, not itself or not in time is told as such in one line.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import ssl
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from meshwright.errors import UnreachableError, UnreadableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_TOLD = 200
"""Characters of what went wrong; a server that is none may have said anything."""
_HOST = re.compile(r"[^\s\x00-\x20\x7f]+")
_USER_INFO = re.compile(r"\A(?P<scheme>[A-Za-z]+://)?.*@", re.DOTALL)


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    code: str
    """The error's name in its header, "" for none."""
    body: bytes


class NoAnswerError(UnreachableError):
    """Nobody is there, or says anything in time: there may be somebody again later."""


class LostAnswerError(NoAnswerError):
    """The connection ended between the request and its answer: whether it was carried out, nobody can tell."""


class Server:
    """Where requests go, and whose certificate is believed there."""

    def __init__(self, endpoint: str, ca_bundle: str = "") -> None:
        """`ca_bundle` is a file of certificates to trust, and no others; "" for the machine's.

        Raises:
            UsageError: `endpoint` is not `http://HOST[:PORT]` or `https://HOST[:PORT]`.
            UnreadableError: `ca_bundle` holds no certificates.
        """
        self.endpoint = endpoint.rstrip("/")
        self.secure, self._host, self._port = _address(self.endpoint)
        self._trusted = _trusted(ca_bundle) if self.secure else None

    @property
    def host(self) -> str:
        """The `Host` header."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return host if self._port == (443 if self.secure else 80) else f"{host}:{self._port}"

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        payload: bytes = b"",
        *,
        timeout: float,
        most: int | None = None,
    ) -> Answer:
        """The answer to one request; of its body `most` bytes, or all. Redirects are answers and not followed.

        Raises:
            NoAnswerError: there is none within `timeout` seconds; `LostAnswerError` where the server had taken the
                connection and ended it.
        """
        failure: type[UnreachableError] = NoAnswerError
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._trusted)
            if self._trusted is not None
            else http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        )
        try:
            connection.connect()
            failure = LostAnswerError
            connection.request(method, target, payload or None, dict(headers))
            answer = connection.getresponse()
            code = answer.headers.get("x-amzn-ErrorType", "").partition(":")[0]
            return Answer(answer.status, code, answer.read(most))
        except (OSError, http.client.HTTPException) as error:
            late = isinstance(error, TimeoutError)
            reason = f"no answer within {timeout:g} s" if late else _reason(error)
            hint = " Is `meshwright serve` running?" if is_loopback(self.endpoint) else ""
            if isinstance(error, ssl.SSLCertVerificationError):
                hint = " Trust the certificate's issuer with --ca-bundle FILE or AWS_CA_BUNDLE."
            untrusted = isinstance(error, ssl.SSLCertVerificationError)
            failed = UnreachableError if untrusted else NoAnswerError if late else failure
            raise failed(f"Cannot reach the control plane at {self.endpoint}: {reason}.{hint}") from error
        finally:
            connection.close()


def is_loopback(endpoint: str) -> bool:
    """Whether `endpoint` is on this machine."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_user_info(endpoint: str) -> str:
    """`endpoint`, if it holds no user and no password, which are no way to prove who one is here.

    Raises:
        UsageError: it does; they are not in the error.
    """
    shown = _USER_INFO.sub(lambda found: f"{found['scheme'] or ''}…@", endpoint)
    if shown != endpoint:
        raise UsageError(
            f"The endpoint {shown!r} holds a user or a password, which Meshwright signs no request with and which "
            "would be shown wherever the endpoint is. Take it out; docs/credentials.md says what to sign with."
        )
    return endpoint


def _address(endpoint: str) -> tuple[bool, str, int]:
    refuse_user_info(endpoint)
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"The endpoint {endpoint!r} is not an address: {error}.") from None
    host, beside = parts.hostname or "", parts.path or parts.query or parts.fragment
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or beside:
        shown = re.split(r"[?#]", endpoint)[0]  # what comes after may be a secret as well
        raise UsageError(f"The endpoint {shown!r} is not of the form http://HOST:PORT or https://HOST:PORT.")
    return parts.scheme == "https", host, port or (443 if parts.scheme == "https" else 80)


def _trusted(ca_bundle: str) -> ssl.SSLContext:
    """What a server's certificate is judged by; TLS 1.2 or newer."""
    try:
        return ssl.create_default_context(cafile=ca_bundle or None)
    except ssl.SSLError as error:
        raise UnreadableError(f"The CA bundle {ca_bundle} holds no certificates in PEM.") from error
    except OSError as error:
        raise UnreadableError(f"The CA bundle {ca_bundle} cannot be read: {error.strerror}.") from error


def _reason(error: Exception) -> str:
    told = (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)
    return told if len(told) <= _MOST_TOLD else f"{told[:_MOST_TOLD]}…"
