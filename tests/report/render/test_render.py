"""What is written: the same numbers in each format, the same bytes each time, nothing broken."""

from __future__ import annotations

import csv
import io
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.boards.gather import boards
from bench.boards.spec import BoardSpec, load_spec
from bench.boards.tidy import FIELDS, tidy
from bench.errors import BenchError
from bench.report.boards import document
from bench.report.render import html, latex, markdown, of_boards
from bench.report.render.terminal import show
from bench.report.tables import Document, Fold, Linked, Table
from bench.results.archive import Archive, Archives, open_results, pack
from tests.factories import cell, fill, measure, plan, verdicts

PUBLISHED = Path(__file__).parents[3] / "leaderboards"
ARCHIVES = sorted((PUBLISHED / "records").glob("*.xz"))


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.name)
def test_a_published_board_renders_again_byte_for_byte(path: Path) -> None:
    dataset = path.name.partition(".")[0]
    output = of_boards(boards(open_results(path), dataset), load_spec(dataset), dataset)
    for suffix in (".md", ".csv"):
        assert output.text(suffix) == (PUBLISHED / f"{dataset}{suffix}").read_text("utf-8")


def test_an_archive_renders_what_its_folder_renders(tmp_path: Path) -> None:
    store = fill(tmp_path / "results")
    pack(store, "patches", tmp_path / "patches.jsonl.xz")
    loose, packed = (
        of_boards(boards(source, "patches"), load_spec("patches"), "patches")
        for source in (store, Archive(tmp_path / "patches.jsonl.xz"))
    )
    assert all(loose.text(suffix) == packed.text(suffix) for suffix in (".md", ".csv"))


def test_packing_is_deterministic_and_drops_what_no_plan_asks_for(tmp_path: Path) -> None:
    store = fill(tmp_path / "results")
    measure(store, cell("other@natural", "bpda"), verdicts([1.0] * 64))
    paths = [tmp_path / name for name in ("a.jsonl.xz", "b.jsonl.xz", "c.jsonl.xz")]
    counts = [pack(store, "patches", path) for path in paths[:2]]
    counts.append(pack(open_results(paths[0]), "patches", paths[2]))
    assert len({path.read_bytes() for path in paths}) == 1
    assert set(counts) == {30}
    kept = list(Archive(paths[0]).records("patches"))
    assert {r.timing["seconds"] for r in kept} == {1.235}
    assert all("wall_seconds" not in r.timing for r in kept)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"{}", lambda b: b[:40] + b"x" + b[41:]]
)
def test_a_damaged_archive_is_named(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "patches.jsonl.xz"
    pack(fill(tmp_path / "results"), "patches", path)
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BenchError, match=r"patches\.jsonl\.xz: not a whole archive"):
        Archive(path)


def test_only_the_records_of_a_data_set_that_is_shown_are_read(tmp_path: Path) -> None:
    pack(fill(tmp_path / "results"), "patches", tmp_path / "patches.jsonl.xz")
    path = tmp_path / "digits.jsonl.xz"
    *lines, last = lzma.decompress((PUBLISHED / "records" / path.name).read_bytes()).splitlines()
    path.write_bytes(lzma.compress(b"\n".join([*lines, last.replace(b'"draws":', b'"drawn":')])))
    source = Archives([path, tmp_path / "patches.jsonl.xz"])
    assert source.datasets() == ["digits", "patches"]
    assert len(list(source.records("patches"))) == len(list(source.records("patches"))) == 30
    with pytest.raises(BenchError, match=r"digits\.jsonl\.xz, line \d+: not a whole record"):
        next(source.records("digits"))


def test_nothing_to_pack_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no records of 'patches'"):
        pack(open_results(tmp_path), "patches", tmp_path / "x.jsonl.xz")


