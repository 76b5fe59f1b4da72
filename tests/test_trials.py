"""`meshwright test` with no test written: what is derived, what real Envoys say, and what a wrong mesh looks like."""

from __future__ import annotations

import json
import random
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import rstr
from msgspec.structs import replace

import junit_shape
from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.graph import resolve
from meshwright.model import Key, Kind
from meshwright.simulate import Call
from meshwright.trials.deriving import PATIENCE, derive
from meshwright.trials.judging import judge
from meshwright.trials.seen import CallSeen, Seen, SpanSeen
from meshwright.trials.shares import interval
from meshwright.trials.trial import Bounds, Expect, Reported, Trial
from settings import ROOT
from strategies import MESH, resource

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree import ElementTree as ET

    from meshwright.model import Resource, State
    from meshwright.trials.deriving import Derived

SHOP = ROOT / "examples" / "shop"
SHARED_OUT = "one in ten quotes is version 2's"


def derived(state: State, patience: int = PATIENCE) -> Derived:
    """What is derived from a state."""
    return derive(resolve(state), rstr.Rstr(random.Random(1)), patience)  # noqa: S311 - nothing here is secret


def routed(match: dict[str, Any]) -> State:
    """A mesh in which `caller` may call one service, whose only route has `match`."""
    node = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}
    found = {"serviceDiscovery": {"dns": {"hostname": "target.nodes"}}}
    backend = {"backends": [{"virtualService": {"virtualServiceName": "target.local"}}]}
    action = {"weightedTargets": [{"virtualNode": "target", "weight": 1}]}
    resources: list[Resource] = [
        resource(Kind.VIRTUAL_NODE, "caller", backend),
        resource(Kind.VIRTUAL_NODE, "target", {**node, **found}),
        resource(Kind.VIRTUAL_ROUTER, "target", node),
        resource(Kind.ROUTE, "only", {"httpRoute": {"match": match, "action": action}}, parent="target"),
        resource(
            Kind.VIRTUAL_SERVICE, "target.local", {"provider": {"virtualRouter": {"virtualRouterName": "target"}}}
        ),
    ]
    return _state(resources)


def _state(resources: list[Resource]) -> State:
    from meshwright.model import State  # noqa: PLC0415 - a value here, a type above

    return State(resources)


def ran(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`meshwright test` in a folder, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "meshwright.cli", "--quiet", "test", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=folder,
    )
    assert "Traceback" not in done.stderr + done.stdout
    return done


