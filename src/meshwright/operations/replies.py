"""From objects to what the API says of them: whole objects, and the short form in lists.

The one rule: a reply echoes the spec as it was sent; `healthCheck.port` is the only value filled in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.model.state import Metadata, Resource
from meshwright.operations.accounts import arn_of, mesh_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from meshwright.model.scalars import StatusCode
    from meshwright.operations.requests import Stamp


Said: TypeAlias = dict[str, Any] | msgspec.Raw
"""A JSON object, or its bytes."""


def reply(resource: Resource, stamp: Stamp, status: StatusCode = "ACTIVE") -> dict[str, Any]:
    """The object as create, describe, update and delete answer with it, wire names."""
    return {
        **_names(resource),
        "metadata": {**_about(resource, stamp), "uid": metadata(resource, stamp).uid},
        "spec": wire_spec(resource),
        "status": {"status": status},
    }


class Memory:
    """The caller's memory of what it said, in JSON, for one home account, region and partition.

    What has not changed is not put into words again. An object that changes is another object, and so is the tuple of
    what lies in a mesh: what was said holds as long as it is asked of the very same one. An object that was read from
    a file has no words of its own.
    """

    def __init__(self, most: int = 64 << 20) -> None:
        """`most` is the number of bytes after which all are forgotten."""
        self._most = most
        self._held = 0
        self._said: dict[Hashable, tuple[object, msgspec.Raw]] = {}

    def summary(self, resource: Resource, stamp: Stamp) -> msgspec.Raw:
        """As `summary`, in JSON."""
        if resource.metadata is None:
            return _json(_summary(resource, stamp))
        return self.recall(("summary", resource.key), resource, lambda: _summary(resource, stamp))

    def reply(self, resource: Resource, stamp: Stamp) -> msgspec.Raw:
        """As `reply`, in JSON."""
        if resource.metadata is None:
            return _json(reply(resource, stamp))
        return self.recall(("reply", resource.key), resource, lambda: reply(resource, stamp))

    def recall(self, what: Hashable, of: object, say: Callable[[], object]) -> msgspec.Raw:
        """What was said under the name `what`, if it was of this very `of`; else what `say` says now."""
        known = self._said.get(what)
        if known is not None and known[0] is of:
            return known[1]
        said = _json(say())
        self._held += _ENTRY + len(bytes(said)) - (_ENTRY + len(bytes(known[1])) if known is not None else 0)
        if self._held > self._most:
            self._said.clear()
            self._held = _ENTRY + len(bytes(said))
        self._said[what] = of, said
        return said


_ENTRY = 500
"""What remembering something costs besides its bytes, roughly."""


def _json(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def summary(resource: Resource, stamp: Stamp, memory: Memory | None = None) -> Said:
    """The object as a list names it, wire names; with a `memory`, ready to be sent."""
    return memory.summary(resource, stamp) if memory is not None else _summary(resource, stamp)


def wire_spec(resource: Resource) -> dict[str, Any]:
    """The spec with wire names, the port of each listener's health check filled in."""
    spec: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(resource.spec))
    if isinstance(resource.spec, VirtualNodeSpec | VirtualGatewaySpec):
        for listener in spec.get("listeners", ()):
            if "healthCheck" in listener:
                listener["healthCheck"].setdefault("port", listener["portMapping"]["port"])
    return spec


def metadata(resource: Resource, stamp: Stamp) -> Metadata:
    """The object's metadata; one read from a file gets what its mesh's owner would give it by a create at `stamp`."""
    owner = mesh_owner(resource.key, stamp)
    return resource.metadata or Metadata(
        uid=stamp.uid,
        version=1,
        created_at=stamp.at,
        last_updated_at=stamp.at,
        mesh_owner=owner,
        resource_owner=owner,
    )


def _summary(resource: Resource, stamp: Stamp) -> dict[str, Any]:
    return {**_names(resource), **_about(resource, stamp)}


def _names(resource: Resource) -> dict[str, str]:
    key = resource.key
    names = {"meshName": key.mesh_name}
    if key.kind.parent:
        names[key.kind.parent.name_field] = key.parent
    if key.kind is not Kind.MESH:
        names[key.kind.name_field] = key.name
    return names


def _about(resource: Resource, stamp: Stamp) -> dict[str, Any]:
    about = metadata(resource, stamp)
    return {
        "arn": arn_of(resource.key, stamp, about.resource_owner),
        "createdAt": about.created_at / 1000,
        "lastUpdatedAt": about.last_updated_at / 1000,
        "meshOwner": about.mesh_owner,
        "resourceOwner": about.resource_owner,
        "version": about.version,
    }
