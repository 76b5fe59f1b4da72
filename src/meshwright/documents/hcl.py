"""The syntax of HCL, in which Terraform's files are written: bodies of attributes and blocks, and expressions.

The one rule: only the syntax, and the place of everything; what an expression comes to is `hcl_values`'s to say.

Source: https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NoReturn

from meshwright.documents.hcl_nodes import (
    Block,
    Body,
    Call,
    Each,
    Literal,
    Loop,
    Mapping,
    Member,
    Name,
    Node,
    Operation,
    Sequence,
    Splat,
    Template,
)
from meshwright.documents.positions import MAX_DEPTH, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.documents.positions import Place


_SPACE = re.compile(r"(?:[ \t\r\ufeff]|\\\n|/\*.*?\*/|(?:#|//)[^\n]*)*", re.DOTALL)
_BLANK = re.compile(r"(?:[\s\ufeff]|/\*.*?\*/|(?:#|//)[^\n]*)*", re.DOTALL)
_WORD = re.compile(r"[^\W\d][\w-]*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_HEREDOC = re.compile(r"<<(-?)([^\W\d][\w-]*)[ \t\r]*\n")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_UNICODE = re.compile(r"u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})")
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<=", ">=", "<", ">"), ("+", "-"), ("*", "/", "%"))
_CONSTANTS = {"true": True, "false": False, "null": None}


class _FaultError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault


def read_hcl(text: str) -> tuple[Body, Fault | None]:
    """The body of a file, up to the first fault, and that fault."""
    parser = _Parser(text)
    body = Body()
    try:
        parser.body(body, end="")
    except _FaultError as error:
        return body, error.fault
    return body, None


def read_template(text: str) -> Node | Fault:
    """What a string of Terraform's JSON syntax is: a template. Places in it are of the string alone."""
    parser = _Parser(text)
    try:
        return parser.template(len(text), lambda: parser.at >= len(text), raw=True)
    except _FaultError as error:
        return error.fault


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.at = 0
        self._depth = 0

    def body(self, body: Body, end: str) -> None:
        """Attributes and blocks up to `end`."""
        self._deeper()
        while True:
            self._skip(_BLANK)
            if self._text.startswith(end, self.at) if end else self.at >= len(self._text):
                self.at += len(end)
                break
            self._item(body)
        self._depth -= 1

    def _item(self, body: Body) -> None:
        start = self.at
        name = self._word("an argument or a block")
        self._skip(_SPACE)
        if self._text.startswith("=", self.at) and not self._text.startswith("==", self.at):
            self.at += 1
            self._skip(_SPACE)
            value = self._expression()
            if name in body.attributes:
                self._fail(start, f"the argument {name!r} is given twice", "Remove one of them.")
            body.attributes[name] = value, self._place(start)
            self._line_ends(name)
            return
        labels = []
        while not self._takes("{"):
            if self._text.startswith('"', self.at):
                node = self._quoted()
                if not isinstance(node, Literal):
                    self._fail(start, "a label is plain text", "Write it without ${…}.")
                labels.append(node.value)
            else:
                labels.append(self._word(f"'=' or '{{' after {name!r}"))
            self._skip(_SPACE)
        inside = Body()
        self.body(inside, "}")
        body.blocks.append(Block(name, tuple(labels), inside, self._place(start)))
        self._line_ends(name)

    def _line_ends(self, name: str) -> None:
        self._skip(_SPACE)
        if self.at < len(self._text) and self._text[self.at] not in "\n}":
            self._fail(self.at, f"something follows {name!r} on its line", "Write one argument or block a line.")

    def _expression(self) -> Node:
        self._deeper()
        found = self._binary(0)
        self._skip(self._gap)
        if self._takes("?"):
            yes = self._spaced_expression()
            self._demand(":")
            no = self._spaced_expression()
            found = Operation("?", (found, yes, no))
        self._depth -= 1
        return found

    _gap = _SPACE
    """What may stand between the parts of an expression: within brackets, the ends of lines too."""

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while True:
            end = self.at
            self._skip(self._gap)
            operator = next((one for one in _LEVELS[level] if self._text.startswith(one, self.at)), None)
            if operator is None:
                self.at = end
                return left
            self.at += len(operator)
            self._skip(_BLANK)
            right = self._binary(level + 1)
            left = Operation(operator, (left, right))

    def _unary(self) -> Node:
        for operator in ("-", "!"):
            if self._takes(operator):
                self._skip(self._gap)
                return Operation(operator, (self._unary(),))
        return self._followed(self._term())

    def _term(self) -> Node:
        start, text = self.at, self._text
        if text.startswith('"', start):
            return self._quoted()
        if match := _HEREDOC.match(text, start):
            return self._heredoc(match)
        if match := _NUMBER.match(text, start):
            self.at = match.end()
            number = match[0]
            return Literal(int(number) if number.isdigit() else float(number))
        if self._takes("("):
            return self._within(lambda: self._closed(self._spaced_expression(), ")"))
        if self._takes("["):
            return self._within(self._sequence)
        if self._takes("{"):
            return self._within(self._mapping)
        name = self._word("a value")
        if self._takes("("):
            return self._within(lambda: self._call(name))
        if name in _CONSTANTS:
            return Literal(_CONSTANTS[name])
        return Name(name)

    def _followed(self, found: Node) -> Node:
        """`found` with what is taken of it: members, places in a list, splats."""
        while True:
            if self._text.startswith("...", self.at):
                return found
            if self._takes("[*]") or self._takes(".*"):
                then = self._followed(Each())
                return Splat(found, then)
            if self._takes("["):
                key = self._within(lambda: self._closed(self._spaced_expression(), "]"))
                found = Member(found, key)
            elif self._takes("."):
                at = self.at
                match = re.compile(r"\d+").match(self._text, at)
                self.at = match.end() if match else at
                key = Literal(int(match[0]) if match else self._word("a name after '.'"))
                found = Member(found, key)
            else:
                return found

    def _call(self, name: str) -> Node:
        arguments, spread = list[Node](), False
        self._skip(_BLANK)
        while not self._takes(")"):
            arguments.append(self._expression())
            self._skip(_BLANK)
            spread = self._takes("...")
            self._skip(_BLANK)
            if not self._takes(",") and not self._text.startswith(")", self.at):
                self._fail(self.at, f"expected ',' or ')' in the call of {name}()")
            self._skip(_BLANK)
        return Call(name, tuple(arguments), spread)

    def _sequence(self) -> Node:
        self._skip(_BLANK)
        if self._loops():
            return self._loop("]")
        items = list[Node]()
        while not self._takes("]"):
            items.append(self._expression())
            self._skip(_BLANK)
            if not self._takes(",") and not self._text.startswith("]", self.at):
                self._fail(self.at, "expected ',' or ']' in a list")
            self._skip(_BLANK)
        return Sequence(tuple(items))

    def _mapping(self) -> Node:
        self._skip(_BLANK)
        if self._loops():
            return self._loop("}")
        items = list[tuple[Node, Node]]()
        while not self._takes("}"):
            key = self._expression()
            if isinstance(key, Name):
                key = Literal(key.name)
            self._skip(_BLANK)
            if not self._takes("=") and not self._takes(":"):
                self._fail(self.at, "expected '=' or ':' after a key")
            items.append((key, self._spaced_expression()))
            self._skip(_BLANK)
            self._takes(",")
            self._skip(_BLANK)
        return Mapping(tuple(items))

    def _loops(self) -> bool:
        return re.compile(r"for\s").match(self._text, self.at) is not None

    def _loop(self, end: str) -> Node:
        self.at += len("for")
        self._skip(_BLANK)
        names = [self._word("a name after 'for'")]
        self._skip(_BLANK)
        if self._takes(","):
            self._skip(_BLANK)
            names.append(self._word("a second name"))
            self._skip(_BLANK)
        self._demand("in")
        over = self._spaced_expression()
        self._demand(":")
        value, key = self._spaced_expression(), None
        self._skip(_BLANK)
        if end == "}":
            self._demand("=>")
            key, value = value, self._spaced_expression()
            self._skip(_BLANK)
        grouped = self._takes("...")
        self._skip(_BLANK)
        condition = None
        if self._takes("if"):
            condition = self._spaced_expression()
        self._closed(value, end)
        return Loop(tuple(names), over, key, value, condition, grouped)

    def _quoted(self) -> Node:
        self.at += 1
        found = self.template(len(self._text), lambda: self._text.startswith('"', self.at), raw=False)
        self.at += 1
        return found

    def _heredoc(self, match: re.Match[str]) -> Node:
        start, closing = match.start(), re.compile(rf"^[ \t]*{re.escape(match[2])}[ \t\r]*$", re.MULTILINE)
        last = closing.search(self._text, match.end())
        if last is None:
            self._fail(start, f"the text that begins here has no end {match[2]}")
        inside = self._text[match.end() : last.start()]
        if match[1]:
            widths = [len(line) - len(line.lstrip(" \t")) for line in inside.splitlines() if line.strip()]
            inside = re.sub(rf"(?m)^[ \t]{{0,{min(widths, default=0)}}}", "", inside)
        found = read_template(inside)
        if isinstance(found, Fault):
            self._fail(start, f"in the text that begins here: {found.summary}", found.detail)
        self.at = last.end()
        return found

    def template(self, limit: int, ends: Callable[[], bool], *, raw: bool) -> Node:
        """Text with `${…}` in it, up to where it `ends`; `raw` text has no escapes by a backslash."""
        start, parts, plain = self.at, list[Node](), list[str]()
        while not ends():
            if self.at >= limit or (not raw and self._text[self.at] == "\n"):
                self._fail(start, "the text that begins here has no end", 'Close it with ".')
            if self._text.startswith(("$${", "%%{"), self.at):
                plain.append(self._text[self.at + 1 : self.at + 3])
                self.at += 3
            elif self._text.startswith("%{", self.at):
                told = "%{…} in text is only worked out by Terraform"
                self._fail(self.at, told, "Give what `terraform show -json` says of a plan.")
            elif self._text.startswith("${", self.at):
                if plain:
                    parts.append(Literal("".join(plain)))
                    plain = []
                self.at += 3 if self._text.startswith("${~", self.at) else 2
                parts.append(self._within(self._interpolated))
            elif self._text[self.at] == "\\" and not raw:
                plain.append(self._escape())
            else:
                plain.append(self._text[self.at])
                self.at += 1
        if not parts:
            return Literal("".join(plain))
        if plain:
            parts.append(Literal("".join(plain)))
        return Template(tuple(parts))

    def _interpolated(self) -> Node:
        found = self._spaced_expression()
        self._skip(_BLANK)
        self._takes("~")
        return self._closed(found, "}")

    def _escape(self) -> str:
        self.at += 1
        if match := _UNICODE.match(self._text, self.at):
            self.at = match.end()
            return chr(min(int(match[1] or match[2], 16), 0x10FFFF))
        letter = self._text[self.at : self.at + 1]
        if letter not in _ESCAPES:
            self._fail(self.at - 1, f"\\{letter} means nothing in text", "A backslash is written \\\\.")
        self.at += 1
        return _ESCAPES[letter]

    def _spaced_expression(self) -> Node:
        self._skip(_BLANK)
        return self._expression()

    def _within(self, read: Callable[[], Node]) -> Node:
        """Read something in brackets, where lines may end anywhere."""
        before, self._gap = self._gap, _BLANK
        found = read()
        self._gap = before
        return found

    def _closed(self, found: Node, end: str) -> Node:
        self._skip(_BLANK)
        self._demand(end)
        return found

    def _demand(self, what: str) -> None:
        self._skip(_BLANK)
        if not self._takes(what):
            had = self._text[self.at : self.at + 10].partition("\n")[0]
            self._fail(self.at, f"expected {what!r}, found {had!r}" if had else f"expected {what!r}")

    def _takes(self, what: str) -> bool:
        if self._text.startswith(what, self.at):
            self.at += len(what)
            return True
        return False

    def _word(self, what: str) -> str:
        match = _WORD.match(self._text, self.at)
        if match is None:
            had = self._text[self.at : self.at + 10].partition("\n")[0]
            self._fail(self.at, f"expected {what}, found {had!r}" if had else f"expected {what}")
        self.at = match.end()
        return match[0]

    def _skip(self, gap: re.Pattern[str]) -> None:
        match = gap.match(self._text, self.at)
        self.at = match.end() if match else self.at

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(self.at, f"values are nested deeper than {MAX_DEPTH}")

    def _place(self, at: int) -> Place:
        line = bisect_right(self._lines, at)
        return line, at - self._lines[line - 1] + 1

    def _fail(self, at: int, summary: str, detail: str = "") -> NoReturn:
        raise _FaultError(Fault(self._place(min(at, len(self._text))), summary, detail))
