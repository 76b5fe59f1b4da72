"""The JSON Schema of files of tests takes what is read, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from meshwright.documents import load, trial_files, trial_schema
from meshwright.documents.project_file import load_project
from meshwright.errors import UsageError
from meshwright.trials import written
from settings import PROVE, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hypothesis.strategies import DrawFn, SearchStrategy

    from meshwright.model import State

jsonschema = pytest.importorskip("jsonschema", reason="make installs it: requirements/dev.txt")

SHOP = ROOT / "examples" / "shop"
URL = "http://payment.shop.internal:8080/"
MARK = {"x-user": "gold"}
NODES = st.sampled_from(["orders", "payment-v1", "web"])
DURATIONS = st.sampled_from(["1500ms", "2s", "0.5s", "2", "2 s", "-1s", "1h", "", 2, 1.5])
PERCENTAGES = st.sampled_from(["90%", "99.9%", "0%", "0.0%", "100%", "100.0%", "101%", "1000%", "90", 90])
COUNTS = st.sampled_from([0, 1, 5, 200.0, 1.5, -1, 1_000_001, "3", True])
BOOLS = st.sampled_from([True, False, "yes", 1])
ODD: SearchStrategy[Any] = st.sampled_from([None, True, 7, 2.5, "", "odd", [], {}, [[]], {"odd": 1}])
SPANS = st.sampled_from([{}, {"at_least": 1}, {"at_most": 2}, {"at_least": 1, "at_most": "2"}, {"most": 1}])
STRICT = {"pattern": lambda _, pattern, value, __: _unmatched(pattern, value)}


def _unmatched(pattern: str, value: Any) -> Any:
    """Where a text is not as a pattern says, whose `$` is ECMAScript's: the very end."""
    import re  # noqa: PLC0415 - of this dialect alone

    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield jsonschema.ValidationError(f"{value!r} is not like {pattern}")


def takes() -> Callable[[Any], bool]:
    """Whether the schema takes a document."""
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, STRICT)
    validator.check_schema(trial_schema.schema())
    found: Callable[[Any], bool] = validator(trial_schema.schema()).is_valid
    return found


TAKES = takes()


@pytest.fixture(scope="module")
def shop() -> State:
    """The shop's definitions."""
    project = load_project(SHOP / "meshwright.yaml")
    return load(project.definitions, project.load_settings()).state


def read(folder: Path, state: State, text: str) -> str:
    """What is held against a file; "" for nothing."""
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        trial_files.load([path], state)
    except UsageError as error:
        return str(error)
    return ""


@st.composite
def members(draw: DrawFn, /, required: tuple[str, ...] = (), **values: SearchStrategy[Any]) -> dict[str, Any]:
    """A mapping with those members that are required, and a few of the others."""
    others = sorted(set(values) - set(required))
    more = draw(st.lists(st.sampled_from(others), max_size=3, unique=True)) if others else []
    chosen = [*required, *more]
    return {name: draw(values[name]) for name in chosen}


def faults() -> SearchStrategy[dict[str, Any]]:
    """What may stand under `given`, right or not: none, one or several kinds of fault."""
    whole: dict[str, SearchStrategy[Any]] = dict.fromkeys(written.FAULTS, BOOLS)
    return members(
        required=(),
        **whole
        | {
            "control_plane": st.sampled_from(["gone", "here", None]),
            "latency": DURATIONS,
            "abort": st.sampled_from([503, 199, 600, 503.0, "UNAVAILABLE", "OK", "503", None]),
            "bandwidth": st.sampled_from(["10KB/s", "10", None]),
        },
        at=NODES | st.none(),
        instances=st.sampled_from(["1 of 2", "0 of 2", "1 of two", None]),
        when=st.sampled_from([MARK, {}, None]),
        jitter=DURATIONS | st.none(),
    )


