"""Authorisation by properties: whatever the policies say, nobody changes what is not theirs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.errors import AccessDeniedError
from meshwright.model.identity import Key, Kind
from meshwright.model.specs import MeshSpec, TagRef, VirtualNodeSpec, VirtualRouterSpec
from meshwright.model.state import Metadata, Resource, State
from meshwright.operations import OPERATIONS, Request, Stamp, Verb, operation
from meshwright.trust.authorization import Authority
from meshwright.trust.explaining import Supposed, explain
from meshwright.trust.principals import Principal
from meshwright.trust.settings import Environment, Role, Share, Trust, User
from meshwright.trust.settling import settle
from settings import examples

if TYPE_CHECKING:
    from collections.abc import Mapping

HOME = "000000000000"
STAMP = Stamp(at=1, uid="u", account=HOME, home=HOME)
ALLOW_ALL = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
STACKS = ("", "cart", "pay")
NAMES = ("cart-a", "cart-b", "pay-a", "pay-b", "free")
OWNS = (
    "virtualNode/cart-*",
    "virtualNode/pay-*",
    "virtualNode/cart-a",
    "virtualNode/*",
    "mesh",
    "**",
    "virtualRouter/*",
)


def resource(key: Key, stack: str = "", tags: Mapping[str, str] | None = None) -> Resource:
    """An object as a server keeps it."""
    spec: Any = {Kind.MESH: MeshSpec(), Kind.VIRTUAL_NODE: VirtualNodeSpec()}.get(
        key.kind, VirtualRouterSpec(listeners=())
    )
    metadata = Metadata(uid="u", version=1, created_at=0, last_updated_at=0, mesh_owner=HOME, resource_owner=HOME)
    listed = tuple(TagRef(key=name, value=value) for name, value in (tags or {}).items())
    return Resource(key=key, spec=spec, stack=stack, tags=listed, metadata=metadata)


def authority(roles: dict[str, Role], users: dict[str, User] | None = None) -> Authority:
    """An authority of one environment whose mesh is `m`."""
    trust = Trust(version=1, environments={"e": Environment(mesh="m")}, roles=roles, users=users or {})
    return Authority(settle(trust, "e", account=HOME, region="us-east-1"))


def asked(verb: Verb, key: Key, tags: Mapping[str, str] | None = None) -> Request:
    """A request of the App Mesh API for an object."""
    named = tuple(TagRef(key=name, value=value) for name, value in (tags or {}).items())
    if verb in {Verb.TAG, Verb.UNTAG, Verb.LIST_TAGS}:
        arn = key.arn(region="us-east-1", account=HOME, home=HOME)
        if verb is Verb.UNTAG:
            return Request(operation=OPERATIONS[verb], resource_arn=arn, tag_keys=tuple(tags or ()))
        return Request(operation=OPERATIONS[verb], resource_arn=arn, tags=named if verb is Verb.TAG else ())
    request = Request(operation=operation(verb, key.kind), mesh=key.mesh, name=key.name, parent=key.parent)
    return msgspec.structs.replace(request, tags=named) if verb is Verb.CREATE else request


def may(decides: Authority, who: Principal, request: Request, state: State) -> bool:
    """Whether a request is let through."""
    with contextlib.suppress(AccessDeniedError):
        decides.permit(who, request, state, STAMP)
        return True
    return False


keys = st.builds(
    lambda kind, name: Key.of_mesh("m") if kind is Kind.MESH else Key("m", kind, name),
    st.sampled_from((Kind.VIRTUAL_NODE, Kind.VIRTUAL_ROUTER, Kind.MESH)),
    st.sampled_from(NAMES),
)
statements = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(("Allow", "Allow", "Allow", "Deny")),
        "Action": st.sampled_from(
            ("*", "appmesh:*", "appmesh:Update*", "appmesh:Create*", "appmesh:TagResource", "appmesh:*VirtualNode")
        ),
        "Resource": st.sampled_from(
            ("*", "arn:aws:appmesh:*:*:mesh/m/virtualNode/cart*", "arn:aws:appmesh:*:*:mesh/m")
        ),
    },
    optional={
        "Condition": st.sampled_from(
            (
                {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}},
                {"StringEquals": {"aws:RequestTag/team": "cart"}},
                {"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}},
                {"Null": {"aws:ResourceTag/team": "true"}},
            )
        )
    },
)
policies = st.lists(statements, min_size=1, max_size=3).map(
    lambda found: {"Version": "2012-10-17", "Statement": found}
)
patterns = st.lists(st.sampled_from(OWNS), max_size=3, unique=True).map(tuple)
tag_sets = st.dictionaries(st.just("team"), st.sampled_from(("cart", "pay")), max_size=1)
roles = st.builds(
    Role,
    stack=st.sampled_from(("cart", "pay", "*")),
    owns=patterns,
    may_extend=st.sampled_from(((), ("mesh",))),
    may_change=st.lists(st.sampled_from(("virtualNode/free", "virtualNode/pay-*", "mesh")), max_size=1).map(tuple),
    permissions=st.lists(policies, min_size=1, max_size=2).map(tuple),
    tags=tag_sets,
)
objects = st.builds(resource, keys, st.sampled_from(STACKS), tag_sets)
states = st.lists(objects, max_size=6).map(State)


@settings(max_examples=examples(50))
@given(role=roles, state=states, key=keys, verb=st.sampled_from(list(Verb)), tags=tag_sets)
def test_a_role_changes_only_what_it_owns_or_was_granted(
    role: Role, state: State, key: Key, verb: Verb, tags: dict[str, str]
) -> None:
    """Whatever the policies: what is written is one's own, or nobody's under one's names, or granted."""
    if verb is Verb.LIST:
        return
    decides = authority({"r": msgspec.structs.replace(role, permissions=(*role.permissions, ALLOW_ALL))})
    who = decides.session("r", "s")
    if not may(decides, who, asked(verb, key, tags), state) or verb in {Verb.DESCRIBE, Verb.LIST_TAGS}:
        return
    holds = decides.holding(who)

    def own(one: Key) -> bool:
        there = state.get(one)
        stack = there.stack if there else ""
        acts = bool(stack) and role.stack in {stack, "*"} and bool(holds.owns)
        return acts or (not stack and any(each.matches(one) for each in holds.owns))

    if verb is Verb.CREATE:
        assert any(one.matches(key) for one in holds.owns)
        assert key.owner is None or holds.may_extend or own(key.owner)
    else:
        assert own(key) or any(one.matches(key) for one in holds.may_change)


