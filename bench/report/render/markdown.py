"""GitHub-flavoured Markdown; names that come from outside cannot break a table."""

from __future__ import annotations

import html
import re

from bench.report.tables import Block, Document, Fold, Linked, Listing, Table

_ESCAPES = str.maketrans({c: f"\\{c}" for c in "\\|`*"} | {"\n": " ", "\r": " "})
# Only before these does `<` open a tag in Markdown.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_WORDS = re.compile(r"[\w .,&'-]+")
WIDE = 120
"""Characters of a table that is read as text at all."""
Links = dict[str, str]
"""Words in cells -> the address that they lead to."""


def render(document: Document) -> str:
    """The whole document, ending in one newline."""
    parts = [f"# {escape(document.title)}", *map(escape, document.prose)]
    links = _links(document)
    for block in document.blocks:
        parts += _fold(block, links) if isinstance(block, Fold) else _block(block, links)
    if links:
        parts.append("\n".join(f"[{words}]: {address}" for words, address in links.items()))
    return "\n\n".join(parts) + "\n"


def _links(document: Document) -> Links:
    """Words that lead somewhere: one address for each, written once below everything."""
    tables = (block for block in document.flat if isinstance(block, Table))
    cells = (cell for table in tables for row in table.rows for cell in row)
    found: Links = {}
    for words, address in (p for c in cells if isinstance(c, Linked) for p in c.parts):
        if address and _WORDS.fullmatch(words):
            found.setdefault(words, address)
    return found


def _cell(cell: str, links: Links) -> str:
    if not isinstance(cell, Linked):
        return escape(cell)
    return "".join(
        f"[{words}]" if address and links.get(words) == address else escape(words)
        for words, address in cell.parts
    )


def _fold(fold: Fold, links: Links) -> list[str]:
    first, *others = fold.blocks
    heading = html.escape(first.heading)
    inside = [*_body(first, links), *(text for block in others for text in _block(block, links))]
    return [f"<details><summary>{heading}</summary>", *inside, "</details>"]


def _block(block: Block, links: Links) -> list[str]:
    heading = [f"{_level(block)} {escape(block.heading)}"] if block.heading else []
    return [*heading, *_body(block, links, _level(block) == "##")]


def _body(block: Block, links: Links, opening: bool = False) -> list[str]:
    return _table(block, links, opening) if isinstance(block, Table) else _listing(block)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _TAG.sub("&lt;", text.translate(_ESCAPES)).replace("](", "]\\(")


def _table(table: Table, links: Links, opening: bool) -> list[str]:
    """Columns stand below each other, but where a wide table opens nothing."""
    from tabulate import tabulate

    rows = [[_cell(cell, links) for cell in row] for row in table.rows]
    header = [escape(cell) for cell in table.header]
    body = tabulate(rows, header, tablefmt="github", disable_numparse=True)
    if body.find("\n") > WIDE and not opening:
        lines = [header, ["-" * 3] * len(header), *rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
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
