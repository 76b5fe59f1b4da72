"""The control plane as a client sees it: thin signed HTTP to our own endpoints, answers as JSON values.

The one rule: whatever goes wrong becomes one of our exceptions with one clear message; a secret never does.
"""

from __future__ import annotations

import configparser
import http.client
import ipaddress
import re
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from meshwright import errors
from meshwright.diagnostics import Diagnostic
from meshwright.errors import (
    ApiError,
    MeshwrightError,
    RefusedError,
    RevisionConflictError,
    StalePlanError,
    UnreachableError,
    UnreadableError,
    UsageError,
)
from meshwright.model.identity import parse_key
from meshwright.model.state import Metadata, State
from meshwright.plan import decoded
from meshwright.release import ApplyRequest, InvalidReleaseError, RollbackRequest
from meshwright.trust import sigv4
from meshwright.views import answers
from meshwright.views.wire import from_wire, to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "/meshwright/v1"
SIGNING_NAME = "appmesh"
TIMEOUT = 30.0
"""Seconds until a server that says nothing counts as unreachable."""
_MOST_TOLD = 200
"""Characters of what went wrong; a server that is none may have said anything."""
DATA_FOLDER = ".meshwright"
"""Where `serve` keeps its data, the administrator's credentials among it."""

_HOST = re.compile(r"[^\s\x00-\x20\x7f]+")
_KEY_PART = re.compile(r"[!-~]+")
"""What AWS's access keys, secrets and session tokens are made of: printable ASCII without a space."""
_SIGNATURE_CODES = frozenset(
    {
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """An access key, and where it was found."""

    key_id: str
    secret: str
    token: str | None = None
    source: str = ""
    file: str = ""
    """The file that it was read from; "" for the environment."""
    profile: str = ""

    def __repr__(self) -> str:
        return f"Credentials(key_id={self.key_id!r}, source={self.source!r})"


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One mesh as it runs: its objects with metadata and stacks, and the revision that they were read at."""

    state: State
    revision: int
    stacks: tuple[str, ...]


def find_credentials(environ: Mapping[str, str], endpoint: str, folder: Path = Path(DATA_FOLDER)) -> Credentials:
    """The access key to sign with, from the first place that has one.

    1. `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`;
    2. the file that `AWS_SHARED_CREDENTIALS_FILE` names, or the profile that `AWS_PROFILE` names;
    3. for a control plane on this machine, the administrator's key in `folder`;
    4. the profile `default` of `~/.aws/credentials`.

    Raises:
        UsageError: there is none, or half of one.
        UnreadableError: a file that was named cannot be read.

    Source: https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html
    """
    key_id, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
    if key_id and secret:
        token = environ.get("AWS_SESSION_TOKEN") or None
        return _sound(Credentials(key_id=key_id, secret=secret, token=token, source="AWS_ACCESS_KEY_ID"))
    if key_id or secret:
        lacking = "AWS_SECRET_ACCESS_KEY" if key_id else "AWS_ACCESS_KEY_ID"
        raise UsageError(f"{lacking} is not set although its other half is; set both, or neither to use a profile.")
    home = Path(environ.get("HOME") or Path.home()) / ".aws" / "credentials"
    named, profile = environ.get("AWS_SHARED_CREDENTIALS_FILE", ""), environ.get("AWS_PROFILE", "")
    if named or profile:
        return _in_file(Path(named).expanduser() if named else home, profile or "default")
    local = folder / "credentials"
    if is_loopback(endpoint) and local.is_file():
        return _in_file(local, "default")
    if home.is_file():
        return _in_file(home, "default")
    raise UsageError(
        f"There is no access key to sign requests to {endpoint} with. Set AWS_ACCESS_KEY_ID and "
        f"AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE={DATA_FOLDER}/credentials as `meshwright serve` "
        "wrote it."
    )


def is_loopback(endpoint: str) -> bool:
    """Whether `endpoint` is on this machine."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Client:
    """Talks to one control plane; keeps nothing between two calls."""

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        *,
        region: str = "us-east-1",
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.time,
        ca_bundle: str = "",
    ) -> None:
        """`clock` answers with seconds since the epoch; `ca_bundle` is a file of certificates to trust, no others.

        Without it those of the machine are trusted, or of the file that `SSL_CERT_FILE` names.

        Raises:
            UsageError: `endpoint` is not `http://HOST[:PORT]` or `https://HOST[:PORT]`.
            UnreadableError: `ca_bundle` holds no certificates.
        """
        self.endpoint = endpoint.rstrip("/")
        self._secure, self._host, self._port = _address(self.endpoint)
        self._credentials = credentials
        self._region = region
        self._timeout = timeout
        self._clock = clock
        self._trusted = _trusted(ca_bundle) if self._secure else None

    def read(self, mesh: str) -> Observed:
        """The mesh as it runs now; without objects when it does not exist."""
        found = self._asked("GET", f"/meshes/{_in_path(mesh)}")
        try:
            state = State(
                msgspec.structs.replace(
                    decoded(parse_key(one["object"]), one["spec"], one["tags"], one["stack"]),
                    metadata=msgspec.convert(one["metadata"], Metadata | None),
                )
                for one in found["resources"]
            )
            return Observed(state=state, revision=found["revision"], stacks=tuple(found["stacks"]))
        except (KeyError, TypeError, ValueError) as error:
            raise self._misunderstood("a mesh", error) from error

    def status(self) -> dict[str, Any]:
        """The server, its stacks and its proxies."""
        return self._asked("GET", "/status", shape=answers.Status)

    def apply(self, mesh: str, stack: str, request: ApplyRequest) -> dict[str, Any]:
        """Apply a stack's content or a plan: `changed` and the `release`.

        Raises:
            RefusedError: it is stale, in conflict or invalid; nothing was changed.
        """
        return self._asked(
            "POST", f"{_of_stack(mesh, stack)}/releases", body=to_wire(_given(request)), shape=answers.Outcome
        )

    def roll_back(self, mesh: str, stack: str, request: RollbackRequest) -> dict[str, Any]:
        """Restore an older release: `changed` and the `release`.

        Raises:
            RefusedError: it cannot be restored; nothing was changed.
        """
        return self._asked(
            "POST", f"{_of_stack(mesh, stack)}/rollbacks", body=to_wire(_given(request)), shape=answers.Outcome
        )

    def releases(self, mesh: str, stack: str, limit: int = 100) -> dict[str, Any]:
        """A stack's releases, newest first."""
        return self._asked("GET", f"{_of_stack(mesh, stack)}/releases", {"limit": str(limit)}, shape=answers.History)

    def release(self, mesh: str, stack: str, number: int) -> dict[str, Any]:
        """One release with its content."""
        return self._asked("GET", f"{_of_stack(mesh, stack)}/releases/{number}", shape=answers.Release)

    def drift(self, mesh: str, stack: str) -> dict[str, Any]:
        """Where the stack runs otherwise than its last release left it."""
        return self._asked("GET", f"{_of_stack(mesh, stack)}/drift", shape=answers.Drift)

    def propagation(self, mesh: str, stack: str, number: int, wait: float = 0) -> dict[str, Any]:
        """How far a release has come, after at most `wait` seconds (30 are the most that a server waits)."""
        query = {"wait": f"{wait:.3f}"} if wait > 0 else {}
        path = f"{_of_stack(mesh, stack)}/releases/{number}/propagation"
        return self._asked("GET", path, query, patience=wait, shape=answers.Propagation)

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: object = None,
        patience: float = 0,
        shape: type[msgspec.Struct] | None = None,
    ) -> dict[str, Any]:
        """The answer to one request, as it came; `shape` is what it must hold at least."""
        target = PREFIX + path + (f"?{urlencode(query)}" if query else "")
        payload = b"" if body is None else msgspec.json.encode(body)
        status, code, answer = self._sent(method, target, payload, self._timeout + patience)
        try:
            found = msgspec.json.decode(answer)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or (status >= 400 and not code):
            raise UnreachableError(
                f"{self.endpoint} answered {method} {target} with HTTP {status} and nothing that a Meshwright "
                "control plane says. Is the endpoint right?"
            )
        if status >= 400:
            raise self._refusal(status, code, found)
        if shape is not None:
            try:
                msgspec.convert(found, shape)
            except msgspec.ValidationError as error:
                raise self._misunderstood(f"HTTP {status} to {method} {target}", error) from None
        return found

    def _misunderstood(self, what: str, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"{self.endpoint} answered with {what} that this version does not understand: {error}. "
            "Are server and client of the same version?"
        )

    def _sent(self, method: str, target: str, payload: bytes, timeout: float) -> tuple[int, str, bytes]:
        """Status, error code ("" for none) and body of the answer."""
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._trusted)
            if self._trusted is not None
            else http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        )
        try:
            connection.request(method, target, payload or None, self._headers(method, target, payload))
            answer = connection.getresponse()
            return answer.status, answer.headers.get("x-amzn-ErrorType", "").partition(":")[0], answer.read()
        except (OSError, http.client.HTTPException) as error:
            reason = f"no answer within {timeout:g} s" if isinstance(error, TimeoutError) else _reason(error)
            hint = " Is `meshwright serve` running?" if is_loopback(self.endpoint) else ""
            if isinstance(error, ssl.SSLCertVerificationError):
                hint = " Trust the certificate's issuer with --ca-bundle FILE or AWS_CA_BUNDLE."
            raise UnreachableError(f"Cannot reach the control plane at {self.endpoint}: {reason}.{hint}") from error
        finally:
            connection.close()

    def _headers(self, method: str, target: str, payload: bytes) -> dict[str, str]:
        host = f"[{self._host}]" if ":" in self._host else self._host
        usual = self._port == (443 if self._secure else 80)
        plain = {"Host": host if usual else f"{host}:{self._port}", "Content-Type": "application/json"}
        signed = sigv4.sign(
            sigv4.Request.of(method, target, plain.items(), payload),
            self._credentials.key_id,
            self._credentials.secret,
            self._region,
            SIGNING_NAME,
            int(self._clock() * 1000),
            self._credentials.token,
        )
        return {**plain, **signed}

    def _refusal(self, status: int, code: str, answer: Mapping[str, Any]) -> MeshwrightError:
        """The exception that an error's code stands for."""
        message = str(answer.get("message") or answer.get("Message") or f"HTTP {status} without a reason")
        if code in _SIGNATURE_CODES:
            return UsageError(
                f"{self.endpoint} does not accept the access key {self._credentials.key_id!r} "
                f"(from {self._credentials.source}): {message}"
            )
        if code == "InvalidReleaseException":
            try:
                return InvalidReleaseError(message, from_wire(tuple[Diagnostic, ...], answer.get("diagnostics", [])))
            except ValueError as error:
                return self._misunderstood("a refusal", error)
        ours: dict[str, type[MeshwrightError]] = {
            "RefusedException": RefusedError,
            "RevisionConflictException": RevisionConflictError,
            "StalePlanException": StalePlanError,
        }
        known = ours.get(code) or getattr(errors, code, None)
        if isinstance(known, type) and issubclass(known, RefusedError | ApiError):
            return known(message)
        return UnreachableError(f"{self.endpoint} answered with {code} (HTTP {status}): {message}")


