"""Hypothesis strategies for wire values of any shape, drawn from the shape's own types, valid or broken."""

from __future__ import annotations

import functools
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from meshwright.model.scalars import Shape

TEXT = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
SPELLED = st.sampled_from(
    ["0", "1", "true", "TRUE", "null", "8080", "08080", "1.0", "1e2", "-1", "+1", "nan", "\u0665"]
)
"""Texts that a lax reader may take for something else."""
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.sampled_from([0.0, 1.0, 2.5]),
    TEXT,
    SPELLED,
    st.sampled_from([[], {}, [1]]),
)


def wire(shape: type[Shape]) -> st.SearchStrategy[Any]:
    """Valid wire values (dictionaries as a JSON parser gives them) of `shape`."""
    return _of(inspect.type_info(shape))


def broken(shape: type[Shape]) -> st.SearchStrategy[Any]:
    """Wire values of `shape` in which one place may be replaced by something else."""
    return st.builds(_replaced, wire(shape), st.lists(st.integers(0, 10), max_size=6), JUNK, TEXT)


def _replaced(value: Any, way: list[int], junk: Any, name: str) -> Any:
    """`value` with the place that `way` leads to replaced by `junk`, or with a field `name` added there."""
    if not way:
        return {**value, name: junk} if isinstance(value, dict) and name else junk
    here, rest = way[0], way[1:]
    if isinstance(value, dict) and value:
        key = sorted(value)[here % len(value)]
        return {**value, key: _replaced(value[key], rest, junk, name)}
    if isinstance(value, list) and value:
        at = here % len(value)
        return [*value[:at], _replaced(value[at], rest, junk, name), *value[at + 1 :]]
    return junk


@functools.singledispatch
def _of(info: inspect.Type) -> st.SearchStrategy[Any]:
    raise TypeError(f"no strategy for {info}")


@_of.register
def _(info: inspect.Metadata) -> st.SearchStrategy[Any]:
    return _of(info.type)


@_of.register
def _(info: inspect.UnionType) -> st.SearchStrategy[Any]:
    return st.one_of([_of(one) for one in info.types if not isinstance(one, inspect.NoneType)])


@_of.register
def _(info: inspect.LiteralType) -> st.SearchStrategy[Any]:
    return st.sampled_from(sorted(info.values, key=str))


@_of.register
def _(info: inspect.BoolType) -> st.SearchStrategy[Any]:
    del info
    return st.booleans()


@_of.register
def _(info: inspect.IntType) -> st.SearchStrategy[Any]:
    return st.integers(info.ge if info.ge is not None else -(2**31), info.le if info.le is not None else 2**31)


@_of.register
def _(info: inspect.FloatType) -> st.SearchStrategy[Any]:
    low, high = info.ge or 0, info.le if info.le is not None else 10**6
    return st.one_of(st.integers(int(low), int(high)), st.floats(low, high))


@_of.register
def _(info: inspect.StrType) -> st.SearchStrategy[Any]:
    if info.pattern is not None:
        fitting = st.from_regex(info.pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))
        return fitting.filter(lambda text: (info.min_length or 0) <= len(text) <= (info.max_length or len(text)))
    return st.text(
        alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=info.min_length or 0, max_size=12
    ).map(lambda text: text.ljust(info.min_length or 0, "x"))


@_of.register
def _(info: inspect.VarTupleType) -> st.SearchStrategy[Any]:
    top = 3 if info.max_length is None else min(3, info.max_length)
    return st.lists(_of(info.item_type), min_size=info.min_length or 0, max_size=top)


@_of.register
def _(info: inspect.StructType) -> st.SearchStrategy[Any]:
    shape = info.cls
    forms: tuple[tuple[str, ...], ...] = ()
    if issubclass(shape, Shape):
        forms = shape.forms or tuple((name,) for name in shape.one_of or shape.any_of)
    chosen = {name for form in forms for name in form}
    required = {field.encode_name: _of(field.type) for field in info.fields if field.required}
    optional = {
        field.encode_name: _of(field.type) for field in info.fields if not field.required and field.name not in chosen
    }
    rest = st.fixed_dictionaries(required, optional=optional)
    if not forms:
        return rest
    arms = [
        st.fixed_dictionaries({field.encode_name: _of(field.type) for field in info.fields if field.name in form})
        for form in forms
    ]
    return st.tuples(rest, st.one_of(arms)).map(lambda pair: {**pair[0], **pair[1]})
