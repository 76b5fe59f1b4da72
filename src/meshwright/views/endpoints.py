"""The endpoints of a mesh for people, rendered from the JSON of our own endpoint.

The one rule: the JSON is the answer; the text says no more than it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.views.escaping import terminal
from meshwright.views.releases import fault_line, table

if TYPE_CHECKING:
    from meshwright.views.releases import Document


def endpoints_text(found: Document) -> str:
    """Every endpoint with its source, and what could not be looked up."""
    rows = [("NODE", "ADDRESS", "ZONE", "STATE", "SOURCE", "NAME")]
    for one in found["endpoints"]:
        address = f"[{one['address']}]" if ":" in one["address"] else one["address"]
        port = str(one["port"]) if one["port"] else "(each listener's)"
        rows.append((one["node"], f"{address}:{port}", one["zone"], one["state"], one["source"], one["name"]))
    text = table(rows) if len(rows) > 1 else f"Nothing was found of the nodes of mesh {terminal(found['mesh'])}.\n"
    return text + "".join(fault_line(one) for one in found["faults"])
