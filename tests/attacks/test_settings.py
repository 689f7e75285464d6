"""What papers print of their attacks, and what libraries choose."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest
import torchattacks

from attacks.pgd import PGD
from bench import api
from bench.spec import parse_part


def settings(text: str) -> dict[str, Any]:
    part = parse_part(text)
    return dict(api.find_attack(part.name).resolve(part, "cifar10", "paper").settings)


# Yoon et al. 2021, section 5.1.2; steps of 2/255 in a ball of 8/255.
YOON = {"steps": 40, "eot": 15, "step": 2 / 8}
MIXED = YOON | {"weight": 1 / 2}
PRINTED = [
    ("bpda-eot", YOON),
    ("bpda-eot:protocol=adp", YOON),
    *((name, MIXED) for name in ("joint-score", "joint-full")),
    *((f"{name}:protocol=adp", MIXED) for name in ("joint-score", "joint-full")),
    ("approximate-input", YOON),
    ("one-step-unrolling", YOON),
    ("bpda", {"steps": 40, "restarts": 1}),
    ("classifier-pgd", {"steps": 40, "step": 2 / 8, "restarts": 1}),
    # Lee & Kim 2023; Zhang et al. 2023, C.3, and their code; Hill et al. 2021.
    ("pgd-exact", {"steps": 200, "eot": 20, "restarts": 1}),
    ("pgd-surrogate", {"steps": 20, "eot": 20, "restarts": 1}),
    ("pgd-surrogate:protocol=hill", {"steps": 20, "eot": 20, "verify": 150}),
    ("bpda-eot:protocol=hill", {"steps": 50, "eot": 15, "step": 2 / 8, "verify": 150}),
    # Croce & Hein 2020: the first step is twice the radius; Croce et al. 2022: 20 draws.
    ("apgd", {"steps": 100, "eot": 20, "step": 2, "restarts": 1}),
    ("apgd:protocol=strict", {"steps": 100, "eot": 20, "step": 2}),
    ("pgd:protocol=strict", {"steps": 200, "eot": 20}),
    ("autoattack", {"steps": 100, "targets": 9, "queries": 5000, "random_steps": 100, "eot": 20}),
    # Dong et al. 2018; Wang & He 2021; Schwinn et al. 2023.
    ("mim", {"steps": 10, "step": 1 / 10, "decay": 1}),
    ("vmi-fgsm", {"steps": 10, "step": 1 / 10, "neighbours": 20, "reach": 3 / 2, "decay": 1}),
    # Moosavi-Dezfooli et al. 2016; Carlini & Wagner 2017.
    ("deepfool", {"steps": 50, "overshoot": 0.02, "candidates": 10}),
    ("cw", {"steps": 1000, "searches": 9, "rate": 1e-2, "c": 1e-3, "confidence": 0}),
    # Andriushchenko et al. 2020; Uesato et al. 2018, with two queries a sample.
    ("square", {"queries": 5000, "p_init": 0.8}),
    ("spsa", {"steps": 40, "samples": 1280 / 2, "delta": 0.01}),
    # Cohen et al. 2019; Laidlaw et al. 2021.
    ("certify", {"first": 100, "copies": 100_000, "alpha": 1e-3}),
    ("stadv", {"budget": 0.05, "tau": 0.05}),
    # Hwang et al. 2021, Figure 4.
    ("auxiliary", {"lambdas": "+".join(f"0.{tenth}" for tenth in range(10)).replace("0.0", "0")}),
]


@pytest.mark.parametrize(("text", "expected"), PRINTED)
def test_settings_are_the_printed_ones(text: str, expected: dict[str, Any]) -> None:
    given = settings(text)
    assert {key: given[key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        ("deepfool", "DeepFool", {"steps": "steps", "overshoot": "overshoot"}),
        ("jitter", "Jitter", {"steps": "steps", "scale": "scale", "noise": "std"}),
        ("mim", "MIFGSM", {"steps": "steps", "decay": "decay"}),
        ("vmi-fgsm", "VMIFGSM", {"steps": "steps", "decay": "decay", "reach": "beta"}),
        ("square", "Square", {"queries": "n_queries", "p_init": "p_init"}),
        ("cw", "CW", {"rate": "lr", "confidence": "kappa"}),
        ("bim", "BIM", {"steps": "steps"}),
    ],
)
def test_settings_are_the_librarys(ours: str, theirs: str, names: dict[str, str]) -> None:
    their = inspect.signature(getattr(torchattacks, theirs)).parameters
    mine = settings(ours)
    assert {key: mine[key] for key in names} == {
        key: their[name].default for key, name in names.items()
    }


@pytest.mark.parametrize("name", ["bim", "jitter"])
def test_a_librarys_step_is_a_share_of_its_radius(name: str) -> None:
    """2/255 of 8/255."""
    class_name = {"bim": "BIM", "jitter": "Jitter"}[name]
    their = inspect.signature(getattr(torchattacks, class_name)).parameters
    step = their["alpha"].default / their["eps"].default
    assert settings(name)["step"] == pytest.approx(step)


def test_imagenet_gets_the_twenty_steps_of_the_authors_script() -> None:
    """Lee & Kim 2023."""
    for preset in ("standard", "paper"):
        part = api.find_attack("pgd-exact").resolve(parse_part("pgd-exact"), "imagenet", preset)
        assert dict(part.settings)["steps"] == 20


@pytest.mark.parametrize("name", ["pgd:protocol=strict", "apgd:protocol=strict"])
def test_a_quick_strict_search_is_chosen_on_as_few_draws_as_any(name: str) -> None:
    part = api.find_attack(name).resolve(parse_part(name), "digits", "quick")
    assert dict(part.settings)["select"] == PGD.select


GRADIENTS = [
    name
    for name in api.names("attack")
    if {"steps", "eot"} <= set(api.find_attack(name).defaults) and name != "deepfool"
]


@pytest.mark.parametrize("name", GRADIENTS)
def test_quick_is_ten_steps_of_five_draws_whichever_attack(name: str) -> None:
    plugin = api.find_attack(name)
    quick = dict(plugin.resolve(parse_part(name), "digits", "quick").settings)
    assert (quick["steps"], quick["eot"]) == (10, 5)


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_draws_come_in_fives(name: str, dataset: str) -> None:
    """So that one column can be had with the draws of another."""
    plugin = api.find_attack(name)
    standard = dict(plugin.resolve(parse_part(name), dataset, "standard").settings)
    assert standard["eot"] in {5, 10, 15, 20}


@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_a_query_of_the_strict_square_takes_as_many_runs_as_an_exact_gradient(preset: str) -> None:
    def of(name: str) -> dict[str, Any]:
        part = api.find_attack(name).resolve(parse_part(name), "digits", preset)
        return dict(part.settings)

    assert of("square:protocol=strict")["passes"] == of("pgd-exact")["eot"]


PLUGINS = [api.find_attack(name) for name in api.names("attack")]
BUILT = {plugin.name: get_type_hints(plugin.factory)["return"] for plugin in PLUGINS}


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, kind in BUILT.items()
        if is_dataclass(kind) and list(BUILT.values()).count(kind) == 1
    ],
)
def test_an_attack_of_its_own_has_the_defaults_of_its_plugin(name: str) -> None:
    for key, value in api.find_attack(name).defaults.items():
        of_its_own = {field.name: field.default for field in fields(BUILT[name])}.get(key)
        assert type(of_its_own) is not type(value) or of_its_own == value, key
