"""The papers' recipes: their constants, and a step of each at full-size shape, made narrow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import api
from bench.api.images import Dataset, DatasetInfo, Images
from bench.errors import BenchError
from bench.models.nets import make
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import load_state
from bench.spec import Part
from bench.training import needs
from bench.training import train as training
from bench.training.fit import Fit, fit
from bench.training.names import names
from bench.training.needs import Need, needed
from bench.training.recipes import Recipe, compact, full, recipe
from bench.training.recipes.aid import ROWS
from bench.training.recipes.published import PUBLISHED, cropped, mirrored, published
from tests.models.nets.test_layouts import TABLE

NARROW: Mapping[str, Mapping[str, Any]] = {
    "wideresnet": {"depth": 10, "widen": 1},
    "wideresnet-meliketoy": {"depth": 10, "widen": 1},
    "resnet": {"blocks": [1, 1, 1], "width": 4},
    "resnet-projected": {"blocks": [1, 1], "width": 8},  # torch 2.15 fails on 4 channels
    "vgg": {"depth": 11, "width": 4},
    "earlypool": {"widths": [4, 4, 4], "stem": 4},
    "unet": {"widths": [4, 4, 4]},
    "edm": {"widths": [4, 4, 4]},
    "cnn": {"width": 4},
    "adp-simple-conv": {},
    "ncsnv2": {"ngf": 8},
    "edm-ddpmpp": {"model_channels": 16, "num_blocks": 1, "channel_mult": [1, 1]},
    "ebm": {"width": 4},
    "pixelcnnpp": {"nr_resnet": 1, "nr_filters": 8, "nr_logistic_mix": 2},
    "aid": {"width": 8, "trunk": [8]},
    "aid-code": {"width": 8, "trunk": [8]},
}


def info(name: str) -> DatasetInfo:
    found = api.find_dataset(name).info
    assert found is not None
    return found


def few(name: str) -> Dataset:
    """Four images of the right shape."""
    facts = info(name)

    def load(split: str) -> Images:
        x = torch.rand(4, *facts.shape, generator=torch.Generator().manual_seed(0))
        return Images(x, torch.arange(4), torch.arange(4))

    return Dataset(facts, load)


def brief(found: Recipe) -> Recipe:
    """Two steps of a narrow network, with everything else as it is."""
    arguments = {**found.arguments, **NARROW[found.network]}
    return replace(found, arguments=arguments, fit=replace(found.fit, steps=2, batch=4))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        *(("cifar10", name) for name in full.FULL if name != "cnn"),
        *(("mnist", name) for name in ("natural", "madry", "cnn", "score-ncsnv2", "edm-ddpmpp")),
        ("svhn", "lee"),
        *(("cifar10-compact", name) for name in compact.COMPACT),
    ],
)
def test_every_recipe_trains_at_full_size_shape(dataset: str, name: str) -> None:
    weights = training.train(name, few(dataset), plan=brief(recipe(name, info(dataset))))
    assert weights.metadata["dataset"] == dataset
    assert all(isinstance(v, float) for v in json.loads(weights.metadata["merit"]).values())
    network = rebuild(weights)
    stored = {t.dtype for t in load_state(weights).values() if t.is_floating_point()}
    assert stored == {torch.float16 if dataset == "cifar10-compact" else torch.float32}
    assert {p.dtype for p in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", ["aid", "aid-code"])
def test_discriminators_train_on_a_classifier_of_full_size_shape(family: str) -> None:
    from bench.training.recipes import add_on

    training.train("madry", few("cifar10"), plan=brief(recipe("madry", info("cifar10"))))
    need = Need(f"{family}-{{classifier}}", Part("madry"))
    # A narrow classifier has one block a group; its maps have other names than the paper's.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.models.classifiers.named.ROBUST", {"cifar10": tuple(SMALL)})
        base = needs.context(need, "cifar10", None).behind
        plan = brief(add_on(need.recipe, info("cifar10"), base))
        weights = training.train(need, few("cifar10"), plan=plan)
    assert weights.name == f"{family}-madry"


SMALL = ("conv1", "block1.0", "block2.0", "block3.0")


# --- the papers' constants -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("natural", "wrn28_10_adp"),
        ("score-ncsnv2", "ncsnv2_cifar10"),
        ("edm-ddpmpp", "edm_ddpmpp_cifar10"),
        ("pixelcnn", "pixelcnnpp_cifar10"),
        ("ebm-igebm", "ebm_igebm"),
        ("madry", "wrn34_10_robustbench"),
    ],
)
def test_the_networks_of_cifar10_have_the_published_layouts(name: str, file: str) -> None:
    found = recipe(name, info("cifar10"))
    (entry,) = (entry for entry in TABLE if entry.file == file)
    with torch.device("meta"):
        ours = make(found.network, found.arguments).state_dict()
        theirs = make(entry.network, entry.arguments).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(
    ("dataset", "levels", "steps", "flips"),
    [
        ("mnist", (15, 0.005253, 110), 200_000, False),
        ("fashionmnist", (15, 0.005253, 64), 200_000, False),
        ("cifar10", (50, 0.008454, 232), 300_000, True),
        ("cifar100", (50, 0.008454, 232), 300_000, True),
    ],
)
def test_score_networks_are_those_of_adp_table_5(
    dataset: str, levels: tuple[float, float, int], steps: int, flips: bool
) -> None:
    found = recipe("score-ncsnv2", info(dataset))
    keys = ("sigma_begin", "sigma_end", "num_classes")
    assert tuple(found.arguments[key] for key in keys) == levels
    assert found.fit == Fit(steps, 128, lr=1e-3, schedule="constant")
    assert (found.augment is not None) == flips


@pytest.mark.parametrize("name", ["score-dct", "score-augmix"])
def test_augmented_score_networks_have_ten_times_the_smallest_noise(name: str) -> None:
    found = recipe(name, info("cifar10"))
    assert found.arguments["sigma_end"] == pytest.approx(0.08454)
    assert found.fit.steps == 200_000


def test_discriminators_are_those_of_aid_purifier() -> None:
    gammas = {name: ROWS[name].gamma for name in ("svhn", "cifar10", "cifar100", "tinyimagenet")}
    assert gammas == {"svhn": 2.0, "cifar10": 1.5, "cifar100": 1.5, "tinyimagenet": 1.5}
    # The code's command lines: eps and step of PGD in training, as decimals.
    lines = {
        "svhn": (0.047, 0.008),
        "cifar10": (0.031, 0.004),
        "cifar100": (0.031, 0.008),
        "tinyimagenet": (0.062, 0.004),
    }
    for name, (eps, step) in lines.items():
        radius = ROWS[name].reach * PUBLISHED[name].eps
        assert radius == pytest.approx(eps, rel=0.03)
        assert ROWS[name].size * radius == pytest.approx(step, rel=0.05)


def test_schedules_drop_where_the_papers_say() -> None:
    def rates(name: str, schedule: str, steps: int) -> list[float]:
        found = replace(recipe(name, info("cifar10")).fit, steps=steps, batch=2)
        assert found.schedule == schedule
        seen: list[float] = []

        def loss(module: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
            out: Tensor = module(x)
            return out.mean() * 0

        from bench.training import fit as loop

        with pytest.MonkeyPatch.context() as patch:
            step = loop._step

            def watched(state: Any, *rest: Any) -> None:
                seen.append(state.optimizer.param_groups[0]["lr"])
                step(state, *rest)

            patch.setattr(loop, "_step", watched)
            x = torch.rand(4, 1, 2, 2)
            fit(lambda: torch.nn.Conv2d(1, 1, 1), loss, x, torch.zeros(4), found)
        return seen

    four = [0.1] * 3 + [0.02] * 3 + [4e-3] * 2 + [8e-4] * 2
    assert rates("natural", "wideresnet", 10) == pytest.approx(four)
    assert rates("madry", "madry", 8) == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)
    assert rates("trades", "trades", 76) == pytest.approx([0.1] * 75 + [0.01])
    warm = rates("edm-ddpmpp", "warmup", 100)
    assert warm[:5] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    assert set(warm[5:]) == {1e-3}


def test_a_share_of_the_pixels_is_left_to_be_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """ME-Net's training: each image has its own share, between those of the name."""
    left: list[Tensor] = []

    def seen(x: Tensor, mask: Tensor, complete: object) -> Tensor:
        left.append(mask.flatten(1).mean(1))
        return x

    monkeypatch.setattr(full, "completed", seen)
    found = recipe("resnet18-completed-0.6-0.8", info("cifar10"))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))
    found.loss(network, torch.rand(64, 3, 32, 32), torch.zeros(64, dtype=torch.long))
    (shares,) = left
    assert 0.57 < shares.min() < 0.65
    assert 0.75 < shares.max() < 0.83


