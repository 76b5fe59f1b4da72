"""The JSON of our own endpoints: what is written is read back, whatever users call their tags and fields."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.model import Key, Kind
from meshwright.release import ApplyRequest, Build, Item
from meshwright.views.wire import from_wire, to_wire
from settings import examples

NAMES = st.sampled_from(["object", "key", "mesh", "kind", "name", "parent", "spec", "tags"]) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.integers(-5, 5) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
ITEMS = st.builds(
    Item,
    key=st.builds(Key, st.just("m"), st.just(Kind.VIRTUAL_NODE), st.text("abc", min_size=1, max_size=3)),
    spec=st.dictionaries(NAMES, JSON, max_size=3),
    tags=st.dictionaries(NAMES, NAMES, max_size=4),
)


@settings(max_examples=examples(60))
@given(st.lists(ITEMS, max_size=3))
def test_a_request_is_read_back_as_it_was_whatever_its_tags_and_members_are_called(items: list[Item]) -> None:
    """Types decide what is an object's path, so no name that a user may choose is taken for one."""
    request = ApplyRequest(resources=tuple(items), build=Build(ci="travis"))
    sent = msgspec.json.decode(msgspec.json.encode(to_wire(request)))
    assert from_wire(ApplyRequest, sent) == request


def test_an_object_is_written_as_its_path() -> None:
    """Under `object`, beside members that keep their names."""
    item = Item(key=Key("m", Kind.ROUTE, "all", "r"), spec={"key": 1}, tags={"object": "cart"})
    assert to_wire(item) == {
        "object": "mesh/m/virtualRouter/r/route/all",
        "spec": {"key": 1},
        "tags": {"object": "cart"},
    }


def test_a_path_that_names_no_object_is_refused() -> None:
    """With the path in the message."""
    with pytest.raises(ValueError, match="'cart' names no App Mesh resource"):
        from_wire(Item, {"object": "cart", "spec": {}})
