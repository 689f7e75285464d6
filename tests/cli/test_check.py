"""`bench check`: one plug-in, one on a classifier, all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from torch import Tensor

from attacks.family import Clean
from bench import api, contract
from bench.api import Runs, register
from bench.api.purifier import Purifier, Traits
from bench.cli.check import check_command
from bench.cli.run import run_command
from bench.errors import BenchError
from bench.models.zoo.weights import packaged

KEPT = {"none", "aid", "median", "clean", "madry", "natural", "cnn", "vgg", "broken-toy"}


@pytest.fixture(autouse=True)
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--all` of few plug-ins, and no weights of the user."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    everything = contract.everything
    monkeypatch.setattr(contract, "everything", lambda: [n for n in everything() if n in KEPT])
    api.load()
    for kind in ("defense", "attack", "classifier"):
        monkeypatch.setitem(register.PLUGINS, kind, dict(register.PLUGINS[kind]))


def check(*arguments: str) -> tuple[Result, int]:
    result = CliRunner().invoke(check_command, arguments, standalone_mode=False)
    assert result.exception is None, result
    return result, int(result.return_value)


def test_all_is_a_line_for_each() -> None:
    result, code = check("--all")
    lines = result.output.splitlines()
    assert code == 0
    assert [line.split(":")[0] for line in lines[:-2]] == [
        f"ok    {name}" for name in ("aid", "median", "none", "clean", "cnn", "madry", "natural")
    ]
    assert lines[-2] == "skip  vgg: vgg halves images five times, too often for digits; use cnn"
    assert lines[-1] == "7 of 7 plug-ins passed"


class Bright(Purifier):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def test_all_lists_what_fails_and_goes_on() -> None:
    @api.defense("broken-toy", traits=lambda settings: Traits())
    def toy(context: api.Context) -> Purifier:
        """Leaves [0,1]."""
        return Bright()

    result, code = check("--all")
    lines = result.output.splitlines()
    assert code == 2
    at = next(i for i, line in enumerate(lines) if line.startswith("FAIL  broken-toy"))
    assert lines[at + 1] == "      images: values outside of [0,1]"
    assert lines[-1] == "7 of 8 plug-ins passed; failed: broken-toy"


@pytest.mark.parametrize("spec", ["aid@madry", "aid:variant=code@madry", "median+aid@madry"])
def test_an_add_on_is_checked_on_the_classifier_that_is_named(spec: str) -> None:
    # Of this variant only the weights for `madry` are there: on `natural` it could not be built.
    result, code = check(spec)
    assert code == 0, result.output
    assert "10 of 'discriminator' and 10 backward" in result.output


def test_weights_of_ones_own_are_read() -> None:
    with pytest.raises(BenchError, match="--weights natural: no file"):
        CliRunner().invoke(
            check_command, ["natural", "--weights", "natural=nowhere.pt"], standalone_mode=False,
            catch_exceptions=False,
        )  # fmt: skip
    other = packaged("patches") / "natural.safetensors"
    result, code = check("natural", "--weights", f"natural={other}")
    assert code == 2
    assert "were trained on data set 'patches', not on 'digits'" in result.output


def refused(*arguments: str) -> str:
    """Why `bench run` stops before it measures anything."""
    more = ["--dataset", "digits", "--images", "32", "--control", "off", "--results", "results"]
    result = CliRunner().invoke(run_command, [*arguments, *more], standalone_mode=False)
    assert result.exception is not None
    assert not list(Path("results").rglob("000.json"))
    return str(result.exception)


def lacking(context: api.Context) -> Purifier:
    """Declares weights that it does not read."""
    made: Purifier = api.find_defense("none").factory(context)
    return made


def uncounted(*, steps: int = 1) -> Clean:
    """Its cost cannot be told."""
    return Clean()


def test_check_fails_for_what_run_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    damaged = "none@file:damaged.safetensors"
    api.defense("lacking-toy", weights=lambda settings: ("nobody-has-it",))(lacking)
    api.attack("uncounted-toy", cost=lambda s, traits: Runs(float(s["gone"])))(uncounted)
    for name, asked in {
        damaged: ["--defense", damaged, "--attacks", "clean"],
        "lacking-toy": ["--defense", "lacking-toy", "--attacks", "clean"],
        "uncounted-toy": ["--defense", "none", "--attacks", "uncounted-toy"],
    }.items():
        result, code = check(name)
        lines = [line for line in result.output.splitlines() if line.startswith("FAIL  bench run")]
        assert code == 2
        assert len(lines) == 1
        assert refused(*asked) in lines[0]


@pytest.mark.parametrize("name", ["median@cnn", "bpda", "clean", "cnn", "cw", "diffpure"])
def test_check_passes_what_run_takes(name: str) -> None:
    result, code = check(name)
    assert code == 0, result.output
    assert "ok    bench run: " in result.output
