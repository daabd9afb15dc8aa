"""The faults that a module can be given, one at a time, by changing its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_FUNCTIONS = {
    one: other
    for pair in ("min max", "minimum maximum", "argmin argmax", "pmin pmax", "any all", "sum mean",
                 "sin cos", "zeros ones", "floor ceil")
    for one, other in (pair.split(), pair.split()[::-1])
}  # fmt: skip
_GUARDS = {"strict", "allow_pickle"}  # keywords that nothing but an error depends on


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
      line: where it is.
      change: the statement before and after, in a line.
      tree: of the whole module.
    """

    line: int
    change: str
    tree: ast.Module


@dataclass(frozen=True)
class _Place:
    """A node, and where its parent holds it."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    statement: ast.stmt

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def mutants(source: str) -> Iterator[Mutant]:
    """All changes of a module, in the order of its text; a tree lasts until the next one is asked.

    Docstrings, annotations, messages of errors, assertions and declarations of dataclasses stay.
    """
    tree = ast.parse(source)
    for place in list(_places(tree)):
        before = _shown(place.statement)
        for changed in _changes(place):
            if "lineno" in changed._attributes:
                ast.fix_missing_locations(ast.copy_location(changed, place.node))
            place.put(changed)
            after = _shown(place.statement)
            place.put(place.node)
            if after != before:
                place.put(changed)
                line = getattr(place.node, "lineno", place.statement.lineno)
                yield Mutant(line, f"{before} → {after}", tree)
                place.put(place.node)


def _places(tree: ast.Module) -> Iterator[_Place]:
    """All nodes that may be changed, each after those that hold it."""
    for statement in tree.body:
        yield from _below(tree, statement)


def _below(parent: ast.AST, statement: ast.stmt) -> Iterator[_Place]:
    """What lies in a statement, other statements' as theirs."""
    if _stays(statement):
        return
    stack: list[tuple[ast.AST, ast.stmt]] = [(statement, statement)]
    while stack:
        node, inside = stack.pop()
        found = []
        for field, index, child in _children(node):
            if isinstance(child, ast.stmt):
                if not _stays(child):
                    found.append((child, child))
                continue
            yield _Place(child, node, field, index, inside)
            found.append((child, inside))
        stack.extend(reversed(found))


def _stays(statement: ast.stmt) -> bool:
    said = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return said or isinstance(statement, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom)


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") or isinstance(node, ast.JoinedStr):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if field == "decorator_list" and "dataclass" in ast.unparse(child):
                continue
            if isinstance(node, ast.keyword) and node.arg in _GUARDS:
                continue
            if isinstance(child, ast.AST):
                yield field, index, child


def _shown(statement: ast.stmt) -> str:
    """A statement in one line, without those that it holds."""
    alone = copy.copy(statement)
    if isinstance(getattr(alone, "body", None), list):
        alone.body = [ast.Expr(ast.Constant(...))]  # type: ignore[attr-defined]
        for field in ("orelse", "handlers", "finalbody"):
            if isinstance(getattr(alone, field, None), list):
                setattr(alone, field, [])
        if isinstance(alone, ast.Try):
            alone.finalbody = alone.body
    return " ".join(ast.unparse(alone).split())


def _changes(place: _Place) -> Iterator[ast.AST]:
    node = place.node
    if place.field == "test" and isinstance(place.parent, ast.If | ast.IfExp) and _differs(node):
        yield ast.UnaryOp(ast.Not(), node)  # type: ignore[arg-type]
    if isinstance(node, ast.expr):
        yield from _of_expression(node, place)
    elif isinstance(node, ast.operator) and isinstance(place.parent, ast.AugAssign):
        yield from _other(_ARITHMETIC, node)


def _differs(test: ast.AST) -> bool:
    """Whether a negated test is none of the changes that are made of the test itself."""
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return isinstance(test.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
    return not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))


def _other(table: dict, node: ast.AST) -> Iterator[ast.AST]:
    if type(node) in table:
        yield table[type(node)]()


def _of_expression(node: ast.expr, place: _Place) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, [operator], [right]):
            for other in _COMPARISONS.get(type(operator), ()):
                yield ast.Compare(left, [other()], [right])
        case ast.BinOp(left, operator, right) if not _of_types(node):
            for new in _other(_ARITHMETIC, operator):
                yield ast.BinOp(left, new, right)  # type: ignore[arg-type]
        case ast.BoolOp(ast.And(), values):
            yield ast.BoolOp(ast.Or(), values)
        case ast.BoolOp(ast.Or(), values):
            yield ast.BoolOp(ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield operand
        case ast.Constant(value):
            yield from _of_constant(value, place)
        case ast.Name(name, context) if name in _FUNCTIONS and place.field == "func":
            yield ast.Name(_FUNCTIONS[name], context)
        case ast.Attribute(value, name, context) if name in _FUNCTIONS:
            yield ast.Attribute(value, _FUNCTIONS[name], context)
        case ast.Call():
            yield from _of_call(node)
        case ast.Tuple([first, second, *others], ast.Load()) if isinstance(
            place.parent, ast.Return
        ) and not any(isinstance(part, ast.Starred) for part in node.elts):
            yield ast.Tuple([second, first, *others], ast.Load())


def _of_types(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(isinstance(side, ast.Constant) and side.value is None for side in sides)


def _of_constant(value: object, place: _Place) -> Iterator[ast.AST]:
    of_axis = isinstance(place.parent, ast.keyword) and place.parent.arg == "axis"
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(1 - value if of_axis and value in (0, 1) else value + 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)


def _of_call(node: ast.Call) -> Iterator[ast.AST]:
    name = ast.unparse(node.func).rpartition(".")[2]
    if name == "stop_gradient":
        yield node.args[0]
    for number, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in _GUARDS:
            others = [k for i, k in enumerate(node.keywords) if i != number]
            yield ast.Call(node.func, node.args, others)
    if name not in _FUNCTIONS and len(node.args) >= 2 and all(map(_may_move, node.args[:2])):
        yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)


def _may_move(argument: ast.expr) -> bool:
    """Whether an argument is a value by name, and not one of a library, such as a type."""
    if isinstance(argument, ast.Attribute):
        return ast.unparse(argument).partition(".")[0] not in ("np", "jnp", "jax")
    return isinstance(argument, ast.Name)
