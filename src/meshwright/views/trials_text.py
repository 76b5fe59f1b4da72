"""A test run for people: what failed and why, what no test reached, a summary at the end.

The one rule: a failure says what was expected, what happened, who decided it, and how to run just that test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.views.diagnostics import counted
from meshwright.views.escaping import terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.simulate import Call
    from meshwright.trials.trial import Given
    from meshwright.views.trials import Point, RunReport, Test

_COLOURS = {"passed": "32", "failed": "31", "broken": "35", "skipped": "33"}


def render(report: RunReport, *, colour: bool, quiet: bool = False) -> str:
    """Failures, then what is not covered, then one line that sums up; ends in a newline."""
    lines: list[str] = []
    for one in report.tests:
        if one.outcome == "skipped":
            lines.append(f"{_painted('skipped', '33', colour)} {terminal(one.name)}: {terminal(one.fault)}")
        elif one.outcome != "passed":
            lines += [*_failure(one, colour), ""]
    if not quiet:
        lines += _missing("Not covered:", report.points)
        lines += _missing("Policies that no test showed:", report.policies)
        lines += _missing("Backends that no test can call:", (one for one in report.backends if one.why))
        lines += _edges("Calls that are declared, and that no passing test made:", report, declared=True)
        lines += _edges("Calls that were made, and that nobody declares:", report, declared=False)
    return "\n".join([*lines, _summary(report, colour)]) + "\n"


def _edges(title: str, report: RunReport, *, declared: bool) -> list[str]:
    """Edges of the graph that tests do not show, or that the definitions do not."""
    told = [one for one in report.edges if one.declared is declared and not (declared and one.passed)]
    lines = [
        f"  {terminal(_name(one.caller))} → {terminal(_name(one.callee))}"
        + (f" ({terminal(', '.join(one.services))})" if declared else f" (by {counted(one.tests, 'test')})")
        for one in told
    ]
    return [title, *lines, ""] if told else []


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def line(name: str, outcome: str, seconds: float, *, colour: bool) -> str:
    """One test as it ends."""
    mark = {"passed": "✓", "failed": "✗", "broken": "!", "skipped": "-"}[outcome]
    return f"{_painted(mark, _COLOURS[outcome], colour)} {terminal(name)} ({seconds:.2f} s)"


def told(one: Test) -> str:
    """What there is to say of a test that did not pass, without colours."""
    return "\n".join(_failure(one, colour=False))


def _missing(title: str, points: Iterable[Point]) -> list[str]:
    lines = []
    for point in (one for one in points if not one.covered):
        where = f"{terminal(point.source)}: " if point.source else ""
        why = f" ({terminal(point.why)})" if point.why else ""
        lines.append(f"  {where}{terminal(point.route)} {terminal(point.path)}{why}".rstrip())
    return [title, *lines, ""] if lines else []


def _failure(one: Test, colour: bool) -> Iterator[str]:
    where = f"{terminal(one.source)}: " if one.source else ""
    yield f"{where}{_painted(one.outcome, '1;' + _COLOURS[one.outcome], colour)} {terminal(one.name)}"
    given = "".join(f", {given_fault(each)}" for each in one.given)
    yield f"    call      {called(one.call)} {direction(one.call)} {terminal(_name(one.caller))}{given}"
    if one.fault:
        yield f"    fault     {terminal(one.fault)}"
    for each in one.mismatches:
        yield f"    expected  {terminal(each.what)}: {terminal(each.expected)}"
        yield f"    happened  {terminal(each.happened)}"
    for decision in one.decided_by:
        place = f" at {terminal(decision.source)}" if decision.source else ""
        yield f"    decided   {terminal(decision.told)}{place}"
    yield f"    again     {terminal(one.reproduce)}"


def given_fault(one: Given) -> str:
    """A fault in one line: what, how much, where, for whom."""
    amounts = {
        "ms": one.latency,
        "ms more or less": one.jitter,
        "bytes a second": one.bandwidth,
        "is the status": one.status,
        "is the gRPC status": one.grpc_status,
    }
    much = "".join(f" {number} {unit}" for unit, number in amounts.items() if number)
    some = f" ({one.instances} of {one.of or 'its'} instances)" if one.instances is not None else ""
    whom = "".join(f" {name}: {value}" for name, value in one.headers.items())
    told = f"{one.kind.value}{much} at {one.at or 'the control plane'}{some}{f' for{whom}' if whom else ''}"
    return terminal(told)


def called(call: Call) -> str:
    """A call in one line: method, URL, headers."""
    scheme = call.protocol if call.protocol != "http" else call.scheme
    headers = "".join(f" {terminal(name)}: {terminal(value)}" for name, value in call.headers)
    path = "" if call.protocol == "tcp" else terminal(call.path)
    method = "" if call.protocol in {"tcp", "grpc"} else f"{call.method} "
    how = " over TLS" if call.encrypted and scheme != "https" else ""
    how += " without a certificate" if call.anonymous else ""
    how += f" with a certificate for {terminal(', '.join(call.named))}" if call.named else ""
    how += " with a certificate that nobody here issued" if call.foreign else ""
    return f"{method}{scheme}://{terminal(call.host)}:{call.port}{path}{headers}{how}"


def direction(call: Call) -> str:
    """Whether a call comes from the node or gateway that it is told of, or goes straight to its listener."""
    return "straight to" if call.straight else "from"


def _summary(report: RunReport, colour: bool) -> str:
    counts = [f"{report.passed} passed"]
    again = sum(one.again for one in report.tests if one.outcome == "passed")
    counts[0] += f" ({again} of them when run once more)" if again else ""
    counts += [f"{report.failed} failed"] if report.failed else []
    counts += [f"{report.skipped} skipped"] if report.skipped else []
    counts += [f"{report.broken} could not be run"] if report.broken else []
    points = sum(one.covered for one in report.points)
    told = f"{counted(len(report.tests), 'test')}: {', '.join(counts)}; "
    told += f"coverage {report.coverage:g}% ({points} of {len(report.points)}), "
    told += f"policies {sum(one.covered for one in report.policies)} of {len(report.policies)}; "
    told += f"spans of {counted(report.followed, 'call')} checked" if report.followed else "spans not checked"
    told += f"; {report.seconds:.1f} s"
    return _painted(told, "31" if report.failed or report.broken else "32", colour)


def _painted(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
