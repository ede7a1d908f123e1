"""The part of Go's text/template that CNI configuration templates use. Pure.

Offered: text, comments, `{{-` and `-}}`, pipelines, `{{$x := …}}`, `if`/`else if`/`else`, `range` (with one or
two variables, and `else`), `with`, and the functions `and or not eq ne lt le gt ge len index print printf`.
Anything else (`define`, `template`, `break`, assignment with `=`, other functions) is refused by name.

A text is cut into literal parts and actions (`template_actions`), `_Parser` makes nodes of them, and the nodes
are rendered in a scope.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cri.network.template_actions import Action, Expression, Scope, Token, split_template
from cri.network.template_functions import TemplateError, Value, printed


def render_template(text: str, values: Mapping[str, Value]) -> str:
    """Render a template with `values` as its `.`. Raises TemplateError."""
    try:
        nodes = _Parser(split_template(text)).whole()
        return _render(nodes, Scope(values, {"$": values}))
    except RecursionError:
        raise TemplateError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class _Printed:
    pipeline: Expression


@dataclass(frozen=True, slots=True)
class _Assigned:
    variable: str
    pipeline: Expression


@dataclass(frozen=True, slots=True)
class _Branch:
    """`if` and `with`; the latter's value becomes the dot of its body."""

    keyword: str
    variable: str | None
    condition: Expression
    body: Sequence[_Node]
    otherwise: Sequence[_Node]


@dataclass(frozen=True, slots=True)
class _Range:
    index: str | None
    variable: str | None
    items: Expression
    body: Sequence[_Node]
    otherwise: Sequence[_Node]


_Node: TypeAlias = "str | _Printed | _Assigned | _Branch | _Range"


def _render(nodes: Sequence[_Node], outer: Scope) -> str:
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


def _render_branch(node: _Branch, scope: Scope) -> str:
    value = node.condition(scope)
    moved = value if node.keyword == "with" and value else scope.dot
    return _render(node.body if value else node.otherwise, scope.inner(moved, {node.variable: value}))


def _render_range(node: _Range, scope: Scope) -> str:
    items = node.items(scope)
    if isinstance(items, (str, int, Mapping)):
        raise TemplateError(f"range over {printed(items)!r}, which is not a list")
    if not items:
        return _render(node.otherwise, scope)
    return "".join(
        _render(node.body, scope.inner(item, {node.index: index, node.variable: item}))
        for index, item in enumerate(items)
    )


class _Parser:
    """Recursive descent: a block is a run of parts up to the `end` or `else` that closes it."""

    def __init__(self, parts: list[str | Action]) -> None:
        self._parts = deque(parts)

    def whole(self) -> list[_Node]:
        nodes, closing = self._block()
        if closing is not None:
            raise closing.error("an {{end}} or {{else}} without a beginning")
        return nodes

    def _block(self) -> tuple[list[_Node], Action | None]:
        nodes: list[_Node] = []
        while self._parts:
            part = self._parts.popleft()
            if isinstance(part, str):
                nodes.append(part)
            elif part.peek() in (Token("word", "end"), Token("word", "else")):
                return nodes, part
            else:
                nodes.append(self._node(part))
        return nodes, None

    def _node(self, action: Action) -> _Node:
        for keyword in ("if", "with", "range"):
            if action.take(keyword):
                return self._opened(keyword, action)
        names = action.declared()
        pipeline = action.pipeline()
        action.finish()
        if len(names) > 1:
            raise action.error("only range declares two variables")
        return _Assigned(names[0], pipeline) if names else _Printed(pipeline)

    def _opened(self, keyword: str, action: Action) -> _Node:
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

    def _bodies(self, keyword: str, opening: Action) -> tuple[list[_Node], list[_Node]]:
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
