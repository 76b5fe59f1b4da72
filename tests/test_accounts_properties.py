"""Whatever accounts ask of one server, in whatever order and however shares come and go."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.errors import ApiError
from meshwright.model.identity import PORTABLE_KINDS, Key, Kind, split_mesh
from meshwright.model.state import Resource, State
from meshwright.operations import (
    OPERATIONS,
    UNLIMITED,
    Sharing,
    Stamp,
    arn_of,
    changes,
    decode_request,
    operation,
    perform,
)
from meshwright.operations.table import Verb
from said import said
from settings import examples

Wire = dict[str, Any]
HOME, ONE, TWO = "000000000000", "111111111111", "222222222222"
ACCOUNTS = st.sampled_from((HOME, ONE, TWO))
MESHES = st.sampled_from(("m", "n"))
NAMES = st.sampled_from(("a", "b"))
SHARES = st.frozensets(
    st.tuples(ACCOUNTS, MESHES, ACCOUNTS).filter(lambda share: share[0] != share[2]), min_size=2, max_size=12
)
PORT = {"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]}
SPECS: dict[Kind, Wire] = {
    Kind.MESH: {},
    Kind.VIRTUAL_NODE: {},
    Kind.VIRTUAL_ROUTER: PORT,
    Kind.VIRTUAL_SERVICE: {"provider": {"virtualNode": {"virtualNodeName": "a"}}},
    Kind.ROUTE: {
        "httpRoute": {
            "match": {"prefix": "/"},
            "action": {"weightedTargets": [{"virtualNode": "a", "weight": 1}]},
        }
    },
    Kind.VIRTUAL_GATEWAY: PORT,
    Kind.GATEWAY_ROUTE: {
        "httpRoute": {
            "match": {"prefix": "/"},
            "action": {"target": {"virtualService": {"virtualServiceName": "a"}}},
        }
    },
}
VERBS = st.sampled_from((Verb.CREATE, Verb.CREATE, Verb.CREATE, Verb.UPDATE, Verb.DELETE, Verb.DESCRIBE, Verb.LIST))


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, str], Wire]:
    """An operation, its members in path and query, and its body."""
    kind = draw(st.sampled_from(PORTABLE_KINDS))
    verb = draw(VERBS)
    row = operation(verb, kind)
    members = {"meshName": draw(MESHES)}
    owner = draw(st.one_of(st.none(), ACCOUNTS))
    if owner is not None:
        members["meshOwner"] = owner
    if kind.parent:
        members[kind.parent.name_field] = draw(NAMES)
    body: Wire = {"spec": SPECS[kind]} if verb in {Verb.CREATE, Verb.UPDATE} else {}
    name = members["meshName"] if kind is Kind.MESH else draw(NAMES)
    if verb is Verb.CREATE:
        body[kind.name_field] = name
    elif verb is not Verb.LIST:
        members[kind.name_field] = name
    if kind is Kind.MESH and verb is Verb.CREATE:
        del members["meshName"]
    return row.name, members, body


@st.composite
def tag_calls(draw: st.DrawFn) -> tuple[str, dict[str, str], Wire]:
    """One of the three operations on tags, by an ARN that may be anybody's."""
    mesh = draw(MESHES)
    owner, creator = draw(ACCOUNTS), draw(ACCOUNTS)
    key = Key(mesh if owner == HOME else f"{mesh}@{owner}", Kind.VIRTUAL_NODE, draw(NAMES))
    arn = arn_of(key, Stamp(at=0, uid="", home=HOME), creator)
    bodies: dict[Verb, Wire] = {
        Verb.TAG: {"tags": [{"key": "k", "value": "v"}]},
        Verb.UNTAG: {"tagKeys": ["k"]},
        Verb.LIST_TAGS: {},
    }
    verb = draw(st.sampled_from(sorted(bodies)))
    return verb.value, {"resourceArn": arn}, bodies[verb]


