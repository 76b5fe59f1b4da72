"""The AWS shared credentials format: written for every AWS tool to read, and read as they do; pure text.

The one rule: a secret appears in the text and in the value, never in an error.
Source: https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html
"""

from __future__ import annotations

import configparser
from typing import TYPE_CHECKING

import msgspec

from meshwright.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a request is signed with, and where it was found."""

    key_id: str
    secret: str
    session_token: str | None = None
    source: str = ""
    """For messages."""
    file: str = ""
    """The file that it was read from; "" for none."""
    profile: str = ""

    def __repr__(self) -> str:
        return f"Credentials(key_id={self.key_id!r}, source={self.source!r})"


def render(profiles: Mapping[str, Credentials]) -> str:
    """The file that holds these profiles by name."""
    return "\n".join(_section(name, credentials) for name, credentials in profiles.items())


def parse(text: str) -> dict[str, Credentials]:
    """The profiles that hold a key and a secret, by name; others (roles, processes) are left out.

    Raises:
        UnreadableError: the text is not of the format; the message says which line, not what is in it.
    """
    reader = configparser.RawConfigParser(default_section="", strict=False)
    try:
        reader.read_string(text)
    except configparser.MissingSectionHeaderError as error:
        raise UnreadableError(f"line {error.lineno} of the credentials comes before any [profile]") from None
    except configparser.ParsingError as error:
        lines = ", ".join(str(number) for number, _ in error.errors)
        raise UnreadableError(f"line {lines} of the credentials is not of the form 'name = value'") from None
    return {
        name: Credentials(
            key_id=section["aws_access_key_id"],
            secret=section["aws_secret_access_key"],
            session_token=section.get("aws_session_token") or None,
        )
        for name, section in reader.items()
        if section.get("aws_access_key_id") and section.get("aws_secret_access_key")
    }


def _section(name: str, credentials: Credentials) -> str:
    lines = [
        f"[{name}]",
        f"aws_access_key_id = {credentials.key_id}",
        f"aws_secret_access_key = {credentials.secret}",
    ]
    if credentials.session_token is not None:
        lines.append(f"aws_session_token = {credentials.session_token}")
    return "".join(f"{line}\n" for line in lines)
