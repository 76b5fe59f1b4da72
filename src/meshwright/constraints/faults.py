"""What a constraint finds: App Mesh's error for it, its words, and the field that causes it.

A fault belongs to the object that must change; which object that is decides the text, as it does in the service.
"""

from __future__ import annotations

import re

import msgspec

from meshwright.errors import ApiError, BadRequestException, NotFoundException
from meshwright.model.identity import Key, Kind

NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,255}")
"""Letters, digits, hyphen and underscore are documented; dots come from Kubernetes names and are taken too.

Not `.` and `..` alone: as a segment of a path they are steps, and nobody could ask for such an object again.
"""
SERVICE_NAME = re.compile(r"(?!\.{1,2}\Z)[^\s/@\x00-\x1f\x7f]{1,255}")
"""A virtual service is named like the host that clients call; only what would break an ARN is left out."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for App Mesh to refuse an object."""

    rule: str
    """The code under which `validate` reports it: MW002, MW003, MW005, MW101, MW102, MW104 or MW105."""
    path: str
    """The field, in wire names, from the object's root: `spec.listeners[0].healthCheck.port`."""
    text: str
    """The wire message: the service's own words where a public source quotes them."""
    detail: str = ""
    """Why it matters and what to do."""
    error: type[ApiError] = BadRequestException
    missing: Key | None = None
    """The object that would have to exist, when that is the fault."""
    refused: bool = True
    """False for what `check` reports and a single API call may still do: see `constraints`."""


def absent(rule: str, path: str, key: Key, detail: str) -> Fault:
    """`key` must exist and does not.

    The words are the service's for a route's target (`VirtualNode with name product-v2-vn is missing`).
    """
    text = f"{key.kind.type_name} with name {key.wire_name} is missing"
    return Fault(rule=rule, path=path, text=text, detail=detail, error=NotFoundException, missing=key)


def name_fault(key: Key) -> Fault | None:
    """A name that the service does not take, or that no ARN could carry."""
    pattern = SERVICE_NAME if key.kind is Kind.VIRTUAL_SERVICE else NAME
    if pattern.fullmatch(key.wire_name):
        return None
    allowed = "1 to 255 characters without spaces, slashes or @"
    if key.kind is not Kind.VIRTUAL_SERVICE:
        allowed = "1 to 255 letters, digits, hyphens, underscores and dots"
    return Fault(
        rule="MW002",
        path=key.kind.name_field,
        text=f"{key.kind.name_field} {key.wire_name[:300]!r} is not a valid name; it takes {allowed}",
    )