STEPS = st.lists(st.tuples(ACCOUNTS, st.one_of(calls(), calls(), calls(), tag_calls())), min_size=10, max_size=30)
STARTS: list[tuple[str, str, Wire]] = [
    *((account, "CreateMesh", {"meshName": mesh}) for account in (HOME, ONE, TWO) for mesh in ("m", "n")),
]


def answered(
    state: State, shared: Sharing, account: str, call: tuple[str, dict[str, str], Wire], at: int
) -> tuple[State, Any]:
    """The state afterwards, and the body or the refusal."""
    name, members, body = call
    stamp = Stamp(at=at, uid=f"uid-{at}", account=account, home=HOME, shared=shared)
    try:
        request = decode_request(OPERATIONS[name], members, members, body or None)
        after, response = perform(state, request, stamp, UNLIMITED)
    except ApiError as error:
        return state, (error.code, str(error))
    return after, said(response)


def started() -> State:
    """Two meshes of each of three accounts."""
    state = State()
    for number, (account, name, body) in enumerate(STARTS):
        state, _ = answered(state, frozenset(), account, (name, {}, body), number)
    return state


def mesh_owner(key: Key) -> str:
    """The account whose mesh it is."""
    return split_mesh(key.mesh)[1] or HOME


def visible(resource: Resource, account: str, shared: Sharing) -> bool:
    """Written once more, and otherwise: whether `account` may see it."""
    owner = mesh_owner(resource.key)
    return owner == account or (owner, resource.key.mesh.partition("@")[0], account) in shared


@settings(max_examples=examples(25))
@given(STEPS, SHARES)
def test_nobody_changes_what_is_not_his(steps: list[Any], shared: Sharing) -> None:
    """An account creates in its own name, and changes and deletes its own; a mesh's owner deletes anything in it."""
    state = started()
    for number, (account, call) in enumerate(steps, len(STARTS)):
        before = state
        state, _ = answered(before, shared, account, call, number)
        puts, deletes = changes(before, state)
        for one in puts:
            assert one.metadata is not None
            assert one.metadata.resource_owner == account
            assert one.metadata.mesh_owner == mesh_owner(one.key)
            assert visible(one, account, shared)
            if one.key.kind in {Kind.MESH, Kind.VIRTUAL_GATEWAY, Kind.GATEWAY_ROUTE}:
                assert mesh_owner(one.key) == account
        for key in deletes:
            gone = before[key].metadata
            assert gone is not None
            assert account in {gone.resource_owner, gone.mesh_owner}
            assert visible(before[key], account, shared)


@settings(max_examples=examples(25))
@given(STEPS, SHARES)
def test_what_one_does_not_see_makes_no_difference(steps: list[Any], shared: Sharing) -> None:
    """Every answer is the same as if the meshes that are not shared with the caller were not there at all."""
    state = started()
    for number, (account, call) in enumerate(steps, len(STARTS)):
        seen = State(one for one in state if visible(one, account, shared))
        state, answer = answered(state, shared, account, call, number)
        assert answered(seen, shared, account, call, number)[1] == answer


@settings(max_examples=examples(20))
@given(STEPS, SHARES)
def test_it_makes_no_difference_which_account_is_the_server_s(steps: list[Any], shared: Sharing) -> None:
    """Answers are the same, word for word, whichever account's meshes have bare names in keys."""
    states = {home: State() for home in (HOME, ONE)}
    first: list[Any] = [(account, (name, {}, body)) for account, name, body in STARTS]
    for number, (account, (name, members, body)) in enumerate([*first, *steps]):
        answers: list[Wire] = []
        for home, state in states.items():
            stamp = Stamp(at=number, uid=f"uid-{number}", account=account, home=home, shared=shared)
            try:
                request = decode_request(OPERATIONS[name], members, members, body or None)
                states[home], response = perform(state, request, stamp, UNLIMITED)
                answers.append(said(response))
            except ApiError as error:
                answers.append({"code": error.code, "message": str(error)})
        for answer in answers:
            # The server's own come first among meshes of one name.
            answer.get("meshes", []).sort(key=lambda one: str(one["arn"]))
        assert answers[0] == answers[1]
