"""The page's file: what it holds, that it is the same each time, and that nothing can end it."""

from __future__ import annotations

import json
import re
import shlex
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.boards.analysis import analyse, percent
from bench.boards.answer import compared
from bench.boards.gather import boards
from bench.boards.spec import load_spec, spec_names
from bench.boards.tidy import tidy_board
from bench.cli.group import cli
from bench.plan.plan import make
from bench.plan.request import Request
from bench.report.page import render
from bench.report.page.cards import check, command
from bench.report.page.columns import Packed
from bench.report.page.columns import pack as packed
from bench.report.page.html import breakable, sourced, to_json
from bench.report.page.plot import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Dot, plot
from bench.report.page.sections import section
from bench.report.tables import figure_text
from bench.results.archive import open_results, pack
from bench.spec import split_list
from tests.factories import cell, fill, measure, plan, verdicts
from tests.report.page.pages import HOSTILE, hostile, store

PUBLISHED = Path(__file__).parents[3] / "leaderboards"
TEXT = st.sampled_from(["", "a", "b", "36.9", '<"&', "\u2028"])


def unpacked(found: Packed) -> list[dict[str, str]]:
    """What the page's script makes of packed rows."""
    columns = []
    for words, places in zip(found["words"], found["rows"], strict=True):
        texts: list[str] = []
        for place in places:
            texts += [words[place]] if place >= 0 else [texts[-1]] * -place
        columns.append(texts)
    return [dict(zip(found["fields"], row, strict=True)) for row in zip(*columns, strict=True)]