@settings(max_examples=examples(50))
@given(role=roles, state=states, name=st.sampled_from(NAMES))
def test_nobody_squats_on_another_s_names(role: Role, state: State, name: str) -> None:
    """A name that no pattern of `owns` matches is never created, whatever the policies, in a release or by itself."""
    kept = tuple(one for one in role.owns if one in {"virtualNode/cart-*", "virtualNode/cart-a", "mesh"})
    decides = authority({"r": msgspec.structs.replace(role, owns=kept, permissions=(ALLOW_ALL,))})
    who, key = decides.session("r", "s"), Key("m", Kind.VIRTUAL_NODE, name)
    free = state.drop(key)
    if name.startswith("cart-"):
        return
    assert not may(decides, who, asked(Verb.CREATE, key), free)
    with pytest.raises(AccessDeniedError):
        decides.permit_release(who, free, free.put(resource(key, "cart")), (), stack="cart", mesh="m", at=1)


def test_a_release_takes_nothing_from_another_stack_by_leaving_it_as_it_is() -> None:
    """A name that two stacks may claim is whose has it, although only the stack would change."""
    decides = authority({"r": Role(stack="cart", owns=("virtualNode/cart-*", "mesh"), permissions=(ALLOW_ALL,))})
    mesh, key = Key.of_mesh("m"), Key("m", Kind.VIRTUAL_NODE, "cart-a")
    for theirs in (mesh, key):
        before = State((resource(mesh, "cart" if theirs is key else "pay"), resource(key, "pay")))
        with pytest.raises(AccessDeniedError, match="belongs to stack 'pay'"):
            decides.permit_release(
                decides.session("r", "s"),
                before,
                before.put(resource(theirs, "cart")),
                (),
                stack="cart",
                mesh="m",
                at=1,
            )


