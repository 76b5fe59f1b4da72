"""Guardrails that come along: one pack for each kind of environment, as data.

The one rule: a pack holds rules that make sense in any mesh; whatever names objects belongs in `trust.yaml`, where a
rule of the same name takes the place of a pack's.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from meshwright.trust.settings import Guardrail

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROTECTED = ("protected-deleted", "protection-removed")
_TLS = ("tls-*", "mutual-tls-removed")
_CALLED = ("called-*", "router-emptied")
_TRAFFIC = (
    *("weight-moved", "match-narrowed", "destination-changed", "discovery-changed"),
    *("port-changed", "protocol-changed"),
)


class Pack(NamedTuple):
    """The rules of one kind of environment."""

    rules: Mapping[str, Guardrail]
    releases_only: bool = False


PACKS: Mapping[str, Pack] = MappingProxyType(
    {
        "development": Pack(
            {
                "look": Guardrail(
                    risks=("*",),
                    severity="warn",
                    message="A stricter environment may ask for an approval, or refuse.",
                )
            }
        ),
        "staging": Pack(
            {
                "protected": Guardrail(
                    risks=_PROTECTED, severity="approve", message="Somebody else looks before what is protected goes."
                ),
                "tls": Guardrail(
                    risks=_TLS, severity="approve", message="Somebody else looks before encryption gets weaker."
                ),
                "egress": Guardrail(
                    risks=("egress-opened",), severity="approve", message="Somebody else looks before the mesh opens."
                ),
                "callers": Guardrail(
                    risks=(*_CALLED, "match-narrowed"),
                    severity="approve",
                    message="Somebody still calls it: has it another way to go?",
                ),
                "look": Guardrail(
                    risks=("*",), severity="warn", message="Production may ask for an approval, or refuse."
                ),
            }
        ),
        "production": Pack(
            {
                "protected": Guardrail(
                    risks=_PROTECTED,
                    severity="deny",
                    message="Take the protection away in a release of its own, with an administrator's grant.",
                ),
                "tls": Guardrail(risks=_TLS, severity="deny", message="Encryption in production gets no weaker."),
                "egress": Guardrail(
                    risks=("egress-opened",), severity="approve", message="Somebody else looks before the mesh opens."
                ),
                "callers": Guardrail(
                    risks=_CALLED,
                    kinds=("apply",),
                    severity="deny",
                    message="Move the callers first, and remove it in a release after that.",
                ),
                "traffic": Guardrail(
                    risks=_TRAFFIC,
                    over=50,
                    kinds=("apply",),
                    severity="approve",
                    message="Move it in smaller steps, or have somebody else look.",
                ),
                "faults": Guardrail(
                    risks=("broad-fault",),
                    severity="approve",
                    message="Somebody else looks before everybody feels it.",
                ),
                "look": Guardrail(risks=("*",), severity="warn", message="It has hurt others: keep an eye on it."),
            },
            releases_only=True,
        ),
    }
)
"""By the name that an environment's `pack` says."""
