"""One key, many renderings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.model import Key, Kind, parse_key, qualified, split_mesh

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


HOME, OTHER, THIRD = "000000000000", "111111111111", "222222222222"


@given(KEYS, st.sampled_from((HOME, OTHER, THIRD)), st.sampled_from((HOME, OTHER, THIRD)))
def test_an_arn_tells_whose_mesh_and_whose_object_it_is(key: Key, mesh_owner: str, resource_owner: str) -> None:
    """The mesh's segment carries its owner exactly when the object is another account's; all are read back."""
    key = key.within(qualified(key.mesh, mesh_owner, HOME))
    arn = key.arn(region="us-east-1", account=resource_owner, home=HOME)
    assert arn.startswith(f"arn:aws:appmesh:us-east-1:{resource_owner}:mesh/")
    assert ("@" in arn) == (mesh_owner != resource_owner)
    assert parse_key(arn, HOME) == key
    assert parse_key(key.path, HOME) == key


def test_meshes_of_two_accounts_with_one_name_are_two() -> None:
    """The home account's goes by its bare name, whether or not the owner is written."""
    assert qualified("shop", HOME, HOME) == qualified("shop", "", HOME) == "shop"
    assert split_mesh("shop") == ("shop", "")
    assert split_mesh(qualified("shop", OTHER, HOME)) == ("shop", OTHER)
    assert parse_key(f"mesh/shop@{HOME}/virtualNode/n", HOME) == Key("shop", Kind.VIRTUAL_NODE, "n")
    assert parse_key(f"mesh/shop@{OTHER}", HOME) == Key.of_mesh(f"shop@{OTHER}")
    assert parse_key(f"arn:aws:appmesh:us-east-1:{OTHER}:mesh/shop", HOME) == Key.of_mesh(f"shop@{OTHER}")
    assert parse_key(f"arn:aws:appmesh:us-east-1:{OTHER}:mesh/shop") == Key.of_mesh("shop")


@pytest.mark.parametrize("mesh", ["@", "m@", "m@x", f"@{HOME}", f"m@{HOME}1", f"m@{HOME}@{HOME}"])
def test_a_mesh_s_owner_is_twelve_digits(mesh: str) -> None:
    """Anything else after an @ names nothing."""
    with pytest.raises(ValueError, match="names no App Mesh resource"):
        parse_key(f"mesh/{mesh}/virtualNode/n", HOME)
