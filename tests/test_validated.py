"""What `validate` passes, Envoy takes: meshes with odd texts and numbers everywhere, judged by the real one."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from envoy_check import ABLE
from everything import everything, extended_everything
from extending import extended
from meshwright import constraints, rules
from meshwright.ads.wire import identify, registree
from meshwright.diagnostics import Severity, worst
from meshwright.discovery.instances import Query, Service, read
from meshwright.errors import UsageError
from meshwright.graph import resolve
from meshwright.model import SPECS, Key, Kind, Resource, State, decode, encode
from meshwright.proxy.check import refusals
from meshwright.snapshot.build import build
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import Endpoint, Loopback, Redirect
from settings import PROVE
from strategies import MESH, proxies, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hypothesis.strategies import DrawFn

    from meshwright.proxy.check import Refusal
    from meshwright.snapshot.resources import Placement, Snapshot

    Record = Callable[[str, object], None]
    Found = Mapping[Key, tuple[Endpoint, ...]]

pytestmark = pytest.mark.envoy

PLACEMENTS: tuple[Placement, ...] = (
    Redirect(),
    Loopback(application="127.1.0.1", ingress="127.1.0.2", egress="127.1.0.3"),
)
TEXTS = (
    "", " ", "a b", "\u00e9", "\u4e2d", "\n", "\t", "\x7f", "x" * 255, "-", "_x", "~", "'", '"', ",", ";", "=",
    "%", "%%", "%REQ(A)%", "%REQ(", "%REQ%", "%NOSUCH%", "%DURATION:5%", "%START_TIME%", "${x}", "{x}",
    "(", "[", ".*", "(?i)a", "a|b", "[0-9]{2}", "\\", "\\1", "a{1001}", "(?=a)",
    "*", "*.local", "*a", "A.LOCAL", "a..b", "a.b.", "a:80", "[::1]", "::1", "10.0.0.1", "https://",
    "spiffe://a/b", "urn:x",
    "/", "//", "/a/../b", "/a?b#c", "?q", "#", "/\u00e9", "/%41", "/a%2Fb", "/a b",
    ":authority", ":path", "host", "Host", "content-length", "te", "connection", "grpc-status", "x\0y", "a\r\nb: c",
)  # fmt: skip
NUMBERS = (-(2**63), -1, 0, 1, 2, 99, 100, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1)
FRACTIONS = (-0.5, 0.0, 0.0001, 0.00001, 99.9999, 100.0, 100.5, 1e300, float("inf"))
_TOGETHER = 400
"""Snapshots that are kept until they are judged."""
REFERENCES = (
    "virtualNode", "virtualNodeName", "virtualRouterName", "virtualServiceName", "virtualGatewayName", "routeName",
    "gatewayRouteName",
)  # fmt: skip
"""What must go on naming an object for `validate` to pass it."""
ADDRESSES = (
    "10.0.0.1", "010.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.1", "224.0.0.1", "169.254.169.254", "::", "::1",
    "fd00::1", "fe80::1", "fe80::1%eth0", "fd00::1%1", "::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::1", "", "a", "1",
    "10.0.0.1 ",
)  # fmt: skip
PORTS = ("", "0", "1", "80", "65535", "65536", "-1", " 80", "\u0668\u0660", "8e1", "9" * 1_000)
ZONES = ("", "us-east-1a", "\u00e9", "\n", "x" * 255, "a/b", "%REQ(A)%", "\0")


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a text or a number below `value`: what holds it, and its key there."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in members:
        if isinstance(one, str | int | float) and not isinstance(one, bool) and key not in REFERENCES:
            yield value, key
        else:
            yield from leaves(one)


def odd_for(value: object) -> tuple[str | float, ...]:
    """Odd values of the kind of `value`."""
    return TEXTS if isinstance(value, str) else NUMBERS if isinstance(value, int) else FRACTIONS


@st.composite
def odd(draw: DrawFn, resource: Resource) -> Resource:
    """`resource` with some of its texts and numbers replaced, as far as its fields take them at all."""
    spec = json.loads(json.dumps(encode(resource.spec)))
    places = list(leaves(spec))
    if not places:
        return resource
    for holder, key in draw(st.lists(st.sampled_from(places), max_size=3)):
        before = holder[key]
        values = st.sampled_from(odd_for(before))
        holder[key] = draw(values | st.text(max_size=8) if isinstance(before, str) else values)
        try:
            decode(SPECS[resource.key.kind], spec)
        except ValueError:
            holder[key] = before
    return msgspec.structs.replace(resource, spec=decode(SPECS[resource.key.kind], spec))


def instances() -> tuple[Endpoint, ...]:
    """What Cloud Map's attributes and proxies' own words of every oddness come to, each address with each port."""
    named = [
        {"AWS_INSTANCE_IPV4": one, "AWS_INSTANCE_IPV6": one, "AWS_INSTANCE_PORT": port, "AVAILABILITY_ZONE": zone}
        for one in ADDRESSES
        for port, zone in zip(PORTS, (*ZONES, *ZONES), strict=False)
    ]
    answers = [{"InstanceId": str(index), "Attributes": one} for index, one in enumerate(named)]
    health = [
        one | {"HealthStatus": status}
        for one, status in zip(answers, 50 * ("HEALTHY", "UNHEALTHY", "", "?"), strict=False)
    ]
    found = [
        one.endpoint(preference)
        for one in read(health, Query(Service("n", "s")))
        for preference in (None, "IPv6_ONLY")
    ]
    return (*(one for one in found if one is not None), *registered())


def registered() -> Iterator[Endpoint]:
    """The endpoints of proxies that say odd things of theirs and are let in."""
    for address in ADDRESSES:
        for port in (0.0, 0.5, 80.0, 65_535.0, 65_536.0, -1.0):
            for zone in ZONES:
                node = message("envoy.config.core.v3.Node")(
                    id=f"mesh/{MESH}/virtualNode/http", locality={"zone": zone}
                )
                node.metadata.update({"meshwright": {"endpoint": {"address": address, "port": port}}})
                try:
                    one = registree(node, identify(node, "peer"))
                except UsageError:
                    continue
                assert one is not None
                yield Endpoint(address=one.address, port=one.port, zone=one.zone)


def passes(state: State) -> bool:
    """Whether `validate` finds no error."""
    graph = resolve(state)
    return worst((*constraints.check(graph, whole=True), *rules.audit(graph, whole=True))) is not Severity.ERROR


def told(refused: Refusal, meshes: Mapping[int, State]) -> str:
    """What a refusal was about."""
    state = meshes[id(refused.snapshot)]
    specs = "\n".join(f"{one.key}: {json.dumps(encode(one.spec))}" for one in state)
    return f"{refused.snapshot.proxy}: {refused.words}\n{specs}"


def judged(meshes: Iterable[State], found: Found | None = None) -> Counter[str]:
    """How many meshes were tried, had a proxy and passed `validate`, how many snapshots Envoy took: all of these."""
    seen: Counter[str] = Counter()
    waiting: list[tuple[Snapshot, State]] = []

    def judge() -> None:
        refused = refusals([snapshot for snapshot, _ in waiting])
        assert not refused, told(refused[0], {id(snapshot): state for snapshot, state in waiting})
        seen["taken"] += len(waiting)
        waiting.clear()

    for state in meshes:
        seen["tried"] += 1
        keys = proxies(state)
        if not keys:
            seen["without a proxy"] += 1
        elif passes(state):
            seen["passed"] += 1
            graph = resolve(state)
            for key in keys:
                waiting.extend((build(graph, key, found or {}, placement, ABLE), state) for placement in PLACEMENTS)
        if len(waiting) > _TOGETHER:
            judge()
    judge()
    return seen


def test_whatever_validate_passes_the_real_envoy_takes(record_property: Record) -> None:
    """In both placements, of every node and gateway, with extensions of all kinds and odd instances."""
    meshes: list[State] = []

    # Collected first, so that one Envoy judges a hundred snapshots.
    @settings(max_examples=3_000 if PROVE else 50, phases=[Phase.generate], database=None)
    @given(extended(states()).flatmap(lambda state: st.tuples(*(odd(one) for one in state)).map(State)))
    def collect(state: State) -> None:
        meshes.append(state)

    collect()
    every = instances()
    nodes = {one.key for state in meshes for one in state.of(Kind.VIRTUAL_NODE)}
    seen = judged(meshes, {key: every[index::7] for index, key in enumerate(sorted(nodes))})
    assert seen["passed"] > (seen["tried"] - seen["without a proxy"]) / 10
    assert seen["taken"] >= 2 * seen["passed"]
    record_property("tried", report("random meshes with odd values", seen))


def test_no_odd_value_in_any_field_passes_and_is_refused(record_property: Record) -> None:
    """Each text and number of a mesh in which every field occurs, those of extensions too, replaced by odd ones."""
    base = extended_everything()
    assert passes(base)
    assert {one.key.kind for one in base} == set(SPECS)
    wanted = list(odd_values(base))
    chosen = wanted[:: len(wanted) // (1_500 if PROVE else 30)]
    seen = judged((state for one in chosen if (state := changed(base, *one)) is not None), {})
    assert seen["passed"] > len(chosen) / 5
    record_property("tried", report("odd values in every field", seen))


def odd_values(base: State) -> Iterator[tuple[Resource, int, str | float]]:
    """Every object of `base`, each of its texts and numbers by its place, and each odd value for it."""
    for one in base:
        for place, (holder, key) in enumerate(leaves(encode(one.spec))):
            for value in odd_for(holder[key]):
                yield one, place, value


def changed(base: State, one: Resource, place: int, value: str | float) -> State | None:
    """`base` with `value` at a place of `one`; None where the field does not take it."""
    spec = json.loads(json.dumps(encode(one.spec)))
    holder, key = list(leaves(spec))[place]
    holder[key] = value
    try:
        return base.put(msgspec.structs.replace(one, spec=decode(SPECS[one.key.kind], spec)))
    except ValueError:
        return None


def test_whatever_objects_are_called_passes_and_is_taken_or_is_found(record_property: Record) -> None:
    """Every object in turn, and everybody who names it."""
    base = extended_everything()
    names = (
        *filter(None, TEXTS),  # none has no name: what names it could not be written
        "a.b",
        "...",
        "a-",
        "x" * 254,
        "*:80",
        "a?b",
        "\u00c4.local",
        "HTTP.LOCAL",
        "own-http.local:8080",
    )
    wanted = [(one.key, name) for one in base if one.key.kind is not Kind.MESH for name in names]
    chosen = wanted[:: len(wanted) // (600 if PROVE else 15)]
    seen = judged(renamed(base, *one) for one in chosen)
    assert seen["passed"] > len(chosen) / 10
    record_property("tried", report("odd names of objects", seen))


def renamed(base: State, key: Key, name: str) -> State:
    """`base` with another name for `key`, in the object, in what belongs to it and in all that names it."""
    member = "virtualServiceName" if key.kind is Kind.VIRTUAL_SERVICE else key.kind.name_field
    found = []
    for one in base:
        spec = json.loads(json.dumps(encode(one.spec)))
        _rename(spec, {member, member.removesuffix("Name")}, key.name, name)
        own = name if one.key == key else one.key.name
        parent = name if one.key.owner == key else one.key.parent
        spec_ = decode(SPECS[one.key.kind], spec)
        found.append(msgspec.structs.replace(one, key=Key(MESH, one.key.kind, own, parent), spec=spec_))
    return State(found)


def _rename(value: Any, members: set[str], old: str, new: str) -> None:
    for key, one in value.items() if isinstance(value, dict) else ():
        if key in members and one == old:
            value[key] = new
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _rename(one, members, old, new)


def test_whatever_instances_say_of_themselves_is_taken() -> None:
    """Addresses, ports and zones of Cloud Map and of proxies, of every node that is found by them."""
    base, every = extended_everything(), instances()
    assert len(every) > 100
    nodes = base.of(Kind.VIRTUAL_NODE)
    assert judged([base], {one.key: every for one in nodes})["taken"] == 2 * (len(nodes) + 1)


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


def report(what: str, seen: Counter[str]) -> str:
    """How many were tried: the figure is wanted, and `conftest` prints it after the tests."""
    with_proxy = seen["tried"] - seen["without a proxy"]
    return (
        f"{what}: {seen['tried']} meshes, {with_proxy} with a proxy, of which validate passed {seen['passed']}; "
        f"Envoy took all {seen['taken']} snapshots of these"
    )
