"""What the papers print per data set, and what a plan therefore holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attacks.catalog import ALL as ATTACKS
from bench import api
from bench.api.images import DatasetInfo
from bench.errors import BenchError
from bench.measure import build
from bench.plan.plan import controls as find_controls
from bench.plan.plan import make
from bench.plan.request import Request, defense_groups
from bench.spec import Part, parse_defense, parse_part
from bench.training.recipes import noisy
from defenses import catalog

FETCHED = ("cifar10", "cifar100", "svhn", "tinyimagenet", "imagenet", "mnist", "fashionmnist")
SMALL = tuple(name for name in FETCHED if name != "imagenet")


def settings(spec: str, dataset: str) -> dict[str, Any]:
    part = parse_part(spec)
    return dict(api.find_defense(part.name).resolve(part, dataset).settings)


def facts(dataset: str) -> DatasetInfo:
    info = api.find_dataset(dataset).info
    assert info is not None
    return info


PRINTED = [
    # Yoon et al. 2021, section 5 and Table 9.
    ("adp", "cifar10", {"sigma": 0.25, "lam": 0.05, "steps": 10, "runs": 10, "tau": 1e-3}),
    ("adp", "cifar100", {"sigma": 0.25, "lam": 0.05, "network": "ncsnv2"}),
    # Zhang et al. 2023, Table 10, BPDA+EOT.
    ("scoreopt-o", "cifar10", {"lr": 0.1, "steps": 5, "t_min": 0.4, "t_max": 0.6}),
    ("scoreopt-n", "cifar10", {"lr": 0.1, "steps": 5, "t_min": 0.5, "t_max": 0.5}),
    ("scoreopt-o", "cifar100", {"lr": 0.1, "steps": 3, "t_min": 0.15, "t_max": 0.35}),
    ("scoreopt-n", "cifar100", {"lr": 0.1, "steps": 3, "t_min": 0.25, "t_max": 0.25}),
    # Hwang et al. 2021, Table 6; step is a share of eps.
    ("aid", "svhn", {"steps": 10, "eps": 12 / 255, "step": 3 / 12}),
    ("aid", "cifar10", {"steps": 10, "eps": 8 / 255, "step": 2 / 8}),
    ("aid", "cifar100", {"steps": 10, "eps": 16 / 255, "step": 2 / 16}),
    ("aid", "tinyimagenet", {"steps": 10, "eps": 8 / 255, "step": 2 / 8}),
    # Nie et al. 2022.
    ("diffpure", "cifar10", {"t": 100, "steps": 100, "runs": 1, "network": "ddpmpp"}),
    ("diffpure", "imagenet", {"t": 150, "steps": 150, "network": "guided"}),
    # Wang et al. 2022; Lee & Kim 2023; Hill et al. 2021; Song et al. 2018.
    ("gdmp", "cifar10", {"t": 36, "rounds": 4, "steps": 36}),
    ("gradual", "cifar10", {"forward": "30x4-50x2-125x2", "attack_steps": "1-1-5", "runs": 10}),
    ("gradual", "imagenet", {"forward": "30x4-50x2-200x2", "attack_forward": "30-50-200"}),
    ("langevin", "cifar10", {"steps": 1500, "runs": 150, "network": "igebm"}),
    ("pixeldefend", "cifar10", {"eps": 16 / 255}),
    ("pixeldefend", "fashionmnist", {"eps": 32 / 255}),
    # Carlini et al. 2023: the lowest of their levels.
    ("denoise", "cifar10", {"sigma": 0.25}),
    # Cohen et al. 2019: 100 copies select a class.
    ("smoothing", "cifar10", {"sigma": 0.25, "runs": 100}),
    # Xu et al. 2018, Table 3: 5 bits of ImageNet.
    ("bits", "imagenet", {"depth": 5}),
]


@pytest.mark.parametrize(("name", "dataset", "expected"), PRINTED)
def test_settings_are_the_printed_ones(name: str, dataset: str, expected: dict[str, Any]) -> None:
    found = settings(name, dataset)
    assert {key: found[key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize("dataset", FETCHED)
def test_networks_on_fetched_data_are_the_papers_classes(dataset: str) -> None:
    denoiser = "guided" if dataset == "imagenet" else "ddpmpp"
    for name in ("scoreopt-o", "scoreopt-n", "denoise", "diffpure", "gdmp", "gradual"):
        assert settings(name, dataset)["network"] == denoiser
    assert settings("adp", dataset)["network"] == "ncsnv2"


@pytest.mark.parametrize("dataset", noisy.SIGMAS)
def test_copies_are_as_noisy_as_what_their_classifier_was_trained_on(dataset: str) -> None:
    assert settings("smoothing", dataset)["sigma"] == noisy.SIGMAS[dataset]


def test_a_network_of_imagenet_is_refused_elsewhere() -> None:
    for dataset, usual in (("digits", "compact"), ("cifar10", "ddpmpp")):
        with pytest.raises(BenchError, match=f"guided is of imagenet.*network={usual}"):
            settings("diffpure:network=guided", dataset)


IDLE = {
    "adp:rule=fixed,lam=0.1": "lam=0.1 changes nothing: it is of rule=adaptive, not of rule=fixed",
    "adp:rule=adaptive,alpha=0.2": "alpha=0.2 changes nothing: adaptive steps",
    "adp:variant=code,rule=decay": "rule=decay changes nothing: variant=code is adaptive",
    "adp:dec_level=0.5": "dec_level=0.5 changes nothing: detect=0",
    "adp:sigma=0,runs=7": "runs=7 changes nothing: sigma=0",
    "adp:vote=5,runs=7": "runs=7 changes nothing: vote=5 takes its place",
    "freqpure:variant=code,delta=0.5": "delta=0.5 changes nothing: variant=code",
    "freqpure:reference=10": "reference=10 changes nothing: it is of variant=code",
    "jem:steps=0,step=0.5@jem": "step=0.5 changes nothing: steps=0",
    "jem:start=0,noise=0,runs=7@jem": "runs=7 changes nothing: there is no noise",
    "langevin:noise=0,runs=7": "runs=7 changes nothing: noise=0",
    "me-net:method=nuclear,keep=0.5": "keep=0.5 changes nothing: it is of method=usvt",
    "me-net:mu=2": "mu=2.0 changes nothing: it is of method=nuclear",
    "nrp:runs=7": "runs=7 changes nothing: dynamic=0",
    "scoreopt-n:lam=2": "lam=2.0 changes nothing: it is of loss=mse",
    "soap:method=noise,steps=7@soap": "steps=7 changes nothing: method=noise",
}


@pytest.mark.parametrize("defense", IDLE)
def test_a_setting_that_changes_nothing_is_refused(defense: str) -> None:
    """Its rows would differ by chance alone: every name has random numbers of its own."""
    with pytest.raises(BenchError, match=IDLE[defense]):
        make(Request([defense], ("clean",), "digits"))


@pytest.mark.parametrize("defense", IDLE)
def test_it_does_change_nothing(defense: str) -> None:
    context = build.context("digits")
    key = IDLE[defense].partition("=")[0]
    spec = parse_defense(defense)
    (part,) = spec.parts
    others = tuple(pair for pair in part.settings if pair[0] != key)
    context = build.behind(spec.classifier, context)
    made = [build.purifier(each, context) for each in (part, Part(part.name, others))]
    x = build.dataset("digits").take("validation", range(2)).x
    with torch.no_grad():
        typed, usual = ((torch.manual_seed(0), one(x))[1] for one in made)
    assert torch.equal(typed, usual)


def test_so_is_one_of_the_classifier() -> None:
    for settings in ("step=0.3", "noise=0.1", "eps=0.2"):
        key = settings.partition("=")[0]
        with pytest.raises(BenchError, match=f"igebm: {key}=.* changes nothing: steps=0"):
            make(Request([f"none@igebm:steps=0,{settings}"], ("clean",), "digits"))


def test_a_setting_that_would_change_nothing_may_be_typed_as_it_is() -> None:
    for name in (spec.partition(":")[0] for spec in IDLE):
        (cell, *_) = make(Request([name], ("clean",), "digits", controls=[]))[0].cells
        (again, *_) = make(Request([cell.cell.defense], ("clean",), "digits", controls=[]))[0].cells
        assert again.cell == cell.cell


# --- the group -----------------------------------------------------------------------------------


def test_the_group_names_defenses_and_no_controls() -> None:
    members = {part.partition("@")[0] for label in catalog.ALL for part in label.split("+")}
    assert members <= set(api.names("defense"))
    assert not members & {"none", *find_controls(facts("cifar10"))}


@pytest.mark.parametrize("dataset", ["digits", *FETCHED])
def test_the_group_names_a_cell_or_a_reason_for_every_defense_and_attack(dataset: str) -> None:
    plan, _ = make(Request(["all"], ("all",), dataset))
    cells = {(p.defense, p.attack) for p in plan.cells}
    skips = {(s.defense, s.attack): s.reason for s in plan.skips}
    labels = [label if "@" in label else f"{label}@natural" for label in catalog.ALL]
    for label in labels:
        assert {attack for attack in ATTACKS if (label, attack) in cells | set(skips)} == set(
            ATTACKS
        )
    assert all(skips.values())


def test_what_is_not_for_such_images_is_a_skip_of_the_group_and_an_error_by_name() -> None:
    plan, _ = make(Request(["all"], ("clean",), "mnist"))
    reasons = {s.defense: s.reason for s in plan.skips}
    assert "halves images" in reasons["langevin@natural"]
    assert "offers none on mnist" in reasons["aid@madry"]
    for spec in ("langevin", "aid@madry"):
        with pytest.raises(BenchError, match=spec):
            make(Request([spec], ("clean",), "mnist"))


def test_the_covariance_of_large_images_is_not_solved_for() -> None:
    plan, _ = make(Request(["wiener"], ("clean",), "tinyimagenet", controls=[]))
    assert [p.defense for p in plan.cells] == ["wiener@natural", "none@natural"]
    with pytest.raises(BenchError, match="too many in images of"):
        make(Request(["wiener"], ("clean",), "imagenet"))


# --- classifiers and transfer --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dataset", "last"),
    [
        ("natural", "cifar10", "layer3.3"),
        ("natural", "svhn", "block3.4"),
        ("madry", "cifar10", "block3.4"),
        ("madry", "digits", "block3.0"),
    ],
)
def test_maps_of_the_classifiers_are_known_without_weights(
    name: str, dataset: str, last: str
) -> None:
    """They are maps of the network that the recipe of that name trains."""
    import torch

    from bench.models.nets import make as network
    from bench.models.nets.normalised import has_features
    from bench.training.recipes import recipe

    taps = api.find_classifier(name).taps(dataset)
    assert taps[0] == "conv1"
    assert taps[-1] == last
    found = recipe(name, facts(dataset))
    with torch.device("meta"):
        made = network(found.network, found.arguments)
        assert has_features(made)
        maps = made.features(torch.zeros(1, *facts(dataset).shape))
    assert set(taps) <= set(maps)
    assert taps[-1] == list(maps)[-1]


@pytest.mark.parametrize("dataset", FETCHED)
def test_another_architecture_is_vgg_where_images_are_large_enough(dataset: str) -> None:
    plugin = api.find_attack("transfer")
    resolved = dict(plugin.resolve(parse_part("transfer:source=other"), dataset).settings)
    assert plugin.weights(resolved) == ("cnn" if "mnist" in dataset else "vgg",)
    same = dict(plugin.resolve(parse_part("transfer"), dataset).settings)
    assert plugin.weights(same) == ("twin",)


def test_vgg_is_refused_where_it_would_halve_images_away() -> None:
    for dataset in ("digits", "mnist"):
        with pytest.raises(BenchError, match="use cnn"):
            make(Request(["none@vgg"], ("clean",), dataset))
        with pytest.raises(BenchError, match="use cnn"):
            make(Request(["none"], ("transfer:source=other,other=vgg",), dataset))


def test_older_names_of_transfer_stay() -> None:
    plan, _ = make(Request(["none"], ("transfer:source=other",), "digits"))
    assert plan.cells[0].cell.attack == "transfer:source=other,steps=40,step=0.25"


def test_a_group_that_defenses_declare_is_a_group_like_ours() -> None:
    found = api.groups()
    assert "me-net@completed" in found["competitors"]
    assert not set(found["competitors"]) & set(catalog.ALL)
    assert found["competitors"] == defense_groups()["competitors"]
    assert defense_groups()["all"] == catalog.ALL
    plan, _ = make(Request(["competitors"], ("clean",), "patches", controls=[]))
    members = [parse_defense(label) for label in found["competitors"]]
    bases = {f"none@{spec.classifier}" for spec in members}
    assert {cell.defense for cell in plan.cells} == {*map(str, members), *bases}
