"""Files of arrays: layouts, types, labels; what may mean harm is refused before it is read."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.api.images import SPLITS, Dataset
from bench.api.own_data import arrays, from_npz
from bench.errors import BenchError
from tests.api.own_data.pictures import identity_of, pixels

X = np.stack([pixels(label, i) for i in range(40) for label in range(3)])
Y = np.arange(len(X)) % 3


def data(path: Path, settings: dict[str, Any] | None = None, /, **held: Any) -> Dataset:
    np.savez_compressed(path / "mine.npz", **held)
    return from_npz("mine", path / "mine.npz", threat="linf:8/255", **(settings or {}))


def test_layouts_and_types_give_the_same_images(tmp_path: Path) -> None:
    first = data(tmp_path, x=X, y=Y)
    assert (first.info.shape, first.info.classes) == ((3, 8, 8), ("0", "1", "2"))
    others = [
        data(tmp_path, x=np.ascontiguousarray(X.transpose(0, 3, 1, 2)), y=Y.astype(np.uint8)),
        data(tmp_path, x=X, y=Y[:, None]),
    ]
    for split in SPLITS:
        expected = first.images(split)
        for other in others[1:]:
            assert torch.equal(other.images(split).x, expected.x)
            assert torch.equal(other.images(split).y, expected.y)
    parts = {"x_train": X, "y_train": Y, "x_test": X[:30], "y_test": Y[:30]}
    whole = data(tmp_path, **parts).images("test")
    floats = {**parts, "x_test": (X[:30] / 255).astype(np.float32).transpose(0, 3, 1, 2)}
    again = data(tmp_path, **floats).images("test")
    assert torch.equal(whole.x, again.x)
    assert torch.equal(whole.x, torch.from_numpy(X[:30]).permute(0, 3, 1, 2).float() / 255)


def test_grey_images_need_no_channel(tmp_path: Path) -> None:
    found = data(tmp_path, x=X[..., 0], y=Y)
    assert found.info.shape == (1, 8, 8)
    same = data(tmp_path, x_test=X[:, None, :, :, 0], y_test=Y).images("test")
    assert torch.equal(same.x, torch.from_numpy(X[..., 0]).unsqueeze(1).float() / 255)


def test_validation_comes_by_key_or_from_the_training_images(tmp_path: Path) -> None:
    parts = {"x_train": X, "y_train": Y, "x_test": X[:6], "y_test": Y[:6]}
    held = data(tmp_path, **parts)
    assert len(held.read("train")) + len(held.read("validation")) == len(X)
    given = data(tmp_path, **parts, x_val=X[:9], y_val=Y[:9])
    assert [len(given.read(split)) for split in SPLITS] == [len(X), 9, 6]


def test_a_changed_image_is_another_data_set(tmp_path: Path) -> None:
    def identity(x: np.ndarray) -> str:
        return identity_of(data(tmp_path, x_test=x, y_test=Y))

    other = X.copy()
    other[-1, 0, 0, 0] ^= 1
    assert identity(X) == identity(X.copy()) != identity(other)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"x": X}, "holds x; x and y are needed"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y}, r"beside parts \(whole, test\)"),
        ({"x": X, "y": Y[:-1]}, "holds 120 images in x, 119 labels in y"),
        ({"x": X, "y": Y / 2}, r"y is f8 \(120,\); labels are integers"),
        ({"x": X.astype(np.int64), "y": Y}, "x is i8; save it as uint8"),
        ({"x": X[..., :2], "y": Y}, r"x is \(120, 8, 8, 2\); \(N,H,W,C\) or \(N,C,H,W\)"),
        ({"x": X[:, :3], "y": Y}, r"x is \(120, 3, 8, 3\).*say shape="),
        ({"x": X.astype(np.float32), "y": Y}, "to 209, not from 0 to 1; divide by 255"),
        ({"x": (X > 99).astype(np.uint8), "y": Y}, "x.* is uint8 from 0 to 1.*multiply it by 255"),
        ({"x": np.full((9, 8, 8, 3), np.nan), "y": np.arange(9)}, "from nan to nan"),
        ({"x": X, "y": 2 * Y}, r"class '1' has no train image"),
        ({"x": X, "y": Y - 1}, r"has the label -1; labels are 0 to 1"),
        ({"x": X[:0], "y": Y[:0]}, "y is empty"),
        ({"x": X, "y": np.array([{}] * 120)}, "y is object, not numbers; it is not read"),
    ],
)
def test_what_is_no_data_set_is_one_line(tmp_path: Path, held: dict[str, Any], says: str) -> None:
    with pytest.raises(BenchError, match=says) as raised:
        data(tmp_path, **held)
    assert str(raised.value).startswith("data set 'mine': ")
    assert "\n" not in str(raised.value)


def test_a_file_that_changes_before_its_images_are_read_is_refused(tmp_path: Path) -> None:
    found = data(tmp_path, x_test=X, y_test=Y)
    np.savez_compressed(tmp_path / "mine.npz", x_test=X[::-1], y_test=Y[::-1])
    with pytest.raises(BenchError, match=r"mine\.npz \(x_test\) changed since .*; start again$"):
        found.images("test")
    assert len(data(tmp_path, x_test=X[::-1], y_test=Y[::-1]).images("test")) == len(X)


def test_test_images_that_are_training_images_are_told(tmp_path: Path) -> None:
    found = data(tmp_path, x_train=X[:90], y_train=Y[:90], x_test=X[60:], y_test=Y[60:])
    assert "; 30 of 60 test images are also among those of train" in found.info.split


def test_labels_beyond_the_named_classes(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="has the label 2; labels are 0 to 1"):
        data(tmp_path, {"classes": ("ash", "oak")}, x=X, y=Y)
    with pytest.raises(BenchError, match="class 'yew' has no train image"):
        data(
            tmp_path, {"classes": ("ash", "yew")}, x_train=X, y_train=Y * 0, x_test=X, y_test=Y % 2
        )


class Harm:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"shape": (120,), "fortran_order": False, "descr": "|O"}
    )
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as packed:
        packed.writestr("x.npy", head.getvalue() + pickle.dumps([Harm(tmp_path / "harm")] * 120))
        packed.writestr("y.npy", head.getvalue() + pickle.dumps([Harm(tmp_path / "harm")] * 120))
    with pytest.raises(BenchError, match="object, not numbers; it is not read"):
        from_npz("mine", tmp_path / "mine.npz", threat="linf:8/255")
    assert not (tmp_path / "harm").exists()


def _npy(shape: tuple[int, ...], content: bytes) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"shape": shape, "fortran_order": False, "descr": "|u1"}
    )
    return head.getvalue() + content


def test_a_file_that_says_more_than_it_holds_or_unpacks_to_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.npz"

    def made(x: bytes) -> Dataset:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("x.npy", x)
            packed.writestr("y.npy", _npy((4,), bytes(4)))
        return from_npz("mine", path, threat="linf:8/255")

    with pytest.raises(BenchError, match=r"x says that it holds \(1000000000, 32, 32, 3\)"):
        made(_npy((10**9, 32, 32, 3), bytes(10)))
    monkeypatch.setattr(arrays, "SPARE", 1000)
    with pytest.raises(BenchError, match="x unpacks to far more than its size"):
        made(_npy((4, 64, 64, 3), bytes(4 * 64 * 64 * 3)))
    monkeypatch.setattr(arrays, "LARGEST", 1000)
    with pytest.raises(BenchError, match="put the images into a folder"):
        made(_npy((4, 64, 64, 3), bytes(4 * 64 * 64 * 3)))
    with pytest.raises(BenchError, match=r"cannot be read as \.npz"):
        made(b"\x93NUMPY\x01\x00\x10\x00{'shape': (((((" + bytes(20))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(BenchError, match=r"cannot be read as \.npz"):
        from_npz("mine", path, threat="linf:8/255")
    with pytest.raises(BenchError, match="No such file"):
        from_npz("mine", tmp_path / "none.npz", threat="linf:8/255")
    with pytest.raises(BenchError, match="it is no file"):
        from_npz("mine", tmp_path, threat="linf:8/255")
