"""`--quota`: what the operator allows instead of App Mesh's documented defaults.

The one rule: a quota that is named here beats the trust file, which beats the default; what is there already stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from meshwright.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = "unlimited"

QUOTA: Callable[..., Any] = click.option(
    "--quota",
    "quota",
    multiple=True,
    metavar="NAME=N",
    help="Allow N objects, or NAME=unlimited, where App Mesh has a quota: meshes, virtual-nodes, virtual-services, "
    "virtual-routers, virtual-gateways, routes, gateway-routes, backends, extensions. "
    "unlimited alone lifts all of them.",
)


def quotas(given: tuple[str, ...]) -> dict[str, int]:
    """The quotas that the option's values set, by their names; later ones beat earlier ones.

    Raises:
        UsageError: a value is not NAME=N, or there is no such quota.
    """
    import msgspec

    from meshwright.operations import UNLIMITED

    most: dict[str, int] = msgspec.structs.asdict(UNLIMITED)
    found: dict[str, int] = {}
    for text in given:
        if text == ALL:
            found |= most
            continue
        name, separator, value = text.partition("=")
        known = name.replace("-", "_")
        if known not in most:
            hint = did_you_mean(known, most, f"known are {', '.join(most)}, and {ALL} for all")
            raise UsageError(f"--quota {text!r}: there is no quota {name!r}; {hint}")
        if not separator or not (value == ALL or re.fullmatch(r"[1-9][0-9]{0,8}", value)):
            raise UsageError(f"--quota {text!r} is not of the form NAME=N, such as {name}=25 or {name}={ALL}")
        found[known] = most[known] if value == ALL else int(value)
    return found
