"""Attacked images in files: those that a run stores, and those that an outsider submits.

    .safetensors  x_adv [N,C,H,W] or [V,N,C,H,W], index [N] and label [N]; what a run stores says
                  in its metadata which cell it is of
    .npz          arrays x_adv [N,C,H,W], index [N] and label [N], the last two if one likes
    .npy          x_adv [N,C,H,W] alone

Images are float32 in [0,1], or uint8 and then k/255. `index` names images of the split by their
place in it, and is needed by nobody who keeps to the order of the subset. No pickle is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api.ball import ThreatModel
from bench.compute.tensor_file import packed
from bench.data.subsets import Subset
from bench.errors import BenchError, plain
from bench.files.bounded import content_of, json_of
from bench.results.store import POINTS, Cell, Record

SUFFIXES = (POINTS, ".npz", ".npy")
PIXELS = ("float32", "uint8")
KEYS = ("x_adv", "index", "label")
MOST_BYTES = 64 << 30
"""Of a file of points: a million images of 64x64."""
GROWTH, SPARE = 20, 1 << 30
"""An .npz file that unpacks to more than so many times its size, and so much more, is a bomb."""
MOST = 10**6
"""Images of one file, where nothing else bounds them."""
WIDEST = 8
"""Bytes of one number of an array."""
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True, eq=False)
class Points:
    """A file of attacked images, read and not yet checked against any clean image.

    x_adv: float32 [V,N,C,H,W] (V is 1 without `variants`). index, label: of N images, or empty.
    about: what the file says of itself.
    """

    path: Path
    sha256: str
    x_adv: Tensor
    index: tuple[int, ...] = ()
    label: tuple[int, ...] = ()
    variants: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number N of images."""
        return int(self.x_adv.shape[1])


def pack(cell: Cell, shard: int, split: str, record: Record, x_adv: Tensor) -> bytes:
    """The file of a shard's attacked images [N,C,H,W], or [V,N,C,H,W] for the record's variants.

    Raises:
        BenchError: they are not float32, so that the file would not be what was judged.
    """
    about = {
        "cell": json.dumps(asdict(cell), sort_keys=True),
        "digest": cell.digest,
        "shard": str(shard),
        "variants": json.dumps(record.variants),
    }
    where = {"dataset": cell.dataset, "subset": cell.subset, "split": split}
    return packed(_tensors(x_adv, record.index, record.label), about | where)


def pack_submission(
    subset: Subset, x_adv: Tensor, index: Sequence[int], label: Sequence[int]
) -> bytes:
    """The file of checked points [N,C,H,W] of any origin, for the attack `submitted`."""
    where = {"dataset": subset.dataset, "subset": subset.name, "split": subset.split}
    return packed(_tensors(x_adv, index, label), where)


def _tensors(x_adv: Tensor, index: Sequence[int], label: Sequence[int]) -> dict[str, Tensor]:
    if x_adv.dtype != torch.float32:
        raise BenchError(f"attacked images are {x_adv.dtype}, not torch.float32")
    return {"x_adv": x_adv, "index": torch.tensor(index), "label": torch.tensor(label)}


def read(path: Path, dataset: str, shape: tuple[int, int, int], most: int = MOST) -> Points:
    """The points in a file, for images (C,H,W) of a data set; at most so many of them.

    Raises:
        BenchError: unreadable, damaged, of another type or shape, pickled, or of another data set.
    """
    if path.suffix not in SUFFIXES:
        raise BenchError(f"{path}: points lie in {', '.join(SUFFIXES)} files")
    content = content_of(path, MOST_BYTES)
    about: dict[str, str] = {}
    if path.suffix == POINTS:
        arrays, about = _safetensors(path, content)
    else:
        arrays = _numpy(path, content, shape, most)
    x_adv = _pixels(path, arrays, shape, most)
    count = x_adv.shape[1]
    index, label = (_integers(path, arrays, key, count) for key in ("index", "label"))
    if len(set(index)) < len(index):
        twice = next(i for place, i in enumerate(index) if i in index[:place])
        raise BenchError(f"{path}: image {twice} is there twice")
    if about.get("dataset", dataset) != dataset:
        raise BenchError(f"{path}: points of data set '{plain(about['dataset'])}', not '{dataset}'")
    sha256 = hashlib.sha256(content).hexdigest()
    stored = origin(path, about) is not None
    variants = _variants(path, about, len(x_adv)) if stored else ()
    if len(x_adv) > 1 and not variants:
        raise BenchError(f"{path}: several variants are only read from what a run stored")
    return Points(path, sha256, x_adv, index, label, variants, about)