@pytest.mark.parametrize(
    ("match", "missed"),
    [
        ({"prefix": "/cart"}, {"spec.httpRoute.match.prefix"}),
        ({"path": {"exact": "/cart"}}, {"spec.httpRoute.match.path.exact"}),
        ({"path": {"regex": "/(red|blue)/[0-9]{3}"}}, {"spec.httpRoute.match.path.regex"}),
        ({"prefix": "/", "method": "POST"}, {"spec.httpRoute.match.method"}),
        (
            {"prefix": "/", "headers": [{"name": "x-user", "match": {"range": {"start": 5, "end": 9}}}]},
            {"spec.httpRoute.match.headers[0]"},
        ),
        (
            {"prefix": "/", "headers": [{"name": "x-user", "invert": True, "match": {"suffix": "-test"}}]},
            {"spec.httpRoute.match.headers[0]"},
        ),
        (
            {"prefix": "/", "queryParameters": [{"name": "colour", "match": {"exact": "red"}}]},
            {"spec.httpRoute.match.queryParameters[0]"},
        ),
    ],
)
def test_each_condition_is_met_and_missed_by_a_little(match: dict[str, Any], missed: set[str]) -> None:
    """Calls that the route takes, and calls that differ in one condition and that nothing takes."""
    found = derived(routed(match))
    assert found.gaps == ()
    about = [one for one in found.trials if one.about[0].name == "only" and not one.given]
    assert {one.expect.served_by for one in about if one.expect.served_by} == {("target",)}
    near = [one for one in about if not one.expect.served_by]
    assert {one.path for one in near} == missed
    assert {one.expect.statuses for one in near} == {(404,)}


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        (
            {"path": {"exact": "/x y"}},
            "no call has such a path when it is compared: blanks and what is not ASCII are sent percent-encoded",
        ),
        (
            {"prefix": "/", "queryParameters": [{"name": "q", "match": {"exact": "x y"}}]},
            "no URL has such a query: proxies compare it as it is sent, and 'x y' would be sent percent-encoded",
        ),
        (
            {"prefix": "/", "headers": [{"name": ":path", "match": {"prefix": "/Grü"}}]},
            "'/Grü' is not ASCII, which paths, methods and Hosts always are",
        ),
        (
            {"prefix": "/", "headers": [{"name": "x-user", "match": {"exact": " a b "}}]},
            "no value is like ' a b ': proxies compare values without the blanks around them",
        ),
        (
            {"prefix": "/", "headers": [{"name": "content-length", "match": {"range": {"start": 1, "end": 9}}}]},
            "'1' would promise a body, and the call has none",
        ),
        ({"prefix": "//a"}, "no call has such a path when it is compared: proxies make '/a' of '//a'"),
        (
            {"path": {"exact": "/x/../y"}},
            "no call has such a path when it is compared: proxies make '/y' of '/x/../y'",
        ),
    ],
)
def test_a_condition_that_no_call_meets_is_told_with_the_reason(match: dict[str, Any], reason: str) -> None:
    """Of that condition, and no other; and what calls of other routes miss of it covers nothing.

    Nor is the backend called that has no other route, where others may know a call that no run can send.
    """
    found = derived(routed(match))
    (gap,) = [one for one in found.gaps if one.route.kind is Kind.ROUTE]
    assert gap.path.startswith("spec.httpRoute.match.")
    assert gap.reason.startswith(reason)
    assert gap.whole
    called = any(one.name == "caller reaches target.local" for one in found.trials)
    told = [one.reason for one in found.gaps if one.route.name == "caller"]
    assert (called, told) == ((False, [gap.reason]) if "promise a body" in reason else (True, []))


def test_a_route_that_nothing_can_reach_is_told_as_a_gap() -> None:
    """With who takes its calls before it."""
    state = routed({"prefix": "/"})
    action = {"weightedTargets": [{"virtualNode": "target", "weight": 1}]}
    hidden = resource(
        Kind.ROUTE,
        "hidden",
        {"httpRoute": {"match": {"prefix": "/a"}, "action": action}, "priority": 9},
        parent="target",
    )
    first = resource(
        Kind.ROUTE,
        "only",
        {"httpRoute": {"match": {"prefix": "/"}, "action": action}, "priority": 1},
        parent="target",
    )
    (gap,) = derived(state.put(hidden, first)).gaps
    assert gap.route == Key(MESH, Kind.ROUTE, "hidden", "target")
    assert "'only'" in gap.reason


@pytest.mark.parametrize(
    ("match", "near"),
    [
        ({"prefix": "/", "headers": [{"name": "x-v", "match": {"exact": "1.0"}}]}, "header x-v: 1x0"),
        ({"prefix": "/", "headers": [{"name": "x-v", "match": {"suffix": ".jpg"}}]}, "header x-v: xxjpg"),
        ({"path": {"exact": "/a.b"}}, "path /axb"),
    ],
)
def test_a_dot_is_told_from_any_character(match: dict[str, Any], near: str) -> None:
    """A regular expression in its place that means the dot and says any would take the call."""
    names = {one.name for one in derived(routed(match)).trials}
    assert f"route only of target.local:8080: {near} goes elsewhere" in names


