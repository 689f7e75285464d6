"""Data sets of libraries: read from where they lie, never fetched; a command for what is not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets as torchvision_datasets

from bench.api.images import SPLITS, Dataset
from bench.api.own_data import from_huggingface, from_torchvision
from bench.errors import BenchError
from tests.api.own_data.pictures import CLASSES, forest, pixels


class Table:
    """What `load_dataset` gives for one part: rows, columns by name, features."""

    def __init__(self, each: int, first: int = 0) -> None:
        self.rows = [(label, first + i) for i in range(each) for label in range(3)]
        self.column_names = ["img", "label"]
        self.features = {"label": SimpleNamespace(names=list(CLASSES))}

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return [label for label, _ in self.rows]
        label, seed = self.rows[key]
        return {"img": Image.fromarray(pixels(label, seed)), "label": label}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A library in place of Hugging Face's; what it was asked for."""
    library: Any = ModuleType("datasets")
    said: dict[str, Any] = {}

    def load_dataset(of: str, **given: Any) -> dict[str, Table]:
        said.update(given, of=of)
        if of == "absent":
            raise ConnectionError("offline")
        if of == "whole":
            return {"train": Table(40)}
        return {"train": Table(40), "test": Table(4, first=100)}

    library.load_dataset = load_dataset
    library.DownloadConfig = lambda **given: given
    library.load_from_disk = lambda path: Table(40)
    monkeypatch.setitem(sys.modules, "datasets", library)
    return said


def hugging(of: str, **more: Any) -> Dataset:
    return from_huggingface("mine", of, threat="linf:8/255", image="img", **more)


def test_parts_classes_and_pixels_of_hugging_face(asked: dict[str, Any]) -> None:
    found = hugging("some/trees", arguments={"revision": "abc"})
    assert asked == {
        "of": "some/trees",
        "revision": "abc",
        "download_config": {"local_files_only": True},
    }
    assert (found.info.shape, found.info.classes) == ((3, 8, 8), CLASSES)
    images = found.images("test")
    expected = torch.from_numpy(pixels(1, 100)).permute(2, 0, 1).float() / 255
    assert torch.equal(images.x[1], expected)
    assert images.y.tolist() == [0, 1, 2] * 4
    assert len(found.read("train")) + len(found.read("validation")) == 120


def test_a_folder_that_was_saved_is_one_lot(asked: dict[str, Any], tmp_path: Path) -> None:
    found = hugging(str(tmp_path))
    assert sum(len(found.read(split)) for split in SPLITS) == 120
    assert found.info.published < 60
    assert not asked
    assert sum(len(hugging("whole").read(split)) for split in SPLITS) == 120


def test_what_hugging_face_lacks_is_one_line(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library: Any = sys.modules["datasets"]
    monkeypatch.setattr(library, "load_from_disk", lambda path: 1 / 0)
    with pytest.raises(BenchError, match=r"is not what save_to_disk writes.*division by zero"):
        hugging(str(tmp_path))
    with pytest.raises(BenchError, match=r"no column 'image' \(it has img, label\); say image="):
        from_huggingface("mine", "some/trees", threat="linf:8/255")
    says = r"^data set 'mine': absent is not in the cache .*offline.*load_dataset\('absent'\)"
    with pytest.raises(BenchError, match=says):
        hugging("absent")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        BenchError, match=r"not installed; pip install 'purifybench\[huggingface\]'"
    ):
        hugging("some/trees")


class Trees:
    """As torchvision's: a part by `train=`."""

    classes = CLASSES

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        self.rows = [(label, i) for i in range(30 if train else 5) for label in range(3)]
        self.targets = torch.tensor([label for label, _ in self.rows])
        self.first = 0 if train else 100
        assert not download

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        label, i = self.rows[row]
        return Image.fromarray(pixels(label, self.first + i)), label


class Leaves(Trees):
    """Parts by `split=`, of which there is no validation; labels only image by image."""

    def __init__(self, root: str, split: str = "train") -> None:
        if split not in ("train", "test"):
            raise ValueError(f"Unknown value '{split}' for argument split.")
        super().__init__(root, split == "train")
        del self.targets


class Twigs(Trees):
    """One lot."""

    def __init__(self, root: str) -> None:
        super().__init__(root)


@pytest.mark.parametrize(("kind", "sizes"), [(Trees, [90, 15]), (Leaves, [90, 15])])
def test_parts_of_torchvision(
    kind: type, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_datasets, "Trees", kind, raising=False)
    found = from_torchvision("mine", "Trees", threat="l2:0.5")
    assert found.info.classes == CLASSES
    train = len(found.read("train")) + len(found.read("validation"))
    assert [train, len(found.read("test"))] == sizes
    expected = torch.from_numpy(pixels(2, 100)).permute(2, 0, 1).float() / 255
    assert torch.equal(found.images("test").x[2], expected)


