"""Options of `serve` by which jobs of Travis CI get identities.

The one rule: half of it is refused: whoever names an issuer says whose jobs it vouches for, and has a token to see
them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS = (
    click.option(
        "--issuer",
        envvar="MESHWRIGHT_ISSUER",
        metavar="URL",
        help="Give identities to jobs of Travis CI as this issuer: the https:// address of this API.",
    ),
    click.option(
        "--travis-repository",
        multiple=True,
        envvar="MESHWRIGHT_TRAVIS_REPOSITORIES",
        metavar="PATTERN",
        help="Whose jobs get one, such as acme/*; may be repeated.",
    ),
    click.option(
        "--travis-endpoint",
        envvar="MESHWRIGHT_TRAVIS_ENDPOINT",
        metavar="URL",
        help="Travis CI's API [default: TRAVIS_ENDPOINT, or https://api.travis-ci.com]; its token is TRAVIS_TOKEN.",
    ),
    click.option(
        "--travis-restarted",
        is_flag=True,
        envvar="MESHWRIGHT_TRAVIS_RESTARTED",
        help="Give one to a job that was restarted too: its code is old, its settings are of today.",
    ),
)


def issuer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add them to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def issuing(options: dict[str, Any]) -> dict[str, Any]:
    """What they say, as a member of `server.Settings`; they are taken out of `options`.

    Raises:
        UsageError: half of it is missing, or an address is none.
    """
    from meshwright.ci.travis.access import TOKEN, find_access
    from meshwright.server.settings import IssuerSettings
    from meshwright.trust.addresses import is_safe

    url, repositories = options.pop("issuer"), options.pop("travis_repository")
    endpoint, restarted = options.pop("travis_endpoint"), options.pop("travis_restarted")
    if url is None:
        if repositories or endpoint or restarted:
            raise UsageError("--travis-… say which jobs get identities; name the --issuer that gives them as well.")
        return {}
    parts = urlsplit(url)
    if not is_safe(url) or parts.path.strip("/") or parts.query:
        raise UsageError(f"--issuer {url!r} is none; name this API as builds reach it, https://HOST[:PORT].")
    if not repositories:
        raise UsageError(f"--issuer {url!r} vouches for nobody yet; name some with --travis-repository 'acme/*'.")
    access = find_access(os.environ, endpoint or "")
    if not access.token:
        raise UsageError(
            f"There is no token to see jobs and their logs at {access.endpoint} with; set {TOKEN} to one of a user "
            "who may read them and nothing more."
        )
    return {
        "issuer": IssuerSettings(
            url=url.rstrip("/"), access=access, repositories=tuple(repositories), restarted=restarted
        )
    }
