"""GitHub-flavoured Markdown; names that come from outside cannot break a table."""

from __future__ import annotations

import html
import re

from bench.report.tables import Block, Document, Fold, Listing, Table

_ESCAPES = str.maketrans({c: f"\\{c}" for c in "\\|`*"} | {"\n": " ", "\r": " "})
# Only before these does `<` open a tag in Markdown.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def render(document: Document) -> str:
    """The whole document, ending in one newline."""
    parts = [f"# {escape(document.title)}", *map(escape, document.prose)]
    for block in document.blocks:
        parts += _fold(block) if isinstance(block, Fold) else _block(block)
    return "\n\n".join(parts) + "\n"


def _fold(fold: Fold) -> list[str]:
    first, *others = fold.blocks
    heading = html.escape(first.heading)
    inside = [*_body(first), *(text for block in others for text in _block(block))]
    return [f"<details><summary>{heading}</summary>", *inside, "</details>"]


def _block(block: Block) -> list[str]:
    heading = [f"{_level(block)} {escape(block.heading)}"] if block.heading else []
    return [*heading, *_body(block)]


def _body(block: Block) -> list[str]:
    return _table(block) if isinstance(block, Table) else _listing(block)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _TAG.sub("&lt;", text.translate(_ESCAPES)).replace("](", "]\\(")


def _table(table: Table) -> list[str]:
    from tabulate import tabulate

    rows = [[escape(cell) for cell in row] for row in table.rows]
    header = [escape(cell) for cell in table.header]
    body = tabulate(rows, header, tablefmt="github", disable_numparse=True)
    return [*map(escape, table.lead), body, *map(escape, table.notes)]


def _listing(listing: Listing) -> list[str]:
    if listing.commands:
        # A fence longer than any inside, so that no command can close it.
        body = "\n".join(" ".join(line.split()) for line in listing.lines)
        fence = "`" * max(3, 1 + max((len(run) for run in _runs(body)), default=0))
        return [f"{fence}\n{body}\n{fence}"]
    return ["\n".join(f"- {escape(line)}" for line in listing.lines)]


def _runs(text: str) -> list[str]:
    return re.findall("`+", text)


def _level(block: Block) -> str:
    return "##" if isinstance(block, Table) and block.major else "###"
