"""The part of Go's text/template that CNI configuration templates use. Pure.

Offered: text, comments, `{{-` and `-}}`, pipelines, `{{$x := …}}`, `if`/`else if`/`else`, `range` (with one
or two variables, and `else`), `with`, and the functions `and or not eq ne lt le gt ge len index print
printf`. Anything else (`define`, `template`, `break`, assignment with `=`, other functions) is refused by
name.

Three steps: `_split` cuts the text into literal parts and actions made of tokens, `_Parser` builds nodes, and
the nodes are rendered in a scope (what `.` and the variables mean at that place).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cri.network.template_functions import FUNCTIONS, Function, TemplateError, Value, printed

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


def render_template(text: str, values: Mapping[str, Value]) -> str:
    """Render a template with `values` as its `.`. Raises TemplateError."""
    try:
        nodes = _Parser(_split(text)).whole()
        return _render(nodes, _Scope(values, {"$": values}))
    except RecursionError:
        raise TemplateError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class _Scope:
    dot: Value
    variables: dict[str, Value]

    def inner(self, dot: Value, variables: Mapping[str | None, Value]) -> _Scope:
        named = {name: value for name, value in variables.items() if name is not None}
        return _Scope(dot, self.variables | named)


_Expression: TypeAlias = Callable[[_Scope], Value]


@dataclass(frozen=True, slots=True)
class _Printed:
    pipeline: _Expression


@dataclass(frozen=True, slots=True)
class _Assigned:
    variable: str
    pipeline: _Expression


@dataclass(frozen=True, slots=True)
class _Branch:
    """`if` and `with`; the latter's value becomes the dot of its body."""

    keyword: str
    variable: str | None
    condition: _Expression
    body: Sequence[_Node]
    otherwise: Sequence[_Node]


@dataclass(frozen=True, slots=True)
class _Range:
    index: str | None
    variable: str | None
    items: _Expression
    body: Sequence[_Node]
    otherwise: Sequence[_Node]


_Node: TypeAlias = "str | _Printed | _Assigned | _Branch | _Range"


def _render(nodes: Sequence[_Node], outer: _Scope) -> str:
    scope = outer.inner(outer.dot, {})  # variables made in a block end with it
    output: list[str] = []
    for node in nodes:
        match node:
            case str():
                output.append(node)
            case _Printed():
                output.append(printed(node.pipeline(scope)))
            case _Assigned():
                scope.variables[node.variable] = node.pipeline(scope)
            case _Branch():
                output.append(_render_branch(node, scope))
            case _Range():
                output.append(_render_range(node, scope))
    return "".join(output)


def _render_branch(node: _Branch, scope: _Scope) -> str:
    value = node.condition(scope)
    moved = value if node.keyword == "with" and value else scope.dot
    return _render(node.body if value else node.otherwise, scope.inner(moved, {node.variable: value}))


def _render_range(node: _Range, scope: _Scope) -> str:
    items = node.items(scope)
    if isinstance(items, (str, int, Mapping)):
        raise TemplateError(f"range over {printed(items)!r}, which is not a list")
    if not items:
        return _render(node.otherwise, scope)
    return "".join(
        _render(node.body, scope.inner(item, {node.index: index, node.variable: item}))
        for index, item in enumerate(items)
    )


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


