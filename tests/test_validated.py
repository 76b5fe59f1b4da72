"""What `validate` passes, Envoy takes: meshes with odd texts and numbers everywhere, judged by the real one."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envoy_check import refusal
from meshwright import constraints, rules
from meshwright.diagnostics import Severity, worst
from meshwright.graph import resolve
from meshwright.model import SPECS, Resource, State, decode, encode
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Loopback, Redirect
from settings import PROVE
from strategies import proxies, states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn

pytestmark = pytest.mark.envoy

PLACEMENTS = (Redirect(), Loopback(application="127.1.0.1", ingress="127.1.0.2", egress="127.1.0.3"))
TEXTS = (
    "", " ", "a b", "\u00e9", "\u4e2d", "\n", "\t", "\x7f", "x" * 255, "-", "_x", "~", "'", '"', ",", ";", "=",
    "%", "%%", "%REQ(A)%", "%START_TIME%", "%NOTHING%", "%REQ%", "%REQ()%", "%BYTES_SENT(x)%", "${x}", "{x}",
    "(", "[", ".*", "(?i)a", "a|b", "[0-9]{2}", "\\", "\\1",
    "*", "*.local", "*a", "A.LOCAL", "a..b", "a.b.", "a:80", "[::1]", "::1", "10.0.0.1", "https://",
    "spiffe://a/b", "urn:x",
    "/", "//", "/a/../b", "/a?b#c", "?q", "#", "/\u00e9", "/%41", "/a%2Fb", "/a b",
    ":authority", ":path", "host", "Host", "content-length", "te", "connection", "grpc-status",
)  # fmt: skip
NUMBERS = (-(2**63), -1, 0, 1, 2, 99, 100, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1)
REFERENCES = ("virtualNode", "virtualNodeName", "virtualRouterName", "virtualServiceName")
"""What must go on naming an object for `validate` to pass it."""
MESHES = 2_000 if PROVE else 60


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a text or a number below `value`: what holds it, and its key there."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in members:
        if isinstance(one, str | int) and not isinstance(one, bool) and key not in REFERENCES:
            yield value, key
        else:
            yield from leaves(one)


@st.composite
def odd(draw: DrawFn, resource: Resource) -> Resource:
    """`resource` with some of its texts and numbers replaced, as far as its fields take them at all."""
    spec = json.loads(json.dumps(encode(resource.spec)))
    places = list(leaves(spec))
    if not places:
        return resource
    for holder, key in draw(st.lists(st.sampled_from(places), max_size=3)):
        before = holder[key]
        texts = st.sampled_from(TEXTS) | st.text(max_size=8)
        holder[key] = draw(texts if isinstance(before, str) else st.sampled_from(NUMBERS))
        try:
            decode(SPECS[resource.key.kind], spec)
        except ValueError:
            holder[key] = before
    return msgspec.structs.replace(resource, spec=decode(SPECS[resource.key.kind], spec))


@st.composite
def odd_states(draw: DrawFn) -> State:
    """A mesh with odd values in it."""
    return State([draw(odd(one)) for one in draw(states())])


def passes(state: State) -> bool:
    """Whether `validate` finds no error."""
    graph = resolve(state)
    return worst((*constraints.check(graph, whole=True), *rules.audit(graph, whole=True))) is not Severity.ERROR


def test_whatever_validate_passes_the_real_envoy_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """In both placements, of every node and gateway."""
    seen: Counter[str] = Counter()

    @settings(max_examples=MESHES)
    @given(odd_states())
    def judge(state: State) -> None:
        seen["tried"] += 1
        if not passes(state):
            return
        seen["passed"] += 1
        graph = resolve(state)
        snapshots = [build(graph, key, {}, placement) for key in proxies(state) for placement in PLACEMENTS]
        seen["snapshots"] += len(snapshots)
        assert not snapshots or refusal(snapshots) == ""

    judge()
    assert seen["passed"] >= MESHES / 4
    with capsys.disabled():
        told = f"{seen['passed']} of {seen['tried']} odd meshes passed; Envoy took all {seen['snapshots']} snapshots"
        sys.stdout.write(f"\n{told}\n")
