"""What a witness tells: that a proxy was at work at some time.

The one rule: what cannot be read as that is passed over; others tell what they like in the same places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from meshwright.model.identity import Key, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_KINDS = (("virtualnode", Kind.VIRTUAL_NODE), ("virtualgateway", Kind.VIRTUAL_GATEWAY))


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy handled a request, or counted some."""

    proxy: Key
    at: int
    """When that began, in milliseconds since the epoch, UTC."""
    what: str
    """Where it can be looked up: a trace, or a metric."""
    deployed: str = ""
    """The release that the proxy says it was deployed with; "" where it says none."""


class Witness(Protocol):
    """Somebody who may be asked again and again."""

    def told(self) -> Iterable[Told]:
        """What is known since the last time.

        Raises:
            MeshwrightError: it cannot be asked.
        """
        ...

    def close(self) -> None:
        """Ask no more."""
        ...


def proxy_of(said: Mapping[str, str], mesh: str = "") -> Key | None:
    """The proxy that attributes or dimensions name, however they are spelt; `mesh` where they leave it out."""
    plain = {"".join(filter(str.isalpha, name.lower())): value for name, value in said.items()}
    where = next((value for name, value in plain.items() if name.endswith("mesh")), mesh)
    for ending, kind in _KINDS:
        for name, value in plain.items():
            if name.endswith(ending) and not name.startswith("target") and where and value:
                return Key(where, kind, value)
    return None