def test_what_callers_in_a_run_say_besides_decides_no_test() -> None:
    """Each has a `traceparent`, so that a route that asks for one takes all: that is told, and nothing is tried."""
    state = routed({"prefix": "/", "headers": [{"name": "traceparent"}]})
    action = {"weightedTargets": [{"virtualNode": "target", "weight": 1}]}
    spec = {"httpRoute": {"match": {"prefix": "/"}, "action": action}}
    rest = resource(Kind.ROUTE, "rest", spec, parent="target")
    found = derived(state.put(rest))
    assert [one.name for one in found.trials if {key.name for key in one.about} & {"only", "rest"}] == []
    told = {one.route.name: one.reason for one in found.gaps if not one.path}
    assert told.keys() == {"only", "rest"}
    assert all("says 'traceparent' besides" in one for one in told.values())


def test_the_same_definitions_give_the_same_tests() -> None:
    """Names and calls, so that a failure can be run again by its name."""
    state = routed({"path": {"regex": "/[a-z]{4}"}})
    assert derived(state) == derived(state)


def test_shares_outside_the_interval_fail_and_inside_pass() -> None:
    """Counted over all calls, with the bounds in the message."""
    project = load_project(SHOP / "meshwright.yaml")
    state = load(project.definitions, project.load_settings()).state
    (trial,) = [one for one in derived(state).trials if " shares out: " in one.name]
    low, high = interval(trial.of, 0.9, trial.expect.confidence)

    def seen(first: int) -> Seen:
        nodes = ["payment-v1"] * first + ["payment-v2"] * (trial.of - first)
        return Seen(calls=tuple(CallSeen(id="", status=200, elapsed=1, node=node) for node in nodes))

    assert judge(trial, seen(low)).passed
    assert judge(trial, seen(high)).passed
    wrong = judge(trial, seen(480)).mismatches
    assert [one.what for one in wrong] == ["shares.payment-v1", "shares.payment-v2"]
    assert f"{low} to {high}" in wrong[0].expected
    assert wrong[0].happened == f"480 of {trial.of}"


@pytest.mark.parametrize(
    ("wanted", "happened"),
    [
        (Reported(proxy="web"), ""),
        (Reported(proxy="web", kind="client", attributes={"route": "all", "service.name": "w", "no": None}), ""),
        (Reported(proxy="web", kind="client", times=Bounds(least=2, most=2)), ""),
        (Reported(proxy="cart", times=Bounds(most=0)), ""),
        (Reported(proxy="cart"), "spans from web alone"),
        (Reported(proxy="web", times=Bounds(most=2)), "3 from web"),
        (Reported(proxy="web", kind="client", attributes={"route": "other"}), "web: route all; route missing"),
        (Reported(proxy="web", kind="server", attributes={"route": None}), "web: route in"),
    ],
)
def test_spans_are_held_to_kind_attributes_and_number(wanted: Reported, happened: str) -> None:
    """What differs is told of those that are near."""

    def span(kind: str, **attributes: str) -> SpanSeen:
        return SpanSeen(
            id="", parent="", proxy="web", service="w", name="", kind=kind, start=0, duration=1, attributes=attributes
        )

    spans = (span("server", route="in"), span("client", route="all"), span("client"))
    trial = Trial(
        name="one",
        call=Call(host="a", port=1),
        expect=Expect(spans=(wanted,)),
        caller=Key("m", Kind.VIRTUAL_NODE, "web"),
    )
    found = judge(trial, Seen(calls=(CallSeen(id="", status=200, elapsed=1, spans=spans),)))
    assert [one.happened for one in found.mismatches] == ([happened] if happened else [])
    assert all(one.expected == str(wanted) for one in found.mismatches)