def sound_faults() -> SearchStrategy[dict[str, Any]]:
    """One kind of fault, with where, and mostly what goes with it."""
    return st.sampled_from(sorted(written.FAULTS)).flatmap(
        lambda name: members(
            required=(name, "at") if "at" in written.FAULTS[name] else (name,),
            **{
                name: st.just(
                    {"latency": "2s", "abort": 503, "bandwidth": "1MB/s", "control_plane": "gone"}.get(name, True)
                )
            },
            at=st.just("payment-v1"),
            **{one: value for one, value in BESIDE.items() if one in written.FAULTS[name]},
        )
    )


BESIDE: dict[str, SearchStrategy[Any]] = {
    "instances": st.just("1 of 2"),
    "when": st.just(MARK),
    "jitter": st.just("200ms"),
}


def several(one: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """One, or a list of some."""
    return one | st.lists(one, max_size=2)


def expectations() -> SearchStrategy[dict[str, Any]]:
    """What may stand under `expect`, right or not."""
    texts = st.dictionaries(st.sampled_from(["x-a", ":path", ""]), st.sampled_from(["a", None, 5]), max_size=2)
    return members(
        status=several(COUNTS | st.sampled_from([200, 503, 600])),
        grpc_status=several(st.sampled_from(["OK", "UNAVAILABLE", "UNAVAIL", 14])),
        served_by=several(NODES),
        not_served_by=several(NODES),
        shares=st.dictionaries(st.just("payment-v1"), PERCENTAGES, max_size=1),
        confidence=PERCENTAGES | st.none(),
        path=st.lists(NODES, max_size=2),
        attempts=COUNTS | SPANS,
        given_up=st.sampled_from([{}, {"at_least": "1s"}, {"at_most": 5}]),
        within=DURATIONS,
        headers=texts,
        arrived=texts,
        tls=st.sampled_from(["none", "server", "mutual", "some", None]),
        peer=st.sampled_from(["name", "", None]),
        errors=COUNTS | st.none(),
        spans=st.lists(
            NODES
            | members(required=("at",), at=NODES, kind=st.sampled_from(["server", "both"]), times=COUNTS | SPANS),
            max_size=2,
        ),
        avoided=BOOLS,
        of=COUNTS,
        at_once=COUNTS,
        steady=BOOLS,
    )


def one_test() -> SearchStrategy[dict[str, Any]]:
    """A test, right or not; its request carries the header that faults may be for."""
    request = {
        "url": st.just(URL),
        "method": st.sampled_from(["GET", "POST", "get", ""]),
        "headers": st.just(MARK),
        "onward": st.sampled_from([[], ["ledger.shop.internal"], "ledger.shop.internal"]),
    }
    return members(
        required=("name", "from", "request", "expect"),
        **{"from": NODES},
        name=st.sampled_from(["one", "", "n" * 2048, "n" * 2049]),
        request=members(required=("url", "headers"), **request),
        given=st.lists(faults() | sound_faults(), max_size=2),
        expect=expectations(),
    )


@st.composite
def documents(draw: DrawFn) -> Any:
    """A file: a list, one test, or a mapping; one member of it may be something else, or gone, or more."""
    tests = draw(st.lists(one_test(), min_size=1, max_size=2))
    for number, one in enumerate(tests):
        one["name"] = one["name"] and f"{number}{one['name']}"[:2049]
    found = draw(st.sampled_from([tests, tests[0], {"tests": tests}, {"tests": tests, "instances": {"web": 2}}]))
    found = json.loads(json.dumps(found))
    if draw(st.booleans()):
        mutate(draw, found)
    return found


def mutate(draw: DrawFn, value: Any) -> None:
    """Change one member somewhere in `value`, but the headers that faults are for."""
    places = list(_places(value))
    holder, key = draw(st.sampled_from(places))
    what = draw(st.sampled_from(["gone", "odd", "more"]))
    if what == "more" and isinstance(holder, dict):
        holder["surplus"] = 1
    elif what == "odd" or isinstance(holder, list):
        # No text in the place of one: whether the mesh has such a name is not the schema's to say.
        holder[key] = draw(ODD.filter(lambda one: not (isinstance(one, str) and isinstance(holder[key], str))))
    else:
        del holder[key]


def _places(value: Any) -> Any:
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        if key == "headers" and one == MARK:
            continue
        yield value, key
        if isinstance(one, dict | list) and one != MARK:
            yield from _places(one)


TEST = {"name": "one", "from": "orders", "request": {"url": URL, "headers": MARK}, "expect": {"status": 200}}


def with_given(*faulty: Any, **expect: Any) -> list[Any]:
    """A file of one test under these faults."""
    return [TEST | {"given": list(faulty), "expect": {"status": 200, **expect}}]


@example(document=None)
@example(document={})
@example(document=[])
@example(document=TEST)
@example(document=with_given({}))
@example(document=with_given({"at": "web"}))
@example(document=with_given({"reset": True, "crash": True, "at": "web"}))
@example(document=with_given({"reset": False, "crash": True, "at": "web"}))
@example(document=with_given({"crash": True, "at": "web", "jitter": "1s"}))
@example(document=with_given({"latency": "1s", "at": "web", "jitter": "1s"}))
@example(document=with_given({"crash": True}))
@example(document=with_given({"control_plane": "gone"}))
@example(document=with_given({"control_plane": "gone", "at": "web"}))
@example(document=with_given({"abort": "OK", "at": "web"}))
@example(document=with_given({"lost": True, "at": "web", "when": MARK}))
@example(document=with_given({"expired_certificate": True, "at": "web", "instances": "1 of 2"}))
@example(document=with_given(steady=True))
@example(document=with_given(avoided=True))
@example(document=with_given({"crash": True, "at": "web"}, steady=True))
@example(document=[TEST | {"expect": {}}])
@example(document=[TEST | {"expect": {"of": 5, "confidence": "99%"}}])
@example(document=[TEST | {"expect": {"status": []}}])
@example(document=[TEST | {"expect": {"status": 200.0}}])
@example(document=[TEST | {"expect": {"errors": 0}}])
@example(document=[TEST | {"expect": {"shares": {"web": "90%"}, "confidence": "100%"}}])
@example(document=[TEST | {"expect": {"shares": {"web": "90%"}, "confidence": "0.00%"}}])
@example(document={"tests": TEST})
@given(document=documents())
@settings(
    max_examples=5_000 if PROVE else 300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_schema_takes_what_is_read(tmp_path: Path, shop: State, document: Any) -> None:
    """Of files that name what the mesh has: those that are sound, and those that are a little beside it."""
    faulty = read(tmp_path, shop, json.dumps(document))
    assert TAKES(document) == (not faulty), faulty


def test_what_stands_unquoted_is_text_where_readers_of_yaml_differ(tmp_path: Path, shop: State) -> None:
    """A date, a time and an account's number as a header's value."""
    text = (
        f"- {{name: one, from: orders, request: {{url: '{URL}', headers: {{x-day: 2024-01-31, x-at: 12:30, "
        "x-account: 012345678901}}, expect: {status: 200}}\n"
    )
    assert read(tmp_path, shop, text) == ""


def test_a_second_document_adds_tests_and_does_not_replace_what_the_first_says(tmp_path: Path, shop: State) -> None:
    """Neither its instances nor tests that are no list."""
    one = json.dumps([TEST])
    assert read(tmp_path, shop, f"instances: {{web: 2}}\n---\n{one}\n") == ""
    assert ":3: instances: stands in an earlier document" in read(
        tmp_path, shop, "instances: {web: 2}\n---\ninstances: {web: 3}\n"
    )
    assert "tests: expected a list" in read(tmp_path, shop, f"tests: {{name: x}}\n---\n{one}\n")
