"""Boards: what may stand beside what, and that nothing missing becomes a number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.boards.analysis import WORST, analyse, percent
from bench.boards.gather import boards
from bench.boards.metrics import accuracy
from bench.boards.ranking import ranked
from bench.boards.spec import BoardSpec, load_spec
from bench.boards.tidy import tidy
from bench.boards.worst import worst
from bench.literature.claims import Literature
from bench.report.boards import document
from bench.report.details import EVERY
from bench.report.tables import Document, Listing, Table
from bench.results.store import Store
from tests.factories import (
    THREAT,
    cell,
    change_records,
    claim,
    fill,
    measure,
    one_board,
    plan,
    planned,
    row_of,
    verdicts,
)

SPEC = BoardSpec("a board")


def main_table(found: Document) -> Table:
    return next(b for b in found.flat if isinstance(b, Table) and b.heading == EVERY)


def listing(found: Document, heading: str) -> tuple[str, ...]:
    for block in found.flat:
        if isinstance(block, Listing) and block.heading == heading:
            return block.lines
    return ()


def one(rows: list[dict[str, str]], **wanted: str) -> dict[str, str]:
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_a_board_has_a_row_per_defense_ranked_by_its_worst_case(tmp_path: Path) -> None:
    board = one_board(fill(tmp_path))
    table = main_table(document([board], SPEC, "patches"))
    assert table.header[:6] == ("defense", "clean", "bpda", "square", "corruption", WORST)
    assert len(table.rows) == 4
    assert table.rows[0][0] == "adp@natural"
    assert {row[0] for row in table.rows} >= {"wiener@natural (control)", "jpeg@natural (control)"}
    shown = [float(row[5].split()[0]) for row in table.rows]
    assert shown == sorted(shown, reverse=True)


def test_markdown_cells_and_csv_rows_are_the_same_numbers(tmp_path: Path) -> None:
    found = boards(fill(tmp_path), "patches")
    table, rows = main_table(document(found, SPEC, "patches")), tidy(found, SPEC, "patches")
    for line in table.rows:
        defense = line[0].removesuffix(" (control)")
        for column, text in zip(table.header[1:6], line[1:6], strict=True):
            row = one(rows, defense=defense, attack=column, metric="accuracy")
            expected = f"{row['measured']} [{row['low']}, {row['high']}]" if row["measured"] else ""
            assert text == expected


def test_the_csv_figure_is_the_mean_of_the_verdicts(tmp_path: Path) -> None:
    found = boards(fill(tmp_path), "patches")
    bits = [
        r.correct
        for r in Store(tmp_path).records("patches")
        if r.cell.attack == "bpda" and r.cell.defense == "adp@natural"
    ]
    text = "".join(row for rows in bits for row in rows)
    row = one(tidy(found, SPEC, "patches"), defense="adp@natural", attack="bpda", metric="accuracy")
    assert row["measured"] == percent(text.count("1") / len(text))
    assert (row["n"], row["seeds"], row["draws"], row["threat"]) == ("64", "1", "4", THREAT)


def test_corruptions_stay_out_of_the_worst_case(tmp_path: Path) -> None:
    board = one_board(fill(tmp_path))
    analysis = analyse(board)
    assert set(analysis.worst["adp@natural"].share) == {"clean", "bpda", "square"}
    assert sum(analysis.worst["adp@natural"].share.values()) == pytest.approx(1)


def test_certificates_are_a_curve_of_their_own_beside_the_worst_case(tmp_path: Path) -> None:
    store, asked = Store(tmp_path), []
    right = np.arange(64) < 48
    radius = [0.3] * 16 + [0.12] * 16 + [0.0] * 32
    shares = {"clean": 0.9, "bpda": 0.5, "certify": 0.0}
    for attack, share in shares.items():
        proof = attack == "certify"
        bits = right.reshape(1, 1, 64) if proof else verdicts([share] * 64)
        item = measure(store, cell("none@noisy", attack), bits, radius=radius if proof else ())
        asked.append(item)
    store.write_plan(plan(asked, images=64))
    found = boards(store, "patches")
    shown = document(found, SPEC, "patches")
    assert main_table(shown).header[1:5] == ("clean", "bpda", "certify", WORST)
    assert set(analyse(found[0]).worst["none@noisy"].share) == {"clean", "bpda"}
    (table,) = (b for b in shown.flat if b.heading == "Certified accuracy")
    assert isinstance(table, Table)
    assert table.header == ("defense", "by", "at 0", "0.05", "0.1", "0.15", "0.2", "0.25")
    assert [text.split()[0] for text in table.rows[0][2:]] == ["75.0", *["50.0"] * 2, *["25.0"] * 3]
    rows = tidy(found, SPEC, "patches")
    row = one(rows, attack="certify", metric="certified within 0.1")
    assert (row["measured"], row["threat"], row["draws"]) == ("50.0", "certified", "1")
    assert one(rows, attack="certify", metric="accuracy")["measured"] == "75.0"


def test_a_protocols_own_verdict_is_a_metric_and_never_the_headline(tmp_path: Path) -> None:
    store, name = Store(tmp_path), "bpda-eot:protocol=hill"
    fallen = np.arange(64) >= 16
    item = measure(store, cell("adp@natural", name), verdicts([1.0] * 64, draws=4), protocol=fallen)
    store.write_plan(plan([item], images=64))
    found = boards(store, "patches")
    rows = tidy(found, SPEC, "patches")
    assert one(rows, attack=name, metric="accuracy")["measured"] == "100.0"
    assert one(rows, attack=name, metric="protocol")["measured"] == "75.0"
    assert main_table(document(found, SPEC, "patches")).rows[0][1].startswith("100.0")


def test_resubmission_stands_beside_clean_at_as_many_tries(tmp_path: Path) -> None:
    store, name = fill(tmp_path), "bpda-eot:protocol=resubmit"
    asked = cell("adp@natural", name, threat=f"resubmit:{THREAT}")
    item = measure(store, asked, (np.arange(64) % 4 == 0).reshape(1, 1, 64))
    attacked = tuple(30 if i % 4 == 0 else i % 4 for i in range(32))
    clean = tuple(30 if i % 4 < 3 else 29 for i in range(32))
    tried = {"attacked": attacked, "untouched": clean, "steps": (10,), "tries": (3,)}
    change_records(store, item, resubmit=tried)
    store.write_plan(plan([item]))
    found = boards(store, "patches")
    rows = tidy(found, SPEC, "patches")
    shares = {"accuracy": "25.0", "robust-resubmit@3": "25.0", "clean-resubmit@3": "75.0"}
    for metric, share in {**shares, "resubmit@3 minus clean": "-50.0"}.items():
        row = one(rows, defense="adp@natural", attack=name, metric=metric)
        assert row["measured"] == share
    (table,) = (b for b in document(found, SPEC, "patches").flat if b.heading == "Resubmission")
    assert isinstance(table, Table)
    (line,) = table.rows
    assert [text.split()[0] for text in line] == [
        "adp@natural",
        name,
        "-50.0",
        "25.0",
        "75.0",
        "10",
        "3",
    ]
    # One prediction is one try: 1, 2, 3 or all 30 of the attacked, 30 of the clean ones.
    spent = row_of(found[0], "adp@natural").entries[name].cost
    judged = sum(
        record.calls["classifier"]["judge"][0]
        for record in store.records("patches")
        if record.cell == asked
    )
    assert spent.prediction == judged / (64 / 4 * (30 + 2 + 3 + 4) + 64 * 30)


def test_the_worst_case_of_one_draw_is_the_minimum_over_attacks(tmp_path: Path) -> None:
    board = one_board(fill(tmp_path))
    row = row_of(board, "jpeg@natural")
    columns = [accuracy(row.entries[name].any) for name in ("clean", "bpda", "square")]
    assert np.array_equal(analyse(board).worst["jpeg@natural"].values, np.min(columns, axis=0))


def test_a_missing_shard_blanks_its_cell_and_bounds_the_worst_case(tmp_path: Path) -> None:
    store = fill(tmp_path)
    next(tmp_path.glob("patches/records/adp@natural/square/*/001.json")).unlink()
    found = boards(store, "patches")
    shown = document(found, SPEC, "patches")
    table = main_table(shown)
    line = next(row for row in table.rows if row[0] == "adp@natural")
    assert line[3] == ""
    assert line[5].startswith("<= ")
    assert "adp@natural under square: incomplete: 1 of 2 shards" in listing(shown, "Blank cells")
    rows = tidy(found, SPEC, "patches")
    row = one(rows, defense="adp@natural", attack="square")
    assert (row["measured"], row["low"], row["n"]) == ("", "", "")
    assert row["note"] == "incomplete: 1 of 2 shards"
    # An upper bound is compared with nothing, and stands below whole rows.
    assert ("adp@natural", WORST) not in analyse(found[0]).against
    analysis = analyse(found[0])
    assert ranked(found[0], analysis.worst)[-1].label == "adp@natural"
    assert set(analysis.rank) == {"none@natural", "wiener@natural", "jpeg@natural"}


def test_a_missing_seed_blanks_the_cell(tmp_path: Path) -> None:
    store = fill(tmp_path, seeds=2)
    path = next(
        p
        for p in tmp_path.glob("patches/records/adp@natural/bpda/*/000.json")
        if '"seed":1' in p.read_text()
    )
    path.unlink()
    board = one_board(store)
    row = row_of(board, "adp@natural")
    assert board.blank(row, "bpda") == "seed 1: incomplete: 1 of 2 shards"


def test_seeds_are_averaged_and_their_deviation_is_apart(tmp_path: Path) -> None:
    board = one_board(fill(tmp_path, seeds=3))
    row = row_of(board, "adp@natural")
    means = [accuracy(m).mean() for m in row.entries["bpda"].seeds.values()]
    assert len(means) == 3
    assert row.entries["bpda"].figure.value == pytest.approx(np.mean(means))
    cells = one(tidy([board], SPEC, "patches"), defense=row.label, attack="bpda", metric="accuracy")
    assert cells["note"] == f"deviation over seeds {percent(float(np.std(means, ddof=1)))}"


def test_points_submitted_for_one_row_lower_its_worst_case_and_touch_no_other(
    tmp_path: Path,
) -> None:
    store = fill(tmp_path)
    before = {line[0]: line[5] for line in main_table(_shown(store)).rows}
    item = measure(store, cell(attack="submitted:file=mine.npz"), verdicts([0.01] * 64, draws=4))
    store.write_plan(plan([item]))
    shown = _shown(store)
    table = main_table(shown)
    assert table.header[4:7] == ("submitted:file=mine.npz", "corruption", WORST)
    after = {line[0]: line[6] for line in table.rows}
    assert float(after["adp@natural"].split()[0]) < 5 < float(before["adp@natural"].split()[0])
    assert {k: v for k, v in after.items() if k != "adp@natural"} == {
        k: v for k, v in before.items() if k != "adp@natural"
    }
    noted = "adp@natural under submitted:file=mine.npz: points that somebody submitted, in a file."
    assert noted in listing(shown, "Notes")
    next(tmp_path.glob(f"patches/records/*/*/{item.cell.digest}/001.json")).unlink()
    assert _shown(store) != shown
    line = next(row for row in main_table(_shown(store)).rows if row[0] == "adp@natural")
    assert line[6].startswith("<= ")


def _shown(store: Store) -> Document:
    return document(boards(store, "patches"), SPEC, "patches")


def test_a_board_says_what_the_gate_found_and_what_memory_did(tmp_path: Path) -> None:
    store = fill(tmp_path)
    heading = "Precision and memory"
    assert not listing(document(boards(store, "patches"), SPEC, "patches"), heading)
    item = planned(cell("adp@natural", "bpda"))
    record = store.read(item, 0)
    assert record is not None
    said = {"gate": "0 of 512 verdicts differ: bf16", "out_of_memory": "8 images per network call"}
    store.write(item, replace(record, timing={**record.timing, **said}))
    shown = listing(document(boards(store, "patches"), SPEC, "patches"), heading)
    assert shown == tuple(f"adp@natural: {text}" for text in said.values())


def test_settings_say_through_what_the_gradient_went(tmp_path: Path) -> None:
    store = fill(tmp_path)
    change_records(store, planned(cell("adp@natural", "bpda")), gradient="bpda+exact")
    shown = document(boards(store, "patches"), SPEC, "patches")
    tables = [block for block in shown.blocks if isinstance(block, Table)]
    (settings,) = [table for table in tables if table.heading == "Settings of every column"]
    lines = {row[2]: row[1] for row in settings.rows if row[0] == "bpda"}
    assert lines.pop("adp@natural") == "bpda; gradient bpda+exact"
    assert list(lines.values()) == ["bpda"]


@pytest.mark.parametrize(
    ("attack", "threat", "says"),
    [
        ("known-randomness", f"known:{THREAT}", "known-randomness: attacker and judge"),
        ("gradient-cosine", f"probe:{THREAT}", "gradient-cosine: a diagnostic"),
        ("stadv", "flow:0.05", "stadv: pixels move"),
        ("lf", "ssim:0.05", "lf: pixels are averaged"),
        (
            "bpda-eot:protocol=resubmit",
            f"resubmit:{THREAT}",
            "bpda-eot:protocol=resubmit: an image is broken if any try at any step fails",
        ),
    ],
)
def test_what_stands_aside_stays_out_of_the_worst_case(
    tmp_path: Path, attack: str, threat: str, says: str
) -> None:
    store = fill(tmp_path)
    item = measure(store, cell("adp@natural", attack, threat=threat), verdicts([0.0] * 64))
    before = analyse(boards(store, "patches")[0]).worst["adp@natural"].values
    store.write_plan(plan([item]))
    board = one_board(store)
    assert np.array_equal(analyse(board).worst["adp@natural"].values, before)
    table = main_table(document([board], SPEC, "patches"))
    assert table.header[4:7] == ("corruption", attack, WORST)
    assert [says in note for note in table.notes if "no part of" in note] == [True]


def test_a_skip_explains_its_blank_cell(tmp_path: Path) -> None:
    shown = document(boards(fill(tmp_path), "patches"), SPEC, "patches")
    assert listing(shown, "Blank cells") == ("none@natural under square: made up for the test",)


def test_differences_are_to_the_best_control_of_each_column(tmp_path: Path) -> None:
    board = one_board(fill(tmp_path, images=256))
    analysis = analyse(board)
    assert analysis.best["bpda", "natural"] == "jpeg@natural"
    assert analysis.best["square", "natural"] == "wiener@natural"
    comparison, adjusted = analysis.against["adp@natural", "square"]
    rows = {row.label: row.entries["square"] for row in board.rows if "square" in row.entries}
    expected = rows["adp@natural"].values.mean() - rows["wiener@natural"].values.mean()
    assert comparison.difference.value == pytest.approx(expected)
    assert comparison.difference.low > 0
    assert comparison.p <= adjusted < 0.05


def test_a_row_is_compared_with_controls_on_its_own_classifier(tmp_path: Path) -> None:
    store, asked = fill(tmp_path), []
    for defense, share in (("adp@madry", 0.9), ("median@madry", 0.1), ("adp@trades", 0.9)):
        item = measure(
            store,
            cell(defense, "bpda"),
            verdicts([share] * 64),
            control=defense.startswith("median"),
        )
        asked.append(item)
    store.write_plan(plan(asked))
    found = boards(store, "patches")
    analysis = analyse(found[0])
    assert analysis.best["bpda", "madry"] == "median@madry"
    assert analysis.best["bpda", "natural"] == "jpeg@natural"
    assert ("adp@trades", "bpda") not in analysis.against
    (table,) = (
        block
        for block in document(found, SPEC, "patches").flat
        if isinstance(block, Table) and block.heading.startswith("Difference")
    )
    assert ("adp@madry", "bpda") in analysis.against
    shown = {line[0]: line[1:] for line in table.rows}
    assert shown.keys() == {"adp@natural", "none@natural"}
    assert shown["adp@natural"][0] == analysis.best[WORST, "natural"]
    test, _ = analysis.against["adp@natural", WORST]
    assert shown["adp@natural"][1].startswith(percent(test.difference.value, sign=True))
    rows = tidy(found, SPEC, "patches")
    notes = {r["defense"]: r["note"] for r in rows if r["metric"].startswith("difference")}
    assert notes["adp@madry"].startswith("minus median@madry")
    assert "adp@trades" not in notes


def test_reported_numbers_get_a_verdict(tmp_path: Path) -> None:
    found = boards(fill(tmp_path), "patches")
    where, printed = ("adp@natural", "bpda", THREAT), claim("5.0")
    spec = BoardSpec("a board", (), Literature({where: (printed, claim("1.5", table=""))}))
    row = one(tidy(found, spec, "patches"), defense="adp@natural", attack="bpda", metric="accuracy")
    assert (row["reported"], row["external"], row["verdict"]) == ("5.0", "1.5", "higher")
    assert row["note"].startswith("64 images where the paper has 512; reported in ADP Table 3")
    spec = BoardSpec("a board", (), Literature({where: (claim("5.0", preset="paper"),)}))
    row = one(tidy(found, spec, "patches"), defense="adp@natural", attack="bpda", metric="accuracy")
    assert row["verdict"] == "not comparable: budget quick"


def test_others_stand_beside_every_attack_within_their_threat(tmp_path: Path) -> None:
    found = boards(fill(tmp_path), "patches")
    other = claim("1.5", table="")
    spec = BoardSpec("a board", (), Literature({}, {("adp@natural", THREAT): (other,)}))
    rows = [r for r in tidy(found, spec, "patches") if r["external"]]
    assert {(r["defense"], r["attack"]) for r in rows} == {
        ("adp@natural", attack) for attack in ("bpda", "square", WORST)
    }


@pytest.mark.parametrize("name", ["patches", "digits"])
def test_committed_specs_say_what_a_class_is(name: str) -> None:
    spec = load_spec(name)
    assert name in spec.title
    assert any("class is a" in line for line in spec.prose)
    assert load_spec("unheard-of").prose == ()


def test_damaged_records_are_left_out_and_named(tmp_path: Path) -> None:
    store = fill(tmp_path)
    path = next(tmp_path.glob("patches/records/adp@natural/bpda/*/001.json"))
    path.write_text(path.read_text()[:100])
    (board,) = boards(store, "patches")
    (said,) = store.left_out.items()
    assert said[0] == str(path)
    assert said[1].startswith(f"{path}: not a whole record")
    row = next(row for row in board.rows if row.asked == "adp@natural")
    assert board.blank(row, "bpda") == "incomplete: 1 of 2 shards"
    found = worst(board, row)
    assert found is not None
    assert found.missing == ("bpda",)
