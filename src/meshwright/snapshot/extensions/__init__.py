"""What extensions add to a proxy's routes, one kind a module.

The one rule: an extension that comes, changes or goes changes routes and numbers, never a listener, because a changed
listener closes its connections. So the filters that carry extensions out are always there, and do nothing unasked.
"""

from meshwright.snapshot.extensions.additions import Additions, shared
from meshwright.snapshot.extensions.filters import http_filters
from meshwright.snapshot.extensions.lost import report_lost
from meshwright.snapshot.extensions.places import additions
from meshwright.snapshot.extensions.retries import servable
from meshwright.snapshot.extensions.telemetry import Told, add_collectors, told, traced

__all__ = [
    "Additions",
    "Told",
    "add_collectors",
    "additions",
    "http_filters",
    "report_lost",
    "servable",
    "shared",
    "told",
    "traced",
]