@pytest.mark.parametrize(
    ("status", "grpc", "told"),
    [
        (200, None, ""),
        (301, None, ""),
        (200, 0, ""),
        (404, None, "status 404"),
        (503, None, "status 503"),
        (0, None, "no answer"),
        (200, 14, "gRPC status 14"),
    ],
)
@pytest.mark.parametrize(
    "expect",
    [
        Expect(within=500),
        Expect(attempts=Bounds(most=3)),
        Expect(not_served_by=("ledger",)),
        Expect(headers={"x-none": None}),
        Expect(errors=0),
    ],
)
def test_a_call_of_which_no_status_is_said_is_to_end_without_an_error(
    expect: Expect, status: int, grpc: int | None, told: str
) -> None:
    """So a test that asks for something else, or counts errors, is not content with a call that failed.

    One that says how a call ends, or that nobody answers, is.
    """
    seen = Seen(calls=(CallSeen(id="", status=status, elapsed=1, grpc_status=grpc),))

    def happened(expect: Expect) -> list[tuple[str, str]]:
        trial = Trial(
            name="one", call=Call(host="a", port=1), expect=expect, caller=Key("m", Kind.VIRTUAL_NODE, "web")
        )
        return [(one.what, one.happened) for one in judge(trial, seen).mismatches]

    counted = f"1 of 1 calls, the first: status: expected no error, {told}"
    failed = ("status", told) if expect.errors is None else ("errors", counted)
    assert happened(expect) == ([failed] if told else [])
    assert happened(replace(expect, statuses=(status,))) == []
    assert happened(replace(expect, grpc_statuses=(grpc,))) == [] if grpc is not None else True
    assert "status" not in dict(happened(replace(expect, errors=None, given_up=Bounds())))


@pytest.mark.envoy
def test_the_shop_passes_all_that_is_derived_from_it() -> None:
    """On real Envoys, every route, condition and target covered."""
    done = ran(SHOP, "--format", "json", "--fail-under", "100")
    report = json.loads(done.stdout)
    assert [one["name"] for one in report["tests"] if one["outcome"] != "passed"] == []
    assert done.returncode == 0
    assert report["coverage"] == 100
    assert [one for one in report["graph"]["arrows"] if not one["tests"]] == []
    timings = report["timings"]
    assert [*timings] == ["starting", "testing", "telling", "ending"]
    assert all(one > 0 for one in timings.values())
    assert sum(timings.values()) <= report["seconds"]
    # Who waits longest does so before anybody counts many calls.
    counted = min(one["began"] for one in report["tests"] if one["calls"] > 100)
    longest = [one for one in report["tests"] if "gives up after 15 s" in one["name"]]
    assert longest
    assert all(one["began"] < counted for one in longest if not one["again"])
    assert {one["caller"] for one in report["tests"]} >= {
        "mesh/shop/virtualGateway/entrance",
        "mesh/shop/virtualNode/web",
    }


def junit(path: Path) -> ET.Element:
    """What is in a file of JUnit XML."""
    return junit_shape.read(path.read_text(encoding="utf-8"))


WRONG = """\
- name: wrong about who serves
  from: orders
  request: {url: http://payment.shop.internal:8080/quote, headers: {x-payment-version: v2, x-who: me}}
  given: [{reset: true, at: payment-v2, when: {x-who: me}}]
  expect: {status: 200, served_by: payment-v1, attempts: 2, tls: server, spans: [payment-v2, web]}
- name: right about a crash
  from: web
  request: {url: http://catalog.shop.internal:8080/}
  given: [{crash: true, at: catalog, instances: 1 of 2}]
  expect: {status: 200, served_by: catalog, steady: true, of: 5}
"""


