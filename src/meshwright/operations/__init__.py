"""App Mesh's API without the wire: the table of its 38 operations, and `perform`, which carries one out.

The one rule: clock and ids are handed in, so that the same request on the same state always gives the same answer.
"""

from meshwright.operations.accounts import arn_of, key_of, mesh_owner, sees
from meshwright.operations.perform import changes, perform
from meshwright.operations.quotas import DEFAULT_QUOTAS, UNLIMITED, Quotas
from meshwright.operations.replies import Memory
from meshwright.operations.requests import Request, Response, Sharing, Stamp, decode_request
from meshwright.operations.table import OPERATIONS, PREFIX, Member, Operation, Verb, find, operation

__all__ = [
    "DEFAULT_QUOTAS",
    "OPERATIONS",
    "PREFIX",
    "UNLIMITED",
    "Member",
    "Memory",
    "Operation",
    "Quotas",
    "Request",
    "Response",
    "Sharing",
    "Stamp",
    "Verb",
    "arn_of",
    "changes",
    "decode_request",
    "find",
    "key_of",
    "mesh_owner",
    "operation",
    "perform",
    "sees",
]
