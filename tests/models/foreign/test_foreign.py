"""Classifiers from files that others made: `@file:PATH`."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import contract
from bench.api import Context
from bench.errors import BenchError
from bench.measure import build, weights_used
from bench.models.foreign import layouts
from bench.models.nets import make
from bench.models.nets.normalised import Normalised
from bench.models.zoo import weights as zoo
from bench.plan import plan
from bench.plan.request import Request
from bench.spec import parse_defense
from tests.models.foreign.files import files_used, published, tiny

pytestmark = pytest.mark.usefixtures("home")
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