def test_what_asks_only_for_routing_needs_no_envoy(tmp_path: Path) -> None:
    """Shares are the weights'; what asks for more is skipped, with the reason."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    done = ran(folder, "--simulate", "--format", "json")
    report = json.loads(done.stdout)
    outcomes = {one["name"]: (one["outcome"], one["fault"]) for one in report["tests"]}
    assert done.returncode == 0
    assert (report["mode"], report["isolation"]) == ("simulate", "")
    assert report["followed"] is None
    passed = {(one["caller"].split("/")[-1], one["callee"].split("/")[-1]): one["passed"] for one in report["edges"]}
    assert (passed["orders", "payment-v2"], passed["entrance", "web"]) == (2, 0)
    assert outcomes["one in ten quotes is version 2's"] == ("passed", "")
    tests = {(one["source"], one["target"]): one["tests"] for one in report["graph"]["arrows"]}
    service, unused = (f"mesh/shop/virtualService/{name}.shop.internal" for name in ("payment", "ledger"))
    assert tests["mesh/shop/virtualNode/orders", service] == 2
    assert tests[service, "mesh/shop/virtualNode/payment-v1"] == 1
    assert {count for way, count in tests.items() if unused in way} == {0}
    assert outcomes["checkout survives a slow payment instance"] == ("skipped", "it asks for faults, attempts")
    payment = folder / "definitions" / "payment.yaml"
    payment.write_text(payment.read_text(encoding="utf-8").replace("weight: 10", "weight: 20"), encoding="utf-8")
    whole = folder / "tests" / "longer.yaml"
    begins = {"from": "orders", "request": {"url": "http://payment.shop.internal:8080/"}, "expect": {"status": 404}}
    whole.write_text(json.dumps([{"name": f"{SHARED_OUT}, and more", **begins}]), encoding="utf-8")
    done = ran(folder, "--simulate", "--only", SHARED_OUT, "--format", "json")
    (alone,) = json.loads(done.stdout)["tests"]
    assert alone["reproduce"].endswith(f"--only {shlex.quote(SHARED_OUT)}")
    assert alone["name"] == SHARED_OUT
    whole.unlink()
    done = ran(folder, "--simulate", "--only", "one in ten", "--junit", "junit.xml")
    assert done.returncode == 1
    assert "expected  shares.payment-v2: 10.0%\n    happened  18.2%" in done.stdout
    assert junit(folder / "junit.xml").get("failures") == "1"


def test_a_report_is_whole_or_what_was_there_before(tmp_path: Path) -> None:
    """Where there is no room for it, too: then the run could not do it, and leaves nothing half done."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    files = {name: folder / name for name in ("report.json", "junit.xml", "page.html")}
    named = ("--report", "report.json", "--junit", "junit.xml", "--html", "page.html")
    for path in files.values():
        path.write_text("older")
        path.chmod(0o640)
    before = set(folder.iterdir())
    little = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)); "
    program = f"{little}runpy.run_module('meshwright.cli', run_name='__main__')"
    command = [sys.executable, "-c", program, "--quiet", "test", "--simulate", *named]
    full = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=60)
    assert full.returncode == 2
    assert [f"{name} cannot be written: File too large" in full.stderr for name in files] == [True] * 3
    assert [path.read_text() for path in files.values()] == ["older"] * 3
    assert set(folder.iterdir()) == before
    done = ran(folder, "--simulate", *named)
    assert done.returncode == 0
    assert json.loads(files["report.json"].read_text())["passed"] > 0
    assert files["page.html"].read_text().rstrip().endswith("</html>")
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o640}
    assert set(folder.iterdir()) == before


