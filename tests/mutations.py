"""Small changes of source text, one at a time, as a careless hand would make them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
}  # fmt: skip
COMPUTED: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"), ast.Pow: ("**", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
}  # fmt: skip
NAMES = {
    one: other
    for pair in (
        ("min", "max"), ("amin", "amax"), ("argmin", "argmax"), ("minimum", "maximum"),
        ("clamp_min", "clamp_max"), ("any", "all"), ("zeros_like", "ones_like"),
        ("floor", "ceil"),
    )
    for one, other in (pair, pair[::-1])
}  # fmt: skip
DROPPED = (
    "clamp", "abs", "clone", "sign", "sqrt", "square", "round", "exp", "log", "clamp_min",
    "nan_to_num", "scatter",
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of a file. function: the first line of the innermost function around it, or 0."""

    file: str
    line: int
    function: int
    change: str
    source: str


@dataclass(frozen=True)
class _Edit:
    """Replace the text of a node."""

    node: ast.expr
    text: str


def mutants_of(file: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a source text; `change` is its line before and after."""
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    raw = source.encode()
    for edit, function in _edits(ast.parse(source), source, 0):
        node = edit.node
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        first = starts[node.lineno - 1] + node.col_offset
        last = starts[node.end_lineno - 1] + node.end_col_offset
        changed = (raw[:first] + edit.text.encode() + raw[last:]).decode()
        before = " ".join(raw[first:last].decode().split())
        context = " ".join(lines[node.lineno - 1].decode().split())
        change = f"{before} -> {' '.join(edit.text.split())} in {context}"
        yield Mutant(file, node.lineno, function, change.replace("|", "/"), changed)


def _edits(node: ast.AST, source: str, function: int) -> Iterator[tuple[_Edit, int]]:
    """Edits below a node; annotations, messages of errors and names of modules are left alone."""
    if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Assert):
        return
    if isinstance(node, ast.expr):
        for text in _changes(node, source):
            yield _Edit(node, text), function
    if isinstance(node, ast.FunctionDef):
        outside = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        for default in outside:
            yield from _edits(default, source, function)
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        for statement in node.body:
            yield from _edits(statement, source, first)
    elif isinstance(node, ast.Lambda):
        yield from _edits(node.body, source, node.lineno)
    elif isinstance(node, ast.AnnAssign):
        if node.value is not None:
            yield from _edits(node.value, source, function)
    elif isinstance(node, ast.Subscript) and _is_a_type(node.value):
        return
    else:
        for part in ast.iter_child_nodes(node):
            yield from _edits(part, source, function)


def _is_a_type(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id[:1].isupper()


def _changes(node: ast.expr, source: str) -> Iterator[str]:
    """Other texts for an expression."""

    def text(part: ast.expr) -> str:
        return f"({ast.get_source_segment(source, part)})"

    match node:
        case ast.Constant(value=bool() as value):
            yield str(not value)
        case ast.Constant(value=int() as value):
            yield str(value + 1)
            yield str(value - 1)
        case ast.Constant(value=float() as value):
            yield repr(value * (1000 if 0 < value < 1e-3 else 2) if value else 1.0)
            yield repr(value / 2 if value else -1.0)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARED:
            yield f"({text(left)} {COMPARED[type(op)][1]} {text(right)})"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMPUTED:
            yield f"({text(left)} {COMPUTED[type(op)][1]} {text(right)})"
        case ast.BoolOp(op=op, values=values):
            word = " or " if isinstance(op, ast.And) else " and "
            yield f"({word.join(text(value) for value in values)})"
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield text(operand)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield f"({text(orelse)} if {text(test)} else {text(body)})"
        case ast.Call(func=func):
            yield from _other_calls(node, func, source)
        case _:
            return


def _other_calls(node: ast.Call, func: ast.expr, source: str) -> Iterator[str]:
    """The opposite function, and without a method that narrows what it is called on."""
    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    if name in NAMES:
        whole, head = (ast.get_source_segment(source, part) or "" for part in (node, func))
        yield head[: -len(name)] + NAMES[name] + whole[len(head) :]
    if name in DROPPED and isinstance(func, ast.Attribute):
        of = func.value
        if not (isinstance(of, ast.Name) and of.id in ("torch", "math", "np")):
            yield f"({ast.get_source_segment(source, of)})"
