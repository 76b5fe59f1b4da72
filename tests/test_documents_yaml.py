"""The positioned YAML reader: equal to PyYAML's safe loader, with places, and impossible to blow up."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from meshwright.documents.positions import Items, Table, Unquoted, reach
from meshwright.documents.scalars import resolve_plain
from meshwright.documents.yaml_positions import MOST_ALIASED, read_yaml
from settings import examples

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcß: -<#{[&*!'\"~0y", max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


def value(text: str) -> Any:
    """The only document of `text`, which must have no fault."""
    parsed = read_yaml(text)
    assert parsed.fault is None
    assert len(parsed.documents) == 1
    assert parsed.documents[0].faults == ()
    return parsed.documents[0].value


def faults(text: str) -> list[tuple[int, int, str]]:
    """Every fault of `text` as line, column and summary."""
    parsed = read_yaml(text)
    found = [fault for one in parsed.documents for fault in one.faults]
    return [(*one.place, one.summary) for one in [*found, *([parsed.fault] if parsed.fault else [])]]


@hypothesis_settings(max_examples=examples(50))
@given(VALUES, st.booleans())
def test_a_dumped_value_reads_as_the_safe_loader_reads_it(thing: object, flow: bool) -> None:
    """The builder and CSafeLoader agree on whatever PyYAML writes."""
    text = yaml.dump(thing, Dumper=yaml.CSafeDumper, default_flow_style=flow, allow_unicode=True)
    assert value(text) == yaml.load(text, Loader=yaml.CSafeLoader)


@hypothesis_settings(max_examples=examples(50))
@given(st.text("abn:-.0123456789xeE+~_yoYNtrufalsinAN", max_size=8))
def test_an_unquoted_scalar_means_what_the_safe_loader_says_but_for_the_named_exceptions(text: str) -> None:
    """Times, dates and numbers with leading zeros stay text; everything else agrees."""
    try:
        wanted = yaml.load(f"- {text}", Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError):
        return
    if not isinstance(wanted, list) or len(wanted) != 1 or isinstance(wanted[0], dict | list):
        return
    found = resolve_plain(text.strip())
    kept = isinstance(found, str) and (
        ":" in text or "-" in text[1:] or text.lstrip("+-").startswith("0") or ".0" in text
    )
    assert repr(found) == repr(wanted[0]) or kept


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("12:30", "12:30"),
        ("012345670", "012345670"),
        ("2026-09-30", "2026-09-30"),
        ("0x1f", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("1.5", 1.5),
        ("1e3", "1e3"),
        (".inf", float("inf")),
        ("-8080", -8080),
        ("0", 0),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_unquoted_scalars(text: str, wanted: object) -> None:
    """The cases that App Mesh users meet."""
    assert resolve_plain(text) == wanted
    assert type(resolve_plain(text)) is type(wanted)


def test_every_key_and_item_knows_its_place() -> None:
    """Lines and columns count from 1; the path leads to the key, or the nearest member around it."""
    root = value("spec:\n  listeners:\n    - portMapping: {port: 8080,\n        protocol: http}\n")
    assert reach(root, "spec.listeners[0].portMapping.protocol") == ("http", (4, 9), True)
    assert reach(root, "spec.listeners[0].portMapping.port")[1] == (3, 21)
    assert reach(root, "spec.listeners[0]")[1] == (3, 7)
    assert reach(root, "spec.listeners[1].tls") == (root["spec"]["listeners"], (2, 3), False)


def test_several_documents_have_their_places() -> None:
    """Each document starts anew."""
    parsed = read_yaml("a: 1\n---\nb: 2\n---\n")
    assert [one.value for one in parsed.documents] == [{"a": 1}, {"b": 2}, None]
    assert [one.place[0] for one in parsed.documents] == [1, 2, 4]


def test_anchors_aliases_and_merge_keys_read_as_the_safe_loader_reads_them() -> None:
    """Own keys beat merged ones, earlier merged mappings beat later ones."""
    text = "a: &a {x: 1, y: 2}\nb: &b {x: 3, z: 4}\nc: {<<: [*a, *b], y: 5}\nd: {<<: *b}\ne: *a\nf: [&s text, *s]\n"
    assert value(text) == yaml.load(text, Loader=yaml.CSafeLoader)


def test_a_merged_member_keeps_the_place_of_its_anchor() -> None:
    """A problem in a merged member is where it was written."""
    assert reach(value("a: &a\n  x: 1\nb:\n  <<: *a\n"), "b.x")[1] == (2, 3)


def test_short_tags_become_long_functions() -> None:
    """CloudFormation's tags at scalars, lists and mappings."""
    text = "[!Ref A, !GetAtt A.B.C, !Sub '${A}', !Join ['', [!Ref B]], !If [C, 1, !Ref 'AWS::NoValue'], "
    text += "!Not [!Condition D]]"
    assert value(text) == [
        {"Ref": "A"},
        {"Fn::GetAtt": ["A", "B.C"]},
        {"Fn::Sub": "${A}"},
        {"Fn::Join": ["", [{"Ref": "B"}]]},
        {"Fn::If": ["C", 1, {"Ref": "AWS::NoValue"}]},
        {"Fn::Not": [{"Condition": "D"}]},
    ]


