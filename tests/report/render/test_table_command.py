"""`bench table` as a newcomer runs it: a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.factories import fill

RUN = "import sys; from bench.cli import main; sys.argv[0] = 'bench'; main()"
NO_TORCH = """
import sys
from bench.cli.group import cli
cli(sys.argv[1:], standalone_mode=False)
heavy = {'torch', 'torchvision', 'robustbench', 'matplotlib'} & set(sys.modules)
sys.exit(f'imported {heavy}' if heavy else 0)
"""


def bench(*arguments: str | Path, code: str = RUN) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, "table", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_table_never_imports_torch(tmp_path: Path) -> None:
    fill(tmp_path / "results")
    done = bench("--results", tmp_path / "results", "--out", tmp_path / "patches.md", code=NO_TORCH)
    assert (done.returncode, done.stderr.count("imported")) == (0, 0)


def test_out_writes_markdown_and_csv_of_the_named_data_set(tmp_path: Path) -> None:
    fill(tmp_path / "results")
    done = bench("--results", tmp_path / "results", "--out", tmp_path / "patches.md")
    assert done.returncode == 0
    assert (tmp_path / "patches.md").read_text().startswith("# patches:")
    assert (tmp_path / "patches.csv").read_text().startswith("dataset,subset,preset,defense,")
    # Another data set has no records here: a blank board that says what to run.
    done = bench("--results", tmp_path / "results", "--out", tmp_path / "digits.md")
    assert done.returncode == 0
    assert "--dataset digits" in done.stderr
    assert "--dataset digits" in (tmp_path / "digits.csv").read_text()


def test_json_and_archives(tmp_path: Path) -> None:
    fill(tmp_path / "results")
    packed = tmp_path / "patches.jsonl.xz"
    assert bench("--results", tmp_path / "results", "--pack", packed).returncode == 0
    loose = bench("--results", tmp_path / "results", "--json")
    assert json.loads(loose.stdout)[0]["dataset"] == "patches"
    assert bench("--results", packed, "--json").stdout == loose.stdout
    assert bench("--results", packed, "--json", "--preset", "quick").stdout == loose.stdout


def test_an_archive_unpacks_to_a_folder_that_tells_the_same(tmp_path: Path) -> None:
    fill(tmp_path / "results")
    packed, folder = tmp_path / "patches.jsonl.xz", tmp_path / "again"
    assert bench("--results", tmp_path / "results", "--pack", packed).returncode == 0
    done = bench("--results", packed, "--unpack", folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert len(list(folder.rglob("records/**/*.json"))) > 0
    assert (
        bench("--results", folder, "--json").stdout == bench("--results", packed, "--json").stdout
    )
    again = bench("--results", packed, "--unpack", folder)
    assert f"{folder}: 0 records" in again.stderr


def test_two_rows_are_compared(tmp_path: Path) -> None:
    fill(tmp_path / "results")
    compare = ("--results", tmp_path / "results", "--compare", "adp")
    done = bench(*compare, "jpeg", code=NO_TORCH)
    assert (done.returncode, done.stderr.count("imported")) == (0, 0)
    assert done.stdout.startswith("# adp@natural against jpeg@natural on patches")
    (section,) = json.loads(bench(*compare, "jpeg", "--json").stdout)
    assert [line["attack"] for line in section["columns"]][-1] == "worst case"
    for arguments, words in (
        ((*compare, "jpg"), "unknown row 'jpg@natural'; did you mean 'jpeg@natural'?"),
        ((*compare, "jpeg", "--out", tmp_path / "x.md"), "--out does not go with --compare"),
    ):
        done = bench(*arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_without_results_a_data_set_of_the_papers_has_what_was_published(tmp_path: Path) -> None:
    done = bench(
        "--results", tmp_path / "nowhere", "--dataset", "svhn", "--out", tmp_path / "x.tex"
    )
    assert done.returncode == 0
    assert "AID-Purifier Tables 3" in (tmp_path / "x.tex").read_text()


def test_what_was_published_is_printed_where_it_is_asked_for(tmp_path: Path) -> None:
    asked = ("--results", tmp_path / "nowhere", "--dataset", "cifar10")
    short, whole = bench(*asked), bench(*asked, "--published")
    assert "Published: " not in short.stdout
    assert re.search(r"[0-9]+ published numbers on cifar10: --published", short.stderr)
    assert "Published: " in whole.stdout
    assert "--published" not in whole.stderr


def test_without_results_the_board_is_blank(tmp_path: Path) -> None:
    done = bench("--results", tmp_path / "nowhere")
    assert done.returncode == 0
    assert "bench run --defense adp --attacks all --dataset patches" in done.stdout


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    fill(tmp_path / "results")
    path = next(tmp_path.glob("results/patches/records/*/bpda/*/000.json"))
    path.write_bytes(b"\xff\xfe\x00")
    done = bench("--results", tmp_path / "results")
    assert (done.returncode, done.stderr.startswith(f"left out: {path}: not a text file")) == (
        0,
        True,
    )
    for arguments, words in (
        (("--dataset", "patchs"), "did you mean 'patches'?"),
        (("--results", tmp_path / "results", "--preset", "quik"), "did you mean 'quick'?"),
        (("--out", tmp_path / "x.pdf"), "does not end in one of .md, .csv, .tex"),
        (("--results", path), "not a whole archive"),
    ):
        done = bench(*arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
