"""Which access key a command signs with: the places where AWS's tools keep one, and the control plane's own.

The one rule: a secret goes from where it was found into the value, and into no error.
Source: https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import UnreadableError, UsageError
from meshwright.remote.connection import is_loopback
from meshwright.trust.credentials import Credentials, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_FOLDER = ".meshwright"
"""Where `serve` keeps its data, the administrator's credentials among it."""

SECRET = re.compile(r"[!-~]+")
"""What access keys, secrets, session and identity tokens are made of: printable ASCII without a space."""


def find_credentials(
    environ: Mapping[str, str], endpoint: str, folder: Path = Path(DATA_FOLDER), profile: str = ""
) -> Credentials:
    """The access key to sign with: that of `profile` where one is named, else from the first place that has one.

    1. `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`;
    2. the file that `AWS_SHARED_CREDENTIALS_FILE` names, or the profile that `AWS_PROFILE` names;
    3. for a control plane on this machine, the administrator's key in `folder`;
    4. the profile `default` of `~/.aws/credentials`.

    Raises:
        UsageError: there is none, or half of one.
        UnreadableError: a file that was named cannot be read.

    Source: https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html
    """
    named = environ.get("AWS_SHARED_CREDENTIALS_FILE", "")
    home = Path(environ.get("HOME") or Path.home()) / ".aws" / "credentials"
    if profile:
        return _in_file(Path(named).expanduser() if named else home, profile)
    key_id, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
    if key_id and secret:
        token = environ.get("AWS_SESSION_TOKEN") or None
        return _sound(Credentials(key_id=key_id, secret=secret, session_token=token, source="AWS_ACCESS_KEY_ID"))
    if key_id or secret:
        lacking = "AWS_SECRET_ACCESS_KEY" if key_id else "AWS_ACCESS_KEY_ID"
        raise UsageError(f"{lacking} is not set although its other half is; set both, or neither to use a profile.")
    profile = environ.get("AWS_PROFILE", "")
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
        "wrote it; in a build, MESHWRIGHT_TOKEN_FILE and MESHWRIGHT_ROLE."
    )


def _in_file(path: Path, profile: str) -> Credentials:
    """The access key of one profile in a file of the AWS shared credentials format."""
    try:
        found = parse(path.read_text("utf-8")).get(profile)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UnreadableError(f"The credentials file {path} cannot be read: {reason}.") from error
    except UnreadableError as error:
        raise UnreadableError(
            f"The credentials file {path} is not in the AWS shared credentials format: {error}."
        ) from None
    if found is None:
        raise UsageError(f"The credentials file {path} has no access key in profile {profile!r}.")
    source = f"{path}, profile {profile}"
    return _sound(msgspec.structs.replace(found, source=source, file=str(path), profile=profile))


def _sound(found: Credentials) -> Credentials:
    """`found`, unless a part of it holds what no header may hold, such as the line feed of a badly stored secret."""
    parts = {"access key id": found.key_id, "secret access key": found.secret, "session token": found.session_token}
    for name, part in parts.items():
        if part is not None and not SECRET.fullmatch(part):
            raise UsageError(
                f"The {name} (from {found.source}) holds a space, a line break or another character that none has. "
                "Store it again without."
            )
    return found