def test_unquoted_template_variables_are_marked() -> None:
    """`$NAME` and `{{ NAME }}` without quotes are told from quoted text."""
    root = value("a: ${A}\nb: '${B}'\nc: {{ C }}\nd: x-$D\n")
    assert [type(one) is Unquoted for one in root.values()] == [True, False, True, True]
    assert root["c"] == "{{C}}"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: 1\nb: 2\na: 3\n", [(3, 1, "the key 'a' is given twice, first on line 1")]),
        ("a: !Foo 1\n", [(1, 4, "the tag !Foo means nothing here")]),
        ("a: !!python/name:os.system 1\n", [(1, 4, "the tag !!python/name:os.system means nothing here")]),
        ("a: !!int twelve\n", [(1, 4, "'twelve' is not a int")]),
        ("a: *b\n", [(1, 4, "the alias *b refers to no anchor above it")]),
        ("a: &a [*a]\n", [(1, 8, "the alias *a stands inside what it refers to")]),
        ("? [1]\n: 2\n", [(1, 3, "a key must be text, not a list or a mapping")]),
        ("a: {{ A }: 1}\n", [(1, 4, "a key must be text, not a list or a mapping")]),
        ("a: {<<: 1}\n", [(1, 5, "the merge key << takes a mapping or a list of mappings")]),
        ("a: b: c\n", [(1, 5, "this is not YAML: mapping values are not allowed in this context")]),
        (
            "a: [1\nb: 2\n",
            [(2, 2, "this is not YAML: did not find expected ',' or ']' while parsing a flow sequence")],
        ),
    ],
)
def test_a_fault_has_its_place(text: str, wanted: list[tuple[int, int, str]]) -> None:
    """One message each, with line and column."""
    assert faults(text) == wanted


def test_documents_before_a_syntax_error_are_kept() -> None:
    """What is good is read."""
    parsed = read_yaml("a: 1\n---\nb: [\n")
    assert [one.value for one in parsed.documents] == [{"a": 1}]
    assert parsed.fault is not None


def test_a_syntax_error_in_a_template_says_so() -> None:
    """Helm charts are the usual reason."""
    fault = read_yaml("a:\n{{- if .Values.x }}\n  b: 1\n").fault
    assert fault is not None
    assert "template" in fault.detail


@pytest.mark.parametrize("piece", ["[", "{a: ", "- ", "? ", '{"a":', "[\n", "!Sub [", "- - "])
def test_ten_megabytes_of_nesting_give_one_message(piece: str) -> None:
    """No recursion, no memory: reading stops at the depth limit."""
    found = faults(piece * (10_000_000 // len(piece)))
    assert [summary for _, _, summary in found] == ["values nest deeper than 100 levels"]


def test_an_alias_bomb_is_refused() -> None:
    """A billion laughs end in one message."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert faults("\n".join(lines))[-1][2] == f"the aliases stand for more than {MOST_ALIASED:,} values"


def test_a_nest_of_aliases_is_refused() -> None:
    """Depth counts what aliases stand for, though the text itself is flat."""
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 5000))]
    assert faults("\n".join(lines))[-1][2] == "values nest deeper than 100 levels"


@hypothesis_settings(max_examples=examples(50))
@given(st.text(st.sampled_from(list("ab:-?[]{},&*!|>'\"%@#~ \n\t<$0.")), max_size=60))
def test_any_text_is_read_or_refused_and_agrees_with_the_safe_loader(text: str) -> None:
    """Nothing raises; where there is no fault and the loader reads it too, the values agree."""
    parsed = read_yaml(text)
    try:
        wanted = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, ValueError, TypeError):
        return
    if parsed.fault is None and not any(one.faults for one in parsed.documents):
        assert [_keyed(one.value) for one in parsed.documents] == [_keyed(one) for one in wanted]


def _keyed(thing: Any) -> Any:
    """Keys as text and exceptions of `scalars` made equal, because those are decided elsewhere."""
    if isinstance(thing, Table | dict):
        return {"key": [_keyed(one) for one in thing.values()]}
    if isinstance(thing, Items | list):
        return [_keyed(one) for one in thing]
    return thing if isinstance(thing, bool | None) else "scalar"
