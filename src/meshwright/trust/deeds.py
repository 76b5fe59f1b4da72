"""What a request or a release is about to do, object by object: the questions that authorisation answers; pure.

The one rule: every deed is of the state that the commit follows: whose the object is and which tags it has are read
from there, never from the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import msgspec

from meshwright.graph import callers, extended
from meshwright.model.extensions import FaultSpec
from meshwright.model.identity import Key, split_mesh
from meshwright.model.state import Resource, State
from meshwright.operations import Verb, accounts, operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.model.specs import TagRef
    from meshwright.model.state import Extension
    from meshwright.operations import Request, Stamp

Rule: TypeAlias = Literal["read", "create", "alter", "claim", "release"]
"""Which rule of ownership holds beside the policies; `read` for none."""

_RULES: Mapping[Verb, Rule] = MappingProxyType(
    {Verb.CREATE: "create", Verb.UPDATE: "alter", Verb.DELETE: "alter", Verb.TAG: "alter", Verb.UNTAG: "alter"}
)


Reached: TypeAlias = tuple[Key, str]
"""An object that an extension does something to, and the stack that it belongs to, "" for none."""


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """One action on one object."""

    action: str
    """`appmesh:CreateRoute`."""
    key: Key | None
    """None for what concerns no one object: listing meshes."""
    rule: Rule
    owner: str = ""
    """The account of the object; "" for the caller's, who creates it."""
    stack: str = ""
    """Whose the object is; "" for nobody's. For the rule `release` the stack that is released."""
    mesh: str = ""
    """For the rule `release` the mesh in which."""
    parent_stack: str = ""
    """Whose the mesh, router or gateway is in which something is created."""
    reaches: tuple[tuple[Reached, ...], ...] = ()
    """Of an extension that is put: what it does something to, any one of several ways to see it."""
    resource_tags: Mapping[str, str] = MappingProxyType({})
    request_tags: Mapping[str, str] = MappingProxyType({})
    tag_keys: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the object, and of those that it does something to."""
        own = (self.key,) if self.key is not None else ()
        return tuple(key.path for key in (*own, *(key for way in self.reaches for key, _ in way)))


def of_request(request: Request, state: State, stamp: Stamp) -> tuple[Deed, ...]:
    """The deeds of one call of the App Mesh API.

    Raises:
        BadRequestException: the resource that tags are about is no ARN.
        NotFoundException: it is one of another region or partition.
    """
    one, key = request.operation, accounts.key_of(request, stamp)
    action, tags = one.action, _values(request.tags)
    if one.verb is Verb.LIST:
        # Listing is asked of what the listed lie in; meshes lie in nothing.
        return (on(action, key.owner, "read", _seen(state, key, stamp), stamp.home),)
    seen = _seen(state, key, stamp)
    deed = on(action, key, rule_of(one.verb), seen, stamp.home)
    if not key.kind.portable and request.spec is not None:
        return (_putting(deed, Resource(key=key, spec=request.spec, tags=request.tags), seen),)
    if tags or request.tag_keys:
        deed = msgspec.structs.replace(deed, request_tags=tags, tag_keys=(*tags, *request.tag_keys))
    return (deed, _tagging(deed)) if tags and one.verb is Verb.CREATE else (deed,)


def _seen(state: State, key: Key, stamp: Stamp) -> State:
    """What the caller may know of: nothing in a mesh that is not shared with its account."""
    return state if accounts.sees(key, stamp) else State()


def of_release(before: State, after: State, touched: Iterable[Key], home: str) -> tuple[Deed, ...]:
    """The deeds of a release: on every object that differs between the states, and on those of `touched` besides.

    What is touched and comes out as it was counts as updated: a route that is deleted and made again on the way, an
    object of another stack that the definitions name.
    """
    keys = {key for key in touched if key in before or key in after}
    keys |= {one.key for one in after if before.get(one.key) != one}
    keys |= {one.key for one in before if one.key not in after}
    return tuple(deed for key in sorted(keys) for deed in _released(before, after, key, home))


def rule_of(verb: Verb) -> Rule:
    """The rule of ownership that an operation falls under."""
    return _RULES.get(verb, "read")


def on(action: str, key: Key | None, rule: Rule, state: State, home: str) -> Deed:
    """`action` on `key` as `state` has it."""
    resource = state.get(key) if key is not None else None
    parent = state.get(key.owner) if key is not None and key.owner is not None else None
    return Deed(
        action=action,
        key=key,
        rule=rule,
        owner=_owner(resource, key, rule, home),
        stack=resource.stack if resource else "",
        parent_stack=parent.stack if parent else "",
        resource_tags=_values(resource.tags) if resource and rule != "create" else MappingProxyType({}),
    )


def _owner(resource: Resource | None, key: Key | None, rule: Rule, home: str) -> str:
    if rule == "create":
        return ""
    if resource is not None and resource.metadata is not None:
        return resource.metadata.resource_owner
    return (split_mesh(key.mesh)[1] if key else "") or home


def _putting(deed: Deed, extension: Resource, *states: State) -> Deed:
    """An extension that is put, spec and tags in one action; whose its target is, the first of `states` says."""
    spec, mesh, tags = cast("Extension", extension.spec), extension.key.mesh, _values(extension.tags)

    def reached(key: Key) -> Reached:
        found = next((state[key] for state in states if key in state), None)
        return key, found.stack if found is not None else ""

    ways: list[tuple[Reached, ...]] = [(reached(extended(mesh, spec)[0]),)]
    if isinstance(spec, FaultSpec) and spec.callers:
        # What is done to the requests of some callers only is done in their proxies.
        ways.append(tuple(reached(key) for name in spec.callers for key in callers(mesh, name, states[-1])))
    return msgspec.structs.replace(deed, reaches=tuple(ways), request_tags=tags, tag_keys=tuple(tags))


def _tagging(deed: Deed) -> Deed:
    """Tags given on creation are an action of their own, as with every AWS service that tags on creation."""
    return msgspec.structs.replace(deed, action="appmesh:TagResource")


def _released(before: State, after: State, key: Key, home: str) -> Iterator[Deed]:
    """What happens to one object, all of it judged by what the object was before."""
    was, will = before.get(key), after.get(key)
    verb = Verb.CREATE if was is None else Verb.DELETE if will is None else Verb.UPDATE
    deed = on(operation(verb, key.kind).action, key, rule_of(verb), before, home)
    if was is None and will is not None:
        parent = before.get(key.owner) or after.get(key.owner) if key.owner else None
        tags = _values(will.tags)
        deed = msgspec.structs.replace(
            deed, parent_stack=parent.stack if parent else "", request_tags=tags, tag_keys=tuple(tags)
        )
        if not key.kind.portable:
            yield _putting(deed, will, before, after)
            return
        yield from (deed, _tagging(deed)) if tags else (deed,)
    elif was is not None and will is not None and not key.kind.portable:
        yield _putting(deed, will, before, after)
        if was.stack != will.stack:
            yield msgspec.structs.replace(deed, rule="claim")
    elif was is not None and will is not None:
        yield from _altered(deed, was, will)
    else:
        yield deed


def _altered(deed: Deed, was: Resource, will: Resource) -> Iterator[Deed]:
    """Spec, stack and tags each by an action of its own; to take it from another stack is to alter it."""
    old, new = _values(was.tags), _values(will.tags)
    taken = bool(was.stack) and was.stack != will.stack
    if was.spec != will.spec or taken or (old == new and was.stack == will.stack):
        yield deed
    if was.stack != will.stack:
        yield msgspec.structs.replace(deed, rule="claim")
    added = {name: value for name, value in new.items() if old.get(name) != value}
    if added:
        yield msgspec.structs.replace(deed, action="appmesh:TagResource", request_tags=added, tag_keys=tuple(added))
    gone = tuple(name for name in old if name not in new)
    if gone:
        yield msgspec.structs.replace(deed, action="appmesh:UntagResource", tag_keys=gone)


def _values(tags: Iterable[TagRef]) -> dict[str, str]:
    return {tag.key: tag.value for tag in tags}
