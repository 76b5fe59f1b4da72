"""`meshwright route` as a user runs it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from meshwright.cli import cli
from meshwright.errors import MeshwrightError
from settings import CASES, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

SHOP = ROOT / "examples" / "shop"
EXTENDED = "definitions ../extensions/definitions --parameter FaultExpiresAt=2999-01-01T00:00:00Z"
GOLDENS = {
    # What is asked, and the exit code.
    "through-the-gateway": ("--from entrance http://shop.example:8080/orders/5?x=1", 0),
    "a-near-miss": ("--from orders POST http://payment.shop.internal:8080/quote", 0),
    "testers": ("--from orders -H X-Payment-Version:v2 http://payment.shop.internal:8080/", 0),
    "grpc": ("--from web grpc://catalog.shop.internal:8080/shop.Catalog/Get", 0),
    "tcp": ("--from payment-v1 tcp://ledger.shop.internal:7000", 0),
    "no-backend": ("--from web http://payment.shop.internal:8080/", 1),
    "nobody-on-the-port": ("--from web tcp://ledger.shop.internal:9000", 1),
    "no-listener": ("--from entrance http://shop.example/", 1),
    "extended": (f"{EXTENDED} --from orders http://payment.shop.internal:8080/", 0),
    "tls": ("../../tests/cases/route/tls.yaml --http2 --from caller HEAD http://pay.local/%7Ea", 0),
    "aws": ("--from web https://s3.us-east-1.amazonaws.com/bucket", 0),
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[int, str]]:
    """Runs `route` in the shop's folder; the exit code and what it prints on standard output, and there alone."""
    monkeypatch.chdir(SHOP)

    def called(line: str) -> tuple[int, str]:
        code = cli.main(["route", *shlex.split(line)], standalone_mode=False)
        found = capsys.readouterr()
        assert found.err == ""
        return code, found.out

    return called


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", GOLDENS)
def test_what_is_said_of_a_call_is_as_written_down(
    name: str, form: str, run: Callable[[str], tuple[int, str]], update_goldens: bool
) -> None:
    """Text for people and JSON for programs, alone on standard output, with the exit code of what was found."""
    line, code = GOLDENS[name]
    found, text = run(f"{line} --format {form}")
    assert found == code
    path = CASES / "route" / f"{name}.{'txt' if form == 'text' else 'json'}"
    if update_goldens:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_json_says_where_every_condition_that_failed_is_written(run: Callable[[str], tuple[int, str]]) -> None:
    """With the object's file and the line of the field."""
    found = json.loads(run("--from orders http://payment.shop.internal:8080/ --format json")[1])
    assert (found["version"], found["ending"]["outcome"]) == (1, "routed")
    missed = next(one for one in found["hops"][0]["candidates"] if not one["matched"])
    line = missed["misses"][0]["source"]["line"]
    written = (SHOP / "definitions" / "payment.yaml").read_text(encoding="utf-8").splitlines()
    assert "x-payment-version" in written[line - 1]


@pytest.mark.parametrize(
    ("method", "outcome"), [("PURGE", "routed"), ("M-SEARCH", "refused"), ("CONNECT", "refused"), ("", "routed")]
)
def test_any_method_can_be_asked_for(method: str, outcome: str, run: Callable[[str], tuple[int, str]]) -> None:
    """Also one that no route can name; what proxies take none of in HTTP/1.1 they refuse."""
    _, text = run(f"definitions {method} --from web http://catalog.shop.internal:8080/ --format json --http2")
    assert json.loads(text)["call"]["method"] == (method or "GET")
    _, text = run(f"definitions {method} --from orders http://payment.shop.internal:8080/ --format json")
    assert json.loads(text)["ending"]["outcome"] == outcome


def test_an_empty_host_is_nobodys_and_breaks_off_http2(run: Callable[[str], tuple[int, str]]) -> None:
    """As proxies have it: 404 over HTTP/1.1, no answer over HTTP/2."""
    line = "--from orders -H host: http://payment.shop.internal:8080/ --format json"
    endings = [json.loads(run(f"{line} {more}")[1])["ending"] for more in ("", "--http2")]
    assert [(one["outcome"], one["status"]) for one in endings] == [("no-host", 404), ("refused", None)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--from oders http://orders.shop.internal:8080/", "Did you mean 'orders'?"),
        ("--from web orders.shop.internal:8080/", "is no URL such as http://payment.shop.local:8080/quote"),
        ("--from web grpc://catalog.shop.internal:8080/Get", "names no gRPC method: grpc://HOST:PORT/SERVICE/METHOD"),
        ("--from web tcp://ledger.shop.internal", "must say a host and a port"),
        ("--from web http://catalog.shop.internal:99999/", "port 99999 is not one of 1 to 65535"),
        ("--from web -H gold http://catalog.shop.internal:8080/", "--header 'gold' is not NAME:VALUE"),
        ("--from web nowhere.yaml http://catalog.shop.internal:8080/", "nowhere.yaml"),
    ],
)
def test_what_cannot_be_asked_is_said_and_ends_with_2(
    line: str, said: str, run: Callable[[str], tuple[int, str]]
) -> None:
    """The words that are wrong are quoted."""
    with pytest.raises(MeshwrightError, match=re.escape(said)) as found:
        run(line)
    assert found.value.exit_code == 2


def test_a_process_of_its_own_leaves_with_the_exit_code() -> None:
    """1 for a call that does not get through, and nothing on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "meshwright.cli", "route", "--from", "web", "http://payment.shop.internal:8080/"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=SHOP,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("no-host 404: ")
