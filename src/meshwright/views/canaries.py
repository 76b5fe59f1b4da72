"""Canaries for people, rendered from the JSON of our own endpoints.

The one rule: the text says no more than the JSON, and no control character reaches a terminal or a page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.views.escaping import code, terminal
from meshwright.views.releases import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Document = Mapping[str, Any]

_TOLD = 50
"""Checks that are listed in Markdown, the newest."""
_COLUMNS = ("RELEASE", "STEP", "WEIGHT", "TARGET", "REQUESTS", "SUCCEEDED", "99 % WITHIN", "CHECKS", "VERDICT")


def step_line(one: Document) -> str:
    """What a release of a canary is, in a line."""
    canary, title = one["canary"], one["title"]
    if canary["state"] == "finished":
        return f"{title}: all the way, and what is not needed any more is taken away"
    if canary["state"] == "returned":
        return f"{title}: back to {one['stack']}#{canary['returns_to']}, because {one['reason']}"
    if not canary["weight"]:
        return f"{title}: step {canary['step']} of {len(canary['steps'])}: what is new is there, and gets no call yet"
    step = f"step {canary['step']} of {len(canary['steps'])}, {canary['weight']} % of the way"
    return f"{title}: {step}: {'; '.join(_shift(shift, canary['weight']) for shift in canary['shifts'])}"


def check_line(check: Document) -> str:
    """What one check came to, in a line."""
    return f"{check['outcome']}: {check['told']}"


def ending(found: Document) -> str:
    """How a canary ended, in a sentence."""
    last = found["releases"][-1]
    match found["state"]:
        case "finished":
            return f"The canary {found['canary']} succeeded; {last['title']} is what runs."
        case "returned":
            return f"{last['title']} went back to {last['stack']}#{last['canary']['returns_to']}: {last['reason']}."
        case "superseded":
            by, weight = found["superseded_by"], found["weight"]
            return f"The canary {found['canary']} ended at {weight} %: {by} came after it, and stays."
    return f"The canary {found['canary']} stands at {found['weight']} %."


def canary_text(found: Document) -> str:
    """Every step with what was seen in it, and how it ended."""
    return table([_COLUMNS, *_rows(found)]) + f"{terminal(ending(found))}\n"


def canary_markdown(found: Document) -> str:
    """The same for a job's summary or a comment."""
    lines = [f"### Canary {code(found['canary'])}", "", code(ending(found)), ""]
    lines += [_row(_COLUMNS), "|" + "---|" * len(_COLUMNS)]
    lines += [_row([code(cell) for cell in row]) for row in _rows(found)]
    told = [
        f"- {judged['weight']} %: {code(check_line(check))}"
        for one in found["releases"]
        if (judged := one["canary"]["judged"]) is not None
        for check in judged["checks"]
    ]
    more = [f"- and {len(told) - _TOLD} checks before them"] if len(told) > _TOLD else []
    return "\n".join([*lines, *(["", *told[-_TOLD:], *more] if told else [])]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(found: Document) -> Iterator[tuple[str, ...]]:
    judged = [one["canary"]["judged"] for one in found["releases"]]
    for one, after in zip(found["releases"], [*judged[1:], None], strict=True):
        canary = one["canary"]
        if canary["state"] != "step":
            yield one["title"], canary["state"], f"{canary['weight']} %", *("",) * 6
            continue
        checks = after["checks"] if after else found["checks"]
        verdict = after["verdict"] if after else ""
        place = one["title"], f"{canary['step']} of {len(canary['steps'])}", f"{canary['weight']} %"
        figures = checks[-1]["figures"] if checks else []
        for target in figures or [None]:
            yield *place, *_figures(target), str(len(checks)), verdict


def _figures(one: Document | None) -> tuple[str, str, str, str]:
    if one is None:
        return "", "", "", ""
    requests, errors = one["requests"], one["errors"]
    share = f"{int(10_000 * (requests - min(errors, requests)) / requests) / 100:g} %" if requests else ""
    within = f"{one['p99']:.0f} ms" if one["p99"] is not None else ""
    return one["node"].rpartition("/")[2], str(requests), share, within


def _shift(shift: Document, weight: int) -> str:
    route = shift["route"].partition("/")[2].partition("/")[2]
    shares = (f"{one['node'].rpartition('/')[2]} {_points(one, weight):.3g} %" for one in shift["shares"])
    return f"{route}: {', '.join(shares)}"


def _points(share: Document, weight: int) -> float:
    before, after = float(share["before"]), float(share["after"])
    return before + (after - before) * weight / 100
