"""Travis CI's condition language, version 1: what `if:` holds, read into a tree.

The one rule: what Travis reads, this reads, and to the same tree; where Travis reads something else than was meant,
that is said beside it (`doubts`), and what could not be evaluated does not parse.

Sources: https://docs.travis-ci.com/user/conditions-v1, https://github.com/travis-ci/travis-conditions
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ATTRIBUTES = (
    *("type", "repo", "head_repo", "os", "dist", "group", "sudo", "language", "sender", "fork", "branch"),
    *("head_branch", "tag", "commit_message"),
)
"""What a condition knows of the build, beside `env(NAME)`."""

MOST_NESTED = 100
"""How deep brackets and negations may nest; nobody reads a tenth of that."""

_KNOWN = "|".join(sorted(ATTRIBUTES, key=len, reverse=True))
_ATTRIBUTE = re.compile(rf"(?:{_KNOWN})(?=[\s,=)|]|\Z)")
_ANY_CASE = re.compile(rf"(?:{_KNOWN})\Z", re.IGNORECASE)
_NOT = re.compile(r"not|!", re.IGNORECASE)
_AND = re.compile(r"and|&&", re.IGNORECASE)
_OR = re.compile(r"or|\|\|", re.IGNORECASE)
_IN = re.compile(r"in|not in", re.IGNORECASE)
_IS = re.compile(r"is not|is", re.IGNORECASE)
_PREDICATE = re.compile(r"present|blank|true|false", re.IGNORECASE)
_FUNCTION = re.compile(r"env|concat", re.IGNORECASE)
_EQUALITY = re.compile(r"==|=|!=")
_MATCH = re.compile(r"=~|~=|!~")
_WORD = re.compile(r"""[^\s()"',=!]+""")
_BARE_REGEX = re.compile(r"\S*[^\s)]+")
_CONTINUED = re.compile(r"\\\s*[\n\r]")
_SPACE = re.compile(r"\s*")