def described(path: Path) -> dict[str, str]:
    """What a file of points says of itself, without its images; nothing where it cannot say."""
    if path.suffix != POINTS:
        return {}
    try:
        with safetensors.safe_open(str(path), framework="np") as file:
            return dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return {}  # `read` says what is wrong with it


def origin(path: Path, about: Mapping[str, str]) -> tuple[Cell, int] | None:
    """The cell and the shard of points that a run stored, by what their file says of itself.

    Raises:
        BenchError: what it says is damaged.
    """
    if "cell" not in about:
        return None
    try:
        cell = Cell(**json_of(about["cell"]))
        texts = (value for key, value in vars(cell).items() if key != "seed")
        if not isinstance(cell.seed, int) or not all(isinstance(text, str) for text in texts):
            raise TypeError("cell")
        if cell.digest != about["digest"]:
            raise ValueError("digest")
        return cell, int(about["shard"])
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path}: damaged metadata ({type(error).__name__})") from None


def place(points: Points, subset: Subset) -> tuple[int, ...]:
    """Which images of the subset's split the points are of [N]: as they say, or in its order.

    Raises:
        BenchError: an image that is not in the subset, or more of them than it has.
    """
    if (split := points.about.get("split", subset.split)) != subset.split:
        raise BenchError(f"{points.path}: points of {split} images, not {subset.split} images")
    if len(points) > len(subset):
        raise BenchError(
            f"{points.path}: {len(points)} images, subset '{subset.name}' of '{subset.dataset}' "
            f"has {len(subset)}"
        )
    known = set(subset.index)
    for row, image in enumerate(points.index):
        if image not in known:
            raise BenchError(
                f"{points.path}: image {image} (row {row}) is not in subset '{subset.name}' of "
                f"'{subset.dataset}'"
            )
    return points.index or subset.index[: len(points)]


def check(points: Points, index: Sequence[int], x: Tensor, y: Tensor, threat: ThreatModel) -> None:
    """Refuse points that are not attacks within `threat` on images x [N,C,H,W] with labels y [N].

    The distance may be over by the rounding that `ThreatModel.contains` allows its own attacks;
    the range of [0,1] has no such slack.

    Raises:
        BenchError: a wrong label, or an image outside, with its index and its distance.
    """
    for row, label in enumerate(points.label):
        if label != (right := int(y[row])):
            raise BenchError(
                f"{points.path}: image {index[row]} (row {row}) has label {label}, the data set "
                f"says {right}"
            )
    for variant in points.x_adv:
        valid = threat.contains(variant, x)
        if not valid.all():
            row = int((~valid).nonzero()[0])
            others = int((~valid).sum()) - 1
            more = f", and so are {others} more" if others else ""
            what = _outside(variant[row], x[row], threat)
            raise BenchError(f"{points.path}: image {index[row]} (row {row}) {what}{more}")


def _outside(image: Tensor, x: Tensor, threat: ThreatModel) -> str:
    distance = float(threat.distance(image[None], x[None]))
    if not image.isfinite().all():
        return f"is outside {threat}: distance {distance:.6g}, pixels that are not finite"
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        return f"is outside [0,1]: pixels in [{low:.6g}, {high:.6g}], distance {distance:.6g}"
    return f"is outside {threat}: distance {distance:.6g}, at most {threat.eps:.6g}"


