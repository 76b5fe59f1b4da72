"""In which availability zone a proxy runs, where it was not told.

The one rule: nobody is asked over a network; what cannot be read here is not known.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def ecs_zone(environ: Mapping[str, str]) -> str:
    """The zone in ECS's metadata file, which the agent names in the container's environment; "" without one.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-metadata.html
    """
    path = environ.get("ECS_CONTAINER_METADATA_FILE")
    if not path:
        return ""
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return ""
    zone = found.get("AvailabilityZone") if isinstance(found, dict) else None
    return zone if isinstance(zone, str) else ""