class ConditionError(ValueError):
    """Travis rejects the condition, and with it the build; `column` counts from 1 in the condition's own text."""

    def __init__(self, summary: str, column: int, remedy: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.column = column
        self.remedy = remedy


class Attribute(msgspec.Struct, frozen=True, tag=True):
    """A fact of the build, such as `branch`."""

    name: str


class Word(msgspec.Struct, frozen=True, tag=True):
    """A text that stands for itself."""

    text: str
    quoted: bool = False


class Call(msgspec.Struct, frozen=True, tag=True):
    """`env(NAME)` or `concat(A, B, …)`; the name in lower case."""

    name: str
    arguments: tuple[Operand, ...]


class Equal(msgspec.Struct, frozen=True, tag=True):
    """`left = right`, or `!=`."""

    left: Operand
    right: Operand
    negated: bool = False


class Match(msgspec.Struct, frozen=True, tag=True):
    """`left =~ regex`, or `!~`; the regex is a word, without its slashes, or a call."""

    left: Operand
    regex: Word | Call
    negated: bool = False


class Among(msgspec.Struct, frozen=True, tag=True):
    """`left IN (…)`, or `NOT IN`."""

    left: Operand
    items: tuple[Operand, ...]
    negated: bool = False


class Is(msgspec.Struct, frozen=True, tag=True):
    """`left IS present`, `blank`, `true` or `false`, or `IS NOT`."""

    left: Operand
    predicate: str
    negated: bool = False


class Not(msgspec.Struct, frozen=True, tag=True):
    """`NOT term`."""

    term: Expression


class And(msgspec.Struct, frozen=True, tag=True):
    """`term AND term …`, two at least."""

    terms: tuple[Expression, ...]


class Or(msgspec.Struct, frozen=True, tag=True):
    """`term OR term …`, two at least."""

    terms: tuple[Expression, ...]


Operand: TypeAlias = Attribute | Word | Call
Expression: TypeAlias = Attribute | Word | Call | Equal | Match | Among | Is | Not | And | Or

_PARTS = (Attribute, Word, Call, Equal, Match, Among, Is, Not, And, Or)


class Condition(msgspec.Struct, frozen=True):
    """A condition that Travis takes."""

    expression: Expression
    doubts: tuple[str, ...] = ()
    """Where Travis reads something else than the author most likely meant, one sentence each."""


def parse(text: str) -> Condition:
    """Read `text`, the value of an `if:`.

    Raises:
        ConditionError: Travis could not read or evaluate it.
    """
    return _Reader(_CONTINUED.sub(" ", text)).condition()


def parts(expression: Expression) -> Iterator[Expression]:
    """`expression` and everything in it, the outer before the inner, in reading order."""
    yield expression
    for name in expression.__struct_fields__:
        value = getattr(expression, name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, _PARTS):
                yield from parts(one)


class _Reader:
    """Reads from the left; a part that is not there gives None, except where one must be."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._doubts: list[str] = []

    def condition(self) -> Condition:
        expression = self._either()
        if self._at < len(self._text):
            raise self._unexpected()
        return Condition(expression, tuple(dict.fromkeys(self._doubts)))

    def _either(self) -> Expression:
        terms = [self._both()]
        while self._spaced(_OR):
            terms.append(self._both())
        return Or(tuple(terms)) if len(terms) > 1 else terms[0]

    def _both(self) -> Expression:
        terms = [self._negatable()]
        while self._spaced(_AND):
            terms.append(self._negatable())
        return And(tuple(terms)) if len(terms) > 1 else terms[0]

    def _negatable(self) -> Expression:
        if self._opened():
            with self._deeper():
                inner = self._either()
            self._closed()
            return inner
        if self._spaced(_NOT):
            with self._deeper():
                return Not(self._negatable())
        return self._term()

    @contextlib.contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise ConditionError(f"brackets and negations nest deeper than {MOST_NESTED} levels", self._at + 1)
        yield
        self._depth -= 1

    def _term(self) -> Expression:
        left = self._operand()
        if isinstance(left, Word) and not left.quoted and _ANY_CASE.match(left.text):
            told = f"{left.text!r} is read as a word, not as the attribute {left.text.lower()}"
            self._doubts.append(f"{told}; write it in lower case with a space after it.")
        operator = self._spaced(_IN)
        if operator:
            return Among(left, self._items(operator), negated=operator.lower() != "in")
        operator = self._spaced(_IS)
        if operator:
            predicate = self._spaced(_PREDICATE)
            if predicate:
                return Is(left, predicate.lower(), negated=operator.lower() != "is")
            self._doubts.append(
                f"{operator} with nothing after it is passed over; write {operator} present, for one."
            )
        operator = self._spaced(_MATCH)
        if operator:
            return Match(left, self._regex(operator), negated=operator == "!~")
        operator = self._spaced(_EQUALITY)
        if operator:
            right = self._operand()
            if left == Attribute("type") and isinstance(right, Attribute):
                told = f"{right.name} is the attribute here, and no type of builds is called so"
                self._doubts.append(f"{told}; write {right.name} IS present, or quote the word.")
            return Equal(left, right, negated=operator == "!=")
        return left

    def _operand(self) -> Operand:
        found = self._operand_here()
        if found is None:
            raise self._expected("a value")
        return found

    def _operand_here(self) -> Operand | None:
        self._skip()
        name = self._take(_ATTRIBUTE)
        if name:
            self._skip()
            return Attribute(name)
        return self._call() or self._word()

    def _call(self) -> Call | None:
        """A call, or None; what looks like the beginning of one is gone all the same, as it is with Travis."""
        began = self._at
        name = self._spaced(_FUNCTION)
        if not name:
            return None
        if not self._opened():
            rest = _WORD.match(self._text, self._at)
            if rest and self._at == began + len(name):
                self._doubts.append(
                    f"{name + rest[0]!r} is read as {rest[0]!r}, because {name} begins a call; quote the word."
                )
            return None
        with self._deeper():
            arguments = self._list()
        self._closed()
        return Call(name.lower(), arguments)

    def _items(self, operator: str) -> tuple[Operand, ...]:
        if not self._opened():
            told = f"a list in brackets after {operator}"
            raise self._expected(told, "Write it as branch IN (main, staging), for one.")
        items = self._list()
        if not items:
            raise self._expected("a list of values")
        self._closed()
        return items

    def _list(self) -> tuple[Operand, ...]:
        found: list[Operand] = []
        while (one := self._operand_here()) is not None:
            found.append(one)
            if not self._spaced(","):
                break
        return tuple(found)

    def _regex(self, operator: str) -> Word | Call:
        call = self._call()
        if call is not None:
            return call
        self._skip()
        began = self._at
        if self._text.startswith("/", began):
            self._at = self._end_of_slashes(began)
        elif not self._take(_BARE_REGEX):
            raise self._expected(f"a regular expression after {operator}")
        text = self._text[began : self._at]
        self._skip()
        return Word(re.sub(r"^/|/$", "", text, flags=re.MULTILINE))

    def _end_of_slashes(self, began: int) -> int:
        """Where the regex between slashes ends: at a slash that no backslash stands before, else with the text."""
        end = re.compile(r"(?<!\\)/").search(self._text, began + 1)
        if end:
            return end.end()
        self._doubts.append("the regular expression has no slash at its end, so that all of the rest belongs to it.")
        return len(self._text)

    def _word(self) -> Word | None:
        self._skip()
        quote = self._text[self._at : self._at + 1]
        if quote in {"'", '"'}:
            end = self._text.find(quote, self._at + 1)
            if end < 0:
                raise self._expected(f"a second {quote} that ends the text")
            text = self._text[self._at + 1 : end]
            self._at = end + 1
            return Word(text, quoted=True)
        began = self._at
        bare = self._take(_WORD)
        if not bare:
            return None
        if bare.startswith("$"):
            told = f"{bare!r} begins with a dollar, and conditions are no shell"
            name = bare.strip("${}")
            raise ConditionError(told, began + 1, f"Write env({name}) for a variable, or quote the text.")
        self._skip()
        return Word(bare)

    def _opened(self) -> bool:
        return bool(self._spaced("("))

    def _closed(self) -> None:
        if not self._spaced(")"):
            raise self._expected("a closing bracket")

    def _spaced(self, wanted: re.Pattern[str] | str) -> str:
        """Take `wanted` with the spaces around it; "" where it is not there, with the spaces before it gone."""
        self._skip()
        found = self._take(wanted)
        self._skip()
        return found

    def _take(self, wanted: re.Pattern[str] | str) -> str:
        if isinstance(wanted, str):
            found = wanted if self._text.startswith(wanted, self._at) else ""
        else:
            match = wanted.match(self._text, self._at)
            found = match[0] if match else ""
        self._at += len(found)
        return found

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _expected(self, wanted: str, remedy: str = "") -> ConditionError:
        rest = self._text[self._at : self._at + 30]
        found = f"found {rest!r}" if rest else "found the end"
        return ConditionError(f"expected {wanted} at character {self._at + 1}, {found}", self._at + 1, remedy)

    def _unexpected(self) -> ConditionError:
        rest = self._text[self._at :]
        told = f"nothing can follow at character {self._at + 1}, found {rest[:40]!r}"
        return ConditionError(told, self._at + 1, _advice(self._text[: self._at], rest))


def _advice(before: str, rest: str) -> str:
    """What most likely was meant, by the mistakes that people make."""
    previous = before.rsplit(maxsplit=1)[-1].lower() if before.strip() else ""
    tests: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: previous in {"is", "not"}, "IS takes present, blank, true and false; compare with = or != instead."),
        (lambda: rest.startswith(")"), "A bracket is closed that was not opened; a regex in brackets needs slashes."),
        (lambda: previous.startswith("env."), "There is no env.global and no env.matrix: write env(NAME)."),
        (lambda: rest.startswith("("), "Put a regular expression with brackets between slashes: =~ /^(a|b)$/."),
        (lambda: rest.startswith("="), "Compare with one operator: =, !=, =~ or !~."),
    )
    return next((advice for holds, advice in tests if holds()), "Join terms by AND or OR; quote text with spaces.")
