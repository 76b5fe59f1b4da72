"""Snapshots judged by the real Envoy, and as bootstraps that a running Envoy takes without a control plane."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from meshwright.proxy.check import refusals
from meshwright.proxy.extras import sds_cluster
from meshwright.proxy.trial import replace_files
from meshwright.snapshot.resources import Traits
from meshwright.snapshot.static import static_resources
from pki import self_signed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meshwright.snapshot.resources import Snapshot


ABLE = Traits(version=(1, 40, 0), zone="us-east-1a", runtime=True)
"""An Envoy that can do everything, somewhere."""


def bootstrap(snapshot: Snapshot, files: Path, sds: str = "/nowhere/sds.sock") -> dict[str, Any]:
    """A bootstrap that holds `snapshot` statically; TLS files become those in `files`."""
    held = static_resources(snapshot)
    document = {
        "node": {"id": snapshot.proxy.path, "cluster": snapshot.proxy.name},
        "static_resources": {**held, "clusters": [*held["clusters"], sds_cluster(sds)]},
    }
    replace_files(document, files)
    return document


def refusal(snapshots: Sequence[Snapshot]) -> str:
    """Envoy's words about the first of `snapshots` that it refuses; "" when it takes all."""
    found = refusals(snapshots)
    return f"{found[0].snapshot.proxy}: {found[0].output}" if found else ""


@functools.cache
def credentials() -> dict[str, bytes]:
    """A self-signed certificate for `localhost` and 127.0.0.1 and its key, PEM."""
    issued = self_signed("localhost", "127.0.0.1")
    return {"chain.pem": issued.certificate, "key.pem": issued.key}
