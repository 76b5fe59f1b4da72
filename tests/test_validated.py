"""What `validate` passes, Envoy takes: meshes with odd texts and numbers everywhere, judged by the real one."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from everything import everything
from meshwright import constraints, rules
from meshwright.diagnostics import Severity, worst
from meshwright.graph import resolve
from meshwright.model import SPECS, Key, Kind, Resource, State, decode, encode
from meshwright.proxy.check import refusals
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Loopback, Redirect
from settings import PROVE
from strategies import MESH, proxies, states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hypothesis.strategies import DrawFn

    from meshwright.proxy.check import Refusal
    from meshwright.snapshot.resources import Placement, Snapshot

pytestmark = pytest.mark.envoy

PLACEMENTS: tuple[Placement, ...] = (
    Redirect(),
    Loopback(application="127.1.0.1", ingress="127.1.0.2", egress="127.1.0.3"),
)
TEXTS = (
    "", " ", "a b", "\u00e9", "\u4e2d", "\n", "\t", "\x7f", "x" * 255, "-", "_x", "~", "'", '"', ",", ";", "=",
    "%", "%%", "%REQ(A)%", "%START_TIME%", "${x}", "{x}",
    "(", "[", ".*", "(?i)a", "a|b", "[0-9]{2}", "\\", "\\1",
    "*", "*.local", "*a", "A.LOCAL", "a..b", "a.b.", "a:80", "[::1]", "::1", "10.0.0.1", "https://",
    "spiffe://a/b", "urn:x",
    "/", "//", "/a/../b", "/a?b#c", "?q", "#", "/\u00e9", "/%41", "/a%2Fb", "/a b",
    ":authority", ":path", "host", "Host", "content-length", "te", "connection", "grpc-status",
)  # fmt: skip
NUMBERS = (-(2**63), -1, 0, 1, 2, 99, 100, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1)
_TOGETHER = 400
"""Snapshots that are kept until they are judged."""
REFERENCES = ("virtualNode", "virtualNodeName", "virtualRouterName", "virtualServiceName")
"""What must go on naming an object for `validate` to pass it."""


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
        texts = st.sampled_from(TEXTS) | st.text(max_size=8).filter(lambda text: "%" not in text)
        holder[key] = draw(texts if isinstance(before, str) else st.sampled_from(NUMBERS))
        try:
            decode(SPECS[resource.key.kind], spec)
        except ValueError:
            holder[key] = before
    return msgspec.structs.replace(resource, spec=decode(SPECS[resource.key.kind], spec))


def passes(state: State) -> bool:
    """Whether `validate` finds no error."""
    graph = resolve(state)
    return worst((*constraints.check(graph, whole=True), *rules.audit(graph, whole=True))) is not Severity.ERROR


def told(refused: Refusal, meshes: Mapping[int, State]) -> str:
    """What a refusal was about."""
    state = meshes[id(refused.snapshot)]
    specs = "\n".join(f"{one.key}: {json.dumps(encode(one.spec))}" for one in state)
    return f"{refused.snapshot.proxy}: {refused.words}\n{specs}"


def judged(meshes: Iterable[State]) -> Counter[str]:
    """How many meshes were tried, how many of them `validate` passed, how many snapshots of those Envoy took: all."""
    seen: Counter[str] = Counter()
    waiting: list[tuple[Snapshot, State]] = []

    def judge() -> None:
        seen["snapshots"] += len(waiting)
        refused = refusals([snapshot for snapshot, _ in waiting])
        assert not refused, told(refused[0], {id(snapshot): state for snapshot, state in waiting})
        waiting.clear()

    for state in meshes:
        seen["tried"] += 1
        if passes(state):
            seen["passed"] += 1
            graph = resolve(state)
            for key in proxies(state):
                waiting.extend((build(graph, key, {}, placement), state) for placement in PLACEMENTS)
        if len(waiting) > _TOGETHER:
            judge()
    judge()
    return seen


def test_whatever_validate_passes_the_real_envoy_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """In both placements, of every node and gateway. Commands of access logs are what `--envoy` is for."""
    meshes: list[State] = []

    # Collected first, so that one Envoy judges a hundred snapshots.
    @settings(max_examples=3_200 if PROVE else 50, phases=[Phase.generate], database=None)
    @given(states().flatmap(lambda state: st.tuples(*(odd(one) for one in state)).map(State)))
    def collect(state: State) -> None:
        meshes.append(state)

    collect()
    seen = judged(meshes)
    assert seen["passed"] >= seen["tried"] / 4
    report(capsys, "random meshes with odd values", seen)


def test_no_odd_value_in_any_field_passes_and_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Each text and number of a mesh in which every field occurs, replaced by odd ones."""
    base = everything()
    assert passes(base)
    wanted = list(odd_values(base))
    chosen = wanted[:: len(wanted) // (2_500 if PROVE else 40)]
    seen = judged(state for one in chosen if (state := changed(base, *one)) is not None)
    assert seen["passed"] >= len(chosen) / 4
    report(capsys, "odd values in every field", seen)


def odd_values(base: State) -> Iterator[tuple[Resource, int, str | int]]:
    """Every object of `base`, each of its texts and numbers by its place, and each odd value for it."""
    for one in base:
        for place, (holder, key) in enumerate(leaves(encode(one.spec))):
            for value in TEXTS if isinstance(holder[key], str) else NUMBERS:
                yield one, place, value


def changed(base: State, one: Resource, place: int, value: str | int) -> State | None:
    """`base` with `value` at a place of `one`; None where the field does not take it."""
    spec = json.loads(json.dumps(encode(one.spec)))
    holder, key = list(leaves(spec))[place]
    holder[key] = value
    try:
        return base.put(msgspec.structs.replace(one, spec=decode(SPECS[one.key.kind], spec)))
    except ValueError:
        return None


FOUND: tuple[tuple[str, tuple[str | int, ...], str, bool], ...] = (
    # What the search below once found: node, field, value, and whether `validate` passes it now.
    ("http", ("listeners", 0, "healthCheck", "path"), "/\x7f", False),
    ("http", ("serviceDiscovery", "dns", "hostname"), "a\x1fb", False),
    ("grpc", ("listeners", 0, "tls", "certificate", "sds", "secretName"), "", False),
    ("grpc", ("listeners", 0, "tls", "validation", "trust", "sds", "secretName"), "", False),
    ("grpc", ("serviceDiscovery", "awsCloudMap", "serviceName"), "x" * 255, True),
)


@pytest.mark.parametrize(("name", "field", "value", "passed"), FOUND)
def test_what_was_found_stays_fixed(name: str, field: tuple[str | int, ...], value: str, *, passed: bool) -> None:
    """Each is either found by `validate`, or taken by Envoy."""
    base = everything()
    node = base[Key(MESH, Kind.VIRTUAL_NODE, name)]
    spec = json.loads(json.dumps(encode(node.spec)))
    holder: Any = spec
    for step in field[:-1]:
        holder = holder[step]
    holder[field[-1]] = value
    state = base.put(msgspec.structs.replace(node, spec=decode(SPECS[node.key.kind], spec)))
    assert passes(state) is passed
    judged([state])


def report(capsys: pytest.CaptureFixture[str], what: str, seen: Counter[str]) -> None:
    """Print how many were tried, captured or not: the figure is wanted."""
    with capsys.disabled():
        said = f"{seen['passed']} of {seen['tried']} passed; Envoy took all {seen['snapshots']} snapshots"
        sys.stdout.write(f"\n{what}: {said}\n")
