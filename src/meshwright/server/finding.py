"""The sources of endpoints of one control plane.

The one rule: AWS is asked only where somebody said so; nothing is imported for it before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.discovery import CloudMap, Found, Memory, Registrations
from meshwright.discovery.aws import Api
from meshwright.discovery.cloud_map import SOURCE as CLOUD_MAP
from meshwright.discovery.registrations import SOURCE as REGISTRATIONS
from meshwright.server.parts import now

if TYPE_CHECKING:
    from meshwright.api.metrics import Metrics
    from meshwright.control import Control
    from meshwright.server.settings import Settings
    from meshwright.store.contract import Store


def registrations(settings: Settings, store: Store, control: Control) -> Registrations:
    """What proxies bring along.

    Raises:
        StorageError: what was kept cannot be read.
    """
    return Registrations(
        grace=settings.registration_grace,
        most=settings.envoys_per_node,
        now=now,
        changed=control.refresh,
        memory=Memory(store, REGISTRATIONS),
        connected=lambda: control.connected,
    )


def cloud_map(settings: Settings, store: Store, control: Control, metrics: Metrics) -> CloudMap | None:
    """What AWS Cloud Map says; None where it is not to be asked.

    Raises:
        StorageError: what was kept cannot be read.
        UsageError: AWS's settings cannot be used, or boto3 is not here.
    """
    if settings.cloud_map_interval is None:
        return None
    found = CloudMap(
        Api(settings.region),
        interval=settings.cloud_map_interval,
        state=lambda: control.state,
        changed=control.refresh,
        now=now,
        memory=Memory(store, CLOUD_MAP),
        counted=metrics,
    )
    metrics.watch("cloud_map_age_seconds", found.age)
    return found


def watch(metrics: Metrics, found: Found) -> None:
    """Let the metrics read how many endpoints there are, and of how many nodes they may be out of date."""
    metrics.watch("endpoints", lambda: len(found.rows()))
    metrics.watch("endpoints_unhealthy", lambda: sum(not one.endpoint.healthy for one in found.rows()))
    metrics.watch("discovery_faults", lambda: len(found.faults()))
