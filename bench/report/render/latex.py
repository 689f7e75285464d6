"""LaTeX with booktabs: a document that compiles as it is, whose tables can be taken out of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.report.tables import Document, Listing, Table

# What tabulate writes in the cells of its LaTeX formats.
_ESCAPES = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        **{"^": r"\^{}", "~": r"\textasciitilde{}", "\\": r"\textbackslash{}"},
        **{"<": r"\ensuremath{<}", ">": r"\ensuremath{>}"},
    }
)
SIGNS = {
    **{0x3B1: "alpha", 0x3B2: "beta", 0x3B4: "delta", 0x3B5: "varepsilon", 0x3F5: "epsilon"},
    **{0x3BB: "lambda", 0x3C3: "sigma", 0x3C4: "tau", 0x2113: "ell", 0x221E: "infty"},
    **{0x2192: "to", 0x2260: "neq", 0x2264: "leq", 0x2265: "geq"},
}
"""Characters beyond Latin-1 that mathematics has, by their code point."""
TEXT = (0x2013, 0x2014, 0x2018, 0x2019, 0x201C, 0x201D, 0x2026)
"""Dashes and quotes: those that text fonts have."""
PAGE = 60
"""Lines of a page."""
WRAPPED = 60
"""Characters from which on a column breaks its lines."""
_CHARACTER, _GAP, _MARGIN, _PAPER = 4.1, 12.0, 80.0, 597.0
"""Points: a footnotesize character, between columns, both margins, A4."""
_PREAMBLE = r"""%% Run pdflatex twice: long tables settle their columns in the second run.
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{array,booktabs,longtable}
\usepackage[paperwidth=%spt,paperheight=845pt,margin=40pt]{geometry}
%s
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
\begin{document}
\raggedright
\footnotesize"""


def render(document: Document) -> str:
    """The whole document, on paper that is wide enough for its widest table."""
    declare = r"\DeclareUnicodeCharacter{%04X}{\ensuremath{\%s}}"
    signs = [declare % sign for sign in SIGNS.items()]
    widths = [_width(block) for block in document.flat if isinstance(block, Table)]
    parts = [_PREAMBLE % (round(max([_PAPER, *widths])), "\n".join(signs))]
    parts += [rf"{{\Large\bfseries {escape(document.title)}\par}}"]
    parts += map(escape, document.prose)
    for block in document.flat:
        if block.heading:
            major = isinstance(block, Table) and block.major
            parts.append(rf"\{'' if major else 'sub'}section*{{{escape(block.heading)}}}")
        parts += _table(block) if isinstance(block, Table) else _listing(block)
    return "\n\n".join([*parts, r"\end{document}"]) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line; options keep their two hyphens."""
    return plain(text).translate(_ESCAPES).replace("--", "-{}-")


def plain(text: str) -> str:
    """One line of characters that the fonts have; any other as its number, `[U+4E2D]`."""
    there = (c if _known(c) else f"[U+{ord(c):04X}]" for c in " ".join(text.split()))
    return "".join(there)


def _known(character: str) -> bool:
    at = ord(character)
    return 0x20 <= at < 0x7F or 0xA1 <= at <= 0xFF or at in (*SIGNS, *TEXT)


def _table(table: Table) -> list[str]:
    """What tabulate makes; a table longer than a page has its header on every page."""
    from tabulate import tabulate

    rows = [[plain(cell) for cell in row] for row in table.rows]
    header = [plain(cell) for cell in table.header]
    made = tabulate(rows, header, tablefmt="latex_booktabs", disable_numparse=True)
    _, top, head, middle, *body = made.splitlines()[:-2]
    columns = "".join(map(_column, _lengths(table)))
    opened, closed = [rf"\begin{{tabular}}{{{columns}}}"], [r"\bottomrule", r"\end{tabular}"]
    breaks = []
    if sum(max(-(-len(cell) // WRAPPED) for cell in row) for row in rows) > PAGE:
        opened, closed = [rf"\begin{{longtable}}[l]{{{columns}}}"], [r"\end{longtable}"]
        breaks = [r"\endhead", r"\bottomrule", r"\endfoot"]
    lines = [*opened, top, _line(head), middle, *breaks, *map(_line, body), *closed]
    return [*map(escape, table.lead), "\n".join(lines), *map(escape, table.notes)]


def _line(row: str) -> str:
    """A row that cannot be taken for an option of the line before it, and can break at commas."""
    guarded = re.sub(r"^ *(?=[\[*])", " {}", row)
    return re.sub(r",(?=\S)", r",\\allowbreak{}", guarded.replace("--", "-{}-"))


def _lengths(table: Table) -> list[int]:
    return [max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]


def _column(length: int) -> str:
    wide = rf">{{\raggedright\arraybackslash}}p{{{WRAPPED // 2}em}}"
    return wide if length > WRAPPED else "l"


def _width(table: Table) -> float:
    lengths = _lengths(table)
    wide = sum(min(length, WRAPPED) for length in lengths)
    return wide * _CHARACTER + len(lengths) * _GAP + _MARGIN


def _listing(listing: Listing) -> Sequence[str]:
    if listing.commands:
        return [rf"\texttt{{{escape(line)}}}" for line in listing.lines]
    items = "\n".join(rf"\item{{}} {escape(line)}" for line in listing.lines)
    return [f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"]
