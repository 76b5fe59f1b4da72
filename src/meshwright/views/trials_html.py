"""A test run as one page for browsers: what failed and why, what no test reached, every test with its timeline.

The one rule: the file stands alone and runs nothing but its own few lines, which its policy names by their digest;
without them everything can be read, only not be searched.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from meshwright.views import graph_svg
from meshwright.views.diagnostics import counted
from meshwright.views.markup import Html, element
from meshwright.views.trials_html_looks import SCRIPT, STYLE
from meshwright.views.trials_html_test import MARKS, anchor, section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.views.trials import Point, RunReport, Test

_WHOLE = STYLE + graph_svg.STYLE
_ROOM = 1_200
"""Pixels that the graph has on a common screen; beyond them it is scrolled."""
_UNFOLDED = 6
"""So many arrows are listed without being asked for."""
_ORDER = ("failed", "broken", "passed", "skipped")


def render(report: RunReport) -> str:
    """A whole HTML document; ends in a newline."""
    title = f"{_verdict(report)} · mesh {report.mesh}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(_WHOLE)),
    )
    main = element("main", list(_sections(report)), id="main")
    skip = element("a", "To the results", href="#main", class_="skip")
    body = element("body", skip, _header(report), main, element("script", Html(SCRIPT)))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _policy() -> str:
    """Nothing is loaded from anywhere; styles and scripts are those of the page, by their digests."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (_WHOLE, SCRIPT))
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _verdict(report: RunReport) -> str:
    if report.failed or report.broken:
        parts = [f"{report.failed} failed"] if report.failed else []
        parts += [f"{report.broken} could not be run"] if report.broken else []
        return f"{', '.join(parts)} of {counted(len(report.tests), 'test')}"
    return f"{report.passed} of {counted(len(report.tests), 'test')} passed"


