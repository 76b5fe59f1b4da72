"""`trust explain`: whether a principal may do something, and the statement, pattern and line that say so; pure.

The one rule: nothing is decided here. The very judgement that a server would make is made, and told.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.diagnostics import Source
from meshwright.errors import UsageError, did_you_mean
from meshwright.model.identity import EXTENSION_KINDS, Key, parse_key
from meshwright.model.specs import MeshSpec, TagRef
from meshwright.model.state import Resource, State
from meshwright.operations import OPERATIONS, Operation, Verb, operation
from meshwright.trust.actions import ACTIONS
from meshwright.trust.deeds import Deed, on, rule_of

if TYPE_CHECKING:
    from meshwright.trust.authorization import Authority, Judgement
    from meshwright.trust.principals import Principal


_ON_EXTENSIONS: Mapping[str, Verb] = MappingProxyType(
    {operation(verb, EXTENSION_KINDS[0]).action: verb for verb in (Verb.CREATE, Verb.DESCRIBE, Verb.DELETE)}
)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One statement or pattern that had a part in it."""

    effect: Literal["Allow", "Deny", "Near", "Owned", "Refused"]
    """`Near` for a statement that would have allowed, had the resource or the conditions been others."""
    told: str
    source: Source | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer and its reasons."""

    version: int = 1
    allowed: bool
    principal: str
    """Its ARN."""
    action: str
    resource: str
    environment: str
    summary: str
    """One sentence."""
    lines: tuple[Line, ...]


class Supposed(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken to be so where no server is asked."""

    stack: str | None = None
    """Whose the object is; None: its own where its name is owned, else nobody's. "" for nobody's."""
    parent_stack: str = ""
    """Whose the mesh, router or gateway around it is."""
    tags: Mapping[str, str] = MappingProxyType({})
    """Of the object; for a create, those that are given."""
    context: Mapping[str, str | tuple[str, ...]] = MappingProxyType({})


def explain(
    authority: Authority,
    principal: Principal,
    action: str,
    arn: str,
    *,
    supposed: Supposed | None = None,
    state: State | None = None,
    at: int = 0,
) -> Explanation:
    """Whether `principal` may do `action` on `arn` at `at`, milliseconds since the epoch, UTC.

    Whose the object is and which tags it has is read from `state`, or else `supposed`.

    Raises:
        UsageError: there is no such action, or the ARN is none.
    """
    supposed = supposed or Supposed()
    action = known_action(action)
    judged = _judged(authority, principal, action, arn, supposed, state, at)
    admin = authority.is_administrator(principal)
    allowed = admin or all(one.allowed for one in judged)
    decisive = next((one for one in judged if not one.allowed), judged[0])
    if admin:
        lines: tuple[Line, ...] = (
            Line(effect="Allow", told="the administrator of the home account may do everything"),
        )
        summary = "Allowed: this is the administrator."
    else:
        lines = tuple(line for one in judged for line in _lines(authority, one))
        summary = _summary(decisive, allowed=allowed)
    return Explanation(
        allowed=allowed,
        principal=principal.arn,
        action=decisive.deed.action,
        resource=decisive.resource,
        environment=authority.settled.environment,
        summary=summary,
        lines=lines,
    )


def known_action(action: str) -> str:
    """The action as it is spelled, whatever the case it was written in.

    Raises:
        UsageError: there is none of that name.
    """
    found = next((one for one in ACTIONS if one.lower() == action.lower()), None)
    if found is None:
        hint = did_you_mean(action, ACTIONS, "Write it as appmesh:DescribeMesh.", sentence=True)
        raise UsageError(f"There is no action {action!r}. {hint}")
    return found


def principal_of(authority: Authority, text: str, tags: Mapping[str, str] | None = None) -> Principal:
    """The principal that `user/NAME`, `role/NAME` or an ARN means; for a role some session of it.

    Raises:
        UsageError: nobody of that name is declared in this environment.
    """
    settled = authority.settled
    kind, _, name = text.rpartition(":")[2].partition("/")
    name, _, session = name.partition("/")
    if kind in {"role", "assumed-role"} and name in settled.roles:
        found = authority.session(name, session or "explain", tags)
    elif kind == "user" and (name in settled.users or name == "administrator"):
        found = authority.user(name)
        found = msgspec.structs.replace(found, tags={**found.tags, **(tags or {})})
    elif kind in {"role", "assumed-role"} and name in settled.elsewhere:
        *others, last = settled.elsewhere[name]
        where = f"{', '.join(others)} and {last}" if others else last
        raise UsageError(f"role/{name} is declared for {where}, not for {settled.environment}.")
    else:
        known = [*(f"role/{one}" for one in settled.roles), *(f"user/{one}" for one in settled.users)]
        where = f" in {settled.environment!r}" if settled.environment else ""
        hint = did_you_mean(text, known, f"Declared are: {', '.join(known) or 'none'}.", sentence=True)
        raise UsageError(f"Nobody called {text!r} is declared{where}. {hint}")
    if text.startswith("arn:") and text not in {found.arn, found.role_arn}:
        raise UsageError(f"{text!r} is of another account; here it is {found.role_arn or found.arn}.")
    return found


