"""Readers of the fetched data sets, on tiny copies in the true formats."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision.transforms import CenterCrop, Compose, Resize

from bench.api import find_dataset
from bench.api import images as base
from bench.api.ball import ThreatModel
from bench.api.images import Dataset
from bench.data import imagenet
from bench.data.cifar import read_batch
from bench.data.files import HELD_OUT, held_out
from bench.errors import BenchError
from tests.data import copies

BYTES = ("cifar10", "cifar100", "svhn", "mnist", "fashionmnist")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def made(name: str) -> Dataset:
    dataset: Dataset = find_dataset(name).factory()
    return dataset


@pytest.mark.parametrize("name", BYTES)
def test_test_images_are_those_of_the_file(name: str, root: Path) -> None:
    written = copies.WRITERS[name](root)
    images = made(name).images("test")
    assert torch.equal((images.x * 255).round().byte(), torch.from_numpy(np.array(written)))
    assert torch.equal((images.x * 255).round() / 255, images.x)
    labels = [7 * i % 100 if name == "cifar100" else i % 10 for i in range(40)]
    assert images.y.tolist() == labels
    assert images.block.tolist() == list(range(40))


@pytest.mark.parametrize("name", sorted(copies.WRITERS))
def test_splits_have_the_declared_form_and_share_no_image(name: str, root: Path) -> None:
    copies.WRITERS[name](root, train=40, test=12)
    dataset = made(name)
    sizes = [len(dataset.read(split)) for split in base.SPLITS]
    assert sizes == [36, 4, 12]
    parts = {split: dataset.take(split, range(4)) for split in base.SPLITS}
    for images in parts.values():
        assert images.x.shape == (4, *dataset.info.shape)
        assert images.x.dtype == torch.float32
        assert 0 <= images.x.min() < images.x.max() <= 1
        assert images.y.dtype == images.block.dtype == torch.int64
    train, validation = (set(dataset.read(s).block.tolist()) for s in base.SPLITS[:2])
    assert train | validation == set(range(40))
    assert not train & validation


@pytest.mark.parametrize("name", sorted(copies.WRITERS))
def test_facts_are_usable(name: str) -> None:
    info = made(name).info
    assert find_dataset(name).info is info
    assert not info.embedded
    assert info.draws == 10
    assert len(set(info.classes)) == len(info.classes)
    for threat in (info.threat, *info.threats):
        ThreatModel.parse(threat)


def test_a_few_rows_are_read_without_the_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies.imagenet(root)
    opened: list[str] = []
    real = Image.open

    def watched(path: str) -> Image.Image:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(Image, "open", watched)
    dataset = made("imagenet")
    found = dataset.take("test", [5, 2])
    assert len(opened) == 2
    path = Path(opened[0])
    with real(path) as image:
        crop = Compose([Resize(256), CenterCrop(224)])(image.convert("RGB"))
    assert torch.equal(
        (found.x[0] * 255).round().byte(), torch.from_numpy(np.array(crop)).permute(2, 0, 1)
    )
    assert found.y[0] == sorted(copies.wnids(1000)).index(path.parent.name)


def test_tinyimagenet_is_in_the_order_of_its_list_with_sorted_classes(root: Path) -> None:
    copies.tinyimagenet(root)
    names = copies.wnids(200)
    images = made("tinyimagenet").images("test")
    assert images.y.tolist() == [sorted(names).index(names[i]) for i in range(40)]
    with Image.open(root / "tiny-imagenet-200" / "val" / "images" / "val_7.JPEG") as image:
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal((images.x[7] * 255).round().byte(), expected)
    assert torch.equal(images.x[3][0], images.x[3][2])
    trained = made("tinyimagenet").read("train")
    assert set(trained.y.tolist()) <= {sorted(names).index(name) for name in names[:8]}


def test_packed_idx_files_are_read_too(root: Path) -> None:
    written = copies.mnist(root)
    for path in (root / "MNIST" / "raw").iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert torch.equal(made("mnist").images("test").x, torch.from_numpy(written).float() / 255)


def test_the_held_out_images_are_fixed() -> None:
    """The rule of docs/data.md: a change here would mix training and validation images."""
    drawn = np.random.RandomState(20264).permutation(50_000)[:HELD_OUT]
    assert held_out(50_000, "validation").tolist() == sorted(drawn.tolist())
    assert held_out(50_000, "validation")[:4].tolist() == [9, 13, 32, 40]
    assert len(held_out(73_257, "train")) == 68_257


def test_another_root_is_another_copy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies.cifar10(root, test=12)
    dataset = made("cifar10")
    assert len(dataset.read("test")) == 12
    copies.cifar10(root.parent / "other", test=13)
    monkeypatch.setenv("BENCH_DATA", str(root.parent / "other"))
    assert len(dataset.read("test")) == 13


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_a_whole_copy_of_other_images_is_refused(name: str, root: Path) -> None:
    """A figure on images that were saved with loss, or shuffled, would be nobody's."""
    copies.WRITERS[name](root, test=10_000)
    assert len(made(name).read("train")) == 36
    with pytest.raises(BenchError, match="holds other images than"):
        made(name).read("test")