def _header(report: RunReport) -> Html:
    bad = bool(report.failed or report.broken)
    began = datetime.fromtimestamp(report.at / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    kept = {"netns": "in network namespaces", "loopback": "on loopback addresses"}.get(report.isolation, "")
    how = f"on real Envoys, {kept}" if report.mode == "envoy" else "by simulation, without Envoys"
    time = f"{report.seconds:.1f} s"
    time += f", of which {report.starting:.1f} s until every proxy was ready" if report.starting else ""
    again = sum(one.again for one in report.tests if one.outcome == "passed")
    covered, shown = (sum(one.covered for one in listed) for listed in (report.points, report.policies))
    facts = [
        ("Began", began),
        ("Took", time),
        ("Ran", how),
        ("Coverage", f"{report.coverage:g}% ({covered} of {counted(len(report.points), 'point')})"),
        ("Policies", f"{shown} of {len(report.policies)} shown" if report.policies else ""),
        ("Spans", f"of {counted(report.followed, 'call')} checked" if report.followed else "not checked"),
        ("Passed only when run once more", str(again) if again else ""),
    ]
    return element(
        "header",
        element("p", "meshwright test", class_="brand"),
        element("h1", element("span", "✗ " if bad else "✓ ", aria_hidden="true"), _verdict(report)),
        element("p", "Mesh ", element("b", report.mesh)),
        _strip(report),
        element("dl", [element("div", element("dt", name), element("dd", told)) for name, told in facts if told]),
        _links(report),
        class_="bad" if bad else "good",
    )


def _strip(report: RunReport) -> Html:
    """The outcomes side by side, each as wide as it is many."""
    counts = {name: sum(one.outcome == name for one in report.tests) for name in _ORDER}
    total, at = max(len(report.tests), 1), 0.0
    bars, told = [], []
    for name, count in counts.items():
        if count:
            width = 100 * count / total
            bars.append(element("rect", x=f"{at:.2f}%", y=0, width=f"{width:.2f}%", height=12, class_=name))
            told.append(element("li", element("b", f"{MARKS[name]} {count}"), f" {name}", class_=name))
            at += width
    drawn = element("svg", bars, width="100%", height=12, aria_hidden="true", class_="strip")
    return Html(drawn + element("ul", told, class_="counts"))


def _links(report: RunReport) -> Html:
    links = [("#graph", "Graph"), ("#coverage", "Coverage"), ("#tests", "Tests")]
    links[2:2] = [("#policies", "Policies")] if report.policies else []
    failed = [one for one in report.tests if one.outcome in {"failed", "broken"}]
    links = [(f"#{anchor(failed[0])}", "First failure"), *links] if failed else links
    return element("nav", [element("a", name, href=to) for to, name in links], aria_label="Parts of this page")


def _sections(report: RunReport) -> Iterator[Html]:
    yield _graph(report)
    yield _coverage(report)
    if report.policies:
        yield _policies(report)
    yield _tests(report.tests)


def _graph(report: RunReport) -> Html:
    drawn = report.graph
    tests: dict[object, int] = {one.object: one.tests for one in drawn.boxes}
    tests |= {(one.source, one.target): one.tests for one in drawn.arrows}
    arrows = [(one.source, one.target, ", ".join(one.labels)) for one in drawn.arrows]
    picture = Html(graph_svg.drawing(drawn.boxes, arrows, tests=tests, room=_ROOM))
    unused = [one for one in drawn.arrows if not one.tests]
    told = f"No test that passed went over {counted(len(unused), 'arrow')} of {len(drawn.arrows)}:"
    notes = [_ways(told, [(one.source, one.target) for one in unused])]
    notes = notes if unused else [element("p", "✓ Tests that passed went over every arrow.")]
    strange = [(one.caller, one.callee) for one in report.edges if not one.declared]
    if strange:
        notes.append(_ways("✗ Calls that were made, and that nobody declares:", strange))
    lost = [one for one in report.backends if one.why]
    if lost:
        notes.append(element("p", "✗ Backends that no test can call:"))
        notes.append(element("ul", [element("li", element("code", one.route), f": {one.why}") for one in lost]))
    box = element("div", picture, class_="scroll drawing", tabindex=0, role="region", aria_label="Dependency graph")
    return element("section", element("h2", "Graph"), box, notes, id="graph")


def _ways(told: str, ways: Sequence[tuple[str, str]]) -> Html:
    listed = [element("li", element("code", source), " → ", element("code", target)) for source, target in ways]
    if len(listed) <= _UNFOLDED:
        return Html(element("p", told) + element("ul", listed))
    return element("details", element("summary", told), element("ul", listed), class_="more")


def _coverage(report: RunReport) -> Html:
    title = element("h2", f"Coverage {report.coverage:g}%")
    what = "A test that passed followed the route, just missed its condition, or was served by its target."
    parts = [title, element("p", what, class_="quiet"), *_listed(report.points, "Not covered", "Covered")]
    return element("section", parts, id="coverage")


def _policies(report: RunReport) -> Html:
    """Every one that is written, those first that nothing showed."""
    what = "Limits, retries, health checks, pools and the like, as they are written, and why no test showed one."
    listed = _listed(report.policies, "No test that passed showed", "Shown")
    return element("section", element("h2", "Policies"), element("p", what, class_="quiet"), *listed, id="policies")


def _listed(points: Sequence[Point], lacking: str, shown: str) -> Iterator[Html]:
    missing = [one for one in points if not one.covered]
    covered = [one for one in points if one.covered]
    if missing:
        yield Html(element("h3", f"{lacking}: {len(missing)}") + _points(missing))
    if covered:
        summary = element("summary", f"{shown}: {len(covered)}")
        yield element("details", summary, _points(covered), class_="more", open=not missing and len(covered) <= 30)


def _points(points: Sequence[Point]) -> Html:
    rows = [
        element(
            "tr",
            element("td", "✓ covered" if one.covered else "✗ missing"),
            element("th", element("code", one.route), scope="row"),
            element("td", element("code", one.path) if one.path else "the route itself"),
            element("td", element("code", one.source) if one.source else None),
            element("td", one.why),
            class_=None if one.covered else "wrong",
        )
        for one in points
    ]
    names = ("", "Object", "Match, target or policy", "Written at", "Why")
    head = element("tr", [element("th", name, scope="col") for name in names])
    table = element("table", element("thead", head), element("tbody", rows), class_="points")
    return element("div", table, class_="scroll")


def _tests(tests: Sequence[Test]) -> Html:
    ordered = sorted(tests, key=lambda one: (_ORDER.index(one.outcome), one.derived))
    failed = next((one for one in ordered if one.outcome in {"failed", "broken"}), None)
    listed = [section(one, unfolded=one is failed) for one in ordered]
    return element("section", element("h2", "Tests"), _filter(tests), element("div", listed), id="tests")


def _filter(tests: Sequence[Test]) -> Html:
    """Hidden until the script that it needs has run."""
    boxes = []
    for name in _ORDER:
        count = sum(one.outcome == name for one in tests)
        if count:
            box = element("input", type="checkbox", value=name, checked=True)
            boxes.append(element("label", box, f" {MARKS[name]} {name} ({count})"))
    search = element("input", type="search", id="search", placeholder="name, node, file … ( / )", autocomplete="off")
    return element(
        "form",
        element("label", "Search ", search),
        element("fieldset", element("legend", "Outcomes", class_="aside"), boxes),
        element("button", "Unfold all", type="button", id="unfold"),
        element("output", id="shown", role="status"),
        class_="filter",
        hidden=True,
    )
