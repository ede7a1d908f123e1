"""Actions of the template language, `{{…}}`: cutting a text into them, and reading the expressions inside. Pure.

An expression becomes a function from a `Scope` (what `.` and the variables mean at that place) to a value.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cri.network.template_functions import FUNCTIONS, Function, TemplateError, Value

_TOKEN = re.compile(
    r"""(?P<end>(?:\s+-)?\s*\}\}) | \s*(?:
        (?P<string>"(?:\\.|[^"\\\n])*") | (?P<raw>`[^`]*`) | (?P<number>-?[0-9]+)
        | (?P<variable>\$[A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
        | (?P<field>(?:\.[A-Za-z_][A-Za-z0-9_]*)+) | (?P<dot>\.)
        | (?P<word>[A-Za-z_][A-Za-z0-9_]*) | (?P<mark>:=|[=,|()]))""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"\s*/\*.*?\*/(?P<end>(?:\s+-)?\s*\}\})", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_WORDS: dict[str, Value] = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean at one place of the template."""

    dot: Value
    variables: dict[str, Value]

    def inner(self, dot: Value, variables: Mapping[str | None, Value]) -> Scope:
        """The scope of a block: another dot, and more variables (those named None are not wanted)."""
        named = {name: value for name, value in variables.items() if name is not None}
        return Scope(dot, self.variables | named)


Expression: TypeAlias = Callable[[Scope], Value]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an action; `kind` is the name of a group in the pattern of tokens."""

    kind: str
    text: str


class Action:
    """The tokens between two pairs of braces, taken one after the other."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.tokens: deque[Token] = deque()

    def peek(self) -> Token:
        """The next token, without consuming it."""
        return self.tokens[0] if self.tokens else Token("end", "}}")

    def take(self, text: str) -> bool:
        """Consume the next token if it is a word or mark with this text."""
        found = self.peek().text == text and self.peek().kind in ("word", "mark")
        if found:
            self.tokens.popleft()
        return found

    def error(self, text: str) -> TemplateError:
        """An error at this action, to be raised."""
        return TemplateError(f"line {self.line}: {text}")

    def finish(self) -> None:
        """Raise TemplateError if tokens are left over."""
        if self.tokens:
            raise self.error(f"unexpected {self.peek().text!r}")

    def declared(self) -> list[str]:
        """The variables before `:=`, if this action begins with a declaration."""
        kinds = [token.text if token.kind == "mark" else token.kind for token in self.tokens]
        count = 1 if kinds[1:2] == [":="] else 2 if kinds[1:4] == [",", "variable", ":="] else 0
        if not count or kinds[0] != "variable":
            return []
        names = [self.tokens[2 * place].text for place in range(count)]
        for _ in range(2 * count):
            self.tokens.popleft()
        return names

    def pipeline(self) -> Expression:
        """`a | f | g x`: each value becomes the last argument of the next command."""
        value = self._command(None)
        while self.take("|"):
            value = self._command(value)
        return value

    def _command(self, piped: Expression | None) -> Expression:
        if self.peek().kind == "word" and self.peek().text not in _WORDS:
            name = self.tokens.popleft().text
            if name not in FUNCTIONS:
                raise self.error(f"{name!r} is not available in these templates; {', '.join(FUNCTIONS)} are")
            arguments: list[Expression] = []
            while self.peek().kind != "end" and self.peek().text not in ("|", ")"):
                arguments.append(self._operand())
            return self._call(name, [*arguments, *([] if piped is None else [piped])])
        value = self._operand()
        if piped is not None:
            raise self.error("a value cannot be piped into another value, only into a function")
        return value

    def _call(self, name: str, arguments: list[Expression]) -> Expression:
        least, function = FUNCTIONS[name]
        if len(arguments) < least:
            raise self.error(f"{name} needs {least} arguments, found {len(arguments)}")
        return lambda scope: self._applied(name, function, [argument(scope) for argument in arguments])

    def _applied(self, name: str, function: Function, values: list[Value]) -> Value:
        try:
            return function(*values)
        except TemplateError as error:
            problem = str(error)
        except TypeError:
            problem = f"{name} cannot take {len(values)} arguments"
        raise self.error(problem)

    def _operand(self) -> Expression:
        token = self.tokens.popleft() if self.tokens else self.peek()
        match token.kind, token.text:
            case "string", text:
                return _constant(_ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1]))
            case "raw", text:
                return _constant(text[1:-1])
            case "number", text:
                return _constant(int(text))
            case "dot", _:
                return lambda scope: scope.dot
            case "field", text:
                return lambda scope: self._field(scope.dot, text[1:].split("."))
            case "variable", text:
                return lambda scope: self._variable(scope, *text.split("."))
            case "word", text if text in _WORDS:
                return _constant(_WORDS[text])
            case "mark", "(":
                value = self.pipeline()
                if not self.take(")"):
                    raise self.error("')' is missing")
                return value
            case _:
                raise self.error(f"a value is missing before {token.text!r}")

    def _variable(self, scope: Scope, name: str, *fields: str) -> Value:
        if name not in scope.variables:
            raise self.error(f"there is no variable {name}")
        return self._field(scope.variables[name], fields)

    def _field(self, value: Value, names: Sequence[str]) -> Value:
        for name in names:
            if not isinstance(value, Mapping) or name not in value:
                known = (
                    f"; there are {', '.join('.' + key for key in value)}"
                    if isinstance(value, Mapping)
                    else ""
                )
                raise self.error(f"there is no .{name} here{known}")
            value = value[name]
        return value


def _constant(value: Value) -> Expression:
    return lambda _scope: value


def split_template(text: str) -> list[str | Action]:
    """Literal text and actions in turn, with the white space that `-` asks for already cut off."""
    parts: list[str | Action] = []
    at = 0
    trim = False
    while True:
        start = text.find("{{", at)
        literal = text[at : len(text) if start < 0 else start]
        literal = literal.lstrip() if trim else literal
        if start < 0:
            return [*parts, literal]
        at = start + 2
        if text[at : at + 1] == "-" and text[at + 1 : at + 2].isspace():
            literal = literal.rstrip()
            at += 1
        parts.append(literal)
        comment = _COMMENT.match(text, at)
        if comment is not None:
            at, ending = comment.end(), comment["end"]
        else:
            action = Action(text.count("\n", 0, start) + 1)
            at, ending = _tokens(text, at, action)
            parts.append(action)
        trim = "-" in ending


def _tokens(text: str, at: int, action: Action) -> tuple[int, str]:
    """Fill the action with its tokens; returns where it ends and how."""
    while True:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise action.error(f"cannot read {text[at : at + 20]!r}")
        at = found.end()
        if found.lastgroup == "end":
            return at, found["end"]
        action.tokens.append(Token(found.lastgroup, found[found.lastgroup]))
