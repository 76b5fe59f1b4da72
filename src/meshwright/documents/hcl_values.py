"""What expressions of HCL come to, as far as that is known before anything is deployed.

The one rule: what is not known is raised with the expression's own words, never guessed; inside of a list or mapping
it is kept, and raised when somebody takes it.

Source: https://developer.hashicorp.com/terraform/language/expressions
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from meshwright.diagnostics import Severity
from meshwright.documents.hcl_functions import FUNCTIONS, number, text
from meshwright.documents.hcl_nodes import (
    Call,
    Each,
    Literal,
    Loop,
    Member,
    Name,
    Node,
    Operation,
    Sequence,
    Splat,
    Template,
    written,
)
from meshwright.documents.hcl_nodes import Mapping as Pairs
from meshwright.errors import did_you_mean

PLANNED = "Give what `terraform show -json` says of a plan: there everything is worked out."
"""The remedy that always helps."""

Locals: TypeAlias = Mapping[str, Any]
"""Names that hold within a loop or a dynamic block."""

_KEPT = frozenset({"merge", "keys", "concat", "tolist", "tomap", "values", "flatten", "length", "lookup", "element"})
"""Functions that do not look into what they are given."""
_EACH = "*"
_COMPARED: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
    "+": operator.add, "-": operator.sub, "*": operator.mul, "%": operator.mod, "/": operator.truediv,
}  # fmt: skip


class UnknownError(Exception):
    """An expression comes to nothing that is known here."""

    severity = Severity.ERROR

    def __init__(self, told: str, remedy: str = PLANNED, *, absent: bool = False) -> None:
        super().__init__(told)
        self.told = told
        self.remedy = remedy
        self.absent = absent
        """Whether it is certain that there is nothing, which is what `try` and `can` look for."""


class Space:
    """What has members that are only worked out when they are asked for: `var`, `local`, a resource."""

    def __init__(self, member: Callable[[str], Any]) -> None:
        self.member = member
        """Raises UnknownError."""


class Evaluator:
    """Works expressions out; `root` gives what a first name stands for, or raises UnknownError."""

    def __init__(self, root: Callable[[str], Any]) -> None:
        self._root = root

    def value(self, node: Node, names: Locals) -> Any:
        """What an expression comes to, with `names` beside those of the root.

        Raises:
            UnknownError: nothing that is known.
        """
        match node:
            case Literal(value):
                return value
            case Template(parts):
                values = [self.value(one, names) for one in parts]
                return values[0] if len(values) == 1 else "".join(_text(known(one), node) for one in values)
            case Name(name):
                return names[name] if name in names else self._root(name)
            case Each():
                return names[_EACH]
            case Member(of, key):
                return taken(known(self.value(of, names)), known(self.value(key, names)), node)
            case Operation(sign, operands):
                return self._operation(sign, operands, names)
            case Call(name, arguments, spread):
                return self._call(name, arguments, names, spread=spread)
        return self._gathered(node, names)

    def _gathered(self, node: Node, names: Locals) -> Any:
        match node:
            case Sequence(items):
                return [self._kept(one, names) for one in items]
            case Pairs(items):
                return {_text(known(self.value(key, names)), key): self._kept(one, names) for key, one in items}
            case Splat(of, then):
                many = known(self.value(of, names))
                listed = many if isinstance(many, list) else [] if many is None else [many]
                return [self.value(then, {**names, _EACH: one}) for one in listed]
            case Loop():
                return self._loop(node, names)
        raise AssertionError(f"no value for {node!r}")

    def _kept(self, node: Node, names: Locals) -> Any:
        try:
            return self.value(node, names)
        except UnknownError as error:
            return error

    def _operation(self, sign: str, operands: tuple[Node, ...], names: Locals) -> Any:
        first = known(self.value(operands[0], names))
        if sign in {"?", "&&", "||", "!"}:
            yes = truth(first, operands[0])
            if sign == "!":
                return not yes
            if sign == "?":
                return self.value(operands[1 if yes else 2], names)
            return yes if yes == (sign == "||") else truth(known(self.value(operands[1], names)), operands[1])
        if len(operands) == 1:
            return -_number(first, operands[0])
        second = known(self.value(operands[1], names))
        if sign in {"==", "!="}:
            return (whole(first) == whole(second)) == (sign == "==")
        left, right = _number(first, operands[0]), _number(second, operands[1])
        if sign in "/%" and not right:
            raise UnknownError(f"{written(operands[1])} is 0, and nothing can be divided by it")
        found = _COMPARED[sign](left, right)
        return int(found) if isinstance(found, float) and found.is_integer() else found

    def _call(self, name: str, arguments: tuple[Node, ...], names: Locals, *, spread: bool) -> Any:
        if name in {"try", "can"}:
            return self._tried(name, arguments, names)
        if name not in FUNCTIONS:
            hint = did_you_mean(name, FUNCTIONS, PLANNED, cutoff=0.8, sentence=True)
            raise UnknownError(f"{written(Call(name, arguments, spread))} is only worked out by Terraform", hint)
        values = [known(self.value(one, names)) for one in arguments]
        if spread and values:
            last = values.pop()
            values += last if isinstance(last, list) else [last]
        if name not in _KEPT:
            values = [whole(one) for one in values]
        try:
            return FUNCTIONS[name](*values)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError) as error:
            told = f"{written(Call(name, arguments, spread))} cannot be worked out: {error}"
            raise UnknownError(told, absent=True) from None

    def _tried(self, name: str, arguments: tuple[Node, ...], names: Locals) -> Any:
        for one in arguments:
            try:
                found = whole(self.value(one, names))
            except UnknownError as error:
                if not error.absent:
                    raise
                continue
            return True if name == "can" else found
        if name == "can":
            return False
        raise UnknownError(f"{written(Call(name, arguments, spread=False))} has nothing that can be had", absent=True)

    def _loop(self, loop: Loop, names: Locals) -> Any:
        over = known(self.value(loop.over, names))
        pairs = sorted(over.items()) if isinstance(over, dict) else list(enumerate(over or ()))
        listed, mapped = list[Any](), dict[str, Any]()
        for key, one in pairs:
            within = dict(names)
            within.update(zip(loop.names, (key, one) if len(loop.names) > 1 else (one,), strict=False))
            if loop.condition is not None and not truth(known(self.value(loop.condition, within)), loop.condition):
                continue
            if loop.key is None:
                listed.append(self._kept(loop.value, within))
                continue
            name, value = _text(known(self.value(loop.key, within)), loop.key), self._kept(loop.value, within)
            if loop.grouped:
                mapped.setdefault(name, []).append(value)
            else:
                mapped[name] = value
        return listed if loop.key is None else mapped


def taken(of: Any, key: Any, node: Node) -> Any:
    """A member of a value, by name or by place.

    Raises:
        UnknownError: there is none.
    """
    if isinstance(of, Space):
        return of.member(str(key))
    if isinstance(of, dict) and str(key) in of:
        return of[str(key)]
    if isinstance(of, list) and isinstance(key, int | float | str) and str(key).isdigit() and int(key) < len(of):
        return of[int(key)]
    known_keys = list(of) if isinstance(of, dict) else []
    hint = did_you_mean(str(key), known_keys, PLANNED, sentence=True)
    raise UnknownError(f"{written(node)} is not there", hint, absent=True)


def known(value: Any) -> Any:
    """`value`, where it is one.

    Raises:
        UnknownError: it was kept in place of one.
    """
    if isinstance(value, UnknownError):
        raise value
    return value


def whole(value: Any) -> Any:
    """`value`, with everything that is in it.

    Raises:
        UnknownError: something in it is not known, or is only known as a whole: a resource is no value.
    """
    if isinstance(value, Space):
        raise UnknownError("a whole resource or namespace stands where a value is needed")
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list) else known(value)


def _text(value: Any, node: Node) -> str:
    try:
        return text(value, written(node))
    except TypeError as error:
        raise UnknownError(str(error), absent=True) from None


def _number(value: Any, node: Node) -> int | float:
    try:
        return number(value, written(node))
    except TypeError as error:
        raise UnknownError(str(error), absent=True) from None


def truth(value: Any, node: Node) -> bool:
    """A condition.

    Raises:
        UnknownError: it is neither true nor false.
    """
    if isinstance(value, bool):
        return value
    if value in {"true", "false"}:
        return bool(value == "true")
    raise UnknownError(f"{written(node)} is {value!r}, neither true nor false")
