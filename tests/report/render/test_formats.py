"""Markdown, CSV, LaTeX and HTML hold the same numbers, and no text from outside breaks them."""

from __future__ import annotations

import re
import shutil
import string
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.boards.gather import boards
from bench.boards.reproduced import FIELDS as PAPER_FIELDS
from bench.boards.reproduced import Filled, Shelf, fill, tidy
from bench.boards.spec import BoardSpec, load_spec
from bench.boards.tidy import FIELDS as BOARD_FIELDS
from bench.literature import sheets
from bench.literature.claims import Literature
from bench.report.paper import document as printed_document
from bench.report.published import document as board_document
from bench.report.render import DOCUMENTS, latex, written
from bench.report.tables import Document, Listing, Table
from bench.results.store import Store
from tests import factories
from tests.boards.test_reproduced import sheet

Grid = list[list[str]]
BEYOND = "\xb1\u2013\u03c3\u20ac\u4e2d\0"
"""Plus-minus, a dash, sigma, the euro, a Chinese character and NUL."""
_TEX = {
    **{f"\\{c}": c for c in "&%$#_{}"},
    **{r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\^{}": "^"},
    **{r"\ensuremath{<}": "<", r"\ensuremath{>}": ">", r"\allowbreak{}": "", "{}": ""},
}


def grids(found: Document) -> list[Grid]:
    """The cells of the tables, header first."""
    return [
        [[" ".join(cell.split()) for cell in row] for row in (block.header, *block.rows)]
        for block in found.blocks
        if isinstance(block, Table)
    ]


def from_markdown(text: str) -> list[Grid]:
    runs = re.findall(r"(?:^\|.*\n)+", text, re.M)
    return [[_row(line) for i, line in enumerate(run.splitlines()) if i != 1] for run in runs]


def _row(line: str) -> list[str]:
    cells = re.findall(r"((?:\\.|[^|\\])*)\|", line[1:])
    plain = (re.sub(r"\\(.)", r"\1", cell).replace("&lt;", "<") for cell in cells)
    return [" ".join(cell.split()) for cell in plain]


def from_latex(text: str) -> list[Grid]:
    found = re.findall(r"\\begin\{(?:tabular|longtable)\}.*?\\end\{", text, re.S)
    return [
        [_tex_row(line) for line in made.splitlines() if line.endswith(r"\\")] for made in found
    ]


def _tex_row(line: str) -> list[str]:
    cells = re.findall(r"((?:\\.|[^&\\])*)(?:&|$)", line.removesuffix(r"\\"))[: _ands(line) + 1]
    known = re.compile("|".join(map(re.escape, _TEX)))
    return [" ".join(known.sub(lambda m: _TEX[m[0]], cell).split()) for cell in cells]


def _ands(line: str) -> int:
    return len(re.findall(r"(?<!\\)&", line.replace(r"\\", "")))


class Cells(HTMLParser):
    """Tables, captions and heads of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[Grid] = []
        self.captions = 0
        self.scopes: list[str] = []
        self.tags: set[str] = set()
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.captions += tag == "caption"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._open = True
            self.tables[-1][-1].append("")
            self.scopes += [dict(attrs).get("scope") or ""] if tag == "th" else []

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.tables[-1][-1][-1] += " ".join(data.split())


def measured(root: Path) -> tuple[Store, list[Filled]]:
    store = factories.fill(root)
    return store, [fill(sheet(), Shelf(store)), fill(sheet(preset="paper"), Shelf(store))]


def documents(root: Path) -> list[Document]:
    """Every printed table, a table that is measured, a board with publications, and CIFAR-10's."""
    store, filled = measured(root)
    empty = Shelf(Store(root / "none"))
    where = ("adp@natural", "bpda", factories.THREAT)
    spec = BoardSpec("a board", ("prose",), Literature({where: (factories.claim("5.0"),)}))
    return [
        *(printed_document([fill(s, empty) for s in sheets.sheets(p)]) for p in sheets.PAPERS),
        printed_document(filled),
        board_document(boards(store, "patches"), spec, "patches"),
        board_document([], load_spec("cifar10"), "cifar10"),
    ]


def test_every_figure_is_the_same_in_every_format(tmp_path: Path) -> None:
    for found in documents(tmp_path):
        tables = grids(found)
        assert tables
        assert from_markdown(written(found, ".md")) == tables
        assert from_latex(written(found, ".tex")) == tables
        assert Cells(written(found, ".html")).tables == tables


def test_the_csv_file_has_the_figures_of_the_layout(tmp_path: Path) -> None:
    _, made = measured(tmp_path)
    empty = Shelf(Store(tmp_path / "none"))
    figures = 0
    for item in (*made, *(fill(found, empty) for found in sheets.sheets())):
        width = len(item.sheet.columns)
        layout = next(b for b in printed_document([item]).blocks if isinstance(b, Table))
        for cell, line in zip(item.sheet.numbers(), tidy(item), strict=True):
            shown = layout.rows[cell.row - 1][cell.column - 1 - width]
            std = f"±{line['reported_std']}" if line["reported_std"] else ""
            expected = [f"{line['reported']}{std}"]
            expected += [f"external {line['external']}"] if line["external"] else []
            if line["measured"]:
                expected.append(f"measured {line['measured']} [{line['low']}, {line['high']}]")
                expected.append(line["verdict"])
            places = [shown.replace(" ± ", "±").find(text) for text in expected]
            assert -1 not in places, (item.sheet.name, shown, expected)
            assert places == sorted(places)
            figures += len(expected)
    assert figures > 1800


@given(st.text(st.sampled_from(string.printable + BEYOND), max_size=40))
def test_hostile_names_stay_in_their_cell(text: str) -> None:
    rows = ((text, "1"), ("plain", text))
    found = Document(text, (text,), (Table(text, ("defense", text), rows, (text,)),))
    tex = written(found, ".tex")
    (table,) = from_latex(tex)
    clean = " ".join(latex.plain(text).split())
    assert table == [["defense", clean], [clean, "1"], ["plain", clean]]
    body = tex.partition(r"\begin{document}")[2]
    bare = re.sub(r"\\\\|\\[&%$#_{}]", "", body)
    assert bare.count("{") == bare.count("}")
    assert not set("%$#_~") & set(bare)
    page = Cells(written(found, ".html"))
    assert len(page.tables[0]) == 3
    assert page.tags <= {
        *("html", "head", "meta", "title", "style", "body", "main", "section", "div", "h1", "h3"),
        *("p", "table", "caption", "thead", "tbody", "tr", "th", "td"),
    }


def test_a_page_runs_and_loads_nothing_and_heads_its_tables() -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    table = Table("numbers", ("", "clean"), ((hostile, "1.0"), ("b", "2.0")), major=True)
    text = written(
        Document(hostile, (hostile,), (table, Listing("run", (hostile,), commands=True))), ".html"
    )
    page = Cells(text)
    assert not {"script", "img", "link"} & page.tags
    assert "http" not in text
    assert page.captions == len(page.tables) == 1
    assert page.scopes == ["col", "row", "row"]
    assert page.tables[0][1][0] == hostile


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_latex_compiles(tmp_path: Path) -> None:
    hostile = Table("a_b", ("[x]", "*"), (("[1] &%$#_{}~^\\", "*"), ("*", f"-- ``'' <b> {BEYOND}")))
    for number, found in enumerate([Document("t", (), (hostile,)), *documents(tmp_path)]):
        (tmp_path / f"{number}.tex").write_text(written(found, ".tex"), encoding="utf-8")
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{number}.tex"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-800:]


def test_formats_are_those_of_the_commands() -> None:
    assert set(DOCUMENTS) == {".md", ".tex", ".html"}


@pytest.mark.parametrize(
    ("heading", "fields"), [("a paper's", PAPER_FIELDS), ("a board's", BOARD_FIELDS)]
)
def test_every_column_is_documented(heading: str, fields: tuple[str, ...]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    section = text.partition(f"## Columns of {heading} CSV file")[2].partition("\n## ")[0]
    heads = re.findall(r"^\| (`.*?) \|", section, re.M)
    assert sorted(re.findall(r"`(\w+)`", " ".join(heads))) == sorted(fields)
