"""What the API and xDS of one control plane have in common.

The one rule: there is one of each, made before either serves and ended after both.
"""

from __future__ import annotations

import time

import msgspec

from meshwright.api.attempts import Attempts
from meshwright.api.metrics import Metrics
from meshwright.api.own_issuer import OwnIssuer
from meshwright.api.trusted import Trusted
from meshwright.audit import SigningKey
from meshwright.certificates import Watched
from meshwright.control import Control, Paced
from meshwright.discovery import CloudMap, Found, Registrations
from meshwright.observe import Traffic
from meshwright.server.settings import Settings
from meshwright.store.contract import Store

GRACE = 2.0
"""Seconds that requests and streams have to end."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """One control plane's own."""

    settings: Settings
    store: Store
    control: Control
    pace: Paced
    """When `control` takes in what is published."""
    found: Found
    """Endpoints from all sources."""
    registrations: Registrations
    cloud_map: CloudMap | None
    traffic: Traffic
    """What proxies report of their calls."""
    metrics: Metrics
    trusted: Trusted
    attempts: Attempts
    """What was refused, over the API and over xDS, for the audit log."""
    signing_key: SigningKey
    """What checkpoints of the audit log are signed by."""
    issuer: OwnIssuer | None
    """Who vouches for jobs of Travis CI; None for nobody."""
    tls: Watched | None
    """The API's certificate; None for plain HTTP."""


def now() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000