class _Action:
    """The tokens between two pairs of braces, taken one after the other."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.tokens: deque[_Token] = deque()

    def peek(self) -> _Token:
        return self.tokens[0] if self.tokens else _Token("end", "}}")

    def take(self, text: str) -> bool:
        """Consume the next token if it is a word or mark with this text."""
        found = self.peek().text == text and self.peek().kind in ("word", "mark")
        if found:
            self.tokens.popleft()
        return found

    def error(self, text: str) -> TemplateError:
        return TemplateError(f"line {self.line}: {text}")

    def finish(self) -> None:
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

    def pipeline(self) -> _Expression:
        """`a | f | g x`: each value becomes the last argument of the next command."""
        value = self._command(None)
        while self.take("|"):
            value = self._command(value)
        return value

    def _command(self, piped: _Expression | None) -> _Expression:
        if self.peek().kind == "word" and self.peek().text not in _WORDS:
            name = self.tokens.popleft().text
            if name not in FUNCTIONS:
                raise self.error(f"{name!r} is not available in these templates; {', '.join(FUNCTIONS)} are")
            arguments: list[_Expression] = []
            while self.peek().kind != "end" and self.peek().text not in ("|", ")"):
                arguments.append(self._operand())
            return self._call(name, [*arguments, *([] if piped is None else [piped])])
        value = self._operand()
        if piped is not None:
            raise self.error("a value cannot be piped into another value, only into a function")
        return value

    def _call(self, name: str, arguments: list[_Expression]) -> _Expression:
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

    def _operand(self) -> _Expression:
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

    def _variable(self, scope: _Scope, name: str, *fields: str) -> Value:
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


class _Parser:
    """Recursive descent: a block is a run of parts up to the `end` or `else` that closes it."""

    def __init__(self, parts: list[str | _Action]) -> None:
        self._parts = deque(parts)

    def whole(self) -> list[_Node]:
        nodes, closing = self._block()
        if closing is not None:
            raise closing.error("an {{end}} or {{else}} without a beginning")
        return nodes

    def _block(self) -> tuple[list[_Node], _Action | None]:
        nodes: list[_Node] = []
        while self._parts:
            part = self._parts.popleft()
            if isinstance(part, str):
                nodes.append(part)
            elif part.peek() in (_Token("word", "end"), _Token("word", "else")):
                return nodes, part
            else:
                nodes.append(self._node(part))
        return nodes, None

    def _node(self, action: _Action) -> _Node:
        for keyword in ("if", "with", "range"):
            if action.take(keyword):
                return self._opened(keyword, action)
        names = action.declared()
        pipeline = action.pipeline()
        action.finish()
        if len(names) > 1:
            raise action.error("only range declares two variables")
        return _Assigned(names[0], pipeline) if names else _Printed(pipeline)

    def _opened(self, keyword: str, action: _Action) -> _Node:
        """An `if`, `with` or `range` whose keyword has been taken, up to and with its `end`."""
        names = action.declared()
        pipeline = action.pipeline()
        action.finish()
        body, otherwise = self._bodies(keyword, action)
        if keyword == "range":
            index, variable = (None, *names) if len(names) == 1 else (names or (None, None))
            return _Range(index, variable, pipeline, body, otherwise)
        if len(names) > 1:
            raise action.error("only range declares two variables")
        return _Branch(keyword, names[0] if names else None, pipeline, body, otherwise)

    def _bodies(self, keyword: str, opening: _Action) -> tuple[list[_Node], list[_Node]]:
        body, closing = self._block()
        otherwise: list[_Node] = []
        if closing is not None and closing.take("else"):
            if keyword != "range" and closing.take(keyword):
                return body, [self._opened(keyword, closing)]
            closing.finish()
            otherwise, closing = self._block()
        if closing is None:
            raise opening.error(f"{{{{{keyword}}}}} without {{{{end}}}}")
        if not closing.take("end"):
            raise closing.error("a second {{else}}")
        closing.finish()
        return body, otherwise


def _constant(value: Value) -> _Expression:
    return lambda _scope: value


def _split(text: str) -> list[str | _Action]:
    """Literal text and actions in turn, with the white space that `-` asks for already cut off."""
    parts: list[str | _Action] = []
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
            action = _Action(text.count("\n", 0, start) + 1)
            at, ending = _tokens(text, at, action)
            parts.append(action)
        trim = "-" in ending


def _tokens(text: str, at: int, action: _Action) -> tuple[int, str]:
    """Fill the action with its tokens; returns where it ends and how."""
    while True:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise action.error(f"cannot read {text[at : at + 20]!r}")
        at = found.end()
        if found.lastgroup == "end":
            return at, found["end"]
        action.tokens.append(_Token(found.lastgroup, found[found.lastgroup]))
