"""From untyped input to the model: round trips, every problem at once, two readers that agree."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from meshwright.model import SPECS, DecodeError, Kind, Spec, decode, digest, encode
from meshwright.model.decoding import _walk
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualNodeSpec
from settings import examples
from shapes import broken, wire

T = TypeVar("T")
KINDS = sorted(SPECS)


def problems(wanted: type[T], value: object, *, lax: bool = False) -> list[tuple[str, str]]:
    """The rule and path of every problem of `value`."""
    with pytest.raises(DecodeError) as caught:
        decode(wanted, value, at="spec", lax=lax)
    return [(one.rule, one.path) for one in caught.value.problems]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_decoded_is_echoed_as_it_was_sent(kind: Kind) -> None:
    """`encode(decode(x)) == x` on the wire, and `decode(encode(y)) == y` for the value."""

    @settings(max_examples=examples(25))
    @given(wire(SPECS[kind]))
    def check(sent: Any) -> None:
        spec = decode(SPECS[kind], sent)
        assert encode(spec) == sent
        again: Spec = decode(SPECS[kind], encode(spec))
        assert again == spec
        assert digest(again) == digest(spec)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_walk_finds_a_problem_exactly_where_the_first_pass_fails(kind: Kind) -> None:
    """The fast pass and the collecting walk accept and refuse the same inputs."""

    @settings(max_examples=examples(40))
    @given(broken(SPECS[kind]), st.booleans())
    def check(value: Any, lax: bool) -> None:
        found = list(_walk(inspect.type_info(SPECS[kind]), value, "spec", lax))
        with contextlib.ExitStack() as stack:
            if found:
                stack.enter_context(pytest.raises(msgspec.ValidationError))
            msgspec.convert(value, SPECS[kind], strict=not lax)

    check()


def test_every_problem_is_reported_with_its_wire_path() -> None:
    """Six faults in one spec are six problems, not the first."""
    spec = {
        "listeners": [
            {
                "portMapping": {"port": 80800, "protocl": "http"},
                "tls": {"mode": "LAX", "certificate": {}},
            }
        ],
        "backends": [{}, {"virtualService": {"virtualServiceName": 7}}],
    }
    assert problems(VirtualNodeSpec, spec) == [
        ("MW002", "spec.listeners[0].portMapping.port"),
        ("MW001", "spec.listeners[0].portMapping.protocl"),
        ("MW001", "spec.listeners[0].portMapping.protocol"),
        ("MW002", "spec.listeners[0].tls.mode"),
        ("MW003", "spec.listeners[0].tls.certificate"),
        ("MW003", "spec.backends[0]"),
        ("MW001", "spec.backends[1].virtualService.virtualServiceName"),
    ]


def test_an_unknown_field_is_told_the_nearest_known_one() -> None:
    """A typo gets "did you mean"."""
    with pytest.raises(DecodeError) as caught:
        decode(VirtualNodeSpec, {"listners": []})
    assert caught.value.problems[0].hint == "did you mean 'listeners'?"


def test_a_one_of_with_two_members_names_them_both() -> None:
    """Two route types at once are refused, by name."""
    http = {"match": {"prefix": "/"}, "action": {"weightedTargets": [{"virtualNode": "a", "weight": 1}]}}
    with pytest.raises(DecodeError, match="found http2Route, httpRoute"):
        decode(RouteSpec, {"httpRoute": http, "http2Route": http})


def test_scalars_may_be_strings_only_where_that_is_asked_for() -> None:
    """CloudFormation writes numbers as strings; the API does not."""
    spec = {"listeners": [{"portMapping": {"port": "8080", "protocol": "http"}}]}
    assert problems(VirtualNodeSpec, spec) == [("MW001", "spec.listeners[0].portMapping.port")]
    decoded = decode(VirtualNodeSpec, spec, lax=True)
    assert decoded.listeners is not None
    assert decoded.listeners[0].port_mapping.port == 8080


def test_a_switch_may_be_zero_or_one_only_where_that_is_asked_for() -> None:
    """Both passes of a lax decode take 0 and 1 for false and true, beside what is truly wrong."""
    spec: dict[str, Any] = {"listeners": [{"portMapping": {"port": 8080, "protocol": "smoke"}}]}
    trust = {"trust": {"file": {"certificateChain": "/ca"}}}
    spec["backendDefaults"] = {"clientPolicy": {"tls": {"enforce": 1, "validation": trust}}}
    wrong = ("MW002", "spec.listeners[0].portMapping.protocol")
    assert problems(VirtualNodeSpec, spec, lax=True) == [wrong]
    assert ("MW001", "spec.backendDefaults.clientPolicy.tls.enforce") in problems(VirtualNodeSpec, spec)


def test_a_number_that_only_looks_like_one_is_found_in_its_own_field() -> None:
    """What a lax reader does not take for a number is said where it stands, and not of the whole."""
    spec = {"listeners": [{"portMapping": {"port": "08080", "protocol": "http"}}]}
    assert problems(VirtualNodeSpec, spec, lax=True) == [("MW001", "spec.listeners[0].portMapping.port")]
