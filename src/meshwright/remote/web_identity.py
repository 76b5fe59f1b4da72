"""A build's identity token exchanged for a session of a role, as AWS's SDKs do with the same variables.

The one rule: the token goes to the STS endpoint and to nobody else, and not where others could read it on the way.
Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html
"""

from __future__ import annotations

import re
import time
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from meshwright.aws import AWS_TOKEN_FILE, OWN_PROFILE, OWN_TOKEN_FILE
from meshwright.errors import RefusedError, UnreachableError, UnreadableError, UsageError
from meshwright.model.identity import DEFAULT_ACCOUNT
from meshwright.remote.connection import Server, is_loopback, refuse_user_info
from meshwright.remote.credentials import DATA_FOLDER, SECRET, find_credentials
from meshwright.trust.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROLE, SESSION_NAME, STS_ENDPOINT = "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL_STS"
OWN_ROLE = "MESHWRIGHT_ROLE"
WITHOUT_TLS = "MESHWRIGHT_TOKEN_WITHOUT_TLS"
"""Set to 1 where the network between a build and the control plane is trusted although it is not encrypted."""
TIMEOUT = 30.0
RENEWED = 120.0
"""Seconds before its end at which a session is replaced by a new one."""

_MOST = 64 << 10
_MOST_TOKEN = 20_000
_NAME = re.compile(r"[^A-Za-z0-9_+=,.@-]")


