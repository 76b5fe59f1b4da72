"""Canaries whose callers reach the rising target by a route that is not shifted, too: on real Envoys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from canarying import MARK, QUICK, Shop, node, objects
from meshwright.lab.lab import Lab
from meshwright.model.identity import Key, Kind
from meshwright.model.state import State
from meshwright.plan import decoded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.envoy

ONE_STEP = (*QUICK, "--canary", "20", "--canary-min-requests", "15", "--canary-min-success", "80", "--format", "json")


def two_routes(usual: Mapping[str, int], marked: Mapping[str, int]) -> State:
    """The shop whose marked calls have a route of their own, before that of all others."""
    headers = [{"name": name, "match": {"exact": value}} for name, value in MARK.items()]
    targets = [{"virtualNode": name, "weight": weight} for name, weight in marked.items()]
    match = {"prefix": "/", "headers": headers}
    once = {"maxRetries": 0, "perRetryTimeout": {"unit": "s", "value": 1}, "httpRetryEvents": ["server-error"]}
    spec = {
        "priority": 1,
        "httpRoute": {"match": match, "action": {"weightedTargets": targets}, "retryPolicy": once},
    }
    return State([*objects(usual), decoded(Key("shop", Kind.ROUTE, "marked", "cart"), spec, {})])


async def test_failures_are_set_against_the_calls_that_the_step_brought(tmp_path: Path) -> None:
    """A route of which all calls fail does not pass since those of another route are many and well."""
    async with Lab(two_routes({"cart-v2": 1}, {"cart-v1": 1})) as lab:
        one = Shop(lab, tmp_path, "http")
        async with one.marking(5, status=503):
            done = await one.apply(two_routes({"cart-v2": 1}, {"cart-v2": 1}), *ONE_STEP)
        assert done.code == 1, done
        other = "mesh/shop/virtualRouter/cart/route/all"
        assert f"Warning: web gets to cart-v2 by {other}, which is not shifted" in done.err
        judged = json.loads(done.out)["release"]["canary"]["judged"]
        (figures,) = judged["checks"][-1]["figures"]
        assert (judged["verdict"], figures["others"]) == ("failed", [other])
        assert 15 <= figures["own"] < figures["requests"]
        assert f"{figures['own']} of {figures['requests']} requests by what is shifted, " in judged["told"]


async def test_what_cannot_be_told_apart_is_inconclusive_unless_it_is_to_count(tmp_path: Path) -> None:
    """Where the other route leads to all targets of the one that is shifted; no deadline is waited for."""
    usual = {"cart-v1": 1, "cart-v2": 1}
    async with Lab(two_routes(usual, {"cart-v1": 1})) as lab:
        one = Shop(lab, tmp_path, "http")
        async with one.marking(5):
            done = await one.apply(two_routes(usual, {"cart-v2": 1}), *ONE_STEP)
            assert done.code == 1, done
            judged = json.loads(done.out)["release"]["canary"]["judged"]
            assert judged["verdict"] == "inconclusive"
            why = (
                "it cannot be told which of them came by mesh/shop/virtualRouter/cart/route/all, which is not shifted"
            )
            assert judged["told"].endswith(why)
            done = await one.apply(two_routes(usual, {"cart-v2": 1}), *ONE_STEP, "--canary-shared", "count")
            assert done.code == 0, done


async def test_what_fails_for_one_caller_alone_is_found_among_the_calls_of_others(tmp_path: Path) -> None:
    """And is told with the figures of that caller."""
    job = node("job", "http", "cart.local")
    async with Lab(State([*objects({"cart-v1": 1}), job])) as lab:
        one = Shop(lab, tmp_path, "http")
        more = (*QUICK, "--canary", "50", "--canary-interval", "6", "--canary-min-success", "50", "--format", "json")
        async with one.marking(10, "job", status=503):
            done = await one.apply(State([*objects({"cart-v2": 1}), job]), *more)
        assert done.code == 1, done
        judged = json.loads(done.out)["release"]["canary"]["judged"]
        (check,) = judged["checks"]
        (whole,), (alone,) = check["figures"], check["callers"]
        assert (judged["verdict"], whole["caller"]) == ("failed", None)
        assert (alone["caller"], alone["errors"]) == ("mesh/shop/virtualNode/job", alone["requests"])
        assert whole["errors"] == alone["errors"] < whole["requests"] / 2
        assert f"cart-v2, of job: {alone['requests']} requests, 0 % succeeded" in judged["told"]
