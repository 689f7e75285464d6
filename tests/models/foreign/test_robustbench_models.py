"""Classifiers of RobustBench: `@robustbench/NAME`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.api import Context, find_classifier, find_defense, names
from bench.errors import BenchError
from bench.measure import build, weights_used
from bench.models.zoo import robustbench
from bench.plan import plan
from bench.plan.request import Request
from bench.spec import Part, parse_defense
from tests.models.foreign.files import INFO, files_used, published, tiny

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def model(cifar10: Context, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model of RobustBench's zoo whose network is tiny."""
    robustbench.load()
    from robustbench.model_zoo.architectures.wide_resnet import WideResNet

    entry = {"model": lambda: WideResNet(depth=10, widen_factor=1), "gdrive_id": "nowhere"}
    monkeypatch.setitem(robustbench.models("cifar10"), "Tiny2026", entry)
    return "Tiny2026"


@pytest.mark.parametrize("place", ["home/robustbench", "models"])
def test_a_model_of_robustbench_comes_from_its_file(
    tmp_path: Path, cifar10: Context, model: str, place: str
) -> None:
    path = tmp_path / place / "cifar10" / "Linf" / f"{model}.pt"
    path.parent.mkdir(parents=True)
    network = tiny()
    published(path, network, "module.", "state_dict")
    made = build.classifier(f"robustbench/{model}", cifar10)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(made(x), network(x), atol=1e-5, rtol=1e-5)
    used = files_used(f"none@robustbench/{model}", cifar10)
    assert used == {f"robustbench/{model}": hashlib.sha256(path.read_bytes()).hexdigest()}
    published(path, tiny(widen=2), "module.")
    with pytest.raises(BenchError, match="does not load from") as caught:
        build.classifier(f"robustbench/{model}", cifar10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("board", ["l2", "corruptions"])
def test_a_model_of_another_board_of_robustbench_is_not_the_linf_one(
    tmp_path: Path, cifar10: Context, model: str, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = robustbench.models("cifar10")[model]
    monkeypatch.setitem(robustbench.models("cifar10", board), model, entry)
    networks: list[nn.Module] = []
    for folder in ("Linf", {"l2": "L2"}.get(board, board)):
        path = tmp_path / "home" / "robustbench" / "cifar10" / folder / f"{model}.pt"
        path.parent.mkdir(parents=True)
        networks.append(tiny(len(networks)))
        published(path, networks[-1], "module.", "state_dict")
    x = torch.rand(2, 3, 32, 32)
    for name, network in zip((model, f"{board}/{model}"), networks, strict=True):
        made = build.classifier(f"robustbench/{name}", cifar10)
        torch.testing.assert_close(made(x), network(x), atol=1e-5, rtol=1e-5)
    assert str(parse_defense(f"adp@robustbench/{board}/{model}")).endswith(f"/{board}/{model}")
    assert not torch.equal(networks[0](x), networks[1](x))


def test_boards_of_robustbench_are_checked_at_planning(cifar10: Context) -> None:
    def ask(name: str, dataset: str = "cifar10") -> None:
        build.classifier(f"robustbench/{name}", build.context(dataset))

    with pytest.raises(BenchError, match=r"did you mean 'Hendrycks2020AugMix_WRN'"):
        ask("corruptions/Hendrycks2020AugMix_WR")
    with pytest.raises(BenchError, match=r"unknown RobustBench model on cifar10 \(linf\)"):
        ask("Hendrycks2020AugMix_WRN")
    with pytest.raises(BenchError, match="RobustBench has no l2 models on cifar100"):
        ask("l2/Standard", "cifar100")
    for other in ("linf", "l1"):
        with pytest.raises(BenchError, match=r"models are named robustbench/NAME \(linf\), "):
            ask(f"{other}/Standard")


def test_a_missing_file_says_where_to_put_it(cifar10: Context, model: str) -> None:
    for ask in (
        build.classifier,
        lambda text, where: weights_used.weights_used(f"none@{text}", None, where),
    ):
        with pytest.raises(BenchError, match=rf"put its checkpoint there as {model}.pt") as caught:
            ask(f"robustbench/{model}", cifar10)
        assert "home/robustbench/cifar10/Linf" in str(caught.value)


def test_names_and_data_sets_are_checked_at_planning(
    cifar10: Context, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(defense: str, dataset: str) -> None:
        build.classifier(parse_defense(defense).classifier, build.context(dataset))

    with pytest.raises(BenchError, match=r"did you mean 'Carmon2019Unlabeled'"):
        ask("none@robustbench/Carmon2019Unlabelled", "cifar10")
    entry = {"model": lambda: pytest.fail("built"), "gdrive_id": ""}
    monkeypatch.setitem(robustbench.models("cifar10"), "Fileless2026", entry)
    with pytest.raises(BenchError, match="robustbench/Fileless2026: RobustBench has no file"):
        ask("none@robustbench/Fileless2026", "cifar10")
    aid = find_defense("aid")
    settings = dict(aid.resolve(Part("aid"), "cifar10").settings)
    reason = aid.misfit(settings, find_classifier("robustbench"), INFO)
    assert reason == "aid reads maps of the classifier, and 'robustbench' offers none on cifar10"
    with pytest.raises(BenchError, match="not for 'digits'"):
        plan.make(Request([f"adp@robustbench/{model}"], ["clean"], "digits"))


def test_the_name_of_a_model_is_part_of_the_classifiers_name() -> None:
    spec = parse_defense("adp:sigma=0.1@robustbench/Standard")
    assert (spec.classifier.name, dict(spec.classifier.settings)) == (
        "robustbench",
        {"model": "Standard"},
    )
    assert str(spec) == "adp:sigma=0.1@robustbench/Standard"
    assert json.dumps(str(parse_defense(str(spec)))) == json.dumps(str(spec))
    assert {"file", "robustbench"}.isdisjoint(names("classifier"))
