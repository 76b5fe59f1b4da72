"""One finding about a trust file, before it is known in how many environments it holds; pure."""

from __future__ import annotations

import msgspec

from meshwright.diagnostics import Severity

WIDER_GRANT = "MW603"
LONG_LIVED_KEY = "MW604"
REACHABLE_ENVIRONMENT = "MW606"
OPEN_ISSUER = "MW607"
PULL_REQUEST = "MW608"
UNUSED_ROLE = "MW609"
OVERLAPPING_OWNERSHIP = "MW610"
POWERLESS_GRANT = "MW611"
WILDCARD_PRINCIPAL = "MW612"
ABSENT_APPROVER = "MW613"
IDLE_GUARDRAIL = "MW614"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a diagnostic says, without where it holds."""

    rule: str
    severity: Severity
    summary: str
    detail: str
    subject: str
    """`role/NAME`, `user/NAME`, `issuer/NAME`, `environment/NAME` or `guardrail/NAME`."""
    path: str
    """The member of the file."""
