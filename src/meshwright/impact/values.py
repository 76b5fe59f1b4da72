"""What is found out about a plan, as values whose JSON is documented and stable.

The one rule: everything names an object and, where there is one, a field, so that a reviewer can look there.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from meshwright.diagnostics import Diagnostic, Source
from meshwright.model.identity import Key
from meshwright.plan import Field


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a plan does and that has hurt others: to look at, not yet a fault."""

    code: str
    """What kind, as `RISKS` lists them: `weight-moved`."""
    summary: str
    """One sentence: the thing, what becomes of it, who is concerned."""
    key: Key
    """The object that the plan changes."""
    path: str = ""
    """The field, in wire names; "" for the whole object."""
    old: Any = None
    new: Any = None
    """JSON values; None where there is nothing."""
    source: Source | None = None
    """Where the field is written, of what the definitions still hold."""


class Objection(msgspec.Struct, frozen=True, kw_only=True):
    """What a guardrail of the environment has against a plan."""

    rule: str
    """Its name in `trust.yaml`, or in the environment's pack."""
    severity: Literal["warn", "approve", "deny"]
    message: str
    """The administrator's own words."""
    about: str
    """The code of the risk that it minds, or the action: `create`, `update`, `delete`."""
    key: Key
    path: str = ""
    summary: str
    """What the plan does, in one sentence."""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules say of the mesh after the plan and did not say before, and the other way round."""

    new: tuple[Diagnostic, ...] = ()
    mended: tuple[Diagnostic, ...] = ()


class ResourceDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One Envoy resource that a proxy is sent, is sent anew, or is told to drop."""

    action: Literal["add", "change", "remove"]
    type: str
    """The message's name, such as `Cluster`, `Listener` or `RouteConfiguration`."""
    name: str
    fields: tuple[Field, ...] = ()
    """Of a change, in Envoy's own names: `virtual_hosts[cart.local].routes[all].route.cluster`."""
    more: int = 0
    """Fields that differ besides."""


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual node or gateway whose proxies get a difference."""

    key: Key
    action: Literal["create", "update", "delete"]
    """What becomes of its configuration; proxies of one that is deleted keep what they have."""
    added: int
    changed: int
    removed: int
    """Envoy resources."""
    proxies: tuple[str, ...] = ()
    """Those that are connected, by id; see `Reach.connected`."""
    resources: tuple[ResourceDifference, ...] = ()
    """Only where they were asked for."""
    more: int = 0
    """Resources that differ besides."""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a plan reaches."""

    nodes: tuple[Reached, ...] = ()
    """In order of their keys."""
    callers: tuple[Key, ...] = ()
    """Nodes and gateways that get no difference and whose requests pass through a proxy that does."""
    connected: int | None = None
    """How many connected proxies get a difference; None where the control plane does not tell."""


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """What one plan means."""

    risks: tuple[Risk, ...] = ()
    """In the order of the plan's changes."""
    objections: tuple[Objection, ...] = ()
    """What the guardrails of the environment have against it, as the control plane says."""
    findings: Findings = Findings()
    reach: Reach = Reach()