def changed(before: State, after: State) -> list[tuple[Verb, Key, dict[str, str]]]:
    """The single requests that a change from one state to another amounts to."""
    found: list[tuple[Verb, Key, dict[str, str]]] = []
    for key in sorted({one.key for one in (*before, *after)}):
        was, will = before.get(key), after.get(key)
        if was is None and will is not None:
            found.append((Verb.CREATE, key, {tag.key: tag.value for tag in will.tags}))
        elif will is None:
            found.append((Verb.DELETE, key, {}))
        elif was is not None and was != will:
            old, new = ({tag.key: tag.value for tag in one.tags} for one in (was, will))
            added = {name: value for name, value in new.items() if old.get(name) != value}
            if was.stack != will.stack or old == new:
                found.append((Verb.UPDATE, key, {}))
            if added:
                found.append((Verb.TAG, key, added))
            if set(old) - set(new):
                found.append((Verb.UNTAG, key, dict.fromkeys(set(old) - set(new), "")))
    return found


@settings(max_examples=examples(50))
@given(
    role=roles, before=states, wanted=st.lists(st.tuples(keys, tag_sets), max_size=3), gone=st.lists(keys, max_size=2)
)
def test_a_release_is_let_through_exactly_when_each_of_its_changes_is(
    role: Role, before: State, wanted: list[tuple[Key, dict[str, str]]], gone: list[Key]
) -> None:
    """Object by object, on the state before; what is claimed must be owned by name besides."""
    decides = authority({"r": msgspec.structs.replace(role, stack="cart")})
    who = decides.session("r", "s")
    after = before.drop(*gone).put(*(resource(key, "cart", tags) for key, tags in wanted))
    after = State(one for one in after if one.key.kind is Kind.MESH or Key.of_mesh("m") in after or one.key in before)
    claimed = [one.key for one in after if (was := before.get(one.key)) is not None and was.stack != one.stack]
    holds = decides.holding(who)
    fresh_parent = Key.of_mesh("m") not in before and Key.of_mesh("m") in after
    single = before.put(after[Key.of_mesh("m")]) if fresh_parent else before
    singly = (
        holds.may_release("cart", "m").allowed
        and all(
            may(decides, who, asked(verb, key, tags), before if key.kind is Kind.MESH else single)
            for verb, key, tags in changed(before, after)
        )
        and all(holds.may_claim(key).allowed for key in claimed)
    )
    try:
        decides.permit_release(who, before, after, (), stack="cart", mesh="m", at=1)
        whole = True
    except AccessDeniedError:
        whole = False
    assert whole == singly


@settings(max_examples=examples(50))
@given(role=roles, state=states, key=keys, verb=st.sampled_from(list(Verb)), tags=tag_sets)
def test_explain_says_what_permit_does(role: Role, state: State, key: Key, verb: Verb, tags: dict[str, str]) -> None:
    """The same answer, from the same state."""
    if verb is Verb.LIST:
        return
    decides = authority({"r": role})
    who, request = decides.session("r", "s"), asked(verb, key, tags)
    told = explain(
        decides,
        who,
        f"appmesh:{request.operation.name}",
        key.arn(region="us-east-1", account=HOME, home=HOME),
        supposed=Supposed(tags=tags),
        state=state,
        at=STAMP.at,
    )
    assert told.allowed == may(decides, who, request, state), told


def test_a_session_policy_takes_away_and_never_gives() -> None:
    """What the session's own policy does not allow is refused, in AWS's words; what the role does not, as well."""
    reads = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "appmesh:Describe*", "Resource": "*"},
    }
    decides = authority(
        {"r": Role(stack="cart", owns=("**",), permissions=(ALLOW_ALL,)), "weak": Role(permissions=(reads,))}
    )
    who = msgspec.structs.replace(decides.session("r", "s"), policies=(msgspec.json.encode(reads).decode(),))
    key = Key("m", Kind.VIRTUAL_NODE, "a")
    state = State((resource(key, "cart"),))
    assert may(decides, who, asked(Verb.DESCRIBE, key), state)
    with pytest.raises(
        AccessDeniedError, match="because no session policy allows the appmesh:UpdateVirtualNode action"
    ):
        decides.permit(who, asked(Verb.UPDATE, key), state, STAMP)
    weak = msgspec.structs.replace(decides.session("weak", "s"), policies=(msgspec.json.encode(ALLOW_ALL).decode(),))
    assert not may(decides, weak, asked(Verb.UPDATE, key), state)


