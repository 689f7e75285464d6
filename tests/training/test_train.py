"""From a name to a file: recipes, what is recorded, what `bench train` finds to do."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bench import api
from bench.api.images import Dataset, DatasetInfo, Images
from bench.cli.train import train_command
from bench.errors import BenchError
from bench.measure.weights_used import known_weights
from bench.models.zoo.entries import how_to_get
from bench.models.zoo.networks import rebuild
from bench.training import needs
from bench.training import train as training
from bench.training.fit import Fit
from bench.training.needs import Need, exists, needed
from bench.training.onlooker import Onlooker, StoppedError
from bench.training.recipes import RECIPES, Recipe, recipe
from tests.networks import answer, expected

TOY = DatasetInfo("digits", "toy", (1, 16, 16), ("a", "b"), "linf:0.1")


def toy() -> Dataset:
    def load(split: str) -> Images:
        y = torch.arange(64) % 2
        x = (y.view(-1, 1, 1, 1) * 0.8 + 0.1).expand(64, 1, 16, 16).contiguous()
        return Images(x, y, torch.arange(64))

    return Dataset(TOY, load)


def brief(name: str, steps: int = 3) -> Recipe:
    plain = recipe(name, TOY)
    return replace(plain, fit=replace(plain.fit, steps=steps, batch=16))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_onlooker_may_end_it_while_its_steps_are_measured(home: Path) -> None:
    class Leaving(Onlooker):
        def stop(self) -> bool:
            return True

    with pytest.raises(StoppedError):
        training.train("natural", toy(), plan=brief("natural"), onlooker=Leaving(), hours=1)
    assert not list(home.rglob("*.json"))
    assert not list(home.rglob("*.pt"))


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_makes_a_file_from_which_the_network_comes_back(name: str, home: Path) -> None:
    weights = training.train(name, toy(), plan=brief(name))
    assert weights.path == home / "weights" / "digits" / f"{name}.safetensors"
    facts = weights.metadata
    assert facts["command"] == f"bench train {name} --dataset digits --seed 0"
    assert facts["recipe"] == name
    assert facts["steps"] == "3"
    assert all(isinstance(v, float) for v in json.loads(facts["merit"]).values())
    network = rebuild(weights)
    x = toy().images("test").x[:2]
    assert answer(network, x).shape == expected(network, x, classes=2)


def test_an_easy_task_is_learned_and_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    plan = brief("natural", steps=20)
    first = training.train("natural", toy(), plan=plan, into=tmp_path / "1")
    second = training.train("natural", toy(), plan=plan, into=tmp_path / "2")
    other = training.train("natural", toy(), plan=plan, into=tmp_path / "3", seed=1)
    assert first.sha256 == second.sha256 != other.sha256
    assert json.loads(first.metadata["merit"])["clean"] == 100


def test_mixed_precision_is_part_of_the_recorded_command() -> None:
    facts = training.train("natural", toy(), plan=brief("natural"), amp=True).metadata
    assert facts["command"] == "bench train natural --dataset digits --seed 0 --amp"


def test_other_lengths_are_part_of_the_file_and_of_its_command() -> None:
    said: list[str] = []
    facts = training.train("cnn", toy(), plan=brief("cnn", 30), steps=4, say=said.append).metadata
    assert facts["command"] == "bench train cnn --dataset digits --seed 0 --steps 4"
    assert facts["steps"] == "4"
    assert json.loads(facts["fit"])["steps"] == 4
    usual = training.train("cnn", toy(), plan=brief("cnn", 30))
    whole = training.train("cnn", toy(), plan=brief("cnn", 30), hours=100, say=said.append)
    assert usual.sha256 == whole.sha256  # the recipe's own length fits
    assert said[:2] == [
        "cnn, 64 images on cpu",
        "trained; what it is worth is measured on 64 validation images",
    ]
    assert said[3].startswith("30 of the recipe's 30 steps in 100 h (")


def test_nothing_is_left_of_a_finished_run(home: Path) -> None:
    training.train("cnn", toy(), plan=brief("cnn", 12), hours=100)
    assert list((home / "training").iterdir()) == []


def test_twin_is_natural_from_another_seed() -> None:
    one, two = recipe("natural", TOY), recipe("twin", TOY)
    assert (one.network, one.arguments, one.fit) == (two.network, two.arguments, two.fit)
    assert one.seed_offset != two.seed_offset


def test_packaged_weights_get_their_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.models.zoo import weights as zoo

    for module in (training, zoo):
        monkeypatch.setattr(module, "packaged", lambda dataset: tmp_path / "packaged")
    trained = training.train("cnn", toy(), plan=brief("cnn"), into=tmp_path / "packaged")
    assert zoo.manifest("digits")["cnn"]["sha256"] == trained.sha256
    assert zoo.find("digits", "cnn").path == trained.path


def test_unknown_names_and_data_sets() -> None:
    with pytest.raises(BenchError, match="did you mean 'natural'"):
        recipe("naturel", TOY)
    with pytest.raises(BenchError, match="no training recipe for data set 'moon'"):
        recipe("natural", replace(TOY, name="moon"))
    with pytest.raises(BenchError, match=r"unknown defense or weights 'scor'.* 'score'"):
        needed(["scor"], "digits")
    with pytest.raises(BenchError, match="unknown classifier"):
        needed(["adp@madri"], "digits")


def test_a_spec_names_the_weights_behind_it() -> None:
    def names(*specs: str) -> list[str]:
        return [need.name for need in needed(specs, "digits")]

    assert names("none@madry") == ["madry"]
    assert names("adp") == ["score", "natural"]
    assert names("adp:network=ncsnv2@trades") == ["score-ncsnv2", "trades"]
    assert names("score", "adp,none@madry") == ["score", "natural", "madry"]
    assert names("all")[: len(RECIPES)] == list(RECIPES)


def test_what_exists_is_whole(tmp_path: Path) -> None:
    natural = Need("natural")
    assert exists(natural, "digits", None)
    assert not exists(natural, "digits", tmp_path)
    (tmp_path / "natural.safetensors").write_bytes(b"half")
    assert not exists(natural, "digits", tmp_path)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Fit(60, batch=8)
    monkeypatch.setattr(needs, "recipe", lambda name, info: replace(recipe(name, info), fit=quick))
    arguments = ["cnn", "--dataset", "digits", "--out", str(tmp_path)]
    first = CliRunner().invoke(train_command, arguments, catch_exceptions=False)
    assert "digits cnn: cnn, 1,029 images on cpu\n" in first.stderr
    assert re.search(r"digits cnn: [\d,]+ parameters, 60 steps of 8 images\n", first.stderr)
    assert re.search(r"digits cnn: step 6 of 60, loss .*, about \d+ s left\n", first.stderr)
    assert "digits cnn: step 60 of 60, loss" in first.stderr
    assert str(tmp_path / "cnn.safetensors") in first.stdout
    again = CliRunner().invoke(train_command, arguments, catch_exceptions=False)
    assert again.stdout == "cnn: there already (--force trains it again)\n"
    for wrong in (["--packaged"], ["--steps", "5", "--hours", "1"]):
        with pytest.raises(BenchError, match="exclude each other"):
            CliRunner().invoke(train_command, [*arguments, *wrong], catch_exceptions=False)
    with pytest.raises(BenchError, match="--hours needs a number above 0"):
        CliRunner().invoke(train_command, [*arguments, "--hours", "nan"], catch_exceptions=False)


@pytest.mark.parametrize("dataset", api.names("dataset"))
def test_no_missing_weight_sends_to_a_command_that_refuses_it(dataset: str) -> None:
    for weight in ("nobody-has-it", *known_weights(dataset)):
        for command in re.findall(r"bench train (\S+) --dataset", how_to_get(dataset, weight)):
            assert needed([command], dataset)
    says = how_to_get(dataset, "nobody-has-it")
    assert says == "give the file: --weights nobody-has-it=FILE"
