"""Classifiers from files that others made: `@file:PATH` and `@robustbench/NAME`."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench import contract
from bench.api import Context, find_classifier, find_defense, names
from bench.api import dataset as register
from bench.api import register as declare
from bench.api.images import Dataset, DatasetInfo, Images
from bench.errors import BenchError
from bench.measure import build, weights_used
from bench.models.foreign import layouts
from bench.models.nets import make
from bench.models.nets.normalised import Normalised
from bench.models.zoo import robustbench
from bench.models.zoo import weights as zoo
from bench.models.zoo.networks import rebuild
from bench.plan import plan
from bench.plan.request import Request
from bench.spec import Part, parse_defense

NETWORKS: Mapping[str, dict[str, Any]] = {
    "wideresnet": {"depth": 16, "widen": 2, "classes": 7, "channels": 3},
    "wideresnet-meliketoy": {"depth": 16, "widen": 2, "classes": 7, "channels": 3},
    "wideresnet-dm": {"depth": 16, "width": 2, "classes": 7, "channels": 1},
    "resnet": {"blocks": [2, 1, 1], "width": 4, "classes": 7, "channels": 1},
    "resnet-projected": {"blocks": [2, 1, 1, 1], "width": 4, "classes": 7, "channels": 3},
    "resnet-bottleneck": {"blocks": [2, 1, 1, 1], "width": 4, "classes": 7},
    "vgg": {"depth": 11, "width": 2, "classes": 7, "channels": 3, "hidden": 0, "pool": 1},
    "adp-simple-conv": {"classes": 7, "channels": 1, "size": 8},
    "adp-simple-mlp": {"classes": 7, "pixels": 64},
}
INFO = DatasetInfo("cifar10", "toy", (3, 32, 32), tuple("abcdefghij"), "linf:8/255")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A data set under the name of CIFAR-10, with two grey images."""
    build.dataset.cache_clear()  # of the real one, if an earlier test has asked for it
    build._context.cache_clear()
    names("dataset")
    others = {n: p for n, p in declare.PLUGINS["dataset"].items() if n != "cifar10"}
    monkeypatch.setitem(declare.PLUGINS, "dataset", others)

    def load(split: str) -> Images:
        grey = torch.full((2, 3, 32, 32), 0.5)
        return Images(grey, torch.tensor([0, 1]), torch.arange(2))

    register("cifar10", info=INFO)(lambda: Dataset(INFO, load))
    yield build.context("cifar10")
    build.dataset.cache_clear()
    build._context.cache_clear()


def published(path: Path, network: nn.Module, prefix: str = "", container: str = "") -> Path:
    """The state dict of a network as a torch checkpoint."""
    state: Any = {prefix + key: value for key, value in network.state_dict().items()}
    torch.save({container: state, "epoch": 3} if container else state, path)
    return path


def tiny(seed: int = 0, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    return make("wideresnet", {"depth": 10, "widen": 1, **changes}).eval()


# --- recognising a layout ----------------------------------------------------------------------


@pytest.mark.parametrize("name", list(NETWORKS))
def test_network_and_sizes_are_read_off_the_tensors(name: str) -> None:
    state = make(name, NETWORKS[name]).state_dict()
    found = layouts.recognise(state, "here")
    assert found.network == name
    assert {k: found.arguments[k] for k in NETWORKS[name]} == NETWORKS[name]
    assert make(name, found.arguments).state_dict().keys() == state.keys()


def test_torchvisions_vgg_is_recognised_down_to_its_head() -> None:
    from torchvision.models import vgg13_bn

    with torch.device("meta"):
        state = vgg13_bn(weights=None, init_weights=False).state_dict()
        found = layouts.recognise(state, "here")
        made = make(found.network, found.arguments).state_dict()
    assert {k: v.shape for k, v in made.items()} == {k: v.shape for k, v in state.items()}
    assert found.arguments == {
        "depth": 13, "classes": 1000, "channels": 3, "width": 64, "hidden": 4096, "pool": 7
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "blocks", "width"),
    [
        ("resnet50", [3, 4, 6, 3], 64),
        ("resnet152", [3, 8, 36, 3], 64),
        ("wide_resnet50_2", [3, 4, 6, 3], 128),
    ],
)
def test_torchvisions_resnets_are_recognised(name: str, blocks: list[int], width: int) -> None:
    from torchvision import models

    with torch.device("meta"):
        state = getattr(models, name)(weights=None).state_dict()
        found = layouts.recognise(state, "here")
        made = make(found.network, found.arguments).state_dict()
    assert found.arguments == {"blocks": blocks, "width": width, "classes": 1000}
    assert {k: v.shape for k, v in made.items()} == {k: v.shape for k, v in state.items()}


