"""Paths that no request has when they are compared: what is said of them is what real Envoys do."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from meshwright import rules
from meshwright.graph import resolve
from meshwright.lab.rig import Rig
from meshwright.model import Key, Kind, State
from meshwright.routing import beginning, unmatchable
from meshwright.simulate import Call, route
from strategies import MESH, resource
from test_trials import routed

if TYPE_CHECKING:
    from meshwright.routing.matching import PathKind

UNMATCHABLE: tuple[tuple[PathKind, str], ...] = (
    ("prefix", "//a"),
    ("prefix", "/b//c"),
    ("prefix", "/%41/"),
    ("exact", "/c/../d"),
    ("prefix", "/e/./"),
    ("exact", "/f/."),
    ("prefix", "/g\\h"),
    ("prefix", "/i<"),
    ("exact", "/j?k=1"),
    ("prefix", "/l m"),
    ("exact", "/n#o"),
    ("exact", "/gr\u00fcn"),
    ("prefix", "/p%00"),
    ("prefix", "/..;q"),
)
MATCHABLE: tuple[tuple[PathKind, str], ...] = (
    ("prefix", "/r/."),
    ("prefix", "/s/.."),
    ("prefix", "/t%2F"),
    ("prefix", "/u%4"),
    ("exact", "/v%"),
    ("exact", "/w%2fx"),
    ("prefix", "/y+z;a&b"),
    ("exact", "/zz/"),
)
CALLER = Key(MESH, Kind.VIRTUAL_NODE, "caller")


def asking() -> State:
    """A route for each, to `target`; what none takes gets 404."""
    action = {"weightedTargets": [{"virtualNode": "target", "weight": 1}]}
    state = State(one for one in routed({"prefix": "/"}) if one.key.kind is not Kind.ROUTE)
    for number, (kind, text) in enumerate((*UNMATCHABLE, *MATCHABLE)):
        match = {"prefix": text} if kind == "prefix" else {"path": {"exact": text}}
        spec = {"httpRoute": {"match": match, "action": action}, "priority": number}
        state = state.put(resource(Kind.ROUTE, f"r{number}", spec, parent="target"))
    return state


def test_paths_that_no_request_has_are_found_and_no_others() -> None:
    """With the field, and with what proxies make of them."""
    found = [one for one in rules.audit(resolve(asking())) if one.rule == "MW214"]
    assert len(found) == len(UNMATCHABLE)
    assert {one.subject.rpartition("/")[2] for one in found} == {f"r{number}" for number in range(len(UNMATCHABLE))}
    assert found[0].path == "spec.httpRoute.match.prefix"
    assert "no request has a path that begins with '//a'" in found[0].summary
    assert found[0].detail == "Proxies make '/a' of '//a'. Write '/a' if that is meant."


@pytest.mark.envoy
async def test_real_envoys_never_follow_them_and_do_follow_what_looks_alike() -> None:
    """Whatever is sent behind a prefix, and however the path itself is sent."""
    wrong = []
    async with Rig(asking()) as rig:
        graph = resolve(asking())
        for (kind, text), end in itertools.product(UNMATCHABLE, ("", "x", "/x")):
            assert unmatchable(kind, text)
            if text.isascii() and (not end or kind == "prefix"):
                reply = (await rig.send(Call(host="target.local", port=8080, path=text + end), CALLER)).reply
                wrong += [(text + end, reply)] if reply.status == 200 else []
        for kind, text in MATCHABLE:
            assert unmatchable(kind, text) is None
            call = Call(host="target.local", port=8080, path=text if kind == "exact" else beginning(text) or "")
            assert route(graph, CALLER, call).chosen, text
            reply = (await rig.send(call, CALLER)).reply
            wrong += [(call.path, reply)] if reply.node != "target" else []
    assert wrong == []
