"""A plain HTML document, all text escaped; tables have captions and headed rows and columns."""

from __future__ import annotations

from importlib.resources import files

from bench.report.tables import Document, Table

TEMPLATE = "document.html"


def render(document: Document) -> str:
    """The whole document in one file that loads nothing."""
    from jinja2 import Environment, StrictUndefined

    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = (files("bench.report.render") / TEMPLATE).read_text(encoding="utf-8")
    blocks = [(block, _labels(block) if isinstance(block, Table) else 0) for block in document.flat]
    return made.from_string(text).render(document=document, blocks=blocks) + "\n"


def _labels(table: Table) -> int:
    """How many columns say what a row is: those without a head, at least the first."""
    named = (place for place, name in enumerate(table.header) if name)
    return max(1, next(named, len(table.header)))
