"""`bench show` as a user meets it: files, refusals in one line, no torch for stored results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli
from bench.cli.show import LIVE, STORED
from tests.factories import fill

NO_TORCH = """
import sys
from bench.cli.group import cli
cli(sys.argv[1:], standalone_mode=False)
heavy = {'torch', 'torchvision', 'sklearn'} & set(sys.modules)
sys.exit(f'imported {heavy}' if heavy else 0)
"""


def here(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """The real command in this process: exit code, output, errors."""
    monkeypatch.setattr(sys, "argv", ["bench", "show", *arguments])
    monkeypatch.setattr("bench.cli.interrupt.leave_at_once", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_pictures_of_stored_results_never_import_torch(tmp_path: Path) -> None:
    fill(tmp_path / "results")
    out = tmp_path / "cost.svg"
    arguments = ["show", "cost", "--results", str(tmp_path / "results"), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.strip() == str(out)
    assert "<svg" in out.read_text()


def test_the_pictures_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = here(["--help"], monkeypatch, capsys)
    assert code == 0
    assert all(name in out for name in (*STORED, *LIVE))


@pytest.mark.parametrize(
    "arguments",
    [
        ["regions", "--defense", "gaussian", "--attack", "bpda:steps=1,bpda:steps=2,mim:steps=1"],
        ["information", "--defense", "none", "--attack", "classifier-pgd:steps=1", "--images=16"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_command_draws_what_warm_networks_do(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "drawn.png"
    code, _, err = here([*arguments, "--dataset", "digits", "--out", str(out)], monkeypatch, capsys)
    assert code == 0, err
    assert err.splitlines()[-1] == str(out)
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["curve", "--out", "x.png"], "Missing option '--over'"),
        (["cost"], "Missing option '--out'"),
        (["cost", "--out", "x.pdf"], "does not end in one of .png, .svg"),
        (["costs", "--out", "x.png"], "unknown picture 'costs'; did you mean 'cost'?"),
        (["cost", "--dataset", "patchs", "--out", "x.png"], "did you mean 'patches'?"),
        (["cost", "--defense", "adq", "--out", "x.png"], "did you mean 'adp@natural'?"),
        (["cost", "--images", "9", "--out", "x.png"], "unknown images on the boards of patches"),
        (["certified", "--out", "x.png"], "run: bench run --defense none@noisy"),
        (["curve", "--over", "eps", "--out", "x.png"], "run: bench run --defense adp"),
        (["images", "--defense", "adp", "--out", "x.png"], "Missing option '--attack'"),
        (
            ["images", "--defense", "adp", "--attack", "bpda", "--out", "x.gif"],
            "does not end in one of .png, .svg",
        ),
        (
            ["images", "--defense", "none", "--attack", "joint-full", "--out", "x.png"],
            "no purifier: duplicate of classifier-pgd",
        ),
        (
            ["information", "--defense=none", "--attack=mim", "--images=8", "--out", "x.png"],
            "--images 8: an estimate needs at least 16",
        ),
        (
            ["images", "--defense", "none", "--attack", "clean", "--index", "-1", "--out", "x.png"],
            "has images 0 to 511",
        ),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    code, out, err = here(arguments, monkeypatch, capsys)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("x.*"))