class WebIdentity:
    """Sessions of one role, each obtained with whatever token the file holds by then."""

    def __init__(
        self,
        file: Path,
        role: str,
        endpoint: str,
        *,
        session_name: str = "",
        ca_bundle: str = "",
        name: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`endpoint` is where STS answers, `name` who named the file; `clock` says seconds since the epoch.

        Raises:
            UsageError: the endpoint is no address.
            UnreadableError: `ca_bundle` holds no certificates.
        """
        self._file = file
        self._source = f"{name}={file}, role {role}" if name else f"{file}, role {role}"
        self._role = role
        self._server = Server(endpoint, ca_bundle)
        self._name = _NAME.sub("-", session_name)[:64] or f"meshwright-{int(clock())}"
        self._clock = clock
        self._session: Credentials | None = None
        self._ends = 0.0

    def credentials(self) -> Credentials:
        """The session's key; a new session where the last one is about to end.

        Raises:
            UnreadableError: the file holds no token.
            RefusedError: the token is not accepted for the role.
            UnreachableError: STS does not answer, or not as STS does.
        """
        if self._session is None or self._clock() >= self._ends - RENEWED:
            self._session, self._ends = self._obtained()
        return self._session

    def _obtained(self) -> tuple[Credentials, float]:
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self._role,
            "RoleSessionName": self._name,
            "WebIdentityToken": _token(self._file),
        }
        headers = {"Host": self._server.host, "Content-Type": "application/x-www-form-urlencoded"}
        status, _, body = self._server.ask(
            "POST", "/", headers, urlencode(form).encode(), timeout=TIMEOUT, most=_MOST
        )
        text = body.decode("utf-8", "replace")
        if status != 200:
            raise self._refusal(status, text)
        parts = [_element(text, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
        try:
            ends = datetime.fromisoformat(_element(text, "Expiration")).timestamp()
        except ValueError:
            ends = -1.0
        if ends < 0 or not all(map(SECRET.fullmatch, parts)):
            raise UnreachableError(f"{self._server.endpoint} answered with something else than a session. Is it STS?")
        key_id, secret, session_token = parts
        return Credentials(key_id=key_id, secret=secret, session_token=session_token, source=self._source), ends

    def _refusal(self, status: int, text: str) -> RefusedError | UnreachableError:
        code, message = _element(text, "Code"), _element(text, "Message")
        if not code or status >= 500:
            told = f" ({code}: {message})" if code else " and nothing that STS says. Is the endpoint right?"
            return UnreachableError(f"{self._server.endpoint} answered with HTTP {status}{told}")
        return RefusedError(
            f"{self._server.endpoint} gives no session of {self._role} for the token in {self._file}: {code}: "
            f"{message[:500]}"
        )


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """As whom a control plane is asked, as far as the project says it of the environment."""

    account: str = ""
    """That of the control plane."""
    role: str = ""
    """A role's name in `account`, or its ARN."""
    token_file: Path | None = None
    profile: str = ""
    """Of AWS's credentials files."""
    apart: bool = False
    """Whether the environment has an endpoint of its own, and with it an STS."""


def find_signer(
    environ: Mapping[str, str],
    endpoint: str,
    folder: Path = Path(DATA_FOLDER),
    ca_bundle: str = "",
    identity: Identity | None = None,
) -> Credentials | WebIdentity:
    """What to sign requests to `endpoint` with: what is meant for Meshwright alone, else what AWS's variables say.

    1. the token that `MESHWRIGHT_TOKEN_FILE` names;
    2. the key of the profile that `MESHWRIGHT_PROFILE` names;
    3. the same two of `identity`;
    4. a key in AWS's variables, the token that they name, or a key in a file.

    A token of Meshwright's alone is exchanged at `endpoint`, and so is that of AWS's variables where the environment
    has an endpoint of its own; otherwise it is at `AWS_ENDPOINT_URL_STS`.

    Raises:
        UsageError: there is nothing, or half of something, or the token would be sent in the clear.
        UnreadableError: a file that was named cannot be read.
    """
    known = identity or Identity()
    profile = environ.get(OWN_PROFILE, "") or ("" if known.token_file else known.profile)
    named = OWN_TOKEN_FILE if environ.get(OWN_TOKEN_FILE) else "token_file" if known.token_file else ""
    if profile and named != OWN_TOKEN_FILE:
        return find_credentials(environ, endpoint, folder, profile)
    keyed = environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_SECRET_ACCESS_KEY")
    if not named and (keyed or not environ.get(AWS_TOKEN_FILE)):
        return find_credentials(environ, endpoint, folder)
    if named:
        place, role = endpoint, _role(environ, known)
    else:
        named, role = AWS_TOKEN_FILE, _role(environ, known, ROLE)
        place = endpoint if known.apart else refuse_user_info(environ.get(STS_ENDPOINT) or endpoint)
    token = Path(environ.get(named) or known.token_file or "").expanduser()
    if not role:
        variable = f"{OWN_ROLE} or {ROLE}" if named == AWS_TOKEN_FILE else OWN_ROLE
        raise UsageError(
            f"Which role is the token in {token} ({named}) to be exchanged for? {variable} is not set; set it, or "
            "give the environment a role in meshwright.yaml (role:)."
        )
    if not (place.startswith("https://") or is_loopback(place) or environ.get(WITHOUT_TLS) == "1"):
        raise UsageError(
            f"The token in {token} would go to {place} unencrypted, and whoever reads it there can use it. Serve STS "
            f"over https://, or set {WITHOUT_TLS}=1 where the network is trusted."
        )
    session_name = environ.get(SESSION_NAME, "")
    return WebIdentity(token, role, place, session_name=session_name, ca_bundle=ca_bundle, name=named)


def _role(environ: Mapping[str, str], known: Identity, *more: str) -> str:
    """The ARN of the role, "" for none: that of a variable is meant in the environment's account, as is a name.

    A variable is one for all environments, each of which may be an account of its own.
    """
    named = environ.get(OWN_ROLE, "")
    written = named or known.role or next((environ[one] for one in more if environ.get(one)), "")
    if not written or (written == known.role and not named and written.startswith("arn:")):
        return written
    if not written.startswith("arn:"):
        return f"arn:aws:iam::{known.account or DEFAULT_ACCOUNT}:role/{written}"
    parts = written.split(":", 5)
    return ":".join((*parts[:4], known.account, parts[5])) if known.account and len(parts) == 6 else written


def _token(file: Path) -> str:
    try:
        text = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise UnreadableError(f"The identity token {file} cannot be read: {reason}.") from None
    if not text or len(text) > _MOST_TOKEN or not SECRET.fullmatch(text):
        raise UnreadableError(f"The file {file} holds no identity token.")
    return text


def _element(text: str, name: str) -> str:
    """The text of the first element of that name, "" for none; STS's answers hold each once."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return unescape(found[1]) if found else ""