@pytest.mark.envoy
def test_a_failure_says_what_was_expected_what_happened_and_who_decided(tmp_path: Path) -> None:
    """With lines of the proxies' logs; coverage below the mark fails a run too, and so does a pattern of no test."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    (folder / "wrong.yaml").write_text(WRONG, encoding="utf-8")
    only = ("--only", "wrong", "--only", "right", "--only", "route testers of payment.shop.internal:8080 is reache?")
    files = ("--junit", "junit.xml", "--report", "report.json", "--html", "page.html")
    done = ran(folder, "--tests", "wrong.yaml", *only, "--fail-under", "90", "--format", "json", *files)
    assert done.returncode == 1
    assert "under 90%" in done.stderr
    report = json.loads(done.stdout)
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == report
    suite = junit(folder / "junit.xml")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert page.count("failing hop</strong>") == 1
    assert page.count('<details class="test') + page.count('class="test ') >= len(report["tests"])
    (failure,) = suite.findall("testsuite/testcase/failure")
    assert "expected  served_by: payment-v1" in (failure.text or "")
    assert failure.attrib["message"].startswith("status: expected 200, status 503")
    wrong, *passed = report["tests"]
    assert {one["name"]: one["outcome"] for one in passed} == {
        "right about a crash": "passed",
        "route testers of payment.shop.internal:8080 is reached": "passed",
    }
    assert (wrong["outcome"], wrong["derived"], wrong["source"]["line"]) == ("failed", False, 1)
    told = {one["what"]: (one["expected"], one["happened"]) for one in wrong["mismatches"]}
    assert told["status"][1].startswith("status 503")
    assert told["served_by"][0] == "payment-v1"
    assert told["attempts"][0] == "2"
    assert told["attempts"][1] == "3 arrived (3 at payment-v2-1)"
    assert told["tls"] == ("server", "none")
    assert told["spans"] == ("a span from payment-v2; a span from web", "spans from orders, payment-v2 alone")
    assert "Route 'testers'" in wrong["decided_by"][0]["told"]
    assert wrong["decided_by"][0]["source"]["file"] == "definitions/payment.yaml"
    assert wrong["reproduce"] == "meshwright test --tests wrong.yaml --only 'wrong about who serves'"
    (call,) = wrong["seen"]
    assert {one["proxy"] for one in call["spans"]} == {"orders", "payment-v2"}
    assert any(line.startswith("orders: GET /quote") and "flags=URX" in line for line in call["log"])
    counted = {(one["instance"], one["name"]): one["moved"] for one in wrong["counters"]}
    assert counted["orders-1", "cluster.cds_egress_shop_payment-v2_http_8080.upstream_rq_total"] == 3
    assert not any(one["counters"] for one in passed)
    # Of the crash, calls are made before, during and after it.
    assert report["followed"] == sum(one["calls"] for one in report["tests"])
    edges = {tuple(one[end].rpartition("/")[2] for end in ("caller", "callee")): one for one in report["edges"]}
    assert all(one["declared"] for one in edges.values())
    assert (edges["orders", "payment-v2"]["tests"], edges["orders", "payment-v2"]["passed"]) == (2, 1)
    assert (edges["entrance", "web"]["tests"], edges["entrance", "web"]["services"]) == (0, ["web.shop.internal"])
    nothing = ran(folder, "--only", "no such test")
    assert nothing.returncode == 2
    assert "no test is named like 'no such test'" in nothing.stderr


def test_what_can_be_written_is_where_something_cannot(tmp_path: Path) -> None:
    """The results are shown and the other file is there; the exit code says that it is not all."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    done = ran(folder, "--simulate", "--report", "nowhere/report.json", "--junit", "junit.xml")
    assert done.returncode == 2
    assert "nowhere/report.json cannot be written: No such file or directory" in done.stderr
    assert " passed" in done.stdout
    assert "<testsuites" in (folder / "junit.xml").read_text(encoding="utf-8")


@pytest.mark.envoy
def test_a_change_is_held_against_what_was_before(tmp_path: Path) -> None:
    """Tests derived from the old definitions tell what the new ones do to callers, and which object decided it."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    payment = folder / "definitions" / "payment.yaml"
    payment.write_text(payment.read_text().replace("exact: v2", "exact: v3"))
    done = ran(folder, "--baseline", str(SHOP / "definitions"), "--only", "*testers of * is reached")
    assert done.returncode == 1
    assert "expected  served_by: payment-v2" in done.stdout
    assert "; spans of 4 calls checked; " in done.stdout
    assert "testers wants headers[0] x-payment-version is 'v3', had 'v2'" in done.stdout
    assert "--baseline" in done.stdout
