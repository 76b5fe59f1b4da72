"""Files of tests: what is understood becomes trials, and what is not is refused with its line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from meshwright.cli import cli
from meshwright.documents import trial_files
from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.errors import UnreadableError, UsageError
from meshwright.simulate import Call
from meshwright.trials.trial import Bounds, Encryption, FaultKind, Given, Reported
from settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.model import State
    from meshwright.trials.trial import Suite

SHOP = ROOT / "examples" / "shop"
WHOLE = """\
instances: {catalog: 3}
tests:
  - name: all of it
    from: orders
    request:
      method: POST
      url: http2://payment.shop.internal:8080/quote?a=b
      headers: {x-user: gold}
      onward: [ledger.shop.internal]
    given:
      - {latency: 1.5s, jitter: 200ms, at: payment-v1, instances: 1 of 2, when: {x-user: gold}}
      - {abort: 503, at: payment-v2}
      - {abort: NOT_FOUND, at: payment-v2}
      - {bandwidth: 10KB/s, at: payment-v2}
      - {control_plane: gone}
      - {crash: true, at: entrance}
      - {unhealthy: true, at: payment-v1, instances: 1 of 2}
    expect:
      status: [200, 204]
      grpc_status: OK
      served_by: payment-v1
      not_served_by: [payment-v2]
      shares: {payment-v1: 90%, payment-v2: 10%}
      confidence: 99%
      path: [orders, payment-v1, ledger]
      attempts: {at_least: 1, at_most: 2}
      given_up: {at_least: 450ms, at_most: 1s}
      within: 2s
      headers: {Content-Type: application/json, x-secret: null}
      arrived: {":path": /quote}
      tls: none
      peer: orders.shop.internal
      errors: 1
      spans:
        - orders
        - {at: ledger, kind: server, attributes: {service.name: ledger, x: null}, times: 0}
      avoided: true
      of: 50
      at_once: 5
      steady: true
"""


@pytest.fixture(scope="module")
def shop() -> State:
    """The shop's definitions."""
    project = load_project(SHOP / "meshwright.yaml")
    return load(project.definitions, project.load_settings()).state


