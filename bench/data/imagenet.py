"""`imagenet`: the validation images of ILSVRC 2012, `imagenet/val/<wnid>/*.JPEG`.

An image is resized to 256 pixels on its shorter side and cropped to the middle 224x224, as
torchvision's weights expect. Threat: linf 4/255 (DiffPure, Lee and Kim, ScoreOpt).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import dataset
from bench.api.images import Dataset, DatasetInfo, Rows
from bench.data.files import damaged, labels_of, part, require
from bench.errors import BenchError, plain
from bench.files.paths import data_root

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

SHORTER, SIDE = 256, 224
MOST_PIXELS = 50_000_000
"""Of one file; the largest of ImageNet has some 20 million."""
WNID = re.compile(r"n\d{8}")
VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")

IMAGENET = DatasetInfo(
    name="imagenet",
    title="ImageNet (ILSVRC 2012), validation images at 224x224 RGB",
    shape=(3, SIDE, SIDE),
    classes=tuple(map(str, range(1000))),
    threat="linf:4/255",
    threats=("linf:8/255", "l2:2"),
    published=50_000,
)


@dataset("imagenet", info=IMAGENET)
def imagenet() -> Dataset:
    """50,000 test images (its validation folder); train and validation from a train folder."""
    return Dataset(IMAGENET, _load)


def _load(split: str) -> Rows:
    if split == "test":
        (folder,) = require("imagenet", "imagenet/val")
    else:
        folder = data_root() / "imagenet" / "train"
        if not folder.is_dir():
            raise BenchError(
                f"there are no {split} images of 'imagenet': no folder {folder} (its weights are "
                "fetched, not trained here)"
            )
    files, label = class_folders(IMAGENET, folder)
    if split == "test":
        _complete(folder, files)
    chosen = part(len(files), split)
    paths = [files[row] for row in chosen.tolist()]
    y, block = labels_of(IMAGENET, label, len(files), chosen, folder)
    return Rows(y, block, lambda index: _pixels([paths[i] for i in index]))


def class_folders(info: DatasetInfo, folder: Path) -> tuple[list[str], list[int]]:
    """Files and labels in the order of torchvision's `ImageFolder`: one folder for each class.

    Raises:
        BenchError: other folders than one for each class, named by its wnid: labels would shift.
    """
    from torchvision.datasets import ImageFolder

    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if len(found) != len(info.classes) or not all(WNID.fullmatch(name) for name in found):
        raise damaged(
            folder,
            f"has {len(found)} folders; {len(info.classes)} named by wnid (n01440764 ...) are "
            "needed, one for each class",
            info.name,
        )
    listed = ImageFolder(str(folder), allow_empty=True)
    return [path for path, _ in listed.samples], [label for _, label in listed.samples]


def _complete(folder: Path, files: Sequence[str]) -> None:
    """Raise BenchError where an image is missing: the indices of all that follow would shift."""
    names = [VALIDATION.fullmatch(Path(file).name) for file in files]
    numbers = {int(name[1]) for name in names if name}
    if len(numbers) < len(files):
        if len(files) != IMAGENET.published:
            reason = f"has {len(files):,} images, some with other names than the published ones"
            raise damaged(folder, f"{reason}; {IMAGENET.published:,} are needed", IMAGENET.name)
    elif absent := sorted(set(range(1, max(numbers, default=0) + 1)) - numbers):
        first = f"ILSVRC2012_val_{absent[0]:08d}.JPEG"
        more = f" and {len(absent) - 1:,} more" if len(absent) > 1 else ""
        raise damaged(folder, f"lacks {first}{more}", IMAGENET.name)


def _pixels(paths: Sequence[str]) -> Tensor:
    """[n,3,224,224] in [0,1]."""
    from torchvision.transforms import CenterCrop, Compose, Resize

    return decode(paths, Compose([Resize(SHORTER), CenterCrop(SIDE)]), (3, SIDE, SIDE), "imagenet")


def decode(
    paths: Sequence[str],
    change: Callable[[Image], Image] | None,
    shape: tuple[int, int, int],
    dataset: str,
) -> Tensor:
    """Image files as RGB through `change` (an image to an image): float32 [n,*shape] in [0,1].

    Raises:
        BenchError: a file that is no image, or not of that shape.
    """
    import torch
    from PIL import Image as Files
    from torchvision.transforms.functional import pil_to_tensor

    def one(path: str) -> Tensor:
        try:
            with Files.open(path) as file:
                if file.width * file.height > MOST_PIXELS:
                    raise ValueError(f"{file.width} x {file.height} pixels")
                image = file.convert("RGB")
        # Whatever a damaged file makes of its reader, it is a damaged file.
        except Exception as error:
            reason = plain(" ".join(str(error).split()) or type(error).__name__, 200)
            raise damaged(Path(path), f"is not an image ({reason})", dataset) from None
        pixels: Tensor = pil_to_tensor(change(image) if change else image)
        if tuple(pixels.shape) != shape:
            raise damaged(Path(path), f"is {tuple(pixels.shape)}, not {shape}", dataset)
        return pixels

    return torch.stack([one(path) for path in paths]).float() / 255


def arrange(folder: Path) -> None:
    """Sort the flat validation images below `folder` into `val/<wnid>/`, by the development kit.

    The kit's numbers of classes are its own; its table says which wnid each of them is, and its
    ground truth holds a number per image, in the order of their names.

    Raises:
        BenchError: a kit or a set of images that is not that of ILSVRC 2012.
    """
    from scipy.io import loadmat

    kit = folder / "ILSVRC2012_devkit_t12" / "data"
    images = sorted(folder.glob("ILSVRC2012_val_*.JPEG"))
    try:
        table = loadmat(kit / "meta.mat", squeeze_me=True)["synsets"]
        # A row begins with number and wnid; those without children are the classes.
        wnids = {int(row[0]): str(row[1]) for row in table if int(row[4]) == 0}
        truth = (kit / "ILSVRC2012_validation_ground_truth.txt").read_text().split()
        labels = [wnids[int(number)] for number in truth]
    # Whatever a damaged file makes of the reader, it is a damaged file.
    except Exception as error:
        raise BenchError(
            f"the development kit of ImageNet cannot be read ({type(error).__name__})"
        ) from None
    if len(labels) != len(images) or len(set(wnids.values())) != len(IMAGENET.classes):
        raise BenchError(
            f"ImageNet: {len(images)} images, {len(labels)} labels, {len(wnids)} classes do not "
            "belong together"
        )
    for wnid in wnids.values():
        (folder / "val" / wnid).mkdir(parents=True, exist_ok=True)
    for image, wnid in zip(images, labels, strict=True):
        image.replace(folder / "val" / wnid / image.name)
    shutil.rmtree(kit.parent)