def _safetensors(path: Path, content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        arrays = {key: tensors[key].numpy() for key in KEYS if key in tensors}
    except Exception as error:  # as for the others
        reason = plain(" ".join(str(error).split()), 200)
        raise BenchError(f"{path}: not a whole safetensors file of points ({reason})") from None
    return arrays, dict(about)


def _numpy(
    path: Path, content: bytes, shape: tuple[int, ...], most: int
) -> dict[str, NDArray[Any]]:
    """Arrays of an .npy or .npz file, each read only if its header says that it is small enough."""
    stream = io.BytesIO(content)
    try:
        if path.suffix == ".npy":
            return {"x_adv": _array(stream, shape, most)}
        with zipfile.ZipFile(stream) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if sum(entry.file_size for entry in archive.infolist()) > GROWTH * len(content) + SPARE:
                raise ValueError("it unpacks to far more than its size")
            found = {}
            for key in (key for key in KEYS if key in names):
                with archive.open(names[key]) as member:
                    found[key] = _array(member, shape if key == "x_adv" else (), most)
            return found
    except Exception as error:  # a damaged or hostile file raises whatever its readers do
        reason = plain(" ".join(str(error).split()) or type(error).__name__, 200)
        raise BenchError(
            f"{path}: not a whole {path.suffix} file of plain arrays ({reason})"
        ) from None


def _array(stream: IO[bytes], shape: tuple[int, ...], most: int) -> NDArray[Any]:
    """An array of at most `most` rows of `shape`; ValueError for anything else, pickles included.

    The header is believed only as far as memory for it is harmless.
    """
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format")
    found, _, dtype = HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds a pickle, which is not opened")
    if dtype.itemsize > WIDEST:
        raise ValueError(f"{dtype.itemsize} bytes for each number")
    if found and (found[0] > most or math.prod(found[1:]) > math.prod(shape)):
        raise ValueError(f"shape {found}, at most {most} of {shape or 'one number'}")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.read(1):
        raise ValueError("more than one array")
    return array


def _pixels(
    path: Path, arrays: Mapping[str, NDArray[Any]], shape: tuple[int, ...], most: int
) -> Tensor:
    if "x_adv" not in arrays:
        raise BenchError(f"{path}: there are no 'x_adv' in it (arrays: x_adv, index, label)")
    found = arrays["x_adv"]
    if str(found.dtype) not in PIXELS:
        raise BenchError(f"{path}: x_adv are {found.dtype}; they may be {' or '.join(PIXELS)}")
    stored = path.suffix == POINTS and found.ndim == 5
    if found.shape[1 + stored :] != shape or not found.size or found.shape[stored] > most:
        expected = ", ".join(map(str, shape))
        raise BenchError(
            f"{path}: x_adv have shape {found.shape}; it must be [N, {expected}], N up to {most}"
        )
    x_adv = torch.from_numpy(np.ascontiguousarray(found))
    x_adv = x_adv.float() / 255 if x_adv.dtype == torch.uint8 else x_adv
    return x_adv if stored else x_adv.unsqueeze(0)


def _integers(
    path: Path, arrays: Mapping[str, NDArray[Any]], key: str, count: int
) -> tuple[int, ...]:
    if key not in arrays:
        return ()
    found = arrays[key]
    if found.dtype.kind not in "iu" or found.shape != (count,):
        raise BenchError(
            f"{path}: {key} is {found.dtype} {found.shape}, not one whole number for each of "
            f"{count} images"
        )
    return tuple(map(int, found.tolist()))


def _variants(path: Path, about: Mapping[str, str], count: int) -> tuple[str, ...]:
    try:
        names = tuple(map(str, json_of(about["variants"])))
    except (ValueError, KeyError, TypeError):
        names = ()
    if len(names) != count and (names or count > 1):
        raise BenchError(f"{path}: damaged metadata (variants)")
    return names