def read(folder: Path, state: State, text: str, name: str = "some.yaml") -> Suite:
    """The tests in a text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return trial_files.load([path], state)


def test_every_member_of_a_test_is_understood(tmp_path: Path, shop: State) -> None:
    """With its units, defaults and place."""
    suite = read(tmp_path, shop, WHOLE)
    (one,) = suite.trials
    assert one.call == Call(
        protocol="http2",
        host="payment.shop.internal",
        port=8080,
        method="POST",
        path="/quote?a=b",
        headers=(("x-user", "gold"),),
    )
    assert one.given == (
        Given(
            kind=FaultKind.LATENCY,
            at="payment-v1",
            instances=1,
            of=2,
            latency=1_500,
            jitter=200,
            headers={"x-user": "gold"},
        ),
        Given(kind=FaultKind.ABORT, at="payment-v2", status=503),
        Given(kind=FaultKind.ABORT, at="payment-v2", grpc_status=5),
        Given(kind=FaultKind.BANDWIDTH, at="payment-v2", bandwidth=10_000),
        Given(kind=FaultKind.CONTROL_PLANE),
        Given(kind=FaultKind.CRASH, at="entrance"),
        Given(kind=FaultKind.UNHEALTHY, at="payment-v1", instances=1, of=2),
    )
    expect = one.expect
    assert (expect.statuses, expect.grpc_statuses, expect.served_by) == ((200, 204), (0,), ("payment-v1",))
    assert (expect.shares, expect.confidence) == ({"payment-v1": 0.9, "payment-v2": 0.1}, 0.99)
    assert (expect.attempts, expect.given_up) == (Bounds(least=1, most=2), Bounds(least=450, most=1_000))
    assert (expect.within, expect.encryption, expect.errors) == (2_000, Encryption.NONE, 1)
    assert expect.headers == {"content-type": "application/json", "x-secret": None}
    assert expect.spans == (
        Reported(proxy="orders"),
        Reported(
            proxy="ledger", kind="server", attributes={"service.name": "ledger", "x": None}, times=Bounds(most=0)
        ),
    )
    assert (expect.avoided, one.gentle) == (True, False)
    assert (one.of, one.at_once, one.steady) == (50, 5, True)
    assert (one.onward, one.alone) == (("ledger.shop.internal",), True)
    assert str(one.source) == f"{tmp_path / 'some.yaml'}:3"
    assert suite.needed == {"catalog": 3, "payment-v1": 2}


def one_test(**members: str) -> str:
    """A file of one test that is well but for `members`."""
    fields = {
        "name": "one",
        "from": "orders",
        "request": "{url: 'http://payment.shop.internal:8080/'}",
        "expect": "{status: 200}",
    } | members
    return "- " + "\n  ".join(f"{name}: {value}" for name, value in fields.items()) + "\n"


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (
            {"from": "order"},
            "2: tests[0].from: the definitions have no VirtualNode or VirtualGateway 'order'; did you",
        ),
        ({"request": "{url: 'ftp://x'}"}, "3: tests[0].request.url: 'ftp://x' is no URL such as"),
        ({"request": "{url: 'http://a:1/', methud: GET}"}, "3: tests[0].request.methud: unknown field 'methud'; did"),
        ({"request": "{url: 'http://a:1/x y'}"}, "3: tests[0].request.url: the path '/x y' holds what no URL can"),
        ({"request": "{url: 'http://ä:1/'}"}, "3: tests[0].request.url: the host 'ä' is not ASCII"),
        (
            {"request": "{url: 'http2://a:1/', method: CONNECT}"},
            "3: tests[0].request.method: CONNECT asks for a tunnel",
        ),
        ({"expect": "{}"}, "4: tests[0].expect: says nothing of what is to come of it"),
        ({"expect": "{of: 5, confidence: 99%}"}, "4: tests[0].expect: says nothing of what is to come of it"),
        (
            {"request": "{url: 'tcp://ledger.shop.internal:7000'}", "expect": "{spans: [orders]}"},
            "4: tests[0].expect.spans: a call over TCP leaves none; leave them out",
        ),
        ({"expect": "{status: ok}"}, "4: tests[0].expect.status: expected a whole number, found a string 'ok'"),
        ({"expect": "{grpc_status: UNAVAIL}"}, "did you mean 'UNAVAILABLE'?"),
        ({"expect": "{within: 2}"}, "expected a string, found a number 2; write a duration such as 1500ms"),
        ({"expect": "{shares: {payment-v1: 90%, payment-v2: 20%}}"}, "come to 110% in all"),
        ({"expect": "{served_by: payment-v3}"}, "no VirtualNode or VirtualGateway 'payment-v3'; did you mean"),
        ({"expect": "{status: 200, steady: true}"}, "is about a time with a fault; say which under 'given'"),
        ({"expect": "{status: 200, avoided: true}"}, "expect.avoided: is about a time with a fault"),
        ({"expect": "{spans: [nobody]}"}, "tests[0].expect.spans: the definitions have no VirtualNode or"),
        ({"expect": "{spans: [{at: nobody}]}"}, "tests[0].expect.spans: the definitions have no VirtualNode or"),
        ({"expect": "{spans: [{at: cart, kind: both}]}"}, "expect.spans[0].kind: 'both' is not"),
        ({"expect": "{spans: [{at: cart, attribute: {}}]}"}, "unknown field 'attribute'; did you mean 'attributes'"),
        ({"given": "[{at: payment-v1}]"}, "takes exactly one of reset, refused,"),
        ({"given": "[{reset: true, crash: true, at: payment-v1}]"}, "found reset and crash"),
        ({"given": "[{reset: true}]"}, "says not where; add 'at'"),
        ({"given": "[{lost: true, at: entrance}]"}, "no VirtualNode 'entrance'"),
        ({"given": "[{lost: true, at: cart, jitter: 1s}]"}, "goes with 'latency' only"),
        ({"given": "[{lost: true, at: cart, instances: 3 of 2}]"}, "3 of 2 are more than there are"),
        ({"given": "[{lost: true, at: cart, when: {a: b}}]"}, "a fault 'lost' befalls everybody"),
        ({"given": "[{reset: true, at: cart, when: {a: b}}]"}, "carries no header a: b, so the fault would never"),
        ({"given": "[{control_plane: gone, at: cart}]"}, "there is one control plane"),
        ({"given": "[{expired_certificate: true, at: cart, instances: 1 of 2}]"}, "befalls all of them"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(
    tmp_path: Path, shop: State, members: dict[str, str], told: str
) -> None:
    """Unknown members and names with what was probably meant; faults that nobody could feel."""
    with pytest.raises(UsageError) as caught:
        read(tmp_path, shop, one_test(**members))
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'some.yaml'}:")


@pytest.mark.parametrize(
    ("scheme", "headers", "told"),
    [
        ("http", r'{x: "a\r\nb: c"}', ".x: 'a\\r\\nb: c' cannot be sent: a header holds no line breaks"),
        ("http2", r'{x: "a\x01"}', ".x: 'a\\x01' cannot be sent: a header holds no line breaks"),
        ("http", "{x y: a}", ".x y: 'x y' is no name of a header, which is made of letters, digits and"),
        ("http2", "{':path': /a}", ".:path: ':path' is no header to write"),
        ("http", "{content-length: '5'}", ".content-length: '5' would promise a body"),
        ("http", "{transfer-encoding: gzip}", ".transfer-encoding: 'gzip' cannot be sent"),
        ("http", "{host: a, Host: b}", ".Host: says the Host once more, after 'host'"),
        ("http", "{host: a b}", ".host: 'a b' is no Host"),
        ("http2", "{host: ''}", ".host: an empty Host breaks connections off in HTTP/2"),
        (
            "http2",
            "{Connection: close}",
            ".Connection: 'Connection' is of HTTP/1.1 alone; leave it out, or call with",
        ),
        ("http2", "{te: gzip}", ".te: 'gzip' cannot be sent: over http2 it is always 'trailers'"),
        ("grpc", "{x: Grüße}", ".x: 'Grüße' cannot be sent: metadata of gRPC is printable ASCII"),
        ("grpc", "{x-bin: YQ==}", ".x-bin: 'YQ==' cannot be sent: gRPC writes binary metadata as base64 without pad"),
        (
            "grpc",
            "{x-bin: gr\u00fcn}",
            ".x-bin: 'gr\u00fcn' cannot be sent: gRPC writes binary metadata as base64 without",
        ),
        ("grpc", "{grpc-timeout: 1S}", ".grpc-timeout: gRPC's own library decides about 'grpc-timeout'"),
        ("grpc", "{x!: a}", ".x!: 'x!' is no name of a header, which is made of letters, digits, '-'"),
        ("grpc", "{content-type: text/plain}", ".content-type: 'text/plain' cannot be sent: over grpc it is always"),
        ("grpc", "{user-agent: me}", ".user-agent: gRPC's own library says who it is"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_with_their_line(
    tmp_path: Path, shop: State, scheme: str, headers: str, told: str
) -> None:
    """By each protocol's own rules, before anything runs, and with what to write instead."""
    request = f"\n    url: {scheme}://payment.shop.internal:8080/a/b\n    headers:\n      {headers}"
    with pytest.raises(UsageError) as caught:
        read(tmp_path, shop, one_test(request=request))
    assert str(caught.value).startswith(f"{tmp_path / 'some.yaml'}:6: tests[0].request.headers{told}")


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        ("http", "{X-User: Grüße, connection: close, content-length: '0', host: a, te: gzip, x: ' a '}"),
        ("http2", "{X-User: Grüße, ':authority': a, te: trailers}"),
        ("grpc", "{X-User: gold, content-type: application/grpc, te: trailers, x-key-bin: AAEC}"),
        ("tcp", "{x y: Grüße}"),
    ],
)
def test_headers_that_can_be_sent_are_taken(tmp_path: Path, shop: State, scheme: str, headers: str) -> None:
    """Upper case, blanks around values, and other than ASCII where the protocol lets it be."""
    request = f"{{url: '{scheme}://payment.shop.internal:8080/a/b', headers: {headers}}}"
    assert len(read(tmp_path, shop, one_test(request=request)).trials) == 1


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path, shop: State) -> None:
    """Names that two tests share among them."""
    (tmp_path / "a.yaml").write_text(one_test() + one_test(**{"from": "nobody"}), encoding="utf-8")
    (tmp_path / "b.yml").write_text(one_test(), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no tests", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        trial_files.load([tmp_path], shop)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0].rpartition("/")[2] for line in lines] == ["a.yaml:6", "b.yml:1"]
    assert f"stands at {tmp_path / 'a.yaml'}:1 already" in lines[1]


def test_files_that_are_no_yaml_or_not_there_are_told(tmp_path: Path, shop: State) -> None:
    """A text alone is no test either; several documents are one list."""
    with pytest.raises(UnreadableError, match=r"some\.yaml:2"):
        read(tmp_path, shop, "a: [\n")
    with pytest.raises(UsageError, match="found 'hello'"):
        read(tmp_path, shop, "hello\n")
    with pytest.raises(UsageError, match="There are no tests at"):
        trial_files.load([tmp_path / "nowhere"], shop)
    both = read(tmp_path, shop, f"{one_test()}---\n{one_test(name='two')}")
    assert [one.name for one in both.trials] == ["one", "two"]


def test_the_schema_for_editors_is_that_of_the_program(update_goldens: bool) -> None:
    """`docs/tests.schema.json`; strict as the program is, and the shop's files name it where it is."""
    path = ROOT / "docs" / "tests.schema.json"
    done = CliRunner().invoke(cli, ["test", "--schema"])
    assert done.exit_code == 0
    if update_goldens:
        path.write_text(done.stdout, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == done.stdout, "run `make goldens`"
    schema = json.loads(done.stdout)
    assert schema["$defs"]["Given"]["properties"]["crash"]["description"].startswith("The instance is gone")
    assert schema["$defs"]["Expect"]["additionalProperties"] is False
    assert schema["$defs"]["Test"]["required"] == ["name", "from", "request", "expect"]
    for file in (SHOP / "tests").glob("*.yaml"):
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        assert (file.parent / first.removeprefix("# yaml-language-server: $schema=")).resolve() == path


def test_a_project_s_tests_go_with_its_own_definitions(tmp_path: Path) -> None:
    """Not with others that are named on the command line."""
    project = load_project(SHOP / "meshwright.yaml")
    assert project.tests_of(()) == project.tests_of((SHOP,)) == (SHOP / "tests",)
    assert project.tests_of((SHOP / "definitions",)) == (SHOP / "tests",)
    assert project.tests_of((SHOP / "definitions" / "web.yaml",)) == ()
    assert project.tests_of((tmp_path,)) == ()
