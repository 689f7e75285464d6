"""IGEBM's published networks, from a checkpoint that TensorFlow wrote, with its own energies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.measure import build
from bench.models.foreign import bundle
from bench.models.foreign.layouts import recognise
from bench.models.foreign.storages import UnreadableError
from bench.models.nets import make
from bench.models.nets.igebm import IGEBM
from bench.models.zoo import published
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import find
from defenses.igebm import Refined
from tests.reference import GOLDEN, tensors_of

INDEX = GOLDEN / "igebm_tensorflow.index"
NUMBERS = "igebm_tensorflow.data-00000-of-00001"


def copied(folder: Path) -> Path:
    shutil.copy(INDEX, folder / INDEX.name)
    shutil.copy(GOLDEN / NUMBERS, folder / NUMBERS)
    return folder / INDEX.name


def test_energies_are_those_of_tensorflow() -> None:
    """Its authors' operations on a small network: 6 blocks, 3 classes, images of 8x8."""
    network = rebuild(find("cifar10", "igebm", INDEX))
    assert isinstance(network, IGEBM)
    stored = tensors_of("igebm_energies")
    found = network(2 * stored["x"] / 255 - 1, stored["y"])
    torch.testing.assert_close(found, stored["energy"], rtol=1e-5, atol=1e-5)
    assert network.all(stored["x"] / 255).std(1).min() > 0.01


@pytest.mark.parametrize(
    ("layout", "classes", "each", "widths"),
    [
        ("igebm_cifar10_cond", 10, 2, [128, 256, 256]),
        ("igebm_cifar10_uncond_large", 1, 3, [128, 256, 512]),
    ],
)
def test_layouts_of_full_size(layout: str, classes: int, each: int, widths: list[int]) -> None:
    told = json.loads((GOLDEN / f"{layout}.json").read_text())["tensors"]
    state = {key: torch.ones(1).expand(each["shape"]) for key, each in told.items()}
    state["context_0/atten/gamma"] = torch.zeros(1)
    found = recognise(state, layout)
    assert found.network == "igebm"
    size = {"channels": 3, "stem": 128, "published": True}
    assert found.arguments == {**size, "classes": classes, "each": each, "widths": widths}
    with torch.device("meta"):
        wanted = make(found.network, found.arguments).state_dict()
    assert {k: v.shape for k, v in found.tensors.items()} == {k: v.shape for k, v in wanted.items()}
    first = found.tensors["blocks.0.conv1.weight"]
    assert torch.linalg.matrix_norm(first.flatten(1), 2).item() == pytest.approx(1)


def test_the_last_activation_is_told_by_the_form() -> None:
    """Nine blocks told a class: a leaky ReLU, unless the stem is narrower than the first block."""
    for stem, leaky in ((4, True), (3, False)):
        with torch.device("meta"):
            state = make(
                "igebm",
                {"classes": 2, "widths": [4, 6, 8], "stem": stem, "each": 3, "published": True},
            ).state_dict()
        assert recognise(state, "here").arguments.get("leaky", False) == leaky


def changed(change: Callable[[dict[str, Tensor]], None]) -> dict[str, Tensor]:
    state = bundle.read(INDEX)
    change(state)
    return state


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["context_0/atten/gamma"].fill_(0.5),
        lambda state: state.pop("context_0/res_3_res_c1/cweight"),
        lambda state: state.update({"context_0/res_9_res_c1/cweight": torch.ones(1)}),
    ],
    ids=["attention", "a kernel is missing", "other blocks"],
)
def test_other_networks_of_theirs_are_refused(change: Callable[[dict[str, Tensor]], None]) -> None:
    with pytest.raises(BenchError, match="none of IGEBM's networks"):
        recognise(changed(change), "here")


def test_what_is_read_is_named_and_whole() -> None:
    state = bundle.read(INDEX)
    assert state["global_step"] == 7
    assert state["global_step"].dtype == torch.int64
    assert state["context_0/c1_pre/cweight"].shape == (3, 3, 3, 4)


def test_the_identity_of_a_checkpoint_is_of_both_files(tmp_path: Path) -> None:
    path = copied(tmp_path)
    before = find("cifar10", "igebm", path).sha256
    content = bytearray((tmp_path / NUMBERS).read_bytes())
    content[100] ^= 1
    (tmp_path / NUMBERS).write_bytes(content)
    assert find("cifar10", "igebm", path).sha256 != before


def test_damaged_checkpoints_are_one_line(tmp_path: Path) -> None:
    path = copied(tmp_path)
    whole, numbers = path.read_bytes(), (tmp_path / NUMBERS).read_bytes()
    (tmp_path / NUMBERS).write_bytes(numbers[:-500])
    with pytest.raises(BenchError, match="a tensor is not whole"):
        rebuild(find("cifar10", "igebm", path))
    (tmp_path / NUMBERS).unlink()
    with pytest.raises(BenchError, match=r"is alone: its igebm_tensorflow\.data"):
        rebuild(find("cifar10", "igebm", path))
    (tmp_path / NUMBERS).write_bytes(numbers)
    torch.manual_seed(0)
    for place in torch.randint(len(whole), (300,)).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(UnreadableError):
            bundle.read(path)
    path.write_bytes(whole[:100])
    with pytest.raises(BenchError, match="no index of a TensorFlow checkpoint"):
        rebuild(find("cifar10", "igebm", path))


def test_it_is_converted_and_refines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    entry = published.find("igebm-cifar10")
    with pytest.raises(BenchError, match="classes=3"):
        published.convert(entry, INDEX, tmp_path / "igebm.safetensors")
    context = build.context("cifar10", weights_override={"igebm": INDEX})
    with pytest.raises(BenchError, match="an energy of 3 classes; cifar10 has 10"):
        build.classifier("igebm", context)
    network = rebuild(find("cifar10", "igebm", INDEX))
    assert isinstance(network, IGEBM)
    logits = Refined(network, 3, step=0.1, noise=0.005, eps=0.03)(torch.rand(2, 3, 8, 8))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()