def _judged(
    authority: Authority,
    principal: Principal,
    action: str,
    arn: str,
    supposed: Supposed,
    state: State | None,
    at: int,
) -> list[Judgement]:
    named = None if arn == "*" else _key(action, arn, authority)
    if named is None:
        return [authority.judge_action(principal, action, arn, at=at, context=supposed.context)]
    key, asked = named
    wanted = {Verb.LIST: key.kind, Verb.LIST_TAGS: key.kind, Verb.TAG: key.kind, Verb.UNTAG: key.kind}
    if wanted.get(asked.verb, asked.kind) is not key.kind:
        raise UsageError(f"{action} is about a {asked.kind}, and {arn!r} is a {key.kind}.")
    rule = rule_of(asked.verb)
    known = state if state is not None else _imagined(authority, principal, key, supposed)
    deed = on(action, key, rule, known, authority.settled.account)
    if asked.verb in {Verb.CREATE, Verb.TAG, Verb.UNTAG}:
        given = {} if asked.verb is Verb.UNTAG else dict(supposed.tags)
        deed = msgspec.structs.replace(deed, request_tags=given, tag_keys=tuple(supposed.tags))
    found: list[Deed] = [deed]
    if asked.verb is Verb.CREATE and supposed.tags and key.kind.portable:
        found.append(msgspec.structs.replace(deed, action="appmesh:TagResource"))
    return [authority.judge(principal, one, at=at, context=supposed.context) for one in found]


def _key(action: str, arn: str, authority: Authority) -> tuple[Key, Operation] | None:
    """The object that an action is about, and the operation; None for an action about none.

    An extension is put as a new one: what is asked of one that is there already is less.
    """
    service, _, name = action.partition(":")
    verb = _ON_EXTENSIONS.get(action)
    if verb is None and (service != "appmesh" or name not in OPERATIONS):
        return None
    try:
        key = parse_key(arn, authority.settled.account)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    if verb is None:
        return key, OPERATIONS[name]
    if key.kind.portable:
        raise UsageError(
            f"{action} is about an extension (mesh/NAME/meshwright/KIND/NAME), and {arn!r} is a {key.kind}."
        )
    return key, operation(verb, key.kind)


def _imagined(authority: Authority, principal: Principal, key: Key, supposed: Supposed) -> State:
    """A state with the object, and what it lies in, as supposed."""
    holding = authority.holding(principal)
    stack = supposed.stack
    if stack is None:
        stack = holding.claims if holding.may_claim(key).allowed else ""
    # Of an object only its name, its tags and its stack matter here; any spec will do.
    tags = tuple(TagRef(key=name, value=value) for name, value in supposed.tags.items())
    resource = Resource(key=key, spec=MeshSpec(), tags=tags, stack=stack)
    around = key.owner
    if around is None:
        return State((resource,))
    return State((Resource(key=around, spec=MeshSpec(), stack=supposed.parent_stack), resource))


def _lines(authority: Authority, judgement: Judgement) -> list[Line]:
    settled, decision = authority.settled, judgement.decision
    found = []
    for one in decision.statements:
        name = f"statement {one.sid!r}" if one.sid else f"statement {one.index + 1}"
        told = f"{name} of {_policy(one.source)}"
        if one.why:
            told = f"{told} would allow {judgement.deed.action}, but: {one.why}"
        effect: Literal["Allow", "Deny", "Near"] = "Near" if one.why else one.effect
        found.append(Line(effect=effect, told=told, source=settled.place(f"{one.source}.Statement[{one.index}]")))
    verdict = judgement.ownership
    if verdict is not None:
        held: Literal["Owned", "Refused"] = "Owned" if verdict.allowed else "Refused"
        found.append(Line(effect=held, told=verdict.reason, source=settled.place(verdict.place)))
    return found


def _policy(source: str) -> str:
    """A policy as people call it."""
    return f"policy {source.removeprefix('policies.')!r}" if source.startswith("policies.") else source


def _summary(judgement: Judgement, *, allowed: bool) -> str:
    action, verdict = judgement.deed.action, judgement.ownership
    if allowed:
        return f"Allowed: a policy allows {action}{', and it is owned' if verdict is not None else ''}."
    if judgement.decision.reason == "explicit deny":
        return f"Denied: a policy denies {action} in so many words."
    if not judgement.decision.allowed:
        boundary = " of the session" if judgement.decision.boundary else ""
        return f"Denied: no policy{boundary} allows {action} on this resource."
    return f"Denied: a policy allows {action}, and ownership refuses it."