class Moved(Trees):
    """Labels that are changed, or read from elsewhere, once an image is asked for."""

    def __init__(
        self,
        root: str,
        train: bool = True,
        target_transform: Callable[[int], int] | None = None,
        by: int = 0,
    ) -> None:
        super().__init__(root, train)
        self.target_transform, self.by = target_transform, by

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        picture, label = super().__getitem__(row)
        label = (label + self.by) % 3
        return picture, self.target_transform(label) if self.target_transform else label


@pytest.mark.parametrize(
    ("arguments", "labels"),
    [
        ({"target_transform": lambda label: 2 - label}, [2, 1, 0]),
        ({"target_transform": lambda label: int(label == 2)}, [0, 0, 1]),
        ({"by": 1}, [1, 2, 0]),
        ({"by": 1, "target_transform": lambda label: 2 - label}, [1, 0, 2]),
        ({}, [0, 1, 2]),
    ],
)
def test_labels_are_those_that_come_with_the_images(
    arguments: dict[str, Any], labels: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_datasets, "Moved", Moved, raising=False)
    classes = CLASSES[: 1 + max(labels)]
    found = from_torchvision("mine", "Moved", threat="l2:1", arguments=arguments, classes=classes)
    assert found.images("test").y.tolist() == labels * 5


class Shifting(Trees):
    """Another picture each time."""

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        self.first += 1
        return super().__getitem__(row)


def test_images_that_change_while_they_are_used_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torchvision_datasets, "Trees", Shifting, raising=False)
    found = from_torchvision("mine", "Trees", threat="l2:0.5")
    with pytest.raises(BenchError, match=r"Trees, test\[0\] changed since"):
        found.images("test")


def test_one_lot_of_torchvision_is_dealt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_datasets, "Twigs", Twigs, raising=False)
    found = from_torchvision("mine", "Twigs", threat="l2:0.5")
    assert sum(len(found.read(split)) for split in SPLITS) == 90
    assert "by the digests" in found.info.split


def test_a_real_class_of_torchvision(tmp_path: Path) -> None:
    forest(tmp_path / "eurosat" / "2750")
    found = from_torchvision("mine", "EuroSAT", threat="linf:8/255", root=tmp_path)
    assert (found.info.shape, found.info.classes) == ((3, 8, 8), CLASSES)
    assert sum(len(found.images(split)) for split in SPLITS) == 120


def test_what_torchvision_lacks_is_one_line(tmp_path: Path) -> None:
    says = r"EuroSAT is not in .*download it.*python -c .*EuroSAT\(root='.*', download=True\)"
    with pytest.raises(BenchError, match=says):
        from_torchvision("mine", "EuroSAT", threat="linf:8/255", root=tmp_path)
    with pytest.raises(BenchError, match=r"unknown data set of torchvision 'EuroSat'.*'EuroSAT'"):
        from_torchvision("mine", "EuroSat", threat="linf:8/255")
    with pytest.raises(BenchError, match=r"EMNIST needs split; say arguments=.*byclass") as raised:
        from_torchvision("mine", "EMNIST", threat="linf:8/255", root=tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(BenchError, match=r"EMNIST\(root='.*', split='letters', train=True, down"):
        from_torchvision(
            "mine", "EMNIST", threat="l2:1", root=tmp_path, arguments={"split": "letters"}
        )


class Parts(Leaves):
    """Parts of other names."""

    def __init__(self, root: str, split: str = "a") -> None:
        raise ValueError(f"Unknown value '{split}' for argument split.")


def test_parts_of_other_names_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_datasets, "Parts", Parts, raising=False)
    with pytest.raises(BenchError, match="Parts has none of the parts train, validation, test; sa"):
        from_torchvision("mine", "Parts", threat="l2:0.5")


def test_arrays_of_a_library_are_pictures(asked: dict[str, Any]) -> None:
    class Arrays(Table):
        def __getitem__(self, key: int | str) -> Any:
            row = super().__getitem__(key)
            if isinstance(key, int):
                row["img"] = np.asarray(row["img"]).transpose(2, 0, 1)
            return row

    library: Any = sys.modules["datasets"]
    library.load_dataset = lambda of, **given: {"test": Arrays(6)}
    found = hugging("some/arrays").images("test")
    expected = torch.from_numpy(pixels(0, 0)).permute(2, 0, 1).float() / 255
    assert torch.equal(found.x[0], expected)
    library.load_dataset = lambda of, **given: {"test": Broken(6)}
    with pytest.raises(BenchError, match=r"test\[0\] is no image: .*float64, not uint8"):
        hugging("some/arrays")


class Broken(Table):
    """Gives numbers where pictures belong."""

    def __getitem__(self, key: int | str) -> Any:
        return {"img": np.zeros((8, 8))} if isinstance(key, int) else super().__getitem__(key)
