"""Which trials may go on while a fault that befalls everybody holds: those whose calls stay away from it."""

from __future__ import annotations

import msgspec
import pytest

from meshwright.graph import resolve
from meshwright.model import Key, Kind
from meshwright.simulate import Call
from meshwright.trials.disturbing import disturbs
from meshwright.trials.trial import Expect, FaultKind, Given, Trial
from mutations import node
from shop_load import edited, listener, shop

CHECK = {
    "protocol": "http", "path": "/", "healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 5_000,
    "timeoutMillis": 2_000,
}  # fmt: skip
WAITS = Trial(
    name="waits",
    call=Call(host="payment.shop.internal", port=8080),
    caller=node("orders"),
    expect=Expect(statuses=(200,)),
)
AT_ENTRANCE = msgspec.structs.replace(
    WAITS, caller=Key("shop", Kind.VIRTUAL_GATEWAY, "entrance"), call=Call(host="shop.example", port=8080)
)


def felt(given: Given, other: Trial = WAITS, instance: int = 1, *, checked: bool = False) -> bool:
    """Whether `other`, called by that instance, feels `given` in the shop; with the health of the cart checked."""
    state = edited(shop(), node("cart"), listener(healthCheck=CHECK)) if checked else shop()
    alone = Trial(name="alone", call=WAITS.call, caller=node("web"), expect=WAITS.expect, given=(given,))
    return disturbs(resolve(state), alone, other, instance)


@pytest.mark.parametrize(
    ("at", "instances", "caller", "other", "expected"),
    [
        ("payment-v2", None, 1, WAITS, True),
        ("payment-v2", 1, 2, WAITS, True),
        ("orders", None, 2, WAITS, True),
        ("orders", 1, 1, WAITS, True),
        ("orders", 1, 2, WAITS, False),
        ("inventory", None, 1, WAITS, False),
        ("web", None, 1, AT_ENTRANCE, True),
        ("entrance", None, 1, AT_ENTRANCE, True),
        ("orders", None, 1, AT_ENTRANCE, False),
    ],
)
def test_a_fault_is_felt_by_who_calls_where_it_is(
    at: str, instances: int | None, caller: int, other: Trial, *, expected: bool
) -> None:
    """By its target or on its way, whichever instance; by its caller, only where it is the one that calls."""
    assert felt(Given(kind=FaultKind.CRASH, at=at, instances=instances), other, caller) is expected


def test_a_fault_for_calls_with_a_header_is_felt_by_those_who_carry_it() -> None:
    """And by nobody else, its callers' memory included."""
    late = Given(kind=FaultKind.LATENCY, at="payment-v2", latency=500, headers={"x-user": "gold"})
    gold = msgspec.structs.replace(WAITS, call=msgspec.structs.replace(WAITS.call, headers=(("X-User", "gold"),)))
    assert not felt(late)
    assert felt(late, gold)


def test_callers_that_remember_who_was_not_well_may_be_started_anew() -> None:
    """So a fault of what the window checks is felt by all that the window calls."""
    window = msgspec.structs.replace(
        WAITS, caller=node("web"), call=Call(protocol="http2", host="catalog.shop.internal", port=8080)
    )
    crash = Given(kind=FaultKind.CRASH, at="cart")
    assert not felt(crash, window)
    assert felt(crash, window, checked=True)


def test_who_calls_onward_is_disturbed_by_all_but_nobody_by_a_control_plane_that_is_gone() -> None:
    """Where its calls go in turn is the workloads' affair; proxies hold what they held."""
    onward = msgspec.structs.replace(WAITS, onward=("ledger.shop.internal",))
    assert felt(Given(kind=FaultKind.CRASH, at="cart"), onward)
    assert not felt(Given(kind=FaultKind.CONTROL_PLANE))
