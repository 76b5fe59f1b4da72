"""What a job says while it looks after a canary: each thing once, and never nothing for long."""

from __future__ import annotations

from typing import Any

from meshwright.cli.canarying import Telling
from meshwright.views.canaries import canary_markdown, canary_text

SHIFT = {
    "route": "mesh/shop/virtualRouter/cart/route/all",
    "shares": [
        {"node": "mesh/shop/virtualNode/v1", "port": None, "before": 100.0, "after": 0.0},
        {"node": "mesh/shop/virtualNode/v2", "port": None, "before": 0.0, "after": 100.0},
    ],
}
FIGURES = {
    "node": "mesh/shop/virtualNode/v2",
    "requests": 3,
    "errors": 1,
    "unconnected": 0,
    "measured": 0,
    "p99": None,
}
CHECK = {"at": 1, "outcome": "failed", "told": "v2: 3 requests, 66.66 % succeeded", "figures": [FIGURES]}


def part(number: int, weight: int, judged: dict[str, Any] | None = None, state: str = "step") -> dict[str, Any]:
    """A release of a canary."""
    canary = {"state": state, "step": number - 1, "steps": [20, 50], "weight": weight, "shifts": [SHIFT]}
    return {
        "title": f"shop#{number}",
        "stack": "shop",
        "reason": "why\x1b[2J",
        "canary": {**canary, "first": 2, "returns_to": 1, "judged": judged},
    }


def turn(*releases: dict[str, Any], checks: int = 0, waiting: str = "") -> dict[str, Any]:
    """Where the canary stands."""
    last = releases[-1]["canary"]
    common = {"canary": "shop#2", "superseded_by": "", "waiting": waiting, "checks": [CHECK] * checks}
    return {**common, "state": last["state"], "weight": last["weight"], "releases": list(releases)}


def test_each_thing_is_said_once_and_a_silence_is_broken() -> None:
    """Also checks that were made between two looks, with the step that they were of."""
    said: list[str] = []
    now = [0.0]
    telling = Telling(said.append, lambda: now[0])
    first = part(2, 20)
    telling.news(turn(first))
    telling.news(turn(first, checks=1))
    telling.news(turn(first, checks=1, waiting="v2: 1 of at least 10 requests reported"))
    now[0] = 10
    telling.news(turn(first, checks=1, waiting="v2: 1 of at least 10 requests reported"))
    telling.news(turn(first, checks=1))
    second = part(3, 50, {"weight": 20, "verdict": "passed", "checks": [CHECK, CHECK]})
    telling.news(turn(first, second, checks=1))
    now[0] = 20
    telling.news(turn(first, second, checks=1))
    check = "failed: v2: 3 requests, 66.66 % succeeded"
    assert said == [
        "shop#2: step 1 of 2, 20 % of the way: virtualRouter/cart/route/all: v1 80 %, v2 20 %",
        f"  20 %: {check}",
        "  20 %: v2: 1 of at least 10 requests reported",
        f"  20 %: {check}",
        "shop#3: step 2 of 2, 50 % of the way: virtualRouter/cart/route/all: v1 50 %, v2 50 %",
        f"  50 %: {check}",
        "  50 %: watching the calls that proxies report",
    ]


def test_the_summary_shows_what_was_seen_and_steers_no_terminal() -> None:
    """As text and as Markdown, in which nothing is markup."""
    judged = {"weight": 20, "verdict": "failed", "checks": [{**CHECK, "told": "a | b `c`\x1b[2J"}]}
    found = turn(part(2, 20), part(3, 0, judged, "returned"))
    text, markdown = canary_text(found), canary_markdown(found)
    assert text.splitlines()[1].split() == [
        "shop#2",
        *["1", "of", "2", "20", "%", "v2", "3", "66.66", "%", "1", "failed"],
    ]
    assert text.splitlines()[-1] == "shop#3 went back to shop#1: why\\x1b[2J."
    assert "- 20 %: `` failed: a \\| b `c`\\x1b[2J ``" in markdown
    assert "\x1b" not in text + markdown
