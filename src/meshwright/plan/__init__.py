"""From what runs to what is wanted: field-level differences, the order of steps, the plan as a value.

The one rule: pure functions over states; nothing here knows a server, a file or the time.
"""

from meshwright.plan.change_set import Basis, Change, Conflict, Plan, Step, arrival, basis_of, diff, stale
from meshwright.plan.differences import Field, contents, decoded, differences, leaves

__all__ = [
    "Basis",
    "Change",
    "Conflict",
    "Field",
    "Plan",
    "Step",
    "arrival",
    "basis_of",
    "contents",
    "decoded",
    "diff",
    "differences",
    "leaves",
    "stale",
]
