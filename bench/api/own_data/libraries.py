"""Data sets of torchvision and of Hugging Face's `datasets`, by name. Nothing is fetched here.

Both are read from where the library keeps them; the error says how it downloads them.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.api.images import Dataset, DatasetInfo
from bench.api.own_data.dealt import WHOLE
from bench.api.own_data.pictures import Change, Shape
from bench.api.own_data.shelves import LibraryPart, from_shelves, whole_numbers
from bench.errors import BenchError, plain, told, unknown
from bench.files.paths import data_root

PARTS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
"""By split, what libraries call it."""
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
EXTRA = "huggingface"


def from_torchvision(
    name: str,
    of: str,
    *,
    threat: str,
    root: str | Path = "",
    arguments: Mapping[str, Any] | None = None,
    shape: Shape | None = None,
    classes: Sequence[str] = (),
    title: str = "",
    threats: Sequence[str] = (),
    draws: int = 10,
    change: Change | None = None,
) -> Dataset:
    """The data set `name` from torchvision's class `of` (`EuroSAT`), which lies in `root`.

    Without root, in the data root. arguments: what the class is given besides. Parts are those that
    the class has (`train=`, `split=`), else its images are dealt. The rest is as in `from_folder`.

    Raises:
        BenchError: no such class, or its files are not there; the command that downloads them.
    """
    try:
        shelves, known = _of_torchvision(
            of, Path(root).expanduser() if root else data_root(), arguments
        )
        info = DatasetInfo(
            name, title or of, (0, 0, 0), tuple(classes), threat, tuple(threats), draws
        )
        return from_shelves(shelves, info, known, shape, change)
    except BenchError as error:
        raise _of(name, error) from None


def from_huggingface(
    name: str,
    of: str,
    *,
    threat: str,
    image: str = "image",
    label: str = "label",
    arguments: Mapping[str, Any] | None = None,
    shape: Shape | None = None,
    classes: Sequence[str] = (),
    title: str = "",
    threats: Sequence[str] = (),
    draws: int = 10,
    change: Change | None = None,
) -> Dataset:
    """The data set `name` from Hugging Face's `of` (`uoft-cs/cifar10`, or a folder).

    image, label: the columns. arguments: what `load_dataset` is given besides (`name`,
    `revision`). Read from the library's cache, never from the network. The rest is as in
    `from_folder`.

    Raises:
        BenchError: the library is not installed, or the data is not in its cache; the command.
    """
    try:
        shelves, known = _of_huggingface(of, image, label, dict(arguments or {}))
        info = DatasetInfo(
            name, title or of, (0, 0, 0), tuple(classes), threat, tuple(threats), draws
        )
        return from_shelves(shelves, info, known, shape, change)
    except BenchError as error:
        raise _of(name, error) from None


def _of(name: str, error: BenchError) -> BenchError:
    start = f"data set '{name}': "
    text = str(error)
    return BenchError(text if text.startswith(start) else start + text)


def _of_torchvision(
    of: str, root: Path, arguments: Mapping[str, Any] | None
) -> tuple[dict[str, LibraryPart], tuple[str, ...]]:
    """By split, the parts of a class of torchvision; the names of its classes, where it has any."""
    from torchvision import datasets

    made = getattr(datasets, of, None)
    if not inspect.isclass(made):
        raise unknown("data set of torchvision", of, datasets.__all__)
    takes = inspect.signature(made).parameters
    given = {"root": str(root), **(arguments or {})}
    ways: dict[str, list[dict[str, Any]]] = {WHOLE: [{}]}
    if "train" in takes and "train" not in given:
        ways = {"train": [{"train": True}], "test": [{"train": False}]}
    elif "split" in takes and "split" not in given:
        ways = {split: [{"split": word} for word in words] for split, words in PARTS.items()}
    found: dict[str, LibraryPart] = {}
    known: tuple[str, ...] = ()
    for split, tries in ways.items():
        for way in tries:
            part = _instance(made, of, {**given, **way})
            if part is not None:
                where = f"torchvision's {of}, {split}"
                found[split] = LibraryPart(where, _labels(part, where), partial(_first, part))
                known = known or tuple(map(str, getattr(part, "classes", ())))
                break
    return found, known


def _first(part: Any, row: int) -> Any:
    return part[row][0]


def _cell(table: Any, column: str, row: int) -> Any:
    return table[row][column]


def _instance(made: Callable[..., Any], of: str, given: Mapping[str, Any]) -> Any:
    """One part; None where the class has no such part."""
    try:
        return made(**given)
    except ValueError as error:
        if "split" in given and "split" in str(error):
            return None
        raise BenchError(f"torchvision's {of} cannot be read: {told(error)}") from None
    except (RuntimeError, OSError, TypeError) as error:
        words = ", ".join(f"{key}={value!r}" for key, value in given.items())
        command = f'python -c "from torchvision.datasets import {of}; {of}({words}, download=True)"'
        raise BenchError(
            f"torchvision's {of} is not in {given['root']} ({plain(told(error), 120)}); where it "
            f"may be downloaded: {command}"
        ) from None


def _labels(part: Any, where: str) -> list[int]:
    """Of a data set of torchvision: without decoding its images, where it keeps them apart."""
    for key in ("targets", "labels", "_labels"):
        values = getattr(part, key, None)
        if values is not None and len(values) == len(part):
            return whole_numbers(values, where)
    return whole_numbers([part[row][1] for row in range(len(part))], where)


def _of_huggingface(
    of: str, image: str, label: str, arguments: dict[str, Any]
) -> tuple[dict[str, LibraryPart], tuple[str, ...]]:
    """By split, the parts of a data set; the names of its classes, where the label has them."""
    tables = _tables(of, arguments)
    parts = {
        split: (word, tables[word])
        for split, words in PARTS.items()
        for word in words
        if word in tables
    }
    if not parts and len(tables) == 1:
        parts = {WHOLE: next(iter(tables.items()))}
    found: dict[str, LibraryPart] = {}
    known: tuple[str, ...] = ()
    for split, (word, table) in parts.items():
        columns = list(table.column_names)
        for key, column in (("image", image), ("label", label)):
            if column not in columns:
                raise BenchError(
                    f"{of} has no column '{column}' (it has {plain(', '.join(columns), 200)}); "
                    f"say {key}="
                )
        where = f"{of}, {word}"
        labels = whole_numbers(table[label], where)
        found[split] = LibraryPart(where, labels, partial(_cell, table, image))
        known = known or tuple(getattr(table.features[label], "names", None) or ())
    if not found:
        raise BenchError(f"{of} has the parts {', '.join(tables)}; train and test are needed")
    return found, known


def _tables(of: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The parts of a data set under the library's names, from a folder or its cache."""
    before = {key: os.environ.get(key) for key in OFFLINE}
    os.environ.update(dict.fromkeys(OFFLINE, "1"))  # read when the library is imported
    try:
        library = importlib.import_module("datasets")
    except ImportError:
        raise BenchError(
            f"Hugging Face's datasets is not installed; pip install 'purifybench[{EXTRA}]'"
        ) from None
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    folder = Path(of).expanduser()
    try:
        if folder.is_dir():
            found = library.load_from_disk(str(folder))
        else:
            settings = library.DownloadConfig(local_files_only=True)
            found = library.load_dataset(of, download_config=settings, **arguments)
    except Exception as error:
        if folder.is_dir():
            raise BenchError(
                f"{folder} is not what save_to_disk writes ({plain(told(error), 200)}); "
                "from_folder reads class folders"
            ) from None
        words = "".join(f", {key}={value!r}" for key, value in arguments.items())
        command = f"python -c \"import datasets; datasets.load_dataset('{of}'{words})\""
        raise BenchError(
            f"{of} is not in the cache of Hugging Face's datasets ({plain(told(error), 120)}); "
            f"where it may be downloaded: {command}"
        ) from None
    return dict(found) if isinstance(found, dict) else {WHOLE: found}