def test_an_explicit_deny_is_told_as_one() -> None:
    """In AWS's words."""
    deny = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "appmesh:Delete*", "Resource": "*"}}
    decides = authority({"r": Role(stack="cart", owns=("**",), permissions=(ALLOW_ALL, deny))})
    key = Key("m", Kind.VIRTUAL_NODE, "a")
    with pytest.raises(AccessDeniedError) as caught:
        decides.permit(decides.session("r", "s"), asked(Verb.DELETE, key), State((resource(key, "cart"),)), STAMP)
    assert str(caught.value) == (
        f"User: arn:aws:sts::{HOME}:assumed-role/r/s is not authorized to perform: appmesh:DeleteVirtualNode "
        f"on resource: arn:aws:appmesh:us-east-1:{HOME}:mesh/m/virtualNode/a with an explicit deny "
        "in an identity-based policy"
    )


def test_names_of_another_account_are_others() -> None:
    """A user of the administrator's name elsewhere, and a role's session of another account, have no rights here."""
    decides = authority({"r": Role(stack="cart", owns=("**",), permissions=(ALLOW_ALL,))})
    key = Key("m", Kind.VIRTUAL_NODE, "a")
    state = State((resource(key, "cart"),))
    for who in (
        Principal(account="111111111111", kind="user", name="administrator"),
        Principal(account=HOME, kind="role", name="administrator", session="s"),
        msgspec.structs.replace(decides.session("r", "s"), account="111111111111"),
        Principal(account=HOME, kind="user", name="r"),
    ):
        assert not may(decides, who, asked(Verb.UPDATE, key), state)
    assert may(decides, decides.user("administrator"), asked(Verb.UPDATE, key), state)
    assert may(decides, decides.session("r", "s"), asked(Verb.UPDATE, key), state)


def test_our_own_endpoints_answer_the_account_that_owns_or_shares_the_mesh() -> None:
    """Everybody else learns nothing of it, whatever the policies of that account say."""
    everything = User(account="222222222222", permissions=(ALLOW_ALL,))
    decides = authority({}, {"guest": everything, "host": User(permissions=(ALLOW_ALL,))})
    arn = f"arn:aws:meshwright:us-east-1:{HOME}:mesh/m"
    decides.permit_action(decides.user("host"), "meshwright:GetMesh", arn, at=1)
    for resource_ in (arn, "*"):
        with pytest.raises(AccessDeniedError, match="another account"):
            decides.permit_action(decides.user("guest"), "meshwright:GetMesh", resource_, at=1)
    share = Share(mesh="m", accounts=("222222222222",))
    sharing = Authority(msgspec.structs.replace(decides.settled, shares=(share,)))
    sharing.permit_action(sharing.user("guest"), "meshwright:GetMesh", arn, at=1)
    with pytest.raises(AccessDeniedError, match="another account"):
        sharing.permit_action(sharing.user("guest"), "meshwright:GetMesh", f"{arn}2", at=1)


def test_many_refusals_are_told_in_bounds() -> None:
    """A release of a thousand foreign objects is refused with some of them named and the rest counted."""
    decides = authority({"r": Role(stack="cart", owns=("virtualNode/cart-*",), permissions=(ALLOW_ALL,))})
    after = State(resource(Key("m", Kind.VIRTUAL_NODE, f"x{number}"), "cart") for number in range(1000))
    with pytest.raises(AccessDeniedError) as caught:
        decides.permit_release(decides.session("r", "s"), State(), after, (), stack="cart", mesh="m", at=1)
    assert "refused for 1000 reasons" in str(caught.value)
    assert "and 950 more" in str(caught.value)
