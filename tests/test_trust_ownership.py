"""Ownership: nobody squats on another's names, and a role changes what it owns or was granted and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.model.identity import Key, Kind
from meshwright.trust.ownership import Holding, holding
from meshwright.trust.patterns import overlap, pattern
from meshwright.trust.settings import Role
from settings import examples

CART = holding(
    "role/cart-deployer",
    Role(
        stack="cart",
        owns=("virtualNode/cart-*", "virtualService/cart.*", "virtualRouter/cart", "virtualRouter/cart/route/*"),
        may_extend=("mesh", "virtualGateway/edge"),
        may_change=("virtualNode/shared",),
    ),
    "shop",
)


def node(name: str, mesh: str = "shop") -> Key:
    """A virtual node's key."""
    return Key(mesh, Kind.VIRTUAL_NODE, name)


@pytest.mark.parametrize(
    ("written", "key", "expected"),
    [
        ("virtualNode/cart-*", node("cart-v1"), True),
        ("virtualNode/cart-*", node("cart-"), True),
        ("virtualNode/cart-*", node("xcart-v1"), False),
        ("virtualNode/cart-*", node("cart-v1", "other"), False),
        ("virtualNode/cart-*", node("cart-a/b"), False),
        ("virtualNode/cart-?", node("cart-1"), True),
        ("virtualNode/cart-?", node("cart-12"), False),
        ("virtualNode/**", node("a/b"), True),
        ("virtualService/cart.shop", Key("shop", Kind.VIRTUAL_SERVICE, "cartxshop"), False),
        ("virtualService/c[ab]rt", Key("shop", Kind.VIRTUAL_SERVICE, "cart"), False),
        ("virtualService/c[ab]rt", Key("shop", Kind.VIRTUAL_SERVICE, "c[ab]rt"), True),
        ("virtualNode/a+(b)", node("a+(b)"), True),
        ("virtualNode/a+(b)", node("aab"), False),
        ("virtualRouter/cart/route/*", Key("shop", Kind.ROUTE, "all", "cart"), True),
        ("virtualRouter/cart/route/*", Key("shop", Kind.ROUTE, "all", "pay"), False),
        ("virtualRouter/*", Key("shop", Kind.ROUTE, "all", "cart"), False),
        ("virtualRouter/cart/route/*", Key("shop", Kind.VIRTUAL_ROUTER, "cart/route/x"), False),
        ("virtualRouter/*", Key("shop", Kind.VIRTUAL_ROUTER, "cart/route/x"), False),
        ("mesh", Key.of_mesh("shop"), True),
        ("mesh", Key.of_mesh("shop2"), False),
        ("mesh/*", Key.of_mesh("anything"), True),
        ("mesh/other/virtualNode/*", node("a", "other"), True),
        ("mesh/*/virtualNode/a", node("a", "third"), True),
        ("**", node("a/b"), True),
        ("**", node("a", "other"), False),
        ("virtualNode/cart\n", node("cart"), False),
        ("virtualNode/*", node("two\nlines"), True),
        ("virtualNode/CART", node("cart"), False),
    ],
)
def test_a_pattern_means_names_and_nothing_else(written: str, key: Key, expected: bool) -> None:
    """Wildcards stay within a name, everything else is literal, and a slash in a name opens no door."""
    assert pattern(written, "shop", "").matches(key) is expected


_PART = st.text("ab*?/", min_size=1, max_size=5)


@settings(max_examples=examples(50))
@given(one=_PART, other=_PART, name=st.text("ab/", max_size=6))
def test_patterns_that_mean_one_name_overlap(one: str, other: str, name: str) -> None:
    """What both match is never called disjoint."""

    def meant(text: str) -> bool:
        wild = {"*": "[^/]*", "?": "[^/]"}
        tokens = re.findall(r"\*\*+|\*|\?|.", text)
        regex = "".join(".*" if part.startswith("**") else wild.get(part, part) for part in tokens)
        return re.fullmatch(regex, name) is not None

    if meant(one) and meant(other):
        assert overlap(one, other)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("mesh/a/virtualNode/cart-*", "mesh/a/virtualNode/*-v1", True),
        ("mesh/a/virtualNode/cart-*", "mesh/a/virtualNode/pay-*", False),
        ("mesh/a/virtualNode/x", "mesh/b/virtualNode/x", False),
        ("mesh/*/virtualNode/x", "mesh/b/**", True),
        ("mesh/a/virtualRouter/r", "mesh/a/virtualRouter/r/route/*", False),
        ("mesh/a/virtualNode/??", "mesh/a/virtualNode/abc", False),
    ],
)
def test_whether_two_patterns_share_a_name(one: str, other: str, expected: bool) -> None:
    """Both ways round alike."""
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


