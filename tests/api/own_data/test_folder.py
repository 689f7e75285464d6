"""Folders of class folders: what is found in them, how they are dealt, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.api.images import SPLITS, Dataset
from bench.api.own_data import from_folder
from bench.errors import BenchError
from tests.api.own_data.pictures import CLASSES, forest, identity_of, pixels


def data(top: Path, **settings: Any) -> Dataset:
    made: Dataset = from_folder("mine", top, threat="linf:8/255", **settings)
    return made


def test_every_image_is_in_one_split_with_its_label(tmp_path: Path) -> None:
    found = data(forest(tmp_path / "trees"))
    assert found.info.shape == (3, 8, 8)
    assert found.info.classes == CLASSES
    seen = {}
    for split in SPLITS:
        images = found.images(split)
        for x, y in zip(images.x, images.y.tolist(), strict=True):
            seen[x.numpy().tobytes()] = y
    expected = {}
    for label in range(3):
        for i in range(40):
            x = torch.from_numpy(pixels(label, i)).permute(2, 0, 1).float() / 255
            expected[x.contiguous().numpy().tobytes()] = label
    assert seen == expected
    counts = [len(found.read(split)) for split in SPLITS]
    assert found.info.published == counts[2]
    assert found.info.split.startswith(f"{counts[0]} train, {counts[1]} validation, {counts[2]} te")
    assert "by the digests of the images" in found.info.split


def test_other_images_and_names_never_move_an_image(tmp_path: Path) -> None:
    few = data(forest(tmp_path / "few"))
    more = forest(tmp_path / "more")
    for label, name in enumerate(CLASSES):
        for path in list((more / name).iterdir()):
            path.rename(path.with_name(f"z{path.name}"))
        Image.fromarray(pixels(label, 99)).save(more / name / "0.png")
    many = data(more)
    for split in SPLITS:
        before = {x.numpy().tobytes() for x in few.images(split).x}
        assert before <= {x.numpy().tobytes() for x in many.images(split).x}


def test_folders_of_splits_stay_as_they_are(tmp_path: Path) -> None:
    forest(tmp_path / "train", each=40)
    forest(tmp_path / "test", each=5, first=100)
    found = data(tmp_path)
    assert found.info.published == len(found.read("test")) == 15
    assert len(found.read("train")) + len(found.read("validation")) == 120
    assert "validation: 10 % of train" in found.info.split
    forest(tmp_path / "valid", each=2, first=200)
    whole = data(tmp_path)
    assert [len(whole.read(split)) for split in SPLITS] == [120, 6, 15]
    shutil.rmtree(tmp_path / "test")
    published = data(tmp_path)
    assert len(published.read("test")) == 6
    assert "the validation images are the test images" in published.info.split


def test_test_images_alone_can_be_measured_and_not_trained_on(tmp_path: Path) -> None:
    forest(tmp_path / "test", each=5)
    found = data(tmp_path)
    assert len(found.images("test")) == 15
    with pytest.raises(BenchError, match="data set 'mine' has no train images, only test"):
        found.read("train")


def test_grey_files_give_one_channel_or_three(tmp_path: Path) -> None:
    top = forest(tmp_path / "grey", channels=1)
    grey, wide = data(top), data(top, shape=(3, 8, 8))
    assert grey.info.shape == (1, 8, 8)
    one, three = grey.images("test").x, wide.images("test").x
    assert torch.equal(one.expand(-1, 3, -1, -1), three)


def test_what_changes_a_picture_may_make_sizes_equal(tmp_path: Path) -> None:
    top = forest(tmp_path / "trees")
    Image.fromarray(pixels(0, 500, side=20)).save(top / "ash" / "large.png")
    found = data(top, change=lambda picture: picture.resize((4, 6)))
    assert found.info.shape == (3, 6, 4)
    assert sum(len(found.images(split)) for split in SPLITS) == 121
    with pytest.raises(BenchError, match=r"'mine': change= fails on .*/ash/0000.png: .*zero"):
        data(top, change=lambda picture: 1 / 0)
    with pytest.raises(BenchError, match=r"change= gives ndarray, not an image of Pillow"):
        data(top, change=np.asarray)


def test_a_changed_file_is_another_data_set(tmp_path: Path) -> None:
    forest(tmp_path / "train", each=12)
    top = forest(tmp_path / "test", each=15, first=50)

    def identity() -> str:
        return identity_of(data(tmp_path))

    first = identity()
    assert first == identity()
    last = top / "yew" / "0064.png"  # long after the first images
    Image.fromarray(pixels(2, 900)).save(last)
    changed = identity()
    assert changed != first
    last.unlink()
    assert identity() not in (first, changed)


def test_a_file_that_changes_after_it_was_read_is_refused(tmp_path: Path) -> None:
    top = forest(tmp_path / "test", each=6)
    told, seen = data(tmp_path), data(tmp_path)
    identity_of(told)
    before = seen.images("test").x  # of these nobody has asked for the digest yet
    Image.fromarray(pixels(1, 900)).save(top / "oak" / "0003.png")
    for found in (told, seen):
        assert len(found.take("test", [0, 8])) == 2
        with pytest.raises(BenchError, match=r"oak/0003\.png changed since .*; start again$"):
            found.take("test", [9])
    assert identity_of(seen) == identity_of(told)
    assert not torch.equal(data(tmp_path).images("test").x, before)


def test_test_images_that_are_training_images_are_told(tmp_path: Path) -> None:
    forest(tmp_path / "train", each=30)
    forest(tmp_path / "test", each=5, first=28)
    assert data(tmp_path).info.split.endswith("; 6 of 15 test images are also among those of train")
    shutil.rmtree(tmp_path / "test")
    forest(tmp_path / "test", each=5, first=30)
    assert "also among" not in data(tmp_path).info.split


def test_a_relative_path_is_beside_the_file_that_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forest(tmp_path / "there" / "images")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code = (
        "from bench.api.own_data import from_folder\nD = from_folder('m', 'images', threat='l2:1')"
    )
    space = {"__file__": str(tmp_path / "there" / "my.py"), "__name__": "my"}
    exec(compile(code, "my.py", "exec"), space)
    made = space["D"]
    assert isinstance(made, Dataset)
    assert made.info.title == "the images of images"


def _wrong(name: str) -> Callable[[Path], None]:
    def at(top: Path) -> None:
        (top / name).write_bytes(b"no image")

    return at


def _empty(top: Path) -> None:
    (top / "fir").mkdir()


def _beside(top: Path) -> None:
    forest(top / "train")


def _pipe(top: Path) -> None:
    os.mkfifo(top / "oak" / "a.png")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_empty, r"class 'fir' is empty: no images in .*/fir$"),
        (_wrong("oak/a.gif"), r"/oak/a\.gif is no PNG or JPEG file"),
        (_beside, "has a folder train beside one of a class"),
        (_pipe, r"/oak/a\.png is no PNG or JPEG file"),
        (shutil.rmtree, "cannot read .*/trees: No such file"),
    ],
)
def test_what_is_no_folder_of_images(
    tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    top = forest(tmp_path / "trees")
    change(top)
    with pytest.raises(BenchError, match=says) as raised:
        data(top)
    assert str(raised.value).startswith("data set 'mine': ")
    assert "\n" not in str(raised.value)


def _text(path: Path) -> None:
    path.write_text("<html>")


def _cut(path: Path) -> None:
    Image.fromarray(pixels(1, 0, side=8)).save(path)
    path.write_bytes(path.read_bytes()[:60])


def _deep(path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(path)


def _large(path: Path) -> None:
    Image.fromarray(pixels(1, 0, side=9)).save(path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_text, r"test/oak/0003\.png cannot be read as PNG or JPEG"),
        (_cut, r"test/oak/0003\.png cannot be read as PNG or JPEG"),
        (_deep, r"test/oak/0003\.png is of mode I;16; save it with 8 bits a channel"),
        (_large, r"test/oak/0003\.png is 9x9, not 8x8: images need one size"),
    ],
)
def test_an_image_that_cannot_be_used_is_named(
    tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    forest(tmp_path / "test", each=6)
    spoil(tmp_path / "test" / "oak" / "0003.png")
    found = data(tmp_path)
    with pytest.raises(BenchError, match=says) as raised:
        found.images("test")
    assert "\n" not in str(raised.value)


def test_classes_shapes_and_threats_are_checked_at_once(tmp_path: Path) -> None:
    top = forest(tmp_path / "trees")
    assert data(top, classes=("yew", "ash", "oak")).info.classes == ("yew", "ash", "oak")
    with pytest.raises(BenchError, match="are not the classes: elm, oak"):
        data(top, classes=("yew", "ash", "elm"))
    with pytest.raises(BenchError, match=r"shape=\(8, 8, 3\) is not \(1 or 3, height, width\)"):
        data(top, shape=(8, 8, 3))
    with pytest.raises(BenchError, match="'mine': unknown threat 'lnf'; did you mean 'linf'"):
        from_folder("mine", top, threat="lnf:8/255")
    few = forest(tmp_path / "few", each=1)
    with pytest.raises(BenchError, match=r"more are needed|put train and test apart"):
        data(few)