def test_madry_takes_seven_steps_of_two_greys() -> None:
    steps, reach = full._inner(published(info("cifar10")))
    assert steps == 7
    assert reach * (8 / 255) / steps == pytest.approx(2 / 255)
    steps, reach = full._inner(published(info("mnist")))
    assert steps == 40
    assert reach * 0.3 / steps == pytest.approx(0.01)


# --- augmentation --------------------------------------------------------------------------------


def test_a_crop_is_a_shift_with_black_beside_it() -> None:
    x = torch.arange(1.0, 26).view(1, 1, 5, 5).expand(200, 1, 5, 5)
    found = cropped(x, 2)
    assert found.shape == x.shape
    shifts = set()
    for image in found[:, 0]:
        dark = image == 0
        row, column = (~dark).nonzero()[0].tolist()
        value = int(image[row, column]) - 1
        down, right = row - value // 5, column - value % 5
        expected = torch.zeros(9, 9)
        expected[2:7, 2:7] = x[0, 0]
        assert torch.equal(image, expected[2 - down : 7 - down, 2 - right : 7 - right])
        shifts.add((down, right))
    assert shifts == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    assert torch.equal(cropped(x, 0), x)


def test_half_of_the_images_are_mirrored_left_to_right_only() -> None:
    x = torch.rand(400, 1, 3, 3)
    found = mirrored(x)
    kept = (found == x).flatten(1).all(1)
    turned = (found == x.flip(3)).flatten(1).all(1)
    assert (kept | turned).all()
    assert 150 < int(kept.sum()) < 250


# --- names ---------------------------------------------------------------------------------------


def test_the_family_name_means_the_papers_network_on_fetched_data() -> None:
    assert [need.name for need in needed(["score"], "cifar10")] == ["score-ncsnv2"]
    assert [need.name for need in needed(["adp"], "cifar10")] == ["score-ncsnv2", "natural"]
    assert [need.name for need in needed(["score"], "digits")] == ["score"]
    assert [need.name for need in needed(["scoreopt-n@madry"], "svhn")] == ["edm-ddpmpp", "madry"]
    assert [n.name for n in needed(["aid@madry"], "cifar10")] == ["madry", "aid-madry"]


def test_what_cannot_be_trained_is_said() -> None:
    assert "vgg" not in names(info("mnist"))
    assert "cnn" not in names(info("cifar10"))
    assert names(info("imagenet")) == []
    with pytest.raises(BenchError, match="no training recipe for data set 'imagenet'"):
        recipe("natural", info("imagenet"))
    with pytest.raises(BenchError, match="unknown weights of data set 'cifar10' 'cnn'"):
        recipe("cnn", info("cifar10"))