def test_too_much_for_one_tensor_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies.cifar10(root)
    monkeypatch.setattr(base, "AT_ONCE", 100_000)
    with pytest.raises(BenchError, match="only be read by rows"):
        made("cifar10").images("test")
    assert len(made("cifar10").take("test", [1])) == 1


@pytest.mark.parametrize("name", sorted(copies.WRITERS))
def test_what_is_not_there_names_the_command_and_the_folder(name: str, root: Path) -> None:
    with pytest.raises(BenchError, match=f"is not in {root} .*bench fetch {name}"):
        made(name).read("test")


def test_an_image_that_the_copy_lacks(root: Path) -> None:
    copies.cifar10(root)
    with pytest.raises(BenchError, match="has 40 test images, image 9999 is not among them"):
        made("cifar10").take("test", [0, 9999])


def test_imagenet_is_not_trained_on_without_its_training_folder(root: Path) -> None:
    copies.imagenet(root)
    with pytest.raises(BenchError, match="no train images of 'imagenet'"):
        made("imagenet").read("train")


# --- damaged and hostile files ------------------------------------------------------------------


class Evil:
    """Calls what it likes when it is unpickled."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("where", ["labels", "data", "more"])
def test_a_pickle_executes_nothing(where: str, root: Path) -> None:
    copies.cifar10(root)
    target = root / "run"
    path = root / "cifar-10-batches-py" / "test_batch"
    batch = {"labels": [1], "data": copies.pixels(1, (3072,)), "more": 0}
    path.write_bytes(pickle.dumps({**batch, where: Evil(Path.touch, target)}))
    with pytest.raises(BenchError, match="wants to call pathlib"):
        made("cifar10").read("test")
    path.write_bytes(pickle.dumps({**batch, where: Evil(exec, "import os; os.mkdir('run')")}))
    with pytest.raises(BenchError, match=r"wants to call builtins\.exec"):
        made("cifar10").read("test")
    assert not target.exists()


@pytest.mark.parametrize(
    "batch",
    [
        {},
        [],
        {"labels": [1], "data": [1, 2]},
        {"labels": [1], "data": np.zeros((1, 3072))},
        {"labels": [1], "data": np.array([[object()] * 3072])[:, :0]},
        {"labels": ["x"], "data": np.zeros((1, 3072), np.uint8)},
        {"labels": [1], "data": np.zeros((1, 3071), np.uint8)},
    ],
)
def test_other_pickles_are_refused(batch: Any, tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(batch))
    with pytest.raises(BenchError, match="is not a python batch"):
        read_batch(path, "labels")


def test_batches_written_by_any_python_are_read(tmp_path: Path) -> None:
    data = copies.pixels(3, (3072,))
    for protocol in (2, 3, 4):
        path = tmp_path / str(protocol)
        path.write_bytes(pickle.dumps({"labels": [0, 1, 2], "data": data}, protocol=protocol))
        assert np.array_equal(read_batch(path, "labels")[0].reshape(3, -1), data)


@pytest.mark.parametrize(
    ("name", "path", "content", "says"),
    [
        ("cifar10", "cifar-10-batches-py/test_batch", b"<html>", "is not a python batch"),
        ("cifar100", "cifar-100-python/test", b"", "is not a python batch"),
        ("svhn", "test_32x32.mat", b"<!doctype html>", "is no .mat file"),
        ("mnist", "MNIST/raw/t10k-images-idx3-ubyte", b"\0\0\x08\x01", "is not an idx file"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\x09", "and does not"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte", b"\x1f\x8b\x08\0", "cannot be read"),
        ("tinyimagenet", "tiny-imagenet-200/wnids.txt", b"n1", "lists 1 classes"),
        ("tinyimagenet", "tiny-imagenet-200/val/val_annotations.txt", b"a b c\n", "has the line"),
        ("tinyimagenet", "tiny-imagenet-200/val/images/val_0.JPEG", b"<html>", "is not an image"),
    ],
)
def test_damaged_files_are_named(
    name: str, path: str, content: bytes, says: str, root: Path
) -> None:
    copies.WRITERS[name](root)
    (root / path).write_bytes(content)
    with pytest.raises(BenchError, match=f"{says}.*bench fetch {name}"):
        made(name).images("test")


def test_labels_that_are_no_class(root: Path) -> None:
    copies.svhn(root)
    copies.idx(root / "MNIST/raw/t10k-labels-idx1-ubyte", np.full(40, 11, np.uint8))
    copies.idx(root / "MNIST/raw/t10k-images-idx3-ubyte", copies.pixels(40, (28, 28)))
    with pytest.raises(BenchError, match=r"labels outside 0\.\.9"):
        made("mnist").read("test")
    images = copies.pixels(3, (3, 28, 28)).transpose(2, 3, 1, 0)
    savemat(root / "test_32x32.mat", {"X": images, "y": np.ones((3, 1))})
    with pytest.raises(BenchError, match=r"holds images \(3, 28, 28\)"):
        made("svhn").read("test")


def test_class_folders_of_another_kind_would_shift_the_labels(root: Path) -> None:
    copies.imagenet(root)
    first = sorted((root / "imagenet" / "val").iterdir())[0]
    first.rename(first.with_name("tench"))
    with pytest.raises(BenchError, match="named by wnid"):
        made("imagenet").read("test")


@pytest.mark.parametrize(
    ("gone", "said"), [((7,), "lacks ILSVRC2012_val_00000007.JPEG;"), ((7, 9), "and 1 more")]
)
def test_a_missing_image_would_shift_the_indices(
    root: Path, gone: tuple[int, ...], said: str
) -> None:
    copies.imagenet(root)
    for number in gone:
        (path,) = (root / "imagenet" / "val").glob(f"*/ILSVRC2012_val_{number:08d}.JPEG")
        path.unlink()
    with pytest.raises(BenchError, match=said):
        made("imagenet").read("test")


def test_images_of_other_names_have_an_order_only_when_all_are_there(root: Path) -> None:
    copies.imagenet(root)
    path = next((root / "imagenet" / "val").glob("*/*.JPEG"))
    path.rename(path.with_name("tench.JPEG"))
    with pytest.raises(BenchError, match="40 images, some with other names"):
        made("imagenet").read("test")


def test_flat_validation_images_are_sorted_by_the_development_kit(tmp_path: Path) -> None:
    """Numbers of the kit are not the order of the wnids, and parents of classes are no classes."""
    names = copies.wnids(1000)
    kind = np.dtype(
        [(n, object) for n in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")]
    )
    table = np.empty((1001, 1), dtype=kind)
    for i, name in enumerate([*names, "n00000001"]):
        table[i, 0] = (float(i + 1), name, "words", "gloss", 0.0 if i < 1000 else 3.0)
    kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    savemat(kit / "meta.mat", {"synsets": table})
    truth = [3, 1000, 1]
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{n}\n" for n in truth))
    for i in (1, 2, 3):
        (tmp_path / f"ILSVRC2012_val_{i:08d}.JPEG").write_bytes(bytes([i]))
    imagenet.arrange(tmp_path)
    assert len(list((tmp_path / "val").iterdir())) == 1000
    for i, number in enumerate(truth, 1):
        path = tmp_path / "val" / names[number - 1] / f"ILSVRC2012_val_{i:08d}.JPEG"
        assert path.read_bytes() == bytes([i])
    assert not kit.parent.exists()
    with pytest.raises(BenchError, match="cannot be read"):
        imagenet.arrange(tmp_path)
