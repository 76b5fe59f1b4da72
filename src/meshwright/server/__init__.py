"""The control plane, assembled: store, control loop, HTTP API and xDS on one event loop."""

from meshwright.server.running import Running, control_plane
from meshwright.server.settings import Settings

__all__ = ["Running", "Settings", "control_plane"]
