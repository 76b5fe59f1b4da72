"""One key, many renderings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.model import Key, Kind, parse_key

NAMES = st.text(alphabet="abcXYZ019-_.", min_size=1, max_size=20)
KEYS = st.one_of(
    st.builds(Key.of_mesh, NAMES),
    st.builds(Key, NAMES, st.sampled_from([kind for kind in Kind if kind.parent is None and kind != "mesh"]), NAMES),
    st.builds(Key, NAMES, st.sampled_from([Kind.ROUTE, Kind.GATEWAY_ROUTE]), NAMES, NAMES),
)


@given(KEYS)
def test_a_key_is_read_back_from_its_path_and_from_its_arn(key: Key) -> None:
    """`parse_key` undoes both renderings."""
    assert parse_key(key.path) == key
    assert parse_key(key.arn(region="eu-west-1", account="123456789012")) == key


def test_a_route_lies_in_its_router_and_a_router_in_its_mesh() -> None:
    """Owners, up to the mesh, which has none."""
    route = Key("m", Kind.ROUTE, "all", "cart")
    assert route.owner == Key("m", Kind.VIRTUAL_ROUTER, "cart")
    assert Key("m", Kind.VIRTUAL_ROUTER, "cart").owner == Key.of_mesh("m")
    assert Key.of_mesh("m").owner is None


@pytest.mark.parametrize(
    "text", ["", "mesh", "mesh/", "mesh/m/route/r", "mesh/m/mesh/m", "arn:aws:s3:::x", "mesh/m/virtualNode/"]
)
def test_what_names_no_resource_is_refused_with_the_text(text: str) -> None:
    """Not guessed at."""
    with pytest.raises(ValueError, match=r"names no App Mesh resource|is not the ARN"):
        parse_key(text)