def _given(request: ApplyRequest | RollbackRequest) -> dict[str, Any]:
    """The members that are set, so that an older server need not know the others."""
    return {
        name: value
        for name, value in msgspec.structs.asdict(request).items()
        if value is not None and value != "" and value is not False
    }


def _address(endpoint: str) -> tuple[bool, str, int]:
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"The endpoint {endpoint!r} is not an address: {error}.") from None
    host, beside = parts.hostname or "", parts.path or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or beside:
        raise UsageError(f"The endpoint {endpoint!r} is not of the form http://HOST:PORT or https://HOST:PORT.")
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


def _of_stack(mesh: str, stack: str) -> str:
    return f"/meshes/{_in_path(mesh)}/stacks/{_in_path(stack)}"


def _in_path(name: str) -> str:
    return quote(name, safe="")


def _in_file(path: Path, profile: str) -> Credentials:
    """The access key of one profile in a file of the AWS shared credentials format."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UnreadableError(f"The credentials file {path} cannot be read: {reason}.") from error
    except configparser.Error as error:
        # The parser's own message quotes the line, which may hold a secret.
        raise UnreadableError(f"The credentials file {path} is not in the AWS shared credentials format.") from error
    section = dict(parser[profile]) if parser.has_section(profile) else {}
    if not section.get("aws_access_key_id") or not section.get("aws_secret_access_key"):
        raise UsageError(f"The credentials file {path} has no access key in profile {profile!r}.")
    found = Credentials(
        key_id=section["aws_access_key_id"],
        secret=section["aws_secret_access_key"],
        token=section.get("aws_session_token") or None,
        source=f"{path}, profile {profile}",
        file=str(path),
        profile=profile,
    )
    return _sound(found)


def _sound(found: Credentials) -> Credentials:
    """`found`, unless a part of it holds what no header may hold, such as the line feed of a badly stored secret."""
    parts = {"access key id": found.key_id, "secret access key": found.secret, "session token": found.token}
    for name, part in parts.items():
        if part is not None and not _KEY_PART.fullmatch(part):
            raise UsageError(
                f"The {name} (from {found.source}) holds a space, a line break or another character that none has. "
                "Store it again without."
            )
    return found
