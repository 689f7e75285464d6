"""Weights that belong to a classifier: named after it, refused on another, trained after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from bench import api
from bench.api import owned
from bench.api.context import Weights
from bench.cli.train import train_command
from bench.contract import check
from bench.errors import BenchError
from bench.measure import build, weights_used
from bench.measure.runner import Summary, pending
from bench.measure.worker import Setup
from bench.models.nets.aid import Discriminator, Trained
from bench.models.nets.normalised import has_features
from bench.models.nets.wideresnet import WideResNet
from bench.models.zoo import weights as zoo
from bench.models.zoo.weights import load_state, packaged, save
from bench.plan import plan
from bench.plan.request import Request
from bench.results.store import Store
from bench.spec import parse_part
from bench.training import needs
from bench.training import train as training
from bench.training.fit import Fit
from bench.training.needs import Need, exists, needed
from bench.training.recipes import add_on, recipe
from defenses.aid import AID

pytestmark = pytest.mark.skipif(
    not (packaged("digits") / "madry.safetensors").is_file(), reason="no packaged weights yet"
)
FIT = Fit(3, batch=8, optimizer="momentum", lr=0.01)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No packaged add-ons, and short training."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    brief: Callable[..., Any] = lambda *a: replace(add_on(*a), fit=FIT)  # noqa: E731
    monkeypatch.setattr(training, "add_on", brief)
    here = packaged("digits")
    found = zoo.packaged
    only = tmp_path / "packaged"
    only.mkdir()
    for name in ("natural", "madry", "score", "cnn", "trades"):
        (only / f"{name}.safetensors").symlink_to(here / f"{name}.safetensors")
    (only / "manifest.json").symlink_to(here / "manifest.json")
    monkeypatch.setattr(zoo, "packaged", lambda d: only if d == "digits" else found(d))
    return tmp_path / "home"


def train(spec: str) -> dict[str, Weights]:
    dataset = build.dataset("digits")
    missing = [n for n in needed([spec], "digits") if not exists(n, "digits", None)]
    return {need.name: training.train(need, dataset) for need in missing}


def test_names_of_files() -> None:
    def name(classifier: str) -> str:
        return owned("aid-{classifier}", parse_part(classifier))

    assert name("madry") == "aid-madry"
    assert name("wide.v2_x") == "aid-wide.v2_x"
    one, two = name("file:/models/a b.pt"), name("file:/models/a-b.pt")
    assert one != two
    assert not {"/", " ", ":"} & set(one + two)
    assert name("robustbench/Standard").startswith("aid-robustbench-Standard-")
    assert owned("score", parse_part("madry")) == "score"


def test_an_add_on_stands_on_the_classifier_of_its_defense(home: Path) -> None:
    trained = train("aid@madry")
    assert list(trained) == ["aid-madry"]
    facts = trained["aid-madry"].metadata
    context = build.context("digits")
    assert facts["classifier"] == "madry"
    assert facts["classifier_sha256"] == context.weights("madry").sha256
    assert facts["command"] == "bench train aid@madry --dataset digits --seed 0"
    assert all("auroc" in key for key in json.loads(facts["merit"]))
    defense = build.defense("aid@madry", context)
    (aid,) = defense.purifiers
    assert isinstance(aid, AID)
    assert aid.network.module.classifier is defense.classifier.module
    assert (aid.traits.exact, aid.traits.direction, aid.traits.random) == (False, True, False)
    x = build.dataset("digits").images("validation").x[:3]
    moved = (defense.purify(x) - x).abs()
    assert 0.9 * aid.eps < moved.max() <= aid.eps + 1e-6
    assert defense.calls()["discriminator"] == (30, 30)
    assert set(weights_used.weights_used("aid@madry", None, context)) == {"madry", "aid-madry"}


def test_discriminators_that_the_paper_compares_with_have_weights_of_their_own(home: Path) -> None:
    trained = train("aid:taps=2+3@madry,aid:target=contrastive@madry,aid:augment=none@madry")
    assert list(trained) == ["aid-taps23-madry", "aid-contrastive-madry", "aid-none-madry"]
    facts = trained["aid-taps23-madry"].metadata
    assert facts["command"] == "bench train aid-taps23@madry --dataset digits --seed 0"
    assert [need.name for need in needed(["aid-taps23@madry"], "digits")][-1] == "aid-taps23-madry"
    read = []
    for spec in ("aid:taps=2+3@madry", "aid:target=contrastive@madry"):
        (aid,) = build.defense(spec, build.context("digits")).purifiers
        assert isinstance(aid, AID)
        discriminator = aid.network.module.get_submodule("discriminator")
        assert isinstance(discriminator, Discriminator)
        read.append(discriminator.taps)
    assert read == [("block1.0", "block2.0"), ("conv1", "block3.0")]
    assert len({each.suffix for each in Trained.all()}) == len(list(Trained.all())) > 40
    assert not {"aid-none-natural"} & {need.name for need in needed(["all"], "digits")}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("target=contrastive,taps=2", "target=contrastive pairs two maps"),
        ("target=contrastive,augment=none", "sees no adversarial images"),
        ("variant=code,augment=none", "variant=code is one discriminator"),
    ],
)
def test_discriminators_that_make_no_sense_are_refused(settings: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        plan.make(Request([f"aid:{settings}@madry"], ["clean"], "digits"))


def test_the_discriminator_of_the_other_variant_is_refused(home: Path) -> None:
    trained = train("aid@madry,aid:variant=code@madry")
    paper, code = trained["aid-madry"].path, trained["aid-code-madry"].path
    context = build.context("digits", weights_override={"aid-madry": code, "aid-code-madry": paper})
    with pytest.raises(BenchError, match="a CodeDiscriminator; here the paper's discriminator"):
        build.defense("aid@madry", context)
    with pytest.raises(BenchError, match="a Discriminator; here the published code's"):
        build.defense("aid:variant=code@madry", context)


def test_stacks_read_the_maps_at_the_place_of_the_add_on() -> None:
    train("aid@madry")
    x = build.dataset("digits").images("validation").x[:3]
    context = build.context("digits")
    alone, blur = build.defense("aid@madry", context), build.defense("median@madry", context)
    assert torch.equal(
        build.defense("median+aid@madry", context).purify(x), alone.purify(blur.purify(x))
    )
    assert torch.equal(
        build.defense("aid+median@madry", context).purify(x), blur.purify(alone.purify(x))
    )


def test_weights_of_another_classifier_are_refused_before_any_work(home: Path) -> None:
    file = train("aid@madry")["aid-madry"].path
    context = build.context("digits", weights_override={"aid-natural": file})
    says = r"belong to another classifier than 'natural'.*bench train aid@natural"
    for action in (build.defense, lambda spec, c: weights_used.weights_used(spec, None, c)):
        with pytest.raises(BenchError, match=says) as caught:
            action("aid@natural", context)
        assert "\n" not in str(caught.value)
    # The classifier itself was replaced by another one.
    other = packaged("digits") / "trades.safetensors"
    context = build.context("digits", weights_override={"madry": other})
    with pytest.raises(BenchError, match="belong to another classifier than 'madry'"):
        build.defense("aid@madry", context)
    assert not exists(Need("aid-{classifier}", parse_part("natural")), "digits", None)


def test_a_run_meets_a_mismatch_before_it_starts(home: Path, tmp_path: Path) -> None:
    weights = train("aid@madry")["aid-madry"]
    made, _ = plan.make(Request(["aid@natural"], ["clean"], "digits", images=32, controls=[]))
    files = {"aid-natural": weights.path}

    def today(defense: str, attack: str) -> dict[str, str]:
        return weights_used.weights_used(defense, attack, "digits", files)

    with pytest.raises(BenchError, match="belong to another classifier"):
        pending(made, Store(tmp_path / "results"), today, Summary(), Setup())


def test_weights_that_say_nothing_of_a_classifier_are_refused(home: Path) -> None:
    weights = train("aid@madry")["aid-madry"]
    facts = {k: v for k, v in weights.metadata.items() if k != "classifier_sha256"}
    silent = save(home / "silent.safetensors", load_state(weights), facts)
    context = build.context("digits", weights_override={"aid-madry": silent.path})
    with pytest.raises(BenchError, match="of network 'aid' and belong to no classifier"):
        build.defense("aid@madry", context)


def test_a_file_without_maps_gets_no_useless_advice() -> None:
    path = packaged("digits") / "cnn.safetensors"
    with pytest.raises(BenchError, match=r"none can be trained.*offers no maps"):
        weights_used.weights_used(f"aid@file:{path}", None, "digits")


def test_missing_weights_say_how_to_train_them() -> None:
    with pytest.raises(BenchError, match=r"no weights 'aid-trades'.*bench train aid@trades --data"):
        build.defense("aid@trades", build.context("digits"))
    with pytest.raises(BenchError, match="bench train aid-code@trades"):
        build.defense("aid:variant=code@trades", build.context("digits"))


def test_classifiers_without_taps_are_refused_when_planned() -> None:
    with pytest.raises(BenchError, match=r"aid@cnn: aid reads maps.*'cnn' offers none"):
        plan.make(Request(["none", "aid@cnn"], dataset="digits"))
    with pytest.raises(BenchError, match=r"median\+aid@cnn: aid"):
        plan.make(Request(["median+aid@cnn"], dataset="digits"))
    made, _ = plan.make(Request(["aid+median@madry"], ["bpda"], "digits", controls=[]))
    assert {cell.defense for cell in made.cells} == {"aid+median@madry", "none@madry"}


def test_a_network_of_other_images_is_refused_by_its_own_words(tmp_path: Path) -> None:
    score = build.context("digits").weights("score")
    arguments = json.loads(score.metadata["arguments"]) | {"channels": 3}
    facts = score.metadata | {"arguments": json.dumps(arguments)}
    del facts["dataset"]
    colour = save(tmp_path / "colour.safetensors", load_state(score), facts)
    with pytest.raises(BenchError, match="channels=3; images of 'digits' have channels=1"):
        weights_used.weights_used("adp", None, "digits", {"score": colour.path})


def test_cost_counts_the_gradients_of_a_run() -> None:
    asked = Request(["aid@madry"], ["bpda:steps=3"], "digits", controls=[], images=32)
    _, draft = plan.make(asked)
    # 3 looks and the judge: 10 steps each, there and back, and the classifier after them.
    assert draft.costs[0].forward == (3 + 1) * 11
    assert draft.costs[0].backward == 3 + (3 + 1) * 10


def test_the_contract() -> None:
    train("aid,aid:variant=code")
    for spec in ("aid", "aid:variant=code"):
        results = check(spec)
        assert all(result.ok for result in results), results
    calls = next(result for result in check("aid") if result.name == "calls")
    assert calls.detail == "10 of 'discriminator' and 10 backward"


def test_what_is_needed_comes_in_order() -> None:
    def names(*specs: str) -> list[str]:
        return [need.name for need in needed(specs, "digits")]

    assert names("aid@madry") == ["madry", "aid-madry"]
    assert names("aid-code-madry") == names("aid-code@madry") == ["madry", "aid-code-madry"]
    assert names("aid:variant=code") == ["natural", "aid-code-natural"]
    assert names("adp+aid@trades") == ["score", "trades", "aid-trades"]
    assert len(names("aid@file:net.pt")) == 1
    assert {"aid-natural", "aid-lee", "aid-code-madry"} <= set(names("all"))
    assert "aid-cnn" not in names("all")
    with pytest.raises(BenchError, match="unknown classifier"):
        needed(["aid-code@madri"], "digits")


def test_known_weights_are_of_the_default_classifier_and_those_that_are_packaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = weights_used.known_weights("digits")
    assert {name for name in known if name.startswith("aid-")} == {
        "aid-natural", "aid-madry", "aid-trades", "aid-lee"
    }  # fmt: skip
    assert not [name for name in known if "{" in name]
    monkeypatch.setattr(weights_used, "manifest", lambda dataset: {})
    bare = set(weights_used.known_weights("digits"))
    assert set(known) - bare == {"aid-madry", "aid-trades", "aid-lee"}


@pytest.mark.parametrize("classifier", ["twin", "noisy"])
def test_every_wideresnet_offers_its_maps(classifier: str) -> None:
    assert needed([f"aid@{classifier}"], "digits")[-1].name == f"aid-{classifier}"
    assert needed([f"aid-{classifier}"], "digits")[-1].name == f"aid-{classifier}"
    assert f"aid-{classifier}" not in [need.name for need in needed(["all"], "digits")]
    context = build.behind(classifier, build.context("digits"), WideResNet(10, 1, 10, 1))
    network = context.behind.module()
    assert has_features(network)
    maps = network.features(torch.zeros(1, 1, 16, 16))
    assert set(context.behind.taps()) <= set(maps)


def test_the_command_trains_the_classifier_first_and_into_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief: Callable[..., Any] = lambda *a: replace(recipe(*a), fit=FIT)  # noqa: E731
    monkeypatch.setattr(needs, "recipe", brief)
    arguments = ["aid@madry", "--dataset", "digits", "--out", str(tmp_path / "out")]
    first = CliRunner().invoke(train_command, arguments, catch_exceptions=False)
    assert [line.partition(":")[0] for line in first.stdout.splitlines()] == ["madry", "aid-madry"]
    madry, aid = (zoo.read(tmp_path / "out" / f"{n}.safetensors") for n in ("madry", "aid-madry"))
    assert aid.metadata["classifier_sha256"] == madry.sha256
    again = CliRunner().invoke(train_command, arguments, catch_exceptions=False)
    assert again.stdout.count("there already") == 2


def test_a_file_of_any_layout_offers_its_maps(tmp_path: Path) -> None:
    path = packaged("digits") / "madry.safetensors"
    base = build.behind(f"file:{path}", build.context("digits")).behind
    assert base.taps() == api.find_classifier("madry").taps("digits")
    made = add_on("aid-{classifier}", build.dataset("digits").info, base)
    assert made.arguments["taps"] == ["conv1", "block3.0"]
    assert made.arguments["widths"] == [16, 64]
    assert isinstance(Discriminator(**made.arguments), Discriminator)
    cnn = build.behind(f"file:{packaged('digits') / 'cnn.safetensors'}", build.context("digits"))
    assert cnn.behind.taps() == ()
    with pytest.raises(BenchError, match="offers none"):
        add_on("aid-{classifier}", build.dataset("digits").info, cnn.behind)
