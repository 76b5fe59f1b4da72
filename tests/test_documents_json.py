"""The positioned JSON reader: equal to the standard library's, with places, strict about the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from meshwright.documents.json_positions import read_json
from meshwright.documents.positions import Unquoted, reach
from settings import examples

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def value(text: str) -> Any:
    """The document of `text`, which must have no fault."""
    parsed = read_json(text)
    assert parsed.fault is None
    assert parsed.documents[0].faults == ()
    return parsed.documents[0].value


@hypothesis_settings(max_examples=examples(50))
@given(VALUES, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_a_dumped_value_reads_back(thing: object, indent: int | str | None, ascii_only: bool) -> None:
    """Escapes, surrogate pairs and tabs included."""
    assert value(json.dumps(thing, indent=indent, ensure_ascii=ascii_only)) == thing


def test_every_key_and_item_knows_its_place() -> None:
    """Lines and columns count from 1."""
    root = value('{\n\t"a": [1,\n  {"b": "\\/\\ud83d\\ude00"}]\n}')
    assert reach(root, "a[1].b") == ("/\U0001f600", (3, 4), True)
    assert reach(root, "a")[1] == (2, 2)
    assert reach(root, "a[1]")[1] == (3, 3)


@pytest.mark.parametrize("text", ['{"a": $NAME}', '{"a": ${NAME}}', '{"a": {{NAME}}}', '{"a": [$NAME]}'])
def test_unquoted_variables_are_read(text: str) -> None:
    """Jq's templates hold `$NAME` where a string will be."""
    found = value(text)["a"]
    assert isinstance(found[0] if isinstance(found, list) else found, Unquoted)


@pytest.mark.parametrize(
    ("text", "place", "summary", "detail"),
    [
        (
            '{"a": 1,}',
            (1, 9),
            "a key in double quotes should stand here, found '}'",
            "no comma before a closing bracket",
        ),
        ('{"a": 1\n"b": 2}', (2, 1), ", should stand or } after a member", ""),
        ("[1, 2,\n]", (2, 1), "a value should stand here, found ']'", "no comma before a closing bracket"),
        ("// no\n{}", (1, 1), "a value should stand here", "JSON has no comments"),
        ("{'a': 1}", (1, 2), "a key in double quotes", "double quotes"),
        ('{"a": tru}', (1, 7), "a value should stand here, found 'tru}'", ""),
        ('{"a": 01}', (1, 7), "a value should stand here, found '01}'", ""),
        ('{"a": NaN}', (1, 7), "a value should stand here", ""),
        ('{"a": "x\n"}', (1, 7), "has no end on its line", ""),
        ('{"a": "\\x"}', (1, 7), "an escape that JSON does not know", ""),
        ('{"a": "\\ud83d"}', (1, 7), "half of a surrogate pair", ""),
        ('{"a": 1}\n{"b": 2}', (2, 1), "after the end of the document", "in a list"),
        ('{"a"', (1, 5), ": should stand after a key, found the end of the file", ""),
        ('{"a": ' + "9" * 5000 + "}", (1, 7), "a value should stand here", ""),
    ],
)
def test_a_fault_has_its_place(text: str, place: tuple[int, int], summary: str, detail: str) -> None:
    """One message, with line and column, and what to do where it is known."""
    fault = read_json(text).fault
    assert fault is not None
    assert fault.place == place
    assert summary in fault.summary
    assert detail in fault.detail


def test_a_key_given_twice_is_a_fault_that_names_both_lines() -> None:
    """The first value is kept."""
    document = read_json('{"a": 1,\n "b": 2,\n "a": 3}').documents[0]
    assert document.value == {"a": 1, "b": 2}
    assert [(one.place, one.summary) for one in document.faults] == [
        ((3, 2), "the key 'a' is given twice, first on line 1")
    ]


@pytest.mark.parametrize("piece", ["[", '{"a":', "[\n", "[1,["])
def test_ten_megabytes_of_nesting_give_one_message_at_once(piece: str) -> None:
    """Recursion is bounded."""
    fault = read_json(piece * (10_000_000 // len(piece))).fault
    assert fault is not None
    assert fault.summary == "values nest deeper than 100 levels"


@hypothesis_settings(max_examples=examples(50))
@given(st.text(st.sampled_from(list('{}[]",:\\u0e+-.tfn \n$')), max_size=40))
def test_any_text_is_read_exactly_when_the_standard_library_reads_it(text: str) -> None:
    """Apart from what is stricter on purpose: keys given twice, NaN, lone surrogates; and variables."""
    parsed = read_json(text)
    try:
        wanted = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        assert parsed.fault is not None or "$" in text or not text.strip() or parsed.documents[0].faults
        return
    assert parsed.fault is None
    assert parsed.documents[0].value == wanted


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)
