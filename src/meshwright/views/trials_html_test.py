"""One test on the page of a run: what was called, expected and seen, who decided it, and how to run just that test.

The one rule: every test has an anchor that stays the same from run to run; what is left out is said.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from meshwright.views.markup import Html, cut, element
from meshwright.views.trials_text import called, given_fault
from meshwright.views.trials_timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.trials.seen import CallSeen
    from meshwright.views.trials import Test

MARKS = {"passed": "✓", "failed": "✗", "broken": "!", "skipped": "-"}
_TEXT, _NAME = 300, 200
_LOGGED, _HEADERS, _COUNTERS = 30, 24, 80
"""Lines of logs, headers of one call and counters that are shown."""


def anchor(test: Test) -> str:
    """What links to a test: its name in short, with a digest of the whole."""
    words = re.sub(r"[^a-z0-9]+", "-", test.name.lower()).strip("-")[:48].strip("-")
    digest = hashlib.sha256(test.name.encode("utf-8", "backslashreplace")).hexdigest()[:6]
    return f"test-{words}-{digest}" if words else f"test-{digest}"


def section(test: Test, *, unfolded: bool) -> Html:
    """A test, folded to one line unless it is `unfolded`."""
    kind = "derived" if test.derived else "written"
    summary = element(
        "summary",
        element("span", MARKS[test.outcome], class_="sign", aria_hidden="true"),
        element("span", cut(test.name, _NAME), class_="name"),
        element("span", test.outcome, class_="outcome"),
        element("span", "run once more", class_="tag") if test.again else None,
        element("span", kind, class_="tag"),
        element("span", f"{test.seconds:.2f} s", class_="number"),
    )
    link = element("a", "link to this test", href=f"#{anchor(test)}")
    written = [element("code", test.source), " · "] if test.source else None
    return element(
        "details",
        summary,
        element("div", element("p", written, link, class_="quiet"), list(_told(test)), class_="inside"),
        id=anchor(test),
        class_=f"test {test.outcome}",
        data_outcome=test.outcome,
        open=unfolded,
    )


def _told(test: Test) -> Iterator[Html]:
    facts = [
        ("Call", element("code", cut(called(test.call), _TEXT))),
        ("To" if test.call.straight else "From", element("code", test.caller)),
    ]
    if test.given:
        facts.append(("Given", _lines([given_fault(one) for one in test.given])))
    if test.fault:
        facts.append(("Fault" if test.outcome != "skipped" else "Skipped", element("span", cut(test.fault, 2_000))))
    facts.append(("Again", element("code", test.reproduce, class_="command")))
    yield element("dl", [[element("dt", name), element("dd", value)] for name, value in facts])
    if test.expected:
        yield _expectations(test)
    if test.decided_by:
        yield element("h4", "Decided by")
        yield element(
            "ol",
            [
                element("li", cut(one.told, _TEXT), [" at ", element("code", one.source)] if one.source else None)
                for one in test.decided_by
            ],
        )
    yield from _calls(test)
    if test.counters:
        yield _counters(test)


def _lines(lines: list[str]) -> Html:
    """Each on a line of its own."""
    return Html(element("br").join(element("span", cut(one, _TEXT)) for one in lines))


def _expectations(test: Test) -> Html:
    missed = {one.what: one for one in test.mismatches}
    met = "✓ as expected" if test.outcome in {"passed", "failed"} else "not run"
    # Where so many calls may fail and more did, none of what each is held to was met by all.
    met = "not by every call" if "errors" in missed else met
    rows = []
    for what, wanted in {**test.expected, **{one.what: one.expected for one in test.mismatches}}.items():
        one = missed.get(what)
        had = f"✗ {one.happened}" if one else met
        cells = [element("th", what, scope="row"), element("td", cut(wanted, _TEXT)), element("td", cut(had, _TEXT))]
        rows.append(element("tr", cells, class_="wrong" if one else None))
    head = element("tr", [element("th", name, scope="col") for name in ("Of", "Expected", "Happened")])
    return element("table", element("thead", head), element("tbody", rows), class_="expected")


def _calls(test: Test) -> Iterator[Html]:
    """The calls that are told: of a test that passed, one."""
    shown = test.seen[: 1 if test.outcome == "passed" else len(test.seen)]
    for index, call in enumerate(shown):
        if call.id:
            yield _call(test, call, index)
    left = test.calls - len(shown)
    if shown and left > 0 and shown[0].id:
        more = "call was" if left == 1 else "calls were"
        yield element("p", f"{left} more {more} made; the JSON report tells of {len(test.seen)}.", class_="quiet")


def _call(test: Test, call: CallSeen, index: int) -> Html:
    answer = f"status {call.status}" if call.status else "no answer"
    answer += f", gRPC {call.grpc_status}" if call.grpc_status is not None else ""
    served = f"from {call.instance or call.node}" if call.node else "by a proxy" if call.status else ""
    way = " → ".join(call.path)
    secured = f"encryption: {call.encryption}" if call.encryption is not None else ""
    peer = f"client's certificate: {call.peer}" if call.peer else ""
    facts = [f"{answer} {served}".strip(), f"{call.elapsed:.0f} ms", way, secured, peer, call.fault]
    return element(
        "section",
        element("h4", f"Call {index + 1}" if len(test.seen) > 1 else "The call"),
        element("p", cut(" · ".join(filter(None, facts)), 2 * _TEXT)),
        timeline(test, call, wrong=index < _wrong(test)),
        _log(call),
        _headers("Headers of the answer", call.headers),
        _headers("The request as it arrived", {name: value for name, value in call.arrived.items() if value}),
        element("p", "Trace ", element("code", call.id), class_="quiet"),
        class_="call",
    )


def _counters(test: Test) -> Html:
    shown = test.counters[:_COUNTERS]
    rows = [
        element(
            "tr",
            element("td", one.instance),
            element("th", element("code", one.name), scope="row"),
            element("td", f"{one.moved:+d}", class_="number"),
        )
        for one in shown
    ]
    head = element("tr", [element("th", name, scope="col") for name in ("Proxy of", "Counter", "Moved")])
    table = element("table", element("thead", head), element("tbody", rows))
    told = f"What Envoys counted of one more such call ({len(test.counters)})"
    left = len(test.counters) - len(shown)
    more = element("p", f"{left} more counters are in the JSON report.", class_="quiet") if left > 0 else None
    return element("details", element("summary", told), table, more, class_="more")


def _wrong(test: Test) -> int:
    """How many of the calls that are told, the first ones, show what is wrong."""
    failing = {place for one in test.mismatches for place in one.calls}
    return max(len(failing), 1) if test.outcome == "failed" else 0


def _log(call: CallSeen) -> Html | None:
    if not call.log:
        return None
    lines = "\n".join(cut(line, _TEXT) for line in call.log[:_LOGGED])
    left = len(call.log) - _LOGGED
    more = element("p", f"{left} more lines are in the JSON report.", class_="quiet") if left > 0 else None
    return Html(element("h5", "Access logs of the proxies") + _preformatted(lines) + (more or ""))


def _preformatted(lines: str) -> Html:
    """Lines as they are, which may be scrolled with the keyboard."""
    shown = "\n".join(element("span", line) for line in lines.split("\n"))
    return element("pre", Html(shown), tabindex=0)


def _headers(title: str, headers: Mapping[str, str]) -> Html | None:
    if not headers:
        return None
    lines = [f"{name}: {value}" for name, value in headers.items()]
    left = [f"… {len(lines) - _HEADERS} more"] if len(lines) > _HEADERS else []
    listed = "\n".join(cut(line, _TEXT) for line in lines[:_HEADERS] + left)
    return element("details", element("summary", f"{title} ({len(lines)})"), _preformatted(listed), class_="more")
