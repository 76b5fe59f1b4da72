"""Every action that can be allowed or denied here: those of App Mesh, of STS, and ours.

The one rule: an action that is not in this table exists nowhere; tests hold it against the published service model.
Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsappmesh.html
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

Level: TypeAlias = Literal["List", "Read", "Write", "Tagging"]

REQUEST_TAG = "aws:RequestTag/${TagKey}"
TAG_KEYS = "aws:TagKeys"
_TAGS = (REQUEST_TAG, TAG_KEYS)


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One action."""

    service: Literal["appmesh", "meshwright", "sts"]
    name: str
    level: Level
    required: tuple[str, ...] = ()
    """The kind of resource that it is about, `Kind.value` for App Mesh's; none for actions about `*`."""
    optional: tuple[str, ...] = ()
    """Kinds that it may be about; for writes, what the reference lists besides and nothing here asks for."""
    keys: tuple[str, ...] = ()
    """Condition keys of its request, besides the global ones and `aws:ResourceTag`."""

    @property
    def full(self) -> str:
        """`appmesh:DescribeMesh`."""
        return f"{self.service}:{self.name}"


_KINDS = ("mesh", "virtualService", "virtualNode", "virtualRouter", "route", "virtualGateway", "gatewayRoute")
_REFERRED = {
    "gatewayRoute": ("virtualService",),
    "route": ("virtualNode",),
    "virtualService": ("virtualNode", "virtualRouter"),
}
"""What the reference lists as optional resources of creating and updating a kind."""
_LISTED_IN = {
    "virtualService": "mesh",
    "virtualNode": "mesh",
    "virtualRouter": "mesh",
    "virtualGateway": "mesh",
    "route": "virtualRouter",
    "gatewayRoute": "virtualGateway",
}


def _of_kind(kind: str) -> Iterator[Action]:
    title, referred = kind[0].upper() + kind[1:], _REFERRED.get(kind, ())
    only_created = (*referred, "virtualService") if kind == "virtualNode" else referred
    yield _appmesh(f"Create{title}", "Write", kind, only_created, _TAGS)
    yield _appmesh(f"Describe{title}", "Read", kind)
    yield _appmesh(f"Update{title}", "Write", kind, referred)
    yield _appmesh(f"Delete{title}", "Write", kind)
    if kind != "mesh":
        yield _appmesh(f"List{title}s", "List", _LISTED_IN[kind])


def _appmesh(
    name: str, level: Level, kind: str = "", optional: tuple[str, ...] = (), keys: tuple[str, ...] = ()
) -> Action:
    return Action(
        service="appmesh", name=name, level=level, required=(kind,) if kind else (), optional=optional, keys=keys
    )


def _ours(name: str, level: Level, *kinds: str, optional: tuple[str, ...] = (), keys: tuple[str, ...] = ()) -> Action:
    return Action(service="meshwright", name=name, level=level, required=kinds, optional=optional, keys=keys)


def _sts(name: str, level: Level, *keys: str, kind: str = "") -> Action:
    return Action(service="sts", name=name, level=level, required=(kind,) if kind else (), keys=keys)


def _all() -> Iterator[Action]:
    for kind in _KINDS:
        yield from _of_kind(kind)
    yield _appmesh("ListMeshes", "List")
    yield _appmesh("GetMeshPolicy", "Read", "mesh")
    yield _appmesh("PutMeshPolicy", "Write", "mesh")
    yield _appmesh("DeleteMeshPolicy", "Write", "mesh")
    yield _appmesh("StreamAggregatedResources", "Read", optional=("virtualGateway", "virtualNode"))
    yield _appmesh("ListTagsForResource", "List", optional=_KINDS)
    yield _appmesh("TagResource", "Tagging", optional=_KINDS, keys=_TAGS)
    yield _appmesh("UntagResource", "Tagging", optional=_KINDS, keys=(TAG_KEYS,))
    yield _ours("GetStatus", "Read")
    yield _ours("GetMesh", "Read", "mesh")
    yield _ours("GetObserved", "Read", "mesh")
    yield _ours("ListExtensions", "List", "mesh")
    yield _ours("GetExtension", "Read", "extension")
    yield _ours("PutExtension", "Write", "extension", keys=_TAGS)
    yield _ours("DeleteExtension", "Write", "extension")
    yield _ours("GetReleases", "List", "stack")
    yield _ours("GetRelease", "Read", "stack")
    yield _ours("ApplyRelease", "Write", "stack")
    yield _ours("RollBack", "Write", "stack")
    yield _ours("VerifyRelease", "Write", "stack")
    yield _ours("GetPending", "List", "stack")
    yield _ours("ApproveRelease", "Write", "stack")
    yield _ours("WithdrawRelease", "Write", "stack")
    yield _ours("GetJudgement", "Read", "stack")
    yield _ours("GetGuardrails", "Read", "mesh")
    yield _ours("GetGrants", "List", "stack")
    yield _ours("BreakGlass", "Write", "stack")
    yield _ours("GetPropagation", "Read", optional=("stack",))
    yield _ours("GetDrift", "Read", "stack")
    yield _ours("GetCheckpoint", "Read")
    yield _ours("ListAuditEntries", "List")
    yield _ours("ListSessions", "List")
    yield _ours("RevokeSession", "Write")
    yield _sts("AssumeRole", "Write", *_TAGS, "sts:RoleSessionName", "sts:TransitiveTagKeys", kind="role")
    yield _sts("AssumeRoleWithWebIdentity", "Write", *_TAGS, "sts:RoleSessionName", kind="role")
    yield _sts("GetCallerIdentity", "Read")
    yield _sts("TagSession", "Tagging", *_TAGS, "sts:TransitiveTagKeys", kind="role")


ACTIONS = MappingProxyType({action.full: action for action in _all()})
"""By full name, `appmesh:DescribeMesh`."""

SERVICES = ("appmesh", "meshwright", "sts")

_ELSEWHERE = (
    "AssumeRoleWithSAML AssumeRoot DecodeAuthorizationMessage GetAccessKeyInfo GetDelegatedAccessToken "
    "GetFederationToken GetServiceBearerToken GetSessionToken GetWebIdentityToken SetContext SetSourceIdentity "
    "TagGetWebIdentityToken"
)
ELSEWHERE = frozenset(f"sts:{name}" for name in _ELSEWHERE.split())
"""Actions of STS that AWS has and nothing here serves: policies written for AWS may name them."""


def changes(action: str) -> bool:
    """Whether the action of that full name changes something here; to become a role changes nothing yet."""
    found = ACTIONS.get(action)
    return found is None or (found.level in {"Write", "Tagging"} and found.service != "sts")


def named(text: str) -> Action | None:
    """The action of that full name, whose case does not matter."""
    found = ACTIONS.get(text)
    if found is None:
        found = next((one for name, one in ACTIONS.items() if name.lower() == text.lower()), None)
    return found
