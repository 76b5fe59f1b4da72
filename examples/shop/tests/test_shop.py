"""The shop's tests in Python, for those who prefer it: `pytest` runs them on real Envoys."""

import pytest

from meshwright.testing import Fault, Send

QUOTE = "http://payment.shop.internal:8080/quote"


def test_a_tester_is_served_by_version_2(send: Send) -> None:
    """Whatever the weights say."""
    answer = send("orders", QUOTE, "POST", headers={"x-payment-version": "v2"})
    assert (answer.status, answer.served_by) == (200, "payment-v2")


def test_one_in_ten_quotes_is_version_2s(send: Send) -> None:
    """As the route's weights have it."""
    send("orders", QUOTE, of=1000).expect(status=200, shares={"payment-v1": "90%", "payment-v2": "10%"})


@pytest.mark.mesh(instances={"payment-v1": 2})
def test_checkout_survives_a_slow_payment_instance(send: Send, fault: Fault) -> None:
    """A try is given up after half a second, and the next one goes to the other instance."""
    with fault(latency="5s", at="payment-v1", instances="1 of 2", when={"x-user": "gold"}):
        answers = send("orders", QUOTE, headers={"x-user": "gold"}, of=50)
    answers.expect(status=200, attempts={"at_most": 3}, errors=0)


@pytest.mark.mesh(instances={"payment-v1": 2})
def test_no_customer_sees_an_instance_crash_and_come_back(send: Send, fault: Fault) -> None:
    """Calls are made all the while."""
    with send.steadily("orders", QUOTE) as answers, fault(crash=True, at="payment-v1", instances="1 of 2"):
        send("orders", QUOTE, of=20).expect(status=200)
    answers.expect(status=200)


def test_customers_come_to_the_shop_window(send: Send) -> None:
    """Through the gateway, and its proxy and the node's tell of it."""
    answer = send("entrance", "http://shop.example:8080/home")
    assert answer.status == 200
    assert answer.path == ["entrance", "web"]
    assert {span.proxy for span in answer.spans} == {"entrance", "web"}
    assert answer.tls == "none"


def test_partners_reach_orders_directly_without_the_prefix(send: Send) -> None:
    """The gateway's route takes it away."""
    answer = send("entrance", "http://shop.example:8080/orders/42")
    assert answer.served_by == "orders"
    assert answer.arrived[":path"] == "/42"


def test_an_unavailable_inventory_is_asked_twice_more(send: Send, fault: Fault) -> None:
    """And then the caller is told."""
    url = "grpc://inventory.shop.internal:9000/shop.Inventory/Reserve"
    with fault(abort="UNAVAILABLE", at="inventory", when={"x-user": "bronze"}):
        answer = send("orders", url, headers={"x-user": "bronze"})
    assert (answer.grpc_status, answer.attempts) == ("UNAVAILABLE", 3)