@pytest.mark.parametrize("state", [{"x": torch.zeros(1)}, {"fc.weight": torch.zeros(2, 2)}])
def test_other_layouts_are_named_as_unknown(state: dict[str, Tensor]) -> None:
    with pytest.raises(
        BenchError,
        match=r"no layout known here .*wideresnet-meliketoy.*filled\(Net\(\), .*--weights mine=",
    ):
        layouts.recognise(state, "here")


# --- @file:PATH --------------------------------------------------------------------------------


def files_used(defense: str, context: Context) -> dict[str, str]:
    """The weight files of a defense; not the code of the toy data set, which is the test's own."""
    used = weights_used.weights_used(defense, None, context)
    return {name: sha256 for name, sha256 in used.items() if weights_used.is_file(name)}


@pytest.mark.parametrize(
    ("prefix", "container"),
    [("", ""), ("module.", ""), ("module.model.", "state_dict"), ("", "net")],
)
def test_a_torch_checkpoint_is_a_classifier(
    tmp_path: Path, cifar10: Context, prefix: str, container: str
) -> None:
    network = tiny()
    path = published(tmp_path / "net.pt", network, prefix, container)
    made = build.classifier(f"file:{path}", cifar10)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(made(x), network(x))
    used = files_used(f"none@file:{path}", cifar10)
    assert used == {f"file:{path}": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert not any(p.requires_grad for p in made.parameters())


def test_the_unused_block_of_aid_and_lists_are_taken_apart(
    tmp_path: Path, cifar10: Context
) -> None:
    network = tiny()
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    copies = {k.replace("block1", "sub_block1"): v for k, v in state.items() if ".block1." in k}
    torch.save([{**state, **copies}, 5], tmp_path / "aid.pt")
    assert copies
    made = build.classifier("file:aid.pt", cifar10)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(made(x), network(x))


def test_files_of_bench_train_say_everything_themselves(tmp_path: Path) -> None:
    shipped = zoo.packaged("digits") / "natural.safetensors"
    copy = tmp_path / "my+net@home,1.safetensors"
    copy.write_bytes(shipped.read_bytes())
    context = build.context("digits")
    x = build.dataset("digits").images("validation").x[:4]
    spec = parse_defense(f"none@file:{copy}")
    assert str(parse_defense(str(spec))) == str(spec)
    made, same = build.classifier(spec.classifier, context), build.classifier("natural", context)
    torch.testing.assert_close(made(x), same(x), atol=0, rtol=0)
    assert list(weights_used.weights_used(spec, None, context).values()) == [
        context.weights("natural").sha256
    ]
    with pytest.raises(BenchError, match="say how they are normalised"):
        build.classifier(f"file:{copy}#none", context)
    with pytest.raises(BenchError, match="trained on data set 'digits', not on 'patches'"):
        build.classifier(f"file:{copy}", build.context("patches"))
    assert all(check.ok for check in contract.check(f"file:{copy}", "digits"))


def test_normalisation_is_the_publishers_unless_it_is_named(
    tmp_path: Path, cifar10: Context
) -> None:
    raw = published(tmp_path / "robustbench.pt", tiny())
    assert not isinstance(build.classifier(f"file:{raw}", cifar10), Normalised)
    named = build.classifier(f"file:{raw}#imagenet", cifar10)
    assert isinstance(named, Normalised)
    assert named.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    other = make("wideresnet-meliketoy", {"depth": 10, "widen": 1}).eval()
    path = published(tmp_path / "meliketoy.t7", other)
    usual = build.classifier(f"file:{path}", cifar10)
    assert isinstance(usual, Normalised)
    assert usual.std.flatten().tolist() == pytest.approx([0.2023, 0.1994, 0.2010])
    assert not isinstance(build.classifier(f"file:{path}#none", cifar10), Normalised)
    for where in (f"file:{path}", f"file:{path}#none"):
        key = f"file:{path}"
        assert list(files_used(f"none@{where}", cifar10)) == [key]


class Harm:
    """A pickle that writes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_code_inside_a_file_never_runs(tmp_path: Path, cifar10: Context) -> None:
    torch.save({"net": Harm(tmp_path / "harm")}, tmp_path / "evil.pt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    for name in ("evil.pt", "evil.pkl"):
        with pytest.raises(BenchError, match=r"could run code|cannot read") as caught:
            build.classifier(f"file:{tmp_path / name}", cifar10)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read weights .*No such file"),
        (b"<html>not found</html>", "they are a web page, no checkpoint"),
        (b"", "they are empty, no checkpoint"),
        (b"\0" * 100, "they are truncated or damaged, no checkpoint"),
        (b"PK\x03\x04" + b"\0" * 100, r"damaged \("),
        ({}, "hold no state dict"),
        ({"a": 1}, "hold no state dict"),
        ({"a": torch.zeros(1)}, "no layout known here"),
    ],
)
def test_files_that_are_no_classifier_are_one_line(
    tmp_path: Path, cifar10: Context, content: Any, message: str
) -> None:
    path = tmp_path / "some.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(BenchError, match=message) as caught:
        build.classifier(f"file:{path}", cifar10)
    assert "\n" not in str(caught.value)


VGG = {"features.0.weight": torch.zeros(0, 3, 3, 3), "features.1.running_mean": torch.zeros(0)}


@pytest.mark.parametrize(
    "state",
    [
        dict.fromkeys(("block1.layer.0.bn1.weight", "fc.weight"), torch.tensor(1.0)),
        dict.fromkeys(("init_conv.weight", "logits.weight"), torch.tensor(1.0)),
        VGG | {"classifier.weight": torch.zeros(10, 0)},
        dict.fromkeys(("conv2.weight", "fc1.weight", "fc2.weight", "conv1.weight"), torch.ones(0)),
        {**tiny().state_dict(), "block1.layer.0.conv1.weight": torch.zeros(8, 16, 3, 3)},
    ],
)
def test_tensors_of_other_dimensions_are_no_layout(
    tmp_path: Path, cifar10: Context, state: dict[str, Tensor]
) -> None:
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(BenchError, match="no layout known here") as caught:
        build.classifier("file:odd.pt", cifar10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v.to(torch.complex64), r"of tensors of the type torch\.ComplexFloatStorage"),
        (lambda v: v.to(torch.int8), r"'fc\.weight' is of the type torch\.int8"),
        (lambda v: v.to_sparse(), r"wants to call torch\._utils\._rebuild_sparse_tensor"),
        (lambda v: v.to("meta"), r"wants to call torch\._utils\._rebuild_meta_tensor"),
        (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "wants to call"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_plain_numbers_are_refused(
    tmp_path: Path, cifar10: Context, change: Any, says: str
) -> None:
    state = tiny().state_dict()
    torch.save(state | {"fc.weight": change(state["fc.weight"])}, tmp_path / "odd.pt")
    with pytest.raises(BenchError, match=says) as caught:
        build.classifier("file:odd.pt", cifar10)
    assert "\n" not in str(caught.value)


def test_one_mean_and_std_per_channel(tmp_path: Path, cifar10: Context) -> None:
    path = published(tmp_path / "net.pt", tiny())
    with pytest.raises(BenchError, match=r"mean \[0\.1307\] and std .* each of 3 channels"):
        build.classifier(f"file:{path}#mnist", cifar10)
    shipped = zoo.read(zoo.packaged("digits") / "natural.safetensors")
    for mean, std in (([0.1] * 3, [0.2] * 3), ([0.1], [0.0]), ([], []), ([0.1], [])):
        facts = shipped.metadata | {"normalisation": json.dumps({"mean": mean, "std": std})}
        zoo.save(tmp_path / "other.safetensors", zoo.load_state(shipped), facts)
        with pytest.raises(BenchError, match="cannot be normalised with mean"):
            build.classifier("file:other.safetensors", build.context("digits"))


def test_a_discriminator_is_no_classifier() -> None:
    path = zoo.packaged("digits") / "aid-madry.safetensors"
    with pytest.raises(BenchError, match="does not take an image") as caught:
        build.classifier(f"file:{path}", build.context("digits"))
    assert len(str(caught.value)) < 400


def test_the_home_of_nobody(cifar10: Context) -> None:
    with pytest.raises(BenchError, match="cannot read weights ~nosuchuser/x: "):
        build.classifier("file:~nosuchuser/x", cifar10)


def test_a_damaged_state_dict_names_its_key(tmp_path: Path, cifar10: Context) -> None:
    state = tiny().state_dict()
    del state["block2.layer.0.conv2.weight"]
    torch.save(state, tmp_path / "half.pt")
    with pytest.raises(BenchError, match=r"'block2\.layer\.0\.conv2\.weight' is missing"):
        build.classifier("file:half.pt", cifar10)
    published(tmp_path / "wide.pt", tiny(classes=100))
    with pytest.raises(BenchError, match=r"gives \(1, 100\) .* not \(1, 10\)"):
        build.classifier("file:wide.pt", cifar10)


def test_an_unknown_normalisation_is_refused_at_planning() -> None:
    with pytest.raises(BenchError, match=r"'#cifar' is no normalisation .*cifar10"):
        plan.make(Request(["none@file:net.pt#cifar"], ["clean"], "digits"))


# --- @robustbench/NAME -------------------------------------------------------------------------


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


# --- what wrappers and other versions of torch do to names ---------------------------------------

WRAPPERS = ("_orig_mod.", "module.", "model.", "_fsdp_wrapped_module.", "network.", "net.")


@given(st.lists(st.sampled_from(WRAPPERS), max_size=4), st.booleans())
def test_wrappers_in_any_combination(tmp_path_factory: Any, wraps: list[str], old: bool) -> None:
    network, prefix = tiny(), "".join(wraps)
    state = {prefix + k: v for k, v in network.state_dict().items()}
    if old:  # torch before 0.4.1 did not count batches
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        assert len(state) < len(network.state_dict())
    path = tmp_path_factory.mktemp("wrapped") / "net.pt"
    torch.save(state, path)
    made = rebuild(zoo.find("svhn", f"file:{path}"))
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(made(x), network(x), atol=0, rtol=0)


def test_wrappers_around_a_part_of_a_network(tmp_path: Path) -> None:
    network = tiny()
    network.add_module("block1", nn.DataParallel(network.get_submodule("block1")))
    path = published(tmp_path / "net.pt", network)
    x = torch.rand(1, 3, 32, 32)
    made = rebuild(zoo.find("svhn", f"file:{path}"))
    torch.testing.assert_close(made(x), network(x), atol=0, rtol=0)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_two_keys_that_become_one_name_are_an_error(tmp_path: Path, suffix: str) -> None:
    state = tiny().state_dict()
    state["module.fc.bias"] = state["fc.bias"] + 1
    path = tmp_path / f"net.{suffix}"
    if suffix == "pt":
        torch.save(state, path)
    else:
        zoo.save(path, state, {})
    with pytest.raises(
        BenchError, match=r"net\..*'fc.bias' and 'module.fc.bias' are both 'fc.bias"
    ):
        rebuild(zoo.find("svhn", f"file:{path}"))


@pytest.mark.parametrize("key", ["block1.layer.0.bn1.running_mean", "fc.bias"])
def test_nothing_else_may_be_missing(tmp_path: Path, key: str) -> None:
    state = tiny().state_dict()
    del state[key]
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(BenchError, match=rf"'{key}' is missing"):
        rebuild(zoo.find("svhn", f"file:{tmp_path / 'net.pt'}"))