def test_what_a_role_may_create() -> None:
    """A name of its own, in a parent of its own or one that it may extend."""
    assert CART.may_create(node("cart-v1"), "platform").allowed
    refused = CART.may_create(node("pay-v1"), "platform")
    assert not refused.allowed
    assert refused.reason == "nothing that role/cart-deployer owns matches mesh/shop/virtualNode/pay-v1"
    assert not CART.may_create(Key.of_mesh("shop"), "").allowed
    assert CART.may_create(Key("shop", Kind.ROUTE, "all", "cart"), "cart").allowed
    taken = CART.may_create(Key("shop", Kind.ROUTE, "all", "cart"), "pay")
    assert "mesh/shop/virtualRouter/cart: it belongs to stack 'pay'" in taken.reason


def test_what_a_role_may_change() -> None:
    """Its stack's objects, those of nobody under its names, and those that it was granted."""
    assert CART.may_alter(node("anything"), "cart").allowed
    assert CART.may_alter(node("cart-v1"), "").allowed
    assert CART.may_alter(node("shared"), "platform").allowed
    assert not CART.may_alter(node("cart-v1"), "pay").allowed
    assert not CART.may_alter(node("free"), "").allowed
    assert not CART.may_alter(node("anything", "other"), "cart").allowed, "a stack's name means one mesh"
    assert not CART.may_alter(Key.of_mesh("shop"), "platform").allowed, "to extend a mesh is not to change it"


def test_what_a_role_may_extend_it_does_not_have_whole() -> None:
    """Who may create routes in a gateway, or nodes in a mesh, limits or breaks nobody else's requests there."""
    edge, route = Key("shop", Kind.VIRTUAL_GATEWAY, "edge"), Key("shop", Kind.GATEWAY_ROUTE, "cart", "edge")
    mine = holding("role/a", Role(stack="a", owns=("virtualNode/a",), may_extend=("**",)), "shop")
    for whole in (edge, Key.of_mesh("shop")):
        for one in (CART, mine):
            refused = one.may_reach([[(whole, "platform")]])
            assert not refused.allowed
            assert f"of what it is about, {whole}" in refused.reason
    assert mine.may_reach([[(route, "platform")]]).allowed
    assert not mine.may_reach([[(node("pay"), "pay"), (edge, "platform")]]).allowed
    changing = holding(
        "role/b", Role(stack="b", owns=("virtualNode/b",), may_change=("virtualGateway/edge",)), "shop"
    )
    assert changing.may_reach([[(edge, "platform")]]).allowed


def test_who_owns_nothing_changes_nothing() -> None:
    """A stack alone gives nothing, and neither does `*`."""
    for one in (Holding(whose="role/x"), Holding(whose="role/x", stack="*"), Holding(whose="role/x", stack="cart")):
        assert not one.may_alter(node("a"), "cart").allowed
        assert not one.may_alter(node("a"), "").allowed
        assert not one.may_create(node("a"), "").allowed
        assert not one.may_release("cart", "shop").allowed


@pytest.mark.parametrize(
    ("written", "mesh", "reaches"),
    [
        ("virtualNode/a", "shop", True),
        ("virtualNode/a", "other", False),
        ("mesh/**", "other", True),
        ("**", "shop", True),
        ("mesh/team-a-**", "team-a-x", True),
        ("mesh/team-a-**", "team-b-x", False),
        ("mesh/team-a-**/virtualNode/x", "team-b-x", False),
        ("mesh/t?am/**", "team", True),
    ],
)
def test_a_pattern_reaches_no_mesh_that_it_cannot_mean(written: str, mesh: str, reaches: bool) -> None:
    """Two stars go on from what stands before them, and not from anywhere."""
    assert pattern(written, "shop", "").reaches(mesh) is reaches


def test_any_stack_is_any_stack_and_not_any_name() -> None:
    """`stack: "*"` acts for every stack in its meshes; what it creates must be under its names all the same."""
    anyone = holding("role/ops", Role(stack="*", owns=("virtualNode/ops-*",), may_extend=("mesh",)), "shop")
    assert anyone.may_release("cart", "shop").allowed
    assert not anyone.may_release("cart", "other").allowed, "it owns nothing there"
    assert anyone.may_alter(node("cart-v1"), "cart").allowed
    assert not anyone.may_alter(node("cart-v1"), "").allowed
    assert not anyone.may_create(node("cart-v2"), "platform").allowed
    assert anyone.claims == ""