def test_csv_is_tidy(tmp_path: Path) -> None:
    found, spec = boards(fill(tmp_path), "patches"), BoardSpec("a board")
    rows = list(csv.DictReader(io.StringIO(of_boards(found, spec, "patches").text(".csv"))))
    assert rows == tidy(found, spec, "patches")
    assert tuple(rows[0]) == FIELDS
    names = [(r["defense"], r["attack"], r["threat"], r["metric"]) for r in rows]
    assert len(names) == len(set(names))
    for row in rows:
        if row["measured"]:
            low, value, high = (float(row[key]) for key in ("low", "measured", "high"))
            assert low <= value <= high
            assert row["measured"] == f"{value:.1f}"


@given(st.text(st.sampled_from("a|\\`*<b>[](\n\r_#!"), max_size=30))
def test_hostile_names_stay_in_their_cell(text: str) -> None:
    table = Table("heading", ("defense", "n"), ((text, "1"), ("plain", "2")))
    rendered = markdown.render(Document("title", (), (table,)))
    lines = [line for line in rendered.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    for line in lines:
        bare = line.replace("\\\\", "").replace("\\|", "")
        assert bare.count("|") == 3
    assert "<b" not in rendered
    assert "](" not in rendered


def test_what_is_folded_opens_under_its_heading() -> None:
    tables = [
        Table(f"</details><b>{n}", ("h",), ((f"cell {n}",),), lead=(f"lead {n}",)) for n in "ab"
    ]
    document = Document("title", (), (tables[0], Fold((tables[1],))))
    open_, folded = markdown.render(document).split("<details><summary>")
    assert open_.index("lead a") < open_.index("cell a")
    heading, inside = folded.split("</summary>")
    assert heading == "&lt;/details&gt;&lt;b&gt;b"
    assert inside.index("lead b") < inside.index("cell b") < inside.index("</details>")
    for render in (latex.render, html.render):
        text = render(document)
        assert text.index("lead b") < text.index("cell b")


def test_a_hostile_label_keeps_the_board_whole(tmp_path: Path) -> None:
    store = fill(tmp_path)
    item = measure(store, cell("a|b`<img src=x>`@natural", "bpda"), verdicts([0.5] * 64))
    store.write_plan(plan([item], command="bench run ```\n# no"))
    text = of_boards(boards(store, "patches"), BoardSpec("a board"), "patches").text(".md")
    assert "<img" not in text
    assert "````\nbench run" in text


def test_files_come_in_pairs(tmp_path: Path) -> None:
    output = of_boards(boards(fill(tmp_path / "r"), "patches"), BoardSpec("a board"), "patches")
    written = output.write(tmp_path / "new" / "patches.md")
    assert [path.name for path in written] == ["patches.md", "patches.csv"]
    assert output.write(tmp_path / "x.csv") == [tmp_path / "x.csv"]
    with pytest.raises(BenchError, match="cannot write"):
        output.write(tmp_path / "x.csv" / "y.csv")


def test_a_terminal_shows_every_figure(tmp_path: Path) -> None:
    from rich.console import Console

    found, spec = boards(fill(tmp_path), "patches"), BoardSpec("a board")
    console = Console(width=200, record=True, file=io.StringIO())
    show(document(found, spec, "patches"), console)
    text = console.export_text()
    for row in tidy(found, spec, "patches"):
        if row["metric"] == "accuracy" and row["measured"]:
            assert f"{row['measured']} [{row['low']}, {row['high']}]" in text


def test_words_that_lead_somewhere_are_links_of_markdown_alone() -> None:
    here, there = "https://a.org/1", "https://a.org/2"
    cells = [
        Linked(("adp (", ""), ("Yoon et al. 2021", here), (")", "")),
        Linked(("Yoon et al. 2021", there)),
        Linked(("a](b) | c", here)),
    ]
    document = Document("title", (), (Table("heading", ("x",), tuple((c,) for c in cells)),))
    text = markdown.render(document)
    assert "| adp ([Yoon et al. 2021]) |" in text
    assert text.endswith(f"\n[Yoon et al. 2021]: {here}\n")
    # One address for one name; and words that could break a link are none.
    assert there not in text
    assert "| a]\\(b) \\| c " in text
    for render in (latex.render, html.render):
        assert "adp (Yoon et al. 2021)" in render(document)
