"""Where Travis CI's API is and with which token it is asked: by the environment, or as the `travis` command keeps it.

The one rule: the token goes from where it was found into a request's header, and into nothing that is printed.
Source: https://github.com/travis-ci/travis.rb#environment-variables
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import yaml

from meshwright.errors import UnreadableError, UsageError
from meshwright.trust.addresses import is_safe

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDPOINT, TOKEN, FOLDER = "TRAVIS_ENDPOINT", "TRAVIS_TOKEN", "TRAVIS_CONFIG_PATH"
DEFAULT = "https://api.travis-ci.com"

_FILE = "config.yml"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """An API and a token for it."""

    endpoint: str = DEFAULT
    """Without a slash at its end; an enterprise's ends with `/api`."""
    token: str = ""
    """"" to ask as nobody: what is public can be read so."""
    source: str = "nowhere"
    """Where the token was found, for messages."""

    def __repr__(self) -> str:
        return f"Access(endpoint={self.endpoint!r}, source={self.source!r})"


def find_access(environ: Mapping[str, str], endpoint: str = "") -> Access:
    """The API that is meant and the token for it.

    The endpoint is `endpoint`, else `TRAVIS_ENDPOINT`, else the configuration file's default, else Travis CI's own.
    The token is `TRAVIS_TOKEN`, else what the `travis` command keeps for this endpoint in `config.yml` of the folder
    that `TRAVIS_CONFIG_PATH` names, `~/.travis` by default; "" for none.

    Raises:
        UsageError: the endpoint is no address, or the token would go to it unencrypted; or the token is none.
        UnreadableError: the configuration file cannot be read or is none.
    """
    token, named = environ.get(TOKEN, "").strip(), endpoint or environ.get(ENDPOINT, "").strip()
    if token and named:
        return _sound(Access(endpoint=_address(named), token=token, source=TOKEN))
    file = _configuration(environ)
    kept = _read(file) if file is not None else {}
    place = _address(named or _text(kept.get("default_endpoint")) or DEFAULT)
    if token:
        return _sound(Access(endpoint=place, token=token, source=TOKEN))
    endpoints = kept.get("endpoints")
    for url, member in endpoints.items() if isinstance(endpoints, dict) else ():
        if isinstance(url, str) and url.rstrip("/") == place and isinstance(member, dict):
            found = _text(member.get("access_token"))
            return _sound(Access(endpoint=place, token=found, source=str(file) if found else "nowhere"))
    return _sound(Access(endpoint=place))


def _configuration(environ: Mapping[str, str]) -> Path | None:
    """The `travis` command's configuration file, where there is one."""
    named = environ.get(FOLDER, "").strip()
    folder = Path(named).expanduser() if named else Path(environ.get("HOME") or Path.home()) / ".travis"
    file = folder if folder.is_file() else folder / _FILE
    return file if file.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        found = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except OSError as error:
        raise UnreadableError(
            f"The configuration of the travis command {file} cannot be read: {error.strerror}."
        ) from error
    except yaml.YAMLError:
        # What stands there holds tokens: no line of it is quoted.
        raise UnreadableError(
            f"The configuration of the travis command {file} is no YAML. Run 'travis login' again, or set {TOKEN}."
        ) from None
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"The endpoint {text!r} of Travis CI is not an address: {error}.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"The endpoint {text!r} of Travis CI is not an address such as {DEFAULT} or https://HOST/api."
        )
    if "@" in parts.netloc:
        raise UsageError(f"The endpoint of Travis CI at {parts.hostname} holds a user's name; set {TOKEN} instead.")
    return text.rstrip("/")


def _sound(found: Access) -> Access:
    if not is_safe(found.endpoint):
        raise UsageError(
            f"{found.endpoint} is not encrypted, and whoever reads the token on the way can use it: name an https:// "
            f"address with {ENDPOINT}."
        )
    if not (found.token.isascii() and found.token.isprintable()) or " " in found.token:
        raise UsageError(
            f"The Travis CI token from {found.source} holds a space, a line break or worse; store it again."
        )
    return found