def data_of(page: str) -> Any:
    """The page's JSON."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


@given(st.lists(st.fixed_dictionaries({"x": TEXT, "y": TEXT})))
def test_packed_rows_come_out_as_they_went_in(rows: list[dict[str, str]]) -> None:
    found = packed(rows, ("x", "y"))
    assert unpacked(found) == rows
    assert all(len(words) == len(set(words)) for words in found["words"])


@given(st.text(st.sampled_from("<>&/-!sript\u2028\\\"'"), max_size=40))
def test_json_says_the_same_and_no_tag_can_end_it(text: str) -> None:
    written = to_json({"name": text})
    assert json.loads(written) == {"name": text}
    assert not set("<>&\u2028") & set(written)


@given(st.text(st.sampled_from("<b>:=,@+[]()&\"'x"), max_size=40))
def test_names_are_escaped_and_whole(text: str) -> None:
    for shown in (breakable(text), sourced(text)):
        bare = re.sub(r'<wbr>|<span class="interval">|</span>', "", str(shown))
        assert "<" not in bare
        assert shown.striptags().replace(" ", "") == text.replace(" ", "") or "<" in text


SHARE = st.integers(0, 1000).map(lambda n: n / 1000)
POINTS = st.lists(
    st.builds(
        lambda cost, value, name: Dot(name, "defense", cost, value, value / 2, (1 + value) / 2),
        st.sampled_from([1.0, 1.0, 1.0, 2.0, 10.0, 11.0, 110.0, 5000.0]),
        SHARE,
        st.text("abcdefgh", min_size=1, max_size=60),
    ),
    min_size=1,
    max_size=30,
)


@given(POINTS)
@example([Dot("a", "defense", 1.0, share, share / 2, 0.7) for share in (0.365, 0.367)])
def test_labels_of_a_plot_never_overlap_and_stay_inside(points: list[Dot]) -> None:
    found = plot(points)
    assert found
    boxes = [mark.text for mark in found.marks if mark.text]
    assert not any(a.hits(b) for a, b in combinations(boxes, 2))
    for box in boxes:
        assert LEFT <= box.left < box.right <= WIDTH
        assert 0 <= box.top < box.bottom <= HEIGHT - BOTTOM
    for mark in found.marks:
        assert LEFT < mark.x < WIDTH
        assert TOP <= mark.high <= mark.y <= mark.low <= HEIGHT - BOTTOM


def test_a_plot_is_logarithmic_and_names_every_point_where_there_is_room() -> None:
    costs = (1.0, 10.0, 100.0, 1000.0)
    found = plot([Dot(f"row{c}", "defense", c, 0.5, 0.4, 0.6) for c in costs])
    assert found
    gaps = [b.x - a.x for a, b in zip(found.marks, found.marks[1:], strict=False)]
    assert max(gaps) - min(gaps) < 0.2
    assert [text for _, text in found.across] == ["1", "10", "100", "1,000"]
    assert [mark.x for mark in found.marks] == [x for x, _ in found.across]
    assert all(mark.text for mark in found.marks)
    assert plot([]) is None


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    made = store(tmp_path / "r")
    first = render(made, ["patches", "digits"])
    for name in ("patches", "digits"):
        pack(made, name, tmp_path / "packed" / f"{name}.jsonl.xz")
    assert render(open_results(tmp_path / "packed"), ["patches", "digits"]) == first
    assert render(made, ["patches", "digits"], preset="none") != first


def test_the_page_holds_the_tidy_rows_and_every_figure_of_the_board(tmp_path: Path) -> None:
    made = store(tmp_path)
    page = render(made, ["patches"])
    found = boards(made, "patches")
    for board, data in zip(found, data_of(page)["datasets"][0]["boards"], strict=True):
        rows = tidy_board(analyse(board), load_spec("patches"))
        assert unpacked(data["tidy"]) == rows
        for row in rows:
            if row["metric"] == "accuracy" and row["measured"]:
                assert f"<small>{row['low']}&ndash;{row['high']}</small>" in page
    assert page.count('<section class="board"') == 2


def test_the_main_figures_are_those_of_the_board(tmp_path: Path) -> None:
    """The strongest attack leaves the least; what is an upper bound says so, on the plot too."""
    found = boards(store(tmp_path), "patches")
    board = found[0]
    analysis = analyse(board)
    made, _ = section(board, found, load_spec("patches"))
    rows = {row.label: row for row in board.rows}
    for line in made.lines:
        within = {n: e for n, e in rows[line.label].complete().items() if e.threat == board.threat}
        lowest = min(entry.figure.value for entry in within.values())
        assert within[line.strongest].figure.value == lowest
        worst = analysis.worst[line.label]
        assert line.worst
        assert line.worst.value == percent(worst.figure.value)
        assert line.worst.bound == bool(worst.missing)
        assert line.rank == str(analysis.rank.get(line.label, ""))
    assert made.plot
    bounds = {label: bool(worst.missing) for label, worst in analysis.worst.items()}
    assert {mark.point.label: mark.point.bound for mark in made.plot.marks} == bounds
    kinds = {line.label: line.kind for line in made.lines}
    assert kinds["none@natural"] == "bare classifier"
    assert kinds["jpeg@natural"] == "control"
    assert kinds["adp@natural"] == "defense"


def test_a_line_joins_a_purifier_with_its_bare_classifier(tmp_path: Path) -> None:
    """The title is the paired difference; where one of the two is a bound there is none."""
    made = fill(tmp_path)
    bound = measure(made, cell("gdmp@natural", "bpda"), verdicts([0.5] * 64))
    other = measure(made, cell("aid@madry", "bpda"), verdicts([0.5] * 64))
    made.write_plan(plan([bound, other]))
    found = boards(made, "patches")
    part, _ = section(found[0], found, load_spec("patches"))
    assert part.plot
    at = {mark.point.label: (mark.x, mark.y) for mark in part.plot.marks}
    lines = {pair.label: pair for pair in part.plot.pairs}
    assert set(lines) == {"adp@natural", "gdmp@natural"}
    for label, pair in lines.items():
        assert pair.ends == (*at[label], *at["none@natural"])
    gap = compared(analyse(found[0]), "adp@natural", "none@natural")
    assert gap
    assert figure_text(gap.difference, sign=True) in lines["adp@natural"].title
    assert lines["gdmp@natural"].title == "gdmp@natural minus none@natural: not compared"


def test_one_alarm_is_one(tmp_path: Path) -> None:
    page = render(store(tmp_path), ["patches"])
    said = re.findall(r"(\d+) (alarms?)</span> on this board", page)
    assert said
    assert all((word == "alarm") == (count == "1") for count, word in said)


def test_nothing_from_outside_becomes_a_tag(tmp_path: Path) -> None:
    page = render(hostile(tmp_path), ["patches"])
    assert page.count("<script") == page.count("</script>") == 3
    assert not re.search(r"<(img|svg onload)", page)
    for name in HOSTILE:
        assert name not in page or "<" not in name
    assert {card["asked"] for card in data_of(page)["datasets"][0]["boards"][0]["cards"]} == set(
        HOSTILE
    )


def test_a_rows_command_asks_for_its_cells(tmp_path: Path) -> None:
    """Rows of a published board: what is typed resolves to the very cells."""
    board = boards(open_results(PUBLISHED / "records" / "digits.jsonl.xz"), "digits")[0]
    for row in board.rows:
        words = shlex.split(command(board, row))
        given = dict(zip(words[2::2], words[3::2], strict=True))
        asked = Request(
            [given["--defense"]],
            split_list([given["--attacks"]]),
            given["--dataset"],
            threat=given["--threat"],
            subset=given["--subset"],
            preset=given["--preset"],
            images=int(given["--images"]),
            controls=[],
        )
        digests = {planned.cell.digest for planned in make(asked)[0].cells}
        cells = {m.cell.digest for entry in row.entries.values() for m in entry.seeds.values()}
        assert cells <= digests


def test_a_check_asks_for_the_first_shard_under_the_strongest_attack(tmp_path: Path) -> None:
    board, *_ = boards(fill(tmp_path), "patches")
    for row in board.rows:
        found = check(board, row)
        words = shlex.split(found["command"])
        assert words[words.index("--images") + 1] == found["images"] == "32"
        assert words[words.index("--attacks") + 1] == found["attack"]
        figures = {name: e.figure.value for name, e in row.complete(board.threat).items()}
        assert figures[found["attack"]] == min(figures.values())
        first = row.entries[found["attack"]].any.verdicts[:, :, :32].mean()
        assert float(found["low"]) <= 100 * first <= float(found["high"])
        assert float(found["high"]) - float(found["low"]) <= 100 * 4 / 32 + 0.1


def test_a_row_without_an_attack_has_no_check(tmp_path: Path) -> None:
    store = fill(tmp_path, leave_out=("adp@natural/square", "adp@natural/bpda"))
    board, *_ = boards(store, "patches")
    (row,) = (row for row in board.rows if row.label == "adp@natural")
    assert check(board, row) == {}


def test_a_command_is_one_line_that_a_shell_reads_as_it_is(tmp_path: Path) -> None:
    board = boards(hostile(tmp_path), "patches")[0]
    for row in board.rows:
        assert shlex.split(command(board, row))[3] == row.asked


def test_the_published_page_renders_again_byte_for_byte() -> None:
    source = open_results(PUBLISHED / "records")
    names = sorted({*source.datasets(), *spec_names()})
    text = render(source, names)
    assert len(text.encode()) < 3_500_000
    assert text == (PUBLISHED / "index.html").read_text("utf-8")


def test_the_command_writes_a_page_of_all_data_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "r")
    out = tmp_path / "new" / "index.html"
    run = ["table", "--results", str(tmp_path / "r"), "--out", str(out)]
    cli(run, standalone_mode=False)
    names = {each["name"] for each in data_of(out.read_text("utf-8"))["datasets"]}
    assert names == {"patches", *spec_names()}
    cli([*run, "--dataset", "digits"], standalone_mode=False)
    assert [each["name"] for each in data_of(out.read_text("utf-8"))["datasets"]] == ["digits"]
    assert str(out) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--json"], "--json does not go with a page"),
        (["--dataset", "patchs"], "did you mean 'patches'?"),
        (["--preset", "quik"], "did you mean 'quick'?"),
        (["--compare", "adp", "jpeg"], "--out does not go with --compare"),
    ],
)
def test_what_does_not_go_with_a_page_is_one_line(
    tmp_path: Path, more: list[str], words: str
) -> None:
    from bench.errors import BenchError

    fill(tmp_path / "r")
    out = ["--results", str(tmp_path / "r"), "--out", str(tmp_path / "x.html")]
    with pytest.raises(BenchError) as error:
        cli(["table", *out, *more], standalone_mode=False)
    assert words in str(error.value)
    assert not (tmp_path / "x.html").exists()


def test_archives_and_result_files_do_not_mix(tmp_path: Path) -> None:
    from bench.errors import BenchError

    made = fill(tmp_path)
    pack(made, "patches", tmp_path / "patches.jsonl.xz")
    with pytest.raises(BenchError, match=r"holds archives .* and result files of patches"):
        open_results(tmp_path)
