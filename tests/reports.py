"""Reports of test runs made by hand, with names that want to be markup, and ones that are as large as they get."""

from __future__ import annotations

from msgspec.structs import replace

from meshwright.diagnostics import Source
from meshwright.simulate import Call
from meshwright.trials.judging import Mismatch
from meshwright.trials.seen import Attempt, CallSeen, CounterSeen, SpanSeen
from meshwright.trials.trial import FaultKind, Given
from meshwright.views.trials import Decision, Point, RunReport, Test, Timings
from meshwright.views.trials_edges import Edge
from meshwright.views.trials_map import Map, Place, Way

EVIL = (
    "</script></style><script>document.title='taken'</script>"
    "<img src=x onerror=alert(1)>\"'`&lt;\x1b[31m\u202e]]>\x00\uffff"
)
"""What tries to break out of wherever it is shown."""


def span(name: str, parent: str = "", **attributes: str) -> SpanSeen:
    """A span of the proxy `name`, which is its identity, too; a client's where it says a route."""
    kind = "client" if "route" in attributes else "server"
    said = {"http.status_code": "200", **attributes}
    listed = {f"meshwright.{key}" if key == "route" else key: value for key, value in said.items()}
    return SpanSeen(
        id=name,
        parent=parent,
        proxy=name,
        service=name,
        name="ingress",
        kind=kind,
        start=1,
        duration=40,
        attributes=listed,
    )


def call(evil: str = "", *, spans: int = 0, lines: int = 0) -> CallSeen:
    """A call from `web` to `cart`, where it breaks, with so many more `spans` and `lines`; `evil` everywhere."""
    shown = (
        span(f"web{evil}", route=f"all{evil}"),
        span(f"cart{evil}", f"web{evil}", **{"http.status_code": "503", "response_flags": f"UF{evil}"}),
    )
    return CallSeen(
        id="0af7651916cd43dd8448eb211c80319c",
        status=503,
        elapsed=50,
        fault=f"no healthy upstream{evil}",
        node=f"cart{evil}",
        instance=f"cart-1{evil}",
        path=(f"web{evil}", f"cart{evil}"),
        headers={f"x-header{evil}": f"value{evil}"},
        arrived={":path": f"/{evil}"},
        attempts=(Attempt(node=f"cart{evil}", instance=f"cart-1{evil}", at=5, given_up=20),),
        peer=evil,
        spans=(*shown, *(span(f"more-{index}", f"web{evil}") for index in range(spans))),
        log=(f"cart: GET /{evil} 503", *(f"line {index} {'x' * 2_000}" for index in range(lines))),
    )


def told(name: str, outcome: str = "passed", evil: str = "", seen: tuple[CallSeen, ...] = ()) -> Test:
    """A test with its outcome; a failed one expected a status."""
    failed = outcome == "failed"
    return Test(
        name=name,
        outcome=outcome,
        derived=outcome != "failed",
        about=(),
        source=Source(file=f"tests/shop{evil}.yaml", line=7, column=3),
        caller=f"mesh/m/virtualNode/web{evil}",
        call=Call(protocol="http", host=f"cart{evil}", port=80, path=f"/{evil}", headers=((f"x{evil}", evil),)),
        given=(Given(kind=FaultKind.LATENCY, at=f"cart{evil}", latency=20, headers={"x-user": evil}),),
        expected={"status": f"200{evil}", "served_by": "cart"},
        calls=len(seen),
        began=0.5,
        seconds=0.25,
        again=False,
        mismatches=(Mismatch(what="status", expected=f"200{evil}", happened=f"status 503{evil}", calls=(0,)),)
        if failed
        else (),
        fault=f"it asks for faults{evil}" if outcome in {"skipped", "broken"} else "",
        decided_by=(
            Decision(
                object=f"mesh/m/virtualRouter/cart/route/all{evil}",
                path="",
                by=f"mesh/m/virtualService/cart{evil}",
                source=Source(file=f"cart{evil}.yaml", line=12, column=1),
                told=f"Route 'all{evil}'",
            ),
        ),
        seen=seen,
        counters=(CounterSeen(instance=f"cart-1{evil}", name=f"upstream_rq_5xx{evil}", moved=3),) if failed else (),
        ways=(),
        reproduce=f"meshwright test --only '{name}'",
    )


def report(tests: tuple[Test, ...], evil: str = "") -> RunReport:
    """A run of `tests` on a mesh of a gateway, one service and two nodes, one of which no test got to."""
    names = {"virtualGateway": "in", "virtualService": "cart", "virtualNode": "cart"}
    boxes = [
        Place(object=f"mesh/m/{kind}/{name}{evil}", kind=kind, name=f"{name}{evil}", found=True, tests=2)
        for kind, name in names.items()
    ]
    boxes.append(replace(boxes[-1], object="mesh/m/virtualNode/lost", name="lost", found=False, tests=0))
    gateway, service, node, lost = (one.object for one in boxes)
    outcomes = [one.outcome for one in tests]
    return RunReport(
        mesh=f"m{evil}",
        mode="envoy",
        isolation="loopback",
        at=1_790_000_000_000,
        seconds=12.5,
        starting=3.0,
        timings=Timings(starting=3.0, testing=8.0, telling=1.0, ending=0.5),
        passed=outcomes.count("passed"),
        failed=outcomes.count("failed"),
        broken=outcomes.count("broken"),
        skipped=outcomes.count("skipped"),
        tests=tests,
        coverage=50.0,
        points=(
            Point(route=f"covered{evil}", path="", covered=True, why="", source=None),
            Point(
                route=f"missing{evil}",
                path=f"spec{evil}",
                covered=False,
                why=evil,
                source=Source(file=f"a{evil}", line=3, column=1),
            ),
        ),
        policies=(
            Point(route=f"limited{evil}", path=f"spec.timeout{evil}", covered=False, why=evil, source=None),
            Point(route=f"tried{evil}", path="spec.retryPolicy", covered=True, why="", source=None),
        ),
        backends=(
            Point(route=f"calling{evil}", path=f"spec.backends{evil}", covered=False, why=f"no{evil}", source=None),
        ),
        graph=Map(
            boxes=tuple(boxes),
            arrows=(
                Way(source=gateway, target=service, labels=(evil,), tests=2),
                Way(source=service, target=node, labels=("90%",), tests=2),
                Way(source=service, target=lost, labels=("10%",), tests=0),
            ),
        ),
        followed=7,
        edges=(Edge(caller=node, callee=lost, declared=False, services=(), tests=3, passed=1),),
    )


def hostile() -> RunReport:
    """Every outcome, every text with markup in it."""
    return report(
        (
            told(f"passes{EVIL}", evil=EVIL, seen=(call(EVIL),)),
            told(f"fails{EVIL}", "failed", EVIL, (call(EVIL), call(EVIL))),
            told(f"breaks{EVIL}", "broken", EVIL),
            told(f"is skipped{EVIL}", "skipped", EVIL),
            replace(told(f"passes at last{EVIL}", evil=EVIL, seen=(call(EVIL),)), again=True),
        ),
        EVIL,
    )


def large() -> RunReport:
    """A hundred tests, four of which failed, with three hundred spans and lines of two thousand characters a call."""
    seen = (call(spans=300, lines=300),) * 5
    return report(
        tuple(told(f"test {index}", "failed" if index < 4 else "passed", seen=seen) for index in range(100))
    )
