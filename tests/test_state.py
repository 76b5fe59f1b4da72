"""A state is a value: what is made from it leaves it as it was, and answers like a plain dictionary would."""

from __future__ import annotations

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.model import Key, Kind, Resource, State
from meshwright.model.specs import MeshSpec, VirtualRouterSpec
from settings import examples
from stored import node

_KINDS = (Kind.MESH, Kind.VIRTUAL_NODE, Kind.ROUTE, Kind.GATEWAY_ROUTE)


@st.composite
def _keys(draw: st.DrawFn) -> Key:
    mesh, kind, name = draw(st.sampled_from("ab")), draw(st.sampled_from(_KINDS)), draw(st.sampled_from("uvwxyz"))
    if kind is Kind.MESH:
        return Key.of_mesh(mesh)
    return Key(mesh, kind, name, draw(st.sampled_from("pq")) if kind.parent else "")


_STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(_keys(), st.integers(0, 3)), max_size=12), st.lists(_keys(), max_size=4), st.booleans()
    ),
    max_size=30,
)


def _object(key: Key, version: int) -> Resource:
    return Resource(key=key, spec=MeshSpec(), stack=str(version))


def _assert_is(state: State, expected: dict[Key, Resource]) -> None:
    """Every question has the answer that the dictionary gives."""
    in_order = [expected[key] for key in sorted(expected)]
    assert list(state) == in_order
    assert len(state) == len(expected)
    assert state == State(expected.values())
    assert hash(state) == hash(State(expected.values()))
    assert state.meshes == tuple(sorted({key.mesh for key in expected}))
    for kind in _KINDS:
        for mesh in (None, "a", "b", "none"):
            for parent in (None, "", "p", "q"):
                found = tuple(
                    one
                    for one in in_order
                    if one.key.kind is kind and mesh in {None, one.key.mesh} and parent in {None, one.key.parent}
                )
                assert state.of(kind, mesh, parent) == found
                assert state.count(kind, mesh, parent) == len(found)


@settings(max_examples=examples(40))
@given(steps=_STEPS)
def test_any_history_answers_like_a_dictionary_and_leaves_every_moment_as_it_was(
    steps: list[tuple[list[tuple[Key, int]], list[Key], bool]],
) -> None:
    """Whether it was asked for its order and its collections on the way or not."""
    state, plain = State(), dict[Key, Resource]()
    moments = [(state, dict(plain))]
    for puts, drops, looked_at in steps:
        before = (state, dict(plain))
        objects = [_object(key, version) for key, version in puts]
        state = state.put(*objects).drop(*drops)
        plain.update({one.key: one for one in objects})
        for key in drops:
            plain.pop(key, None)
        if looked_at:
            _assert_is(state, plain)
        changed = {key for key in {*before[1], *plain} if before[1].get(key) != plain.get(key)}
        assert state.differing(before[0]) == before[0].differing(state) == tuple(sorted(changed))
        assert (state == before[0]) == (not changed)
        moments.append((state, dict(plain)))
    for found, expected in moments:
        _assert_is(found, expected)
        for key in {key for _, one in moments for key in one}:
            assert found.get(key) == expected.get(key)
            assert (key in found) == (key in expected)


def test_a_history_of_thousands_keeps_its_order_and_its_numbers() -> None:
    """Long enough for everything that is put off to be caught up with many times."""
    state, plain = State(), dict[str, int]()
    for step in range(3000):
        name = f"n{step * 7919 % 1000}"
        if step % 5 == 4:
            state = state.drop(node(name).key)
            plain.pop(name, None)
        else:
            state = state.put(node(name, step))
            plain[name] = step
        if step % 500 == 250:
            found = state.of(Kind.VIRTUAL_NODE, "shop")
            assert [(one.key.name, one) for one in found] == [
                (name, node(name, plain[name])) for name in sorted(plain)
            ]
            assert list(state) == list(found)
        assert state.count(Kind.VIRTUAL_NODE, "shop") == len(state) == len(plain)


def test_children_are_told_apart_by_what_they_lie_in() -> None:
    """Two routers may have routes of one name."""
    routes = [
        Resource(key=Key("m", Kind.ROUTE, "all", parent), spec=VirtualRouterSpec()) for parent in ("one", "two")
    ]
    state = State(routes)
    assert state.of(Kind.ROUTE, "m") == tuple(routes)
    assert state.of(Kind.ROUTE, "m", "two") == (routes[1],)
    after = state.drop(routes[1].key)
    assert after.count(Kind.ROUTE, "m", "two") == 0
    assert state.count(Kind.ROUTE, "m", "two") == 1


def test_threads_that_ask_one_state_at_once_get_the_same_answers() -> None:
    """Its order and its collections are made when first asked for, by whoever comes first."""
    state = State(node(f"n{number}") for number in range(500))
    assert len(list(state)) == 500
    state = state.put(*(node(f"m{number}") for number in range(20)))
    gate = threading.Barrier(8)
    found: list[tuple[list[Resource], tuple[Resource, ...]]] = []

    def ask() -> None:
        gate.wait()
        found.append((list(state), state.of(Kind.VIRTUAL_NODE, "shop")))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert all(one == found[0] for one in found)
    assert len(found[0][1]) == 520
